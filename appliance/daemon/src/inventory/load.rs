//! From rows to the first snapshot, and what has to be said after a recovery.

use super::{
    api_tokens,
    clock::{BoxClock, Clock, Floor},
    error::{ApplyError, OpenError, StoreError, TransactError},
    file::{self, Opened, Recovery},
    ids::IdMaker,
    installs, live,
    rows::{execute, from_json, many, millis, one, timestamp},
    snapshot::{Alarm, Snapshot},
    telemetry::{self, Mailbox},
    tx::{self, Tx},
    writer::{Closure, Writer},
};
use imbl::OrdSet;
use rackberry_core::{
    event::{Actor, EventKind},
    host::{Host, SmbiosUuid},
    id::{BoxId, InstallId},
    image::Image,
    text::CleanText,
    time::Timestamp,
};
use rusqlite::Connection;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

/// Reads everything that the snapshot holds; also tells what recovery came before.
pub(super) fn writer(
    opened: Opened,
    state_dir: PathBuf,
    clock: Arc<dyn Clock>,
    mailbox: Arc<Mailbox>,
    commits: Arc<AtomicU64>,
) -> Result<(Writer, Option<Recovery>), OpenError> {
    let Opened { conn, lock, path, recovery } = opened;
    // Also one that an earlier start did and did not live to put right.
    let recovery = match tx::setting(&conn, file::RESTORED)? {
        Some(marked) => Some(marked),
        None => recovery,
    };
    let done = recovery.clone();
    let mut ids = IdMaker::default();
    let (box_id, clock, backup_at) = this_box(&conn, clock, &mut ids)?;
    let state = snapshot(&conn, box_id)?;
    let (publish, _) = watch::channel(Arc::new(state.clone()));
    let mut writer = Writer {
        conn,
        lock,
        path,
        state_dir,
        state,
        clock,
        ids,
        publish,
        mailbox,
        commits,
        backup_at,
        backup: None,
        unsaved: OrdSet::new(),
        stale: false,
        published: Instant::now(),
        clock_stored: Instant::now(),
        failing: false,
    };
    // A commit also shows at once whether the disk can be written to, and publishes the first snapshot.
    run_now(&mut writer, move |tx| {
        tx.changed = true;
        recovery.map_or(Ok(()), |recovery| after_recovery(tx, &recovery))
    })?;
    Ok((writer, done))
}

fn this_box(
    conn: &Connection,
    clock: Arc<dyn Clock>,
    ids: &mut IdMaker,
) -> Result<(BoxId, BoxClock, Option<Timestamp>), StoreError> {
    let stored = one(conn, "SELECT id, boot, boottime, now, backup_at FROM box", [], "this box", |row| {
        let boottime = Duration::from_millis(u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0));
        let floor = Floor { boot: row.get(1)?, boottime, now: timestamp(row.get(3)?) };
        Ok((row.get::<_, [u8; 16]>(0)?, floor, row.get::<_, Option<i64>>(4)?))
    })?;
    if let Some((id, floor, backup_at)) = stored {
        let clock = BoxClock::resume(clock, Some(floor));
        return Ok((BoxId(uuid::Uuid::from_bytes(id)), clock, backup_at.map(timestamp)));
    }
    let clock = BoxClock::resume(clock, None);
    let id = ids.next(clock.now())?;
    let reading = clock.reading();
    let boottime = i64::try_from(reading.boottime.as_millis()).unwrap_or(i64::MAX);
    let row = (id.as_bytes().as_slice(), reading.boot, boottime, millis(reading.now));
    let sql = "INSERT INTO box (one, id, boot, boottime, now) VALUES (1, ?1, ?2, ?3, ?4)";
    execute(conn, sql, row, "store", "this box")?;
    Ok((BoxId(id), clock, None))
}

fn snapshot(conn: &Connection, box_id: BoxId) -> Result<Snapshot, StoreError> {
    let mut state = Snapshot::empty(box_id);
    let text = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
    for uuid in many(conn, "SELECT uuid FROM shared_uuids", [], "shared UUIDs", text)? {
        if let Some(uuid) = SmbiosUuid::parse(&uuid) {
            state.index.shared.insert(uuid.key());
        }
    }
    for json in many(conn, "SELECT json FROM hosts", [], "hosts", text)? {
        let host: Host = from_json(&json, "a host")?;
        state.put_host(Arc::new(host));
    }
    for install in installs::load_last(conn)? {
        // A host that was removed leaves its history, and no more.
        if state.hosts.contains_key(&install.host) {
            state.put_install(Arc::new(install));
        }
    }
    for (host, boot) in live::load(conn)? {
        state.change(host, |entry| entry.live_boot = Some(Arc::new(boot)));
    }
    telemetry::load(conn, &mut state)?;
    for json in many(conn, "SELECT json FROM images", [], "images", text)? {
        let image: Image = from_json(&json, "an image")?;
        state.images.insert(image.digest, Arc::new(image));
    }
    let alarms = many(conn, "SELECT json, key FROM alarms", [], "alarms", |row| Ok((text(row)?, row.get(1)?)))?;
    for (json, key) in alarms {
        let alarm: Alarm = from_json(&json, &key)?;
        state.alarms.insert(key, Arc::new(alarm));
    }
    for token in api_tokens::load(conn)? {
        state.api_tokens.insert(token.name.to_string(), Arc::new(token));
    }
    state.ladder = tx::setting(conn, tx::LADDER)?.unwrap_or_default();
    Ok(state)
}

/// A backup is older than what happened: nothing in it may erase, and nothing that expired since may live again.
fn after_recovery(tx: &mut Tx<'_>, recovery: &Recovery) -> Result<(), StoreError> {
    let Recovery { set_aside, restored, newer } = recovery;
    let aside = set_aside.display();
    let text = match restored {
        // An alarm is short: the files lie in the state folder.
        Some(_) if *newer => format!(
            "An update was undone: the inventory is the one from before it. Missing: {} (kept as {}). Running installs were \
             cancelled, everybody was logged out, API tokens are void.",
            missed(tx, set_aside),
            set_aside.file_name().unwrap_or_default().to_string_lossy()
        ),
        Some(backup) => format!(
            "The inventory was replaced by its backup {}; the former file is {aside}. Running installs were cancelled, \
             everybody was logged out, and API tokens are void.",
            backup.display()
        ),
        None => format!(
            "The inventory could not be read and there is no sound backup: it begins empty. The former file is {aside}."
        ),
    };
    let under_way: Vec<InstallId> = tx.active_installs().iter().map(|install| install.id).collect();
    for id in under_way {
        let reason = CleanText::new("The inventory was restored from a backup, which misses what happened since.");
        match tx.apply(id, Actor::Box, EventKind::Cancelled { reason }) {
            Ok(_) | Err(ApplyError::Rejected { .. } | ApplyError::NotFound(_)) => {}
            Err(ApplyError::Store(error)) => return Err(error),
        }
    }
    execute(tx.conn, "DELETE FROM tokens", [], "drop", "tokens")?;
    execute(tx.conn, "DELETE FROM sessions", [], "end", "sessions")?;
    // One that was taken back since would open the box again.
    execute(tx.conn, "DELETE FROM api_tokens", [], "drop", "API tokens")?;
    tx.state.api_tokens.clear();
    tx.forget_setting(file::RESTORED)?;
    tx.raise_alarm("inventory-restored", None, CleanText::new(&text))
}

/// What stands in a later inventory and not in this one, as far as it can be read: the hosts by their names.
fn missed(tx: &Tx<'_>, later: &Path) -> String {
    const NAMED: usize = 3;
    let read = || -> rusqlite::Result<(Vec<String>, i64)> {
        let conn = file::open_read_only(later)?;
        let mut statement = conn.prepare("SELECT json FROM hosts")?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
        let events = conn.query_row("SELECT count(*) FROM events", [], |row| row.get::<_, i64>(0))?;
        Ok((rows, events))
    };
    let Ok((rows, events)) = read() else { return "whatever was recorded since".to_owned() };
    let known: Vec<&str> = tx.state.hosts.values().map(|entry| entry.host.name.as_str()).collect();
    let names = rows.iter().filter_map(|json| {
        let host: serde_json::Value = serde_json::from_str(json).ok()?;
        let name = rackberry_core::text::clean(host.get("name")?.as_str()?, 64);
        (!known.contains(&name.as_str())).then_some(name)
    });
    let names: Vec<String> = names.collect();
    let own: i64 = tx.conn.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap_or_default();
    let shown = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let hosts = match names.len() {
        0 => "no host".to_owned(),
        count if count <= NAMED => format!("the hosts {shown}"),
        count => format!("the hosts {shown} and {} more", count - NAMED),
    };
    format!("{hosts}, and {} events", events.saturating_sub(own).max(0))
}

/// Runs a step before the thread exists.
fn run_now(
    writer: &mut Writer,
    step: impl FnOnce(&mut Tx<'_>) -> Result<(), StoreError> + Send + 'static,
) -> Result<(), OpenError> {
    let (reply, mut answer) = oneshot::channel();
    writer.commit(vec![Box::new(Closure { closure: Some(step), outcome: None, reply })]);
    match answer.try_recv() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(TransactError::Failed(error))) => Err(OpenError::Load(error)),
        Ok(Err(TransactError::Commit(error))) => Err(Arc::into_inner(error)
            .map_or_else(|| OpenError::Thread(std::io::Error::other("no answer")), OpenError::Load)),
        Ok(Err(other)) => Err(OpenError::Thread(std::io::Error::other(other.to_string()))),
        Err(error) => Err(OpenError::Thread(std::io::Error::other(error))),
    }
}
