//! Who holds which address. In memory; what must survive a restart leaves as [`Change`]s.
//!
//! Every operation costs the same at 100 and at 60,000 leases: two hash look-ups and a few steps in ordered sets.

pub use super::pool::Pool;
use super::{
    client::Kind,
    exchanges::Exchanges,
    pool::PoolState,
    slots::{Slots, State},
    wire::Request,
};
use crate::{host::MacAddr, time::Timestamp};
use serde::{Deserialize, Serialize};
use std::{collections::HashSet, net::Ipv4Addr, time::Duration};

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
    client_id: Option<Box<[u8]>>,
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
        Key { mac, client_id: telling.map(Into::into) }
    }

    fn row(&self, address: Ipv4Addr, expires: Timestamp) -> LeaseRow {
        let client_id = self.client_id.as_deref().map(<[u8]>::to_vec);
        LeaseRow { address, mac: self.mac, client_id, expires }
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

/// All leases of one link.
#[derive(Debug, Clone)]
pub struct LeaseTable {
    slots: Slots,
    reserved: HashSet<u32>,
    except: HashSet<u32>,
    exchanges: Exchanges,
}

impl LeaseTable {
    /// A table over `pools` with the rows from disk; rows of lapsed leases only remember who held the address.
    #[must_use]
    pub fn new(pools: &[Pool], rows: impl IntoIterator<Item = LeaseRow>, now: Timestamp) -> Self {
        let mut table = LeaseTable {
            slots: Slots::new(pools.iter().filter_map(PoolState::new).collect()),
            reserved: HashSet::new(),
            except: pools.iter().flat_map(|pool| &pool.except).map(|address| u32::from(*address)).collect(),
            exchanges: Exchanges::default(),
        };
        for row in rows {
            let key = Key { mac: row.mac, client_id: row.client_id.map(Vec::into_boxed_slice) };
            let address = u32::from(row.address);
            if table.slots.of(&key).is_some() || table.except.contains(&address) {
                continue;
            }
            table.slots.enter(address, State::Bound, Some(key), row.expires, true);
        }
        table.slots.expire(now);
        table
    }

    /// Replaces the addresses that are kept for certain machines: these are never given to others.
    pub fn reserve(&mut self, addresses: impl IntoIterator<Item = Ipv4Addr>) {
        let before = std::mem::replace(&mut self.reserved, addresses.into_iter().map(u32::from).collect());
        for address in before.difference(&self.reserved.clone()) {
            // The cursor has passed it by while it was reserved.
            if !self.slots.contains(*address) {
                self.slots.enter(*address, State::Free, None, Timestamp(0), false);
            }
        }
    }

    /// Keeps `address` out of use, as somebody answers there.
    pub fn conflict(&mut self, address: Ipv4Addr, now: Timestamp) {
        self.slots.enter(u32::from(address), State::Quarantined, None, now.after(QUARANTINE), false);
    }

    /// Keeps addresses out of use for a while that ARP showed, unless they are somebody's by a lease of ours.
    pub fn avoid(&mut self, addresses: impl IntoIterator<Item = Ipv4Addr>, now: Timestamp) {
        for address in addresses {
            if !self.slots.contains(u32::from(address)) {
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
        self.slots.expire(now);
        let index = self.slots.pools.iter().position(|state| state.is(pool));
        let address = self
            .reserved_for(key, reservation)
            .or_else(|| self.own(key, pool, reservation))
            .or_else(|| self.wished(key, index?, wish?, known))
            .or_else(|| self.fresh(index?, known))
            .or_else(|| if known { self.strangers_oldest(index?) } else { None })?;
        let bound = self.slots.get(address).is_some_and(|slot| slot.state == State::Bound && slot.held_by(key));
        if !bound {
            self.slots.enter(address, State::Offered, Some(key.clone()), now.after(OFFER_HOLD), known);
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
        self.slots.expire(now);
        let number = u32::from(address);
        if !self.may_have(key, number, reservation) {
            return None;
        }
        if let Some(slot) = self.slots.get(number).filter(|slot| slot.state == State::Bound && slot.held_by(key)) {
            let left = slot.until.since(now);
            if left <= time && left.saturating_mul(4) > time.saturating_mul(3) {
                return Some(Granted { time: left, change: None });
            }
        }
        let expires = now.after(time);
        self.slots.enter(number, State::Bound, Some(key.clone()), expires, true);
        let row = key.row(address, expires);
        Some(Granted { time, change: Some(Change::Put(row)) })
    }

    /// Keeps an offered address for longer, for clients that use it without a REQUEST.
    pub fn hold(&mut self, key: &Key, address: Ipv4Addr, time: Duration, now: Timestamp) {
        if self.offered(key, address, now) {
            self.slots.enter(u32::from(address), State::Offered, Some(key.clone()), now.after(time), true);
        }
    }

    /// Whether `address` is offered to `key` and waits for its REQUEST.
    #[must_use]
    pub fn offered(&self, key: &Key, address: Ipv4Addr, now: Timestamp) -> bool {
        self.slots
            .get(u32::from(address))
            .is_some_and(|slot| slot.state == State::Offered && slot.until > now && slot.held_by(key))
    }

    /// Whether a machine may still take `address` that it was not offered: strangers leave a part of the pool to others.
    #[must_use]
    pub fn has_room(&self, address: Ipv4Addr, known: bool) -> bool {
        let address = u32::from(address);
        known || self.slots.pools.iter().find(|pool| pool.contains(address)).is_none_or(|pool| pool.open_to(false))
    }

    /// Whether `reserved` could be given to its machine `key` now.
    #[must_use]
    pub fn is_open(&self, key: &Key, reserved: Ipv4Addr) -> bool {
        self.may_have(key, u32::from(reserved), Some(reserved))
    }

    /// Notes what kind of client began this exchange.
    pub fn remember(&mut self, request: &Request, kind: Kind, now: Timestamp) {
        // Of a plain client there is nothing that its next packet could leave out.
        if kind != Kind::Plain {
            self.exchanges.put((request.mac, request.xid), kind, now);
        }
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
        self.slots.expire(now);
        let slot = self.slots.get(u32::from(address))?;
        if !slot.held_by(key) || !matches!(slot.state, State::Offered | State::Bound) {
            return None;
        }
        self.conflict(address, now);
        Some(Change::Remove(address))
    }

    /// The client gives its lease back; it gets the same address again while nobody else needs it.
    pub fn release(&mut self, key: &Key, address: Ipv4Addr, now: Timestamp) -> Option<Change> {
        self.slots.expire(now);
        let slot = self.slots.get(u32::from(address))?;
        if !slot.held_by(key) || slot.state != State::Bound {
            return None;
        }
        self.slots.enter(u32::from(address), State::Free, Some(key.clone()), now, false);
        Some(Change::Remove(address))
    }

    /// The client took another server's offer: ours is free again.
    pub fn withdraw(&mut self, key: &Key, now: Timestamp) {
        self.slots.expire(now);
        let Some(address) = self.slots.of(key) else { return };
        if self.slots.get(address).is_some_and(|slot| slot.state == State::Offered) {
            self.slots.enter(address, State::Free, Some(key.clone()), now, false);
        }
    }

    /// The address `key` holds by a running lease.
    #[must_use]
    pub fn held(&self, key: &Key, now: Timestamp) -> Option<Ipv4Addr> {
        let address = self.slots.of(key)?;
        let slot = self.slots.get(address)?;
        (slot.state == State::Bound && slot.until > now).then(|| Ipv4Addr::from(address))
    }

    /// Whether any program of this machine holds a running lease.
    #[must_use]
    pub fn holds_any(&self, mac: MacAddr, now: Timestamp) -> bool {
        self.slots.of_machine(mac).any(|(_, slot)| slot.state == State::Bound && slot.until > now)
    }

    /// The machine that holds `address` by a running lease.
    #[must_use]
    pub fn holder(&self, address: Ipv4Addr, now: Timestamp) -> Option<MacAddr> {
        let slot = self.slots.get(u32::from(address))?;
        let running = slot.state == State::Bound && slot.until > now;
        slot.key.as_ref().filter(|_| running).map(|key| key.mac)
    }

    /// Running leases; costs a walk over all, for pages and tests.
    pub fn leases(&self, now: Timestamp) -> impl Iterator<Item = LeaseRow> + '_ {
        self.slots
            .all()
            .filter(move |(_, slot)| slot.state == State::Bound && slot.until > now)
            .filter_map(|(address, slot)| Some(slot.key.as_ref()?.row(Ipv4Addr::from(address), slot.until)))
    }

    /// The reserved address, unless another machine still holds it.
    fn reserved_for(&self, key: &Key, reservation: Option<Ipv4Addr>) -> Option<u32> {
        let address = u32::from(reservation?);
        self.may_have(key, address, reservation).then_some(address)
    }

    /// The address the client has or had, if it lies in the pool of the subnet it is in now.
    fn own(&self, key: &Key, pool: (Ipv4Addr, Ipv4Addr), reservation: Option<Ipv4Addr>) -> Option<u32> {
        let address = self.slots.of(key)?;
        let here = (u32::from(pool.0)..=u32::from(pool.1)).contains(&address);
        (here && self.may_have(key, address, reservation)).then_some(address)
    }

    fn wished(&self, key: &Key, pool: usize, wish: Ipv4Addr, known: bool) -> Option<u32> {
        let address = u32::from(wish);
        let state = self.slots.pools.get(pool)?;
        (state.contains(address) && state.open_to(known) && self.may_have(key, address, None)).then_some(address)
    }

    /// The address longest free: never used ones first.
    fn fresh(&mut self, pool: usize, known: bool) -> Option<u32> {
        self.slots.pools.get(pool).filter(|state| state.open_to(known))?;
        while let Some(address) = self.slots.pools.get_mut(pool)?.next_unused() {
            let usable = !self.except.contains(&address) && !self.reserved.contains(&address);
            if usable && !self.slots.contains(address) {
                return Some(address);
            }
        }
        let freed = &self.slots.pools.get(pool)?.freed;
        freed.iter().map(|(_, address)| *address).find(|address| !self.reserved.contains(address))
    }

    /// The oldest open offer to a machine nobody knows.
    fn strangers_oldest(&self, pool: usize) -> Option<u32> {
        let state = self.slots.pools.get(pool)?;
        self.slots.strangers().find(|address| state.contains(*address))
    }

    /// Whether `address` can be given to `key` now.
    fn may_have(&self, key: &Key, address: u32, reservation: Option<Ipv4Addr>) -> bool {
        let reserved_here = reservation.map(u32::from) == Some(address);
        if self.except.contains(&address) || (self.reserved.contains(&address) && !reserved_here) {
            return false;
        }
        match self.slots.get(address) {
            None => reserved_here || self.slots.pools.iter().any(|pool| pool.contains(address)),
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
}
