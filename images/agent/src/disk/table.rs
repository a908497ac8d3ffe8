//! A partition table of either kind, as far as both are alike.

use super::{
    gpt::{Gpt, GptEntry},
    mbr::{self, MbrEntry},
    signature,
};
use std::{fs::File, io};

/// EFI system partition: C12A7328-F81F-11D2-BA4B-00A0C93EC93B, as it lies on disk.
pub const ESP: [u8; 16] =
    [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];

/// What a disk is divided by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Table {
    Gpt(Gpt),
    /// With the bytes that one sector stands for.
    Dos(Vec<MbrEntry>, u64),
}

/// A partition, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    pub number: u32,
    pub start: u64,
    pub size: u64,
    pub kind: SliceKind,
}

/// What its table says a partition is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SliceKind {
    Gpt(GptEntry),
    Dos(MbrEntry),
}

impl Slice {
    /// Whether firmware looks for loaders here.
    #[must_use]
    pub fn is_esp(&self) -> bool {
        match &self.kind {
            SliceKind::Gpt(entry) => entry.kind == ESP,
            SliceKind::Dos(entry) => entry.kind == 0xef,
        }
    }
}

impl Table {
    /// Reads the table of a disk of `size` bytes with sectors of `sector` bytes.
    ///
    /// # Errors
    /// What the disk says; no table is `None`.
    pub fn read(disk: &File, size: u64, sector: u64) -> io::Result<Option<Table>> {
        if let Some(gpt) = Gpt::read(disk, size)? {
            return Ok(Some(Table::Gpt(gpt)));
        }
        // The boot sector of a file system without a table ends in the same two bytes.
        let bare = signature::identify(disk, 0, size)?.is_some_and(|found| matches!(found.name, "vfat" | "ntfs"));
        let entries = if bare { None } else { mbr::read(disk, sector)? };
        Ok(entries.map(|entries| Table::Dos(entries, sector)))
    }

    /// As lsblk and parted call it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Table::Gpt(_) => "gpt",
            Table::Dos(..) => "dos",
        }
    }

    /// The partitions that hold something, by number.
    #[must_use]
    pub fn slices(&self) -> Vec<Slice> {
        match self {
            Table::Gpt(gpt) => {
                let slice = |entry: GptEntry| Slice {
                    number: entry.number,
                    start: entry.first_lba.saturating_mul(gpt.sector),
                    size: (entry.last_lba - entry.first_lba).saturating_add(1).saturating_mul(gpt.sector),
                    kind: SliceKind::Gpt(entry),
                };
                gpt.partitions().map(slice).collect()
            }
            Table::Dos(entries, sector) => {
                let slice = |entry: &MbrEntry| Slice {
                    number: entry.number,
                    start: entry.first * sector,
                    size: entry.count * sector,
                    kind: SliceKind::Dos(*entry),
                };
                entries.iter().filter(|entry| !entry.extended()).map(slice).collect()
            }
        }
    }
}
