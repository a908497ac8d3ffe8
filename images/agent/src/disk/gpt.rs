//! GUID partition tables (UEFI 2.10 chapter 5): read with both checksums, changed in place, byte for byte otherwise.

use super::{Fields, read_at};
use flate2::Crc;
use std::{fs::File, io, os::unix::fs::FileExt};

const SIGNATURE: &[u8] = b"EFI PART";
/// No table of ours or anybody's comes near.
const ENTRIES_LIMIT: usize = 1 << 20;
const ENTRY_MINIMUM: usize = 128;
/// Every partition ends at a MiB, as all tools of today do it.
const ALIGNMENT: u64 = 1 << 20;

/// One copy of the table, with its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpt {
    /// Bytes that one LBA stands for.
    pub sector: u64,
    header: Vec<u8>,
    entries: Vec<u8>,
    entry_size: usize,
}

/// A partition as its entry states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GptEntry {
    /// From 1.
    pub number: u32,
    pub kind: [u8; 16],
    pub guid: [u8; 16],
    pub first_lba: u64,
    /// Inclusive.
    pub last_lba: u64,
}

impl Gpt {
    /// Reads the primary table, or the backup at the disk's end if the primary is damaged.
    ///
    /// # Errors
    /// What the disk says; a disk without a valid table is `None`.
    pub fn read(disk: &File, size: u64) -> io::Result<Option<Gpt>> {
        for sector in [512, 4096] {
            for lba in [1, (size / sector).saturating_sub(1)] {
                if let Some(found) = Self::read_copy(disk, sector, lba)? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    fn read_copy(disk: &File, sector: u64, lba: u64) -> io::Result<Option<Gpt>> {
        let block = read_at(disk, lba * sector, usize::try_from(sector).unwrap_or(512))?;
        let Some((header, place, entries_bytes, entry_size, entries_crc)) = Self::header(block, lba) else {
            return Ok(None);
        };
        let entries = read_at(disk, place.saturating_mul(sector), entries_bytes)?;
        let whole = entries.len() == entries_bytes && crc32(&entries) == entries_crc;
        Ok(whole.then_some(Gpt { sector, header, entries, entry_size }))
    }

    /// Checks a header: the block, where the entries are, how many bytes, how large each is, their checksum.
    fn header(block: Vec<u8>, lba: u64) -> Option<(Vec<u8>, u64, usize, usize, u32)> {
        let size = usize::try_from(block.u32_at(12)?).ok()?;
        let mut summed = block.get(..size)?.to_vec();
        let right = block.holds(0, SIGNATURE) && summed.put(16, &[0; 4]) && block.u32_at(16)? == crc32(&summed);
        if !right || block.u64_at(24)? != lba {
            return None;
        }
        let entry_size = usize::try_from(block.u32_at(84)?).ok()?;
        let bytes = usize::try_from(block.u32_at(80)?).ok()?.checked_mul(entry_size)?;
        if entry_size < ENTRY_MINIMUM || bytes > ENTRIES_LIMIT {
            return None;
        }
        let (place, crc) = (block.u64_at(72)?, block.u32_at(88)?);
        Some((block, place, bytes, entry_size, crc))
    }

    /// The partitions in use, by number.
    pub fn partitions(&self) -> impl Iterator<Item = GptEntry> + '_ {
        self.entries.chunks_exact(self.entry_size).zip(1..).filter_map(|(entry, number)| {
            let kind: [u8; 16] = entry.array(0)?;
            let (first_lba, last_lba) = (entry.u64_at(32)?, entry.u64_at(40)?);
            let used = kind != [0; 16] && first_lba <= last_lba;
            used.then_some(GptEntry { number, kind, guid: entry.array(16)?, first_lba, last_lba })
        })
    }

    /// Stretches the table to a disk of `size` bytes and the partition that lies last to its end.
    ///
    /// # Errors
    /// What the disk says. A repeated call changes nothing; a crash in between leaves one valid copy.
    pub fn grow(mut self, disk: &File, size: u64) -> io::Result<()> {
        let sectors = size / self.sector;
        let entries_sectors = (self.entries.len() as u64).div_ceil(self.sector);
        let Some(backup) = sectors.checked_sub(1) else { return Ok(()) };
        let Some(last_usable) = backup.checked_sub(entries_sectors + 1) else { return Ok(()) };
        let aligned = (last_usable + 1) * self.sector / ALIGNMENT * ALIGNMENT / self.sector;
        let last = self.partitions().max_by_key(|partition| partition.last_lba);
        if let Some(last) = last.filter(|last| last.last_lba < aligned.saturating_sub(1)) {
            let offset = (last.number as usize - 1) * self.entry_size + 40;
            self.entries.put(offset, &(aligned - 1).to_le_bytes());
        } else if self.header.u64_at(24) == Some(1) && self.header.u64_at(32) == Some(backup) {
            return Ok(());
        }
        // Boards whose boot ROM reads the sectors behind the header have the entries elsewhere.
        let primary = self.header.u64_at(24) == Some(1);
        let first_entries = if primary { self.header.u64_at(72).unwrap_or(2) } else { 2 };
        let fields_backup = [(24, backup), (32, 1), (48, last_usable), (72, backup - entries_sectors)];
        let fields_primary = [(24, 1), (32, backup), (48, last_usable), (72, first_entries)];
        // The backup first: until it is whole, the old primary stays the table in force.
        for (fields, entries_at, header_at) in
            [(fields_backup, backup - entries_sectors, backup), (fields_primary, first_entries, 1)]
        {
            disk.write_all_at(&self.entries, entries_at * self.sector)?;
            disk.write_all_at(&self.sealed(&fields), header_at * self.sector)?;
            disk.sync_all()?;
        }
        self.protect(disk, sectors)
    }

    /// The header with some fields changed and its checksums renewed.
    fn sealed(&self, fields: &[(usize, u64)]) -> Vec<u8> {
        let mut header = self.header.clone();
        for (offset, value) in fields {
            header.put(*offset, &value.to_le_bytes());
        }
        header.put(88, &crc32(&self.entries).to_le_bytes());
        header.put(16, &[0; 4]);
        let size = header.u32_at(12).and_then(|size| usize::try_from(size).ok()).unwrap_or(92);
        let crc = crc32(header.get(..size).unwrap_or(&header));
        header.put(16, &crc.to_le_bytes());
        header
    }

    /// Lets the protective MBR cover the disk; a hybrid one with partitions of its own stays as it is.
    fn protect(&self, disk: &File, sectors: u64) -> io::Result<()> {
        let mut mbr = read_at(disk, 0, 512)?;
        let kind = |index: usize| mbr.get(446 + 16 * index + 4).copied();
        if kind(0) == Some(0xee) && (1..4).all(|index| kind(index) == Some(0)) {
            let length = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
            mbr.put(446 + 12, &length.to_le_bytes());
            disk.write_all_at(&mbr, 0)?;
        }
        disk.sync_all()
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use std::process::Command;

    const SMALL: u64 = 64 << 20;
    const LARGE: u64 = 200 << 20;
    /// As cloud images have it: the root is number 1 and lies behind number 15.
    const SCRIPT: &str = "label: gpt\nfirst-lba: 2048\n\
        15: start=2048, size=20480, type=uefi, name=esp\n\
        1: start=22528, size=100000, type=linux, name=root, attrs=LegacyBIOSBootable\n";

    fn dump(path: &str) -> Vec<String> {
        let output = Command::new("sfdisk").args(["--dump", path]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    fn grown(file: &File) -> Vec<u8> {
        Gpt::read(file, LARGE).unwrap().unwrap().grow(file, LARGE).unwrap();
        read_at(file, 0, LARGE as usize).unwrap()
    }

    fn disk() -> Option<tempfile::NamedTempFile> {
        let disk = tempfile::NamedTempFile::new().unwrap();
        disk.as_file().set_len(SMALL).unwrap();
        testing::tool(&["sfdisk", "-q", disk.path().to_str()?], SCRIPT).then_some(disk)
    }

    #[test]
    fn only_the_last_partitions_end_changes_and_other_tools_find_nothing_wrong() {
        let Some(disk) = disk() else { return };
        let path = disk.path().to_str().unwrap();
        let before = dump(path);
        disk.as_file().set_len(LARGE).unwrap();
        let first = grown(disk.as_file());
        assert!(first == grown(disk.as_file()), "a second call changes something");
        let after = dump(path);
        let changed: Vec<(&String, &String)> = before.iter().zip(&after).filter(|(old, new)| old != new).collect();
        assert_eq!((before.len(), changed.len()), (after.len(), 2), "{changed:?}");
        // 200 MiB less the last one, which the backup table shares.
        let size = (199 << 20) / 512 - 22528;
        assert!(changed[0].1.starts_with("last-lba"), "{changed:?}");
        assert!(
            changed[1].1.contains("type=0FC63DAF") && changed[1].1.contains(&format!("size= {size:>11},")),
            "{changed:?}"
        );
    }

    #[test]
    fn a_crash_between_the_two_copies_leaves_a_table() {
        let Some(disk) = disk() else { return };
        let file = disk.as_file();
        file.set_len(LARGE).unwrap();
        grown(file);
        file.write_all_at(&[0; 4096], 512).unwrap();
        let by_backup = Gpt::read(file, LARGE).unwrap().unwrap();
        assert_eq!(by_backup.partitions().map(|partition| partition.number).collect::<Vec<_>>(), [1, 15]);
        by_backup.grow(file, LARGE).unwrap();
        assert_eq!(dump(disk.path().to_str().unwrap()).iter().filter(|line| line.contains("type=")).count(), 2);
    }

    #[test]
    fn a_damaged_table_is_none() {
        let Some(disk) = disk() else { return };
        let file = disk.as_file();
        for at in [512 + 50, SMALL - 512 + 50] {
            file.write_all_at(&[0xff], at).unwrap();
        }
        assert_eq!(Gpt::read(file, SMALL).unwrap(), None);
    }
}
