//! Lists of digests as distributions write them: `SHA256SUMS` of coreutils, the lines of BSD and Fedora, Gentoo's and Flatcar's
//! `DIGESTS`. Only SHA-256 and SHA-512 count; what is weaker is passed over.

use rackberry_core::image::Digest;
use sha2::{Digest as _, Sha512};
use std::fmt;

/// Lines of a list that are looked at.
const MOST: usize = 20_000;

/// What a list says of one file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    Sha256(Digest),
    Sha512([u8; 64]),
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sum::Sha256(digest) => write!(f, "Sha256({digest})"),
            Sum::Sha512(_) => f.write_str("Sha512"),
        }
    }
}

/// Why a list does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    #[error("the list of checksums names no {0} with a SHA-256 or SHA-512 digest")]
    Missing(String),
    #[error("the list of checksums gives {0} two different digests")]
    Twice(String),
    #[error("the list of checksums is no text")]
    NoText,
}

/// What the list says of the file at this path of a server.
///
/// Names in lists are relative to where the list lies; the longest name that the path ends with is meant.
///
/// # Errors
/// [`ListError`].
pub fn find(list: &str, path: &str) -> Result<Sum, ListError> {
    let shown = || rackberry_core::text::clean(path.rsplit('/').next().unwrap_or_default(), 80);
    let mut heading = None;
    let mut best: Option<(usize, Sum)> = None;
    let mut quarrel = false;
    for line in list.lines().take(MOST) {
        let line = line.trim_end();
        if let Some(title) = line.strip_prefix('#') {
            heading = title.trim().strip_suffix("HASH").map(|kind| kind.trim().to_ascii_uppercase());
            continue;
        }
        let Some((name, sum)) = entry(line, heading.as_deref()) else { continue };
        let name = name.strip_prefix("./").unwrap_or(name);
        let fits = path == name || path.strip_suffix(name).is_some_and(|folder| folder.ends_with('/'));
        if name.is_empty() || !fits {
            continue;
        }
        match &best {
            Some((length, _)) if *length > name.len() => {}
            Some((length, known)) if *length == name.len() => match (known, &sum) {
                // The image is hashed by SHA-256 anyway.
                (Sum::Sha512(_), Sum::Sha256(_)) => best = Some((name.len(), sum)),
                (Sum::Sha256(_), Sum::Sha512(_)) => {}
                (known, sum) => quarrel |= known != sum,
            },
            _ => {
                best = Some((name.len(), sum));
                quarrel = false;
            }
        }
    }
    match best {
        Some(_) if quarrel => Err(ListError::Twice(shown())),
        Some((_, sum)) => Ok(sum),
        None => Err(ListError::Missing(shown())),
    }
}

/// One line's name and digest.
fn entry<'a>(line: &'a str, heading: Option<&str>) -> Option<(&'a str, Sum)> {
    // `SHA256 (name) = digest`
    if let Some((kind, rest)) = line.split_once(" (")
        && let Some((name, digest)) = rest.rsplit_once(") = ")
    {
        return Some((name, sum(kind.trim(), digest)?));
    }
    // `digest  name`, `digest *name`
    let (digest, name) = line.split_once([' ', '\t'])?;
    let name = name.strip_prefix([' ', '*']).unwrap_or(name);
    let kind = match (heading, digest.len()) {
        (Some(kind), _) => kind,
        (None, 64) => "SHA256",
        (None, 128) => "SHA512",
        (None, _) => return None,
    };
    Some((name.trim_start(), sum(kind, digest)?))
}

fn sum(kind: &str, digest: &str) -> Option<Sum> {
    match kind {
        "SHA256" => digest.parse().ok().map(Sum::Sha256),
        "SHA512" if digest.len() == 128 && digest.is_ascii() => {
            let (first, last) = digest.split_at(64);
            let (first, last): (Digest, Digest) = (first.parse().ok()?, last.parse().ok()?);
            let mut whole = [0; 64];
            let (left, right) = whole.split_at_mut(32);
            left.copy_from_slice(&first.0);
            right.copy_from_slice(&last.0);
            Some(Sum::Sha512(whole))
        }
        _ => None,
    }
}

/// SHA-512 of bytes that come in piece by piece, where that is what the list has.
#[derive(Debug, Clone, Default)]
pub struct Long(Sha512);

impl Long {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Whether the bytes that came have this digest.
    #[must_use]
    pub fn is(self, wanted: &[u8; 64]) -> bool {
        self.0.finalize().as_slice() == wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn a() -> Result<Sum, ListError> {
        Ok(Sum::Sha256(A.parse().unwrap()))
    }

    #[test]
    fn the_forms_of_distributions_read() {
        for list in [
            format!("{B}  other.iso\n{A}  x.iso\n"),
            format!("{A} *x.iso\r\n{B} *y.iso\r\n"),
            format!("# x.iso: 123 bytes\nSHA256 (x.iso) = {A}\nSHA256 (y.iso) = {B}\n"),
            format!("# MD5 HASH\nffff  x.iso\n# SHA256 HASH\n{A}  x.iso\n# WHIRLPOOL HASH\n{B}{B}  x.iso\n"),
            format!("# SHA512 HASH\n{B}{B}  x.iso\n# SHA256 HASH\n{A}  x.iso\n"),
            format!("{A}  ./x.iso\n"),
            format!("{A}  amd64/x.iso\n{B}  i386/x.iso\n"),
            format!("{B}  x.iso\n{A}  ./amd64/x.iso\n"),
            format!("{A}  x.iso\n{A}  x.iso\n"),
        ] {
            assert_eq!(find(&list, "/pool/amd64/x.iso"), a(), "{list}");
        }
        let long = find(&format!("# SHA512 HASH\n{A}{B}  x.iso\n"), "/x.iso").unwrap();
        assert!(matches!(long, Sum::Sha512(sum) if sum[0] == 0xaa && sum[63] == 0xbb));
    }

    #[test]
    fn what_a_list_does_not_say_is_not_guessed() {
        for list in [
            String::new(),
            format!("{A}  xx.iso\n"),
            format!("{A}  \n"),
            format!("{A}  x.iso.sig\n"),
            format!("{A}x.iso\n"),
            "ffff  x.iso\n".to_owned(),
            format!("# BLAKE2B HASH\n{A}{B}  x.iso\n"),
            format!("# SHA1 HASH\n{A}  x.iso\n"),
            format!("MD5 (x.iso) = {A}\n"),
            format!("SHA256 (x.iso) = {A}{A}\n"),
        ] {
            assert!(matches!(find(&list, "/x.iso"), Err(ListError::Missing(_))), "{list}");
        }
        let twice = format!("{A}  x.iso\n{B}  x.iso\n");
        assert!(matches!(find(&twice, "/x.iso"), Err(ListError::Twice(_))));
    }

    #[test]
    fn a_long_digest_is_compared() {
        let mut long = Long::default();
        long.update(b"ab");
        long.update(b"c");
        let text = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                    2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
        let Some(Sum::Sha512(wanted)) = sum("SHA512", text) else { panic!("unread") };
        assert!(long.clone().is(&wanted));
        long.update(b"d");
        assert!(!long.is(&wanted));
    }
}
