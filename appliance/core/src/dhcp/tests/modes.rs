//! Who is served in which stage, and the rules of RFC 2131 for leases.

use super::packets::*;
use crate::{
    dhcp::{Change, Destination, Fact, Services, Stage, Subnet},
    text::HostName,
};
use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

#[test]
fn observing_answers_nobody() {
    let mut rack = rack(Stage::Observe);
    for packet in [client(DISCOVER, 1), client(DISCOVER, 1).pxe(7), client(DISCOVER, 1).ipxe(7)] {
        assert!(rack.ask(&packet).is_none());
    }
    assert!(rack.ask(&client(REQUEST, 1).pxe(7).on_4011(OTHER, 4011)).is_none());
}

#[test]
fn a_host_with_the_policy_ignore_gets_silence_everywhere() {
    for stage in [Stage::Proxy, Stage::PxeOnly, Stage::Server] {
        let mut rack = rack(stage);
        rack.host.ignore = true;
        assert!(rack.ask(&client(DISCOVER, 1).pxe(7)).is_none());
        assert!(rack.ask(&client(REQUEST, 1).pxe(7).on_4011(OTHER, 4011)).is_none());
    }
}

#[test]
fn a_timeline_tells_of_hosts_and_of_whoever_boots() {
    let mut rack = rack(Stage::Server);
    let laptop = rack.outcome(&client(DISCOVER, 1)).notes;
    let rom = rack.outcome(&client(DISCOVER, 2).pxe(7)).notes;
    assert!(!laptop.is_empty() && laptop.iter().all(|note| !note.is_told(false) && note.is_told(true)), "{laptop:?}");
    assert!(!rom.is_empty() && rom.iter().all(|note| note.is_told(false)), "{rom:?}");
}

#[test]
fn pxe_only_gives_nothing_to_laptops_and_printers() {
    let mut rack = rack(Stage::PxeOnly);
    for class in [&b"MSFT 5.0"[..], b"dhcpcd-9.4.1", b"udhcp 1.35.0", b""] {
        assert!(rack.ask(&client(DISCOVER, 1).option(60, class)).is_none());
    }
    let request = client(REQUEST, 1).option(50, &[10, 77, 0, 150]);
    assert!(rack.ask(&request).is_none(), "and never a NAK for a lease that is not ours");
    assert!(rack.ask(&client(REQUEST, 1).option(50, &[192, 168, 1, 5])).is_none());
    assert!(rack.ask(&client(REQUEST, 1).ciaddr(Ipv4Addr::new(10, 77, 0, 150))).is_none());
}

#[test]
fn pxe_only_serves_our_ram_os_and_what_runs_on_machines_just_booted() {
    let mut rack = rack(Stage::PxeOnly);
    assert!(rack.ask(&client(DISCOVER, 1).option(60, b"rackberry-ramos")).is_some());
    assert!(rack.ask(&client(DISCOVER, 2).option(60, b"udhcp 1.35.0")).is_none());
    rack.host.booted_recently = true;
    assert!(rack.ask(&client(DISCOVER, 2).option(60, b"udhcp 1.35.0")).is_some());
}

#[test]
fn pxe_only_leases_last_ten_minutes_and_are_renewed_whatever_runs_then() {
    let mut rack = rack(Stage::PxeOnly);
    let (address, ack) = rack.lease(1, |packet| packet.pxe(7)).unwrap();
    assert_eq!(ack.option(51), Some(&600_u32.to_be_bytes()[..]));
    assert_eq!(ack.option(58), Some(&300_u32.to_be_bytes()[..]));
    assert_eq!(ack.option(59), Some(&525_u32.to_be_bytes()[..]));
    rack.now = rack.now.after(Duration::from_secs(300));
    let renewal = rack.outcome(&client(REQUEST, 1).ciaddr(address));
    assert_eq!(renewal.to, Destination::Unicast(SocketAddrV4::new(address, 68)));
    let ack = Got::read(&renewal.reply.unwrap());
    assert_eq!((ack.kind(), ack.yiaddr(), ack.ciaddr()), (ACK, address, address));
    assert!(matches!(renewal.changes.as_slice(), [Change::Put(_)]));
}

#[test]
fn firmware_ipxe_and_ram_os_of_one_machine_keep_one_address() {
    let mut rack = rack(Stage::PxeOnly);
    let id = [1, 0x52, 0x54, 0, 0x77, 0, 1];
    let (rom, _) = rack.lease(1, |packet| packet.pxe(7)).unwrap();
    let (ipxe, _) = rack.lease(1, |packet| packet.ipxe(7).option(61, &id)).unwrap();
    let (ram_os, _) = rack.lease(1, |packet| packet.option(60, b"rackberry-ramos").option(61, &id)).unwrap();
    assert_eq!((rom, ipxe), (ipxe, ram_os));
}

#[test]
fn an_ack_is_durable_first_and_an_offer_is_not() {
    let mut rack = rack(Stage::Server);
    let offer = rack.outcome(&client(DISCOVER, 1));
    assert_eq!(offer.changes, []);
    let address = Got::read(&offer.reply.unwrap()).yiaddr();
    assert_eq!(offer.probe, Some(address), "checked before it is offered for the first time");
    let ack = rack.outcome(&client(REQUEST, 1).option(50, &address.octets()).option(54, &BOX.octets()));
    let [Change::Put(row)] = ack.changes.as_slice() else { panic!("{:?}", ack.changes) };
    assert_eq!((row.address, row.mac), (address, mac(1)));
    let again = rack.outcome(&client(DISCOVER, 1));
    assert_eq!(again.probe, None, "its holder answers there");
}

#[test]
fn a_server_answer_carries_the_network() {
    let mut rack = rack(Stage::Server);
    rack.link.subnet = Subnet {
        router: Some(Ipv4Addr::new(10, 77, 0, 254)),
        dns: vec![Ipv4Addr::new(10, 77, 0, 53)],
        domain: Some("rack.example".to_owned()),
        ntp: vec![Ipv4Addr::new(10, 77, 0, 123)],
        ..subnet()
    };
    rack.host.name = Some(HostName::new("node-06").unwrap());
    let offer = rack.ask(&client(DISCOVER, 1)).unwrap();
    assert_eq!(offer.option(1), Some(&[255, 255, 255, 0][..]));
    assert_eq!(offer.option(3), Some(&[10, 77, 0, 254][..]));
    assert_eq!(offer.option(6), Some(&[10, 77, 0, 53][..]));
    assert_eq!((offer.text(12), offer.text(15)), ("node-06", "rack.example"));
    assert_eq!(offer.option(28), Some(&[10, 77, 0, 255][..]));
    assert_eq!(offer.option(42), Some(&[10, 77, 0, 123][..]));
    assert_eq!(offer.option(60), None, "a plain client gets no class");
    assert_eq!(offer.siaddr(), Ipv4Addr::UNSPECIFIED);
}

#[test]
fn the_box_is_named_for_names_and_time_while_it_answers_and_settings_come_before_it() {
    let named = |rack: &mut Rack| {
        let offer = rack.ask(&client(DISCOVER, 1)).unwrap();
        [6, 42].map(|code| offer.option(code).map(<[u8]>::to_vec))
    };
    let own = Some(BOX.octets().to_vec());
    let mut rack = rack(Stage::Server);
    for (names, time) in [(false, false), (true, false), (false, true), (true, true), (false, false)] {
        rack.link.services = Services { names, time };
        assert_eq!(named(&mut rack), [own.clone().filter(|_| names), own.clone().filter(|_| time)]);
    }
    let other = Ipv4Addr::new(10, 77, 0, 53);
    rack.link.services = Services { names: true, time: true };
    rack.link.subnet.dns = vec![other];
    assert_eq!(named(&mut rack), [Some(other.octets().to_vec()), own]);
    rack.link.subnet.ntp = vec![other];
    assert_eq!(named(&mut rack), [(); 2].map(|()| Some(other.octets().to_vec())));
}

#[test]
fn without_settings_neither_router_nor_name_server_is_named() {
    let offer = rack(Stage::Server).ask(&client(DISCOVER, 1)).unwrap();
    for code in [3, 6, 12, 15, 42] {
        assert_eq!(offer.option(code), None, "option {code}");
    }
}

#[test]
fn a_reservation_goes_by_mac_under_any_identifier() {
    let mut rack = rack(Stage::Server);
    let fixed = Ipv4Addr::new(10, 77, 0, 50);
    rack.host.reservation = Some(fixed);
    rack.table.reserve([fixed]);
    assert_eq!(rack.lease(1, |packet| packet.pxe(7)).unwrap().0, fixed);
    assert_eq!(rack.lease(1, |packet| packet.option(61, b"\xff\0\0\0\0duid")).unwrap().0, fixed);
}

#[test]
fn answers_go_where_rfc_2131_says() {
    let mut rack = rack(Stage::Server);
    let plain = rack.outcome(&client(DISCOVER, 1));
    let address = Got::read(&plain.reply.unwrap()).yiaddr();
    assert_eq!(plain.to, Destination::Unconfigured { address, mac: mac(1) });
    assert_eq!(rack.outcome(&client(DISCOVER, 2).broadcast()).to, Destination::Broadcast);
}

#[test]
fn a_relay_is_answered_on_port_67_even_with_the_broadcast_flag() {
    let relay = Ipv4Addr::new(10, 88, 0, 1);
    let mut rack = rack(Stage::Server);
    assert_eq!(
        rack.outcome(&client(DISCOVER, 1).relay(relay)).notes[0].fact,
        Fact::UnknownSubnet(relay),
        "a subnet nobody set up"
    );
    let pool = (Ipv4Addr::new(10, 88, 0, 10), Ipv4Addr::new(10, 88, 0, 20));
    let far = Subnet { network: Ipv4Addr::new(10, 88, 0, 0), pool: Some(pool), ..subnet() };
    rack.link.relayed.push(far);
    rack.table = crate::dhcp::LeaseTable::new(
        &[(FIRST, LAST), pool].map(|(first, last)| crate::dhcp::Pool { first, last, except: Vec::new() }),
        [],
        rack.now,
    );
    let outcome = rack.outcome(&client(DISCOVER, 1).relay(relay).broadcast());
    assert_eq!(outcome.to, Destination::Unicast(SocketAddrV4::new(relay, 67)));
    let offer = Got::read(&outcome.reply.unwrap());
    assert_eq!(offer.yiaddr(), pool.0);
    assert!(offer.broadcast() && offer.bytes[24..28] == relay.octets());
    // 82.5 overrides giaddr (RFC 3527).
    let selected = client(DISCOVER, 2).relay(relay).option(82, &[5, 4, 10, 77, 0, 0]);
    assert_eq!(rack.ask(&selected).unwrap().yiaddr(), FIRST);
}

#[test]
fn a_client_that_chose_another_server_frees_our_offer_and_is_evidence() {
    let mut rack = rack(Stage::PxeOnly);
    let offered = rack.ask(&client(DISCOVER, 1).pxe(7)).unwrap().yiaddr();
    let outcome = rack.outcome(&client(REQUEST, 1).pxe(7).option(50, &[10, 77, 0, 30]).option(54, &OTHER.octets()));
    assert!(outcome.reply.is_none());
    assert_eq!((outcome.notes[0].fact, outcome.foreign), (Fact::ForeignServer(OTHER), Some(OTHER)));
    let laptop = rack.outcome(&client(REQUEST, 9).option(50, &[10, 77, 0, 31]).option(54, &OTHER.octets()));
    assert_eq!((laptop.notes.as_slice(), laptop.foreign), (&[][..], Some(OTHER)), "evidence, but no business of ours");
    let request = client(REQUEST, 1).option(50, &offered.octets());
    assert!(rack.ask(&request).is_none(), "the offer is gone");
}

#[test]
fn after_a_foreign_server_appeared_leases_of_running_installs_are_renewed_and_no_others() {
    let mut rack = rack(Stage::PxeOnly);
    let (address, _) = rack.lease(1, |packet| packet.pxe(7)).unwrap();
    for stage in [Stage::Proxy, Stage::ProxyEnrolled] {
        rack.link.stage = stage;
        rack.host.install_running = true;
        let ack = rack.ask(&client(REQUEST, 1).ciaddr(address)).unwrap();
        assert_eq!((ack.kind(), ack.yiaddr()), (ACK, address));
        assert!(rack.ask(&client(DISCOVER, 2)).is_none(), "no new lease");
        rack.host.install_running = false;
        assert!(rack.ask(&client(REQUEST, 1).ciaddr(address)).is_none());
    }
}

#[test]
fn beside_another_boot_server_only_enrolled_hosts_are_answered() {
    let mut rack = rack(Stage::ProxyEnrolled);
    assert!(rack.ask(&client(DISCOVER, 1).pxe(7)).is_none());
    rack.host.enrolled = true;
    assert_eq!(rack.ask(&client(DISCOVER, 1).pxe(7)).unwrap().yiaddr(), Ipv4Addr::UNSPECIFIED);
}

#[test]
fn proxy_is_silent_for_plain_clients() {
    let mut rack = rack(Stage::Proxy);
    for packet in [client(DISCOVER, 1), client(INFORM, 1).ciaddr(OTHER), client(REQUEST, 1).option(50, &[1, 2, 3, 4])] {
        assert!(rack.ask(&packet).is_none());
    }
}

#[test]
fn server_mode_naks_a_client_from_another_network_by_broadcast() {
    let mut rack = rack(Stage::Server);
    let outcome = rack.outcome(&client(REQUEST, 1).option(50, &[192, 168, 1, 5]));
    assert_eq!(outcome.to, Destination::Broadcast);
    let nak = Got::read(&outcome.reply.unwrap());
    assert_eq!((nak.kind(), nak.yiaddr(), nak.broadcast()), (NAK, Ipv4Addr::UNSPECIFIED, true));
    for code in [1, 51, 67] {
        assert_eq!(nak.option(code), None);
    }
    // No record of it, an address of this network: silence, unless a person made the box authoritative.
    let known_place = client(REQUEST, 2).option(50, &[10, 77, 0, 150]);
    assert!(rack.ask(&known_place).is_none());
    rack.link.authoritative = true;
    assert_eq!(rack.ask(&known_place).unwrap().kind(), NAK);
}

#[test]
fn two_clients_cannot_take_one_offer() {
    let mut rack = rack(Stage::Server);
    let (address, _) = rack.lease(1, |packet| packet).unwrap();
    let thief = client(REQUEST, 2).option(50, &address.octets()).option(54, &BOX.octets());
    assert_eq!(rack.ask(&thief).unwrap().kind(), NAK);
}

#[test]
fn a_decline_rests_the_address_and_a_release_frees_it() {
    let mut rack = rack(Stage::Server);
    let (first, _) = rack.lease(1, |packet| packet).unwrap();
    let decline = client(DECLINE, 1).option(50, &first.octets()).option(54, &BOX.octets());
    let outcome = rack.outcome(&decline);
    assert!(outcome.reply.is_none());
    assert_eq!(outcome.changes, [Change::Remove(first)]);
    let (second, _) = rack.lease(1, |packet| packet).unwrap();
    assert_ne!(first, second);
    let release = rack.outcome(&client(RELEASE, 1).ciaddr(second).option(54, &BOX.octets()));
    assert_eq!((release.reply, release.changes.as_slice()), (None, &[Change::Remove(second)][..]));
    assert_eq!(rack.lease(1, |packet| packet).unwrap().0, second, "the same machine gets it back");
}

#[test]
fn an_inform_gets_options_without_a_lease() {
    let mut rack = rack(Stage::Server);
    let outcome = rack.outcome(&client(INFORM, 1).ciaddr(Ipv4Addr::new(10, 77, 0, 30)));
    let ack = Got::read(&outcome.reply.unwrap());
    assert_eq!((ack.kind(), ack.yiaddr(), ack.option(51)), (ACK, Ipv4Addr::UNSPECIFIED, None));
    assert_eq!(ack.option(1), Some(&[255, 255, 255, 0][..]));
}

#[test]
fn an_empty_pool_is_noted() {
    let mut rack = rack(Stage::Server);
    let facts: Vec<_> = (0..=120).map(|number| rack.outcome(&client(DISCOVER, number)).notes).collect();
    assert!(facts.last().unwrap().iter().any(|note| note.fact == Fact::PoolEmpty));
}

#[test]
fn after_a_restart_without_the_offer_the_selected_address_is_still_given() {
    let mut rack = rack(Stage::PxeOnly);
    let request = client(REQUEST, 1).pxe(7).option(50, &FIRST.octets()).option(54, &BOX.octets());
    assert_eq!(rack.ask(&request).unwrap().kind(), ACK);
}
