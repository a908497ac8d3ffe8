//! Two clocks, never mixed: [`Timestamp`] decides, [`WallTime`] is only shown.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Milliseconds of this box's running time: the boot-time clock on top of a floor kept on disk.
///
/// It only grows, also over restarts, and stands still while the box is off; so a board without a clock chip expires
/// nothing early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This instant and `later` more; stops at the end of time instead of wrapping.
    #[must_use]
    pub fn after(self, later: Duration) -> Self {
        Timestamp(self.0.saturating_add(u64::try_from(later.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Milliseconds since 1970-01-01 UTC as the system clock said; for display only, it may jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct WallTime(pub i64);

impl WallTime {
    /// 1 January 2026, before this was written: a clock before that was never set.
    pub const FIRST: WallTime = WallTime(1_767_225_600_000);
}
