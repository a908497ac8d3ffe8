//! UDP sockets that are opened on all interfaces and used on one.
//!
//! A socket tied to a device (SO_BINDTODEVICE) cannot be tied to another one without CAP_NET_RAW, and a port below 1024 cannot
//! be opened again without CAP_NET_BIND_SERVICE. So the sockets are opened once, before anybody knows the interface; each
//! datagram says on which interface it came, and is told on which it has to leave (IP_PKTINFO, ip(7)). That takes no right.

use nix::{
    cmsg_space, libc,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt,
        sockopt::Ipv4PacketInfo,
    },
};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    os::fd::{AsRawFd as _, RawFd},
};
use tokio::io::Interest;

/// A socket that could not be had; the sentence says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error(
        "open UDP port {port}: not allowed; start as root, with CAP_NET_BIND_SERVICE, or by the systemd sockets that come with rackberry"
    )]
    Forbidden {
        port: u16,
        #[source]
        source: io::Error,
    },
    #[error("open UDP port {port}: another program has it; stop it, or choose another port in rackberry.toml")]
    Taken {
        port: u16,
        #[source]
        source: io::Error,
    },
    #[error("open UDP port {port}")]
    Other {
        port: u16,
        #[source]
        source: io::Error,
    },
}

/// A UDP socket on `port` of all interfaces, for nobody else.
///
/// Where another program has the port and is ready to share it, as one that serves another interface is, it is shared.
///
/// # Errors
/// [`SocketError`].
pub fn udp(port: u16) -> Result<UdpSocket, SocketError> {
    match open(None, port, false) {
        Err(SocketError::Taken { .. }) => {
            let shared = open(None, port, true)?;
            tracing::warn!(port, "another program has this UDP port, too; it must not serve the same interface");
            Ok(shared)
        }
        other => other,
    }
}

/// The same, where other programs may sit on the port as well: a DHCP client on 68.
///
/// # Errors
/// [`SocketError`].
pub fn shared_udp(port: u16) -> Result<UdpSocket, SocketError> {
    open(None, port, true)
}

/// A shared socket on `port` of `device` alone; needs CAP_NET_RAW on kernels before 5.7.
///
/// # Errors
/// [`SocketError`].
pub fn udp_on_device(device: &str, port: u16) -> Result<UdpSocket, SocketError> {
    open(Some(device), port, true)
}

fn open(device: Option<&str>, port: u16, shared: bool) -> Result<UdpSocket, SocketError> {
    let open = || {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(shared)?;
        if let Some(device) = device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        socket.set_broadcast(true)?;
        // Here there may be a right to pass the system's limit, which on most holds some two hundred packets.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, WAITING);
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
        Ok::<_, io::Error>(socket.into())
    };
    open().map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => SocketError::Forbidden { port, source },
        io::ErrorKind::AddrInUse => SocketError::Taken { port, source },
        _ => SocketError::Other { port, source },
    })
}

/// Bytes that may wait in a socket: a rack that is switched on at once fills the usual.
const WAITING: usize = 1 << 20;
/// Datagrams thrown away at most when a socket is taken into use; a flood must not hold up the start.
const MOST_STALE: usize = 4096;

/// A UDP socket as one interface sees it.
#[derive(Debug)]
pub struct LinkSocket {
    socket: tokio::net::UdpSocket,
    /// The interface's number.
    index: u32,
    /// What leaves comes from here.
    address: Ipv4Addr,
}

impl LinkSocket {
    /// Takes the socket into use on the interface with this number; what waits in it from before is thrown away.
    ///
    /// # Errors
    /// When an option is refused or no runtime is there.
    pub fn new(socket: UdpSocket, index: u32, address: Ipv4Addr) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_broadcast(true)?;
        let own = socket2::SockRef::from(&socket);
        if own.recv_buffer_size()? < WAITING {
            own.set_recv_buffer_size(WAITING)?;
        }
        setsockopt(&socket, Ipv4PacketInfo, &true)?;
        let mut nothing = [0];
        for _ in 0..MOST_STALE {
            match receive(socket.as_raw_fd(), &mut nothing) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                _ => {}
            }
        }
        Ok(LinkSocket { socket: tokio::net::UdpSocket::from_std(socket)?, index, address })
    }

    /// Waits until something may have come.
    ///
    /// # Errors
    /// If the runtime ends.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// The next datagram: its length and sender, or `None` for one of another interface.
    ///
    /// # Errors
    /// `WouldBlock` if none waits; an ICMP error of an earlier answer.
    pub fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddrV4)>> {
        // Asked directly at first: something may have come before the runtime had the time to see it.
        let received = match receive(self.socket.as_raw_fd(), buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.socket.try_io(Interest::READABLE, || receive(self.socket.as_raw_fd(), buffer))
            }
            received => received,
        };
        let (length, from, index) = received?;
        Ok(from.filter(|_| index == Some(self.index)).map(|from| (length, from)))
    }

    /// Sends a datagram out of this interface; a full buffer loses it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn send(&self, bytes: &[u8], to: SocketAddrV4) -> io::Result<()> {
        let info = libc::in_pktinfo {
            ipi_ifindex: i32::try_from(self.index).map_err(io::Error::other)?,
            ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(self.address.octets()) },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let parts = [IoSlice::new(bytes)];
        let control = [ControlMessage::Ipv4PacketInfo(&info)];
        // Not through the runtime, which refuses to send before it saw the socket writable once.
        sendmsg(self.socket.as_raw_fd(), &parts, &control, MsgFlags::MSG_DONTWAIT, Some(&SockaddrIn::from(to)))?;
        Ok(())
    }
}

/// One datagram: length, sender, and the interface it came on.
fn receive(socket: RawFd, buffer: &mut [u8]) -> io::Result<(usize, Option<SocketAddrV4>, Option<u32>)> {
    let mut control = cmsg_space!(libc::in_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrIn>(socket, &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
    let index = message.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => u32::try_from(info.ipi_ifindex).ok(),
        _ => None,
    });
    Ok((message.bytes, message.address.map(SocketAddrV4::from), index))
}
