//! Saying yes from afar with the digits that the display at the box shows, and having it ask again.

use super::{State, field};
use crate::{
    consent::{Typed, read_digits},
    http::error::Error,
};
use rackberry_core::{event::Actor, id::HostId, install::Install, status::span};
use std::sync::Arc;

/// Says yes for a host with the digits that the display shows for it.
///
/// # Errors
/// If they are wrong, or nobody is asked about this host.
pub async fn confirm(state: &State, host: HostId, code: &str, actor: Actor) -> Result<Arc<Install>, Error> {
    let Some(given) = read_digits(code) else {
        return Err(field("code", "The display at the box shows four digits. Type them.".to_owned()));
    };
    match state.consent.typed(&state.inventory, host, given, actor).await? {
        Typed::Yes(install) => Ok(install),
        Typed::Wrong { left: 0 } => {
            Err(field("code", "Wrong digits for the third time. Have the display ask again.".to_owned()))
        }
        Typed::Wrong { left } => {
            let tries = if left == 1 { "1 try" } else { &format!("{left} tries") };
            Err(field("code", format!("The display at the box shows other digits. {tries} left.")))
        }
        Typed::Paused(left) => Err(Error::TooMany(format!(
            "Too many digits were wrong lately: none are taken for {}. The button at the box works.",
            span(left)
        ))),
        Typed::NotAsked(sentence) => Err(Error::Conflict(sentence)),
    }
}

/// Has the display ask once more about a host.
///
/// # Errors
/// If its question is not over.
pub async fn ask_again(state: &State, host: HostId, actor: Actor) -> Result<Arc<Install>, Error> {
    let none = || Error::Conflict("Nothing is armed on this host.".to_owned());
    state.consent.again(&state.inventory, host, actor).await?.ok_or_else(none)
}

#[cfg(test)]
mod tests;
