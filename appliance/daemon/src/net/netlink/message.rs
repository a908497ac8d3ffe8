//! The bytes of rtnetlink's messages: a head, and attributes behind it.

use super::{Address, Device, Neighbour};
use rackberry_core::host::MacAddr;
use std::net::Ipv4Addr;

pub(super) const HEADER: usize = 16;
pub(super) const AF_INET: u8 = 2;
pub(super) const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 8;
/// Carrier and administratively up (IFF_LOWER_UP | IFF_RUNNING would differ on drivers without carrier detection).
const IFF_RUNNING: u32 = 0x40;
const ARPHRD_ETHER: u16 = 1;
/// Neighbour states with a hardware address that answered (linux/neighbour.h): REACHABLE, and what it turns into.
const NUD_KNOWN: u16 = 0x02 | 0x04 | 0x08 | 0x10 | 0x80;

pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) sequence: u32,
    pub(super) body: &'a [u8],
}

/// The first message of a datagram and what follows it.
pub(super) fn message_of(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let length = usize::try_from(number32(bytes, 0)?).ok()?;
    let kind = number16(bytes, 4)?;
    let sequence = number32(bytes, 8)?;
    let body = bytes.get(HEADER..length)?;
    Some((Message { kind, sequence, body }, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// Attributes behind a fixed head (rtnetlink(7), struct rtattr).
fn attributes(body: &[u8], head: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = body.get(head..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = usize::from(number16(rest, 0)?);
        // The upper two bits are flags (nested, byte order).
        let kind = number16(rest, 2)? & 0x3fff;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

pub(super) fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend_from_slice(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn number16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

pub(super) fn number32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn ipv4(bytes: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

pub(super) fn device(body: &[u8]) -> Option<Device> {
    let flags = number32(body, 8)?;
    let mut found = Device {
        index: number32(body, 4)?,
        name: String::new(),
        mac: None,
        ethernet: number16(body, 2)? == ARPHRD_ETHER,
        loopback: flags & IFF_LOOPBACK != 0,
        up: flags & IFF_UP != 0,
        carrier: flags & IFF_RUNNING != 0,
        kind: None,
    };
    for (kind, value) in attributes(body, 16) {
        match kind {
            1 => found.mac = value.try_into().ok().map(MacAddr),
            3 => found.name = text(value),
            18 => found.kind = attributes(value, 0).find(|(kind, _)| *kind == 1).map(|(_, name)| text(name)),
            _ => {}
        }
    }
    Some(found)
}

pub(super) fn address(body: &[u8]) -> Option<Address> {
    let prefix = *body.get(1)?;
    let index = number32(body, 4)?;
    // The local address (2); on point-to-point links 1 is the other end.
    let local = attributes(body, 8).find(|(kind, _)| *kind == 2).and_then(|(_, value)| ipv4(value))?;
    (body.first() == Some(&AF_INET)).then_some(Address { index, address: local, prefix })
}

pub(super) fn default_route(body: &[u8], index: u32) -> Option<Ipv4Addr> {
    // Destination prefix length 0, main table.
    if body.get(1) != Some(&0) || body.get(4) != Some(&254) {
        return None;
    }
    let out = attributes(body, 12).find(|(kind, _)| *kind == 4).and_then(|(_, value)| number32(value, 0));
    let gateway = attributes(body, 12).find(|(kind, _)| *kind == 5).and_then(|(_, value)| ipv4(value));
    gateway.filter(|_| out == Some(index))
}

pub(super) fn neighbour(body: &[u8]) -> Option<Neighbour> {
    let index = number32(body, 4)?;
    let state = number16(body, 8)?;
    let address = attributes(body, 12).find(|(kind, _)| *kind == 1).and_then(|(_, value)| ipv4(value))?;
    let mac = attributes(body, 12).find(|(kind, _)| *kind == 2).and_then(|(_, value)| value.try_into().ok())?;
    let known = state & NUD_KNOWN != 0;
    known.then_some(Neighbour { index, address, mac: MacAddr(mac) })
}

pub(super) fn neighbour_head(index: u32, state: u16) -> Vec<u8> {
    let mut body = vec![AF_INET, 0, 0, 0];
    body.extend(index.to_ne_bytes());
    body.extend(state.to_ne_bytes());
    body.extend([0, 0]);
    body
}

pub(super) fn address_head(entry: Address) -> Vec<u8> {
    let mut body = vec![AF_INET, entry.prefix, 0, 0];
    body.extend(entry.index.to_ne_bytes());
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_to_four_bytes_and_read_back() {
        let mut body = Vec::new();
        attribute(&mut body, 3, b"eth0\0");
        attribute(&mut body, 1, &[1, 2, 3, 4, 5, 6]);
        let read: Vec<_> = attributes(&body, 0).collect();
        assert_eq!(read, [(3, &b"eth0\0"[..]), (1, &[1, 2, 3, 4, 5, 6][..])]);
        assert_eq!(attributes(&body[..6], 0).count(), 0, "a cut attribute is none");
    }
}
