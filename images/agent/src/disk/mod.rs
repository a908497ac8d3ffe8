//! Disks from the inside: the kernel's side of them, partition tables, file systems.

pub mod device;
pub mod gpt;
pub mod mbr;
pub mod mount;
pub mod signature;
pub mod table;

use std::{fs::File, io, os::unix::fs::FileExt};

/// `length` bytes at `offset`, fewer at the end of the disk.
///
/// # Errors
/// What the disk says.
pub fn read_at(disk: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while let Some(rest @ [_, ..]) = bytes.get_mut(filled..) {
        match disk.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Little-endian numbers out of on-disk structures; none beyond their end.
pub trait Fields {
    /// `N` bytes at `offset`.
    fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    fn u32_at(&self, offset: usize) -> Option<u32> {
        self.array(offset).map(u32::from_le_bytes)
    }

    fn u64_at(&self, offset: usize) -> Option<u64> {
        self.array(offset).map(u64::from_le_bytes)
    }

    /// Whether `what` stands at `offset`.
    fn holds(&self, offset: usize, what: &[u8]) -> bool;

    /// Overwrites bytes at `offset`; false if they do not fit.
    fn put(&mut self, offset: usize, what: &[u8]) -> bool;
}

impl Fields for [u8] {
    fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }

    fn holds(&self, offset: usize, what: &[u8]) -> bool {
        self.get(offset..).is_some_and(|rest| rest.starts_with(what))
    }

    fn put(&mut self, offset: usize, what: &[u8]) -> bool {
        let place = self.get_mut(offset..).and_then(|rest| rest.get_mut(..what.len()));
        place.map(|place| place.copy_from_slice(what)).is_some()
    }
}
