//! Where a host is now: its address, and whether it waits in the RAM OS. In memory only: after a restart the hosts show
//! it again within half a minute.

use super::{Inventory, error::StoreError, snapshot::Snapshot, tx::Tx, writer};
use rackberry_core::{
    event::{BootKey, Station},
    id::HostId,
    text::CleanText,
    time::Timestamp,
};
use std::{net::IpAddr, sync::Arc};
use tokio::sync::oneshot;

/// A host's stay in the RAM OS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RamStay {
    pub boot: BootKey,
    pub since: Timestamp,
}

impl Snapshot {
    /// The host that uses this address, as far as it has shown.
    #[must_use]
    pub fn host_at(&self, address: IpAddr) -> Option<HostId> {
        self.addresses.get(&address.to_canonical()).copied()
    }
}

impl Tx<'_> {
    /// The host that uses this address, as far as it has shown.
    #[must_use]
    pub fn host_at(&self, address: IpAddr) -> Option<HostId> {
        self.state.host_at(address)
    }

    /// The host was heard from this address, or was given it; an address has one host.
    pub fn at_address(&mut self, host: HostId, address: IpAddr) {
        let address = address.to_canonical();
        if self.state.addresses.get(&address) == Some(&host) {
            return;
        }
        if let Some(former) = self.state.addresses.insert(address, host) {
            self.change(former, |entry| entry.address = None);
        }
        if let Some(old) = self.state.host(host).and_then(|entry| entry.address) {
            self.state.addresses.remove(&old);
        }
        self.change(host, |entry| entry.address = Some(address));
    }

    /// The host's agent waits for orders in this boot of the RAM OS.
    pub fn wait_in_ram(&mut self, host: HostId, boot: BootKey) {
        let since = self.now();
        let known = self.state.host(host).and_then(|entry| entry.ram.as_ref()).is_some_and(|ram| ram.boot == boot);
        if !known {
            self.change(host, |entry| entry.ram = Some(Arc::new(RamStay { boot, since })));
        }
    }

    /// The host left the RAM OS, or is about to.
    pub fn leave_ram(&mut self, host: HostId) {
        if self.state.host(host).is_some_and(|entry| entry.ram.is_some()) {
            self.change(host, |entry| entry.ram = None);
        }
    }
}

impl Inventory {
    /// Notes that the host at `address` passed a station of its boot. Waits for nothing: under a flood it is dropped.
    pub fn reach_by_address(&self, address: IpAddr, station: Station, detail: CleanText) {
        let Some(host) = self.snapshot().host_at(address) else { return };
        self.later(move |tx| tx.reach(host, station, detail, None, None).map(|_| ()));
    }

    /// Notes that the host at `address` fetched a person's own file; dropped under a flood as well.
    pub fn own_file_by_address(&self, address: IpAddr, path: &str, by: &'static str) {
        let Some(host) = self.snapshot().host_at(address) else { return };
        let path = CleanText::new(path);
        self.later(move |tx| tx.fetched_own(host, path, by.into()));
    }

    /// Runs a step that nobody waits for; dropped when too many wait already.
    pub fn later(&self, step: impl FnOnce(&mut Tx<'_>) -> Result<(), StoreError> + Send + 'static) {
        let (reply, _) = oneshot::channel();
        let closure = writer::Closure { closure: Some(step), outcome: None, reply };
        // Those who wait for an answer keep three quarters of the queue.
        if self.shared.steps.capacity() > super::QUEUE / 4 {
            let _ = self.shared.steps.try_send(writer::Message::Step(Box::new(closure)));
        }
    }
}
