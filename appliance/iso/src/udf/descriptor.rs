//! The tag every descriptor begins with (ECMA-167 3/7.2, 4/7.2).

use crate::{
    Error,
    source::{Block, Piece},
};

/// Bytes of a tag.
const TAG: usize = 16;

pub(super) const ANCHOR: u16 = 2;
pub(super) const POINTER: u16 = 3;
pub(super) const PARTITION: u16 = 5;
pub(super) const LOGICAL_VOLUME: u16 = 6;
pub(super) const TERMINATING: u16 = 8;
pub(super) const FILE_SET: u16 = 256;
pub(super) const FILE_IDENTIFIER: u16 = 257;
pub(super) const ALLOCATION_EXTENT: u16 = 258;
pub(super) const INDIRECT_ENTRY: u16 = 259;
pub(super) const FILE_ENTRY: u16 = 261;
pub(super) const EXTENDED_FILE_ENTRY: u16 = 266;

/// What kind of descriptor a piece begins with, if its checksum and CRC are right.
pub(super) fn kind(piece: Piece<'_>) -> Result<u16, Error> {
    let tag = piece.part(0, TAG)?;
    let sum = tag.bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_sub(tag.u8(4)?);
    if sum != tag.u8(4)? {
        return Err(piece.malformed("the checksum of its tag is wrong"));
    }
    let covered = piece.part(TAG, tag.u16(10)?.into())?;
    if crc(covered.bytes) != tag.u16(8)? {
        return Err(piece.malformed("its CRC is wrong"));
    }
    tag.u16(0)
}

/// The piece of a block that has to hold a descriptor of one kind.
pub(super) fn expect(block: &Block, wanted: u16) -> Result<Piece<'_>, Error> {
    let piece = block.piece();
    if kind(piece)? == wanted { Ok(piece) } else { Err(piece.malformed("another descriptor is in its place")) }
}

/// The CRC of ECMA-167 7.2.6: polynomial x^16 + x^12 + x^5 + 1, from 0 on, a byte at a time.
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0_u16, |crc, byte| {
        let out = (crc >> 8) ^ u16::from(*byte);
        let out = out ^ (out >> 4);
        (crc << 8) ^ (out << 12) ^ (out << 5) ^ out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_is_that_of_the_specification() {
        // ECMA-167 7.2.6 gives this example.
        assert_eq!(crc(&[0x70, 0x6a, 0x77]), 0x3299);
    }
}
