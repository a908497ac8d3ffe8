//! Telemetry: percents, signs of life and log tails. In memory, in the snapshot at most four times a second, on disk at
//! a transition and every minute.

use super::{
    error::StoreError,
    rows::{execute, from_json, many, to_json},
    snapshot::{Alarm, HostEntry, LOG_LINES, Live, Snapshot},
    tx::Tx,
};
use rackberry_core::{
    agent::Progress,
    event::TaskName,
    id::{HostId, InstallId},
    text::CleanText,
    time::{Timestamp, WallTime},
};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::Notify;

/// One piece of news that may be lost.
#[derive(Debug, Clone, PartialEq)]
pub enum Telemetry {
    Progress {
        install: InstallId,
        task: TaskName,
        progress: Progress,
    },
    /// A sign of life.
    Seen {
        host: HostId,
    },
    /// Lines its agent sent; the last [`LOG_LINES`] are kept.
    Log {
        host: HostId,
        lines: Vec<CleanText>,
    },
    /// How the box itself fares: an alarm of this key while there is a text, known to the snapshot alone. So it can tell of a
    /// disk that takes nothing any more, and costs none a write; at a restart who raised it looks again.
    Condition {
        key: &'static str,
        text: Option<CleanText>,
    },
}

/// Entries of one kind that wait to be published; more are dropped.
const WAITING: usize = 20_000;

/// News since the last publication, merged.
#[derive(Debug, Default)]
struct Waiting {
    progress: BTreeMap<(InstallId, TaskName), Progress>,
    seen: BTreeSet<HostId>,
    log: BTreeMap<HostId, VecDeque<CleanText>>,
    conditions: BTreeMap<&'static str, Option<CleanText>>,
}

/// Where news waits for the inventory's thread.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    waiting: Mutex<Waiting>,
    pub news: Notify,
}

impl Mailbox {
    /// Takes news in without waiting for anything but other such calls.
    pub fn put(&self, telemetry: Telemetry) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match telemetry {
            Telemetry::Progress { install, task, progress } if waiting.progress.len() < WAITING => {
                waiting.progress.insert((install, task), progress);
            }
            Telemetry::Seen { host } if waiting.seen.len() < WAITING => {
                waiting.seen.insert(host);
            }
            Telemetry::Log { host, lines } if waiting.log.len() < WAITING => {
                let tail = waiting.log.entry(host).or_default();
                tail.extend(lines.into_iter().rev().take(LOG_LINES).rev());
                tail.drain(..tail.len().saturating_sub(LOG_LINES));
            }
            // As many as the program has keys.
            Telemetry::Condition { key, text } => {
                waiting.conditions.insert(key, text);
            }
            // Beyond the bound, and telemetry may be lost.
            Telemetry::Progress { .. } | Telemetry::Seen { .. } | Telemetry::Log { .. } => {}
        }
        drop(waiting);
        self.news.notify_one();
    }

    /// Moves all news into `state`; the hosts whose telemetry changed.
    pub fn drain(&self, state: &mut Snapshot, now: Timestamp, wall: WallTime) -> BTreeSet<HostId> {
        let Waiting { progress, seen, log, conditions } =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let mut touched = BTreeSet::new();
        for ((install, task), progress) in progress {
            // What comes after the end is of no use.
            let Some(host) = state.active.get(&install).copied() else { continue };
            state.change(host, |entry| {
                let live = entry.live.take().filter(|live| live.install == install);
                let mut live = live.unwrap_or_else(|| Live { install, progress: BTreeMap::new(), last_news: now });
                live.progress.insert(task, progress);
                live.last_news = now;
                entry.live = Some(live);
                entry.last_seen = Some(now);
            });
            touched.insert(host);
        }
        for host in seen {
            if state.change(host, |entry| entry.last_seen = Some(now)).is_some() {
                touched.insert(host);
            }
        }
        for (host, lines) in log {
            if state.change(host, |entry| take_log(entry, lines, now)).is_some() {
                touched.insert(host);
            }
        }
        for (key, text) in conditions {
            let Some(text) = text else {
                state.alarms.remove(key);
                continue;
            };
            let (since, since_wall) =
                state.alarms.get(key).map_or((now, wall), |alarm| (alarm.since, alarm.since_wall));
            state.alarms.insert(key.to_owned(), Arc::new(Alarm { text, host: None, since, since_wall }));
        }
        touched
    }
}

fn take_log(entry: &mut HostEntry, lines: impl IntoIterator<Item = CleanText>, now: Timestamp) {
    entry.log.extend(lines);
    while entry.log.len() > LOG_LINES {
        entry.log.pop_front();
    }
    if let Some(live) = &mut entry.live {
        live.last_news = now;
    }
    entry.last_seen = Some(now);
}

/// A host's telemetry as it is stored.
#[derive(Serialize, Deserialize)]
struct Saved {
    last_seen: Option<Timestamp>,
    live: Option<Live>,
}

impl Tx<'_> {
    /// Counts as a sign of life; telemetry, so neither published nor written at once.
    pub fn seen(&mut self, host: HostId) {
        let now = self.now();
        self.state.change(host, |entry| entry.last_seen = Some(now));
        self.unsaved.insert(host);
        self.stale = true;
    }

    /// Takes in lines that a host's agent sent; telemetry.
    pub fn log(&mut self, host: HostId, lines: Vec<CleanText>) {
        let now = self.now();
        self.state.change(host, |entry| take_log(entry, lines, now));
        self.unsaved.insert(host);
        self.stale = true;
    }

    pub(super) fn save_telemetry(&mut self, host: HostId) -> Result<(), StoreError> {
        if self.unsaved.remove(&host).is_some() { save(self.conn, &self.state, host) } else { Ok(()) }
    }
}

pub(super) fn save(conn: &Connection, state: &Snapshot, host: HostId) -> Result<(), StoreError> {
    let Some(entry) = state.hosts.get(&host) else { return Ok(()) };
    let saved = Saved { last_seen: entry.last_seen, live: entry.live.clone() };
    let sql =
        "INSERT INTO telemetry (host, json) VALUES (?1, ?2) ON CONFLICT (host) DO UPDATE SET json = excluded.json";
    let row = (host.0.as_bytes().as_slice(), to_json(&saved, host)?);
    execute(conn, sql, row, "store telemetry of", host).map(drop)
}

pub(super) fn load(conn: &Connection, state: &mut Snapshot) -> Result<(), StoreError> {
    let rows = many(conn, "SELECT host, json FROM telemetry", [], "telemetry", |row| {
        Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, String>(1)?))
    })?;
    for (host, json) in rows {
        let host = HostId(uuid::Uuid::from_bytes(host));
        let Saved { last_seen, live } = from_json(&json, host)?;
        state.change(host, |entry| {
            entry.last_seen = last_seen;
            entry.live = live;
        });
    }
    Ok(())
}
