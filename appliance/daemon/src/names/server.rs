//! The sockets: questions by UDP and TCP, each answered at once or by its own task.

use super::{
    Book, Uplink,
    cache::Cache,
    question::{Decision, decide},
    uplink::{self, read, write},
    wire::{self, Asked, LONGEST},
};
use crate::net::{AskedSocket, Audience, Crowd};
use hickory_proto::op::Message;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::timeout,
};

/// Questions to others at a time.
const WAITING: usize = 256;
/// Of these, from one address.
const WAITING_OF_ONE: usize = 64;
/// Connections at a time.
const CONNECTIONS: usize = 64;
/// Of these, from one address.
const CONNECTIONS_OF_ONE: usize = 8;
/// A connection that is silent for so long ends (RFC 7766 section 6.2.3).
const IDLE: Duration = Duration::from_secs(10);
/// Questions by one connection.
const MOST_BY_TCP: usize = 100;
/// Between two looks at who the uplink's servers are.
const AGAIN: Duration = Duration::from_secs(5);
/// After a connection that could not be taken.
const PAUSE: Duration = Duration::from_secs(1);

/// Both sockets, on all interfaces.
#[derive(Debug)]
pub struct Sockets {
    pub udp: std::net::UdpSocket,
    pub tcp: std::net::TcpListener,
}

impl Sockets {
    /// The same sockets once more.
    ///
    /// # Errors
    /// Out of file descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Sockets { udp: self.udp.try_clone()?, tcp: self.tcp.try_clone()? })
    }
}

/// Why names are not served.
#[derive(Debug, thiserror::Error)]
#[error("take the sockets for names into use")]
pub struct ServerError(#[from] io::Error);

/// What tasks share.
struct Desk {
    book: Book,
    servers: watch::Receiver<Vec<SocketAddrV4>>,
    /// Held for a look, never while something is waited for.
    cache: Mutex<Cache>,
    forwarding: Semaphore,
}

/// Names on one address, not yet served.
pub struct Server {
    udp: AskedSocket,
    tcp: TcpListener,
    address: Ipv4Addr,
    desk: Arc<Desk>,
    audience: Audience,
    uplink: Uplink,
    found: watch::Sender<Vec<SocketAddrV4>>,
}

impl Server {
    /// Takes the sockets into use for what is sent to `address` by those whom `audience` lets in.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn new(
        sockets: Sockets,
        address: Ipv4Addr,
        book: Book,
        uplink: Uplink,
        audience: Audience,
    ) -> Result<Self, ServerError> {
        sockets.tcp.set_nonblocking(true)?;
        let (found, servers) = watch::channel(uplink.servers().await);
        let desk = Desk { book, servers, cache: Mutex::default(), forwarding: Semaphore::new(WAITING) };
        Ok(Server {
            udp: AskedSocket::new(sockets.udp, address)?,
            tcp: TcpListener::from_std(sockets.tcp)?,
            address,
            desk: Arc::new(desk),
            audience,
            uplink,
            found,
        })
    }

    /// Serves until told to stop.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let Server { udp, tcp, address, desk, audience, uplink, found } = self;
        let look = async {
            loop {
                tokio::time::sleep(AGAIN).await;
                let servers = uplink.servers().await;
                found.send_if_modified(|known| {
                    let other = *known != servers;
                    *known = servers;
                    other
                });
            }
        };
        tokio::select! {
            () = datagrams(udp, &desk, &audience) => {}
            () = connections(tcp, address, &desk, &audience) => {}
            () = look => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
}

impl Desk {
    fn decide(&self, bytes: &[u8]) -> Decision {
        decide(bytes, &self.book, !self.servers.borrow().is_empty())
    }

    fn kept(&self, asked: &Asked) -> Option<Message> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(asked, Instant::now())
    }

    /// The answer of who knows; that nobody does, if too much is asked already.
    async fn forward(&self, asked: &Asked) -> Message {
        let Ok(_place) = self.forwarding.try_acquire() else { return asked.answer(None) };
        let servers = self.servers.borrow().clone();
        let Some((found, length)) = uplink::ask(&servers, asked).await else { return asked.answer(None) };
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).put(asked, &found, length, Instant::now());
        asked.answer(Some(found))
    }
}

async fn datagrams(udp: AskedSocket, desk: &Arc<Desk>, audience: &Audience) {
    let (udp, mut crowd, mut buffer) = (Arc::new(udp), Crowd::default(), [0; 4096]);
    loop {
        let (length, from) = tokio::select! {
            received = udp.receive(&mut buffer) => match received {
                Ok(received) => received,
                Err(error) => {
                    tracing::debug!("take a question: {error}");
                    continue;
                }
            },
            () = crowd.ended() => continue,
        };
        if !audience(*from.ip()) {
            continue;
        }
        let answer = |message: &Message, limit| {
            if let Some(bytes) = wire::bytes(message, limit) {
                udp.answer(&bytes, from);
            }
        };
        match desk.decide(buffer.get(..length).unwrap_or_default()) {
            Decision::Silence => {}
            Decision::Answer(message) => answer(&message, LONGEST),
            Decision::Forward(asked) => match desk.kept(&asked) {
                Some(found) => answer(&asked.answer(Some(found)), asked.limit()),
                None => {
                    let (desk, by) = (desk.clone(), udp.clone());
                    let (task, refused) = (asked.clone(), asked.answer(None));
                    let started = crowd.start(*from.ip(), WAITING_OF_ONE, async move {
                        let message = desk.forward(&task).await;
                        if let Some(bytes) = wire::bytes(&message, task.limit()) {
                            by.answer(&bytes, from);
                        }
                    });
                    if !started {
                        answer(&refused, asked.limit());
                    }
                }
            },
        }
    }
}

async fn connections(tcp: TcpListener, address: Ipv4Addr, desk: &Arc<Desk>, audience: &Audience) {
    let mut crowd = Crowd::default();
    loop {
        let (stream, from) = tokio::select! {
            taken = tcp.accept(), if crowd.len() < CONNECTIONS => match taken {
                Ok(taken) => taken,
                Err(error) => {
                    tracing::debug!("take a connection: {error}");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
            () = crowd.ended() => continue,
        };
        let IpAddr::V4(by) = from.ip().to_canonical() else { continue };
        let here = stream.local_addr().is_ok_and(|own: SocketAddr| own.ip().to_canonical() == IpAddr::V4(address));
        if here && audience(by) {
            let desk = desk.clone();
            crowd.start(by, CONNECTIONS_OF_ONE, async move {
                if let Err(error) = converse(stream, &desk).await {
                    tracing::trace!(%from, "names by TCP: {error}");
                }
            });
        }
    }
}

async fn converse(mut stream: TcpStream, desk: &Desk) -> io::Result<()> {
    for _ in 0..MOST_BY_TCP {
        let bytes = timeout(IDLE, read(&mut stream)).await??;
        let message = match desk.decide(&bytes) {
            Decision::Silence => return Ok(()),
            Decision::Answer(message) => *message,
            Decision::Forward(asked) => match desk.kept(&asked) {
                Some(found) => asked.answer(Some(found)),
                None => desk.forward(&asked).await,
            },
        };
        let Some(bytes) = wire::bytes(&message, u16::MAX) else { return Ok(()) };
        timeout(IDLE, write(&mut stream, &bytes)).await??;
    }
    Ok(())
}
