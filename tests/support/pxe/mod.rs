//! A network-boot client, packet by packet, written from the RFCs and recorded boots and sharing no code with the
//! server that it checks.
//!
//! - [`machine`]: who asks: the options that firmware of each kind sends.
//! - [`message`]: a DHCP message to bytes and back.
//! - [`link`]: Ethernet frames on one interface, with any sender's address.
//! - [`client`]: the exchanges: discover, request, proxy on port 4011, release, and staying as a leased host.
//! - [`tftp`], [`web`]: fetching files as firmware does.

pub mod client;
pub mod link;
pub mod machine;
pub mod message;
pub mod tftp;
pub mod web;

pub use client::PxeClient;
pub use machine::{Kind, Machine};
pub use message::Message;
