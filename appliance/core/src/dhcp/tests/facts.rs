//! What boot firmware in the field taught its servers: one test for each fact that changes a DHCP answer, by its number
//! in the list that the project was built from. Facts of other protocols have their tests there.

use super::packets::*;
use crate::{
    dhcp::{ClientArch, Destination, Kind, Port, Stage, Subnet, client::PiModel},
    host::{Arch, Firmware, MacAddr, Strategy},
    option::DhcpOption,
};
use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

const CIRCUIT: &[u8] = &[1, 4, 0xde, 0xad, 0xbe, 0xef];

fn offer(stage: Stage, dress: impl Fn(Client) -> Client) -> Got {
    rack(stage).ask(&dress(client(DISCOVER, 1))).unwrap()
}

fn http(arch: u8) -> impl Fn(Client) -> Client {
    let class = format!("HTTPClient:Arch:{arch:05}:UNDI:003000");
    move |packet| packet.option(60, class.as_bytes()).option(93, &[0, arch])
}

#[test]
fn fact_01_answers_have_300_bytes_and_all_padding_behind_end() {
    // Got::read fails on padding before END and on anything but zeros behind it.
    for stage in [Stage::Proxy, Stage::PxeOnly, Stage::Server] {
        assert!(offer(stage, |packet| packet.pxe(0)).bytes.len() >= 300);
    }
    assert_eq!(offer(Stage::Server, |packet| packet).bytes.len(), 300);
}

#[test]
fn fact_02_no_answer_exceeds_option_57_or_576_bytes_without_it() {
    let mut rack = rack(Stage::Server);
    rack.link.subnet.domain = Some("x".repeat(200));
    rack.link.subnet.options = vec![DhcpOption::new(17, &"y".repeat(250)).unwrap()];
    for (limit, most) in [(None, 548), (Some(576_u16), 548), (Some(100), 548), (Some(900), 872), (Some(9000), 1472)] {
        let mut packet = client(DISCOVER, 1).ipxe(7);
        if let Some(limit) = limit {
            packet = packet.option(57, &limit.to_be_bytes());
        }
        let length = rack.ask(&packet).unwrap().bytes.len();
        assert!(length <= most, "{length} bytes for {limit:?}");
    }
}

#[test]
fn fact_03_no_overload_towards_clients_but_theirs_is_read() {
    let mut packet = client(DISCOVER, 1).pxe(7).option(52, &[1]);
    packet.bytes[108..114].copy_from_slice(&[50, 4, 10, 77, 0, 123]);
    packet.bytes[114] = 255;
    // Got::read fails on option 52.
    assert_eq!(rack(Stage::PxeOnly).ask(&packet).unwrap().yiaddr(), Ipv4Addr::new(10, 77, 0, 123));
}

#[test]
fn fact_04_header_and_options_67_66_say_the_same() {
    for stage in [Stage::Proxy, Stage::PxeOnly] {
        let answer = offer(stage, |packet| packet.pxe(7));
        assert_eq!((answer.file(), answer.siaddr()), ("snponly-x64.efi", BOX));
        assert_eq!((answer.text(67), answer.text(66)), ("snponly-x64.efi", "10.77.0.1"));
    }
}

#[test]
fn fact_05_option_67_is_last_before_end_and_only_82_behind_it() {
    let last = |answer: &Got, n: usize| answer.options.iter().rev().take(n).map(|(code, _)| *code).collect::<Vec<_>>();
    assert_eq!(last(&offer(Stage::PxeOnly, |packet| packet.pxe(7)), 1), [67]);
    let relayed = offer(Stage::PxeOnly, |packet| packet.pxe(7).relay(OTHER).option(82, CIRCUIT));
    assert_eq!(last(&relayed, 2), [82, 67]);
}

#[test]
fn fact_06_sname_and_66_are_the_dotted_address_and_150_comes_when_asked() {
    let answer = offer(Stage::PxeOnly, |packet| packet.pxe(0).option(55, &[66, 67, 150]));
    assert_eq!(
        (answer.sname(), answer.text(66), answer.option(150)),
        ("10.77.0.1", "10.77.0.1", Some(&[10, 77, 0, 1][..]))
    );
    assert_eq!(offer(Stage::PxeOnly, |packet| packet.pxe(0)).option(150), None);
}

#[test]
fn fact_07_relayed_replies_go_to_port_67() {
    let packet = client(DISCOVER, 1).pxe(7).relay(OTHER);
    for packet in [packet.clone(), packet.broadcast()] {
        for stage in [Stage::Proxy, Stage::PxeOnly, Stage::Server] {
            assert_eq!(rack(stage).outcome(&packet).to, Destination::Unicast(SocketAddrV4::new(OTHER, 67)));
        }
    }
}

#[test]
fn fact_08_option_82_comes_back_verbatim_and_last_and_chooses_the_subnet() {
    let mut rack = rack(Stage::Server);
    let far = (Ipv4Addr::new(10, 88, 0, 10), Ipv4Addr::new(10, 88, 0, 20));
    rack.link.relayed.push(Subnet { network: Ipv4Addr::new(10, 88, 0, 0), pool: Some(far), ..subnet() });
    rack.table = crate::dhcp::LeaseTable::new(
        &[(FIRST, LAST), far].map(|(first, last)| crate::dhcp::Pool { first, last, except: Vec::new() }),
        [],
        rack.now,
    );
    let link_selection = [&[5, 4, 10, 88, 0, 0][..], CIRCUIT].concat();
    for (number, packet) in [
        client(DISCOVER, 1).relay(Ipv4Addr::new(10, 88, 0, 1)).option(82, CIRCUIT),
        client(DISCOVER, 2).relay(OTHER).option(82, &link_selection),
        client(DISCOVER, 3).relay(OTHER).option(118, &[10, 88, 0, 0]).option(82, CIRCUIT),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = rack.ask(&packet).unwrap();
        assert_eq!(answer.yiaddr().octets()[..3], [10, 88, 0], "packet {number}");
        let sent = packet.decode().relay.unwrap();
        assert_eq!(answer.options.last().unwrap(), &(82, sent));
    }
}

#[test]
fn fact_09_broadcast_where_asked_and_from_a_proxy_always() {
    assert_eq!(rack(Stage::PxeOnly).outcome(&client(DISCOVER, 1).pxe(7).broadcast()).to, Destination::Broadcast);
    let direct = rack(Stage::PxeOnly).outcome(&client(DISCOVER, 1).pxe(7));
    assert!(matches!(direct.to, Destination::Unconfigured { mac: to, .. } if to == mac(1)));
    let proxy = rack(Stage::Proxy).outcome(&client(DISCOVER, 1).pxe(7));
    assert_eq!(proxy.to, Destination::Broadcast);
    assert!(Got::read(&proxy.reply.unwrap()).broadcast());
}

#[test]
fn fact_10_the_header_is_copied_as_table_3_says() {
    let packet = client(DISCOVER, 1).pxe(7).broadcast().relay(OTHER);
    let answer = rack(Stage::PxeOnly).ask(&packet).unwrap();
    assert_eq!(answer.bytes[1..3], [1, 6]);
    assert_eq!((&answer.bytes[4..8], &answer.bytes[10..12]), (&packet.bytes[4..8], &packet.bytes[10..12]));
    assert_eq!((&answer.bytes[24..28], &answer.bytes[28..44]), (&OTHER.octets()[..], &packet.bytes[28..44]));
    assert_eq!(answer.ciaddr(), Ipv4Addr::UNSPECIFIED);
    assert_eq!(offer(Stage::Proxy, |packet| packet.pxe(7)).yiaddr(), Ipv4Addr::UNSPECIFIED);
    let nak = rack(Stage::Server).outcome(&client(REQUEST, 1).option(50, &[192, 168, 1, 5]));
    assert_eq!(nak.to, Destination::Broadcast);
}

#[test]
fn fact_11_option_61_comes_back_and_a_fixed_address_goes_by_mac() {
    let mut rack = rack(Stage::Server);
    let fixed = Ipv4Addr::new(10, 77, 0, 50);
    rack.table.reserve([fixed]);
    rack.host.reservation = Some(fixed);
    let uuid = [0_u8; 17];
    for id in [&uuid[..], &[1, 0x52, 0x54, 0, 0x77, 0, 1], b"\xff\0\0\0\x01duid"] {
        let (address, ack) = rack.lease(1, |packet| packet.option(61, id)).unwrap();
        assert_eq!((address, ack.option(61)), (fixed, Some(id)));
    }
}

#[test]
fn fact_12_option_54_is_in_every_answer_also_of_a_proxy() {
    for stage in [Stage::Proxy, Stage::PxeOnly, Stage::Server] {
        assert_eq!(offer(stage, |packet| packet.pxe(7)).option(54), Some(&BOX.octets()[..]));
    }
    let ack = rack(Stage::Proxy).ask(&client(REQUEST, 1).pxe(7).on_4011(OTHER, 68)).unwrap();
    assert_eq!(ack.option(54), Some(&BOX.octets()[..]));
    let nak = rack(Stage::Server).ask(&client(REQUEST, 1).option(50, &[192, 168, 1, 5])).unwrap();
    assert_eq!(nak.option(54), Some(&BOX.octets()[..]));
}

#[test]
fn fact_13_option_60_is_the_bare_word() {
    assert_eq!(offer(Stage::Proxy, |packet| packet.pxe(7)).text(60), "PXEClient");
    assert_eq!(offer(Stage::PxeOnly, http(16)).text(60), "HTTPClient");
}

#[test]
fn fact_14_option_97_comes_back_if_it_is_valid_and_may_be_missing() {
    let uuid = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
    assert_eq!(offer(Stage::Proxy, |packet| packet.pxe(7).option(97, &uuid)).option(97), Some(&uuid[..]));
    let other_type = [&[1][..], &uuid[1..]].concat();
    for wrong in [&uuid[..16], &other_type, &[]] {
        assert_eq!(offer(Stage::Proxy, |packet| packet.pxe(7).option(97, wrong)).option(97), None);
    }
    assert_eq!(offer(Stage::Proxy, |packet| packet.pxe(7)).option(97), None);
}

#[test]
fn fact_15_of_several_architectures_the_first_known_one_counts() {
    let several = |packet: Client| packet.option(60, b"PXEClient").option(93, &[0x12, 0x34, 0, 11, 0, 7]);
    assert_eq!(offer(Stage::PxeOnly, several).file(), "ipxe-arm64.efi");
}

#[test]
fn fact_16_architectures_are_what_iana_numbers_and_the_field_means() {
    for (number, arch, firmware) in [
        (0, Arch::X86_64, Firmware::Bios),
        (6, Arch::X86, Firmware::Uefi),
        (7, Arch::X86_64, Firmware::Uefi),
        (9, Arch::X86_64, Firmware::Uefi),
        (10, Arch::Arm, Firmware::Uefi),
        (11, Arch::Aarch64, Firmware::Uefi),
        (15, Arch::X86, Firmware::Uefi),
        (16, Arch::X86_64, Firmware::Uefi),
        (18, Arch::Arm, Firmware::Uefi),
        (19, Arch::Aarch64, Firmware::Uefi),
        (20, Arch::X86_64, Firmware::Bios),
        (0x1b, Arch::Riscv64, Firmware::Uefi),
        (0x27, Arch::Loongarch64, Firmware::Uefi),
        (0x29, Arch::Aarch64, Firmware::Pi),
    ] {
        assert_eq!(
            (ClientArch(number).arch(), ClientArch(number).firmware()),
            (Some(arch), Some(firmware)),
            "{number}"
        );
    }
}

#[test]
fn fact_17_7_8_and_9_are_all_uefi_x64() {
    for arch in [7, 8, 9] {
        assert_eq!(offer(Stage::PxeOnly, |packet| packet.pxe(arch)).file(), "snponly-x64.efi");
    }
}

#[test]
fn fact_18_a_raspberry_pi_says_0_and_is_known_by_97_or_its_address() {
    for name in [b"RPi4", b"RPi5"] {
        let id = [&[0][..], name, &[0; 12]].concat();
        assert_eq!(Kind::of(&client(DISCOVER, 1).pxe(0).option(97, &id).decode()), Kind::Pi(PiModel::Eeprom));
    }
    let by_address = client(DISCOVER, 1).pxe(0).mac(MacAddr([0xb8, 0x27, 0xeb, 1, 2, 3]));
    assert_eq!(Kind::of(&by_address.decode()), Kind::Pi(PiModel::Rom));
    assert!(matches!(Kind::of(&client(DISCOVER, 1).pxe(0).decode()), Kind::PxeRom(_)));
}

#[test]
fn fact_19_only_boot_clients_are_answered_and_an_exchange_is_remembered() {
    for stage in [Stage::Proxy, Stage::PxeOnly] {
        assert!(rack(stage).ask(&client(DISCOVER, 1)).is_none());
        assert!(rack(stage).ask(&client(DISCOVER, 1).pxe(7)).is_some());
    }
    // A Pi 4 leaves option 60 out of its REQUEST.
    let mut rack = rack(Stage::PxeOnly);
    let id = [&[0][..], b"RPi4", &[0; 12]].concat();
    let offer = rack.ask(&client(DISCOVER, 1).pxe(0).option(97, &id)).unwrap();
    let ack = rack.ask(&client(REQUEST, 1).option(50, &offer.yiaddr().octets()).option(54, &BOX.octets())).unwrap();
    assert_eq!((ack.kind(), ack.option(43)), (ACK, offer.option(43)));
}

#[test]
fn fact_20_option_77_is_read_counted_and_plain() {
    for class in [&b"iPXE"[..], b"\x04iPXE", b"\x03abc\x04iPXE"] {
        assert!(offer(Stage::PxeOnly, |packet| packet.pxe(0).option(77, class)).file().contains("/boot.ipxe?"));
    }
}

#[test]
fn fact_21_the_features_in_option_175_choose_the_scheme() {
    let with = |features: &'static [u8]| offer(Stage::PxeOnly, move |packet| packet.pxe(0).option(175, features));
    assert!(with(&[0x13, 1, 1]).file().starts_with("http://"));
    assert_eq!(with(&[0x15, 1, 1]).file(), "undionly.kpxe", "no HTTP: a loader that has it, by TFTP");
}

#[test]
fn fact_22_ipxe_with_our_address_need_not_wait_for_a_proxy() {
    assert_eq!(offer(Stage::PxeOnly, |packet| packet.ipxe(7)).option(175), Some(&[0xb0, 1, 1][..]));
    assert_eq!(offer(Stage::Proxy, |packet| packet.ipxe(7)).option(175), None, "here it has to");
}

#[test]
fn fact_23_a_proxy_answer_waits_for_nothing() {
    let outcome = rack(Stage::Proxy).outcome(&client(DISCOVER, 1).pxe(7));
    assert!(outcome.reply.is_some() && outcome.probe.is_none() && outcome.changes.is_empty());
}

#[test]
fn fact_24_a_rom_that_asks_again_at_its_own_pace_is_offered_the_same() {
    let mut rack = rack(Stage::PxeOnly);
    let first = rack.ask(&client(DISCOVER, 1).pxe(7)).unwrap().yiaddr();
    for wait in [4, 8, 16, 32] {
        rack.now = rack.now.after(Duration::from_secs(wait));
        assert_eq!(rack.ask(&client(DISCOVER, 1).pxe(7)).unwrap().yiaddr(), first, "after {wait} s");
    }
}

#[test]
fn fact_25_ipxe_takes_a_proxy_offer_with_server_and_file_as_complete() {
    let answer = offer(Stage::Proxy, |packet| packet.ipxe(7));
    assert!(answer.siaddr() == BOX && answer.file().contains("/boot.ipxe?"));
    // And where it asks on port 4011 it hears that port only: the shell answers from the one that was asked.
    let request = client(REQUEST, 1).ipxe(7).on_4011(OTHER, 68);
    assert_eq!(request.decode().port, Port::BootServer);
    assert_eq!(rack(Stage::Proxy).ask(&request).unwrap().kind(), ACK);
}

#[test]
fn fact_26_edk2_asks_on_4011_and_gets_a_boot_file_there() {
    let answer = offer(Stage::Proxy, |packet| packet.pxe(7));
    assert_eq!((answer.option(43), answer.text(60), answer.siaddr()), (None, "PXEClient", BOX), "a BINL offer");
    let ack = rack(Stage::Proxy).ask(&client(REQUEST, 1).pxe(7).on_4011(OTHER, 4011)).unwrap();
    assert_eq!((ack.kind(), ack.file(), ack.text(67)), (ACK, "snponly-x64.efi", "snponly-x64.efi"));
}

#[test]
fn fact_27_both_forms_of_a_uefi_proxy_answer_are_there_by_host() {
    let mut rack = rack(Stage::Proxy);
    for (strategy, vendor) in
        [(Strategy::Plain, None), (Strategy::Port4011, None), (Strategy::Discovery8, Some(&[6, 1, 8, 255][..]))]
    {
        rack.host.strategy = strategy;
        assert_eq!(rack.ask(&client(DISCOVER, 1).pxe(7)).unwrap().option(43), vendor, "{strategy:?}");
    }
}

#[test]
fn fact_28_port_4011_answers_everybody_at_the_address_and_port_that_asked() {
    for arch in [0, 7, 0x7fff] {
        let outcome =
            rack(Stage::Proxy).outcome(&client(REQUEST, 1).pxe(arch).option(97, &[0; 17]).on_4011(OTHER, 2345));
        assert_eq!(outcome.to, Destination::Unicast(SocketAddrV4::new(OTHER, 2345)));
        let ack = Got::read(&outcome.reply.unwrap());
        assert_eq!((ack.kind(), ack.text(60), ack.siaddr()), (ACK, "PXEClient", BOX));
        assert!(ack.option(54).is_some() && ack.option(97).is_some());
    }
}

#[test]
fn fact_29_discovery_is_skipped_where_a_file_is_named() {
    for (stage, arch) in [(Stage::Proxy, 0), (Stage::PxeOnly, 0), (Stage::PxeOnly, 7)] {
        let answer = offer(stage, |packet| packet.pxe(arch));
        assert_eq!(answer.option(43), Some(&[6, 1, 8, 255][..]));
        assert!(!answer.file().is_empty());
    }
}

#[test]
fn fact_30_the_boot_item_comes_back_and_255_ends_it() {
    let item = [71, 4, 0x80, 1, 0, 2, 255];
    let ack = rack(Stage::Proxy).ask(&client(REQUEST, 1).pxe(0).option(43, &item).on_4011(OTHER, 68)).unwrap();
    assert_eq!(ack.option(43), Some(&item[..]));
}

#[test]
fn fact_31_no_menu_is_ever_shown_to_uefi() {
    for stage in [Stage::Proxy, Stage::PxeOnly] {
        for strategy in [Strategy::Plain, Strategy::Port4011, Strategy::Discovery8] {
            let mut rack = rack(stage);
            rack.host.strategy = strategy;
            let vendor = rack.ask(&client(DISCOVER, 1).pxe(7)).unwrap().option(43).unwrap_or_default().to_vec();
            assert!(vendor.is_empty() || vendor == [6, 1, 8, 255], "{vendor:?}");
        }
    }
}

#[test]
fn fact_32_a_raspberry_pi_hears_its_menu_and_the_3_with_three_blanks() {
    let id = [&[0][..], b"RPi5", &[0; 12]].concat();
    let menu = *b"\x06\x01\x03\x0a\x04\x00PXE\x09\x14\x00\x00\x11Raspberry Pi Boot\xff";
    assert_eq!(offer(Stage::Proxy, |packet| packet.pxe(0).option(97, &id)).option(43), Some(&menu[..]));
    let three = |packet: Client| packet.pxe(0).mac(MacAddr([0xb8, 0x27, 0xeb, 1, 2, 3]));
    assert!(offer(Stage::Proxy, three).option(43).unwrap().ends_with(b"\x14Raspberry Pi Boot   \xff"));
}

#[test]
fn fact_49_what_pxelinux_reads_in_209_to_211_can_be_set() {
    let mut rack = rack(Stage::Server);
    rack.host.options = ["209=pxelinux.cfg/rack", "210=tftp/", "211=hex:0000001e"]
        .map(|pair| DhcpOption::parse(pair).unwrap())
        .to_vec();
    let answer = rack.ask(&client(DISCOVER, 1).pxe(0)).unwrap();
    assert_eq!((answer.text(209), answer.text(210)), ("pxelinux.cfg/rack", "tftp/"));
    assert_eq!(answer.option(211), Some(&30_u32.to_be_bytes()[..]));
}

#[test]
fn fact_50_u_boot_asks_without_93_and_60_and_gets_an_address_where_it_is_known() {
    let packet = client(DISCOVER, 1).option(60, b"U-Boot.armv8");
    assert_eq!(Kind::of(&packet.decode()), Kind::UBoot);
    assert_eq!(rack(Stage::PxeOnly).ask(&packet).unwrap().yiaddr(), FIRST);
}

#[test]
fn fact_52_option_3_is_one_router() {
    let mut rack = rack(Stage::Server);
    rack.link.subnet.router = Some(OTHER);
    assert_eq!(rack.ask(&client(DISCOVER, 1)).unwrap().option(3), Some(&OTHER.octets()[..]));
}

#[test]
fn fact_53_shim_finds_its_server_and_folder_in_the_header() {
    let mut rack = rack(Stage::Proxy);
    rack.link.stage = Stage::PxeOnly;
    rack.host.options = vec![DhcpOption::new(67, "debian/shimx64.efi").unwrap()];
    let answer = rack.ask(&client(DISCOVER, 1).pxe(7)).unwrap();
    assert_eq!((answer.file(), answer.siaddr()), ("debian/shimx64.efi", BOX));
}

#[test]
fn fact_54_ipxe_comes_first_and_shim_by_setting() {
    assert_eq!(offer(Stage::PxeOnly, |packet| packet.pxe(7)).file(), "snponly-x64.efi");
    let mut rack = rack(Stage::PxeOnly);
    rack.host.options = vec![DhcpOption::new(67, "shimx64.efi").unwrap()];
    assert_eq!(rack.ask(&client(DISCOVER, 1).pxe(7)).unwrap().file(), "shimx64.efi");
}

#[test]
fn fact_58_http_boot_gets_class_uri_and_name_servers_from_a_proxy_as_well() {
    for stage in [Stage::Proxy, Stage::PxeOnly] {
        let answer = offer(stage, http(16));
        let uri = "http://10.77.0.1/snponly-x64.efi";
        assert_eq!((answer.text(60), answer.text(67), answer.file()), ("HTTPClient", uri, uri));
    }
    let mut rack = rack(Stage::PxeOnly);
    rack.link.subnet.dns = vec![OTHER];
    assert_eq!(rack.ask(&http(16)(client(DISCOVER, 1))).unwrap().option(6), Some(&OTHER.octets()[..]));
}
