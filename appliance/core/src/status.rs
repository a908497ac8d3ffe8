//! What a host is doing, in one word and one sentence: the same for page, API, command line and display.

use crate::{
    agent::Progress,
    event::Station,
    hardware::size,
    host::{BootPolicy, Firmware, Host},
    install::{Consent, Install, Phase},
    task::{BootOrder, TaskKind},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a host is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Seen, hardware unknown.
    Discovered,
    /// Enrolled, never seen.
    Expected,
    /// In the RAM OS.
    Waiting,
    Armed,
    Installing,
    /// Installing, but nothing was heard for longer than its task is usually silent.
    Quiet,
    Interrupted,
    Failed,
    TimedOut,
    Cancelled,
    /// Installed, and started from its own disk.
    Running,
    /// Not seen for a while.
    Off,
}

impl Condition {
    /// The word people read.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Condition::Discovered => "Discovered",
            Condition::Expected => "Expected",
            Condition::Waiting => "Waiting",
            Condition::Armed => "Armed",
            Condition::Installing | Condition::Quiet => "Installing",
            Condition::Interrupted => "Interrupted",
            Condition::Failed => "Failed",
            Condition::TimedOut => "Timed out",
            Condition::Cancelled => "Cancelled",
            Condition::Running => "Running",
            Condition::Off => "Off",
        }
    }
}

/// Everything the word and the sentence depend on.
#[derive(Debug, Clone, Copy)]
pub struct Signs<'a> {
    pub host: &'a Host,
    /// The Install under way, else the last one.
    pub install: Option<&'a Install>,
    /// Stations of the last network boot, in order.
    pub stations: &'a [(Station, Timestamp)],
    /// Since when it waits in the RAM OS.
    pub in_ram_since: Option<Timestamp>,
    pub last_seen: Option<Timestamp>,
    pub progress: Option<Progress>,
    pub last_news: Option<Timestamp>,
    /// When an idle host with a system on its disk goes on to it.
    pub idle_to_disk: Option<Duration>,
    /// Questions at the box's display that come before this host's.
    pub questions_before: usize,
    pub now: Timestamp,
}

/// A running Install that says nothing for this long is quiet.
pub const QUIET: Duration = Duration::from_secs(10);
/// A distribution's own installer logs seldom while it works on a disk, and not at all while it waits for an answer.
const INSTALLER_QUIET: Duration = Duration::from_secs(600);
/// An agent asks at least every half minute; twice that and it is gone.
const GONE: Duration = Duration::from_secs(75);
/// Armed and not seen for this long: somebody has to walk there.
const NOT_COMING: Duration = Duration::from_secs(300);
/// Not heard of for this long: it is off.
const OFF: Duration = Duration::from_secs(600);
/// A first boot that takes longer is called late.
const LATE: Duration = Duration::from_secs(180);

/// Word and sentence.
#[must_use]
pub fn describe(signs: &Signs<'_>) -> (Condition, String) {
    let host = signs.host;
    let seen = signs.last_seen.is_some_and(|seen| signs.now.since(seen) < GONE);
    let in_ram = signs.in_ram_since.filter(|_| seen);
    if let Some(install) = signs.install {
        let state = &install.state;
        let title = &install.plan.title;
        match state.phase {
            Phase::Armed | Phase::Booting => return (Condition::Armed, armed(signs, install)),
            Phase::Installing => return installing(signs, install),
            Phase::Waiting => {
                let since = last_done(install).unwrap_or(state.arm.granted);
                let waited = signs.now.since(since);
                let late = if waited > LATE { "Late: the" } else { "The" };
                let sentence =
                    format!("{late} disk is written; waiting for the first boot of {title} for {}.", span(waited));
                return (Condition::Installing, sentence);
            }
            Phase::Interrupted => {
                let place = if in_ram.is_some() { "Waiting in the RAM OS." } else { "It is not in the RAM OS now." };
                return (Condition::Interrupted, format!("{} The disk is partly written. {place}", state.reason));
            }
            // What ended stays on the row until the host does something else.
            Phase::Failed => return (Condition::Failed, state.reason.to_string()),
            Phase::TimedOut => return (Condition::TimedOut, state.reason.to_string()),
            Phase::Cancelled if in_ram.is_none() || state.touched_disk() => {
                return (Condition::Cancelled, state.reason.to_string());
            }
            Phase::Cancelled | Phase::Done => {}
        }
    }
    if let Some(since) = in_ram {
        let holds_system = host.facts.as_ref().is_some_and(crate::hardware::Facts::holds_system);
        let sentence = match signs.idle_to_disk.filter(|_| holds_system) {
            Some(limit) => {
                let left = limit.saturating_sub(signs.now.since(since));
                format!("Running from memory, disk untouched. Goes on to its own disk in {}.", span(left))
            }
            None => "Running from memory, disk untouched.".to_owned(),
        };
        return (Condition::Waiting, sentence);
    }
    if let Some(stuck) = stuck(signs.stations, host.firmware, signs.now) {
        return (Condition::Discovered, stuck);
    }
    if let Some(installed) = &host.installed {
        return (Condition::Running, format!("{}, up for {}.", installed.title, span(signs.now.since(installed.at))));
    }
    if host.policy == BootPolicy::OwnFiles {
        // Said wherever the host is shown, as no Arm stands between such a file and the disk.
        let seen = match signs.last_seen {
            Some(seen) if signs.now.since(seen) < Duration::from_secs(600) => "Asked to boot".to_owned(),
            Some(seen) => format!("Last seen {} ago", span(signs.now.since(seen))),
            None => "Not seen since the box started".to_owned(),
        };
        let sentence = format!("{seen}. Boots your own files; a script among them can erase its disk.");
        return (if signs.last_seen.is_some() { Condition::Discovered } else { Condition::Off }, sentence);
    }
    match signs.last_seen {
        None if host.enrolled => (Condition::Expected, "Enrolled, not seen yet. Set it to network boot.".to_owned()),
        None => (Condition::Off, "Not seen since the box started.".to_owned()),
        Some(seen) if signs.now.since(seen) < OFF => {
            if host.disk_until.is_some_and(|until| until > signs.now) {
                return (Condition::Discovered, "Went on to its own disk.".to_owned());
            }
            (Condition::Discovered, "Asked to boot; fetching the RAM OS.".to_owned())
        }
        Some(seen) => (Condition::Off, format!("Last seen {} ago.", span(signs.now.since(seen)))),
    }
}

fn armed(signs: &Signs<'_>, install: &Install) -> String {
    let left = Duration::from_millis(install.state.arm.expires.0.saturating_sub(signs.now.0));
    let waited = signs.now.since(install.state.arm.granted);
    let title = &install.plan.title;
    let bound = if install.state.arm.bound.uuid.is_none() { " Bound by MAC only." } else { "" };
    match &install.state.consent {
        Consent::Asked { until, .. } => {
            let left = Duration::from_millis(until.0.saturating_sub(signs.now.0));
            return format!(
                "Waiting for a press at the box: {} s. {title} erases its disk then.{bound}",
                left.as_secs()
            );
        }
        Consent::Queued { .. } => {
            let place = signs.questions_before.saturating_add(1);
            return format!("Waits for its turn at the box's display, place {place}. {title}.{bound}");
        }
        Consent::Denied { wrong_digits, .. } => {
            let why = if *wrong_digits { "Wrong digits were given too often." } else { "Nobody confirmed at the box." };
            return format!("{why} Nothing was written. {title}, expires in {}.{bound}", span(left));
        }
        Consent::NotNeeded | Consent::Due { .. } | Consent::Given { .. } => {}
    }
    if signs.in_ram_since.is_some() && install.state.phase == Phase::Booting {
        return format!("In the RAM OS, about to begin with {title}.{bound}");
    }
    if let Some(stuck) = stuck(signs.stations, signs.host.firmware, signs.now) {
        return format!("{stuck} {title}, expires in {}.{bound}", span(left));
    }
    if signs.host.policy == BootPolicy::OwnFiles {
        return format!("Set to boot your own files, so {title} does not begin. Expires in {}.{bound}", span(left));
    }
    let unseen = signs.last_seen.is_none_or(|seen| seen < install.state.arm.granted);
    if unseen && waited > NOT_COMING {
        let key = match install.plan.boot_order {
            BootOrder::NetworkFirst => "Switch it on, or restart it.",
            BootOrder::DiskFirst => "Restart it and press the network-boot key.",
        };
        return format!("Armed for {} and not seen. {key} {title}, expires in {}.{bound}", span(waited), span(left));
    }
    // One that runs its own system is not heard of either; without one, it is off.
    let was_off = signs.host.installed.is_none()
        && signs.last_seen.is_none_or(|seen| install.state.arm.granted.since(seen) >= OFF);
    let walk = if was_off { "It is off: switch it on. " } else { "" };
    // A system that boots its disk first never gets to the network by itself.
    let by_key = install.plan.boot_order == BootOrder::DiskFirst && signs.host.installed.is_some();
    let key = if by_key { ": restart it and press the network-boot key" } else { "" };
    format!("{walk}Erases its disk at the next network boot{key}. {title}, expires in {}.{bound}", span(left))
}

fn installing(signs: &Signs<'_>, install: &Install) -> (Condition, String) {
    let current = install.state.current();
    let task = current.map_or("Install", |task| task.spec.kind.title());
    if let Some(run) = current
        && let crate::install::TaskStatus::Retrying { attempt, message, .. } = &run.status
    {
        return (Condition::Installing, format!("{task}: {message} Attempt {attempt} follows."));
    }
    let heard = signs.last_news.max(signs.last_seen).unwrap_or(install.state.arm.granted);
    let silent = signs.now.since(heard);
    if let Some(sentence) = current.filter(|task| task.running()).and_then(|task| quiet(task.spec.kind, silent)) {
        return (Condition::Quiet, sentence);
    }
    let Some(progress) = signs.progress.filter(|_| current.is_some_and(|task| task.spec.kind == TaskKind::WriteImage))
    else {
        return (Condition::Installing, format!("{task}."));
    };
    let mut sentence = format!("{} %, {task}", progress.percent());
    if progress.bytes_per_s > 0 {
        sentence.push_str(&format!(", {}/s", size(progress.bytes_per_s)));
        let left = progress.total_bytes.saturating_sub(progress.done_bytes) / progress.bytes_per_s;
        sentence.push_str(&format!(", {} left", span(Duration::from_secs(left))));
    }
    (Condition::Installing, sentence)
}

/// What the silence of a running task means, as a sentence; `None` while it is no longer than usual.
fn quiet(task: TaskKind, silent: Duration) -> Option<String> {
    match task {
        TaskKind::WriteImage if silent >= QUIET => Some(format!("No news for {}.", span(silent))),
        TaskKind::RunInstaller if silent >= INSTALLER_QUIET => Some(format!(
            "No word from its installer for {}. If that waits for an answer, its own screen shows the question.",
            span(silent)
        )),
        _ => None,
    }
}

fn last_done(install: &Install) -> Option<Timestamp> {
    install
        .state
        .tasks
        .iter()
        .filter_map(|task| match task.status {
            crate::install::TaskStatus::Done { at, .. } => Some(at),
            _ => None,
        })
        .max()
}

/// Where a network boot stopped, as a sentence; `None` while every step comes in its usual time.
#[must_use]
pub fn stuck(stations: &[(Station, Timestamp)], firmware: Option<Firmware>, now: Timestamp) -> Option<String> {
    let (last, at) = stations.iter().max_by_key(|(station, _)| *station)?;
    let silent = now.since(*at);
    // Long past, the machine was simply switched off: nothing hangs.
    if silent > Duration::from_secs(1800) {
        return None;
    }
    let (patience, sentence) = match last {
        Station::Discover => (15, "It asks for an address, and we have not answered it."),
        Station::Offer => (20, "It took the offer, then never asked for the loader."),
        Station::Loader if firmware == Some(Firmware::Uefi) => {
            (40, "It fetched the loader, then never asked for its script. Secure Boot may have refused the loader.")
        }
        Station::Loader => (40, "It fetched the loader, then never asked for its script."),
        // A host sent to its own disk ends here too, and rightly.
        Station::Script => return None,
        Station::RamOs => (120, "It fetched the RAM OS, but its agent never reported. Its screen says why."),
        Station::Agent => return None,
    };
    (silent > Duration::from_secs(patience)).then(|| sentence.to_owned())
}

/// A time span as people read it: `34 s`, `1 min 50 s`, `1 h 48 min`, `8 days`.
#[must_use]
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 if seconds.is_multiple_of(60) || seconds >= 600 => format!("{} min", seconds / 60),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..172_800 => match seconds % 3600 / 60 {
            0 => format!("{} h", seconds / 3600),
            minutes => format!("{} h {minutes} min", seconds / 3600),
        },
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_naturally() {
        let read = |s| span(Duration::from_secs(s));
        assert_eq!(
            [read(0), read(59), read(110), read(3600), read(6480), read(700_000)],
            ["0 s", "59 s", "1 min 50 s", "1 h", "1 h 48 min", "8 days"]
        );
    }

    #[test]
    fn an_installer_may_be_silent_for_longer_than_our_agent_before_somebody_is_sent_to_its_screen() {
        let said = |task, seconds| quiet(task, Duration::from_secs(seconds));
        assert_eq!(said(TaskKind::WriteImage, 9), None);
        assert_eq!(said(TaskKind::WriteImage, 34).as_deref(), Some("No news for 34 s."));
        assert_eq!(said(TaskKind::RunInstaller, 599), None);
        let sentence = said(TaskKind::RunInstaller, 720).unwrap();
        assert!(sentence.starts_with("No word from its installer for 12 min.") && sentence.contains("screen"));
        assert_eq!(said(TaskKind::BootRamOs, 7200), None);
    }

    #[test]
    fn the_station_where_a_boot_stopped_is_named() {
        let at = |stations: &[Station], seconds: u64| {
            let stations: Vec<_> = stations.iter().map(|station| (*station, Timestamp(0))).collect();
            stuck(&stations, Some(Firmware::Uefi), Timestamp(seconds * 1000))
        };
        assert_eq!(at(&[Station::Discover, Station::Offer], 19), None);
        assert_eq!(
            at(&[Station::Discover, Station::Offer], 21).as_deref(),
            Some("It took the offer, then never asked for the loader.")
        );
        assert!(at(&[Station::Loader], 60).unwrap().contains("Secure Boot"));
        assert_eq!(at(&[Station::Agent], 1000), None);
        assert_eq!(at(&[Station::Offer], 7200), None);
    }
}
