//! Files of keys and signatures, armored or binary, as packets (RFC 9580, 4, 6 and 10).
//!
//! The crate's own parser of whole keys and messages reads secret keys and all that is encrypted as well, and would be the largest
//! part of what this program needs of it.

use super::{LONGEST, MOST, SignatureError};
use pgp::{
    armor::Dearmor,
    packet::{PacketHeader, PacketTrait as _, PublicKey, PublicSubkey, Signature, UserId},
    types::{PacketLength, Tag},
};
use rackberry_core::text::clean;
use std::io::Read as _;

/// A public key, and what its owner and others say of it.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) primary: PublicKey,
    /// Of the key itself: that it was revoked, or what it is for.
    pub(super) signatures: Vec<Signature>,
    pub(super) users: Vec<User>,
    pub(super) subkeys: Vec<Subkey>,
}

/// A name that a key gives itself.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) id: UserId,
    pub(super) signatures: Vec<Signature>,
}

/// A key below a primary one.
#[derive(Debug, Clone)]
pub(super) struct Subkey {
    pub(super) key: PublicSubkey,
    pub(super) signatures: Vec<Signature>,
}

/// The packets of one stretch of bytes: what each says to be, and its content.
struct Packets<'a>(&'a [u8]);

impl<'a> Iterator for Packets<'a> {
    type Item = Result<(PacketHeader, &'a [u8]), String>;

    fn next(&mut self) -> Option<Self::Item> {
        // Where one cannot be read, nobody knows where the next begins.
        let mut rest = std::mem::take(&mut self.0);
        if rest.is_empty() {
            return None;
        }
        let header = match PacketHeader::try_from_reader(&mut rest) {
            Ok(header) => header,
            Err(error) => return Some(Err(clean(&error.to_string(), 120))),
        };
        // Only data may come in parts or without an end (RFC 9580, 4.2.1.4).
        let PacketLength::Fixed(length) = header.packet_length() else {
            return Some(Err("a packet does not say how long it is".to_owned()));
        };
        let split = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
        let Some((content, behind)) = split else { return Some(Err("it ends within a packet".to_owned())) };
        self.0 = behind;
        Some(Ok((header, content)))
    }
}

/// A packet's content, all of it.
fn read<T>(content: &[u8], parse: impl FnOnce(&mut &[u8]) -> pgp::errors::Result<T>) -> Result<T, String> {
    let mut rest = content;
    let packet = parse(&mut rest).map_err(|error| clean(&error.to_string(), 120))?;
    if rest.is_empty() { Ok(packet) } else { Err("a packet holds more than it should".to_owned()) }
}

/// The keys of a file's packets, and why others could not be read.
pub(super) fn keys(packets: &[u8]) -> (Vec<Key>, Option<String>) {
    let (mut keys, mut why): (Vec<Key>, _) = (Vec::new(), None);
    // What the signatures that follow are of: none of what is not looked at, as a picture or a key that cannot be read.
    let mut of = Of::Nothing;
    for packet in Packets(packets) {
        let (header, content) = match packet {
            Ok(packet) => packet,
            Err(error) => return (keys, Some(error)),
        };
        let tag = header.tag();
        if tag == Tag::PublicKey {
            of = Of::Nothing;
            match read(content, |content| PublicKey::try_from_reader(header, content)) {
                Ok(primary) => {
                    keys.push(Key { primary, signatures: Vec::new(), users: Vec::new(), subkeys: Vec::new() });
                    of = Of::Key;
                }
                Err(error) => why = Some(error),
            }
            continue;
        }
        let Some(key) = keys.last_mut().filter(|_| of != Of::Nothing || tag != Tag::Signature) else { continue };
        match tag {
            Tag::UserId => {
                let id = read(content, |content| UserId::try_from_reader(header, content));
                of = if id.is_ok() { Of::User } else { Of::Nothing };
                key.users.extend(id.map(|id| User { id, signatures: Vec::new() }));
            }
            Tag::PublicSubkey => {
                let below = read(content, |content| PublicSubkey::try_from_reader(header, content));
                of = if below.is_ok() { Of::Subkey } else { Of::Nothing };
                key.subkeys.extend(below.map(|key| Subkey { key, signatures: Vec::new() }));
            }
            Tag::Signature => {
                // Those of other people may be of a kind that nobody reads any more.
                let signature = read(content, |content| Signature::try_from_reader(header, content)).ok();
                match of {
                    Of::Key => key.signatures.extend(signature),
                    Of::User => {
                        key.users.last_mut().into_iter().for_each(|user| user.signatures.extend(signature.clone()))
                    }
                    Of::Subkey => {
                        key.subkeys.last_mut().into_iter().for_each(|below| below.signatures.extend(signature.clone()))
                    }
                    Of::Nothing => {}
                }
            }
            // What other programs leave between packets (RFC 9580, 5.8, 5.10, 5.14).
            Tag::Trust | Tag::Marker | Tag::Padding => {}
            _ => of = Of::Nothing,
        }
    }
    (keys, why)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Key,
    User,
    Subkey,
    Nothing,
}

/// The signatures of a file, armored or binary. All of it has to be signatures, written as the format has it: what
/// can be changed without being noticed is not taken.
pub(super) fn signatures(file: &[u8]) -> Result<Vec<Signature>, SignatureError> {
    if file.len() > LONGEST {
        return Err(SignatureError::Long);
    }
    let unreadable = |why: &str| SignatureError::Unreadable(why.to_owned());
    let mut found = blocks(file, b"-----BEGIN PGP SIGNATURE-----");
    // Two blocks in one file are concatenated signatures, which no tool makes by itself.
    let (Some(block), None) = (found.next(), found.next()) else {
        return Err(unreadable("it is no OpenPGP signature"));
    };
    let packets = unpacked(block).map_err(SignatureError::Unreadable)?;
    let (mut signatures, mut again) = (Vec::new(), Vec::new());
    for packet in Packets(&packets) {
        let (header, content) = packet.map_err(SignatureError::Unreadable)?;
        if header.tag() != Tag::Signature {
            return Err(unreadable("there is something else than signatures in it"));
        }
        let signature = read(content, |content| Signature::try_from_reader(header, content));
        let signature = signature.map_err(SignatureError::Unreadable)?;
        let written = signature.to_writer_with_header(&mut again);
        written.map_err(|error| SignatureError::Unreadable(clean(&error.to_string(), 120)))?;
        signatures.push(signature);
        if signatures.len() > MOST {
            return Err(unreadable("it holds more than 64 signatures"));
        }
    }
    if again != packets {
        return Err(unreadable("it is not written as the format has it"));
    }
    Ok(signatures)
}

/// The packets of one block, or of a binary file; else why not.
pub(super) fn unpacked(block: &[u8]) -> Result<Vec<u8>, String> {
    if is_binary(block) {
        return Ok(block.to_vec());
    }
    let mut packets = Vec::new();
    Dearmor::new(block).read_to_end(&mut packets).map_err(|error| clean(&error.to_string(), 120))?;
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
