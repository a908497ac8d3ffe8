//! How an event moves an Install.

use super::{InstallState, Phase, REPEAT_LIMIT, REPEAT_WINDOW, STAGE_LIMIT, TaskRun, TaskStatus};
use crate::{
    event::{Event, EventKind, TaskName},
    task::{Executor, TaskKind},
    text::CleanText,
    time::Timestamp,
};

/// Why an event does not follow from the state; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("the install is over")]
    Over,
    #[error("the workflow has no task \"{0}\"")]
    NoTask(TaskName),
    #[error("task \"{task}\" is not in attempt {attempt}")]
    WrongAttempt { task: TaskName, attempt: u32 },
    #[error("task \"{0}\" is not due")]
    NotDue(TaskName),
    #[error("the permission to erase has expired")]
    ArmExpired,
    #[error("another boot of this host speaks for it now")]
    OtherBoot,
    #[error("the order for task \"{0}\" went out too often, or too long ago")]
    RepeatedTooOften(TaskName),
    #[error("the permission to erase was used already")]
    ArmConsumed,
    #[error("the install is not interrupted")]
    NotInterrupted,
    #[error("nobody at the box said yes")]
    NoConsent,
    #[error("nobody at the box is asked about this host now")]
    ConsentNotAsked,
    #[error("the time to say yes is over")]
    ConsentOver,
    #[error("the question had only just appeared")]
    ConsentTooSoon,
    #[error("its installer has said where it is too often")]
    TooManyStages,
    #[error("the disk is not written yet")]
    NotWritten,
    #[error("this event never moves an install")]
    NotOurs,
}

/// The state after `event` at `now`; the same event again gives the same state, so that a repeated message is harmless.
///
/// # Errors
/// [`Rejected`] if the event does not follow from the state.
pub fn transition(state: &InstallState, event: &Event, now: Timestamp) -> Result<InstallState, Rejected> {
    let mut next = state.clone();
    if state.phase.ended() {
        return after_the_end(next, &event.kind, now);
    }
    match &event.kind {
        EventKind::BootReached { .. } => next.booting(),
        EventKind::AgentHello { boot, .. } => {
            let lost: Option<String> = next
                .tasks
                .iter_mut()
                .filter(|task| task.spec.kind.executor() != Executor::Observed)
                .filter_map(|task| match &task.status {
                    TaskStatus::Running { boot: Some(runner), attempt, .. } if runner != boot => {
                        if task.spec.kind == TaskKind::Restart {
                            // The restart happened, only its report was lost.
                            let (attempt, since) = (*attempt, now);
                            task.status = TaskStatus::Done { attempt, since, at: now };
                            return None;
                        }
                        let attempt = *attempt;
                        task.status = TaskStatus::Interrupted { attempt, at: now };
                        Some(task.spec.kind.title().to_owned())
                    }
                    _ => None,
                })
                .next();
            next.boot = Some(boot.clone());
            for task in next.tasks.iter_mut().filter(|task| task.spec.kind == TaskKind::BootRamOs && !task.done()) {
                let since = task.since().unwrap_or(state.arm.granted);
                task.status = TaskStatus::Done { attempt: 1, since, at: now };
            }
            next.booting();
            if let Some(title) = lost {
                next.phase = Phase::Interrupted;
                next.reason = CleanText::new(&format!("The machine restarted while \"{title}\" ran."));
            }
        }
        EventKind::TaskClaimed { task, attempt, boot } => next.claim(task, *attempt, boot, now)?,
        EventKind::TaskRepeated { task, attempt, boot } => {
            let run = next.run(task)?;
            let installer = run.spec.kind == TaskKind::RunInstaller;
            match &mut run.status {
                TaskStatus::Running { attempt: running, handouts, begun: None, since, boot: runner }
                    if running == attempt =>
                {
                    if *handouts >= REPEAT_LIMIT || now.since(*since) > REPEAT_WINDOW {
                        return Err(Rejected::RepeatedTooOften(task.clone()));
                    }
                    *handouts += 1;
                    if installer && boot.is_some() {
                        *runner = boot.clone();
                        next.boot = boot.clone();
                    }
                }
                _ => return Err(Rejected::WrongAttempt { task: task.clone(), attempt: *attempt }),
            }
        }
        EventKind::TaskStarted { task, attempt } => next.start(task, *attempt, now)?,
        EventKind::TaskDone { task, attempt } => {
            let run = next.run(task)?;
            match &run.status {
                TaskStatus::Running { attempt: running, since, .. } if running == attempt => {
                    run.status = TaskStatus::Done { attempt: *attempt, since: *since, at: now };
                }
                TaskStatus::Done { attempt: done, .. } if done == attempt => {}
                _ => return Err(Rejected::WrongAttempt { task: task.clone(), attempt: *attempt }),
            }
            next.settle(now);
        }
        EventKind::TaskFailed { task, attempt, transient, message } => {
            next.fail(task, *attempt, *transient, message, now)?;
        }
        EventKind::InstallerStage { stage, .. } => {
            let task = next.installing().ok_or(Rejected::NotOurs)?;
            if let TaskStatus::Running { begun, .. } = &mut task.status {
                *begun = begun.or(Some(now));
            }
            if next.stage != *stage {
                if next.stages >= STAGE_LIMIT {
                    return Err(Rejected::TooManyStages);
                }
                next.stages += 1;
                next.stage = stage.clone();
            }
        }
        EventKind::InstallerLost { task, attempt } => {
            let run = next.run(task)?;
            match run.status {
                TaskStatus::Running { attempt: running, .. }
                    if running == *attempt && run.spec.kind == TaskKind::RunInstaller =>
                {
                    run.status = TaskStatus::Interrupted { attempt: *attempt, at: now };
                }
                _ => return Err(Rejected::WrongAttempt { task: task.clone(), attempt: *attempt }),
            }
            next.phase = Phase::Interrupted;
            next.reason = CleanText::new("The machine restarted before its installer said that it was done.");
        }
        EventKind::TaskTimedOut { task } => {
            let run = next.run(task)?;
            if !run.running() {
                return Err(Rejected::NotDue(task.clone()));
            }
            let minutes = run.spec.timeout().as_secs() / 60;
            let title = run.spec.kind.title();
            run.status = TaskStatus::TimedOut { at: now };
            let disk = next.disk_sentence();
            next.end(Phase::TimedOut, &format!("{title} took longer than {minutes} min. {disk}"), now);
        }
        EventKind::FirstBoot { .. } => {
            let written = next.tasks.iter().all(|task| match task.spec.kind {
                TaskKind::Restart | TaskKind::WaitFirstBoot => true,
                // Its last word may have been lost; who reports got what to report with from it.
                TaskKind::RunInstaller => task.done() || task.running(),
                TaskKind::BootRamOs | TaskKind::WriteImage | TaskKind::Configure => task.done(),
            });
            if !written {
                return Err(Rejected::NotWritten);
            }
            // A system that is up has restarted, whether or not that report arrived.
            for task in next.tasks.iter_mut().filter(|task| !task.done()) {
                let since = task.since().unwrap_or(now);
                task.status = TaskStatus::Done { attempt: 1, since, at: now };
            }
            next.settle(now);
        }
        EventKind::Disarmed { reason } => next.withdraw(Phase::Cancelled, reason.as_str(), now)?,
        EventKind::InstallRefused { reason } => {
            next.withdraw(Phase::Failed, &format!("{reason} Nothing was written."), now)?;
        }
        EventKind::ArmExpired => {
            let reason = if next.consent.waits() {
                "Nobody at the box said yes before the permission to erase expired. Nothing was written."
            } else {
                "The host did not come before the permission to erase expired. Nothing was written."
            };
            next.withdraw(Phase::TimedOut, reason, now)?;
        }
        EventKind::UuidMismatch { .. } => next.withdraw(
            Phase::Cancelled,
            "This is not the machine you armed. Its UUID differs, so we disarmed it. Nothing was written.",
            now,
        )?,
        EventKind::Cancelled { reason } => {
            let disk = next.disk_sentence();
            next.end(Phase::Cancelled, &format!("{reason} {disk}"), now);
        }
        EventKind::Resumed => {
            if next.phase != Phase::Interrupted {
                return Err(Rejected::NotInterrupted);
            }
            for task in &mut next.tasks {
                if let TaskStatus::Interrupted { attempt, at } = task.status {
                    task.status = TaskStatus::Retrying {
                        attempt: attempt.saturating_add(1),
                        not_before: now,
                        message: CleanText::new(&format!("interrupted at {}", at.0)),
                    };
                }
            }
            next.reason = CleanText::default();
            next.phase = Phase::Installing;
        }
        EventKind::ConsentNeeded { .. }
        | EventKind::ConsentWaived { .. }
        | EventKind::ConsentAsked { .. }
        | EventKind::ConsentGiven { .. }
        | EventKind::ConsentRefused { .. }
        | EventKind::ConsentExpired
        | EventKind::ConsentWanted => next.consent(&event.kind, now)?,
        _ => return Err(Rejected::NotOurs),
    }
    Ok(next)
}

/// A few messages may still arrive once an Install is over, because their first answer was lost.
fn after_the_end(mut state: InstallState, kind: &EventKind, now: Timestamp) -> Result<InstallState, Rejected> {
    match kind {
        EventKind::FirstBoot { .. } if state.phase == Phase::Done => Ok(state),
        // Late, but up: the disk was complete and only the wait for the first boot had run out.
        EventKind::FirstBoot { .. } if state.phase == Phase::TimedOut && state.disk_complete() => {
            for task in state.tasks.iter_mut().filter(|task| !task.done()) {
                task.status = TaskStatus::Done { attempt: 1, since: now, at: now };
            }
            state.settle(now);
            Ok(state)
        }
        EventKind::TaskDone { task, attempt } => match state.run(task)?.status {
            TaskStatus::Done { attempt: done, .. } if done == *attempt => Ok(state),
            _ => Err(Rejected::Over),
        },
        EventKind::TaskFailed { task, attempt, .. } => match state.run(task)?.status {
            TaskStatus::Failed { attempt: failed, .. } if failed == *attempt => Ok(state),
            _ => Err(Rejected::Over),
        },
        _ => Err(Rejected::Over),
    }
}

impl TaskRun {
    fn since(&self) -> Option<Timestamp> {
        match self.status {
            TaskStatus::Running { since, .. } | TaskStatus::Done { since, .. } => Some(since),
            _ => None,
        }
    }
}

impl InstallState {
    fn run(&mut self, name: &TaskName) -> Result<&mut TaskRun, Rejected> {
        self.tasks.iter_mut().find(|task| task.spec.name == *name).ok_or_else(|| Rejected::NoTask(name.clone()))
    }

    fn installing(&mut self) -> Option<&mut TaskRun> {
        self.tasks.iter_mut().find(|task| task.spec.kind == TaskKind::RunInstaller && task.running())
    }

    fn booting(&mut self) {
        if self.phase == Phase::Armed {
            self.phase = Phase::Booting;
        }
    }

    fn claim(
        &mut self,
        name: &TaskName,
        attempt: u32,
        boot: &crate::event::BootKey,
        now: Timestamp,
    ) -> Result<(), Rejected> {
        let installer = self.task(name).is_some_and(|run| run.spec.kind == TaskKind::RunInstaller);
        // An installer is a boot of its own.
        if !installer && self.boot.as_ref() != Some(boot) {
            return Err(Rejected::OtherBoot);
        }
        if self.phase == Phase::Interrupted {
            return Err(Rejected::NotDue(name.clone()));
        }
        let run = self.task(name).ok_or_else(|| Rejected::NoTask(name.clone()))?;
        let due = match run.status {
            TaskStatus::Pending => 1,
            TaskStatus::Retrying { attempt, .. } => attempt,
            _ => return Err(Rejected::NotDue(name.clone())),
        };
        if !self.ready(run, now) {
            return Err(Rejected::NotDue(name.clone()));
        }
        if due != attempt {
            return Err(Rejected::WrongAttempt { task: name.clone(), attempt });
        }
        if run.spec.kind.destructive() && self.arm.consumed.is_none() {
            if self.arm.expires <= now {
                return Err(Rejected::ArmExpired);
            }
            if !self.consent.open() {
                return Err(Rejected::NoConsent);
            }
            self.arm.consumed = Some(now);
        }
        let boot = Some(boot.clone());
        if installer {
            self.boot.clone_from(&boot);
        }
        self.run(name)?.status = TaskStatus::Running { attempt, since: now, boot, handouts: 1, begun: None };
        self.phase = Phase::Installing;
        Ok(())
    }

    fn start(&mut self, name: &TaskName, attempt: u32, now: Timestamp) -> Result<(), Rejected> {
        let run = self.run(name)?;
        let observed = run.spec.kind.executor() == Executor::Observed;
        match &mut run.status {
            TaskStatus::Running { attempt: running, begun, .. } if *running == attempt => {
                *begun = begun.or(Some(now));
            }
            TaskStatus::Done { attempt: done, .. } if *done == attempt => {}
            status @ TaskStatus::Pending if observed => {
                *status = TaskStatus::Running { attempt, since: now, boot: None, handouts: 0, begun: Some(now) };
            }
            _ => return Err(Rejected::WrongAttempt { task: name.clone(), attempt }),
        }
        Ok(())
    }

    fn fail(
        &mut self,
        name: &TaskName,
        attempt: u32,
        transient: bool,
        message: &CleanText,
        now: Timestamp,
    ) -> Result<(), Rejected> {
        let run = self.run(name)?;
        match run.status {
            TaskStatus::Running { attempt: running, .. } if running == attempt => {}
            // The same report again.
            TaskStatus::Retrying { attempt: next, .. } if next == attempt + 1 => return Ok(()),
            _ => return Err(Rejected::WrongAttempt { task: name.clone(), attempt }),
        }
        if transient && attempt < run.spec.retry.attempts {
            let not_before = now.after(run.spec.retry.backoff(attempt));
            run.status = TaskStatus::Retrying { attempt: attempt + 1, not_before, message: message.clone() };
            return Ok(());
        }
        let title = run.spec.kind.title();
        run.status = TaskStatus::Failed { attempt, at: now, message: message.clone() };
        let disk = self.disk_sentence();
        self.end(Phase::Failed, &format!("{title}: {message} {disk}"), now);
        Ok(())
    }

    /// Takes back a permission that was not used.
    fn withdraw(&mut self, phase: Phase, reason: &str, now: Timestamp) -> Result<(), Rejected> {
        if self.arm.consumed.is_some() {
            return Err(Rejected::ArmConsumed);
        }
        self.end(phase, reason, now);
        Ok(())
    }

    fn settle(&mut self, now: Timestamp) {
        if self.tasks.iter().all(TaskRun::done) {
            self.end(Phase::Done, "", now);
        } else if self.disk_complete() {
            self.phase = Phase::Waiting;
        }
    }

    fn end(&mut self, phase: Phase, reason: &str, now: Timestamp) {
        self.phase = phase;
        self.reason = CleanText::new(reason);
        self.ended = Some(now);
    }

    fn disk_sentence(&self) -> &'static str {
        if !self.touched_disk() {
            "Nothing was written."
        } else if self.disk_complete() {
            "The disk is written; the machine may just not start from it."
        } else {
            "The disk is partly written and will not boot."
        }
    }
}
