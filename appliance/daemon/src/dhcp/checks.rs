//! Conflict probes: an address is offered for the first time only if nobody answers ARP there.
//!
//! One client waits for that; all other packets go on. Without a packet socket nobody is asked.

use crate::net::LinkPackets;
use rackberry_core::{
    dhcp::{Outcome, Request, Stage},
    host::MacAddr,
    time::Timestamp,
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::Ipv4Addr,
    time::Duration,
};

/// Offers held back at a time; those beyond are not made, and their clients ask again.
const MOST_HELD: usize = 4096;
/// A free address found silent is not asked again for this long.
const TRUST: Duration = Duration::from_secs(600);
const MOST_TRUSTED: usize = 65_536;

/// An offer that waits for the probe of its address.
#[derive(Debug)]
pub(super) struct Held {
    pub address: Ipv4Addr,
    pub request: Request,
    pub outcome: Outcome,
    /// What the box did on the link when it was decided.
    pub stage: Stage,
    until: Timestamp,
    /// Another machine has the address.
    taken: bool,
}

#[derive(Debug)]
pub(super) struct Checks {
    wait: Duration,
    /// The next one due first: all wait equally long.
    held: VecDeque<Held>,
    waiting: HashSet<MacAddr>,
    silent: HashMap<Ipv4Addr, Timestamp>,
}

impl Checks {
    pub(super) fn new(wait: Duration) -> Self {
        Checks { wait, held: VecDeque::new(), waiting: HashSet::new(), silent: HashMap::new() }
    }

    /// Whether an offer to this machine waits already: its repeated DISCOVER needs no second one.
    pub(super) fn holds(&self, mac: MacAddr) -> bool {
        self.waiting.contains(&mac)
    }

    /// Holds the outcome back until its address was probed; gives it back if there is nothing to probe.
    pub(super) fn hold(
        &mut self,
        packets: Option<&LinkPackets>,
        request: Request,
        outcome: Outcome,
        stage: Stage,
        now: Timestamp,
    ) -> Option<(Request, Outcome)> {
        // Behind a relay nobody can be asked by ARP.
        let address = outcome.probe.filter(|_| !self.wait.is_zero() && request.giaddr.is_unspecified());
        let Some(address) = address else { return Some((request, outcome)) };
        if self.silent.get(&address).is_some_and(|at| now.since(*at) < TRUST) {
            return Some((request, outcome));
        }
        let Some(packets) = packets else { return Some((request, outcome)) };
        if self.held.len() >= MOST_HELD {
            return None;
        }
        if let Err(error) = packets.ask(address) {
            tracing::debug!(%address, "conflict probe: {error}");
            return Some((request, outcome));
        }
        self.waiting.insert(request.mac);
        self.held.push_back(Held { address, request, outcome, stage, until: now.after(self.wait), taken: false });
        None
    }

    /// Whether a probe is over.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.wakeup().is_some_and(|first| first <= now)
    }

    /// When the next probe ends.
    pub(super) fn wakeup(&self) -> Option<Timestamp> {
        self.held.front().map(|held| held.until)
    }

    /// Somebody told by ARP who has an address.
    pub(super) fn heard(&mut self, address: Ipv4Addr, mac: MacAddr) {
        for held in &mut self.held {
            // A client that still has the address from before may have it again.
            held.taken |= held.address == address && held.request.mac != mac;
        }
    }

    /// Probes that are over, each with whether somebody else answers at the address.
    pub(super) fn due(&mut self, now: Timestamp) -> Vec<(Held, bool)> {
        let over = self.held.iter().take_while(|held| held.until <= now).count();
        let over: Vec<Held> = self.held.drain(..over).collect();
        over.into_iter()
            .map(|held| {
                self.waiting.remove(&held.request.mac);
                if !held.taken {
                    if self.silent.len() >= MOST_TRUSTED {
                        self.silent.clear();
                    }
                    self.silent.insert(held.address, now);
                }
                let taken = held.taken;
                (held, taken)
            })
            .collect()
    }
}
