//! The page of one host: what it is, how far its boot came, what its install does.

use super::facts::{Hardware, specs};
use super::library::EventRow;
use super::live::LiveView;
use super::shell::Shell;
use super::state::{Progress, StateView};
use crate::format;
use crate::render::{Markup, key};

/// How far one station of the boot came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StationState {
    /// Not reached.
    #[default]
    Next,
    Busy,
    Done,
    /// Stuck here.
    Failed,
}

impl StationState {
    pub(crate) fn data(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Busy => "busy",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    pub(crate) fn shape(self) -> Markup {
        Markup::glyph(self.data())
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Next => "not reached",
            Self::Busy => "under way",
            Self::Done => "done",
            Self::Failed => "stuck here",
        }
    }
}

/// One of the six stations of a boot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Station {
    pub state: StationState,
    /// From the station before to this one.
    pub took_ms: Option<u64>,
    /// For example `snponly.efi by TFTP` or `never asked`; may be empty.
    pub note: String,
}

impl Station {
    /// Duration and note, or the state's own words when neither is known.
    pub(crate) fn line(&self) -> String {
        let took = self.took_ms.map(format::took).unwrap_or_default();
        match (took.is_empty(), self.note.is_empty()) {
            (false, false) => format!("{took}, {}", self.note),
            (true, true) => self.state.word().to_owned(),
            _ => format!("{took}{}", self.note),
        }
    }
}

/// Why a boot is stuck: one bold sentence, and what we did or what to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Why {
    pub title: String,
    pub text: String,
}

/// One boot of the host, in the order DHCP, loader, script, RAM OS, agent, tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootView {
    /// Milliseconds since 1970; 0 when the clock was not set yet.
    pub started_unix_ms: u64,
    pub dhcp: Station,
    pub loader: Station,
    pub script: Station,
    pub ram_os: Station,
    pub agent: Station,
    pub tasks: Station,
    pub why: Option<Why>,
}

impl BootView {
    pub(crate) fn stations(&self) -> [(&'static str, &Station); 6] {
        [
            ("DHCP", &self.dhcp),
            ("Loader", &self.loader),
            ("Script", &self.script),
            ("RAM OS", &self.ram_os),
            ("Agent", &self.agent),
            ("Tasks", &self.tasks),
        ]
    }

    pub(crate) fn iso(&self) -> String {
        format::iso(self.started_unix_ms)
    }

    pub(crate) fn moment(&self) -> String {
        format::moment(self.started_unix_ms)
    }
}

/// How far one task came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TaskState {
    #[default]
    Next,
    Busy,
    /// Busy, but nothing heard for a while.
    Silent,
    Done,
    /// Not needed on this host.
    Skipped,
    Failed,
    Cancelled,
}

impl TaskState {
    pub(crate) fn data(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Busy => "busy",
            Self::Silent => "quiet",
            Self::Done => "done",
            Self::Skipped | Self::Cancelled => "off",
            Self::Failed => "failed",
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Next => "waits",
            Self::Busy => "running",
            Self::Silent => "running, no news",
            Self::Done => "done",
            Self::Skipped => "not needed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One task of the install.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskView {
    pub name: String,
    pub state: TaskState,
    /// So far, or in all when it ended.
    pub took_ms: Option<u64>,
    /// From earlier runs; shown while it waits.
    pub usual_ms: Option<u64>,
    /// Whole percent while it runs, if it reports any.
    pub percent: Option<u8>,
    /// For example `SMART good` or why it failed; may be empty.
    pub note: String,
}

impl TaskView {
    pub(crate) fn shape(&self) -> Markup {
        Markup::glyph(self.state.data())
    }

    pub(crate) fn time(&self) -> String {
        match (self.took_ms, self.usual_ms) {
            (Some(took), _) => format::took(took),
            (None, Some(usual)) => format!("about {}", format::duration(usual)),
            (None, None) => String::new(),
        }
    }

    pub(crate) fn bar(&self) -> Option<u8> {
        match self.state {
            TaskState::Busy | TaskState::Silent => self.percent.map(|p| p.min(100)),
            _ => None,
        }
    }

    pub(crate) fn bar_class(&self) -> &'static str {
        if self.state == TaskState::Silent { "quiet-bar" } else { "live" }
    }
}

/// The running or last install.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstallView {
    /// For example `Debian 13`.
    pub profile: String,
    /// For example `nvme0n1`; empty until it is known.
    pub disk: String,
    pub done_bytes: Option<u64>,
    pub total_bytes: Option<u64>,
    pub elapsed_ms: u64,
    /// How long this profile usually takes on such hosts.
    pub usual_ms: Option<u64>,
    /// Bytes per second, one sample each second, oldest first; at most 60 are drawn.
    pub rates: Vec<u64>,
    /// Tasks in one inner list run side by side.
    pub stages: Vec<Vec<TaskView>>,
}

impl InstallView {
    pub(crate) fn target(&self) -> String {
        match (self.profile.is_empty(), self.disk.is_empty()) {
            (true, _) => "Installing".to_owned(),
            (false, true) => format!("Installing {}", self.profile),
            (false, false) => format!("Installing {} on {}", self.profile, self.disk),
        }
    }

    pub(crate) fn amount(&self) -> String {
        match (self.done_bytes, self.total_bytes) {
            (Some(done), Some(total)) => format!("{} of {}", format::bytes(done), format::bytes(total)),
            (Some(done), None) => format::bytes(done),
            _ => String::new(),
        }
    }

    pub(crate) fn elapsed(&self) -> String {
        format::duration(self.elapsed_ms)
    }

    pub(crate) fn usual(&self) -> String {
        self.usual_ms.map(|ms| format!("usually {}", format::duration(ms))).unwrap_or_default()
    }

    /// The rate as an SVG path in a box of 100 by 48, drawn from at least three samples.
    pub(crate) fn spark(&self) -> Option<Spark> {
        let skip = self.rates.len().saturating_sub(60);
        let shown: Vec<u64> = self.rates.iter().skip(skip).copied().collect();
        let (least, most) = (shown.iter().copied().min()?, shown.iter().copied().max()?);
        if shown.len() < 3 || most == 0 {
            return None;
        }
        let steps = u128::try_from(shown.len()).ok()?.saturating_sub(1).max(1);
        let mut line = String::new();
        for (at, sample) in (0u128..).zip(&shown) {
            // Tenths, so that whole-number arithmetic is fine enough for a 100-unit box.
            let x = at * 1000 / steps;
            let y = 440u128.saturating_sub(u128::from(*sample) * 400 / u128::from(most));
            line.push_str(&format!("{}{}.{} {}.{}", if at == 0 { "M" } else { " " }, x / 10, x % 10, y / 10, y % 10));
        }
        let label =
            format!("Rate over the last {} s, between {} and {}", shown.len(), format::rate(least), format::rate(most));
        Some(Spark { area: format!("{line} L100 48 0 48z"), line, label })
    }
}

/// A small curve.
pub(crate) struct Spark {
    pub line: String,
    pub area: String,
    pub label: String,
}

/// A file this host was given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Served {
    /// For example `loader`, `RAM OS` or `image`.
    pub role: String,
    pub name: String,
    /// SHA-256 in hex; may be empty.
    pub digest: String,
    pub bytes: u64,
}

impl Served {
    pub(crate) fn line(&self) -> String {
        if self.digest.is_empty() {
            return format::bytes(self.bytes);
        }
        format!("sha256 {} · {}", format::short_digest(&self.digest), format::bytes(self.bytes))
    }
}

/// What people at the box were asked about a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// The display asks now.
    Asked,
    /// Nobody said yes; it may be asked again.
    Unanswered,
}

/// A host's power, where something switches it from here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PowerView {
    /// Whether it is on, or what is being done to it.
    pub sentence: String,
    /// Something is being done to it, or nothing can be.
    pub held: bool,
    /// It hangs on its front panel's button, which may be pressed as well.
    pub button: bool,
    pub reset: bool,
    /// An install is under way, which switching it off would break off.
    pub installing: bool,
}

impl PowerView {
    /// What to think of before it is switched off.
    pub(crate) fn warning(&self) -> &'static str {
        if self.installing {
            "An install is under way. It breaks off, and what is on the disk stays half done."
        } else {
            "Its system is not asked: what it has not written is lost."
        }
    }
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostView {
    pub id: String,
    pub name: String,
    pub mac: String,
    pub tags: Vec<String>,
    pub state: StateView,
    pub hardware: Hardware,
    /// The current or last boot.
    pub boot: Option<BootView>,
    /// An earlier boot that got stuck.
    pub earlier: Option<BootView>,
    /// The running install, or the last one if it did not end well.
    /// What it boots from the network instead of its disk.
    pub live: Option<LiveView>,
    pub install: Option<InstallView>,
    /// None where nothing switches it from here.
    pub power: Option<PowerView>,
    /// None while nobody at the box is wanted.
    pub question: Option<Question>,
    /// Newest first.
    pub events: Vec<EventRow>,
    /// The last lines of its log, newest last.
    pub log: Vec<String>,
    pub served: Vec<Served>,
}

impl HostView {
    pub(crate) fn key(&self) -> String {
        key(&self.id)
    }

    pub(crate) fn title(&self) -> &str {
        if self.name.is_empty() { &self.mac } else { &self.name }
    }

    pub(crate) fn specs(&self) -> String {
        let sizes: Vec<u64> = self.hardware.disks.iter().map(|disk| disk.bytes).collect();
        specs(self.hardware.cores, self.hardware.memory_bytes, &sizes)
    }

    pub(crate) fn log_title(&self) -> String {
        match self.log.len() {
            1 => "one line".to_owned(),
            lines => format!("the last {lines} lines"),
        }
    }

    pub(crate) fn log_text(&self) -> String {
        self.log.join("\n")
    }

    pub(crate) fn asked(&self) -> bool {
        self.question == Some(Question::Asked)
    }

    pub(crate) fn unanswered(&self) -> bool {
        self.question == Some(Question::Unanswered)
    }

    pub(crate) fn progress(&self) -> Option<&Progress> {
        self.state.progress()
    }
}

/// The page of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPage {
    pub shell: Shell,
    pub host: HostView,
}
