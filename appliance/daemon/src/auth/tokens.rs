//! Tokens of programs: made, shown, taken back.

use super::{Auth, AuthError, Role, TOKEN_PREFIX, Token, own_name};
use crate::inventory::{ApiToken, TransactError, USED_EVERY};
use rackberry_core::{
    event::{Actor, EventKind},
    text::CleanText,
};
use std::{net::IpAddr, sync::Arc};
use subtle::ConstantTimeEq as _;

impl Auth {
    /// Makes a token for a program; its text is given out here and never again.
    ///
    /// # Errors
    /// [`AuthError`] for a bad or taken name, or if there are too many.
    pub async fn add_token(
        &self,
        name: &str,
        role: Role,
        by: CleanText,
        actor: Actor,
    ) -> Result<(Arc<ApiToken>, String), AuthError> {
        let name = own_name("name", name)?;
        let secret = Token::random().map_err(TransactError::Failed)?;
        let hash = secret.digest();
        let stored = self
            .inventory
            .transact(move |tx| {
                let token = ApiToken {
                    name,
                    hash,
                    role: role.as_str().to_owned(),
                    by,
                    created_wall: tx.wall(),
                    used: None,
                    used_wall: None,
                    address: None,
                };
                tx.add_api_token(token, actor)
            })
            .await?;
        Ok((stored, format!("{TOKEN_PREFIX}{}", secret.hex())))
    }

    /// Takes a token back.
    ///
    /// # Errors
    /// [`AuthError`] if there is none of that name.
    pub async fn remove_token(&self, name: &str, actor: Actor) -> Result<Arc<ApiToken>, AuthError> {
        let name = name.to_owned();
        Ok(self.inventory.transact(move |tx| tx.remove_api_token(&name, actor)).await?)
    }

    /// Which token a program shows. Refused ones count as tries, apart from those of passwords, so that a forgotten
    /// script does not keep the people at its address from logging in.
    ///
    /// # Errors
    /// [`AuthError::WrongToken`], or [`AuthError::TooMany`] without having looked at it.
    pub async fn bearer(&self, shown: &str, from: IpAddr) -> Result<Arc<ApiToken>, AuthError> {
        let given = shown.strip_prefix(TOKEN_PREFIX).and_then(Token::parse).map(|token| token.digest());
        let mut tries = self.token_tries.lock().await;
        tries.left(from)?;
        let snapshot = self.inventory.snapshot();
        // All are compared, each in the same time: neither tells which one was nearly right.
        let fitting = given.and_then(|given| {
            snapshot.api_tokens.values().fold(None, |found, token| {
                if bool::from(token.hash.0.ct_eq(&given.0)) { Some(token.clone()) } else { found }
            })
        });
        let Some(token) = fitting else {
            tries.take(from)?;
            drop(tries);
            self.inventory
                .transact(move |tx| {
                    let (name, address) = ("an API token".into(), CleanText::new(&from.to_string()));
                    tx.record(None, None, Actor::Box, EventKind::LoginRefused { name, address }).map(drop)
                })
                .await?;
            return Err(AuthError::WrongToken);
        };
        drop(tries);
        if token.used.is_none_or(|used| self.inventory.now().since(used) >= USED_EVERY) {
            let (inventory, name) = (self.inventory.clone(), token.name.clone());
            // Not waited for: a program's answer does not depend on when it asked last.
            tokio::spawn(async move {
                let noted = inventory.transact(move |tx| tx.use_api_token(name.as_str(), from)).await;
                if let Err(error) = noted {
                    tracing::warn!(error = crate::chain(&error), "the last use of a token was not noted");
                }
            });
        }
        Ok(token)
    }
}
