//! What a bundle says about itself: the first line of what is signed, as JSON.

use super::Version;
use crate::image::Digest;
use serde::{Deserialize, Serialize};

/// The format of bundles that this program knows.
pub const FORMAT: u32 = 1;
/// Whose bundles these are.
pub const PRODUCT: &str = "rackberry";
/// No header is longer, its end of line included, in bytes.
pub const LONGEST_HEADER: usize = 16 * 1024;

/// The header of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub format: u32,
    pub product: String,
    /// The machines it is for: `pi64` for every 64-bit Raspberry Pi.
    pub board: String,
    /// As Rust names it: `aarch64`.
    pub arch: String,
    pub version: Version,
    /// The oldest version that may install it.
    pub needs: Version,
    /// Once it has proved itself, nothing older than this is taken any more.
    pub floor: Version,
    /// The format of the inventory that it writes.
    pub state: u32,
    pub root: Root,
    /// What is new, for people.
    #[serde(default)]
    pub notes: String,
}

/// The root file system, which follows the header to the end of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// In bytes.
    pub length: u64,
    pub sha256: Digest,
}

/// What a bundle is held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoxFacts {
    pub board: String,
    pub arch: String,
    /// What runs now.
    pub version: Version,
    /// The oldest version that is taken; none before the first update.
    pub floor: Option<Version>,
    /// The room for a root in bytes.
    pub slot_bytes: u64,
}

/// Why a signed bundle is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("The bundle's header does not read: {0}.")]
    Unreadable(String),
    #[error(
        "The bundle has format {found}, and this version knows format {FORMAT}. Install a version between the two first."
    )]
    Format { found: u32 },
    #[error("This is a bundle for {found}, not for {PRODUCT}.")]
    Product { found: String },
    #[error("This bundle is for other machines: {found}; this box is {own}.")]
    Board { found: String, own: String },
    #[error("This bundle is for processors of another kind: {found}; this box has {own}.")]
    Arch { found: String, own: String },
    #[error("Version {version} is older than {floor}, the oldest that this box takes since its last update.")]
    Floor { version: Version, floor: Version },
    #[error(
        "Version {version} can be installed from version {needs} on, and {running} runs here. Install {needs} first."
    )]
    Needs { version: Version, needs: Version, running: Version },
    #[error("Version {version} says that nothing older than {floor} may be taken after it, which it is itself.")]
    OwnFloor { version: Version, floor: Version },
    #[error("The root in the bundle has {length} bytes, and a slot of this card has room for {room}.")]
    TooLarge { length: u64, room: u64 },
    #[error("The root in the bundle is empty.")]
    Empty,
}

impl Header {
    /// Reads the line before its end.
    ///
    /// # Errors
    /// [`Refusal::Unreadable`], or [`Refusal::Format`] of a bundle from a later time.
    pub fn parse(line: &[u8]) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        struct Known {
            format: u32,
        }
        let unreadable = |error: serde_json::Error| Refusal::Unreadable(error.to_string());
        let Known { format } = serde_json::from_slice(line).map_err(unreadable)?;
        if format != FORMAT {
            return Err(Refusal::Format { found: format });
        }
        serde_json::from_slice(line).map_err(unreadable)
    }

    /// The line with its end.
    ///
    /// # Errors
    /// [`Refusal::Unreadable`] if nobody would read it again.
    pub fn line(&self) -> Result<Vec<u8>, Refusal> {
        let mut line = serde_json::to_vec(self).map_err(|error| Refusal::Unreadable(error.to_string()))?;
        line.push(b'\n');
        if line.len() > LONGEST_HEADER {
            return Err(Refusal::Unreadable(format!("it is longer than {LONGEST_HEADER} bytes")));
        }
        Ok(line)
    }

    /// Whether a box may take it.
    ///
    /// # Errors
    /// [`Refusal`], a sentence for people.
    pub fn check(&self, own: &BoxFacts) -> Result<(), Refusal> {
        let shown = |text: &str| crate::text::clean(text, 40);
        if self.product != PRODUCT {
            return Err(Refusal::Product { found: shown(&self.product) });
        }
        if self.arch != own.arch {
            return Err(Refusal::Arch { found: shown(&self.arch), own: own.arch.clone() });
        }
        if self.board != own.board {
            return Err(Refusal::Board { found: shown(&self.board), own: own.board.clone() });
        }
        if let Some(floor) = own.floor.filter(|floor| self.version < *floor) {
            return Err(Refusal::Floor { version: self.version, floor });
        }
        if own.version < self.needs {
            return Err(Refusal::Needs { version: self.version, needs: self.needs, running: own.version });
        }
        if self.version < self.floor {
            return Err(Refusal::OwnFloor { version: self.version, floor: self.floor });
        }
        match self.root.length {
            0 => Err(Refusal::Empty),
            length if length > own.slot_bytes => Err(Refusal::TooLarge { length, room: own.slot_bytes }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            format: FORMAT,
            product: PRODUCT.to_owned(),
            board: "pi64".to_owned(),
            arch: "aarch64".to_owned(),
            version: Version(0, 2, 0),
            needs: Version(0, 1, 0),
            floor: Version(0, 1, 5),
            state: 3,
            root: Root { length: 4096, sha256: Digest([7; 32]) },
            notes: "Better.".to_owned(),
        }
    }

    fn own() -> BoxFacts {
        BoxFacts {
            board: "pi64".to_owned(),
            arch: "aarch64".to_owned(),
            version: Version(0, 1, 0),
            floor: Some(Version(0, 1, 0)),
            slot_bytes: 8192,
        }
    }

    #[test]
    fn a_fitting_bundle_reads_back_and_is_taken() {
        let line = header().line().unwrap();
        let read = Header::parse(line.strip_suffix(b"\n").unwrap()).unwrap();
        assert_eq!(read, header());
        read.check(&own()).unwrap();
        // The same version again, and one that is older but not below the floor.
        read.check(&BoxFacts { version: Version(0, 3, 0), floor: Some(Version(0, 2, 0)), ..own() }).unwrap();
        read.check(&BoxFacts { floor: None, ..own() }).unwrap();
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_reason() {
        let refused = |change: fn(&mut Header)| {
            let mut changed = header();
            change(&mut changed);
            changed.check(&own()).unwrap_err()
        };
        assert!(matches!(refused(|h| h.product = "raspberry\u{1b}[2J".to_owned()), Refusal::Product { .. }));
        assert!(matches!(refused(|h| h.arch = "x86_64".to_owned()), Refusal::Arch { .. }));
        assert!(matches!(refused(|h| h.board = "pc".to_owned()), Refusal::Board { .. }));
        assert!(matches!(refused(|h| h.version = Version(0, 0, 9)), Refusal::Floor { .. }));
        assert!(matches!(refused(|h| h.needs = Version(0, 1, 1)), Refusal::Needs { .. }));
        assert!(matches!(refused(|h| h.floor = Version(0, 2, 1)), Refusal::OwnFloor { .. }));
        assert!(matches!(refused(|h| h.root.length = 8193), Refusal::TooLarge { .. }));
        assert!(matches!(refused(|h| h.root.length = 0), Refusal::Empty));
        let sentence = refused(|h| h.product = "raspberry\u{1b}[2J".to_owned()).to_string();
        assert!(!sentence.contains('\u{1b}'), "{sentence}");
    }

    #[test]
    fn another_format_is_told_before_anything_else_of_it_is_read() {
        assert_eq!(Header::parse(br#"{"format": 2, "all": "new"}"#), Err(Refusal::Format { found: 2 }));
        for bad in ["", "{}", "[]", "{\"format\": 1}", "\u{0}", "{\"format\": -1}"] {
            assert!(matches!(Header::parse(bad.as_bytes()), Err(Refusal::Unreadable(_))), "{bad}");
        }
    }
}
