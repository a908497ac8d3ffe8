//! Media from elsewhere: by an address that a person gives, or as a profile names it.

use super::{State, field};
use crate::{
    http::error::Error,
    origin::{
        desk::{Fetch, FetchState},
        fetch::Order,
        keys,
    },
};
use rackberry_core::{
    event::Actor,
    image::Digest,
    profile::{Medium, Profile},
    text::{CleanText, clean},
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What somebody wants to have fetched.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    pub name: String,
    pub urls: Vec<String>,
    pub sha256: Option<Digest>,
    pub checksums: Option<String>,
    pub signature: Option<String>,
    /// Armored, or the name of a file in the folder of keys.
    pub key: Option<String>,
    #[serde(default)]
    pub as_it_is: bool,
    #[serde(default)]
    pub allow_private: bool,
}

/// Begins a fetch.
///
/// # Errors
/// What can be told before anybody is asked.
pub async fn fetch(state: &State, wish: Wish, actor: Actor) -> Result<Fetch, Error> {
    let order = order(state, wish).await?;
    begin(state, order, actor).await
}

async fn begin(state: &State, order: Order, actor: Actor) -> Result<Fetch, Error> {
    if let Some(why) = state.sensors.refusal() {
        return Err(Error::Conflict(why.to_owned()));
    }
    Ok(state.fetches.begin(order, actor).await?)
}

/// The order for a wish, with its key read.
///
/// # Errors
/// A name or key that will not do.
pub async fn order(state: &State, wish: Wish) -> Result<Order, Error> {
    let Wish { name, urls, sha256, checksums, signature, key, as_it_is, allow_private } = wish;
    let name = CleanText::new(&name);
    if name.is_empty() {
        return Err(field("name", "An image needs a name.".to_owned()));
    }
    let key = key_of(state, key).await?;
    Ok(Order { name, urls, sha256, checksums, signature, key, as_it_is, private: allow_private })
}

/// The keys that somebody gave: armored, or by the name of their file in the folder of keys.
///
/// # Errors
/// A name that will not do.
pub async fn key_of(state: &State, given: Option<String>) -> Result<Option<Vec<u8>>, Error> {
    match given.filter(|key| !key.trim().is_empty()) {
        None => Ok(None),
        Some(key) if key.trim_start().starts_with("-----BEGIN") => Ok(Some(key.trim_start().to_owned().into_bytes())),
        Some(named) => key_file(state.state_dir.join(keys::FOLDER), named.trim().to_owned()).await.map(Some),
    }
}

async fn key_file(folder: PathBuf, name: String) -> Result<Vec<u8>, Error> {
    let read = tokio::task::spawn_blocking(move || keys::read(&folder, &name)).await;
    let read = read.map_err(|error| Error::Mistake(error.to_string()))?;
    read.map_err(|error| field("key", format!("{error}.")))
}

/// Where a profile's medium is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    OnTheBox,
    /// It is being fetched.
    Coming,
    /// Its vendor's address is known.
    NeedsInternet,
    /// No address is known.
    YoursToFind,
}

/// A medium of a profile as it stands.
#[derive(Debug, Clone, Serialize)]
pub struct MediumStand {
    /// What it is called on the box.
    pub name: String,
    pub title: String,
    pub place: Place,
    /// Empty if none is known.
    pub url: String,
    /// What will vouch for it when it is fetched; empty if nothing is known that does.
    pub vouched: String,
    pub help: String,
}

/// Every medium of a profile, in its order.
#[must_use]
pub fn media(state: &State, profile: &Profile) -> Vec<MediumStand> {
    let snapshot = state.inventory.snapshot();
    let coming: Vec<Fetch> = state.fetches.list().into_iter().filter(|fetch| !fetch.state.over()).collect();
    let stand = |name: &str| {
        let medium = profile.media.iter().find(|medium| medium.name == name);
        let text = |get: fn(&Medium) -> &String| medium.map(|medium| get(medium).clone()).unwrap_or_default();
        let url = text(|medium| &medium.url);
        let place = if snapshot.image_by_name(name).is_some() {
            Place::OnTheBox
        } else if coming.iter().any(|fetch| fetch.name.as_str() == name) {
            Place::Coming
        } else if url.is_empty() {
            Place::YoursToFind
        } else {
            Place::NeedsInternet
        };
        let vouched = medium.map(vouched).unwrap_or_default().to_owned();
        let title = Some(text(|medium| &medium.title)).filter(|title| !title.is_empty());
        MediumStand {
            name: name.to_owned(),
            title: title.unwrap_or_else(|| name.to_owned()),
            place,
            url,
            vouched,
            help: text(|medium| &medium.help),
        }
    };
    profile.needs().map(stand).collect()
}

fn vouched(medium: &Medium) -> &'static str {
    match (medium.key.is_empty(), medium.signature_url.is_empty(), medium.checksums_url.is_empty()) {
        (false, false, true) => "a signature over the file",
        (false, ..) => "a signed list of checksums",
        (true, _, false) => "a list of checksums that nobody signed",
        (true, _, true) => "",
    }
}

/// Fetches a profile's medium from where its vendor offers it, under the name that the profile knows it by.
///
/// # Errors
/// If no address is known, or it is here or on its way already.
pub async fn get_it(
    state: &State,
    profile: &str,
    medium: &str,
    allow_private: bool,
    actor: Actor,
) -> Result<Fetch, Error> {
    let none = || Error::NotFound(format!("No profile {} needs {}.", clean(profile, 60), clean(medium, 60)));
    let known = super::plan::profile(state, profile)?;
    let stand = media(state, &known).into_iter().find(|stand| stand.name == medium).ok_or_else(none)?;
    match stand.place {
        Place::OnTheBox => return Err(Error::Conflict(format!("{} is on the box already.", stand.title))),
        Place::Coming => return Err(Error::Conflict(format!("{} is being fetched already.", stand.title))),
        Place::YoursToFind => {
            let help = Some(stand.help.trim_end_matches('.')).filter(|help| !help.is_empty());
            let help = help.map(|help| format!(" It is: {help}.")).unwrap_or_default();
            let sentence =
                format!("No address of {} is known here.{help} Import it under the name {}.", stand.title, stand.name);
            return Err(Error::Conflict(sentence));
        }
        Place::NeedsInternet => {}
    }
    let found = known.media.iter().find(|known| known.name == medium).ok_or_else(none)?;
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let key = match (given(&found.key), state.catalog.folder(&known.name)) {
        (Some(name), Some(folder)) => Some(key_file(folder.to_owned(), name).await?),
        _ => None,
    };
    let order = Order {
        name: CleanText::new(&found.name),
        urls: vec![found.url.clone()],
        sha256: None,
        checksums: given(&found.checksums_url),
        // Without a key a signature says nothing.
        signature: given(&found.signature_url).filter(|_| key.is_some()),
        key,
        as_it_is: false,
        private: allow_private,
    };
    begin(state, order, actor).await
}

/// Fetches that are shown: those under way, and those that failed while nothing of their name came since.
#[must_use]
pub fn shown(state: &State) -> Vec<Fetch> {
    let snapshot = state.inventory.snapshot();
    let all = state.fetches.list();
    let newest = |fetch: &Fetch| !all.iter().any(|other| other.name == fetch.name && other.id > fetch.id);
    let failed = |fetch: &Fetch| {
        fetch.state == FetchState::Failed && newest(fetch) && snapshot.image_by_name(fetch.name.as_str()).is_none()
    };
    all.iter().filter(|fetch| !fetch.state.over() || failed(fetch)).cloned().collect()
}
