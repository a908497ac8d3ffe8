//! Names in UDF: of files (ECMA-167 4/14.4; UDF 2.1.1, 2.3.4) and in symbolic links (4/14.16; UDF 2.3.13).

use super::{
    descriptor::{self, FILE_IDENTIFIER},
    partition::Address,
};
use crate::{Error, source::Piece};

const DIRECTORY_ENTRY: usize = 38;
const DELETED: u8 = 1 << 2;
const PARENT: u8 = 1 << 3;
/// Bytes of a link's target.
const LONGEST_TARGET: usize = 4096;

/// The names in a directory's content, each with where its file entry lies.
pub(super) fn identifiers(content: Piece<'_>) -> Result<Vec<(Vec<u8>, Address)>, Error> {
    let mut names = Vec::new();
    let mut rest = content;
    while !rest.bytes.is_empty() {
        let at = Piece { what: "a file identifier", ..rest };
        if descriptor::kind(at)? != FILE_IDENTIFIER {
            return Err(at.malformed("another descriptor is in its place"));
        }
        let (characteristics, name_length) = (at.u8(18)?, usize::from(at.u8(19)?));
        let name_at = DIRECTORY_ENTRY + usize::from(at.u16(36)?);
        let name = at.part(name_at, name_length)?;
        if characteristics & (DELETED | PARENT) == 0 {
            names.push((text(name)?.into_bytes(), Address::of_long(at.part(20, 16)?)?));
        }
        rest = rest.rest((name_at + name_length).next_multiple_of(4));
    }
    Ok(names)
}

/// Compressed Unicode: a byte that says how wide characters are, then the characters (UDF 2.1.1).
pub(super) fn text(name: Piece<'_>) -> Result<String, Error> {
    match name.bytes.split_first() {
        None => Ok(String::new()),
        Some((8, characters)) => Ok(characters.iter().map(|byte| char::from(*byte)).collect()),
        Some((16, characters)) => Ok(crate::joliet::name(characters)),
        Some(_) => Err(name.malformed("its characters are neither 8 nor 16 bits wide")),
    }
}

/// A field of fixed size whose last byte says how much of it is used (1/7.2.12).
pub(super) fn fixed(field: Piece<'_>) -> Result<String, Error> {
    let used = field.bytes.last().copied().unwrap_or_default();
    text(field.part(0, usize::from(used).min(field.bytes.len().saturating_sub(1)))?)
}

/// The target of a symbolic link from its path components.
pub(super) fn target(content: Piece<'_>) -> Result<Vec<u8>, Error> {
    let mut target = Vec::new();
    let mut rest = content;
    while !rest.bytes.is_empty() {
        let component = Piece { what: "a symbolic link", ..rest };
        let (kind, length) = (component.u8(0)?, usize::from(component.u8(1)?));
        let name = component.part(4, length)?;
        if !target.is_empty() && !target.ends_with(b"/") {
            target.push(b'/');
        }
        match kind {
            // A root by agreement, and the root of this file system: both can only be the image's.
            1 | 2 => {
                target.clear();
                target.push(b'/');
            }
            3 => target.extend(b".."),
            4 => target.push(b'.'),
            5 => target.extend(text(name)?.into_bytes()),
            _ => return Err(component.malformed("it has a part of an unknown kind")),
        }
        if target.len() > LONGEST_TARGET {
            let limit = LONGEST_TARGET as u64;
            return Err(Error::Limit { what: "the target of a symbolic link", offset: rest.offset, limit });
        }
        rest = rest.rest(4 + length);
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(bytes: &[u8]) -> Piece<'_> {
        Piece { what: "a name", offset: 0, bytes }
    }

    #[test]
    fn characters_are_8_or_16_bits_wide() {
        assert_eq!(text(piece(b"\x08caf\xe9")).unwrap(), "caf\u{e9}");
        assert_eq!(text(piece(b"\x10\0a\x20\xac")).unwrap(), "a\u{20ac}");
        assert_eq!(text(piece(b"")).unwrap(), "");
        assert!(text(piece(b"\x09abc")).is_err());
        assert_eq!(fixed(piece(b"\x08AB\0\0\0\0\x03")).unwrap(), "AB");
        assert_eq!(fixed(piece(b"\x08AB\xff")).unwrap(), "AB");
    }

    #[test]
    fn links_are_written_in_parts() {
        let parts = b"\x03\0\0\0\x05\x04\0\0\x08etc\x04\0\0\0\x05\x02\0\0\x08x";
        assert_eq!(target(piece(parts)).unwrap(), b"../etc/./x");
        assert_eq!(target(piece(b"\x02\0\0\0\x05\x02\0\0\x08x")).unwrap(), b"/x");
        assert!(target(piece(b"\x05\x09\0\0\x08x")).is_err());
    }
}
