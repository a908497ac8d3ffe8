//! Reads UDP datagrams out of a classic little-endian pcap file with Ethernet frames.

use std::net::{Ipv4Addr, SocketAddrV4};

pub struct Datagram {
    pub from: SocketAddrV4,
    pub to: SocketAddrV4,
    pub payload: Vec<u8>,
}

pub fn datagrams(file: &[u8]) -> Vec<Datagram> {
    assert_eq!(file[..4], 0xa1b2_c3d4_u32.to_le_bytes(), "magic of a little-endian pcap");
    let mut found = Vec::new();
    let mut rest = &file[24..];
    while rest.len() >= 16 {
        let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let frame = &rest[16..16 + length];
        rest = &rest[16 + length..];
        let ip = &frame[14..];
        if frame[12..14] != [8, 0] || ip[9] != 17 {
            continue;
        }
        let udp = &ip[usize::from(ip[0] & 15) * 4..];
        let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
        let port = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
        let end = usize::from(port(4));
        found.push(Datagram {
            from: SocketAddrV4::new(address(12), port(0)),
            to: SocketAddrV4::new(address(16), port(2)),
            payload: udp[8..end.min(udp.len())].to_vec(),
        });
    }
    found
}
