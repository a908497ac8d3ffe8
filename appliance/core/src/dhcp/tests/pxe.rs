//! What boot firmware is told, each rule with the peer or the document that taught it.

use super::packets::*;
use crate::{
    dhcp::{Destination, Fact, Kind, Stage, client::PiModel},
    host::{Arch, Firmware, FirstLoader, MacAddr, Strategy},
};
use std::net::{Ipv4Addr, SocketAddrV4};

#[test]
fn every_answer_is_at_least_300_bytes_with_the_padding_after_end() {
    let offer = rack(Stage::Server).ask(&client(DISCOVER, 1)).unwrap();
    assert_eq!(offer.bytes.len(), 300);
}

#[test]
fn each_architecture_gets_its_loader_by_number() {
    for (arch, file) in [
        (0, "undionly.kpxe"),
        (6, "ipxe-ia32.efi"),
        (7, "snponly-x64.efi"),
        (8, "snponly-x64.efi"),
        (9, "snponly-x64.efi"),
        (11, "ipxe-arm64.efi"),
    ] {
        let offer = rack(Stage::PxeOnly).ask(&client(DISCOVER, 1).pxe(arch)).unwrap();
        assert_eq!((offer.file(), offer.text(67)), (file, file), "both the header and option 67");
        assert_eq!((offer.siaddr(), offer.sname(), offer.text(66)), (BOX, "10.77.0.1", "10.77.0.1"));
        assert_eq!(offer.text(60), "PXEClient", "the bare word");
        assert_eq!(offer.option(54), Some(&BOX.octets()[..]));
    }
}

#[test]
fn a_host_starts_with_the_loader_it_is_set_to_where_the_box_has_that() {
    let mut rack = rack(Stage::PxeOnly);
    for (loader, arch, file) in [
        (FirstLoader::Pxelinux, 0, "pxelinux.0"),
        (FirstLoader::Pxelinux, 7, "snponly-x64.efi"),
        (FirstLoader::Grub, 7, "grubx64.efi"),
        (FirstLoader::Grub, 11, "grubaa64.efi"),
        (FirstLoader::Grub, 6, "ipxe-ia32.efi"),
        (FirstLoader::Grub, 0, "undionly.kpxe"),
        (FirstLoader::Ipxe, 0, "undionly.kpxe"),
    ] {
        rack.host.loader = loader;
        let offer = rack.ask(&client(DISCOVER, 1).pxe(arch)).unwrap();
        assert_eq!((offer.file(), offer.text(67), offer.siaddr()), (file, file, BOX), "{loader:?} on {arch}");
    }
    rack.host.loader = FirstLoader::Grub;
    let by_http = client(DISCOVER, 1).option(60, b"HTTPClient:Arch:00016:UNDI:003000").option(93, &[0, 16]);
    assert_eq!(rack.ask(&by_http).unwrap().file(), "http://10.77.0.1/grubx64.efi");
}

#[test]
fn an_ipxe_in_a_machines_rom_starts_the_loader_that_its_host_is_set_to() {
    let mut rack = rack(Stage::PxeOnly);
    let rom = |arch| client(DISCOVER, 1).ipxe(arch);
    for (loader, arch, file) in [(FirstLoader::Pxelinux, 0, "pxelinux.0"), (FirstLoader::Grub, 7, "grubx64.efi")] {
        rack.host.loader = loader;
        assert_eq!(rack.ask(&rom(arch)).unwrap().file(), file);
    }
    rack.host.loader = FirstLoader::Pxelinux;
    assert!(rack.ask(&rom(7)).unwrap().file().starts_with("http://10.77.0.1/boot.ipxe?"));
}

#[test]
fn http_firmware_gets_a_uri_and_its_own_vendor_class() {
    for (arch, uri) in [
        (15, "http://10.77.0.1/ipxe-ia32.efi"),
        (16, "http://10.77.0.1/snponly-x64.efi"),
        (19, "http://10.77.0.1/ipxe-arm64.efi"),
        (20, "http://10.77.0.1/undionly.kpxe"),
    ] {
        let class = format!("HTTPClient:Arch:{arch:05}:UNDI:003000");
        let discover = client(DISCOVER, 1).option(60, class.as_bytes()).option(93, &[0, arch]);
        for stage in [Stage::PxeOnly, Stage::Proxy] {
            let offer = rack(stage).ask(&discover).unwrap();
            assert_eq!((offer.file(), offer.text(67), offer.text(60)), (uri, uri, "HTTPClient"));
        }
    }
}

#[test]
fn option_93_may_list_several_and_the_first_known_counts() {
    let discover = client(DISCOVER, 1).option(60, b"PXEClient").option(93, &[0xff, 0xfe, 0, 11, 0, 7]);
    assert_eq!(rack(Stage::PxeOnly).ask(&discover).unwrap().file(), "ipxe-arm64.efi");
}

#[test]
fn without_option_93_the_vendor_class_says_the_architecture() {
    let discover = client(DISCOVER, 1).option(60, b"PXEClient:Arch:00007:UNDI:003016");
    assert_eq!(rack(Stage::PxeOnly).ask(&discover).unwrap().file(), "snponly-x64.efi");
}

#[test]
fn ipxe_gets_the_script_and_need_not_wait_for_a_proxy() {
    let offer = rack(Stage::PxeOnly).ask(&client(DISCOVER, 1).ipxe(7)).unwrap();
    let script =
        "http://10.77.0.1/boot.ipxe?mac=${netX/mac:hexhyp}&uuid=${uuid}&serial=${serial:uristring}&arch=${buildarch}";
    assert_eq!((offer.file(), offer.text(67)), (script, script));
    assert_eq!(offer.option(175), Some(&[0xb0, 1, 1][..]));
    assert_eq!(offer.option(43), None);
}

#[test]
fn the_script_url_fits_the_header_with_every_address_and_port() {
    let mut rack = rack(Stage::PxeOnly);
    rack.link.http_port = 65_535;
    rack.link.address = Ipv4Addr::new(210, 210, 210, 210);
    let offer = rack.ask(&client(DISCOVER, 1).ipxe(7)).unwrap();
    assert!(offer.file().starts_with("http://210.210.210.210:65535/boot.ipxe?mac="));
    assert_eq!(offer.file(), offer.text(67));
}

#[test]
fn user_class_ipxe_is_known_counted_and_plain() {
    for class in [&b"iPXE"[..], b"\x04iPXE"] {
        let offer = rack(Stage::PxeOnly).ask(&client(DISCOVER, 1).pxe(0).option(77, class)).unwrap();
        assert!(offer.file().contains("/boot.ipxe?"));
    }
}

#[test]
fn ipxe_without_http_gets_a_loader_that_has_it() {
    let discover = client(DISCOVER, 1).pxe(0).option(175, &[0x15, 1, 1]);
    assert_eq!(rack(Stage::PxeOnly).ask(&discover).unwrap().file(), "undionly.kpxe");
}

#[test]
fn option_67_is_last_before_end_and_82_behind_it_verbatim() {
    let circuit = [1, 4, 0xde, 0xad, 0xbe, 0xef, 2, 3, 9, 9, 9];
    let discover = client(DISCOVER, 1).pxe(7).relay(Ipv4Addr::new(10, 77, 0, 254)).option(82, &circuit);
    let offer = rack(Stage::PxeOnly).ask(&discover).unwrap();
    let codes: Vec<u8> = offer.options.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes[codes.len() - 2..], [67, 82]);
    assert_eq!(offer.option(82), Some(&circuit[..]));
    let direct = rack(Stage::PxeOnly).ask(&client(DISCOVER, 1).pxe(7)).unwrap();
    assert_eq!(direct.options.last().unwrap().0, 67);
}

#[test]
fn option_97_is_echoed_and_a_wrong_one_is_not() {
    let uuid = [0, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 1, 2, 3, 4, 5, 6, 7, 8];
    let mut rack = rack(Stage::PxeOnly);
    assert_eq!(rack.ask(&client(DISCOVER, 1).pxe(7).option(97, &uuid)).unwrap().option(97), Some(&uuid[..]));
    assert_eq!(rack.ask(&client(DISCOVER, 1).pxe(7).option(97, &uuid[..9])).unwrap().option(97), None);
    assert_eq!(rack.ask(&client(DISCOVER, 1).pxe(7)).unwrap().option(97), None, "missing is no obstacle");
}

#[test]
fn the_uuid_of_option_97_is_noted_in_the_order_people_read() {
    let raw = [0, 0x78, 0x56, 0x34, 0x12, 0xbc, 0x9a, 0xf0, 0xde, 1, 2, 3, 4, 5, 6, 7, 8];
    let outcome = rack(Stage::PxeOnly).outcome(&client(DISCOVER, 1).pxe(7).option(97, &raw));
    let note = outcome.notes.first().unwrap();
    assert_eq!(note.uuid.unwrap().to_string(), "12345678-9abc-def0-0102-030405060708");
    assert_eq!((note.arch, note.firmware), (Some(Arch::X86_64), Some(Firmware::Uefi)));
    assert_eq!((note.mac, note.xid, note.fact), (mac(1), 0xaabb_cc01, Fact::Discover));
    assert_eq!(note.vendor_class.as_str(), "PXEClient:Arch:00007:UNDI:003016");
}

#[test]
fn client_identifier_is_echoed() {
    let id = [1, 0x52, 0x54, 0, 0x77, 0, 1];
    let offer = rack(Stage::PxeOnly).ask(&client(DISCOVER, 1).pxe(7).option(61, &id)).unwrap();
    assert_eq!(offer.option(61), Some(&id[..]));
}

#[test]
fn in_proxy_mode_a_pxe_rom_gets_no_address_and_hears_it_by_broadcast() {
    let mut rack = rack(Stage::Proxy);
    let outcome = rack.outcome(&client(DISCOVER, 1).pxe(7));
    let offer = Got::read(&outcome.reply.unwrap());
    assert_eq!(outcome.to, Destination::Broadcast);
    assert!(offer.broadcast(), "set whatever the client said");
    assert_eq!((offer.yiaddr(), offer.kind()), (Ipv4Addr::UNSPECIFIED, OFFER));
    assert_eq!((offer.file(), offer.text(60), offer.siaddr()), ("snponly-x64.efi", "PXEClient", BOX));
    assert_eq!(offer.option(54), Some(&BOX.octets()[..]), "without it ROMs broadcast to 4011");
    for code in [1, 3, 43, 51, 58, 59] {
        assert_eq!(offer.option(code), None, "option {code}");
    }
    assert_eq!(outcome.changes, []);
}

#[test]
fn a_bios_rom_beside_another_server_is_told_to_skip_discovery() {
    let offer = rack(Stage::Proxy).ask(&client(DISCOVER, 1).pxe(0)).unwrap();
    assert_eq!(offer.option(43), Some(&[6, 1, 8, 255][..]));
    assert_eq!(offer.file(), "undionly.kpxe");
}

#[test]
fn a_hosts_strategy_decides_the_form_of_the_proxy_answer() {
    let mut rack = rack(Stage::Proxy);
    rack.host.strategy = Strategy::Port4011;
    let offer = rack.ask(&client(DISCOVER, 1).pxe(7)).unwrap();
    assert_eq!((offer.file(), offer.option(67), offer.option(43)), ("", None, None));
    assert_eq!(offer.siaddr(), BOX, "there it asks on port 4011");
    rack.host.strategy = Strategy::Discovery8;
    let offer = rack.ask(&client(DISCOVER, 1).pxe(7)).unwrap();
    assert_eq!((offer.file(), offer.option(43)), ("snponly-x64.efi", Some(&[6, 1, 8, 255][..])));
}

#[test]
fn port_4011_answers_the_sender_with_the_boot_file() {
    let address = Ipv4Addr::new(10, 77, 0, 150);
    for (stage, strategy) in [(Stage::Proxy, Strategy::Plain), (Stage::PxeOnly, Strategy::Port4011)] {
        let mut rack = rack(stage);
        rack.host.strategy = strategy;
        let outcome = rack.outcome(&client(REQUEST, 1).pxe(7).option(97, &[0; 17]).on_4011(address, 4011));
        let ack = Got::read(&outcome.reply.unwrap());
        assert_eq!(outcome.to, Destination::Unicast(SocketAddrV4::new(address, 4011)));
        assert_eq!((ack.kind(), ack.file(), ack.text(60)), (ACK, "snponly-x64.efi", "PXEClient"));
        assert_eq!((ack.yiaddr(), ack.ciaddr(), ack.siaddr()), (Ipv4Addr::UNSPECIFIED, address, BOX));
        assert_eq!(ack.option(97), Some(&[0; 17][..]));
        assert_eq!(outcome.notes[0].fact, Fact::Asked4011);
    }
}

#[test]
fn port_4011_answers_bios_and_architectures_nobody_listed() {
    for arch in [0, 0x7fff] {
        let request = client(REQUEST, 1).pxe(arch).on_4011(Ipv4Addr::new(10, 77, 0, 150), 68);
        assert_eq!(rack(Stage::Proxy).ask(&request).unwrap().kind(), ACK);
    }
}

#[test]
fn port_4011_echoes_the_boot_item() {
    let request =
        client(REQUEST, 1).pxe(0).option(43, &[71, 4, 0x80, 0, 0, 0, 255]).on_4011(Ipv4Addr::new(10, 77, 0, 150), 68);
    assert_eq!(rack(Stage::Proxy).ask(&request).unwrap().option(43), Some(&[71, 4, 0x80, 0, 0, 0, 255][..]));
}

#[test]
fn a_raspberry_pi_hears_its_own_words() {
    let four = [0, b'R', b'P', b'i', b'4', 0x11, 0x14, 0xa0, 0x03, 0x32, 0x01, 0x36, 0xc2, 0xef, 0xfd, 0xfe, 0x9f];
    let mut rack = rack(Stage::PxeOnly);
    let discover = client(DISCOVER, 1).pxe(0).option(97, &four);
    let offer = rack.ask(&discover).unwrap();
    let menu = *b"\x06\x01\x03\x0a\x04\x00PXE\x09\x14\x00\x00\x11Raspberry Pi Boot\xff";
    assert_eq!(offer.option(43), Some(&menu[..]));
    assert_eq!((offer.text(60), offer.text(66), offer.siaddr()), ("PXEClient", "10.77.0.1", BOX));
    assert_eq!(offer.file(), "", "it knows what it looks for");
    // A Pi 4 leaves option 60 out of its REQUEST (rpi-eeprom#82).
    let request = client(REQUEST, 1).option(50, &offer.yiaddr().octets()).option(54, &BOX.octets());
    let ack = rack.ask(&request).unwrap();
    assert_eq!((ack.kind(), ack.option(43)), (ACK, Some(&menu[..])));
}

#[test]
fn a_raspberry_pi_3_keeps_its_address_without_a_request() {
    let mut rack = rack(Stage::PxeOnly);
    let pi = MacAddr([0xb8, 0x27, 0xeb, 1, 2, 3]);
    let discover = client(DISCOVER, 1).pxe(0).mac(pi);
    assert_eq!(Kind::of(&discover.decode()), Kind::Pi(PiModel::Rom));
    let offer = rack.ask(&discover).unwrap();
    assert!(offer.option(43).unwrap().ends_with(b"Raspberry Pi Boot   \xff"));
    rack.now = rack.now.after(std::time::Duration::from_secs(300));
    let others: Vec<_> = (2..=90).filter_map(|number| rack.ask(&client(DISCOVER, number).pxe(7))).collect();
    assert!(others.iter().all(|other| other.yiaddr() != offer.yiaddr()));
}

#[test]
fn uefi_on_a_raspberry_pi_is_uefi() {
    let discover = client(DISCOVER, 1).pxe(11).mac(MacAddr([0xdc, 0xa6, 0x32, 1, 2, 3]));
    assert_eq!(rack(Stage::PxeOnly).ask(&discover).unwrap().file(), "ipxe-arm64.efi");
}

#[test]
fn option_150_only_when_asked() {
    let mut rack = rack(Stage::PxeOnly);
    assert_eq!(rack.ask(&client(DISCOVER, 1).pxe(7)).unwrap().option(150), None);
    let offer = rack.ask(&client(DISCOVER, 1).pxe(7).option(55, &[1, 3, 150])).unwrap();
    assert_eq!(offer.option(150), Some(&BOX.octets()[..]));
}

#[test]
fn an_answer_never_exceeds_what_the_client_takes() {
    let mut rack = rack(Stage::Server);
    rack.link.subnet.dns = vec![Ipv4Addr::new(9, 9, 9, 9); 4];
    rack.link.subnet.ntp = vec![Ipv4Addr::new(9, 9, 9, 9); 4];
    rack.link.subnet.domain = Some("a-rather-long-domain-name.of-a-rather-large.organisation.example".repeat(2));
    let full = rack.ask(&client(DISCOVER, 1).ipxe(7).option(57, &[5, 192])).unwrap();
    assert!(full.option(15).is_some() && full.option(6).is_some());
    let small = rack.ask(&client(DISCOVER, 1).ipxe(7).option(82, &[7; 120])).unwrap();
    assert!(small.bytes.len() <= 548, "{} bytes of payload in a datagram of 576", small.bytes.len());
    assert!(small.option(67).is_some() && small.option(54).is_some() && small.option(82).is_some());
    assert_eq!(small.option(15), None, "what matters least goes first");
}
