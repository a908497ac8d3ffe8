//! The SD card is updated: what is good stays, what is not is left for the version before, and people are told.
//!
//! `RACKBERRY_SOAK=1` adds the trials that take their whole time, and cuts the power 20 times in the middle of an install, not once.

#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by a name that it lacks is null, never a panic")]

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{
    net::{Ipv4Addr, SocketAddrV4},
    path::Path,
    time::{Duration, Instant},
};
use system_tests::{
    Card, Dice, Firmware, Netns, Vm,
    bundle::Forge,
    card::{Remote, shell},
    pxe::web::Connection,
};

/// Many times what is usual, as the machine may be slow and busy.
const LIMIT: Duration = Duration::from_secs(900);
const PAGE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 77, 1), 8000);
const URL: &str = "http://192.168.77.1:8000";
/// Nobody else is there, so that the look round may be short.
const SETTINGS: &str = "[dhcp]\nprobe_unit_ms = 100\nprobe_listen_ms = 400\n";
const SIZE: u64 = 2 << 30;

fn network() -> Result<Netns> {
    let ns = Netns::new()?;
    ns.bridge("br0", Some("192.168.77.2/24"))?;
    ns.tap("box", Some("br0"))?;
    Ok(ns)
}

/// Waits for the box's own word and for an answer of its page.
fn ready(ns: &Netns, vm: &Vm, mark: usize) -> Result<()> {
    vm.with_last_words(vm.wait_after(mark, "rackberry is ready after", LIMIT))?;
    let until = Instant::now() + LIMIT;
    while let Err(error) = ns.enter(|| Connection::open(PAGE)?.request("GET", "/login", &[])) {
        ensure!(Instant::now() < until, "{error}");
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

fn token(vm: &mut Vm) -> Result<String> {
    let said = shell(vm, "rackberry --json token add test", LIMIT)?;
    let json = said.lines().find(|line| line.starts_with('{')).with_context(|| format!("no token in {said}"))?;
    let token: Value = serde_json::from_str(json)?;
    Ok(token["token"].as_str().context("no token")?.to_owned())
}

/// Waits until the box says what is wanted of its versions.
fn until(remote: &Remote<'_>, vm: &Vm, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let until = Instant::now() + LIMIT;
    loop {
        let said = remote.cli(&["update", "status"]);
        if let Ok(status) = &said
            && wanted(status)
        {
            return Ok(status.clone());
        }
        if Instant::now() >= until {
            return vm.with_last_words(Err(anyhow::anyhow!("{what}: {said:?}")));
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn install(remote: &Remote<'_>, bundle: &Path) -> Result<()> {
    remote.cli(&["update", bundle.to_str().context("the bundle's path")?])?;
    Ok(())
}

/// Everything stands still but the first process and the kernel: what fed the watchdog, and the guard of the trial.
const HANG: &str = "kill -STOP -1; while :; do sleep 1000; done";

#[test]
fn a_good_update_from_a_stick_proves_itself_and_one_that_hangs_is_rolled_back_by_the_watchdog() -> Result<()> {
    let (ns, card) = (network()?, Card::new(SIZE, SETTINGS)?);
    let forge = Forge::new(&card)?;
    let mut vm = card.watched_machine()?.start(&ns, "box")?;
    ready(&ns, &vm, 0)?;
    let remote = Remote::new(&ns, URL, &token(&mut vm)?);
    let before = until(&remote, &vm, "no status", |_| true)?;
    ensure!(before["slot"] == "a" && before["other_state"] == "empty" && before["development_key"] == true, "{before}");

    broken_bundles(&card, &remote, &forge)?;

    let (began, good) = (Instant::now(), forge.bundle("0.1.1")?);
    let plugged = Instant::now();
    vm.plug_stick(&forge.stick(&good)?)?;
    let offered = until(&remote, &vm, "the stick brings nothing", |status| !status["bundle"].is_null())?;
    ensure!(offered["bundle"]["header"]["version"] == "0.1.1" && offered["work"].is_null(), "{offered}");
    let alarms = alarm(&remote, "0.1.1")?;
    println!("update: 0.1.1 on a stick is offered {} s after it was plugged in: {alarms}", plugged.elapsed().as_secs());
    ensure!(card.read("B_START", START)?.iter().all(|byte| *byte == 0), "it was written before anybody said so");

    let mark = vm.console().mark();
    remote.cli(&["host", "add", "02:00:00:00:00:01", "kept"])?;
    remote.cli(&["update", "install"])?;
    println!("update: written after {} s, {} bytes", began.elapsed().as_secs(), std::fs::metadata(&good)?.len());
    ready(&ns, &vm, mark)?;
    let status = until(&remote, &vm, "it did not prove itself", |status| status["trying"] == false)?;
    ensure!(status["slot"] == "b" && status["version"] == "0.1.1" && status["other_state"] == "ready", "{status}");
    ensure!(status["last"]["outcome"] == "running" && remote.names()? == ["kept"], "{status}");
    println!("update: 0.1.1 has proved itself after {} s", began.elapsed().as_secs());

    let began = Instant::now();
    forge.script("usr/bin/init", HANG)?;
    let bad = forge.bundle("0.1.2")?;
    let mark = vm.console().mark();
    install(&remote, &bad)?;
    ready(&ns, &vm, mark)?;
    let status = until(&remote, &vm, "it was not rolled back", |status| status["last"]["outcome"] == "failed")?;
    ensure!(status["slot"] == "b" && status["version"] == "0.1.1" && status["other_state"] == "failed", "{status}");
    let alarms = alarm(&remote, "The update to")?;
    ensure!(alarms.contains("The update to 0.1.2 failed") && alarms.contains("0.1.1 is running"), "{alarms}");
    println!("update: 0.1.2 hung, and was rolled back after {} s: {alarms}", began.elapsed().as_secs());
    Ok(())
}

/// The start of a slot, in bytes: without it nothing in the slot looks like a root. And the whole slot.
const START: usize = 4096;
const SLOT: usize = 192 << 20;

/// Every kind is refused with its sentence; slot B is as empty as it was, or without the start of a root if the root had to be looked
/// into first; slot A runs on and takes the next bundle.
fn broken_bundles(card: &Card, remote: &Remote<'_>, forge: &Forge) -> Result<()> {
    let (refused, unfit) = (forge.refused()?, forge.unfit()?);
    let began = Instant::now();
    for (kind, place) in refused.iter().map(|kind| (kind, SLOT)).chain(unfit.iter().map(|kind| (kind, START))) {
        let Err(said) = install(remote, &kind.path) else { bail!("a bundle {} was taken", kind.what) };
        let said = format!("{said:#}");
        ensure!(said.contains(kind.says), "a bundle {}: {said}", kind.what);
        let status = remote.cli(&["update", "status"])?;
        let stays = status["slot"] == "a" && status["trying"] == false && status["other_state"] == "empty";
        ensure!(stays, "a bundle {}: {status}", kind.what);
        ensure!(card.read("B_START", place)?.iter().all(|byte| *byte == 0), "a bundle {} was written", kind.what);
    }
    remote.cli(&["update", "drop"])?;
    println!(
        "update: {} kinds of broken bundle refused before a byte was written, {} that cannot be started after it, in {} s",
        refused.len(),
        unfit.len(),
        began.elapsed().as_secs()
    );
    Ok(())
}

/// The alarms, once one of them has these words.
fn alarm(remote: &Remote<'_>, words: &str) -> Result<String> {
    let until = Instant::now() + LIMIT;
    loop {
        let alarms = remote.cli(&["alarm", "list"])?.to_string();
        if alarms.contains(words) {
            return Ok(alarms);
        }
        ensure!(Instant::now() < until, "no alarm: {alarms}");
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Slot B on trial for the first time, with this change of the root; returns once slot A runs again.
fn rolled_back(what: &str, change: impl Fn(&Forge) -> Result<()>, why: &str) -> Result<()> {
    let (ns, card) = (network()?, Card::new(SIZE, SETTINGS)?);
    let forge = Forge::new(&card)?;
    let words = ["rackberry.nowatchdog", "rackberry.shell", "rackberry.trial=160"];
    let mut vm = card.machine_with(Firmware::ArmKernel, &words)?.start(&ns, "box")?;
    ready(&ns, &vm, 0)?;
    let remote = Remote::new(&ns, URL, &token(&mut vm)?);
    change(&forge)?;
    let (began, bad) = (Instant::now(), forge.bundle("0.1.2")?);
    let mark = vm.console().mark();
    install(&remote, &bad)?;
    let status = until(&remote, &vm, what, |status| status["last"]["outcome"] == "failed" && status["slot"] == "a")?;
    let said = alarm(&remote, "The update to")?;
    ensure!(said.contains(why), "{what}: {said}");
    let guards = vm.console().text().split_off(mark).matches("did not prove itself").count();
    println!(
        "update: {what}: rolled back after {} s, {guards} times by the guard: {status}",
        began.elapsed().as_secs()
    );
    Ok(())
}

fn soak() -> bool {
    std::env::var_os("RACKBERRY_SOAK").is_some()
}

#[test]
fn every_kind_of_version_that_does_not_work_is_rolled_back() -> Result<()> {
    if !soak() {
        println!("update: trials that take their whole time: only with RACKBERRY_SOAK=1");
        return Ok(());
    }
    const VERSION: &str = "[ \"$1\" != --version ] || { echo rackberry 0.1.2; exit; }";
    let program =
        |then: &'static str| move |forge: &Forge| forge.script("usr/bin/rackberry", &format!("{VERSION}\n{then}"));
    rolled_back(
        "an init that starts the box again",
        |forge| forge.script("usr/bin/init", "exec reboot -f"),
        "did not",
    )?;
    rolled_back("a program that ends at once", program("exit 1"), "did not")?;
    rolled_back("a program that hangs", program("while :; do sleep 1000; done"), "did not")?;
    rolled_back(
        "a program whose daemon never serves",
        |forge| forge.script("usr/lib/rackberry/serve", "while :; do sleep 1000; done"),
        "did not",
    )?;
    rolled_back("an init that panics the kernel", |forge| forge.script("usr/bin/init", "exit 1"), "did not")?;
    rolled_back(
        "a kernel that is told to panic",
        |forge| forge.script("usr/lib/rackberry/serve", "echo c >/proc/sysrq-trigger"),
        "did not",
    )
}

/// An install's steps, as `update status` names them; behind the last one the box goes down, and the trial begins.
const STEPS: [&str; 4] = ["verify", "write", "read_back", "restart"];
/// In which step the power goes away, and how many milliseconds at most after it was seen.
const CUTS: [(&str, u32); 5] =
    [("write", 700), ("verify", 400), ("read_back", 700), ("restart", 2000), ("restart", 40_000)];

/// Begins to install the bundle that waits; the first step seen that is `step` or a later one.
fn reach(remote: &Remote<'_>, vm: &mut Vm, step: &str) -> Result<String> {
    let place = |word: &str| STEPS.iter().position(|step| *step == word);
    shell(vm, "rackberry update install >/dev/null 2>&1 & :", LIMIT)?;
    let until = Instant::now() + LIMIT;
    while Instant::now() < until {
        // Who does not answer goes down.
        let Ok(status) = remote.cli(&["update", "status"]) else { return Ok("restart".to_owned()) };
        let now = status["work"]["step"].as_str().unwrap_or_default();
        ensure!(status["work"]["failed"].as_str().unwrap_or_default().is_empty(), "{status}");
        if place(now) >= place(step) {
            return Ok(now.to_owned());
        }
    }
    vm.with_last_words(Err(anyhow::anyhow!("the install did not come to {step}")))
}

#[test]
fn the_power_goes_away_in_the_middle_of_an_install_and_a_whole_slot_starts() -> Result<()> {
    let cuts = if soak() { 20 } else { 1 };
    let (ns, card) = (network()?, Card::new(SIZE, SETTINGS)?);
    let (forge, seed) = (Forge::new(&card)?, Dice::seed());
    println!("update: RACKBERRY_SEED={seed}");
    let (mut dice, good) = (Dice::new(seed), forge.bundle("0.1.1")?);
    let mut secret = None;
    for round in 0..=cuts {
        let mut vm = card.machine(Firmware::ArmKernel)?.start(&ns, "box")?;
        ready(&ns, &vm, 0)?;
        let secret = match &secret {
            Some(secret) => secret,
            None => secret.insert(token(&mut vm)?),
        };
        let remote = Remote::new(&ns, URL, secret);
        if round == 0 {
            remote.cli(&["host", "add", "02:00:00:00:00:01", "kept"])?;
        }
        let status = until(&remote, &vm, "no version proved itself", |status| status["trying"] == false)?;
        let runs = (status["slot"].as_str().unwrap_or_default(), status["version"].as_str().unwrap_or_default());
        ensure!(matches!(runs, ("a" | "b", "0.1.0" | "0.1.1")) && remote.names()? == ["kept"], "{status}");
        println!(
            "update: start {round}: {} runs from slot {}, the other slot is {}",
            runs.1, runs.0, status["other_state"]
        );
        if round == cuts {
            break;
        }
        if status["bundle"].is_null() {
            remote.cli(&["update", "load", good.to_str().context("the bundle's path")?])?;
        }
        let (step, most) = CUTS.get(round % CUTS.len()).copied().unwrap_or_default();
        let met = reach(&remote, &mut vm, step)?;
        let after = dice.below(most);
        std::thread::sleep(Duration::from_millis(after.into()));
        vm.kill()?;
        println!("update: the power went away {after} ms after {met} was seen");
    }
    println!("update: {cuts} power cuts in the middle of an install, each time a whole slot started");
    Ok(())
}
