//! Where installers send their logs: UDP (RFC 5426) as debian-installer does, TCP (RFC 6587) as anaconda does.
//!
//! A line belongs to the host at its sender's address; lines of others are dropped. They are telemetry: shown with the host, in
//! memory alone, and of a host that sends too many some are left out. Only the stage that a line tells of is kept, and only of a host
//! whose installer runs: it is an event as if the installer had reported it.
//!
//! | module | one sentence |
//! |---|---|
//! | `frames` | messages in a stream |
//! | `message` | who says what in a message |
//! | `stages` | which stage of an install a line tells of |

mod frames;
pub mod message;
pub mod stages;

use crate::{
    inventory::{ApplyError, Inventory, Snapshot, Telemetry, TransactError},
    net::{AskedSocket, Crowd},
};
use rackberry_core::{
    event::{Actor, EventKind},
    id::{HostId, InstallId},
    install::STAGE_LIMIT,
    text::CleanText,
};
use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

/// Lines of one host in one [`WINDOW`]; an installer prints some hundred in its busiest seconds.
const LINES: u32 = 2000;
const WINDOW: Duration = Duration::from_secs(10);
/// Lines in one message.
const LINES_OF_ONE: usize = 64;
/// Connections at a time.
const CONNECTIONS: usize = 256;
/// Of these, from one address.
const CONNECTIONS_OF_ONE: usize = 4;
/// A connection that is silent for so long ends: a machine that was switched off says no goodbye.
const IDLE: Duration = Duration::from_secs(3600);
/// After a connection that could not be taken.
const PAUSE: Duration = Duration::from_secs(1);

/// Both sockets, on all interfaces.
#[derive(Debug)]
pub struct Sockets {
    pub udp: std::net::UdpSocket,
    pub tcp: std::net::TcpListener,
}

/// Takes lines in that are sent to `address`, until told to stop.
///
/// # Errors
/// When the sockets cannot be taken into use.
pub fn serve(
    sockets: &Sockets,
    address: Ipv4Addr,
    inventory: Inventory,
    mut stop: watch::Receiver<bool>,
) -> io::Result<impl Future<Output = ()> + Send + use<>> {
    let tcp = sockets.tcp.try_clone()?;
    tcp.set_nonblocking(true)?;
    let (udp, tcp) = (AskedSocket::new(sockets.udp.try_clone()?, address)?, TcpListener::from_std(tcp)?);
    let desk = Arc::new(Desk { inventory, gate: Mutex::new(Gate { began: Instant::now(), counts: HashMap::new() }) });
    Ok(async move {
        tokio::select! {
            () = datagrams(udp, &desk) => {}
            () = connections(tcp, address, &desk) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    })
}

struct Desk {
    inventory: Inventory,
    /// Held for a look, never while something is waited for.
    gate: Mutex<Gate>,
}

impl Desk {
    async fn take(&self, from: Ipv4Addr, bytes: &[u8]) {
        let Some(host) = self.inventory.snapshot().host_at(from.into()) else { return };
        for stage in self.log(host, bytes) {
            self.reached(from, host, stage).await;
        }
    }

    /// Shows the lines with their host; the stages that they tell of.
    fn log(&self, host: HostId, bytes: &[u8]) -> Vec<&'static str> {
        let text = String::from_utf8_lossy(bytes);
        let lines = text.split('\n').filter(|line| !line.trim().is_empty()).take(LINES_OF_ONE);
        let (mut taken, mut stages) = (Vec::new(), Vec::new());
        for line in lines {
            let message = message::read(line);
            match self.gate.lock().unwrap_or_else(PoisonError::into_inner).admit(host, Instant::now()) {
                Entry::Taken => {
                    taken.push(shown(&message));
                    stages.extend(stages::stage(&message));
                }
                Entry::Last => taken.push(CleanText::new("... lines are left out: too many at once")),
                Entry::LeftOut => {}
            }
        }
        if !taken.is_empty() {
            self.inventory.telemetry(Telemetry::Log { host, lines: taken });
        }
        stages
    }

    /// Writes down where the host's installer is, if that is news.
    async fn reached(&self, from: Ipv4Addr, host: HostId, stage: &'static str) {
        let Some(install) = told_by(&self.inventory.snapshot(), host, stage) else { return };
        let written = self.inventory.transact(move |tx| {
            // The address may be another machine's by now.
            if tx.host_at(from.into()) != Some(host) {
                return Ok(());
            }
            let kind = EventKind::InstallerStage { stage: stage.into(), detail: CleanText::default() };
            tx.apply(install, Actor::Host, kind).map(drop)
        });
        match written.await {
            // It ended between the look and the writing.
            Ok(()) | Err(TransactError::Failed(ApplyError::Rejected { .. })) => {}
            Err(error) => {
                let error = crate::chain(&error);
                tracing::warn!(%host, stage, error, "what an installer's log tells could not be written down");
            }
        }
    }
}

/// The install whose installer runs on this host and was not at this stage.
fn told_by(snapshot: &Snapshot, host: HostId, stage: &str) -> Option<InstallId> {
    let install = snapshot.host(host)?.active_install()?;
    let state = &install.state;
    let news = state.installs_now() && state.stage.as_str() != stage && state.stages < STAGE_LIMIT;
    news.then_some(install.id)
}

fn shown(message: &message::Message<'_>) -> CleanText {
    match message.program {
        "" => CleanText::new(message.text),
        program => CleanText::new(&format!("{program}: {}", message.text)),
    }
}

/// How many lines each host sent.
struct Gate {
    began: Instant,
    /// As many as there are hosts.
    counts: HashMap<HostId, u32>,
}

#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Taken,
    Last,
    LeftOut,
}

impl Gate {
    fn admit(&mut self, host: HostId, now: Instant) -> Entry {
        if now.saturating_duration_since(self.began) >= WINDOW {
            self.began = now;
            self.counts.clear();
        }
        let count = self.counts.entry(host).or_default();
        *count = count.saturating_add(1);
        match *count {
            ..=LINES => Entry::Taken,
            count if count == LINES + 1 => Entry::Last,
            _ => Entry::LeftOut,
        }
    }
}

async fn datagrams(udp: AskedSocket, desk: &Desk) {
    let mut buffer = [0; frames::LONGEST];
    loop {
        match udp.receive(&mut buffer).await {
            Ok((length, from)) => desk.take(*from.ip(), buffer.get(..length).unwrap_or_default()).await,
            Err(error) => tracing::debug!("take a log line: {error}"),
        }
    }
}

async fn connections(tcp: TcpListener, address: Ipv4Addr, desk: &Arc<Desk>) {
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
        let known = desk.inventory.snapshot().host_at(by.into()).is_some();
        if here && known {
            let desk = desk.clone();
            crowd.start(by, CONNECTIONS_OF_ONE, async move {
                if let Err(error) = listen(stream, by, &desk).await {
                    tracing::trace!(%from, "log lines by TCP: {error}");
                }
            });
        }
    }
}

async fn listen(mut stream: TcpStream, from: Ipv4Addr, desk: &Desk) -> io::Result<()> {
    let (mut waiting, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let length = timeout(IDLE, stream.read(&mut buffer)).await??;
        waiting.extend_from_slice(buffer.get(..length).unwrap_or_default());
        for message in frames::take(&mut waiting) {
            desk.take(from, &message).await;
        }
        if length == 0 {
            desk.take(from, &waiting).await;
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_sends_too_much_is_cut_off_alone_and_for_a_while() {
        let start = Instant::now();
        let (loud, calm) = (HostId(uuid::Uuid::from_u128(1)), HostId(uuid::Uuid::from_u128(2)));
        let mut gate = Gate { began: start, counts: HashMap::new() };
        let entries: Vec<Entry> = (0..5000).map(|_| gate.admit(loud, start)).collect();
        assert_eq!(entries.iter().filter(|entry| **entry == Entry::Taken).count(), 2000);
        assert_eq!(entries.iter().filter(|entry| **entry == Entry::Last).count(), 1);
        assert_eq!(gate.admit(calm, start), Entry::Taken);
        assert_eq!(gate.admit(loud, start + WINDOW), Entry::Taken);
    }
}
