//! The database file: one daemon at a time, checked before it is believed, brought to our format step by step.

use super::{backup, error::OpenError};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// The database within the state folder.
pub const NAME: &str = "inventory.db";

/// One step per format, oldest first; a step that was released never changes.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_start.sql"),
    include_str!("migrations/0002_api_tokens.sql"),
    include_str!("migrations/0003_leases.sql"),
    include_str!("migrations/0004_pins.sql"),
    include_str!("migrations/0005_live.sql"),
];

/// Before it, a checkpoint could corrupt a database in WAL mode.
const OLDEST_SQLITE: i32 = 3_051_003;

/// Broken files kept for a look.
const KEPT_BROKEN: usize = 2;

/// The setting that stands in a restored database until what it may not know was put right.
pub(super) const RESTORED: &str = "restored";

/// What had to be done to a broken inventory, for people to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// Where the former file is now.
    pub set_aside: PathBuf,
    /// The backup in its place; none if none was sound, so that the inventory begins empty.
    pub restored: Option<PathBuf>,
    /// The former file is sound, but of a later version: this one was gone back to.
    #[serde(default)]
    pub newer: bool,
}

/// The database, ours alone.
#[derive(Debug)]
pub(super) struct Opened {
    pub conn: Connection,
    /// Held as long as the database is open.
    pub lock: StateLock,
    pub path: PathBuf,
    pub recovery: Option<Recovery>,
}

/// Opens the state folder's database; with `restore` that backup takes its place first.
pub(super) fn open(state_dir: &Path, restore: Option<&Path>) -> Result<Opened, OpenError> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(OpenError::OldSqlite { found: rusqlite::version() });
    }
    let path = state_dir.join(NAME);
    let at = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::File { doing, path, source }
    };
    fs::create_dir_all(state_dir).map_err(at("create", state_dir))?;
    let lock = lock(state_dir)?;
    let recovery = if let Some(backup) = restore {
        if !matches!(check(backup)?, Soundness::Sound) {
            let source = io::Error::new(io::ErrorKind::InvalidData, "it is no sound inventory");
            return Err(OpenError::File { doing: "restore", path: backup.to_owned(), source });
        }
        Some(replace(&path, &[backup.to_owned()], false).map_err(at("restore", &path))?)
    } else {
        match lost(&path, state_dir) {
            Ok(false) => None,
            Ok(true) => {
                let backups = backup::newest_first(state_dir);
                let usable: Vec<PathBuf> =
                    backups.into_iter().filter(|backup| matches!(check(backup), Ok(Soundness::Sound))).collect();
                Some(replace(&path, &usable, false).map_err(at("set aside", &path))?)
            }
            // An update was rolled back. What it copied before its first change of format is what this version knows.
            Err(error @ OpenError::NewerSchema { .. }) => {
                let before = backup::before_format(state_dir, known_format());
                if !matches!(check(&before), Ok(Soundness::Sound)) {
                    return Err(error);
                }
                Some(replace(&path, &[before], true).map_err(at("set aside", &path))?)
            }
            Err(error) => return Err(error),
        }
    };
    private_file(&path).map_err(at("create", &path))?;
    let conn = connect(&path, state_dir)?;
    Ok(Opened { conn, lock, path, recovery })
}

/// A further connection that cannot write.
pub(super) fn open_read_only(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(Duration::from_secs(5))?;
    conn.pragma_update(None, "trusted_schema", false)?;
    Ok(conn)
}

/// An empty file that only its owner can read, unless there is one.
pub(super) fn private_file(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Makes renames within `folder` durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The state folder is this process's own; the kernel lets go of it also after kill -9.
#[derive(Debug)]
pub(super) struct StateLock(File);

impl Drop for StateLock {
    fn drop(&mut self) {
        // Closing alone would not do: a process that is being started holds a copy of every descriptor until its exec
        // (flock(2): the lock goes with an unlock on any copy, or with the last copy).
        if let Err(error) = rustix::fs::flock(&self.0, rustix::fs::FlockOperation::Unlock) {
            tracing::warn!(%error, "the lock on the state folder goes only with this process");
        }
    }
}

pub(super) fn lock(state_dir: &Path) -> Result<StateLock, OpenError> {
    let path = state_dir.join("lock");
    let failed = |source| OpenError::File { doing: "lock", path: path.clone(), source };
    let file = private_file(&path).map_err(failed)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(StateLock(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse { state_dir: state_dir.to_owned() }),
        Err(error) => Err(failed(error.into())),
    }
}

fn connect(path: &Path, state_dir: &Path) -> Result<Connection, OpenError> {
    let failed = |source| OpenError::Database { path: path.to_owned(), source };
    let mut conn =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(failed)?;
    let settings = || {
        conn.busy_timeout(Duration::from_secs(5))?;
        conn.pragma_update(None, "trusted_schema", false)?;
        conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        // Bytes of log that stay allocated after a checkpoint.
        conn.query_row("PRAGMA journal_size_limit = 4194304", [], |_| Ok(()))?;
        conn.set_prepared_statement_cache_capacity(64);
        format(&conn)
    };
    let from = settings().map_err(failed)?;
    migrate(&mut conn, path, state_dir, from)?;
    // Only now: a step may have to take tables apart.
    conn.pragma_update(None, "foreign_keys", true).map_err(failed)?;
    Ok(conn)
}

fn format(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn known_format() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

fn migrate(conn: &mut Connection, path: &Path, state_dir: &Path, from: i64) -> Result<(), OpenError> {
    let known = known_format();
    if from > known {
        return Err(OpenError::NewerSchema { path: path.to_owned(), found: from, known });
    }
    if 0 < from && from < known {
        let copy = backup::before_format(state_dir, from);
        backup::copy(path, &copy).map_err(|error| OpenError::File {
            doing: "back up before its format changes",
            path: path.to_owned(),
            source: io::Error::other(error),
        })?;
    }
    for (number, step) in (1..).zip(MIGRATIONS).skip_while(|(number, _)| *number <= from) {
        let apply = |conn: &mut Connection| {
            let step_tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            step_tx.execute_batch(step)?;
            step_tx.pragma_update(None, "user_version", number)?;
            step_tx.commit()
        };
        apply(conn).map_err(|source| OpenError::Migrate { path: path.to_owned(), from: number - 1, source })?;
    }
    Ok(())
}

enum Soundness {
    Sound,
    /// Nothing was ever stored in it.
    Blank,
    Broken,
}

/// Whether the file's content is lost: it is broken, blank beside backups, or was moved away for a copy that never came.
fn lost(path: &Path, state_dir: &Path) -> Result<bool, OpenError> {
    if !path.exists() {
        return Ok(unfinished(path).exists());
    }
    Ok(match check(path)? {
        Soundness::Sound => false,
        Soundness::Blank => !backup::newest_first(state_dir).is_empty(),
        Soundness::Broken => true,
    })
}

fn check(path: &Path) -> Result<Soundness, OpenError> {
    let look = || {
        // Read-write, as a log left behind by a power cut has to be played back.
        let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        conn.busy_timeout(Duration::from_secs(5))?;
        conn.pragma_update(None, "trusted_schema", false)?;
        let found = format(&conn)?;
        let verdict: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        Ok((found, verdict))
    };
    match look() {
        Ok((found, _)) if found > known_format() => {
            Err(OpenError::NewerSchema { path: path.to_owned(), found, known: known_format() })
        }
        Ok((_, verdict)) if verdict != "ok" => Ok(Soundness::Broken),
        Ok((0, _)) => Ok(Soundness::Blank),
        Ok(_) => Ok(Soundness::Sound),
        Err(rusqlite::Error::SqliteFailure(error, _))
            if matches!(error.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) =>
        {
            Ok(Soundness::Broken)
        }
        Err(source) => Err(OpenError::Database { path: path.to_owned(), source }),
    }
}

/// Sets the file aside and puts a copy of the first of `backups` in its place.
///
/// The copy is whole, and marked as [`RESTORED`], before anything is moved, and an [`unfinished`] move is taken up again:
/// no power cut makes the inventory begin empty, or lets a permission to erase that the backup knows live again.
fn replace(path: &Path, backups: &[PathBuf], newer: bool) -> io::Result<Recovery> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let numbered = |number: u32| folder.join(format!("{NAME}.broken-{number}"));
    let beside = |path: &Path, suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
    let taken: Vec<u32> = backup::numbers(folder, &format!("{NAME}.broken-"), "");
    let last = taken.last().copied().unwrap_or(0);
    let present = path.try_exists()?;
    let set_aside = numbered(if present { last.saturating_add(1) } else { last });
    let recovery = Recovery { set_aside, restored: backups.first().cloned(), newer };
    if let Some(backup) = &recovery.restored {
        prepare(&unfinished(path), backup, &recovery)?;
        sync_folder(folder)?;
    }
    if present {
        fs::rename(path, &recovery.set_aside)?;
    }
    let log = beside(path, "-wal");
    if log.try_exists()? {
        fs::rename(log, beside(&recovery.set_aside, "-wal"))?;
    }
    let _ = fs::remove_file(beside(path, "-shm"));
    for old in taken.iter().rev().skip(KEPT_BROKEN - 1) {
        let _ = fs::remove_file(beside(&numbered(*old), "-wal"));
        let _ = fs::remove_file(numbered(*old));
    }
    if recovery.restored.is_some() {
        fs::rename(unfinished(path), path)?;
    }
    sync_folder(folder)?;
    Ok(recovery)
}

/// Copies `backup` to `fresh`, durable and marked.
fn prepare(fresh: &Path, backup: &Path, recovery: &Recovery) -> io::Result<()> {
    match fs::remove_file(fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private_file(fresh)?;
    io::copy(&mut File::open(backup)?, &mut file)?;
    let mark = serde_json::to_string(recovery).map_err(io::Error::other)?;
    let conn = Connection::open(fresh).map_err(io::Error::other)?;
    conn.execute("INSERT OR REPLACE INTO settings (key, json) VALUES (?1, ?2)", (RESTORED, mark))
        .map_err(io::Error::other)?;
    conn.close().map_err(|(_, error)| io::Error::other(error))?;
    file.sync_all()
}

/// The copy of a backup before it takes the database's place.
fn unfinished(path: &Path) -> PathBuf {
    path.with_extension("restoring")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rackberry_core::{dhcp::LeaseRow, time::Timestamp};

    #[test]
    fn leases_of_the_second_format_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        let conn = Connection::open(&path).unwrap();
        for step in &MIGRATIONS[..2] {
            conn.execute_batch(step).unwrap();
        }
        conn.pragma_update(None, "user_version", 2).unwrap();
        let rows = [
            LeaseRow {
                address: "10.77.255.9".parse().unwrap(),
                mac: "52:54:00:ab:cd:0e".parse().unwrap(),
                client_id: None,
                expires: Timestamp(1),
            },
            LeaseRow {
                address: "192.168.0.255".parse().unwrap(),
                mac: "02:00:00:00:00:00".parse().unwrap(),
                client_id: Some(vec![255, 0, 7, 16]),
                expires: Timestamp(u64::MAX / 4),
            },
        ];
        for row in &rows {
            let json = serde_json::to_string(row).unwrap();
            conn.execute("INSERT INTO leases VALUES (?1, ?2)", (row.address.to_string(), json)).unwrap();
        }
        drop(conn);
        let opened = open(dir.path(), None).unwrap();
        assert_eq!(super::super::leases::leases(&opened.conn).unwrap(), rows);
    }

    #[test]
    fn a_process_that_is_just_being_started_does_not_keep_the_folder_locked() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        // What a fork has until it runs its program: another descriptor of the same open file.
        let _inherited = held.0.try_clone().unwrap();
        assert!(matches!(lock(dir.path()), Err(OpenError::InUse { .. })));
        drop(held);
        lock(dir.path()).unwrap();
    }
}
