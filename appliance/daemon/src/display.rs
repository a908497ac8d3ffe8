//! What the display of the box shows: its state in the display's words, the same for panel, page and command line.

mod png;

pub use png::png;

use crate::{
    config::Config,
    inventory::{Alarm, DISK, HostEntry, Snapshot},
    net::{NetworkView, box_name},
    sensors,
};
use rackberry_core::{
    display::{self, Installing, Network, Notice, StatusView, Step, Turned},
    hardware::size,
    id::InstallId,
    install::{Consent, Phase},
    status::{Condition, span},
    task::TaskKind,
    time::Timestamp,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// An install that ended well is counted for this long.
const DONE: Duration = Duration::from_secs(3600);
/// One that ended badly is shown for this long, unless its host does something else before.
const FAILED: Duration = Duration::from_secs(12 * 3600);

/// What the panel's own parts say, beside the state of the box; clones speak of the same panel.
#[derive(Debug, Clone)]
pub struct Display(Arc<watch::Sender<Said>>);

/// What was said last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    /// Comes before all pages.
    pub notice: Option<Notice>,
    pub turned: Option<Turned>,
    pub health: Health,
}

/// How the panel fares.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Health {
    /// The settings name none.
    #[default]
    Off,
    /// Nothing was written yet.
    Opening,
    /// It took the last picture.
    Shown,
    /// It does not answer; looked for again and again.
    Missing(String),
    /// The bus took a write and never ended it.
    Stuck,
}

impl Health {
    /// In one word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Health::Off => "off",
            Health::Opening => "opening",
            Health::Shown => "shown",
            Health::Missing(_) => "missing",
            Health::Stuck => "stuck",
        }
    }
}

/// What a picture is made of beside what the panel's parts say.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    pub snapshot: &'a Snapshot,
    pub network: &'a NetworkView,
    /// For the first person, while there is none.
    pub code: Option<&'a str>,
    pub config: &'a Config,
    /// The question about an install, when it was asked, and its digits; none for whoever is not the panel itself.
    pub question: Option<&'a (InstallId, Timestamp, String)>,
    /// What updates have to say.
    pub update: Option<&'a Notice>,
    pub now: Timestamp,
}

impl Default for Display {
    fn default() -> Self {
        Display(Arc::new(watch::Sender::new(Said::default())))
    }
}

impl Display {
    /// Follows what is said.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Said> {
        self.0.subscribe()
    }

    /// Puts something before all pages, or takes it away.
    pub fn say(&self, notice: Option<Notice>) {
        self.0.send_if_modified(|said| replace(&mut said.notice, notice));
    }

    /// Says how the panel fares; whether that is new.
    pub fn fares(&self, health: Health) -> bool {
        self.0.send_if_modified(|said| replace(&mut said.health, health))
    }

    /// How the panel fares.
    #[must_use]
    pub fn health(&self) -> Health {
        self.0.borrow().health.clone()
    }

    /// Turns to the next page.
    pub fn turn(&self, now: Timestamp) {
        let at = tick(now);
        self.0.send_modify(|said| {
            let before = said.turned.filter(|turned| at.saturating_sub(turned.at) < display::TURNED_TICKS);
            said.turned = Some(match before {
                Some(turned) => Turned { presses: turned.presses.wrapping_add(1), at, ..turned },
                None => Turned { presses: 1, first: at, at },
            });
        });
    }

    /// What is shown now.
    #[must_use]
    pub fn view(&self, seen: Seen<'_>) -> StatusView {
        let Said { notice, turned, .. } = self.0.borrow().clone();
        let Seen { snapshot, network, code, config, now, .. } = seen;
        let hosts = || snapshot.hosts.values();
        let lately = |entry: &HostEntry, phase: Phase, span: Duration| {
            entry.install.as_ref().is_some_and(|install| {
                install.state.phase == phase && install.state.ended.is_some_and(|ended| now.since(ended) < span)
            })
        };
        let mut alarms: Vec<(&String, &Arc<Alarm>)> = snapshot.alarms.iter().collect();
        alarms.sort_by_key(|(_, alarm)| std::cmp::Reverse(alarm.since));
        StatusView {
            name: box_name(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            network: match network.address {
                Some(address) => Network::Up { address, mode: network.mode_word.clone() },
                None => Network::Waiting { why: network.mode.clone() },
            },
            url: url(network),
            hosts: u64::try_from(snapshot.hosts.len()).unwrap_or(u64::MAX),
            installs: hosts().filter_map(|entry| installing(entry, snapshot, config, now)).collect(),
            done: u64::try_from(hosts().filter(|entry| lately(entry, Phase::Done, DONE)).count()).unwrap_or(0),
            alarms: alarms.into_iter().map(|(key, alarm)| shown(key, alarm)).collect(),
            code: code.map(str::to_owned),
            notice: notice.or_else(|| consent(&seen)).or_else(|| seen.update.cloned()),
            button: config.oled.next_gpio.is_some(),
            turned,
        }
    }
}

/// What stands in place of digits that only the panel shows.
const MASK: &str = "****";

/// The question that people at the box are asked.
fn consent(seen: &Seen<'_>) -> Option<Notice> {
    let install = seen.snapshot.asked()?;
    let Consent::Asked { at, until, disk, .. } = &install.state.consent else { return None };
    let host = &seen.snapshot.host(install.host)?.host;
    let digits = seen.question.filter(|(id, asked, _)| *id == install.id && asked == at);
    Some(Notice::Consent {
        host: host.name.to_string(),
        mac: host.mac().map(|mac| mac.to_string()).unwrap_or_default(),
        digits: digits.map_or_else(|| MASK.to_owned(), |(_, _, digits)| digits.clone()),
        disk: format!("{} {}, {}", disk.name, size(disk.size_bytes), disk.content),
        seconds_left: u16::try_from(until.since(seen.now).as_secs()).unwrap_or(u16::MAX),
        button: seen.config.oled.confirm_gpio.is_some(),
    })
}

/// Whether it changed.
fn replace<T: PartialEq>(place: &mut T, new: T) -> bool {
    let changed = *place != new;
    *place = new;
    changed
}

/// The display's time: seconds of the box's clock.
#[must_use]
pub fn tick(now: Timestamp) -> u64 {
    now.0 / 1000
}

/// Where a browser finds the page: the boot port sends it there, and its address is the shorter one.
fn url(network: &NetworkView) -> String {
    match (network.address, network.boot_port) {
        (None, _) => String::new(),
        (Some(address), 80) => format!("http://{address}/"),
        (Some(address), port) => format!("http://{address}:{port}/"),
    }
}

/// An install that is under way or ended badly not long ago, in the display's words.
fn installing(entry: &HostEntry, snapshot: &Snapshot, config: &Config, now: Timestamp) -> Option<Installing> {
    let install = entry.install.as_ref()?;
    if install.state.ended.is_some_and(|ended| now.since(ended) >= FAILED) {
        return None;
    }
    let (condition, sentence) = entry.describe(snapshot, config.idle_to_disk, now);
    let step = match condition {
        Condition::Armed => Step::Armed,
        Condition::Installing => Step::Busy,
        Condition::Quiet => {
            let heard = entry.live.as_ref().map(|live| live.last_news).max(entry.last_seen).unwrap_or(now);
            Step::Quiet(span(now.since(heard)))
        }
        Condition::Interrupted | Condition::Failed | Condition::TimedOut => Step::Failed(condition.word().to_owned()),
        Condition::Discovered
        | Condition::Expected
        | Condition::Waiting
        | Condition::Cancelled
        | Condition::Running
        | Condition::Off => return None,
    };
    let current = install.state.current();
    let writes = current.is_some_and(|task| task.running() && task.spec.kind == TaskKind::WriteImage);
    let progress = entry.progress().filter(|_| writes);
    let rate = progress.map(|progress| progress.bytes_per_s).filter(|rate| *rate > 0);
    let left = progress.zip(rate).map(|(progress, rate)| {
        Duration::from_secs(progress.total_bytes.saturating_sub(progress.done_bytes).checked_div(rate).unwrap_or(0))
    });
    let small = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
    Some(Installing {
        name: entry.host.name.to_string(),
        title: install.plan.title.clone(),
        task: match step {
            Step::Failed(_) | Step::Armed => sentence,
            Step::Busy | Step::Quiet(_) => current.map(|task| task.spec.kind.title().to_owned()).unwrap_or_default(),
        },
        step,
        percent: progress.map(|progress| progress.percent()),
        rate: rate.map(|rate| format!("{}/s", size(rate))).unwrap_or_default(),
        left: left.map(span).unwrap_or_default(),
        tasks: (small(install.state.tasks.iter().filter(|task| task.done()).count()), small(install.state.tasks.len())),
    })
}

/// An alarm with a title of a few words.
fn shown(key: &str, alarm: &Alarm) -> display::Alarm {
    let kind = key.split_once('-').map_or(key, |(kind, _)| kind);
    let title = match (key, kind) {
        ("foreign-dhcp", _) => "Other DHCP server",
        (sensors::POWER, _) => "Low voltage",
        (sensors::HEAT, _) => "Too hot",
        (sensors::WEAR, _) => "Card: worn out",
        (sensors::ERRORS, _) => "Card: errors",
        (sensors::READ_ONLY, _) => "Card: read-only",
        (sensors::FULL, _) => "Card: full",
        (DISK | "leases", _) => "Card: cannot write",
        ("inventory-restored", _) => "Backup in use",
        ("settings", _) => "Settings: mistake",
        (STUCK, _) => "Display stuck",
        ("update", _) => "Update failed",
        (_, "stick") => "Update on a stick",
        (_, "mismatch") => "Other machine",
        _ if alarm.host.is_some() => "Look at a host",
        _ => "Look at the page",
    };
    display::Alarm { title: title.to_owned(), text: alarm.text.to_string() }
}

/// The alarm that a stuck bus raises.
pub const STUCK: &str = "display";
