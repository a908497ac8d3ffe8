//! The modes that are Rackberry's own: pxe-only and observe.

use crate::bench::Config;
use crate::cases::{Cases, Peer};
use anyhow::ensure;
use std::net::Ipv4Addr;
use system_tests::pxe::Kind;
use system_tests::pxe::client::new_xid;
use system_tests::pxe::message::{kind, option};

const OURS: Peer = Peer::No("has no such mode");

pub fn add(cases: &mut Cases) {
    cases.section("mode pxe-only");
    let pxe = Config::PxeOnly;
    for who in [Kind::BiosPxe, Kind::UefiPxe(7), Kind::UefiHttp(16), Kind::Ipxe(7)] {
        cases.rule(pxe, OURS, format!("{who:?} gets an address for ten minutes"), move |ask| {
            let lease = ask.lease(&ask.machine(who))?;
            ensure!(lease.message.number(option::LEASE_TIME) == Some(600), "{:?}", lease.message.number(51));
            Ok(())
        });
    }
    for class in ["", "MSFT 5.0", "dhcpcd-9.4.1:Linux", "android-dhcp-14", "udhcp 1.36.1", "Linux ipconfig"] {
        cases.rule(pxe, OURS, format!("a plain client of class {class:?} gets silence"), move |ask| {
            ask.silent(&ask.discover(&ask.plain().with(option::VENDOR_CLASS, class.as_bytes())))
        });
    }
    cases.rule(pxe, OURS, "the RAM OS gets an address", |ask| {
        ask.lease(&ask.plain().with(option::VENDOR_CLASS, b"rackberry-ramos")).map(drop)
    });
    cases.rule(pxe, OURS, "what runs on a machine with a lease of ours keeps it", |ask| {
        let rom = ask.machine(Kind::UefiPxe(7));
        let lease = ask.lease(&rom)?;
        ask.settle(lease.yiaddr())?;
        let system = rom.speaking_as(Kind::Plain);
        let ack = ask.answer(&ask.renew(&system, lease.yiaddr()))?.of_kind(kind::ACK)?;
        ensure!(ack.yiaddr() == lease.yiaddr());
        Ok(())
    });
    cases.rule(pxe, OURS, "a lease of another network is never refused", |ask| {
        ask.silent(&ask.reboot(&ask.plain(), Ipv4Addr::new(192, 168, 1, 5)))?;
        ask.silent(&ask.reboot(&ask.machine(Kind::UefiPxe(7)), Ipv4Addr::new(192, 168, 1, 5)))
    });
    cases.rule(pxe, OURS, "a plain INFORM gets silence", |ask| {
        let mut inform = ask.plain().message(kind::INFORM, new_xid());
        inform.ciaddr = ask.own_address();
        ask.silent(&inform)
    });

    cases.section("mode observe");
    for who in [Kind::Plain, Kind::BiosPxe, Kind::UefiPxe(7), Kind::UefiHttp(16), Kind::Ipxe(7)] {
        cases.rule(Config::Observe, OURS, format!("{who:?} gets silence"), move |ask| {
            ask.silent(&ask.discover(&ask.machine(who)))
        });
    }
}
