//! What vouches for a file: a signature over it, or a list of checksums that names it, signed or not. The same for a file that is
//! fetched and for one that a person sends.

use super::{
    checksums::{self, ListError, Long, Sum},
    fetch::FetchError,
    signature::{Expected, Keyring, Signer},
};
use bytes::Bytes;
use rackberry_core::{
    image::{Digest, Image, Verdict},
    text::CleanText,
    time::WallTime,
};
use std::{fs::File, io::Read as _};

const CLEAR_SIGNED: &str = "-----BEGIN PGP SIGNED MESSAGE-----";

/// What is known of a file before its first byte.
#[derive(Debug, Default)]
pub struct Proof {
    /// Its digest.
    pub sum: Option<Sum>,
    /// Of the list that names it.
    pub signer: Option<Signer>,
    /// Of the file itself.
    pub signature: Option<Bytes>,
    /// Whether a list named it.
    pub by_list: bool,
}

impl Proof {
    /// Beside the digest that somebody gave, what a list says of the file at this path. With keys it has to be signed by one of them:
    /// beside it, or around it.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn by_list(
        given: Option<Digest>,
        keyring: Option<&Keyring>,
        list: &[u8],
        signature: Option<&[u8]>,
        path: &str,
        now: WallTime,
    ) -> Result<Self, FetchError> {
        let text = str::from_utf8(list).map_err(|_| ListError::NoText)?;
        let (text, signer) = match (keyring, signature) {
            (Some(keyring), Some(signature)) => (text.to_owned(), Some(keyring.vouch(list, signature, now)?)),
            (Some(keyring), None) => {
                if !text.starts_with(CLEAR_SIGNED) {
                    return Err(FetchError::Unsigned);
                }
                let (text, signer) = keyring.open(list, now)?;
                (text, Some(signer))
            }
            (None, _) => (text.to_owned(), None),
        };
        match (given, checksums::find(&text, path)?) {
            (Some(given), Sum::Sha256(listed)) if given != listed => Err(FetchError::TwoDigests),
            // Both are held against the file: ours where it is stored, the list's as it comes.
            (_, sum) => Ok(Proof { sum: Some(sum), signer, signature: None, by_list: true }),
        }
    }

    /// Whether it would tell a changed file.
    #[must_use]
    pub fn tells(&self) -> bool {
        self.sum.is_some() || self.signature.is_some()
    }

    /// Begins to hold a file's bytes against it.
    ///
    /// # Errors
    /// [`FetchError`] if it can already be told that the signature will not do.
    pub fn watch(&self, keyring: Option<&Keyring>) -> Result<Watch, FetchError> {
        let expected = match (keyring, &self.signature) {
            (Some(keyring), Some(signature)) => Some(keyring.expect(signature)?),
            _ => None,
        };
        Ok(Watch { expected, long: matches!(self.sum, Some(Sum::Sha512(_))).then(Long::default) })
    }

    /// The SHA-256 that the file has to have, and what may be said of it then.
    ///
    /// # Errors
    /// [`FetchError`] if it is not the file.
    pub fn judge(self, watch: Watch, now: WallTime) -> Result<(Option<Digest>, Option<Verdict>), FetchError> {
        let Watch { expected, long } = watch;
        let signer = match expected {
            Some(expected) => Some(expected.finish(now)?),
            None => self.signer,
        };
        let wanted = match self.sum {
            Some(Sum::Sha256(sum)) => Some(sum),
            Some(Sum::Sha512(sum)) if !long.is_some_and(|long| long.is(&sum)) => return Err(FetchError::WrongSum),
            Some(Sum::Sha512(_)) | None => None,
        };
        let verdict = match signer {
            Some(Signer { key, name, expires }) => {
                Some(Verdict::Signed { key: CleanText::new(&key), signer: name, expires_wall: expires })
            }
            None => self.by_list.then_some(Verdict::DigestGiven),
        };
        Ok((wanted, verdict))
    }
}

/// A file's bytes on their way past what vouches for it.
#[derive(Debug, Default)]
pub struct Watch {
    expected: Option<Expected>,
    long: Option<Long>,
}

impl Watch {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(expected) = &mut self.expected {
            expected.update(bytes);
        }
        if let Some(long) = &mut self.long {
            long.update(bytes);
        }
    }

    /// Whether it looks at the bytes at all.
    fn looks(&self) -> bool {
        self.expected.is_some() || self.long.is_some()
    }
}

/// What a person sends beside a file; as their files have it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Papers {
    /// A list of checksums.
    pub checksums: Option<Vec<u8>>,
    /// An OpenPGP signature: of that list, if there is one; else of the file.
    pub signature: Option<Vec<u8>>,
    /// The keys that may have signed.
    pub key: Option<Vec<u8>>,
    /// What the list calls the file.
    pub name: String,
}

/// What papers say of a file that is here.
#[derive(Debug, Default)]
pub struct Vouched {
    /// The SHA-256 that it has to have.
    pub wanted: Option<Digest>,
    verdict: Option<Verdict>,
}

impl Vouched {
    /// The image with what may be said of it.
    #[must_use]
    pub fn of(self, image: Image) -> Image {
        Image { verdict: self.verdict.unwrap_or_else(|| image.verdict.clone()), ..image }
    }
}

impl Papers {
    /// Holds a whole file against them. Blocks on the disk.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn check(&self, file: &mut File, given: Option<Digest>, now: WallTime) -> Result<Vouched, FetchError> {
        let keyring = self.key.as_deref().map(Keyring::parse).transpose()?;
        let proof = match (&self.checksums, &self.signature, &keyring) {
            (None, None, None) => return Ok(Vouched { wanted: given, verdict: None }),
            (_, Some(_), None) => return Err(FetchError::SignatureWithoutKey),
            (None, None, Some(_)) => return Err(FetchError::KeyWithoutSignature),
            (Some(list), signature, keyring) => {
                Proof::by_list(given, keyring.as_ref(), list, signature.as_deref(), &self.name, now)?
            }
            (None, Some(signature), Some(_)) => {
                Proof { signature: Some(Bytes::copy_from_slice(signature)), ..Proof::default() }
            }
        };
        let mut watch = proof.watch(keyring.as_ref())?;
        if watch.looks() {
            let mut buffer = vec![0; 1 << 20];
            loop {
                match file.read(&mut buffer).map_err(FetchError::Read)? {
                    0 => break,
                    length => watch.update(buffer.get(..length).unwrap_or_default()),
                }
            }
        }
        let (wanted, verdict) = proof.judge(watch, now)?;
        Ok(Vouched { wanted: wanted.or(given), verdict })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::signature::tests::Gpg;
    use std::io::{Seek as _, Write as _};

    const NOW: WallTime = WallTime(1_800_000_000_000);
    const BYTES: &[u8] = b"the bytes of an image";

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    fn check(papers: &Papers, bytes: &[u8]) -> Result<Vouched, FetchError> {
        papers.check(&mut file(bytes), None, NOW)
    }

    #[test]
    fn a_file_that_is_sent_is_held_against_its_signature() {
        let (gpg, other) = (Gpg::with_key("ed25519", "never"), Gpg::with_key("ed25519", "never"));
        let papers = Papers {
            signature: Some(gpg.run(&["--detach-sign"], BYTES)),
            key: Some(gpg.run(&["--export"], b"")),
            ..Papers::default()
        };
        let vouched = check(&papers, BYTES).unwrap();
        assert!(matches!(vouched.verdict, Some(Verdict::Signed { ref key, .. }) if key.as_str() == gpg.fingerprint()));
        assert!(matches!(check(&papers, b"other bytes"), Err(FetchError::Signature(_))));
        let theirs = Papers { key: Some(other.run(&["--export"], b"")), ..papers.clone() };
        assert!(matches!(check(&theirs, BYTES), Err(FetchError::Signature(_))));
        let keyless = Papers { key: None, ..papers.clone() };
        assert!(matches!(check(&keyless, BYTES), Err(FetchError::SignatureWithoutKey)));
        let unsigned = Papers { signature: None, ..papers };
        assert!(matches!(check(&unsigned, BYTES), Err(FetchError::KeyWithoutSignature)));
        assert!(check(&Papers::default(), BYTES).unwrap().verdict.is_none());
    }

    #[test]
    fn a_list_names_the_digest_and_a_key_wants_it_signed() {
        let gpg = Gpg::with_key("ed25519", "never");
        let sum = "a".repeat(64);
        let list = format!("{sum}  x.iso\n").into_bytes();
        let papers = Papers { checksums: Some(list.clone()), name: "x.iso".to_owned(), ..Papers::default() };
        let vouched = check(&papers, BYTES).unwrap();
        assert_eq!((vouched.wanted.unwrap().to_string(), vouched.verdict), (sum.clone(), Some(Verdict::DigestGiven)));
        let key = Some(gpg.run(&["--export"], b""));
        let unsigned = Papers { key: key.clone(), ..papers.clone() };
        assert!(matches!(check(&unsigned, BYTES), Err(FetchError::Unsigned)));
        let signed = Papers { signature: Some(gpg.run(&["--detach-sign"], &list)), key: key.clone(), ..papers.clone() };
        assert!(matches!(check(&signed, BYTES).unwrap().verdict, Some(Verdict::Signed { .. })));
        let around = Papers { checksums: Some(gpg.run(&["--clear-sign"], &list)), key, ..papers.clone() };
        assert!(matches!(check(&around, BYTES).unwrap().verdict, Some(Verdict::Signed { .. })));
        let other = Papers { name: "y.iso".to_owned(), ..papers.clone() };
        assert!(matches!(check(&other, BYTES), Err(FetchError::Checksums(_))));
        let two = papers.check(&mut file(BYTES), Some(Digest([0; 32])), NOW);
        assert!(matches!(two, Err(FetchError::TwoDigests)));
        // A list of SHA-512 is held against the bytes themselves.
        let long = Papers { checksums: Some(format!("{sum}{sum}  x.iso\n").into_bytes()), ..papers };
        assert!(matches!(check(&long, BYTES), Err(FetchError::WrongSum)));
    }
}
