//! DHCP: decoding, options, and the whole way from a packet to its answer.

use super::Target;
use rackberry_core::{
    dhcp::{
        HostView, Kind, LeaseTable, LeaseTimes, Link, Packet, Pool, Port, Services, Stage, Subnet,
        client::IpxeFeatures,
        options::{Options, sub_options, user_classes},
        reply,
        wire::decode,
    },
    option::DhcpOption,
    time::Timestamp,
};
use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

pub const TARGETS: &[(&str, Target)] = &[
    ("dhcp_decode", dhcp_decode),
    ("dhcp_options", dhcp_options),
    ("dhcp_pipeline", dhcp_pipeline),
    ("proxy_4011", proxy_4011),
];

const BOX: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const SENDER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 9), 68);

/// Decoding ends, and says the same twice.
pub fn dhcp_decode(bytes: &[u8]) {
    for port in [Port::Dhcp, Port::BootServer] {
        let twice = [decode(bytes, port, SENDER), decode(bytes, port, SENDER)].map(|packet| format!("{packet:?}"));
        let [once, again] = twice;
        assert_eq!(once, again);
    }
}

/// Options and everything inside them (43, 60, 77, 82, 93, 97, 175) are read from any bytes.
pub fn dhcp_options(bytes: &[u8]) {
    let field = bytes.get(240..).unwrap_or(bytes);
    let options = Options::scan(field, bytes.get(108..236).unwrap_or_default(), bytes.get(44..108).unwrap_or_default());
    for code in 0..=u8::MAX {
        let Some(value) = options.get(code) else { continue };
        let held: usize = sub_options(value).map(|(_, part)| part.len() + 2).sum();
        assert!(held <= value.len(), "option {code} holds more than it has");
        let classes: usize = user_classes(value).iter().map(Vec::len).sum();
        assert!(classes <= value.len());
        let _ = IpxeFeatures::read(value);
        let _ = DhcpOption::new(code, &String::from_utf8_lossy(value));
    }
}

/// Whatever the stage and the host: an answer is well-formed, fits its client, and promises nothing in a proxy.
pub fn dhcp_pipeline(bytes: &[u8]) {
    answer(bytes, Port::Dhcp);
}

/// The same on the boot server's port, where no address is ever given.
pub fn proxy_4011(bytes: &[u8]) {
    answer(bytes, Port::BootServer);
}

fn answer(bytes: &[u8], port: Port) {
    let Ok(Packet::Request(request)) = decode(bytes, port, SENDER) else { return };
    let _ = (Kind::of(&request), request.uuid());
    for stage in [Stage::Observe, Stage::ProxyEnrolled, Stage::Proxy, Stage::PxeOnly, Stage::Server] {
        for known in [false, true] {
            let (link, mut table) = rack(stage);
            let option = DhcpOption::new(67, "own/boot.efi").ok();
            let host = HostView {
                known,
                enrolled: known,
                install_running: known,
                reservation: known.then_some(Ipv4Addr::new(10, 77, 0, 50)),
                options: option.filter(|_| known).into_iter().collect(),
                ..HostView::default()
            };
            // Twice, as clients do: the second answer comes from what the first one left.
            for _ in 0..2 {
                let outcome = reply(&request, &link, &mut table, &host, Timestamp(1000));
                let Some(bytes) = outcome.reply else { continue };
                assert!(stage != Stage::Observe, "an observer answered");
                assert!((300..=request.max_payload.max(300)).contains(&bytes.len()), "{} bytes", bytes.len());
                assert_eq!(bytes.first(), Some(&2));
                assert_eq!(bytes.get(4..8), Some(&request.xid.to_be_bytes()[..]));
                assert_eq!(bytes.get(28..34), Some(&request.mac.0[..]));
                assert!(ends(&bytes), "the options do not end: {bytes:02x?}");
                let proxy = port == Port::BootServer || !stage.leases();
                let promised = bytes.get(16..20) != Some(&[0; 4][..]);
                assert!(!(proxy && promised && !known), "an address from {stage:?} on {port:?}");
            }
            assert!(table.leases(Timestamp(1000)).count() <= 2);
        }
    }
}

/// Whether the options lead to END and nothing but zeros follows; an answer without cookie has none.
fn ends(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(240..).unwrap_or_default();
    if bytes.get(236..240) == Some(&[0; 4][..]) {
        return rest.iter().all(|byte| *byte == 0);
    }
    loop {
        match rest {
            [255, padding @ ..] => return padding.iter().all(|byte| *byte == 0),
            [code, length, after @ ..] if *code != 0 => match after.get(usize::from(*length)..) {
                Some(after) => rest = after,
                None => return false,
            },
            _ => return false,
        }
    }
}

fn rack(stage: Stage) -> (Link, LeaseTable) {
    let subnet = |network, pool, options| Subnet {
        network,
        prefix: 24,
        pool: Some(pool),
        router: Some(BOX),
        dns: vec![BOX; 4],
        domain: Some("rack.example".to_owned()),
        ntp: vec![BOX],
        lease: None,
        dynamic_bootp: true,
        options,
    };
    let near = (Ipv4Addr::new(10, 77, 0, 100), Ipv4Addr::new(10, 77, 0, 120));
    let far = (Ipv4Addr::new(10, 88, 0, 100), Ipv4Addr::new(10, 88, 0, 120));
    let link = Link {
        address: BOX,
        http_port: 80,
        stage,
        authoritative: true,
        times: LeaseTimes { pxe_only: Duration::from_secs(600), server: Duration::from_secs(3600) },
        subnet: subnet(Ipv4Addr::new(10, 77, 0, 0), near, Vec::new()),
        relayed: vec![subnet(
            Ipv4Addr::new(10, 88, 0, 0),
            far,
            DhcpOption::new(43, "hex:0104c0a80101").into_iter().collect(),
        )],
        services: Services { names: true, time: true },
    };
    let pools = [near, far].map(|(first, last)| Pool { first, last, except: vec![BOX] });
    (link, LeaseTable::new(&pools, [], Timestamp(0)))
}
