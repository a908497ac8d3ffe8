//! Changes within a file that leave everything else, comments too, as it was.

use argon2::Argon2;
use argon2::password_hash::PasswordHasher as _;
use std::ops::Range;

/// A shorter password is guessed.
const SHORTEST: usize = 8;

/// Which hash a password becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-512 crypt(5), for console and SSH.
    Crypt,
    /// argon2id in PHC form, for the page.
    Page,
}

impl Hash {
    /// Whether the text is such a hash already.
    pub fn is_one(self, text: &str) -> bool {
        let safe = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"./$=,+".contains(&b));
        match self {
            // Raspberry Pi Imager and `openssl passwd` write 5 and 6, newer systems y (yescrypt).
            Hash::Crypt => ["$5$", "$6$", "$y$"].iter().any(|id| text.starts_with(id)) && safe(text) && text.len() > 20,
            Hash::Page => argon2::password_hash::phc::PasswordHash::new(text).is_ok() && text.starts_with("$argon2"),
        }
    }
}

/// One place of a file and what shall stand there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    pub at: Range<usize>,
    pub text: String,
}

/// The text with all edits made, or none of it if one does not fit it.
pub fn made(text: &str, edits: &[Edit]) -> Option<String> {
    let mut ordered: Vec<&Edit> = edits.iter().collect();
    ordered.sort_by_key(|edit| (edit.at.start, edit.at.end));
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for edit in ordered {
        out.push_str(text.get(done..edit.at.start)?);
        out.push_str(&edit.text);
        done = edit.at.end;
    }
    out.push_str(text.get(done..)?);
    Some(out)
}

/// A text as TOML writes it; ours hold no control characters.
pub fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// The password as a hash: what is given if it is one, else made from it.
pub fn hashed(kind: Hash, given: &str, hasher: super::Hasher<'_>) -> Result<String, String> {
    if kind.is_one(given) {
        return Ok(given.to_owned());
    }
    if given.chars().count() < SHORTEST {
        return Err(format!("a password has at least {SHORTEST} characters"));
    }
    // crypt(3) takes a password as far as its first NUL, and a login prompt ends it at the line's end.
    if given.chars().any(char::is_control) {
        return Err("a password has no control characters and fits on one line".to_owned());
    }
    hasher(kind, given)
}

/// Hashes with salt from the kernel.
pub fn hash(kind: Hash, password: &str) -> Result<String, String> {
    let mut salt = [0; 12];
    getrandom::fill(&mut salt).map_err(|_| "cannot be hashed: the kernel gives no random bytes")?;
    let failed = |what: &dyn std::fmt::Display| format!("cannot be hashed: {what}");
    match kind {
        Hash::Crypt => {
            use sha_crypt::PasswordHasher as _;
            sha_crypt::ShaCrypt::SHA512
                .hash_password_with_salt(password.as_bytes(), &salt)
                .map(|hash| hash.to_string())
                .map_err(|error| failed(&error))
        }
        Hash::Page => Argon2::default()
            .hash_password_with_salt(password.as_bytes(), &salt)
            .map(|hash| hash.to_string())
            .map_err(|error| failed(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::password_hash::PasswordVerifier as _;

    #[test]
    fn both_hashes_fit_the_password_that_they_were_made_of() {
        let console = hash(Hash::Crypt, "correct horse").unwrap();
        assert!(console.starts_with("$6$") && Hash::Crypt.is_one(&console), "{console}");
        sha_crypt::PasswordVerifier::verify_password(&sha_crypt::ShaCrypt::SHA512, b"correct horse", console.as_str())
            .unwrap();
        let page = hash(Hash::Page, "correct horse").unwrap();
        assert!(Hash::Page.is_one(&page), "{page}");
        let parsed = argon2::password_hash::phc::PasswordHash::new(&page).unwrap();
        Argon2::default().verify_password(b"correct horse", &parsed).unwrap();
        assert_ne!(hash(Hash::Page, "correct horse").unwrap(), page, "each has salt of its own");
    }

    /// What crypt(3) of glibc 2.36 makes of it; also a vector of the SHA-crypt specification.
    #[test]
    fn the_systems_own_hash_is_understood() {
        let known =
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1";
        assert!(Hash::Crypt.is_one(known));
        sha_crypt::PasswordVerifier::verify_password(&sha_crypt::ShaCrypt::SHA512, b"Hello world!", known).unwrap();
    }

    #[test]
    fn what_only_looks_like_a_hash_is_none() {
        for text in ["$6$", "$6$salt$with:colon.................", "$1$old$md5md5md5md5md5md5", "secret-password"] {
            assert!(!Hash::Crypt.is_one(text), "{text}");
        }
        assert!(!Hash::Page.is_one("$argon2id$nonsense"));
    }

    #[test]
    fn edits_leave_the_rest_alone() {
        let edit = |at, text: &str| Edit { at, text: text.to_owned() };
        assert_eq!(made("abcdef", &[edit(4..5, "X"), edit(1..1, "-")]).unwrap(), "a-bcdXf");
        assert_eq!(made("ab", &[edit(1..9, "")]), None);
        assert_eq!(made("abc", &[edit(0..2, ""), edit(1..3, "")]), None, "two that overlap fit no text");
    }
}
