//! A bundle: one file that is signed as a whole with minisign.
//!
//! | bytes | what |
//! |---|---|
//! | 0 to 1023 | `rackberry-update 1`, a line feed, the four lines of a minisign signature, zeros |
//! | from 1024 | signed: the header as one line of JSON ([`Header`]), then the root as squashfs, to the end |
//!
//! `tail -c +1025 BUNDLE` is what minisign itself verifies. The signature has to be a prehashed one, so that a file is
//! verified as a stream; its untrusted comment is fixed, so that there is no byte that may change.

use minisign_verify::{PublicKey, Signature};
use rackberry_core::{
    image::Digest,
    update::{Header, LONGEST_HEADER, Refusal},
};
use sha2::{Digest as _, Sha256};
use std::{fs::File, io, os::unix::fs::FileExt as _};

/// Where what is signed begins, in bytes.
pub const SIGNED_AT: u64 = 1024;

const MAGIC: &str = "rackberry-update 1\n";
const COMMENT: &str = "untrusted comment: rackberry update";
const PIECE: usize = 1 << 20;
/// The first bytes of a squashfs, and where it says how long it is.
const SQUASHFS: &[u8] = b"hsqs";
const SQUASHFS_USED: usize = 40;

/// Why a file is not believed.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("The bundle cannot be read.")]
    Read(#[source] io::Error),
    #[error("The file is empty.")]
    Empty,
    #[error("The file ends after {length} bytes, in the middle of its beginning.")]
    Short { length: u64 },
    #[error("The file has {length} bytes, and a bundle for this card has at most {most}.")]
    TooLarge { length: u64, most: u64 },
    #[error("This is no bundle of this box: it does not begin as one.")]
    NoBundle,
    #[error("The bundle's signature does not read: {0}.")]
    NoSignature(String),
    #[error("The bundle was signed with another key than the one this box trusts.")]
    OtherKey,
    #[error("The bundle's signature does not fit its content: the file is damaged, or was changed.")]
    BadSignature,
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("The root in the bundle has {found} bytes, and its header says {wanted}.")]
    WrongLength { wanted: u64, found: u64 },
    #[error("The root in the bundle has another digest than its header says.")]
    WrongDigest,
    #[error("The root in the bundle is no squashfs.")]
    NoRoot,
}

/// The key that bundles have to be signed with.
#[derive(Debug, Clone)]
pub struct Key {
    public: PublicKey,
    /// Made where this was built, so that nobody vouches for what it signs.
    pub development: bool,
}

impl Key {
    /// Reads a minisign public key, its comment included.
    ///
    /// # Errors
    /// A sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let public = PublicKey::decode(text).map_err(|error| error.to_string())?;
        let development = public.untrusted_comment().is_some_and(|comment| comment.contains("development"));
        Ok(Key { public, development })
    }
}

/// A bundle whose signature holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    pub header: Header,
    /// Where its root begins in the file, in bytes.
    pub root_at: u64,
}

/// Reads the whole file and believes it only at the end; `told` hears how many bytes are behind, and of how many.
///
/// # Errors
/// [`BundleError`], a sentence for people.
pub fn verify(file: &File, key: &Key, slot_bytes: u64, told: &mut dyn FnMut(u64, u64)) -> Result<Bundle, BundleError> {
    let length = file.metadata().map_err(BundleError::Read)?.len();
    let most = slot_bytes + SIGNED_AT + LONGEST_HEADER as u64;
    match length {
        0 => return Err(BundleError::Empty),
        _ if length > most => return Err(BundleError::TooLarge { length, most }),
        _ => {}
    }
    let mut head = vec![0; usize::try_from(SIGNED_AT.min(length)).unwrap_or_default()];
    file.read_exact_at(&mut head, 0).map_err(BundleError::Read)?;
    if !MAGIC.as_bytes().starts_with(head.get(..MAGIC.len().min(head.len())).unwrap_or_default()) {
        return Err(BundleError::NoBundle);
    }
    if length <= SIGNED_AT {
        return Err(BundleError::Short { length });
    }
    let signature = signature(&head)?;
    let mut verifier = key.public.verify_stream(&signature).map_err(|error| match error {
        minisign_verify::Error::UnexpectedKeyId => BundleError::OtherKey,
        minisign_verify::Error::UnsupportedLegacyMode => {
            BundleError::NoSignature("it is of the old kind, which is not over a digest".to_owned())
        }
        other => BundleError::NoSignature(other.to_string()),
    })?;
    let mut start: Vec<u8> = Vec::new();
    let mut root: Option<(u64, Sha256)> = None;
    let mut squashfs: Vec<u8> = Vec::new();
    let mut at = SIGNED_AT;
    let mut buffer = vec![0; PIECE];
    while at < length {
        let wanted = usize::try_from(length - at).unwrap_or(PIECE).min(PIECE);
        let piece = buffer.get_mut(..wanted).unwrap_or_default();
        file.read_exact_at(piece, at).map_err(BundleError::Read)?;
        verifier.update(piece);
        match &mut root {
            Some((_, hash)) => hash.update(&*piece),
            // The first piece holds the whole header, or there is none.
            None => {
                let end = piece.iter().take(LONGEST_HEADER).position(|byte| *byte == b'\n').unwrap_or(piece.len());
                start = piece.get(..end).unwrap_or_default().to_vec();
                let rest = piece.get(end + 1..).unwrap_or_default();
                squashfs = rest.iter().take(SQUASHFS_USED + 8).copied().collect();
                root = Some((at + end as u64 + 1, Sha256::new().chain_update(rest)));
            }
        }
        at += wanted as u64;
        told(at, length);
    }
    verifier.finalize().map_err(|_| BundleError::BadSignature)?;
    // From here on it is what the owner of the key wrote.
    let header = Header::parse(&start)?;
    let (root_at, hash) = root.ok_or(BundleError::Empty)?;
    let found = length.saturating_sub(root_at);
    if found != header.root.length {
        return Err(BundleError::WrongLength { wanted: header.root.length, found });
    }
    if Digest(hash.finalize().into()) != header.root.sha256 {
        return Err(BundleError::WrongDigest);
    }
    match used(&squashfs) {
        Some(used) if used <= found => Ok(Bundle { header, root_at }),
        _ => Err(BundleError::NoRoot),
    }
}

/// The length that a squashfs gives itself in its first bytes.
pub(super) fn used(start: &[u8]) -> Option<u64> {
    start.starts_with(SQUASHFS).then_some(())?;
    let used = start.get(SQUASHFS_USED..SQUASHFS_USED + 8)?.try_into().ok()?;
    Some(u64::from_le_bytes(used))
}

fn signature(head: &[u8]) -> Result<Signature, BundleError> {
    let unreadable = |why: &str| BundleError::NoSignature(why.to_owned());
    let text = head.get(MAGIC.len()..).unwrap_or_default();
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    if text.iter().skip(end).any(|byte| *byte != 0) {
        return Err(unreadable("something stands behind it"));
    }
    let text =
        text.get(..end).and_then(|text| std::str::from_utf8(text).ok()).ok_or_else(|| unreadable("it is no text"))?;
    let lines = text.split('\n').collect::<Vec<_>>();
    if lines.len() != 5 || lines.last() != Some(&"") || lines.first() != Some(&COMMENT) {
        return Err(unreadable("it does not have its four lines"));
    }
    Signature::decode(text).map_err(|error| BundleError::NoSignature(error.to_string()))
}
