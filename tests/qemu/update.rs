//! The SD card is updated: what is good stays, what is not is left for the version before, and people are told.
//!
//! `RACKBERRY_SOAK=1` adds the trials that take their whole time, and power cuts in the middle of an install.

#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by a name that it lacks is null, never a panic")]

use anyhow::{Context, Result, ensure};
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

#[test]
fn a_good_update_proves_itself_and_one_that_does_not_start_is_rolled_back() -> Result<()> {
    let (ns, card) = (network()?, Card::new(SIZE, SETTINGS)?);
    let forge = Forge::new(&card)?;
    let mut vm = card.machine(Firmware::ArmKernel)?.start(&ns, "box")?;
    ready(&ns, &vm, 0)?;
    let remote = Remote::new(&ns, URL, &token(&mut vm)?);
    let before = until(&remote, &vm, "no status", |_| true)?;
    ensure!(before["slot"] == "a" && before["other_state"] == "empty" && before["development_key"] == true, "{before}");

    // A bundle that somebody else made: refused, and slot B is as empty as it was.
    let (began, good) = (Instant::now(), forge.bundle("0.1.1")?);
    let mut forged = std::fs::read(&good)?;
    let middle = forged.len() / 2;
    *forged.get_mut(middle).context("an empty bundle")? ^= 1;
    let broken = good.with_extension("broken");
    std::fs::write(&broken, forged)?;
    ensure!(install(&remote, &broken).is_err(), "a broken bundle was taken");
    let kept = until(&remote, &vm, "no status", |_| true)?;
    ensure!(kept["bundle"].is_null() && kept["slot"] == "a", "{kept}");
    ensure!(card.read("B_START", 4096)?.iter().all(|byte| *byte == 0), "slot B was written");

    let mark = vm.console().mark();
    remote.cli(&["host", "add", "02:00:00:00:00:01", "kept"])?;
    install(&remote, &good)?;
    println!("update: written after {} s, {} bytes", began.elapsed().as_secs(), std::fs::metadata(&good)?.len());
    ready(&ns, &vm, mark)?;
    let status = until(&remote, &vm, "it did not prove itself", |status| status["trying"] == false)?;
    ensure!(status["slot"] == "b" && status["version"] == "0.1.1" && status["other_state"] == "ready", "{status}");
    ensure!(status["last"]["outcome"] == "running" && remote.names()? == ["kept"], "{status}");
    println!("update: 0.1.1 has proved itself after {} s", began.elapsed().as_secs());

    // An init that only starts the box again: each of its three tries ends in the initramfs.
    let began = Instant::now();
    forge.script("usr/bin/init", "exec reboot -f")?;
    let bad = forge.bundle("0.1.2")?;
    let mark = vm.console().mark();
    install(&remote, &bad)?;
    ready(&ns, &vm, mark)?;
    let status = until(&remote, &vm, "it was not rolled back", |status| status["last"]["outcome"] == "failed")?;
    ensure!(status["slot"] == "b" && status["version"] == "0.1.1" && status["other_state"] == "failed", "{status}");
    let alarms = alarm(&remote)?;
    ensure!(alarms.contains("The update to 0.1.2 failed") && alarms.contains("0.1.1 is running"), "{alarms}");
    println!("update: 0.1.2 was rolled back after {} s: {alarms}", began.elapsed().as_secs());
    Ok(())
}

/// The alarms, once there is one of an update.
fn alarm(remote: &Remote<'_>) -> Result<String> {
    let until = Instant::now() + LIMIT;
    loop {
        let alarms = remote.cli(&["alarm", "list"])?.to_string();
        if alarms.contains("The update to") {
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
    let mut vm =
        card.machine_with(Firmware::ArmKernel, &["rackberry.nowatchdog", "rackberry.trial=160"])?.start(&ns, "box")?;
    ready(&ns, &vm, 0)?;
    let remote = Remote::new(&ns, URL, &token(&mut vm)?);
    change(&forge)?;
    let (began, bad) = (Instant::now(), forge.bundle("0.1.2")?);
    let mark = vm.console().mark();
    install(&remote, &bad)?;
    let status = until(&remote, &vm, what, |status| status["last"]["outcome"] == "failed" && status["slot"] == "a")?;
    let said = alarm(&remote)?;
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

#[test]
fn the_power_goes_away_in_the_middle_of_an_install_and_a_whole_slot_starts() -> Result<()> {
    if !soak() {
        println!("update: power cuts in a machine: only with RACKBERRY_SOAK=1");
        return Ok(());
    }
    let (ns, card) = (network()?, Card::new(SIZE, SETTINGS)?);
    let (forge, seed) = (Forge::new(&card)?, Dice::seed());
    println!("update: RACKBERRY_SEED={seed}");
    let (mut dice, good) = (Dice::new(seed), forge.bundle("0.1.1")?);
    let mut secret = None;
    for round in 0..20 {
        let mut vm = card.machine(Firmware::ArmKernel)?.start(&ns, "box")?;
        ready(&ns, &vm, 0)?;
        let secret = match &secret {
            Some(secret) => secret,
            None => secret.insert(token(&mut vm)?),
        };
        let remote = Remote::new(&ns, URL, secret);
        let status = until(&remote, &vm, "no version proved itself", |status| status["trying"] == false)?;
        remote.cli(&["update", "load", good.to_str().context("the bundle's path")?])?;
        let install = shell(&mut vm, "rackberry update install >/dev/null 2>&1 &", LIMIT)?;
        std::thread::sleep(Duration::from_millis(dice.below(20_000).into()));
        vm.kill()?;
        println!("update: start {round} from slot {}, cut in the middle {install}", status["slot"]);
    }
    Ok(())
}
