//! The addresses of one subnet, and how many of them are taken.

use crate::time::Timestamp;
use std::{collections::BTreeSet, net::Ipv4Addr};

/// More addresses than this in one pool are not handed out: what fills up is bounded.
const LARGEST_POOL: u32 = 65_536;

/// Addresses to give out, both ends included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    pub first: Ipv4Addr,
    pub last: Ipv4Addr,
    /// Not to be given to anybody: our own address, the gateway.
    pub except: Vec<Ipv4Addr>,
}

#[derive(Debug, Clone)]
pub(super) struct PoolState {
    pub(super) first: u32,
    pub(super) last: u32,
    /// Next address that nobody ever held; beyond `last` when there is none.
    cursor: u64,
    /// Addresses given back, the longest free first.
    pub(super) freed: BTreeSet<(Timestamp, u32)>,
    /// Addresses that cannot be given now.
    pub(super) taken: u32,
    pub(super) size: u32,
}

impl PoolState {
    pub(super) fn new(pool: &Pool) -> Option<Self> {
        let first = u32::from(pool.first);
        let last = u32::from(pool.last).min(first.saturating_add(LARGEST_POOL - 1));
        let size = last.checked_sub(first)?.saturating_add(1);
        Some(PoolState { first, last, cursor: u64::from(first), freed: BTreeSet::new(), taken: 0, size })
    }

    pub(super) fn is(&self, (first, last): (Ipv4Addr, Ipv4Addr)) -> bool {
        self.first == u32::from(first) && self.last <= u32::from(last)
    }

    pub(super) fn contains(&self, address: u32) -> bool {
        (self.first..=self.last).contains(&address)
    }

    /// An address that nobody ever held, each once.
    pub(super) fn next_unused(&mut self) -> Option<u32> {
        let address = u32::try_from(self.cursor).ok().filter(|address| *address <= self.last)?;
        self.cursor += 1;
        Some(address)
    }

    /// Machines nobody knows leave an eighth of the pool to the others.
    pub(super) fn open_to(&self, known: bool) -> bool {
        known || self.taken < self.size - self.size / 8
    }
}
