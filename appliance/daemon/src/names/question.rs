//! What is answered to a question, as far as the box knows by itself. Pure: bytes in, a decision out.
//!
//! Its own are: hosts and the box by their bare names and under the domains that DHCP tells, and their addresses backwards. A bare
//! name that it does not know does not exist: nobody else is asked for it (it would leave for the root servers). Everything else is
//! for the uplink's name servers.

use super::wire::{self, Asked};
use hickory_proto::{
    op::{Message, MessageType, OpCode, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType, rdata},
};
use rackberry_core::text::HostName;
use std::net::Ipv4Addr;

/// How long an answer of ours may be kept, in seconds: addresses move when machines boot.
const LIFE: u32 = 30;
/// Names that no name server knows: RFC 6761 section 6, RFC 6762 section 22.1, RFC 7686.
const NOWHERE: [&[u8]; 4] = [b"local", b"localhost", b"invalid", b"onion"];

/// Who is where.
pub trait Book {
    /// None if there is no host of this name; Some(None) if it has no address now.
    fn address_of(&self, name: &HostName) -> Option<Option<Ipv4Addr>>;
    /// The host that uses this address.
    fn name_of(&self, address: Ipv4Addr) -> Option<HostName>;
    /// What may stand behind a host's name; of several the first is the one that is told.
    fn domains(&self) -> &[Name];
}

/// What becomes of a question.
#[derive(Debug)]
pub enum Decision {
    /// No question at all.
    Silence,
    Answer(Box<Message>),
    /// The box does not know it; somebody else may.
    Forward(Box<Asked>),
}

/// Decides about what came as one message; `uplink` says whether there is somebody to ask.
pub fn decide(bytes: &[u8], book: &impl Book, uplink: bool) -> Decision {
    // Before room is made for as many questions as the head claims.
    if bytes.get(4..6) != Some(&[0, 1]) {
        return unreadable(bytes);
    }
    let request = match Message::from_vec(bytes) {
        Ok(request) => request,
        Err(_) => return unreadable(bytes),
    };
    if request.metadata.message_type != MessageType::Query {
        return Decision::Silence;
    }
    let refuse = |code| Decision::Answer(Box::new(wire::answer_to(&request, code)));
    if request.metadata.op_code != OpCode::Query {
        return refuse(ResponseCode::NotImp);
    }
    let [question] = request.queries.as_slice() else { return refuse(ResponseCode::FormErr) };
    if request.version() > 0 {
        return refuse(ResponseCode::BADVERS);
    }
    if question.query_class != DNSClass::IN || matches!(question.query_type, RecordType::AXFR | RecordType::IXFR) {
        return refuse(ResponseCode::Refused);
    }
    let (name, wanted) = (&question.name, question.query_type);
    match look(name, wanted, book) {
        Found::Data(data) => {
            let mut answer = wire::answer_to(&request, ResponseCode::NoError);
            answer.metadata.authoritative = true;
            answer.add_answer(Record::from_rdata(name.clone(), LIFE, data));
            Decision::Answer(Box::new(answer))
        }
        Found::NoData => own(&request, ResponseCode::NoError),
        Found::Nowhere => own(&request, ResponseCode::NXDomain),
        Found::Near if !uplink => own(&request, ResponseCode::NXDomain),
        Found::Near | Found::Else if !request.metadata.recursion_desired => refuse(ResponseCode::Refused),
        Found::Near | Found::Else if uplink => match Asked::new(request) {
            Some(asked) => Decision::Forward(Box::new(asked)),
            None => Decision::Silence,
        },
        Found::Near | Found::Else => refuse(ResponseCode::ServFail),
    }
}

fn own(request: &Message, code: ResponseCode) -> Decision {
    let mut answer = wire::answer_to(request, code);
    answer.metadata.authoritative = true;
    Decision::Answer(Box::new(answer))
}

/// A question whose head at least can be read is told that the rest cannot (RFC 1035 section 4.1.1).
fn unreadable(bytes: &[u8]) -> Decision {
    match bytes {
        [high, low, flags, ..] if bytes.len() >= 12 && flags & 0x80 == 0 => {
            let (id, operation) = (u16::from_be_bytes([*high, *low]), OpCode::from_u8(flags >> 3 & 0xf));
            let mut answer = Message::error_msg(id, operation, ResponseCode::FormErr);
            answer.metadata.recursion_desired = flags & 1 == 1;
            Decision::Answer(Box::new(answer))
        }
        _ => Decision::Silence,
    }
}

enum Found {
    Data(RData),
    /// The name exists, without what was asked for.
    NoData,
    /// The name does not exist, and nobody else is asked.
    Nowhere,
    /// The name is one of this place, but not known here.
    Near,
    Else,
}

fn look(name: &Name, wanted: RecordType, book: &impl Book) -> Found {
    if let Some(address) = backwards(name) {
        return match book.name_of(address).and_then(|host| full_name(&host, book.domains().first())) {
            Some(host) if wanted == RecordType::PTR => Found::Data(RData::PTR(rdata::PTR(host))),
            Some(_) => Found::NoData,
            None if private(address) => Found::Near,
            None => Found::Else,
        };
    }
    let domain = book.domains().iter().find(|domain| domain.zone_of(name));
    let labels = name.iter().count() - domain.map_or(0, |domain| domain.iter().count());
    let first = || std::str::from_utf8(name.iter().next()?).ok();
    let known = match labels {
        1 => first().and_then(|label| HostName::new(label).ok()).and_then(|host| book.address_of(&host)),
        _ => None,
    };
    match (known, domain) {
        (Some(Some(address)), _) if wanted == RecordType::A => Found::Data(RData::A(rdata::A(address))),
        (Some(_), _) => Found::NoData,
        (None, Some(_)) => Found::Near,
        (None, None)
            if name.iter().next_back().is_some_and(|last| NOWHERE.iter().any(|n| last.eq_ignore_ascii_case(n))) =>
        {
            Found::Nowhere
        }
        // Top-level domains have records of other types, which those ask for who check signatures.
        (None, None) if labels == 1 && matches!(wanted, RecordType::A | RecordType::AAAA) => Found::Nowhere,
        (None, None) => Found::Else,
    }
}

/// With the domain behind, if there is one.
fn full_name(host: &HostName, domain: Option<&Name>) -> Option<Name> {
    let mut name = Name::from_labels([host.as_str().as_bytes()]).ok()?;
    if let Some(domain) = domain {
        name = name.append_name(domain).ok()?;
    }
    name.set_fqdn(true);
    Some(name)
}

/// The address in `4.3.2.1.in-addr.arpa` (RFC 1035 section 3.5).
fn backwards(name: &Name) -> Option<Ipv4Addr> {
    let mut labels = name.iter().rev();
    let is = |label: Option<&[u8]>, wanted: &[u8]| label.is_some_and(|label| label.eq_ignore_ascii_case(wanted));
    if !is(labels.next(), b"arpa") || !is(labels.next(), b"in-addr") {
        return None;
    }
    let mut octets = [0; 4];
    for octet in &mut octets {
        *octet = std::str::from_utf8(labels.next()?).ok()?.parse().ok()?;
    }
    labels.next().is_none().then(|| octets.into())
}

/// An address that no public name server can know (RFC 6303).
fn private(address: Ipv4Addr) -> bool {
    address.is_private() || address.is_link_local() || address.is_loopback()
}
