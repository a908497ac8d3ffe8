//! Writes UDF discs by the book (ECMA-167, UDF 2.60): what no program at hand writes, metadata partitions above all.

use super::sparse::Sparse;
use std::collections::BTreeMap;

/// The sector the partition begins at.
const PARTITION: u64 = 300;
/// Blocks of the partition where data begins; before it and behind this many lie metadata.
const DATA: u32 = 1000;
/// The metadata file has two parts of so many blocks, the first from this block of the partition on.
const PART: u32 = 300;
const FIRST_PART: u32 = 64;

/// What a disc is to be like.
#[derive(Clone, Copy)]
pub struct Recipe {
    pub revision: u16,
    pub block: u32,
    pub metadata: bool,
    /// The two parts of the metadata file do not follow each other.
    pub split: bool,
    /// Extended file entries.
    pub extended: bool,
    /// The first copy of the metadata file's entry is unreadable.
    pub only_mirror: bool,
}

pub enum Node {
    /// The content, and in how many stretches: 0 is within the file entry.
    File(Vec<u8>, usize),
    /// Every second block is not recorded.
    Holes(Vec<u8>),
    Directory(BTreeMap<String, Node>),
    Link(&'static str),
}

struct Disc {
    recipe: Recipe,
    image: Sparse,
    next_data: u32,
    next_meta: u32,
}

/// Writes a disc with that root directory, with 64 MiB behind its beginning at most.
pub fn write(recipe: Recipe, root: &BTreeMap<String, Node>) -> Sparse {
    let mut disc = Disc { recipe, image: Sparse::default(), next_data: DATA, next_meta: 3 };
    let (block, mine) = (u64::from(recipe.block), u16::from(recipe.metadata));
    disc.entry(2, 2, &EntryOf::Directory(root));
    let mut set = vec![0; 512];
    set[400..416].copy_from_slice(&long(recipe.block, 2, mine));
    set[416..448].copy_from_slice(&entity("*OSTA UDF Compliant", recipe.revision));
    let at = disc.meta(0);
    disc.descriptor(at, 256, 0, set);
    if recipe.metadata {
        for (file, kind) in [(0, 250), (1, 251)] {
            let parts = match recipe.split {
                true => [FIRST_PART, disc.second_part()].map(|start| short(PART * recipe.block, start)).concat(),
                false => short(2 * PART * recipe.block, FIRST_PART).to_vec(),
            };
            let mut entry = disc.file_entry(kind, 0, u64::from(2 * PART) * block, parts);
            if file == 0 && recipe.only_mirror {
                entry.truncate(16);
            }
            disc.descriptor(disc.physical(file), disc.entry_kind(), file, entry);
        }
        if recipe.only_mirror {
            let at = disc.physical(0);
            disc.image.put(at, &[0; 16]);
        }
    }
    disc.volume();
    disc.image
}

/// Either a node, or the root's names, which nobody owns.
enum EntryOf<'a> {
    Node(&'a Node),
    Directory(&'a BTreeMap<String, Node>),
}

impl Disc {
    fn physical(&self, block: u32) -> u64 {
        (PARTITION + u64::from(block)) * u64::from(self.recipe.block)
    }

    fn second_part(&self) -> u32 {
        FIRST_PART + PART + if self.recipe.split { 100 } else { 0 }
    }

    fn meta(&self, block: u32) -> u64 {
        match (self.recipe.metadata, block < PART) {
            (false, _) => self.physical(block),
            (true, true) => self.physical(FIRST_PART + block),
            (true, false) => self.physical(self.second_part() + block - PART),
        }
    }

    fn descriptor(&mut self, at: u64, kind: u16, location: u32, mut bytes: Vec<u8>) {
        let version: u16 = if self.recipe.revision < 0x0200 { 2 } else { 3 };
        bytes[0..2].copy_from_slice(&kind.to_le_bytes());
        bytes[2..4].copy_from_slice(&version.to_le_bytes());
        bytes[12..16].copy_from_slice(&location.to_le_bytes());
        seal(&mut bytes);
        self.image.put(at, &bytes);
    }

    fn entry_kind(&self) -> u16 {
        if self.recipe.extended { 266 } else { 261 }
    }

    fn file_entry(&self, kind: u8, form: u16, size: u64, descriptors: Vec<u8>) -> Vec<u8> {
        let (head, modified) = if self.recipe.extended { (216, 92) } else { (176, 84) };
        let mut entry = vec![0; head];
        entry[20..22].copy_from_slice(&4_u16.to_le_bytes());
        entry[24] = 1;
        entry[27] = kind;
        entry[34..36].copy_from_slice(&form.to_le_bytes());
        // Everybody may read and search, the owner may write: 0755.
        entry[44..48].copy_from_slice(&0x1ca5_u32.to_le_bytes());
        entry[48] = 1;
        entry[56..64].copy_from_slice(&size.to_le_bytes());
        if self.recipe.extended {
            entry[64..72].copy_from_slice(&size.to_le_bytes());
        }
        entry[modified..modified + 12].copy_from_slice(&[0, 0x10, 0xd1, 7, 2, 3, 4, 5, 6, 0, 0, 0]);
        entry[head - 4..].copy_from_slice(&(descriptors.len() as u32).to_le_bytes());
        entry.extend(descriptors);
        entry
    }

    /// Writes the file entry of a node to a block that was taken for it.
    fn entry(&mut self, at: u32, parent: u32, node: &EntryOf<'_>) {
        let mine = u16::from(self.recipe.metadata);
        let room = self.recipe.block as usize - 216;
        let (kind, size, form, descriptors) = match *node {
            EntryOf::Directory(names) | EntryOf::Node(Node::Directory(names)) => {
                let mut content = identifier(self.recipe.block, "", 0x0a, parent, mine);
                for (name, node) in names {
                    let block = self.next_meta;
                    self.next_meta += 1;
                    self.entry(block, at, &EntryOf::Node(node));
                    let characteristics = if matches!(node, Node::Directory(_)) { 2 } else { 0 };
                    content.extend(identifier(self.recipe.block, name, characteristics, block, mine));
                }
                // One that was deleted.
                content.extend(identifier(self.recipe.block, "gone", 4, 0, mine));
                let size = content.len();
                if size <= room {
                    (4, size, 3, content)
                } else {
                    let block = self.next_meta;
                    self.next_meta += (size as u32).div_ceil(self.recipe.block);
                    for (number, part) in (block..).zip(content.chunks(self.recipe.block as usize)) {
                        let at = self.meta(number);
                        self.image.put(at, part);
                    }
                    (4, size, 0, short(size as u32, block).to_vec())
                }
            }
            EntryOf::Node(Node::Link(target)) => {
                let mut parts = Vec::new();
                for part in target.split('/') {
                    match part {
                        "" => parts.extend([2, 0, 0, 0]),
                        ".." => parts.extend([3, 0, 0, 0]),
                        name => {
                            parts.extend([5, name.len() as u8 + 1, 0, 0, 8]);
                            parts.extend(name.bytes());
                        }
                    }
                }
                (12, parts.len(), 3, parts)
            }
            EntryOf::Node(Node::File(content, 0)) => (5, content.len(), 3, content.clone()),
            EntryOf::Node(Node::File(content, stretches)) => {
                let length = content.len().div_ceil(*stretches).next_multiple_of(self.recipe.block as usize).max(1);
                let extents = content.chunks(length).map(|part| (0, self.data(part), part.len() as u32)).collect();
                let (form, descriptors) = self.allocate(extents);
                (5, content.len(), form, descriptors)
            }
            EntryOf::Node(Node::Holes(content)) => {
                let mut extents = Vec::new();
                for (number, part) in content.chunks(self.recipe.block as usize).enumerate() {
                    match number % 3 {
                        0 => extents.push((0, self.data(part), part.len() as u32)),
                        1 => extents.push((2 << 30, 0, part.len() as u32)),
                        _ => extents.push((1 << 30, self.data(b"never to be seen"), part.len() as u32)),
                    }
                }
                let (form, descriptors) = self.allocate(extents);
                (5, content.len(), form, descriptors)
            }
        };
        let entry = self.file_entry(kind, form, size as u64, descriptors);
        assert!(entry.len() <= self.recipe.block as usize);
        let place = self.meta(at);
        self.descriptor(place, self.entry_kind(), at, entry);
    }

    /// Stores data with a gap behind it, so that no two stretches are neighbours.
    fn data(&mut self, bytes: &[u8]) -> u32 {
        let block = self.next_data;
        self.next_data += (bytes.len() as u32).div_ceil(self.recipe.block) + 1;
        let at = self.physical(block);
        self.image.put(at, bytes);
        block
    }

    /// Descriptors for extents (kind, block, length); more than ten go on in allocation extents.
    fn allocate(&mut self, extents: Vec<(u32, u32, u32)>) -> (u16, Vec<u8>) {
        let metadata = self.recipe.metadata;
        let one = |kind: u32, block: u32, length: u32, partition: u16| match metadata {
            true => long(kind | length, block, partition).to_vec(),
            false => short(kind | length, block).to_vec(),
        };
        let mut tables: Vec<Vec<u8>> = extents
            .chunks(10)
            .map(|table| table.iter().flat_map(|(kind, block, length)| one(*kind, *block, *length, 0)).collect())
            .collect();
        while tables.len() > 1 {
            let last = tables.pop().unwrap();
            let block = self.next_meta;
            self.next_meta += 1;
            let mut more = vec![0; 24];
            more[20..24].copy_from_slice(&(last.len() as u32).to_le_bytes());
            more.extend(last);
            let at = self.meta(block);
            self.descriptor(at, 258, block, more);
            let goes_on = one(3 << 30, block, self.recipe.block, u16::from(metadata));
            tables.last_mut().unwrap().extend(goes_on);
        }
        (u16::from(metadata), tables.pop().unwrap_or_default())
    }

    /// Recognition, volume descriptors twice, anchors.
    fn volume(&mut self) {
        let (block, recipe) = (u64::from(self.recipe.block), self.recipe);
        let version = if recipe.revision < 0x0200 { b"NSR02" } else { b"NSR03" };
        for (number, mark) in [b"BEA01", version, b"TEA01"].into_iter().enumerate() {
            let step = block.max(2048);
            self.image.put(32768 + number as u64 * step, &[&[0], &mark[..], &[1]].concat());
        }
        let last = (self.image.size / block).max(PARTITION + u64::from(self.next_data) + 8);
        for begin in [96, 128] {
            let mut primary = vec![0; 512];
            primary[56..60].copy_from_slice(&[1, 0, 1, 0]);
            self.descriptor(begin * block, 1, begin as u32, primary);
            let mut partition = vec![0; 512];
            partition[16] = 1;
            partition[20] = 1;
            let contents = if recipe.revision < 0x0200 { "+NSR02" } else { "+NSR03" };
            partition[24..56].copy_from_slice(&entity(contents, 0));
            partition[184] = 1;
            partition[188..192].copy_from_slice(&(PARTITION as u32).to_le_bytes());
            partition[192..196].copy_from_slice(&((last - PARTITION) as u32).to_le_bytes());
            self.descriptor((begin + 1) * block, 5, begin as u32 + 1, partition);
            let mut volume = vec![0; 440];
            volume[16] = 2;
            volume[84..92].copy_from_slice(b"\x08a label");
            volume[211] = 8;
            volume[212..216].copy_from_slice(&recipe.block.to_le_bytes());
            volume[216..248].copy_from_slice(&entity("*OSTA UDF Compliant", recipe.revision));
            volume[248..264].copy_from_slice(&long(recipe.block, 0, u16::from(recipe.metadata)));
            let mut maps = vec![1, 6, 1, 0, 0, 0];
            if recipe.metadata {
                let mut map = vec![2, 64, 0, 0];
                map.extend(entity("*UDF Metadata Partition", recipe.revision));
                map.extend([1, 0, 0, 0]);
                map.extend([0_u32, 1, u32::MAX, 32].iter().flat_map(|value| value.to_le_bytes()));
                map.resize(64, 0);
                maps.extend(map);
            }
            volume[264..268].copy_from_slice(&(maps.len() as u32).to_le_bytes());
            volume[268..272].copy_from_slice(&(1 + u32::from(recipe.metadata)).to_le_bytes());
            volume.extend(maps);
            self.descriptor((begin + 2) * block, 6, begin as u32 + 2, volume);
            self.descriptor((begin + 3) * block, 8, begin as u32 + 3, vec![0; 512]);
        }
        for number in [256, last] {
            let mut anchor = vec![0; 512];
            for (at, begin) in [(16, 96_u32), (24, 128)] {
                anchor[at..at + 4].copy_from_slice(&(16 * recipe.block).to_le_bytes());
                anchor[at + 4..at + 8].copy_from_slice(&begin.to_le_bytes());
            }
            self.descriptor(number * block, 2, number as u32, anchor);
        }
        self.image.size = (last + 1) * block;
    }
}

/// Makes checksum and CRC of a descriptor right.
pub fn seal(bytes: &mut [u8]) {
    let length = (bytes.len() - 16) as u16;
    let crc = bytes[16..].iter().fold(0_u16, |crc, byte| {
        let mut crc = crc ^ (u16::from(*byte) << 8);
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
        crc
    });
    bytes[8..10].copy_from_slice(&crc.to_le_bytes());
    bytes[10..12].copy_from_slice(&length.to_le_bytes());
    bytes[4] = 0;
    bytes[4] = bytes[..16].iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
}

fn entity(name: &str, revision: u16) -> [u8; 32] {
    let mut entity = [0; 32];
    entity[1..=name.len()].copy_from_slice(name.as_bytes());
    entity[24..26].copy_from_slice(&revision.to_le_bytes());
    entity
}

fn short(length: u32, block: u32) -> [u8; 8] {
    let mut descriptor = [0; 8];
    descriptor[..4].copy_from_slice(&length.to_le_bytes());
    descriptor[4..].copy_from_slice(&block.to_le_bytes());
    descriptor
}

fn long(length: u32, block: u32, partition: u16) -> [u8; 16] {
    let mut descriptor = [0; 16];
    descriptor[..8].copy_from_slice(&short(length, block));
    descriptor[8..10].copy_from_slice(&partition.to_le_bytes());
    descriptor
}

fn identifier(block_size: u32, name: &str, characteristics: u8, block: u32, partition: u16) -> Vec<u8> {
    let encoded = match name.chars().all(|c| u32::from(c) < 256) {
        _ if name.is_empty() => Vec::new(),
        true => [8].into_iter().chain(name.chars().map(|c| c as u8)).collect(),
        false => [16].into_iter().chain(name.encode_utf16().flat_map(u16::to_be_bytes)).collect::<Vec<u8>>(),
    };
    let mut bytes = vec![0; 38];
    bytes[0..2].copy_from_slice(&257_u16.to_le_bytes());
    bytes[2] = 3;
    bytes[12..16].copy_from_slice(&block.to_le_bytes());
    bytes[16] = 1;
    bytes[18] = characteristics;
    bytes[19] = encoded.len() as u8;
    bytes[20..36].copy_from_slice(&long(block_size, block, partition));
    bytes.extend(encoded);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    seal(&mut bytes);
    bytes
}
