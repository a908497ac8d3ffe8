//! What to answer to a DHCP packet (RFC 2131, RFC 4578, PXE 2.1, UEFI HTTP boot).
//!
//! | module | one sentence |
//! |---|---|
//! | [`wire`] | bytes to [`Request`](wire::Request) and [`Answer`](wire::Answer) to bytes; the only importer of dhcproto |
//! | [`options`] | the raw option scan: nothing a stranger sends is trusted, nothing is silently lost |
//! | [`client`] | what kind of client asks, and which loader it is given: the quirks table |
//! | [`table`] | who holds which address |
//! | [`ladder`] | whether this link may be served at all |
//! | [`reply`](mod@reply) | puts them together: one packet in, one [`Outcome`] out |

pub mod client;
pub mod ladder;
pub mod options;
pub mod reply;
mod serve;
pub mod table;
pub mod wire;

pub use client::{ClientArch, Kind, Loader};
pub use ladder::{Ladder, Mode, Stage};
pub use reply::{Destination, Fact, HostView, LeaseTimes, Link, Note, Outcome, Subnet, reply};
pub use table::{Change, LeaseRow, LeaseTable, Pool};
pub use wire::{Malformed, MessageKind, Port, Request};
