//! Addresses that somebody holds or held, and every index over them.

use super::{pool::PoolState, table::Key};
use crate::{host::MacAddr, time::Timestamp};
use std::collections::{BTreeSet, HashMap, hash_map::Entry};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody's; `key` names the last holder, who gets it back while nobody else needs it.
    Free,
    Offered,
    Bound,
    Quarantined,
}

#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) state: State,
    pub(super) key: Option<Key>,
    /// End of the state; for a free slot the moment it became free.
    pub(super) until: Timestamp,
    pub(super) known: bool,
}

impl Slot {
    pub(super) fn held_by(&self, key: &Key) -> bool {
        self.key.as_ref() == Some(key)
    }
}

/// Addresses of one machine; hardly any has two.
#[derive(Debug, Clone)]
enum Addresses {
    One(u32),
    More(Box<[u32]>),
}

impl Addresses {
    fn all(&self) -> &[u32] {
        match self {
            Addresses::One(address) => std::slice::from_ref(address),
            Addresses::More(addresses) => addresses,
        }
    }

    fn add(&mut self, address: u32) {
        *self = Addresses::More(self.all().iter().copied().chain([address]).collect());
    }

    /// Whether any is left.
    fn remove(&mut self, address: u32) -> bool {
        let left: Box<[u32]> = match self {
            Addresses::One(held) => return *held != address,
            Addresses::More(held) => held.iter().copied().filter(|held| *held != address).collect(),
        };
        *self = match *left {
            [] => return false,
            [one] => Addresses::One(one),
            _ => Addresses::More(left),
        };
        true
    }
}

/// The slots of all addresses of one link.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    pub(super) pools: Vec<PoolState>,
    slots: HashMap<u32, Slot>,
    /// Addresses that a machine holds or held, whatever identifiers its programs used.
    by_mac: HashMap<MacAddr, Addresses>,
    timers: BTreeSet<(Timestamp, u32)>,
    /// Offers to machines nobody knows: these give way first.
    strangers: BTreeSet<(Timestamp, u32)>,
}

impl Slots {
    pub(super) fn new(pools: Vec<PoolState>) -> Self {
        Slots {
            pools,
            slots: HashMap::new(),
            by_mac: HashMap::new(),
            timers: BTreeSet::new(),
            strangers: BTreeSet::new(),
        }
    }

    pub(super) fn get(&self, address: u32) -> Option<&Slot> {
        self.slots.get(&address)
    }

    pub(super) fn contains(&self, address: u32) -> bool {
        self.slots.contains_key(&address)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (u32, &Slot)> {
        self.slots.iter().map(|(address, slot)| (*address, slot))
    }

    /// The address that `key` holds or held last.
    pub(super) fn of(&self, key: &Key) -> Option<u32> {
        self.of_machine(key.mac).find(|(_, slot)| slot.held_by(key)).map(|(address, _)| address)
    }

    /// What a machine holds or held.
    pub(super) fn of_machine(&self, mac: MacAddr) -> impl Iterator<Item = (u32, &Slot)> {
        let addresses = self.by_mac.get(&mac).map(Addresses::all).unwrap_or_default();
        addresses.iter().filter_map(|address| Some((*address, self.get(*address)?)))
    }

    /// Open offers to machines nobody knows, the oldest first.
    pub(super) fn strangers(&self) -> impl Iterator<Item = u32> {
        self.strangers.iter().map(|(_, address)| *address)
    }

    /// Ends what has run out. Each entry is touched once in its life.
    pub(super) fn expire(&mut self, now: Timestamp) {
        while let Some((until, address)) = self.timers.first().copied().filter(|(until, _)| *until <= now) {
            let key = self.get(address).and_then(|slot| slot.key.clone());
            self.enter(address, State::Free, key, until, false);
        }
    }

    /// The one place where a slot changes; keeps every index in step.
    pub(super) fn enter(&mut self, address: u32, state: State, key: Option<Key>, until: Timestamp, known: bool) {
        self.leave(address);
        // A client holds one address under one identifier.
        if let Some(before) = key.as_ref().and_then(|key| self.of(key)) {
            self.leave(before);
            self.settle(before, Slot { state: State::Free, key: None, until, known: false });
        }
        self.settle(address, Slot { state, key, until, known });
    }

    fn settle(&mut self, address: u32, slot: Slot) {
        let pool = self.pools.iter_mut().find(|pool| pool.contains(address));
        match slot.state {
            State::Free => {
                // Outside every pool nobody remembers a free address.
                let Some(pool) = pool else { return };
                pool.freed.insert((slot.until, address));
            }
            State::Offered | State::Bound | State::Quarantined => {
                if let Some(pool) = pool {
                    pool.taken += 1;
                }
                self.timers.insert((slot.until, address));
            }
        }
        if slot.state == State::Offered && !slot.known {
            self.strangers.insert((slot.until, address));
        }
        if let Some(key) = &slot.key {
            self.by_mac.entry(key.mac).and_modify(|held| held.add(address)).or_insert(Addresses::One(address));
        }
        self.slots.insert(address, slot);
    }

    /// Takes a slot out of every index.
    fn leave(&mut self, address: u32) {
        let Some(slot) = self.slots.remove(&address) else { return };
        let pool = self.pools.iter_mut().find(|pool| pool.contains(address));
        match slot.state {
            State::Free => {
                if let Some(pool) = pool {
                    pool.freed.remove(&(slot.until, address));
                }
            }
            State::Offered | State::Bound | State::Quarantined => {
                if let Some(pool) = pool {
                    pool.taken = pool.taken.saturating_sub(1);
                }
                self.timers.remove(&(slot.until, address));
                self.strangers.remove(&(slot.until, address));
            }
        }
        let Some(key) = slot.key else { return };
        if let Entry::Occupied(mut held) = self.by_mac.entry(key.mac)
            && !held.get_mut().remove(address)
        {
            held.remove();
        }
    }
}
