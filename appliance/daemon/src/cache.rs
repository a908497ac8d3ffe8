//! Packages pulled through once: `/cache/<name>/<path>` on the boot listener is a mirror of the settings, and nothing else.
//!
//! | module | one sentence |
//! |---|---|
//! | `shelf` | what is kept on disk, how much of it, and what goes first |
//! | `flight` | one file on its way in, read by everybody who waits for it |
//!
//! A file whose name never changes its content (a package) is fetched once; lists are asked after each time, and the kept one
//! is good enough while the mirror cannot be reached. What is kept proves nothing: the repository's own signatures do, at the
//! machine that installs. A file lies here whole or not at all.

mod flight;
mod shelf;

pub use flight::Reading;

use crate::{
    media::HeldFile,
    origin::{
        client::{Answer, Client, ClientError, Reach},
        url::Url,
    },
};
use flight::{Flight, Head};
use http::{HeaderMap, HeaderValue, Method, header};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use shelf::Shelf;
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    path::Path,
    sync::Arc,
};
use tokio::sync::watch;

/// No request's path is longer.
const LONGEST: usize = 1024;

/// What is known of a kept file beside its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Mirror and path, for people who look.
    pub of: String,
    pub len: u64,
    pub etag: Option<String>,
    pub last_modified: Option<String>,
}

/// A file that is kept.
#[derive(Debug, Clone)]
pub struct Kept {
    pub facts: Facts,
    pub file: Arc<HeldFile>,
}

/// What a request gets.
#[derive(Debug)]
pub enum Hit {
    Kept(Kept),
    /// It comes in just now.
    Coming(Reading),
    /// It is passed on without being kept: there is no room for it.
    Passing(Incoming, HeaderMap),
    /// The head of a file that is not kept.
    Head(HeaderMap),
}

/// Why there is nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CacheError {
    #[error("This box keeps no packages: no mirror is set (cache.mirrors in its settings).")]
    Off,
    #[error("This box has no mirror named {name}; it has: {known}.")]
    NoMirror { name: String, known: String },
    #[error("This is no path of a mirror.")]
    Path,
    #[error("The mirror has no such file: {0}.")]
    Missing(String),
    #[error("The mirror cannot be reached, and this file is not kept here: {0}.")]
    Away(String),
    #[error("The mirror did not answer in time, and this file is not kept here: {0}.")]
    Slow(String),
}

/// A box's cache; cheap to clone.
#[derive(Debug, Clone)]
pub struct Cache {
    client: Client,
    mirrors: Arc<BTreeMap<String, Url>>,
    shelf: Shelf,
    flights: Arc<watch::Sender<HashMap<String, Flight>>>,
}

impl Cache {
    /// Keeps at most `most` bytes below `folder`. Without mirrors nothing is made there.
    #[must_use]
    pub fn new(mirrors: BTreeMap<String, Url>, folder: &Path, most: u64) -> Self {
        let shelf = Shelf::open(folder, most, !mirrors.is_empty());
        Cache { client: Client::new(), mirrors: Arc::new(mirrors), shelf, flights: Arc::default() }
    }

    /// What `path`, as it stands in the request behind `/cache/`, means.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn get(&self, method: &Method, path: &str) -> Result<Hit, CacheError> {
        if self.mirrors.is_empty() {
            return Err(CacheError::Off);
        }
        let (name, path) = path.split_once('/').ok_or(CacheError::Path)?;
        let Some(mirror) = self.mirrors.get(name) else {
            let known: Vec<&str> = self.mirrors.keys().map(String::as_str).collect();
            return Err(CacheError::NoMirror { name: rackberry_core::text::clean(name, 40), known: known.join(", ") });
        };
        if !plain(path) {
            return Err(CacheError::Path);
        }
        let whole = format!("{}/{path}", mirror.to_string().trim_end_matches('/'));
        let url: Url = whole.parse().map_err(|_| CacheError::Path)?;
        let key = key(name, path);
        let kept = self.shelf.get(&key).await;
        if let Some(kept) = &kept
            && lasting(path)
        {
            return Ok(Hit::Kept(kept.clone()));
        }
        if method == Method::HEAD && kept.is_none() {
            let answer = self.ask(method, &url, &HeaderMap::new()).await?;
            return Ok(Hit::Head(answer.response.headers().clone()));
        }
        let mut head = self.join(key, url.clone(), kept, lasting(path));
        // Who asked may go; the file comes in all the same.
        let told = head.wait_for(|head| !matches!(head, Head::Asking)).await.map(|head| head.clone());
        match told {
            Ok(Head::Coming(reading)) => Ok(Hit::Coming(reading)),
            Ok(Head::Kept(kept)) => Ok(Hit::Kept(kept)),
            Ok(Head::Refused(error)) => Err(error),
            Ok(Head::NoRoom) => {
                let answer = self.ask(&Method::GET, &url, &HeaderMap::new()).await?;
                let (head, body) = answer.response.into_parts();
                Ok(Hit::Passing(body, head.headers))
            }
            Ok(Head::Asking) | Err(_) => Err(CacheError::Away("the box is stopping".to_owned())),
        }
    }

    /// The flight of this file: the one under way, or a new one.
    fn join(&self, key: String, url: Url, kept: Option<Kept>, lasts: bool) -> watch::Receiver<Head> {
        let (tell, told) = watch::channel(Head::Asking);
        let mut joined = None;
        self.flights.send_if_modified(|flights| {
            joined = flights.get(&key).map(Flight::head);
            if joined.is_none() {
                flights.insert(key.clone(), Flight::new(told.clone()));
            }
            joined.is_none()
        });
        if let Some(joined) = joined {
            return joined;
        }
        let cache = self.clone();
        tokio::spawn(async move {
            // A flight that ended since the shelf was looked at has left it there.
            if lasts && let Some(kept) = cache.shelf.get(&key).await {
                tell.send_replace(Head::Kept(kept));
                return cache.flights.send_modify(|flights| drop(flights.remove(&key)));
            }
            cache.fly(&key, &url, kept, &tell).await;
            cache.flights.send_modify(|flights| drop(flights.remove(&key)));
        });
        told
    }

    async fn fly(&self, key: &str, url: &Url, kept: Option<Kept>, tell: &watch::Sender<Head>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(kept) = &kept {
            let value = |text: &Option<String>| text.as_deref().and_then(|text| HeaderValue::from_str(text).ok());
            if let Some(etag) = value(&kept.facts.etag) {
                headers.insert(header::IF_NONE_MATCH, etag);
            }
            if let Some(date) = value(&kept.facts.last_modified) {
                headers.insert(header::IF_MODIFIED_SINCE, date);
            }
        }
        let answer = match (self.ask(&Method::GET, url, &headers).await, kept) {
            (Ok(answer), Some(kept)) if answer.response.status().as_u16() == 304 => {
                return drop(tell.send_replace(Head::Kept(kept)));
            }
            (Ok(answer), _) => answer,
            // A list of yesterday serves machines better than none.
            (Err(CacheError::Away(_) | CacheError::Slow(_)), Some(kept)) => {
                return drop(tell.send_replace(Head::Kept(kept)));
            }
            (Err(error), _) => return drop(tell.send_replace(Head::Refused(error))),
        };
        flight::take(&self.shelf, key, answer, tell).await;
    }

    async fn ask(&self, method: &Method, url: &Url, headers: &HeaderMap) -> Result<Answer, CacheError> {
        let answer = self.client.ask(method, url, headers, Reach::Anywhere).await.map_err(|error| match &error {
            ClientError::Slow { .. } => CacheError::Slow(crate::chain(&error)),
            _ => CacheError::Away(crate::chain(&error)),
        })?;
        match answer.response.status().as_u16() {
            200 | 304 => Ok(answer),
            403 | 404 | 410 => Err(CacheError::Missing(url.to_string())),
            status => Err(CacheError::Away(format!("{url} answers {status}"))),
        }
    }
}

/// The name of a file on disk.
fn key(mirror: &str, path: &str) -> String {
    let digest = Sha256::digest(format!("{mirror}/{path}"));
    digest.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Whether a path stays below its mirror, however its escapes are read there.
fn plain(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let hidden = ["%2e", "%2f", "%5c", "%00", "\\"].iter().any(|escape| lower.contains(escape));
    let wrong = |part: &str| part == "." || part == "..";
    !path.is_empty() && path.len() <= LONGEST && !hidden && !path.contains('\\') && !path.split('/').any(wrong)
}

/// Whether this name means the same bytes for ever: packages carry their version in it, lists by hash their digest.
fn lasting(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let digest = |text: &str| text.len() >= 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let package = [".deb", ".udeb", ".ddeb", ".rpm", ".drpm", ".apk", ".dsc"].iter().any(|end| name.ends_with(end));
    package
        || path.contains("/by-hash/")
        || (path.contains("repodata/") && name.split_once('-').is_some_and(|(start, _)| digest(start)))
        || (path.contains("/pool/") && name.contains(".tar."))
}

#[cfg(test)]
mod tests;
