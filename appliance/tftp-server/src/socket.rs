//! The sockets: a listener that learns which of our addresses was asked, and the socket of one transfer.

use crate::packet::{Packet, data_header};
use crate::reader::Reader;
use crate::transfer::{Blocks, Transfer};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::sockopt::{IpMtu, Ipv4PacketInfo, Ipv6RecvPacketInfo, UdpGsoSegment};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, getsockopt, recvmmsg, recvmsg,
    sendmmsg, sendmsg, setsockopt,
};
use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UdpSocket;

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
    socket: UdpSocket,
    bound: SocketAddr,
}

impl Listener {
    /// Takes over a socket that [`prepare_listening`] has prepared.
    pub(crate) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let bound = socket.local_addr()?;
        Ok(Self { socket: UdpSocket::from_std(socket)?, bound })
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
pub(crate) fn prepare_listening(socket: &std::net::UdpSocket) -> io::Result<SocketAddr> {
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

/// A fresh port on `local`, from which `peer` is answered.
fn fresh(local: IpAddr, peer: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let address = match (local, peer) {
        // A link-local address is one only together with its interface.
        (IpAddr::V6(ip), SocketAddr::V6(peer)) => SocketAddrV6::new(ip, 0, 0, peer.scope_id()).into(),
        _ => SocketAddr::new(local, 0),
    };
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Sends one ERROR from a port of its own; a failure counts as a lost packet.
pub(crate) fn send_error_once(local: IpAddr, peer: SocketAddr, error: &Packet<'_>) {
    if let Ok(socket) = fresh(local, peer) {
        let _lost = socket.send_to(&error.encode(), peer);
    }
}

/// The blksize that still fits the path unfragmented: 32 bytes for IPv4, UDP and TFTP headers (52 for IPv6), as dnsmasq counts.
pub(crate) fn blksize_of_path(local: IpAddr, peer: SocketAddr) -> u16 {
    const ETHERNET: u16 = 1500;
    match peer {
        SocketAddr::V4(_) => ipv4_mtu(local, peer).unwrap_or(ETHERNET).saturating_sub(32),
        SocketAddr::V6(_) => ETHERNET - 52,
    }
}

fn ipv4_mtu(local: IpAddr, peer: SocketAddr) -> Option<u16> {
    // Only a connected socket has a path; the transfer's own stays unconnected, to hear packets of others and answer them.
    let probe = fresh(local, peer).ok()?;
    probe.connect(peer).ok()?;
    let mtu = getsockopt(&probe, IpMtu).ok()?;
    Some(u16::try_from(mtu).unwrap_or(u16::MAX))
}

/// Datagrams taken in one system call.
const MOST_ANSWERS: usize = 4;
/// After the request, only ACK and ERROR come; an ERROR's text may be cut.
const LONGEST_ANSWER: usize = 600;

/// Where datagrams are received.
struct Answers {
    headers: MultiHeaders<SockaddrStorage>,
    buffers: [[u8; LONGEST_ANSWER]; MOST_ANSWERS],
}

impl Answers {
    fn new() -> RefCell<Self> {
        let headers = MultiHeaders::preallocate(MOST_ANSWERS, None);
        RefCell::new(Self { headers, buffers: [[0; LONGEST_ANSWER]; MOST_ANSWERS] })
    }
}

thread_local! {
    // Apart, as the headers remember how long the last address was and have no room for a longer one then.
    static ANSWERS_V4: RefCell<Answers> = Answers::new();
    static ANSWERS_V6: RefCell<Answers> = Answers::new();
}

/// When blocks left.
pub(crate) enum Sent {
    /// In the moment they were due.
    AtOnce,
    /// After the disk or the network had been waited for.
    AfterWaiting,
}

/// The socket of one transfer.
pub(crate) struct TransferSocket {
    socket: AsyncFd<std::net::UdpSocket>,
    peer: SocketAddr,
    peer_storage: SockaddrStorage,
    /// Whether the kernel still takes a window in one call (UDP_SEGMENT).
    segmenting: bool,
}

impl TransferSocket {
    pub(crate) fn open(local: IpAddr, peer: SocketAddr) -> io::Result<Self> {
        // SAFETY: the standard library's socket keeps its one descriptor open for as long as it lives.
        let socket = unsafe { AsyncFd::register(fresh(local, peer)?) }?;
        // A kernel that does not know the option would send the whole window as one datagram.
        let segmenting = getsockopt(socket.get_ref(), UdpGsoSegment).is_ok();
        Ok(Self { socket, peer, peer_storage: peer.into(), segmenting })
    }

    /// Waits for datagrams and hands them over with their senders, in order.
    pub(crate) async fn receive(&self, mut each: impl FnMut(&[u8], SocketAddr)) -> io::Result<()> {
        loop {
            let mut ready = self.socket.readable().await?;
            match self.receive_now(&mut each) {
                // Fewer than there was room for: nothing more is there, which need not be asked again.
                Ok(count) if count < MOST_ANSWERS => ready.clear_ready(),
                Ok(_) => {}
                Err(Errno::EAGAIN) => {
                    ready.clear_ready();
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            return Ok(());
        }
    }

    fn receive_now(&self, each: &mut impl FnMut(&[u8], SocketAddr)) -> nix::Result<usize> {
        let answers = if self.peer.is_ipv4() { &ANSWERS_V4 } else { &ANSWERS_V6 };
        answers.with_borrow_mut(|Answers { headers, buffers }| {
            let mut parts = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
            let fd = self.socket.as_raw_fd();
            let received = recvmmsg(fd, headers, &mut parts, MsgFlags::empty(), None)?;
            let mut count = 0;
            for message in received {
                count += 1;
                let from = message.address.as_ref().and_then(socket_addr);
                if let (Some(datagram), Some(from)) = (message.iovs().next(), from) {
                    each(datagram, from);
                }
            }
            Ok(count)
        })
    }

    /// Sends a packet to the client. A failure counts as a lost packet, which the timers repair or give up on.
    pub(crate) fn send(&self, packet: &Packet<'_>) {
        let _lost = self.socket.get_ref().send_to(&packet.encode(), self.peer);
    }

    /// Tells another that it has no part in this transfer.
    pub(crate) fn send_unknown_tid(&self, stranger: SocketAddr, error: &Packet<'_>) {
        let _lost = self.socket.get_ref().send_to(&error.encode(), stranger);
    }

    /// Sends a run of blocks, as many at a time as the kernel takes.
    ///
    /// # Errors
    /// Only when the file cannot be read; packets that cannot be sent count as lost.
    pub(crate) async fn send_blocks(
        &mut self,
        transfer: &Transfer,
        reader: &mut Reader,
        blocks: Blocks,
    ) -> io::Result<Sent> {
        let end = blocks.first + blocks.count;
        let blksize = transfer.agreed().blksize;
        let mut next = blocks.first;
        let mut full = false;
        let mut all = Sent::AtOnce;
        while next < end {
            let room = if full { Some(self.socket.writable().await?) } else { None };
            let count = Self::most_at_once(blksize).min(end - next);
            let mut headers = [[0; 4]; MOST_PARTS];
            for (header, number) in headers.iter_mut().zip(next..next + count) {
                *header = data_header(transfer.block(number).wire);
            }
            let (first, last) = (transfer.block(next), transfer.block(next + count - 1));
            let stop = last.offset + last.len as u64;
            let sending = reader.look(first.offset, stop, |bytes| {
                // What is not at hand yet follows in another call.
                let whole = bytes.len() as u64 == stop - first.offset;
                let blocks = if whole { count } else { bytes.len() as u64 / u64::from(blksize) };
                let blocks = usize::try_from(blocks).unwrap_or(MOST_PARTS);
                let blocks = blocks.min(MOST_PARTS);
                (self.send_now(headers.get(..blocks).unwrap_or(&headers), bytes, blksize), blocks)
            });
            full = matches!(sending, Some((Err(Errno::EAGAIN), _)));
            if let (true, Some(mut room)) = (full, room) {
                room.clear_ready();
            }
            if full || sending.is_none() {
                all = Sent::AfterWaiting;
            }
            match sending {
                None => reader.load(first.offset).await?,
                Some((Ok(sent), _)) => next += sent as u64,
                Some((Err(Errno::EAGAIN), _)) => {}
                Some((Err(error), tried)) if self.segmenting && tried > 1 && refuses_segments(error) => {
                    self.segmenting = false;
                }
                Some((Err(_), tried)) => next += tried as u64,
            }
        }
        Ok(all)
    }

    /// The kernel splits at most 64 segments and one IP packet's worth of bytes.
    fn most_at_once(blksize: u16) -> u64 {
        (65_000 / (u64::from(blksize) + 4)).clamp(1, MOST_PARTS as u64)
    }

    /// Sends blocks in one call; returns how many went.
    fn send_now(&self, headers: &[[u8; 4]], bytes: &[u8], blksize: u16) -> nix::Result<usize> {
        let fd = self.socket.as_raw_fd();
        let none = MsgFlags::empty();
        if let [header] = headers {
            let parts = [IoSlice::new(header), IoSlice::new(bytes)];
            return sendmsg(fd, &parts, &[], none, Some(&self.peer_storage)).map(|_bytes| 1);
        }
        let mut slices = [IoSlice::new(&[]); 2 * MOST_PARTS];
        let parts = parts(&mut slices, headers, bytes, blksize);
        if self.segmenting {
            let segment = blksize.saturating_add(4);
            let segments = [ControlMessage::UdpGsoSegments(&segment)];
            return sendmsg(fd, parts, &segments, none, Some(&self.peer_storage)).map(|_bytes| headers.len());
        }
        let mut messages = MultiHeaders::preallocate(headers.len(), None);
        let peers = vec![Some(self.peer_storage); headers.len()];
        let parts: Vec<&[IoSlice<'_>]> = parts.chunks(2).collect();
        Ok(sendmmsg(fd, &mut messages, &parts, peers, [], none)?.count())
    }
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
    use std::time::Duration;

    #[tokio::test]
    async fn a_window_leaves_as_the_same_packets_with_and_without_the_kernels_splitting() {
        let content: Vec<u8> = (0..1428u32 * 60).map(|index| (index / 97) as u8).collect();
        for segmenting in [true, false] {
            let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let mut socket =
                TransferSocket::open(IpAddr::V4(Ipv4Addr::LOCALHOST), client.local_addr().unwrap()).unwrap();
            socket.segmenting &= segmenting;
            let request = ReadRequest::octet("x").with("blksize", 1428).with("windowsize", 64);
            let len = content.len() as u64;
            let (mut transfer, _) = Transfer::start(&request, len, &Limits::default(), Duration::ZERO);
            let step = transfer.on_packet(&Packet::Ack(0), Duration::ZERO);
            let Step::SendBlocks(blocks) = step else { panic!("{step:?}") };
            assert_eq!(blocks, Blocks { first: 1, count: 61 }, "60 full blocks and an empty one");
            let mut reader = Reader::new(Content::from(content.clone()), 1428, &Reads::at_most(1));
            socket.send_blocks(&transfer, &mut reader, blocks).await.unwrap();
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
