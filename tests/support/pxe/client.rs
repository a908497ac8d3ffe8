//! The exchanges of a booting machine with its servers.

use super::link::{BROADCAST_MAC, Datagram, Link};
use super::machine::Machine;
use super::message::{Message, kind, option};
use super::{tftp, web};
use crate::netns::Netns;
use anyhow::{Context, Result, bail};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// An answer, with where it came from and how it was addressed.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The message.
    pub message: Message,
    /// The datagram that carried it (its payload taken out).
    pub envelope: Datagram,
}

/// A client on one interface that plays as many machines as a test names.
pub struct PxeClient<'a> {
    ns: &'a Netns,
    interface: String,
    link: Link,
}

static NEXT_XID: AtomicU32 = AtomicU32::new(0x7261_0001);

/// A transaction number that no other exchange of this process has.
#[must_use]
pub fn new_xid() -> u32 {
    NEXT_XID.fetch_add(1, Ordering::Relaxed)
}

impl<'a> PxeClient<'a> {
    /// A client on this interface of the namespace (up, without an address of its own).
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn new(ns: &'a Netns, interface: &str) -> Result<Self> {
        Ok(Self { ns, interface: interface.into(), link: Link::open(ns, interface)? })
    }

    /// The interface's frames, for packets that no well-behaved client sends.
    #[must_use]
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Broadcasts a message to port 67 from a machine without an address.
    ///
    /// # Errors
    /// When the interface is down.
    pub fn broadcast(&self, message: &Message) -> Result<()> {
        self.send(message, BROADCAST_MAC, SocketAddrV4::new(Ipv4Addr::BROADCAST, 67))
    }

    /// Sends a message from its `ciaddr`, port 68, to any card and address.
    ///
    /// # Errors
    /// When the interface is down.
    pub fn send(&self, message: &Message, to_mac: [u8; 6], to: SocketAddrV4) -> Result<()> {
        let from = SocketAddrV4::new(message.ciaddr, 68);
        self.link.send(&Datagram { from_mac: message.mac, to_mac, from, to, payload: message.encode() })
    }

    /// All answers to this exchange and card that arrive at port 68 within `window`.
    ///
    /// # Errors
    /// When an answer is not well-formed: a server must not send such.
    pub fn answers(&self, xid: u32, mac: [u8; 6], window: Duration) -> Result<Vec<Answer>> {
        let until = Instant::now() + window;
        let mut answers = Vec::new();
        while let Some(answer) = self.next_answer(xid, mac, until)? {
            answers.push(answer);
        }
        Ok(answers)
    }

    /// The first answer to this exchange and card; `None` at the time-out.
    ///
    /// # Errors
    /// As [`PxeClient::answers`].
    pub fn answer(&self, xid: u32, mac: [u8; 6], window: Duration) -> Result<Option<Answer>> {
        self.next_answer(xid, mac, Instant::now() + window)
    }

    fn next_answer(&self, xid: u32, mac: [u8; 6], until: Instant) -> Result<Option<Answer>> {
        while let Some(mut envelope) = self.link.receive(until)? {
            if envelope.to.port() != 68 || !(envelope.to_mac == mac || envelope.to_mac == BROADCAST_MAC) {
                continue;
            }
            let payload = std::mem::take(&mut envelope.payload);
            // Others' answers are for them to judge.
            if payload.get(4..8) != Some(&xid.to_be_bytes()[..]) || payload.get(28..34) != Some(&mac[..]) {
                continue;
            }
            let message = Message::decode(&payload).with_context(|| format!("read the answer of {}", envelope.from))?;
            if message.op == 2 && message.xid == xid && message.mac == mac {
                return Ok(Some(Answer { message, envelope }));
            }
        }
        Ok(None)
    }

    /// DISCOVER, without waiting for an answer.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub fn ask(&self, machine: &Machine) -> Result<()> {
        self.broadcast(&machine.message(kind::DISCOVER, new_xid()))
    }

    /// Every server's answer on the link within `window`, whichever machine it is for: one that is late counts too.
    ///
    /// # Errors
    /// As [`PxeClient::answers`].
    pub fn overhear(&self, window: Duration) -> Result<Vec<Message>> {
        let until = Instant::now() + window;
        let mut heard = Vec::new();
        while let Some(envelope) = self.link.receive(until)? {
            if envelope.to.port() == 68 {
                let message = Message::decode(&envelope.payload);
                heard.push(message.with_context(|| format!("read the answer of {}", envelope.from))?);
            }
        }
        heard.retain(|message| message.op == 2);
        Ok(heard)
    }

    /// DISCOVER; all answers within `window` (proxies answer beside the server).
    ///
    /// # Errors
    /// As [`PxeClient::answers`].
    pub fn discover(&self, machine: &Machine, window: Duration) -> Result<Vec<Answer>> {
        let message = machine.message(kind::DISCOVER, new_xid());
        self.broadcast(&message)?;
        self.answers(message.xid, machine.mac, window)
    }

    /// DISCOVER; the first answer that offers an address, asked for again each second as firmware does.
    ///
    /// # Errors
    /// When none comes within `timeout`.
    pub fn offer(&self, machine: &Machine, timeout: Duration) -> Result<Answer> {
        let until = Instant::now() + timeout;
        let mut message = machine.message(kind::DISCOVER, new_xid());
        while Instant::now() < until {
            self.broadcast(&message)?;
            let again = until.min(Instant::now() + Duration::from_secs(1));
            while let Some(answer) = self.next_answer(message.xid, machine.mac, again)? {
                if answer.message.message_type() == kind::OFFER && !answer.message.yiaddr.is_unspecified() {
                    return Ok(answer);
                }
            }
            message.secs = message.secs.saturating_add(1);
        }
        bail!("no address was offered to {} within {timeout:?}", machine.mac_text())
    }

    /// REQUEST of an offered address, in the offer's own exchange; the ACK or NAK.
    ///
    /// # Errors
    /// When no answer comes within 5 s.
    pub fn request(&self, machine: &Machine, offer: &Message) -> Result<Answer> {
        let mut message = machine.message(kind::REQUEST, offer.xid);
        message.set(option::REQUESTED_ADDRESS, &offer.yiaddr.octets());
        message.set(option::SERVER_ID, offer.get(option::SERVER_ID).unwrap_or_default());
        for _ in 0..5 {
            self.broadcast(&message)?;
            let until = Instant::now() + Duration::from_secs(1);
            while let Some(answer) = self.next_answer(message.xid, machine.mac, until)? {
                if matches!(answer.message.message_type(), kind::ACK | kind::NAK) {
                    return Ok(answer);
                }
            }
        }
        bail!("no answer to the REQUEST of {} for {}", machine.mac_text(), offer.yiaddr)
    }

    /// DISCOVER and REQUEST; the ACK.
    ///
    /// # Errors
    /// When no address is offered within `timeout` or the request is refused.
    pub fn lease(&self, machine: &Machine, timeout: Duration) -> Result<Message> {
        let offer = self.offer(machine, timeout)?.message;
        let answer = self.request(machine, &offer)?.message;
        if answer.message_type() != kind::ACK {
            bail!("the server refused {} to {}", offer.yiaddr, machine.mac_text());
        }
        Ok(answer)
    }

    /// Gives a lease back.
    ///
    /// # Errors
    /// When the interface is down.
    pub fn release(&self, machine: &Machine, lease: &Message, server_mac: [u8; 6]) -> Result<()> {
        let mut message = machine.message(kind::RELEASE, new_xid());
        message.ciaddr = lease.yiaddr;
        let server = lease.address(option::SERVER_ID).context("the lease names no server")?;
        message.set(option::SERVER_ID, &server.octets());
        self.send(&message, server_mac, SocketAddrV4::new(server, 67))
    }

    /// Becomes a host of the network: the interface takes the machine's card address and the leased one, so that
    /// [`PxeClient::boot_server`], [`PxeClient::tftp`] and [`PxeClient::http`] speak as that machine.
    ///
    /// # Errors
    /// When the interface refuses.
    pub fn settle(&self, machine: &Machine, lease: &Message) -> Result<()> {
        let mask = lease.number(option::SUBNET_MASK).unwrap_or(0xffff_ff00).count_ones();
        let interface = &self.interface;
        self.ns.ip(&format!("address flush dev {interface}"))?;
        self.ns.ip(&format!("link set dev {interface} address {}", machine.mac_text()))?;
        self.ns.up(interface, Some(&format!("{}/{mask}", lease.yiaddr)))
    }

    /// Asks the boot server on port 4011 (PXE 2.1 section 2.2.3) from the settled address; its ACK.
    ///
    /// # Errors
    /// When no answer comes within 5 s.
    pub fn boot_server(&self, machine: &Machine, own: Ipv4Addr, server: Ipv4Addr) -> Result<Message> {
        let mut message = machine.message(kind::REQUEST, new_xid());
        message.ciaddr = own;
        message.broadcast = false;
        self.ns.enter(|| {
            let socket = bound(&self.interface, 68)?;
            socket.set_read_timeout(Some(Duration::from_secs(1)))?;
            let mut buffer = [0u8; 2048];
            for _ in 0..5 {
                socket.send_to(&message.encode(), (server, 4011))?;
                let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let answer = Message::decode(buffer.get(..length).unwrap_or_default())
                    .with_context(|| format!("read the answer of {from}"))?;
                if answer.xid == message.xid && answer.op == 2 {
                    return Ok(answer);
                }
            }
            bail!("no answer from {server} port 4011")
        })
    }

    /// Fetches a file by TFTP from the settled address.
    ///
    /// # Errors
    /// When the server refuses (its words are in the error) or falls silent.
    pub fn tftp(&self, server: Ipv4Addr, path: &str, options: &tftp::Options) -> Result<tftp::Fetched> {
        self.ns.enter(|| tftp::fetch(bound(&self.interface, 0)?, SocketAddrV4::new(server, 69), path, options))
    }

    /// One HTTP request on port 80 or another, from the settled address.
    ///
    /// # Errors
    /// When no complete answer comes; any status is an answer.
    pub fn http(&self, method: &str, server: SocketAddrV4, path: &str) -> Result<web::Reply> {
        self.ns.enter(|| web::Connection::open(server)?.request(method, path, &[]))
    }

    /// Runs work in the client's namespace: other programs' sockets, kept-alive connections.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.ns.enter(work)
    }
}

fn bound(interface: &str, port: u16) -> Result<std::net::UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind_device(Some(interface.as_bytes())).with_context(|| format!("use {interface}"))?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into()).with_context(|| format!("open port {port}"))?;
    Ok(socket.into())
}
