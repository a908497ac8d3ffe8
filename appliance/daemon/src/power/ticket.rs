//! One action on one machine, on a thread of its own.

use super::{
    Done, PowerError, Seen,
    gpio::{Machine, World},
};
use rackberry_core::{
    id::HostId,
    power::{PowerState, Step},
};
use std::{sync::mpsc as threads, time::Duration};
use tokio::sync::{mpsc, oneshot, watch};

/// One action on one machine that nobody else may act on meanwhile; it gives the machine back when it falls.
#[derive(Debug)]
pub struct Ticket {
    /// What will be done and by which pin, for history.
    pub how: String,
    pub(super) host: HostId,
    pub(super) steps: Vec<Step>,
    pub(super) machine: Option<Machine>,
    pub(super) back: mpsc::UnboundedSender<Back>,
    pub(super) seen: watch::Receiver<Seen>,
    pub(super) stop: threads::Receiver<()>,
}

/// A driver that comes back, and who wants to know how it went.
#[derive(Debug)]
pub(super) struct Back {
    pub(super) host: HostId,
    pub(super) machine: Machine,
    pub(super) told: Option<(oneshot::Sender<Done>, Done)>,
}

impl Ticket {
    /// Begins; the answer comes when the machine may be acted on again. It goes on if nobody waits for that.
    ///
    /// # Errors
    /// [`PowerError::Thread`].
    pub fn begin(mut self) -> Result<oneshot::Receiver<Done>, PowerError> {
        let (tell, told) = oneshot::channel();
        let named = std::thread::Builder::new().name("power".to_owned());
        let run = move || {
            let Some(mut machine) = self.machine.take() else { return };
            let steps = std::mem::take(&mut self.steps);
            let done = machine.run(&steps, &mut self);
            let back = Back { host: self.host, machine, told: Some((tell, done)) };
            // Where nobody takes it back, it falls, and its pins with it.
            let _ = self.back.send(back);
        };
        named.spawn(run).map_err(PowerError::Thread)?;
        Ok(told)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(machine) = self.machine.take() {
            let _ = self.back.send(Back { host: self.host, machine, told: None });
        }
    }
}

impl World for Ticket {
    fn wait(&mut self, span: Duration) -> Result<(), PowerError> {
        match self.stop.recv_timeout(span) {
            Err(threads::RecvTimeoutError::Timeout) => Ok(()),
            Ok(()) | Err(threads::RecvTimeoutError::Disconnected) => Err(PowerError::Stopped),
        }
    }

    fn light(&self) -> PowerState {
        self.seen.borrow().get(&self.host).map_or(PowerState::Unknown, |standing| standing.state)
    }
}
