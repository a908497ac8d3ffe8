//! UDP sockets that are opened on all interfaces and used on one.
//!
//! A socket tied to a device (SO_BINDTODEVICE) cannot be tied to another one without CAP_NET_RAW, and a port below 1024 cannot
//! be opened again without CAP_NET_BIND_SERVICE. So the sockets are opened once, before anybody knows the interface; each
//! datagram says on which interface it came, and is told on which it has to leave (IP_PKTINFO, ip(7)). That takes no right.

use nix::{
    cmsg_space, libc,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, setsockopt,
        sockopt::Ipv4PacketInfo,
    },
};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    os::fd::AsRawFd as _,
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
            match socket.recv(&mut nothing) {
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

    /// Takes what waits, up to [`Inbox::ROOM`] datagrams, in the place of what was in the inbox.
    ///
    /// Asked directly, not through the runtime: something may have come before that had the time to see it.
    ///
    /// # Errors
    /// `WouldBlock` if none waits.
    pub fn try_receive(&self, inbox: &mut Inbox) -> io::Result<()> {
        inbox.came.clear();
        let result = inbox.receive(&self.socket, self.index);
        if !matches!(result, Ok(Inbox::ROOM)) {
            // The socket is empty: what comes now wakes the runtime anew, and no second question is needed to know. This holds
            // on a runtime of one thread, which looks for wake-ups only after this; another thread's look would be undone here.
            let _ = self.socket.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
        result.map(drop)
    }

    /// Sends a datagram out of this interface; a full buffer loses it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn send(&self, bytes: &[u8], to: SocketAddrV4) -> io::Result<()> {
        let mut refused = Ok(());
        self.send_all(&[(bytes, to)], |_, error| refused = Err(error));
        refused
    }

    /// Sends datagrams out of this interface, many in one call; tells the place of each that the kernel refused, and why.
    pub fn send_all(&self, datagrams: &[(&[u8], SocketAddrV4)], refused: impl FnMut(usize, io::Error)) {
        let info = libc::in_pktinfo {
            ipi_ifindex: i32::try_from(self.index).unwrap_or_default(),
            ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(self.address.octets()) },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let control = [ControlMessage::Ipv4PacketInfo(&info)];
        let parts: Vec<_> = datagrams.iter().map(|(bytes, _)| [IoSlice::new(bytes)]).collect();
        let to: Vec<_> = datagrams.iter().map(|(_, to)| Some(SockaddrIn::from(*to))).collect();
        let send = |from: usize| {
            let (parts, to) = (parts.get(from..).unwrap_or_default(), to.get(from..).unwrap_or_default());
            let mut headers = MultiHeaders::preallocate(to.len(), Some(cmsg_space!(libc::in_pktinfo)));
            // Not through the runtime, which refuses to send before it saw the socket writable once.
            sendmmsg(self.socket.as_raw_fd(), &mut headers, parts, to, control, MsgFlags::MSG_DONTWAIT)
                .map(Iterator::count)
        };
        each(datagrams.len(), send, refused);
    }
}

/// Has `count` datagrams sent, where `send` begins with the one it is told and says how many left; one that is refused does
/// not hold up those behind it.
pub(super) fn each(
    count: usize,
    mut send: impl FnMut(usize) -> nix::Result<usize>,
    mut refused: impl FnMut(usize, io::Error),
) {
    let mut next = 0;
    while next < count {
        match send(next) {
            Ok(sent) => next += sent.max(1),
            Err(error) => {
                refused(next, error.into());
                next += 1;
            }
        }
    }
}

/// Datagrams taken in one call (recvmmsg(2)), in room that is used again and again.
#[derive(Debug)]
pub struct Inbox {
    room: Vec<[u8; Inbox::LONGEST]>,
    /// Place, length and sender of each that came on the right interface.
    came: Vec<(usize, usize, SocketAddrV4)>,
}

impl Default for Inbox {
    fn default() -> Self {
        Inbox { room: vec![[0; Inbox::LONGEST]; Inbox::ROOM], came: Vec::with_capacity(Inbox::ROOM) }
    }
}

impl Inbox {
    /// Datagrams taken at a time.
    pub const ROOM: usize = 64;
    /// Longer than any that Ethernet carries in one packet; what is longer is cut here.
    const LONGEST: usize = 1536;

    /// What came, each with its sender, in order.
    pub fn datagrams(&self) -> impl Iterator<Item = (&[u8], SocketAddrV4)> {
        self.came.iter().filter_map(|(place, length, from)| Some((self.room.get(*place)?.get(..*length)?, *from)))
    }

    /// Takes what waits in `socket`; how many there were on any interface.
    fn receive(&mut self, socket: &tokio::net::UdpSocket, index: u32) -> io::Result<usize> {
        // Made anew for each call: the kernel writes into it how much of it was used.
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(Self::ROOM, Some(cmsg_space!(libc::in_pktinfo)));
        let mut parts: Vec<_> = self.room.iter_mut().map(|room| [IoSliceMut::new(room)]).collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        let received = recvmmsg(socket.as_raw_fd(), &mut headers, parts.iter_mut(), flags, None)?;
        let mut count = 0;
        for (place, message) in received.enumerate() {
            count += 1;
            let on = message.cmsgs()?.find_map(|message| match message {
                ControlMessageOwned::Ipv4PacketInfo(info) => u32::try_from(info.ipi_ifindex).ok(),
                _ => None,
            });
            if let Some(from) = message.address.filter(|_| on == Some(index)) {
                self.came.push((place, message.bytes, from.into()));
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The loopback interface's number, in every namespace.
    const LOOPBACK: u32 = 1;

    fn socket(index: u32) -> (LinkSocket, SocketAddrV4) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        (LinkSocket::new(socket, index, Ipv4Addr::LOCALHOST).unwrap(), address)
    }

    /// Takes `count` datagrams, as they come.
    async fn take(socket: &LinkSocket, count: usize) -> Vec<(Vec<u8>, SocketAddrV4)> {
        let (mut inbox, mut taken) = (Inbox::default(), Vec::new());
        let all = async {
            while taken.len() < count {
                socket.readable().await.unwrap();
                let _none = socket.try_receive(&mut inbox);
                assert!(inbox.datagrams().count() <= Inbox::ROOM);
                taken.extend(inbox.datagrams().map(|(bytes, from)| (bytes.to_vec(), from)));
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), all).await.unwrap();
        taken
    }

    #[tokio::test]
    async fn more_than_one_call_takes_comes_whole_and_in_order_however_often() {
        let ((from, sender), (to, receiver)) = (socket(LOOPBACK), socket(LOOPBACK));
        for _ in 0..3 {
            let sent: Vec<Vec<u8>> = (0..150_u8).map(|number| vec![number; 300]).collect();
            let datagrams: Vec<_> = sent.iter().map(|bytes| (bytes.as_slice(), receiver)).collect();
            from.send_all(&datagrams, |place, error| panic!("{place}: {error}"));
            let taken = take(&to, sent.len()).await;
            assert_eq!(taken, sent.into_iter().map(|bytes| (bytes, sender)).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn a_datagram_that_is_refused_holds_up_nobody_behind_it() {
        let ((from, sender), (to, receiver)) = (socket(LOOPBACK), socket(LOOPBACK));
        let long = vec![0; 70_000];
        let mut refused = Vec::new();
        from.send_all(&[(b"first", receiver), (&long, receiver), (b"last", receiver)], |place, _| refused.push(place));
        assert_eq!(refused, [1]);
        assert_eq!(take(&to, 2).await, [(b"first".to_vec(), sender), (b"last".to_vec(), sender)]);
        assert!(from.send(&long, receiver).is_err());
    }

    #[tokio::test]
    async fn what_comes_on_another_interface_is_taken_and_thrown_away() {
        let ((from, _), (to, receiver)) = (socket(LOOPBACK), socket(LOOPBACK + 1));
        from.send(b"not for you", receiver).unwrap();
        to.readable().await.unwrap();
        let mut inbox = Inbox::default();
        to.try_receive(&mut inbox).unwrap();
        assert_eq!(inbox.datagrams().count(), 0);
        assert_eq!(to.try_receive(&mut inbox).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
