//! One step on the inventory: what a closure given to [`transact`](super::Inventory::transact) may do.

use super::{
    clock::BoxClock,
    error::StoreError,
    ids::IdMaker,
    rows::{execute, from_json, one, to_json},
    snapshot::{Alarm, HostEntry, Ladder, Snapshot},
};
use imbl::OrdSet;
use rackberry_core::{
    event::{Actor, Event, EventKind},
    id::{BoxId, EventId, HostId, InstallId},
    text::CleanText,
    time::{Timestamp, WallTime},
};
use rusqlite::Connection;
use serde::{Serialize, de::DeserializeOwned};
use std::sync::Arc;

/// A step within a transaction: all of it stays, or nothing.
#[derive(Debug)]
pub struct Tx<'c> {
    pub(super) conn: &'c Connection,
    /// What the snapshot becomes if this step stays; hosts, running installs, images and alarms are read from it.
    pub(super) state: Snapshot,
    pub(super) clock: &'c BoxClock,
    pub(super) ids: &'c mut IdMaker,
    /// Something that readers of the snapshot should learn at once.
    pub(super) changed: bool,
    /// Hosts whose telemetry is ahead of the disk.
    pub(super) unsaved: OrdSet<HostId>,
    /// Telemetry that readers should learn of soon.
    pub(super) stale: bool,
}

impl Tx<'_> {
    /// Now, for every decision.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What the system clock says, for display only.
    #[must_use]
    pub fn wall(&self) -> WallTime {
        self.clock.wall()
    }

    /// Names this box.
    #[must_use]
    pub fn box_id(&self) -> BoxId {
        self.state.box_id
    }

    /// Everything as it stands within this step.
    #[must_use]
    pub fn state(&self) -> &Snapshot {
        &self.state
    }

    /// A new id for an install; it sorts after all earlier ones.
    ///
    /// # Errors
    /// [`StoreError::Random`].
    pub fn install_id(&mut self) -> Result<InstallId, StoreError> {
        self.uuid().map(InstallId)
    }

    pub(super) fn uuid(&mut self) -> Result<uuid::Uuid, StoreError> {
        let now = self.now();
        self.ids.next(now)
    }

    /// Appends an event that moves no install; see [`apply`](Self::apply) for those that do.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn record(
        &mut self,
        host: Option<HostId>,
        install: Option<InstallId>,
        actor: Actor,
        kind: EventKind,
    ) -> Result<Event, StoreError> {
        let event = self.event(host, install, actor, kind)?;
        self.append(&event)?;
        Ok(event)
    }

    pub(super) fn event(
        &mut self,
        host: Option<HostId>,
        install: Option<InstallId>,
        actor: Actor,
        kind: EventKind,
    ) -> Result<Event, StoreError> {
        let id = EventId(self.uuid()?);
        Ok(Event { id, origin: self.box_id(), at: self.now(), wall: self.wall(), host, install, actor, kind })
    }

    pub(super) fn append(&mut self, event: &Event) -> Result<(), StoreError> {
        let json = to_json(event, "an event")?;
        let host = event.host.as_ref().map(|id| id.0.as_bytes().as_slice());
        let install = event.install.as_ref().map(|id| id.0.as_bytes().as_slice());
        execute(
            self.conn,
            // The kind's word is serde's tag, so that it is written down in one place only.
            "INSERT INTO events (host, install, kind, json) VALUES (?1, ?2, json_extract(?3, '$.kind'), ?3)",
            (host, install, &json),
            "append",
            "an event",
        )?;
        self.changed = true;
        Ok(())
    }

    /// Raises an alarm; the same key again changes its text at most.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn raise_alarm(&mut self, key: &str, host: Option<HostId>, text: CleanText) -> Result<(), StoreError> {
        if self.state.alarms.get(key).is_some_and(|alarm| alarm.text == text) {
            return Ok(());
        }
        let (since, since_wall) =
            self.state.alarms.get(key).map_or((self.now(), self.wall()), |alarm| (alarm.since, alarm.since_wall));
        let alarm = Alarm { text: text.clone(), host, since, since_wall };
        execute(
            self.conn,
            "INSERT INTO alarms (key, json) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET json = excluded.json",
            (key, to_json(&alarm, key)?),
            "raise",
            format_args!("alarm {key}"),
        )?;
        self.state.alarms.insert(key.to_owned(), Arc::new(alarm));
        self.record(host, None, Actor::Box, EventKind::Alarm { text })?;
        Ok(())
    }

    /// Takes an alarm back; whether there was one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn settle_alarm(&mut self, key: &str, actor: Actor) -> Result<bool, StoreError> {
        let Some(alarm) = self.state.alarms.remove(key) else { return Ok(false) };
        execute(self.conn, "DELETE FROM alarms WHERE key = ?1", [key], "settle", format_args!("alarm {key}"))?;
        self.record(alarm.host, None, actor, EventKind::AlarmSettled { text: alarm.text.clone() })?;
        Ok(true)
    }

    /// Notes what the box does on its network from now on; recorded if the mode is another one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_ladder(&mut self, mode: CleanText, reason: CleanText) -> Result<(), StoreError> {
        let before = &self.state.ladder;
        if before.mode == mode && before.reason == reason {
            return Ok(());
        }
        let moved = before.mode != mode;
        let since = if moved { self.now() } else { before.since };
        let ladder = Ladder { mode: mode.clone(), reason: reason.clone(), since };
        self.set_setting(LADDER, &ladder)?;
        self.state.ladder = ladder;
        if moved {
            self.record(None, None, Actor::Box, EventKind::LadderMoved { to: mode, reason })?;
        }
        Ok(())
    }

    /// A setting, if it was ever set.
    ///
    /// # Errors
    /// [`StoreError`], also if it is of another type.
    pub fn setting<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        setting(self.conn, key)
    }

    /// Keeps a setting.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_setting<T: Serialize>(&mut self, key: &str, value: &T) -> Result<(), StoreError> {
        let json = to_json(value, format_args!("setting {key}"))?;
        execute(
            self.conn,
            "INSERT INTO settings (key, json) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET json = excluded.json",
            (key, json),
            "keep",
            format_args!("setting {key}"),
        )?;
        self.changed = true;
        Ok(())
    }

    /// Forgets a setting, so that the default counts again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_setting(&mut self, key: &str) -> Result<(), StoreError> {
        execute(self.conn, "DELETE FROM settings WHERE key = ?1", [key], "forget", format_args!("setting {key}"))?;
        self.changed = true;
        Ok(())
    }

    pub(super) fn entry(&self, id: HostId) -> Result<&Arc<HostEntry>, StoreError> {
        self.state.hosts.get(&id).ok_or_else(|| StoreError::NotFound { what: "host", id: id.to_string() })
    }

    /// Changes a host's entry in the snapshot to be.
    pub(super) fn change(&mut self, id: HostId, change: impl FnOnce(&mut HostEntry)) {
        self.state.change(id, change);
        self.changed = true;
    }
}

/// The setting that keeps the ladder's verdict.
pub(super) const LADDER: &str = "ladder";

pub(super) fn setting<T: DeserializeOwned>(conn: &Connection, key: &str) -> Result<Option<T>, StoreError> {
    let on = format!("setting {key}");
    one(conn, "SELECT json FROM settings WHERE key = ?1", [key], &on, |row| row.get::<_, String>(0))?
        .map(|json| from_json(&json, &on))
        .transpose()
}
