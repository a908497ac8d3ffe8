//! The client's side: probes for other servers, and an address for the box's own interface.

use super::{
    options::code,
    wire::{COOKIE, HEADER, MIN_REPLY, MessageKind, SeenReply},
};
use crate::host::MacAddr;

/// A DISCOVER of our own, sent from a made-up MAC to find out who else answers on this link.
///
/// `boots` makes it look like a UEFI PXE ROM, so that boot servers show themselves too.
#[must_use]
pub fn probe(xid: u32, mac: MacAddr, boots: bool) -> Vec<u8> {
    let mut options = vec![code::PARAMETERS, 7, 1, 3, 6, 43, 60, 66, 67];
    if boots {
        options.extend([code::ARCH, 2, 0, 7, 94, 3, 1, 3, 16, code::VENDOR_CLASS, 32]);
        options.extend_from_slice(b"PXEClient:Arch:00007:UNDI:003016");
    }
    client_message(MessageKind::Discover, xid, mac, &options)
}

/// An INFORM of the box itself (RFC 2131 4.3.5): a server answers it at once, while it may first try out for seconds
/// the address that it would offer to a [`probe`], and some hear nothing meanwhile: so this one is to be sent first. It
/// costs no address of the other's pool.
#[must_use]
pub fn inform(xid: u32, mac: MacAddr, address: std::net::Ipv4Addr) -> Vec<u8> {
    let options = [code::PARAMETERS, 5, 1, 3, 6, 60, 67];
    let mut bytes = client_message(MessageKind::Inform, xid, mac, &options);
    // It has an address, where it can be answered.
    for (slot, byte) in bytes.iter_mut().skip(10).zip([0, 0].into_iter().chain(address.octets())) {
        *slot = byte;
    }
    bytes
}

/// The REQUEST that takes the address of `offer`, for the box's own interface.
#[must_use]
pub fn accept(offer: &SeenReply, mac: MacAddr) -> Vec<u8> {
    let mut options = vec![code::REQUESTED, 4];
    options.extend(offer.yiaddr.octets());
    options.extend([code::SERVER_ID, 4]);
    options.extend(offer.server.octets());
    options.extend([code::PARAMETERS, 4, 1, 3, 6, code::NTP]);
    client_message(MessageKind::Request, offer.xid, mac, &options)
}

/// A client's broadcast; the broadcast flag is set, as nobody can unicast to a machine without an address.
fn client_message(kind: MessageKind, xid: u32, mac: MacAddr, options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    let MacAddr(raw) = mac;
    let fields: [(usize, &[u8]); 5] =
        [(0, &[1, 1, 6, 0]), (4, &xid.to_be_bytes()), (10, &[0x80, 0]), (28, &raw), (236, &COOKIE)];
    for (at, value) in fields {
        for (slot, byte) in bytes.iter_mut().skip(at).zip(value) {
            *slot = *byte;
        }
    }
    bytes.extend([code::MESSAGE_TYPE, 1, kind.number(), code::MAX_SIZE, 2, 5, 192]);
    bytes.extend_from_slice(options);
    bytes.push(255);
    bytes.resize(bytes.len().max(MIN_REPLY), 0);
    bytes
}
