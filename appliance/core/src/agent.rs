//! The words the agent and the box exchange (`POST /agent/v1/hello | next | report`, JSON), one source for both ends.
//!
//! Every message is safe to repeat: the network may have eaten the answer. The box makes a transition durable before it
//! answers 200; an unknown token gets 404, a report that does not follow from the state 409.

use crate::{
    event::TaskName,
    hardware::Facts,
    host::{MacAddr, SmbiosUuid},
    id::InstallId,
    task::TaskOrder,
    text::CleanText,
};
use serde::{Deserialize, Serialize};

/// The protocol this source speaks.
pub const PROTOCOL: u32 = 1;
/// The oldest protocol the box still understands; an agent below it is told to boot into the current RAM OS.
pub const OLDEST_PROTOCOL: u32 = 1;
/// How long the box holds a `next` without anything to do, in seconds.
pub const LONG_POLL_S: u64 = 25;

/// `POST /agent/v1/hello`: the first message of a boot, and again after the agent was restarted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u32,
    /// From `rackberry.token=` on the kernel command line.
    pub token: String,
    /// Of the port it booted over.
    pub mac: MacAddr,
    #[serde(default)]
    pub uuid: Option<SmbiosUuid>,
    #[serde(default)]
    pub serial: CleanText,
    pub facts: Facts,
    /// Version of the agent, for people.
    #[serde(default)]
    pub version: CleanText,
}

/// Answer to [`Hello`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    pub protocol: u32,
    pub name: CleanText,
    /// Said on the host's own screen.
    pub message: CleanText,
    /// The agent is too old or too new for this box: restart from the network to get the right one.
    #[serde(default)]
    pub restart: bool,
}

/// `POST /agent/v1/next`: what shall I do? Held for up to [`LONG_POLL_S`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Next {
    pub token: String,
    /// What the agent is doing now; an order for one of these is not repeated.
    #[serde(default)]
    pub running: Vec<Run>,
}

/// One attempt at one task of one Install.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Run {
    pub install: InstallId,
    pub task: TaskName,
    pub attempt: u32,
}

/// Answer to [`Next`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// Nothing for now: ask again at once.
    Wait {
        /// Said on the host's own screen.
        message: CleanText,
    },
    /// Do this. The same run may come twice; it is done once.
    Run { run: Run, order: Box<TaskOrder> },
    /// Stop this run and forget it: the Install was cancelled.
    Stop { run: Run },
    /// Restart; the box sends this boot to the host's own disk.
    ToDisk { message: CleanText },
    /// Restart from the network.
    Restart { message: CleanText },
    /// Switch off, as the box's settings ask of an idle host.
    PowerOff { message: CleanText },
}

/// `POST /agent/v1/report`: what happened. Installers and first-boot scripts report here too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub token: String,
    #[serde(flatten)]
    pub news: News,
}

/// What a report says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "news", rename_all = "snake_case")]
pub enum News {
    /// Sent, and its 200 awaited, before the first byte of a disk is changed.
    Started {
        run: Run,
    },
    /// Telemetry; the box may drop it.
    Progress {
        run: Run,
        progress: Progress,
    },
    Done {
        run: Run,
    },
    Failed {
        run: Run,
        /// Whether trying again may help.
        transient: bool,
        message: CleanText,
    },
    /// Lines for the host's log; the box keeps a bounded tail.
    Log {
        lines: Vec<CleanText>,
    },
    /// An installer reached this stage of its work.
    Stage {
        stage: CleanText,
        #[serde(default)]
        detail: CleanText,
    },
    /// An installer is done: the disk holds the system.
    Installed,
    /// An installer gave up.
    InstallerFailed {
        message: CleanText,
    },
    /// The installed system is up.
    FirstBoot {
        #[serde(default)]
        hostname: CleanText,
    },
}

impl News {
    /// Whether only an installer, or a system that runs from the network, tells this.
    #[must_use]
    pub fn is_for_installers(&self) -> bool {
        matches!(self, News::Stage { .. } | News::Installed | News::InstallerFailed { .. })
    }
}

/// How far a task got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct Progress {
    /// Of the bytes as served.
    pub done_bytes: u64,
    pub total_bytes: u64,
    /// Over the last few seconds, as served.
    pub bytes_per_s: u64,
    /// Written to the disk, unpacked.
    pub written_bytes: u64,
}

impl Progress {
    /// 0 to 100; 100 only when everything is there.
    #[must_use]
    pub fn percent(&self) -> u8 {
        if self.total_bytes == 0 {
            return 0;
        }
        let percent = u128::from(self.done_bytes.min(self.total_bytes)) * 100 / u128::from(self.total_bytes);
        u8::try_from(percent).unwrap_or(100)
    }
}

/// Answer to [`Report`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Received {
    /// The run is no longer wanted: stop it.
    #[serde(default)]
    pub stop: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_boot_report_is_easy_to_write_by_hand() {
        let report: Report = serde_json::from_str(r#"{"token":"ab","news":"first_boot"}"#).unwrap();
        assert_eq!(report.news, News::FirstBoot { hostname: CleanText::default() });
    }

    #[test]
    fn progress_is_full_only_at_the_end() {
        let progress = |done, total| Progress { done_bytes: done, total_bytes: total, ..Progress::default() }.percent();
        assert_eq!([progress(0, 0), progress(999, 1000), progress(1000, 1000), progress(2, 1)], [0, 99, 100, 100]);
    }
}
