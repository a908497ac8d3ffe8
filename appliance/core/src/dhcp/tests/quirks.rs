//! Each row of the quirks table decides about its own packet, and no row before it does.

use crate::dhcp::{
    Kind, Packet, Port,
    client::{PiModel, quirk, quirks},
    wire::decode,
};
use std::{
    net::{Ipv4Addr, SocketAddrV4},
    path::Path,
};

#[test]
fn every_quirk_has_a_packet_that_it_decides_about() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/quirks");
    let words = std::fs::read_to_string(folder.join("README.md")).unwrap();
    for name in quirks() {
        let bytes = std::fs::read(folder.join(format!("{name}.bin"))).unwrap();
        let from = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
        let Packet::Request(request) = decode(&bytes, Port::Dhcp, from).unwrap() else { panic!("{name}") };
        assert_eq!(quirk(&request), Some(name));
        assert!(
            words.contains(&format!("`{name}.bin` | captured"))
                || words.contains(&format!("`{name}.bin` | constructed"))
        );
        let kind = Kind::of(&request);
        let right = match name {
            "raspberry-pi-4" => kind == Kind::Pi(PiModel::Eeprom),
            "raspberry-pi-3" => kind == Kind::Pi(PiModel::Rom),
            "u-boot" => kind == Kind::UBoot,
            "ipxe-without-features" => matches!(kind, Kind::Ipxe(_, features) if features.http),
            "http-architecture-of-a-pxe-client" => matches!(kind, Kind::HttpRom(_)),
            other => panic!("what is {other} taken for?"),
        };
        assert!(right, "{name} is taken for {kind:?}");
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), quirks().count() + 1, "a packet without a row");
}
