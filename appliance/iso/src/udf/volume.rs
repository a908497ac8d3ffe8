//! From the anchor to the root directory (ECMA-167 3/8.4, 3/10, 4/14.1), and the directories below it.

use super::{
    allocation,
    descriptor::{self, expect},
    file_entry::FileEntry,
    names,
    partition::{self, Address, Map, Partition, PartitionDescriptor, Partitions, expect_at},
};
use crate::{
    Error,
    directory::LARGEST_DIRECTORY,
    entry::{Contents, Entry, Kind, Listing, Place, nameable},
    error::shown,
    source::{Block, Medium},
};

/// Descriptors of a volume descriptor sequence; real ones have six to ten.
const MOST_DESCRIPTORS: u32 = 256;
/// Bytes of a link's content: what a target of 4,096 bytes needs in parts of one wide character each.
const LARGEST_LINK: u64 = 16 << 10;
/// The newest revision that is known.
const NEWEST: u16 = 0x0260;

/// What a directory names, without asking what each of it is.
pub(crate) struct Names {
    /// Each with where its file entry lies.
    pub named: Vec<(Vec<u8>, Address)>,
    /// As in [`Listing`].
    pub unnameable: u32,
}

/// A UDF volume.
pub(crate) struct Volume {
    pub label: String,
    /// As 0x0102 for 1.02.
    pub revision: u16,
    partitions: Partitions,
    root: Address,
}

impl Volume {
    pub fn open(medium: Medium<'_>) -> Result<Self, Error> {
        let (sector, anchor) = anchor(medium)?;
        let anchor = expect(&anchor, descriptor::ANCHOR)?;
        // The sequence, or else its copy (3/10.2).
        let sequence = match Sequence::read(medium, sector, anchor.u32(20)?, anchor.u32(16)?) {
            Ok(sequence) => sequence,
            Err(error) => Sequence::read(medium, sector, anchor.u32(28)?, anchor.u32(24)?).map_err(|_| error)?,
        };
        let volume = sequence.volume.piece();
        let block = volume.u32(212)?;
        if block != sector {
            return Err(volume.malformed("its blocks and the sectors of the disc differ in length"));
        }
        // UDF 2.1.5.3: the revision is in the suffix of the domain's identifier.
        if volume.part(217, 19)?.bytes != b"*OSTA UDF Compliant" {
            return Err(volume.unsupported("it does not follow UDF"));
        }
        let revision = volume.u16(240)?;
        if revision > NEWEST {
            return Err(volume.unsupported("it is of a newer revision of UDF than 2.60"));
        }
        let mut partitions = Partitions { block, all: Vec::new() };
        for map in partition::maps(volume)? {
            let next = sequence.partition(medium, block, map)?;
            partitions.all.push(next);
        }
        let file_set = Address::of_long(volume.part(248, 16)?)?;
        let file_set = expect_at(&partitions, medium, "the file set descriptor", file_set, descriptor::FILE_SET)?;
        let root = Address::of_long(file_set.piece().part(400, 16)?)?;
        Ok(Self { label: names::fixed(volume.part(84, 128)?)?, revision, partitions, root })
    }

    pub fn root(&self, medium: Medium<'_>) -> Result<Entry, Error> {
        let root = self.entry(medium, Vec::new(), self.root)?;
        match root.kind {
            Kind::Directory => Ok(root),
            _ => Err(Error::NotADirectory { path: "/".to_owned() }),
        }
    }

    /// What a directory names.
    pub fn names(&self, medium: Medium<'_>, directory: &Entry) -> Result<Names, Error> {
        let Place::Udf(address) = directory.place else {
            return Err(Error::NotADirectory { path: shown(&directory.name) });
        };
        let entry = FileEntry::read(&self.partitions, medium, address)?;
        let content = self.content(medium, "a directory", &entry, LARGEST_DIRECTORY)?;
        let mut named = names::identifiers(content.piece())?;
        let all = named.len();
        named.retain(|(name, _)| nameable(name));
        let unnameable = u32::try_from(all - named.len()).unwrap_or(u32::MAX);
        Ok(Names { named, unnameable })
    }

    pub fn list(&self, medium: Medium<'_>, directory: &Entry) -> Result<Listing, Error> {
        let Names { named, unnameable } = self.names(medium, directory)?;
        let entries = named.into_iter().map(|(name, address)| self.entry(medium, name, address));
        Ok(Listing { entries: entries.collect::<Result<_, _>>()?, unnameable })
    }

    /// The entry whose file entry lies there.
    pub fn entry(&self, medium: Medium<'_>, name: Vec<u8>, address: Address) -> Result<Entry, Error> {
        let file = FileEntry::read(&self.partitions, medium, address)?;
        let target = match file.kind {
            Kind::Symlink => {
                let content = self.content(medium, "a symbolic link", &file, LARGEST_LINK)?;
                Some(names::target(content.piece())?)
            }
            _ => None,
        };
        Ok(Entry {
            name,
            kind: file.kind,
            size: target.as_ref().map_or(file.size, |target| target.len() as u64),
            mode: Some(file.mode),
            modified: file.modified,
            target,
            place: Place::Udf(address),
        })
    }

    pub fn contents(&self, medium: Medium<'_>, address: Address) -> Result<Contents, Error> {
        let entry = FileEntry::read(&self.partitions, medium, address)?;
        allocation::contents(&self.partitions, medium, &entry)
    }

    /// Where a file entry lies in the image.
    pub fn offset_of(&self, address: Address) -> Result<u64, Error> {
        self.partitions.offset("a file entry", address)
    }

    /// The bytes of a directory or a link.
    fn content(&self, medium: Medium<'_>, what: &'static str, entry: &FileEntry, limit: u64) -> Result<Block, Error> {
        let limit = limit.min(medium.size);
        if entry.size > limit {
            return Err(Error::Limit { what, offset: entry.offset(), limit });
        }
        let contents = allocation::contents(&self.partitions, medium, entry)?;
        let mut bytes = Vec::new();
        for extent in contents.extents() {
            let why = "a part of it was never written";
            let offset = extent.offset.ok_or(Error::Malformed { what, offset: entry.offset(), why })?;
            medium.append(what, offset, extent.length, &mut bytes)?;
        }
        let offset = contents.extents().first().and_then(|extent| extent.offset);
        Ok(Block { what, offset: offset.unwrap_or(entry.offset()), bytes })
    }
}

/// The anchor volume descriptor pointer and the length of a sector: it lies in sector 256, in the last, or 256 before that
/// (3/8.4.2.1).
fn anchor(medium: Medium<'_>) -> Result<(u32, Block), Error> {
    const WHAT: &str = "the anchor of UDF";
    for sector in [2048_u32, 512, 4096, 1024] {
        let length = u64::from(sector);
        let last = (medium.size / length).saturating_sub(1);
        for number in [256, last, last.saturating_sub(256)] {
            let offset = number.saturating_mul(length);
            if medium.check(WHAT, offset, length).is_err() {
                continue;
            }
            let block = medium.read(WHAT, offset, length)?;
            // The tag tells where it is, so that none is found by a wrong length of sectors.
            if expect(&block, descriptor::ANCHOR).is_ok() && u64::from(block.piece().u32(12)?) == number {
                return Ok((sector, block));
            }
        }
    }
    let (offset, why) = (256 * 2048, "it is in none of the three places it may be in");
    Err(Error::Malformed { what: WHAT, offset, why })
}

/// What a volume descriptor sequence says (3/8.4.2).
struct Sequence {
    volume: Block,
    partitions: Vec<PartitionDescriptor>,
}

impl Sequence {
    fn read(medium: Medium<'_>, sector: u32, first: u32, length: u32) -> Result<Self, Error> {
        const WHAT: &str = "the UDF volume descriptor sequence";
        // Of descriptors for the same thing the one with the highest number holds (3/8.4.3).
        let mut volume: Option<(u32, Block)> = None;
        let mut partitions: Vec<(u32, PartitionDescriptor)> = Vec::new();
        let (mut at, mut left) = (first, length / sector);
        for _ in 0..MOST_DESCRIPTORS {
            if left == 0 {
                break;
            }
            let block = medium.read(WHAT, u64::from(at) * u64::from(sector), sector.into())?;
            let piece = block.piece();
            (at, left) = (at.saturating_add(1), left - 1);
            match descriptor::kind(piece)? {
                descriptor::TERMINATING => break,
                // It goes on elsewhere (3/10.3).
                descriptor::POINTER => (at, left) = (piece.u32(24)?, piece.u32(20)? / sector),
                descriptor::LOGICAL_VOLUME => {
                    let number = piece.u32(16)?;
                    if volume.as_ref().is_none_or(|(known, _)| *known <= number) {
                        volume = Some((number, block));
                    }
                }
                descriptor::PARTITION => {
                    let (number, next) = (piece.u32(16)?, PartitionDescriptor::read(piece, sector)?);
                    match partitions.iter_mut().find(|(_, known)| known.number == next.number) {
                        Some(known) if known.0 <= number => *known = (number, next),
                        Some(_) => {}
                        None => partitions.push((number, next)),
                    }
                }
                _ => {}
            }
        }
        let offset = u64::from(first) * u64::from(sector);
        let (_, volume) = volume.ok_or(Error::Malformed { what: WHAT, offset, why: "it names no logical volume" })?;
        Ok(Self { volume, partitions: partitions.into_iter().map(|(_, partition)| partition).collect() })
    }

    fn physical(&self, number: u16) -> Result<u64, Error> {
        let found = self.partitions.iter().find(|partition| partition.number == number);
        let why = "a partition of its map is not described";
        found.map(|partition| partition.start).ok_or_else(|| self.volume.piece().malformed(why))
    }

    fn partition(&self, medium: Medium<'_>, block: u32, map: Map) -> Result<Partition, Error> {
        match map {
            Map::Physical(number) => Ok(Partition::Physical { start: self.physical(number)? }),
            Map::Metadata { partition, file, mirror } => {
                // The file is described in the physical partition and says so by short descriptors (UDF 2.2.13.1).
                let start = self.physical(partition)?;
                let below = Partitions { block, all: vec![Partition::Physical { start }] };
                let read = |block| {
                    let entry = FileEntry::read(&below, medium, Address { partition: 0, block })?;
                    allocation::contents(&below, medium, &entry)
                };
                let contents = read(file).or_else(|error| read(mirror).map_err(|_| error))?;
                Ok(Partition::Metadata { contents })
            }
        }
    }
}
