//! The box is updated, or goes back: both start it again, so that neither may cut an install off.

use crate::http::{State, error::Error};
use rackberry_core::event::{Actor, EventKind};

/// Begins to install the bundle that waits.
///
/// # Errors
/// While a machine is being installed, and whatever the update refuses.
pub async fn install(state: &State, actor: Actor) -> Result<(), Error> {
    idle(state)?;
    let kept = state.updates.install().await?;
    record(state, actor, format!("update to {}", kept.header.version)).await
}

/// Begins to go back to the version in the other slot.
///
/// # Errors
/// While a machine is being installed, and whatever the update refuses.
pub async fn roll_back(state: &State, actor: Actor) -> Result<(), Error> {
    idle(state)?;
    let status = state.updates.roll_back().await?;
    let version =
        status.other.version.map_or_else(|| format!("slot {}", status.other.slot), |version| version.to_string());
    record(state, actor, format!("roll back to {version}")).await
}

fn idle(state: &State) -> Result<(), Error> {
    if let Some(why) = state.sensors.refusal() {
        return Err(Error::Conflict(why.to_owned()));
    }
    let snapshot = state.inventory.snapshot();
    let busy = snapshot.active_installs().filter(|install| install.state.arm.consumed.is_some()).count();
    if busy == 0 {
        return Ok(());
    }
    Err(Error::Conflict(format!(
        "{busy} machines are being installed, and the box starts again for this. Wait until they are done, or cancel them."
    )))
}

async fn record(state: &State, actor: Actor, what: String) -> Result<(), Error> {
    let what = what.as_str().into();
    let kind = EventKind::BoxUpdate { what };
    state.inventory.transact(move |tx| tx.record(None, None, actor, kind).map(drop)).await?;
    Ok(())
}
