//! Partition tables of the IBM PC: four entries in the first sector, more in a chain of extended ones.

use super::{Fields, read_at};
use std::{fs::File, io, os::unix::fs::FileExt};

/// Linux itself stops counting here.
const LOGICAL_LIMIT: u32 = 60;
const SECTOR: u64 = 512;
const ALIGNMENT_SECTORS: u64 = 2048;

/// A partition as its entry states it, in sectors of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MbrEntry {
    pub number: u32,
    pub kind: u8,
    pub active: bool,
    pub first: u64,
    pub count: u64,
}

impl MbrEntry {
    fn parse(sector: &[u8], index: u32) -> Option<MbrEntry> {
        let entry = sector.get(446 + 16 * index as usize..)?.get(..16)?;
        let (status, kind) = (*entry.first()?, *entry.get(4)?);
        Some(MbrEntry {
            number: index + 1,
            kind,
            active: status == 0x80,
            first: u64::from(entry.u32_at(8)?),
            count: u64::from(entry.u32_at(12)?),
        })
    }

    /// Whether it is only the frame of logical ones.
    #[must_use]
    pub fn extended(&self) -> bool {
        matches!(self.kind, 0x05 | 0x0f | 0x85)
    }

    fn used(&self) -> bool {
        self.kind != 0 && self.count > 0
    }
}

/// Reads the table of a disk whose sectors have `sector` bytes; `None` if the first sector holds none.
///
/// # Errors
/// What the disk says.
pub fn read(disk: &File, sector: u64) -> io::Result<Option<Vec<MbrEntry>>> {
    let first = read_at(disk, 0, 512)?;
    let statuses_right = (0..4).all(|index| matches!(first.get(446 + 16 * index), Some(0 | 0x80)));
    let primary: Vec<MbrEntry> = (0..4).filter_map(|index| MbrEntry::parse(&first, index)).collect();
    let any = primary.iter().any(MbrEntry::used);
    if !first.holds(510, &[0x55, 0xaa]) || !statuses_right || !any {
        return Ok(None);
    }
    let mut entries: Vec<MbrEntry> = primary.iter().copied().filter(MbrEntry::used).collect();
    if let Some(frame) = primary.iter().find(|entry| entry.used() && entry.extended()) {
        entries.extend(logical(disk, sector, frame.first)?);
    }
    Ok(Some(entries))
}

fn logical(disk: &File, sector: u64, frame: u64) -> io::Result<Vec<MbrEntry>> {
    let (mut found, mut at) = (Vec::new(), frame);
    for number in 5..5 + LOGICAL_LIMIT {
        let block = read_at(disk, at.saturating_mul(sector), 512)?;
        let (Some(own), Some(next)) = (MbrEntry::parse(&block, 0), MbrEntry::parse(&block, 1)) else { break };
        if !block.holds(510, &[0x55, 0xaa]) {
            break;
        }
        if own.used() {
            found.push(MbrEntry { number, first: at + own.first, ..own });
        }
        if !next.used() {
            break;
        }
        at = frame + next.first;
    }
    Ok(found)
}

/// Stretches the partition that lies last to the end of a disk of `size` bytes; true unless that one is a logical
/// partition, which stays as it is.
///
/// # Errors
/// What the disk says. A repeated call changes nothing.
pub fn grow(disk: &File, size: u64, sector: u64, entries: &[MbrEntry]) -> io::Result<bool> {
    let Some(last) = entries.iter().max_by_key(|entry| (entry.first + entry.count, entry.number)) else {
        return Ok(true);
    };
    if last.number > 4 || last.extended() {
        return Ok(false);
    }
    let alignment = ALIGNMENT_SECTORS * SECTOR / sector;
    let end = (size / sector).min(u64::from(u32::MAX)) / alignment * alignment;
    if last.first + last.count >= end {
        return Ok(true);
    }
    let mut block = read_at(disk, 0, 512)?;
    let entry = 446 + 16 * (last.number as usize - 1);
    let count = u32::try_from(end - last.first).unwrap_or(u32::MAX);
    block.put(entry + 12, &count.to_le_bytes());
    // Beyond what cylinders, heads and sectors can say.
    block.put(entry + 5, &[0xfe, 0xff, 0xff]);
    disk.write_all_at(&block, 0)?;
    disk.sync_all()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn disk(script: &str) -> Option<File> {
        let disk = tempfile::NamedTempFile::new().unwrap();
        disk.as_file().set_len(64 << 20).unwrap();
        testing::tool(&["sfdisk", "-q", disk.path().to_str()?], script).then(|| disk.into_file())
    }

    #[test]
    fn the_last_primary_partition_grows_once() {
        let Some(file) = disk("label: dos\nsize=8M, type=c, bootable\nsize=10M, type=83\n") else { return };
        let size = 128 << 20;
        file.set_len(size).unwrap();
        for _ in 0..2 {
            let entries = read(&file, 512).unwrap().unwrap();
            assert!(grow(&file, size, 512, &entries).unwrap());
        }
        let entries = read(&file, 512).unwrap().unwrap();
        assert_eq!((entries[0].kind, entries[0].active, entries[0].count), (0xc, true, 16384));
        assert_eq!((entries[1].kind, (entries[1].first + entries[1].count) * 512), (0x83, size));
    }

    #[test]
    fn logical_partitions_are_found_and_left_alone() {
        let script = "label: dos\nsize=8M, type=83\ntype=5\nsize=8M, type=82\nsize=9M, type=83\n";
        let Some(file) = disk(script) else { return };
        let entries = read(&file, 512).unwrap().unwrap();
        let found: Vec<(u32, u64)> =
            entries.iter().filter(|e| !e.extended()).map(|e| (e.number, e.count / 2048)).collect();
        assert_eq!(found, [(1, 8), (5, 8), (6, 9)]);
    }

    #[test]
    fn a_chain_that_leads_round_in_a_circle_ends() {
        let Some(file) = disk("label: dos\nsize=8M, type=83\ntype=5\nsize=8M, type=83\n") else { return };
        let frame = read(&file, 512).unwrap().unwrap()[1].first * 512;
        let mut block = read_at(&file, frame, 512).unwrap();
        block.put(462, &[0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        file.write_all_at(&block, frame).unwrap();
        assert!(read(&file, 512).unwrap().unwrap().len() <= 64);
    }
}
