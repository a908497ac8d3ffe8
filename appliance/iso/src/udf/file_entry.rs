//! File entries, plain and extended (ECMA-167 4/14.6, 4/14.9, 4/14.17; UDF 2.3.5 to 2.3.6).

use super::{
    allocation::Form,
    descriptor::{self, EXTENDED_FILE_ENTRY, FILE_ENTRY, INDIRECT_ENTRY},
    partition::{Address, Partitions},
};
use crate::{
    Error,
    entry::Kind,
    source::{Block, Medium, Piece},
    time,
};

/// What a file entry says.
pub(super) struct FileEntry {
    block: Block,
    /// The partition it lies in, which short descriptors mean.
    pub partition: u16,
    pub kind: Kind,
    pub size: u64,
    pub mode: u32,
    pub modified: Option<i64>,
    pub form: Form,
    /// Where in the block the descriptors begin, and how many bytes they take.
    descriptors: (usize, usize),
}

impl FileEntry {
    pub fn read(partitions: &Partitions, medium: Medium<'_>, address: Address) -> Result<Self, Error> {
        let block = partitions.read(medium, "a file entry", address)?;
        let piece = block.piece();
        let extended = match descriptor::kind(piece)? {
            FILE_ENTRY => false,
            EXTENDED_FILE_ENTRY => true,
            INDIRECT_ENTRY => return Err(piece.unsupported("it is of a disc written bit by bit")),
            _ => return Err(piece.malformed("another descriptor is in its place")),
        };
        // The ICB tag: strategy 4 is one entry for one file (UDF 2.3.5.1).
        if piece.u16(20)? != 4 {
            return Err(piece.unsupported("it is of a disc written bit by bit"));
        }
        let flags = piece.u16(34)?;
        let form = match flags & 7 {
            0 => Form::Short,
            1 => Form::Long,
            3 => Form::Embedded,
            _ => return Err(piece.unsupported("UDF has no extended allocation descriptors")),
        };
        let kind = match piece.u8(27)? {
            4 => Kind::Directory,
            12 => Kind::Symlink,
            6 | 7 | 9 | 10 => Kind::Special,
            // Unspecified, plain, real-time; and files of the file system itself, which no directory names.
            0 | 5 | 249..=251 => Kind::File,
            _ => return Err(piece.unsupported("it is of a kind of file that is not known")),
        };
        let (lengths, modified) = if extended { (208, 92) } else { (168, 84) };
        let number = |at| {
            let value = usize::try_from(piece.u32(at)?);
            value.map_err(|_| piece.malformed("it is longer than its block"))
        };
        let begin = number(lengths)?.saturating_add(lengths + 8);
        let descriptors = (begin, number(lengths + 4)?);
        piece.part(descriptors.0, descriptors.1)?;
        Ok(Self {
            partition: address.partition,
            kind,
            size: piece.u64(56)?,
            mode: mode(kind, piece.u32(44)?, flags),
            modified: time::udf(piece.part(modified, 12)?),
            form,
            descriptors,
            block,
        })
    }

    /// Its allocation descriptors, or what stands in their place.
    pub fn allocation(&self) -> Piece<'_> {
        let rest = self.block.piece().rest(self.descriptors.0);
        Piece { bytes: rest.bytes.get(..self.descriptors.1).unwrap_or_default(), ..rest }
    }

    /// Where it lies in the image.
    pub fn offset(&self) -> u64 {
        self.block.offset
    }
}

/// Permissions (4/14.9.5), five bits for each of others, group and owner, as `st_mode` has them; setuid, setgid and sticky
/// are flags of the ICB tag.
fn mode(kind: Kind, permissions: u32, flags: u16) -> u32 {
    let three = |shift: u32| (permissions >> shift) & 7;
    let type_bits = match kind {
        Kind::Directory => 0o040_000,
        Kind::Symlink => 0o120_000,
        Kind::File => 0o100_000,
        Kind::Special => 0,
    };
    let special =
        (u32::from(flags >> 6) & 1) << 11 | (u32::from(flags >> 7) & 1) << 10 | (u32::from(flags >> 8) & 1) << 9;
    type_bits | special | three(10) << 6 | three(5) << 3 | three(0)
}
