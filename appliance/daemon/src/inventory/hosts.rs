//! Hosts: found, told apart, enrolled, changed and removed.

use super::{
    error::StoreError,
    identity::{Identified, Identity, real_serial},
    rows::{execute, to_json},
    snapshot::HostEntry,
    tx::Tx,
};
use rackberry_core::{
    event::{Actor, EventKind},
    host::{Arch, BootPolicy, Firmware, FirstLoader, Host, MacAddr, SmbiosUuid, Strategy},
    id::HostId,
    text::{CleanText, HostName},
};
use std::{collections::BTreeSet, net::Ipv4Addr, sync::Arc};

/// The setting that bounds how many hosts appear by themselves; a number.
pub const MAX_AUTOMATIC_HOSTS: &str = "max_automatic_hosts";
/// The bound unless the setting says otherwise.
pub const DEFAULT_MAX_AUTOMATIC_HOSTS: usize = 4096;
/// Addresses learnt for one host; whoever states a known UUID under more is not believed further.
pub const MAX_MACS: usize = 32;

/// A machine as a person writes it down.
#[derive(Debug, Clone, PartialEq)]
pub struct Enrolment {
    pub name: HostName,
    pub macs: Vec<MacAddr>,
    pub uuid: Option<SmbiosUuid>,
    pub serial: Option<CleanText>,
    pub tags: Vec<CleanText>,
    /// The address DHCP shall keep for it.
    pub fixed_address: Option<Ipv4Addr>,
}

impl Tx<'_> {
    /// A host.
    #[must_use]
    pub fn host(&self, id: HostId) -> Option<Arc<Host>> {
        self.state.host(id).map(|entry| entry.host.clone())
    }

    /// The host that has this address.
    #[must_use]
    pub fn host_by_mac(&self, mac: MacAddr) -> Option<Arc<Host>> {
        self.state.host_by_mac(mac).map(|entry| entry.host.clone())
    }

    /// The host of this name.
    #[must_use]
    pub fn host_by_name(&self, name: &HostName) -> Option<Arc<Host>> {
        self.state.host_by_name(name).map(|entry| entry.host.clone())
    }

    /// Every host, with what is under way on it.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<HostEntry>> {
        self.state.hosts.values()
    }

    /// Whom a request means; changes nothing. See [`Snapshot::identify`](super::Snapshot::identify) for the rules.
    #[must_use]
    pub fn identify(&self, identity: &Identity) -> Identified {
        self.state.identify(identity)
    }

    /// The machine that a request comes from, made known if it is new, with all that the request teaches.
    ///
    /// An address that moved here is taken from the host that had it; where that host waited for an install, the
    /// permission to erase is withdrawn and an alarm raised.
    ///
    /// # Errors
    /// [`StoreError::TooManyHosts`] for an unknown machine past the bound, [`StoreError::NotAStation`], or storage.
    pub fn observe(
        &mut self,
        identity: &Identity,
        arch: Option<Arch>,
        firmware: Option<Firmware>,
    ) -> Result<Arc<Host>, StoreError> {
        if !identity.mac.is_station() {
            return Err(StoreError::NotAStation { mac: identity.mac });
        }
        let Identified { host, mismatch, machine, newly_shared, uuid } = self.identify(identity);
        // Before anything is taken from another host: a refused newcomer changes nothing.
        if machine.is_none() {
            self.room_for_one()?;
        }
        if let (Some(shared), Some(uuid)) = (newly_shared, identity.uuid) {
            self.distrust(&shared, uuid)?;
        }
        if let Some(former) = host.filter(|_| mismatch) {
            self.give_up_mac(former.id, identity, machine.as_deref())?;
        }
        let found = match &machine {
            // Again, as the steps above may have changed it.
            Some(machine) => self.entry(machine.id)?.host.clone(),
            None => self.discover(identity, uuid)?,
        };
        let mut host = Host::clone(&found);
        if !host.macs.contains(&identity.mac) && host.macs.len() < MAX_MACS {
            host.macs.push(identity.mac);
            self.changed_host(host.id, &format!("also has the address {}", identity.mac))?;
        }
        host.uuid = host.uuid.or(uuid);
        // Two real ones are the same here, however written; a filler replaces nothing.
        if host.serial.as_ref().and_then(real_serial).is_none()
            && let Some(serial) = identity.serial.as_ref().filter(|serial| !serial.is_empty())
        {
            host.serial = Some(serial.clone());
        }
        host.arch = arch.or(host.arch);
        host.firmware = firmware.or(host.firmware);
        self.seen(host.id);
        if host == *found { Ok(found) } else { self.put_host(&host) }
    }

    /// Stores a host, new or changed.
    ///
    /// # Errors
    /// [`StoreError`] if its name, an address (MAC or fixed) or its UUID belongs to another host, or storage.
    pub fn put_host(&mut self, host: &Host) -> Result<Arc<Host>, StoreError> {
        let mut host = host.clone();
        let mut once = BTreeSet::new();
        host.macs.retain(|mac| once.insert(*mac));
        host.uuid = host.uuid.filter(|uuid| !self.state.index.shared.contains(&uuid.key()));
        self.refuse_taken(&host)?;
        let id = host.id.0.as_bytes().as_slice();
        let on = host.name.as_str().to_owned();
        execute(
            self.conn,
            "INSERT INTO hosts (id, name, uuid, json) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO UPDATE
             SET name = excluded.name, uuid = excluded.uuid, json = excluded.json",
            (id, host.name.as_str(), host.uuid.map(|uuid| uuid.key_text()), to_json(&host, &on)?),
            "store",
            &on,
        )?;
        let before = self.host(host.id);
        if before.as_ref().is_none_or(|before| before.macs != host.macs) {
            execute(self.conn, "DELETE FROM host_macs WHERE host = ?1", [id], "store addresses of", &on)?;
            for mac in &host.macs {
                let row = (mac.to_string(), id);
                execute(
                    self.conn,
                    "INSERT INTO host_macs (mac, host) VALUES (?1, ?2)",
                    row,
                    "store addresses of",
                    &on,
                )?;
            }
        }
        let pins = |host: &Host| -> Vec<u8> { host.pins().map(|(_, pin)| pin).collect() };
        if before.as_ref().map_or(Vec::new(), |before| pins(before)) != pins(&host) {
            execute(self.conn, "DELETE FROM host_pins WHERE host = ?1", [id], "store pins of", &on)?;
            for pin in pins(&host) {
                let sql = "INSERT INTO host_pins (pin, host) VALUES (?1, ?2)";
                execute(self.conn, sql, (pin, id), "store pins of", &on)?;
            }
        }
        let host = Arc::new(host);
        self.state.put_host(host.clone());
        self.changed = true;
        Ok(host)
    }

    /// Forgets a host; its history stays.
    ///
    /// # Errors
    /// [`StoreError::InstallActive`], [`StoreError::NotFound`], or storage.
    pub fn remove_host(&mut self, id: HostId, actor: Actor) -> Result<(), StoreError> {
        let host = self.entry(id)?.host.clone();
        if self.active_install(id).is_some() {
            return Err(StoreError::InstallActive { host: host.name.clone() });
        }
        self.drop_host(&host)?;
        self.record(Some(id), None, actor, EventKind::HostChanged { what: CleanText::new("removed") })?;
        Ok(())
    }

    /// Writes a machine down by hand; one that already appeared by itself under one of these keys takes the name.
    ///
    /// # Errors
    /// [`StoreError`] if name, address or UUID belongs to another enrolled host, or to two; or storage.
    pub fn enrol(&mut self, enrolment: Enrolment, actor: Actor) -> Result<Arc<Host>, StoreError> {
        let Enrolment { name, macs, uuid, serial, tags, fixed_address } = enrolment;
        if let Some(mac) = macs.iter().find(|mac| !mac.is_station()) {
            return Err(StoreError::NotAStation { mac: *mac });
        }
        let by_uuid = uuid.and_then(|uuid| self.state.index.uuids.get(&uuid.key()).copied());
        let by_mac = macs.iter().find_map(|mac| self.state.index.macs.get(mac).copied());
        let appeared = by_uuid.or(by_mac).and_then(|id| self.host(id)).filter(|host| !host.enrolled);
        let mut host = match appeared {
            Some(appeared) => Host::clone(&appeared),
            None => self.blank(name.clone())?,
        };
        host.name = name;
        for mac in macs {
            if !host.macs.contains(&mac) {
                host.macs.push(mac);
            }
        }
        host.uuid = uuid.or(host.uuid);
        host.serial = serial.or(host.serial);
        host.tags = tags;
        host.fixed_address = fixed_address.or(host.fixed_address);
        host.enrolled = true;
        let host = self.put_host(&host)?;
        let kind = EventKind::HostEnrolled { name: CleanText::new(host.name.as_str()) };
        self.record(Some(host.id), None, actor, kind)?;
        Ok(host)
    }

    /// A host that nobody knew.
    fn discover(&mut self, identity: &Identity, uuid: Option<SmbiosUuid>) -> Result<Arc<Host>, StoreError> {
        let mut host = self.blank(self.free_name(identity.mac))?;
        host.macs.push(identity.mac);
        host.uuid = uuid;
        host.serial = identity.serial.clone().filter(|serial| !serial.is_empty());
        let host = self.put_host(&host)?;
        self.record(Some(host.id), None, Actor::Host, EventKind::HostDiscovered { mac: identity.mac })?;
        Ok(host)
    }

    fn blank(&mut self, name: HostName) -> Result<Host, StoreError> {
        Ok(Host {
            id: HostId(self.uuid()?),
            name,
            macs: Vec::new(),
            uuid: None,
            serial: None,
            arch: None,
            firmware: None,
            policy: BootPolicy::default(),
            loader: FirstLoader::default(),
            strategy: Strategy::default(),
            tags: Vec::new(),
            fixed_address: None,
            dhcp_options: Vec::new(),
            power: None,
            facts: None,
            enrolled: false,
            note: CleanText::default(),
            installed: None,
            disk_until: None,
            created: self.now(),
            created_wall: self.wall(),
        })
    }

    /// `host-` and the last six digits of the address; more of them, then a number, where that is taken.
    fn free_name(&self, mac: MacAddr) -> HostName {
        let digits = mac.hyphens().replace('-', "");
        let short = digits.get(6..).unwrap_or(&digits);
        let numbered = (2..).map(|number: u64| format!("host-{digits}-{number}"));
        [format!("host-{short}"), format!("host-{digits}")]
            .into_iter()
            .chain(numbered)
            .map(|name| HostName::nearest(&name))
            .find(|name| !self.state.index.names.contains_key(name))
            .unwrap_or_else(|| HostName::nearest(&digits))
    }

    fn room_for_one(&self) -> Result<(), StoreError> {
        let limit = self.setting(MAX_AUTOMATIC_HOSTS)?.unwrap_or(DEFAULT_MAX_AUTOMATIC_HOSTS);
        if self.state.index.automatic < limit { Ok(()) } else { Err(StoreError::TooManyHosts { limit }) }
    }

    /// Two machines state this UUID under different serials: from now on it tells nobody apart.
    fn distrust(&mut self, holder: &Host, uuid: SmbiosUuid) -> Result<(), StoreError> {
        let key = uuid.key_text();
        execute(self.conn, "INSERT OR IGNORE INTO shared_uuids (uuid) VALUES (?1)", [&key], "distrust UUID", &key)?;
        self.state.index.shared.insert(uuid.key());
        self.put_host(&Host { uuid: None, ..holder.clone() })?;
        self.changed_host(
            holder.id,
            &format!("its UUID {uuid} counts as none: another machine with another serial number has it too"),
        )
    }

    /// The address now is another machine's: this host loses it, and the permission to erase that may wait for it.
    fn give_up_mac(&mut self, former: HostId, identity: &Identity, machine: Option<&Host>) -> Result<(), StoreError> {
        let to = machine.map_or("a machine new to us".to_owned(), |machine| machine.name.to_string());
        self.disarm_impostor(former, identity)?;
        let mut host = Host::clone(&self.entry(former)?.host);
        host.macs.retain(|mac| *mac != identity.mac);
        let host = self.put_host(&host)?;
        self.changed_host(former, &format!("its address {} moved to {to}", identity.mac))?;
        let bare = !host.enrolled && host.macs.is_empty() && host.uuid.is_none() && host.serial.is_none();
        if bare && self.entry(former)?.install.is_none() {
            // It was nothing but that address.
            self.drop_host(&host)?;
        }
        Ok(())
    }

    fn drop_host(&mut self, host: &Host) -> Result<(), StoreError> {
        execute(self.conn, "DELETE FROM hosts WHERE id = ?1", [host.id.0.as_bytes().as_slice()], "remove", &host.name)?;
        self.state.remove_host(host.id);
        self.unsaved.remove(&host.id);
        self.changed = true;
        Ok(())
    }

    fn changed_host(&mut self, host: HostId, what: &str) -> Result<(), StoreError> {
        let kind = EventKind::HostChanged { what: CleanText::new(what) };
        self.record(Some(host), None, Actor::Host, kind).map(drop)
    }

    fn refuse_taken(&self, host: &Host) -> Result<(), StoreError> {
        let other = |id: Option<&HostId>| {
            id.filter(|id| **id != host.id).and_then(|id| self.host(*id)).map(|other| other.name.clone())
        };
        let index = &self.state.index;
        if other(index.names.get(&host.name)).is_some() {
            return Err(StoreError::NameTaken { name: host.name.clone() });
        }
        for mac in &host.macs {
            if let Some(name) = other(index.macs.get(mac)) {
                return Err(StoreError::MacTaken { mac: *mac, host: name });
            }
        }
        if let Some(address) = host.fixed_address
            && let Some(host) = other(index.fixed.get(&address))
        {
            return Err(StoreError::AddressTaken { address, host });
        }
        for (setting, pin) in host.pins() {
            if let Some(other) = index.pins.get(&pin).filter(|id| **id != host.id).and_then(|id| self.host(*id)) {
                let theirs = other.pins().find(|(_, known)| *known == pin).map_or("power_pin", |(name, _)| name);
                let (host, other) = (host.name.clone(), other.name.clone());
                return Err(StoreError::PinTaken { pin, setting, host, theirs, other });
            }
        }
        if let Some(uuid) = host.uuid
            && let Some(name) = other(index.uuids.get(&uuid.key()))
        {
            return Err(StoreError::UuidTaken { uuid: uuid.to_string(), host: name });
        }
        Ok(())
    }
}
