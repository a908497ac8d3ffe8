//! The disk as it is being written: its start comes last, so that nothing half-written ever starts.

use super::target::{self, TargetError};
use crate::{disk::device, machine::Machine};
use rackberry_core::hardware::size;
use std::{fs::File, io, os::unix::fs::FileExt};

/// Bytes of one write.
pub const BLOCK: usize = 4 << 20;
/// What direct writes need at most: no disk has larger sectors, no controller asks for more.
const ALIGNMENT: usize = 4096;
/// Shorter runs of zeros are written like any bytes.
const PIECE: usize = 1 << 20;
const MIB: u64 = 1 << 20;

/// Why bytes cannot go to a disk.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("The image does not fit on {disk}, which has {size}.")]
    Full { disk: String, size: String },
    #[error("{disk} cannot be written at byte {at}: {source}")]
    Write { disk: String, at: u64, source: io::Error },
    #[error("{disk} cannot be read back: {source}")]
    Read { disk: String, source: io::Error },
}

/// Room for [`BLOCK`] bytes where direct writes may take them from.
pub struct Block {
    room: Vec<u8>,
    start: usize,
    length: usize,
}

impl Block {
    /// An empty block.
    #[must_use]
    pub fn new() -> Self {
        let room = vec![0; BLOCK + ALIGNMENT];
        let start = room.as_ptr().align_offset(ALIGNMENT);
        Block { room, start, length: 0 }
    }

    /// All of its room.
    pub fn room(&mut self) -> &mut [u8] {
        self.room.get_mut(self.start..self.start + BLOCK).unwrap_or_default()
    }

    /// Says how many bytes were put in.
    pub fn filled(&mut self, length: usize) {
        self.length = length.min(BLOCK);
    }

    fn bytes(&self) -> &[u8] {
        self.room.get(self.start..self.start + self.length).unwrap_or_default()
    }

    /// Adds zeros up to a whole number of sectors.
    fn pad(&mut self, sector: usize) {
        let padded = self.length.next_multiple_of(sector.max(1)).min(BLOCK);
        let (start, length) = (self.start, self.length);
        if let Some(rest) = self.room.get_mut(start + length..start + padded) {
            rest.fill(0);
        }
        self.length = padded;
    }
}

/// A disk under the pen.
pub struct Sink {
    file: File,
    name: String,
    size: u64,
    sector: usize,
    is_block: bool,
    at: u64,
    first: Option<Block>,
}

impl Sink {
    /// Opens the disk for this process alone; nothing changes yet.
    ///
    /// # Errors
    /// [`SinkError`] if it is in use or cannot be opened.
    pub fn open(machine: &Machine, name: &str) -> Result<Sink, SinkError> {
        let mut file = target::open_alone(machine, name, false)?;
        let is_block = device::is_block(&file);
        if is_block {
            // Past the page cache: a machine with little memory writes evenly, and errors show where they happen.
            drop(file);
            file = target::open_alone(machine, name, true)?;
        }
        let size = device::size(&file).map_err(|source| SinkError::Read { disk: name.to_owned(), source })?;
        let sector = usize::try_from(device::sector(&file)).unwrap_or(ALIGNMENT);
        Ok(Sink { file, name: name.to_owned(), size, sector, is_block, at: 0, first: None })
    }

    /// Zeros both ends, where partition tables and their copies are: the old system is gone from here on.
    ///
    /// # Errors
    /// What the disk says.
    pub fn wipe_ends(&mut self) -> Result<(), SinkError> {
        let mut zeros = Block::new();
        let length = MIB.min(self.size);
        zeros.filled(usize::try_from(length).unwrap_or(0));
        for at in [0, self.size - length] {
            self.file.write_all_at(zeros.bytes(), at).map_err(self.failed(at))?;
        }
        self.file.sync_all().map_err(self.failed(0))
    }

    /// Writes the next block; the very first is kept back. Returns a block to fill again.
    ///
    /// # Errors
    /// [`SinkError::Full`] beyond the disk's end, or what the disk says.
    pub fn write(&mut self, mut block: Block) -> Result<Option<Block>, SinkError> {
        let end = self.at + block.length as u64;
        if end > self.size {
            return Err(SinkError::Full { disk: self.name.clone(), size: size(self.size) });
        }
        if self.is_block {
            block.pad(self.sector);
        }
        let start = std::mem::replace(&mut self.at, end);
        if start == 0 {
            self.first = Some(block);
            return Ok(None);
        }
        self.put(block.bytes(), start)?;
        Ok(Some(block))
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Writes what was kept back, once everything is known to be right, and waits until the disk has it all.
    ///
    /// # Errors
    /// What the disk says.
    pub fn finish(mut self) -> Result<(), SinkError> {
        // All else first: a power cut in between must not leave a start without its rest.
        self.file.sync_all().map_err(self.failed(self.at))?;
        if let Some(first) = self.first.take() {
            self.put(first.bytes(), 0)?;
        }
        self.file.sync_all().map_err(self.failed(0))
    }

    fn put(&self, bytes: &[u8], start: u64) -> Result<(), SinkError> {
        let mut at = start;
        for piece in bytes.chunks(PIECE) {
            let length = piece.len() as u64;
            let zeroed = self.is_block && is_zero(piece) && device::zero_out(&self.file, at, length).is_ok();
            if !zeroed {
                self.file.write_all_at(piece, at).map_err(self.failed(at))?;
            }
            at += length;
        }
        Ok(())
    }

    fn failed(&self, at: u64) -> impl Fn(io::Error) -> SinkError + '_ {
        move |source| SinkError::Write { disk: self.name.clone(), at, source }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    // Folding a chunk without a branch per byte lets the compiler use wide registers.
    bytes.chunks(4096).all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}
