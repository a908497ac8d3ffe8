//! An image's file of which no byte is given away before the chunk it lies in was read once and agreed with its sum.
//!
//! What was found good is remembered as long as the file does not change: the kernel tells by its inode, size and times.

use super::{
    OpenFileError,
    shelf::{Facts, HeldFile},
    sums::{Beside, CHUNK, Summer},
    tar::Index,
};
use crate::inventory::Inventory;
use rackberry_core::{
    image::{Digest, Image},
    text::CleanText,
};
use rackberry_iso::ReadAt;
use sha2::{Digest as _, Sha256};
use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::sync::Semaphore;

/// A file that was changed a shorter time ago may change once more without another time: the kernel's times have steps.
const SETTLED: Duration = Duration::from_millis(100);

/// Bytes of an image that are not what was imported.
#[derive(Debug, Clone, thiserror::Error)]
#[error("The file of the image {name} is damaged. Nothing of it is served: remove the image, and import it again.")]
pub struct Damaged {
    pub name: CleanText,
}

/// The alarm about an image that is damaged.
#[must_use]
pub fn alarm_key(image: &Digest) -> String {
    format!("image-damaged-{image}")
}

/// The file of one image as it is since it was opened.
#[derive(Debug)]
pub struct Checked {
    image: Digest,
    name: CleanText,
    file: Arc<HeldFile>,
    path: PathBuf,
    facts: Facts,
    pub(super) len: u64,
    sums: Vec<Digest>,
    good: Vec<AtomicBool>,
    /// Where files lie, if it is an archive.
    pub(super) tree: Option<Index>,
    /// Whether what is found out now still holds the next time.
    pub(super) settled: bool,
    /// One reads and sums at a time; others wait for what it finds.
    pub(super) turn: Semaphore,
    inventory: Option<Inventory>,
}

impl Checked {
    /// Takes an opened image. Blocks on the disk: where the list of its sums is missing or broken, the whole file is read.
    pub(super) fn open(
        image: Digest,
        known: Option<&Image>,
        file: Arc<HeldFile>,
        path: PathBuf,
        inventory: Option<Inventory>,
    ) -> Result<Self, OpenFileError> {
        let wrap = |source| OpenFileError::Io { path: path.clone(), source };
        let facts = file.facts().map_err(wrap)?;
        let len = facts.size;
        let name = known.map_or_else(|| CleanText::new(&image.to_string()), |known| known.name.clone());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let settled = now.checked_sub(facts.last_change()).is_none_or(|since| since >= SETTLED);
        let wanted = known.and_then(|known| known.sums);
        let mut checked = Checked {
            image,
            name,
            file,
            path: path.clone(),
            facts,
            len,
            sums: Vec::new(),
            good: Vec::new(),
            tree: None,
            settled,
            turn: Semaphore::new(1),
            inventory,
        };
        if known.is_some_and(|known| known.size_bytes != len) {
            return Err(OpenFileError::Damaged(checked.damaged()));
        }
        match wanted.and_then(|wanted| Beside::load(&path, wanted, len)) {
            Some(beside) => {
                checked.good = beside.sums.iter().map(|_| AtomicBool::new(false)).collect();
                checked.sums = beside.sums;
                checked.tree = beside.tree.filter(|tree| tree.lies_within(len));
            }
            None => checked.read_all(wanted, &path)?,
        }
        Ok(checked)
    }

    /// Sums up the whole file, and puts the list beside it where it belongs.
    fn read_all(&mut self, wanted: Option<Digest>, path: &Path) -> Result<(), OpenFileError> {
        let (mut summer, mut at) = (Summer::default(), 0);
        let mut buffer = vec![0; 1 << 20];
        while at < self.len {
            let length = usize::try_from(self.len - at).unwrap_or(usize::MAX).min(buffer.len());
            let piece = buffer.get_mut(..length).unwrap_or_default();
            self.file
                .read_exact_at(piece, at)
                .map_err(|source| OpenFileError::Io { path: self.path.clone(), source })?;
            summer.update(piece);
            at += length as u64;
        }
        let (whole, sums) = summer.finish();
        if whole != self.image {
            return Err(OpenFileError::Damaged(self.damaged()));
        }
        self.good = sums.iter().map(|_| AtomicBool::new(true)).collect();
        self.sums = sums;
        let head = super::tar::start_of(io::Cursor::new(self.head()), 512);
        self.tree = if super::tar::begins(&head) { Index::read(&*self).ok() } else { None };
        let beside = Beside { sums: self.sums.clone(), tree: self.tree.clone() };
        if wanted.is_some()
            && let Err(error) = beside.store(path)
        {
            tracing::warn!(image = %self.image, %error, "the list of an image's sums could not be written anew");
        }
        Ok(())
    }

    fn head(&self) -> Vec<u8> {
        let mut head = vec![0; usize::try_from(self.len.min(512)).unwrap_or_default()];
        match self.file.read_exact_at(&mut head, 0) {
            Ok(()) => head,
            Err(_) => Vec::new(),
        }
    }

    /// Whether the file is still the one that was opened.
    pub(super) fn is_same(&self) -> bool {
        self.file.facts().is_ok_and(|facts| facts == self.facts)
    }

    /// Whether all chunks of this stretch were found good, and the file did not change since. Waits for no disk.
    pub(super) fn ready(&self, at: u64, length: u64) -> bool {
        self.chunks(at, length).all(|chunk| self.is_good(chunk)) && self.is_same()
    }

    fn is_good(&self, chunk: u64) -> bool {
        let good = usize::try_from(chunk).ok().and_then(|chunk| self.good.get(chunk));
        good.is_some_and(|good| good.load(Ordering::Acquire))
    }

    fn chunks(&self, at: u64, length: u64) -> impl Iterator<Item = u64> + use<> {
        let end = at.saturating_add(length).min(self.len);
        if at < end { at / CHUNK..end.div_ceil(CHUNK) } else { 0..0 }
    }

    /// Reads and sums the chunks of this stretch that were not yet. Blocks on the disk.
    pub(super) fn verify(&self, at: u64, length: u64) -> Result<(), OpenFileError> {
        let mut buffer = Vec::new();
        for chunk in self.chunks(at, length) {
            if self.is_good(chunk) {
                continue;
            }
            let from = chunk * CHUNK;
            let length = usize::try_from((self.len - from).min(CHUNK)).unwrap_or_default();
            buffer.resize(length, 0);
            let read = self.file.read_exact_at(&mut buffer, from);
            read.map_err(|source| OpenFileError::Io { path: self.path.clone(), source })?;
            let place = usize::try_from(chunk).unwrap_or(usize::MAX);
            if self.sums.get(place) != Some(&Digest(Sha256::digest(&buffer).into())) {
                return Err(OpenFileError::Damaged(self.damaged()));
            }
            if let Some(good) = self.good.get(place) {
                good.store(true, Ordering::Release);
            }
        }
        if self.is_same() {
            return Ok(());
        }
        // Whoever asks next opens it anew.
        let source = io::Error::other("the file changed while it was read");
        Err(OpenFileError::Io { path: self.path.clone(), source })
    }

    /// Tells everybody.
    fn damaged(&self) -> Damaged {
        let damaged = Damaged { name: self.name.clone() };
        tracing::error!(image = %self.image, name = %self.name, "the file of an image is damaged; it is not served");
        if let Some(inventory) = &self.inventory {
            let (key, text) = (alarm_key(&self.image), CleanText::new(&damaged.to_string()));
            let image = self.image;
            inventory.later(move |tx| match tx.image(image) {
                Some(_) => tx.raise_alarm(&key, None, text),
                None => Ok(()),
            });
        }
        damaged
    }
}

impl ReadAt for Checked {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        let buf = buf.get_mut(..length).unwrap_or_default();
        if !self.ready(offset, length as u64) {
            self.verify(offset, length as u64).map_err(io::Error::other)?;
        }
        self.file.read_exact_at(buf, offset)?;
        Ok(length)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len)
    }
}

/// What a reader of discs says, as an error of files: damage stays damage.
pub(super) fn as_damage(error: &(dyn Error + 'static)) -> Option<Damaged> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(OpenFileError::Damaged(damaged)) = error.downcast_ref::<OpenFileError>() {
            return Some(damaged.clone());
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// A file inside an image, or all of it: stretches of its bytes.
#[derive(Debug)]
pub struct Part {
    checked: Arc<Checked>,
    /// Where each begins in the image; none where a file has zeros that the disc does not store.
    stretches: Vec<rackberry_iso::Extent>,
    len: u64,
}

impl Part {
    pub(super) fn new(checked: Arc<Checked>, stretches: Vec<rackberry_iso::Extent>) -> Self {
        let len = stretches.iter().fold(0, |sum: u64, stretch| sum.saturating_add(stretch.length));
        Part { checked, stretches, len }
    }

    pub(super) fn whole(checked: Arc<Checked>) -> Self {
        let length = checked.len;
        Self::new(checked, vec![rackberry_iso::Extent { offset: Some(0), length }])
    }

    /// Bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn file(&self) -> &Arc<HeldFile> {
        &self.checked.file
    }

    pub(super) fn checked(&self) -> &Arc<Checked> {
        &self.checked
    }

    pub(super) fn stretches(&self) -> &[rackberry_iso::Extent] {
        &self.stretches
    }

    /// What bytes `at` to `at + length` are in the image: where, and how many.
    fn range(&self, at: u64, length: u64) -> impl Iterator<Item = (Option<u64>, u64)> {
        let end = at.saturating_add(length).min(self.len);
        let mut begin = 0_u64;
        self.stretches.iter().filter_map(move |stretch| {
            let (first, stop) = (begin, begin.saturating_add(stretch.length));
            begin = stop;
            let (from, to) = (at.max(first), end.min(stop));
            (from < to).then(|| (stretch.offset.map(|offset| offset + (from - first)), to - from))
        })
    }

    /// Whether these bytes can be given away. Waits for no disk.
    #[must_use]
    pub fn ready(&self, at: u64, length: u64) -> bool {
        self.range(at, length).all(|(offset, length)| offset.is_none_or(|offset| self.checked.ready(offset, length)))
    }

    /// Reads and sums what these bytes lie in, where that was not done. Blocks on the disk.
    ///
    /// # Errors
    /// [`OpenFileError::Damaged`], or what the disk said.
    pub fn verify(&self, at: u64, length: u64) -> Result<(), OpenFileError> {
        self.range(at, length)
            .filter_map(|(offset, length)| Some((offset?, length)))
            .try_for_each(|(offset, length)| self.checked.verify(offset, length))
    }

    /// As [`verify`](Self::verify), off the runtime, and one at a time for each image.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub async fn prepare(self: &Arc<Self>, at: u64, length: u64) -> Result<(), OpenFileError> {
        if self.ready(at, length) {
            return Ok(());
        }
        let _turn = self.checked.turn.acquire().await;
        if self.ready(at, length) {
            return Ok(());
        }
        let part = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || part.verify(at, length)).await;
        done.unwrap_or_else(|error| {
            Err(OpenFileError::Io { path: self.checked.path.clone(), source: io::Error::other(error) })
        })
    }

    /// Reads what the kernel has in memory from `at` on, if it was found good; how much that was.
    ///
    /// # Errors
    /// If nothing of it is in memory, was not compared yet, or the disk fails.
    pub fn read_from_memory(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let (offset, length) = self.range(at, buffer.len() as u64).next().ok_or(io::ErrorKind::UnexpectedEof)?;
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let buffer = buffer.get_mut(..length).unwrap_or_default();
        let Some(offset) = offset else {
            buffer.fill(0);
            return Ok(length);
        };
        if !self.checked.ready(offset, length as u64) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.checked.file.read_from_memory(buffer, offset)
    }

    /// Fills the buffer from `at` on. Waits for the disk, and compares with the sums first what was not yet.
    ///
    /// # Errors
    /// If the disk fails, the file is shorter, or damaged.
    pub fn read_exact_at(&self, mut buffer: &mut [u8], at: u64) -> io::Result<()> {
        for (offset, length) in self.range(at, buffer.len() as u64) {
            let length = usize::try_from(length).map_err(io::Error::other)?;
            let (now, later) = buffer.split_at_mut_checked(length).ok_or(io::ErrorKind::UnexpectedEof)?;
            match offset {
                None => now.fill(0),
                Some(offset) => {
                    if !self.checked.ready(offset, length as u64) {
                        self.checked.verify(offset, length as u64).map_err(io::Error::other)?;
                    }
                    self.checked.file.read_exact_at(now, offset)?;
                }
            }
            buffer = later;
        }
        if buffer.is_empty() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}
