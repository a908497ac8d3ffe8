//! The thread that tells service manager and watchdog that the box is well: a thread of its own, so that it tells the truth
//! about a runtime that hangs.

use super::{Health, Verdict};
use sd_notify::NotifyState;
use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::PathBuf,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Between two heartbeats.
pub const PERIOD: Duration = Duration::from_secs(1);
/// Who sleeps this much longer than it wanted was stopped, together with everything else.
const STOOD_STILL: Duration = Duration::from_secs(5);

/// The running thread; it ends when this goes, and no heartbeat comes any more.
#[derive(Debug)]
pub struct Heartbeat {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    /// Starts it. Each second with a good verdict the service manager gets `WATCHDOG=1`, if it asked for that, and `file`
    /// the seconds of the boot-time clock, in ten places and with a line feed; without one they are told once to act now,
    /// the file by a 0, and get nothing more.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(health: Health, file: Option<PathBuf>) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let watched = sd_notify::watchdog_enabled().is_some();
        let run = move || {
            let mut good = true;
            loop {
                let before = Instant::now();
                match stopped.recv_timeout(PERIOD) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
                if before.elapsed() > PERIOD + STOOD_STILL {
                    health.forgive();
                }
                let verdict = health.verdict();
                if verdict.is_good() {
                    beat(watched, file.as_ref());
                } else if good {
                    tell(watched, file.as_ref(), verdict);
                }
                good = verdict.is_good();
            }
        };
        let thread = std::thread::Builder::new().name("health".to_owned()).spawn(run)?;
        Ok(Heartbeat { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn beat(watched: bool, file: Option<&PathBuf>) {
    if watched {
        let _ = sd_notify::notify(&[NotifyState::Watchdog]);
    }
    write(file, rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec);
}

fn write(file: Option<&PathBuf>, seconds: i64) {
    let Some(path) = file else { return };
    // One write of the same length each time: a reader sees the old number or the new one.
    let write = |file: File| file.write_all_at(format!("{seconds:>10}\n").as_bytes(), 0);
    let open = File::options().write(true).create(true).truncate(false).mode(0o644).open(path);
    if let Err(error) = open.and_then(write) {
        tracing::warn!(%error, path = %path.display(), "the heartbeat is not written");
    }
}

fn tell(watched: bool, file: Option<&PathBuf>, verdict: Verdict) {
    tracing::error!("the box is not well, and no watchdog is fed any more: {verdict}");
    if watched {
        let _ = sd_notify::notify(&[NotifyState::WatchdogTrigger]);
    }
    write(file, 0);
}
