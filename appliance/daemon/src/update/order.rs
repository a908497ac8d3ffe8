//! Somebody orders an update or a roll-back, by page, command line or button: both start the box again, so that neither may cut
//! an install off.

use super::{
    Kept, Updates, UpdatesError,
    words::{Other, Status},
};
use crate::{
    inventory::{Inventory, StoreError, TransactError},
    sensors::Sensors,
};
use rackberry_core::event::{Actor, EventKind};

/// Why an order is not followed.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    #[error(transparent)]
    Updates(#[from] UpdatesError),
    /// It may not be done now; the sentence why.
    #[error("{0}")]
    NotNow(String),
    /// It was begun, and is missing in the history.
    #[error("the order cannot be recorded")]
    Record(#[from] TransactError<StoreError>),
}

/// Begins to install the bundle that waits.
///
/// # Errors
/// While a machine is being installed or the voltage is low, and whatever the update refuses.
pub async fn install(
    updates: &Updates,
    inventory: &Inventory,
    sensors: &Sensors,
    actor: Actor,
) -> Result<Kept, OrderError> {
    idle(inventory, sensors)?;
    let kept = updates.install().await?;
    record(inventory, actor, format!("update to {}", kept.header.version)).await?;
    Ok(kept)
}

/// Begins to go back to the version in the other slot.
///
/// # Errors
/// While a machine is being installed or the voltage is low, and whatever the update refuses.
pub async fn roll_back(
    updates: &Updates,
    inventory: &Inventory,
    sensors: &Sensors,
    actor: Actor,
) -> Result<(), OrderError> {
    idle(inventory, sensors)?;
    let Status { other: Other { version, slot, .. }, .. } = updates.roll_back().await?;
    let version = version.map_or_else(|| format!("slot {slot}"), |version| version.to_string());
    record(inventory, actor, format!("roll back to {version}")).await
}

fn idle(inventory: &Inventory, sensors: &Sensors) -> Result<(), OrderError> {
    if let Some(why) = sensors.refusal() {
        return Err(OrderError::NotNow(why.to_owned()));
    }
    let snapshot = inventory.snapshot();
    let busy = snapshot.active_installs().filter(|install| install.state.arm.consumed.is_some()).count();
    if busy == 0 {
        return Ok(());
    }
    Err(OrderError::NotNow(format!(
        "{busy} machines are being installed, and the box starts again for this. Wait until they are done, or cancel them."
    )))
}

async fn record(inventory: &Inventory, actor: Actor, what: String) -> Result<(), OrderError> {
    let what = what.as_str().into();
    inventory.transact(move |tx| tx.record(None, None, actor, EventKind::BoxUpdate { what }).map(drop)).await?;
    Ok(())
}
