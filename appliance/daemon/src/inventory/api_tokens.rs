//! What programs show to use the API; only hashes are kept.

use super::{
    error::StoreError,
    rows::{execute, from_json, many, to_json},
    tx::Tx,
};
use rackberry_core::{
    event::{Actor, EventKind},
    image::Digest,
    text::CleanText,
    time::{Timestamp, WallTime},
};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, sync::Arc, time::Duration};

/// Tokens at a time; each is compared with every one that is shown.
pub const API_TOKENS: usize = 64;
/// The last use is written down no more often, as each time costs a commit.
pub const USED_EVERY: Duration = Duration::from_secs(60);

/// A token of the API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApiToken {
    pub name: CleanText,
    /// SHA-256 of its random part.
    pub hash: Digest,
    /// What it may, as a person's role is written.
    pub role: String,
    /// Who made it; it goes with that person.
    pub by: CleanText,
    pub created_wall: WallTime,
    /// To about a minute.
    pub used: Option<Timestamp>,
    pub used_wall: Option<WallTime>,
    /// Where it was used from then.
    pub address: Option<IpAddr>,
}

impl Tx<'_> {
    /// Makes a token known, by its hash.
    ///
    /// # Errors
    /// [`StoreError::TokenNameTaken`], [`StoreError::TooManyTokens`], or storage.
    pub fn add_api_token(&mut self, token: ApiToken, actor: Actor) -> Result<Arc<ApiToken>, StoreError> {
        if self.state.api_tokens.contains_key(token.name.as_str()) {
            return Err(StoreError::TokenNameTaken { name: token.name });
        }
        if self.state.api_tokens.len() >= API_TOKENS {
            return Err(StoreError::TooManyTokens { limit: API_TOKENS });
        }
        let kind = EventKind::TokenAdded { name: token.name.clone(), role: token.role.as_str().into() };
        let token = self.put_api_token(token)?;
        self.record(None, None, actor, kind)?;
        Ok(token)
    }

    /// Takes a token back: from the commit on it opens nothing.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or storage.
    pub fn remove_api_token(&mut self, name: &str, actor: Actor) -> Result<Arc<ApiToken>, StoreError> {
        let missing = || StoreError::NotFound { what: "token", id: CleanText::new(name).to_string() };
        let token = self.state.api_tokens.remove(name).ok_or_else(missing)?;
        let key = [token.name.as_str()];
        execute(self.conn, "DELETE FROM api_tokens WHERE name = ?1", key, "remove token", &token.name)?;
        self.record(None, None, actor, EventKind::TokenRemoved { name: token.name.clone() })?;
        Ok(token)
    }

    /// Takes back every token that a person made.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remove_api_tokens_of(&mut self, person: &CleanText, actor: &Actor) -> Result<(), StoreError> {
        let made = |token: &&Arc<ApiToken>| token.by == *person;
        let names: Vec<CleanText> =
            self.state.api_tokens.values().filter(made).map(|token| token.name.clone()).collect();
        for name in names {
            self.remove_api_token(name.as_str(), actor.clone())?;
        }
        Ok(())
    }

    /// Notes that a token was used, if that was not noted within [`USED_EVERY`]; one that is gone is fine.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn use_api_token(&mut self, name: &str, from: IpAddr) -> Result<(), StoreError> {
        let Some(token) = self.state.api_tokens.get(name) else { return Ok(()) };
        let now = self.now();
        if token.used.is_some_and(|used| now.since(used) < USED_EVERY) {
            return Ok(());
        }
        let mut token = (**token).clone();
        token.used = Some(now);
        token.used_wall = Some(self.wall());
        token.address = Some(from);
        self.put_api_token(token).map(drop)
    }

    fn put_api_token(&mut self, token: ApiToken) -> Result<Arc<ApiToken>, StoreError> {
        let sql = "INSERT INTO api_tokens (name, json) VALUES (?1, ?2)
                   ON CONFLICT (name) DO UPDATE SET json = excluded.json";
        let row = (token.name.as_str(), to_json(&token, &token.name)?);
        execute(self.conn, sql, row, "store token", &token.name)?;
        let token = Arc::new(token);
        self.state.api_tokens.insert(token.name.to_string(), token.clone());
        self.changed = true;
        Ok(token)
    }
}

pub(super) fn load(conn: &Connection) -> Result<Vec<ApiToken>, StoreError> {
    many(conn, "SELECT json FROM api_tokens", [], "API tokens", |row| row.get::<_, String>(0))?
        .iter()
        .map(|json| from_json(json, "an API token"))
        .collect()
}
