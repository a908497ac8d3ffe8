//! Keys that can sign, and what their owners say of them by signatures about the key itself.

use super::{
    MOST,
    packets::{Key, Subkey},
};
use pgp::{
    crypto::hash::HashAlgorithm,
    packet::{KeyFlags, Signature, SignatureType, SignatureVersion, SubpacketData},
    types::{KeyDetails as _, KeyVersion, Tag, Timestamp, VerifyingKey as _},
};

/// A key that can sign: the primary one or one below it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Candidate<'a> {
    Primary(&'a Key),
    Sub(&'a Subkey),
}

impl Candidate<'_> {
    pub(super) fn verifies(self, signature: &Signature, bytes: &[u8]) -> bool {
        match self {
            Candidate::Primary(key) => signature.verify(&key.primary, bytes).is_ok(),
            Candidate::Sub(sub) => signature.verify(&sub.key, bytes).is_ok(),
        }
    }

    /// Whether this digest is what the key signed.
    pub(super) fn signed(self, signature: &Signature, digest: &[u8]) -> bool {
        let (Some(hash), Some(made)) = (signature.hash_alg(), signature.signature()) else { return false };
        // Keys of version 6 make signatures of version 6, and no other key does (RFC 9580, 5.2.3).
        let version = match self {
            Candidate::Primary(key) => key.primary.version(),
            Candidate::Sub(sub) => sub.key.version(),
        };
        if (version == KeyVersion::V6) != (signature.version() == SignatureVersion::V6) {
            return false;
        }
        if signature.signed_hash_value().is_none_or(|start| !digest.starts_with(&start)) {
            return false;
        }
        match self {
            Candidate::Primary(key) => key.primary.verify(hash, digest, made).is_ok(),
            Candidate::Sub(sub) => sub.key.verify(hash, digest, made).is_ok(),
        }
    }
}

pub(super) fn candidates(key: &Key) -> impl Iterator<Item = Candidate<'_>> {
    std::iter::once(Candidate::Primary(key)).chain(key.subkeys.iter().take(MOST).map(Candidate::Sub))
}

/// Whether the signature says that this key made it, and says so of no other.
pub(super) fn names(signature: &Signature, candidate: Candidate<'_>) -> bool {
    let (id, fingerprint) = match candidate {
        Candidate::Primary(key) => (key.primary.legacy_key_id(), key.primary.fingerprint()),
        Candidate::Sub(sub) => (sub.key.legacy_key_id(), sub.key.fingerprint()),
    };
    let (ids, fingerprints) = (signature.issuer_key_id(), signature.issuer_fingerprint());
    !(ids.is_empty() && fingerprints.is_empty())
        && ids.iter().all(|named| **named == id)
        && fingerprints.iter().all(|named| **named == fingerprint)
}

/// What a signature says of its maker.
pub(super) fn issuer(signature: &Signature) -> String {
    match (signature.issuer_fingerprint().first(), signature.issuer_key_id().first()) {
        (Some(fingerprint), _) => format!("{fingerprint:X}"),
        (None, Some(id)) => id.to_string().to_uppercase(),
        (None, None) => "of nobody named".to_owned(),
    }
}

/// What a key says of itself by its newest signature about itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    /// Seconds since 1970.
    pub(super) ends: Option<u64>,
    pub(super) revoked: bool,
    pub(super) may_sign: bool,
}

impl Standing {
    /// Of a primary key; none if nothing that it signed vouches for it.
    pub(super) fn of(key: &Key) -> Option<Self> {
        let primary = &key.primary;
        let own = |signature: &&Signature| names(signature, Candidate::Primary(key)) && !is_md5(signature);
        let about = |typ: SignatureType| {
            let of_type = move |signature: &&Signature| signature.typ() == Some(typ);
            key.signatures.iter().filter(own).filter(of_type).filter(|s| s.verify_key(primary).is_ok())
        };
        let revoked = about(SignatureType::KeyRevocation).next().is_some();
        let direct = about(SignatureType::Key);
        let users = key.users.iter().flat_map(|user| {
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
    pub(super) fn of_subkey(key: &Key, sub: &Subkey) -> Option<Self> {
        let own = |signature: &&Signature| {
            names(signature, Candidate::Primary(key))
                && !is_md5(signature)
                && signature.verify_subkey_binding(&key.primary, &sub.key).is_ok()
        };
        let valid: Vec<&Signature> = sub.signatures.iter().filter(own).collect();
        let revoked = valid.iter().any(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation));
        let bindings = valid.iter().filter(|signature| signature.typ() == Some(SignatureType::SubkeyBinding));
        let newest = bindings.max_by_key(|signature| made(signature))?;
        // The key below has to say itself that it belongs to the one above: else anybody takes it under their name.
        let back = newest
            .embedded_signature()
            .is_some_and(|back| !is_md5(back) && back.verify_primary_key_binding(&sub.key, &key.primary).is_ok());
        Some(Standing {
            ends: ends(sub.key.created_at().as_secs(), newest),
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
