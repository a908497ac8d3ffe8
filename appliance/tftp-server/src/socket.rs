//! The socket of one transfer.

use crate::packet::{Packet, data_header};
use crate::reader::Reader;
use crate::transfer::{Blocks, Transfer};
use nix::errno::Errno;
use nix::sys::socket::sockopt::{IpMtu, ReuseAddr, UdpGsoSegment};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, MultiHeaders, SockFlag, SockType, SockaddrLike, SockaddrStorage, bind,
    getsockopt, send, sendmmsg, sendmsg, setsockopt,
};
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::unix::AsyncFd;

/// A fresh port on `local`, from which `peer` is answered.
fn fresh(local: IpAddr, peer: SocketAddr) -> io::Result<UdpSocket> {
    let address = match (local, peer) {
        // A link-local address is one only together with its interface.
        (IpAddr::V6(ip), SocketAddr::V6(peer)) => SocketAddrV6::new(ip, 0, 0, peer.scope_id()).into(),
        _ => SocketAddr::new(local, 0),
    };
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Sends one ERROR from a port of its own; a failure counts as a lost packet.
pub(crate) fn send_error_once(local: IpAddr, peer: SocketAddr, error: &Packet<'_>) {
    if let Ok(socket) = fresh(local, peer) {
        let _lost = socket.send_to(&error.encode(), peer);
    }
}

/// Datagrams taken before the transfer acts on them.
const MOST_ANSWERS: usize = 4;
/// After the request, only ACK and ERROR come; an ERROR's text may be cut.
const LONGEST_ANSWER: usize = 600;

/// A single packet up to this size is copied together before it is sent.
const LARGEST_COPIED: usize = 1536;

/// Whether another datagram of the client is likely to wait already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum More {
    Possible,
    NotExpected,
}

/// Blocks that could not leave at once, and why.
pub(crate) enum Left {
    /// Their bytes have to come from the disk.
    Unread(Blocks),
    /// The socket's buffer is full.
    Unsent(Blocks),
}

/// The socket of one transfer: connected, so that the kernel looks for the way to the client once and not at each packet.
pub(crate) struct TransferSocket {
    socket: AsyncFd<UdpSocket>,
    /// The same port for everybody else, who have no part in the transfer and are told so.
    strangers: Option<AsyncFd<UdpSocket>>,
    /// Whether the kernel still takes a window in one call (UDP_SEGMENT).
    segmenting: AtomicBool,
}

impl TransferSocket {
    pub(crate) fn open(local: IpAddr, peer: SocketAddr) -> io::Result<Self> {
        let socket = fresh(local, peer)?;
        // Only now: before, the kernel might have given it a port that another transfer shares with its strangers.
        setsockopt(&socket, ReuseAddr, &true)?;
        socket.connect(peer)?;
        let strangers = same_port(&socket).and_then(register).ok();
        // A kernel that does not know the option would send the whole window as one datagram.
        let segmenting = getsockopt(&socket, UdpGsoSegment).is_ok().into();
        Ok(Self { socket: register(socket)?, strangers, segmenting })
    }

    /// The blksize that still fits the path unfragmented: 32 bytes for IPv4, UDP and TFTP headers (52 for IPv6), as dnsmasq counts.
    pub(crate) fn blksize_of_path(&self) -> u16 {
        const ETHERNET: u16 = 1500;
        let socket = self.socket.get_ref();
        if socket.local_addr().is_ok_and(|local| local.is_ipv6()) {
            return ETHERNET - 52;
        }
        let mtu = getsockopt(socket, IpMtu).map_or(ETHERNET, |mtu| u16::try_from(mtu).unwrap_or(u16::MAX));
        mtu.saturating_sub(32)
    }

    /// Hands the client's datagrams over, in order, for as long as `each` finds more possible.
    ///
    /// What waits beyond that is handed over together with the next datagram to come, or by [`Self::overlooked`].
    pub(crate) fn poll_receive(
        &self,
        context: &mut Context<'_>,
        each: &mut impl FnMut(&[u8]) -> More,
    ) -> Poll<io::Result<()>> {
        let mut taken = 0;
        loop {
            let Poll::Ready(ready) = self.socket.poll_read_ready(context) else {
                return if taken == 0 { Poll::Pending } else { Poll::Ready(Ok(())) };
            };
            let mut ready = ready?;
            let mut buffer = [0; LONGEST_ANSWER];
            // Asking until there is nothing more costs less than asking for several at once: mostly there is one.
            match self.socket.get_ref().recv(&mut buffer) {
                Ok(len) => {
                    if each(buffer.get(..len).unwrap_or_default()) == More::NotExpected {
                        ready.clear_ready();
                        return Poll::Ready(Ok(()));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready.clear_ready();
                    continue;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
            taken += 1;
            if taken == MOST_ANSWERS {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Hands a datagram over that waits unnoticed.
    pub(crate) fn overlooked(&self, each: &mut impl FnMut(&[u8]) -> More) -> bool {
        let mut buffer = [0; LONGEST_ANSWER];
        let received = self.socket.get_ref().recv(&mut buffer);
        received.map(|len| each(buffer.get(..len).unwrap_or_default())).is_ok()
    }

    /// Hands one datagram of somebody else over.
    pub(crate) fn poll_stranger(&self, context: &mut Context<'_>, told: &mut impl FnMut(&[u8]) -> Option<Vec<u8>>) {
        let Some(strangers) = &self.strangers else { return };
        while let Poll::Ready(Ok(mut ready)) = strangers.poll_read_ready(context) {
            let mut buffer = [0; LONGEST_ANSWER];
            match strangers.get_ref().recv_from(&mut buffer) {
                Ok((len, from)) => {
                    if let Some(answer) = told(buffer.get(..len).unwrap_or_default()) {
                        let _lost = strangers.get_ref().send_to(&answer, from);
                    }
                }
                Err(_) => ready.clear_ready(),
            }
        }
    }

    /// Sends a packet to the client. A failure counts as a lost packet, which the timers repair or give up on.
    pub(crate) fn send(&self, packet: &Packet<'_>) {
        let _lost = self.socket.get_ref().send(&packet.encode());
    }

    /// Sends a run of blocks, as many at a time as the kernel takes, without waiting; tells what is left. Packets that cannot be sent
    /// count as lost.
    pub(crate) fn send_now(&self, transfer: &Transfer, reader: &mut Reader, blocks: Blocks) -> Option<Left> {
        let end = blocks.first + blocks.count;
        let blksize = transfer.agreed().blksize;
        let mut next = blocks.first;
        while next < end {
            let count = Self::most_at_once(blksize).min(end - next);
            let (first, last) = (transfer.block(next), transfer.block(next + count - 1));
            let stop = last.offset + last.len as u64;
            let sending = reader.look(first.offset, stop, |bytes| {
                // What is not at hand yet follows in another call.
                let whole = bytes.len() as u64 == stop - first.offset;
                let blocks = if whole { count } else { bytes.len() as u64 / u64::from(blksize) };
                (self.send_group(transfer, next, blocks, bytes), blocks)
            });
            let rest = Blocks { first: next, count: end - next };
            match sending {
                None => return Some(Left::Unread(rest)),
                Some((Ok(sent), _)) => next += sent,
                Some((Err(Errno::EAGAIN), _)) => return Some(Left::Unsent(rest)),
                Some((Err(error), tried)) if tried > 1 && self.segmenting() && refuses_segments(error) => {
                    self.segmenting.store(false, Ordering::Relaxed);
                }
                Some((Err(_), tried)) => next += tried,
            }
        }
        None
    }

    /// Sends what [`Self::send_now`] has left, waiting for what it takes.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) async fn send_left(&self, transfer: &Transfer, reader: &mut Reader, mut left: Left) -> io::Result<()> {
        loop {
            let (blocks, room) = match left {
                Left::Unread(blocks) => {
                    reader.load(transfer.block(blocks.first).offset).await?;
                    (blocks, None)
                }
                Left::Unsent(blocks) => (blocks, Some(self.socket.writable().await?)),
            };
            match (self.send_now(transfer, reader, blocks), room) {
                (None, _) => return Ok(()),
                (Some(Left::Unsent(blocks)), Some(mut room)) => {
                    room.clear_ready();
                    left = Left::Unsent(blocks);
                }
                (Some(more), _) => left = more,
            }
        }
    }

    fn segmenting(&self) -> bool {
        self.segmenting.load(Ordering::Relaxed)
    }

    /// The kernel splits at most 64 segments and one IP packet's worth of bytes.
    fn most_at_once(blksize: u16) -> u64 {
        (65_000 / (u64::from(blksize) + 4)).clamp(1, MOST_PARTS as u64)
    }

    /// Sends these blocks in one call; returns how many went.
    fn send_group(&self, transfer: &Transfer, first: u64, count: u64, bytes: &[u8]) -> nix::Result<u64> {
        let fd = self.socket.as_raw_fd();
        let none = MsgFlags::empty();
        if count == 1 {
            let header = data_header(transfer.block(first).wire);
            // Copying a frame's worth costs less than having the kernel gather two parts.
            let mut packet = [0; LARGEST_COPIED];
            let len = header.len() + bytes.len();
            if let Some(packet) = packet.get_mut(..len) {
                let (head, data) = packet.split_at_mut(header.len());
                head.copy_from_slice(&header);
                data.copy_from_slice(bytes);
                return send(fd, packet, none).map(|_bytes| 1);
            }
            let parts = [IoSlice::new(&header), IoSlice::new(bytes)];
            return sendmsg::<SockaddrStorage>(fd, &parts, &[], none, None).map(|_bytes| 1);
        }
        let blksize = transfer.agreed().blksize;
        let mut headers = [[0; 4]; MOST_PARTS];
        for (header, number) in headers.iter_mut().zip(first..first + count) {
            *header = data_header(transfer.block(number).wire);
        }
        let headers = usize::try_from(count).ok().and_then(|count| headers.get(..count)).unwrap_or(&headers);
        let mut slices = [IoSlice::new(&[]); 2 * MOST_PARTS];
        let parts = parts(&mut slices, headers, bytes, blksize);
        if self.segmenting() {
            let segment = blksize.saturating_add(4);
            let segments = [ControlMessage::UdpGsoSegments(&segment)];
            return sendmsg::<SockaddrStorage>(fd, parts, &segments, none, None).map(|_bytes| count);
        }
        let mut messages = MultiHeaders::<SockaddrStorage>::preallocate(headers.len(), None);
        let parts: Vec<&[IoSlice<'_>]> = parts.chunks(2).collect();
        let sent = sendmmsg(fd, &mut messages, &parts, vec![None; headers.len()], [], none)?;
        Ok(sent.count() as u64)
    }
}

/// Hands a socket to the runtime.
fn register(socket: UdpSocket) -> io::Result<AsyncFd<UdpSocket>> {
    // SAFETY: the standard library's socket keeps its one descriptor open for as long as it lives.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

/// Another socket on the port of a connected one, for what others than its peer send.
fn same_port(socket: &UdpSocket) -> io::Result<UdpSocket> {
    let address = SockaddrStorage::from(socket.local_addr()?);
    let family = address.family().unwrap_or(AddressFamily::Inet);
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let other = nix::sys::socket::socket(family, SockType::Datagram, flags, None)?;
    setsockopt(&other, ReuseAddr, &true)?;
    bind(other.as_raw_fd(), &address)?;
    Ok(other.into())
}

/// What the kernel says when it cannot split: no such option, a segment over the MTU, no checksum offload.
fn refuses_segments(error: Errno) -> bool {
    matches!(error, Errno::EINVAL | Errno::EMSGSIZE | Errno::EIO | Errno::ENOPROTOOPT | Errno::EOPNOTSUPP)
}

/// Most blocks in one system call.
const MOST_PARTS: usize = 64;

/// Fills `slices` with header and data by turns; the last block's data may be short or empty.
fn parts<'a, 'b>(
    slices: &'b mut [IoSlice<'a>; 2 * MOST_PARTS],
    headers: &'a [[u8; 4]],
    bytes: &'a [u8],
    blksize: u16,
) -> &'b [IoSlice<'a>] {
    let data = bytes.chunks(blksize.max(1).into()).chain(std::iter::repeat(&[][..]));
    let both = headers.iter().zip(data).flat_map(|(header, data)| [header.as_slice(), data]);
    for (slice, part) in slices.iter_mut().zip(both) {
        *slice = IoSlice::new(part);
    }
    slices.get(..2 * headers.len()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Content;
    use crate::options::Limits;
    use crate::packet::ReadRequest;
    use crate::reader::Reads;
    use crate::transfer::Step;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    #[tokio::test]
    async fn a_window_leaves_as_the_same_packets_with_and_without_the_kernels_splitting() {
        let content: Vec<u8> = (0..1428u32 * 60).map(|index| (index / 97) as u8).collect();
        for segmenting in [true, false] {
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let socket = TransferSocket::open(IpAddr::V4(Ipv4Addr::LOCALHOST), client.local_addr().unwrap()).unwrap();
            socket.segmenting.fetch_and(segmenting, Ordering::Relaxed);
            let request = ReadRequest::octet("x").with("blksize", 1428).with("windowsize", 64);
            let len = content.len() as u64;
            let (mut transfer, _) = Transfer::start(&request, len, &Limits::default(), Duration::ZERO);
            let step = transfer.on_packet(&Packet::Ack(0), Duration::ZERO);
            let Step::SendBlocks(blocks) = step else { panic!("{step:?}") };
            assert_eq!(blocks, Blocks { first: 1, count: 61 }, "60 full blocks and an empty one");
            let mut reader = Reader::new(Content::from(content.clone()), 1428, &Reads::at_most(1));
            let left = socket.send_now(&transfer, &mut reader, blocks);
            assert!(left.is_none());
            assert_eq!(socket.segmenting(), segmenting, "loopback splits");
            let mut buffer = [0; 2000];
            for number in 1..=61u16 {
                let len = client.recv(&mut buffer).unwrap();
                let start = 1428 * usize::from(number - 1);
                let data = &content[start..(start + 1428).min(content.len())];
                assert_eq!(buffer[..len], [&data_header(number), data].concat(), "block {number}");
            }
        }
    }
}
