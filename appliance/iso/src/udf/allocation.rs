//! Allocation descriptors: where a file's bytes lie (ECMA-167 4/12, 4/14.14; UDF 2.3.10, 2.3.11).

use super::{
    descriptor,
    file_entry::FileEntry,
    partition::{Address, Partitions, expect_at},
};
use crate::{
    Error,
    entry::{Contents, Extent},
    source::{Medium, Piece},
};
use std::collections::HashSet;

/// How the descriptors of a file are written (ICB tag, 4/14.6.8, bits 0 to 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Blocks of the partition the file entry is in.
    Short,
    /// Blocks of any partition.
    Long,
    /// No descriptors: the content itself.
    Embedded,
}

/// One descriptor.
struct Allocation {
    kind: u8,
    length: u32,
    address: Address,
}

/// The lower 30 bits are a length, the upper two a kind (4/14.14.1.1).
const LENGTH: u32 = 0x3fff_ffff;
const RECORDED: u8 = 0;
const GOES_ON: u8 = 3;

/// The extents of a file, in its order, as long as the file.
pub(super) fn contents(partitions: &Partitions, medium: Medium<'_>, entry: &FileEntry) -> Result<Contents, Error> {
    const WHAT: &str = "a file";
    let mut contents = Contents::default();
    let mut left = entry.size;
    let first = entry.allocation();
    if entry.form == Form::Embedded {
        if left > first.bytes.len() as u64 {
            return Err(first.malformed("it is said to hold its content, but is shorter"));
        }
        contents.push(WHAT, Extent { offset: Some(first.offset), length: left })?;
        return Ok(contents);
    }
    // Where descriptors go on, as often as they do; none is visited twice.
    let mut seen = HashSet::new();
    let mut block = None;
    let mut at = 0;
    // Each table of an honest file has at least one block of it.
    let most_tables = 2 + left / u64::from(partitions.block);
    while left > 0 {
        let table = block.as_ref().map_or(Ok(first), continuation)?;
        let next = read(table, at, entry)?.filter(|next| next.length > 0);
        let Some(next) = next else {
            return Err(table.malformed("its descriptors end before the file does"));
        };
        at += if entry.form == Form::Short { 8 } else { 16 };
        if next.kind == GOES_ON {
            if !seen.insert(next.address) || seen.len() as u64 > most_tables {
                return Err(table.malformed("its descriptors go in circles"));
            }
            let what = "an allocation extent";
            block = Some(expect_at(partitions, medium, what, next.address, descriptor::ALLOCATION_EXTENT)?);
            at = 0;
            continue;
        }
        let length = u64::from(next.length).min(left);
        left -= length;
        if next.kind == RECORDED {
            for part in partitions.place(WHAT, next.address, length)? {
                if let Some(offset) = part.offset {
                    medium.check(WHAT, offset, part.length)?;
                }
                contents.push(WHAT, part)?;
            }
        } else {
            // Space that was reserved at most: it reads as zeros.
            contents.push(WHAT, Extent { offset: None, length })?;
        }
    }
    Ok(contents)
}

/// The descriptors of an allocation extent descriptor (4/14.5).
fn continuation(block: &crate::source::Block) -> Result<Piece<'_>, Error> {
    let piece = block.piece();
    let length = usize::try_from(piece.u32(20)?).map_err(|_| piece.malformed("it has no end"))?;
    piece.part(24, length)
}

/// The descriptor at a byte of the table, if there is one.
fn read(table: Piece<'_>, at: usize, entry: &FileEntry) -> Result<Option<Allocation>, Error> {
    let rest = table.rest(at);
    let (form, needed) = match entry.form {
        Form::Short => (Form::Short, 8),
        _ => (Form::Long, 16),
    };
    if rest.bytes.len() < needed {
        return Ok(None);
    }
    let word = rest.u32(0)?;
    let address = match form {
        Form::Short => Address { partition: entry.partition, block: rest.u32(4)? },
        _ => Address::of_long(rest)?,
    };
    Ok(Some(Allocation { kind: u8::try_from(word >> 30).unwrap_or_default(), length: word & LENGTH, address }))
}
