//! Whatever the bytes: no panic, and an answer is well-formed and not too long.

use super::packets::*;
use crate::dhcp::{HostView, Packet, Port, Stage, reply, wire::decode};
use proptest::prelude::*;
use std::net::{Ipv4Addr, SocketAddrV4};

fn options() -> impl Strategy<Value = Vec<u8>> {
    // Codes that something looks at, and any other; lengths that fit and lengths that lie.
    let code = prop_oneof![
        proptest::sample::select(vec![
            12u8, 43, 50, 51, 52, 53, 54, 55, 57, 60, 61, 77, 80, 82, 93, 94, 97, 118, 154, 175
        ]),
        any::<u8>()
    ];
    let value = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        proptest::sample::select(vec![
            b"PXEClient:Arch:00007".to_vec(),
            b"HTTPClient".to_vec(),
            b"iPXE".to_vec(),
            vec![0; 17]
        ]),
    ];
    let option = (code, value, 0..4u8).prop_map(|(code, value, lie)| {
        let mut bytes = vec![code, u8::try_from(value.len()).unwrap_or(255).wrapping_add(if lie == 0 { 7 } else { 0 })];
        bytes.extend(value);
        bytes
    });
    proptest::collection::vec(option, 0..16).prop_map(|options| options.concat())
}

fn packet() -> impl Strategy<Value = Vec<u8>> {
    let header = (proptest::collection::vec(any::<u8>(), 236), 0..6u8, proptest::array::uniform4(any::<bool>()));
    let dressed = (header, 1..9u8, options()).prop_map(|((mut header, htype, zeros), kind, options)| {
        header[0] = 1;
        header[1] = htype.max(1);
        header[2] = 6;
        header[28] &= 0xfe;
        for (at, zero) in [(12, zeros[0]), (16, zeros[1]), (24, zeros[2]), (108, zeros[3])] {
            if zero {
                header[at..at + 4].fill(0);
            }
        }
        if htype < 4 {
            header[1] = 1;
        }
        header.extend([99, 130, 83, 99, 53, 1, kind]);
        header.extend(options);
        header
    });
    prop_oneof![8 => dressed, 1 => proptest::collection::vec(any::<u8>(), 0..1600)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_reply_is_always_well_formed_and_never_too_long(
        packets in proptest::collection::vec((packet(), any::<bool>()), 1..6),
        stage in proptest::sample::select(vec![Stage::Observe, Stage::ProxyEnrolled, Stage::Proxy, Stage::PxeOnly, Stage::Server]),
        host in proptest::array::uniform4(any::<bool>()),
    ) {
        let mut rack = rack(stage);
        rack.link.authoritative = host[3];
        rack.host = HostView { known: host[0], enrolled: host[1], install_running: host[2], ..HostView::default() };
        for (bytes, boot_server) in packets {
            let port = if boot_server { Port::BootServer } else { Port::Dhcp };
            let Ok(Packet::Request(request)) = decode(&bytes, port, SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 9), 68))
            else { continue };
            let outcome = reply(&request, &rack.link, &mut rack.table, &rack.host, rack.now);
            let Some(bytes) = outcome.reply else { continue };
            let got = Got::read(&bytes);
            prop_assert!((300..=request.max_payload).contains(&bytes.len()), "{} of {}", bytes.len(), request.max_payload);
            prop_assert_eq!(got.option(54), Some(&BOX.octets()[..]));
            prop_assert!(matches!(got.kind(), OFFER | ACK | NAK));
            prop_assert!(!got.yiaddr().is_unspecified() || got.option(51).is_none());
            prop_assert!(!matches!(stage, Stage::Observe));
            if got.kind() == OFFER {
                prop_assert_eq!(got.ciaddr(), Ipv4Addr::UNSPECIFIED);
            }
        }
    }

    #[test]
    fn cut_and_flipped_recordings_do_no_harm(cut in 0..420usize, at in 0..420usize, with in any::<u8>()) {
        let recorded = super::pcap::datagrams(include_bytes!("../../../testdata/transcripts/bios-ipxe.pcap"));
        for datagram in recorded {
            let mut bytes = datagram.payload;
            if let Some(byte) = bytes.get_mut(at) {
                *byte = with;
            }
            bytes.truncate(cut.max(1));
            let _ = decode(&bytes, Port::Dhcp, datagram.from);
        }
    }
}
