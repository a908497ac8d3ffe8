//! The program as a machine's service: which rights it keeps, which sockets it takes, and what an address that goes does to it.

use anyhow::{Context, Result, ensure};
use rustix::io::{FdFlags, fcntl_setfd};
use serde_json::Value;
use std::{
    io::Read,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsRawFd, OwnedFd},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use system_tests::{
    Appliance, Console, PxeClient, Site, appliance,
    pxe::{Kind, Machine, message::option, web::Connection},
    site::{self, BOX, BOX_LINK, ROOM_LINK},
};

/// Generous, as other tests may run beside.
const PATIENCE: Duration = Duration::from_secs(30);

/// The lines of `/proc/PID/task/*/status` that begin so, each with its thread's name.
fn of_all_threads(pid: i32, keys: &[&str]) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = thread?.path().join("status");
        let status = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let line = |key: &str| status.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
        let name = line("Name:");
        found.extend(keys.iter().map(|key| (name.clone(), line(key))));
    }
    Ok(found)
}

/// Fails unless no thread has, or can get back, any capability.
fn ensure_no_rights(pid: i32) -> Result<usize> {
    let sets = of_all_threads(pid, &["CapEff:", "CapPrm:", "CapInh:", "CapAmb:", "NoNewPrivs:"])?;
    for (thread, line) in &sets {
        let wanted = if line.starts_with("NoNewPrivs") { "1" } else { "0000000000000000" };
        ensure!(line.split_whitespace().nth(1) == Some(wanted), "{thread}: {line}");
    }
    Ok(sets.len() / 5)
}

fn status(appliance: &Appliance) -> Result<Value> {
    site::api(appliance).get("/status")
}

/// Waits until the box's status says so.
fn wait_status(appliance: &Appliance, what: &str, has: impl Fn(&Value) -> bool) -> Result<Value> {
    let until = Instant::now() + PATIENCE;
    loop {
        let now = status(appliance)?;
        if has(&now) {
            return Ok(now);
        }
        ensure!(Instant::now() < until, "no {what}: {now}\n{}", appliance.log().text());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[test]
fn a_serving_box_started_by_root_has_no_capability_in_any_thread() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    // With the rights gone it still answers, asks by ARP before an offer, and reaches a machine without an address.
    let lease = PxeClient::new(&site.room, ROOM_LINK)?.lease(&Machine::new(1, Kind::BiosPxe), PATIENCE)?;
    ensure!(lease.address(option::SERVER_ID) == Some(BOX), "{lease:?}");
    let threads = ensure_no_rights(appliance.pid()?.as_raw_nonzero().get())?;
    ensure!(threads >= 4, "{threads} threads");
    let bound = of_all_threads(appliance.pid()?.as_raw_nonzero().get(), &["CapBnd:"])?;
    ensure!(bound.iter().all(|(_, line)| line.ends_with("0000000000000000")), "{bound:?}");
    ensure!(appliance.log().count("no packet socket") == 0, "{}", appliance.log().text());
    println!("{threads} threads, each with CapEff, CapPrm, CapInh, CapAmb and CapBnd 0 and NoNewPrivs 1");
    Ok(())
}

#[test]
fn a_root_without_rights_still_serves_loaders_from_a_closed_home() -> Result<()> {
    let site = Site::new()?;
    let home = site.scratch().join("home");
    std::fs::create_dir(&home)?;
    std::fs::rename(site.share(), home.join("share"))?;
    std::os::unix::fs::symlink(home.join("share"), site.share())?;
    std::fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    std::os::unix::fs::chown(&home, Some(65_534), Some(65_534))?;
    let appliance = site.serve("")?;
    let reply = site.room.enter(|| Connection::open(site::BOOT)?.request("GET", "/undionly.kpxe", &[]))?;
    ensure!(reply.status == 200, "{}: {}", reply.status, appliance.log().text());
    ensure!(!site::api(&appliance).get("/profiles")?.as_array().context("profiles")?.is_empty());
    Ok(())
}

/// Every socket of the box, as a service manager opens them.
fn all_sockets() -> Result<Vec<(&'static str, OwnedFd)>> {
    let any = |port: u16| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    Ok(vec![
        ("page", TcpListener::bind(any(8000))?.into()),
        ("boot", TcpListener::bind(any(80))?.into()),
        ("boot-alias", TcpListener::bind(any(8080))?.into()),
        ("tftp", UdpSocket::bind(any(69))?.into()),
        ("dhcp", UdpSocket::bind(any(67))?.into()),
        ("proxydhcp", UdpSocket::bind(any(4011))?.into()),
        ("dhcp-client", UdpSocket::bind(any(68))?.into()),
    ])
}

/// Ends the program with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `serve` in the box's namespace as user and group 65534 without any right, with these sockets.
fn serve_as_nobody(site: &Site, settings: &str, sockets: &[(&str, OwnedFd)]) -> Result<(Running, Console)> {
    let folder = site.scratch();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder, open)?;
    // Not where cargo put it: that folder may be closed to others.
    let program = folder.join("rackberry");
    std::fs::copy(appliance::binary()?, &program)?;
    let state = folder.join("state");
    std::fs::create_dir(&state)?;
    std::os::unix::fs::chown(&state, Some(65_534), Some(65_534))?;
    let config = folder.join("rackberry.toml");
    std::fs::write(&config, settings)?;
    let mut moves = String::new();
    for (place, (_, socket)) in (3..).zip(sockets) {
        fcntl_setfd(socket, FdFlags::empty())?;
        // First out of the way of the numbers that they shall get.
        moves += &format!("exec {}<&{}; ", 100 + place, socket.as_raw_fd());
    }
    for (place, _) in (3..).zip(sockets) {
        moves += &format!("exec {place}<&{0} {0}<&-; ", 100 + place);
    }
    let names: Vec<&str> = sockets.iter().map(|(name, _)| *name).collect();
    let script = format!(
        "{moves} LISTEN_PID=$$ exec setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all \"$@\""
    );
    let mut command = Command::new("ip");
    command.args(["netns", "exec", site.seat.name(), "bash", "-c", &script, "bash"]);
    command.arg(&program).arg("serve").arg("--config").arg(&config).arg("--state-dir").arg(&state);
    command.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().context("start the box as nobody")?);
    let console = Console::new();
    console.follow(running.0.stderr.take().context("no standard error")?, None)?;
    for (_, socket) in sockets {
        fcntl_setfd(socket, FdFlags::CLOEXEC)?;
    }
    Ok((running, console))
}

#[test]
fn a_user_without_any_right_serves_on_the_sockets_it_is_given() -> Result<()> {
    let site = Site::new()?;
    let sockets = site.seat.enter(all_sockets)?;
    let settings = site.settings("mode = \"server\"\npool = \"10.77.64.0-10.77.127.255\"", "");
    let (running, console) = serve_as_nobody(&site, &settings, &sockets)?;
    console.wait_for("rackberry is ready", PATIENCE)?;
    // No socket below IP without CAP_NET_RAW: it says so, and answers by broadcast.
    ensure!(console.count("no packet socket") == 1, "{}", console.text());
    let client = PxeClient::new(&site.room, ROOM_LINK)?;
    let offer = client.offer(&Machine::new(1, Kind::BiosPxe), PATIENCE)?;
    ensure!(*offer.envelope.to.ip() == Ipv4Addr::BROADCAST, "{:?}", offer.envelope);
    let lease = client.lease(&Machine::new(1, Kind::BiosPxe), PATIENCE)?;
    ensure!(lease.address(option::SERVER_ID) == Some(BOX), "{lease:?}");
    for port in [80, 8080, 8000] {
        let path = if port == 8000 { "/login" } else { "/loaders/undionly.kpxe" };
        let reply = client.http("GET", SocketAddrV4::new(BOX, port), path)?;
        ensure!(reply.status == 200 || reply.status == 303, "{port}: {}", reply.status);
    }
    ensure_no_rights(i32::try_from(running.0.id())?)?;
    println!("as user 65534 without capabilities: DHCP by broadcast, HTTP on 80, 8080 and 8000");
    Ok(())
}

#[test]
fn a_socket_on_another_port_than_the_settings_say_is_refused_with_the_way_out() -> Result<()> {
    let site = Site::new()?;
    let sockets = site.seat.enter(all_sockets)?;
    let (mut running, console) = serve_as_nobody(&site, "[boot]\nport = 81\n", &sockets)?;
    let line = console.wait_for("boot is on port 80, rackberry.toml says 81", PATIENCE)?;
    ensure!(line.contains("systemctl edit rackberry-boot.socket"), "{line}");
    ensure!(running.0.wait()?.code() == Some(1));
    Ok(())
}

#[test]
fn an_address_that_goes_takes_dhcp_away_and_nothing_else_and_one_that_comes_brings_it_back() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let client = PxeClient::new(&site.room, ROOM_LINK)?;
    let before = client.lease(&Machine::new(1, Kind::BiosPxe), PATIENCE)?.yiaddr;

    let mark = appliance.log().mark();
    site.seat.ip(&format!("address del {BOX}/16 dev {BOX_LINK}"))?;
    appliance.log().wait_after(mark, "waiting for the network", PATIENCE)?;
    let waiting = wait_status(&appliance, "waiting", |status| text(status, "mode") == "waiting")?;
    let sentence = text(&waiting, "sentence");
    ensure!(sentence.contains(&format!("rackberry net-up {BOX_LINK}")), "{waiting}");
    ensure!(waiting["address"].is_null(), "{waiting}");
    let page = appliance.get("/login")?;
    ensure!(page.status == 200 || page.status == 303, "the page: {}", page.status);
    let silence = client.discover(&Machine::new(2, Kind::BiosPxe), Duration::from_millis(1500))?;
    ensure!(silence.is_empty(), "{silence:?}");

    let mark = appliance.log().mark();
    let back = Instant::now();
    site.seat.up(BOX_LINK, Some(&format!("{BOX}/16")))?;
    appliance.log().wait_after(mark, "rackberry is ready", PATIENCE)?;
    let again = client.lease(&Machine::new(1, Kind::BiosPxe), PATIENCE)?;
    println!("the address is back: serving and a lease after {:?}", back.elapsed());
    ensure!(again.yiaddr == before, "the lease outlived it: {} instead of {before}", again.yiaddr);
    ensure!(appliance.log().count("the page is served") == 1, "one and the same run: {}", appliance.log().text());

    // Another address of the same network: everything moves there, without a right to open a port.
    let other = Ipv4Addr::new(10, 77, 9, 9);
    let mark = appliance.log().mark();
    site.seat.up(BOX_LINK, Some(&format!("{other}/16")))?;
    site.seat.ip(&format!("address del {BOX}/16 dev {BOX_LINK}"))?;
    site.seat.up(BOX_LINK, Some(&format!("{other}/16"))).ok();
    appliance.log().wait_after(mark, "address=10.77.9.9", PATIENCE)?;
    let lease = client.lease(&Machine::new(3, Kind::BiosPxe), PATIENCE)?;
    ensure!(lease.address(option::SERVER_ID) == Some(other), "{lease:?}");
    let reply = client.http("GET", SocketAddrV4::new(other, 80), "/undionly.kpxe")?;
    ensure!(reply.status == 200, "{}", reply.status);
    ensure_no_rights(appliance.pid()?.as_raw_nonzero().get())?;
    Ok(())
}

#[test]
fn what_comes_over_another_interface_is_not_served() -> Result<()> {
    let site = Site::new()?;
    site.seat.veth("s1", &site.room, "c1")?;
    site.seat.up("s1", Some("10.99.0.1/24"))?;
    site.room.up("c1", Some("10.99.0.2/24"))?;
    let appliance = site.serve(&format!("[network]\ninterface = \"{BOX_LINK}\""))?;
    let asked =
        PxeClient::new(&site.room, "c1")?.discover(&Machine::new(1, Kind::BiosPxe), Duration::from_millis(1500))?;
    ensure!(asked.is_empty(), "{asked:?}");
    let elsewhere = SocketAddrV4::new(Ipv4Addr::new(10, 99, 0, 1), 80);
    site.room.enter(|| {
        let mut stream = TcpStream::connect(elsewhere)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let _ = std::io::Write::write_all(&mut stream, b"GET /undionly.kpxe HTTP/1.1\r\nhost: box\r\n\r\n");
        let mut answer = Vec::new();
        // Closed, politely or not.
        let _ = stream.read_to_end(&mut answer);
        ensure!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
        let socket = UdpSocket::bind("10.99.0.2:0")?;
        socket.set_read_timeout(Some(Duration::from_millis(1500)))?;
        socket.send_to(b"\0\x01undionly.kpxe\0octet\0", "10.99.0.1:69")?;
        let mut packet = [0; 600];
        // Silence, or an ERROR, but never the file.
        if let Ok(length) = socket.recv(&mut packet) {
            ensure!(packet.get(..2) == Some(&[0, 5]), "TFTP answered {:?}", packet.get(..length));
        }
        // At the box's own address it is the same box as ever.
        let reply = Connection::open(site::BOOT)?.request("GET", "/undionly.kpxe", &[])?;
        ensure!(reply.status == 200, "{}", reply.status);
        Ok(())
    })?;
    drop(appliance);
    Ok(())
}
