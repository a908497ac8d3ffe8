//! Beside other DHCP servers.

use crate::{PATIENCE, list, refusal, soon, text};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};
use system_tests::{
    Appliance, Dnsmasq, Netns, PxeClient, Site,
    pxe::{
        Kind, Machine,
        message::{kind, option},
        tftp,
    },
    site::{self, cli, cli_json},
};

/// A switch with three sockets: the box, another server, and hosts.
struct Lan {
    hosts: Netns,
    other: Netns,
    seat: Netns,
    _switch: Netns,
}

impl Lan {
    fn new() -> Result<Self> {
        let lan = Self { hosts: Netns::new()?, other: Netns::new()?, seat: Netns::new()?, _switch: Netns::new()? };
        lan._switch.bridge("br0", None)?;
        for (ns, port) in [(&lan.hosts, "hosts"), (&lan.other, "other"), (&lan.seat, "seat")] {
            lan._switch.veth(port, ns, "e0")?;
            lan._switch.attach(port, Some("br0"))?;
        }
        lan.seat.up("e0", Some("10.77.0.1/24"))?;
        lan.other.up("e0", Some("10.77.0.2/24"))?;
        Ok(lan)
    }

    fn foreign(&self) -> Result<Dnsmasq> {
        Dnsmasq::start(&self.other, &["interface=e0", "dhcp-range=10.77.0.10,10.77.0.99,10m"])
    }
}

const QUICK: &str = "probe_unit_ms = 50\nprobe_listen_ms = 150";

fn stage(appliance: &Appliance) -> Result<String> {
    Ok(text(&site::api(appliance).get("/status")?, "mode").to_owned())
}

fn wait_stage(appliance: &Appliance, wanted: &str) -> Result<()> {
    let until = soon();
    while stage(appliance)? != wanted {
        ensure!(Instant::now() < until, "{} instead of {wanted}: {}", stage(appliance)?, appliance.log().text());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[test]
fn beside_another_server_the_box_adds_boot_files_and_never_gives_an_address() -> Result<()> {
    let site = Site::new()?;
    let lan = Lan::new()?;
    let _foreign = lan.foreign()?;
    let appliance = Appliance::start(&lan.seat, &site.settings(QUICK, ""))?;
    wait_stage(&appliance, "proxy")?;
    let (theirs, ours) = (Ipv4Addr::new(10, 77, 0, 2), Ipv4Addr::new(10, 77, 0, 1));
    let client = PxeClient::new(&lan.hosts, "e0")?;
    let (mut addresses, mut offers) = (0, 0);
    for (number, kind) in (1..).zip([Kind::BiosPxe, Kind::UefiPxe(7), Kind::UefiPxe(11)]) {
        let machine = Machine::new(number, kind);
        let answers = client.discover(&machine, Duration::from_millis(3500))?;
        let by = |server: Ipv4Addr| {
            let from = move |answer: &&system_tests::pxe::client::Answer| {
                answer.message.address(option::SERVER_ID) == Some(server)
            };
            answers.iter().find(from).map(|answer| &answer.message)
        };
        let (proxy, giver) = (by(ours).context("no proxy offer")?, by(theirs).context("no address offer")?);
        ensure!(proxy.yiaddr.is_unspecified(), "{kind:?}: an address of ours: {proxy:?}");
        ensure!(proxy.text(option::VENDOR_CLASS).as_deref() == Some("PXEClient"), "{proxy:?}");
        addresses += answers
            .iter()
            .filter(|a| a.message.address(option::SERVER_ID) == Some(ours))
            .filter(|a| !a.message.yiaddr.is_unspecified())
            .count();
        offers += 1;
        let lease = client.request(&machine, giver)?.message;
        ensure!(lease.message_type() == kind::ACK && lease.address(option::SERVER_ID) == Some(theirs), "{lease:?}");
        client.settle(&machine, &lease)?;
        let boot = client.boot_server(&machine, lease.yiaddr, ours)?;
        let file = boot.boot_file().context("port 4011 names no file")?;
        let wanted = match kind {
            Kind::BiosPxe => "undionly.kpxe",
            Kind::UefiPxe(7) => "snponly-x64.efi",
            _ => "ipxe-arm64.efi",
        };
        ensure!(file.ends_with(wanted) && boot.siaddr == ours, "{kind:?}: {file} from {}", boot.siaddr);
        let fetched = client.tftp(ours, &file, &tftp::Options { blksize: Some(1428), ..tftp::Options::default() })?;
        ensure!(fetched.data == std::fs::read(site.share().join("loaders").join(wanted))?, "{file}");
    }
    // A laptop hears nothing from us.
    let laptop = client.discover(&Machine::new(50, Kind::Plain), Duration::from_millis(3500))?;
    ensure!(laptop.iter().all(|answer| answer.message.address(option::SERVER_ID) == Some(theirs)), "{laptop:?}");
    println!("proxy: {offers} machines, {addresses} addresses of ours, files by offer, port 4011 and TFTP");
    assert_eq!(addresses, 0);
    assert!(appliance.log().count("Another DHCP server is here") > 0);
    Ok(())
}

#[test]
fn a_server_that_appears_later_ends_new_leases_within_five_seconds() -> Result<()> {
    let site = Site::new()?;
    let lan = Lan::new()?;
    let appliance = Appliance::start(&lan.seat, &site.settings(&format!("{QUICK}\nprobe_every_s = 1"), ""))?;
    wait_stage(&appliance, "pxe-only")?;
    let ours = Ipv4Addr::new(10, 77, 0, 1);
    let client = PxeClient::new(&lan.hosts, "e0")?;
    let lease = client.lease(&Machine::new(1, Kind::BiosPxe), PATIENCE)?;
    assert_eq!(lease.address(option::SERVER_ID), Some(ours), "alone, it gives addresses to what boots");
    let laptop = client.discover(&Machine::new(2, Kind::Plain), Duration::from_secs(5))?;
    assert!(laptop.is_empty(), "and to nothing else: {laptop:?}");
    let _foreign = lan.foreign()?;
    let appeared = Instant::now();
    let (mut last, mut number, mut theirs) = (Duration::ZERO, 100, 0);
    // Offers may come seconds after their question, so all of the link is listened to, and for longer than it is asked.
    while appeared.elapsed() < Duration::from_secs(14) {
        if appeared.elapsed() < Duration::from_secs(9) {
            number += 1;
            client.ask(&Machine::new(number, Kind::BiosPxe))?;
        }
        for offer in client.overhear(Duration::from_millis(400))? {
            match offer.address(option::SERVER_ID) {
                _ if offer.yiaddr.is_unspecified() => {}
                Some(giver) if giver == ours => last = appeared.elapsed(),
                _ => theirs += 1,
            }
        }
    }
    let asked = number - 100;
    println!(
        "foreign server mid-run: {asked} machines asked in 9 s, {theirs} offers of the other, our last one after {last:?}"
    );
    assert!(theirs > 0, "nobody's offers were heard");
    assert!(last <= Duration::from_secs(5), "{last:?}");
    assert_eq!(stage(&appliance)?, "proxy");
    let alarms = site::api(&appliance).get("/status")?;
    assert!(alarms["alarms"].to_string().contains("10.77.0.2"), "{alarms}");
    // A person takes note, and history keeps who it was.
    let alarms = cli_json(&appliance, &["alarm", "list"])?;
    assert_eq!(list(&alarms, "id"), ["foreign-dhcp"], "{alarms}");
    cli_json(&appliance, &["alarm", "settle", "foreign-dhcp"])?;
    assert!(refusal(&cli(&appliance, &["alarm", "settle", "no-such"])?)?.contains("There is no alarm"));
    let events = site::api(&appliance).events("")?;
    let settled = events.iter().find(|event| text(event, "kind") == "alarm_settled").context("not recorded")?;
    assert_eq!(settled.get("actor"), Some(&json!({ "by": "user", "name": "local" })));
    Ok(())
}
