//! The SD card as it is written to a card: it boots, serves, lets in by SSH whom its settings name, falls back to the other slot,
//! and loses nothing in a power cut.
//!
//! `RACKBERRY_SOAK=1` cuts the power 20 times instead of 4, hangs the program and its guard, and measures what an idle box writes.

#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by a name that it lacks is null, never a panic")]

mod visitor;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use system_tests::{
    Card, Dice, Firmware, Netns, TimeServer, Vm,
    card::{Remote, shell},
    mdns::Neighbour,
    pxe::web::Connection,
    rack,
};
use visitor::{Visitor, log_in};

/// Many times what is usual, as the machine may be slow and busy.
const LIMIT: Duration = Duration::from_secs(900);
const BOX: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
const PAGE: SocketAddrV4 = SocketAddrV4::new(BOX, 8000);
/// Nobody else is there, so that the look round may be short.
const SETTINGS: &str = "[dhcp]\nprobe_unit_ms = 100\nprobe_listen_ms = 400\n";
/// How a PC's kernel says that it got no timer interrupt in time.
const STARVED: &str = "---[ end Kernel panic - not syncing: IO-APIC + timer doesn't work!";
const SIZE: u64 = 4 << 30;

/// A network with room for the box, a machine, and us.
fn network() -> Result<Netns> {
    let ns = Netns::new()?;
    ns.bridge("br0", Some("192.168.77.2/24"))?;
    ns.tap("box", Some("br0"))?;
    ns.tap("machine", Some("br0"))?;
    Ok(ns)
}

/// Waits for the box's own word and for an answer of its page; the seconds that the box counted from its kernel's start.
fn ready(ns: &Netns, vm: &Vm, mark: usize) -> Result<String> {
    let line = vm.wait_after(mark, "rackberry is ready after", LIMIT)?;
    ensure!(line.contains("http://192.168.77.1:8000"), "{line}");
    let until = Instant::now() + LIMIT;
    let reply = loop {
        match ns.enter(|| Connection::open(PAGE)?.request("GET", "/login", &[])) {
            Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(500)),
            reply => break reply?,
        }
    };
    ensure!(matches!(reply.status, 200 | 303), "{}", reply.status);
    Ok(line.split("after ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or("?").to_owned())
}

fn remote<'a>(ns: &'a Netns, vm: &mut Vm) -> Result<Remote<'a>> {
    let said = shell(vm, "rackberry --json token add test", LIMIT)?;
    let json = said.lines().find(|line| line.starts_with('{')).with_context(|| format!("no token in {said}"))?;
    let token: Value = serde_json::from_str(json)?;
    Ok(Remote::new(ns, "http://192.168.77.1:8000", token["token"].as_str().context("no token")?))
}

#[test]
fn it_boots_read_only_and_installs_a_machine_from_blank_disk_to_its_own_disk() -> Result<()> {
    let (ns, card) = (network()?, Card::new(SIZE, &format!("{SETTINGS}[time]\nntp = [\"192.168.77.2\"]\n"))?);
    let time = ns.enter(|| TimeServer::at(Ipv4Addr::new(192, 168, 77, 2)))?;
    let began = Instant::now();
    // A clock chip that knows nothing, as on a Pi.
    let clockless = card.machine(Firmware::ArmKernel)?.extra(&["-rtc", "base=2020-01-01"]);
    let mut vm = clockless.start(&ns, "box")?;
    let seconds = ready(&ns, &vm, 0)?;
    println!("card: ready {seconds} s after its kernel's start, {} s after power-on", began.elapsed().as_secs());
    vm.wait_for("one-time code", LIMIT)?;

    let neighbour = ns.enter(|| Neighbour::join(Ipv4Addr::new(192, 168, 77, 2)))?;
    ensure!(neighbour.resolve("rackberry", LIMIT)? == BOX, "rackberry.local is somebody else");
    let proof = "for f in / /etc /usr/bin /boot; do touch $f/x 2>/dev/null && echo WRITTEN $f; done; \
                 mount -o remount,rw / 2>/dev/null; touch /x 2>/dev/null && echo WRITTEN; \
                 df -m /srv | tail -n 1; cat /run/card/env; grep -h ^Cap[PE] $(grep -ls '^Uid:.*900' /proc/[0-9]*/status | head -n 1)";
    let said = shell(&mut vm, proof, LIMIT)?;
    ensure!(!said.contains("WRITTEN") && said.contains("SLOT=a"), "{said}");
    let store = said.lines().find(|line| line.ends_with("/srv")).and_then(|line| line.split_whitespace().nth(1));
    let store: u64 = store.and_then(|megabytes| megabytes.parse().ok()).with_context(|| format!("no store: {said}"))?;
    ensure!(store > 3000, "the store did not grow: {store} MB");
    ensure!(said.matches("0000000000000000").count() == 2, "the program kept rights: {said}");
    let refused = ns.enter(|| Ok(TcpStream::connect_timeout(&SocketAddrV4::new(BOX, 22).into(), LIMIT)))?;
    ensure!(
        refused.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused),
        "port 22 of a box whose settings say nothing of SSH: {refused:?}"
    );
    println!("card: root and boot partition read-only, the store {store} MB of a card of {} MB", SIZE >> 20);

    let helper = "grep -h ^Cap[PB] $(grep -ls clock-helper /proc/[0-9]*/cmdline | sed 's/cmdline/status/') 2>/dev/null; \
                  test -L /etc/resolv.conf -a -e /etc/resolv.conf && echo NAMES";
    let said = shell(&mut vm, helper, LIMIT)?;
    // CAP_SYS_TIME alone, now and whatever it starts.
    ensure!(said.matches("0000000002000000").count() == 2 && said.contains("NAMES"), "the clock's helper: {said}");
    let until = Instant::now() + LIMIT;
    loop {
        let said = shell(&mut vm, "date +%s", LIMIT)?;
        let theirs = said.lines().find_map(|line| line.trim().parse::<u64>().ok());
        let ours = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        if theirs.is_some_and(|theirs| theirs.abs_diff(ours) < 60) {
            break;
        }
        ensure!(Instant::now() < until, "its clock says {theirs:?}, not {ours}, after {} questions", time.asked());
        std::thread::sleep(Duration::from_secs(1));
    }
    println!("card: its clock is set {} s after power-on, by {} questions", began.elapsed().as_secs(), time.asked());

    let remote = remote(&ns, &mut vm)?;
    let began = Instant::now();
    let image = rack::image()?;
    remote.cli(&["image", "import", image.to_str().context("the image's path")?, "--name", "debian-13"])?;
    println!("card: the image is imported after {} s", began.elapsed().as_secs());

    let began = Instant::now();
    let mut machine = Vm::builder(Firmware::Bios).mac(Some("52:54:00:77:0c:01")).memory(1024).start(&ns, "machine")?;
    let waiting = remote.wait_host(machine.mac(), "waiting", LIMIT, |host| {
        (host["condition"] == "waiting").then(|| host["name"].as_str().unwrap_or_default().to_owned())
    });
    let name = machine.with_last_words(waiting)?;
    println!("card: the machine waits in the RAM OS after {} s", began.elapsed().as_secs());
    remote.cli(&["install", &name, "debian-13", "--set", "user=admin"])?;
    let over = ["done", "failed", "timed_out", "cancelled", "interrupted"];
    let (until, mut resets) = (Instant::now() + LIMIT, 0);
    let ended = loop {
        let ended = remote.wait_host(machine.mac(), "end of its install", Duration::from_secs(5), |host| {
            let phase = host["install"]["state"]["phase"].as_str()?;
            over.contains(&phase).then(|| format!("{phase}: {}", host["sentence"]))
        });
        // An emulated machine that gets too little of a busy processor misses its timer, and its kernel gives up at once.
        if machine.console().count(STARVED) > resets {
            resets += 1;
            println!("card: the machine's kernel missed its timer and panicked; reset");
            machine.reset()?;
        } else if ended.is_ok() || Instant::now() >= until {
            break ended;
        }
    };
    let ended = machine.with_last_words(ended)?;
    ensure!(ended.starts_with("done"), "{ended}");
    machine.wait_for(&format!("{name} login:"), LIMIT)?;
    println!("card: the machine is up from its own disk after {} s", began.elapsed().as_secs());
    Ok(())
}

/// Settings that no box can follow, and what it has to say of them.
const BAD: [(&str, &[u8], &str); 3] = [
    ("no TOML", b"[dhcp\nmode = auto\n", "rackberry.toml, line 1"),
    (
        "unknown and impossible values",
        b"[dhcp]\nmode = \"everything\"\nlease_s = -5\n[box]\naddress = \"300.1.2.3/99\"\nfoo = 1\n",
        "dhcp.mode",
    ),
    ("noise", &[0xff, 0x00, 0xfe, b'[', 0x80, b'\n', 0xc3, 0x28], "rackberry.toml"),
];

/// A state block's line, as docs/sd-card.md describes it.
fn block(seq: u32, good: char, tried: char, left: u32) -> Vec<u8> {
    let body = format!("rackberry-slots 1 seq={seq} good={good} try={tried} left={left}");
    let mut sum = u32::MAX;
    for byte in body.bytes() {
        sum ^= u32::from(byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ if sum & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    let mut sector = format!("{body} crc={:08x}\n", !sum).into_bytes();
    sector.resize(512, 0);
    sector
}

#[test]
fn it_falls_back_to_the_other_slot_and_keeps_what_it_acknowledged_through_power_cuts() -> Result<()> {
    let visitor = Visitor::new()?;
    let user = |name: &str| format!("[[box.user]]\nname = \"{name}\"\nssh_keys = [\"{}\"]\n", visitor.public);
    let people = format!("[box]\nssh = true\n{}{}", user("anna"), user("root"));
    let (ns, card) = (network()?, Card::new(SIZE, &format!("{SETTINGS}{people}"))?);
    let seed = Dice::seed();
    println!("card: RACKBERRY_SEED={seed}");
    let mut dice = Dice::new(seed);

    let cuts = if std::env::var_os("RACKBERRY_SOAK").is_some() { 20 } else { 4 };
    // Slot B is on trial and full of noise.
    let noise: Vec<u8> = (0..1 << 18).flat_map(|_| dice.throw().to_le_bytes()).collect();
    card.write("B_START", &noise)?;
    card.write("BLOCK_2", &block(1, 'a', 'b', 3))?;
    let mut acknowledged: Vec<String> = Vec::new();
    let mut token: Option<String> = None;
    let mut bad = BAD.iter();
    for round in 0_u32..=cuts {
        let spoiled = if round >= 2 { bad.next() } else { None };
        if let Some((_, text, _)) = spoiled {
            card.put("rackberry.toml", text)?;
        }
        let mut vm = card.machine(Firmware::ArmKernel)?.start(&ns, "box")?;
        let seconds = ready(&ns, &vm, 0)?;
        let slots = shell(&mut vm, "cat /run/card/env", LIMIT)?;
        let wanted = match round {
            // The first start finds noise in B and gives it up for good.
            0 | 1 | 4.. => "SLOT=a\nTRYING=\n",
            // Then B is a copy of A, and on trial for two starts.
            2 | 3 => "SLOT=b\nTRYING=yes\n",
        };
        ensure!(slots.contains(wanted), "start {round}: {slots}");
        if round == 0 {
            ensure!(vm.console().count("slot b cannot be mounted; starting slot a") == 1, "{}", vm.console().text());
        }
        let remote = match &token {
            Some(token) => Remote::new(&ns, "http://192.168.77.1:8000", token),
            None => {
                let remote = remote(&ns, &mut vm)?;
                token = Some(remote.token().to_owned());
                remote
            }
        };
        if let Some((what, _, wanted)) = spoiled {
            let report = shell(&mut vm, "cat /boot/rackberry-report.txt", LIMIT)?;
            ensure!(report.contains(wanted), "settings that are {what}: {wanted} is not in {report}");
            println!(
                "card: settings that are {what}: ready after {seconds} s all the same; {}",
                report.trim().lines().next_back().unwrap_or_default()
            );
        }
        let names = remote.names()?;
        let lost: Vec<_> = acknowledged.iter().filter(|name| !names.contains(name)).collect();
        ensure!(lost.is_empty(), "start {round}: {lost:?} were acknowledged and are gone; there are {names:?}");
        if round <= 1 {
            // The second start has the key that the first one made.
            let trust = if round == 0 { "accept-new" } else { "yes" };
            ensure!(visitor.run(&ns, trust, "anna", "echo $USER $HOME")? == "anna /run/card/home/anna\n");
            let hosts = visitor.run(&ns, "yes", "root", "rackberry --json host list")?;
            ensure!(hosts.starts_with('['), "{hosts}");
            ensure!(visitor.ways(&ns)? == "publickey", "without being asked the box takes {}", visitor.ways(&ns)?);
        }
        for number in 0..=dice.below(3) {
            let name = format!("node-{round}-{number}");
            remote.cli(&["host", "add", &format!("02:00:00:00:{round:02x}:{number:02x}"), &name])?;
            acknowledged.push(name);
        }
        // Nothing is synced for the card's sake: the cut comes at any time after the last answer.
        std::thread::sleep(Duration::from_millis(dice.below(3000).into()));
        vm.kill()?;
        println!("card: start {round} was ready after {seconds} s; power cut with {} facts", acknowledged.len());
        if round == 1 {
            // It wrote BLOCK_1 to use a try up, then BLOCK_2 to give the slot up.
            let left = String::from_utf8_lossy(&card.read("BLOCK_2", 44)?).into_owned();
            ensure!(left == "rackberry-slots 1 seq=3 good=a try=b left=0 ", "{left}");
            let system = card.read("A_START", 192 << 20)?;
            card.write("B_START", &system)?;
            card.write("BLOCK_1", &block(9, 'a', 'b', 2))?;
        }
    }
    println!("card: logged in by SSH with a key, the box's own key the same after a power cut, no passwords");
    println!("card: {cuts} power cuts, {cuts} clean starts, 0 of {} acknowledged facts lost", acknowledged.len());
    Ok(())
}

#[test]
fn it_boots_on_a_raspberry_pi_3_from_its_card_slot() -> Result<()> {
    let visitor = Visitor::new()?;
    let people = "[box]\nssh = true\nssh_passwords = true\n[[box.user]]\nname = \"root\"\npassword = \"open sesame\"\n";
    let (ns, card) = (network()?, Card::new(SIZE, &format!("{SETTINGS}{people}"))?);
    let began = Instant::now();
    let mut vm = card.machine_with(Firmware::Pi3Kernel, &["rackberry.nowatchdog"])?.start(&ns, "box")?;
    let seconds = ready(&ns, &vm, 0)?;
    log_in(&mut vm, "open sesame")?;
    println!("card: Pi 3: ready {seconds} s after its kernel's start, {} s after power-on", began.elapsed().as_secs());
    let said = shell(&mut vm, "cat /run/card/env /sys/firmware/devicetree/base/model; echo; ls /dev/watchdog", LIMIT)?;
    for wanted in ["DISK=/dev/mmcblk0", "Raspberry Pi 3 Model B", "\n/dev/watchdog"] {
        ensure!(said.contains(wanted), "{wanted} is not in {said}");
    }
    let until = Instant::now() + LIMIT;
    let ways = loop {
        match visitor.ways(&ns) {
            Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(500)),
            ways => break ways?,
        }
    };
    ensure!(ways == "publickey,password", "asked for passwords the box takes {ways}");
    Ok(())
}

/// Kibibytes written to the whole card since its kernel's start: sectors, the tenth column of /proc/diskstats.
fn written(vm: &mut Vm) -> Result<u64> {
    let said = shell(vm, "sync; . /run/card/env; cat /proc/diskstats", LIMIT)?;
    let mut lines = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let whole = lines.find(|words| words.get(2).is_some_and(|name| matches!(*name, "vda" | "mmcblk0")));
    let sectors = whole.and_then(|words| words.get(9)?.parse::<u64>().ok());
    Ok(sectors.with_context(|| format!("no disk in {said}"))? / 2)
}

#[test]
fn a_hung_program_is_started_again_a_hung_guard_resets_the_box_and_idle_it_hardly_writes() -> Result<()> {
    if std::env::var_os("RACKBERRY_SOAK").is_none() {
        println!("not run: it takes half an hour; RACKBERRY_SOAK=1 runs it");
        return Ok(());
    }
    let (ns, card) = (network()?, Card::new(SIZE, SETTINGS)?);
    let mut vm = card.watched_machine()?.start(&ns, "box")?;
    ready(&ns, &vm, 0)?;
    let said = shell(
        &mut vm,
        "cat /proc/sys/net/ipv4/neigh/default/gc_thresh3; ls /dev/watchdog; ps | grep -c '[w]atchdog -F'",
        LIMIT,
    )?;
    ensure!(said.contains("16384") && said.contains("\n/dev/watchdog\n0"), "the guard took over: {said}");

    let minutes: u64 = std::env::var("RACKBERRY_IDLE_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(15);
    // The start's own writes are over by then.
    std::thread::sleep(Duration::from_secs(90));
    let before = written(&mut vm)?;
    std::thread::sleep(Duration::from_secs(60 * minutes));
    let kibibytes = written(&mut vm)? - before;
    let hour = kibibytes * 60 / minutes;
    println!("card: idle, {kibibytes} KiB written in {minutes} min, {hour} KiB in an hour");

    // A fifth one within ten minutes would start the box again.
    let hangs = 4;
    let mut worst = Duration::ZERO;
    for hang in 0..hangs {
        // One that hangs before its first word has a minute, and then the box starts again.
        let well = "until [ $(($(cut -d. -f1 /proc/uptime) - $(cat /run/rackberry/heartbeat))) -lt 3 ]; do sleep 1; done; sleep 5";
        shell(&mut vm, well, LIMIT)?;
        let mark = vm.console().mark();
        shell(
            &mut vm,
            "for p in $(pidof rackberry); do case $(tr '\\0' ' ' </proc/$p/cmdline) in *' serve '*) kill -STOP $p;; esac; done",
            LIMIT,
        )?;
        let began = Instant::now();
        vm.wait_after(mark, "the program has been silent", LIMIT)?;
        ready(&ns, &vm, mark)?;
        worst = worst.max(began.elapsed());
        println!("card: hang {hang}: served again after {} s", began.elapsed().as_secs());
    }
    println!("card: {hangs} times SIGSTOP, served again after {} s at most", worst.as_secs());

    let mark = vm.console().mark();
    vm.type_text("for p in $(pidof guard); do kill -STOP $p; done\n")?;
    let began = Instant::now();
    ready(&ns, &vm, mark)?;
    println!("card: the guard hangs: reset, and served again after {} s", began.elapsed().as_secs());
    ensure!(hour <= 1024, "an idle box writes {hour} KiB in an hour");
    Ok(())
}
