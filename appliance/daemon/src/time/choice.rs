//! Whom to believe. Pure.
//!
//! Each server's word is an interval: its offset, as far to either side as it may be off. The time is believed that lies in the
//! intervals of **more than half of those that answered** (Marzullo's rule, as in RFC 5905 section 11.2.1), and of these servers the
//! nearest is followed. One alone is believed; of two that contradict each other neither is, as nothing says which one lies.

use super::packet::{Reading, Source};
use std::time::Duration;

/// Clocks that tick alike differ by so much for reasons that are nobody's fault.
const SLACK: i128 = 50_000_000;

/// One exchange with a server: how far its clock is ahead of this machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// In nanoseconds; negative: behind.
    pub offset: i128,
    /// On the network, there and back.
    pub delay: Duration,
    /// How far the offset may be off, all in all.
    pub distance: Duration,
    pub source: Source,
}

impl Sample {
    /// From an answer to a question that was sent at `asked` by this machine's clock and answered `trip` later. None if the
    /// server claims to have taken longer than that.
    #[must_use]
    pub fn new(reading: &Reading, asked: Duration, trip: Duration) -> Option<Self> {
        let took = reading.sent.checked_sub(reading.received)?;
        let delay = trip.checked_sub(took)?;
        let theirs = nanos(reading.received) + nanos(took) / 2;
        let ours = nanos(asked) + nanos(trip) / 2;
        let distance = reading.distance + delay / 2;
        Some(Sample { offset: theirs - ours, delay, distance, source: reading.source })
    }

    fn around(&self, point: i128) -> bool {
        (self.offset - point).abs() <= nanos(self.distance) + SLACK
    }
}

/// What a round of questions comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Nobody answered.
    Nobody,
    /// No time has more than half of them behind it.
    Split,
    /// The one at this place of the list is followed.
    Follow(usize),
}

/// Decides on the best sample of each server that answered.
#[must_use]
pub fn choose(words: &[Sample]) -> Choice {
    if words.is_empty() {
        return Choice::Nobody;
    }
    // Where most intervals overlap, one of them begins.
    let begins = words.iter().map(|word| word.offset - nanos(word.distance) - SLACK);
    let agreeing = begins
        .map(|point| (0..).zip(words).filter(|(_, word)| word.around(point)).collect::<Vec<(usize, &Sample)>>())
        .max_by_key(Vec::len)
        .unwrap_or_default();
    if agreeing.len() * 2 <= words.len() {
        return Choice::Split;
    }
    let nearest = agreeing.into_iter().min_by_key(|(_, word)| (word.distance, word.delay));
    nearest.map_or(Choice::Split, |(at, _)| Choice::Follow(at))
}

/// As a number that may be subtracted from.
pub fn nanos(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}
