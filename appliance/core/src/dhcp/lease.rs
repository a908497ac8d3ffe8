//! Answers with an address (RFC 2131 4.3): DISCOVER, REQUEST, DECLINE, RELEASE, INFORM.

use super::{
    client::{Kind, PiModel},
    link::Subnet,
    outcome::{Destination, Fact, Outcome},
    reply::Ask,
    stage::Stage,
    table::LeaseTable,
    wire::{MessageKind, Port},
};
use std::{net::Ipv4Addr, time::Duration};

/// Serves a client in `pxe-only` and `server`.
pub(super) fn serve(ask: &Ask<'_>, table: &mut LeaseTable) -> Outcome {
    if ask.request.kind == MessageKind::Bootp {
        return bootp(ask, table);
    }
    let allowed = may_lease(ask, table);
    if let Some(server) = chosen_elsewhere(ask) {
        table.withdraw(&ask.key, ask.now);
        let outcome = if allowed { ask.silence(Fact::ForeignServer(server)) } else { Outcome::silence() };
        // Behind a relay another server is no surprise.
        return Outcome { foreign: Some(server).filter(|_| ask.request.giaddr.is_unspecified()), ..outcome };
    }
    if !allowed {
        return Outcome::silence();
    }
    let Some(subnet) = ask.link.subnet_of(ask.request) else {
        return ask.silence(Fact::UnknownSubnet(ask.request.giaddr));
    };
    match ask.request.kind {
        MessageKind::Discover => discover(ask, table, subnet),
        MessageKind::Request => request(ask, table, subnet),
        MessageKind::Decline | MessageKind::Release => give_back(ask, table),
        MessageKind::Inform => inform(ask, subnet),
        MessageKind::Offer | MessageKind::Ack | MessageKind::Nak | MessageKind::Bootp => Outcome::silence(),
    }
}

/// A REQUEST that takes another server's offer (RFC 2131 4.3.2).
fn chosen_elsewhere(ask: &Ask<'_>) -> Option<Ipv4Addr> {
    let selecting = ask.request.kind == MessageKind::Request;
    ask.link.other_server(ask.request).filter(|_| selecting)
}

/// What is left to do once another server was seen: leases we gave are renewed until their Installs end.
pub(super) fn keep(ask: &Ask<'_>, table: &mut LeaseTable) -> Outcome {
    if ask.request.port != Port::Dhcp {
        return Outcome::silence();
    }
    match ask.request.kind {
        MessageKind::Decline | MessageKind::Release => give_back(ask, table),
        MessageKind::Request if ask.host.install_running => {
            let wanted =
                if ask.request.ciaddr.is_unspecified() { ask.request.requested } else { Some(ask.request.ciaddr) };
            let others = ask.link.other_server(ask.request).is_some();
            let held = table.held(&ask.key, ask.now);
            match (wanted, ask.link.subnet_of(ask.request)) {
                (Some(address), Some(subnet)) if !others && held == wanted => ack(ask, table, subnet, address),
                _ => Outcome::silence(),
            }
        }
        _ => Outcome::silence(),
    }
}

/// In `pxe-only` a laptop or a printer gets nothing: only what boots, and what runs on machines we have just booted.
fn may_lease(ask: &Ask<'_>, table: &LeaseTable) -> bool {
    match ask.link.stage {
        Stage::Server => true,
        Stage::PxeOnly => {
            ask.kind.boots()
                || ask.kind == Kind::RamOs
                || ask.host.booted_recently
                || ask.host.install_running
                || table.holds_any(ask.request.mac, ask.now)
        }
        Stage::Observe | Stage::ProxyEnrolled | Stage::Proxy => false,
    }
}

/// Nobody renews more often than this asks for.
const SHORTEST: Duration = Duration::from_secs(60);
/// A BOOTP client keeps its address for good (RFC 1534 2); ten years outlast the machine.
const FOR_GOOD: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The subnet's time, or less if the client asks for less (RFC 2131 4.3.1).
fn lease_time(ask: &Ask<'_>, subnet: &Subnet) -> Duration {
    let most = match ask.link.stage {
        Stage::Server => subnet.lease.unwrap_or(ask.link.times.server),
        Stage::Observe | Stage::ProxyEnrolled | Stage::Proxy | Stage::PxeOnly => ask.link.times.pxe_only,
    };
    let wish = ask.request.lease_time.map(|seconds| Duration::from_secs(u64::from(seconds)));
    wish.map_or(most, |wish| wish.max(SHORTEST).min(most))
}

/// Machines that may use the part of the pool which strangers leave.
fn known(ask: &Ask<'_>) -> bool {
    ask.host.known || ask.host.enrolled || ask.host.install_running
}

/// The reservation, if it belongs to the subnet the client is in.
fn reservation(ask: &Ask<'_>, subnet: &Subnet) -> Option<Ipv4Addr> {
    ask.host.reservation.filter(|address| subnet.contains(*address))
}

/// The pool to give from; one that holds nothing where only the reserved address is left to give.
fn pool(ask: &Ask<'_>, subnet: &Subnet) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let nothing = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED);
    subnet.pool.or_else(|| reservation(ask, subnet).map(|_| nothing))
}

fn discover(ask: &Ask<'_>, table: &mut LeaseTable, subnet: &Subnet) -> Outcome {
    let Some(pool) = pool(ask, subnet) else { return Outcome::silence() };
    let reserved = reservation(ask, subnet);
    let held = table.held(&ask.key, ask.now);
    let Some(address) = table.offer(&ask.key, pool, reserved, ask.request.requested, known(ask), ask.now) else {
        return Outcome { notes: vec![ask.note(Fact::Discover), ask.note(Fact::PoolEmpty)], ..Outcome::silence() };
    };
    table.remember(ask.request, ask.kind, ask.now);
    if ask.kind == Kind::Pi(PiModel::Rom) {
        // Never sends a REQUEST: the address is in use from the OFFER on.
        table.hold(&ask.key, address, ask.link.times.pxe_only, ask.now);
    }
    let mut answer = ask.answer(MessageKind::Offer);
    answer.yiaddr = address;
    ask.network(&mut answer, subnet, Some(lease_time(ask, subnet)));
    ask.echo(&mut answer);
    ask.boot(&mut answer, false);
    ask.settings(&mut answer, subnet);
    let mut outcome =
        ask.send(&answer, ask.destination(address), vec![ask.note(Fact::Discover), ask.note(Fact::Offer(address))]);
    outcome.probe = (held != Some(address)).then_some(address);
    outcome
}

fn request(ask: &Ask<'_>, table: &mut LeaseTable, subnet: &Subnet) -> Outcome {
    let request = ask.request;
    let selecting = request.server_id.is_some();
    let wanted = if request.ciaddr.is_unspecified() { request.requested } else { Some(request.ciaddr) };
    let Some(wanted) = wanted else { return Outcome::silence() };
    let held = table.held(&ask.key, ask.now);
    // A client that selects us, or that holds this lease, is ours. Anybody else is another server's: RFC 2131 4.3.2
    // asks for silence where we have no record, and so does the safety of the LAN.
    if selecting || held == Some(wanted) || table.offered(&ask.key, wanted, ask.now) {
        let in_place = subnet.contains(wanted) && !is_to_move(ask, table, subnet, wanted);
        let outcome = if in_place { ack(ask, table, subnet, wanted) } else { Outcome::silence() };
        return if outcome.reply.is_some() { outcome } else { nak(ask, wanted) };
    }
    let misplaced = !subnet.contains(wanted);
    match ask.link.stage {
        Stage::Server if misplaced || held.is_some() || ask.link.authoritative => nak(ask, wanted),
        Stage::Server | Stage::PxeOnly | Stage::Observe | Stage::ProxyEnrolled | Stage::Proxy => {
            ask.silence(Fact::Request(wanted))
        }
    }
}

/// A person reserved another address for the machine since it got this one, and that one is free: it shall ask anew.
/// A running install is left in peace.
fn is_to_move(ask: &Ask<'_>, table: &LeaseTable, subnet: &Subnet, wanted: Ipv4Addr) -> bool {
    let reserved = reservation(ask, subnet).filter(|reserved| *reserved != wanted);
    reserved.is_some_and(|reserved| !ask.host.install_running && table.is_open(&ask.key, reserved))
}

fn ack(ask: &Ask<'_>, table: &mut LeaseTable, subnet: &Subnet, address: Ipv4Addr) -> Outcome {
    let time = lease_time(ask, subnet);
    // An address that was not offered to it is a stranger's only while the pool has room for strangers: a flood of
    // REQUESTs leaves to known machines what a flood of DISCOVERs leaves them.
    let promised = table.held(&ask.key, ask.now) == Some(address) || table.offered(&ask.key, address, ask.now);
    if !promised && !table.has_room(address, known(ask)) {
        return Outcome::silence();
    }
    let Some(granted) = table.bind(&ask.key, address, reservation(ask, subnet), time, ask.now) else {
        return Outcome::silence();
    };
    let mut answer = ask.answer(MessageKind::Ack);
    answer.yiaddr = address;
    // RFC 2131 table 3: ciaddr is copied into an ACK.
    answer.ciaddr = ask.request.ciaddr;
    ask.network(&mut answer, subnet, Some(granted.time));
    ask.echo(&mut answer);
    ask.boot(&mut answer, false);
    ask.settings(&mut answer, subnet);
    let notes = vec![ask.note(Fact::Request(address)), ask.note(Fact::Ack(address))];
    let mut outcome = ask.send(&answer, ask.destination(address), notes);
    outcome.changes.extend(granted.change);
    outcome
}

fn nak(ask: &Ask<'_>, wanted: Ipv4Addr) -> Outcome {
    let mut answer = ask.answer(MessageKind::Nak);
    answer.put(super::options::code::MESSAGE, "this address is not yours here");
    // RFC 6842 3: in a NAK, too.
    if let Some(id) = ask.request.client_id.as_deref() {
        answer.put(super::options::code::CLIENT_ID, id);
    }
    // Always broadcast: the client may have no usable address. A relay does it for us (RFC 2131 4.3.2).
    answer.broadcast = true;
    let to = match ask.request.giaddr.is_unspecified() {
        true => Destination::Broadcast,
        false => ask.destination(wanted),
    };
    ask.send(&answer, to, vec![ask.note(Fact::Request(wanted)), ask.note(Fact::Nak(wanted))])
}

/// DECLINE and RELEASE have no answer.
fn give_back(ask: &Ask<'_>, table: &mut LeaseTable) -> Outcome {
    let request = ask.request;
    if ask.link.other_server(ask.request).is_some() {
        return Outcome::silence();
    }
    let (change, fact) = if request.kind == MessageKind::Decline {
        let Some(address) = request.requested else { return Outcome::silence() };
        (table.decline(&ask.key, address, ask.now), Fact::Decline(address))
    } else {
        (table.release(&ask.key, request.ciaddr, ask.now), Fact::Release(request.ciaddr))
    };
    match change {
        Some(change) => Outcome { changes: vec![change], notes: vec![ask.note(fact)], ..Outcome::silence() },
        None => Outcome::silence(),
    }
}

/// The client has an address and asks for the rest: no lease time, no yiaddr (RFC 2131 4.3.5).
fn inform(ask: &Ask<'_>, subnet: &Subnet) -> Outcome {
    let address = ask.request.ciaddr;
    if address.is_unspecified() || !subnet.contains(address) {
        return Outcome::silence();
    }
    let mut answer = ask.answer(MessageKind::Ack);
    answer.ciaddr = address;
    ask.network(&mut answer, subnet, None);
    ask.echo(&mut answer);
    ask.boot(&mut answer, false);
    ask.settings(&mut answer, subnet);
    ask.send(&answer, ask.destination(address), vec![ask.note(Fact::Inform(address))])
}

/// A BOOTP client (RFC 951, RFC 1534): one question, one answer, an address for good. It gets one if a person reserved
/// it, or where the subnet gives addresses to such clients.
fn bootp(ask: &Ask<'_>, table: &mut LeaseTable) -> Outcome {
    let request = ask.request;
    let Some(subnet) = ask.link.subnet_of(request) else {
        return ask.silence(Fact::UnknownSubnet(request.giaddr));
    };
    let reserved = reservation(ask, subnet);
    let named = request.server_name.is_empty() || request.server_name == ask.link.address.to_string().as_bytes();
    let (Some(pool), true) = (pool(ask, subnet), named && (reserved.is_some() || subnet.dynamic_bootp)) else {
        return Outcome::silence();
    };
    let mut answer = ask.answer(MessageKind::Bootp);
    let mut notes = vec![ask.note(Fact::Discover)];
    let (mut changes, mut probe) = (Vec::new(), None);
    // Who knows its address asks for its boot file alone (RFC 951 7.3).
    if request.ciaddr.is_unspecified() {
        let held = table.held(&ask.key, ask.now);
        let given = table.offer(&ask.key, pool, reserved, None, known(ask), ask.now);
        let granted = given.and_then(|address| table.bind(&ask.key, address, reserved, FOR_GOOD, ask.now));
        let (Some(address), Some(granted)) = (given, granted) else {
            notes.push(ask.note(Fact::PoolEmpty));
            return Outcome { notes, ..Outcome::silence() };
        };
        answer.yiaddr = address;
        changes.extend(granted.change);
        probe = (held != Some(address)).then_some(address);
        notes.push(ask.note(Fact::Ack(address)));
    }
    answer.ciaddr = request.ciaddr;
    answer.siaddr = ask.link.address;
    ask.network(&mut answer, subnet, None);
    ask.settings(&mut answer, subnet);
    Outcome { changes, probe, ..ask.send(&answer, ask.destination(answer.yiaddr), notes) }
}
