//! A listening socket, which learns which of our addresses was asked.

use nix::cmsg_space;
use nix::libc;
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use tokio::io::Interest;

/// Longer datagrams are no request: RFC 2347 ends them at 512 bytes, and some clients go beyond.
pub(crate) const LONGEST_REQUEST: usize = 1500;

/// A datagram that came to a listening socket.
pub(crate) struct Arrival {
    pub(crate) len: usize,
    pub(crate) peer: SocketAddr,
    pub(crate) local: IpAddr,
}

/// A listening socket.
pub(crate) struct Listener {
    socket: tokio::net::UdpSocket,
    bound: SocketAddr,
}

impl Listener {
    /// Takes over a socket that [`prepare_listening`] has prepared.
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        let bound = socket.local_addr()?;
        Ok(Self { socket: tokio::net::UdpSocket::from_std(socket)?, bound })
    }

    /// The next datagram; `None` for one that cannot be a request to us: cut off, or sent to a broadcast or multicast address
    /// (RFC 1123 section 4.2.3.5 leaves those unanswered).
    pub(crate) async fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Arrival>> {
        self.socket.async_io(Interest::READABLE, || self.receive_now(buffer)).await
    }

    fn receive_now(&self, buffer: &mut [u8]) -> io::Result<Option<Arrival>> {
        let mut control = cmsg_space!(libc::in6_pktinfo, libc::in_pktinfo);
        let mut parts = [IoSliceMut::new(buffer)];
        let fd = self.socket.as_raw_fd();
        let message = recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut control), MsgFlags::empty())?;
        if message.flags.contains(MsgFlags::MSG_TRUNC) {
            return Ok(None);
        }
        let peer = message.address.as_ref().and_then(socket_addr).filter(can_be_a_client);
        let (Some(peer), Some(local)) = (peer, self.asked_address(message.cmsgs()?)) else {
            return Ok(None);
        };
        Ok(Some(Arrival { len: message.bytes, peer, local }))
    }

    fn asked_address(&self, messages: impl Iterator<Item = ControlMessageOwned>) -> Option<IpAddr> {
        for message in messages {
            match message {
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    let asked = Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes());
                    let ours = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
                    return (asked == ours).then_some(IpAddr::V4(ours));
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    let asked = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                    return (!asked.is_multicast()).then_some(IpAddr::V6(asked).to_canonical());
                }
                _ => {}
            }
        }
        let bound = self.bound.ip();
        (!bound.is_unspecified()).then_some(bound)
    }
}

/// Sets up a bound socket for listening and returns its address.
pub(crate) fn prepare_listening(socket: &UdpSocket) -> io::Result<SocketAddr> {
    socket.set_nonblocking(true)?;
    let bound = socket.local_addr()?;
    match bound {
        SocketAddr::V4(_) => setsockopt(socket, Ipv4PacketInfo, &true)?,
        SocketAddr::V6(_) => setsockopt(socket, Ipv6RecvPacketInfo, &true)?,
    }
    Ok(bound)
}

fn socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddrV4::from(*v4).into());
    }
    let v6 = SocketAddrV6::from(*address.as_sockaddr_in6()?);
    // A dual-stack socket shows IPv4 clients as ::ffff:a.b.c.d.
    Some(match v6.ip().to_ipv4_mapped() {
        Some(v4) => SocketAddrV4::new(v4, v6.port()).into(),
        None => v6.into(),
    })
}

fn can_be_a_client(peer: &SocketAddr) -> bool {
    let ip = peer.ip();
    peer.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::V4(Ipv4Addr::BROADCAST)
}
