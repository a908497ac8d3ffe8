//! What everyone else reads: all hosts with their running installs, images, alarms. No leases, no history.
//!
//! A persistent structure: a new one shares every host that did not change with the one before.

use super::{api_tokens::ApiToken, identity::Index, presence::RamStay, timeline::BootTrace};
use imbl::{OrdMap, Vector};
use rackberry_core::{
    agent::Progress,
    event::{Station, TaskName},
    host::{Host, MacAddr, SmbiosUuid},
    id::{BoxId, HostId, InstallId},
    image::{Digest, Image},
    install::{Consent, Install, LiveBoot, consent_place},
    status::{Condition, Signs, describe},
    text::{CleanText, HostName},
    time::{Timestamp, WallTime},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

/// Log lines kept for each host.
pub const LOG_LINES: usize = 100;

/// The state of the box at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Grows with each one published.
    pub version: u64,
    /// When it was published.
    pub now: Timestamp,
    pub box_id: BoxId,
    pub hosts: OrdMap<HostId, Arc<HostEntry>>,
    pub images: OrdMap<Digest, Arc<Image>>,
    /// By key, so that raising one again is no second one.
    pub alarms: OrdMap<String, Arc<Alarm>>,
    /// By name.
    pub api_tokens: OrdMap<String, Arc<ApiToken>>,
    pub ladder: Ladder,
    pub(super) index: Index,
    pub(super) addresses: OrdMap<IpAddr, HostId>,
    /// Installs that have not ended; ids sort by the time of arming.
    pub(super) active: OrdMap<InstallId, HostId>,
}

/// So many who need an image are named.
const NAMED: usize = 3;

/// A host and what is under way on it.
#[derive(Debug, Clone)]
pub struct HostEntry {
    pub host: Arc<Host>,
    /// The one under way, else the last one.
    pub install: Option<Arc<Install>>,
    /// The boot under way, else the last one since the box started.
    pub trace: Option<Arc<BootTrace>>,
    pub last_seen: Option<Timestamp>,
    /// Where it was heard last, or what it was given.
    pub address: Option<IpAddr>,
    /// Its stay in the RAM OS, while it has not left it.
    pub ram: Option<Arc<RamStay>>,
    /// Of the install under way.
    pub live: Option<Live>,
    /// What it boots from the network at each boot, if a person said so.
    pub live_boot: Option<Arc<LiveBoot>>,
    /// The last lines its agent sent, at most [`LOG_LINES`].
    pub log: Vector<CleanText>,
}

/// Telemetry of the install under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Live {
    pub install: InstallId,
    pub progress: BTreeMap<TaskName, Progress>,
    /// When its host last sent progress or log lines.
    pub last_news: Timestamp,
}

/// Something a person should look at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    pub text: CleanText,
    #[serde(default)]
    pub host: Option<HostId>,
    pub since: Timestamp,
    pub since_wall: WallTime,
}

/// What the box does on its network, in the words of the DHCP modes, and why.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Ladder {
    /// `observe`, `proxy`, `pxe-only`, `server`; empty until the first verdict.
    pub mode: CleanText,
    pub reason: CleanText,
    pub since: Timestamp,
}

impl HostEntry {
    pub(super) fn new(host: Arc<Host>) -> Self {
        HostEntry {
            host,
            install: None,
            trace: None,
            last_seen: None,
            address: None,
            ram: None,
            live: None,
            live_boot: None,
            log: Vector::new(),
        }
    }

    /// The install under way, if any.
    #[must_use]
    pub fn active_install(&self) -> Option<&Arc<Install>> {
        self.install.as_ref().filter(|install| !install.state.phase.ended())
    }

    /// How far the task under way got.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        let current = self.active_install()?.state.current()?;
        self.live.as_ref()?.progress.get(&current.spec.name).copied()
    }

    /// What it is doing, in one word and one sentence.
    #[must_use]
    pub fn describe(&self, snapshot: &Snapshot, idle_to_disk: Option<Duration>, now: Timestamp) -> (Condition, String) {
        let stations: Vec<(Station, Timestamp)> = self
            .trace
            .as_ref()
            .map(|trace| trace.stations.iter().map(|(station, at, _)| (*station, *at)).collect())
            .unwrap_or_default();
        describe(&Signs {
            host: &self.host,
            install: self.install.as_deref(),
            stations: &stations,
            in_ram_since: self.ram.as_ref().map(|ram| ram.since),
            last_seen: self.last_seen,
            progress: self.progress(),
            last_news: self.live.as_ref().map(|live| live.last_news),
            idle_to_disk,
            questions_before: self.install.as_ref().map_or(0, |install| snapshot.questions_before(install)),
            now,
        })
    }
}

impl Snapshot {
    pub(super) fn empty(box_id: BoxId) -> Self {
        Snapshot {
            version: 0,
            now: Timestamp::default(),
            box_id,
            hosts: OrdMap::new(),
            images: OrdMap::new(),
            alarms: OrdMap::new(),
            api_tokens: OrdMap::new(),
            ladder: Ladder::default(),
            index: Index::default(),
            addresses: OrdMap::new(),
            active: OrdMap::new(),
        }
    }

    /// A host and what is under way on it.
    #[must_use]
    pub fn host(&self, id: HostId) -> Option<&Arc<HostEntry>> {
        self.hosts.get(&id)
    }

    /// The host that has this address.
    #[must_use]
    pub fn host_by_mac(&self, mac: MacAddr) -> Option<&Arc<HostEntry>> {
        self.index.macs.get(&mac).and_then(|id| self.hosts.get(id))
    }

    /// The host of this UUID, where that tells machines apart.
    #[must_use]
    pub fn host_by_uuid(&self, uuid: SmbiosUuid) -> Option<&Arc<HostEntry>> {
        self.index.uuids.get(&uuid.key()).and_then(|id| self.hosts.get(id))
    }

    /// The host of this name.
    #[must_use]
    pub fn host_by_name(&self, name: &HostName) -> Option<&Arc<HostEntry>> {
        self.index.names.get(name).and_then(|id| self.hosts.get(id))
    }

    /// Every address that DHCP keeps for one host.
    pub fn fixed_addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.index.fixed.keys().copied()
    }

    /// Whether the same addresses are kept as in `other`; cheap if nothing of them changed between the two.
    #[must_use]
    pub fn fixes_as(&self, other: &Snapshot) -> bool {
        self.index.fixed.ptr_eq(&other.index.fixed) || self.fixed_addresses().eq(other.fixed_addresses())
    }

    /// The hosts whose power is switched or read by pins of the header; those of several pins as often.
    pub fn hosts_with_pins(&self) -> impl Iterator<Item = &Arc<HostEntry>> {
        self.index.pins.values().filter_map(|id| self.hosts.get(id))
    }

    /// The image of this name.
    #[must_use]
    pub fn image_by_name(&self, name: &str) -> Option<&Arc<Image>> {
        self.images.values().find(|image| image.name.as_str() == name)
    }

    /// Who needs an image, as a sentence for people: installs under way, and hosts that boot it; nothing if nobody does.
    #[must_use]
    pub fn who_needs(&self, image: Digest) -> Option<String> {
        let installs = self.active_installs().filter(|install| install.plan.images().any(|digest| digest == image));
        let installs = installs.map(|install| {
            let host = self.host(install.host).map(|entry| entry.host.name.to_string()).unwrap_or_default();
            format!("the install of {} on {host}", install.plan.title)
        });
        let lives = self.hosts.values().filter_map(|entry| {
            let live = entry.live_boot.as_ref().filter(|live| live.boot.images().any(|digest| digest == image))?;
            Some(format!("{}, which boots {} from the network", entry.host.name, live.title))
        });
        let needs: Vec<String> = installs.chain(lives).collect();
        let shown = needs.get(..NAMED.min(needs.len())).unwrap_or_default().join("; ");
        match needs.len().saturating_sub(NAMED) {
            _ if needs.is_empty() => None,
            0 => Some(shown),
            more => Some(format!("{shown}; and {more} more")),
        }
    }

    /// Every install under way, the first one armed first.
    pub fn active_installs(&self) -> impl Iterator<Item = &Arc<Install>> {
        self.active.values().filter_map(|host| self.hosts.get(host)?.active_install())
    }

    /// The install that the box's display asks about.
    #[must_use]
    pub fn asked(&self) -> Option<&Arc<Install>> {
        self.active_installs()
            .find(|install| install.state.waits_for_consent() && matches!(install.state.consent, Consent::Asked { .. }))
    }

    /// How many questions the display asks before that about `install`, if it waits for its turn.
    #[must_use]
    pub fn questions_before(&self, install: &Install) -> usize {
        let Consent::Queued { since, .. } = install.state.consent else { return 0 };
        consent_place(self.active_installs().map(Arc::as_ref), install.id, since)
    }

    /// An install that is under way or the last one of its host.
    #[must_use]
    pub fn install(&self, id: InstallId) -> Option<&Arc<Install>> {
        match self.active.get(&id) {
            Some(host) => self.hosts.get(host)?.install.as_ref(),
            None => self.hosts.values().find_map(|entry| entry.install.as_ref().filter(|install| install.id == id)),
        }
    }

    /// Changes a host's entry; others stay shared with earlier snapshots.
    pub(super) fn change<T>(&mut self, id: HostId, change: impl FnOnce(&mut HostEntry) -> T) -> Option<T> {
        self.hosts.get_mut(&id).map(|entry| change(Arc::make_mut(entry)))
    }

    /// Puts a host in place of its earlier self, look-ups included.
    pub(super) fn put_host(&mut self, host: Arc<Host>) {
        if let Some(entry) = self.hosts.get(&host.id) {
            self.index.forget(&entry.host);
        }
        self.index.learn(&host);
        if self.change(host.id, |entry| entry.host = host.clone()).is_none() {
            self.hosts.insert(host.id, Arc::new(HostEntry::new(host)));
        }
    }

    pub(super) fn remove_host(&mut self, id: HostId) {
        if let Some(entry) = self.hosts.remove(&id) {
            self.index.forget(&entry.host);
            if let Some(address) = entry.address {
                self.addresses.remove(&address);
            }
            if let Some(install) = &entry.install {
                self.active.remove(&install.id);
            }
        }
    }

    /// Puts an install in place of its earlier self, unless its host has a later one.
    pub(super) fn put_install(&mut self, install: Arc<Install>) {
        if install.state.phase.ended() {
            self.active.remove(&install.id);
        } else {
            self.active.insert(install.id, install.host);
        }
        self.change(install.host, |entry| {
            if entry.install.as_ref().is_none_or(|present| present.id <= install.id) {
                entry.install = Some(install);
            }
        });
    }
}
