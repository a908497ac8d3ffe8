//! Conflict probes: an address is offered for the first time only if nobody answers ARP there.
//!
//! The kernel does the asking: its memory of the address is cleared and a datagram to the discard port sent, which
//! makes it resolve the address. One client waits for that; all other packets go on.

use crate::net::Netlink;
use rackberry_core::{
    dhcp::{Outcome, Request, Stage},
    host::MacAddr,
    time::Timestamp,
};
use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    time::Duration,
};

/// Offers held back at a time; more go out unprobed, as a rack of clients is worth more than the doubt.
const MOST_HELD: usize = 256;
/// A free address found silent is not asked again for this long.
const TRUST: Duration = Duration::from_secs(600);
const MOST_TRUSTED: usize = 65_536;
/// RFC 863.
const DISCARD: u16 = 9;

/// An offer that waits for the probe of its address.
#[derive(Debug)]
pub(super) struct Held {
    pub address: Ipv4Addr,
    pub request: Request,
    pub outcome: Outcome,
    /// What the box did on the link when it was decided.
    pub stage: Stage,
    until: Timestamp,
}

#[derive(Debug)]
pub(super) struct Checks {
    socket: UdpSocket,
    device: u32,
    wait: Duration,
    held: Vec<Held>,
    silent: HashMap<Ipv4Addr, Timestamp>,
}

impl Checks {
    pub(super) fn new(socket: UdpSocket, device: u32, wait: Duration) -> Self {
        Checks { socket, device, wait, held: Vec::new(), silent: HashMap::new() }
    }

    /// Whether an offer to this machine waits already: its repeated DISCOVER needs no second one.
    pub(super) fn holds(&self, mac: MacAddr) -> bool {
        self.held.iter().any(|held| held.request.mac == mac)
    }

    /// Holds the outcome back until its address was probed; gives it back if there is nothing to probe.
    pub(super) fn hold(
        &mut self,
        netlink: &mut Netlink,
        request: Request,
        outcome: Outcome,
        stage: Stage,
        now: Timestamp,
    ) -> Option<(Request, Outcome)> {
        // Behind a relay nobody can be asked by ARP.
        let address = outcome.probe.filter(|_| !self.wait.is_zero() && request.giaddr.is_unspecified());
        let Some(address) = address.filter(|_| self.held.len() < MOST_HELD) else { return Some((request, outcome)) };
        if self.silent.get(&address).is_some_and(|at| now.since(*at) < TRUST) {
            return Some((request, outcome));
        }
        let asked = netlink
            .forget_neighbour(self.device, address)
            .map_err(|error| tracing::debug!(%address, "conflict probe: {error}"))
            .and_then(|()| {
                self.socket
                    .send_to(&[], SocketAddrV4::new(address, DISCARD))
                    .map_err(|error| tracing::debug!(%address, "conflict probe: {error}"))
            });
        if asked.is_err() {
            return Some((request, outcome));
        }
        self.held.push(Held { address, request, outcome, stage, until: now.after(self.wait) });
        None
    }

    /// Whether a probe is over.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.wakeup().is_some_and(|first| first <= now)
    }

    /// When the next probe ends.
    pub(super) fn wakeup(&self) -> Option<Timestamp> {
        self.held.iter().map(|held| held.until).min()
    }

    /// Probes that are over, each with whether somebody else answers at the address.
    pub(super) fn due(&mut self, netlink: &mut Netlink, now: Timestamp) -> Vec<(Held, bool)> {
        let (over, waiting) = std::mem::take(&mut self.held).into_iter().partition(|held| held.until <= now);
        self.held = waiting;
        let over: Vec<Held> = over;
        over.into_iter()
            .map(|held| {
                let answered = match netlink.neighbour(self.device, held.address) {
                    Ok(found) => found.is_some_and(|entry| entry.mac != held.request.mac),
                    Err(error) => {
                        tracing::debug!(address = %held.address, "conflict probe: {error}");
                        false
                    }
                };
                if !answered {
                    if self.silent.len() >= MOST_TRUSTED {
                        self.silent.clear();
                    }
                    self.silent.insert(held.address, now);
                }
                (held, answered)
            })
            .collect()
    }
}
