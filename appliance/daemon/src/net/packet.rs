//! What goes below IP: ARP questions, and answers to machines that have no address yet (packet(7)).
//!
//! Only opening the socket takes CAP_NET_RAW. It hears and says nothing until it is given an interface, and needs no right for
//! that, so it is opened first and the right given up.

use super::sockets::each;
use nix::{
    libc,
    sys::socket::{LinkAddr, MsgFlags, MultiHeaders, SockaddrLike as _, bind, sendmmsg, sendto},
};
use rackberry_core::host::MacAddr;
use socket2::{Domain, Socket, Type};
use std::{
    io::{self, IoSlice},
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsRawFd as _, OwnedFd},
};
use tokio::io::unix::AsyncFd;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
/// The address that every card listens to.
pub const EVERYBODY: MacAddr = MacAddr([0xff; 6]);
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
        bind(socket.as_raw_fd(), &link_address(index, ETHERTYPE_ARP, EVERYBODY)?)?;
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
        let to = link_address(self.index, ETHERTYPE_ARP, EVERYBODY)?;
        sendto(self.socket.as_raw_fd(), &question, &to, MsgFlags::MSG_DONTWAIT)?;
        Ok(())
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

    /// Sends datagrams from our address, many in one call, each to the card it names, which need not answer ARP yet; tells the
    /// place of each that was refused, and why: the kernel's error, or `InvalidInput` for one that does not fit a packet.
    pub fn send_all(&self, datagrams: &[ToCard<'_>], mut refused: impl FnMut(usize, io::Error)) {
        let mut packets = Vec::with_capacity(datagrams.len());
        for (place, ToCard { from_port, card, to, bytes }) in datagrams.iter().enumerate() {
            let head = head(SocketAddrV4::new(self.address, *from_port), *to, bytes)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the datagram does not fit one packet"));
            match head.and_then(|head| Ok((head, link_address(self.index, ETHERTYPE_IPV4, *card)?))) {
                Ok((head, card)) => packets.push((place, head, card, *bytes)),
                Err(error) => refused(place, error),
            }
        }
        let parts: Vec<_> =
            packets.iter().map(|(_, head, _, bytes)| [IoSlice::new(head), IoSlice::new(bytes)]).collect();
        let to: Vec<_> = packets.iter().map(|(_, _, card, _)| Some(*card)).collect();
        let send = |from: usize| {
            let (parts, to) = (parts.get(from..).unwrap_or_default(), to.get(from..).unwrap_or_default());
            let mut headers = MultiHeaders::preallocate(to.len(), None);
            sendmmsg(self.socket.as_raw_fd(), &mut headers, parts, to, [], MsgFlags::MSG_DONTWAIT).map(Iterator::count)
        };
        each(packets.len(), send, |sent, error| {
            if let Some((place, ..)) = packets.get(sent) {
                refused(*place, error);
            }
        });
    }
}

/// A datagram and the card it goes to.
#[derive(Debug, Clone, Copy)]
pub struct ToCard<'a> {
    pub from_port: u16,
    pub card: MacAddr,
    pub to: SocketAddrV4,
    pub bytes: &'a [u8],
}

/// The kernel's name for a machine on a link (packet(7), struct sockaddr_ll).
fn link_address(index: u32, ethertype: u16, mac: MacAddr) -> io::Result<LinkAddr> {
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
    // SAFETY: the pointer is to a whole sockaddr_ll of this size, and is only read.
    let made = unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(size)) };
    made.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// Whose address an ARP packet tells, question or answer alike (RFC 826); questions that claim no address tell nothing.
fn sender(packet: &[u8]) -> Option<(Ipv4Addr, MacAddr)> {
    packet.strip_prefix(&[0, 1, 8, 0, 6, 4])?;
    let mac: [u8; 6] = packet.get(8..14)?.try_into().ok()?;
    let address: [u8; 4] = packet.get(14..18)?.try_into().ok()?;
    (address != [0; 4]).then_some((Ipv4Addr::from(address), MacAddr(mac)))
}

/// IPv4 and UDP headers.
const HEAD: usize = 28;

/// What comes before `bytes` in an IPv4 packet with them as UDP datagram (RFC 791, RFC 768); `None` if it were longer than
/// Ethernet carries.
fn head(from: SocketAddrV4, to: SocketAddrV4, bytes: &[u8]) -> Option<[u8; HEAD]> {
    let udp_length = u16::try_from(bytes.len() + 8).ok()?;
    let length = udp_length.checked_add(20).filter(|length| *length <= 1500)?;
    let ([a, b], [c, d], [e, f]) = (length.to_be_bytes(), from.port().to_be_bytes(), to.port().to_be_bytes());
    let ([g, h, i, j], [k, l, m, n], [o, p]) = (from.ip().octets(), to.ip().octets(), udp_length.to_be_bytes());
    // No identification, as it is never cut (RFC 6864); time to live 64; UDP.
    let ip = [0x45, 0, a, b, 0, 0, 0x40, 0, 64, 17, 0, 0, g, h, i, j, k, l, m, n];
    let [q, r] = ones_complement(&ip, 0).to_be_bytes();
    let udp = [c, d, e, f, o, p, 0, 0];
    let pseudo = sum(&[g, h, i, j, k, l, m, n, 0, 17, o, p]) + sum(&udp);
    // Zero means "no checksum" (RFC 768), and 0xffff is the same number.
    let [s, t] = match ones_complement(bytes, pseudo) {
        0 => [0xff; 2],
        other => other.to_be_bytes(),
    };
    Some([
        0x45, 0, a, b, 0, 0, 0x40, 0, 64, 17, q, r, g, h, i, j, k, l, m, n, // IP
        c, d, e, f, o, p, s, t, // UDP
    ])
}

/// The Internet checksum (RFC 1071) of `bytes` on top of `before`.
fn ones_complement(bytes: &[u8], before: u64) -> u16 {
    let mut sum = before + sum(bytes);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

/// The sum of 16-bit words, taken two at a time: the upper of them is folded in at the end (RFC 1071 section 2).
fn sum(bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<4>();
    let mut last = [0; 4];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    pairs.iter().chain([&last]).map(|pair| u64::from(u32::from_be_bytes(*pair))).sum()
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
            let packet = [&head(from, to, payload).unwrap()[..], payload].concat();
            let (head, udp) = packet.split_at(20);
            assert_eq!(usize::from(u16::from_be_bytes([head[2], head[3]])), packet.len());
            assert_eq!(ones_complement(head, 0), 0, "a right checksum makes the sum zero");
            let mut whole = vec![10, 0, 0, 1, 10, 0, 0, 9, 0, 17, udp[4], udp[5]];
            whole.extend(udp);
            assert_eq!(ones_complement(&whole, 0), 0);
            assert_eq!(&udp[8..], payload);
            assert_eq!(udp[..4], [0, 67, 0, 68]);
        }
        assert!(head(from, to, &[0; 1472]).is_some());
        assert!(head(from, to, &[0; 1473]).is_none(), "it is never cut");
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
