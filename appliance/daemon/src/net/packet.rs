//! What goes below IP: ARP questions, and answers to machines that have no address yet (packet(7)).
//!
//! Only opening the socket takes CAP_NET_RAW. It hears and says nothing until it is given an interface, and needs no right for
//! that, so it is opened first and the right given up.

use nix::libc;
use rackberry_core::host::MacAddr;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::OwnedFd,
};
use tokio::io::unix::AsyncFd;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const EVERYBODY: MacAddr = MacAddr([0xff; 6]);
/// Hardware Ethernet, protocol IPv4, address lengths 6 and 4, question (RFC 826).
const ARP_QUESTION: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
/// ARP packets taken at a time; a flood must not hold up DHCP.
const DRAIN: usize = 1024;

/// A packet socket that is not yet used on any interface.
#[derive(Debug)]
pub struct PacketSocket(Socket);

impl PacketSocket {
    /// Opens it; without an interface it receives nothing.
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_NET_RAW.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        Ok(PacketSocket(socket))
    }

    /// The same socket once more.
    ///
    /// # Errors
    /// Out of file descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(PacketSocket)
    }
}

/// The packet socket as one interface sees it.
#[derive(Debug)]
pub struct LinkPackets {
    socket: AsyncFd<OwnedFd>,
    index: u32,
    mac: MacAddr,
    address: Ipv4Addr,
}

impl LinkPackets {
    /// Takes the socket into use on the interface with this number, hardware address and address.
    ///
    /// # Errors
    /// When the interface is gone or no runtime is there.
    pub fn new(socket: PacketSocket, index: u32, mac: MacAddr, address: Ipv4Addr) -> io::Result<Self> {
        let PacketSocket(socket) = socket;
        socket.bind(&link_address(index, ETHERTYPE_ARP, EVERYBODY)?)?;
        let packets = LinkPackets { socket: super::watched(socket.into())?, index, mac, address };
        let _stale = packets.heard();
        Ok(packets)
    }

    /// Asks who has `address`, without claiming one (RFC 5227 section 2.1.1: the sender's address is zero).
    ///
    /// # Errors
    /// The kernel's.
    pub fn ask(&self, address: Ipv4Addr) -> io::Result<()> {
        let mut question = ARP_QUESTION.to_vec();
        question.extend(self.mac.0);
        question.extend([0; 4]);
        question.extend([0; 6]);
        question.extend(address.octets());
        SockRef::from(self.socket.get_ref())
            .send_to(&question, &link_address(self.index, ETHERTYPE_ARP, EVERYBODY)?)
            .map(drop)
    }

    /// Waits until an ARP packet may have come. Safe to drop and call again.
    ///
    /// # Errors
    /// If the runtime ends.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await?.clear_ready();
        Ok(())
    }

    /// The addresses that the ARP packets which came tell of, each with who has it; call it after [`readable`](Self::readable).
    #[must_use]
    pub fn heard(&self) -> Vec<(Ipv4Addr, MacAddr)> {
        let mut buffer = [0; 64];
        let mut heard = Vec::new();
        for _ in 0..DRAIN {
            match self.receive(&mut buffer) {
                Ok(length) => heard.extend(sender(buffer.get(..length).unwrap_or_default())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An interface that was switched off is told once here, and by netlink as well.
                Err(_) => {}
            }
        }
        heard.retain(|(_, mac)| *mac != self.mac);
        heard
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::net::recv(self.socket.get_ref(), buffer, rustix::net::RecvFlags::DONTWAIT)?.0)
    }

    /// Sends a datagram from our address to a machine that does not answer ARP for `to` yet.
    ///
    /// # Errors
    /// The kernel's; `InvalidInput` for one that does not fit a packet.
    pub fn send(&self, from_port: u16, mac: MacAddr, to: SocketAddrV4, bytes: &[u8]) -> io::Result<()> {
        let packet = datagram(SocketAddrV4::new(self.address, from_port), to, bytes)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the datagram does not fit one packet"))?;
        SockRef::from(self.socket.get_ref()).send_to(&packet, &link_address(self.index, ETHERTYPE_IPV4, mac)?).map(drop)
    }
}

/// The kernel's name for a machine on a link (packet(7), struct sockaddr_ll).
fn link_address(index: u32, ethertype: u16, mac: MacAddr) -> io::Result<SockAddr> {
    let [a, b, c, d, e, f] = mac.0;
    let address = libc::sockaddr_ll {
        sll_family: libc::sa_family_t::try_from(libc::AF_PACKET).map_err(io::Error::other)?,
        sll_protocol: ethertype.to_be(),
        sll_ifindex: i32::try_from(index).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [a, b, c, d, e, f, 0, 0],
    };
    let size = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
    // SAFETY: the storage is large enough and aligned for every kind of address, it holds a whole sockaddr_ll afterwards, and
    // the length is that of what was written.
    let made = unsafe {
        SockAddr::try_init(|storage, length| {
            storage.cast::<libc::sockaddr_ll>().write(address);
            length.write(size);
            Ok(())
        })
    };
    made.map(|((), address)| address)
}

/// Whose address an ARP packet tells, question or answer alike (RFC 826); questions that claim no address tell nothing.
fn sender(packet: &[u8]) -> Option<(Ipv4Addr, MacAddr)> {
    packet.strip_prefix(&[0, 1, 8, 0, 6, 4])?;
    let mac: [u8; 6] = packet.get(8..14)?.try_into().ok()?;
    let address: [u8; 4] = packet.get(14..18)?.try_into().ok()?;
    (address != [0; 4]).then_some((Ipv4Addr::from(address), MacAddr(mac)))
}

/// An IPv4 packet with a UDP datagram (RFC 791, RFC 768); `None` if it were longer than Ethernet carries.
fn datagram(from: SocketAddrV4, to: SocketAddrV4, bytes: &[u8]) -> Option<Vec<u8>> {
    let udp_length = u16::try_from(bytes.len() + 8).ok()?;
    let length = udp_length.checked_add(20).filter(|length| *length <= 1500)?;
    let mut head = vec![0x45, 0];
    head.extend(length.to_be_bytes());
    // No identification, as it is never cut (RFC 6864); time to live 64; UDP; no checksum yet.
    head.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    head.extend(from.ip().octets());
    head.extend(to.ip().octets());
    let checksum = ones_complement(&head, 0);
    head.splice(10..12, checksum.to_be_bytes());
    let mut udp = Vec::with_capacity(usize::from(udp_length));
    for number in [from.port(), to.port(), udp_length, 0] {
        udp.extend(number.to_be_bytes());
    }
    udp.extend_from_slice(bytes);
    let pseudo: u32 = [from.ip().octets(), to.ip().octets()]
        .iter()
        .map(|[a, b, c, d]| u32::from(u16::from_be_bytes([*a, *b])) + u32::from(u16::from_be_bytes([*c, *d])))
        .sum::<u32>()
        + 17
        + u32::from(udp_length);
    // Zero means "no checksum" (RFC 768), and 0xffff is the same number.
    let checksum = match ones_complement(&udp, pseudo) {
        0 => 0xffff,
        other => other,
    };
    udp.splice(6..8, checksum.to_be_bytes());
    head.extend(udp);
    Some(head)
}

/// The Internet checksum (RFC 1071) of `bytes` on top of `sum`.
fn ones_complement(bytes: &[u8], sum: u32) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        let (high, low) = (pair.first().copied().unwrap_or(0), pair.get(1).copied().unwrap_or(0));
        u32::from(u16::from_be_bytes([high, low]))
    });
    let mut sum = words.fold(sum, u32::wrapping_add);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standards_example() {
        // RFC 1071 section 3.
        assert_eq!(ones_complement(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7], 0), !0xddf2);
    }

    #[test]
    fn a_datagram_is_whole_and_its_checksums_cancel_out() {
        let (from, to) = ("10.0.0.1:67".parse().unwrap(), "10.0.0.9:68".parse().unwrap());
        for payload in [&b"odd"[..], b"even", b""] {
            let packet = datagram(from, to, payload).unwrap();
            let (head, udp) = packet.split_at(20);
            assert_eq!(usize::from(u16::from_be_bytes([head[2], head[3]])), packet.len());
            assert_eq!(ones_complement(head, 0), 0, "a right checksum makes the sum zero");
            let mut whole = vec![10, 0, 0, 1, 10, 0, 0, 9, 0, 17, udp[4], udp[5]];
            whole.extend(udp);
            assert_eq!(ones_complement(&whole, 0), 0);
            assert_eq!(&udp[8..], payload);
            assert_eq!(udp[..4], [0, 67, 0, 68]);
        }
        assert!(datagram(from, to, &[0; 1472]).is_some());
        assert!(datagram(from, to, &[0; 1473]).is_none(), "it is never cut");
    }

    #[test]
    fn arp_tells_who_has_an_address_unless_it_claims_none() {
        let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 1, 10, 0, 0, 7];
        packet.extend([0; 28]);
        assert_eq!(sender(&packet), Some((Ipv4Addr::new(10, 0, 0, 7), MacAddr([2, 0, 0, 0, 0, 1]))));
        packet[14..18].fill(0);
        assert_eq!(sender(&packet), None);
        assert_eq!(sender(&packet[..12]), None);
        assert_eq!(sender(&[9; 46]), None);
    }
}
