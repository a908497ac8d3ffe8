//! What is due, done: looks at the state whenever it changes and once a second, records what time alone brings about, and
//! has the display ask the next question.
//!
//! Level-triggered: it keeps nothing of its own, so after a crash it finds the same work.

use crate::{
    consent::Consent,
    inventory::{ApplyError, Inventory, StoreError, Tx},
};
use rackberry_core::{
    event::{Actor, EventKind},
    id::InstallId,
    install::{self, Action, Fleet, Install, Limits},
    time::Timestamp,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// What it works by.
#[derive(Debug, Clone)]
pub struct Rules {
    pub limits: Limits,
    pub consent: Consent,
    /// How long the display waits for a yes.
    pub consent_patience: Duration,
}

/// Runs until `stop` turns true.
pub async fn run(inventory: Inventory, rules: Rules, mut stop: watch::Receiver<bool>) {
    let mut snapshots = inventory.subscribe();
    let limits = rules.limits;
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        let installs: Vec<Arc<Install>> = snapshot.active_installs().cloned().collect();
        let now = inventory.clock().now();
        let due: Vec<_> = ours(&installs, limits, now).collect();
        if due.iter().any(|(_, action)| *action != Action::AskConsent) {
            let done = inventory.transact(move |tx| record(tx, limits)).await;
            if let Err(error) = done {
                tracing::error!(error = crate::chain(&error), "what was due could not be recorded");
            }
        }
        rules.ask(&inventory, &due, snapshot.asked(), now).await;
        tokio::select! {
            changed = snapshots.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

impl Rules {
    /// Has the display ask the next question, or anew the one whose digits went with the program that showed them.
    async fn ask(
        &self,
        inventory: &Inventory,
        due: &[(InstallId, Action)],
        asked: Option<&Arc<Install>>,
        now: Timestamp,
    ) {
        let open = asked.filter(|install| install.state.consent.asked_until().is_some_and(|until| until > now));
        let next = match open {
            Some(install) if self.consent.holds(install) => return,
            Some(install) => install.id,
            None => match due.iter().find(|(_, action)| *action == Action::AskConsent) {
                Some((install, _)) => *install,
                None => return self.consent.over(),
            },
        };
        if let Err(error) = self.consent.ask(inventory, next, self.consent_patience).await {
            tracing::warn!(error = crate::chain(&error), "the display could not ask for a yes");
        }
    }
}

/// The part of the plan that is not an agent's to claim.
fn ours(
    installs: &[Arc<Install>],
    limits: Limits,
    now: Timestamp,
) -> impl Iterator<Item = (InstallId, Action)> + use<> {
    let fleet = Fleet { installs: installs.iter().map(Arc::as_ref).collect(), limits };
    let agents = |action: &Action| matches!(action, Action::Release { .. } | Action::SeekConsent { .. });
    install::plan(&fleet, now).into_iter().filter(move |(_, action)| !agents(action))
}

fn record(tx: &mut Tx<'_>, limits: Limits) -> Result<(), StoreError> {
    let due: Vec<_> = ours(&tx.active_installs(), limits, tx.now()).collect();
    for (id, action) in due {
        let kind = match action {
            Action::ExpireArm => EventKind::ArmExpired,
            Action::ExpireConsent => EventKind::ConsentExpired,
            Action::Begin(task) => EventKind::TaskStarted { task, attempt: 1 },
            Action::TimeOut(task) => EventKind::TaskTimedOut { task },
            Action::AskConsent | Action::SeekConsent { .. } | Action::Release { .. } => continue,
        };
        match tx.apply(id, Actor::Box, kind) {
            Ok(_) => {}
            Err(ApplyError::Store(error)) => return Err(error),
            Err(error) => tracing::warn!(error = crate::chain(&error), "the plan asked for what the state refuses"),
        }
    }
    Ok(())
}
