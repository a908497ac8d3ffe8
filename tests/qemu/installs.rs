//! Whole installs on real firmware: from a blank disk to the system's own login prompt, and what happens afterwards.

#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by a name that it lacks is null, never a panic")]

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::time::{Duration, Instant};
use system_tests::{
    Firmware, Vm,
    rack::{self, Rack},
};

/// Four times what is usual on two quiet cores.
const LIMIT: Duration = Duration::from_secs(400);

fn rack_with_image() -> Result<Rack> {
    let rack = Rack::start("")?;
    let image = rack::image()?;
    rack.cli(&["image", "import", image.to_str().context("path")?, "--name", "debian-13"])?;
    Ok(rack)
}

fn name_of(host: &Value) -> String {
    host["name"].as_str().unwrap_or_default().to_owned()
}

fn install(rack: &Rack, vm: &Vm, title: &str, kill: bool) -> Result<String> {
    let began = Instant::now();
    let mac = vm.mac().to_owned();
    let host = rack.wait_condition(&mac, "waiting", LIMIT)?;
    let name = name_of(&host);
    println!("{title}: waiting after {} s", began.elapsed().as_secs());
    rack.cli(&["install", &name, "debian-13", "--set", "user=admin"])?;
    if !kill {
        finish(rack, vm, title, began)?;
    }
    Ok(name)
}

fn finish(rack: &Rack, vm: &Vm, title: &str, began: Instant) -> Result<()> {
    rack.wait_host(vm.mac(), "finished install", LIMIT, |host| {
        (host["install"]["state"]["phase"] == "done").then_some(())
    })?;
    vm.wait_for("login:", Duration::from_secs(60))?;
    println!("{title}: up from its own disk after {} s", began.elapsed().as_secs());
    Ok(())
}

/// How often the host's history shows an erase beginning.
fn erases(rack: &Rack, name: &str) -> Result<usize> {
    let events = rack.events(name)?;
    Ok(events.iter().filter(|event| event["kind"] == "task_started" && event["task"] == "write-image").count())
}

fn installed_then_rebooted(firmware: Firmware, title: &str, mac: &str) -> Result<()> {
    let rack = rack_with_image()?;
    let mut vm = rack.power_on(Vm::builder(firmware).mac(Some(mac)).memory(1024))?;
    let name = install(&rack, &vm, title, false)?;
    let lived: Vec<String> =
        vm.console().text().lines().filter(|line| line.contains(&name)).map(str::to_owned).collect();
    ensure!(lived.iter().any(|line| line.contains(&format!("{name} login"))), "it does not know its name: {lived:?}");
    for round in 1..=3 {
        let mark = vm.console().mark();
        let began = Instant::now();
        vm.reset()?;
        vm.wait_after(mark, "starts from its own disk", LIMIT)?;
        vm.wait_after(mark, "login:", LIMIT)?;
        println!("{title}: reboot {round} reached its own disk's login in {} s", began.elapsed().as_secs());
    }
    let erases = erases(&rack, &name)?;
    ensure!(erases == 1, "{title}: {erases} erases in one install and 3 reboots");
    println!("{title}: 3 reboots, 0 re-installs");
    Ok(())
}

#[test]
fn bios_from_blank_disk_to_three_reboots() -> Result<()> {
    installed_then_rebooted(Firmware::Bios, "BIOS", "52:54:00:77:03:01")
}

#[test]
fn uefi_from_blank_disk_to_three_reboots() -> Result<()> {
    installed_then_rebooted(Firmware::OvmfPxe, "UEFI", "52:54:00:77:03:02")
}

#[test]
fn a_box_killed_while_the_image_is_written_goes_on() -> Result<()> {
    let mut rack = rack_with_image()?;
    let vm = rack.power_on(Vm::builder(Firmware::Bios).mac(Some("52:54:00:77:03:03")).memory(1024))?;
    let began = Instant::now();
    let name = install(&rack, &vm, "BIOS, box killed", true)?;
    rack.wait_host(vm.mac(), "begun write", LIMIT, |host| {
        let tasks = host["install"]["state"]["tasks"].as_array()?;
        let write = tasks.iter().find(|task| task["spec"]["name"] == "write-image")?;
        (write["status"] == "running" && !write["begun"].is_null()).then_some(())
    })?;
    rack.appliance.kill()?;
    println!("BIOS, box killed: SIGKILL at {} s", began.elapsed().as_secs());
    rack.appliance.restart()?;
    finish(&rack, &vm, "BIOS, box killed", began)?;
    let erases = erases(&rack, &name)?;
    ensure!(erases == 1, "{erases} erases");
    Ok(())
}
