//! Clients that mean harm: names that lead out, forged senders, packets that are none.

use crate::{MANY_SESSIONS, SERVER, bystander_gets, memory, noise, own_files, soak};
use anyhow::{Context, Result, ensure};
use std::collections::HashSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};
use system_tests::site::{BOOT, BOX, BOX_LINK};
use system_tests::{Appliance, Dice, Site};

const INSIDE: &[u8] = b"This may be read by everybody.";
const OUTSIDE: &[u8] = b"This lies outside and nobody may read it.";

#[test]
fn no_name_reads_a_byte_from_outside() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("[tftp]\nsessions_per_host = 64\n")?;
    let files = own_files(&appliance);
    let state = appliance.state_dir();
    fs::create_dir_all(files.join("sub"))?;
    fs::write(files.join("inside.txt"), INSIDE)?;
    fs::write(files.join("sub/inside.txt"), INSIDE)?;
    // A neighbour whose name begins the same, a secret above, and links that lead to both.
    fs::create_dir_all(state.join("files-secret"))?;
    for secret in ["files-secret/secret.txt", "secret.txt", "images/secret.txt"] {
        fs::write(state.join(secret), OUTSIDE)?;
    }
    symlink(state.join("secret.txt"), files.join("link.txt"))?;
    symlink("../secret.txt", files.join("sub/link.txt"))?;
    symlink(&state, files.join("way"))?;
    symlink("/", files.join("root"))?;
    let seed = Dice::seed();
    let mut dice = Dice::new(seed);
    let state = state.to_string_lossy().into_owned();
    let (mut served, mut refused, mut silent) = (0, 0, 0);
    site.room.enter(|| {
        for number in 0..5000 {
            let name = hostile_name(&mut dice, &state, number);
            let packet = [b"\0\x01", name.as_slice(), b"\0octet\0"].concat();
            // A NUL ends the name early, so that no mode follows; datagrams beyond an Ethernet frame are no requests.
            let ignored = name.contains(&0) || packet.len() > 1472;
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.set_read_timeout(Some(Duration::from_millis(if ignored { 10 } else { 1000 })))?;
            let mut buffer = [0; 2000];
            let said = name.escape_ascii();
            // Asked again as clients do: who asks for many names at once may find no room for a moment.
            let tries = if ignored { 1 } else { 30 };
            let answer = (0..tries).find_map(|_| {
                // Longer than UDP itself allows, or nothing came.
                socket.send_to(&packet, SERVER).ok()?;
                socket.recv_from(&mut buffer).ok()
            });
            let Some((len, from)) = answer else {
                ensure!(ignored, "no answer to \"{said}\" (RACKBERRY_SEED={seed})");
                silent += 1;
                continue;
            };
            match buffer.get(..len) {
                Some([0, 3, 0, 1, data @ ..]) => {
                    let harmless = data == INSIDE || data.starts_with(b"#!ipxe") || stand_in(data);
                    let shown = data.escape_ascii();
                    ensure!(harmless, "\"{said}\" gave \"{shown}\" (RACKBERRY_SEED={seed})");
                    socket.send_to(b"\0\x05\0\0enough\0", from)?;
                    served += 1;
                }
                Some([0, 5, ..]) => refused += 1,
                other => anyhow::bail!("\"{said}\" gave {other:?} (RACKBERRY_SEED={seed})"),
            }
        }
        Ok(())
    })?;
    println!("5000 names: {served} harmless files, {refused} refused, {silent} not answered, 0 bytes from outside");
    assert!(served > 0 && refused > 1000, "the names do not try what they are meant to");
    assert_eq!(bystander_gets(&site, "sub/inside.txt")?, INSIDE);
    Ok(())
}

/// The beginning of a loader's stand-in, which is one byte all over.
fn stand_in(data: &[u8]) -> bool {
    data.len() == 512 && data.iter().all(|byte| data.first() == Some(byte) && (1..=7).contains(byte))
}

/// One of the tricks of past advisories, or several of them in a row.
fn hostile_name(dice: &mut Dice, state: &str, number: u32) -> Vec<u8> {
    const UP: [&[u8]; 14] = [
        b"../",
        b"..\\",
        b"..//",
        b"%2e%2e/",
        b"%2e%2e%2f",
        b"..%5c",
        b".../",
        b"..;/",
        b"....//",
        b"\xc0\xae\xc0\xae/",
        b"\xe0\x80\xae./",
        b"..\xc0\xaf",
        b".\0./",
        b"..\0/",
    ];
    const START: [&[u8]; 16] = [
        b"",
        b"/",
        b"\\",
        b"//",
        b"::",
        b"::/",
        b"10.77.0.1::",
        b"sub/",
        b"way/",
        b"root/",
        b"files/",
        b"./",
        b"images/",
        b"ramos/x86_64/",
        b"C:\\",
        b"file:///",
    ];
    const END: [&[u8]; 14] = [
        b"secret.txt",
        b"inside.txt",
        b"link.txt",
        b"files-secret/secret.txt",
        b"images/secret.txt",
        b"inventory.db",
        b"etc/passwd",
        b"proc/self/environ",
        b"rackberry.toml",
        b"undionly.kpxe",
        b"sub/link.txt",
        b"lock",
        b"",
        b"..",
    ];
    let mut name = dice.pick::<&[u8]>(&START).to_vec();
    for _ in 0..dice.below(6) {
        name.extend_from_slice(dice.pick::<&[u8]>(&UP));
    }
    match number % 16 {
        0 => name = format!("{state}/secret.txt").into_bytes(),
        1 => name.extend(format!("..{state}/secret.txt").into_bytes()),
        2 => name.extend(std::iter::repeat_n(b'A', 200 << dice.below(9))),
        3 => name = [&b"../".repeat(400)[..], dice.pick::<&[u8]>(&END)].concat(),
        4 => name.extend((0..1 + dice.below(40)).map(|_| u8::try_from(1 + dice.below(255)).unwrap_or(1))),
        5 => name.extend_from_slice(b"inside.txt/../../secret.txt"),
        6 => name.extend_from_slice(b"../files-secret/secret.txt"),
        _ => {}
    }
    name.extend_from_slice(dice.pick::<&[u8]>(&END));
    name
}

/// Requests of a flood: what an attacker would choose to get much for little.
const GREEDY: &[u8] = b"\0\x01big\0octet\0blksize\x0065464\0windowsize\x0065535\0tsize\x000\0timeout\x001\0";
const PLAIN: &[u8] = b"\0\x01big\0octet\0";

#[test]
fn a_flood_from_forged_senders_costs_little_and_leaves_nothing() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    fs::write(own_files(&appliance).join("big"), noise(1 << 20))?;
    let pid = appliance.pid()?.as_raw_nonzero().get();
    // The hosts' side answers for these addresses, as the victims would whose addresses are forged.
    site.room.ip("route add local 10.77.200.0/24 dev lo")?;
    site.room.ip("route add local 192.0.2.0/24 dev lo")?;
    site.seat.ip(&format!("route add 192.0.2.0/24 dev {BOX_LINK}"))?;
    assert_eq!(bystander_gets(&site, "big")?.len(), 1 << 20);
    let before = memory(pid)?;
    let (mut packets, mut bytes, mut answered) = (0u32, 0usize, 0u32);
    let requests = if soak() { 20_000u32 } else { 4000 };
    let most_sessions = site.room.enter(|| {
        // The way there and back is open: only TFTP keeps silent.
        let elsewhere = UdpSocket::bind((Ipv4Addr::new(192, 0, 2, 9), 0))?;
        let stream = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        stream.bind(&SocketAddr::from((Ipv4Addr::new(192, 0, 2, 9), 0)).into())?;
        stream
            .connect_timeout(&SocketAddr::V4(BOOT).into(), Duration::from_secs(20))
            .context("by TCP from elsewhere")?;
        drop(TcpStream::from(stream));
        elsewhere.send_to(PLAIN, SERVER)?;

        let mut victims = Vec::new();
        let mut most = 0;
        for number in 0..requests {
            let victim = Ipv4Addr::new(10, 77, 200, u8::try_from(1 + number % 250)?);
            let socket = UdpSocket::bind((victim, 0))?;
            socket.set_nonblocking(true)?;
            socket.send_to(if number.is_multiple_of(2) { GREEDY } else { PLAIN }, SERVER)?;
            victims.push(socket);
            if number.is_multiple_of(100) {
                most = most.max(sessions(pid)?);
            }
            // Only so many open files; the first victims, whom the sessions of the flood's begin belong to, hear all repeats.
            if victims.len() > 800 {
                for socket in victims.drain(300..700) {
                    collect(&socket, &mut packets, &mut bytes, &mut answered)?;
                }
            }
        }
        let flooded = Instant::now();
        while sessions(pid)? > 0 {
            ensure!(flooded.elapsed() < Duration::from_secs(60), "{} sessions are left", sessions(pid)?);
            std::thread::sleep(Duration::from_millis(50));
        }
        println!("{requests} forged requests: at most {most} sessions, none {:.1?} later", flooded.elapsed());
        for socket in victims {
            collect(&socket, &mut packets, &mut bytes, &mut answered)?;
        }
        elsewhere.set_nonblocking(true)?;
        ensure!(elsewhere.recv(&mut [0; 100]).is_err(), "an answer to an address of another network");
        Ok(most)
    })?;
    let grown = memory(pid)?.saturating_sub(before);
    println!("{answered} victims got {packets} packets with {bytes} bytes; memory grew by {grown} KiB");
    assert!(most_sessions <= 64, "{most_sessions} sessions");
    assert!(answered > 0, "nobody was answered, so nothing was shown");
    assert!(grown <= 8192, "{grown} KiB more");
    assert_eq!(bystander_gets(&site, "big")?.len(), 1 << 20);
    Ok(())
}

/// What a victim got: never more than one small packet and five repeats.
fn collect(socket: &UdpSocket, packets: &mut u32, bytes: &mut usize, answered: &mut u32) -> Result<()> {
    let mut buffer = [0; 65_536];
    let mut count = 0;
    while let Ok(len) = socket.recv(&mut buffer) {
        ensure!(len <= 516, "a packet of {len} bytes for somebody who has answered nothing");
        count += 1;
        *bytes += len;
    }
    ensure!(count <= 6, "{count} packets for somebody who has answered nothing");
    *packets += count;
    *answered += u32::from(count > 0);
    Ok(())
}

/// The transfer ports of a process's network; each may have several sockets. With 53 and 123 the box itself speaks, when it sees
/// whether its own names and time are answered.
fn sessions(pid: i32) -> Result<usize> {
    let address = format!("{:08X}:", u32::from_ne_bytes(BOX.octets()));
    let text = fs::read_to_string(format!("/proc/{pid}/net/udp"))?;
    let port_of = |end: &str| u16::from_str_radix(end.rsplit(':').next()?, 16).ok();
    let ports = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (own, other) = (words.next()?, words.next()?);
        let itself = matches!(port_of(other), Some(53 | 123));
        own.starts_with(&address).then(|| port_of(own)).flatten().filter(|_| !itself)
    });
    Ok(ports.filter(|port| ![67, 68, 69, 4011].contains(port)).collect::<HashSet<u16>>().len())
}

#[test]
fn mutated_packets_end_nothing_and_fill_nothing() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve(MANY_SESSIONS)?;
    fs::write(own_files(&appliance).join("big"), noise(1 << 20))?;
    let pid = appliance.pid()?.as_raw_nonzero().get();
    let seed = Dice::seed();
    println!("RACKBERRY_SEED={seed}");
    let mut dice = Dice::new(seed);
    let (wanted, limit) = if soak() { (1_000_000, Duration::MAX) } else { (1_000_000, Duration::from_secs(20)) };
    // What the first seconds make it allocate is no growth.
    let mut baseline = 0;
    let begun = Instant::now();
    let mut sent = 0u32;
    site.room.enter(|| {
        let sockets: Vec<UdpSocket> = (0..16).map(|_| UdpSocket::bind("0.0.0.0:0")).collect::<Result<_, _>>()?;
        for socket in &sockets {
            socket.set_nonblocking(true)?;
        }
        let mut sessions = vec![SocketAddr::V4(SERVER); sockets.len()];
        let mut buffer = [0; 2000];
        while sent < wanted && begun.elapsed() < limit {
            for (socket, session) in sockets.iter().zip(&mut sessions) {
                let packet = mutated(&mut dice);
                let to = if dice.below(2) == 0 { SocketAddr::V4(SERVER) } else { *session };
                // A transfer that has ended is told by ICMP; the next packet goes nevertheless.
                let _told = socket.send_to(&packet, to);
                while let Ok((_, from)) = socket.recv_from(&mut buffer) {
                    *session = from;
                }
                sent += 1;
            }
            if sent.is_multiple_of(320) {
                wait_until_taken(pid)?;
            }
            if baseline == 0 && begun.elapsed() > Duration::from_secs(4) {
                baseline = memory(pid)?;
            }
        }
        Ok(())
    })?;
    still_the_same(&appliance, pid)?;
    let grown = memory(pid)?.saturating_sub(baseline);
    println!("{sent} mutated packets in {:.1?}: 0 exits, memory grew by {grown} KiB", begun.elapsed());
    assert!(baseline > 0, "too few packets to say anything");
    assert!(grown <= 8192, "{grown} KiB more");
    assert_eq!(bystander_gets(&site, "big")?.len(), 1 << 20);
    Ok(())
}

/// Waits until the server has read its socket empty, so that what is counted has been taken and not dropped by the kernel.
fn wait_until_taken(pid: i32) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let text = fs::read_to_string(format!("/proc/{pid}/net/udp"))?;
        let waiting = text.lines().filter(|line| line.contains(":0045 ")).any(|line| {
            let queues = line.split_whitespace().nth(4).unwrap_or_default();
            !queues.ends_with(":00000000")
        });
        if !waiting {
            return Ok(());
        }
        ensure!(Instant::now() < until, "the server reads no more");
    }
}

fn still_the_same(appliance: &Appliance, pid: i32) -> Result<()> {
    ensure!(appliance.pid()?.as_raw_nonzero().get() == pid, "another process");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    ensure!(!status.contains("State:\tZ"), "the process has ended");
    Ok(())
}

/// A packet as it should not be.
fn mutated(dice: &mut Dice) -> Vec<u8> {
    const SEEDS: [&[u8]; 10] = [
        GREEDY,
        PLAIN,
        b"\0\x01big\0netascii\0blksize\x001428\0windowsize\x004\0",
        b"\0\x01no/such/file\0OCTET\0tsize\x000\0",
        b"\0\x02big\0octet\0",
        b"\0\x03\0\x01data data data",
        b"\0\x04\0\0",
        b"\0\x04\0\x01",
        b"\0\x05\0\x08User aborted\0",
        b"\0\x06blksize\x001428\0",
    ];
    let mut packet = dice.pick::<&[u8]>(&SEEDS).to_vec();
    for _ in 0..dice.below(5) {
        let at = usize::try_from(dice.below(u32::try_from(packet.len() + 1).unwrap_or(1))).unwrap_or(0);
        let byte = dice.throw().to_ne_bytes()[0];
        match dice.below(5) {
            0 => packet.truncate(at),
            1 => packet.insert(at, byte),
            2 => packet.extend_from_slice(dice.pick::<&[u8]>(&SEEDS)),
            _ => {
                if let Some(place) = packet.get_mut(at) {
                    *place ^= 1 << (byte % 8);
                }
            }
        }
    }
    packet
}
