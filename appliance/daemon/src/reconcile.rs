//! What is due, done: looks at the state whenever it changes and once a second, records what time alone brings about.
//!
//! Level-triggered: it keeps nothing of its own, so after a crash it finds the same work.

use crate::inventory::{ApplyError, Inventory, StoreError, Tx};
use rackberry_core::{
    event::{Actor, EventKind},
    install::{self, Action, Fleet, Install, Limits},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// Runs until `stop` turns true.
pub async fn run(inventory: Inventory, limits: Limits, mut stop: watch::Receiver<bool>) {
    let mut snapshots = inventory.subscribe();
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        let installs: Vec<Arc<Install>> = snapshot.active_installs().cloned().collect();
        if ours(&installs, limits, inventory.clock().now()).next().is_some() {
            let done = inventory.transact(move |tx| record(tx, limits)).await;
            if let Err(error) = done {
                tracing::error!(error = crate::chain(&error), "what was due could not be recorded");
            }
        }
        tokio::select! {
            changed = snapshots.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// The part of the plan that is not an agent's to claim.
fn ours(
    installs: &[Arc<Install>],
    limits: Limits,
    now: rackberry_core::time::Timestamp,
) -> impl Iterator<Item = (rackberry_core::id::InstallId, Action)> + use<> {
    let fleet = Fleet { installs: installs.iter().map(Arc::as_ref).collect(), limits };
    install::plan(&fleet, now).into_iter().filter(|(_, action)| !matches!(action, Action::Release { .. }))
}

fn record(tx: &mut Tx<'_>, limits: Limits) -> Result<(), StoreError> {
    let due: Vec<_> = ours(&tx.active_installs(), limits, tx.now()).collect();
    for (id, action) in due {
        let kind = match action {
            Action::ExpireArm => EventKind::ArmExpired,
            Action::Begin(task) => EventKind::TaskStarted { task, attempt: 1 },
            Action::TimeOut(task) => EventKind::TaskTimedOut { task },
            Action::Release { .. } => continue,
        };
        match tx.apply(id, Actor::Box, kind) {
            Ok(_) => {}
            Err(ApplyError::Store(error)) => return Err(error),
            Err(error) => tracing::warn!(error = crate::chain(&error), "the plan asked for what the state refuses"),
        }
    }
    Ok(())
}
