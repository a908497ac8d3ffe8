//! Writes small ISO 9660 discs record by record, so that each can be wrong in its own way.

use super::sparse::Sparse;

/// A directory record (ECMA-119 9.1).
#[derive(Clone, Default)]
pub struct Record {
    pub name: Vec<u8>,
    pub first: u32,
    pub length: u32,
    pub flags: u8,
    pub unit: u8,
    /// Rock Ridge fields.
    pub fields: Vec<u8>,
}

pub const DIRECTORY: u8 = 2;
pub const GOES_ON: u8 = 0x80;
/// The sector of the root directory.
pub const ROOT: u32 = 20;

impl Record {
    pub fn file(name: &[u8], first: u32, length: u32) -> Self {
        Self { name: name.to_vec(), first, length, ..Self::default() }
    }

    pub fn directory(name: &[u8], first: u32) -> Self {
        Self { flags: DIRECTORY, ..Self::file(name, first, 2048) }
    }

    pub fn with(mut self, fields: &[u8]) -> Self {
        self.fields.extend(fields);
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 33];
        bytes[2..6].copy_from_slice(&self.first.to_le_bytes());
        bytes[6..10].copy_from_slice(&self.first.to_be_bytes());
        bytes[10..14].copy_from_slice(&self.length.to_le_bytes());
        bytes[14..18].copy_from_slice(&self.length.to_be_bytes());
        bytes[18..25].copy_from_slice(&[101, 2, 3, 4, 5, 6, 0]);
        bytes[25] = self.flags;
        bytes[26] = self.unit;
        bytes[28] = 1;
        bytes[32] = self.name.len() as u8;
        bytes.extend(&self.name);
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        bytes.extend(&self.fields);
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        bytes[0] = bytes.len() as u8;
        bytes
    }
}

/// Rock Ridge's promise, in the first record of the root.
pub const PROMISE: &[u8] = b"SP\x07\x01\xbe\xef\0RR\x05\x01\0";

pub fn number(value: u32) -> Vec<u8> {
    [value.to_le_bytes(), value.to_be_bytes()].concat()
}

pub fn name_field(name: &[u8]) -> Vec<u8> {
    [&b"NM"[..], &[name.len() as u8 + 5, 1, 0], name].concat()
}

pub fn link_field(flags_and_parts: &[(u8, &[u8])]) -> Vec<u8> {
    let parts: Vec<u8> =
        flags_and_parts.iter().flat_map(|(flags, part)| [&[*flags, part.len() as u8], *part].concat()).collect();
    [&b"SL"[..], &[parts.len() as u8 + 5, 1, 0], &parts].concat()
}

pub fn goes_on_field(block: u32, offset: u32, length: u32) -> Vec<u8> {
    [b"CE\x1c\x01".to_vec(), number(block), number(offset), number(length)].concat()
}

/// A disc with a volume descriptor and the root's records; `rock_ridge` promises Rock Ridge.
pub fn disc(rock_ridge: bool, records: &[Record]) -> Sparse {
    let mut image = Sparse::default();
    let mut volume = vec![0; 2048];
    volume[..7].copy_from_slice(b"\x01CD001\x01");
    volume[40..72].copy_from_slice(b"A DISC                          ");
    volume[80..88].copy_from_slice(&number(100));
    volume[128..132].copy_from_slice(&[0, 8, 8, 0]);
    volume[156..190].copy_from_slice(&Record::directory(&[0], ROOT).bytes());
    image.put(32768, &volume);
    image.put(34816, b"\xffCD001\x01");
    directory(&mut image, ROOT, rock_ridge, records);
    image.put(99 * 2048, &[0; 2048]);
    image
}

/// A directory of one sector.
pub fn directory(image: &mut Sparse, sector: u32, rock_ridge: bool, records: &[Record]) {
    let itself = Record::directory(&[0], sector).with(if rock_ridge { PROMISE } else { b"" });
    let mut bytes = [itself.bytes(), Record::directory(&[1], ROOT).bytes()].concat();
    bytes.extend(records.iter().flat_map(Record::bytes));
    assert!(bytes.len() <= 2048, "more than one sector of records");
    image.put(u64::from(sector) * 2048, &bytes);
}
