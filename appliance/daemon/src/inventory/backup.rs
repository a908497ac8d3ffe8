//! Copies of the database, made while it runs: three in turn, and one before each change of format.

use super::{
    error::BackupError,
    file::{open_read_only, private_file, sync_folder},
};
use rusqlite::Connection;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Backups kept.
pub const KEPT: usize = 3;

const PREFIX: &str = "inventory-";
const SUFFIX: &str = ".db";

fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("backups")
}

/// Where a copy goes before format `from` is left.
pub(super) fn before_format(state_dir: &Path, from: i64) -> PathBuf {
    folder(state_dir).join(format!("before-format-{}.db", from.saturating_add(1)))
}

/// The backups in turn, the newest first.
pub(super) fn newest_first(state_dir: &Path) -> Vec<PathBuf> {
    let folder = folder(state_dir);
    numbers(&folder, PREFIX, SUFFIX).into_iter().rev().map(|number| numbered(&folder, number)).collect()
}

fn numbered(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{PREFIX}{number:06}{SUFFIX}"))
}

/// The numbers in names of that form, ascending; none if the folder cannot be read.
pub(super) fn numbers(folder: &Path, prefix: &str, suffix: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut numbers: Vec<u32> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix(prefix)?.strip_suffix(suffix)?.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers
}

/// Makes the next backup and lets the oldest go.
pub(super) fn rotate(database: &Path, state_dir: &Path) -> Result<PathBuf, BackupError> {
    let folder = folder(state_dir);
    let present = numbers(&folder, PREFIX, SUFFIX);
    let path = numbered(&folder, present.last().map_or(1, |last| last.saturating_add(1)));
    copy(database, &path)?;
    for old in present.iter().rev().skip(KEPT - 1) {
        let old = numbered(&folder, *old);
        fs::remove_file(&old).map_err(|source| BackupError::File { doing: "remove", path: old, source })?;
    }
    Ok(path)
}

/// Copies a database as it stands at one moment; whoever looks at `path` sees the whole copy or none.
pub(super) fn copy(database: &Path, path: &Path) -> Result<(), BackupError> {
    let file = |doing: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| BackupError::File { doing, path, source }
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(file("create", folder))?;
    let part = PathBuf::from(format!("{}.part", path.display()));
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file("remove", &part)(error)),
        _ => {}
    }
    private_file(&part).map_err(file("create", &part))?;
    let fill = || {
        let source = open_read_only(database)?;
        let mut target = Connection::open(&part)?;
        {
            // All pages in one step: one moment's content, and nothing that a writer could make it begin again.
            let backup = rusqlite::backup::Backup::new(&source, &mut target)?;
            backup.step(-1)?;
        }
        // A file that stands by itself, without a log beside it.
        target.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
        target.close().map_err(|(_, error)| error)
    };
    fill().map_err(|source| BackupError::Database { path: path.to_owned(), source })?;
    fs::File::open(&part).and_then(|part| part.sync_all()).map_err(file("sync", &part))?;
    fs::rename(&part, path).map_err(file("rename", &part))?;
    sync_folder(folder).map_err(file("sync", folder))
}
