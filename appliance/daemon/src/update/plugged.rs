//! The daemon's eye on USB sticks: one that was plugged in is looked at once, people hear what it brought, and somebody who stands at
//! the box may say yes with its button. Nothing is installed before a person said so.

use super::{
    Brought, ClientError, Kept, Updates, UpdatesError, gate,
    order::{self, OrderError},
    stick,
    words::Step,
};
use crate::{
    inventory::{Inventory, Snapshot, StoreError},
    sensors::Sensors,
};
use rackberry_core::{display::Notice, event::Actor, text::CleanText, time::Timestamp};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};
use tokio::sync::watch;

/// Between two looks at what is plugged in.
const EVERY: Duration = Duration::from_secs(2);
/// The alarm that a bundle of a stick waits, for as long as it does.
pub const STICK: &str = "stick";
/// The alarm that one was not taken.
const REFUSED: &str = "stick-refused";
/// The alarms that the page's part about updates explains.
pub const ALARMS: [&str; 3] = [STICK, REFUSED, gate::ALARM];
/// So long the display asks, and the button says yes; after that the page or the command line do.
const ASKED: Duration = Duration::from_secs(180);

/// Looks at each stick once, when the daemon starts or the stick is plugged in, until `stop` turns true.
pub async fn watch_sticks(updates: Updates, inventory: Inventory, sys: PathBuf, mut stop: watch::Receiver<bool>) {
    if updates.socket().is_none() {
        return;
    }
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => {}
        () = attend(&updates, &inventory, sys) => {}
    }
}

async fn attend(updates: &Updates, inventory: &Inventory, sys: PathBuf) {
    let (mut before, mut known) = (BTreeMap::new(), BTreeMap::new());
    loop {
        let folder = sys.clone();
        // A disk that hangs must not hold up the runtime.
        let seen = tokio::task::spawn_blocking(move || stick::plugged(&folder)).await.unwrap_or_default();
        // Twice the same: its partitions are known by then.
        if seen == before && seen != known {
            let more = seen.iter().any(|(disk, number)| known.get(disk) != Some(number));
            if !more || look(updates, inventory).await {
                known.clone_from(&seen);
            }
        }
        before = seen;
        let waits = updates.kept().map(|kept| brought(&kept));
        let told = inventory.snapshot().alarms.get(STICK).map(|alarm| alarm.text.clone());
        if told.is_some_and(|told| waits.is_none_or(|waits| !told.as_str().contains(&waits))) {
            // It was installed or dropped, or another one was loaded in its place.
            settle(inventory, STICK).await;
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Whether that was all: false if it has to be tried again.
async fn look(updates: &Updates, inventory: &Inventory) -> bool {
    match updates.view().await {
        // What runs has to prove itself first.
        Ok(view) if view.status.trying => return false,
        Ok(_) => {}
        Err(error) => {
            tracing::debug!(error = crate::chain(&error), "sticks cannot be looked at yet");
            return false;
        }
    }
    let said = match updates.take_stick().await {
        Ok(Brought::Bundle(kept)) => {
            settle(inventory, REFUSED).await;
            // One that is plugged in again asks again.
            settle(inventory, STICK).await;
            raise(inventory, STICK, offer(&kept)).await;
            format!("It brought version {}.", kept.header.version)
        }
        Ok(Brought::Same(version)) => format!("It has version {version}, which runs already."),
        Ok(Brought::Nothing { why }) if why.is_empty() => return true,
        Ok(Brought::Nothing { why }) => why,
        Err(UpdatesError::Busy) => return false,
        Err(error) => {
            if let UpdatesError::Helper(error @ ClientError::Unreachable { .. }) = &error {
                tracing::debug!(error = crate::chain(error), "the helper did not look at a stick to its end");
            }
            raise(inventory, REFUSED, format!("The update on the USB stick is not taken. {error}")).await;
            error.to_string()
        }
    };
    tracing::info!("a USB stick was looked at. {said}");
    updates.say_of_stick(&said);
    true
}

fn brought(kept: &Kept) -> String {
    format!("A USB stick brought version {}.", kept.header.version)
}

fn offer(kept: &Kept) -> String {
    format!(
        "{} Install it under Updates, with `rackberry update install`, or by the button at the box while its display asks.",
        brought(kept)
    )
}

async fn raise(inventory: &Inventory, key: &'static str, text: String) {
    let text = CleanText::new(&text);
    let raised = inventory.transact(move |tx| -> Result<(), StoreError> { tx.raise_alarm(key, None, text) }).await;
    if let Err(error) = raised {
        tracing::warn!(error = crate::chain(&error), "what a stick brought is not told");
    }
}

async fn settle(inventory: &Inventory, key: &'static str) {
    if !inventory.snapshot().alarms.contains_key(key) {
        return;
    }
    let settled = inventory.transact(move |tx| tx.settle_alarm(key, Actor::Box).map(drop)).await;
    if let Err(error) = settled {
        tracing::warn!(error = crate::chain(&error), "the alarm of a stick stays");
    }
}

impl Updates {
    /// What the display shows of updates: how far one is, or whether the one of a stick shall be installed, if `button` says that
    /// somebody could answer.
    #[must_use]
    pub fn notice(&self, snapshot: &Snapshot, button: bool, now: Timestamp) -> Option<Notice> {
        let from = || env!("CARGO_PKG_VERSION").to_owned();
        if let Some(work) = self.work().filter(|work| work.failed.is_empty()) {
            // Each step reads or writes as many bytes; the write takes longest.
            let percent = match work.step {
                Step::Verify => work.percent / 5,
                Step::Write => 20 + work.percent * 3 / 5,
                Step::ReadBack => 80 + work.percent / 5,
                Step::Restart => 100,
            };
            let percent = u8::try_from(percent.min(100)).unwrap_or(100);
            return Some(Notice::Update { from: from(), to: work.version, percent });
        }
        let alarm = snapshot.alarms.get(STICK).filter(|_| button)?;
        let left = ASKED.checked_sub(now.since(alarm.since)).filter(|left| !left.is_zero())?;
        let to = self.kept()?.header.version.to_string();
        Some(Notice::Offer { from: from(), to, seconds_left: u16::try_from(left.as_secs()).unwrap_or(u16::MAX) })
    }

    /// The button said yes to the bundle that the display asks about. What stands against it is told by the alarm.
    ///
    /// # Errors
    /// [`OrderError`].
    pub async fn press(&self, inventory: &Inventory, sensors: &Sensors) -> Result<Kept, OrderError> {
        let begun = order::install(self, inventory, sensors, Actor::Box).await;
        // Pressed twice: the first one counts.
        let told = !matches!(begun, Err(OrderError::Updates(UpdatesError::Busy)));
        if let (Err(error), Some(kept), true) = (&begun, self.kept(), told) {
            raise(inventory, STICK, format!("Not installed. {error} {}", offer(&kept))).await;
        }
        begun
    }
}
