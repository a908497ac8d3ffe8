//! The thread that owns the database: takes what waits, one savepoint each, one commit and one fsync for all; then the
//! snapshot; then the answers.

use super::{
    backup,
    clock::BoxClock,
    error::{self, StoreError, TransactError, panic_text},
    file::StateLock,
    ids::IdMaker,
    rows::{execute, millis},
    snapshot::Snapshot,
    telemetry::{self, Mailbox, Telemetry},
    tx::Tx,
};
use imbl::OrdSet;
use rackberry_core::{id::HostId, text::CleanText, time::Timestamp};
use rusqlite::Connection;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

/// Closures that share a commit at most.
const BATCH: usize = 256;
/// Between two snapshots that carry nothing but telemetry.
const TELEMETRY_EVERY: Duration = Duration::from_millis(250);
/// Between two writes of telemetry.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(60);
/// Between two writes of the clock alone: a card is not worn out by a box that does nothing, and after a power cut time stands
/// still for as long as it had not been written.
const CLOCK_EVERY: Duration = Duration::from_secs(600);
const BACKUP_EVERY: Duration = Duration::from_secs(24 * 3600);
/// A start this soon after the last backup makes none, so that a daemon that starts over and over keeps older ones.
const BACKUP_AT_START_AFTER: Duration = Duration::from_secs(3600);
/// Lines of history kept; the oldest go.
const EVENTS_KEPT: i64 = 200_000;

/// The alarm that tells of a disk that takes nothing.
pub const DISK: &str = "card-write";

/// What the thread is asked for.
pub(super) enum Message {
    Step(Box<dyn Step>),
    Stop(oneshot::Sender<()>),
}

/// A closure that waits for its turn.
pub(super) trait Step: Send {
    /// Runs it; whether what it did stays.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
    /// Tells its caller, after the commit.
    fn answer(self: Box<Self>, commit: Result<(), Arc<StoreError>>);
}

/// A closure with the types of its result.
pub(super) struct Closure<F, T, E> {
    pub closure: Option<F>,
    pub outcome: Option<Result<T, TransactError<E>>>,
    pub reply: oneshot::Sender<Result<T, TransactError<E>>>,
}

impl<F, T, E> Step for Closure<F, T, E>
where
    F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        let Some(closure) = self.closure.take() else { return false };
        // What a panicking closure leaves half done is in the savepoint and the snapshot to be; both are thrown away.
        let outcome = match catch_unwind(AssertUnwindSafe(|| closure(tx))) {
            Ok(result) => result.map_err(TransactError::Failed),
            Err(payload) => Err(TransactError::Panicked(panic_text(payload.as_ref()))),
        };
        let keep = outcome.is_ok();
        self.outcome = Some(outcome);
        keep
    }

    fn answer(self: Box<Self>, commit: Result<(), Arc<StoreError>>) {
        let answer = match (commit, self.outcome) {
            (Err(error), None | Some(Ok(_))) => Err(TransactError::Commit(error)),
            (_, Some(outcome)) => outcome,
            (Ok(()), None) => Err(TransactError::Closed),
        };
        // A caller that went away does not want to know.
        let _ = self.reply.send(answer);
    }
}

/// The thread's state.
pub(super) struct Writer {
    pub conn: Connection,
    /// Let go of last, so that the next daemon finds the database closed.
    pub lock: StateLock,
    pub path: PathBuf,
    pub state_dir: PathBuf,
    pub state: Snapshot,
    pub clock: BoxClock,
    pub ids: IdMaker,
    pub publish: watch::Sender<Arc<Snapshot>>,
    pub mailbox: Arc<Mailbox>,
    pub commits: Arc<AtomicU64>,
    pub backup_at: Option<Timestamp>,
    pub backup: Option<JoinHandle<()>>,
    /// Hosts whose telemetry is ahead of the disk.
    pub unsaved: OrdSet<HostId>,
    /// The snapshot misses telemetry.
    pub stale: bool,
    pub published: Instant,
    pub clock_stored: Instant,
    /// The disk took nothing when it was last asked to.
    pub failing: bool,
}

impl Writer {
    /// Runs until asked to stop, or until every handle is gone.
    pub fn run(mut self, runtime: &tokio::runtime::Runtime, mut messages: mpsc::Receiver<Message>) {
        self.back_up_if_due(BACKUP_AT_START_AFTER);
        let mut housekeeping = Instant::now() + HOUSEKEEPING_EVERY;
        let stop = loop {
            match runtime.block_on(self.wait(&mut messages, housekeeping)) {
                Wake::Message(Some(Message::Step(first))) => {
                    let mut steps = vec![first];
                    let mut stop = None;
                    while steps.len() < BATCH && stop.is_none() {
                        match messages.try_recv() {
                            Ok(Message::Step(step)) => steps.push(step),
                            Ok(Message::Stop(done)) => stop = Some(done),
                            Err(_) => break,
                        }
                    }
                    self.commit(steps);
                    if stop.is_some() {
                        break stop;
                    }
                }
                Wake::Message(Some(Message::Stop(done))) => break Some(done),
                Wake::Message(None) => break None,
                Wake::News => self.stale = true,
                Wake::Time => {}
            }
            let now = Instant::now();
            if self.stale && now >= self.published + TELEMETRY_EVERY {
                self.publish();
            }
            if now >= housekeeping {
                housekeeping = now + HOUSEKEEPING_EVERY;
                self.keep_house(false);
                self.back_up_if_due(BACKUP_EVERY);
            }
        };
        messages.close();
        self.finish();
        if let Some(done) = stop {
            let _ = done.send(());
        }
    }

    async fn wait(&self, messages: &mut mpsc::Receiver<Message>, housekeeping: Instant) -> Wake {
        let due = if self.stale { housekeeping.min(self.published + TELEMETRY_EVERY) } else { housekeeping };
        tokio::select! {
            message = messages.recv() => Wake::Message(message),
            () = self.mailbox.news.notified(), if !self.stale => Wake::News,
            () = tokio::time::sleep_until(due) => Wake::Time,
        }
    }

    /// Runs steps in one transaction.
    pub fn commit(&mut self, mut steps: Vec<Box<dyn Step>>) {
        let before = self.state.clone();
        let unsaved = self.unsaved.clone();
        let result = self.transaction(|writer| {
            let mut changed = false;
            for step in &mut steps {
                changed |= writer.step(step.as_mut())?;
            }
            Ok(changed)
        });
        match result {
            Ok(changed) => {
                if changed {
                    self.publish();
                }
                steps.into_iter().for_each(|step| step.answer(Ok(())));
            }
            Err(error) => {
                self.state = before;
                self.unsaved = unsaved;
                let error = Arc::new(error);
                steps.into_iter().for_each(|step| step.answer(Err(error.clone())));
            }
        }
    }

    /// One step in its own savepoint; whether readers should learn of it at once.
    fn step(&mut self, step: &mut dyn Step) -> Result<bool, StoreError> {
        self.sql("SAVEPOINT step")?;
        let mut tx = Tx {
            conn: &self.conn,
            state: self.state.clone(),
            clock: &self.clock,
            ids: &mut self.ids,
            changed: false,
            unsaved: self.unsaved.clone(),
            stale: false,
        };
        let keep = step.run(&mut tx);
        let trouble = if keep { None } else { last_error(tx.conn) };
        let Tx { state, changed, unsaved, stale, .. } = tx;
        if keep {
            self.state = state;
            self.stale |= stale;
            self.unsaved = unsaved;
            self.sql("RELEASE step")?;
            Ok(changed)
        } else {
            if trouble.is_some() {
                self.fares(trouble);
            }
            // Where SQLite already rolled everything back (disk full, I/O error) this fails, and with it the commit.
            self.sql("ROLLBACK TO step")?;
            self.sql("RELEASE step")?;
            Ok(false)
        }
    }

    /// Runs `work` in a transaction that also stores the clock, if anything was written.
    fn transaction<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.sql("BEGIN IMMEDIATE")?;
        let before = self.conn.total_changes();
        let result = work(self).and_then(|value| {
            let wrote = self.conn.total_changes() != before;
            if wrote {
                self.store_clock()?;
            }
            self.sql("COMMIT")?;
            self.commits.fetch_add(u64::from(wrote), Ordering::Relaxed);
            Ok((value, wrote))
        });
        match &result {
            Ok((_, false)) => {}
            Ok((_, true)) => self.fares(None),
            Err(error) => self.fares(error.disk()),
        }
        let result = result.map(|(value, _)| value);
        if result.is_err() && !self.conn.is_autocommit() {
            // The error of interest is the one that led here.
            let _ = self.sql("ROLLBACK");
        }
        result
    }

    /// Says on the page what the disk does not take any more, or that it takes writes again.
    fn fares(&mut self, trouble: Option<&'static str>) {
        if trouble.is_some() || self.failing {
            self.failing = trouble.is_some();
            self.mailbox.put(Telemetry::Condition { key: DISK, text: trouble.map(CleanText::new) });
        }
    }

    fn store_clock(&mut self) -> Result<(), StoreError> {
        let reading = self.clock.reading();
        let boottime = i64::try_from(reading.boottime.as_millis()).unwrap_or(i64::MAX);
        let row = (reading.boot, boottime, millis(reading.now), self.backup_at.map(millis));
        let sql = "UPDATE box SET boot = ?1, boottime = ?2, now = ?3, backup_at = ?4";
        execute(&self.conn, sql, row, "store", "the clock").map(drop)?;
        self.clock_stored = Instant::now();
        Ok(())
    }

    fn sql(&self, sql: &'static str) -> Result<(), StoreError> {
        execute(&self.conn, sql, [], "run", sql).map(drop)
    }

    fn publish(&mut self) {
        let now = self.clock.now();
        let touched = self.mailbox.drain(&mut self.state, now, self.clock.wall());
        self.unsaved.extend(touched);
        self.state.version += 1;
        self.state.now = now;
        self.publish.send_replace(Arc::new(self.state.clone()));
        self.stale = false;
        self.published = Instant::now();
    }

    /// Writes telemetry and clock, and lets go of what is over.
    fn keep_house(&mut self, at_end: bool) {
        let clock = at_end || self.failing || self.clock_stored.elapsed() >= CLOCK_EVERY;
        let result = self.transaction(|writer| {
            for host in &writer.unsaved {
                telemetry::save(&writer.conn, &writer.state, *host)?;
            }
            let now = millis(writer.clock.now());
            let conn = &writer.conn;
            execute(conn, "DELETE FROM tokens WHERE expires <= ?1", [now], "drop", "expired tokens")?;
            execute(conn, "DELETE FROM sessions WHERE expires <= ?1", [now], "end", "expired sessions")?;
            let sql = "DELETE FROM events WHERE seq <= (SELECT max(seq) FROM events) - ?1";
            execute(conn, sql, [EVENTS_KEPT], "drop", "the oldest events")?;
            if clock { writer.store_clock() } else { Ok(()) }
        });
        match result {
            Ok(()) => self.unsaved = OrdSet::new(),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "telemetry is not stored"),
        }
    }

    fn back_up_if_due(&mut self, after: Duration) {
        let now = self.clock.now();
        let due = self.backup_at.is_none_or(|last| now.since(last) >= after);
        if !due || self.backup.as_ref().is_some_and(|running| !running.is_finished()) {
            return;
        }
        let (path, state_dir) = (self.path.clone(), self.state_dir.clone());
        // Apart from this thread: copying a large database to an SD card takes seconds.
        let thread = std::thread::Builder::new().name("inventory-backup".to_owned()).spawn(move || {
            if let Err(error) = backup::rotate(&path, &state_dir) {
                tracing::warn!(error = &error as &dyn std::error::Error, "the inventory is not backed up");
            }
        });
        match thread {
            Ok(thread) => {
                self.backup = Some(thread);
                self.backup_at = Some(now);
            }
            Err(error) => tracing::warn!(%error, "cannot start the thread that backs up the inventory"),
        }
    }

    fn finish(mut self) {
        self.publish();
        self.keep_house(true);
        if let Some(backup) = self.backup.take() {
            let _ = backup.join();
        }
        if let Err(error) = self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            tracing::warn!(%error, "the inventory's log is not folded in; the next start does it");
        }
        drop(self.conn);
        drop(self.lock);
    }
}

/// What the disk had to do with the statement that failed last.
fn last_error(conn: &Connection) -> Option<&'static str> {
    // SAFETY: the handle belongs to this open connection, which nobody else uses meanwhile; the call only reads from it.
    let code = unsafe { rusqlite::ffi::sqlite3_extended_errcode(conn.handle()) };
    error::disk(rusqlite::ffi::Error::new(code).code)
}

enum Wake {
    Message(Option<Message>),
    News,
    Time,
}

#[cfg(test)]
mod tests {
    use crate::inventory::{Inventory, OpenOptions, StoreError, TransactError};

    #[tokio::test]
    async fn when_sqlite_gives_up_the_transaction_every_step_of_it_fails_and_the_next_one_works() {
        let dir = tempfile::tempdir().unwrap();
        let inventory = Inventory::open(OpenOptions::new(dir.path())).unwrap();
        let before = inventory.snapshot();
        let first = inventory.transact(|tx| tx.set_setting("a", &1));
        // As SQLite does by itself when the disk is full or fails.
        let second = inventory.transact(|tx| {
            tx.conn.execute_batch("ROLLBACK").unwrap();
            Ok::<_, StoreError>(())
        });
        let (first, second) = tokio::join!(first, second);
        assert!(matches!(second, Err(TransactError::Commit(_))));
        let stored = inventory.transact(|tx| tx.setting::<u32>("a")).await.unwrap();
        assert_eq!(stored.is_some(), first.is_ok());
        assert!(inventory.snapshot().version <= before.version + 1);
        inventory.transact(|tx| tx.set_setting("b", &2)).await.unwrap();
    }

    #[tokio::test]
    async fn a_full_disk_fails_the_step_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let inventory = Inventory::open(OpenOptions::new(dir.path())).unwrap();
        let full = inventory.transact(|tx| {
            tx.conn.query_row("PRAGMA max_page_count = 1", [], |_| Ok(())).unwrap();
            tx.set_setting("large", &"x".repeat(100_000))
        });
        let error = full.await.unwrap_err();
        assert!(matches!(error, TransactError::Failed(StoreError::Sql { .. }) | TransactError::Commit(_)), "{error}");
        let room = inventory.transact(|tx| {
            tx.conn.query_row("PRAGMA max_page_count = 1000000", [], |_| Ok(())).unwrap();
            assert_eq!(tx.setting::<String>("large")?, None);
            tx.set_setting("large", &"x".repeat(100_000))
        });
        room.await.unwrap();
    }
}
