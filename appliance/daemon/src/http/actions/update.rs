//! The box's own version: a bundle taken in, installed, and the way back.

use crate::{
    http::{State, error::Error},
    update::{self, Kept, OrderError, UpdatesError, Upload},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use rackberry_core::event::Actor;
use std::time::Duration;

/// Of a refused upload so many bytes are taken in and thrown away, so that its sender gets to read why.
const DRAIN: usize = 256 << 20;
/// And no longer than this.
const DRAIN_FOR: Duration = Duration::from_secs(10);

/// Begins to install the bundle that waits.
///
/// # Errors
/// While a machine is being installed, and whatever the update refuses.
pub async fn install(state: &State, actor: Actor) -> Result<Kept, Error> {
    Ok(update::install(&state.updates, &state.inventory, &state.sensors, actor).await?)
}

/// Begins to go back to the version in the other slot.
///
/// # Errors
/// While a machine is being installed, and whatever the update refuses.
pub async fn roll_back(state: &State, actor: Actor) -> Result<(), Error> {
    Ok(update::roll_back(&state.updates, &state.inventory, &state.sensors, actor).await?)
}

/// Lets the bundle that waits go.
///
/// # Errors
/// If there is none.
pub async fn forget(state: &State) -> Result<(), Error> {
    let updates = state.updates.clone();
    blocking(move || updates.drop_kept()).await
}

/// A bundle that arrives in pieces; dropped before its end, it leaves nothing behind.
#[derive(Default)]
pub struct Arriving(Option<Upload>);

impl Arriving {
    /// Takes the next bytes; the bundle that waited goes with the first of them.
    ///
    /// # Errors
    /// If there is no room, or another upload.
    pub async fn write(&mut self, state: &State, bytes: Bytes) -> Result<(), Error> {
        let (updates, begun) = (state.updates.clone(), self.0.take());
        let write = move || {
            let mut upload = begun.map_or_else(|| updates.upload(), Ok)?;
            upload.write(&bytes).map(|()| upload)
        };
        self.0 = Some(blocking(write).await?);
        Ok(())
    }

    /// Keeps it, if it is a bundle that this box takes.
    ///
    /// # Errors
    /// Why it is not taken.
    pub async fn keep(self, state: &State) -> Result<Kept, Error> {
        let Some(upload) = self.0 else {
            return Err(Error::Invalid("The file is empty. Choose an update file.".to_owned()));
        };
        Ok(state.updates.keep(upload).await?)
    }
}

/// Reads on for a while what was refused: whoever still sends reads no answer.
pub async fn drain<E>(body: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin)) {
    let _ = tokio::time::timeout(DRAIN_FOR, async {
        let mut left = DRAIN;
        while let Some(Ok(piece)) = body.next().await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                return;
            }
        }
    })
    .await;
}

async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, UpdatesError> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(act).await {
        Ok(done) => Ok(done?),
        Err(error) => Err(Error::Mistake(error.to_string())),
    }
}

impl From<OrderError> for Error {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Updates(error) => error.into(),
            OrderError::NotNow(why) => Error::Conflict(why),
            OrderError::Record(error) => error.into(),
        }
    }
}
