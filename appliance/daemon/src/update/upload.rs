//! A bundle on its way into the store: bounded, and gone again if it does not come whole.

use super::{SIGNED_AT, desk::UpdatesError, medium::Layout};
use rackberry_core::update::LONGEST_HEADER;
use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};
use tokio::sync::OwnedMutexGuard;

/// What it is called until it is whole.
pub const PART: &str = "bundle.part";
/// The store keeps so much for others, in bytes.
const RESERVE: u64 = 16 << 20;

/// An upload under way; dropped before its end, it leaves nothing behind.
#[derive(Debug)]
pub struct Upload {
    file: File,
    path: PathBuf,
    written: u64,
    most: u64,
    finished: bool,
    _turn: OwnedMutexGuard<()>,
}

impl Upload {
    /// Into a folder, which is made if it is missing; nobody else has the turn meanwhile.
    pub(super) fn begin(folder: &Path, turn: OwnedMutexGuard<()>) -> Result<Self, UpdatesError> {
        let path = folder.join(PART);
        fs::create_dir_all(folder).map_err(failed("create", folder))?;
        let file = File::create(&path).map_err(failed("create", &path))?;
        let most = Layout::of_the_card().slot_bytes + SIGNED_AT + LONGEST_HEADER as u64;
        Ok(Upload { file, path, written: 0, most, finished: false, _turn: turn })
    }

    /// Takes the next bytes. Blocks on the disk: call it off the runtime.
    ///
    /// # Errors
    /// [`UpdatesError::TooLarge`], [`UpdatesError::Full`], or what the disk said.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), UpdatesError> {
        self.written += bytes.len() as u64;
        if self.written > self.most {
            return Err(UpdatesError::TooLarge { most: self.most });
        }
        let room = rustix::fs::fstatvfs(&self.file).map_err(|error| failed("write", &self.path)(error.into()))?;
        if room.f_bavail.saturating_mul(room.f_frsize) < RESERVE + bytes.len() as u64 {
            return Err(UpdatesError::Full);
        }
        self.file.write_all(bytes).map_err(|source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => UpdatesError::Full,
            _ => failed("write", &self.path)(source),
        })
    }

    /// Everything came: it is synced and gets its name. How long it is, in bytes.
    pub(super) fn finish(&mut self, bundle: &Path) -> Result<u64, UpdatesError> {
        self.file.sync_all().map_err(failed("write", &self.path))?;
        fs::rename(&self.path, bundle).map_err(failed("rename", &self.path))?;
        self.finished = true;
        Ok(self.written)
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> UpdatesError {
    let path = path.to_owned();
    move |source| UpdatesError::File { doing, path, source }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.finished {
            let _ = fs::remove_file(&self.path);
        }
    }
}
