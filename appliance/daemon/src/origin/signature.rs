//! OpenPGP (RFC 9580): who signed a file, or a list of checksums. The only importer of the crate that reads it.
//!
//! The key file is what a person or the catalogue trusts; all else is a stranger's text, read up to a bound. A signature
//! counts if a key of the file made it that was neither revoked nor out of its time when it did. A key whose time is over *now*
//! still vouches for what it signed before: that is said, not refused. So is none: a box may have no clock.

//!
//! | file | what |
//! |---|---|
//! | `cleartext` | a list with its signature below it |
//! | `packets` | files of keys and signatures, armored or binary, as packets |
//! | `standing` | what a key says of itself: whether it may sign, and how long |
//! | `verdict` | whether one signature counts |

mod cleartext;
mod packets;
mod standing;
mod verdict;

use packets::{Key, blocks, signatures, unpacked};
use pgp::{
    packet::{Signature, SignatureConfig, SignatureType, SignatureVersionSpecific},
    types::KeyDetails as _,
};
use rackberry_core::{text::CleanText, time::WallTime};
use standing::{Candidate, Standing, candidates, issuer, names};

/// No key file, signature or signed list is longer.
pub const LONGEST: usize = 1 << 20;
/// Keys of one file that are looked at, and signatures of one file.
const MOST: usize = 64;

/// A file without usable keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the key file is longer than 1 MiB")]
    Long,
    #[error("the key file holds no OpenPGP public key that can be read: {0}")]
    Unreadable(String),
}

/// Why a signature does not vouch for anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("the signature is longer than 1 MiB, which none is")]
    Long,
    #[error("the signature cannot be read: {0}")]
    Unreadable(String),
    #[error("it is signed by the key {0} and by no key of the key file")]
    Stranger(String),
    #[error("the signature of {signer} ({key}) does not fit: the file, its signature or its list was changed")]
    Wrong { key: String, signer: String },
    #[error("the key {key} of {signer} was revoked by its owner: what it signed counts no more")]
    Revoked { key: String, signer: String },
    #[error("the key {key} of {signer} was not valid when it signed: it was made or ended at another time")]
    OutOfTime { key: String, signer: String },
    #[error("the signature of {signer} ({key}) has run out")]
    Expired { key: String, signer: String },
    #[error("the key {key} of {signer} may not sign files, or nothing says that it may")]
    MayNot { key: String, signer: String },
    #[error("the signature uses {0}, which no longer proves anything: changed files can be made to fit")]
    Weak(String),
}

/// Who vouches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// The fingerprint of the primary key, in upper-case hex.
    pub key: String,
    /// The user ID that the key gives itself.
    pub name: CleanText,
    /// When the key that signed ends, or ended.
    pub expires: Option<WallTime>,
}

/// The keys of a file.
#[derive(Debug, Clone)]
pub struct Keyring {
    keys: Vec<Key>,
}

impl Keyring {
    /// Reads keys, armored or binary.
    ///
    /// # Errors
    /// [`KeyError`] if there is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() > LONGEST {
            return Err(KeyError::Long);
        }
        let mut keys = Vec::new();
        let mut why = "it is empty".to_owned();
        for block in blocks(bytes, b"-----BEGIN PGP PUBLIC KEY BLOCK-----") {
            match unpacked(block) {
                Ok(packets) => {
                    let (read, unread) = packets::keys(&packets);
                    keys.extend(read);
                    why = unread.unwrap_or(why);
                }
                Err(error) => why = error,
            }
        }
        keys.truncate(MOST);
        if keys.is_empty() { Err(KeyError::Unreadable(why)) } else { Ok(Keyring { keys }) }
    }

    /// The fingerprint, name and end of each key.
    #[must_use]
    pub fn signers(&self) -> Vec<Signer> {
        self.keys.iter().map(|key| Self::signer(key, Standing::of(key).and_then(|own| own.ends))).collect()
    }

    fn signer(key: &Key, ends: Option<u64>) -> Signer {
        let name = key.users.first().map(|user| String::from_utf8_lossy(user.id.id()).into_owned());
        Signer {
            key: format!("{:X}", key.primary.fingerprint()),
            name: CleanText::new(&name.unwrap_or_default()),
            expires: ends.and_then(|ends| i64::try_from(ends).ok()).map(|ends| WallTime(ends.saturating_mul(1000))),
        }
    }

    /// The text between the lines of a clear-signed message, and who signed it; its lines end in CR LF.
    ///
    /// # Errors
    /// [`SignatureError`], also if there is any text outside of the signed part.
    pub fn open(&self, message: &[u8], now: WallTime) -> Result<(String, Signer), SignatureError> {
        if message.len() > LONGEST {
            return Err(SignatureError::Long);
        }
        let (text, signatures) = cleartext::read(message)?;
        let signer = self.judge(&signatures, now, &mut |_, signature, key| key.verifies(signature, text.as_bytes()))?;
        Ok((text, signer))
    }

    /// Who signed these bytes, by a signature beside them.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn vouch(&self, bytes: &[u8], signature: &[u8], now: WallTime) -> Result<Signer, SignatureError> {
        let signatures = signatures(signature)?;
        self.judge(&signatures, now, &mut |_, signature, key| key.verifies(signature, bytes))
    }

    /// Begins to check a signature of bytes that are still to come.
    ///
    /// # Errors
    /// [`SignatureError`] if it can already be told that it will not do.
    pub fn expect(&self, signature: &[u8]) -> Result<Expected, SignatureError> {
        let signatures = signatures(signature)?;
        // Nobody waits for gigabytes to be told that the key is another.
        self.judge(&signatures, WallTime(0), &mut |_, _, _| true)?;
        let feeds = signatures.iter().map(|signature| {
            let known = self.keys.iter().flat_map(candidates).any(|candidate| names(signature, candidate));
            if known { feed(signature).map(Some) } else { Ok(None) }
        });
        let feeds = feeds.collect::<Result<_, _>>()?;
        Ok(Expected { keyring: self.clone(), signatures, feeds })
    }

    /// The first good signature, if none that one of our keys made is bad.
    fn judge(&self, signatures: &[Signature], now: WallTime, fits: Fits<'_>) -> Result<Signer, SignatureError> {
        let mut good = None;
        let mut strangers = Vec::new();
        for (at, signature) in signatures.iter().enumerate() {
            let found = self.keys.iter().find_map(|key| {
                candidates(key).find(|candidate| names(signature, *candidate)).map(|candidate| (key, candidate))
            });
            let Some((key, candidate)) = found else {
                strangers.push(issuer(signature));
                continue;
            };
            let signer = verdict::judge(signature, key, candidate, now, &mut |key| fits(at, signature, key))?;
            good.get_or_insert(signer);
        }
        good.ok_or_else(|| match strangers.as_slice() {
            [] => SignatureError::Unreadable("there is no signature in it".to_owned()),
            strangers => SignatureError::Stranger(strangers.join(", ")),
        })
    }
}

/// Whether the signature of this number is right, by the key that says to have made it.
type Fits<'a> = &'a mut dyn FnMut(usize, &Signature, Candidate<'_>) -> bool;

/// What a signature's hash is given.
enum Fed<'a> {
    Bytes(&'a [u8]),
    /// The end of the file: the signature's own words follow, and the digest is asked for.
    End(&'a SignatureConfig),
}

/// A hash under way.
type Feed = Box<dyn FnMut(Fed<'_>) -> Option<Box<[u8]>> + Send>;

fn feed(signature: &Signature) -> Result<Feed, SignatureError> {
    let Some(config) = signature.config().filter(|config| config.typ() == SignatureType::Binary) else {
        return Err(SignatureError::Unreadable("it is not one of a file's bytes".to_owned()));
    };
    let mut hash = config.hash_alg.new_hasher().map_err(|error| SignatureError::Unreadable(error.to_string()))?;
    if let SignatureVersionSpecific::V6 { salt } = &config.version_specific {
        hash.update(salt.as_ref());
    }
    Ok(Box::new(move |fed| match fed {
        Fed::Bytes(bytes) => {
            hash.update(bytes);
            None
        }
        Fed::End(config) => {
            let length = config.hash_signature_data(&mut hash).ok()?;
            hash.update(&config.trailer(length).ok()?);
            Some(hash.finalize_reset())
        }
    }))
}

/// A signature of bytes that come in piece by piece.
pub struct Expected {
    keyring: Keyring,
    signatures: Vec<Signature>,
    /// None where the signature is of nobody we know.
    feeds: Vec<Option<Feed>>,
}

impl std::fmt::Debug for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expected").field("signatures", &self.signatures.len()).finish_non_exhaustive()
    }
}

impl Expected {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        for feed in self.feeds.iter_mut().flatten() {
            feed(Fed::Bytes(bytes));
        }
    }

    /// Who signed the bytes that came.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn finish(self, now: WallTime) -> Result<Signer, SignatureError> {
        let Expected { keyring, signatures, mut feeds } = self;
        keyring.judge(&signatures, now, &mut |at, signature, candidate| {
            let feed = feeds.get_mut(at).and_then(Option::as_mut);
            let digest = feed.zip(signature.config()).and_then(|(feed, config)| feed(Fed::End(config)));
            digest.is_some_and(|digest| candidate.signed(signature, &digest))
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
