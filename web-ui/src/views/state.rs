//! The states of a host: one shape, one word, one sentence and one button each.

use crate::format;
use crate::render::Markup;

/// A host whose install reported nothing for this long (milliseconds) counts as silent: its bar stops and says so.
pub const SILENT_AFTER_MS: u64 = 10_000;

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

/// The state of a host in words that the server prepared, so that page, API and command line say the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateView {
    pub kind: StateKind,
    /// What happens now, in one sentence; a bar takes its place.
    pub sentence: String,
    /// A second, smaller line under the sentence, for example `Windows 11 found on its disk`; may be empty.
    pub aside: String,
    /// How far an install got, if that is known: drawn as a bar.
    pub progress: Option<Progress>,
}

/// A state without its facts: shape, word and colour, and what the list filters by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateKind {
    Discovered,
    /// Added by hand, never seen.
    Expected,
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
            Self::Expected | Self::Off => "off",
        }
    }

    /// The name of the shape in `icons.svg`.
    pub fn shape(self) -> &'static str {
        match self {
            Self::Cancelled | Self::Expected | Self::Off => "off",
            other => other.data(),
        }
    }

    /// The word on the chip.
    pub fn word(self) -> &'static str {
        match self {
            Self::Discovered => "Discovered",
            Self::Expected => "Expected",
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
    /// interrupted ones failed, expected ones are off.
    pub fn filter(self) -> &'static str {
        match self {
            Self::Discovered => "discovered",
            Self::Waiting => "waiting",
            Self::Armed => "armed",
            Self::Installing | Self::Silent => "installing",
            Self::Failed | Self::TimedOut | Self::Interrupted => "failed",
            Self::Cancelled => "cancelled",
            Self::Running => "running",
            Self::Expected | Self::Off => "off",
        }
    }
}

impl StateView {
    /// Its shape, word and colour.
    pub fn kind(&self) -> StateKind {
        self.kind
    }

    pub(crate) fn chip(&self) -> Markup {
        Markup::chip(self.kind.data(), self.kind.shape(), self.kind.word())
    }

    pub(crate) fn progress(&self) -> Option<&Progress> {
        self.progress.as_ref()
    }

    pub(crate) fn sentence(&self) -> &str {
        &self.sentence
    }

    pub(crate) fn aside(&self) -> &str {
        &self.aside
    }

    /// The one button of the list row.
    pub(crate) fn action(&self) -> Action {
        let open = |word, class| Action { word, class, post: "", install: false };
        let install = |class| Action { word: "Install", class, post: "", install: true };
        let post = |word, post| Action { word, class: "", post, install: false };
        match self.kind {
            StateKind::Discovered | StateKind::Expected | StateKind::Cancelled | StateKind::Off => install(""),
            StateKind::Waiting => install("main"),
            StateKind::Armed => post("Disarm", "disarm"),
            StateKind::Interrupted => post("Resume", "resume"),
            StateKind::Installing | StateKind::Silent => open("Watch", ""),
            StateKind::Failed | StateKind::TimedOut => open("See why", ""),
            StateKind::Running => open("Open", "quiet"),
        }
    }

    /// Whether a new install may be started from here.
    pub(crate) fn may_install(&self) -> bool {
        !self.is_armed() && !self.may_cancel()
    }

    /// Whether installing is the obvious next step.
    pub(crate) fn install_leads(&self) -> bool {
        matches!(
            self.kind,
            StateKind::Waiting
                | StateKind::Discovered
                | StateKind::Expected
                | StateKind::Off
                | StateKind::Cancelled
                | StateKind::Failed
                | StateKind::TimedOut
        )
    }

    pub(crate) fn may_cancel(&self) -> bool {
        matches!(self.kind, StateKind::Installing | StateKind::Silent | StateKind::Interrupted)
    }

    pub(crate) fn may_resume(&self) -> bool {
        self.kind == StateKind::Interrupted
    }

    pub(crate) fn is_armed(&self) -> bool {
        self.kind == StateKind::Armed
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
