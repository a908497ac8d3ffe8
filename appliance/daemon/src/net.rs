//! Interfaces, addresses and sockets: which link is ours, what lies on it, and how to reach it.

pub mod interfaces;
pub mod netlink;
pub mod sockets;
pub mod up;

pub use interfaces::{ChooseError, Interface, LinkFacts, choose, default_pool, facts, list};
pub use netlink::{Netlink, NetlinkError};
pub use sockets::{SocketError, udp};
pub use up::{NetUp, NetUpError, net_up};
