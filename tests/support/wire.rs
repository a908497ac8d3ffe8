//! A cable in user space: two taps, and a thread that carries frames between them as badly as told.
//!
//! The kernel's own impairments (netem) are missing on many build machines. Taps without offloads see what a real
//! cable sees: frames of at most the MTU with their checksums filled in.

use crate::dice::Dice;
use crate::netns::Netns;
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How badly a wire carries frames; the default is a perfect cable.
#[derive(Clone, Copy, Debug, Default)]
pub struct Impairment {
    /// Percent of frames that vanish, each way.
    pub loss: f64,
    /// Percent of frames that arrive twice.
    pub duplicate: f64,
    /// Percent of frames that are held back until later ones have passed.
    pub reorder: f64,
    /// Time that every frame takes.
    pub delay: Duration,
}

/// What a wire did so far, both ways together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames read from either end.
    pub seen: u64,
    /// Frames dropped on purpose.
    pub lost: u64,
    /// Frames sent twice.
    pub duplicated: u64,
    /// Frames held back.
    pub reordered: u64,
}

#[derive(Default)]
struct Shared {
    impairment: Mutex<Impairment>,
    stop: AtomicBool,
    seen: AtomicU64,
    lost: AtomicU64,
    duplicated: AtomicU64,
    reordered: AtomicU64,
}

/// A cable between two interfaces that it made itself; unplugged when dropped.
pub struct Wire {
    shared: Arc<Shared>,
    carrier: Option<JoinHandle<()>>,
}

impl Wire {
    /// Makes tap `a` in one namespace and `b` in another (or the same), both up, and carries frames between them.
    /// The same `seed` with the same frames makes the same decisions.
    ///
    /// # Errors
    /// When a tap cannot be made.
    pub fn between(a: (&Netns, &str), b: (&Netns, &str), impairment: Impairment, seed: u64) -> Result<Self> {
        let ends = [open_tap(a.0, a.1)?, open_tap(b.0, b.1)?];
        let shared = Arc::new(Shared { impairment: Mutex::new(impairment), ..Shared::default() });
        let carrier = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || carry(&ends, &shared, seed)
        });
        Ok(Self { shared, carrier: Some(carrier) })
    }

    /// Changes how badly it carries from now on.
    pub fn set(&self, impairment: Impairment) {
        *self.shared.impairment.lock().unwrap_or_else(PoisonError::into_inner) = impairment;
    }

    /// What it did so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Shared { seen, lost, duplicated, reordered, .. } = &*self.shared;
        Counters { seen: read(seen), lost: read(lost), duplicated: read(duplicated), reordered: read(reordered) }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(carrier) = self.carrier.take() {
            let _ = carrier.join();
        }
    }
}

/// A frame on its way: when it is due, its number (which keeps the order of equal times), and where it goes.
type InFlight = Reverse<(Instant, u64, usize, Vec<u8>)>;

fn carry(ends: &[OwnedFd; 2], shared: &Shared, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut flying: BinaryHeap<InFlight> = BinaryHeap::new();
    let mut number = 0u64;
    let mut buffer = vec![0u8; 65_536];
    while !shared.stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        while flying.peek().is_some_and(|Reverse((due, ..))| *due <= now) {
            if let Some(Reverse((_, _, to, frame))) = flying.pop()
                && let Some(end) = ends.get(to)
            {
                // A full or vanished interface loses the frame, as a switch would.
                let _ = rustix::io::write(end, &frame);
            }
        }
        let wait = flying.peek().map_or(STOP_CHECK, |Reverse((due, ..))| due.saturating_duration_since(now));
        let wait = wait.min(STOP_CHECK);
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
        let mut ready = ends.each_ref().map(|end| PollFd::new(end, PollFlags::IN));
        if poll(&mut ready, Some(&timeout)).is_err() {
            continue;
        }
        let readable = ready.each_ref().map(|end| end.revents().contains(PollFlags::IN));
        let impairment = *shared.impairment.lock().unwrap_or_else(PoisonError::into_inner);
        for (from, end) in ends.iter().enumerate().filter(|(at, _)| readable.get(*at) == Some(&true)) {
            // Taps do not block, so this drains what is there and no more than a burst.
            for _ in 0..BURST {
                let Ok(length) = rustix::io::read(end, &mut buffer) else {
                    break;
                };
                let frame = buffer.get(..length).unwrap_or_default().to_vec();
                shared.seen.fetch_add(1, Ordering::Relaxed);
                if dice.hits(impairment.loss) {
                    shared.lost.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let mut due = Instant::now() + impairment.delay;
                if dice.hits(impairment.reorder) {
                    shared.reordered.fetch_add(1, Ordering::Relaxed);
                    due += impairment.delay.max(Duration::from_millis(1)) * 2;
                }
                if dice.hits(impairment.duplicate) {
                    shared.duplicated.fetch_add(1, Ordering::Relaxed);
                    number += 1;
                    flying.push(Reverse((due, number, 1 - from, frame.clone())));
                }
                number += 1;
                flying.push(Reverse((due, number, 1 - from, frame)));
            }
        }
    }
}

const BURST: usize = 64;
/// How often the thread looks whether it should end, in absence of frames.
const STOP_CHECK: Duration = Duration::from_millis(50);

fn open_tap(ns: &Netns, name: &str) -> Result<OwnedFd> {
    let fd = ns.enter(|| attach_tap(name).with_context(|| format!("make the tap {name} in {}", ns.name())))?;
    ns.up(name, None)?;
    Ok(fd)
}

/// linux/if_tun.h: the request and the flags (a tap, without the packet-information header).
const TUNSETIFF: rustix::ioctl::Opcode = 0x4004_54ca;
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;

#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

fn attach_tap(name: &str) -> Result<OwnedFd> {
    let fd = rustix::fs::open("/dev/net/tun", OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?;
    let mut request = InterfaceRequest { name: [0; 16], flags: IFF_TAP | IFF_NO_PI, rest: [0; 22] };
    for (to, from) in request.name.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: TUNSETIFF reads a struct ifreq, 40 bytes, which the request is laid out as.
    unsafe {
        rustix::ioctl::ioctl(fd.as_fd(), rustix::ioctl::Setter::<TUNSETIFF, InterfaceRequest>::new(request))?;
    }
    Ok(fd)
}
