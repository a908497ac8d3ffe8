//! Bytes of a file by position: from the page cache at once, from the disk on a few blocking threads, read ahead in chunks.
//!
//! What the kernel holds in memory is copied without waiting (preadv2(2), RWF_NOWAIT), so the usual transfer keeps no buffer of
//! its own and meets no other thread. Everything else goes through [`Reads`]: a disk that stalls delays the transfers that wait for
//! it and nothing else; a disk that fails ends them.

use crate::content::{Content, ReadAt};
use crate::netascii;
use crate::packet::Mode;
use bytes::Bytes;
use rustix::io::{ReadWriteFlags, preadv2};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_blocking};

/// Bytes read at once from a disk: more than one sending holds, little enough for 64 transfers at once.
const CHUNK: u64 = 128 * 1024;

/// The most that is looked at in one go: what one IP packet holds before the kernel splits it.
pub(crate) const LARGEST_LOOK: usize = 65_536;

/// Of the page cache, this much is fetched at once for transfers whose windows are smaller.
const SMALL: u64 = 16 * 1024;

/// Text larger than this is not translated to netascii, which needs it whole and in memory, and that for each session.
const LARGEST_TEXT: u64 = 256 * 1024;

thread_local! {
    /// Where bytes of the page cache lie between reading and sending; small enough to stay in the processor's cache.
    static LOOKED_AT: RefCell<Vec<u8>> = RefCell::new(vec![0; LARGEST_LOOK]);
}

/// The right to keep blocking threads busy with reading; a stalled disk can take no more of them than this.
#[derive(Debug, Clone)]
pub(crate) struct Reads(Arc<Semaphore>);

impl Reads {
    pub(crate) fn at_most(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count.max(1))))
    }

    /// Does this on a blocking thread once one is free; dropped before that, it is never done.
    fn start<T: Send + 'static>(&self, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Reading<T> {
        let turn = Arc::clone(&self.0).acquire_owned();
        Reading(tokio::spawn(async move {
            let turn = turn.await.map_err(io::Error::other)?;
            let done = spawn_blocking(move || {
                let done = work();
                drop(turn);
                done
            });
            done.await.map_err(io::Error::other)?
        }))
    }
}

/// Something that is being read.
struct Reading<T>(JoinHandle<io::Result<T>>);

impl<T> Future for Reading<T> {
    type Output = io::Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|joined| joined.map_err(io::Error::other)?)
    }
}

impl<T> Drop for Reading<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Translates the content if the mode asks for it.
pub(crate) async fn in_mode(content: Content, mode: Mode, reads: &Reads) -> io::Result<Content> {
    match (mode, content) {
        (Mode::Octet | Mode::Mail, content) => Ok(content),
        (Mode::Netascii, content) if content.len() > LARGEST_TEXT => {
            let why = format!("netascii is for text up to {LARGEST_TEXT} bytes; ask in octet mode");
            Err(io::Error::new(io::ErrorKind::FileTooLarge, why))
        }
        (Mode::Netascii, Content::Bytes(bytes)) => Ok(netascii::encode(&bytes).into()),
        (Mode::Netascii, Content::File { file, len }) => {
            let file = Stored::File(file);
            let bytes = reads.start(move || file.read_at(0, len)).await?;
            Ok(netascii::encode(&bytes).into())
        }
        (Mode::Netascii, Content::Shared(shared)) => {
            let (len, shared) = (shared.len(), Stored::Shared(shared));
            let bytes = reads.start(move || shared.read_at(0, len)).await?;
            Ok(netascii::encode(&bytes).into())
        }
    }
}

/// Content whose bytes can be looked at, and loaded where they cannot.
pub(crate) enum Reader {
    Memory(Bytes),
    File(FileReader),
}

impl Reader {
    /// A reader of blocks of `blksize` bytes.
    pub(crate) fn new(content: Content, blksize: u16, reads: &Reads) -> Self {
        let (file, len) = match content {
            Content::Bytes(bytes) => return Self::Memory(bytes),
            Content::File { file, len } => (Stored::File(file), len),
            Content::Shared(shared) => {
                let len = shared.len();
                (Stored::Shared(shared), len)
            }
        };
        let blksize = u64::from(blksize.max(1));
        Self::File(FileReader {
            file: Arc::new(file),
            len,
            blksize,
            // Whole blocks, so that none lies across two chunks.
            chunk: CHUNK.div_ceil(blksize) * blksize,
            nowait: true,
            reads: reads.clone(),
            loaded: VecDeque::new(),
            small: (0, Vec::new()),
            ahead: None,
        })
    }

    /// Calls `look` with the bytes from `start`, where a block begins, to `end` or to the end of an earlier block; `None` when not even
    /// one block is at hand: [`Self::load`] then fetches it. Does not wait. At most [`LARGEST_LOOK`] bytes.
    pub(crate) fn look<T>(&mut self, start: u64, end: u64, look: impl FnOnce(&[u8]) -> T) -> Option<T> {
        match self {
            Self::Memory(bytes) => slice(bytes, start, end).map(look),
            Self::File(_) if start >= end => Some(look(&[])),
            Self::File(file) => file.look(start, end, look),
        }
    }

    /// Fetches the block at `start` and what follows it.
    pub(crate) async fn load(&mut self, start: u64) -> io::Result<()> {
        match self {
            Self::Memory(_) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("no bytes at {start}"))),
            Self::File(file) => file.load(start).await,
        }
    }
}

pub(crate) struct FileReader {
    file: Arc<Stored>,
    len: u64,
    blksize: u64,
    chunk: u64,
    /// Whether this file system can tell what it holds in memory.
    nowait: bool,
    reads: Reads,
    /// A few chunks that came from the disk, by number.
    loaded: VecDeque<(u64, Vec<u8>)>,
    /// What small windows took from the page cache ahead of their need, and where it begins.
    small: (u64, Vec<u8>),
    ahead: Option<(u64, Reading<Vec<u8>>)>,
}

impl FileReader {
    fn look<T>(&mut self, start: u64, end: u64, look: impl FnOnce(&[u8]) -> T) -> Option<T> {
        if let Some(bytes) = self.in_loaded(start, end) {
            return Some(look(bytes));
        }
        if end - start <= SMALL / 4 {
            return self.look_small(start, end, look);
        }
        LOOKED_AT.with_borrow_mut(|buffer| {
            let buffer = buffer.get_mut(..usize::try_from(end - start).ok()?)?;
            let held = self.held_in_memory(buffer, start)?;
            // Short of the end, whole blocks only.
            let whole = if held == buffer.len() { held } else { held - held % usize::try_from(self.blksize).ok()? };
            (whole > 0).then(|| buffer.get(..whole).map(look))?
        })
    }

    fn look_small<T>(&mut self, start: u64, end: u64, look: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let (at, bytes) = &self.small;
        let within = |at: u64, bytes: &Vec<u8>| at <= start && end <= at + bytes.len() as u64;
        if !within(*at, bytes) {
            let wanted = SMALL.min(self.len.saturating_sub(start)).max(end - start);
            let mut bytes = std::mem::take(&mut self.small.1);
            bytes.resize(usize::try_from(wanted).ok()?, 0);
            let held = self.held_in_memory(&mut bytes, start);
            bytes.truncate(held.unwrap_or(0));
            self.small = (start, bytes);
        }
        let (at, bytes) = &self.small;
        within(*at, bytes).then(|| slice(bytes, start - at, end - at).map(look))?
    }

    /// Copies what the page cache has from `start` on, without waiting; tells how much.
    fn held_in_memory(&mut self, buffer: &mut [u8], start: u64) -> Option<usize> {
        if !self.nowait {
            return None;
        }
        match self.file.held_in_memory(buffer, start) {
            Ok(held) => Some(held),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => None,
            // Not offered here, or the disk fails: load() says which.
            Err(_) => {
                self.nowait = false;
                None
            }
        }
    }

    fn in_loaded(&self, start: u64, end: u64) -> Option<&[u8]> {
        let number = start / self.chunk;
        let (_, chunk) = self.loaded.iter().find(|(loaded, _)| *loaded == number)?;
        let within = start % self.chunk;
        slice(chunk, within, (within + (end - start)).min(chunk.len() as u64))
    }

    async fn load(&mut self, start: u64) -> io::Result<()> {
        let number = start / self.chunk;
        // The chunk before stays, as a repeat may reach back into it.
        self.loaded.retain(|(loaded, _)| *loaded + 1 == number);
        let reading = match self.ahead.take() {
            Some((ahead, reading)) if ahead == number => reading,
            _ => self.start_reading(number),
        };
        self.loaded.push_back((number, reading.await?));
        if (number + 1).saturating_mul(self.chunk) < self.len {
            self.ahead = Some((number + 1, self.start_reading(number + 1)));
        }
        Ok(())
    }

    fn start_reading(&self, number: u64) -> Reading<Vec<u8>> {
        let file = Arc::clone(&self.file);
        let offset = number.saturating_mul(self.chunk);
        let len = self.len.saturating_sub(offset).min(self.chunk);
        self.reads.start(move || file.read_at(offset, len))
    }
}

/// Where a transfer's bytes lie.
enum Stored {
    File(File),
    Shared(Arc<dyn ReadAt>),
}

impl Stored {
    fn held_in_memory(&self, buffer: &mut [u8], start: u64) -> io::Result<usize> {
        match self {
            Self::File(file) => Ok(preadv2(file, &mut [IoSliceMut::new(buffer)], start, ReadWriteFlags::NOWAIT)?),
            Self::Shared(shared) => shared.read_from_memory(buffer, start),
        }
    }

    fn read_at(&self, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        match self {
            Self::File(file) => file.read_exact_at(&mut bytes, offset)?,
            Self::Shared(shared) => shared.read_exact_at(&mut bytes, offset)?,
        }
        Ok(bytes)
    }
}

fn slice(bytes: &[u8], start: u64, end: u64) -> Option<&[u8]> {
    bytes.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file_of(len: usize) -> (Vec<u8>, File) {
        let bytes: Vec<u8> = (0..len).map(|index| (index * 7 + index / 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        (bytes, file)
    }

    fn reader(file: File, blksize: u16) -> Reader {
        Reader::new(Content::from_file(file).unwrap(), blksize, &Reads::at_most(2))
    }

    /// As on a file system that cannot tell what it holds in memory.
    fn without_nowait(reader: &mut Reader) {
        let Reader::File(file) = reader else { panic!("not a file") };
        file.nowait = false;
    }

    /// The bytes from `start` to `end` in as many looks as it takes.
    async fn read(reader: &mut Reader, mut start: u64, end: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while start < end {
            match reader.look(start, end, <[u8]>::to_vec) {
                Some(more) => {
                    start += more.len() as u64;
                    bytes.extend(more);
                }
                None => reader.load(start).await?,
            }
        }
        Ok(bytes)
    }

    #[tokio::test]
    async fn every_window_of_a_file_reads_as_it_stands_also_after_going_back() {
        for nowait in [true, false] {
            let (bytes, file) = file_of(800_000);
            let mut reader = reader(file, 1428);
            if !nowait {
                without_nowait(&mut reader);
            }
            for window in [1428, 1428 * 45] {
                for start in (0..800_000u64).step_by(window).chain([5712, 0, 799_680]) {
                    let end = (start + window as u64).min(800_000);
                    let expected = &bytes[start as usize..end as usize];
                    assert_eq!(read(&mut reader, start, end).await.unwrap(), expected, "{window} at {start}");
                }
            }
        }
    }

    #[tokio::test]
    async fn looks_end_with_whole_blocks_except_at_the_end() {
        let (_, file) = file_of(300_000);
        let mut reader = reader(file, 1428);
        without_nowait(&mut reader);
        let mut start = 0;
        while start < 300_000 {
            let end = (start + 1428 * 45).min(300_000);
            match reader.look(start, end, <[u8]>::len) {
                Some(len) => {
                    assert!(len % 1428 == 0 || start + len as u64 == 300_000, "{len} at {start}");
                    start += len as u64;
                }
                None => reader.load(start).await.unwrap(),
            }
        }
    }

    #[tokio::test]
    async fn memory_stays_within_a_few_chunks() {
        let (_, file) = file_of(3_000_000);
        let mut reader = reader(file, 512);
        without_nowait(&mut reader);
        for start in (0..3_000_000u64).step_by(51_200) {
            read(&mut reader, start, (start + 51_200).min(3_000_000)).await.unwrap();
            let Reader::File(file) = &reader else { panic!("not a file") };
            assert!(file.loaded.len() <= 2);
        }
    }

    #[tokio::test]
    async fn a_file_that_shrank_is_an_error() {
        let (_, file) = file_of(1000);
        let mut reader = Reader::new(Content::File { file, len: 5000 }, 512, &Reads::at_most(1));
        let error = read(&mut reader, 512, 1536).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_stalled_disk_takes_no_more_threads_than_allowed_and_leaves_memory_alone() {
        let reads = Reads::at_most(2);
        let (stall, stalled) = std::sync::mpsc::channel::<()>();
        let stalled = Arc::new(std::sync::Mutex::new(stalled));
        let (began, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let reading: Vec<_> = (0..10)
            .map(|_| {
                let (stalled, began) = (Arc::clone(&stalled), began.clone());
                reads.start(move || {
                    began.send(()).unwrap();
                    let _released = stalled.lock().unwrap().recv();
                    Ok(())
                })
            })
            .collect();
        for _ in 0..2 {
            begun.recv().await.unwrap();
        }
        assert_eq!(reads.0.available_permits(), 0);
        let mut memory = Reader::new(Content::from("abc"), 512, &reads);
        assert_eq!(read(&mut memory, 0, 3).await.unwrap(), b"abc");
        // Those that wait for their turn are never done once nobody wants them.
        drop(reading);
        drop(stall);
        let _all = reads.0.acquire_many(2).await.unwrap();
        assert!(begun.try_recv().is_err(), "an abandoned read was begun");
    }

    #[tokio::test]
    async fn netascii_comes_from_memory_and_from_files_but_not_without_bound() {
        let reads = Reads::at_most(1);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"a\nb").unwrap();
        for content in [Content::from_file(file).unwrap(), Content::from("a\nb")] {
            let translated = in_mode(content, Mode::Netascii, &reads).await.unwrap();
            assert_eq!(translated.len(), 4);
        }
        let huge = Content::File { file: tempfile::tempfile().unwrap(), len: 1 << 40 };
        assert!(in_mode(huge, Mode::Netascii, &reads).await.is_err());
    }
}
