//! Subnets, relays, reservations, options that people set, and clients that know no DHCP.

use super::packets::*;
use crate::{
    dhcp::{Change, Destination, Fact, LeaseTable, MessageKind, Pool, Stage, Subnet},
    option::DhcpOption,
};
use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

const RELAY: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
const FAR: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(10, 88, 0, 10), Ipv4Addr::new(10, 88, 0, 20));

fn option(pair: &str) -> DhcpOption {
    DhcpOption::parse(pair).unwrap()
}

/// A rack with a second subnet behind a relay.
fn two_subnets() -> Rack {
    let mut rack = rack(Stage::Server);
    rack.link.relayed.push(Subnet {
        network: Ipv4Addr::new(10, 88, 0, 0),
        pool: Some(FAR),
        router: Some(RELAY),
        lease: Some(Duration::from_secs(900)),
        options: vec![option("42=10.88.0.2")],
        ..subnet()
    });
    let pools = [(FIRST, LAST), FAR].map(|(first, last)| Pool { first, last, except: vec![BOX] });
    rack.table = LeaseTable::new(&pools, [], rack.now);
    rack
}

#[test]
fn each_subnet_has_its_own_pool_router_lease_time_and_options() {
    let mut rack = two_subnets();
    let far = rack.ask(&client(DISCOVER, 1).relay(RELAY)).unwrap();
    assert_eq!((far.yiaddr(), far.option(3)), (FAR.0, Some(&RELAY.octets()[..])));
    assert_eq!((far.option(51), far.option(42)), (Some(&900_u32.to_be_bytes()[..]), Some(&[10, 88, 0, 2][..])));
    let near = rack.ask(&client(DISCOVER, 2)).unwrap();
    assert_eq!((near.yiaddr(), near.option(3), near.option(42)), (FIRST, None, None));
}

#[test]
fn a_renewal_from_behind_a_relay_comes_without_it() {
    let mut rack = two_subnets();
    let (address, _) = rack.lease(1, |packet| packet.relay(RELAY)).unwrap();
    let outcome = rack.outcome(&client(REQUEST, 1).ciaddr(address));
    assert_eq!(outcome.to, Destination::Unicast(SocketAddrV4::new(address, 68)));
    assert_eq!(Got::read(&outcome.reply.unwrap()).kind(), ACK);
}

#[test]
fn option_118_chooses_the_subnet_and_comes_back() {
    let mut rack = two_subnets();
    let offer = rack.ask(&client(DISCOVER, 1).option(118, &[10, 88, 0, 0])).unwrap();
    assert_eq!((offer.yiaddr(), offer.option(118)), (FAR.0, Some(&[10, 88, 0, 0][..])));
    assert_eq!(rack.ask(&client(DISCOVER, 2)).unwrap().option(118), None);
}

#[test]
fn a_relay_may_stand_as_the_server_for_its_clients() {
    let mut rack = two_subnets();
    let circuit = [1, 2, 7, 7, 11, 4, 10, 88, 0, 1];
    let dress = |packet: Client| packet.relay(RELAY).option(82, &circuit);
    let offer = rack.ask(&dress(client(DISCOVER, 1))).unwrap();
    assert_eq!(offer.option(54), Some(&RELAY.octets()[..]));
    let request = client(REQUEST, 1).option(50, &offer.yiaddr().octets()).option(54, &RELAY.octets());
    let ack = rack.ask(&dress(request)).unwrap();
    assert_eq!((ack.kind(), ack.option(54)), (ACK, Some(&RELAY.octets()[..])));
    // Without a relay the sub-option is a client's invention.
    assert_eq!(rack.ask(&client(DISCOVER, 2).option(82, &circuit)).unwrap().option(54), Some(&BOX.octets()[..]));
}

#[test]
fn relay_information_of_more_than_255_bytes_comes_back_whole() {
    let mut rack = two_subnets();
    let long: Vec<u8> = [&[1, 200][..], &[7; 200], &[2, 98], &[8; 98]].concat();
    let (first, second) = long.split_at(255);
    let packet = client(DISCOVER, 1).relay(RELAY).option(57, &[5, 220]).option(82, first).option(82, second);
    let bytes = rack.outcome(&packet).reply.unwrap();
    let tail = [&[82, 255][..], first, &[82, u8::try_from(second.len()).unwrap()], second, &[255]].concat();
    assert!(bytes.ends_with(&tail), "as the last option, in two parts (RFC 3396)");
}

#[test]
fn a_client_may_ask_for_less_time_but_not_for_more() {
    let mut rack = two_subnets();
    for (number, (wish, given)) in (1..).zip([(300_u32, 300_u32), (5, 60), (u32::MAX, 900), (900, 900)]) {
        let offer = rack.ask(&client(DISCOVER, number).relay(RELAY).option(51, &wish.to_be_bytes())).unwrap();
        assert_eq!(offer.option(51), Some(&given.to_be_bytes()[..]), "{wish} s wished");
    }
}

#[test]
fn a_machine_moves_to_an_address_reserved_later_when_it_renews() {
    let mut rack = rack(Stage::Server);
    let (before, _) = rack.lease(1, |packet| packet).unwrap();
    let fixed = Ipv4Addr::new(10, 77, 0, 50);
    rack.table.reserve([fixed]);
    rack.host.reservation = Some(fixed);
    rack.host.install_running = true;
    assert_eq!(rack.ask(&client(REQUEST, 1).ciaddr(before)).unwrap().kind(), ACK, "not while it installs");
    rack.host.install_running = false;
    assert_eq!(rack.ask(&client(REQUEST, 1).ciaddr(before)).unwrap().kind(), NAK);
    assert_eq!(rack.lease(1, |packet| packet).unwrap().0, fixed);
}

#[test]
fn a_fixed_address_outside_every_pool_and_without_any_pool_is_given() {
    let mut rack = rack(Stage::Server);
    let fixed = Ipv4Addr::new(10, 77, 0, 50);
    rack.link.subnet.pool = None;
    assert!(rack.ask(&client(DISCOVER, 1)).is_none(), "nothing to give to others");
    rack.table.reserve([fixed]);
    rack.host.reservation = Some(fixed);
    assert_eq!(rack.lease(1, |packet| packet).unwrap().0, fixed);
}

#[test]
fn a_fixed_address_of_another_subnet_counts_only_there() {
    let mut rack = two_subnets();
    let fixed = Ipv4Addr::new(10, 88, 0, 99);
    rack.table.reserve([fixed]);
    rack.host.reservation = Some(fixed);
    assert_eq!(rack.ask(&client(DISCOVER, 1)).unwrap().yiaddr(), FIRST);
    assert_eq!(rack.ask(&client(DISCOVER, 2).relay(RELAY)).unwrap().yiaddr(), fixed);
}

#[test]
fn options_of_the_host_come_before_those_of_the_subnet_and_only_wanted_ones_are_sent() {
    let mut rack = rack(Stage::Server);
    rack.link.subnet.options = vec![option("42=10.0.0.1"), option("72=10.0.0.3"), option("15=rack.example")];
    rack.host.options = vec![option("42=10.0.0.2")];
    let offer = rack.ask(&client(DISCOVER, 1).option(55, &[1, 15, 42])).unwrap();
    assert_eq!((offer.option(42), offer.text(15)), (Some(&[10, 0, 0, 2][..]), "rack.example"));
    assert_eq!(offer.option(72), None, "not asked for");
    assert_eq!(rack.ask(&client(DISCOVER, 2).option(55, &[1])).unwrap().option(42), Some(&[10, 0, 0, 2][..]));
}

#[test]
fn vendor_options_of_a_subnet_reach_its_access_points_and_do_not_disturb_boots() {
    let mut rack = rack(Stage::Server);
    rack.link.subnet.options = vec![option("43=hex:0104c0a80101"), option("60=ArubaAP"), option("67=other.efi")];
    let point = rack.ask(&client(DISCOVER, 1)).unwrap();
    assert_eq!((point.option(43), point.text(60)), (Some(&[1, 4, 0xc0, 0xa8, 1, 1][..]), "ArubaAP"));
    assert_eq!((point.text(67), point.file()), ("other.efi", "other.efi"));
    let rom = rack.ask(&client(DISCOVER, 2).pxe(0)).unwrap();
    assert_eq!((rom.text(60), rom.text(67)), ("PXEClient", "undionly.kpxe"));
}

#[test]
fn a_boot_file_set_for_the_host_comes_before_the_loader_but_not_before_the_script() {
    let mut rack = rack(Stage::Server);
    rack.host.options = vec![option("67=own/shim.efi"), option("66=10.77.0.9")];
    let rom = rack.ask(&client(DISCOVER, 1).pxe(7)).unwrap();
    assert_eq!((rom.file(), rom.text(67), rom.text(66)), ("own/shim.efi", "own/shim.efi", "10.77.0.9"));
    assert_eq!((rom.siaddr(), rom.sname()), (Ipv4Addr::new(10, 77, 0, 9), "10.77.0.9"));
    assert!(rack.ask(&client(DISCOVER, 2).ipxe(7)).unwrap().file().contains("/boot.ipxe?"));
}

#[test]
fn a_nak_carries_the_client_identifier() {
    let mut rack = rack(Stage::Server);
    let id = b"\xffduid";
    let nak = rack.ask(&client(REQUEST, 1).option(50, &[192, 168, 1, 5]).option(61, id)).unwrap();
    assert_eq!((nak.kind(), nak.option(61)), (NAK, Some(&id[..])));
}

/// A BOOTP request of 300 bytes, with a cookie or without.
fn bootp(number: u8, cookie: bool) -> Client {
    let mut packet = client(DISCOVER, number);
    packet.bytes.truncate(240);
    if !cookie {
        packet.bytes[236..240].fill(0);
    } else {
        packet.bytes.push(255);
    }
    packet.bytes.resize(300, 0);
    packet
}

#[test]
fn a_bootp_client_gets_its_reserved_address_for_good_and_strangers_get_silence() {
    let mut rack = rack(Stage::Server);
    assert_eq!(bootp(1, true).decode().kind, MessageKind::Bootp);
    assert!(rack.outcome(&bootp(1, true)).reply.is_none());
    let fixed = Ipv4Addr::new(10, 77, 0, 50);
    rack.table.reserve([fixed]);
    rack.host.reservation = Some(fixed);
    for stage in [Stage::Server, Stage::PxeOnly] {
        rack.link.stage = stage;
        let outcome = rack.outcome(&bootp(1, true));
        let reply = Got::read(&outcome.reply.unwrap());
        assert_eq!((reply.yiaddr(), reply.siaddr(), reply.bytes.len()), (fixed, BOX, 300));
        for code in [51, 53, 54, 58, 59] {
            assert_eq!(reply.option(code), None, "option {code}");
        }
        assert_eq!(reply.option(1), Some(&[255, 255, 255, 0][..]));
    }
    rack.link.stage = Stage::Proxy;
    assert!(rack.outcome(&bootp(1, true)).reply.is_none(), "beside another server never");
}

#[test]
fn dynamic_bootp_gives_from_the_pool_and_the_lease_does_not_end() {
    let mut rack = rack(Stage::Server);
    rack.link.subnet.dynamic_bootp = true;
    let outcome = rack.outcome(&bootp(1, true));
    let [Change::Put(row)] = outcome.changes.as_slice() else { panic!("{:?}", outcome.changes) };
    assert_eq!((row.address, outcome.probe), (FIRST, Some(FIRST)));
    assert!(row.expires.since(rack.now) > Duration::from_secs(9 * 365 * 86_400));
    assert_eq!(outcome.notes.last().unwrap().fact, Fact::Ack(FIRST));
    rack.now = rack.now.after(Duration::from_secs(365 * 86_400));
    assert_eq!(rack.ask(&client(DISCOVER, 2)).unwrap().yiaddr(), Ipv4Addr::new(10, 77, 0, 101));
    assert_eq!(Got::read(&rack.outcome(&bootp(1, true)).reply.unwrap()).yiaddr(), FIRST, "the same at its next start");
}

#[test]
fn a_bootp_client_without_cookie_gets_none_and_no_options() {
    let mut rack = rack(Stage::Server);
    rack.link.subnet.dynamic_bootp = true;
    let reply = rack.outcome(&bootp(1, false)).reply.unwrap();
    assert_eq!((reply.len(), &reply[16..20]), (300, &FIRST.octets()[..]));
    assert!(reply[236..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_bootp_client_that_knows_its_address_gets_no_other_and_one_that_names_another_server_no_answer() {
    let mut rack = rack(Stage::Server);
    rack.link.subnet.dynamic_bootp = true;
    let mine = Ipv4Addr::new(10, 77, 0, 30);
    let outcome = rack.outcome(&bootp(1, true).ciaddr(mine));
    assert_eq!((outcome.changes.len(), outcome.to), (0, Destination::Unicast(SocketAddrV4::new(mine, 68))));
    assert_eq!(Got::read(&outcome.reply.unwrap()).yiaddr(), Ipv4Addr::UNSPECIFIED);
    let mut elsewhere = bootp(2, true);
    elsewhere.bytes[44..49].copy_from_slice(b"other");
    assert!(rack.outcome(&elsewhere).reply.is_none());
}
