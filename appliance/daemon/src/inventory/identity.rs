//! Who is asking: a host is keyed by its UUID first, by MAC address second. Pure; the reader of requests and the
//! writer of hosts share these rules.

use super::snapshot::Snapshot;
use imbl::{OrdMap, OrdSet};
use rackberry_core::{
    host::{Host, MacAddr, SmbiosUuid},
    id::HostId,
    text::{CleanText, HostName},
};
use std::{net::Ipv4Addr, sync::Arc};

/// What a request says about its sender.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    pub mac: MacAddr,
    pub uuid: Option<SmbiosUuid>,
    pub serial: Option<CleanText>,
}

/// Whom a request means.
#[derive(Debug, Clone, Default)]
pub struct Identified {
    /// The host meant; with `mismatch` the one whose MAC address it was.
    pub host: Option<Arc<Host>>,
    /// The request came under `host`'s address from another machine: nothing of `host` may be given to it, and what is
    /// armed there has to be disarmed.
    pub mismatch: bool,
    /// The machine that asks: `host` itself, or with `mismatch` another one; none if it is unknown.
    pub machine: Option<Arc<Host>>,
    /// The stated UUID is now known to be shared by two machines, one of them this host.
    pub(super) newly_shared: Option<Arc<Host>>,
    /// The stated UUID where it tells machines apart.
    pub(super) uuid: Option<SmbiosUuid>,
}

/// Look-ups over all hosts.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    pub macs: OrdMap<MacAddr, HostId>,
    pub names: OrdMap<HostName, HostId>,
    pub uuids: OrdMap<[u8; 16], HostId>,
    /// Real serials of the hosts that have no UUID.
    pub serials: OrdMap<String, HostId>,
    /// Addresses that DHCP keeps for one host each.
    pub fixed: OrdMap<Ipv4Addr, HostId>,
    /// Pins of the header, and whose power they switch or read.
    pub pins: OrdMap<u8, HostId>,
    /// UUIDs that count as none.
    pub shared: OrdSet<[u8; 16]>,
    /// How many hosts appeared by themselves.
    pub automatic: usize,
}

impl Index {
    pub fn learn(&mut self, host: &Host) {
        for mac in &host.macs {
            self.macs.insert(*mac, host.id);
        }
        self.names.insert(host.name.clone(), host.id);
        if let Some(address) = host.fixed_address {
            self.fixed.insert(address, host.id);
        }
        for (_, pin) in host.pins() {
            self.pins.insert(pin, host.id);
        }
        if let Some(uuid) = host.uuid {
            self.uuids.insert(uuid.key(), host.id);
        } else if let Some(serial) = host.serial.as_ref().and_then(real_serial) {
            self.serials.insert(serial, host.id);
        }
        self.automatic += usize::from(!host.enrolled);
    }

    pub fn forget(&mut self, host: &Host) {
        for mac in &host.macs {
            self.macs.remove(mac);
        }
        self.names.remove(&host.name);
        if let Some(address) = host.fixed_address {
            self.fixed.remove(&address);
        }
        for (_, pin) in host.pins() {
            self.pins.remove(&pin);
        }
        if let Some(uuid) = host.uuid {
            self.uuids.remove(&uuid.key());
        } else if let Some(serial) = host.serial.as_ref().and_then(real_serial)
            && self.serials.get(&serial) == Some(&host.id)
        {
            self.serials.remove(&serial);
        }
        self.automatic = self.automatic.saturating_sub(usize::from(!host.enrolled));
    }
}

impl Snapshot {
    /// Whom a request means, by these rules:
    ///
    /// 1. A UUID names the machine, unless it is shared: seen on two machines with different serials.
    /// 2. Without such a UUID, or with one new to us, the MAC address names it.
    /// 3. But where that MAC's host is known to have another UUID, another serial under no usable UUID, or is another
    ///    host than the UUID names, it is a mismatch: the address moved (a USB adapter), or somebody pretends.
    #[must_use]
    pub fn identify(&self, identity: &Identity) -> Identified {
        let known = |id: &HostId| self.hosts.get(id).map(|entry| entry.host.clone());
        let of_mac = self.index.macs.get(&identity.mac).and_then(known);
        let stated = identity.uuid.filter(|uuid| !self.index.shared.contains(&uuid.key()));
        let of_uuid = stated.and_then(|uuid| self.index.uuids.get(&uuid.key())).and_then(known);
        let other_serial = |host: &Arc<Host>| serials_differ(host.serial.as_ref(), identity.serial.as_ref());

        let newly_shared = of_uuid.clone().filter(other_serial);
        let shared = newly_shared.is_some();
        let of_uuid = of_uuid.filter(|_| !shared);
        let uuid = stated.filter(|_| !shared);

        let mismatch = of_mac.as_ref().is_some_and(|host| match (&of_uuid, host.uuid, identity.uuid) {
            (Some(machine), _, _) => machine.id != host.id,
            (None, Some(known), Some(stated)) if known != stated => true,
            (None, _, _) => other_serial(host),
        });
        let machine = match (of_uuid, mismatch) {
            (Some(machine), _) => Some(machine),
            (None, false) => of_mac.clone(),
            // Machines that pass an adapter around and have no UUID of their own.
            (None, true) if uuid.is_none() => {
                let serial = identity.serial.as_ref().and_then(real_serial);
                serial.and_then(|serial| self.index.serials.get(&serial)).and_then(known)
            }
            (None, true) => None,
        };
        let host = if mismatch { of_mac } else { machine.clone() };
        Identified { host, mismatch, machine, newly_shared, uuid }
    }
}

/// Whether two serial numbers, both of them real ones, name two machines.
fn serials_differ(known: Option<&CleanText>, stated: Option<&CleanText>) -> bool {
    match (known.and_then(real_serial), stated.and_then(real_serial)) {
        (Some(known), Some(stated)) => known != stated,
        _ => false,
    }
}

/// What vendors leave in the field, reduced as [`real_serial`] does.
const FILLERS: &[&str] = &[
    "TOBEFILLEDBYOEM",
    "DEFAULTSTRING",
    "SYSTEMSERIALNUMBER",
    "SERIALNUMBER",
    "NOTSPECIFIED",
    "NOTAPPLICABLE",
    "NOTAVAILABLE",
    "UNKNOWN",
    "INVALID",
    "NONE",
    "NULL",
    "NA",
    "OEM",
    "EMPTY",
    "0123456789",
    "123456789",
    "1234567890",
];

/// The serial reduced to its letters and digits, as tools print it differently; none if it is a filler.
pub(super) fn real_serial(serial: &CleanText) -> Option<String> {
    let reduced: String =
        serial.as_str().chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect();
    let first = reduced.chars().next()?;
    let filler = reduced.chars().all(|c| c == first) || FILLERS.contains(&reduced.as_str());
    (!filler).then_some(reduced)
}
