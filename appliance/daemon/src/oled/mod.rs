//! The display's shell: what the box is doing becomes pictures, pictures go to the panel, buttons come back.
//!
//! | module | one sentence |
//! |---|---|
//! | `panel` | the words of SSD1306 and SH1106 over any I2C bus |
//! | `bus` | the buses there are |
//! | `writer` | the thread that alone speaks to the panel, and may hang with it |
//! | `buttons` | presses and holds, told apart |
//! | `pins` | the thread that reads buttons and drives the light |
//!
//! Nothing waits for the panel or the pins: they have threads of their own, and only the latest picture waits for them.

mod bus;
pub mod buttons;
pub mod panel;
mod pins;
pub mod writer;

pub use buttons::ButtonEvent;

use crate::{
    auth::Auth,
    config::Config,
    consent::Consent,
    display::{Display, Health, STUCK, Seen, tick},
    inventory::{Inventory, Snapshot},
    net::NetworkView,
    sensors::Sensors,
    update::Updates,
};
use rackberry_core::{
    display::{self, Light, Notice, StatusView, picture},
    event::Actor,
    text::CleanText,
    time::Timestamp,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{mpsc, watch};
use writer::{Frame, Pace, Report};

/// Between two pictures at least: telemetry changes as often.
const PACE: Duration = Duration::from_millis(250);
/// The picture of the start stays this long.
const SPLASH: Duration = Duration::from_secs(3);
/// An update is shown for this long before a press can mean it.
const READ: Duration = Duration::from_secs(2);
/// How long the last picture may take.
const LAST_WORDS: Duration = Duration::from_millis(700);

/// Everything the display's shell works with.
#[derive(Clone)]
pub struct Shell {
    pub config: Arc<Config>,
    pub inventory: Inventory,
    pub auth: Auth,
    pub display: Display,
    pub consent: Consent,
    pub network: watch::Receiver<Arc<NetworkView>>,
    pub state_dir: Arc<PathBuf>,
    pub updates: Updates,
    pub sensors: Sensors,
}

/// Shows what the box does until `stop` turns true; over at once where the settings name neither display nor pins.
pub async fn run(shell: Shell, mut stop: watch::Receiver<bool>) {
    let oled = &shell.config.oled;
    if oled.controller.is_none() && !oled.has_pins() {
        return;
    }
    let (frames, shown) = watch::channel(None);
    let (light, lit) = watch::channel(Light::Slow);
    let (events, mut pressed) = mpsc::channel(32);
    let report = Report::default();
    if let Some(controller) = oled.controller {
        shell.display.fares(Health::Opening);
        let settings = oled.clone();
        let open = move || bus::open(&settings).map(|bus| panel::Driver::new(bus, controller, &settings));
        writer::spawn(shown, open, Pace::default(), report.clone());
    }
    if oled.has_pins() {
        pins::spawn(shell.config.clone(), shell.state_dir.clone(), events.clone(), lit);
    }
    let mut painter = Painter { shell: &shell, frames, light, last: None, news: None, offered: None };
    let mut snapshots = shell.inventory.subscribe();
    let mut network = shell.network.clone();
    let mut said = shell.display.subscribe();
    let mut digits = shell.consent.news();
    let began = shell.inventory.now();
    loop {
        let now = shell.inventory.now();
        shell.watch_over(&report).await;
        painter.paint(began, now);
        // Never faster than the panel, however much is going on.
        tokio::time::sleep(PACE).await;
        let mut event = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            event = pressed.recv() => event,
            _ = snapshots.changed() => None,
            _ = network.changed() => None,
            _ = said.changed() => None,
            () = digits.changed() => None,
            () = tokio::time::sleep(Duration::from_secs(1)) => None,
        };
        // A hold tells of itself faster than pictures are drawn.
        while let Some(told) = event {
            shell.obey(told, painter.offered).await;
            event = pressed.try_recv().ok();
        }
    }
    painter.goodbye(&report).await;
    drop(events);
}

/// Draws, and remembers what it drew.
struct Painter<'s> {
    shell: &'s Shell,
    frames: watch::Sender<Option<Arc<Frame>>>,
    light: watch::Sender<Light>,
    last: Option<StatusView>,
    /// When anything last changed.
    news: Option<Timestamp>,
    /// Since when an update is offered.
    offered: Option<Timestamp>,
}

impl Painter<'_> {
    fn paint(&mut self, began: Timestamp, now: Timestamp) {
        let mut view = self.shell.view(now);
        if view.notice.is_none() && now.since(began) < SPLASH {
            let up = matches!(view.network, display::Network::Up { .. });
            view.notice = Some(Notice::Starting { percent: if up { 100 } else { 70 } });
        }
        if self.last.as_ref() != Some(&view) {
            self.news = Some(now);
        }
        let dimmed = self.news.is_some_and(|news| display::dimmed(now.since(news)));
        self.send(&view, now, dimmed);
        self.offered = match view.notice {
            Some(Notice::Offer { .. }) => self.offered.or(Some(now)),
            _ => None,
        };
        self.last = Some(view);
    }

    fn send(&self, view: &StatusView, now: Timestamp, dimmed: bool) {
        let light = Light::of(view);
        self.light.send_if_modified(|lit| std::mem::replace(lit, light) != light);
        let frame = Frame { picture: picture(view, tick(now), self.shell.config.oled.panel), dimmed };
        self.frames.send_if_modified(|shown| {
            let new = shown.as_ref().is_none_or(|shown| **shown != frame);
            if new {
                *shown = Some(Arc::new(frame));
            }
            new
        });
    }

    /// The last picture; waits a moment for a panel that works.
    async fn goodbye(self, report: &Report) {
        let off = matches!(self.shell.display.subscribe().borrow().notice, Some(Notice::Stopped { off: true, .. }));
        let wall = self.shell.inventory.clock().wall();
        let now = self.shell.inventory.now();
        let mut view = self.shell.view(now);
        view.notice = Some(Notice::Stopped { off, at: time_of_day(wall.0) });
        self.send(&view, now, false);
        let Painter { frames, light, .. } = self;
        drop((frames, light));
        if self.shell.config.oled.controller.is_some() && self.shell.display.health() == Health::Shown {
            let _ = tokio::time::timeout(LAST_WORDS, report.ended()).await;
        }
    }
}

/// Hours and minutes in UTC; empty if the box does not know the time.
fn time_of_day(wall_ms: i64) -> String {
    // A clock that was never set stands near 1970.
    match u64::try_from(wall_ms / 60_000) {
        Ok(minutes) if minutes > 26_000_000 => format!("{:02}:{:02} UTC", minutes / 60 % 24, minutes % 60),
        _ => String::new(),
    }
}

impl Shell {
    fn view(&self, now: Timestamp) -> StatusView {
        let snapshot: Arc<Snapshot> = self.inventory.snapshot();
        let network = self.network.borrow().clone();
        let code = self.auth.code();
        let update = self.updates.notice(&snapshot, self.config.oled.confirm_gpio.is_some(), now);
        let question = self.consent.shown();
        self.display.view(Seen {
            snapshot: &snapshot,
            network: &network,
            code: code.as_deref(),
            config: &self.config,
            question: question.as_ref(),
            update: update.as_ref(),
            now,
        })
    }

    /// Passes on what the writer says of the panel; a stuck bus is told in the log once, and as an alarm.
    async fn watch_over(&self, report: &Report) {
        let Some(health) = report.health() else { return };
        let before = self.display.health();
        // Told once, however often the reason changes.
        if !self.display.fares(health.clone()) || before.word() == health.word() {
            return;
        }
        let oled = &self.config.oled;
        let place = format!("/dev/i2c-{} at {:#04x}", oled.i2c, oled.address);
        let done = match &health {
            Health::Off | Health::Opening => return,
            Health::Shown => {
                tracing::info!("the display on {place} shows what the box does");
                self.inventory.transact(|tx| tx.settle_alarm(STUCK, Actor::Box).map(|_| ())).await
            }
            Health::Missing(why) => {
                tracing::warn!("the display on {place} does not answer ({why}); it is looked for again and again");
                return;
            }
            Health::Stuck => {
                let text = format!(
                    "The display's bus is stuck: a write to {place} never ended. Everything else goes on. Unplug the \
                     display or check its wires."
                );
                tracing::warn!("{text}");
                self.inventory.transact(move |tx| tx.raise_alarm(STUCK, None, CleanText::new(&text))).await
            }
        };
        if let Err(error) = done {
            tracing::error!(error = crate::chain(&error), "the display's state could not be recorded");
            self.display.fares(before);
        }
    }

    /// `offered` says since when the display shows an update.
    async fn obey(&self, event: ButtonEvent, offered: Option<Timestamp>) {
        let now = self.inventory.now();
        tracing::debug!(?event, "a button");
        match event {
            ButtonEvent::NextPage => self.display.turn(now),
            ButtonEvent::Confirm => match self.consent.press(&self.inventory).await {
                Ok(Some(install)) => tracing::info!(install = %install.id, "somebody at the box said yes"),
                Ok(None) if offered.is_some_and(|since| now.since(since) >= READ) => self.update().await,
                Ok(None) => tracing::debug!("the button was pressed, and nothing was asked"),
                Err(error) => tracing::error!(error = crate::chain(&error), "a yes could not be recorded"),
            },
            ButtonEvent::Holding { what, percent } => {
                self.display.say(Some(Notice::Hold { what: what.title().to_owned(), held: percent }));
            }
            ButtonEvent::LetGo => self.display.say(None),
            ButtonEvent::SwitchOff => self.switch_off().await,
            ButtonEvent::FactoryReset => self.mark_reset().await,
        }
    }

    /// The button said yes to the update that is shown.
    async fn update(&self) {
        match self.updates.press(&self.inventory, &self.sensors).await {
            Ok(kept) => tracing::info!(version = %kept.header.version, "somebody at the box said yes to the update"),
            Err(error) => tracing::warn!(error = crate::chain(&error), "the update is not installed"),
        }
    }

    /// Runs the command that the settings name; the machine then stops us as it stops everything.
    async fn switch_off(&self) {
        let Some((program, words)) = self.config.oled.off_command.split_first() else {
            tracing::warn!("the button for switching off was held, but oled.off_command names nothing to run");
            self.display.say(None);
            return;
        };
        tracing::info!(program, "switching off, as the button was held");
        self.display.say(Some(Notice::Stopped { off: true, at: time_of_day(self.inventory.clock().wall().0) }));
        let ran = tokio::process::Command::new(program).args(words).stdin(std::process::Stdio::null()).status().await;
        match ran {
            Ok(status) if status.success() => {}
            Ok(status) => self.stays_on(&format!("{program} ended with {status}")),
            Err(error) => self.stays_on(&format!("{program} could not be run: {error}")),
        }
    }

    fn stays_on(&self, why: &str) {
        tracing::error!("the machine was not switched off: {why}");
        self.display.say(None);
    }

    /// Leaves a file for whoever starts the box; nothing is erased here.
    async fn mark_reset(&self) {
        let path = self.state_dir.join(crate::card::RESET_REQUEST);
        let marked = tokio::task::spawn_blocking({
            let path = path.clone();
            move || mark(&path)
        });
        match marked.await {
            Ok(Ok(())) => {
                tracing::warn!(file = %path.display(), "a factory reset was asked for at the button");
                self.display.say(Some(Notice::ResetMarked));
            }
            Ok(Err(error)) => {
                tracing::error!(file = %path.display(), %error, "a factory reset could not be marked");
                self.display.say(None);
            }
            Err(error) => tracing::error!(%error, "a factory reset could not be marked"),
        }
    }
}

/// The file, on the disk when this returns.
fn mark(path: &Path) -> std::io::Result<()> {
    std::fs::File::create(path)?.sync_all()?;
    path.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests;
