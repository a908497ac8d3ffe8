//! One durable line of a host's history: transitions only, append-only.
//!
//! The timeline, the audit list, the page's stream and, later, webhooks all read events; telemetry (percents, rates, log
//! tails) is none of them.

use crate::{
    hardware::SeenDisk,
    host::{Arch, Firmware, MacAddr, SmbiosUuid},
    id::{BoxId, EventId, HostId, InstallId},
    image::Digest,
    text::CleanText,
    time::{Timestamp, WallTime},
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Names one task within a workflow: lower case, digits, hyphens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskName(pub String);

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for TaskName {
    fn from(name: &str) -> Self {
        TaskName(name.to_owned())
    }
}

/// Tells one boot of the RAM OS from the next: the SHA-256 of that boot's token, so that it may be shown and stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootKey(pub Digest);

/// How somebody at the box said yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsentWay {
    /// The button beside the display.
    Press,
    /// The digits that the display showed.
    Code,
}

/// Who caused an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", content = "name", rename_all = "snake_case")]
pub enum Actor {
    /// The host itself, by what it sent.
    Host,
    /// This box, by rule or time.
    Box,
    /// A person, by login name.
    User(CleanText),
}

/// One line of history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub id: EventId,
    pub origin: BoxId,
    pub at: Timestamp,
    pub wall: WallTime,
    pub host: Option<HostId>,
    pub install: Option<InstallId>,
    pub actor: Actor,
    #[serde(flatten)]
    pub kind: EventKind,
}

/// The stations of a network boot, in the order a host passes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Station {
    /// It asked for an address.
    Discover,
    /// It was offered one, or a loader beside another server's.
    Offer,
    /// It fetched the loader.
    Loader,
    /// Its loader fetched our script, which carries the decision.
    Script,
    /// It fetched the RAM OS.
    RamOs,
    /// Its agent said hello.
    Agent,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    HostDiscovered {
        mac: MacAddr,
    },
    HostEnrolled {
        name: CleanText,
    },
    HostChanged {
        what: CleanText,
    },
    /// A station of a network boot was reached; `detail` names file, address or decision.
    BootReached {
        station: Station,
        detail: CleanText,
        #[serde(default)]
        arch: Option<Arch>,
        #[serde(default)]
        firmware: Option<Firmware>,
    },
    /// The host fetched a file that a person put into the files folder; each once a boot, and only the first few.
    OwnFile {
        path: CleanText,
        /// `TFTP` or `HTTP`.
        by: CleanText,
    },
    AgentHello {
        boot: BootKey,
        address: CleanText,
    },
    FactsReported {
        summary: CleanText,
    },
    /// The host's disk gets this boot: it had waited in the RAM OS long enough.
    SentToDisk {
        reason: CleanText,
    },
    /// A person allowed one erase.
    Armed {
        profile: CleanText,
        disk: CleanText,
    },
    /// The permission was taken back before it was used.
    Disarmed {
        reason: CleanText,
    },
    ArmExpired,
    /// The host does not suit what was armed; nothing was written.
    InstallRefused {
        reason: CleanText,
    },
    /// The host is there, and its disk takes a yes from a person at the box.
    ConsentNeeded {
        disk: SeenDisk,
    },
    /// Nobody has to be asked about this disk.
    ConsentWaived {
        reason: CleanText,
    },
    /// The display asks, for so many seconds.
    ConsentAsked {
        disk: CleanText,
        seconds: u32,
    },
    ConsentGiven {
        by: ConsentWay,
    },
    /// Wrong digits; so many tries are left for this request.
    ConsentRefused {
        left: u8,
    },
    /// Nobody said yes in time.
    ConsentExpired,
    /// A person wants it asked again.
    ConsentWanted,
    /// Somebody has the box switch the machine on; `how` names pin and press.
    PowerOn {
        how: CleanText,
    },
    PowerOff {
        how: CleanText,
    },
    PowerCycle {
        how: CleanText,
    },
    PowerReset {
        how: CleanText,
    },
    /// A press of the power switch, whatever the machine did then.
    PowerPress {
        how: CleanText,
        long: bool,
    },
    /// What was begun did not end as it should have.
    PowerFailed {
        what: CleanText,
        why: CleanText,
    },
    /// Handed to the host's agent; for a destructive task this consumes the Arm.
    TaskClaimed {
        task: TaskName,
        attempt: u32,
        boot: BootKey,
    },
    /// The same order went out again, as its first reply may have been lost.
    TaskRepeated {
        task: TaskName,
        attempt: u32,
        /// For an installer: the boot that has it from now on.
        #[serde(default)]
        boot: Option<BootKey>,
    },
    /// Begun: from here on the disk may have changed.
    TaskStarted {
        task: TaskName,
        attempt: u32,
    },
    TaskDone {
        task: TaskName,
        attempt: u32,
    },
    TaskFailed {
        task: TaskName,
        attempt: u32,
        /// Whether trying again may help.
        transient: bool,
        message: CleanText,
    },
    TaskTimedOut {
        task: TaskName,
    },
    /// An installer, or a system that runs from the network, said how far it is.
    InstallerStage {
        stage: CleanText,
        #[serde(default)]
        detail: CleanText,
    },
    /// The machine booted from the network again before its installer said that it was done.
    InstallerLost {
        task: TaskName,
        attempt: u32,
    },
    /// A person has the host boot a system from the network from now on.
    LiveSet {
        profile: CleanText,
    },
    /// And no more.
    LiveUnset,
    Resumed,
    Cancelled {
        reason: CleanText,
    },
    /// The installed system reported that it is up.
    FirstBoot {
        address: CleanText,
    },
    /// A request under an armed host's address named another machine.
    UuidMismatch {
        mac: MacAddr,
        seen: SmbiosUuid,
    },
    Alarm {
        text: CleanText,
    },
    AlarmSettled {
        text: CleanText,
    },
    ImageImported {
        digest: Digest,
        name: CleanText,
    },
    ImageRemoved {
        digest: Digest,
        name: CleanText,
    },
    UserAdded {
        name: CleanText,
    },
    UserChanged {
        name: CleanText,
        what: CleanText,
    },
    UserRemoved {
        name: CleanText,
    },
    /// A program may use the API from now on.
    TokenAdded {
        name: CleanText,
        role: CleanText,
    },
    TokenRemoved {
        name: CleanText,
    },
    LoggedIn {
        name: CleanText,
        address: CleanText,
    },
    LoginRefused {
        name: CleanText,
        address: CleanText,
    },
    BoxStarted {
        version: CleanText,
    },
    /// A person has the box change its own version.
    BoxUpdate {
        what: CleanText,
    },
    LadderMoved {
        to: CleanText,
        reason: CleanText,
    },
}
