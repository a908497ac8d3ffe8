//! The log, and its bound: whoever can make the box say something again and again cannot fill its disk with it.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    io::Write as _,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::{Duration, Instant},
};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::{
    Layer as _,
    filter::{FilterExt as _, LevelFilter, Targets},
    layer::{Context, Filter, SubscriberExt as _},
    util::SubscriberInitExt as _,
};

/// Lines of one kind, which is one place in the source, within [`WINDOW`]; the rest are counted.
const LINES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(10);
/// Kinds told apart; two that fall together share their lines.
const KINDS: usize = 512;

/// Logs to standard error what `RACKBERRY_LOG` names, `info` if it names nothing.
pub fn start() {
    // Levels by module and no more: tracing's filter of spans and fields carries an engine for regular expressions.
    let named = std::env::var("RACKBERRY_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let wanted = named.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    tracing_subscriber::registry().with(lines.with_filter(wanted.and(Quota::new()))).init();
}

/// Lets so many lines of each kind through.
struct Quota {
    began: Instant,
    hasher: RandomState,
    kinds: Vec<Kind>,
}

#[derive(Default)]
struct Kind {
    /// Which one since the start, from 1.
    window: AtomicU64,
    lines: AtomicU32,
}

impl Quota {
    fn new() -> Self {
        let kinds = std::iter::repeat_with(Kind::default).take(KINDS).collect();
        Quota { began: Instant::now(), hasher: RandomState::new(), kinds }
    }

    /// Whether a line of this kind may be written at `at` after the start, and how many were left out before it.
    fn admit(&self, kind: u64, at: Duration) -> (bool, u32) {
        let slot = usize::try_from(kind % KINDS as u64).ok().and_then(|slot| self.kinds.get(slot));
        let Some(slot) = slot else { return (true, 0) };
        let window = at.as_secs() / WINDOW.as_secs() + 1;
        let mut left_out = 0;
        if slot.window.swap(window, Ordering::Relaxed) != window {
            left_out = slot.lines.swap(0, Ordering::Relaxed).saturating_sub(LINES);
        }
        (slot.lines.fetch_add(1, Ordering::Relaxed) < LINES, left_out)
    }
}

impl<S: Subscriber> Filter<S> for Quota {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let mut hasher = self.hasher.build_hasher();
        hasher.write(metadata.file().unwrap_or_default().as_bytes());
        hasher.write_u32(metadata.line().unwrap_or_default());
        let (admitted, left_out) = self.admit(hasher.finish(), self.began.elapsed());
        if left_out > 0 {
            let _ = writeln!(std::io::stderr(), "{left_out} more lines like the next one were left out");
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_kind_of_line_is_bounded_and_what_was_left_out_is_told() {
        let quota = Quota::new();
        let at = Duration::from_secs(15);
        let admitted = (0..1000).filter(|_| quota.admit(7, at).0).count();
        assert_eq!(admitted, 20);
        assert_eq!(quota.admit(8, at), (true, 0), "another kind has lines of its own");
        assert_eq!(quota.admit(7, at + WINDOW), (true, 980), "and a new window begins");
        assert_eq!(quota.admit(7, at + WINDOW), (true, 0));
    }
}
