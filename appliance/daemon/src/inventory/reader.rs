//! Reading history beside the writer: two read-only connections, each read broken off after two seconds.

use super::{
    accounts::{self, Session, User},
    clock::BoxClock,
    error::{ReadError, StoreError, panic_text},
    file::open_read_only,
    installs, leases,
    rows::{count, from_json, many, one},
    snapshot::{HostEntry, Snapshot},
    tx,
};
use rackberry_core::{
    dhcp::LeaseRow,
    event::Event,
    host::MacAddr,
    id::{HostId, InstallId},
    image::Digest,
    install::Install,
};
use rusqlite::{Connection, types::Value};
use serde::de::DeserializeOwned;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot, watch};

/// How long one read may take.
pub const READ_LIMIT: Duration = Duration::from_secs(2);
/// SQLite's virtual machine steps between two looks at the time.
const LOOK_EVERY: i32 = 10_000;
/// Rows that one question may answer.
const MOST: usize = 10_000;

/// A stored line of history.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    /// Grows with each event; never reused.
    pub seq: u64,
    pub event: Event,
}

/// Which lines of history are wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EventFilter {
    pub host: Option<HostId>,
    pub install: Option<InstallId>,
    /// Only such kinds, in the words of the events' JSON; all if empty.
    pub kinds: Vec<String>,
    /// Only later ones.
    pub after: Option<u64>,
    /// Only earlier ones, for turning pages.
    pub before: Option<u64>,
    /// At most so many; never more than 10,000.
    pub limit: usize,
}

/// What a closure given to [`read`](super::Inventory::read) may ask; all answers are of one moment.
#[derive(Debug)]
pub struct Reader<'c> {
    conn: &'c Connection,
    clock: &'c BoxClock,
    snapshot: Arc<Snapshot>,
}

impl Reader<'_> {
    /// The published snapshot.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Events, the newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn events(&self, filter: &EventFilter) -> Result<Vec<StoredEvent>, StoreError> {
        self.select(filter, "DESC")
    }

    /// Events after `filter.after`, the oldest first, for those who follow.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn follow(&self, filter: &EventFilter) -> Result<Vec<StoredEvent>, StoreError> {
        self.select(filter, "ASC")
    }

    /// The number of the newest event; 0 if there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn last_seq(&self) -> Result<u64, StoreError> {
        let last = one(self.conn, "SELECT coalesce(max(seq), 0) FROM events", [], "events", |row| count(row, 0))?;
        Ok(last.unwrap_or(0))
    }

    /// An install, also one long over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn install(&self, id: InstallId) -> Result<Option<Install>, StoreError> {
        installs::load(self.conn, id)
    }

    /// A host's installs, the latest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn installs(&self, host: HostId, limit: usize) -> Result<Vec<Install>, StoreError> {
        installs::history(self.conn, host, limit.min(MOST))
    }

    /// Hosts whose name, MAC address, UUID, serial, product or tag contains `text`, by name.
    #[must_use]
    pub fn search(&self, text: &str) -> Vec<Arc<HostEntry>> {
        let wanted = text.trim().to_lowercase();
        let mac = text.trim().parse::<MacAddr>().ok();
        let has = |text: &str| text.to_lowercase().contains(&wanted);
        let mut found: Vec<Arc<HostEntry>> = self
            .snapshot
            .hosts
            .values()
            .filter(|entry| {
                let host = &entry.host;
                has(host.name.as_str())
                    || host.macs.iter().any(|own| mac == Some(*own) || has(&own.to_string()) || has(&own.hyphens()))
                    || host.uuid.is_some_and(|uuid| has(&uuid.to_string()))
                    || host.serial.as_ref().is_some_and(|serial| has(serial.as_str()))
                    || host.tags.iter().any(|tag| has(tag.as_str()))
                    || host.facts.as_ref().is_some_and(|facts| has(facts.smbios.product.as_str()))
            })
            .cloned()
            .collect();
        found.sort_by(|a, b| a.host.name.cmp(&b.host.name));
        found
    }

    /// Every lease.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn leases(&self) -> Result<Vec<LeaseRow>, StoreError> {
        leases::leases(self.conn)
    }

    /// A person by login name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn user(&self, name: &str) -> Result<Option<User>, StoreError> {
        accounts::user(self.conn, name)
    }

    /// Every person, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn users(&self) -> Result<Vec<User>, StoreError> {
        accounts::users(self.conn)
    }

    /// A session that has not expired.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn session(&self, hash: Digest) -> Result<Option<Session>, StoreError> {
        accounts::session(self.conn, hash, self.clock.now())
    }

    /// A setting, if it was ever set.
    ///
    /// # Errors
    /// [`StoreError`], also if it is of another type.
    pub fn setting<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        tx::setting(self.conn, key)
    }

    fn select(&self, filter: &EventFilter, order: &str) -> Result<Vec<StoredEvent>, StoreError> {
        let mut sql = "SELECT seq, json FROM events WHERE 1".to_owned();
        let mut values: Vec<Value> = Vec::new();
        let number = |value: u64| Value::Integer(i64::try_from(value).unwrap_or(i64::MAX));
        // An install's events all belong to its host, whose events have an index.
        let host_of_install = match (filter.host, filter.install) {
            (None, Some(install)) => one(
                self.conn,
                "SELECT host FROM installs WHERE id = ?1",
                [install.0.as_bytes().as_slice()],
                install,
                |row| row.get::<_, [u8; 16]>(0),
            )?,
            (host, _) => host.map(|host| *host.0.as_bytes()),
        };
        let mut narrow = |condition: &str, value: Option<Value>| {
            if let Some(value) = value {
                sql.push_str(condition);
                values.push(value);
            }
        };
        narrow(" AND host = ?", host_of_install.map(|host| Value::Blob(host.to_vec())));
        narrow(" AND install = ?", filter.install.map(|install| Value::Blob(install.0.as_bytes().to_vec())));
        narrow(" AND seq > ?", filter.after.map(number));
        narrow(" AND seq < ?", filter.before.map(number));
        if !filter.kinds.is_empty() {
            let marks = vec!["?"; filter.kinds.len()].join(", ");
            sql.push_str(&format!(" AND kind IN ({marks})"));
            values.extend(filter.kinds.iter().cloned().map(Value::Text));
        }
        sql.push_str(&format!(" ORDER BY seq {order} LIMIT {}", filter.limit.min(MOST)));
        let rows = many(self.conn, &sql, rusqlite::params_from_iter(values), "events", |row| {
            Ok((count(row, 0)?, row.get::<_, String>(1)?))
        })?;
        let read =
            |(seq, json): (u64, String)| Ok(StoredEvent { seq, event: from_json(&json, format_args!("event {seq}"))? });
        rows.into_iter().map(read).collect()
    }
}

/// A read that waits for its turn.
pub(super) trait Question: Send {
    fn answer(self: Box<Self>, reader: &Reader<'_>, overdue: &AtomicBool);
}

/// A closure with the types of its result.
pub(super) struct Closure<F, T, E> {
    pub closure: F,
    pub reply: oneshot::Sender<Result<T, ReadError<E>>>,
}

impl<F, T, E> Question for Closure<F, T, E>
where
    F: FnOnce(&Reader<'_>) -> Result<T, E> + Send,
    T: Send,
    E: Send,
{
    fn answer(self: Box<Self>, reader: &Reader<'_>, overdue: &AtomicBool) {
        let Closure { closure, reply } = *self;
        let answer = match catch_unwind(AssertUnwindSafe(|| closure(reader))) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) if overdue.load(Ordering::Relaxed) => Err(ReadError::TooSlow),
            Ok(Err(error)) => Err(ReadError::Failed(error)),
            Err(payload) => Err(ReadError::Panicked(panic_text(payload.as_ref()))),
        };
        let _ = reply.send(answer);
    }
}

/// Where reads wait; the connection that is free takes the next one.
pub(super) type Questions = Arc<Mutex<mpsc::Receiver<Box<dyn Question>>>>;

/// Opens a connection for [`run`].
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let conn = open_read_only(path)?;
    conn.pragma_update(None, "query_only", true)?;
    Ok(conn)
}

/// Answers until nobody can ask any more.
pub(super) fn run(
    mut conn: Connection,
    clock: &BoxClock,
    snapshots: &watch::Receiver<Arc<Snapshot>>,
    questions: &Questions,
) {
    loop {
        let question = questions.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(question) = question else { return };
        let overdue = Arc::new(AtomicBool::new(false));
        let (deadline, flag) = (Instant::now() + READ_LIMIT, overdue.clone());
        let late = move || {
            let late = Instant::now() >= deadline;
            if late {
                flag.store(true, Ordering::Relaxed);
            }
            late
        };
        // Should this fail, a read is not bounded; it is answered all the same.
        let _ = conn.progress_handler(LOOK_EVERY, Some(late));
        let _ = conn.execute_batch("BEGIN");
        question.answer(&Reader { conn: &conn, clock, snapshot: snapshots.borrow().clone() }, &overdue);
        let _ = conn.progress_handler(LOOK_EVERY, None::<fn() -> bool>);
        let _ = conn.execute_batch("COMMIT");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{Inventory, OpenOptions};

    #[tokio::test]
    async fn a_read_that_takes_too_long_is_broken_off_and_the_next_one_works() {
        let dir = tempfile::tempdir().unwrap();
        let inventory = Inventory::open(OpenOptions::new(dir.path())).unwrap();
        let began = Instant::now();
        let endless = inventory.read(|reader| {
            let sql = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
            one(reader.conn, sql, [], "everything", |row| count(row, 0))
        });
        assert!(matches!(endless.await, Err(ReadError::TooSlow)));
        assert!((READ_LIMIT..3 * READ_LIMIT).contains(&began.elapsed()), "{:?}", began.elapsed());
        for _ in 0..4 {
            assert_eq!(inventory.read(|reader| reader.last_seq()).await.unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn a_reader_cannot_write_and_its_panic_harms_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let inventory = Inventory::open(OpenOptions::new(dir.path())).unwrap();
        let write = inventory.read(|reader| {
            crate::inventory::rows::execute(reader.conn, "DELETE FROM settings", [], "drop", "settings")
        });
        assert!(matches!(write.await, Err(ReadError::Failed(StoreError::Sql { .. }))));
        for _ in 0..4 {
            let panicking = inventory.read(|_| -> Result<(), StoreError> { panic!("a mistake") }).await;
            assert!(matches!(panicking, Err(ReadError::Panicked(_))));
        }
        assert_eq!(inventory.read(|reader| reader.last_seq()).await.unwrap(), 0);
    }
}
