//! Back to as it was flashed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The file in the state folder that asks for it: a button does that is held.
pub const RESET_REQUEST: &str = "factory-reset-requested";

/// What holds secrets, and so goes first.
const SECRETS: [&str; 6] = ["inventory.db", "inventory.db-wal", "inventory.db-shm", "backups", "ssh", "tls"];

/// Empties the folders, secrets first; what asked for it stays, so that a power cut repeats it.
///
/// # Errors
/// What could not be removed.
pub fn wipe(folders: &[PathBuf]) -> Result<(), (PathBuf, io::Error)> {
    for folder in folders {
        for secret in SECRETS {
            let path = folder.join(secret);
            remove(&path).map_err(|error| (path, error))?;
        }
    }
    for folder in folders {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(|error| (folder.clone(), error))?,
        };
        for entry in entries {
            let entry = entry.map_err(|error| (folder.clone(), error))?;
            // ext4's own folder is no state.
            if entry.file_name() != RESET_REQUEST && entry.file_name() != "lost+found" {
                remove(&entry.path()).map_err(|error| (entry.path(), error))?;
            }
        }
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| (folder.clone(), error))?;
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    let gone = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    gone.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}
