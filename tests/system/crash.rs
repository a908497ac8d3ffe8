//! The box is killed again and again while hosts install and ask for addresses: whatever it acknowledged is there
//! afterwards, and every install ends as done.
//!
//! Prints its counts; `RACKBERRY_SEED` repeats a run's luck, `RACKBERRY_SOAK=1` kills twenty times as often.

use anyhow::{Context, Result, bail, ensure};
use rackberry_core::agent::{News, Run};
use serde_json::{Value, json};
use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use system_tests::{
    Crowd, Dice, FakeHost, Faults, Life, LocalApi, PxeClient, Site,
    fake_agent::Said,
    pxe::{
        Kind, Machine,
        client::new_xid,
        message::{kind, option},
    },
    side_by_side,
    site::{self, BOOT, ROOM_LINK},
};

/// No install may hang for longer, kills and all.
const STUCK: Duration = Duration::from_secs(120);
const HOSTS: u32 = 20;

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A call of the API that is repeated while the box is down.
fn insist(api: &LocalApi, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
    let until = Instant::now() + STUCK;
    loop {
        match api.ask(method, path, body) {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() >= until => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Arms the host; the install's id, and whether the box acknowledged it to us rather than showed it afterwards.
fn arm(api: &LocalApi, host: &FakeHost) -> Result<(String, bool)> {
    let path = format!("/hosts/{}", host.mac.hyphens());
    let body = json!({ "profile": "debian-13", "erase": true });
    match insist(api, "POST", &format!("{path}/install"), Some(&body))? {
        (200, install) => Ok((text(&install, "id").to_owned(), true)),
        // The answer to a first try was lost with the box.
        (409, _) => {
            let (_, shown) = insist(api, "GET", &path, None)?;
            let install = shown.get("install").context("no install is shown")?;
            Ok((text(install, "id").to_owned(), false))
        }
        (status, answer) => bail!("arming {}: {status} {answer}", host.mac),
    }
}

/// What one host did.
#[derive(Debug)]
struct Story {
    life: Life,
    armed: Vec<String>,
    done: Vec<String>,
    longest: Duration,
}

/// Installs one time after the other until `over`.
fn install_again_and_again(host: &FakeHost, api: &LocalApi, seed: u64, over: &AtomicBool) -> Result<Story> {
    let faults = Faults { lose: 2.0, double: 2.0, die: 1.0 };
    let (armed, done) = (Vec::new(), Vec::new());
    let mut story = Story { life: Life::new(faults, seed), armed, done, longest: Duration::ZERO };
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let (id, acknowledged) = arm(api, host)?;
        if acknowledged {
            story.armed.push(id.clone());
        }
        host.live(BOOT, &mut story.life, began + STUCK)?;
        let (_, shown) = insist(api, "GET", &format!("/hosts/{}", host.mac.hyphens()), None)?;
        let phase = shown.pointer("/install/state/phase").and_then(Value::as_str);
        let last = shown.pointer("/install/id").and_then(Value::as_str);
        ensure!(phase == Some("done") && last == Some(&id), "{} after its install {id}: {shown}", host.mac);
        story.done.push(id);
        story.longest = story.longest.max(began.elapsed());
    }
    Ok(story)
}

/// What a person does who looks at the page: lets machines go on that lost power while they were written.
fn resume_what_broke_off(api: &LocalApi, over: &AtomicBool) -> u32 {
    let mut resumed = 0;
    while !over.load(Ordering::Relaxed) {
        if let Ok(hosts) = api.get("/hosts") {
            for host in hosts.as_array().into_iter().flatten() {
                if host.pointer("/install/state/phase").and_then(Value::as_str) == Some("interrupted") {
                    let path = format!("/hosts/{}/resume", text(host, "id"));
                    resumed += u32::from(matches!(api.ask("POST", &path, None), Ok((200, _))));
                }
            }
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    resumed
}

/// New machines ask for addresses until `over`; who was told which one.
fn lease_again_and_again(crowd: &Crowd<'_>, over: &AtomicBool) -> Result<Vec<(Machine, Ipv4Addr)>> {
    let mut leases = Vec::new();
    let mut number = 10_000;
    while !over.load(Ordering::Relaxed) {
        let machines: Vec<Machine> = (0..10u32).map(|more| Machine::new(number + more, Kind::Ipxe(7))).collect();
        number += 10;
        let leased = crowd.lease(&machines, STUCK)?;
        leases.extend(machines.into_iter().zip(leased).map(|(machine, leased)| (machine, leased.address)));
        std::thread::sleep(Duration::from_millis(30));
    }
    Ok(leases)
}

/// Whether the box knows this machine's lease: after a restart a client asks for the address that it had
/// (RFC 2131 section 4.3.2), and a server without a record of it stays silent.
fn remembers(client: &PxeClient<'_>, machine: &Machine, address: Ipv4Addr) -> Result<bool> {
    let mut message = machine.message(kind::REQUEST, new_xid());
    message.set(option::REQUESTED_ADDRESS, &address.octets());
    for _ in 0..3 {
        client.broadcast(&message)?;
        if let Some(answer) = client.answer(message.xid, machine.mac, Duration::from_secs(1))? {
            return Ok(answer.message.message_type() == kind::ACK && answer.message.yiaddr == address);
        }
    }
    Ok(false)
}

#[test]
fn fifty_kills_lose_no_install_no_acknowledged_event_and_no_lease() -> Result<()> {
    let seed = Dice::seed();
    let kills = if std::env::var_os("RACKBERRY_SOAK").is_some() { 1000 } else { 50 };
    println!("crash: seed {seed}");
    let site = Site::new()?;
    let mut appliance = site.serve("[install]\nmax_writes = 1000\nmax_writes_per_image = 1000\n")?;
    site.import_image(&appliance)?;
    let api = site::api(&appliance);
    let crowd = site.crowd()?;
    let machines: Vec<Machine> = (1..=HOSTS).map(|number| Machine::new(number, Kind::Ipxe(7))).collect();
    let leased = crowd.lease(&machines, STUCK)?;
    let mut leases: Vec<(Machine, Ipv4Addr)> =
        machines.into_iter().zip(leased.iter().map(|leased| leased.address)).collect();
    let hosts: Vec<FakeHost> =
        (1..).zip(&leased).map(|(number, leased)| FakeHost::new(number, leased.address)).collect();
    side_by_side(&site.room, 10, &hosts, |_, host| {
        let mut life = Life::new(Faults::default(), 1);
        ensure!(matches!(host.boot(BOOT, &mut life)?.hello(), Said::Answer(_)), "hello of {}", host.mac);
        Ok(())
    })?;

    let (over, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    let began = Instant::now();
    let starts: Mutex<Vec<Duration>> = Mutex::default();
    let (stories, resumed) = std::thread::scope(|scope| {
        let installing = scope.spawn(|| {
            let told = side_by_side(&site.room, hosts.len(), &hosts, |at, host| {
                install_again_and_again(host, &api, seed ^ (u64::try_from(at)? << 32), &over)
            });
            // Whoever failed must not leave the others waiting.
            over.store(true, Ordering::Relaxed);
            ended.store(true, Ordering::Relaxed);
            told
        });
        let leasing = scope.spawn(|| lease_again_and_again(&crowd, &over));
        let resuming = scope.spawn(|| resume_what_broke_off(&api, &ended));
        let killed = (|| {
            let mut dice = Dice::new(seed);
            for _ in 0..kills {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(u64::from(20 + dice.below(600))));
                let killed = Instant::now();
                appliance.restart()?;
                starts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(killed.elapsed());
            }
            Ok::<_, anyhow::Error>(())
        })();
        over.store(true, Ordering::Relaxed);
        let panicked = |_| anyhow::anyhow!("a thread panicked");
        let stories = installing.join().map_err(panicked)?;
        ended.store(true, Ordering::Relaxed);
        leases.extend(leasing.join().map_err(panicked)??);
        let resumed = resuming.join().map_err(panicked)?;
        killed?;
        Ok::<_, anyhow::Error>((stories?, resumed))
    })?;
    let took = began.elapsed();
    let starts = starts.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);

    // What is there after one more cut, read from the disk alone.
    appliance.restart()?;
    let events = api.events("")?;
    let missing = missing(&stories, &hosts, &events, &api)?;
    let client = PxeClient::new(&site.room, ROOM_LINK)?;
    let mut forgotten = Vec::new();
    for (machine, address) in &leases {
        if !remembers(&client, machine, *address)? {
            forgotten.push((machine.mac_text(), *address));
        }
    }
    let given: HashSet<Ipv4Addr> = leases.iter().map(|(_, address)| *address).collect();

    let sum = |of: fn(&Story) -> usize| stories.iter().map(of).sum::<usize>();
    let longest = stories.iter().map(|story| story.longest).max().unwrap_or_default();
    println!(
        "crash: {} kills in {:.1} s (back after {:?} on average, {:?} at most); {} installs on {} hosts all done in {} \
         network boots, {resumed} resumed after a power loss, longest {longest:?}; {} acknowledged reports, {} missing of {} \
         events; {} leases acknowledged, {} forgotten",
        starts.len(),
        took.as_secs_f64(),
        starts.iter().sum::<Duration>() / u32::try_from(starts.len())?.max(1),
        starts.iter().max(),
        sum(|story| story.done.len()),
        hosts.len(),
        stories.iter().map(|story| story.life.boots).sum::<u32>(),
        sum(|story| story.life.acknowledged.len() + story.armed.len()),
        missing.len(),
        events.len(),
        leases.len(),
        forgotten.len(),
    );
    assert_eq!(starts.len(), kills);
    assert!(missing.is_empty(), "{missing:?}");
    assert!(forgotten.is_empty(), "{forgotten:?}");
    assert_eq!(given.len(), leases.len(), "no address was given twice");
    assert!(sum(|story| story.done.len()) > hosts.len(), "too few installs to mean anything");
    Ok(())
}

/// What the box acknowledged and no event shows, and erases that no claim allowed.
fn missing(stories: &[Story], hosts: &[FakeHost], events: &[Value], api: &LocalApi) -> Result<Vec<String>> {
    let mut kept: HashMap<String, usize> = HashMap::new();
    for event in events {
        let (kind, install, host) = (text(event, "kind"), text(event, "install"), text(event, "host"));
        let attempt = event.get("attempt").and_then(Value::as_u64).unwrap_or_default();
        let key = match kind {
            "armed" | "resumed" => format!("{kind} {install}"),
            "first_boot" => format!("first_boot {host}"),
            _ => format!("{kind} {install} {} {attempt}", text(event, "task")),
        };
        *kept.entry(key).or_default() += 1;
    }
    let of_run = |kind: &str, run: &Run| format!("{kind} {} {} {}", run.install, run.task, run.attempt);
    let has = |key: &String| kept.get(key).copied().unwrap_or_default();
    let mut missing = Vec::new();
    for (story, host) in stories.iter().zip(hosts) {
        let shown = api.get(&format!("/hosts/{}", host.mac.hyphens()))?;
        let mut wanted: Vec<String> = story.armed.iter().map(|id| format!("armed {id}")).collect();
        let first_boots = format!("first_boot {}", text(&shown, "id"));
        let mut booted = 0;
        for news in &story.life.acknowledged {
            match news {
                News::Started { run } => wanted.push(of_run("task_started", run)),
                News::Done { run } => wanted.push(of_run("task_done", run)),
                News::FirstBoot { .. } => booted += 1,
                News::Progress { .. }
                | News::Failed { .. }
                | News::Log { .. }
                | News::Stage { .. }
                | News::Installed
                | News::InstallerFailed { .. } => {}
            }
        }
        missing.extend(wanted.into_iter().filter(|key| has(key) == 0));
        if has(&first_boots) < booted || booted < story.done.len() {
            missing.push(format!("{first_boots}: {booted} acknowledged, {} kept", has(&first_boots)));
        }
        // A run is begun once, however often the box fell over meanwhile.
        let once: HashSet<&Run> = story.life.erased.iter().collect();
        if once.len() != story.life.erased.len() {
            missing.push(format!("{}: a run erased its disk twice: {:?}", host.mac, story.life.erased));
        }
        let mut erases: HashMap<String, usize> = HashMap::new();
        for run in &story.life.erased {
            *erases.entry(run.install.to_string()).or_default() += 1;
        }
        for (install, erases) in erases {
            let resumed = has(&format!("resumed {install}"));
            if erases > 1 + resumed {
                missing.push(format!("{install} erased {erases} times, although a person resumed it {resumed} times"));
            }
        }
        for run in &story.life.erased {
            if has(&of_run("task_claimed", run)) != 1 {
                missing.push(format!("{}: erased without a claim: {run:?}", host.mac));
            }
        }
    }
    Ok(missing)
}
