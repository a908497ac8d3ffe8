//! Disc images: whatever the bytes, reading them ends, stays within the image, and reads little more than it has.
//!
//! An input is a disc as its sectors that are not zeros: how many it has (u32), then each one's number (u32), how many bytes of
//! it follow (u16), and those; all little-endian. Sectors hold 2,048 bytes.

use super::Target;
use rackberry_iso::{Image, Kind, ReadAt, TreeKind};
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    io,
};
use system_tests::Dice;

pub const TARGETS: &[(&str, Target)] = &[
    ("any_bytes_as_a_disc", any_bytes),
    ("disc", |bytes| law(&Disc::decode(bytes))),
    ("sealed_disc", |bytes| {
        let mut disc = Disc::decode(bytes);
        disc.seal();
        law(&disc);
    }),
];

const SECTOR: usize = 2048;
/// The largest disc that is tried, in sectors.
const LARGEST: u32 = 1 << 16;

#[derive(Clone, Default)]
struct Disc {
    sectors: BTreeMap<u32, Vec<u8>>,
    count: u32,
    read: Cell<u64>,
}

impl Disc {
    fn decode(bytes: &[u8]) -> Self {
        let mut disc = Self::default();
        let Some((count, mut rest)) = bytes.split_first_chunk::<4>() else { return disc };
        disc.count = u32::from_le_bytes(*count).min(LARGEST);
        while let Some((head, next)) = rest.split_first_chunk::<6>() {
            let [a, b, c, d, low, high] = *head;
            let length = usize::from(u16::from_le_bytes([low, high])).min(SECTOR).min(next.len());
            let (content, after) = next.split_at(length);
            let mut sector = vec![0; SECTOR];
            sector.get_mut(..length).unwrap().copy_from_slice(content);
            disc.sectors.insert(u32::from_le_bytes([a, b, c, d]), sector);
            rest = after;
        }
        disc
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.count.to_le_bytes().to_vec();
        for (number, sector) in &self.sectors {
            let length = sector.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            bytes.extend(number.to_le_bytes());
            bytes.extend(u16::try_from(length).unwrap().to_le_bytes());
            bytes.extend(sector.iter().take(length));
        }
        bytes
    }

    /// Makes the checksums of UDF's descriptors right, without which nothing behind them would be tried.
    fn seal(&mut self) {
        for sector in self.sectors.values_mut() {
            // Identifiers of files begin anywhere, all else at the start of a block; only those follow each other closely.
            let names = sector.windows(4).any(|tag| matches!(*tag, [1, 1, 2 | 3, 0]));
            for at in (0..SECTOR - 16).step_by(if names { 4 } else { 512 }).rev() {
                match sector.get(at..at + 4) {
                    Some([1, 1, 2 | 3, 0]) => seal(sector.get_mut(at..).unwrap()),
                    Some([1..=9, 0, 2 | 3, 0] | [0..=10, 1, 2 | 3, 0]) if at % 512 == 0 => {
                        seal(sector.get_mut(at..).unwrap());
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Checksum and CRC of one descriptor (ECMA-167 3/7.2, 7.2.6).
fn seal(descriptor: &mut [u8]) {
    let Some((tag, body)) = descriptor.split_first_chunk_mut::<16>() else { return };
    let length = usize::from(u16::from_le_bytes([tag[10], tag[11]])).min(body.len());
    let crc = body.iter().take(length).fold(0_u16, |crc, byte| {
        let out = (crc >> 8) ^ u16::from(*byte);
        let out = out ^ (out >> 4);
        (crc << 8) ^ (out << 12) ^ (out << 5) ^ out
    });
    [tag[8], tag[9]] = crc.to_le_bytes();
    [tag[10], tag[11]] = u16::try_from(length).unwrap_or_default().to_le_bytes();
    tag[4] = 0;
    tag[4] = tag.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
}

impl ReadAt for Disc {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let within = usize::try_from(offset).unwrap() % SECTOR;
        let left = usize::try_from(self.size()?.saturating_sub(offset)).unwrap();
        let count = (SECTOR - within).min(buf.len()).min(left);
        let sector = self.sectors.get(&u32::try_from(offset / SECTOR as u64).unwrap());
        let to = buf.get_mut(..count).unwrap();
        match sector.and_then(|sector| sector.get(within..within + count)) {
            Some(from) => to.copy_from_slice(from),
            None => to.fill(0),
        }
        self.read.set(self.read.get() + count as u64);
        Ok(count)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(u64::from(self.count) * SECTOR as u64)
    }
}

/// Bytes where the volume descriptors are, and nothing else.
fn any_bytes(bytes: &[u8]) {
    let mut image = vec![0; 16 * SECTOR];
    image.extend(bytes);
    if let Ok(image) = Image::open(image) {
        for kind in TreeKind::ALL {
            let _ = image.tree(kind).map(|tree| tree.walk().count());
        }
        let _ = image.boot_images();
    }
}

/// Reading a disc ends; all that is found has a sound name, lies within the disc, and is found again by its path.
fn law(disc: &Disc) {
    let size = disc.size().unwrap();
    let Ok(image) = Image::open(disc) else { return };
    for boot in image.boot_images().unwrap_or_default() {
        assert!(boot.contents.extents().iter().all(|part| part.offset.unwrap() + part.length <= size));
    }
    let _ = (image.info(), image.udf_revision(), image.best_tree().map(|tree| tree.kind()));
    for kind in TreeKind::ALL {
        let Ok(tree) = image.tree(kind) else { continue };
        disc.read.set(0);
        let found: Vec<_> = tree.walk().map_while(Result::ok).collect();
        let read = disc.read.get();
        assert!(read < size.saturating_mul(1000) + (1 << 20), "{kind}: {read} bytes were read of {size}");
        let mut seen = BTreeSet::new();
        for (path, entry) in found.iter().take(48) {
            assert!(path.ends_with(&entry.name) && path.len() > entry.name.len());
            assert!(!entry.name.is_empty() && !entry.name.contains(&b'/') && !path.contains(&0));
            assert!(entry.name != b"." && entry.name != b"..");
            let again = tree.find_link(path);
            // Of two files of one name the first one is found.
            if seen.insert(path) {
                assert!(again.is_ok_and(|again| again.name == entry.name), "{}", path.escape_ascii());
            }
            let _ = tree.find(path);
            let Ok(contents) = tree.contents(entry) else { continue };
            assert_eq!(entry.kind, Kind::File);
            assert_eq!(contents.len(), contents.extents().iter().map(|part| part.length).sum::<u64>());
            for part in contents.extents() {
                assert!(part.length > 0 && part.offset.is_none_or(|offset| offset + part.length <= size));
            }
            let mut start = [0; 100];
            let wanted = usize::try_from(contents.len().min(100)).unwrap();
            assert_eq!(contents.read_at(disc, 0, &mut start).unwrap(), wanted);
        }
    }
}

/// One to five changes to a sound disc: numbers that lead elsewhere, bytes, sectors doubled, swapped and lost.
pub fn mutate(sound: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut disc = Disc::decode(sound);
    for _ in 0..=dice.below(4) {
        let numbers: Vec<u32> = disc.sectors.keys().copied().collect();
        if numbers.is_empty() {
            break;
        }
        let (here, there) = (*dice.pick(&numbers), *dice.pick(&numbers));
        let other = disc.sectors.get(&there).cloned().unwrap_or_default();
        let Some(sector) = disc.sectors.get_mut(&here) else { continue };
        let used = sector.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 8;
        let at = usize::try_from(dice.below(u32::try_from(used).unwrap())).unwrap();
        match dice.below(10) {
            0..=2 => {
                let odd = [0, 1, 0x7f, 0x80, 0xff, u8::try_from(dice.below(256)).unwrap()];
                put(sector, at, &[*dice.pick(&odd)]);
            }
            3 | 4 => {
                let odd = [0, 1, here, there, 2047, 2048, 0x3fff_ffff, 0xc000_0800, u32::MAX - 1, u32::MAX];
                put(sector, at, &dice.pick(&odd).to_le_bytes());
            }
            5 => put(sector, at, &dice.below(2100).to_le_bytes()),
            6 => {
                let from = usize::try_from(dice.below(2000)).unwrap();
                let length = usize::try_from(dice.below(200)).unwrap();
                put(sector, at, &other.into_iter().skip(from).take(length).collect::<Vec<u8>>());
            }
            7 => *sector = other,
            8 => {
                disc.sectors.remove(&here);
            }
            _ => disc.count = dice.below(disc.count + 1),
        }
    }
    disc.encode()
}

fn put(sector: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in sector.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}
