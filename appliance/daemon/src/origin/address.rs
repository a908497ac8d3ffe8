//! Which addresses may be fetched from: those of the internet, and no others unless a person allows it.
//!
//! Whoever may have the box fetch something must not reach through it what only the box can reach: other machines of its
//! networks, itself, and the services that clouds offer to their machines.

use crate::net::netlink::Netlink;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks that this machine is part of, whatever range their addresses are from.
#[derive(Debug, Clone, Default)]
pub struct OwnNetworks {
    v4: Vec<(Ipv4Addr, u8)>,
    v6: Vec<(Ipv6Addr, u8)>,
}

impl OwnNetworks {
    /// Asks the kernel. What it does not tell is left out: the ranges below hold anyway.
    #[must_use]
    pub fn look() -> Self {
        let v4 = Netlink::open().and_then(|mut netlink| netlink.addresses()).unwrap_or_default();
        let v6 = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
        OwnNetworks {
            v4: v4.into_iter().map(|entry| (entry.address, entry.prefix)).collect(),
            v6: v6.lines().filter_map(inet6).collect(),
        }
    }

    fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.iter().any(|(own, prefix)| {
                let mask = u32::MAX.checked_shl(32 - u32::from((*prefix).min(32))).unwrap_or(0);
                u32::from(*own) & mask == u32::from(address) & mask
            }),
            IpAddr::V6(address) => self.v6.iter().any(|(own, prefix)| {
                let mask = u128::MAX.checked_shl(128 - u32::from((*prefix).min(128))).unwrap_or(0);
                u128::from(*own) & mask == u128::from(address) & mask
            }),
        }
    }
}

/// A line of `/proc/net/if_inet6`: address, interface and length of the prefix in hex, and more.
fn inet6(line: &str) -> Option<(Ipv6Addr, u8)> {
    let mut words = line.split_whitespace();
    let address = u128::from_str_radix(words.next()?, 16).ok()?;
    let prefix = u8::from_str_radix(words.nth(1)?, 16).ok()?;
    Some((address.into(), prefix))
}

/// Why nothing is fetched from this address; none if it is one of the internet.
///
/// IANA's registries of special-purpose addresses, RFC 6890; and two addresses of clouds that lie outside of them.
#[must_use]
pub fn refusal(address: IpAddr, own: &OwnNetworks) -> Option<&'static str> {
    let address = address.to_canonical();
    let reserved = match address {
        IpAddr::V4(address) => refusal_v4(address),
        IpAddr::V6(address) => refusal_v6(address),
    };
    reserved.or_else(|| own.has(address).then_some("of a network that the box is part of"))
}

fn refusal_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, d] = address.octets();
    match (a, b, c, d) {
        (0, ..) => Some("of no machine"),
        (127, ..) => Some("the box itself"),
        (10, ..) | (172, 16..=31, ..) | (192, 168, ..) => Some("private"),
        (100, 64..=127, ..) => Some("shared between networks"),
        (169, 254, ..) => Some("link-local"),
        (168, 63, 129, 16) => Some("a cloud's service for its machines"),
        (192, 0, 0, _) => Some("reserved for protocols"),
        (192, 0, 2, _) | (198, 51, 100, _) | (203, 0, 113, _) | (192, 88, 99, _) => Some("reserved"),
        (198, 18..=19, ..) => Some("reserved for measurements"),
        (224..=239, ..) => Some("multicast"),
        (240..=255, ..) => Some("reserved"),
        _ => None,
    }
}

fn refusal_v6(address: Ipv6Addr) -> Option<&'static str> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        refusal_v4(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b) {
        _ if address == Ipv6Addr::LOCALHOST => Some("the box itself"),
        // NAT64 (RFC 6052) and 6to4 (RFC 3056) carry an IPv4 address; the path there ends at it.
        (0x64, 0xff9b) if [c, d, e, f] == [0; 4] => embedded(g, h),
        (0x2002, _) => embedded(b, c),
        (0x2001, 0) => Some("a tunnel's"),
        (0x2001, 0xdb8) | (0x3fff, _) => Some("reserved for documents"),
        (0xfc00..=0xfdff, _) => Some("private"),
        (0xfe80..=0xfebf, _) => Some("link-local"),
        (0xff00..=0xffff, _) => Some("multicast"),
        // All that is given to the internet's networks.
        (0x2000..=0x3fff, _) => None,
        _ => Some("reserved"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(address: &str) -> bool {
        refusal(address.parse().unwrap(), &OwnNetworks::default()).is_some()
    }

    #[test]
    fn only_addresses_of_the_internet_are_fetched_from() {
        for inside in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.9.9.9",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.77.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.251",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:a00:1::",
            "2002:7f00:1::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::fb",
            "4000::1",
        ] {
            assert!(refused(inside), "{inside}");
        }
        for outside in [
            "1.1.1.1",
            "9.9.9.9",
            "151.101.2.132",
            "172.32.0.1",
            "100.128.0.1",
            "2a04:4e42::644",
            "64:ff9b::101:101",
            "2002:101:101::1",
        ] {
            assert!(!refused(outside), "{outside}");
        }
    }

    #[test]
    fn the_boxes_own_networks_are_inside_whatever_their_addresses() {
        let own = OwnNetworks {
            v4: vec![("9.9.9.1".parse().unwrap(), 24), ("8.8.4.4".parse().unwrap(), 32)],
            v6: vec![inet6("2a044e42000000000000000000000001 02 40 00 80     eth0").unwrap()],
        };
        for inside in ["9.9.9.9", "9.9.9.255", "8.8.4.4", "2a04:4e42::644"] {
            assert!(refusal(inside.parse().unwrap(), &own).is_some(), "{inside}");
        }
        for outside in ["9.9.8.9", "8.8.4.5", "2a04:4e42:0:1::644"] {
            assert!(refusal(outside.parse().unwrap(), &own).is_none(), "{outside}");
        }
    }

    #[test]
    fn the_kernel_tells_of_loopback() {
        assert!(OwnNetworks::look().has("127.0.0.1".parse().unwrap()));
    }
}
