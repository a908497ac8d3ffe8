//! What a client said of itself in the packet before.

use super::client::Kind;
use crate::{host::MacAddr, time::Timestamp};
use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

/// A client takes at most this long from DISCOVER to REQUEST.
const EXCHANGE: Duration = Duration::from_secs(60);
const MOST_EXCHANGES: usize = 4096;

/// Kinds of clients in exchanges under way; the oldest make room.
#[derive(Debug, Clone, Default)]
pub(super) struct Exchanges {
    kinds: HashMap<(MacAddr, u32), (Kind, Timestamp)>,
    order: VecDeque<(MacAddr, u32)>,
}

impl Exchanges {
    pub(super) fn put(&mut self, exchange: (MacAddr, u32), kind: Kind, now: Timestamp) {
        if self.kinds.insert(exchange, (kind, now)).is_none() {
            self.order.push_back(exchange);
        }
        while self.order.len() > MOST_EXCHANGES {
            if let Some(oldest) = self.order.pop_front() {
                self.kinds.remove(&oldest);
            }
        }
    }

    pub(super) fn get(&self, exchange: (MacAddr, u32), now: Timestamp) -> Option<Kind> {
        self.kinds.get(&exchange).filter(|(_, at)| now.since(*at) <= EXCHANGE).map(|(kind, _)| *kind)
    }
}
