//! Many TFTP clients in one thread: windows by RFC 7440, datagrams taken in batches (UDP_GRO), so that the load costs less than
//! any server.

use anyhow::{Context, Result, bail, ensure};
use nix::cmsg_space;
use nix::sys::socket::sockopt::UdpGroSegment;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use rustix::event::{Timespec, epoll};
use std::io::{self, IoSliceMut, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// The file that the servers serve.
pub const FILE: &str = "load.bin";

/// A client asks again after this silence, as boot firmware does.
const AGAIN: Duration = Duration::from_secs(1);
/// A client that got nothing new for so long has lost its server.
const LOST: Duration = Duration::from_secs(20);

/// What the clients ask for, all at once and again and again.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// The server.
    pub server: SocketAddrV4,
    /// Clients at once.
    pub clients: usize,
    /// Bytes per block.
    pub blksize: u16,
    /// Blocks per acknowledgement.
    pub window: u16,
    /// The file's length.
    pub len: u64,
    /// No file is begun after this time.
    pub time: Duration,
}

/// What they got.
#[derive(Clone, Copy, Debug)]
pub struct Got {
    /// Bytes of whole files.
    pub bytes: u64,
    /// From the first request to the last acknowledgement.
    pub took: Duration,
}

/// Writes the file: each 8 bytes tell their place.
///
/// # Errors
/// When the file cannot be written.
pub fn write_file(folder: &Path, len: u64) -> Result<()> {
    let mut file = io::BufWriter::new(std::fs::File::create(folder.join(FILE))?);
    for at in (0..len).step_by(8) {
        file.write_all(&mark(at))?;
    }
    file.flush().context("write the file to serve")
}

fn mark(at: u64) -> [u8; 8] {
    (at / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
}

/// Runs all clients to their end. `address` is the one they share; each has its own port.
///
/// # Errors
/// When a file does not come, or comes with other bytes.
pub fn run(address: Ipv4Addr, work: &Work, mut now_and_then: impl FnMut()) -> Result<Got> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut clients = (0..work.clients).map(|_| Client::new(address, work)).collect::<Result<Vec<_>>>()?;
    for (number, client) in clients.iter().enumerate() {
        epoll::add(&poll, &client.socket, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)?;
    }
    let begun = Instant::now();
    for client in &mut clients {
        client.ask()?;
    }
    let mut buffer = vec![0; 65_536];
    let mut events = Vec::with_capacity(work.clients);
    let mut running = clients.len();
    let mut looked_at = begun;
    while running > 0 {
        let wait = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&wait))?;
        for event in &events {
            let number = usize::try_from(event.data.u64())?;
            let client = clients.get_mut(number).context("an event of no client")?;
            if client.on_readable(&mut buffer)? {
                if begun.elapsed() < work.time {
                    epoll::delete(&poll, &client.socket)?;
                    *client = Client { bytes: client.bytes, ..Client::new(address, work)? };
                    let data = epoll::EventData::new_u64(number as u64);
                    epoll::add(&poll, &client.socket, data, epoll::EventFlags::IN)?;
                    client.ask()?;
                } else {
                    client.done = true;
                    running -= 1;
                }
            }
        }
        if looked_at.elapsed() >= Duration::from_millis(100) {
            looked_at = Instant::now();
            clients.iter_mut().filter(|client| !client.done).try_for_each(Client::on_time)?;
            now_and_then();
        }
    }
    Ok(Got { bytes: clients.iter().map(|client| client.bytes).sum(), took: begun.elapsed() })
}

/// One client with one transfer.
struct Client {
    socket: UdpSocket,
    server: SocketAddrV4,
    session: Option<SocketAddr>,
    request: Vec<u8>,
    blksize: usize,
    wanted: u16,
    granted: u16,
    len: u64,
    /// Blocks held, without roll-over.
    held: u64,
    since_ack: u16,
    /// The gap has been told; telling it once more would have the window sent twice.
    gap_told: bool,
    heard_at: Instant,
    progress_at: Instant,
    /// Of all whole files so far.
    bytes: u64,
    done: bool,
}

impl Client {
    fn new(address: Ipv4Addr, work: &Work) -> Result<Self> {
        let socket = UdpSocket::bind((address, 0))?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, UdpGroSegment, &true).context("UDP_GRO")?;
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 1 << 20)?;
        let mut request = format!("\0\u{1}{FILE}\0octet\0blksize\0{}\0", work.blksize).into_bytes();
        if work.window > 1 {
            request.extend_from_slice(format!("windowsize\0{}\0", work.window).as_bytes());
        }
        let now = Instant::now();
        Ok(Self {
            socket,
            server: work.server,
            session: None,
            request,
            blksize: usize::from(work.blksize),
            wanted: work.window,
            granted: 1,
            len: work.len,
            held: 0,
            since_ack: 0,
            gap_told: false,
            heard_at: now,
            progress_at: now,
            bytes: 0,
            done: false,
        })
    }

    fn ask(&mut self) -> Result<()> {
        self.socket.send_to(&self.request, self.server).map(drop).context("ask")
    }

    fn ack(&mut self) -> Result<()> {
        self.since_ack = 0;
        let [.., high, low] = self.held.to_be_bytes();
        let to = self.session.context("nobody to acknowledge to")?;
        self.socket.send_to(&[0, 4, high, low], to).map(drop).context("acknowledge")
    }

    /// Asks again after silence.
    fn on_time(&mut self) -> Result<()> {
        if self.progress_at.elapsed() > LOST {
            bail!("nothing new for {LOST:?} after {} blocks", self.held);
        }
        if self.heard_at.elapsed() < AGAIN {
            return Ok(());
        }
        self.heard_at = Instant::now();
        self.gap_told = false;
        if self.session.is_some() { self.ack() } else { self.ask() }
    }

    /// Takes what came; true when the file is whole.
    fn on_readable(&mut self, buffer: &mut [u8]) -> Result<bool> {
        let mut control = cmsg_space!(i32);
        let (len, segment, from) = {
            let mut parts = [IoSliceMut::new(buffer)];
            let fd = self.socket.as_raw_fd();
            let message = match recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut control), MsgFlags::empty()) {
                Ok(message) => message,
                Err(nix::errno::Errno::EAGAIN) => return Ok(false),
                Err(error) => return Err(error).context("receive"),
            };
            let segment = message.cmsgs()?.find_map(|control| match control {
                ControlMessageOwned::UdpGroSegments(size) => usize::try_from(size).ok(),
                _ => None,
            });
            let from = message.address.as_ref().and_then(SockaddrStorage::as_sockaddr_in);
            (message.bytes, segment, from.map(|from| SocketAddrV4::from(*from)))
        };
        let from = SocketAddr::V4(from.context("a datagram of nobody")?);
        if self.session.is_some_and(|session| session != from) {
            return Ok(false);
        }
        self.session = Some(from);
        self.heard_at = Instant::now();
        let received = buffer.get(..len).unwrap_or_default();
        for datagram in received.chunks(segment.unwrap_or(len).max(1)) {
            if self.on_datagram(datagram)? {
                self.bytes += self.len;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn on_datagram(&mut self, datagram: &[u8]) -> Result<bool> {
        match datagram {
            [0, 3, high, low, data @ ..] => self.on_block(u16::from_be_bytes([*high, *low]), data),
            [0, 6, options @ ..] => {
                if self.held == 0 {
                    self.accept(options)?;
                    self.ack()?;
                }
                Ok(false)
            }
            [0, 5, _, code, text @ ..] => bail!("TFTP error {code}: {}", String::from_utf8_lossy(text)),
            other => bail!("{} bytes that are no answer", other.len()),
        }
    }

    fn accept(&mut self, options: &[u8]) -> Result<()> {
        let words: Vec<&[u8]> = options.split(|byte| *byte == 0).collect();
        for pair in words.chunks_exact(2) {
            let [name, value] = pair else { continue };
            let value: u16 = String::from_utf8_lossy(value).parse().context("an option's value")?;
            match name.to_ascii_lowercase().as_slice() {
                b"blksize" => ensure!(usize::from(value) == self.blksize, "blksize {value} was granted"),
                b"windowsize" => self.granted = value,
                _ => {}
            }
        }
        // Without its window the work is another row's.
        ensure!(self.granted == self.wanted, "a window of {} was granted", self.granted);
        Ok(())
    }

    fn on_block(&mut self, number: u16, data: &[u8]) -> Result<bool> {
        let [.., high, low] = self.held.to_be_bytes();
        let held = u16::from_be_bytes([high, low]);
        if number == held {
            // The acknowledgement of what is held was lost, or this is a copy; once more is enough for either.
            if self.held > 0 && self.since_ack == 0 {
                self.ack()?;
            }
            return Ok(false);
        }
        if number != held.wrapping_add(1) {
            if number.wrapping_sub(held) < 0x8000 && !self.gap_told {
                self.gap_told = true;
                self.ack()?;
            }
            return Ok(false);
        }
        let at = self.held * self.blksize as u64;
        let expected = usize::try_from((self.len - at).min(self.blksize as u64))?;
        ensure!(data.len() == expected, "a block of {} bytes at {at}, not {expected}", data.len());
        // Blocks begin at multiples of four, so every other one begins with a mark.
        if at.is_multiple_of(8) && expected >= 8 {
            ensure!(data.starts_with(&mark(at)), "other bytes at {at}");
        }
        self.held += 1;
        self.since_ack += 1;
        self.gap_told = false;
        self.progress_at = self.heard_at;
        let whole = data.len() < self.blksize;
        if whole || self.since_ack >= self.granted {
            self.ack()?;
        }
        Ok(whole)
    }
}
