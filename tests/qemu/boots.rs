//! Real firmware boots from the box, one machine at a time: each way into the RAM OS, each kind of hardware in it.

#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by a name that it lacks is null, never a panic")]

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::time::{Duration, Instant};
use system_tests::{
    DiskBus, Dnsmasq, Firmware, Netns, Nic, Vm,
    rack::{ADDRESS, BRIDGE, Rack},
    vm::Builder,
};

/// From our script's fetch to the agent's hello: the goals.
const BIOS_GOAL: Duration = Duration::from_secs(15);
const UEFI_GOAL: Duration = Duration::from_secs(25);
/// Power-on to waiting; many times what is usual, as the machine may be busy.
const LIMIT: Duration = Duration::from_secs(300);

/// Milliseconds between two stations of the host's boot.
fn between(host: &Value, from: &str, to: &str) -> Result<Duration> {
    let at = |name: &str| {
        host["stations"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|station| station[0].as_str() == Some(name))
            .and_then(|station| station[1].as_u64())
            .with_context(|| format!("no station {name} in {}", host["stations"]))
    };
    Ok(Duration::from_millis(at(to)?.saturating_sub(at(from)?)))
}

/// Switches `machine` on and waits until its agent reports; prints and returns the host and the time in our hands.
fn boot(rack: &Rack, name: &str, machine: Builder) -> Result<(Value, Duration, Vm)> {
    let began = Instant::now();
    let vm = rack.power_on(machine)?;
    let mac = vm.mac().to_owned();
    let host = rack.wait_condition(&mac, "waiting", LIMIT).map_err(|error| {
        let console = vm.console().text();
        let tail: Vec<&str> = console.lines().rev().take(25).collect();
        error.context(format!(
            "{name}: its console ended with\n{}",
            tail.into_iter().rev().collect::<Vec<_>>().join("\n")
        ))
    })?;
    let ours = between(&host, "script", "agent")?;
    println!(
        "{name}: waiting {} s after power-on, {:.1} s after our script",
        began.elapsed().as_secs(),
        ours.as_secs_f64()
    );
    Ok((host, ours, vm))
}

/// The rack's network with another DHCP server on it, which owns the addresses.
fn beside_dnsmasq(more: &str) -> Result<(Netns, Netns, Dnsmasq)> {
    let ns = Netns::new()?;
    ns.bridge(BRIDGE, Some(&format!("{ADDRESS}/24")))?;
    let other = Netns::new()?;
    ns.veth("other", &other, "eth0")?;
    ns.attach("other", Some(BRIDGE))?;
    ns.up("other", None)?;
    other.up("eth0", Some("192.168.77.2/24"))?;
    let dnsmasq = Dnsmasq::start(&other, &["interface=eth0", "dhcp-range=192.168.77.50,192.168.77.60", more])?;
    Ok((ns, other, dnsmasq))
}

fn detail<'h>(host: &'h Value, station: &str) -> &'h str {
    let stations = host["stations"].as_array().map(Vec::as_slice).unwrap_or_default();
    stations.iter().find(|known| known[0].as_str() == Some(station)).and_then(|known| known[2].as_str()).unwrap_or("")
}

#[test]
fn every_firmware_finds_its_way_to_the_agent() -> Result<()> {
    let rack = Rack::start("")?;
    let mut slow = Vec::new();

    let (host, took, _vm) = boot(&rack, "BIOS by QEMU's iPXE ROM", Vm::builder(Firmware::Bios))?;
    ensure!(host["facts"]["firmware"] == "bios", "{host}");
    ensure!(host["facts"]["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 400 << 20), "{host}");
    slow.extend((took > BIOS_GOAL).then(|| format!("BIOS took {took:?}")));
    drop(_vm);

    let (host, took, _vm) = boot(&rack, "OVMF by PXE", Vm::builder(Firmware::OvmfPxe).mac(Some("52:54:00:77:02:02")))?;
    ensure!(host["facts"]["firmware"] == "uefi", "{host}");
    ensure!(detail(&host, "loader").contains("snponly-x64.efi by TFTP"), "{host}");
    slow.extend((took > UEFI_GOAL).then(|| format!("OVMF PXE took {took:?}")));
    drop(_vm);

    let machine = Vm::builder(Firmware::OvmfHttp).mac(Some("52:54:00:77:02:03"));
    let (host, took, _vm) = boot(&rack, "OVMF by HTTP boot", machine)?;
    ensure!(detail(&host, "loader").contains("by HTTP"), "{host}");
    slow.extend((took > UEFI_GOAL).then(|| format!("OVMF HTTP took {took:?}")));
    drop(_vm);

    // The goals hold on a machine that does nothing else; a busy one is told, not failed.
    for slow in &slow {
        println!("over its goal: {slow}");
    }
    Ok(())
}

#[test]
fn undionly_by_tftp_reaches_the_agent() -> Result<()> {
    // QEMU's own ROM is iPXE already. Another server sends it to a script of a person's, which chains undionly.kpxe from
    // our TFTP as a plain PXE ROM would; undionly then finds no virtio card but UNDI, and goes on to our script.
    let (ns, _other, _dnsmasq) = beside_dnsmasq(&format!("dhcp-boot=http://{ADDRESS}/chain.ipxe"))?;
    let rack = Rack::on(ns, "[dhcp]\nmode = \"observe\"\n")?;
    let chain = format!(
        "#!ipxe\niseq ${{net0/chip}} virtio-net && chain tftp://{ADDRESS}/undionly.kpxe ||\n\
         echo now on ${{net0/chip}}\nchain http://{ADDRESS}/autoexec.ipxe\n"
    );
    std::fs::write(rack.appliance.state_dir().join("files/chain.ipxe"), chain)?;
    let machine = Vm::builder(Firmware::Bios).mac(Some("52:54:00:77:02:11"));
    let (host, took, vm) = boot(&rack, "BIOS by undionly.kpxe", machine)?;
    ensure!(vm.console().count("undionly.kpxe") > 0, "undionly was not asked for");
    ensure!(vm.console().count("now on ") > 0, "undionly did not come back for its script");
    ensure!(host["facts"]["firmware"] == "bios", "{host}");
    if took > BIOS_GOAL {
        println!("over its goal: undionly took {took:?}");
    }
    Ok(())
}

#[test]
fn the_arm_ram_os_reaches_the_agent() -> Result<()> {
    let rack = Rack::start("")?;
    let machine = Vm::builder(Firmware::Aavmf).mac(Some("52:54:00:77:02:41")).memory(1024);
    let (host, _, _vm) = boot(&rack, "AAVMF by PXE", machine)?;
    ensure!(host["facts"]["arch"] == "aarch64", "{host}");
    Ok(())
}

#[test]
fn the_ram_os_knows_servers_hardware() -> Result<()> {
    let rack = Rack::start("")?;
    let cards = [
        (Nic::E1000e, "e1000e", DiskBus::Nvme, "nvme", "52:54:00:77:02:21"),
        (Nic::Vmxnet3, "vmxnet3", DiskBus::Megasas, "sd", "52:54:00:77:02:22"),
    ];
    for (nic, driver, bus, disk, mac) in cards {
        let machine = Vm::builder(Firmware::Bios).nic(nic).bus(bus).mac(Some(mac)).memory(768);
        let (host, _, _vm) = boot(&rack, &format!("BIOS with {driver} and {disk}"), machine)?;
        let nics = host["facts"]["nics"].as_array().context("no ports")?;
        ensure!(nics.iter().any(|nic| nic["driver"] == driver && nic["boot"] == true), "{nics:?}");
        let disks = host["facts"]["disks"].as_array().context("no disks")?;
        let found = disks.iter().find(|known| known["name"].as_str().is_some_and(|name| name.starts_with(disk)));
        let Some(found) = found else { bail!("no {disk} among {disks:?}") };
        ensure!(found["content"]["blank"] == true && found["size_bytes"].as_u64() == Some(2 << 30), "{found}");
    }
    Ok(())
}

#[test]
fn beside_another_dhcp_server_the_box_is_a_proxy() -> Result<()> {
    let (ns, _other, _dnsmasq) = beside_dnsmasq("log-dhcp")?;
    let rack = Rack::on(ns, "[dhcp]\nmode = \"auto\"\nprobe_unit_ms = 500\nprobe_listen_ms = 4000\n")?;
    let until = Instant::now() + Duration::from_secs(120);
    while rack.cli(&["status"])?["mode"] != "proxy" {
        ensure!(Instant::now() < until, "it is no proxy: {}", rack.cli(&["status"])?);
        std::thread::sleep(Duration::from_millis(200));
    }
    for (name, firmware, mac) in [
        ("BIOS beside dnsmasq", Firmware::Bios, "52:54:00:77:02:31"),
        ("OVMF beside dnsmasq", Firmware::OvmfPxe, "52:54:00:77:02:32"),
    ] {
        let (host, _, _vm) = boot(&rack, name, Vm::builder(firmware).mac(Some(mac)))?;
        let address = host["address"].as_str().unwrap_or_default().to_owned();
        let last: u8 = address.rsplit('.').next().unwrap_or_default().parse().unwrap_or(0);
        ensure!((50..=60).contains(&last), "{name} has {address}, which dnsmasq did not give");
    }
    Ok(())
}
