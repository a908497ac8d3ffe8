//! Bytes of a file by position, read ahead in chunks on blocking threads.
//!
//! A disk that stalls delays the one transfer that waits for it; a disk that fails ends it.

use crate::content::Content;
use crate::netascii;
use crate::packet::Mode;
use bytes::Bytes;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use tokio::task::{JoinHandle, spawn_blocking};

/// Bytes read at once from a file: large enough that a card reads in sequence, small enough for 64 transfers at once.
const CHUNK: u64 = 256 * 1024;

/// Text larger than this is not translated to netascii, which needs it whole and in memory.
const LARGEST_TEXT: u64 = 4 * 1024 * 1024;

/// Translates the content if the mode asks for it.
pub(crate) async fn in_mode(content: Content, mode: Mode) -> io::Result<Content> {
    match (mode, content) {
        (Mode::Octet | Mode::Mail, content) => Ok(content),
        (Mode::Netascii, content) if content.len() > LARGEST_TEXT => {
            let why = format!("netascii is for text up to {LARGEST_TEXT} bytes");
            Err(io::Error::new(io::ErrorKind::FileTooLarge, why))
        }
        (Mode::Netascii, Content::Bytes(bytes)) => Ok(netascii::encode(&bytes).into()),
        (Mode::Netascii, Content::File { file, len }) => {
            let bytes = blocking(move || read_at(&file, 0, len)).await?;
            Ok(netascii::encode(&bytes).into())
        }
    }
}

/// Content whose bytes can be looked at after [`Reader::prepare`].
pub(crate) enum Reader {
    Memory(Bytes),
    File(FileReader),
}

impl Reader {
    /// A reader of blocks of `blksize` bytes.
    pub(crate) fn new(content: Content, blksize: u16) -> Self {
        match content {
            Content::Bytes(bytes) => Self::Memory(bytes),
            Content::File { file, len } => {
                let blksize = u64::from(blksize.max(1));
                Self::File(FileReader {
                    file: Arc::new(file),
                    len,
                    // Whole blocks, so that none lies across two chunks.
                    chunk: CHUNK.div_ceil(blksize) * blksize,
                    loaded: VecDeque::new(),
                    ahead: None,
                })
            }
        }
    }

    /// Makes the bytes from `start` to `end` available to [`Self::bytes`].
    pub(crate) async fn prepare(&mut self, start: u64, end: u64) -> io::Result<()> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::File(file) => file.prepare(start, end).await,
        }
    }

    /// The bytes at `offset`, if they were prepared and lie within one block.
    pub(crate) fn bytes(&self, offset: u64, len: usize) -> Option<&[u8]> {
        match self {
            Self::Memory(bytes) => slice(bytes, offset, len),
            Self::File(file) => file.bytes(offset, len),
        }
    }
}

pub(crate) struct FileReader {
    file: Arc<File>,
    len: u64,
    chunk: u64,
    /// A few chunks around the window, by number.
    loaded: VecDeque<(u64, Vec<u8>)>,
    ahead: Option<(u64, JoinHandle<io::Result<Vec<u8>>>)>,
}

impl FileReader {
    async fn prepare(&mut self, start: u64, end: u64) -> io::Result<()> {
        if start >= end {
            return Ok(());
        }
        let first = start / self.chunk;
        let last = (end - 1) / self.chunk;
        // The chunk before stays, as a repeat may reach back into it.
        self.loaded.retain(|(number, _)| *number + 1 >= first && *number <= last + 1);
        for number in first..=last {
            if !self.has(number) {
                let chunk = self.take(number).await?;
                self.loaded.push_back((number, chunk));
            }
        }
        self.read_ahead(last + 1);
        Ok(())
    }

    fn bytes(&self, offset: u64, len: usize) -> Option<&[u8]> {
        if len == 0 {
            return Some(&[]);
        }
        let number = offset / self.chunk;
        let (_, chunk) = self.loaded.iter().find(|(loaded, _)| *loaded == number)?;
        slice(chunk, offset % self.chunk, len)
    }

    fn has(&self, number: u64) -> bool {
        self.loaded.iter().any(|(loaded, _)| *loaded == number)
    }

    async fn take(&mut self, number: u64) -> io::Result<Vec<u8>> {
        let reading = match self.ahead.take() {
            Some((ahead, reading)) if ahead == number => reading,
            other => {
                self.ahead = other;
                self.start_reading(number)
            }
        };
        reading.await.map_err(io::Error::other)?
    }

    fn read_ahead(&mut self, number: u64) {
        let useless = number.saturating_mul(self.chunk) >= self.len || self.has(number);
        let under_way = matches!(self.ahead, Some((ahead, _)) if ahead == number);
        if !useless && !under_way {
            self.ahead = Some((number, self.start_reading(number)));
        }
    }

    fn start_reading(&self, number: u64) -> JoinHandle<io::Result<Vec<u8>>> {
        let file = Arc::clone(&self.file);
        let offset = number.saturating_mul(self.chunk);
        let len = self.len.saturating_sub(offset).min(self.chunk);
        spawn_blocking(move || read_at(&file, offset, len))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

fn read_at(file: &File, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn slice(bytes: &[u8], offset: u64, len: usize) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    bytes.get(start..start.checked_add(len)?)
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

    #[tokio::test]
    async fn every_block_of_a_file_reads_as_it_stands_also_after_going_back() {
        let (bytes, file) = file_of(800_000);
        let mut reader = Reader::new(Content::from_file(file).unwrap(), 1428);
        for start in (0..800_000u64).step_by(1428).chain([5712, 0, 799_680]) {
            let end = (start + 1428).min(800_000);
            reader.prepare(start, end).await.unwrap();
            let expected = &bytes[start as usize..end as usize];
            assert_eq!(reader.bytes(start, expected.len()), Some(expected), "at {start}");
        }
    }

    #[tokio::test]
    async fn memory_stays_within_a_few_chunks() {
        let (_, file) = file_of(3_000_000);
        let mut reader = Reader::new(Content::from_file(file).unwrap(), 512);
        for start in (0..3_000_000u64).step_by(512) {
            reader.prepare(start, (start + 512).min(3_000_000)).await.unwrap();
            let Reader::File(file) = &reader else { panic!("not a file") };
            assert!(file.loaded.len() <= 3);
        }
    }

    #[tokio::test]
    async fn a_file_that_shrank_is_an_error() {
        let (_, file) = file_of(1000);
        let mut reader = Reader::new(Content::File { file, len: 5000 }, 512);
        let error = reader.prepare(0, 512).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn netascii_comes_from_memory_and_from_files_but_not_without_bound() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"a\nb").unwrap();
        for content in [Content::from_file(file).unwrap(), Content::from("a\nb")] {
            let translated = in_mode(content, Mode::Netascii).await.unwrap();
            assert_eq!(translated.len(), 4);
        }
        let huge = Content::File { file: tempfile::tempfile().unwrap(), len: 1 << 40 };
        assert!(in_mode(huge, Mode::Netascii).await.is_err());
    }
}
