//! The block map of a card, in bmap-tools' format 2.0: what has to be written, so that the rest of a card need not be.
//!
//! That is every block with something in it, and the empty ones whose emptiness says something on a card that was used before: the
//! gap with the state block, tables and used clusters of the FAT, the whole squashfs, every block that ext4 has in use.

use crate::{digest, project};
use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    io::{BufReader, Read as _, Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
    path::Path,
    process::Command,
};

const BLOCK: u64 = 4096;
const SECTOR: u64 = 512;
/// What stands in the file while its own sum is made.
const NO_SUM: &str = "0000000000000000000000000000000000000000000000000000000000000000";

struct Map {
    used: Vec<bool>,
}

impl Map {
    /// Marks every block that these bytes touch.
    fn mark(&mut self, start: u64, length: u64) {
        let (first, end) = (start / BLOCK, (start + length).div_ceil(BLOCK));
        for block in first..end {
            if let Some(used) = usize::try_from(block).ok().and_then(|block| self.used.get_mut(block)) {
                *used = true;
            }
        }
    }

    /// First and last block of each run.
    fn ranges(&self) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (block, _) in (0..).zip(&self.used).filter(|(_, used)| **used) {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == block => *last = block,
                _ => ranges.push((block, block)),
            }
        }
        ranges
    }
}

/// The map of an image, as XML.
pub fn map(path: &Path) -> Result<String> {
    let image = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let size = image.metadata()?.len();
    ensure!(size.is_multiple_of(BLOCK), "{} has {size} bytes, no multiple of {BLOCK}", path.display());
    let mut map = Map { used: vec![false; usize::try_from(size / BLOCK)?] };
    filled(&image, &mut map)?;
    let text = fs::read_to_string(project().join("buildroot/board/layout")).context("read buildroot/board/layout")?;
    let layout: BTreeMap<&str, u64> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter_map(|(key, value)| Some((key, value.parse().ok()?)))
        .collect();
    let place = |name: &str| {
        layout.get(name).map(|sector| sector * SECTOR).with_context(|| format!("the layout has no {name}"))
    };
    map.mark(0, place("BOOT_START")?);
    fat(&image, place("BOOT_START")?, &mut map).context("the boot partition")?;
    // How long the squashfs is stands in its superblock.
    let slot = place("A_START")?;
    map.mark(slot, number(&image, slot + 40, 8)?);
    for name in ["STATE_START", "STORE_START"] {
        ext4(path, place(name)?, &mut map).with_context(|| name.to_owned())?;
    }

    let mut ranges = String::new();
    for (first, last) in map.ranges() {
        let mut reader = &image;
        reader.seek(SeekFrom::Start(first * BLOCK))?;
        let sum = digest(reader.take((last + 1 - first) * BLOCK))?;
        let blocks = if first == last { first.to_string() } else { format!("{first}-{last}") };
        let _ = writeln!(ranges, "        <Range chksum=\"{sum}\"> {blocks} </Range>");
    }
    let mapped = map.used.iter().filter(|used| **used).count();
    let text = format!(
        "<?xml version=\"1.0\" ?>\n<bmap version=\"2.0\">\n    <ImageSize> {size} </ImageSize>\n    <BlockSize> {BLOCK} </BlockSize>\n    \
         <BlocksCount> {} </BlocksCount>\n    <MappedBlocksCount> {mapped} </MappedBlocksCount>\n    <ChecksumType> sha256 </ChecksumType>\n    \
         <BmapFileChecksum> {NO_SUM} </BmapFileChecksum>\n    <BlockMap>\n{ranges}    </BlockMap>\n</bmap>\n",
        map.used.len()
    );
    let sum = digest(text.as_bytes())?;
    Ok(text.replacen(NO_SUM, &sum, 1))
}

/// Marks the blocks that are not all zero.
fn filled(image: &File, map: &mut Map) -> Result<()> {
    let (mut reader, mut piece, mut at) = (BufReader::new(image), vec![0; 1 << 20], 0);
    let nothing = vec![0; 1 << 20];
    reader.rewind()?;
    loop {
        let length = reader.read(&mut piece)?;
        let Some(read) = piece.get(..length).filter(|read| !read.is_empty()) else { return Ok(()) };
        // Most of a card is empty: one comparison for the whole piece.
        if nothing.get(..length) != Some(read) {
            for (block, content) in (at / BLOCK..).zip(read.chunks(usize::try_from(BLOCK)?)) {
                if nothing.get(..content.len()) != Some(content) {
                    map.mark(block * BLOCK, BLOCK);
                }
            }
        }
        at += u64::try_from(length)?;
    }
}

/// A number of so many bytes, the lowest first.
fn number(image: &File, at: u64, bytes: usize) -> Result<u64> {
    let mut raw = [0; 8];
    image.read_exact_at(raw.get_mut(..bytes).context("no number is that long")?, at)?;
    Ok(u64::from_le_bytes(raw))
}

/// What stands before the data of a FAT32, and its clusters in use.
fn fat(image: &File, start: u64, map: &mut Map) -> Result<()> {
    let sector = number(image, start + 11, 2)?;
    let (per_cluster, reserved) = (number(image, start + 13, 1)?, number(image, start + 14, 2)?);
    let (tables, length) = (number(image, start + 16, 1)?, number(image, start + 36, 4)?);
    ensure!(sector == SECTOR && per_cluster > 0 && tables > 0 && length > 0, "it is no FAT32");
    let data = (reserved + tables * length) * SECTOR;
    map.mark(start, data);
    let mut table = vec![0; usize::try_from(length * SECTOR)?];
    image.read_exact_at(&mut table, start + reserved * SECTOR)?;
    for (cluster, entry) in (0..).zip(table.chunks(4)).skip(2) {
        if entry.iter().any(|byte| *byte != 0) {
            map.mark(start + data + (cluster - 2) * per_cluster * SECTOR, per_cluster * SECTOR);
        }
    }
    Ok(())
}

/// Every block of an ext4 but those that `dumpe2fs` calls free.
fn ext4(path: &Path, start: u64, map: &mut Map) -> Result<()> {
    let mut command = Command::new("dumpe2fs");
    let said = command
        .arg(format!("{}?offset={start}", path.display()))
        .env("LC_ALL", "C")
        .output()
        .context("run dumpe2fs")?;
    ensure!(said.status.success(), "dumpe2fs: {}", String::from_utf8_lossy(&said.stderr));
    let said = String::from_utf8(said.stdout)?;
    let value = |key: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|value| value.trim().parse::<u64>().ok())
            .with_context(|| format!("dumpe2fs said nothing of {key}"))
    };
    let (count, size) = (value("Block count:")?, value("Block size:")?);
    let mut free = vec![false; usize::try_from(count)?];
    for list in said.lines().filter_map(|line| line.strip_prefix("  Free blocks: ")) {
        for run in list.split(", ").filter(|run| !run.is_empty()) {
            let (first, last) = run.split_once('-').unwrap_or((run, run));
            let (first, last): (usize, usize) = (first.trim().parse()?, last.trim().parse()?);
            free.get_mut(first..=last).with_context(|| format!("free blocks {run} of {count}"))?.fill(true);
        }
    }
    ensure!(free.contains(&true), "dumpe2fs named no free block");
    for (block, _) in (0..).zip(&free).filter(|(_, free)| !**free) {
        map.mark(start + block * size, size);
    }
    Ok(())
}
