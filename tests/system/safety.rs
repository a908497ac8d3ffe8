//! The wrong machine is never erased, counted: network boots of hosts that are not armed, hosts that race for one
//! permission, and replies that are lost or come twice.
//!
//! Each prints its counts and seconds; `RACKBERRY_SEED` repeats a run's luck.

use anyhow::{Context, Result, ensure};
use rackberry_core::{
    agent::{Answer, News, Received, Run},
    task::TaskOrder,
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    net::{Ipv4Addr, UdpSocket},
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use system_tests::{
    Crowd, Dice, FakeAgent, FakeHost, Faults, Life, LocalApi, Site,
    fake_agent::{Leave, Said, Script},
    loader_config,
    pxe::{Kind, Machine, tftp, web},
    side_by_side,
    site::{self, BOOT, LOADERS, ROOM_LINK},
};

const PATIENCE: Duration = Duration::from_secs(30);
/// `next` is held when there is nothing to do, so silence for this long is an answer.
const MOMENT: Duration = Duration::from_millis(100);
const THREADS: usize = 48;

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn install_of(api: &LocalApi, host: &FakeHost) -> Result<Value> {
    let shown = api.get(&format!("/hosts/{}", host.mac.hyphens()))?;
    Ok(shown.get("install").cloned().unwrap_or_default())
}

fn phase(install: &Value) -> &str {
    install.pointer("/state/phase").and_then(Value::as_str).unwrap_or_default()
}

fn arm(api: &LocalApi, host: &FakeHost) -> Result<String> {
    let body = json!({ "profile": "debian-13", "erase": true });
    let install = api.call("POST", &format!("/hosts/{}/install", host.mac.hyphens()), Some(&body))?;
    Ok(text(&install, "id").to_owned())
}

fn steer(api: &LocalApi, host: &FakeHost, verb: &str) -> Result<Value> {
    api.call("POST", &format!("/hosts/{}/{verb}", host.mac.hyphens()), None)
}

/// How many events of a kind there are.
fn counted(events: &[Value], kind: &str) -> usize {
    events.iter().filter(|event| text(event, "kind") == kind).count()
}

/// Hosts in the room at addresses that they were leased.
fn hosts(crowd: &Crowd<'_>, numbers: std::ops::Range<u32>) -> Result<Vec<FakeHost>> {
    let machines: Vec<Machine> = numbers.clone().map(|number| Machine::new(number, Kind::Ipxe(7))).collect();
    let mut hosts = Vec::new();
    for (machines, numbers) in machines.chunks(128).zip(numbers.collect::<Vec<_>>().chunks(128)) {
        let leased = crowd.lease(machines, PATIENCE)?;
        hosts.extend(numbers.iter().zip(leased).map(|(number, leased)| FakeHost::new(*number, leased.address)));
    }
    Ok(hosts)
}

fn greet(host: &FakeHost) -> Result<()> {
    let mut life = Life::new(Faults::default(), 1);
    let said = host.boot(BOOT, &mut life)?.hello();
    ensure!(matches!(said, Said::Answer(_)), "hello of {}: {said:?}", host.mac);
    Ok(())
}

/// What a host went through before the boots that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Past {
    Known,
    Done,
    Failed,
    Interrupted,
    /// Armed, and disarmed again.
    Disarmed,
}

const PASTS: [Past; 5] = [Past::Known, Past::Done, Past::Failed, Past::Interrupted, Past::Disarmed];

/// Brings a host there, and says what its install is called then.
fn live_through(past: Past, host: &FakeHost, api: &LocalApi) -> Result<&'static str> {
    let mut life = Life::new(Faults::default(), 1);
    let until = Instant::now() + PATIENCE;
    greet(host)?;
    if past == Past::Known {
        return Ok("");
    }
    arm(api, host)?;
    if past == Past::Disarmed {
        steer(api, host, "disarm")?;
        return Ok("cancelled");
    }
    if past == Past::Done {
        host.live(BOOT, &mut life, until)?;
        ensure!(life.erased.len() == 1, "{life:?}");
        return Ok("done");
    }
    let mut agent = host.boot(BOOT, &mut life)?;
    let _ = agent.hello();
    let Said::Answer(Answer::Run { run, .. }) = agent.next(&[], PATIENCE) else {
        anyhow::bail!("no order for {}", host.mac)
    };
    agent.insist(&News::Started { run: run.clone() }, until)?;
    if past == Past::Failed {
        agent.insist(&News::Failed { run, transient: false, message: "the disk is broken".into() }, until)?;
        return Ok("failed");
    }
    greet(host)?;
    Ok("interrupted")
}

/// One of the counted boots.
#[derive(Clone, Debug)]
struct Boot {
    machine: Machine,
    host: FakeHost,
    seed: u32,
}

/// What came of the counted boots.
#[derive(Debug, Default)]
struct Tally {
    ram_os: AtomicU32,
    local_disk: AtomicU32,
    nothing: AtomicU32,
    asked_again: AtomicU32,
    heads: AtomicU32,
    refused: AtomicU32,
    loaders: AtomicU32,
    configs: AtomicU32,
    agents: AtomicU32,
    installers: AtomicU32,
    orders: AtomicU32,
}

impl Tally {
    fn add(counter: &AtomicU32) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn script(&self, script: &Script) {
        Self::add(match script {
            Script::RamOs { .. } => &self.ram_os,
            Script::LocalDisk => &self.local_disk,
            Script::NothingToBoot => &self.nothing,
            Script::AskAgain => &self.asked_again,
            Script::Other(text) => {
                eprintln!("not one of our harmless scripts:\n{text}");
                &self.installers
            }
        });
    }
}

/// Loader, script and agent of one boot, as far as its firmware gets.
fn boot_once(boot: &Boot, tally: &Tally) -> Result<()> {
    let (host, mut dice) = (&boot.host, Dice::new(boot.seed.into()));
    let by_tftp = |name: &str| {
        let socket = UdpSocket::bind((host.address, 0))?;
        let server = std::net::SocketAddrV4::new(*BOOT.ip(), 69);
        tftp::fetch(socket, server, name, &tftp::Options { blksize: Some(1428), ..tftp::Options::default() })
    };
    let mut line = web::Connection::open_from(host.address, BOOT, PATIENCE)?;
    match dice.below(10) {
        0..3 => {
            let loader = dice.pick(&LOADERS);
            for method in ["HEAD", "GET"] {
                let reply = line.request(method, &format!("/{loader}"), &[])?;
                ensure!(reply.status == 200, "{method} {loader}: {}", reply.status);
            }
            Tally::add(&tally.loaders);
        }
        3..6 => {
            let loader = dice.pick(&LOADERS);
            ensure!(!by_tftp(loader)?.data.is_empty(), "{loader}");
            Tally::add(&tally.loaders);
        }
        _ => {}
    }
    // PXELINUX and GRUB take the same decision by names of their own.
    if dice.hits(30.0) {
        return boot_by_config(boot, &mut dice, tally);
    }
    let (dashed, colons) = (host.mac.hyphens(), host.mac.to_string());
    let ask = host.ask();
    let path = match dice.below(10) {
        0 => format!("/boot/{dashed}"),
        1 => format!("/boot/{}", colons.to_uppercase()),
        2 => format!("/boot.ipxe?mac={colons}"),
        3 => format!("/{ask}&extra=1"),
        4 => ask.replace("arch=x86_64&platform=efi", "arch=i386&platform=pcbios"),
        5 => "/autoexec.ipxe".to_owned(),
        6 => ask.replace("/boot.ipxe", "/BOOT.IPXE"),
        _ => ask.clone(),
    };
    // HEAD shows the same and changes nothing; the token in it is none.
    if dice.hits(20.0) {
        let reply = line.request("HEAD", &path, &[])?;
        ensure!(matches!(reply.status, 200 | 404) && reply.body.is_empty(), "{reply:?}");
        Tally::add(&tally.heads);
    }
    if dice.hits(10.0) {
        let fetched = by_tftp(dice.pick::<&str>(&["autoexec.ipxe", "boot.ipxe", "\\autoexec.ipxe"]))?;
        tally.script(&Script::read(&String::from_utf8_lossy(&fetched.data)));
    }
    let reply = line.request("GET", &path, &[])?;
    if reply.status == 404 {
        Tally::add(&tally.refused);
        ensure!(!reply.text().starts_with("#!"), "{}", reply.text());
    } else {
        ensure!(reply.status == 200, "{path}: {} {}", reply.status, reply.text());
    }
    let mut script = if reply.status == 200 { Script::read(&reply.text()) } else { Script::AskAgain };
    if reply.status == 200 {
        tally.script(&script);
    }
    if script == Script::AskAgain {
        script = Script::read(&line.request("GET", &ask, &[])?.text());
        tally.script(&script);
    }
    let Script::RamOs { token, .. } = script else { return Ok(()) };
    agent_once(host, &token, &mut dice, tally, &[])
}

/// The search of PXELINUX or GRUB, by TFTP or HTTP, until a name is answered.
fn boot_by_config(boot: &Boot, dice: &mut Dice, tally: &Tally) -> Result<()> {
    let host = &boot.host;
    let hex = format!("{:08X}", u32::from(host.address));
    let names = [host.uuid.clone(), format!("01-{}", host.mac.hyphens()), hex, String::new()];
    let (of_grub, by_http) = (dice.hits(50.0), dice.hits(50.0));
    for name in names {
        let path = match (of_grub, name.as_str()) {
            (true, "") => "grub/grub.cfg".to_owned(),
            (true, name) => format!("grub/grub.cfg-{name}"),
            (false, "") => "pxelinux.cfg/default".to_owned(),
            (false, name) => format!("pxelinux.cfg/{name}"),
        };
        let found = if by_http {
            let reply =
                web::Connection::open_from(host.address, BOOT, PATIENCE)?.request("GET", &format!("/{path}"), &[])?;
            (reply.status == 200).then(|| reply.text())
        } else {
            let server = std::net::SocketAddrV4::new(*BOOT.ip(), 69);
            match tftp::fetch(UdpSocket::bind((host.address, 0))?, server, &path, &tftp::Options::default()) {
                Ok(fetched) => Some(String::from_utf8(fetched.data)?),
                Err(error) if format!("{error:#}").contains("not found") => None,
                Err(error) => return Err(error),
            }
        };
        let Some(text) = found else { continue };
        let script = if of_grub { loader_config::grub(&text) } else { loader_config::pxelinux(&text) };
        tally.script(&script);
        Tally::add(&tally.configs);
        let Script::RamOs { token, .. } = script else { return Ok(()) };
        // A card that just moved to another machine may still count as the former's: then its token helps nobody.
        return agent_once(host, &token, dice, tally, &[403]);
    }
    Tally::add(&tally.refused);
    Ok(())
}

/// The agent of one boot asks for orders; `refusals` of its hello end it without a fault.
fn agent_once(host: &FakeHost, token: &str, dice: &mut Dice, tally: &Tally, refusals: &[u16]) -> Result<()> {
    Tally::add(&tally.agents);
    let mut life = Life::new(Faults::default(), 1);
    if dice.hits(3.0) {
        let mut forger = FakeAgent::new(host, BOOT, "0".repeat(32), &mut life);
        ensure!(forger.hello() == Said::Refused(404), "a token that nobody was given");
    }
    let mut agent = FakeAgent::new(host, BOOT, token.to_owned(), &mut life);
    let said = agent.hello();
    if let Said::Refused(status) = said
        && refusals.contains(&status)
    {
        Tally::add(&tally.refused);
        return Ok(());
    }
    ensure!(matches!(said, Said::Answer(_)), "hello of {}: {said:?}", host.mac);
    match agent.next(&[], MOMENT) {
        Said::Answer(Answer::Run { run, order }) => {
            eprintln!("{} was ordered {run:?}: {order:?}", host.mac);
            Tally::add(&tally.orders);
        }
        Said::Answer(_) | Said::Nothing => {}
        Said::Refused(status) => anyhow::bail!("next of {}: {status}", host.mac),
    }
    Ok(())
}

#[test]
fn hosts_that_are_not_armed_never_get_an_installer_or_an_order() -> Result<()> {
    let (seed, boots, each) = (Dice::seed(), 10_000, 24);
    println!("unarmed: seed {seed}");
    let site = Site::new()?;
    let mut appliance = site.serve("")?;
    site.import_image(&appliance)?;
    let api = site::api(&appliance);
    let crowd = Crowd::new(&site.room, ROOM_LINK)?;
    let began = Instant::now();
    let mut known: Vec<FakeHost> = hosts(&crowd, 1..1 + u32::try_from(each * PASTS.len())?)?;
    // Half of them have a system on their disk.
    for host in known.iter_mut().step_by(2) {
        for disk in &mut host.facts.disks {
            disk.content.blank = false;
            disk.content.table = Some("gpt".into());
        }
    }
    let pasts: Vec<Past> = PASTS.into_iter().cycle().take(known.len()).collect();
    let words = side_by_side(&site.room, THREADS, &known, |at, host| {
        live_through(*pasts.get(at).context("a past")?, host, &api)
    })?;
    println!("unarmed: {} hosts with a past after {:?}", known.len(), began.elapsed());
    let before = api.events("")?;

    let mut dice = Dice::new(seed);
    let tally = Tally::default();
    let kinds = [Kind::BiosPxe, Kind::UefiPxe(7), Kind::UefiPxe(11), Kind::UefiHttp(16), Kind::Ipxe(0), Kind::Ipxe(7)];
    let (mut unknown, mut rivals, mut fresh) = (0, 0, 100_000);
    let began = Instant::now();
    let mut made = 0;
    while made < boots {
        // The last tenth meets a box that sends strangers to their disks.
        if made >= boots / 10 * 9 && appliance.log().count("rackberry is ready") == 1 {
            std::fs::write(
                appliance.config_file(),
                std::fs::read_to_string(appliance.config_file())?.replace("[boot]\n", "[boot]\ndiscovery = false\n"),
            )?;
            appliance.restart()?;
        }
        let mut wave: HashMap<[u8; 6], (Machine, FakeHost)> = HashMap::new();
        for _ in 0..200.min(boots - made) {
            let kind = *dice.pick(&kinds);
            let (machine, host) = if dice.hits(14.0) {
                unknown += 1;
                fresh += 1;
                (Machine::new(fresh, kind), FakeHost::new(fresh, Ipv4Addr::UNSPECIFIED))
            } else {
                let host = dice.pick(&known).clone();
                let mut machine = Machine::new(0, kind);
                machine.mac = host.mac.0;
                if dice.hits(15.0) {
                    // The same card in another machine.
                    rivals += 1;
                    let other = 50_000 + dice.below(300);
                    let rival = FakeHost::new(other, host.address);
                    machine.uuid = Machine::new(other, kind).uuid;
                    (machine, FakeHost { mac: host.mac, ..rival })
                } else {
                    let [_, _, _, _, a, b] = host.mac.0;
                    machine.uuid = Machine::new(u32::from_be_bytes([0, 0, a, b]), kind).uuid;
                    (machine, host)
                }
            };
            // One card boots once at a time; another throw decides for the next wave.
            wave.entry(machine.mac).or_insert((machine, host));
        }
        let wave: Vec<(Machine, FakeHost)> = wave.into_values().collect();
        let machines: Vec<Machine> = wave.iter().map(|(machine, _)| machine.clone()).collect();
        let leased = crowd.lease(&machines, PATIENCE)?;
        let wave: Vec<Boot> = wave
            .into_iter()
            .zip(leased)
            .map(|((machine, host), leased)| Boot {
                machine,
                host: FakeHost { address: leased.address, ..host },
                seed: dice.throw(),
            })
            .collect();
        side_by_side(&site.room, THREADS, &wave, |_, boot| {
            boot_once(boot, &tally).with_context(|| format!("{:?} {}", boot.machine.kind, boot.host.mac))
        })?;
        made += wave.len();
    }
    let took = began.elapsed();
    let after = api.events("")?;
    let count = |kind: &str| counted(&after, kind) - counted(&before, kind);
    let destructive = count("task_claimed") + count("task_started") + count("task_repeated");
    println!(
        "unarmed: {made} network boots by DHCP and HTTP in {:.1} s ({unknown} of unknown machines, {rivals} of other \
         machines on known cards): {tally:?}; destructive events {destructive}",
        took.as_secs_f64()
    );
    assert_eq!(tally.installers.load(Ordering::Relaxed), 0, "installer scripts");
    assert_eq!(tally.orders.load(Ordering::Relaxed), 0, "orders");
    assert_eq!(destructive, 0);
    for counter in [
        &tally.ram_os,
        &tally.local_disk,
        &tally.asked_again,
        &tally.heads,
        &tally.loaders,
        &tally.configs,
        &tally.agents,
    ] {
        assert!(counter.load(Ordering::Relaxed) > 100, "a path that was hardly taken: {tally:?}");
    }
    // And each is what it was, whoever came under its address meanwhile.
    let all = api.get("/hosts")?;
    for ((host, past), word) in known.iter().zip(pasts).zip(words) {
        let disk = host.facts.disks.first().map(|disk| disk.serial.as_str().to_owned()).unwrap_or_default();
        let serial = |shown: &&Value| {
            shown.get("serial").and_then(Value::as_str) == Some(&host.serial)
                && shown.pointer("/facts/disks/0/serial").and_then(Value::as_str) == Some(&disk)
        };
        let shown = all.as_array().into_iter().flatten().find(serial).with_context(|| format!("{past:?} is gone"))?;
        let install = shown.get("install").cloned().unwrap_or_default();
        assert_eq!(phase(&install), word, "{past:?}: {shown}");
    }
    drop(appliance);
    Ok(())
}

#[derive(Debug, Default)]
struct Races {
    winners: u32,
    orders: u32,
    started: u32,
    interrupted: u32,
    disarmed: u32,
}

/// What one of two that pretend to be the same host got: the order, and whether it may begin.
fn claimant(host: &FakeHost, greeted: Option<&Barrier>, over: &AtomicBool, patience: Duration) -> Result<(u32, u32)> {
    let mut life = Life::new(Faults::default(), 1);
    let wait = || greeted.map(Barrier::wait);
    let Ok(Script::RamOs { token, .. }) = host.script(BOOT) else {
        wait();
        return Ok((0, 0));
    };
    let mut agent = FakeAgent::new(host, BOOT, token, &mut life);
    let hello = agent.hello();
    wait();
    if !matches!(hello, Said::Answer(_)) {
        return Ok((0, 0));
    }
    let until = Instant::now() + patience;
    while Instant::now() < until {
        // Read before asking: whoever was asked to stop asks once more, so that a second order would show.
        let last = over.load(Ordering::Relaxed);
        match agent.next(&[], Duration::from_millis(120)) {
            Said::Answer(Answer::Run { run, order }) if matches!(*order, TaskOrder::WriteImage { .. }) => {
                over.store(true, Ordering::Relaxed);
                let begins = agent.report(&News::Started { run }) == Said::Answer(Received { stop: false });
                return Ok((1, u32::from(begins)));
            }
            Said::Answer(Answer::Run { run, .. }) => anyhow::bail!("another order than the first: {run:?}"),
            Said::Answer(_) | Said::Refused(_) | Said::Nothing => {}
        }
        if last {
            return Ok((0, 0));
        }
    }
    Ok((0, 0))
}

/// How two meet the permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// Both wait in the RAM OS when the person presses the button.
    Waiting,
    /// Armed before; both have greeted the box before one of them asks.
    Greeted,
    /// Armed before; each goes on as fast as it can, so that one may greet the box while the other works.
    Free,
}

/// Arms `host` and lets it race with its twin.
fn race(api: &LocalApi, host: &FakeHost, twin: &FakeHost, site: &Site, start: Start) -> Result<Races> {
    let (greeted, over) = (Barrier::new(3), AtomicBool::new(false));
    let barrier = (start != Start::Free).then_some(&greeted);
    let mut races = Races::default();
    std::thread::scope(|scope| {
        if start != Start::Waiting {
            arm(api, host)?;
        }
        let racers: Vec<_> = [host, twin]
            .into_iter()
            .map(|racer| {
                scope.spawn(|| {
                    site.room.join_current_thread()?;
                    claimant(racer, barrier, &over, Duration::from_secs(5))
                })
            })
            .collect();
        barrier.map(Barrier::wait);
        if start == Start::Waiting {
            arm(api, host)?;
        }
        for racer in racers {
            let (orders, started) = racer.join().map_err(|_| anyhow::anyhow!("a racer panicked"))??;
            races.orders += orders;
            races.started += started;
        }
        Ok::<_, anyhow::Error>(())
    })?;
    Ok(races)
}

#[test]
fn of_two_hosts_that_race_for_one_permission_one_wins() -> Result<()> {
    let races = 1000;
    let site = Site::new()?;
    let appliance = site.serve("[install]\nmax_writes = 1000\nmax_writes_per_image = 1000\n")?;
    site.import_image(&appliance)?;
    let api = site::api(&appliance);
    let crowd = Crowd::new(&site.room, ROOM_LINK)?;
    let began = Instant::now();
    let hosts = hosts(&crowd, 1..51)?;
    let twins: Vec<Ipv4Addr> = (1..=50).map(|last| Ipv4Addr::new(10, 77, 2, last)).collect();
    crowd.settle(twins.iter().copied())?;
    let pairs: Vec<(FakeHost, FakeHost)> =
        hosts.into_iter().zip(twins).map(|(host, address)| (host.clone(), FakeHost { address, ..host })).collect();
    side_by_side(&site.room, 16, &pairs, |_, (host, _)| greet(host))?;

    let rounds = races / pairs.len();
    let done = side_by_side(&site.room, 12, &pairs, |at, (host, twin)| {
        let mut sum = Races::default();
        for round in 0..rounds {
            let starts = [Start::Waiting, Start::Greeted, Start::Free];
            let start = *starts.get((at + round) % 3).context("a start")?;
            let one = race(&api, host, twin, &site, start)?;
            let install = install_of(&api, host)?;
            // On a loaded machine an order may come after its racer gave up waiting. Then the other's boot interrupts the
            // install, or the box takes the order for lost; the winner is the one whom the box wrote down.
            let consumed = install.pointer("/state/arm/consumed").is_some_and(|at| !at.is_null());
            ensure!(one.orders <= 1, "{} orders in round {round} of {}: {install}", one.orders, host.mac);
            ensure!(consumed, "nobody won round {round} of {}: {install}", host.mac);
            sum.winners += 1;
            ensure!(one.started <= 1, "{} began: {install}", one.started);
            sum.interrupted += u32::from(phase(&install) == "interrupted");
            sum.orders += one.orders;
            sum.started += one.started;
            steer(&api, host, "cancel")?;
        }
        Ok(sum)
    })?;
    let sum = |of: fn(&Races) -> u32| done.iter().map(of).sum::<u32>();
    let events = api.events("")?;
    // A claim whose order was lost is made anew after a while; that is the same permission.
    let first = |event: &&Value| event.get("attempt").and_then(Value::as_u64) == Some(1);
    let claims = events.iter().filter(|event| text(event, "kind") == "task_claimed").filter(first).count();
    println!(
        "race: {} permissions raced for by two in {:.1} s: {} winners, {} orders received, {} allowed to \
         begin, {} interrupted by the other's boot, {claims} claims recorded",
        rounds * pairs.len(),
        began.elapsed().as_secs_f64(),
        sum(|race| race.winners),
        sum(|race| race.orders),
        sum(|race| race.started),
        sum(|race| race.interrupted),
    );
    assert_eq!(claims, rounds * pairs.len());
    // Most winners hear that they won, or nothing was raced for.
    assert!(usize::try_from(sum(|race| race.orders))? * 2 > claims);

    // Another machine under the armed host's address: it never wins, whether the armed one does or is disarmed.
    let began = Instant::now();
    let rivals: Vec<(FakeHost, FakeHost)> = (1..)
        .zip(&pairs)
        .map(|(number, (host, twin))| {
            let rival = FakeHost::new(70_000 + number, twin.address);
            (host.clone(), FakeHost { mac: host.mac, ..rival })
        })
        .collect();
    let rounds = 4u64;
    let lost = side_by_side(&site.room, 12, &rivals, |_, (host, rival)| {
        let mut sum = Races::default();
        for round in 0..rounds {
            // The address comes home first.
            greet(host)?;
            arm(&api, host)?;
            let over = AtomicBool::new(false);
            let (own, other) = std::thread::scope(|scope| {
                let racer = |who, delay| {
                    let (over, site) = (&over, &site);
                    scope.spawn(move || {
                        site.room.join_current_thread()?;
                        std::thread::sleep(delay);
                        claimant(who, None, over, Duration::from_millis(500))
                    })
                };
                let (own, other) = (racer(host, Duration::ZERO), racer(rival, Duration::from_millis(round * 25)));
                let join = |racer: std::thread::ScopedJoinHandle<'_, Result<(u32, u32)>>| {
                    racer.join().map_err(|_| anyhow::anyhow!("a racer panicked"))?
                };
                Ok::<_, anyhow::Error>((join(own)?, join(other)?))
            })?;
            ensure!(other == (0, 0), "another machine was given the order for {}", host.mac);
            sum.orders += own.0;
            sum.started += own.1;
            let all = api.get("/hosts")?;
            let ours = |shown: &&Value| shown.get("serial").and_then(Value::as_str) == Some(&host.serial);
            let shown = all.as_array().into_iter().flatten().find(ours).context("the armed host is gone")?;
            let install = shown.get("install").cloned().unwrap_or_default();
            if phase(&install) == "cancelled" {
                ensure!(own.0 == 0, "an order although it was disarmed: {install}");
                sum.disarmed += 1;
            } else {
                let _ = api.ask("POST", &format!("/hosts/{}/cancel", text(shown, "id")), None)?;
            }
        }
        Ok(sum)
    })?;
    let sum = |of: fn(&Races) -> u32| lost.iter().map(of).sum::<u32>();
    println!(
        "race: {} permissions raced for by the host and another machine on its address in {:.1} s: the other won 0, \
         the host {}, disarmed {}",
        lost.len() * usize::try_from(rounds)?,
        began.elapsed().as_secs_f64(),
        sum(|race| race.orders),
        sum(|race| race.disarmed),
    );
    assert!(sum(|race| race.disarmed) > 0);
    Ok(())
}

#[test]
fn lost_and_doubled_replies_lose_no_install_and_erase_nothing_twice() -> Result<()> {
    let (seed, wanted) = (Dice::seed(), 200);
    println!("replies: seed {seed}");
    let site = Site::new()?;
    let appliance = site.serve("[install]\nmax_writes = 1000\nmax_writes_per_image = 1000\n")?;
    site.import_image(&appliance)?;
    let api = site::api(&appliance);
    let crowd = Crowd::new(&site.room, ROOM_LINK)?;
    let hosts = hosts(&crowd, 1..101)?;
    side_by_side(&site.room, THREADS, &hosts, |_, host| greet(host))?;
    let began = Instant::now();
    let (mut arming, mut lives) = (0, Vec::new());
    while arming < wanted {
        let round = side_by_side(&site.room, 50, &hosts, |at, host| {
            // Exactly where the permission is used: the order's reply is lost, or its request comes twice.
            let mut life = Life::new(Faults::default(), seed ^ u64::try_from(at)?);
            let install = arm(&api, host)?;
            let mut agent = host.boot(BOOT, &mut life)?;
            ensure!(matches!(agent.hello(), Said::Answer(_)), "hello");
            let (lose, double) = if at % 2 == 0 { (100.0, 0.0) } else { (0.0, 100.0) };
            agent.life().faults = Faults { lose, double, die: 0.0 };
            let _ = agent.next(&[], MOMENT);
            // The rest of its life is as bad as a rack gets.
            agent.life().faults = Faults { lose: 15.0, double: 15.0, die: 0.0 };
            let until = Instant::now() + Duration::from_secs(60);
            if agent.work(until)? == Leave::Restart {
                host.live(BOOT, &mut life, until)?;
            }
            let runs: Vec<&Run> = life.erased.iter().filter(|run| run.install.to_string() == install).collect();
            ensure!(runs.len() == 1, "{} was erased {} times: {life:?}", host.mac, runs.len());
            let shown = install_of(&api, host)?;
            ensure!(phase(&shown) == "done" && text(&shown, "id") == install, "{}: {shown}", host.mac);
            Ok(life)
        })?;
        arming += round.len();
        lives.extend(round);
    }
    let sum = |of: fn(&Life) -> u32| lives.iter().map(of).sum::<u32>();
    let erased: usize = lives.iter().map(|life| life.erased.len()).sum();
    println!(
        "replies: {arming} installs whose arming reply was lost or doubled, with {} lost and {} doubled messages in all, \
         in {:.1} s: {erased} erases, {} lost installs",
        sum(|life| life.lost),
        sum(|life| life.doubled),
        began.elapsed().as_secs_f64(),
        arming - lives.len(),
    );
    assert_eq!(erased, arming);
    assert_eq!(counted(&api.events("")?, "armed"), arming);
    Ok(())
}

/// The same machine, after somebody put a system on its disk.
fn used(host: &FakeHost) -> FakeHost {
    let mut used = host.clone();
    for disk in &mut used.facts.disks {
        disk.content.blank = false;
        disk.content.system = Some("Windows".into());
    }
    used
}

#[test]
fn a_disk_that_nobody_saw_full_is_not_erased() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    site.import_image(&appliance)?;
    let api = site::api(&appliance);
    let crowd = Crowd::new(&site.room, ROOM_LINK)?;
    let hosts = hosts(&crowd, 1..5)?;
    let [empty_then, unseen, confirmed, blank] = hosts.as_slice() else { anyhow::bail!("four hosts were asked for") };
    site.room.enter(|| greet(empty_then))?;
    let list: Vec<String> = [unseen, confirmed, blank].iter().map(|host| host.mac.to_string()).collect();
    api.call("POST", "/hosts", Some(&json!({ "list": list.join("\n") })))?;
    for (host, erase) in [(empty_then, false), (unseen, false), (confirmed, true), (blank, false)] {
        let body = json!({ "profile": "debian-13", "erase": erase });
        api.call("POST", &format!("/hosts/{}/install", host.mac.hyphens()), Some(&body))?;
    }
    let order = |host: &FakeHost| -> Result<bool> {
        site.room.enter(|| {
            let mut life = Life::new(Faults::default(), 1);
            let mut agent = host.boot(BOOT, &mut life)?;
            ensure!(matches!(agent.hello(), Said::Answer(_)), "hello of {}", host.mac);
            let until = Instant::now() + PATIENCE;
            while Instant::now() < until {
                if let Said::Answer(Answer::Run { order, .. }) = agent.next(&[], MOMENT) {
                    return Ok(matches!(*order, TaskOrder::WriteImage { .. }));
                }
                if phase(&install_of(&api, host)?) == "failed" {
                    return Ok(false);
                }
            }
            anyhow::bail!("neither an order nor a refusal for {}", host.mac)
        })
    };
    for host in [empty_then, unseen] {
        ensure!(!order(&used(host))?, "{} was erased", host.mac);
        let install = install_of(&api, host)?;
        let reason = install.pointer("/state/reason").and_then(Value::as_str).unwrap_or_default();
        assert!(reason.contains("holds Windows, and nobody confirmed"), "{reason}");
        assert!(reason.ends_with("Nothing was written."), "{reason}");
    }
    assert!(order(&used(confirmed))?, "a person confirmed it");
    assert!(order(blank)?, "an empty disk needs no confirmation");
    Ok(())
}
