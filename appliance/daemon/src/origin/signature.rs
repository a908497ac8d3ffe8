//! OpenPGP (RFC 9580): who signed a file, or a list of checksums. The only importer of the crate that reads it.
//!
//! The key file is what a person or the catalogue trusts; all else is a stranger's text, read up to a bound. A signature
//! counts if a key of the file made it that was neither revoked nor out of its time when it did. A key whose time is over *now*
//! still vouches for what it signed before: that is said, not refused. So is none: a box may have no clock.

#[cfg(test)]
use pgp::packet::PacketTrait as _;
use pgp::{
    armor::Dearmor,
    composed::{CleartextSignedMessage, Deserializable as _, DetachedSignature, SignedPublicKey, SignedPublicSubKey},
    crypto::hash::HashAlgorithm,
    packet::{
        KeyFlags, Signature, SignatureConfig, SignatureType, SignatureVersion, SignatureVersionSpecific, SubpacketData,
    },
    ser::Serialize as _,
    types::{KeyDetails as _, KeyVersion, Tag, Timestamp, VerifyingKey as _},
};
use rackberry_core::{text::CleanText, time::WallTime};
use std::io::Read as _;

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
    keys: Vec<SignedPublicKey>,
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
            let read = SignedPublicKey::from_reader_many(block);
            let Ok((read, _)) = read.map_err(|error| why = brief(&error)) else { continue };
            for key in read.take(MOST) {
                match key {
                    Ok(key) => keys.push(key),
                    Err(error) => why = brief(&error),
                }
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

    fn signer(key: &SignedPublicKey, ends: Option<u64>) -> Signer {
        let name = key.details.users.first().map(|user| String::from_utf8_lossy(user.id.id()).into_owned());
        Signer {
            key: format!("{:X}", key.fingerprint()),
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
        let text = str::from_utf8(message).map_err(|_| SignatureError::Unreadable("it is no text".to_owned()))?;
        // Text in the place of headers is not signed, and looks as if it were (RFC 9580, 7.1).
        let mut headers = text.lines().skip(1).take_while(|line| !line.trim().is_empty());
        if headers.any(|line| !line.starts_with("Hash: ")) {
            return Err(SignatureError::Unreadable("text stands before what is signed".to_owned()));
        }
        let (signed, _) =
            CleartextSignedMessage::from_string(text).map_err(|error| SignatureError::Unreadable(brief(&error)))?;
        let text = signed.signed_text();
        let signer =
            self.judge(signed.signatures(), now, &mut |_, signature, key| key.verifies(signature, text.as_bytes()))?;
        Ok((text, signer))
    }

    /// Who signed these bytes, by a signature beside them.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn vouch(&self, bytes: &[u8], signature: &[u8], now: WallTime) -> Result<Signer, SignatureError> {
        let signatures = detached(signature)?;
        self.judge(&signatures, now, &mut |_, signature, key| key.verifies(signature, bytes))
    }

    /// Begins to check a signature of bytes that are still to come.
    ///
    /// # Errors
    /// [`SignatureError`] if it can already be told that it will not do.
    pub fn expect(&self, signature: &[u8]) -> Result<Expected, SignatureError> {
        let signatures = detached(signature)?;
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
            let signer = judge_one(signature, key, candidate, now, &mut |key| fits(at, signature, key))?;
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

/// A signature that says to be of this key.
fn judge_one(
    signature: &Signature,
    key: &SignedPublicKey,
    candidate: Candidate<'_>,
    now: WallTime,
    fits: &mut dyn FnMut(Candidate<'_>) -> bool,
) -> Result<Signer, SignatureError> {
    let signer = Keyring::signer(key, None);
    let (id, name) = (signer.key.clone(), signer.name.to_string());
    let weak = |what: &str| SignatureError::Weak(what.to_owned());
    match signature.hash_alg() {
        Some(
            HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512,
        ) => {}
        Some(HashAlgorithm::Md5) => return Err(weak("MD5")),
        Some(HashAlgorithm::Sha1) => return Err(weak("SHA-1")),
        other => return Err(weak(&format!("the hash {other:?}"))),
    }
    let made = signature.config().and_then(|config| {
        config.hashed_subpackets().find_map(|packet| match packet.data {
            SubpacketData::SignatureCreationTime(made) => Some(made.as_secs()),
            _ => None,
        })
    });
    let Some(made) = made else {
        return Err(SignatureError::Unreadable("it does not say when it was made".to_owned()));
    };
    // What is not hashed can be changed by anybody: only who made it may stand there.
    let mut open = signature.config().into_iter().flat_map(|config| config.unhashed_subpackets());
    let issuer =
        |data: &SubpacketData| matches!(data, SubpacketData::IssuerKeyId(_) | SubpacketData::IssuerFingerprint(_));
    if open.any(|packet| packet.is_critical || !issuer(&packet.data)) {
        return Err(SignatureError::Unreadable("it says what it does not vouch for".to_owned()));
    }
    // Others are not of a file's bytes: one of nothing but a time would fit any file.
    if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
        return Err(SignatureError::Unreadable("it is not one of a file's bytes".to_owned()));
    }
    if !fits(candidate) {
        return Err(SignatureError::Wrong { key: id, signer: name });
    }
    let standing = Standing::of(key).ok_or_else(|| SignatureError::MayNot { key: id.clone(), signer: name.clone() })?;
    let (began, ends, revoked, may_sign) = match candidate {
        Candidate::Primary(key) => {
            (u64::from(key.created_at().as_secs()), standing.ends, standing.revoked, standing.may_sign)
        }
        Candidate::Sub(sub) => {
            let own = Standing::of_subkey(key, sub);
            let own = own.ok_or_else(|| SignatureError::MayNot { key: id.clone(), signer: name.clone() })?;
            let ends = [own.ends, standing.ends].into_iter().flatten().min();
            (u64::from(sub.created_at().as_secs()), ends, own.revoked || standing.revoked, own.may_sign)
        }
    };
    if revoked {
        return Err(SignatureError::Revoked { key: id, signer: name });
    }
    if !may_sign {
        return Err(SignatureError::MayNot { key: id, signer: name });
    }
    let made = u64::from(made);
    if made < began || ends.is_some_and(|ends| made >= ends) {
        return Err(SignatureError::OutOfTime { key: id, signer: name });
    }
    let lasts = signature.signature_expiration_time().map(|lasts| u64::from(lasts.as_secs())).filter(|s| *s > 0);
    let now = u64::try_from(now.0).unwrap_or(0) / 1000;
    if lasts.is_some_and(|lasts| now > 0 && made + lasts <= now) {
        return Err(SignatureError::Expired { key: id, signer: name });
    }
    Ok(Keyring::signer(key, ends))
}

/// A key that can sign: the primary one or one below it.
#[derive(Debug, Clone, Copy)]
enum Candidate<'a> {
    Primary(&'a SignedPublicKey),
    Sub(&'a SignedPublicSubKey),
}

impl Candidate<'_> {
    fn verifies(self, signature: &Signature, bytes: &[u8]) -> bool {
        match self {
            Candidate::Primary(key) => signature.verify(&key.primary_key, bytes).is_ok(),
            Candidate::Sub(sub) => signature.verify(&sub.key, bytes).is_ok(),
        }
    }

    /// Whether this digest is what the key signed.
    fn signed(self, signature: &Signature, digest: &[u8]) -> bool {
        let (Some(hash), Some(made)) = (signature.hash_alg(), signature.signature()) else { return false };
        // Keys of version 6 make signatures of version 6, and no other key does (RFC 9580, 5.2.3).
        let version = match self {
            Candidate::Primary(key) => key.version(),
            Candidate::Sub(sub) => sub.version(),
        };
        if (version == KeyVersion::V6) != (signature.version() == SignatureVersion::V6) {
            return false;
        }
        if signature.signed_hash_value().is_none_or(|start| !digest.starts_with(&start)) {
            return false;
        }
        match self {
            Candidate::Primary(key) => key.primary_key.verify(hash, digest, made).is_ok(),
            Candidate::Sub(sub) => sub.key.verify(hash, digest, made).is_ok(),
        }
    }
}

fn candidates(key: &SignedPublicKey) -> impl Iterator<Item = Candidate<'_>> {
    std::iter::once(Candidate::Primary(key)).chain(key.public_subkeys.iter().take(MOST).map(Candidate::Sub))
}

/// Whether the signature says that this key made it, and says so of no other.
fn names(signature: &Signature, candidate: Candidate<'_>) -> bool {
    let (id, fingerprint) = match candidate {
        Candidate::Primary(key) => (key.legacy_key_id(), key.fingerprint()),
        Candidate::Sub(sub) => (sub.legacy_key_id(), sub.fingerprint()),
    };
    let (ids, fingerprints) = (signature.issuer_key_id(), signature.issuer_fingerprint());
    !(ids.is_empty() && fingerprints.is_empty())
        && ids.iter().all(|named| **named == id)
        && fingerprints.iter().all(|named| **named == fingerprint)
}

/// What a signature says of its maker.
fn issuer(signature: &Signature) -> String {
    match (signature.issuer_fingerprint().first(), signature.issuer_key_id().first()) {
        (Some(fingerprint), _) => format!("{fingerprint:X}"),
        (None, Some(id)) => id.to_string().to_uppercase(),
        (None, None) => "of nobody named".to_owned(),
    }
}

/// What a key says of itself by its newest signature about itself.
#[derive(Debug, Clone, Copy)]
struct Standing {
    /// Seconds since 1970.
    ends: Option<u64>,
    revoked: bool,
    may_sign: bool,
}

impl Standing {
    /// Of a primary key; none if nothing that it signed vouches for it.
    fn of(key: &SignedPublicKey) -> Option<Self> {
        let primary = &key.primary_key;
        let own = |signature: &&Signature| names(signature, Candidate::Primary(key)) && !is_md5(signature);
        let revoked = key.details.revocation_signatures.iter().filter(own).any(|s| s.verify_key(primary).is_ok());
        let direct = key.details.direct_signatures.iter().filter(own).filter(|s| s.verify_key(primary).is_ok());
        let users = key.details.users.iter().flat_map(|user| {
            let valid = |signature: &&Signature| signature.verify_certification(primary, Tag::UserId, &user.id).is_ok();
            let is_own: Vec<&Signature> = user.signatures.iter().filter(own).filter(valid).collect();
            // A name that was taken back vouches for nothing.
            let taken_back = is_own.iter().any(|signature| signature.typ() == Some(SignatureType::CertRevocation));
            if taken_back { Vec::new() } else { is_own }
        });
        let newest = direct.chain(users).max_by_key(|signature| made(signature))?;
        Some(Standing {
            ends: ends(primary.created_at().as_secs(), newest),
            revoked,
            // A key of before there were flags may do anything.
            may_sign: flags(newest).is_none_or(|flags| flags.sign()),
        })
    }

    /// Of a key below a primary one; none if that does not vouch for it.
    fn of_subkey(key: &SignedPublicKey, sub: &SignedPublicSubKey) -> Option<Self> {
        let own = |signature: &&Signature| {
            names(signature, Candidate::Primary(key))
                && !is_md5(signature)
                && signature.verify_subkey_binding(&key.primary_key, &sub.key).is_ok()
        };
        let valid: Vec<&Signature> = sub.signatures.iter().filter(own).collect();
        let revoked = valid.iter().any(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation));
        let bindings = valid.iter().filter(|signature| signature.typ() == Some(SignatureType::SubkeyBinding));
        let newest = bindings.max_by_key(|signature| made(signature))?;
        // The key below has to say itself that it belongs to the one above: else anybody takes it under their name.
        let back = newest
            .embedded_signature()
            .is_some_and(|back| !is_md5(back) && back.verify_primary_key_binding(&sub.key, &key.primary_key).is_ok());
        Some(Standing {
            ends: ends(sub.created_at().as_secs(), newest),
            revoked,
            may_sign: back && flags(newest).is_some_and(|flags| flags.sign()),
        })
    }
}

/// A key's word about itself by MD5 is nobody's; SHA-1 is still found there, and the key file as a whole is trusted.
fn is_md5(signature: &Signature) -> bool {
    signature.hash_alg() == Some(HashAlgorithm::Md5)
}

fn made(signature: &Signature) -> u32 {
    signature.created().map_or(0, Timestamp::as_secs)
}

fn ends(began: u32, signature: &Signature) -> Option<u64> {
    let lasts = signature.key_expiration_time().map(|lasts| u64::from(lasts.as_secs())).filter(|lasts| *lasts > 0)?;
    Some(u64::from(began) + lasts)
}

fn flags(signature: &Signature) -> Option<KeyFlags> {
    signature.config()?.hashed_subpackets().find_map(|packet| match &packet.data {
        SubpacketData::KeyFlags(flags) => Some(flags.clone()),
        _ => None,
    })
}

/// The signatures of a file, armored or binary. All of it has to be signatures, written as the format has it: what
/// can be changed without being noticed is not taken.
fn detached(file: &[u8]) -> Result<Vec<Signature>, SignatureError> {
    let unreadable = |error: &pgp::errors::Error| SignatureError::Unreadable(brief(error));
    if file.len() > LONGEST {
        return Err(SignatureError::Long);
    }
    let mut unpacked = Vec::new();
    if file.first().is_some_and(|first| first & 0x80 != 0) {
        unpacked.extend_from_slice(file);
    } else {
        let mut blocks = blocks(file, b"-----BEGIN PGP SIGNATURE-----");
        // Two blocks in one file are concatenated signatures, which no tool makes by itself.
        let (Some(block), None) = (blocks.next(), blocks.next()) else {
            return Err(SignatureError::Unreadable("it is no OpenPGP signature".to_owned()));
        };
        Dearmor::new(block)
            .read_to_end(&mut unpacked)
            .map_err(|error| SignatureError::Unreadable(rackberry_core::text::clean(&error.to_string(), 120)))?;
    }
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

/// The parts of a text that begin with this line; all of it if it is binary.
fn blocks<'a>(bytes: &'a [u8], line: &'static [u8]) -> impl Iterator<Item = &'a [u8]> {
    let binary = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let mut starts: Vec<usize> = if binary {
        vec![0]
    } else {
        bytes.windows(line.len()).enumerate().filter(|(_, w)| *w == line).map(|(at, _)| at).collect()
    };
    starts.truncate(MOST);
    let ends: Vec<usize> = starts.iter().skip(1).copied().chain([bytes.len()]).collect();
    starts.into_iter().zip(ends).filter_map(|(start, end)| bytes.get(start..end))
}

fn brief(error: &pgp::errors::Error) -> String {
    rackberry_core::text::clean(&error.to_string(), 120)
}

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
pub(super) mod tests;
