//! rtnetlink (rtnetlink(7)): the few messages we need, written and read by hand.
//!
//! Requests answer from the kernel's memory; none of them waits for the network.

mod message;

use message::{
    AF_INET, HEADER, IFF_UP, address, address_head, attribute, default_route, device, message_of, neighbour,
    neighbour_head, number32,
};
use rackberry_core::host::MacAddr;
use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink::SocketAddrNetlink, sockopt},
};
use std::{net::Ipv4Addr, time::Duration};
use tokio::io::unix::AsyncFd;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_GETNEIGH: u16 = 30;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;
/// Groups whose members hear of changes.
const RTMGRP_LINK: u32 = 0x1;
const RTMGRP_IPV4_IFADDR: u32 = 0x10;

/// What went wrong while speaking with the kernel.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    #[error("open an rtnetlink socket")]
    Open(#[source] rustix::io::Errno),
    #[error("ask the kernel for {what}")]
    Ask {
        what: &'static str,
        #[source]
        source: rustix::io::Errno,
    },
}

/// A network device as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub index: u32,
    pub name: String,
    pub mac: Option<MacAddr>,
    pub ethernet: bool,
    pub loopback: bool,
    pub up: bool,
    pub carrier: bool,
    /// `veth`, `bridge`, `tun`, ...; none for hardware.
    pub kind: Option<String>,
}

/// One IPv4 address of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    pub index: u32,
    pub address: Ipv4Addr,
    pub prefix: u8,
}

/// One entry of the kernel's ARP table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    pub index: u32,
    pub address: Ipv4Addr,
    pub mac: MacAddr,
}

/// Tells when devices, cables or IPv4 addresses may have changed.
#[derive(Debug)]
pub struct LinkEvents {
    socket: AsyncFd<OwnedFd>,
}

impl LinkEvents {
    /// Opens it inside a tokio runtime; what changed before is not told.
    ///
    /// # Errors
    /// [`NetlinkError::Open`].
    pub fn open() -> Result<Self, NetlinkError> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let open = || {
            let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
            rustix::net::bind(&socket, &SocketAddrNetlink::new(0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR))?;
            super::watched(socket).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        };
        Ok(LinkEvents { socket: open().map_err(NetlinkError::Open)? })
    }

    /// Waits for the next change, and takes all that were told so far. Safe to drop and call again.
    ///
    /// # Errors
    /// [`NetlinkError::Ask`] if the socket or the runtime is gone.
    pub async fn changed(&mut self) -> Result<(), NetlinkError> {
        let gone = |source| NetlinkError::Ask { what: "changes of its devices", source };
        let mut ready = self.socket.readable().await.map_err(|_| gone(Errno::IO))?;
        let mut buffer = [0; 4096];
        loop {
            match rustix::net::recv(self.socket.get_ref(), buffer.as_mut_slice(), RecvFlags::empty()) {
                // What it said does not matter: the reader looks for itself. Too much at once to keep (ENOBUFS) is a change, too.
                Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    ready.clear_ready();
                    return Ok(());
                }
                Err(source) => return Err(gone(source)),
            }
        }
    }
}

/// A socket to the kernel's routing part.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// Opens the socket; needs no privilege, changes through it do.
    ///
    /// # Errors
    /// [`NetlinkError::Open`].
    pub fn open() -> Result<Self, NetlinkError> {
        let open = || {
            let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
            rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
            // The kernel answers at once; a lost answer must not hold up DHCP.
            sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(Duration::from_secs(1)))?;
            Ok(socket)
        };
        Ok(Netlink { socket: open().map_err(NetlinkError::Open)?, sequence: 0 })
    }

    /// All network devices.
    ///
    /// # Errors
    /// [`NetlinkError::Ask`].
    pub fn devices(&mut self) -> Result<Vec<Device>, NetlinkError> {
        let answers = self.ask("its devices", RTM_GETLINK, NLM_F_DUMP, &[0; 16])?;
        Ok(answers.iter().filter_map(|body| device(body)).collect())
    }

    /// All IPv4 addresses.
    ///
    /// # Errors
    /// [`NetlinkError::Ask`].
    pub fn addresses(&mut self) -> Result<Vec<Address>, NetlinkError> {
        let answers = self.ask("its addresses", RTM_GETADDR, NLM_F_DUMP, &[AF_INET, 0, 0, 0, 0, 0, 0, 0])?;
        Ok(answers.iter().filter_map(|body| address(body)).collect())
    }

    /// The default gateway through the device.
    ///
    /// # Errors
    /// [`NetlinkError::Ask`].
    pub fn gateway(&mut self, index: u32) -> Result<Option<Ipv4Addr>, NetlinkError> {
        let mut body = [0; 12];
        if let Some(family) = body.first_mut() {
            *family = AF_INET;
        }
        let answers = self.ask("its routes", RTM_GETROUTE, NLM_F_DUMP, &body)?;
        Ok(answers.iter().find_map(|body| default_route(body, index)))
    }

    /// The ARP table of the device.
    ///
    /// # Errors
    /// [`NetlinkError::Ask`].
    pub fn neighbours(&mut self, index: u32) -> Result<Vec<Neighbour>, NetlinkError> {
        let mut body = neighbour_head(index, 0);
        body.truncate(12);
        let answers = self.ask("its ARP table", RTM_GETNEIGH, NLM_F_DUMP, &body)?;
        Ok(answers.iter().filter_map(|body| neighbour(body)).filter(|entry| entry.index == index).collect())
    }

    /// The machine behind an address, if the kernel knows it.
    ///
    /// # Errors
    /// [`NetlinkError::Ask`].
    pub fn neighbour(&mut self, index: u32, address: Ipv4Addr) -> Result<Option<Neighbour>, NetlinkError> {
        let mut body = neighbour_head(index, 0);
        attribute(&mut body, 1, &address.octets());
        match self.ask("an ARP entry", RTM_GETNEIGH, 0, &body) {
            Ok(answers) => Ok(answers.iter().find_map(|body| neighbour(body))),
            Err(NetlinkError::Ask { source: rustix::io::Errno::NOENT, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Switches a device on.
    ///
    /// # Errors
    /// [`NetlinkError::Ask`].
    pub fn set_up(&mut self, index: u32) -> Result<(), NetlinkError> {
        let mut body = vec![0; 4];
        body.extend(index.to_ne_bytes());
        body.extend(IFF_UP.to_ne_bytes());
        body.extend(IFF_UP.to_ne_bytes());
        self.ask("a device to be up", RTM_NEWLINK, NLM_F_ACK, &body).map(drop)
    }

    /// Gives a device an address.
    ///
    /// # Errors
    /// [`NetlinkError::Ask`].
    pub fn add_address(&mut self, entry: Address) -> Result<(), NetlinkError> {
        let mut body = address_head(entry);
        let broadcast = u32::from(entry.address) | u32::MAX.checked_shr(u32::from(entry.prefix)).unwrap_or(0);
        attribute(&mut body, 2, &entry.address.octets());
        attribute(&mut body, 1, &entry.address.octets());
        attribute(&mut body, 4, &broadcast.to_be_bytes());
        self.ask("a new address", RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK, &body).map(drop)
    }

    /// Takes an address from a device.
    ///
    /// # Errors
    /// [`NetlinkError::Ask`].
    pub fn remove_address(&mut self, entry: Address) -> Result<(), NetlinkError> {
        let mut body = address_head(entry);
        attribute(&mut body, 2, &entry.address.octets());
        self.ask("no address", RTM_DELADDR, NLM_F_ACK, &body).map(drop)
    }

    /// Sets the default route.
    ///
    /// # Errors
    /// [`NetlinkError::Ask`].
    pub fn set_gateway(&mut self, index: u32, gateway: Ipv4Addr) -> Result<(), NetlinkError> {
        // Family, two prefix lengths, tos, table main, protocol dhcp, scope universe, type unicast, flags.
        let mut body = vec![AF_INET, 0, 0, 0, 254, 16, 0, 1, 0, 0, 0, 0];
        attribute(&mut body, 5, &gateway.octets());
        attribute(&mut body, 4, &index.to_ne_bytes());
        self.ask("a default route", RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK, &body).map(drop)
    }

    /// Sends one request and gathers the bodies of its answers.
    fn ask(&mut self, what: &'static str, kind: u16, flags: u16, body: &[u8]) -> Result<Vec<Vec<u8>>, NetlinkError> {
        self.exchange(kind, flags, body).map_err(|source| NetlinkError::Ask { what, source })
    }

    fn exchange(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<Vec<Vec<u8>>, rustix::io::Errno> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = Vec::with_capacity(HEADER + body.len());
        let length = u32::try_from(HEADER + body.len()).map_err(|_| rustix::io::Errno::MSGSIZE)?;
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend_from_slice(body);
        rustix::net::send(&self.socket, &message, SendFlags::empty())?;
        let mut answers = Vec::new();
        let mut buffer = vec![0; 65_536];
        loop {
            let (received, _) = rustix::net::recv(&self.socket, buffer.as_mut_slice(), RecvFlags::empty())?;
            let mut rest = buffer.get(..received).unwrap_or_default();
            while let Some((answer, tail)) = message_of(rest) {
                rest = tail;
                // An answer to a request that timed out before.
                if answer.sequence != self.sequence {
                    continue;
                }
                match answer.kind {
                    NLMSG_DONE => return Ok(answers),
                    NLMSG_ERROR => {
                        let code = number32(answer.body, 0).map_or(0, u32::cast_signed);
                        return match code {
                            0 => Ok(answers),
                            code => Err(rustix::io::Errno::from_raw_os_error(code.saturating_neg())),
                        };
                    }
                    _ => answers.push(answer.body.to_vec()),
                }
                // A single answer without acknowledgement ends the exchange.
                if flags & (NLM_F_ACK | NLM_F_DUMP) == 0 {
                    return Ok(answers);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_and_its_address_are_listed() {
        let mut netlink = Netlink::open().unwrap();
        let devices = netlink.devices().unwrap();
        let loopback = devices.iter().find(|device| device.loopback).unwrap();
        assert_eq!((loopback.name.as_str(), loopback.ethernet), ("lo", false));
        let addresses = netlink.addresses().unwrap();
        for entry in &addresses {
            assert!(devices.iter().any(|device| device.index == entry.index), "{entry:?}");
        }
    }

    #[test]
    fn nobody_is_known_behind_an_address_never_spoken_to() {
        let mut netlink = Netlink::open().unwrap();
        let index = netlink.devices().unwrap().first().unwrap().index;
        assert_eq!(netlink.neighbour(index, Ipv4Addr::new(192, 0, 2, 77)).unwrap(), None);
    }
}
