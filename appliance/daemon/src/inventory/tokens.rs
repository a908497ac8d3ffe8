//! What agents and first-boot scripts show to be believed; only hashes are kept.

use super::{
    error::StoreError,
    rows::{execute, from_json, millis, one, to_json},
    tx::Tx,
};
use rackberry_core::{
    host::MacAddr,
    id::{HostId, InstallId},
    image::Digest,
    install::{Install, Phase},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, time::Duration};

/// How long a token may wait for its first use.
pub const UNUSED_TTL: Duration = Duration::from_secs(2 * 3600);
/// How long a first-boot report may be repeated after it was taken, as its answer may have been lost.
pub const REPEAT_TTL: Duration = Duration::from_secs(600);
/// Boot tokens of one host that wait for their first use, and as many in use.
pub const BOOT_TOKENS: usize = 8;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenPurpose {
    /// One boot of the RAM OS.
    Boot,
    /// The installed system's report that it is up.
    FirstBoot,
    /// One boot of a distribution's installer, and the first of the system it installs.
    Installer,
    /// One boot of a system that runs from the network.
    Live,
}

impl TokenPurpose {
    fn as_str(self) -> &'static str {
        match self {
            TokenPurpose::Boot => "boot",
            TokenPurpose::FirstBoot => "first_boot",
            TokenPurpose::Installer => "installer",
            TokenPurpose::Live => "live",
        }
    }
}

/// A token that was given out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Token {
    /// SHA-256 of the token.
    pub hash: Digest,
    pub host: HostId,
    pub install: Option<InstallId>,
    pub purpose: TokenPurpose,
    pub mac: MacAddr,
    /// Where it was used first.
    pub address: Option<IpAddr>,
    pub created: Timestamp,
    pub used: Option<Timestamp>,
    /// From then on it is none; unbounded for the token of a boot in use.
    pub expires: Option<Timestamp>,
    /// How often something was told by it, where that is counted.
    #[serde(default)]
    pub news: u32,
    /// Given out with an answer under a fixed path, and not with a boot script.
    #[serde(default)]
    pub fixed: bool,
}

/// Who gets a token, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    pub host: HostId,
    pub install: Option<InstallId>,
    pub purpose: TokenPurpose,
    pub mac: MacAddr,
}

impl TokenPurpose {
    /// Whether it lives as long as the boot it is for.
    fn of_a_boot(self) -> bool {
        match self {
            TokenPurpose::Boot | TokenPurpose::Installer | TokenPurpose::Live => true,
            TokenPurpose::FirstBoot => false,
        }
    }
}

impl Tx<'_> {
    /// Gives out a token, by its hash; beyond [`BOOT_TOKENS`] the host's oldest unused boot token goes.
    ///
    /// # Errors
    /// [`StoreError`], also if the host is unknown.
    pub fn add_token(
        &mut self,
        hash: Digest,
        host: HostId,
        install: Option<InstallId>,
        purpose: TokenPurpose,
        mac: MacAddr,
    ) -> Result<(), StoreError> {
        self.give_token(hash, Grant { host, install, purpose, mac }, false)
    }

    /// Gives out a token with an answer under a fixed path. These are counted by themselves: however often such an answer is
    /// asked for, the token of the boot script stays good.
    ///
    /// # Errors
    /// [`StoreError`], also if the host is unknown.
    pub fn add_fixed_token(&mut self, hash: Digest, grant: Grant) -> Result<(), StoreError> {
        self.give_token(hash, grant, true)
    }

    fn give_token(&mut self, hash: Digest, grant: Grant, fixed: bool) -> Result<(), StoreError> {
        let Grant { host, install, purpose, mac } = grant;
        self.entry(host)?;
        let created = self.now();
        let expires = Some(created.after(UNUSED_TTL));
        let token =
            Token { hash, host, install, purpose, mac, address: None, created, used: None, expires, news: 0, fixed };
        self.put_token(&token)?;
        if purpose.of_a_boot() { self.trim_tokens(&token, "used IS NULL") } else { Ok(()) }
    }

    /// What a token stands for; none if it is unknown or has expired.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn token(&self, hash: Digest) -> Result<Option<Token>, StoreError> {
        let json = one(self.conn, "SELECT json FROM tokens WHERE hash = ?1", [hash.0.as_slice()], "a token", |row| {
            row.get::<_, String>(0)
        })?;
        let token: Option<Token> = json.map(|json| from_json(&json, "a token")).transpose()?;
        let now = self.now();
        Ok(token.filter(|token| token.expires.is_none_or(|expires| now < expires)))
    }

    /// Binds a token to the address it is used from; a boot token then lives as long as its boot.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if it is unknown or has expired, or storage.
    pub fn bind_token(&mut self, hash: Digest, address: IpAddr) -> Result<(), StoreError> {
        let mut token =
            self.token(hash)?.ok_or_else(|| StoreError::NotFound { what: "token", id: "of this hash".to_owned() })?;
        if token.address == Some(address) && token.used.is_some() {
            return Ok(());
        }
        token.address = Some(address);
        token.used = token.used.or(Some(self.now()));
        if token.purpose.of_a_boot() {
            token.expires = None;
        }
        self.put_token(&token)?;
        if token.purpose.of_a_boot() { self.trim_tokens(&token, "used IS NOT NULL") } else { Ok(()) }
    }

    /// Counts something told by a token; how much that was by now.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if it is unknown or has expired, or storage.
    pub fn count_token_news(&mut self, hash: Digest) -> Result<u32, StoreError> {
        let mut token =
            self.token(hash)?.ok_or_else(|| StoreError::NotFound { what: "token", id: "of this hash".to_owned() })?;
        token.news = token.news.saturating_add(1);
        self.put_token(&token)?;
        Ok(token.news)
    }

    /// Takes back every token of an install's installers.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn drop_installer_tokens(&mut self, install: InstallId) -> Result<(), StoreError> {
        let key = install.0.as_bytes().as_slice();
        let sql = "DELETE FROM tokens WHERE install = ?1 AND purpose = 'installer'";
        execute(self.conn, sql, [key], "drop", "an installer's tokens").map(drop)
    }

    /// Takes a token back.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn drop_token(&mut self, hash: Digest) -> Result<(), StoreError> {
        let key = [hash.0.as_slice()];
        execute(self.conn, "DELETE FROM tokens WHERE hash = ?1", key, "drop", "a token").map(drop)
    }

    /// An install is over: its first-boot tokens go, but for those with which its system may still report.
    pub(super) fn retire_first_boot_tokens(&mut self, install: &Install) -> Result<(), StoreError> {
        let key = install.id.0.as_bytes().as_slice();
        let late = install.state.phase == Phase::TimedOut && install.state.disk_complete();
        if late {
            return Ok(());
        }
        if install.state.phase == Phase::Done {
            let until = self.now().after(REPEAT_TTL);
            let sql = "UPDATE tokens SET expires = ?2, json = json_set(json, '$.expires', ?2)
                       WHERE install = ?1 AND purpose IN ('first_boot', 'installer')";
            return execute(self.conn, sql, (key, millis(until)), "retire", "first-boot tokens").map(drop);
        }
        let sql = "DELETE FROM tokens WHERE install = ?1 AND purpose IN ('first_boot', 'installer')";
        execute(self.conn, sql, [key], "drop", "first-boot tokens").map(drop)
    }

    fn put_token(&self, token: &Token) -> Result<(), StoreError> {
        let row = (
            token.hash.0.as_slice(),
            token.host.0.as_bytes().as_slice(),
            token.install.as_ref().map(|id| id.0.as_bytes().as_slice()),
            token.purpose.as_str(),
            token.used.map(millis),
            token.expires.map(millis),
            to_json(token, "a token")?,
        );
        let sql = "INSERT OR REPLACE INTO tokens (hash, host, install, purpose, used, expires, json)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        execute(self.conn, sql, row, "store", "a token").map(drop)
    }

    /// The oldest of its host, purpose and way go.
    fn trim_tokens(&self, token: &Token, which: &str) -> Result<(), StoreError> {
        let sql = format!(
            "DELETE FROM tokens WHERE hash IN (SELECT hash FROM tokens WHERE host = ?1 AND purpose = ?2
             AND coalesce(json_extract(json, '$.fixed'), 0) = ?3 AND {which}
             ORDER BY coalesce(used, expires) DESC, json_extract(json, '$.created') DESC LIMIT -1 OFFSET {BOOT_TOKENS})"
        );
        let which = (token.host.0.as_bytes().as_slice(), token.purpose.as_str(), token.fixed);
        execute(self.conn, &sql, which, "drop", "old boot tokens").map(drop)
    }
}
