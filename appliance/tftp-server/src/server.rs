//! The server: takes requests from its listening sockets and keeps the sessions, each a task of its own.
//!
//! One task owns the table of sessions, so there is no lock. What a stranger can fill is bounded: requests that wait, sessions,
//! sessions of one host.

use crate::content::Source;
use crate::listener::{LONGEST_REQUEST, Listener, prepare_listening};
use crate::observer::{Observer, Refusal};
use crate::options::Limits;
use crate::packet::{ErrorCode, Packet, ReadRequest};
use crate::reader::Reads;
use crate::session::{Activity, Command, Session};
use crate::socket::send_error_once;
use crate::transfer::Outcome;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::{Id, JoinSet};
use tokio::time::{sleep, timeout};

/// Requests that wait for the session table; more are dropped, and their clients ask again.
const WAITING_REQUESTS: usize = 128;
/// A client silent for this long may lose its session to another request.
const SILENT: Duration = Duration::from_secs(1);
/// A copy of a request this soon after something else of the client is the network's or the client's impatience, not a new beginning:
/// nobody begins anew and answers the old transfer.
const LATE_COPY: Duration = Duration::from_secs(1);

/// How a server is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Limits of each transfer, where [`crate::Opened::limits`] has none.
    pub limits: Limits,
    /// Most sessions at once.
    pub max_sessions: usize,
    /// Most sessions at once of one client address.
    pub max_sessions_per_host: usize,
    /// Most blocking threads that read files at once; transfers of what is in the page cache need none.
    pub reading_threads: usize,
    /// How long running transfers may go on after the stop.
    pub stop_grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            max_sessions: 64,
            max_sessions_per_host: 2,
            reading_threads: 8,
            stop_grace: Duration::from_secs(3),
        }
    }
}

/// Why a server cannot run.
#[derive(Debug, Error)]
pub enum ServerError {
    /// A listening socket could not be set up.
    #[error("cannot set up a TFTP listening socket")]
    Listen(#[source] io::Error),
}

/// A read-only TFTP server.
#[derive(Debug)]
pub struct Server<S, O> {
    sockets: Vec<std::net::UdpSocket>,
    addresses: Vec<SocketAddr>,
    source: Arc<S>,
    observer: Arc<O>,
    settings: Settings,
}

impl<S: Source, O: Observer> Server<S, O> {
    /// A server that listens on these bound UDP sockets. A socket may be bound to the wildcard address: answers come from the
    /// address that the client asked.
    ///
    /// # Errors
    /// [`ServerError::Listen`] if a socket is not of use.
    pub fn new(
        sockets: Vec<std::net::UdpSocket>,
        source: S,
        observer: O,
        settings: Settings,
    ) -> Result<Self, ServerError> {
        let addresses = sockets.iter().map(prepare_listening).collect::<io::Result<_>>();
        let addresses = addresses.map_err(ServerError::Listen)?;
        Ok(Self { sockets, addresses, source: Arc::new(source), observer: Arc::new(observer), settings })
    }

    /// Where the server listens.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until `shutdown` is ready; then takes no more requests, lets transfers go on for [`Settings::stop_grace`] and ends
    /// what is left.
    ///
    /// # Errors
    /// [`ServerError::Listen`] if a socket cannot be registered with the runtime; nothing later ends the server.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        let (requests, mut arriving) = mpsc::channel(WAITING_REQUESTS);
        let mut listening = JoinSet::new();
        for socket in self.sockets {
            let listener = Listener::new(socket).map_err(ServerError::Listen)?;
            listening.spawn(listen(listener, requests.clone()));
        }
        let mut sessions = Sessions {
            source: self.source,
            observer: self.observer,
            reads: Reads::at_most(self.settings.reading_threads),
            settings: self.settings,
            table: HashMap::new(),
            tasks: JoinSet::new(),
            next_id: 1,
        };
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                // Sessions that have ended make room before the next request asks for it.
                biased;
                () = &mut shutdown => break,
                Some(ended) = sessions.tasks.join_next_with_id() => sessions.forget(match ended {
                    Ok((id, ())) => id,
                    // The caller's Source panicked: its session is gone, the others are not concerned.
                    Err(error) => error.id(),
                }),
                Some(request) = arriving.recv() => sessions.on_request(request),
            }
        }
        drop(listening);
        sessions.stop().await;
        Ok(())
    }
}

/// A request that came to a listening socket.
struct Request {
    packet: Packet<'static>,
    peer: SocketAddr,
    local: IpAddr,
}

async fn listen(listener: Listener, requests: mpsc::Sender<Request>) {
    let mut buffer = vec![0; LONGEST_REQUEST];
    loop {
        let arrival = match listener.receive(&mut buffer).await {
            Ok(Some(arrival)) => arrival,
            Ok(None) => continue,
            Err(_) => {
                // Memory is short or the interface is going: nothing says that the next call fares better at once.
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let datagram = buffer.get(..arrival.len).unwrap_or_default();
        let packet = match Packet::decode(datagram) {
            Ok(Packet::Read(request)) => Packet::Read(request),
            Ok(Packet::Write(request)) => Packet::Write(request),
            // Nothing else begins anything, and what is malformed gets silence.
            Ok(Packet::Data { .. } | Packet::Ack(_) | Packet::Error { .. } | Packet::Oack(_)) | Err(_) => continue,
        };
        let _dropped_when_full = requests.try_send(Request { packet, peer: arrival.peer, local: arrival.local });
    }
}

/// A session as the table knows it.
struct Entry {
    request: ReadRequest,
    local: IpAddr,
    activity: Arc<Activity>,
    commands: mpsc::Sender<Command>,
    task: Id,
}

impl Entry {
    fn stop(&self, outcome: Outcome) {
        // A full queue holds repeats only for a moment; a session that cannot be told ends by its own timers.
        let _gone_or_full = self.commands.try_send(Command::Stop(outcome));
    }
}

struct Sessions<S, O> {
    source: Arc<S>,
    observer: Arc<O>,
    reads: Reads,
    settings: Settings,
    table: HashMap<SocketAddr, Entry>,
    tasks: JoinSet<()>,
    next_id: u64,
}

impl<S: Source, O: Observer> Sessions<S, O> {
    fn on_request(&mut self, request: Request) {
        let Request { packet, peer, local } = request;
        if !self.source.admits(peer, local) {
            return;
        }
        match packet {
            Packet::Read(request) => self.on_read(request, peer, local),
            Packet::Write(request) => {
                let error = Packet::error(ErrorCode::ACCESS_VIOLATION, "this server is read-only");
                send_error_once(local, peer, &error);
                self.observer.refused(peer, &request.filename, &Refusal::Write);
            }
            Packet::Data { .. } | Packet::Ack(_) | Packet::Error { .. } | Packet::Oack(_) => {}
        }
    }

    fn on_read(&mut self, request: ReadRequest, peer: SocketAddr, local: IpAddr) {
        if self.belongs_to_a_session(&request, peer, local) {
            return;
        }
        if let Some(old) = self.table.remove(&peer) {
            old.stop(Outcome::Replaced);
        }
        if let Err(refusal) = self.make_room(peer.ip()) {
            self.observer.refused(peer, &request.filename, &refusal);
            return;
        }
        self.begin(request, peer, local);
    }

    /// Whether the request repeats the one of a session that it cannot be meant to begin anew; then the session is told.
    fn belongs_to_a_session(&self, request: &ReadRequest, peer: SocketAddr, local: IpAddr) -> bool {
        let Some(entry) = self.table.get(&peer) else {
            return false;
        };
        let same = entry.request == *request && entry.local == local;
        let late_copy = !entry.activity.heard() || entry.activity.silence() < LATE_COPY;
        same && late_copy && !matches!(entry.commands.try_send(Command::Repeated), Err(TrySendError::Closed(_)))
    }

    /// Ends a session that is most likely abandoned, if there is no room for another.
    ///
    /// Clients that drop a file half read and say nothing must not lock themselves out, nor forged requests everybody.
    fn make_room(&mut self, host: IpAddr) -> Result<(), Refusal> {
        let of_host = |peer: &SocketAddr, _: &Entry| peer.ip() == host;
        if self.table.iter().filter(|(peer, entry)| of_host(peer, entry)).count() >= self.settings.max_sessions_per_host
        {
            self.end_most_silent(of_host).ok_or(Refusal::HostSessionsFull)?;
        }
        if self.table.len() >= self.settings.max_sessions {
            let expendable = |_: &SocketAddr, entry: &Entry| !entry.activity.heard() || entry.activity.lingers();
            self.end_most_silent(expendable).ok_or(Refusal::SessionsFull)?;
        }
        Ok(())
    }

    fn end_most_silent(&mut self, among: impl Fn(&SocketAddr, &Entry) -> bool) -> Option<()> {
        let candidates = self.table.iter().filter(|(peer, entry)| among(peer, entry));
        let silent = candidates.map(|(peer, entry)| (entry.activity.silence(), *peer));
        let (_, peer) = silent.filter(|(silence, _)| *silence >= SILENT).max_by_key(|(silence, _)| *silence)?;
        let entry = self.table.remove(&peer)?;
        let all_sent = entry.activity.heard() && entry.activity.lingers();
        entry.stop(if all_sent { Outcome::Unconfirmed } else { Outcome::TimedOut });
        Some(())
    }

    fn begin(&mut self, request: ReadRequest, peer: SocketAddr, local: IpAddr) {
        let (commands, receiver) = mpsc::channel(4);
        let activity = Arc::new(Activity::new());
        let session = Session {
            id: self.next_id,
            peer,
            local,
            request: request.clone(),
            source: Arc::clone(&self.source),
            observer: Arc::clone(&self.observer),
            limits: self.settings.limits.clone(),
            reads: self.reads.clone(),
            commands: receiver,
            activity: Arc::clone(&activity),
        };
        self.next_id += 1;
        let task = self.tasks.spawn(session.run()).id();
        self.table.insert(peer, Entry { request, local, activity, commands, task });
    }

    fn forget(&mut self, task: Id) {
        self.table.retain(|_, entry| entry.task != task);
    }

    async fn stop(mut self) {
        let grace = self.settings.stop_grace;
        if timeout(grace, all_ended(&mut self.tasks)).await.is_err() {
            for entry in self.table.values() {
                entry.stop(Outcome::Stopped);
            }
            // What does not even end now waits for a disk and is dropped with the set.
            let _stuck = timeout(Duration::from_secs(1), all_ended(&mut self.tasks)).await;
        }
    }
}

async fn all_ended(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}
