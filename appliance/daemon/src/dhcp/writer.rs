//! Answers that wait for the disk. One write runs at a time; what comes meanwhile is gathered for the next one.

use super::{RecordError, Recording};
use rackberry_core::dhcp::{Change, Destination, Port};
use std::{collections::HashSet, net::Ipv4Addr};

/// Changes gathered at most; beyond it clients have to ask again.
const MOST_WAITING: usize = 4096;

/// A datagram ready to leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sending {
    pub port: Port,
    pub to: Destination,
    pub bytes: Vec<u8>,
}

#[derive(Debug, Default)]
struct Batch {
    changes: Vec<Change>,
    addresses: HashSet<Ipv4Addr>,
    sendings: Vec<Sending>,
}

/// The order "commit, then answer".
#[derive(Default)]
pub(super) struct Writer {
    gathered: Batch,
    running: Option<(Recording, Batch)>,
}

impl Writer {
    /// Whether no more changes can be taken now.
    pub(super) fn is_full(&self) -> bool {
        self.gathered.changes.len() >= MOST_WAITING
    }

    /// Takes an answer with its changes. Gives it back if it need not wait: it changes nothing, and confirms nothing
    /// that is still on its way to the disk.
    pub(super) fn take(
        &mut self,
        changes: Vec<Change>,
        confirms: Option<Ipv4Addr>,
        sending: Option<Sending>,
    ) -> Option<Sending> {
        if !changes.is_empty() {
            self.gathered.addresses.extend(changes.iter().map(address));
            self.gathered.changes.extend(changes);
            self.gathered.sendings.extend(sending);
            return None;
        }
        let waits = |batch: &Batch| confirms.is_some_and(|address| batch.addresses.contains(&address));
        if waits(&self.gathered) {
            self.gathered.sendings.extend(sending);
            return None;
        }
        match &mut self.running {
            Some((_, batch)) if waits(batch) => {
                batch.sendings.extend(sending);
                None
            }
            _ => sending,
        }
    }

    /// Starts the next write if none runs.
    pub(super) fn start(&mut self, record: &dyn Fn(Vec<Change>) -> Recording) {
        if self.running.is_some() || self.gathered.changes.is_empty() {
            return;
        }
        let mut batch = std::mem::take(&mut self.gathered);
        let recording = record(std::mem::take(&mut batch.changes));
        self.running = Some((recording, batch));
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running.is_none() && self.gathered.changes.is_empty()
    }

    /// Waits for the running write; for ever if none runs. Safe to drop and call again.
    pub(super) async fn finished(&mut self) -> (Vec<Sending>, Result<(), RecordError>) {
        let Some((recording, _)) = &mut self.running else { return std::future::pending().await };
        let result = recording.await;
        let sendings = self.running.take().map(|(_, batch)| batch.sendings).unwrap_or_default();
        (sendings, result)
    }
}

fn address(change: &Change) -> Ipv4Addr {
    match change {
        Change::Put(row) => row.address,
        Change::Remove(address) => *address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sending(number: u8) -> Sending {
        Sending { port: Port::Dhcp, to: Destination::Broadcast, bytes: vec![number] }
    }

    const FIRST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    #[tokio::test]
    async fn an_answer_waits_for_its_change_and_a_repeated_one_waits_with_it() {
        let mut writer = Writer::default();
        assert_eq!(writer.take(Vec::new(), None, Some(sending(0))), Some(sending(0)), "nothing to wait for");
        assert_eq!(writer.take(vec![Change::Remove(FIRST)], Some(FIRST), Some(sending(1))), None);
        let (release, released) = tokio::sync::oneshot::channel::<()>();
        let released = std::sync::Mutex::new(Some(released));
        let record = move |changes: Vec<Change>| -> Recording {
            assert_eq!(changes, [Change::Remove(FIRST)]);
            let released = released.lock().unwrap().take().unwrap();
            Box::pin(async move { released.await.map_err(Into::into) })
        };
        writer.start(&record);
        // The client asks again while the write runs: the lease is in memory, but not on disk.
        assert_eq!(writer.take(Vec::new(), Some(FIRST), Some(sending(2))), None);
        assert_eq!(writer.take(Vec::new(), Some(Ipv4Addr::new(10, 0, 0, 2)), Some(sending(3))), Some(sending(3)));
        release.send(()).unwrap();
        let (sendings, result) = writer.finished().await;
        assert_eq!(sendings, [sending(1), sending(2)]);
        assert!(result.is_ok() && writer.is_idle());
    }
}
