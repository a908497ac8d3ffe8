//! How long to wait before a repeat: measured round trips, doubled at each repeat.

use std::time::Duration;

/// No repeat comes sooner than this: below it, scheduling on either end passes for loss.
const FLOOR: Duration = Duration::from_millis(3);
/// The same until a window of data has been timed: an OACK says little about how long a full window takes on a slow wire.
const FLOOR_BEFORE_DATA: Duration = Duration::from_millis(100);

/// Doubling ends here, or at four times the single wait, while the client is heard.
const LONGEST_ALIVE: Duration = Duration::from_millis(200);

/// The round-trip estimate of one transfer (smoothed as in RFC 6298).
#[derive(Debug, Clone)]
pub(crate) struct RoundTrip {
    first: Duration,
    longest: Duration,
    smoothed: Option<Duration>,
    variation: Duration,
    data_timed: bool,
    doublings: u32,
}

impl RoundTrip {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first: first.min(longest),
            longest,
            smoothed: None,
            variation: Duration::ZERO,
            data_timed: false,
            doublings: 0,
        }
    }

    /// Takes the round trip of something that was sent exactly once (Karn's rule); `data` tells a block from an OACK.
    pub(crate) fn measured(&mut self, sample: Duration, data: bool) {
        match self.smoothed {
            Some(smoothed) if self.data_timed || !data => {
                self.variation = (self.variation * 3 + smoothed.abs_diff(sample)) / 4;
                self.smoothed = Some((smoothed * 7 + sample) / 8);
            }
            Some(_) | None => {
                self.variation = sample / 2;
                self.smoothed = Some(sample);
            }
        }
        self.data_timed |= data;
        self.doublings = 0;
    }

    /// Progress that cannot be timed, because something was sent twice: the wait shrinks one step, not at once.
    ///
    /// Returning to the estimate at once would repeat every block for ever after the real round trip grew beyond it.
    pub(crate) fn progress_untimed(&mut self) {
        self.doublings = self.doublings.saturating_sub(1);
    }

    pub(crate) fn timed_out(&mut self) {
        self.doublings = (self.doublings + 1).min(16);
    }

    /// What arrives sooner than this after a sending cannot be an answer to it.
    pub(crate) fn half(&self) -> Duration {
        self.smoothed.unwrap_or(Duration::ZERO) / 2
    }

    /// Whether data has been timed.
    pub(crate) fn data_timed(&self) -> bool {
        self.data_timed
    }

    /// The wait before a first repeat.
    pub(crate) fn single(&self) -> Duration {
        let wait = match self.smoothed {
            None => self.first,
            Some(smoothed) => {
                let floor = if self.data_timed { FLOOR } else { FLOOR_BEFORE_DATA };
                (smoothed * 3).max(smoothed + self.variation * 4).max(floor)
            }
        };
        wait.min(self.longest)
    }

    /// The wait before the next repeat.
    pub(crate) fn timeout(&self) -> Duration {
        self.single().saturating_mul(1 << self.doublings).min(self.longest)
    }

    /// The same for a client that was heard a moment ago: packets get lost, but it is there.
    pub(crate) fn timeout_alive(&self) -> Duration {
        self.timeout().min((self.single() * 4).max(LONGEST_ALIVE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn rtt() -> RoundTrip {
        RoundTrip::new(1000 * MS, 4000 * MS)
    }

    #[test]
    fn the_wait_is_about_three_round_trips_and_at_least_3_ms() {
        let mut slow = rtt();
        (0..50).for_each(|_| slow.measured(40 * MS, true));
        assert_eq!(slow.timeout(), 120 * MS);
        let mut quick = rtt();
        quick.measured(MS / 10, true);
        assert_eq!(quick.timeout(), 3 * MS);
    }

    #[test]
    fn the_wait_doubles_up_to_the_longest() {
        let mut rtt = rtt();
        let mut waits = Vec::new();
        for _ in 0..5 {
            waits.push(rtt.timeout().as_millis());
            rtt.timed_out();
        }
        assert_eq!(waits, [1000, 2000, 4000, 4000, 4000]);
    }

    #[test]
    fn an_oack_alone_leaves_time_for_a_window_on_a_slow_wire() {
        let mut rtt = rtt();
        rtt.measured(MS, false);
        assert_eq!(rtt.timeout(), 100 * MS);
        rtt.measured(8 * MS, true);
        assert_eq!(rtt.timeout(), 24 * MS);
    }

    #[test]
    fn a_doubled_wait_returns_at_once_when_timed_and_stepwise_when_not() {
        let mut rtt = rtt();
        rtt.measured(10 * MS, true);
        (0..3).for_each(|_| rtt.timed_out());
        rtt.progress_untimed();
        assert_eq!(rtt.timeout(), 4 * 30 * MS);
        rtt.measured(10 * MS, true);
        assert!(rtt.timeout() <= 30 * MS);
    }
}
