//! What a network does to a server: planted conflicts, floods of made-up machines, broken packets. Each prints its own
//! figures; `RACKBERRY_SOAK` makes them large.

use crate::cases::{Cases, PATIENCE};
use crate::mutate::mutate;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};
use system_tests::pxe::client::new_xid;
use system_tests::pxe::link::{BROADCAST_MAC, Datagram, Link};
use system_tests::pxe::message::{Message, kind, option};
use system_tests::pxe::{Kind, Machine};
use system_tests::site::{BOX, ROOM_LINK, api};
use system_tests::{Appliance, Dice, PxeClient, Site, appliance};

pub fn add(cases: &mut Cases) {
    cases.section("H5 address conflicts");
    cases.alone("500 addresses that others use: none of them is offered", conflicts);
    cases.section("H2 a box in the wrong socket");
    cases.alone("laptops and printers in pxe-only: none of them hears of us", laptops);
    cases.section("H4 floods");
    cases.alone("made-up machines: known hosts are served, memory and rows are bounded", flood);
    cases.section("H3 broken packets");
    cases.alone("mutated packets on 67 and 4011: the server stays and does not grow", mutated);
}

fn soak() -> bool {
    std::env::var_os("RACKBERRY_SOAK").is_some()
}

fn start(site: &Site, dhcp: &str) -> Result<Appliance> {
    let log = [("RACKBERRY_LOG", "warn,rackberry=warn,rackberry::app=info")];
    Appliance::start_with(&appliance::binary()?, &site.seat, &site.settings(dhcp, ""), &log)
}

/// Resident memory, in bytes.
fn memory(appliance: &Appliance) -> Result<u64> {
    let path = format!("/proc/{}/status", appliance.pid()?.as_raw_nonzero());
    let status = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.split_whitespace().next().context("VmRSS is empty")?.parse()?;
    Ok(kib * 1024)
}

fn mib(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20)
}

fn conflicts() -> Result<String> {
    const PLANTED: u32 = 500;
    let site = Site::new()?;
    let first = u32::from(Ipv4Addr::new(10, 77, 64, 0));
    let planted: HashSet<Ipv4Addr> = (0..PLANTED).map(|n| Ipv4Addr::from(first + n)).collect();
    let batch: String = planted.iter().map(|address| format!("address add {address}/32 dev {ROOM_LINK}\n")).collect();
    let file = site.scratch().join("planted");
    std::fs::write(&file, batch)?;
    site.room.ip(&format!("-batch {}", file.display()))?;
    // The pool is these and as many free ones behind them.
    let last = Ipv4Addr::from(first + 2 * PLANTED - 1);
    let _server = start(&site, &format!("mode = \"server\"\npool = \"10.77.64.0-{last}\""))?;
    let link = Link::open(&site.room, ROOM_LINK)?;
    let machines: Vec<Machine> = (0..100).map(|n| Machine::new(700_000 + n, Kind::Plain)).collect();
    let mut open: Vec<Message> = machines.iter().map(|machine| machine.message(kind::DISCOVER, new_xid())).collect();
    let (mut offered, mut from_planted) = (HashSet::new(), 0);
    let end = Instant::now() + 3 * PATIENCE;
    while !open.is_empty() && Instant::now() < end {
        for message in &open {
            broadcast(&link, message)?;
        }
        let again = Instant::now() + Duration::from_secs(1);
        while let Some(answer) = reply(&link, again)? {
            let before = open.len();
            open.retain(|message| message.xid != answer.xid);
            if open.len() < before {
                offered.insert(answer.yiaddr);
                from_planted += u32::from(planted.contains(&answer.yiaddr));
            }
        }
    }
    ensure!(open.is_empty(), "{} of {} machines got no offer", open.len(), machines.len());
    ensure!(from_planted == 0, "{from_planted} addresses in use were offered");
    Ok(format!("{from_planted} of {PLANTED} offered; {} machines got {} free ones", machines.len(), offered.len()))
}

fn laptops() -> Result<String> {
    const LAPTOPS: u32 = 10_000;
    let site = Site::new()?;
    let dhcp = "mode = \"pxe-only\"\npool = \"10.77.64.0-10.77.127.255\"\nprobe_unit_ms = 50\nprobe_listen_ms = 300\nlook_ms = 400";
    let server = start(&site, dhcp)?;
    let client = PxeClient::new(&site.room, ROOM_LINK)?;
    client.lease(&Machine::new(500_000, Kind::UefiPxe(7)), PATIENCE).context("a machine that boots, before")?;
    let link = Link::open(&site.room, ROOM_LINK)?;
    let mut dice = Dice::new(11);
    let mut answers = 0;
    for n in 0..LAPTOPS {
        let machine = Machine::new(510_000 + n, Kind::Plain);
        let class = *dice.pick(&["MSFT 5.0", "dhcpcd-9.4.1", "android-dhcp-14", "udhcp 1.36.1", "x"]);
        let machine = machine.with(option::VENDOR_CLASS, class.as_bytes());
        let mut message = machine.message(*dice.pick(&[kind::DISCOVER, kind::REQUEST, kind::INFORM]), new_xid());
        if message.message_type() == kind::REQUEST {
            message.set(option::REQUESTED_ADDRESS, &[10, 77, 64, 9]);
        } else if message.message_type() == kind::INFORM {
            message.ciaddr = Ipv4Addr::new(10, 77, 3, 9);
        }
        broadcast(&link, &message)?;
        if n % 20 == 19 {
            while let Some(answer) = reply(&link, Instant::now() + Duration::from_millis(4))? {
                answers += u32::from(!answer.yiaddr.is_unspecified() || answer.message_type() != kind::OFFER);
            }
        }
    }
    // Who asks after all of them is answered after all of them.
    client.lease(&Machine::new(500_001, Kind::UefiPxe(7)), PATIENCE).context("a machine that boots, behind")?;
    while let Some(answer) = reply(&link, Instant::now() + Duration::from_millis(50))? {
        answers += u32::from(answer.mac[3..] >= Machine::new(510_000, Kind::Plain).mac[3..]);
    }
    drop(server);
    ensure!(answers == 0, "{answers} answers");
    Ok(format!("{answers} answers to {LAPTOPS} messages"))
}

fn broadcast(link: &Link, message: &Message) -> Result<()> {
    let (from, to) = (SocketAddrV4::new(message.ciaddr, 68), SocketAddrV4::new(Ipv4Addr::BROADCAST, 67));
    link.send(&Datagram { from_mac: message.mac, to_mac: BROADCAST_MAC, from, to, payload: message.encode() })
}

/// The next answer of the box to anybody.
fn reply(link: &Link, until: Instant) -> Result<Option<Message>> {
    while let Some(datagram) = link.receive(until)? {
        if *datagram.from.ip() == BOX && datagram.from.port() == 67 {
            return Message::decode(&datagram.payload).map(Some);
        }
    }
    Ok(None)
}

fn flood() -> Result<String> {
    let machines: u32 = if soak() { 100_000 } else { 30_000 };
    let site = Site::new()?;
    const MOST_HOSTS: usize = 500;
    let dhcp = "mode = \"server\"\npool = \"10.77.64.0-10.77.79.255\"\nlease_s = 600";
    let more = format!("max_hosts = {MOST_HOSTS}\n");
    let settings = site.settings(dhcp, &more);
    let log = [("RACKBERRY_LOG", "warn,rackberry::app=info")];
    let server = Appliance::start_with(&appliance::binary()?, &site.seat, &settings, &log)?;
    let known: Vec<Machine> = (0..40).map(|n| Machine::new(800_000 + n, Kind::UefiPxe(7))).collect();
    let list: String = known.iter().map(|machine| format!("{}\n", machine.mac_text())).collect();
    api(&server).call("POST", "/hosts", Some(&json!({ "list": list })))?;
    let before = memory(&server)?;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let began = Instant::now();
    let (waits, sent) = std::thread::scope(|scope| -> Result<_> {
        let flooder = scope.spawn(|| -> Result<u32> {
            let link = Link::open(&site.room, ROOM_LINK)?;
            let mut dice = Dice::new(7);
            for n in 0..machines {
                // Half boot, a quarter are laptops, a quarter take an address without an offer.
                let kind = if n % 2 == 0 { Kind::UefiPxe(7) } else { Kind::Plain };
                let machine = Machine::new(1_000_000 + n, kind);
                let mut message = machine.message(kind::DISCOVER, new_xid());
                if n % 4 == 3 {
                    message = machine.message(kind::REQUEST, new_xid());
                    let wish = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 77, 64, 0)) + dice.below(4096));
                    message.set(option::REQUESTED_ADDRESS, &wish.octets());
                    message.set(option::SERVER_ID, &BOX.octets());
                }
                broadcast(&link, &message)?;
                if n % 50 == 49 {
                    // 5,000 a second and no more.
                    let due = began + Duration::from_micros(200 * u64::from(n));
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                }
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            Ok(machines)
        });
        let mut waits = Vec::new();
        let client = PxeClient::new(&site.room, ROOM_LINK)?;
        while !stop.load(std::sync::atomic::Ordering::Relaxed) || waits.len() < known.len() {
            let Some(machine) = known.get(waits.len()) else { break };
            let asked = Instant::now();
            client.lease(machine, PATIENCE).with_context(|| format!("known host {} under the flood", waits.len()))?;
            waits.push(asked.elapsed());
        }
        let sent = flooder.join().map_err(|_| anyhow::anyhow!("the flood panicked"))??;
        Ok((waits, sent))
    })?;
    let took = began.elapsed();
    let grown = memory(&server)?.saturating_sub(before);
    let hosts = api(&server).get("/hosts")?.as_array().map_or(0, Vec::len);
    let mut sorted = waits.clone();
    sorted.sort_unstable();
    ensure!(waits.len() == known.len(), "{} of {} known hosts were served", waits.len(), known.len());
    ensure!(hosts <= MOST_HOSTS + known.len(), "{hosts} hosts entered the list");
    ensure!(grown < 64 << 20, "{} more memory", mib(grown));
    let at = |part: usize| sorted.get(sorted.len() * part / 100).copied().unwrap_or_default();
    Ok(format!(
        "{sent} machines in {took:?}; {} known hosts leased, p50 {:?}, p99 {:?}; {hosts} hosts in the list; {} more memory",
        waits.len(),
        at(50),
        at(99),
        mib(grown)
    ))
}

fn mutated() -> Result<String> {
    let packets: u64 = if soak() { 1_000_000 } else { 100_000 };
    let seed = std::env::var("RACKBERRY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_260);
    let site = Site::new()?;
    let mut server = start(&site, "mode = \"server\"\npool = \"10.77.64.0-10.77.127.255\"\ndynamic_bootp = true")?;
    let seeds = seeds()?;
    let client = PxeClient::new(&site.room, ROOM_LINK)?;
    let mut alive = 0;
    let mut ask = |number: u32| -> Result<()> {
        let machine = Machine::new(600_000 + number, Kind::UefiPxe(7));
        client.lease(&machine, PATIENCE).context("a sound machine among the broken ones")?;
        alive += 1;
        Ok(())
    };
    let socket = site.room.enter(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_broadcast(true)?;
        Ok(socket)
    })?;
    let mut dice = Dice::new(seed);
    let mut warm = 0;
    let began = Instant::now();
    for number in 0..packets {
        let bytes = mutate(&dice.pick::<Vec<u8>>(&seeds).clone(), &mut dice);
        let port = if number % 4 == 3 { 4011 } else { 67 };
        // A full buffer on the way is no matter: the number that arrives is large all the same.
        let _ = socket.send_to(&bytes, SocketAddrV4::new(BOX, port));
        if number % 64 == 63 {
            std::thread::sleep(Duration::from_micros(if soak() { 4000 } else { 2000 }));
        }
        if number % (packets / 10) == packets / 10 - 1 {
            ask(u32::try_from(number / (packets / 10))?)?;
            if number < packets / 5 {
                warm = memory(&server)?;
            }
        }
    }
    let grown = memory(&server)?.saturating_sub(warm);
    server.stop(PATIENCE).context("it has to end when it is told to, and no sooner")?;
    ensure!(grown <= 16 << 20, "{} more memory after the first fifth", mib(grown));
    Ok(format!(
        "{packets} packets in {:?}, seed {seed}: 0 exits, {alive} sound machines served, {} more memory",
        began.elapsed(),
        mib(grown)
    ))
}

/// Packets of real firmware, from the recordings, and the fuzz corpus.
fn seeds() -> Result<Vec<Vec<u8>>> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seeds = Vec::new();
    for entry in std::fs::read_dir(root.join("fuzz/corpus/dhcp"))? {
        seeds.push(std::fs::read(entry?.path())?);
    }
    ensure!(seeds.len() >= 20, "only {} packets in the corpus", seeds.len());
    Ok(seeds)
}
