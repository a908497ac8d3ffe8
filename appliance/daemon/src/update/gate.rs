//! On trial: looks at the box's health and says so to the helper, who alone may make the trial the good slot. Also tells people
//! how the last update ended.

use super::{
    Updates,
    client::{self, ClientError},
    words::{Ask, Last, Outcome, Status},
};
use crate::{
    health::{Health, Part, Turning},
    inventory::{Inventory, StoreError},
    net::NetworkView,
};
use rackberry_core::{
    dhcp::{Mode, Stage},
    event::Actor,
    text::CleanText,
    update::{Gate, Signs, Verdict, Version},
};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};

/// So long everything has to be well without a break.
const STEADY: Duration = Duration::from_secs(10);
/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// What a part shows is believed for so long.
const FRESH: Duration = Duration::from_secs(20);
/// The alarm of an update that failed.
pub(super) const ALARM: &str = "update";
/// Where a trial writes, to see that it can.
const TRIAL: &str = "update-trial";

/// Where the signs of health are seen.
#[derive(Debug, Clone)]
pub struct Probe {
    pub health: Health,
    pub inventory: Inventory,
    pub network: watch::Receiver<Arc<NetworkView>>,
    pub mode: Mode,
}

impl Probe {
    async fn look(&self) -> Signs {
        let ticked = |part| match self.health.turning(part) {
            Turning::Ticked(_) => self.health.verdict().is_good(),
            Turning::Rests | Turning::Begins(_) => false,
        };
        let stage = Stage::of_word(&self.network.borrow().mode_word);
        // It was checked as a whole when it was opened; that it takes a write shows only now.
        let written = self.inventory.transact(|tx| {
            let now = tx.now();
            tx.set_setting(TRIAL, &now)
        });
        let written = tokio::time::timeout(FRESH, written).await;
        Signs {
            dhcp: ticked(Part::Dhcp) && stage.is_some(),
            ladder: stage.is_some_and(|stage| stage != Stage::Observe || self.mode == Mode::Observe),
            page: ticked(Part::Http),
            database: ticked(Part::Database) && matches!(written, Ok(Ok(()))),
        }
    }
}

/// Waits for the helper, tells how the last update ended, and on trial says when this version is healthy. Ends when nothing is
/// left to do, or `stop` turns true.
pub async fn watch(updates: Updates, probe: Probe, mut stop: watch::Receiver<bool>) {
    let Some(socket) = updates.socket().map(Path::to_owned) else { return };
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => {}
        () = attend(&socket, &probe) => {}
    }
}

async fn attend(socket: &Path, probe: &Probe) {
    let mut status = first_status(socket).await;
    tell(socket, &status, &probe.inventory).await;
    if !status.trying {
        return;
    }
    tracing::info!(version = %status.version, "this version is on trial");
    let (began, mut gate) = (Instant::now(), Gate::new(STEADY));
    let mut said: Option<Vec<&str>> = None;
    loop {
        let verdict = gate.look(began.elapsed(), &probe.look().await);
        let missing = match &verdict {
            Verdict::Healthy => Some(Vec::new()),
            Verdict::Waiting(missing) if !missing.is_empty() && said.as_ref() != Some(missing) => Some(missing.clone()),
            Verdict::Waiting(_) => None,
        };
        if let Some(missing) = missing {
            let ask = Ask::Health { missing: missing.iter().map(ToString::to_string).collect() };
            match client::ask(socket, &ask, &mut |_, _, _| {}).await {
                Ok(_) if verdict == Verdict::Healthy => break,
                Ok(_) => said = Some(missing),
                Err(error) => tracing::warn!(error = crate::chain(&error), "the trial's health is not told"),
            }
        }
        tokio::time::sleep(EVERY).await;
    }
    tracing::info!("this version has proved itself, and is what starts from now on");
    let forgotten = probe.inventory.transact(|tx| tx.forget_setting(TRIAL)).await;
    if let Err(error) = forgotten {
        tracing::warn!(error = crate::chain(&error), "what the trial wrote stays");
    }
    if let Ok(now) = client::status(socket).await {
        status = now;
        tell(socket, &status, &probe.inventory).await;
    }
}

async fn first_status(socket: &Path) -> Status {
    let mut quiet = false;
    loop {
        match client::status(socket).await {
            Ok(status) => return status,
            Err(error @ ClientError::Refused(_)) => tracing::warn!("{error}"),
            // It is started beside this.
            Err(error) if quiet => tracing::debug!(error = crate::chain(&error), "the helper does not answer yet"),
            Err(error) => {
                quiet = true;
                tracing::info!(error = crate::chain(&error), "the helper does not answer yet");
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn tell(socket: &Path, status: &Status, inventory: &Inventory) {
    let Some(last) = status.last.as_ref().filter(|last| last.outcome != Outcome::Trial && !status.told) else { return };
    let text = sentence(last, status.version);
    let failed = last.outcome == Outcome::Failed;
    let stored = inventory
        .transact(move |tx| -> Result<(), StoreError> {
            if failed {
                tx.raise_alarm(ALARM, None, CleanText::new(&text))
            } else {
                tx.settle_alarm(ALARM, Actor::Box).map(drop)
            }
        })
        .await;
    let told = match stored {
        Ok(()) => {
            client::ask(socket, &Ask::Told, &mut |_, _, _| {}).await.map(drop).map_err(|error| crate::chain(&error))
        }
        Err(error) => Err(crate::chain(&error)),
    };
    if let Err(error) = told {
        tracing::warn!(error, "how the last update ended will be told again");
    }
}

/// How an update failed, for people.
#[must_use]
pub fn sentence(last: &Last, running: Version) -> String {
    let why = if last.why.is_empty() { String::new() } else { format!(" ({})", last.why) };
    format!("The update to {} failed{why}; {running} is running.", last.version)
}
