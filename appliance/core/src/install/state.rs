//! How far an install is: its phase, and each task of its workflow.

use super::{Arm, Binding, Consent, ConsentRule, REPEAT_LIMIT, REPEAT_WINDOW};
use crate::{
    event::{BootKey, TaskName},
    task::{TaskKind, TaskSpec},
    text::CleanText,
    time::Timestamp,
    workflow::Workflow,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Where an Install stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// May erase; the host has not come yet.
    Armed,
    /// The host is on its way into the RAM OS.
    Booting,
    /// Tasks run.
    Installing,
    /// The disk is written; the installed system has not reported yet.
    Waiting,
    /// A task broke off with the host; a person has to say whether it resumes.
    Interrupted,
    Done,
    Failed,
    Cancelled,
    TimedOut,
}

impl Phase {
    /// Whether nothing more will happen by itself.
    #[must_use]
    pub fn ended(self) -> bool {
        match self {
            Phase::Done | Phase::Failed | Phase::Cancelled | Phase::TimedOut => true,
            Phase::Armed | Phase::Booting | Phase::Installing | Phase::Waiting | Phase::Interrupted => false,
        }
    }

    /// The word in the database, the API and the page's `data-state`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Armed => "armed",
            Phase::Booting => "booting",
            Phase::Installing => "installing",
            Phase::Waiting => "waiting",
            Phase::Interrupted => "interrupted",
            Phase::Done => "done",
            Phase::Failed => "failed",
            Phase::Cancelled => "cancelled",
            Phase::TimedOut => "timed_out",
        }
    }
}

/// What events move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstallState {
    pub phase: Phase,
    pub arm: Arm,
    pub tasks: Vec<TaskRun>,
    /// The boot of the RAM OS that speaks for the host now.
    pub boot: Option<BootKey>,
    /// What people at the box said.
    #[serde(default)]
    pub consent: Consent,
    /// Why it ended or broke off, as people read it.
    pub reason: CleanText,
    pub ended: Option<Timestamp>,
    /// Where its installer said it was last.
    #[serde(default)]
    pub stage: CleanText,
    /// How often it said where it was.
    #[serde(default)]
    pub stages: u32,
}

/// One task of the workflow and how far it got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRun {
    pub spec: TaskSpec,
    #[serde(flatten)]
    pub status: TaskStatus,
}

/// How far a task got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum TaskStatus {
    Pending,
    Running {
        attempt: u32,
        since: Timestamp,
        /// Who runs it; none for a task that is only observed.
        boot: Option<BootKey>,
        /// How often the order went out.
        handouts: u32,
        /// When the agent said that it began.
        begun: Option<Timestamp>,
    },
    /// Failed in a way that may pass; `attempt` is the next one.
    Retrying {
        attempt: u32,
        not_before: Timestamp,
        message: CleanText,
    },
    Done {
        attempt: u32,
        since: Timestamp,
        at: Timestamp,
    },
    Failed {
        attempt: u32,
        at: Timestamp,
        message: CleanText,
    },
    TimedOut {
        at: Timestamp,
    },
    /// Broke off with the host; becomes pending again when a person resumes.
    Interrupted {
        attempt: u32,
        at: Timestamp,
    },
}

impl TaskRun {
    /// Whether it is done.
    #[must_use]
    pub fn done(&self) -> bool {
        matches!(self.status, TaskStatus::Done { .. })
    }

    /// Whether it is under way.
    #[must_use]
    pub fn running(&self) -> bool {
        matches!(self.status, TaskStatus::Running { .. })
    }
}

impl InstallState {
    /// A fresh permission to run `workflow` on the machine that `bound` means.
    #[must_use]
    pub fn armed(workflow: &Workflow, bound: Binding, rule: ConsentRule, now: Timestamp, ttl: Duration) -> Self {
        InstallState {
            phase: Phase::Armed,
            arm: Arm { granted: now, expires: now.after(ttl), bound, consumed: None },
            tasks: workflow
                .tasks()
                .iter()
                .map(|spec| TaskRun { spec: spec.clone(), status: TaskStatus::Pending })
                .collect(),
            boot: None,
            consent: Consent::by_rule(rule),
            reason: CleanText::default(),
            ended: None,
            stage: CleanText::default(),
            stages: 0,
        }
    }

    /// The task of that name.
    #[must_use]
    pub fn task(&self, name: &TaskName) -> Option<&TaskRun> {
        self.tasks.iter().find(|task| task.spec.name == *name)
    }

    /// The first task under way, or the next one; what the page names.
    #[must_use]
    pub fn current(&self) -> Option<&TaskRun> {
        self.tasks.iter().find(|task| task.running()).or_else(|| self.tasks.iter().find(|task| !task.done()))
    }

    /// Whether the disk may have been changed.
    #[must_use]
    pub fn touched_disk(&self) -> bool {
        self.tasks.iter().any(|task| {
            task.spec.kind.destructive()
                && match &task.status {
                    TaskStatus::Pending => false,
                    // An installer may have erased before it says a word.
                    TaskStatus::Running { .. } if task.spec.kind == TaskKind::RunInstaller => true,
                    TaskStatus::Running { attempt, begun, .. } => begun.is_some() || *attempt > 1,
                    TaskStatus::Retrying { .. }
                    | TaskStatus::Done { .. }
                    | TaskStatus::Failed { .. }
                    | TaskStatus::TimedOut { .. }
                    | TaskStatus::Interrupted { .. } => true,
                }
        })
    }

    /// Whether everything but the first boot is done, so that the disk should start.
    #[must_use]
    pub fn disk_complete(&self) -> bool {
        self.tasks.iter().all(|task| task.done() || task.spec.kind == TaskKind::WaitFirstBoot)
    }

    pub(super) fn ready(&self, task: &TaskRun, now: Timestamp) -> bool {
        let due = match task.status {
            TaskStatus::Pending => true,
            TaskStatus::Retrying { not_before, .. } => not_before <= now,
            TaskStatus::Running { .. }
            | TaskStatus::Done { .. }
            | TaskStatus::Failed { .. }
            | TaskStatus::TimedOut { .. }
            | TaskStatus::Interrupted { .. } => false,
        };
        due && task.spec.after.iter().all(|after| self.task(after).is_some_and(TaskRun::done))
    }

    /// Whether a distribution's installer runs, as far as we know.
    #[must_use]
    pub fn installs_now(&self) -> bool {
        self.tasks.iter().any(|task| task.spec.kind == TaskKind::RunInstaller && task.running())
    }

    /// The installer's task and attempt, once it was handed out.
    #[must_use]
    pub fn installer_task(&self) -> Option<(TaskName, u32)> {
        let task = self.tasks.iter().find(|task| task.spec.kind == TaskKind::RunInstaller)?;
        match task.status {
            TaskStatus::Running { attempt, .. }
            | TaskStatus::Done { attempt, .. }
            | TaskStatus::Failed { attempt, .. } => Some((task.spec.name.clone(), attempt)),
            TaskStatus::Pending
            | TaskStatus::Retrying { .. }
            | TaskStatus::TimedOut { .. }
            | TaskStatus::Interrupted { .. } => None,
        }
    }

    /// How the task that is a distribution's installer stands for a host that boots from the network now.
    #[must_use]
    pub fn installer(&self, now: Timestamp) -> InstallerTurn {
        let mut installers = self.tasks.iter().filter(|task| task.spec.kind == TaskKind::RunInstaller);
        let Some(run) = installers.find(|task| task.running() || self.ready(task, now)) else {
            return InstallerTurn::None;
        };
        let (task, kind) = (run.spec.name.clone(), &run.status);
        match kind {
            TaskStatus::Running { attempt, begun: None, handouts, since, .. }
                if *handouts < REPEAT_LIMIT && now.since(*since) <= REPEAT_WINDOW =>
            {
                InstallerTurn::Again { task, attempt: *attempt }
            }
            TaskStatus::Running { attempt, .. } => InstallerTurn::Lost { task, attempt: *attempt },
            TaskStatus::Retrying { attempt, .. } => InstallerTurn::Due { task, attempt: *attempt },
            _ => InstallerTurn::Due { task, attempt: 1 },
        }
    }
}

/// What a network boot means for an install that a distribution's installer carries out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstallerTurn {
    /// It is not the installer's turn.
    None,
    /// The installer may be handed out.
    Due { task: TaskName, attempt: u32 },
    /// It was handed out and never heard of: its reply may have been lost.
    Again { task: TaskName, attempt: u32 },
    /// It ran, or was handed out too often: the machine came back without a word of its end.
    Lost { task: TaskName, attempt: u32 },
}
