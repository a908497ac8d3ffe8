//! From a block of a partition to bytes of the image (ECMA-167 3/10.5, 3/10.7; UDF 2.2.8 to 2.2.10).

use super::descriptor;
use crate::{
    Error,
    entry::{Contents, Extent},
    source::{Block, Medium, Piece},
};

/// A block of a partition (lb_addr, ECMA-167 4/7.1), the partition by its place in the logical volume's map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    pub partition: u16,
    pub block: u32,
}

impl Address {
    /// From a long allocation descriptor (4/14.14.2).
    pub fn of_long(descriptor: Piece<'_>) -> Result<Self, Error> {
        Ok(Self { partition: descriptor.u16(8)?, block: descriptor.u32(4)? })
    }
}

/// One partition of a logical volume's map.
pub(super) enum Partition {
    /// Begins at so many bytes from the start of the image.
    Physical { start: u64 },
    /// Lies in a file of a physical one (UDF 2.2.10): what is not data, together and perhaps twice.
    Metadata { contents: Contents },
}

/// Partitions of a volume, and how long their blocks are.
pub(super) struct Partitions {
    pub block: u32,
    pub all: Vec<Partition>,
}

impl Partitions {
    /// Where `length` bytes from the start of a block lie in the image; none of it need be there.
    pub fn place(&self, what: &'static str, address: Address, length: u64) -> Result<Vec<Extent>, Error> {
        let inside = u64::from(address.block) * u64::from(self.block);
        match self.all.get(usize::from(address.partition)) {
            Some(Partition::Physical { start }) => {
                Ok(vec![Extent { offset: Some(start.saturating_add(inside)), length }])
            }
            Some(Partition::Metadata { contents }) => {
                let parts = contents.range(inside, length);
                if parts.iter().map(|part| part.length).sum::<u64>() == length {
                    Ok(parts)
                } else {
                    Err(Error::Malformed { what, offset: inside, why: "it lies beyond the metadata partition" })
                }
            }
            None => Err(Error::Malformed { what, offset: inside, why: "it lies in a partition that is not there" }),
        }
    }

    /// Where a block begins in the image.
    pub fn offset(&self, what: &'static str, address: Address) -> Result<u64, Error> {
        let place = self.place(what, address, self.block.into())?;
        let whole = place.first().filter(|part| part.length == u64::from(self.block));
        let why = "it lies in a part of the metadata partition that was never written";
        whole.and_then(|part| part.offset).ok_or(Error::Malformed { what, offset: address.block.into(), why })
    }

    /// Reads one block.
    pub fn read(&self, medium: Medium<'_>, what: &'static str, address: Address) -> Result<Block, Error> {
        medium.read(what, self.offset(what, address)?, self.block.into())
    }
}

/// A partition descriptor (3/10.5).
pub(super) struct PartitionDescriptor {
    pub number: u16,
    /// Bytes from the start of the image.
    pub start: u64,
}

impl PartitionDescriptor {
    pub fn read(piece: Piece<'_>, sector: u32) -> Result<Self, Error> {
        Ok(Self { number: piece.u16(22)?, start: u64::from(piece.u32(188)?) * u64::from(sector) })
    }
}

/// An entry of the logical volume's partition map.
pub(super) enum Map {
    /// By partition number.
    Physical(u16),
    Metadata {
        partition: u16,
        /// Blocks with the file entries of the metadata file and of its copy; the copy may be missing.
        file: u32,
        mirror: u32,
    },
}

/// The partition maps of a logical volume descriptor (3/10.6.13, 3/10.7).
pub(super) fn maps(volume: Piece<'_>) -> Result<Vec<Map>, Error> {
    const MOST: u32 = 16;
    let (length, count) = (volume.u32(264)?, volume.u32(268)?);
    if count > MOST {
        return Err(Error::Limit { what: "the partition map", offset: volume.offset, limit: MOST.into() });
    }
    let length = usize::try_from(length).map_err(|_| volume.malformed("its partition map has no end"))?;
    let mut rest = Piece { what: "the partition map", ..volume.part(440, length)? };
    let mut maps = Vec::new();
    for _ in 0..count {
        let length = rest.u8(1)?;
        let map = rest.part(0, length.into())?;
        maps.push(match map.u8(0)? {
            1 => Map::Physical(map.u16(4)?),
            2 => match map.part(5, 23)?.bytes.trim_ascii_end().split(|byte| *byte == 0).next().unwrap_or_default() {
                b"*UDF Metadata Partition" => {
                    Map::Metadata { partition: map.u16(38)?, file: map.u32(40)?, mirror: map.u32(44)? }
                }
                b"*UDF Virtual Partition" => {
                    return Err(map.unsupported("a disc written bit by bit (VAT) has to be closed or copied first"));
                }
                b"*UDF Sparable Partition" => {
                    return Err(map.unsupported("a rewritable disc with spare blocks has to be copied first"));
                }
                _ => return Err(map.unsupported("this kind of partition is not known")),
            },
            _ => return Err(map.unsupported("this kind of partition is not known")),
        });
        rest = rest.rest(length.into());
    }
    Ok(maps)
}

/// A descriptor of one kind at a block of a partition.
pub(super) fn expect_at(
    partitions: &Partitions,
    medium: Medium<'_>,
    what: &'static str,
    address: Address,
    wanted: u16,
) -> Result<Block, Error> {
    let block = partitions.read(medium, what, address)?;
    descriptor::expect(&block, wanted)?;
    Ok(block)
}
