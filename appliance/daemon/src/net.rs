//! Interfaces, addresses and sockets: which link is ours, what lies on it, and how to reach it.

pub mod interfaces;
pub mod netlink;
pub mod packet;
pub mod sockets;
pub mod up;

pub use interfaces::{ChooseError, Interface, LinkFacts, choose, default_pool, facts, list};
pub use netlink::{LinkEvents, Netlink, NetlinkError};
pub use packet::{LinkPackets, PacketSocket, ToCard};
pub use sockets::{Inbox, LinkSocket, SocketError};
pub use up::{FixedAddress, NetUp, NetUpError, net_up};

use std::{io, os::fd::OwnedFd};
use tokio::io::unix::AsyncFd;

/// Lets the runtime watch a descriptor.
fn watched(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is open and moves into what watches it; nobody else can close it.
    unsafe { AsyncFd::register(descriptor) }.map_err(io::Error::from)
}
