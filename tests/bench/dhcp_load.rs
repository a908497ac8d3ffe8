//! Clients that ask for addresses, as many at once as wished: one thread, one packet socket, many frames per system call,
//! so that the load does not decide the rate of a fast server.

use anyhow::{Context, Result};
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, sendmmsg};
use std::collections::HashMap;
use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use system_tests::Netns;
use system_tests::pxe::client::new_xid;
use system_tests::pxe::link::{BROADCAST_MAC, Datagram, Link, frame};
use system_tests::pxe::machine::{Kind, Machine};
use system_tests::pxe::message::{Message, kind, option};

/// When an unanswered question is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// Frames taken or sent in one call.
const BATCH: usize = 64;
/// Longer than any answer.
const LONGEST: usize = 1536;
/// Where the DHCP message begins in a frame of ours and of any server here (no IP options).
const PAYLOAD: usize = 14 + 20 + 8;
/// Where its options begin, behind the cookie.
const OPTIONS: usize = PAYLOAD + 240;

/// What the clients got.
pub struct Exchanges {
    pub done: usize,
    pub took: Duration,
    /// Questions that had to be repeated.
    pub again: usize,
    /// CPU time of the clients.
    pub load: Duration,
}

/// A client that waits for an answer.
struct Waiting {
    machine: Machine,
    frame: Vec<u8>,
    sent: Instant,
    requests: bool,
}

/// Where clients ask.
pub struct Load {
    socket: OwnedFd,
}

impl Load {
    /// Opens the interface.
    ///
    /// # Errors
    /// When there is no such interface in the namespace.
    pub fn open(ns: &Netns, interface: &str) -> Result<Self> {
        let link = Link::open(ns, interface)?;
        let socket: OwnedFd = link.into();
        let wait = Some(Duration::from_millis(20));
        rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Recv, wait)?;
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 8 << 20)?;
        Ok(Self { socket })
    }

    /// Waits until the server offers an address.
    ///
    /// # Errors
    /// After a minute.
    pub fn ask_until_answered(&self) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(60);
        let question = [question(&new_machine(), kind::DISCOVER, new_xid(), None, |_| {})];
        while Instant::now() < until {
            self.send(&question)?;
            let mut offered = false;
            self.receive(&mut vec![[0; LONGEST]; BATCH], |answer| {
                offered |= Answer::read(answer).is_some_and(|answer| answer.kind == kind::OFFER);
                Ok(())
            })?;
            if offered {
                return Ok(());
            }
        }
        anyhow::bail!("no offer within a minute")
    }

    /// DISCOVER to ACK for `count` machines never seen before, `at_once` in flight, until `time` is over; through the relay
    /// with the address `relay`, if one is named.
    ///
    /// # Errors
    /// When the interface is gone.
    pub fn exchanges(
        &self,
        count: usize,
        at_once: usize,
        time: Duration,
        relay: Option<Ipv4Addr>,
    ) -> Result<Exchanges> {
        let mut waiting: HashMap<u32, Waiting> = HashMap::new();
        let (mut begun, mut done, mut again) = (0, 0, 0);
        let (start, cpu) = (Instant::now(), own_cpu());
        let mut looked_at = start;
        let mut room = vec![[0; LONGEST]; BATCH];
        let mut questions = Vec::new();
        while done < count && start.elapsed() < time {
            let now = Instant::now();
            while begun < count && waiting.len() < at_once {
                let (machine, xid) = (new_machine(), new_xid());
                let frame = question(&machine, kind::DISCOVER, xid, relay, |_| {});
                questions.push(frame.clone());
                waiting.insert(xid, Waiting { machine, frame, sent: now, requests: false });
                begun += 1;
            }
            self.send(&questions)?;
            questions.clear();
            self.receive(&mut room, |frame| {
                let Some(answer) = Answer::read(frame) else { return Ok(()) };
                let Some(client) = waiting.get_mut(&answer.xid) else { return Ok(()) };
                match (answer.kind, client.requests) {
                    (kind::OFFER, false) => {
                        client.frame = question(&client.machine, kind::REQUEST, answer.xid, relay, |request| {
                            request.set(option::REQUESTED_ADDRESS, &answer.address);
                            request.set(option::SERVER_ID, &answer.server);
                        });
                        (client.sent, client.requests) = (now, true);
                        questions.push(client.frame.clone());
                    }
                    (kind::ACK, true) => {
                        waiting.remove(&answer.xid);
                        done += 1;
                    }
                    // Two clients were offered one address, as dnsmasq does: the later one begins again.
                    (kind::NAK, true) => {
                        client.frame = question(&client.machine, kind::DISCOVER, answer.xid, relay, |_| {});
                        (client.sent, client.requests) = (now, false);
                        questions.push(client.frame.clone());
                        again += 1;
                    }
                    _ => {}
                }
                Ok(())
            })?;
            if now.duration_since(looked_at) > AGAIN / 10 {
                looked_at = now;
                for client in waiting.values_mut().filter(|client| now.duration_since(client.sent) > AGAIN) {
                    questions.push(client.frame.clone());
                    client.sent = now;
                    again += 1;
                }
            }
        }
        Ok(Exchanges { done, took: start.elapsed(), again, load: own_cpu().saturating_sub(cpu) })
    }

    fn send(&self, frames: &[Vec<u8>]) -> Result<()> {
        for frames in frames.chunks(BATCH) {
            let parts: Vec<_> = frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
            let nobody: Vec<Option<()>> = vec![None; parts.len()];
            let mut headers = MultiHeaders::preallocate(parts.len(), None);
            let none = MsgFlags::empty();
            sendmmsg(self.socket.as_raw_fd(), &mut headers, &parts, nobody, [], none).context("send frames")?;
        }
        Ok(())
    }

    /// Waits a little for frames, and takes those that are there.
    fn receive(&self, room: &mut [[u8; LONGEST]], mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let lengths: Vec<usize> = {
            let mut headers = MultiHeaders::<()>::preallocate(room.len(), None);
            let mut parts: Vec<_> = room.iter_mut().map(|room| [IoSliceMut::new(room)]).collect();
            let one = MsgFlags::MSG_WAITFORONE;
            match recvmmsg(self.socket.as_raw_fd(), &mut headers, parts.iter_mut(), one, None) {
                Ok(received) => received.map(|frame| frame.bytes).collect(),
                Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => Vec::new(),
                Err(error) => return Err(error).context("receive frames"),
            }
        };
        for (room, length) in room.iter().zip(lengths) {
            take(room.get(..length).unwrap_or(room))?;
        }
        Ok(())
    }
}

/// What a client reads of an answer.
struct Answer {
    xid: u32,
    kind: u8,
    address: [u8; 4],
    server: [u8; 4],
}

impl Answer {
    /// `None`: no answer of a DHCP server.
    fn read(frame: &[u8]) -> Option<Self> {
        let at = |from: usize| frame.get(from..from + 4).and_then(|four| <[u8; 4]>::try_from(four).ok());
        // IPv4 without options, UDP, from a server's port, a BOOTREPLY.
        let from_server =
            frame.get(14) == Some(&0x45) && frame.get(23) == Some(&17) && frame.get(34..36) == Some(&[0, 67]);
        if !from_server || frame.get(PAYLOAD) != Some(&2) {
            return None;
        }
        let mut answer =
            Answer { xid: u32::from_be_bytes(at(PAYLOAD + 4)?), kind: 0, address: at(PAYLOAD + 16)?, server: [0; 4] };
        let mut rest = frame.get(OPTIONS..)?;
        while let [code, length, after @ ..] = rest {
            let (value, after) = after.split_at_checked(usize::from(*length))?;
            match *code {
                option::MESSAGE_TYPE => answer.kind = *value.first()?,
                option::SERVER_ID => answer.server = value.try_into().ok()?,
                255 => break,
                _ => {}
            }
            rest = after;
        }
        Some(answer)
    }
}

/// A client's broadcast, or what a relay made of it.
fn question(
    machine: &Machine,
    kind: u8,
    xid: u32,
    relay: Option<Ipv4Addr>,
    change: impl FnOnce(&mut Message),
) -> Vec<u8> {
    let mut message = machine.message(kind, xid);
    message.broadcast = true;
    message.giaddr = relay.unwrap_or(Ipv4Addr::UNSPECIFIED);
    change(&mut message);
    let from = relay.map_or(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68), |relay| SocketAddrV4::new(relay, 67));
    frame(&Datagram {
        from_mac: message.mac,
        to_mac: BROADCAST_MAC,
        from,
        to: SocketAddrV4::new(Ipv4Addr::BROADCAST, 67),
        payload: message.encode(),
    })
}

/// A machine never seen before; it sends no name, lest all of them had the same.
pub fn new_machine() -> Machine {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    Machine::new(NEXT.fetch_add(1, Ordering::Relaxed), Kind::Plain).with(option::HOST_NAME, b"")
}

/// CPU time of this thread.
fn own_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
