//! Ethernet frames on one interface of a namespace: IPv4 UDP from any sender's address, and all that arrives.
//!
//! A machine that boots has no address yet, and one client plays many machines: the kernel's own UDP can do neither.

use crate::netns::Netns;
use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Every card's address at once.
pub const BROADCAST_MAC: [u8; 6] = [0xff; 6];
const ETHERTYPE_IPV4: u16 = 0x0800;
const UDP: u8 = 17;

/// One UDP datagram with the addresses of both layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The sender's card.
    pub from_mac: [u8; 6],
    /// The receiver's card, or broadcast.
    pub to_mac: [u8; 6],
    /// The sender.
    pub from: SocketAddrV4,
    /// The receiver.
    pub to: SocketAddrV4,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// A raw socket on one interface.
pub struct Link {
    socket: Socket,
}

/// linux/if_packet.h
#[repr(C)]
struct SockaddrLl {
    family: u16,
    protocol: u16,
    interface: i32,
    hardware_type: u16,
    packet_type: u8,
    address_length: u8,
    address: [u8; 8],
}

impl Link {
    /// Opens the interface, which must be up, and takes frames for all cards.
    ///
    /// # Errors
    /// When there is no such interface in the namespace.
    pub fn open(ns: &Netns, interface: &str) -> Result<Self> {
        ns.ip(&format!("link set dev {interface} promisc on"))?;
        let socket = ns.enter(|| open_packet_socket(interface).with_context(|| format!("listen on {interface}")))?;
        Ok(Self { socket })
    }

    /// Sends one datagram as the sender that it names.
    ///
    /// # Errors
    /// When the interface is down.
    pub fn send(&self, datagram: &Datagram) -> Result<()> {
        self.socket.send(&frame(datagram)).map(drop).context("send a frame")
    }

    /// Broadcasts that this card has this address (RFC 5227 section 3).
    ///
    /// # Errors
    /// When the interface is down.
    pub fn announce(&self, card: [u8; 6], address: Ipv4Addr) -> Result<()> {
        let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &card, &address.octets(), &[0; 6], &address.octets()].concat();
        let frame = [&BROADCAST_MAC[..], &card, &[8, 6], &arp].concat();
        self.socket.send(&frame).map(drop).context("announce an address")
    }

    /// The next UDP datagram that passes by, whoever it is for; `None` at the time-out.
    ///
    /// # Errors
    /// When the interface is gone.
    pub fn receive(&self, until: Instant) -> Result<Option<Datagram>> {
        let mut buffer = [0u8; 65_536];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            match rustix::net::recv(self.socket.as_fd(), &mut buffer[..], rustix::net::RecvFlags::empty()) {
                Ok((length, _)) => {
                    if let Some(datagram) = buffer.get(..length).and_then(parse) {
                        return Ok(Some(datagram));
                    }
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("receive a frame"),
            }
        }
    }
}

impl From<Link> for std::os::fd::OwnedFd {
    fn from(link: Link) -> Self {
        link.socket.into()
    }
}

fn open_packet_socket(interface: &str) -> Result<Socket> {
    let protocol = ETHERTYPE_IPV4.to_be();
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(protocol))))?;
    let index = rustix::net::netdevice::name_to_index(socket.as_fd(), interface)?;
    let address = SockaddrLl {
        family: 17, // AF_PACKET
        protocol,
        interface: i32::try_from(index)?,
        hardware_type: 0,
        packet_type: 0,
        address_length: 0,
        address: [0; 8],
    };
    let mut storage = SockAddrStorage::zeroed();
    let length = u32::try_from(size_of::<SockaddrLl>())?;
    // SAFETY: the storage is at least as large and as aligned as any socket address, and sockaddr_ll is one.
    let address = unsafe {
        *storage.view_as::<SockaddrLl>() = address;
        SockAddr::new(storage, length)
    };
    socket.bind(&address)?;
    Ok(socket)
}

/// The Ethernet frame of a datagram.
#[must_use]
pub fn frame(datagram: &Datagram) -> Vec<u8> {
    let Datagram { from_mac, to_mac, from, to, payload } = datagram;
    let udp_length = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
    let total = udp_length.saturating_add(20);
    let mut ip = vec![0x45, 0];
    ip.extend(total.to_be_bytes());
    // No identification, "don't fragment", 64 hops, and the checksum's place.
    ip.extend([0, 0, 0x40, 0, 64, UDP, 0, 0]);
    ip.extend(from.ip().octets());
    ip.extend(to.ip().octets());
    let sum = checksum(&ip).to_be_bytes();
    ip.splice(10..12, sum);
    let mut udp = Vec::with_capacity(8 + payload.len());
    udp.extend(from.port().to_be_bytes());
    udp.extend(to.port().to_be_bytes());
    udp.extend(udp_length.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    let pseudo = [&from.ip().octets()[..], &to.ip().octets(), &[0, UDP], &udp_length.to_be_bytes(), &udp].concat();
    // RFC 768: a sum of zero is sent as all ones, since zero says that there is none.
    let sum = match checksum(&pseudo) {
        0 => 0xffffu16,
        sum => sum,
    };
    udp.splice(6..8, sum.to_be_bytes());
    [&to_mac[..], from_mac, &ETHERTYPE_IPV4.to_be_bytes(), &ip, &udp].concat()
}

fn parse(frame: &[u8]) -> Option<Datagram> {
    let (ethernet, rest) = frame.split_at_checked(14)?;
    if ethernet.get(12..14)? != ETHERTYPE_IPV4.to_be_bytes() {
        return None;
    }
    let total = usize::from(u16::from_be_bytes(rest.get(2..4)?.try_into().ok()?));
    let packet = rest.get(..total)?;
    let header = usize::from(packet.first()? & 15) * 4;
    // A fragment (offset, or more to follow) is not put together: boot servers must not send any.
    let fragment = u16::from_be_bytes(packet.get(6..8)?.try_into().ok()?) & 0x3fff;
    if *packet.get(9)? != UDP || fragment != 0 {
        return None;
    }
    let address =
        |from: usize| packet.get(from..from + 4).and_then(|b| Some(Ipv4Addr::from(<[u8; 4]>::try_from(b).ok()?)));
    let udp = packet.get(header..)?;
    let port = |from: usize| udp.get(from..from + 2).and_then(|b| Some(u16::from_be_bytes(b.try_into().ok()?)));
    Some(Datagram {
        from_mac: ethernet.get(6..12)?.try_into().ok()?,
        to_mac: ethernet.get(..6)?.try_into().ok()?,
        from: SocketAddrV4::new(address(12)?, port(0)?),
        to: SocketAddrV4::new(address(16)?, port(2)?),
        payload: udp.get(8..)?.to_vec(),
    })
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair.first().copied().unwrap_or(0), low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(u16::try_from(sum).unwrap_or(u16::MAX))
}
