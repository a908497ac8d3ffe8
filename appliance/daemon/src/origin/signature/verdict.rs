//! Whether one signature counts: its hash, its time, and the standing of the key that made it.

use super::{
    Key, Keyring, SignatureError, Signer,
    standing::{Candidate, Standing},
};
use pgp::{
    crypto::hash::HashAlgorithm,
    packet::{Signature, SignatureType, SubpacketData},
    types::KeyDetails as _,
};
use rackberry_core::time::WallTime;

/// A signature that says to be of this key.
pub(super) fn judge(
    signature: &Signature,
    key: &Key,
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
            (u64::from(key.primary.created_at().as_secs()), standing.ends, standing.revoked, standing.may_sign)
        }
        Candidate::Sub(sub) => {
            let own = Standing::of_subkey(key, sub);
            let own = own.ok_or_else(|| SignatureError::MayNot { key: id.clone(), signer: name.clone() })?;
            let ends = [own.ends, standing.ends].into_iter().flatten().min();
            (u64::from(sub.key.created_at().as_secs()), ends, own.revoked || standing.revoked, own.may_sign)
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
