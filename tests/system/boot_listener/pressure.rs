//! What strangers can do to the listeners: thousands of slow connections, hostile paths, a full log.

use super::{PATIENCE, host, meet, open, own_file, percentile, soak};
use anyhow::{Context, Result, bail, ensure};
use rackberry_core::agent::Answer;
use serde_json::json;
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    time::{Duration, Instant},
};
use system_tests::{
    Appliance, Dice, FakeAgent, Faults, Life, Site,
    fake_agent::Said,
    fake_host::Script,
    site::{self, BOOT, BOX, ROOM, ROOM_LINK},
};

/// Slow connections, on each of the two listeners.
const COUNT: usize = 2500;

/// Connections that a test holds need descriptors.
fn many_descriptors() {
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let wanted = rustix::process::Rlimit { current: limits.maximum, maximum: limits.maximum };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, wanted);
}

/// What a slow client has said when it stops to say anything, or to read.
fn slow_words(kind: usize, file: &str) -> String {
    match kind % 5 {
        0 => String::new(),
        1 => "GET /snponly-x64.efi HTTP/1.1\r\nHost: b".to_owned(),
        2 => "GET / HTTP/1.1\r\n".to_owned(),
        3 => "POST /agent/v1/hello HTTP/1.1\r\nHost: b\r\nContent-Length: 4000\r\n\r\n{".to_owned(),
        _ => format!("GET /{file} HTTP/1.1\r\nHost: b\r\n\r\n"),
    }
}

/// Opens connections from several addresses and keeps them; who is refused or put out is counted as gone.
fn slow_crowd(from: &[Ipv4Addr], to: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    let mut held = Vec::with_capacity(count);
    for (number, own) in (0..count).zip(from.iter().cycle()) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddrV4::new(*own, 0).into())?;
        if socket.connect_timeout(&to.into(), Duration::from_secs(10)).is_err() {
            continue;
        }
        let mut stream = TcpStream::from(socket);
        let _ = stream.write_all(slow_words(number, "big.bin").as_bytes());
        held.push(stream);
    }
    Ok(held)
}

/// How long a whole answer takes on a connection of its own.
fn time_of(from: Ipv4Addr, to: SocketAddr, path: &str) -> Result<Duration> {
    let began = Instant::now();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddrV4::new(from, 0).into())?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("read {path} of {to}"))?;
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "{path}: {}", String::from_utf8_lossy(&answer));
    Ok(began.elapsed())
}

#[test]
fn thousands_of_slow_connections_keep_neither_page_nor_boots_from_working() -> Result<()> {
    many_descriptors();
    let site = Site::new()?;
    let appliance = site.serve("")?;
    site.import_image(&appliance)?;
    own_file(&appliance, "big.bin", vec![1; 64 << 20])?;
    let node = host(&site, 1)?;
    meet(&site, &node)?;
    let strangers: Vec<Ipv4Addr> = (1..=20).map(|number| Ipv4Addr::new(10, 77, 2, number)).collect();
    for address in &strangers {
        site.room.ip(&format!("address add {address}/16 dev {ROOM_LINK}"))?;
    }
    let page: SocketAddr = appliance.url("").trim_start_matches("http://").parse()?;
    let locals: Vec<Ipv4Addr> = (2..=20).map(|number| Ipv4Addr::new(127, 0, 0, number)).collect();
    std::thread::scope(|scope| {
        // An agent that waits for orders is no stranger: its long poll outlives all of this.
        let waiting = scope.spawn(|| {
            site.room.join_current_thread()?;
            let mut life = Life::new(Faults::default(), 1);
            let Script::RamOs { token, .. } = node.script(BOOT)? else { bail!("no RAM OS") };
            let mut agent = FakeAgent::new(&node, BOOT, token, &mut life);
            ensure!(matches!(agent.hello(), Said::Answer(_)), "hello");
            Ok(agent.next(&[], PATIENCE))
        });
        let seen = format!("/hosts/{}", node.mac.hyphens());
        super::until("the agent waits", || {
            let shown = site::api(&appliance).get(&seen)?;
            Ok(shown.get("facts").is_some_and(|facts| !facts.is_null()))
        })?;
        let boot_crowd = scope.spawn(|| {
            site.room.join_current_thread()?;
            slow_crowd(&strangers, BOOT.into(), COUNT)
        });
        let page_crowd = scope.spawn(|| slow_crowd(&locals, page, COUNT));
        let (mut page_times, mut boot_times) = (Vec::new(), Vec::new());
        // While they come, and while they stay.
        let mut rounds = 0;
        while rounds < 40 || !(boot_crowd.is_finished() && page_crowd.is_finished()) {
            page_times.push(time_of(Ipv4Addr::LOCALHOST, page, "/first-run")?);
            boot_times.push(site.room.enter(|| time_of(node.address, BOOT.into(), "/autoexec.ipxe"))?);
            rounds += 1;
            std::thread::sleep(Duration::from_millis(25));
        }
        let boot_held = boot_crowd.join().map_err(|_| anyhow::anyhow!("the crowd panicked"))??;
        let page_held = page_crowd.join().map_err(|_| anyhow::anyhow!("the crowd panicked"))??;
        println!(
            "slow connections: {} on the boot port, {} on the page; {rounds} answers each: page p95 {:?}, boot p95 {:?}",
            boot_held.len(),
            page_held.len(),
            percentile(&mut page_times, 95),
            percentile(&mut boot_times, 95),
        );
        ensure!(boot_held.len() + page_held.len() > COUNT, "hardly anybody came");
        let body = json!({ "profile": "debian-13", "erase": true });
        site::api(&appliance).call("POST", &format!("{seen}/install"), Some(&body))?;
        let said = waiting.join().map_err(|_| anyhow::anyhow!("the agent panicked"))??;
        ensure!(matches!(said, Said::Answer(Answer::Run { .. })), "the waiting agent got {said:?}");
        // And they end: who says nothing within the header's time is gone.
        let mute = boot_held.first().context("nobody")?;
        mute.set_read_timeout(Some(PATIENCE))?;
        let ended = (&mut &*mute).read(&mut [0; 16]);
        ensure!(
            matches!(ended, Ok(0)) || ended.as_ref().is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock),
            "{ended:?}"
        );
        Ok(())
    })?;
    quiet(&appliance)
}

/// However many they were, the log stays short, and nothing went wrong in it.
fn quiet(appliance: &Appliance) -> Result<()> {
    let log = appliance.log().text();
    ensure!(!log.contains("panicked"), "{log}");
    let lines = log.lines().count();
    ensure!(lines < 400, "{lines} lines of log");
    println!("log: {lines} lines");
    Ok(())
}

const SECRET: &str = "the secret of the box";

/// One path that somebody who means harm might ask.
fn hostile(dice: &mut Dice) -> String {
    let targets = ["secret", "etc/passwd", "inventory.db", "files-else/secret", "rackberry.sock", "rackberry.toml"];
    let ups = [
        "../",
        "..%2f",
        "%2e%2e/",
        "%2e%2e%2f",
        "..\\",
        "..%5c",
        "....//",
        "..;/",
        "%252e%252e%252f",
        "%c0%ae%c0%ae/",
        "/./",
        "..%00/",
        "%uff0e%uff0e/",
        "..%c0%af",
        "\u{fe58}./",
    ];
    let starts = [
        "/",
        "//",
        "/images/",
        "/ramos/x86_64/",
        "/loaders/",
        "/sub/",
        "/link/",
        "/pxelinux.cfg/",
        "/grub/",
        "/boot/",
        "/agent/v1/",
        "/EFI/BOOT/",
        "/%2f",
        "/\\",
    ];
    let mut path = (*dice.pick(&starts)).to_owned();
    for _ in 0..dice.below(9) {
        path.push_str(dice.pick::<&str>(&ups));
    }
    path.push_str(dice.pick::<&str>(&targets));
    match dice.below(12) {
        0 => path.push_str("%00.txt"),
        1 => path.push('/'),
        2 => path.push_str("?x=../../secret"),
        3 => path = path.replace('/', "%2F"),
        4 => path.push_str(&"a".repeat(usize::try_from(dice.below(3000)).unwrap_or(0))),
        5 => path = format!("http://{BOX}{path}"),
        _ => {}
    }
    path
}

#[test]
fn hostile_paths_get_nothing_from_outside() -> Result<()> {
    let seed = Dice::seed();
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let state = appliance.state_dir();
    std::fs::write(state.join("secret"), SECRET)?;
    std::fs::create_dir(state.join("files-else"))?;
    std::fs::write(state.join("files-else/secret"), SECRET)?;
    std::fs::write(site.share().join("secret"), SECRET)?;
    own_file(&appliance, "sub/inside", "inside")?;
    std::os::unix::fs::symlink("..", state.join("files/link"))?;
    std::os::unix::fs::symlink("../secret", state.join("files/secret"))?;
    std::os::unix::fs::symlink("/etc", state.join("files/etc"))?;
    let passwd = std::fs::read_to_string("/etc/passwd")?;
    let passwd = passwd.lines().next().context("an empty /etc/passwd")?;
    let count = if soak() { 100_000 } else { 5000 };
    let (mut dice, mut answers) = (Dice::new(seed), std::collections::BTreeMap::new());
    site.room.enter(|| {
        let mut line = None;
        for _ in 0..count {
            let path = hostile(&mut dice);
            let mut open_line = match line.take() {
                Some(line) => line,
                None => open(ROOM)?,
            };
            let method = if dice.hits(10.0) { "HEAD" } else { "GET" };
            // What is no request line ends the connection; that is an answer as well.
            let Ok(reply) = open_line.request(method, &path, &[]) else {
                *answers.entry(0).or_insert(0) += 1;
                continue;
            };
            let text = reply.text();
            ensure!(
                !text.contains(SECRET) && !text.contains(passwd) && !text.contains("SQLite"),
                "{path:?}: {reply:?}"
            );
            // Nothing but scripts and configurations for strangers comes back from such names.
            ensure!(reply.status != 200 || text.is_empty() || text.starts_with('#'), "{path:?}: {reply:?}");
            *answers.entry(reply.status).or_insert(0) += 1;
            if reply.header("connection") != Some("close") && reply.status != 400 {
                line = Some(open_line);
            }
        }
        Ok(())
    })?;
    println!("hostile paths: seed {seed}, {count} asked; answers by status {answers:?}");
    assert!(answers.get(&404).copied().unwrap_or(0) > count / 2, "{answers:?}");
    quiet(&appliance)
}
