//! What the shell does with an answer, and what the host's timeline gets.

use super::{client::Kind, table::Change, wire::Request};
use crate::{
    host::{Arch, Firmware, MacAddr, SmbiosUuid},
    text::CleanText,
};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Where an answer goes (RFC 2131 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// 255.255.255.255 port 68.
    Broadcast,
    /// A relay, a client that has its address, or the sender on port 4011.
    Unicast(SocketAddrV4),
    /// A client that cannot answer ARP for its address yet: to `mac`, or by broadcast where the shell cannot do that.
    Unconfigured { address: Ipv4Addr, mac: MacAddr },
}

/// The whole decision about one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes to send; none: silence.
    pub reply: Option<Vec<u8>>,
    pub to: Destination,
    /// Durable before the reply leaves.
    pub changes: Vec<Change>,
    /// For the timeline; losing one loses no correctness.
    pub notes: Vec<Note>,
    /// An address offered to its client for the first time: if somebody answers there already, drop the reply, call
    /// [`LeaseTable::conflict`](super::LeaseTable::conflict) and decide again.
    pub probe: Option<Ipv4Addr>,
    /// Another DHCP server serves this link: evidence for the ladder.
    pub foreign: Option<Ipv4Addr>,
}

impl Outcome {
    /// No answer.
    #[must_use]
    pub fn silence() -> Self {
        Outcome {
            reply: None,
            to: Destination::Broadcast,
            changes: Vec::new(),
            notes: Vec::new(),
            probe: None,
            foreign: None,
        }
    }
}

/// What happened, in the timeline's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// The client asked.
    Discover,
    Offer(Ipv4Addr),
    /// The client wants this address.
    Request(Ipv4Addr),
    Ack(Ipv4Addr),
    ProxyOffer,
    /// The client asked on port 4011, and was answered.
    Asked4011,
    Nak(Ipv4Addr),
    Decline(Ipv4Addr),
    Release(Ipv4Addr),
    Inform(Ipv4Addr),
    /// No address is left for it.
    PoolEmpty,
    /// It chose another server's offer.
    ForeignServer(Ipv4Addr),
    /// It came through a relay whose subnet we do not serve.
    UnknownSubnet(Ipv4Addr),
}

/// One line for the timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub fact: Fact,
    pub mac: MacAddr,
    pub xid: u32,
    pub kind: Kind,
    pub arch: Option<Arch>,
    pub firmware: Option<Firmware>,
    /// From option 97.
    pub uuid: Option<SmbiosUuid>,
    pub vendor_class: CleanText,
    /// From option 12.
    pub host_name: Option<CleanText>,
}

impl Note {
    /// A note about the sender of `request`.
    #[must_use]
    pub fn new(fact: Fact, request: &Request, kind: Kind) -> Self {
        Note {
            fact,
            mac: request.mac,
            xid: request.xid,
            kind,
            arch: kind.arch(),
            firmware: kind.firmware(),
            uuid: request.uuid(),
            vendor_class: CleanText::from_bytes(request.vendor_class.as_deref().unwrap_or_default()),
            host_name: request.host_name.clone(),
        }
    }

    /// Whether it belongs on a timeline: who is no host (`known`) and does not boot has none.
    #[must_use]
    pub fn is_told(&self, known: bool) -> bool {
        known || self.kind.boots()
    }
}
