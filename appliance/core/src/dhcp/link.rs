//! What the shell knows about the link a packet came from and about the host that sent it.

use super::{
    stage::Stage,
    wire::{MessageKind, Port, Request},
};
use crate::{
    host::{FirstLoader, Strategy},
    option::DhcpOption,
    text::HostName,
};
use std::{net::Ipv4Addr, slice, time::Duration};

/// One IPv4 subnet we may serve: the link's own, or one behind a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    pub network: Ipv4Addr,
    pub prefix: u8,
    /// First and last address to give out; none: proxy answers only.
    pub pool: Option<(Ipv4Addr, Ipv4Addr)>,
    /// One router: GRUB takes option 3 only with exactly four bytes.
    pub router: Option<Ipv4Addr>,
    pub dns: Vec<Ipv4Addr>,
    pub domain: Option<String>,
    pub ntp: Vec<Ipv4Addr>,
    /// How long an address is given here in server mode; the link's time if none.
    pub lease: Option<Duration>,
    /// BOOTP clients without a reservation get an address too, for good, as they never ask again.
    pub dynamic_bootp: bool,
    /// Sent to every client of the subnet that wants them.
    pub options: Vec<DhcpOption>,
}

impl Subnet {
    /// The mask of the prefix.
    #[must_use]
    pub fn mask(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0))
    }

    /// The address all machines of the subnet listen to.
    #[must_use]
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network) | !u32::from(self.mask()))
    }

    /// Whether `address` lies in it.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let mask = u32::from(self.mask());
        u32::from(address) & mask == u32::from(self.network) & mask
    }
}

/// How long leases last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTimes {
    /// Short, so that a box in the wrong socket leaves no trace.
    pub pxe_only: Duration,
    pub server: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        LeaseTimes { pxe_only: Duration::from_secs(600), server: Duration::from_secs(12 * 3600) }
    }
}

/// Servers of the box's own that answer at this moment: who has no others set is led to them, and to none that is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Services {
    /// Host names, on port 53 (RFC 1035).
    pub names: bool,
    /// The time of day, on port 123 (RFC 4330).
    pub time: bool,
}

/// The link a packet came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Ours: server identifier, TFTP server and host of every URL.
    pub address: Ipv4Addr,
    /// Where boot files and scripts are served by HTTP.
    pub http_port: u16,
    pub stage: Stage,
    /// Answers unknown REQUESTs with NAK in server mode; off by default.
    pub authoritative: bool,
    pub times: LeaseTimes,
    /// The link's own subnet.
    pub subnet: Subnet,
    /// Subnets behind relays.
    pub relayed: Vec<Subnet>,
    /// What the box offers itself as, where the settings name nobody.
    pub services: Services,
}

impl Link {
    /// The name servers that clients of `subnet` are told: those that were set, else the box while it answers.
    #[must_use]
    pub fn name_servers<'a>(&'a self, subnet: &'a Subnet) -> &'a [Ipv4Addr] {
        self.servers(&subnet.dns, self.services.names)
    }

    /// The time servers that clients of `subnet` are told, likewise.
    #[must_use]
    pub fn time_servers<'a>(&'a self, subnet: &'a Subnet) -> &'a [Ipv4Addr] {
        self.servers(&subnet.ntp, self.services.time)
    }

    fn servers<'a>(&'a self, set: &'a [Ipv4Addr], answers: bool) -> &'a [Ipv4Addr] {
        if set.is_empty() && answers { slice::from_ref(&self.address) } else { set }
    }

    /// The subnet a request belongs to: what the relay says (82.5, 118, giaddr), else the link's own.
    ///
    /// A renewal comes straight from the client, without its relay: there `ciaddr` says it (RFC 2131 4.3.2).
    #[must_use]
    pub fn subnet_of(&self, request: &Request) -> Option<&Subnet> {
        let given = |address: Ipv4Addr| (!address.is_unspecified()).then_some(address);
        let holding = |address: Ipv4Addr| self.relayed.iter().find(|subnet| subnet.contains(address));
        match request.subnet.or(given(request.giaddr)) {
            None => Some(given(request.ciaddr).and_then(holding).unwrap_or(&self.subnet)),
            Some(address) if self.subnet.contains(address) => Some(&self.subnet),
            Some(address) => holding(address),
        }
    }

    /// The other server that option 54 names; a relay may stand as the server in our place (RFC 5107).
    #[must_use]
    pub fn other_server(&self, request: &Request) -> Option<Ipv4Addr> {
        request.server_id.filter(|server| *server != self.address && Some(*server) != request.server_override)
    }

    /// Whether the answer may be a new lease.
    #[must_use]
    pub fn may_promise(&self, request: &Request) -> bool {
        let asks = matches!(request.kind, MessageKind::Discover | MessageKind::Request | MessageKind::Bootp);
        request.port == Port::Dhcp && asks && self.other_server(request).is_none()
    }

    /// `http://ADDRESS[:PORT]` + `path`; port 80 is not named.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        match self.http_port {
            80 => format!("http://{}{path}", self.address),
            port => format!("http://{}:{port}{path}", self.address),
        }
    }
}

/// What the box knows about the machine with the request's MAC or UUID; the default is: nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostView {
    /// There is a host with this MAC or UUID.
    pub known: bool,
    /// A person wrote it down before it was seen.
    pub enrolled: bool,
    /// Its policy is to get no answer.
    pub ignore: bool,
    pub loader: FirstLoader,
    pub strategy: Strategy,
    pub name: Option<HostName>,
    /// Its fixed address.
    pub reservation: Option<Ipv4Addr>,
    /// Sent to it whatever it wants; before those of its subnet.
    pub options: Vec<DhcpOption>,
    /// It asked for a boot file of ours a short while ago: what starts now is what we booted.
    pub booted_recently: bool,
    /// An Install runs on it.
    pub install_running: bool,
}
