//! What is due: the state is the queue, and every call works it out anew.

use super::{Install, Phase, REPEAT_LIMIT, REPEAT_WINDOW, TaskStatus};
use crate::{
    agent::Run,
    event::{BootKey, TaskName},
    id::InstallId,
    task::Executor,
    time::Timestamp,
};
use std::{collections::BTreeMap, time::Duration};

/// All running Installs, and what the box can bear.
#[derive(Debug, Clone)]
pub struct Fleet<'a> {
    /// In the order they were armed: the first to come is the first served.
    pub installs: Vec<&'a Install>,
    pub limits: Limits,
}

/// How much runs at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Heavy tasks on the whole box.
    pub per_box: usize,
    /// Heavy tasks reading the same image.
    pub per_image: usize,
    /// Between the starts of two heavy tasks.
    pub stagger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { per_box: 16, per_image: 16, stagger: Duration::ZERO }
    }
}

/// Something to do for one Install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nobody came in time: record the expiry.
    ExpireArm,
    /// Record that an observed task began, so that its time runs.
    Begin(TaskName),
    /// The host's agent may have this task.
    Release { task: TaskName, attempt: u32 },
    /// One attempt took too long: record it.
    TimeOut(TaskName),
}

/// Everything that is due at `now`, in order.
#[must_use]
pub fn plan(fleet: &Fleet<'_>, now: Timestamp) -> Vec<(InstallId, Action)> {
    let mut heavy = 0_usize;
    let mut of_image = BTreeMap::new();
    let mut last_start: Option<Timestamp> = None;
    for install in &fleet.installs {
        for task in install.state.tasks.iter().filter(|task| task.spec.kind.heavy()) {
            if let TaskStatus::Running { since, .. } = task.status {
                heavy += 1;
                *of_image.entry(install.plan.image.digest).or_insert(0_usize) += 1;
                last_start = last_start.max(Some(since));
            }
        }
    }
    let mut due = Vec::new();
    for install in &fleet.installs {
        let state = &install.state;
        if state.phase.ended() {
            continue;
        }
        if state.arm.consumed.is_none() && state.arm.expires <= now {
            due.push((install.id, Action::ExpireArm));
            continue;
        }
        for task in &state.tasks {
            match task.status {
                TaskStatus::Running { since, .. } if now.since(since) > task.spec.timeout() => {
                    due.push((install.id, Action::TimeOut(task.spec.name.clone())));
                }
                _ if !state.ready(task, now) || state.phase == Phase::Interrupted => {}
                _ if task.spec.kind.executor() == Executor::Observed => {
                    due.push((install.id, Action::Begin(task.spec.name.clone())));
                }
                _ => {
                    if task.spec.kind.heavy() {
                        let image = of_image.entry(install.plan.image.digest).or_insert(0);
                        let staggered = last_start.is_none_or(|start| now.since(start) >= fleet.limits.stagger);
                        if heavy >= fleet.limits.per_box || *image >= fleet.limits.per_image || !staggered {
                            continue;
                        }
                        heavy += 1;
                        *image += 1;
                        last_start = Some(now);
                    }
                    let attempt = match task.status {
                        TaskStatus::Retrying { attempt, .. } => attempt,
                        _ => 1,
                    };
                    due.push((install.id, Action::Release { task: task.spec.name.clone(), attempt }));
                }
            }
        }
    }
    due
}

/// What the agent of one boot gets when it asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Record the claim, then give this order.
    Claim(Run),
    /// Record the repeat, then give this order again: its reply may have been lost.
    Repeat(Run),
    /// The agent began this and no longer runs it: record a transient failure, then ask again.
    Lost(Run),
    /// The agent runs something that is not wanted any more.
    Stop(Run),
    /// Nothing.
    Wait,
}

/// Decides for the agent of `boot` on `install`'s host; `running` is what it says it does now.
#[must_use]
pub fn next_for_agent(
    fleet: &Fleet<'_>,
    install: Option<&Install>,
    boot: &BootKey,
    running: &[Run],
    now: Timestamp,
) -> Next {
    let unwanted = running.iter().find(|run| {
        install.is_none_or(|install| {
            install.id != run.install
                || install.state.phase.ended()
                || !install.state.task(&run.task).is_some_and(
                    |task| matches!(&task.status, TaskStatus::Running { attempt, .. } if *attempt == run.attempt),
                )
        })
    });
    if let Some(run) = unwanted {
        return Next::Stop(run.clone());
    }
    let Some(install) = install else { return Next::Wait };
    if install.state.phase.ended() || install.state.boot.as_ref() != Some(boot) {
        return Next::Wait;
    }
    for task in &install.state.tasks {
        let TaskStatus::Running { attempt, boot: Some(runner), handouts, begun, since } = &task.status else {
            continue;
        };
        let run = Run { install: install.id, task: task.spec.name.clone(), attempt: *attempt };
        if runner != boot || running.contains(&run) {
            continue;
        }
        let repeatable = !begun && *handouts < REPEAT_LIMIT && now.since(*since) <= REPEAT_WINDOW;
        return if repeatable { Next::Repeat(run) } else { Next::Lost(run) };
    }
    plan(fleet, now)
        .into_iter()
        .find_map(|(id, action)| match action {
            Action::Release { task, attempt } if id == install.id => {
                Some(Next::Claim(Run { install: id, task, attempt }))
            }
            _ => None,
        })
        .unwrap_or(Next::Wait)
}
