//! The card as an update sees it: two sectors of state block, two slots.

use rackberry_core::update::{Block, COPY, Slot, Slots};
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
};

/// Something that keeps bytes in places: a device, a file, or in tests a card that is cut off.
pub trait Medium {
    /// Fills the buffer with what lies at a byte.
    ///
    /// # Errors
    /// What the medium says, also when it ends before.
    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;

    /// Writes all of the bytes; they last only after [`sync`](Self::sync).
    ///
    /// # Errors
    /// What the medium says.
    fn write(&mut self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Returns once everything written lasts, and what is read next comes from the medium itself.
    ///
    /// # Errors
    /// What the medium says.
    fn sync(&mut self) -> io::Result<()>;
}

impl Medium for File {
    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(buffer, at)
    }

    fn write(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()?;
        // Else a card that lost what it was given would be read from memory.
        rustix::fs::fadvise(&*self, 0, None, rustix::fs::Advice::DontNeed)?;
        Ok(())
    }
}

/// The card's parts.
#[derive(Debug)]
pub struct Card<M> {
    /// Where the state block's copies lie.
    pub block: M,
    /// Their bytes in it.
    pub copies_at: [u64; 2],
    pub a: M,
    pub b: M,
    /// The room of a slot.
    pub slot_bytes: u64,
}

impl Card<File> {
    /// Opens the card's devices.
    ///
    /// # Errors
    /// Which of them could not be opened.
    pub fn open(disk: &Path, slots: [&Path; 2], layout: &Layout) -> Result<Self, (std::path::PathBuf, io::Error)> {
        let open = |path: &Path| {
            OpenOptions::new().read(true).write(true).open(path).map_err(|error| (path.to_owned(), error))
        };
        Ok(Card {
            block: open(disk)?,
            copies_at: layout.copies_at,
            a: open(slots[0])?,
            b: open(slots[1])?,
            slot_bytes: layout.slot_bytes,
        })
    }
}

impl<M: Medium> Card<M> {
    /// One of the slots.
    pub fn slot(&mut self, slot: Slot) -> &mut M {
        match slot {
            Slot::A => &mut self.a,
            Slot::B => &mut self.b,
        }
    }

    /// What the state block says.
    ///
    /// # Errors
    /// If a copy cannot be read at all: then nobody may write over the other.
    pub fn block(&self) -> io::Result<Block> {
        let copy = |at| {
            let mut bytes = [0; COPY];
            self.block.read(&mut bytes, at).map(|()| Slots::parse(&bytes))
        };
        let [first, second] = self.copies_at;
        Ok(Block::choose([copy(first)?, copy(second)?]))
    }

    /// Writes a change over the copy that does not count, and reads it again.
    ///
    /// # Errors
    /// What the card says, or that something else stands there.
    pub fn change(&mut self, change: impl FnOnce(&Block) -> Slots) -> io::Result<()> {
        let block = self.block()?;
        let next = change(&block);
        let [first, second] = self.copies_at;
        self.block.write(&next.bytes(), if block.spare == 0 { first } else { second })?;
        self.block.sync()?;
        if self.block()?.now == next {
            Ok(())
        } else {
            Err(io::Error::other("the state block does not read back as it was written"))
        }
    }
}

/// What `buildroot/board/layout` says, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    pub copies_at: [u64; 2],
    pub slot_bytes: u64,
}

impl Layout {
    /// The card's own, from the file that composes it.
    #[must_use]
    pub fn of_the_card() -> Self {
        const TEXT: &str = include_str!("../../../../buildroot/board/layout");
        const SECTOR: u64 = 512;
        let place = |name: &str| {
            let value = TEXT.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')?.parse::<u64>().ok());
            value.unwrap_or_default() * SECTOR
        };
        Layout { copies_at: [place("BLOCK_1"), place("BLOCK_2")], slot_bytes: place("SLOT_SIZE") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_has_its_places() {
        let layout = Layout::of_the_card();
        assert_eq!(layout.slot_bytes, 192 << 20);
        assert_eq!(layout.copies_at, [1 << 20, 2 << 20]);
    }
}
