//! Real PXELINUX and GRUB find their configuration on the box: rendered ones reach the agent, own ones are obeyed.

#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by a name that it lacks is null, never a panic")]

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::time::Duration;
use system_tests::{
    Dnsmasq, Firmware, Netns, Vm,
    rack::{ADDRESS, BRIDGE, Rack},
};

/// Power-on to waiting; many times what is usual, as the machine may be busy.
const LIMIT: Duration = Duration::from_secs(300);

/// A rack whose addresses, and boot file, are another server's.
fn beside_dnsmasq(boot_file: &str) -> Result<(Rack, Netns, Dnsmasq)> {
    let ns = Netns::new()?;
    ns.bridge(BRIDGE, Some(&format!("{ADDRESS}/24")))?;
    let other = Netns::new()?;
    ns.veth("other", &other, "eth0")?;
    ns.attach("other", Some(BRIDGE))?;
    ns.up("other", None)?;
    other.up("eth0", Some("192.168.77.2/24"))?;
    let boot = format!("dhcp-boot={boot_file}");
    let dnsmasq = Dnsmasq::start(&other, &["interface=eth0", "dhcp-range=192.168.77.50,192.168.77.60", &boot])?;
    Ok((Rack::on(ns, "[dhcp]\nmode = \"observe\"\n")?, other, dnsmasq))
}

fn last_lines(vm: &Vm) -> String {
    let console = vm.console().text();
    let lines: Vec<&str> = console.lines().collect();
    lines.get(lines.len().saturating_sub(30)..).unwrap_or_default().join("\n")
}

fn own_file(rack: &Rack, path: &str, content: &str) -> Result<()> {
    let path = rack.appliance.state_dir().join("files").join(path);
    std::fs::create_dir_all(path.parent().context("no folder")?)?;
    Ok(std::fs::write(path, content)?)
}

fn reaches_the_agent(rack: &Rack, vm: &Vm, asked: &str) -> Result<()> {
    let host = rack
        .wait_condition(vm.mac(), "waiting", LIMIT)
        .map_err(|error| error.context(format!("the console ended with\n{}", last_lines(vm))))?;
    ensure!(vm.console().count(asked) > 0, "{asked} is not on the console:\n{}", last_lines(vm));
    println!("{asked}: the agent waits; stations {}", host["stations"]);
    Ok(())
}

#[test]
fn pxelinux_finds_its_configuration_by_http_and_reaches_the_agent() -> Result<()> {
    let (rack, _other, _dnsmasq) = beside_dnsmasq(&format!("http://{ADDRESS}/chain.ipxe"))?;
    own_file(
        &rack,
        "chain.ipxe",
        &format!("#!ipxe\nset 210:string http://{ADDRESS}/\nchain http://{ADDRESS}/pxelinux.0\n"),
    )?;
    let vm = rack.power_on(Vm::builder(Firmware::Bios).mac(Some("52:54:00:77:03:01")))?;
    reaches_the_agent(&rack, &vm, "PXELINUX")
}

#[test]
fn grub_finds_its_configuration_by_tftp_and_reaches_the_agent() -> Result<()> {
    let (rack, _other, _dnsmasq) = beside_dnsmasq(&format!("grubx64.efi,,{ADDRESS}"))?;
    let vm = rack.power_on(Vm::builder(Firmware::OvmfPxe).mac(Some("52:54:00:77:03:02")))?;
    reaches_the_agent(&rack, &vm, "starting the RAM OS")
}

#[test]
fn hosts_of_the_policy_own_files_do_what_a_persons_files_say() -> Result<()> {
    let rack = Rack::start("")?;
    let ramos = format!("http://{ADDRESS}/ramos/x86_64");
    let pxelinux = format!(
        "DEFAULT own\nLABEL own\n  SAY this is my own file\n  KERNEL {ramos}/vmlinuz\n  INITRD {ramos}/early.img\n  \
         APPEND console=ttyS0 own.mark=pxelinux\n"
    );
    let grub = "echo this is my own file\nlinux /ramos/x86_64/vmlinuz console=ttyS0 own.mark=grub\n\
        initrd /ramos/x86_64/early.img\nboot\n";
    for (mac, firmware, file, content, mark) in [
        ("52:54:00:77:03:03", Firmware::Bios, "pxelinux.cfg/01-52-54-00-77-03-03", pxelinux.as_str(), "pxelinux"),
        ("52:54:00:77:03:04", Firmware::OvmfPxe, "grub/grub.cfg-01-52-54-00-77-03-04", grub, "grub"),
    ] {
        own_file(&rack, file, content)?;
        rack.cli(&["host", "add", mac, mark])?;
        rack.cli(&["host", "set", mark, "policy=own-files"])?;
        let vm = rack.power_on(Vm::builder(firmware).mac(Some(mac)))?;
        let said = vm.wait_for(&format!("own.mark={mark}"), LIMIT);
        let said = said.map_err(|error| error.context(format!("the console ended with\n{}", last_lines(&vm))))?;
        println!("{mark}: {said}");
        let events = rack.events(mark)?;
        let fetched = |event: &Value| event["kind"] == "own_file" && event["path"] == file;
        ensure!(events.iter().any(fetched), "the history does not name {file}: {events:?}");
    }
    Ok(())
}
