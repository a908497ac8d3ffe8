//! Whether the box does its work: when DHCP, HTTP and the database each last showed that they turn, and one function
//! that judges.
//!
//! Nobody ticks for another: DHCP's own loop does, HTTP by answering a request that came through its listener, the database
//! by a transaction on its own thread. So what is held up, for whatever reason, becomes late.
//!
//! | module | one sentence |
//! |---|---|
//! | `asks` | asks HTTP and the database, as others would |
//! | `heartbeat` | the thread that tells service manager and watchdog, for as long as the verdict is good |

mod asks;
mod heartbeat;

pub use asks::{ask_database, ask_http};
pub use heartbeat::{Heartbeat, PERIOD};

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// What has to turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Dhcp,
    Http,
    Database,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 3] = [Part::Dhcp, Part::Http, Part::Database];

    /// How long it may show nothing. DHCP waits for nothing; the others may stand in a queue, or before a slow card.
    #[must_use]
    pub const fn bound(self) -> Duration {
        match self {
            Part::Dhcp => Duration::from_secs(15),
            Part::Http | Part::Database => Duration::from_secs(20),
        }
    }

    const fn place(self) -> usize {
        match self {
            Part::Dhcp => 0,
            Part::Http => 1,
            Part::Database => 2,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Dhcp => "DHCP",
            Part::Http => "HTTP",
            Part::Database => "the database",
        })
    }
}

/// How a part stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turning {
    /// It has nothing to do, as DHCP without a network, and is asked for nothing.
    Rests,
    /// It was told to begin this long after the origin, and showed nothing yet.
    Begins(Duration),
    /// It last showed that it turns this long after the origin.
    Ticked(Duration),
}

/// What is to be thought of all parts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is late, and this part has not shown yet that it turns.
    Starting(Part),
    /// Every part that has something to do showed within its bound that it turns.
    Healthy,
    /// This part showed nothing for so long, which is more than its bound.
    Late(Part, Duration),
}

impl Verdict {
    /// Whether a watchdog may be fed.
    #[must_use]
    pub fn is_good(self) -> bool {
        !matches!(self, Verdict::Late(..))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Starting(part) => write!(f, "starting: {part} did not answer yet"),
            Verdict::Healthy => f.write_str("healthy"),
            Verdict::Late(part, silent) => write!(f, "late: {part} did nothing for {} s", silent.as_secs()),
        }
    }
}

/// Judges how the parts stand `now`; times count from one origin. The part that is over its bound by most is named.
#[must_use]
pub fn judge(parts: impl IntoIterator<Item = (Part, Turning)>, now: Duration) -> Verdict {
    let mut late = None;
    let mut starting = None;
    for (part, turning) in parts {
        let (since, shown) = match turning {
            Turning::Rests => continue,
            Turning::Begins(since) => (since, false),
            Turning::Ticked(at) => (at, true),
        };
        let silent = now.saturating_sub(since);
        if let Some(over) = silent.checked_sub(part.bound()).filter(|over| !over.is_zero()) {
            if late.is_none_or(|(most, _, _)| over > most) {
                late = Some((over, part, silent));
            }
        } else if !shown {
            starting = starting.or(Some(part));
        }
    }
    match (late, starting) {
        (Some((_, part, silent)), _) => Verdict::Late(part, silent),
        (None, Some(part)) => Verdict::Starting(part),
        (None, None) => Verdict::Healthy,
    }
}

/// The ticks of one box; clones are of the same box.
#[derive(Debug, Clone)]
pub struct Health(Arc<Ticks>);

#[derive(Debug)]
struct Ticks {
    /// By the kernel's monotonic clock, which no change of the time moves.
    origin: Instant,
    parts: [AtomicU64; 3],
}

/// In place of a time.
const RESTS: u64 = 0;
/// Beside a time: nothing was shown since.
const BEGINS: u64 = 1;

impl Default for Health {
    fn default() -> Self {
        Health(Arc::new(Ticks { origin: Instant::now(), parts: Default::default() }))
    }
}

impl Health {
    /// A part begins to be asked for; at rest again when what is returned goes.
    #[must_use]
    pub fn begin(&self, part: Part) -> Duty {
        self.put(part, self.since_origin() | BEGINS);
        Duty { health: self.clone(), part }
    }

    /// How all parts stand together.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        judge(Part::ALL.map(|part| (part, self.turning(part))), self.0.origin.elapsed())
    }

    /// How one part stands, in time since this box began.
    #[must_use]
    pub fn turning(&self, part: Part) -> Turning {
        let stored = self.0.parts.get(part.place()).map_or(RESTS, |stored| stored.load(Ordering::Acquire));
        let at = Duration::from_millis(stored >> 1);
        match stored {
            RESTS => Turning::Rests,
            stored if stored & 1 == BEGINS => Turning::Begins(at),
            _ => Turning::Ticked(at),
        }
    }

    /// Lets every part begin its bound anew: the whole process stood still, and none of them is to blame.
    pub fn forgive(&self) {
        let now = self.since_origin();
        for part in &self.0.parts {
            let renew = |stored| (stored != RESTS).then_some(now | (stored & 1));
            let _rests = part.fetch_update(Ordering::AcqRel, Ordering::Acquire, renew);
        }
    }

    fn put(&self, part: Part, value: u64) {
        if let Some(stored) = self.0.parts.get(part.place()) {
            stored.store(value, Ordering::Release);
        }
    }

    /// Milliseconds above the lowest bit; never [`RESTS`].
    fn since_origin(&self) -> u64 {
        let passed = u64::try_from(self.0.origin.elapsed().as_millis()).unwrap_or(u64::MAX >> 1);
        passed.max(1) << 1
    }
}

/// A part's promise to turn.
#[derive(Debug)]
pub struct Duty {
    health: Health,
    part: Part,
}

impl Duty {
    /// It turns.
    pub fn tick(&self) {
        self.health.put(self.part, self.health.since_origin());
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        self.health.put(self.part, RESTS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn each_part_is_late_alone_by_its_own_bound_and_is_named() {
        let now = 1000 * S;
        for late in Part::ALL {
            let at =
                |part: Part, silent: Duration| (part, Turning::Ticked(now - if part == late { silent } else { S }));
            let verdict = |silent| judge(Part::ALL.map(|part| at(part, silent)), now);
            assert_eq!(verdict(late.bound()), Verdict::Healthy);
            assert_eq!(verdict(late.bound() + S), Verdict::Late(late, late.bound() + S));
            assert!(!verdict(late.bound() + S).is_good());
        }
    }

    #[test]
    fn who_never_ticked_is_starting_for_its_bound_and_late_after_it() {
        let parts = [(Part::Http, Turning::Begins(10 * S)), (Part::Dhcp, Turning::Rests)];
        assert_eq!(judge(parts, 11 * S), Verdict::Starting(Part::Http));
        assert!(judge(parts, 11 * S).is_good());
        assert_eq!(judge(parts, 31 * S), Verdict::Late(Part::Http, 21 * S));
    }

    #[test]
    fn a_part_at_rest_is_asked_for_nothing() {
        let health = Health::default();
        assert_eq!(health.verdict(), Verdict::Healthy);
        let duty = health.begin(Part::Dhcp);
        assert_eq!(health.verdict(), Verdict::Starting(Part::Dhcp));
        duty.tick();
        assert_eq!(health.verdict(), Verdict::Healthy);
        drop(duty);
        assert_eq!(health.turning(Part::Dhcp), Turning::Rests);
    }

    #[test]
    fn what_is_over_its_bound_by_most_is_named() {
        let parts = [(Part::Http, Turning::Ticked(Duration::ZERO)), (Part::Dhcp, Turning::Ticked(Duration::ZERO))];
        assert_eq!(judge(parts, 100 * S), Verdict::Late(Part::Dhcp, 100 * S));
    }
}
