//! Answers without an address: beside another DHCP server on port 67, and on port 4011 (PXE 2.1 2.2).

use super::{
    answer::Answer,
    client::Kind,
    outcome::{Destination, Fact, Outcome},
    reply::Ask,
    wire::MessageKind,
};
use std::net::SocketAddrV4;

/// A boot client asks on port 67: tell it where the boot file is, in time for its short wait.
pub(super) fn offer(ask: &Ask<'_>) -> Outcome {
    if !ask.kind.takes_proxy() {
        return Outcome::silence();
    }
    let ours = ask.request.server_id.is_some() && ask.link.other_server(ask.request).is_none();
    let kind = match ask.request.kind {
        MessageKind::Discover => MessageKind::Offer,
        // Most clients send this REQUEST to the server of their address. Some answer the proxy, too.
        MessageKind::Request if ours => MessageKind::Ack,
        _ => return Outcome::silence(),
    };
    let mut answer = ask.answer(kind);
    fill(ask, &mut answer);
    // The client has no address of ours: the flag is set and the answer broadcast, whatever it said.
    answer.broadcast = true;
    let to =
        if ask.request.giaddr.is_unspecified() { Destination::Broadcast } else { ask.destination(ask.request.ciaddr) };
    ask.send(&answer, to, vec![ask.note(Fact::Discover), ask.note(Fact::ProxyOffer)])
}

/// A boot client asks on port 4011: BIOS ROMs, UEFI and architectures nobody listed alike.
pub(super) fn boot_server(ask: &Ask<'_>) -> Outcome {
    let asks = matches!(ask.request.kind, MessageKind::Request | MessageKind::Discover | MessageKind::Inform);
    // iPXE may send a bare class, others none at all; nobody but a PXE client knows this port.
    if !asks || matches!(ask.kind, Kind::RamOs) {
        return Outcome::silence();
    }
    let mut answer = ask.answer(MessageKind::Ack);
    fill(ask, &mut answer);
    answer.ciaddr = ask.request.ciaddr;
    let from = ask.request.from;
    let to = if from.ip().is_unspecified() {
        Destination::Broadcast
    } else {
        Destination::Unicast(SocketAddrV4::new(*from.ip(), from.port()))
    };
    ask.send(&answer, to, vec![ask.note(Fact::Asked4011)])
}

fn fill(ask: &Ask<'_>, answer: &mut Answer) {
    answer.siaddr = ask.link.address;
    ask.echo(answer);
    ask.boot(answer, true);
}
