//! Bounds how much one machine can ask: a flood from one MAC costs itself.

use rackberry_core::{host::MacAddr, time::Timestamp};
use std::{collections::HashMap, time::Duration};

/// A boot takes some ten packets; the most eager ROM sends a few a second.
const PACKETS: u16 = 60;
const WINDOW: Duration = Duration::from_secs(10);
/// Senders counted at a time. Who invents more addresses than this is bounded by the pool instead.
const MOST_SENDERS: usize = 16_384;

/// Packets per sender in the running window.
#[derive(Debug, Default)]
pub(super) struct Gate {
    began: Timestamp,
    counts: HashMap<MacAddr, u16>,
}

impl Gate {
    /// Whether a packet of this sender is to be looked at.
    pub(super) fn admit(&mut self, mac: MacAddr, now: Timestamp) -> bool {
        if now.since(self.began) >= WINDOW {
            self.began = now;
            self.counts.clear();
        }
        if self.counts.len() >= MOST_SENDERS && !self.counts.contains_key(&mac) {
            return true;
        }
        let count = self.counts.entry(mac).or_default();
        *count = count.saturating_add(1);
        *count <= PACKETS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sender_cannot_flood_and_others_are_not_touched() {
        let mut gate = Gate::default();
        let (loud, calm) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
        let admitted = (0..1000).filter(|_| gate.admit(loud, Timestamp(5000))).count();
        assert_eq!(admitted, 60);
        assert!(gate.admit(calm, Timestamp(5000)));
        assert!(gate.admit(loud, Timestamp(20_000)), "a new window");
    }

    #[test]
    fn the_count_is_bounded() {
        let mut gate = Gate::default();
        for number in 0..100_000_u32 {
            let [a, b, c, d] = number.to_be_bytes();
            assert!(gate.admit(MacAddr([2, 0, a, b, c, d]), Timestamp(1)));
        }
        assert!(gate.counts.len() <= MOST_SENDERS);
    }
}
