//! Who holds which address. In memory; what must survive a restart leaves as [`Change`]s.
//!
//! Every operation costs the same at 100 and at 60,000 leases: two hash look-ups and a few steps in ordered sets.

pub use super::pool::Pool;
use super::{client::Kind, exchanges::Exchanges, pool::PoolState, wire::Request};
use crate::{host::MacAddr, time::Timestamp};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::Ipv4Addr,
    time::Duration,
};

/// An OFFER keeps its address this long, in memory only.
const OFFER_HOLD: Duration = Duration::from_secs(30);
/// An address that a client declined, or that answered a probe, stays out of use this long (RFC 2131 3.1.5).
const QUARANTINE: Duration = Duration::from_secs(600);

/// Who asks for an address.
///
/// The MAC stands in the key beside option 61, so that machines installed from one image, which may share an
/// identifier, never share an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub mac: MacAddr,
    client_id: Option<Vec<u8>>,
}

impl Key {
    /// `01` + MAC says no more than the MAC, and type 0 is a PXE ROM's UUID (PXE 2.1 2.2.1): both count as none, so
    /// that ROM, iPXE and RAM OS of one machine keep one address.
    #[must_use]
    pub fn new(mac: MacAddr, client_id: Option<&[u8]>) -> Self {
        let MacAddr(raw) = mac;
        let telling = client_id.filter(|id| match id {
            [1, rest @ ..] => rest != raw,
            [0, ..] => false,
            _ => true,
        });
        Key { mac, client_id: telling.map(<[u8]>::to_vec) }
    }
}

/// A lease as it is kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRow {
    pub address: Ipv4Addr,
    pub mac: MacAddr,
    /// Option 61 where it says more than the MAC.
    pub client_id: Option<Vec<u8>>,
    pub expires: Timestamp,
}

/// What must be on disk before the answer leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// This address belongs to this client; replaces the row of the same address.
    Put(LeaseRow),
    /// Nobody holds this address.
    Remove(Ipv4Addr),
}

/// A lease granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// How long the client may use the address from now on.
    pub time: Duration,
    /// What to write first; none if the row on disk still covers it.
    pub change: Option<Change>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody's; `key` names the last holder, who gets it back while nobody else needs it.
    Free,
    Offered,
    Bound,
    Quarantined,
}

#[derive(Debug, Clone)]
struct Slot {
    state: State,
    key: Option<Key>,
    /// End of the state; for a free slot the moment it became free.
    until: Timestamp,
    known: bool,
}

/// All leases of one link.
#[derive(Debug, Clone)]
pub struct LeaseTable {
    pools: Vec<PoolState>,
    slots: HashMap<u32, Slot>,
    by_key: HashMap<Key, u32>,
    /// Bound addresses of a machine, whatever identifier its programs used.
    by_mac: HashMap<MacAddr, Vec<u32>>,
    timers: BTreeSet<(Timestamp, u32)>,
    /// Offers to machines nobody knows: these give way first.
    strangers: BTreeSet<(Timestamp, u32)>,
    reserved: HashSet<u32>,
    except: HashSet<u32>,
    exchanges: Exchanges,
}

impl LeaseTable {
    /// A table over `pools` with the rows from disk; rows of lapsed leases only remember who held the address.
    #[must_use]
    pub fn new(pools: &[Pool], rows: impl IntoIterator<Item = LeaseRow>, now: Timestamp) -> Self {
        let mut table = LeaseTable {
            pools: pools.iter().filter_map(PoolState::new).collect(),
            slots: HashMap::new(),
            by_key: HashMap::new(),
            by_mac: HashMap::new(),
            timers: BTreeSet::new(),
            strangers: BTreeSet::new(),
            reserved: HashSet::new(),
            exchanges: Exchanges::default(),
            except: pools.iter().flat_map(|pool| &pool.except).map(|address| u32::from(*address)).collect(),
        };
        for row in rows {
            let key = Key { mac: row.mac, client_id: row.client_id };
            let address = u32::from(row.address);
            if table.by_key.contains_key(&key) || table.except.contains(&address) {
                continue;
            }
            table.enter(address, State::Bound, Some(key), row.expires, true);
        }
        table.expire(now);
        table
    }

    /// Replaces the addresses that are kept for certain machines: these are never given to others.
    pub fn reserve(&mut self, addresses: impl IntoIterator<Item = Ipv4Addr>) {
        let before = std::mem::replace(&mut self.reserved, addresses.into_iter().map(u32::from).collect());
        for address in before.difference(&self.reserved.clone()) {
            // The cursor has passed it by while it was reserved.
            if !self.slots.contains_key(address) {
                self.enter(*address, State::Free, None, Timestamp(0), false);
            }
        }
    }

    /// Keeps `address` out of use, as somebody answers there.
    pub fn conflict(&mut self, address: Ipv4Addr, now: Timestamp) {
        self.enter(u32::from(address), State::Quarantined, None, now.after(QUARANTINE), false);
    }

    /// Keeps addresses out of use for a while that ARP showed, unless they are somebody's by a lease of ours.
    pub fn avoid(&mut self, addresses: impl IntoIterator<Item = Ipv4Addr>, now: Timestamp) {
        for address in addresses {
            if !self.slots.contains_key(&u32::from(address)) {
                self.conflict(address, now);
            }
        }
    }

    /// An address for `key`, held for 30 seconds: its own, the reserved one, the one it wishes, else a free one.
    ///
    /// `known` machines may take the reserve that strangers leave them, and a stranger's open offer.
    pub fn offer(
        &mut self,
        key: &Key,
        pool: (Ipv4Addr, Ipv4Addr),
        reservation: Option<Ipv4Addr>,
        wish: Option<Ipv4Addr>,
        known: bool,
        now: Timestamp,
    ) -> Option<Ipv4Addr> {
        self.expire(now);
        let index = self.pools.iter().position(|state| state.is(pool));
        let address = self
            .reserved_for(key, reservation)
            .or_else(|| self.own(key, pool, reservation))
            .or_else(|| self.wished(key, index?, wish?, known))
            .or_else(|| self.fresh(index?, known))
            .or_else(|| if known { self.strangers_oldest(index?) } else { None })?;
        let bound = self.slots.get(&address).is_some_and(|slot| slot.state == State::Bound && slot.held_by(key));
        if !bound {
            self.enter(address, State::Offered, Some(key.clone()), now.after(OFFER_HOLD), known);
        }
        Some(Ipv4Addr::from(address))
    }

    /// Binds `address` to `key` for `time`, if nobody else holds it and it may be given.
    ///
    /// A renewal that finds more than three quarters of its time still on disk gets the rest, and nothing is written.
    pub fn bind(
        &mut self,
        key: &Key,
        address: Ipv4Addr,
        reservation: Option<Ipv4Addr>,
        time: Duration,
        now: Timestamp,
    ) -> Option<Granted> {
        self.expire(now);
        let number = u32::from(address);
        if !self.may_have(key, number, reservation) {
            return None;
        }
        if let Some(slot) = self.slots.get(&number).filter(|slot| slot.state == State::Bound && slot.held_by(key)) {
            let left = slot.until.since(now);
            if left <= time && left.saturating_mul(4) > time.saturating_mul(3) {
                return Some(Granted { time: left, change: None });
            }
        }
        let expires = now.after(time);
        self.enter(number, State::Bound, Some(key.clone()), expires, true);
        let row = LeaseRow { address, mac: key.mac, client_id: key.client_id.clone(), expires };
        Some(Granted { time, change: Some(Change::Put(row)) })
    }

    /// Keeps an offered address for longer, for clients that use it without a REQUEST.
    pub fn hold(&mut self, key: &Key, address: Ipv4Addr, time: Duration, now: Timestamp) {
        if self.offered(key, address, now) {
            self.enter(u32::from(address), State::Offered, Some(key.clone()), now.after(time), true);
        }
    }

    /// Whether `address` is offered to `key` and waits for its REQUEST.
    #[must_use]
    pub fn offered(&self, key: &Key, address: Ipv4Addr, now: Timestamp) -> bool {
        self.slots
            .get(&u32::from(address))
            .is_some_and(|slot| slot.state == State::Offered && slot.until > now && slot.held_by(key))
    }

    /// Whether a machine may still take `address` that it was not offered: strangers leave a part of the pool to others.
    #[must_use]
    pub fn has_room(&self, address: Ipv4Addr, known: bool) -> bool {
        let address = u32::from(address);
        known || self.pools.iter().find(|pool| pool.contains(address)).is_none_or(|pool| pool.open_to(false))
    }

    /// Whether `reserved` could be given to its machine `key` now.
    #[must_use]
    pub fn is_open(&self, key: &Key, reserved: Ipv4Addr) -> bool {
        self.may_have(key, u32::from(reserved), Some(reserved))
    }

    /// Notes what kind of client began this exchange.
    pub fn remember(&mut self, request: &Request, kind: Kind, now: Timestamp) {
        self.exchanges.put((request.mac, request.xid), kind, now);
    }

    /// The kind of client that began this exchange: a Raspberry Pi 4 leaves its vendor class out of the REQUEST
    /// (rpi-eeprom#82), so what a plain packet is can stand in the one before it.
    #[must_use]
    pub fn remembered(&self, request: &Request, kind: Kind, now: Timestamp) -> Kind {
        match kind {
            Kind::Plain => self.exchanges.get((request.mac, request.xid), now).unwrap_or(kind),
            told => told,
        }
    }

    /// The client found `address` in use by somebody else.
    pub fn decline(&mut self, key: &Key, address: Ipv4Addr, now: Timestamp) -> Option<Change> {
        self.expire(now);
        let slot = self.slots.get(&u32::from(address))?;
        if !slot.held_by(key) || !matches!(slot.state, State::Offered | State::Bound) {
            return None;
        }
        self.conflict(address, now);
        Some(Change::Remove(address))
    }

    /// The client gives its lease back; it gets the same address again while nobody else needs it.
    pub fn release(&mut self, key: &Key, address: Ipv4Addr, now: Timestamp) -> Option<Change> {
        self.expire(now);
        let slot = self.slots.get(&u32::from(address))?;
        if !slot.held_by(key) || slot.state != State::Bound {
            return None;
        }
        self.enter(u32::from(address), State::Free, Some(key.clone()), now, false);
        Some(Change::Remove(address))
    }

    /// The client took another server's offer: ours is free again.
    pub fn withdraw(&mut self, key: &Key, now: Timestamp) {
        self.expire(now);
        let Some(address) = self.by_key.get(key).copied() else { return };
        if self.slots.get(&address).is_some_and(|slot| slot.state == State::Offered) {
            self.enter(address, State::Free, Some(key.clone()), now, false);
        }
    }

    /// The address `key` holds by a running lease.
    #[must_use]
    pub fn held(&self, key: &Key, now: Timestamp) -> Option<Ipv4Addr> {
        let address = self.by_key.get(key)?;
        let slot = self.slots.get(address)?;
        (slot.state == State::Bound && slot.until > now).then(|| Ipv4Addr::from(*address))
    }

    /// Whether any program of this machine holds a running lease.
    #[must_use]
    pub fn holds_any(&self, mac: MacAddr, now: Timestamp) -> bool {
        let running = |address: &u32| self.slots.get(address).is_some_and(|slot| slot.until > now);
        self.by_mac.get(&mac).is_some_and(|addresses| addresses.iter().any(running))
    }

    /// The machine that holds `address` by a running lease.
    #[must_use]
    pub fn holder(&self, address: Ipv4Addr, now: Timestamp) -> Option<MacAddr> {
        let slot = self.slots.get(&u32::from(address))?;
        let running = slot.state == State::Bound && slot.until > now;
        slot.key.as_ref().filter(|_| running).map(|key| key.mac)
    }

    /// Running leases; costs a walk over all, for pages and tests.
    pub fn leases(&self, now: Timestamp) -> impl Iterator<Item = LeaseRow> + '_ {
        self.slots.iter().filter(move |(_, slot)| slot.state == State::Bound && slot.until > now).filter_map(
            |(address, slot)| {
                let key = slot.key.as_ref()?;
                Some(LeaseRow {
                    address: Ipv4Addr::from(*address),
                    mac: key.mac,
                    client_id: key.client_id.clone(),
                    expires: slot.until,
                })
            },
        )
    }

    /// The reserved address, unless another machine still holds it.
    fn reserved_for(&self, key: &Key, reservation: Option<Ipv4Addr>) -> Option<u32> {
        let address = u32::from(reservation?);
        self.may_have(key, address, reservation).then_some(address)
    }

    /// The address the client has or had, if it lies in the pool of the subnet it is in now.
    fn own(&self, key: &Key, pool: (Ipv4Addr, Ipv4Addr), reservation: Option<Ipv4Addr>) -> Option<u32> {
        let address = *self.by_key.get(key)?;
        let here = (u32::from(pool.0)..=u32::from(pool.1)).contains(&address);
        (here && self.may_have(key, address, reservation)).then_some(address)
    }

    fn wished(&self, key: &Key, pool: usize, wish: Ipv4Addr, known: bool) -> Option<u32> {
        let address = u32::from(wish);
        let state = self.pools.get(pool)?;
        (state.contains(address) && state.open_to(known) && self.may_have(key, address, None)).then_some(address)
    }

    /// The address longest free: never used ones first.
    fn fresh(&mut self, pool: usize, known: bool) -> Option<u32> {
        let state = self.pools.get_mut(pool).filter(|state| state.open_to(known))?;
        while state.cursor <= u64::from(state.last) {
            let address = u32::try_from(state.cursor).ok()?;
            state.cursor += 1;
            let usable = !self.except.contains(&address) && !self.reserved.contains(&address);
            if usable && !self.slots.contains_key(&address) {
                return Some(address);
            }
        }
        state.freed.iter().map(|(_, address)| *address).find(|address| !self.reserved.contains(address))
    }

    /// The oldest open offer to a machine nobody knows.
    fn strangers_oldest(&self, pool: usize) -> Option<u32> {
        let state = self.pools.get(pool)?;
        self.strangers.iter().map(|(_, address)| *address).find(|address| state.contains(*address))
    }

    /// Whether `address` can be given to `key` now.
    fn may_have(&self, key: &Key, address: u32, reservation: Option<Ipv4Addr>) -> bool {
        let reserved_here = reservation.map(u32::from) == Some(address);
        if self.except.contains(&address) || (self.reserved.contains(&address) && !reserved_here) {
            return false;
        }
        match self.slots.get(&address) {
            None => reserved_here || self.pools.iter().any(|pool| pool.contains(address)),
            Some(slot) => match slot.state {
                State::Free => true,
                State::Quarantined => false,
                // One machine's programs may use different identifiers; its reserved address is for all of them.
                State::Offered | State::Bound => {
                    slot.held_by(key)
                        || (reserved_here && slot.key.as_ref().is_some_and(|holder| holder.mac == key.mac))
                }
            },
        }
    }

    /// Ends what has run out. Each entry is touched once in its life.
    fn expire(&mut self, now: Timestamp) {
        while let Some((until, address)) = self.timers.first().copied().filter(|(until, _)| *until <= now) {
            let key = self.slots.get(&address).and_then(|slot| slot.key.clone());
            self.enter(address, State::Free, key, until, false);
        }
    }

    /// The one place where a slot changes; keeps every index in step.
    fn enter(&mut self, address: u32, state: State, key: Option<Key>, until: Timestamp, known: bool) {
        self.leave(address);
        if let Some(key) = &key {
            // A client holds one address under one identifier.
            if let Some(before) = self.by_key.insert(key.clone(), address).filter(|before| *before != address) {
                self.leave(before);
                self.settle(before, Slot { state: State::Free, key: None, until, known: false });
            }
        }
        self.settle(address, Slot { state, key, until, known });
    }

    fn settle(&mut self, address: u32, slot: Slot) {
        let pool = self.pools.iter_mut().find(|pool| pool.contains(address));
        match slot.state {
            State::Free => {
                let Some(pool) = pool else {
                    // Outside every pool nobody remembers a free address.
                    if let Some(key) = &slot.key {
                        self.by_key.remove(key);
                    }
                    return;
                };
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
        if let Some(key) = slot.key.as_ref().filter(|_| slot.state == State::Bound) {
            self.by_mac.entry(key.mac).or_default().push(address);
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
        if let Some(addresses) = self.by_mac.get_mut(&key.mac) {
            addresses.retain(|held| *held != address);
            if addresses.is_empty() {
                self.by_mac.remove(&key.mac);
            }
        }
        if self.by_key.get(&key) == Some(&address) {
            self.by_key.remove(&key);
        }
    }
}

impl Slot {
    fn held_by(&self, key: &Key) -> bool {
        self.key.as_ref() == Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POOL: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(10, 0, 0, 10), Ipv4Addr::new(10, 0, 0, 13));
    const HOUR: Duration = Duration::from_secs(3600);

    fn table() -> LeaseTable {
        LeaseTable::new(&[Pool { first: POOL.0, last: POOL.1, except: Vec::new() }], [], Timestamp(0))
    }

    fn key(number: u8) -> Key {
        Key::new(MacAddr([2, 0, 0, 0, 0, number]), None)
    }

    fn take(table: &mut LeaseTable, number: u8, now: Timestamp) -> Option<Ipv4Addr> {
        let address = table.offer(&key(number), POOL, None, None, true, now)?;
        table.bind(&key(number), address, None, HOUR, now)?;
        Some(address)
    }

    #[test]
    fn an_open_offer_lapses_after_30_seconds() {
        let mut table = table();
        let given: Vec<_> =
            (0..4).map(|n| table.offer(&key(n), POOL, None, None, true, Timestamp(0)).unwrap()).collect();
        assert_eq!(table.offer(&key(9), POOL, None, None, true, Timestamp(29_999)), None);
        assert_eq!(table.offer(&key(9), POOL, None, None, true, Timestamp(30_000)), Some(given[0]));
    }

    #[test]
    fn a_client_gets_its_old_address_back_while_nobody_needs_it() {
        let mut table = table();
        let first = take(&mut table, 1, Timestamp(0)).unwrap();
        take(&mut table, 2, Timestamp(0)).unwrap();
        let later = Timestamp(0).after(HOUR * 3);
        assert_eq!(table.held(&key(1), later), None);
        assert_eq!(table.offer(&key(1), POOL, None, None, true, later), Some(first));
    }

    #[test]
    fn a_declined_address_rests_for_ten_minutes() {
        let mut table = table();
        let address = take(&mut table, 1, Timestamp(0)).unwrap();
        assert_eq!(table.decline(&key(2), address, Timestamp(0)), None, "only its holder can decline");
        assert_eq!(table.decline(&key(1), address, Timestamp(0)), Some(Change::Remove(address)));
        let others: Vec<_> = (1..=4).filter_map(|n| take(&mut table, n, Timestamp(599_999))).collect();
        assert_eq!(others.len(), 3);
        assert!(!others.contains(&address));
        assert_eq!(take(&mut table, 9, Timestamp(600_000)), Some(address));
    }

    #[test]
    fn a_renewal_with_over_three_quarters_left_is_not_written() {
        let mut table = table();
        let address = take(&mut table, 1, Timestamp(0)).unwrap();
        let early = table.bind(&key(1), address, None, HOUR, Timestamp(800_000)).unwrap();
        assert_eq!(early, Granted { time: HOUR - Duration::from_secs(800), change: None });
        let late = table.bind(&key(1), address, None, HOUR, Timestamp(900_000)).unwrap();
        assert_eq!(late.time, HOUR);
        assert!(late.change.is_some());
    }

    #[test]
    fn a_known_machine_takes_the_open_offer_of_a_stranger() {
        let mut table = table();
        for number in 0..4 {
            table.offer(&key(number), POOL, None, None, false, Timestamp(0)).unwrap();
        }
        assert_eq!(table.offer(&key(8), POOL, None, None, false, Timestamp(1)), None);
        assert!(table.offer(&key(9), POOL, None, None, true, Timestamp(1)).is_some());
    }

    #[test]
    fn strangers_leave_an_eighth_of_a_larger_pool() {
        let pool = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 16));
        let mut table = LeaseTable::new(&[Pool { first: pool.0, last: pool.1, except: Vec::new() }], [], Timestamp(0));
        let given = (0..16).filter_map(|n| table.offer(&key(n), pool, None, None, false, Timestamp(0))).count();
        assert_eq!(given, 14);
    }

    #[test]
    fn a_reserved_address_goes_to_its_machine_under_any_identifier() {
        let mut table = table();
        let reserved = Ipv4Addr::new(10, 0, 0, 11);
        table.reserve([reserved]);
        let rom = key(1);
        let system = Key::new(rom.mac, Some(b"\xff\0\0\0\0dui"));
        assert_ne!(rom, system);
        for key in [&rom, &system] {
            assert_eq!(table.offer(key, POOL, Some(reserved), None, true, Timestamp(0)), Some(reserved));
            assert!(table.bind(key, reserved, Some(reserved), HOUR, Timestamp(0)).is_some());
        }
        let others: Vec<_> = (2..9).filter_map(|n| take(&mut table, n, Timestamp(0))).collect();
        assert_eq!(others.len(), 3);
        assert!(!others.contains(&reserved));
    }

    #[test]
    fn machines_from_one_image_do_not_share_an_address() {
        let duid = b"\xff\0\0\0\0same";
        let mut table = table();
        let mut given = HashSet::new();
        for number in 1..=2 {
            let key = Key::new(MacAddr([2, 0, 0, 0, 0, number]), Some(duid));
            given.insert(table.offer(&key, POOL, None, None, true, Timestamp(0)).unwrap());
        }
        assert_eq!(given.len(), 2);
    }

    #[test]
    fn identifiers_that_say_no_more_than_the_mac_count_as_none() {
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        assert_eq!(Key::new(mac, Some(&[1, 2, 0, 0, 0, 0, 1])), Key::new(mac, None));
        assert_eq!(Key::new(mac, Some(&[0; 17])), Key::new(mac, None));
        assert_ne!(Key::new(mac, Some(&[1, 2, 0, 0, 0, 0, 2])), Key::new(mac, None));
    }

    #[test]
    fn rows_from_disk_are_held_until_they_lapse() {
        let row = LeaseRow { address: POOL.0, mac: key(1).mac, client_id: None, expires: Timestamp(1000) };
        let pools = [Pool { first: POOL.0, last: POOL.0, except: Vec::new() }];
        let mut table = LeaseTable::new(&pools, [row], Timestamp(0));
        assert_eq!(table.offer(&key(2), (POOL.0, POOL.0), None, None, true, Timestamp(999)), None);
        assert_eq!(table.offer(&key(2), (POOL.0, POOL.0), None, None, true, Timestamp(1000)), Some(POOL.0));
    }

    #[test]
    fn what_arp_shows_is_avoided_but_not_taken_from_its_holder() {
        let row = LeaseRow { address: POOL.0, mac: key(1).mac, client_id: None, expires: Timestamp(9000) };
        let mut table =
            LeaseTable::new(&[Pool { first: POOL.0, last: POOL.1, except: Vec::new() }], [row], Timestamp(0));
        table.avoid([POOL.0, POOL.1], Timestamp(0));
        assert_eq!(table.held(&key(1), Timestamp(0)), Some(POOL.0));
        let others: Vec<_> = (2..9).filter_map(|n| take(&mut table, n, Timestamp(0))).collect();
        assert_eq!(others.len(), 2);
        assert!(!others.contains(&POOL.1));
    }

    #[derive(Debug, Clone)]
    enum Act {
        Offer(u8, Option<u8>, bool),
        Bind(u8),
        Release(u8),
        Decline(u8),
        Conflict(u8),
        Withdraw(u8),
        Wait(u16),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (0..12u8, proptest::option::of(0..8u8), any::<bool>()).prop_map(|(c, w, k)| Act::Offer(c, w, k)),
            (0..12u8).prop_map(Act::Bind),
            (0..12u8).prop_map(Act::Release),
            (0..12u8).prop_map(Act::Decline),
            (8..16u8).prop_map(Act::Conflict),
            (0..12u8).prop_map(Act::Withdraw),
            (0..20_000u16).prop_map(Act::Wait),
        ]
    }

    proptest! {
        #[test]
        fn no_address_is_ever_given_to_two_clients(acts in proptest::collection::vec(act(), 1..200)) {
            let pool = (Ipv4Addr::new(10, 0, 0, 8), Ipv4Addr::new(10, 0, 0, 15));
            let mut table =
                LeaseTable::new(&[Pool { first: pool.0, last: pool.1, except: vec![pool.0] }], [], Timestamp(0));
            let mut now = Timestamp(0);
            let time = Duration::from_secs(60);
            let mut offered: HashMap<u8, Ipv4Addr> = HashMap::new();
            // The clients' own view: who believes to hold what, until when.
            let mut believed: HashMap<Ipv4Addr, (u8, Timestamp)> = HashMap::new();
            for act in acts {
                match act {
                    Act::Offer(client, wish, known) => {
                        let wish = wish.map(|n| Ipv4Addr::new(10, 0, 0, 8 + n));
                        if let Some(address) = table.offer(&key(client), pool, None, wish, known, now) {
                            prop_assert_ne!(address, pool.0);
                            if let Some((holder, until)) = believed.get(&address) {
                                prop_assert!(*holder == client || *until <= now, "{address} offered twice");
                            }
                            offered.insert(client, address);
                        }
                    }
                    Act::Bind(client) => {
                        let Some(address) = offered.get(&client).copied() else { continue };
                        if let Some(granted) = table.bind(&key(client), address, None, time, now) {
                            if let Some((holder, until)) = believed.get(&address) {
                                prop_assert!(*holder == client || *until <= now, "{address} bound twice");
                            }
                            prop_assert!(granted.time <= time);
                            believed.retain(|_, (holder, _)| *holder != client);
                            believed.insert(address, (client, now.after(granted.time)));
                            prop_assert_eq!(table.holder(address, now), Some(key(client).mac));
                        }
                    }
                    Act::Release(client) => {
                        if let Some(address) = table.held(&key(client), now) {
                            table.release(&key(client), address, now);
                            believed.remove(&address);
                        }
                    }
                    Act::Decline(client) => {
                        if let Some(address) = table.held(&key(client), now) {
                            table.decline(&key(client), address, now);
                            believed.remove(&address);
                        }
                    }
                    // Only for addresses nobody holds: the shell probes before the first offer.
                    Act::Conflict(last) => {
                        let address = Ipv4Addr::new(10, 0, 0, last);
                        if table.holder(address, now).is_none() {
                            table.conflict(address, now);
                        }
                    }
                    Act::Withdraw(client) => table.withdraw(&key(client), now),
                    Act::Wait(ms) => now = now.after(Duration::from_millis(u64::from(ms))),
                }
                let held: Vec<_> = table.leases(now).map(|row| row.address).collect();
                prop_assert_eq!(held.len(), held.iter().collect::<HashSet<_>>().len());
            }
        }
    }
}
