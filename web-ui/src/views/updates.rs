//! The versions on the box's SD card, and how another one gets there.

use super::shell::Shell;
use crate::format;
use crate::render::Markup;

/// What the slot that does not run is good for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OtherSlot {
    #[default]
    Empty,
    /// The box can go back to it.
    Ready,
    /// It had its trial, and failed.
    Failed,
}

/// A bundle that was verified and waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BundleView {
    pub version: String,
    pub bytes: u64,
    /// What its maker says of it; may be empty.
    pub notes: String,
}

impl BundleView {
    pub(crate) fn size(&self) -> String {
        format::bytes(self.bytes)
    }
}

/// An install or a roll-back under way, or one that did not get done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkView {
    /// For example `Writing slot b`.
    pub step: String,
    pub percent: u64,
    /// All is written: the box goes down and comes back.
    pub restarts: bool,
    /// Why it did not get done; empty while it goes on.
    pub failed: String,
}

impl WorkView {
    pub(crate) fn value(&self) -> u64 {
        self.percent.min(100)
    }
}

/// The card of a box that is started from one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CardView {
    pub version: String,
    pub slot: String,
    /// This version has to prove itself first.
    pub trying: bool,
    /// Bundles are verified with a key that nobody vouches for.
    pub development_key: bool,
    pub other: OtherSlot,
    /// Of the other slot, if it is known.
    pub other_version: String,
    pub bundle: Option<BundleView>,
    pub work: Option<WorkView>,
    /// Why the last update failed, as a sentence; empty if it did not.
    pub last_failure: String,
    /// What came of the last USB stick, as a sentence; may be empty.
    pub stick: String,
    /// Whoever looks may also change it.
    pub admin: bool,
}

impl CardView {
    pub(crate) fn working(&self) -> Option<&WorkView> {
        self.work.as_ref().filter(|work| work.failed.is_empty())
    }

    pub(crate) fn failed_work(&self) -> Option<&WorkView> {
        self.work.as_ref().filter(|work| !work.failed.is_empty())
    }

    /// What is shown changes by itself soon.
    pub(crate) fn moves(&self) -> bool {
        self.trying || self.working().is_some()
    }

    /// Nothing may begin while something else goes on.
    pub(crate) fn free(&self) -> bool {
        self.admin && !self.moves()
    }

    pub(crate) fn chip(&self) -> Markup {
        if self.trying {
            Markup::chip("busy", "busy", "Proving itself")
        } else {
            Markup::chip("done", "done", "Running")
        }
    }

    pub(crate) fn other_chip(&self) -> Markup {
        match self.other {
            OtherSlot::Empty => Markup::chip("off", "off", "Empty"),
            OtherSlot::Ready => Markup::chip("waiting", "waiting", "Kept"),
            OtherSlot::Failed => Markup::chip("failed", "failed", "Failed"),
        }
    }

    pub(crate) fn other_name(&self) -> &str {
        match self.other {
            OtherSlot::Empty => "No other version",
            _ if self.other_version.is_empty() => "Another version",
            _ => &self.other_version,
        }
    }

    pub(crate) fn can_go_back(&self) -> bool {
        self.free() && self.other == OtherSlot::Ready
    }
}

/// How the box gets another version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdatesPage {
    pub shell: Shell,
    /// None where the box is no card, or does not say how its card stands.
    pub card: Option<CardView>,
    /// Then: why, and how updates come there instead, as a sentence.
    pub elsewhere: String,
    /// Why the last request was refused; may be empty.
    pub problem: String,
}
