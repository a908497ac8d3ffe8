//! People and what they may: passwords (argon2id), sessions, the one-time code of the first start, tokens.
//!
//! There is no default password: until the first person is added with the code printed at start, nothing but that page
//! answers. One password is hashed at a time, so that guessing slows only the guesser.

mod people;
mod tokens;
mod tries;

use crate::inventory::{Inventory, ReadError, Session, StoreError, TransactError, User};
use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use rackberry_core::{
    event::{Actor, EventKind},
    image::Digest,
    text::CleanText,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{net::IpAddr, sync::Arc, time::Duration};
use subtle::ConstantTimeEq;
use tokio::sync::{Mutex, watch};
use tries::Tries;

/// What the text of an API token begins with, so that people and scanners know one when they see it.
pub const TOKEN_PREFIX: &str = "rackberry-";
/// Length of a token in hex digits: 128 bits.
pub const TOKEN_HEX: usize = 32;
/// How long a session lasts without a new login.
pub(crate) const SESSION: Duration = Duration::from_secs(7 * 86_400);
/// Letters and digits that nobody confuses; 24 of them, so 8 make 36 bits.
const CODE_LETTERS: &[u8; 24] = b"ACDEFHJKLMNPRTUVWXY34679";
/// A shorter one is guessed.
const SHORTEST_PASSWORD: usize = 8;

/// 128 random bits, given out once in plain text and kept only as a digest.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; TOKEN_HEX / 2]);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// A fresh one.
    ///
    /// # Errors
    /// If the kernel gives no random bytes.
    pub fn random() -> Result<Self, StoreError> {
        let mut bytes = [0; TOKEN_HEX / 2];
        getrandom::fill(&mut bytes).map_err(StoreError::Random)?;
        Ok(Token(bytes))
    }

    /// Reads the hex form; `None` for anything else.
    #[must_use]
    pub fn parse(hex: &str) -> Option<Self> {
        if hex.len() != TOKEN_HEX || !hex.is_ascii() {
            return None;
        }
        u128::from_str_radix(hex, 16).ok().map(|bits| Token(bits.to_be_bytes()))
    }

    /// The form that is given out.
    #[must_use]
    pub fn hex(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }

    /// The form that is kept: SHA-256, which is enough for 128 random bits.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(Sha256::digest(self.0).into())
    }
}

/// Why somebody is not let in; `Display` is what they read.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("That is not the password for {user}. {left} tries left, then a pause of 1 minute.")]
    WrongPassword { user: CleanText, left: u32 },
    #[error("That is not the one-time code. {left} tries left, then a pause of 1 minute.")]
    WrongCode { left: u32 },
    #[error("This token is not valid here: it was mistyped, removed, or made by another box.")]
    WrongToken,
    #[error("Too many tries. Wait a minute.")]
    TooMany,
    #[error("This box has its first user already. Log in.")]
    NotFirst,
    /// A form field and the rule it breaks.
    #[error("{1}")]
    Field(&'static str, String),
    #[error("the password could not be hashed")]
    Hash,
    #[error(transparent)]
    Store(#[from] TransactError<StoreError>),
}

/// What somebody may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// See everything, change nothing.
    Viewer,
    Admin,
}

impl Role {
    /// As it is stored; a word of another version may as little as any.
    #[must_use]
    pub fn of(word: &str) -> Self {
        if word == Role::Admin.as_str() { Role::Admin } else { Role::Viewer }
    }

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Admin => "admin",
        }
    }
}

/// Who is logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub name: CleanText,
    pub role: Role,
    /// What every form of the session carries.
    pub csrf: String,
    /// The session, for logging out.
    pub session: Digest,
}

/// Lets people in; cheap to clone.
#[derive(Debug, Clone)]
pub struct Auth {
    inventory: Inventory,
    /// The one-time code while there is nobody yet.
    code: watch::Receiver<Option<Arc<str>>>,
    used_up: Arc<watch::Sender<Option<Arc<str>>>>,
    /// Also makes hashing one at a time; held across the await on purpose.
    tries: Arc<Mutex<Tries>>,
    token_tries: Arc<Mutex<Tries>>,
}

impl Auth {
    /// Looks whether anybody is there yet; if not, makes the one-time code that [`Auth::code`] shows.
    ///
    /// # Errors
    /// If the inventory cannot be read.
    pub async fn new(inventory: Inventory) -> Result<Self, TransactError<StoreError>> {
        let nobody = inventory.transact(|tx| tx.users().map(|users| users.is_empty())).await?;
        let code = if nobody { Some(Arc::from(one_time_code().map_err(TransactError::Failed)?)) } else { None };
        let (used_up, code) = watch::channel(code);
        Ok(Auth { inventory, code, used_up: Arc::new(used_up), tries: Arc::default(), token_tries: Arc::default() })
    }

    /// The one-time code, as printed at start; `None` once somebody is there.
    #[must_use]
    pub fn code(&self) -> Option<Arc<str>> {
        self.code.borrow().clone()
    }

    /// Adds the first person.
    ///
    /// # Errors
    /// [`AuthError`]; the code stays valid then.
    pub async fn first_run(&self, code: &str, name: &str, password: &str, from: IpAddr) -> Result<Token, AuthError> {
        let mut tries = self.tries.lock().await;
        let Some(wanted) = self.code() else { return Err(AuthError::NotFirst) };
        let left = tries.take(from)?;
        let given: String = code.to_uppercase().chars().filter(char::is_ascii_alphanumeric).collect();
        let wanted: String = wanted.chars().filter(char::is_ascii_alphanumeric).collect();
        if !bool::from(given.as_bytes().ct_eq(wanted.as_bytes())) {
            return Err(AuthError::WrongCode { left });
        }
        let name = own_name("user", name)?;
        let hash = hash(password).await?;
        self.add_first(name.clone(), hash, Actor::User(name.clone())).await?;
        tries.forgive(from);
        self.begin_session(name, from).await
    }

    /// Checks a password and begins a session; the token goes into the cookie.
    ///
    /// # Errors
    /// [`AuthError`]; an unknown name and a wrong password read and take the same.
    pub async fn login(&self, name: &str, password: &str, from: IpAddr) -> Result<Token, AuthError> {
        let mut tries = self.tries.lock().await;
        let left = tries.take(from)?;
        let name = CleanText::new(name);
        let user = {
            let name = name.to_string();
            self.inventory.transact(move |tx| tx.user(&name)).await?
        };
        let known = user.is_some();
        let hash = user.map_or_else(|| NOBODY.to_owned(), |user| user.password);
        let fits = verify(password.to_owned(), hash).await?;
        if !(known && fits) {
            let refused = name.clone();
            self.inventory
                .transact(move |tx| {
                    let address = CleanText::new(&from.to_string());
                    tx.record(None, None, Actor::Box, EventKind::LoginRefused { name: refused, address }).map(|_| ())
                })
                .await?;
            return Err(AuthError::WrongPassword { user: name, left });
        }
        tries.forgive(from);
        self.begin_session(name, from).await
    }

    /// Makes somebody the first person who may log in, by a hash that was made elsewhere; does nothing if there is one.
    ///
    /// # Errors
    /// If the inventory cannot be written.
    pub async fn adopt_owner(&self, name: &str, password: String) -> Result<(), TransactError<StoreError>> {
        if self.code().is_none() {
            return Ok(());
        }
        self.add_first(CleanText::new(name), password, Actor::Box).await
    }

    /// From now on the one-time code is of no use.
    async fn add_first(
        &self,
        name: CleanText,
        password: String,
        actor: Actor,
    ) -> Result<(), TransactError<StoreError>> {
        let user = User { name, password, role: Role::Admin.as_str().to_owned() };
        self.inventory
            .transact(move |tx| {
                tx.put_user(&user)?;
                tx.record(None, None, actor, EventKind::UserAdded { name: user.name }).map(drop)
            })
            .await?;
        self.used_up.send_replace(None);
        Ok(())
    }

    async fn begin_session(&self, user: CleanText, from: IpAddr) -> Result<Token, AuthError> {
        let token = Token::random().map_err(TransactError::Failed)?;
        let csrf = Token::random().map_err(TransactError::Failed)?.hex();
        let hash = token.digest();
        self.inventory
            .transact(move |tx| {
                let expires = tx.now().after(SESSION);
                tx.add_session(&Session { hash, user: user.clone(), expires, csrf })?;
                let address = CleanText::new(&from.to_string());
                let kind = EventKind::LoggedIn { name: user.clone(), address };
                tx.record(None, None, Actor::User(user), kind).map(|_| ())
            })
            .await?;
        Ok(token)
    }

    /// The person behind a session cookie.
    ///
    /// # Errors
    /// If the inventory cannot be read.
    pub async fn person(&self, cookie: &str) -> Result<Option<Person>, ReadError<StoreError>> {
        let Some(token) = Token::parse(cookie) else { return Ok(None) };
        let hash = token.digest();
        self.inventory
            .read(move |reader| {
                let Some(session) = reader.session(hash)? else { return Ok(None) };
                let Some(user) = reader.user(session.user.as_str())? else { return Ok(None) };
                Ok(Some(Person { name: user.name, role: Role::of(&user.role), csrf: session.csrf, session: hash }))
            })
            .await
    }

    /// Ends a session.
    ///
    /// # Errors
    /// If the inventory cannot be written.
    pub async fn logout(&self, person: &Person) -> Result<(), TransactError<StoreError>> {
        let hash = person.session;
        self.inventory.transact(move |tx| tx.remove_session(hash)).await
    }
}

/// What a person or a token may be called.
pub(crate) const NAMES: &str = "A name is 1 to 32 lower-case letters, digits, dots, - or _.";

pub(crate) fn valid_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_' || b == b'.')
}

/// A name for a person or a token; `field` is what it is called in a form.
fn own_name(field: &'static str, name: &str) -> Result<CleanText, AuthError> {
    if valid_name(name) { Ok(CleanText::new(name)) } else { Err(AuthError::Field(field, NAMES.to_owned())) }
}

async fn hash(password: &str) -> Result<String, AuthError> {
    if password.chars().count() < SHORTEST_PASSWORD {
        return Err(AuthError::Field("password", format!("A password has at least {SHORTEST_PASSWORD} characters.")));
    }
    let password = password.to_owned();
    let hashed = tokio::task::spawn_blocking(move || {
        Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string())
    });
    hashed.await.map_err(|_| AuthError::Hash)?.map_err(|_| AuthError::Hash)
}

async fn verify(password: String, hash: String) -> Result<bool, AuthError> {
    tokio::task::spawn_blocking(move || {
        let Ok(parsed) = PasswordHash::new(&hash) else { return false };
        Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok()
    })
    .await
    .map_err(|_| AuthError::Hash)
}

/// A hash of nobody's password, so that an unknown name takes as long as a known one.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$cmFja2JlcnJ5bm9ib2R5$uW0GkZ3cN5Yq0F6w8rZ1bqg5m3Wq0yq0c8n7b6v5c4k";

fn one_time_code() -> Result<String, StoreError> {
    let mut code = String::new();
    while code.len() < 9 {
        let mut byte = [0];
        getrandom::fill(&mut byte).map_err(StoreError::Random)?;
        let [byte] = byte;
        // 240 is the largest multiple of 24 in a byte: above it the first letters would come more often.
        if byte < 240
            && let Some(letter) = CODE_LETTERS.get(usize::from(byte) % CODE_LETTERS.len())
        {
            if code.len() == 4 {
                code.push('-');
            }
            code.push(char::from(*letter));
        }
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_shows_only_its_digest() {
        let token = Token::random().unwrap();
        assert_eq!(Token::parse(&token.hex()), Some(token.clone()));
        assert_eq!(format!("{token:?}"), "Token");
        for bad in ["", "zz", "+1111111111111111111111111111111"] {
            assert_eq!(Token::parse(bad).filter(|_| bad.len() < 32), None);
        }
    }

    #[test]
    fn a_code_has_two_groups_of_four() {
        let code = one_time_code().unwrap();
        assert_eq!(code.len(), 9, "{code}");
        assert_eq!(code.find('-'), Some(4));
    }

    #[tokio::test]
    async fn the_hash_of_nobody_takes_as_long_as_any() {
        assert!(PasswordHash::new(NOBODY).is_ok());
        assert!(!verify("x".to_owned(), NOBODY.to_owned()).await.unwrap());
        let hash = hash("correct horse").await.unwrap();
        assert!(verify("correct horse".to_owned(), hash).await.unwrap());
    }
}
