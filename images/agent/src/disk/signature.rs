//! File systems and other formats by the marks they leave at fixed places (the list of libblkid, as far as servers show it).

use super::{Fields, read_at};
use std::{fs::File, io};

/// ZFS's first uberblocks end here; everything else lies before it.
const HEAD: usize = 256 << 10;
const RAID_MAGIC: u32 = 0xa92b_4efc;
const ZFS_MAGIC: u64 = 0x00ba_b10c;

/// A format recognised, by libblkid's name for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub name: &'static str,
    /// Bytes of the label, as they stand there.
    pub label: Vec<u8>,
}

/// What lies in the `size` bytes at `start`.
///
/// # Errors
/// What the disk says; nothing known is `None`.
pub fn identify(disk: &File, start: u64, size: u64) -> io::Result<Option<Found>> {
    let length = usize::try_from(size).unwrap_or(HEAD).min(HEAD);
    let head = read_at(disk, start, length)?;
    // A member of a mirror looks like its own content as well: the frame is asked for first.
    if raid(disk, start, size, &head)? {
        return Ok(Some(Found { name: "linux_raid_member", label: Vec::new() }));
    }
    Ok(of_head(&head))
}

/// Linux md: version 1.1 at the start, 1.2 at 4 KiB, 1.0 near the end, 0.90 in the last whole 64 KiB.
fn raid(disk: &File, start: u64, size: u64, head: &[u8]) -> io::Result<bool> {
    if [0, 4096].iter().any(|offset| head.u32_at(*offset) == Some(RAID_MAGIC) && head.u32_at(offset + 4) == Some(1)) {
        return Ok(true);
    }
    let ends = [(size / 512).saturating_sub(16) / 8 * 8 * 512, (size / 65536).saturating_sub(1) * 65536];
    for offset in ends {
        if offset > 0 && read_at(disk, start + offset, 4)?.u32_at(0) == Some(RAID_MAGIC) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn of_head(head: &[u8]) -> Option<Found> {
    let found = |name, label: Option<&[u8]>| {
        let label = label.unwrap_or_default();
        let end = label.iter().position(|byte| *byte == 0).unwrap_or(label.len());
        Some(Found { name, label: label.get(..end).unwrap_or_default().to_vec() })
    };
    let at = |offset: usize, length: usize| head.get(offset..)?.get(..length);
    let is = |offset: usize, what: &[u8]| head.holds(offset, what);

    if is(0, b"LUKS\xba\xbe") {
        // Only version 2 has a label.
        return found("crypto_LUKS", if is(6, &[0, 2]) { at(24, 48) } else { None });
    }
    if is(3, b"-FVE-FS-") {
        return found("BitLocker", None);
    }
    if (0..4).any(|sector| is(sector * 512, b"LABELONE") && is(sector * 512 + 24, b"LVM2 001")) {
        return found("LVM2_member", None);
    }
    if is(0, b"XFSB") {
        return found("xfs", at(108, 12));
    }
    if is(0x438, &[0x53, 0xef]) {
        return found(ext(head)?, at(0x478, 16));
    }
    if is(0x10040, b"_BHRfS_M") {
        return found("btrfs", at(0x1012b, 256));
    }
    if [4096, 8192, 16384, 65536].iter().any(|page| is(page - 10, b"SWAPSPACE2")) {
        return found("swap", at(1052, 16));
    }
    if is(3, b"NTFS    ") {
        return found("ntfs", None);
    }
    if is(3, b"EXFAT   ") {
        return found("exfat", None);
    }
    if is(510, &[0x55, 0xaa]) && is(82, b"FAT32   ") {
        return found("vfat", at(71, 11).map(fat_label));
    }
    if is(510, &[0x55, 0xaa]) && (is(54, b"FAT16   ") || is(54, b"FAT12   ")) {
        return found("vfat", at(43, 11).map(fat_label));
    }
    if is(0, b"hsqs") {
        return found("squashfs", None);
    }
    if is(0x400, &0xf2f5_2010_u32.to_le_bytes()) {
        return found("f2fs", None);
    }
    if is(32769, b"CD001") {
        return found("iso9660", at(32808, 32).map(<[u8]>::trim_ascii_end));
    }
    // Uberblocks of the first label fill the second 128 KiB, in either byte order.
    let uberblocks = head.get(128 << 10..).unwrap_or_default().chunks(1024);
    let zfs = |block: &[u8]| block.u64_at(0).is_some_and(|magic| magic == ZFS_MAGIC || magic.swap_bytes() == ZFS_MAGIC);
    if uberblocks.into_iter().any(zfs) {
        return found("zfs_member", None);
    }
    None
}

fn fat_label(label: &[u8]) -> &[u8] {
    if label.starts_with(b"NO NAME") { &[] } else { label.trim_ascii_end() }
}

/// Tells the generations apart by the features they brought (ext4's `fs/ext4/ext4.h`).
fn ext(head: &[u8]) -> Option<&'static str> {
    let (compatible, incompatible, read_only) = (head.u32_at(0x45c)?, head.u32_at(0x460)?, head.u32_at(0x464)?);
    const JOURNAL: u32 = 0x4;
    // Everything beyond filetype, recover, journal device and meta_bg; beyond sparse_super, large_file and btree_dir.
    Some(if incompatible & !0x1e != 0 || read_only & !0x7 != 0 {
        "ext4"
    } else if compatible & JOURNAL != 0 {
        "ext3"
    } else {
        "ext2"
    })
}
