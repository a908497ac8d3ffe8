//! What the box knows and must not forget: hosts, installs, history, leases, people. SQL never leaves this folder.
//!
//! One thread owns the database. Closures queue for it ([`Inventory::transact`]); those that wait together share one
//! commit and one fsync. The order is always: commit, publish the [`Snapshot`], answer. Everyone else reads snapshots,
//! or asks two read-only connections for history ([`Inventory::read`]).
//!
//! | module | one sentence |
//! |---|---|
//! | `file`, `backup` | the database file: lock, format, check, recovery, copies |
//! | `writer`, `reader` | the threads |
//! | `tx` | a step of a transaction; its verbs lie with their nouns: `hosts`, `installs`, `timeline`, `tokens`, ... |
//! | `identity` | whom a request means |
//! | `snapshot`, `telemetry`, `presence` | what is published, and what of it may be lost |
//! | `clock`, `ids` | time that only grows, and ids made from it |

mod accounts;
mod api_tokens;
mod backup;
mod clock;
mod error;
mod file;
mod hosts;
mod identity;
mod ids;
mod images;
mod installs;
mod leases;
mod live;
mod load;
mod presence;
mod reader;
mod rows;
mod snapshot;
mod telemetry;
mod timeline;
mod tokens;
mod tx;
mod writer;

pub use accounts::{SESSIONS, Session, User};
pub use api_tokens::{API_TOKENS, ApiToken, USED_EVERY};
pub use backup::KEPT as BACKUPS_KEPT;
pub use clock::{BoxClock, Clock, SystemClock};
pub use error::{ApplyError, BackupError, OpenError, ReadError, StoreError, TransactError};
pub use file::{NAME as DATABASE, Recovery};
pub use hosts::{DEFAULT_MAX_AUTOMATIC_HOSTS, Enrolment, MAX_AUTOMATIC_HOSTS, MAX_MACS};
pub use identity::{Identified, Identity};
pub use presence::RamStay;
pub use reader::{EventFilter, READ_LIMIT, Reader, StoredEvent};
pub use snapshot::{Alarm, HostEntry, LOG_LINES, Ladder, Live, Snapshot};
pub use telemetry::Telemetry;
pub use timeline::BootTrace;
pub use tokens::{BOOT_TOKENS, Grant, REPEAT_TTL, Token, TokenPurpose, UNUSED_TTL};
pub use tx::Tx;
pub use writer::DISK;

use rackberry_core::{
    agent::Progress,
    event::TaskName,
    id::InstallId,
    time::{Timestamp, WallTime},
};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};
use telemetry::Mailbox;
use tokio::sync::{mpsc, oneshot, watch};
use writer::Message;

/// Closures that may wait for the database; more callers wait for a place.
const QUEUE: usize = 1024;
/// Read-only connections.
const READERS: usize = 2;

/// How an inventory is opened.
#[derive(Clone)]
pub struct OpenOptions {
    /// Created if missing.
    pub state_dir: PathBuf,
    pub clock: Arc<dyn Clock>,
    /// A backup that takes the database's place; the former one is set aside.
    pub restore: Option<PathBuf>,
}

impl OpenOptions {
    /// Opens what is in `state_dir`, by the kernel's clock.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        OpenOptions { state_dir: state_dir.into(), clock: Arc::new(SystemClock), restore: None }
    }
}

/// The inventory; clones are handles to the same one.
#[derive(Clone)]
pub struct Inventory {
    shared: Arc<Shared>,
}

struct Shared {
    steps: mpsc::Sender<Message>,
    questions: mpsc::Sender<Box<dyn reader::Question>>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    mailbox: Arc<Mailbox>,
    clock: BoxClock,
    path: PathBuf,
    recovery: Option<Recovery>,
    commits: Arc<AtomicU64>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Inventory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inventory").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

impl Inventory {
    /// Fails if another daemon has this state folder open; for a clear word before anything else is tried.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn ensure_free(state_dir: &Path) -> Result<(), OpenError> {
        file::lock(state_dir).map(drop)
    }

    /// Opens the inventory of a state folder, which belongs to this process until [`close`](Self::close).
    ///
    /// # Errors
    /// [`OpenError`]; a broken file is no error if it could be set aside, see [`recovery`](Self::recovery).
    pub fn open(options: OpenOptions) -> Result<Self, OpenError> {
        let OpenOptions { state_dir, clock, restore } = options;
        let opened = file::open(&state_dir, restore.as_deref())?;
        let path = opened.path.clone();
        let mailbox = Arc::new(Mailbox::default());
        let commits = Arc::new(AtomicU64::new(0));
        let (writer, recovery) = load::writer(opened, state_dir, clock, mailbox.clone(), commits.clone())?;
        let (clock, snapshots) = (writer.clock.clone(), writer.publish.subscribe());

        let (questions, waiting) = mpsc::channel(QUEUE);
        let waiting = Arc::new(Mutex::new(waiting));
        for number in 1..=READERS {
            let conn = reader::connect(&path).map_err(|source| OpenError::Database { path: path.clone(), source })?;
            let (clock, snapshots, waiting) = (clock.clone(), snapshots.clone(), waiting.clone());
            std::thread::Builder::new()
                .name(format!("inventory-read-{number}"))
                .spawn(move || reader::run(conn, &clock, &snapshots, &waiting))
                .map_err(OpenError::Thread)?;
        }

        let (steps, messages) = mpsc::channel(QUEUE);
        // A runtime for its timers alone; closures run outside of it.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(OpenError::Thread)?;
        let thread = std::thread::Builder::new()
            .name("inventory".to_owned())
            .spawn(move || writer.run(&runtime, messages))
            .map_err(OpenError::Thread)?;
        let writer = Mutex::new(Some(thread));
        let shared = Shared { steps, questions, snapshots, mailbox, clock, path, recovery, commits, writer };
        Ok(Inventory { shared: Arc::new(shared) })
    }

    /// Runs `step` on the database's thread and returns when what it did is on the disk and in the snapshot.
    ///
    /// If it returns an error or panics, nothing of it stays.
    ///
    /// # Errors
    /// [`TransactError`].
    pub async fn transact<T, E, F>(&self, step: F) -> Result<T, TransactError<E>>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let closure = writer::Closure { closure: Some(step), outcome: None, reply };
        self.shared.steps.send(Message::Step(Box::new(closure))).await.map_err(|_| TransactError::Closed)?;
        answer.await.unwrap_or(Err(TransactError::Closed))
    }

    /// Runs `question` on a read-only connection, for at most [`READ_LIMIT`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read<T, E, F>(&self, question: F) -> Result<T, ReadError<E>>
    where
        F: FnOnce(&Reader<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let closure = reader::Closure { closure: question, reply };
        self.shared.questions.send(Box::new(closure)).await.map_err(|_| ReadError::Closed)?;
        answer.await.unwrap_or(Err(ReadError::Closed))
    }

    /// Follows the snapshots.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.shared.snapshots.clone()
    }

    /// The latest snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshots.borrow().clone()
    }

    /// Takes in news that may be lost; never waits for the disk.
    pub fn telemetry(&self, news: Telemetry) {
        self.shared.mailbox.put(news);
    }

    /// Takes in how far a task got; telemetry.
    pub fn progress(&self, install: InstallId, task: TaskName, progress: Progress) {
        self.telemetry(Telemetry::Progress { install, task, progress });
    }

    /// Now, for every decision.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// What the system clock says, for display only.
    #[must_use]
    pub fn wall(&self) -> WallTime {
        self.shared.clock.wall()
    }

    /// The box's clock.
    #[must_use]
    pub fn clock(&self) -> &BoxClock {
        &self.shared.clock
    }

    /// What had to be done to a broken inventory when it was opened; an alarm says it too.
    #[must_use]
    pub fn recovery(&self) -> Option<&Recovery> {
        self.shared.recovery.as_ref()
    }

    /// Commits since it was opened that wrote something: each cost one fsync.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.shared.commits.load(Ordering::Relaxed)
    }

    /// Copies the database to `path` while it runs.
    ///
    /// # Errors
    /// [`BackupError`].
    pub async fn backup(&self, path: impl Into<PathBuf>) -> Result<(), BackupError> {
        let (database, path) = (self.shared.path.clone(), path.into());
        let target = path.clone();
        tokio::task::spawn_blocking(move || backup::copy(&database, &target)).await.unwrap_or_else(|error| {
            Err(BackupError::File { doing: "write", path, source: std::io::Error::other(error) })
        })
    }

    /// Finishes what waits, writes telemetry, folds the log in and lets the state folder go; later calls fail as closed.
    pub async fn close(&self) {
        let (done, finished) = oneshot::channel();
        if self.shared.steps.send(Message::Stop(done)).await.is_ok() {
            let _ = finished.await;
        }
        let thread = self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It has said that it is done; what remains is its last instruction.
            let _ = thread.join();
        }
    }
}
