//! Installs: armed once, moved by events alone.

use super::{
    error::{ApplyError, StoreError},
    identity::Identity,
    rows::{execute, from_json, many, one, to_json},
    tx::Tx,
};
use rackberry_core::{
    event::{Actor, EventKind},
    host::{Host, Installed},
    id::{HostId, InstallId},
    install::{Install, InstallState, Phase, Plan, transition},
    text::CleanText,
    time::{Timestamp, WallTime},
};
use rusqlite::{Connection, Row};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An [`Install`] without its plan, which lies apart because it never changes.
#[derive(Serialize, Deserialize)]
struct Moving {
    state: InstallState,
    created: Timestamp,
    created_wall: WallTime,
    by: CleanText,
}

impl Tx<'_> {
    /// An install, also one long over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn install(&self, id: InstallId) -> Result<Option<Arc<Install>>, StoreError> {
        match self.state.active.get(&id).and_then(|host| self.active_install(*host)) {
            Some(install) => Ok(Some(install)),
            None => Ok(load(self.conn, id)?.map(Arc::new)),
        }
    }

    /// The install under way on a host.
    #[must_use]
    pub fn active_install(&self, host: HostId) -> Option<Arc<Install>> {
        self.state.host(host)?.active_install().cloned()
    }

    /// The install under way on a host, else its last one.
    #[must_use]
    pub fn last_install(&self, host: HostId) -> Option<Arc<Install>> {
        self.state.host(host)?.install.clone()
    }

    /// Every install under way, the first one armed first.
    #[must_use]
    pub fn active_installs(&self) -> Vec<Arc<Install>> {
        self.state.active_installs().cloned().collect()
    }

    /// Grants the permission to erase that `install` describes; its id comes from [`install_id`](Self::install_id).
    ///
    /// # Errors
    /// [`StoreError::InstallActive`] while the host has one, [`StoreError::NotFound`] for its host, or storage.
    pub fn arm(&mut self, install: Install) -> Result<Arc<Install>, StoreError> {
        let host = self.entry(install.host)?.host.clone();
        if self.active_install(install.host).is_some() {
            return Err(StoreError::InstallActive { host: host.name.clone() });
        }
        let plan = to_json(&install.plan, install.id)?;
        self.write_install(&install)?;
        let row = (install.id.0.as_bytes().as_slice(), plan);
        execute(self.conn, "INSERT INTO install_plans (install, json) VALUES (?1, ?2)", row, "store", install.id)?;
        let disk = match &install.plan.seen_disk {
            Some(disk) => disk.to_string(),
            None => install.plan.disk.to_string(),
        };
        let kind = EventKind::Armed { profile: CleanText::new(&install.plan.profile), disk: CleanText::new(&disk) };
        self.record(Some(host.id), Some(install.id), Actor::User(install.by.clone()), kind)?;
        let install = Arc::new(install);
        self.change(host.id, |entry| entry.live = None);
        self.state.put_install(install.clone());
        Ok(install)
    }

    /// Moves an install by an event, and records the event unless it is a report that came before.
    ///
    /// An install that ends as done makes the host's system known; one that ends takes its first-boot tokens along,
    /// but for those with which a system may still report that it is up.
    ///
    /// # Errors
    /// [`ApplyError::Rejected`] if the event does not follow from the state; then nothing changed.
    pub fn apply(&mut self, id: InstallId, actor: Actor, kind: EventKind) -> Result<Arc<Install>, ApplyError> {
        let install = self.install(id)?.ok_or(ApplyError::NotFound(id))?;
        let repeatable = matches!(
            &kind,
            EventKind::AgentHello { .. }
                | EventKind::TaskClaimed { .. }
                | EventKind::TaskStarted { .. }
                | EventKind::TaskDone { .. }
                | EventKind::TaskFailed { .. }
                | EventKind::InstallerStage { .. }
                | EventKind::FirstBoot { .. }
        );
        let event = self.event(Some(install.host), Some(id), actor, kind)?;
        let state = transition(&install.state, &event, event.at)
            .map_err(|source| ApplyError::Rejected { install: id, source })?;
        if state == install.state {
            if !repeatable {
                self.append(&event)?;
            }
            return Ok(install);
        }
        self.append(&event)?;
        Ok(self.store_state(&install, state)?)
    }

    /// Stores what an install became, with what follows from it.
    pub(super) fn store_state(
        &mut self,
        before: &Arc<Install>,
        state: InstallState,
    ) -> Result<Arc<Install>, StoreError> {
        if state == before.state {
            return Ok(before.clone());
        }
        let install = Arc::new(Install { state, ..Install::clone(before) });
        self.write_install(&install)?;
        self.state.put_install(install.clone());
        self.changed = true;
        let phase = install.state.phase;
        if phase != before.state.phase {
            if phase == Phase::Done
                && let Some(host) = self.host(install.host)
            {
                let installed = Installed {
                    profile: CleanText::new(&install.plan.profile),
                    title: CleanText::new(&install.plan.title),
                    at: self.now(),
                    at_wall: self.wall(),
                };
                self.put_host(&Host { installed: Some(installed), ..Host::clone(&host) })?;
            }
            if phase == Phase::Done {
                // Its own system is up, so it left the RAM OS.
                self.leave_ram(install.host);
            }
            if phase.ended() {
                self.retire_first_boot_tokens(&install)?;
            }
        }
        self.save_telemetry(install.host)?;
        Ok(install)
    }

    /// Another machine came under an address of this host: withdraws a permission to erase that waits for it, and raises
    /// an alarm. [`observe`](Self::observe) does this too.
    ///
    /// # Errors
    /// [`StoreError`], also if the host is unknown.
    pub fn disarm_impostor(&mut self, host: HostId, identity: &Identity) -> Result<(), StoreError> {
        let Some(install) = self.active_install(host).filter(|install| install.state.arm.consumed.is_none()) else {
            return Ok(());
        };
        let name = self.entry(host)?.host.name.clone();
        let seen = match identity.uuid {
            Some(uuid) => {
                let kind = EventKind::UuidMismatch { mac: identity.mac, seen: uuid };
                self.withdraw(install.id, kind)?;
                format!("UUID {uuid}")
            }
            None => {
                let reason = CleanText::new("This is not the machine you armed: its serial number differs.");
                self.withdraw(install.id, EventKind::Disarmed { reason })?;
                "another serial number".to_owned()
            }
        };
        let text = format!(
            "{name} was disarmed: its address {} came from another machine ({seen}). Nothing was written.",
            identity.mac
        );
        self.raise_alarm(&format!("mismatch-{host}"), Some(host), CleanText::new(&text))
    }

    fn withdraw(&mut self, id: InstallId, kind: EventKind) -> Result<(), StoreError> {
        match self.apply(id, Actor::Box, kind) {
            Ok(_) | Err(ApplyError::Rejected { .. }) => Ok(()),
            Err(ApplyError::NotFound(id)) => Err(StoreError::NotFound { what: "install", id: id.to_string() }),
            Err(ApplyError::Store(error)) => Err(error),
        }
    }

    fn write_install(&self, install: &Install) -> Result<(), StoreError> {
        let Install { id, host, plan: _, state, created, created_wall, by } = install;
        let moving = Moving { state: state.clone(), created: *created, created_wall: *created_wall, by: by.clone() };
        let row = (
            id.0.as_bytes().as_slice(),
            host.0.as_bytes().as_slice(),
            i64::from(!state.phase.ended()),
            state.phase.as_str(),
            to_json(&moving, id)?,
        );
        execute(
            self.conn,
            "INSERT INTO installs (id, host, active, phase, json) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (id)
             DO UPDATE SET active = excluded.active, phase = excluded.phase, json = excluded.json",
            row,
            "store install",
            id,
        )
        .map(drop)
    }
}

const COLUMNS: &str = "SELECT i.id, i.host, i.json, p.json FROM installs i JOIN install_plans p ON p.install = i.id";

type Raw = ([u8; 16], [u8; 16], String, String);

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

fn read((id, host, moving, plan): Raw) -> Result<Install, StoreError> {
    let id = InstallId(uuid::Uuid::from_bytes(id));
    let Moving { state, created, created_wall, by } = from_json(&moving, id)?;
    let plan: Plan = from_json(&plan, id)?;
    Ok(Install { id, host: HostId(uuid::Uuid::from_bytes(host)), plan, state, created, created_wall, by })
}

/// One install.
pub(super) fn load(conn: &Connection, id: InstallId) -> Result<Option<Install>, StoreError> {
    let key = id.0.as_bytes().as_slice();
    one(conn, &format!("{COLUMNS} WHERE i.id = ?1"), [key], id, raw)?.map(read).transpose()
}

/// The last install of every host.
pub(super) fn load_last(conn: &Connection) -> Result<Vec<Install>, StoreError> {
    let sql = format!("{COLUMNS} WHERE i.id IN (SELECT max(id) FROM installs GROUP BY host)");
    many(conn, &sql, [], "installs", raw)?.into_iter().map(read).collect()
}

/// A host's installs, the latest first.
pub(super) fn history(conn: &Connection, host: HostId, limit: usize) -> Result<Vec<Install>, StoreError> {
    let sql = format!("{COLUMNS} WHERE i.host = ?1 ORDER BY i.id DESC LIMIT ?2");
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    many(conn, &sql, (host.0.as_bytes().as_slice(), limit), "installs", raw)?.into_iter().map(read).collect()
}
