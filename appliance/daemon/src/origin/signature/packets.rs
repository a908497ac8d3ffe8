//! Files of keys and signatures, armored or binary, as packets (RFC 9580, 4 and 6).

use super::{LONGEST, MOST, SignatureError};
use pgp::{
    armor::Dearmor,
    composed::{Deserializable as _, DetachedSignature},
    packet::Signature,
    ser::Serialize as _,
};
use std::io::Read as _;

/// The signatures of a file, armored or binary. All of it has to be signatures, written as the format has it: what
/// can be changed without being noticed is not taken.
pub(super) fn detached(file: &[u8]) -> Result<Vec<Signature>, SignatureError> {
    let unreadable = |error: &pgp::errors::Error| SignatureError::Unreadable(brief(error));
    if file.len() > LONGEST {
        return Err(SignatureError::Long);
    }
    let mut signature_blocks = blocks(file, b"-----BEGIN PGP SIGNATURE-----");
    // Two blocks in one file are concatenated signatures, which no tool makes by itself.
    let (Some(block), None) = (signature_blocks.next(), signature_blocks.next()) else {
        return Err(SignatureError::Unreadable("it is no OpenPGP signature".to_owned()));
    };
    let unpacked = unpacked(block).map_err(SignatureError::Unreadable)?;
    let (mut signatures, mut again) = (Vec::new(), Vec::new());
    for signature in DetachedSignature::from_bytes_many(unpacked.as_slice()).map_err(|error| unreadable(&error))? {
        let signature = signature.map_err(|error| unreadable(&error))?;
        signature.to_writer(&mut again).map_err(|error| unreadable(&error))?;
        signatures.push(signature.signature);
        if signatures.len() > MOST {
            return Err(SignatureError::Unreadable("it holds more than 64 signatures".to_owned()));
        }
    }
    if again != unpacked {
        return Err(SignatureError::Unreadable("it is not written as the format has it".to_owned()));
    }
    Ok(signatures)
}

/// The packets of one block, or of a binary file; else why not.
pub(super) fn unpacked(block: &[u8]) -> Result<Vec<u8>, String> {
    if is_binary(block) {
        return Ok(block.to_vec());
    }
    let mut packets = Vec::new();
    let read = Dearmor::new(block).read_to_end(&mut packets);
    read.map_err(|error| rackberry_core::text::clean(&error.to_string(), 120))?;
    Ok(packets)
}

/// Packets begin with a byte that no text has (RFC 9580, 4.2).
fn is_binary(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| first & 0x80 != 0)
}

/// The parts of a text that begin with this line; all of it if it is binary.
pub(super) fn blocks<'a>(bytes: &'a [u8], line: &'static [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut starts: Vec<usize> = if is_binary(bytes) {
        vec![0]
    } else {
        bytes.windows(line.len()).enumerate().filter(|(_, w)| *w == line).map(|(at, _)| at).collect()
    };
    starts.truncate(MOST);
    let ends: Vec<usize> = starts.iter().skip(1).copied().chain([bytes.len()]).collect();
    starts.into_iter().zip(ends).filter_map(|(start, end)| bytes.get(start..end))
}

pub(super) fn brief(error: &pgp::errors::Error) -> String {
    rackberry_core::text::clean(&error.to_string(), 120)
}
