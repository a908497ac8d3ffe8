//! Interfaces, addresses and sockets: which link is ours, what lies on it, and how to reach it.

pub mod asked;
pub mod crowd;
pub mod interfaces;
pub mod mdns;
pub mod netlink;
pub mod packet;
pub mod sockets;
pub mod up;

pub use asked::{AskedSocket, Audience};
pub use crowd::Crowd;
pub use interfaces::{ChooseError, Interface, LinkFacts, choose, default_pool, facts, list};
pub use netlink::{LinkEvents, Netlink, NetlinkError};
pub use packet::{LinkPackets, PacketSocket, ToCard};
pub use sockets::{Inbox, LinkSocket, SocketError};
pub use up::{FixedAddress, NetUp, NetUpError, net_up};

use std::{io, net::Ipv4Addr, os::fd::OwnedFd};
use tokio::io::unix::AsyncFd;

/// The box on its network, for people to see.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkView {
    /// For example `eth0`; empty while none was found.
    pub interface: String,
    pub address: Option<Ipv4Addr>,
    pub boot_port: u16,
    /// One sentence on what the DHCP side does now.
    pub mode: String,
    /// The word of the mode in force.
    pub mode_word: String,
}

/// This machine's own name, as the kernel has it.
#[must_use]
pub fn box_name() -> String {
    let name = rustix::system::uname();
    rackberry_core::text::clean(&name.nodename().to_string_lossy(), 64)
}

/// Lets the runtime watch a descriptor.
fn watched(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is open and moves into what watches it; nobody else can close it.
    unsafe { AsyncFd::register(descriptor) }.map_err(io::Error::from)
}
