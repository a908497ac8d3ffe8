//! Joliet: a second tree whose names are big-endian UCS-2, found by an escape sequence (Joliet specification, "SVD Escape
//! Sequences Field").

/// Whether a supplementary volume descriptor is Joliet's: UCS-2 level 1, 2 or 3 of ISO 2022.
pub(crate) fn is_marked(escape_sequences: &[u8]) -> bool {
    [b"%/@", b"%/C", b"%/E"].iter().any(|level| escape_sequences.starts_with(*level))
}

/// A name as UTF-8. Pairs of surrogates are taken as the character they mean, as mkisofs writes them; halves of one become
/// U+FFFD, as does what has no second byte.
pub(crate) fn name(identifier: &[u8]) -> String {
    let (units, odd) = identifier.as_chunks::<2>();
    let units = units.iter().map(|unit| u16::from_be_bytes(*unit));
    let mut name: String = char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    if !odd.is_empty() {
        name.push(char::REPLACEMENT_CHARACTER);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_big_endian_and_may_leave_the_basic_plane() {
        assert_eq!(name(b"\0a\x20\xac\xd8\x3d\xde\x00"), "a\u{20ac}\u{1f600}");
        assert_eq!(name(b"\xd8\x3d\0b\0"), "\u{fffd}b\u{fffd}");
        assert_eq!(name(b""), "");
    }

    #[test]
    fn all_three_levels_are_known_and_nothing_else_is() {
        assert!(is_marked(b"%/@\0") && is_marked(b"%/C") && is_marked(b"%/E"));
        assert!(!is_marked(b"%/A") && !is_marked(b"") && !is_marked(&[0; 32]));
    }
}
