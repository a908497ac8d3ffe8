//! The states of a host: one shape, one word, one sentence and one button each.

use crate::format;
use crate::render::Markup;

/// A host whose install reported nothing for this long (milliseconds) counts as silent: its bar stops and says so.
pub const SILENT_AFTER_MS: u64 = 10_000;

/// What is known about the disk after an install ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskState {
    Unknown,
    Untouched,
    PartlyWritten,
    Written,
}

impl DiskState {
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Untouched => "The disk was not touched.",
            Self::PartlyWritten => "The disk is partly written and will not boot.",
            Self::Written => "The disk is written; the machine may just not start from it.",
        }
    }
}

/// Where a running install stands. `None` means "not known": nothing is drawn that was not reported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whole percent; above 100 counts as 100.
    pub percent: Option<u8>,
    /// The running task, for example `Write image`.
    pub task: String,
    /// Bytes per second.
    pub rate: Option<u64>,
    pub left_ms: Option<u64>,
    /// Since the last report.
    pub silent_ms: u64,
}

impl Progress {
    pub(crate) fn silent(&self) -> bool {
        self.silent_ms >= SILENT_AFTER_MS
    }

    pub(crate) fn value(&self) -> u8 {
        self.percent.unwrap_or(0).min(100)
    }

    /// `live` while bytes arrive, `quiet-bar` when nothing was heard.
    pub(crate) fn bar_class(&self) -> &'static str {
        match (self.silent(), self.rate) {
            (true, _) => "quiet-bar",
            (false, Some(1..)) => "live",
            (false, _) => "",
        }
    }

    pub(crate) fn rate_text(&self) -> String {
        self.rate.map(format::rate).unwrap_or_default()
    }

    pub(crate) fn left_text(&self) -> String {
        self.left_ms.map(format::duration).unwrap_or_default()
    }

    pub(crate) fn silent_text(&self) -> String {
        format::duration(self.silent_ms / 1000 * 1000)
    }
}

/// The state of a host with the facts its sentence needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateView {
    /// Seen on the network, hardware unknown; `note` for example `UEFI x64, offer sent 6 s ago`.
    Discovered {
        note: String,
    },
    /// In the RAM OS; `found` names what is on its disks, for example `Windows 11 found on its disk`.
    Waiting {
        found: String,
    },
    /// May be erased; `by_mac_only` when no UUID was ever learnt.
    Armed {
        profile: String,
        expires_ms: u64,
        by_mac_only: bool,
    },
    Installing(Progress),
    Failed {
        reason: String,
        disk: DiskState,
    },
    TimedOut {
        task: String,
        limit_ms: u64,
        disk: DiskState,
    },
    Interrupted {
        percent: Option<u8>,
        disk: DiskState,
    },
    Cancelled {
        by: String,
        ago_ms: u64,
        disk: DiskState,
    },
    Running {
        system: String,
        up_ms: Option<u64>,
    },
    Off {
        seen_ms: Option<u64>,
    },
}

/// A state without its facts: shape, word and colour, and what the list filters by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateKind {
    Discovered,
    Waiting,
    Armed,
    Installing,
    /// Installing, but nothing heard for [`SILENT_AFTER_MS`].
    Silent,
    Failed,
    TimedOut,
    Interrupted,
    Cancelled,
    Running,
    Off,
}

impl StateKind {
    /// The value of `data-state`, which picks the colours.
    pub fn data(self) -> &'static str {
        match self {
            Self::Discovered => "found",
            Self::Waiting => "waiting",
            Self::Armed => "armed",
            Self::Installing => "busy",
            Self::Silent => "quiet",
            Self::Failed | Self::TimedOut | Self::Interrupted => "failed",
            Self::Cancelled => "cancelled",
            Self::Running => "running",
            Self::Off => "off",
        }
    }

    /// The name of the shape in `icons.svg`.
    pub fn shape(self) -> &'static str {
        match self {
            Self::Cancelled | Self::Off => "off",
            other => other.data(),
        }
    }

    /// The word on the chip.
    pub fn word(self) -> &'static str {
        match self {
            Self::Discovered => "Discovered",
            Self::Waiting => "Waiting",
            Self::Armed => "Armed",
            Self::Installing | Self::Silent => "Installing",
            Self::Failed => "Failed",
            Self::TimedOut => "Timed out",
            Self::Interrupted => "Interrupted",
            Self::Cancelled => "Cancelled",
            Self::Running => "Running",
            Self::Off => "Off",
        }
    }

    /// The key of the list filter (`/?state=`) this state falls under: silent hosts are installing, timed out and
    /// interrupted ones failed.
    pub fn filter(self) -> &'static str {
        match self {
            Self::Discovered => "discovered",
            Self::Waiting => "waiting",
            Self::Armed => "armed",
            Self::Installing | Self::Silent => "installing",
            Self::Failed | Self::TimedOut | Self::Interrupted => "failed",
            Self::Cancelled => "cancelled",
            Self::Running => "running",
            Self::Off => "off",
        }
    }
}

impl StateView {
    /// The state without its facts.
    pub fn kind(&self) -> StateKind {
        match self {
            Self::Discovered { .. } => StateKind::Discovered,
            Self::Waiting { .. } => StateKind::Waiting,
            Self::Armed { .. } => StateKind::Armed,
            Self::Installing(progress) if progress.silent() => StateKind::Silent,
            Self::Installing(_) => StateKind::Installing,
            Self::Failed { .. } => StateKind::Failed,
            Self::TimedOut { .. } => StateKind::TimedOut,
            Self::Interrupted { .. } => StateKind::Interrupted,
            Self::Cancelled { .. } => StateKind::Cancelled,
            Self::Running { .. } => StateKind::Running,
            Self::Off { .. } => StateKind::Off,
        }
    }

    pub(crate) fn chip(&self) -> Markup {
        Markup::chip(self.kind().data(), self.kind().shape(), self.kind().word())
    }

    pub(crate) fn progress(&self) -> Option<&Progress> {
        match self {
            Self::Installing(progress) => Some(progress),
            _ => None,
        }
    }

    /// What happens now, in one sentence; empty while a bar says it.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::Discovered { .. } => "Asked to boot; fetching the RAM OS.".to_owned(),
            Self::Waiting { found } if found.is_empty() => "Running from memory, disk is empty.".to_owned(),
            Self::Waiting { .. } => "Running from memory, disk untouched.".to_owned(),
            Self::Armed { .. } => "Erases its disk at the next network boot.".to_owned(),
            Self::Installing(_) => String::new(),
            Self::Failed { reason, disk } => joined(reason, disk.sentence()),
            Self::TimedOut { task, limit_ms, disk } => {
                joined(&format!("{task} took longer than {}.", format::duration(*limit_ms)), disk.sentence())
            }
            Self::Interrupted { percent, disk } => {
                let stopped = percent.map_or("It stopped.".to_owned(), |p| format!("Stopped at {} %.", p.min(100)));
                joined(&joined(&stopped, disk.sentence()), "Waiting in the RAM OS.")
            }
            Self::Cancelled { by, ago_ms, disk } => {
                joined(&format!("Stopped by {by} {}.", ago(*ago_ms)), disk.sentence())
            }
            Self::Running { system, up_ms: Some(up) } => format!("{system}, up for {}", format::duration(*up)),
            Self::Running { system, up_ms: None } => system.clone(),
            Self::Off { seen_ms: Some(seen) } => format!("Last seen {}.", ago(*seen)),
            Self::Off { seen_ms: None } => "Added by hand, never seen yet.".to_owned(),
        }
    }

    /// The second, smaller line under the sentence; may be empty.
    pub(crate) fn aside(&self) -> String {
        match self {
            Self::Discovered { note } => note.clone(),
            Self::Waiting { found } => found.clone(),
            Self::Armed { profile, expires_ms, by_mac_only } => {
                let bound = if *by_mac_only { " · bound by MAC only" } else { "" };
                format!("{profile} · expires in {}{bound}", format::duration(*expires_ms))
            }
            _ => String::new(),
        }
    }

    /// The one button of the list row.
    pub(crate) fn action(&self) -> Action {
        let open = |word, class| Action { word, class, post: "", install: false };
        let install = |class| Action { word: "Install", class, post: "", install: true };
        let post = |word, post| Action { word, class: "", post, install: false };
        match self {
            Self::Discovered { .. } | Self::Cancelled { .. } => install(""),
            Self::Waiting { .. } => install("main"),
            Self::Armed { .. } => post("Disarm", "disarm"),
            Self::Interrupted { .. } => post("Resume", "resume"),
            Self::Installing(_) => open("Watch", ""),
            Self::Failed { .. } | Self::TimedOut { .. } => open("See why", ""),
            Self::Running { .. } | Self::Off { .. } => open("Open", "quiet"),
        }
    }

    /// Whether a new install may be started from here.
    pub(crate) fn may_install(&self) -> bool {
        !matches!(self, Self::Armed { .. } | Self::Installing(_))
    }

    /// Whether installing is the obvious next step.
    pub(crate) fn install_leads(&self) -> bool {
        matches!(self, Self::Waiting { .. } | Self::Discovered { .. } | Self::Cancelled { .. } | Self::Failed { .. })
    }

    pub(crate) fn may_cancel(&self) -> bool {
        matches!(self, Self::Installing(_) | Self::Interrupted { .. })
    }

    pub(crate) fn may_resume(&self) -> bool {
        matches!(self, Self::Interrupted { .. })
    }

    pub(crate) fn is_armed(&self) -> bool {
        matches!(self, Self::Armed { .. })
    }
}

/// The button of a row: a link to the host or its install dialog, or a form's path below the host.
pub(crate) struct Action {
    pub word: &'static str,
    pub class: &'static str,
    pub post: &'static str,
    pub install: bool,
}

/// `now` reads as `just now`, everything else gets its `ago`.
pub(crate) fn ago(ms: u64) -> String {
    match format::age(ms).as_str() {
        "now" => "just now".to_owned(),
        other => format!("{other} ago"),
    }
}

fn joined(first: &str, second: &str) -> String {
    match (first.is_empty(), second.is_empty()) {
        (false, false) => format!("{first} {second}"),
        _ => format!("{first}{second}"),
    }
}
