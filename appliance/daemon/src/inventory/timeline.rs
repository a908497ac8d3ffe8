//! The boot timeline: which stations a host passed on its present way up.

use super::{error::StoreError, tx::Tx};
use rackberry_core::{
    event::{Actor, EventKind, Station},
    host::{Arch, Firmware},
    id::HostId,
    install::transition,
    text::CleanText,
    time::Timestamp,
};
use std::{sync::Arc, time::Duration};

/// A pause after which a request for an address begins another boot.
const PAUSE: Duration = Duration::from_secs(30);

/// One boot as far as we saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct BootTrace {
    pub started: Timestamp,
    /// In the order they were reached, each once.
    pub stations: Vec<(Station, Timestamp, CleanText)>,
    /// A person's own files that it fetched, each once; at most [`OWN_FILES`].
    pub own_files: Vec<CleanText>,
}

/// Own files noted of one boot: a script that loops over thousands of them is no history.
const OWN_FILES: usize = 24;

impl BootTrace {
    /// When a station was reached.
    #[must_use]
    pub fn reached(&self, station: Station) -> Option<Timestamp> {
        self.stations.iter().find(|(reached, _, _)| *reached == station).map(|(_, at, _)| *at)
    }

    /// Whether a request for an address at `now` belongs to another boot.
    fn over(&self, now: Timestamp) -> bool {
        let past_loader = self.stations.iter().any(|(station, _, _)| *station >= Station::Script);
        let last = self.stations.last().map_or(self.started, |(_, at, _)| *at);
        past_loader || now.since(last) > PAUSE
    }
}

impl Tx<'_> {
    /// Notes that a host passed a station; whether that is news within this boot.
    ///
    /// News is recorded as [`EventKind::BootReached`] and moves an armed install to booting. Every call counts as a sign
    /// of life.
    ///
    /// # Errors
    /// [`StoreError`], also if the host is unknown.
    pub fn reach(
        &mut self,
        host: HostId,
        station: Station,
        detail: CleanText,
        arch: Option<Arch>,
        firmware: Option<Firmware>,
    ) -> Result<bool, StoreError> {
        let now = self.now();
        let entry = self.entry(host)?;
        let fresh = match &entry.trace {
            None => true,
            Some(trace) => station == Station::Discover && trace.over(now),
        };
        let news = fresh || entry.trace.as_ref().is_some_and(|trace| trace.reached(station).is_none());
        self.seen(host);
        if !news {
            return Ok(false);
        }
        let passed = (station, now, detail.clone());
        self.change(host, |entry| match entry.trace.as_mut().filter(|_| !fresh) {
            Some(trace) => Arc::make_mut(trace).stations.push(passed),
            None => {
                entry.trace = Some(Arc::new(BootTrace { started: now, stations: vec![passed], own_files: Vec::new() }))
            }
        });
        if station < Station::Agent {
            // On its way up, so no longer in the boot of the RAM OS it was in.
            self.leave_ram(host);
        }
        let kind = EventKind::BootReached { station, detail, arch, firmware };
        let active = self.active_install(host);
        let event = self.record(Some(host), active.as_ref().map(|install| install.id), Actor::Host, kind)?;
        if let Some(install) = active {
            // An install that does not take it is not moved by it; the line of history stands all the same.
            if let Ok(state) = transition(&install.state, &event, now) {
                self.store_state(&install, state)?;
            }
        }
        Ok(true)
    }

    /// Notes that a host fetched a person's own file; once in each boot.
    ///
    /// # Errors
    /// [`StoreError`], also if the host is unknown.
    pub fn fetched_own(&mut self, host: HostId, path: CleanText, by: CleanText) -> Result<(), StoreError> {
        self.seen(host);
        let Some(trace) = self.entry(host)?.trace.clone() else { return Ok(()) };
        if trace.own_files.len() >= OWN_FILES || trace.own_files.contains(&path) {
            return Ok(());
        }
        self.change(host, |entry| {
            if let Some(trace) = entry.trace.as_mut() {
                Arc::make_mut(trace).own_files.push(path.clone());
            }
        });
        self.record(Some(host), None, Actor::Host, EventKind::OwnFile { path, by }).map(|_| ())
    }
}
