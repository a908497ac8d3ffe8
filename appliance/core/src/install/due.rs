//! What is due: the state is the queue, and every call works it out anew.

use super::{Consent, Install, LATE_QUESTION, Phase, REPEAT_LIMIT, REPEAT_WINDOW, TaskStatus};
use crate::{
    agent::Run,
    event::{BootKey, TaskName},
    id::InstallId,
    task::{Executor, TaskKind},
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
    /// Nobody at the box said yes in time: record it.
    ExpireConsent,
    /// The display may ask about this one now.
    AskConsent,
    /// The host's agent would get this task: see whether its disk takes a yes from a person at the box.
    SeekConsent { task: TaskName, attempt: u32 },
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
    let (mut asking, mut queue) = (false, Vec::new());
    for install in &fleet.installs {
        let state = &install.state;
        if state.phase.ended() {
            continue;
        }
        if state.arm.consumed.is_none() && state.arm.expires <= now {
            due.push((install.id, Action::ExpireArm));
            continue;
        }
        if state.arm.consumed.is_none() {
            match &state.consent {
                Consent::Asked { until, .. } if *until <= now => due.push((install.id, Action::ExpireConsent)),
                Consent::Asked { .. } => asking = true,
                Consent::Queued { since, .. } => queue.push((*since, install.id)),
                Consent::NotNeeded | Consent::Due { .. } | Consent::Given { .. } | Consent::Denied { .. } => {}
            }
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
                    let attempt = match task.status {
                        TaskStatus::Retrying { attempt, .. } => attempt,
                        _ => 1,
                    };
                    // Who waits for people keeps nobody else from writing.
                    if task.spec.kind.destructive() && state.arm.consumed.is_none() && !state.consent.open() {
                        if matches!(state.consent, Consent::Due { .. }) {
                            let task = task.spec.name.clone();
                            due.push((install.id, Action::SeekConsent { task, attempt }));
                        }
                        continue;
                    }
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
                    due.push((install.id, Action::Release { task: task.spec.name.clone(), attempt }));
                }
            }
        }
    }
    // The display asks one question at a time, in the order the hosts came.
    if let Some((_, first)) = queue.into_iter().min().filter(|_| !asking) {
        due.push((first, Action::AskConsent));
    }
    due
}

/// What the agent of one boot gets when it asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Record the claim, then give this order.
    Claim(Run),
    /// A distribution's installer is due, which a network boot fetches: restart.
    Installer(Run),
    /// See whether this order takes a yes from a person at the box.
    Consent(Run),
    /// Record the repeat, then give this order again: its reply may have been lost.
    Repeat(Run),
    /// The agent began this and no longer runs it: record a transient failure, then ask again.
    Lost(Run),
    /// The agent runs something that is not wanted any more.
    Stop(Run),
    /// Nothing.
    Wait,
}

/// Decides for the agent of `boot` on `install`'s host; `running` is what it said it did when its question came, at
/// `asked`.
#[must_use]
pub fn next_for_agent(
    fleet: &Fleet<'_>,
    install: Option<&Install>,
    boot: &BootKey,
    running: &[Run],
    asked: Timestamp,
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
        // A question that was under way when the agent began does not show that it lost the task. Taken for that, it
        // would have the disk written a second time.
        if begun.is_some_and(|begun| asked.since(begun) <= LATE_QUESTION) {
            continue;
        }
        let repeatable = begun.is_none() && *handouts < REPEAT_LIMIT && now.since(*since) <= REPEAT_WINDOW;
        return if repeatable { Next::Repeat(run) } else { Next::Lost(run) };
    }
    // A thousand that wait for people cost nothing.
    if install.state.waits_for_consent() {
        return Next::Wait;
    }
    // Whether people have to be asked depends on nobody else either.
    let own = Fleet { installs: vec![install], limits: fleet.limits };
    let fleet = if matches!(install.state.consent, Consent::Due { .. }) { &own } else { fleet };
    plan(fleet, now)
        .into_iter()
        .find_map(|(id, action)| match action {
            Action::Release { task, attempt } if id == install.id => {
                let installer = install.state.task(&task).is_some_and(|task| task.spec.kind == TaskKind::RunInstaller);
                let run = Run { install: id, task, attempt };
                Some(if installer { Next::Installer(run) } else { Next::Claim(run) })
            }
            Action::SeekConsent { task, attempt } if id == install.id => {
                Some(Next::Consent(Run { install: id, task, attempt }))
            }
            _ => None,
        })
        .unwrap_or(Next::Wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Actor, Event, EventKind},
        id::{BoxId, EventId, HostId},
        image::{Compression, Digest},
        install::{Binding, ConsentRule, InstallState, Plan, PlannedImage, transition},
        profile::Profile,
        task::DiskRule,
        text::HostName,
        time::WallTime,
    };

    fn at(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    fn armed() -> Install {
        let toml = "title = \"T\"\nimage = \"i\"\narch = \"x86_64\"\n";
        let profile = Profile::parse("t", toml, &BTreeMap::new()).unwrap();
        let digest = Digest([1; 32]);
        let (name, compression) = ("i".into(), Compression::None);
        let image = PlannedImage { digest, name, size_bytes: 1, compression, raw_bytes: None };
        let plan = Plan {
            profile: profile.name.clone(),
            title: profile.title.clone(),
            way: profile.way,
            arch: profile.arch,
            image,
            boot: None,
            disk: DiskRule::Only,
            seen_disk: None,
            erase: false,
            hostname: HostName::new("node").unwrap(),
            parameters: BTreeMap::new(),
            files: Vec::new(),
            seed: profile.seed,
            grow: true,
            boot_order: profile.boot_order,
        };
        let bound = Binding { macs: Vec::new(), uuid: None };
        Install {
            id: InstallId(uuid::Uuid::nil()),
            host: HostId(uuid::Uuid::nil()),
            plan,
            state: InstallState::armed(
                &profile.workflow.unwrap(),
                bound,
                ConsentRule::Never,
                at(0),
                Duration::from_secs(7200),
            ),
            created: at(0),
            created_wall: WallTime(0),
            by: "me".into(),
        }
    }

    fn moved(install: Install, kind: EventKind, seconds: u64) -> Install {
        let nil = uuid::Uuid::nil();
        let (id, origin, wall) = (EventId(nil), BoxId(nil), WallTime(0));
        let event = Event { id, origin, at: at(seconds), wall, host: None, install: None, actor: Actor::Host, kind };
        let state = transition(&install.state, &event, at(seconds)).unwrap();
        Install { state, ..install }
    }

    #[test]
    fn a_question_that_was_under_way_when_the_write_began_does_not_cause_a_second_one() {
        let boot = BootKey(Digest([2; 32]));
        let (task, attempt) = (TaskName::from("write-image"), 1);
        let hello = EventKind::AgentHello { boot: boot.clone(), address: "".into() };
        let claim = EventKind::TaskClaimed { task: task.clone(), attempt, boot: boot.clone() };
        let claimed = moved(moved(armed(), hello, 10), claim, 11);
        let run = Run { install: claimed.id, task: task.clone(), attempt };
        let next = |install: &Install, asked, now| {
            let fleet = Fleet { installs: vec![install], limits: Limits::default() };
            next_for_agent(&fleet, Some(install), &boot, &[], at(asked), at(now))
        };
        assert_eq!(next(&claimed, 11, 12), Next::Repeat(run.clone()), "its reply may have been lost");
        let begun = moved(claimed, EventKind::TaskStarted { task, attempt }, 20);
        assert_eq!(next(&begun, 11, 21), Next::Wait, "held since before the claim");
        assert_eq!(next(&begun, 20, 44), Next::Wait);
        assert_eq!(next(&begun, 26, 27), Next::Lost(run), "an agent that began and asks without it was restarted");
    }
}
