//! Packets that may lead to a new lease wait here until the link was looked at: in `auto` and `pxe-only` no address is
//! promised before everybody else had the time to show that addresses are theirs to give.

use rackberry_core::{dhcp::Request, time::Timestamp};
use std::collections::VecDeque;

/// Packets that wait at a time; the oldest make room, as their senders ask again.
const MOST_WAITING: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Lookout {
    waiting: VecDeque<(Timestamp, Request)>,
}

impl Lookout {
    /// Keeps a packet until `until`. One that is repeated meanwhile takes the place of the one before.
    pub(super) fn keep(&mut self, request: Request, until: Timestamp) {
        let same = |known: &Request| known.mac == request.mac && known.xid == request.xid && known.kind == request.kind;
        if let Some((_, known)) = self.waiting.iter_mut().find(|(_, known)| same(known)) {
            *known = request;
            return;
        }
        if self.waiting.len() >= MOST_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back((until, request));
    }

    /// When the first of them is due.
    pub(super) fn wakeup(&self) -> Option<Timestamp> {
        self.waiting.iter().map(|(until, _)| *until).min()
    }

    /// Takes out what is due.
    pub(super) fn due(&mut self, now: Timestamp) -> Vec<Request> {
        if self.wakeup().is_none_or(|first| first > now) {
            return Vec::new();
        }
        let (over, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(|(until, _)| *until <= now);
        self.waiting = waiting;
        let over: VecDeque<(Timestamp, Request)> = over;
        over.into_iter().map(|(_, request)| request).collect()
    }
}
