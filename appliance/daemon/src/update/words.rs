//! What the daemon and the helper say to each other: JSON, one line each.

use rackberry_core::update::{Header, Slot, Version};
use serde::{Deserialize, Serialize};

/// No line is longer, in bytes.
pub const LONGEST: u64 = 64 * 1024;

/// What the daemon asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// How the card stands.
    Status,
    /// Whether the kept bundle would be taken.
    Check,
    /// The kept bundle goes into the slot that is not in use, and the box starts again.
    Install,
    /// The other slot gets its trial, and the box starts again.
    RollBack,
    /// What the health gate misses; nothing: this version is healthy.
    Health { missing: Vec<String> },
    /// People were told how the last update ended.
    Told,
    /// The bundle on a USB stick, if there is one.
    Stick,
}

/// What the helper answers; progress comes before the end of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    Progress {
        step: Step,
        done: u64,
        total: u64,
    },
    Status(Box<Status>),
    Checked(Box<Header>),
    /// A stick has a bundle that this box takes; its bytes follow the line.
    Stick {
        header: Box<Header>,
        bytes: u64,
    },
    /// No stick has one; the sentence why, empty if there is no stick.
    NoStick {
        why: String,
    },
    /// It is done; the box starts again in a moment if it has to.
    Done,
    /// A sentence for people.
    Refused {
        why: String,
    },
}

/// Where an install is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The bundle is read and its signature checked.
    Verify,
    Write,
    ReadBack,
    /// All is written; the box starts again.
    Restart,
}

/// How the card stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The slot that runs.
    pub slot: Slot,
    pub version: Version,
    /// It has to prove itself first.
    pub trying: bool,
    pub other: Other,
    /// Nothing older is taken.
    pub floor: Option<Version>,
    /// The key was made where this was built.
    pub development_key: bool,
    /// What became of the last update or roll-back.
    pub last: Option<Last>,
    /// People were told so.
    pub told: bool,
}

/// The slot that does not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Other {
    pub slot: Slot,
    pub state: OtherState,
    /// If it is known.
    pub version: Option<Version>,
}

/// What the other slot is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtherState {
    /// No root is in it.
    Empty,
    /// It can be started.
    Ready,
    /// Its root had its chances, and failed.
    Failed,
}

/// An update or a roll-back and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    pub slot: Slot,
    pub version: Version,
    /// What ran when it began.
    pub from: Version,
    pub outcome: Outcome,
    /// Why it failed; empty otherwise.
    #[serde(default)]
    pub why: String,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It has to prove itself.
    Trial,
    /// It proved itself, and is what is started.
    Running,
    /// It did not; what ran before runs again.
    Failed,
}
