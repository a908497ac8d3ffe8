//! The box's time: the kernel's boot-time clock on top of a floor that is stored with every commit.

use rackberry_core::time::{Timestamp, WallTime};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Where readings come from; tests bring their own.
pub trait Clock: Send + Sync {
    /// Names this boot of the kernel; another boot, another name.
    fn boot_id(&self) -> String;
    /// Since this boot, suspension included.
    fn boottime(&self) -> Duration;
    /// What the system clock says; it may jump.
    fn wall(&self) -> WallTime;
}

/// The kernel's clocks.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn boot_id(&self) -> String {
        // Without the file every start counts as another boot: time then stands still in between, nothing expires early.
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
    }

    fn boottime(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    }

    fn wall(&self) -> WallTime {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        WallTime(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// One reading of the boot-time clock beside the [`Timestamp`] it stood for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Floor {
    pub boot: String,
    pub boottime: Duration,
    pub now: Timestamp,
}

/// The box's clock; clones tell the same time.
#[derive(Clone)]
pub struct BoxClock {
    clock: Arc<dyn Clock>,
    floor: Arc<Floor>,
    /// The latest reading given, so that time never runs backwards whatever the kernel says.
    latest: Arc<AtomicU64>,
}

impl fmt::Debug for BoxClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxClock").field("floor", &self.floor).finish_non_exhaustive()
    }
}

impl BoxClock {
    /// Goes on from what was stored: exactly within the same boot, else from the stored time itself.
    pub(super) fn resume(clock: Arc<dyn Clock>, stored: Option<Floor>) -> Self {
        let boot = clock.boot_id();
        let boottime = clock.boottime();
        let floor = match stored {
            Some(floor) if floor.boot == boot && !boot.is_empty() && floor.boottime <= boottime => floor,
            Some(floor) => Floor { boot, boottime, now: floor.now },
            // Time begins at the wall clock, so that ids made from it sort well beside those of other boxes; where
            // that clock is wrong nothing else depends on it. 40 bits of milliseconds end in 2004, 42 in 2109.
            None => {
                let WallTime(wall) = clock.wall();
                Floor { boot, boottime, now: Timestamp(u64::try_from(wall).unwrap_or(0) & ((1 << 42) - 1)) }
            }
        };
        let latest = Arc::new(AtomicU64::new(floor.now.0));
        BoxClock { clock, floor: Arc::new(floor), latest }
    }

    /// Now, for every decision.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let passed = self.clock.boottime().saturating_sub(self.floor.boottime);
        let Timestamp(now) = self.floor.now.after(passed);
        Timestamp(self.latest.fetch_max(now, Ordering::Relaxed).max(now))
    }

    /// What the system clock says, for display only.
    #[must_use]
    pub fn wall(&self) -> WallTime {
        self.clock.wall()
    }

    /// A reading to store.
    pub(super) fn reading(&self) -> Floor {
        // The boot-time clock first: a reading a moment too early makes time resume a moment later, never earlier.
        let boottime = self.clock.boottime();
        Floor { boot: self.floor.boot.clone(), boottime, now: self.now() }
    }
}
