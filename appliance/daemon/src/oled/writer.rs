//! The thread that alone speaks to the panel: it takes the latest picture, and may hang with the bus while nobody waits for it.

use super::panel::Driver;
use crate::display::Health;
use embedded_hal::i2c::I2c;
use rackberry_core::display::Picture;
use std::{
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// What the panel shall show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub picture: Picture,
    pub dimmed: bool,
}

/// How the writer waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// After the first failure; doubled with each further one.
    pub first: Duration,
    /// At most.
    pub most: Duration,
    /// The panel is set up and written anew this often, as one that was pulled and came back shows nothing.
    pub again: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { first: Duration::from_millis(250), most: Duration::from_secs(30), again: Duration::from_secs(10) }
    }
}

/// A bus that takes longer than this for one picture is stuck; the slowest takes a tenth of a second.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// What the thread says of itself, also while it hangs.
#[derive(Debug, Clone)]
pub struct Report {
    began: Instant,
    /// Milliseconds after `began` at which it went to the bus, plus one; 0 while it is not there.
    at_the_bus: Arc<AtomicU64>,
    health: Arc<watch::Sender<Option<Health>>>,
    /// Falls when the thread ends.
    alive: Arc<watch::Sender<bool>>,
    /// Writes that failed.
    failures: Arc<AtomicU64>,
}

impl Default for Report {
    fn default() -> Self {
        Report {
            began: Instant::now(),
            at_the_bus: Arc::default(),
            health: Arc::new(watch::Sender::new(None)),
            alive: Arc::new(watch::Sender::new(true)),
            failures: Arc::default(),
        }
    }
}

impl Report {
    /// How the panel fares; `None` before anything was tried.
    #[must_use]
    pub fn health(&self) -> Option<Health> {
        let since = self.at_the_bus.load(Ordering::Relaxed);
        let now = milliseconds(self.began.elapsed());
        if since > 0 && now.saturating_sub(since - 1) > milliseconds(STUCK_AFTER) {
            return Some(Health::Stuck);
        }
        self.health.borrow().clone()
    }

    /// Writes and openings that failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Resolves when the thread has shown the last picture and ended.
    pub async fn ended(&self) {
        let _ = self.alive.subscribe().wait_for(|alive| !alive).await;
    }

    fn at_bus<T>(&self, work: impl FnOnce() -> T) -> T {
        self.at_the_bus.store(milliseconds(self.began.elapsed()) + 1, Ordering::Relaxed);
        let done = work();
        self.at_the_bus.store(0, Ordering::Relaxed);
        done
    }

    fn say(&self, health: Health) {
        if health != Health::Shown {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        self.health.send_replace(Some(health));
    }
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Starts the thread; it ends once the sender of `frames` is gone and its last picture shown, or at once if the panel does not
/// answer then. Nobody joins it: a stuck bus would hold the program.
pub fn spawn<B, O, E>(frames: watch::Receiver<Option<Arc<Frame>>>, open: O, pace: Pace, report: Report)
where
    B: I2c + 'static,
    B::Error: Display,
    E: Display,
    O: FnMut() -> Result<Driver<B>, E> + Send + 'static,
{
    let ending = report.clone();
    let named = std::thread::Builder::new().name("display".to_owned());
    let started = named.spawn(move || {
        write(frames, open, pace, &report);
        report.alive.send_replace(false);
    });
    if let Err(error) = started {
        tracing::error!(%error, "the display's thread could not be started");
        ending.alive.send_replace(false);
    }
}

/// Waits without any of the program's own runtime: what hangs here hangs alone.
fn write<B, O, E>(mut frames: watch::Receiver<Option<Arc<Frame>>>, mut open: O, pace: Pace, report: &Report)
where
    B: I2c,
    B::Error: Display,
    E: Display,
    O: FnMut() -> Result<Driver<B>, E>,
{
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the display's thread cannot wait");
            return;
        }
    };
    let mut panel: Option<Driver<B>> = None;
    let mut delay = pace.first;
    let mut woken = Instant::now();
    loop {
        let frame = frames.borrow_and_update().clone();
        let looking = frame.is_some();
        let wait = match frame {
            None => pace.again,
            Some(frame) => {
                let fresh = panel.is_some() && woken.elapsed() < pace.again;
                let tried = report.at_bus(|| {
                    let driver = match &mut panel {
                        Some(driver) => driver,
                        None => panel.insert(open().map_err(|error| error.to_string())?),
                    };
                    put(driver, &frame, fresh).map_err(|error| error.to_string())
                });
                match tried {
                    Ok(()) => {
                        if !fresh {
                            woken = Instant::now();
                        }
                        delay = pace.first;
                        report.say(Health::Shown);
                        pace.again
                    }
                    Err(why) => {
                        // Opened anew: the node itself may have gone and come back.
                        panel = None;
                        report.say(Health::Missing(why));
                        let wait = delay;
                        delay = (delay * 2).min(pace.most);
                        wait
                    }
                }
            }
        };
        let changed = runtime.block_on(async {
            if panel.is_some() || !looking {
                tokio::time::timeout(wait, frames.changed()).await
            } else {
                // A panel that is away is not looked for more often because there is news.
                let gone = async { while frames.changed().await.is_ok() {} };
                tokio::time::timeout(wait, gone).await.map(|()| frames.has_changed().map(drop))
            }
        });
        // The sender is gone; what it sent last was seen above.
        if let Ok(Err(_)) = changed {
            finish(&frames, panel, report);
            return;
        }
    }
}

/// Shows what the sender left, should it have come since.
fn finish<B: I2c>(frames: &watch::Receiver<Option<Arc<Frame>>>, panel: Option<Driver<B>>, report: &Report) {
    let (Some(mut driver), Some(frame)) = (panel, frames.borrow().clone()) else { return };
    let _ = report.at_bus(|| put(&mut driver, &frame, true));
}

fn put<B: I2c>(driver: &mut Driver<B>, frame: &Frame, fresh: bool) -> Result<(), B::Error> {
    if fresh {
        return driver.show(&frame.picture, frame.dimmed);
    }
    driver.wake()?;
    driver.show(&frame.picture, frame.dimmed)?;
    driver.light()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Controller, Oled};
    use embedded_hal::i2c::{ErrorKind, ErrorType, Operation};
    use rackberry_core::display::{Panel, StatusView, picture};
    use std::sync::{Mutex, atomic::AtomicBool};

    /// A bus whose panel may be pulled; it keeps which strip is written, and all of them.
    #[derive(Clone, Default)]
    struct Wire {
        pulled: Arc<AtomicBool>,
        tried: Arc<AtomicU64>,
        memory: Arc<Mutex<(usize, [Vec<u8>; 8])>>,
    }

    impl ErrorType for Wire {
        type Error = ErrorKind;
    }

    impl I2c for Wire {
        fn transaction(&mut self, _: u8, operations: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
            self.tried.fetch_add(1, Ordering::Relaxed);
            if self.pulled.load(Ordering::Relaxed) {
                return Err(ErrorKind::Bus);
            }
            let mut memory = self.memory.lock().unwrap();
            for operation in operations {
                match operation {
                    Operation::Write([0x00, strip @ 0xb0..=0xb7, ..]) => memory.0 = usize::from(*strip & 7),
                    Operation::Write([0x40, pixels @ ..]) => {
                        let strip = memory.0;
                        memory.1[strip] = pixels.to_vec();
                    }
                    _ => {}
                }
            }
            Ok(())
        }
    }

    impl Wire {
        /// Whether its panel shows this picture.
        fn shows(&self, frame: &Frame) -> bool {
            self.memory.lock().unwrap().1.iter().map(Vec::as_slice).eq(frame.picture.strips())
        }
    }

    fn frame(hosts: u64) -> Arc<Frame> {
        let view = StatusView { name: format!("box {hosts}"), ..StatusView::default() };
        Arc::new(Frame { picture: picture(&view, 0, Panel::Tall), dimmed: false })
    }

    fn started(wire: &Wire, pace: Pace) -> (watch::Sender<Option<Arc<Frame>>>, Report) {
        let (frames, shown) = watch::channel(None);
        let report = Report::default();
        let wire = wire.clone();
        let open = move || Ok::<_, ErrorKind>(Driver::new(wire.clone(), Controller::Ssd1306, &Oled::default()));
        spawn(shown, open, pace, report.clone());
        (frames, report)
    }

    fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
        let until = Instant::now() + Duration::from_secs(60);
        while !done() {
            assert!(Instant::now() < until, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    const SOON: Pace =
        Pace { first: Duration::from_millis(2), most: Duration::from_millis(10), again: Duration::from_millis(50) };

    #[test]
    fn a_panel_that_was_pulled_and_put_back_shows_the_latest_picture() {
        let wire = Wire::default();
        let (frames, report) = started(&wire, SOON);
        frames.send_replace(Some(frame(1)));
        wait_for("the first picture", || wire.shows(&frame(1)));
        wire.pulled.store(true, Ordering::Relaxed);
        // Found out without any news.
        wait_for("missing", || matches!(report.health(), Some(Health::Missing(_))));
        frames.send_replace(Some(frame(2)));
        frames.send_replace(Some(frame(3)));
        wait_for("looked for again", || report.failures() > 5);
        wire.pulled.store(false, Ordering::Relaxed);
        wait_for("shown again", || report.health() == Some(Health::Shown) && wire.shows(&frame(3)));
    }

    #[test]
    fn the_last_picture_is_shown_before_the_thread_ends() {
        for number in 0..20 {
            let wire = Wire::default();
            let (frames, report) = started(&wire, Pace::default());
            frames.send_replace(Some(frame(1)));
            frames.send_replace(Some(frame(number)));
            drop(frames);
            wait_for("the end", || !*report.alive.borrow());
            assert!(wire.shows(&frame(number)), "{number}");
        }
    }

    #[test]
    fn news_do_not_hurry_the_search_for_a_missing_panel() {
        let wire = Wire::default();
        wire.pulled.store(true, Ordering::Relaxed);
        let pace = Pace { first: Duration::from_secs(600), ..SOON };
        let (frames, report) = started(&wire, pace);
        frames.send_replace(Some(frame(1)));
        wait_for("one try", || report.failures() == 1);
        for number in 0..100 {
            frames.send_replace(Some(frame(number)));
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(wire.tried.load(Ordering::Relaxed), 1);
        drop(frames);
        wait_for("the end", || !*report.alive.borrow());
    }
}
