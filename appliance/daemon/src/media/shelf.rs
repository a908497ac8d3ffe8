//! Files that were opened a moment ago stay open for a moment: whoever asks for one again waits for no disk and no other thread.
//!
//! What lies here is used for a second after its path was looked up, and only while the file is still the one that was opened:
//! the kernel tells from memory whether an open file was changed, removed, or replaced by another of its name. Then, and after that
//! second, the path is opened anew. What a path means otherwise, for example once a folder above it was renamed, shows within that second.

use super::{Blob, Opened};
use rackberry_core::boot::path::FileRef;
use rustix::fs::{AtFlags, StatxFlags, statx};
use std::{
    collections::HashMap,
    fs::{File, Metadata},
    io::{self, IoSliceMut},
    os::unix::fs::FileExt,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, sync::watch};

/// How long a path is taken to mean what it meant.
const FRESH: Duration = Duration::from_secs(1);
/// Files at once; beyond, the one looked up first goes.
const MOST: usize = 256;
/// Files up to this size lie here with their content: 4 MiB in all at most.
const WITH_CONTENT: u64 = 16 << 10;

/// An open file that is read by position, and closed off the runtime: closing the last copy of one that was removed frees its
/// blocks, which can take a card long.
#[derive(Debug)]
pub struct HeldFile {
    /// None only while it is dropped.
    file: Option<File>,
    /// What it was like before anything else was asked of it.
    first: Option<Facts>,
}

impl From<File> for HeldFile {
    fn from(file: File) -> Self {
        let mut held = HeldFile { file: Some(file), first: None };
        held.first = held.facts().ok();
        held
    }
}

impl Drop for HeldFile {
    fn drop(&mut self) {
        let file = self.file.take();
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn_blocking(move || drop(file));
        }
    }
}

impl HeldFile {
    fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Kind, size and times.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.file()?.metadata()
    }

    /// Another descriptor of the same file.
    ///
    /// # Errors
    /// If the process has too many.
    pub fn try_clone(&self) -> io::Result<File> {
        self.file()?.try_clone()
    }

    /// Reads what the kernel has in memory from `at` on, waiting for no disk; how much that was.
    ///
    /// # Errors
    /// If nothing of it is in memory, or the disk fails.
    pub fn read_from_memory(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let parts = &mut [IoSliceMut::new(buffer)];
        Ok(rustix::io::preadv2(self.file()?, parts, at, rustix::io::ReadWriteFlags::NOWAIT)?)
    }

    /// Fills the buffer from `at` on, and waits for the disk.
    ///
    /// # Errors
    /// If the disk fails or the file is shorter.
    pub fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.file()?.read_exact_at(buffer, at)
    }

    /// What tells one state of a file from another, as far as the kernel knows it without asking a disk or network.
    pub(super) fn facts(&self) -> io::Result<Facts> {
        let wanted = StatxFlags::INO | StatxFlags::SIZE | StatxFlags::MTIME | StatxFlags::CTIME | StatxFlags::NLINK;
        let facts = statx(self.file()?, c"", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, wanted)?;
        Ok(Facts {
            inode: facts.stx_ino,
            size: facts.stx_size,
            names: facts.stx_nlink,
            written: (facts.stx_mtime.tv_sec, facts.stx_mtime.tv_nsec),
            changed: (facts.stx_ctime.tv_sec, facts.stx_ctime.tv_nsec),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    inode: u64,
    pub size: u64,
    /// One less after a file was removed, or another took its name.
    names: u32,
    written: (i64, u32),
    /// Also when its name, rights or number of names changed.
    changed: (i64, u32),
}

impl Facts {
    /// When content or name last changed, since 1970.
    pub fn last_change(&self) -> Duration {
        let (seconds, nanoseconds) = self.changed.max(self.written);
        Duration::new(u64::try_from(seconds).unwrap_or_default(), nanoseconds)
    }
}

/// A file and what it was like.
#[derive(Debug, Clone)]
struct Kept {
    opened: Arc<Opened>,
    file: Arc<HeldFile>,
    facts: Facts,
    /// From before its path was looked up.
    since: Instant,
}

/// The files opened a moment ago; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Shelf {
    kept: Arc<watch::Sender<HashMap<FileRef, Kept>>>,
}

impl Shelf {
    /// What `file` means, without waiting for anything; `None` if it has to be opened.
    pub fn find(&self, file: &FileRef) -> Option<Arc<Opened>> {
        let kept = self.kept.borrow().get(file).cloned()?;
        let same = kept.since.elapsed() < FRESH && kept.file.facts().is_ok_and(|facts| facts == kept.facts);
        same.then_some(kept.opened)
    }

    /// Takes what `file` means since `since`. Waits for the disk: a small file's content is read.
    pub fn keep(&self, file: FileRef, mut opened: Opened, since: Instant) -> Arc<Opened> {
        let held = match &opened.blob {
            Blob::File(held) => Arc::clone(held),
            Blob::Part(part) => Arc::clone(part.file()),
            Blob::Bytes(_) => return Arc::new(opened),
        };
        if opened.len <= WITH_CONTENT
            && let Ok(len) = usize::try_from(opened.len)
        {
            let mut content = vec![0; len];
            let read = match &opened.blob {
                Blob::Part(part) => part.read_exact_at(&mut content, 0),
                _ => held.read_exact_at(&mut content, 0),
            };
            // What cannot be read shows to whoever is sent it.
            if read.is_ok() {
                opened.blob = Blob::Bytes(content.into());
            }
        }
        let opened = Arc::new(opened);
        // A file that is written or removed meanwhile may show anything: the next to ask opens it anew.
        if let (Some(facts), Ok(later)) = (held.first, held.facts())
            && facts == later
            && facts.names > 0
        {
            self.put(file, Kept { opened: Arc::clone(&opened), file: held, facts, since });
        }
        opened
    }

    fn put(&self, file: FileRef, kept: Kept) {
        let (mut first, mut out) = (false, None);
        self.kept.send_modify(|shelf| {
            first = shelf.is_empty();
            if shelf.len() >= MOST && !shelf.contains_key(&file) {
                let oldest = shelf.iter().min_by_key(|(_, kept)| kept.since).map(|(file, _)| file.clone());
                out = oldest.and_then(|oldest| shelf.remove(&oldest));
            }
            out = shelf.insert(file, kept).or(out.take());
        });
        if first {
            let shelf = self.clone();
            tokio::spawn(async move {
                while !shelf.sweep() {
                    tokio::time::sleep(FRESH).await;
                }
            });
        }
    }

    /// Closes what is kept for nothing, as it takes up a removed file's space; whether the shelf is empty then.
    fn sweep(&self) -> bool {
        let mut empty = true;
        self.kept.send_modify(|shelf| {
            shelf.retain(|_, kept| kept.since.elapsed() < FRESH);
            empty = shelf.is_empty();
        });
        empty
    }
}
