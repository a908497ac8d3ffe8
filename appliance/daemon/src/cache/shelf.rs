//! What is kept on disk: `<key>` with the bytes, `<key>.json` with what is known of them, `<key>.part` while they come in. What
//! nobody asked for longest goes first, when the cache is full or the disk is.

use super::{Facts, Kept};
use crate::media::HeldFile;
use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};
use tokio::sync::watch;

/// Bytes of the disk that stay free for the box's own state.
const RESERVE: u64 = 64 << 20;

#[derive(Debug, Clone)]
struct Entry {
    facts: Facts,
    /// Grows with each use.
    used: u64,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<String, Entry>,
    clock: u64,
    bytes: u64,
}

/// The folder and what lies in it; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    folder: Arc<PathBuf>,
    most: u64,
    table: Arc<watch::Sender<Table>>,
}

/// A file that is not whole yet; dropped, it is gone.
#[derive(Debug)]
pub(super) struct Partial {
    pub file: File,
    path: PathBuf,
    kept: bool,
    /// When it was asked for, by the table's count.
    used: u64,
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Shelf {
    /// Reads what a run before left; whatever is not whole goes.
    pub fn open(folder: &Path, most: u64, on: bool) -> Self {
        let mut found: Vec<(SystemTime, String, Facts)> = Vec::new();
        if on && let Err(error) = fs::create_dir_all(folder) {
            tracing::warn!(%error, folder = %folder.display(), "packages cannot be kept");
        }
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(key) = name.strip_suffix(".json") {
                let facts = fs::read(&path).ok().and_then(|json| serde_json::from_slice::<Facts>(&json).ok());
                let data = fs::metadata(folder.join(key));
                match (facts, data) {
                    (Some(facts), Ok(data)) if data.len() == facts.len => {
                        found.push((data.modified().unwrap_or(SystemTime::UNIX_EPOCH), key.to_owned(), facts));
                    }
                    _ => drop((fs::remove_file(&path), fs::remove_file(folder.join(key)))),
                }
            } else if name.ends_with(".part") || !folder.join(format!("{name}.json")).exists() {
                let _ = fs::remove_file(&path);
            }
        }
        found.sort_by_key(|(modified, ..)| *modified);
        let mut table = Table::default();
        for (_, key, facts) in found {
            table.clock += 1;
            table.bytes += facts.len;
            table.entries.insert(key, Entry { facts, used: table.clock });
        }
        Shelf { folder: Arc::new(folder.to_owned()), most, table: Arc::new(watch::Sender::new(table)) }
    }

    /// A kept file, opened.
    pub async fn get(&self, key: &str) -> Option<Kept> {
        let mut facts = None;
        self.table.send_if_modified(|table| {
            table.clock += 1;
            let clock = table.clock;
            if let Some(entry) = table.entries.get_mut(key) {
                entry.used = clock;
                facts = Some(entry.facts.clone());
            }
            false
        });
        let facts = facts?;
        let path = self.folder.join(key);
        let opened = tokio::task::spawn_blocking(move || {
            let file = File::open(path)?;
            // So that a run after this one knows what was used last.
            let _ = file.set_modified(SystemTime::now());
            Ok::<_, io::Error>(HeldFile::from(file))
        });
        let file = opened.await.ok()?.ok()?;
        let whole = file.metadata().is_ok_and(|known| known.len() == facts.len);
        whole.then(|| Kept { facts, file: Arc::new(file) })
    }

    /// Whether a file of this size fits beside nothing else, and so much of it on the disk now.
    pub fn room_for(&self, got: u64, len: Option<u64>) -> bool {
        let free = rustix::fs::statvfs(self.folder.as_path()).map_or(0, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
        let rest = len.map_or(1 << 20, |len| len.saturating_sub(got));
        got.max(len.unwrap_or(0)) <= self.most && free > RESERVE.saturating_add(rest)
    }

    /// A place for a file, after others made room; `None` if there is none.
    pub async fn begin(&self, key: &str, len: Option<u64>) -> io::Result<Option<(Partial, File)>> {
        let shelf = self.clone();
        let path = self.folder.join(format!("{key}.part"));
        let begun = tokio::task::spawn_blocking(move || {
            let wanted = len.unwrap_or(0);
            if wanted > shelf.most {
                return Ok(None);
            }
            while shelf.table.borrow().bytes.saturating_add(wanted) > shelf.most || !shelf.room_for(0, len) {
                if !shelf.drop_oldest() {
                    break;
                }
            }
            if !shelf.room_for(0, len) {
                return Ok(None);
            }
            let file = File::options().create(true).truncate(true).write(true).open(&path)?;
            let mut used = 0;
            shelf.table.send_modify(|table| {
                table.clock += 1;
                used = table.clock;
            });
            let partial = Partial { file, path: path.clone(), kept: false, used };
            File::open(&path).map(|reader| Some((partial, reader)))
        });
        begun.await.map_err(io::Error::other)?
    }

    /// Gives a whole file its name.
    pub async fn keep(&self, key: &str, partial: Partial, facts: Facts) -> io::Result<()> {
        let shelf = self.clone();
        let key = key.to_owned();
        let kept = tokio::task::spawn_blocking(move || {
            // The whole of it comes along, with what it does when it is dropped.
            let mut partial = partial;
            let target = shelf.folder.join(&key);
            let about = shelf.folder.join(format!("{key}.json"));
            // Without facts a file counts as none: they go first and come last.
            shelf.forget(&key);
            let _ = fs::remove_file(&about);
            partial.file.sync_data()?;
            fs::rename(&partial.path, &target)?;
            partial.kept = true;
            let fresh = shelf.folder.join(format!("{key}.json.part"));
            fs::write(&fresh, serde_json::to_vec(&facts).map_err(io::Error::other)?)?;
            fs::rename(&fresh, &about)?;
            // However long the disk took: what others asked for meanwhile was used later.
            shelf.table.send_modify(|table| {
                table.bytes += facts.len;
                table.entries.insert(key, Entry { used: partial.used, facts });
            });
            while shelf.table.borrow().bytes > shelf.most && shelf.drop_oldest() {}
            Ok(())
        });
        kept.await.map_err(io::Error::other)?
    }

    fn forget(&self, key: &str) {
        self.table.send_modify(|table| {
            if let Some(entry) = table.entries.remove(key) {
                table.bytes = table.bytes.saturating_sub(entry.facts.len);
            }
        });
    }

    /// Lets go what nobody asked for longest; whether there was anything.
    fn drop_oldest(&self) -> bool {
        let oldest = {
            let table = self.table.borrow();
            table.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone())
        };
        let Some(key) = oldest else { return false };
        self.forget(&key);
        let _ = fs::remove_file(self.folder.join(format!("{key}.json")));
        let _ = fs::remove_file(self.folder.join(&key));
        true
    }
}
