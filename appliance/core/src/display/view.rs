//! What the display may show, in words that are ready to be drawn.

use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// Everything a picture depends on but the time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusView {
    /// The box's own name.
    pub name: String,
    pub version: String,
    pub network: Network,
    /// Where the page is, for example `http://192.168.77.1/`; empty while that is unknown.
    pub url: String,
    pub hosts: u64,
    /// Under way or ended badly, in any order.
    pub installs: Vec<Installing>,
    /// Installs that ended well lately.
    pub done: u64,
    /// What a person should look at; pinned until settled.
    pub alarms: Vec<Alarm>,
    /// For the first person to log in, while there is none.
    pub code: Option<String>,
    /// Comes before everything else.
    pub notice: Option<Notice>,
    /// There is a button, so that a page may speak of it.
    pub button: bool,
    /// Pages that a person turned.
    pub turned: Option<Turned>,
}

/// The box on its network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// No interface can be served yet.
    Waiting { why: String },
    Up {
        address: Ipv4Addr,
        /// The word of the stage in force: `observe`, `proxy`, `pxe-only`, `server`.
        mode: String,
    },
}

impl Default for Network {
    fn default() -> Self {
        Network::Waiting { why: String::new() }
    }
}

/// An install under way, or one that ended badly.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Installing {
    /// The host's.
    pub name: String,
    /// Of the system.
    pub title: String,
    pub step: Step,
    /// Of the task under way, 0 to 100; none while it says nothing of that.
    pub percent: Option<u8>,
    /// The task under way, for example `Write image`.
    pub task: String,
    /// For example `112 MB/s`; empty if unknown.
    pub rate: String,
    /// Time left, for example `1 min 50 s`; empty if unknown.
    pub left: String,
    /// Tasks done, and all of them.
    pub tasks: (u8, u8),
}

/// How an install fares.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Waits for its host.
    #[default]
    Armed,
    Busy,
    /// Nothing was heard for this long, for example `34 s`.
    Quiet(String),
    /// Ended badly: the word for it, for example `Failed`.
    Failed(String),
}

impl Step {
    /// Whether a person has to see to it.
    #[must_use]
    pub fn failed(&self) -> bool {
        matches!(self, Step::Failed(_))
    }
}

/// What a person should look at.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Alarm {
    /// A few words, at most 17 signs are seen.
    pub title: String,
    /// What happened.
    pub text: String,
}

/// Something that comes before all pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// So far up, 0 to 100.
    Starting {
        percent: u8,
    },
    /// May this disk be erased?
    Consent {
        host: String,
        mac: String,
        /// Four digits that say yes from afar; masked wherever but on the panel.
        digits: String,
        /// What is on it.
        disk: String,
        /// Until the answer counts as no.
        seconds_left: u16,
        /// There is a button to say yes with.
        button: bool,
    },
    /// The button is held down: what will come of it.
    Hold {
        what: String,
        /// How much of the hold is done, 0 to 100.
        held: u8,
    },
    /// Everything will be forgotten at the next start.
    ResetMarked,
    /// Shall this update be installed? A press says yes.
    Offer {
        from: String,
        to: String,
        /// Until the display asks no more.
        seconds_left: u16,
    },
    Update {
        from: String,
        to: String,
        percent: u8,
    },
    /// The last picture.
    Stopped {
        /// The machine switches itself off.
        off: bool,
        /// The time of day, for example `18:42`; empty if the box does not know it.
        at: String,
    },
}

/// Pages turned by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Turned {
    /// Presses since pages last turned by themselves.
    pub presses: u64,
    /// The tick of the first of them: it turned away from what was shown then.
    pub first: u64,
    /// The tick of the last one.
    pub at: u64,
}
