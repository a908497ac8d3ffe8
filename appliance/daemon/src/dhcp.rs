//! The DHCP shell: one thread that owns the leases, the sockets on 67, 68 and 4011, and the LAN-safety ladder.
//!
//! What it answers is decided in `rackberry_core::dhcp`; here bytes move. A lease is durable before its ACK leaves;
//! everything else leaves at once, whatever the disk does.

mod checks;
mod gate;
mod lookout;
mod outbox;
mod shell;
mod writer;

use crate::{
    health::Health,
    net::{LinkFacts, PacketSocket, SocketError, sockets},
};
use rackberry_core::{
    dhcp::{
        Change, HostView, LeaseRow, Link, LinkId, Mode, Note, Pool, ProbeTimes, Request, Services, Stage,
        ladder::ForeignServer,
    },
    time::Timestamp,
};
use std::{net::UdpSocket, pin::Pin, time::Duration};
use tokio::sync::{mpsc, oneshot, watch};

/// Why changes could not be made durable.
pub type RecordError = Box<dyn std::error::Error + Send + Sync>;
/// A running write.
pub type Recording = Pin<Box<dyn Future<Output = Result<(), RecordError>> + Send>>;

/// Looks up the sender of a packet.
pub type HostLookup = Box<dyn Fn(&Request, Timestamp) -> HostView + Send>;

/// The rest of the daemon, as seen from here.
pub struct Ports {
    /// Makes lease changes durable; one call runs at a time and may carry many changes.
    pub record: Box<dyn Fn(Vec<Change>) -> Recording + Send>,
    /// What is known about the sender; must not block: it runs for every packet.
    pub host_view: HostLookup,
    /// The box's clock.
    pub now: Box<dyn Fn() -> Timestamp + Send>,
    /// Keeps the ladder's verdict for this link.
    pub keep_verdict: Box<dyn Fn(LinkId, Stage) + Send>,
    /// For timelines; a full channel loses notes, never packets.
    pub notes: mpsc::Sender<Note>,
    /// What people must hear of.
    pub alerts: mpsc::Sender<Alert>,
    pub status: watch::Sender<Status>,
    pub commands: mpsc::Receiver<Command>,
    /// Ticked by the loop.
    pub health: Health,
    /// Becomes true, or closes, when the shell shall end.
    pub stop: watch::Receiver<bool>,
}

/// Where and how to serve.
#[derive(Debug, Clone)]
pub struct Setup {
    pub facts: LinkFacts,
    /// Its stage is set by the ladder.
    pub link: Link,
    pub pools: Vec<Pool>,
    /// Addresses kept for certain hosts.
    pub reserved: Vec<std::net::Ipv4Addr>,
    /// Rows from disk.
    pub leases: Vec<LeaseRow>,
    pub mode: Mode,
    pub times: ProbeTimes,
    /// The stored verdict for this link.
    pub remembered: Option<Stage>,
    /// Seed for probe addresses and jitter.
    pub random: u64,
    /// How long an address is probed before its first offer; zero: not at all.
    pub conflict_wait: Duration,
    /// How long a look for other servers goes unanswered before a new lease is promised in `auto` and `pxe-only`.
    pub look_wait: Duration,
}

/// What people must hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alert {
    /// Somebody else serves DHCP on this link.
    Foreign(ForeignServer),
    /// The box serves differently from now on.
    Stage { from: Stage, to: Stage },
    /// Leases could not be written; DHCP goes on from memory.
    NotDurable(String),
}

/// For the page and the display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub mode: Mode,
    pub stage: Stage,
    pub link: LinkId,
    /// Other servers heard in the last round of probes.
    pub foreign: Vec<ForeignServer>,
}

/// What others may ask of the shell.
#[derive(Debug)]
pub enum Command {
    /// The addresses kept for certain hosts changed.
    Reserve(Vec<std::net::Ipv4Addr>),
    /// Which of the box's own servers answer.
    Services(Services),
    /// All running leases.
    Leases(oneshot::Sender<Vec<LeaseRow>>),
}

/// The shell's sockets. They are open on all interfaces, and opened before anybody knows which one is served.
#[derive(Debug)]
pub struct Sockets {
    /// The DHCP port, 67.
    pub dhcp: UdpSocket,
    /// The boot server port, 4011.
    pub boot_server: UdpSocket,
    /// The client port, 68, shared.
    pub client: UdpSocket,
    /// Without it no address is probed before its first offer, and machines without an address are answered by broadcast.
    pub packet: Option<PacketSocket>,
}

impl Sockets {
    /// Opens them all; takes root, or CAP_NET_BIND_SERVICE and CAP_NET_RAW.
    ///
    /// # Errors
    /// [`SocketError`].
    pub fn open(dhcp: u16, boot_server: u16) -> Result<Self, SocketError> {
        Ok(Sockets {
            dhcp: sockets::udp(dhcp)?,
            boot_server: sockets::udp(boot_server)?,
            client: sockets::shared_udp(68)?,
            packet: PacketSocket::open().ok(),
        })
    }

    /// The same sockets once more.
    ///
    /// # Errors
    /// Out of file descriptors.
    pub fn try_clone(&self) -> std::io::Result<Self> {
        Ok(Sockets {
            dhcp: self.dhcp.try_clone()?,
            boot_server: self.boot_server.try_clone()?,
            client: self.client.try_clone()?,
            packet: self.packet.as_ref().map(PacketSocket::try_clone).transpose()?,
        })
    }
}

/// Why the shell ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum DhcpError {
    #[error("start the DHCP thread")]
    Start(#[source] std::io::Error),
    #[error("wait for DHCP packets on {device}")]
    Wait {
        device: String,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Netlink(#[from] crate::net::NetlinkError),
    #[error("{device} has no longer its address {address}")]
    AddressLost { device: String, address: std::net::Ipv4Addr },
}

/// Runs the shell on a thread and a runtime of its own, so that nothing else can hold up an answer.
///
/// # Errors
/// [`DhcpError::Start`]; the thread's own end is in the handle.
pub fn spawn(
    sockets: Sockets,
    setup: Setup,
    ports: Ports,
) -> Result<std::thread::JoinHandle<Result<(), DhcpError>>, DhcpError> {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(DhcpError::Start)?;
        runtime.block_on(shell::run(sockets, setup, ports))
    };
    std::thread::Builder::new().name("dhcp".to_owned()).spawn(run).map_err(DhcpError::Start)
}
