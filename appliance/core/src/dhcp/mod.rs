//! What to answer to a DHCP packet (RFC 2131, RFC 4578, PXE 2.1, UEFI HTTP boot).
//!
//! | module | one sentence |
//! |---|---|
//! | [`wire`] | bytes to [`Request`](wire::Request); the only importer of dhcproto |
//! | [`answer`] | [`Answer`](answer::Answer) to bytes |
//! | [`asking`] | the client's side: probes, and an address for the box itself |
//! | [`options`] | the raw option scan: nothing a stranger sends is trusted, nothing is silently lost |
//! | [`client`] | what kind of client asks, and which loader it is given: the quirks table |
//! | [`table`] | who holds which address |
//! | [`stage`] | what the box may do on a link |
//! | [`ladder`] | whether this link may be served at all |
//! | [`link`] | what the shell knows about the link and about the host that asks |
//! | [`outcome`] | what the shell does with an answer, and what the timeline gets |
//! | [`reply`](mod@reply) | puts them together: one packet in, one [`Outcome`] out |

pub mod answer;
pub mod asking;
pub mod client;
mod exchanges;
pub mod ladder;
mod lease;
pub mod link;
pub mod options;
pub mod outcome;
mod pool;
mod proxy;
pub mod reply;
mod slots;
pub mod stage;
pub mod table;
pub mod wire;

pub use client::{ClientArch, Kind, Loader};
pub use ladder::{Ladder, ProbeTimes};
pub use link::{HostView, LeaseTimes, Link, Services, Subnet};
pub use outcome::{Destination, Fact, Note, Outcome};
pub use reply::reply;
pub use stage::{LinkId, Mode, Stage};
pub use table::{Change, LeaseRow, LeaseTable, Pool};
pub use wire::{Malformed, MessageKind, Packet, Port, Request};

#[cfg(test)]
mod tests;
