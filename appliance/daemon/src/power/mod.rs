//! Switching machines on and off: who may have which pin, one action at a time for each machine, and what is known of them.
//!
//! | module | one sentence |
//! |---|---|
//! | `gpio` | relays and optocouplers on the box's own header |
//! | `shell` | the task that owns every machine's driver |
//! | `ticket` | one action on one machine |
//!
//! One task owns every machine's driver. An action takes a driver along to a thread of its own, where nothing that the rest of
//! the box does makes a press longer, and brings it back; until then every other action on that machine is refused.

mod gpio;
mod shell;
mod ticket;

pub use shell::{Shell, new, run};
pub use ticket::Ticket;

use crate::gpio::GpioError;
use rackberry_core::{
    id::HostId,
    power::{PowerState, Refused, Verb},
};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::{mpsc, oneshot, watch};

/// Why a machine's power was not switched as it should be.
#[derive(Debug, thiserror::Error)]
pub enum PowerError {
    #[error("nothing switches its power from here; set power=gpio and power_pin for it")]
    NoDriver,
    #[error("{0} is under way on it")]
    Busy(Verb),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("its pins cannot be used: {0}")]
    NoPins(String),
    #[error("its light is still on; nothing more was pressed")]
    StillOn,
    #[error("the box stops, and let go of its pins")]
    Stopped,
    #[error("drive its pins")]
    Gpio(#[from] GpioError),
    #[error("start a thread for it")]
    Thread(#[source] std::io::Error),
}

/// What is known of a machine's power.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    pub state: PowerState,
    /// Its relay holds the supply open.
    pub cut: bool,
    /// Something tells whether it is on.
    pub has_light: bool,
    /// What is being done to it.
    pub busy: Option<Verb>,
    /// Why nothing can be.
    pub trouble: Option<String>,
}

/// The way to the task that owns the drivers; clones lead to the same one.
#[derive(Debug, Clone)]
pub struct Power {
    asks: mpsc::Sender<Ask>,
    seen: watch::Receiver<Seen>,
}

/// How an action ended.
pub type Done = Result<(), PowerError>;

type Seen = Arc<BTreeMap<HostId, Standing>>;

/// Somebody wants to do something to a machine.
#[derive(Debug)]
struct Ask {
    host: HostId,
    verb: Verb,
    answer: oneshot::Sender<Result<Ticket, PowerError>>,
}

impl Power {
    /// What is known of a host's power; none where nothing switches it.
    #[must_use]
    pub fn standing(&self, host: HostId) -> Option<Standing> {
        self.seen.borrow().get(&host).cloned()
    }

    /// Takes a host's driver for one action, which begins when the ticket says so.
    ///
    /// # Errors
    /// [`PowerError`] if it cannot be done now, or would do the opposite.
    pub async fn reserve(&self, host: HostId, verb: Verb) -> Result<Ticket, PowerError> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Ask { host, verb, answer }).await.map_err(|_| PowerError::Stopped)?;
        answered.await.map_err(|_| PowerError::Stopped)?
    }
}

#[cfg(test)]
mod tests;
