//! One file comes in from elsewhere: what vouches for it first, then its bytes, from one mirror after another, going on where
//! the one before broke off.

mod coming;

use super::{
    checksums::{ListError, Sum},
    client::{Answer, Client, ClientError, Pieces, Reach},
    notes::{self, Note, Place},
    proof::Proof,
    signature::{self, KeyError, Keyring, SignatureError},
    url::{InvalidUrl, Url},
};
use crate::media::{ImportError, Media};
use coming::Coming;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use rackberry_core::{
    image::{Digest, Image},
    text::CleanText,
    time::WallTime,
};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Pieces are put together to so many bytes before they are written.
const WRITE: usize = 1 << 20;
/// Breaks in a row without a byte in between, after which nothing more is tried: of a file that nothing came of,
const TRIES: u32 = 8;
/// and where more is at stake: about an hour, since a line or a router may be away for long.
const LONG_TRIES: u32 = 120;
/// The first pause after a break; each one after it is twice as long, up to the longest.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A slow line's bytes are written at the latest after so long.
const WRITE_EVERY: Duration = Duration::from_secs(5);
/// Mirrors of one file.
const MIRRORS: usize = 16;

/// What somebody wants to have fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// What people and profiles call the image.
    pub name: CleanText,
    /// The file, and the same file elsewhere.
    pub urls: Vec<String>,
    /// It is refused unless it has this digest.
    #[serde(default)]
    pub sha256: Option<Digest>,
    /// A list of checksums that has to name it.
    #[serde(default)]
    pub checksums: Option<String>,
    /// An OpenPGP signature: of that list, if there is one; else of the file.
    #[serde(default)]
    pub signature: Option<String>,
    /// The keys that may have signed, as their file has them.
    #[serde(default, with = "notes::packed")]
    pub key: Option<Vec<u8>>,
    /// A packed archive is kept packed.
    #[serde(default)]
    pub as_it_is: bool,
    /// Private addresses may be fetched from.
    #[serde(default)]
    pub private: bool,
}

/// Why nothing came of it; nothing is kept then.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("no URL was given")]
    NoUrl,
    #[error("at most {MIRRORS} URLs of one file are tried")]
    ManyUrls,
    #[error("there is no signature for the key: give the URL of one, or of a list of checksums that is signed")]
    KeyWithoutSignature,
    #[error("the signature says nothing without the key that may have made it")]
    SignatureWithoutKey,
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    #[error("the file cannot be fetched")]
    Client(#[from] ClientError),
    #[error("the list of checksums cannot be fetched")]
    List(#[source] ClientError),
    #[error("the signature cannot be fetched")]
    SignatureFile(#[source] ClientError),
    #[error("no key can be read")]
    Key(#[from] KeyError),
    #[error("the signature is refused, and nothing was kept")]
    Signature(#[from] SignatureError),
    #[error("the list of checksums does not help")]
    Checksums(#[from] ListError),
    #[error("the list of checksums is not signed, and a key was given that should have signed it")]
    Unsigned,
    #[error("the file does not have the digest that the list of checksums gives; it was not kept")]
    WrongSum,
    #[error("two digests are wanted of one file: the one given is not the one of the list of checksums")]
    TwoDigests,
    #[error("it has {size} bytes, and there is room for {room}: remove an image that no host uses")]
    Room { size: u64, room: u64 },
    #[error("only {got} of {size} bytes came, and after that nothing more in {tries} tries")]
    Short { got: u64, size: u64, tries: u32, source: Option<ClientError> },
    #[error("the file that came cannot be read again")]
    Read(#[source] std::io::Error),
    #[error("the file could not be stored")]
    Import(#[from] ImportError),
    #[error("the box made a mistake: {0}")]
    Mistake(String),
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stand {
    pub got: u64,
    /// Unknown until the server said it; some never do.
    pub size: Option<u64>,
    /// Why it waits just now.
    pub waits: Option<String>,
    /// Where it comes from.
    pub from: String,
}

/// An order whose words were understood.
#[derive(Debug)]
pub struct Checked {
    urls: Vec<Url>,
    checksums: Option<Url>,
    signature: Option<Url>,
    keyring: Option<Keyring>,
}

impl Order {
    /// Reads URLs and keys.
    ///
    /// # Errors
    /// [`FetchError`] for what can be told without asking anybody.
    pub fn check(&self) -> Result<Checked, FetchError> {
        let read = |text: &Option<String>| text.as_deref().map(str::parse::<Url>).transpose();
        let urls: Vec<Url> = self.urls.iter().map(|url| url.parse()).collect::<Result<_, _>>()?;
        let (checksums, signature) = (read(&self.checksums)?, read(&self.signature)?);
        let keyring = self.key.as_deref().map(Keyring::parse).transpose()?;
        match (urls.len(), &keyring, &signature, &checksums) {
            (0, ..) => Err(FetchError::NoUrl),
            (MIRRORS.., ..) => Err(FetchError::ManyUrls),
            (_, Some(_), None, None) => Err(FetchError::KeyWithoutSignature),
            (_, None, Some(_), _) => Err(FetchError::SignatureWithoutKey),
            _ => Ok(Checked { urls, checksums, signature, keyring }),
        }
    }
}

/// How big a file is, without fetching it; none if its server does not say.
///
/// # Errors
/// [`ClientError`].
pub async fn size(client: &Client, url: &Url, reach: Reach) -> Result<Option<u64>, ClientError> {
    let Answer { url, response } = client.ask(&Method::HEAD, url, &HeaderMap::new(), reach).await?;
    if response.status() != StatusCode::OK {
        return Err(ClientError::Status { url: url.to_string(), status: response.status() });
    }
    Ok(length(response.headers()))
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Fetches one file.
#[derive(Debug)]
pub struct Fetcher<'a> {
    pub client: &'a Client,
    pub media: &'a Media,
    pub reach: Reach,
    /// It was begun before the box started. A box may be up before its uplink, and before it knows the time.
    pub again: bool,
    /// The box's own time; zero if it does not know.
    pub now: WallTime,
}

impl Fetcher<'_> {
    /// Fetches, checks and takes in, from where the note says that it is; `tell` learns how far. The note is kept at its place, and
    /// who gave that decides what stays of it.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn run(&self, note: Note, place: Place, tell: impl Fn(Stand)) -> Result<Image, FetchError> {
        let checked = note.order.check()?;
        let at = |url: &Url| note.known.as_ref().is_some_and(|known| known.url == url.to_string());
        let mut mirror = checked.urls.iter().position(at).unwrap_or(0);
        let mut tries = 0;
        let (offset, size) = (note.offset, note.known.as_ref().and_then(|known| known.size));
        let from = note.known.as_ref().map_or_else(|| first(&note.order), |known| known.url.clone());
        let begun = |waits| tell(Stand { got: offset, size, waits, from: from.clone() });
        let proof = loop {
            match self.proof(&note.order, &checked).await {
                Err(FetchError::List(error) | FetchError::SignatureFile(error))
                    if self.again && self.may_pass(&error) && tries < LONG_TRIES =>
                {
                    begun(Some(crate::chain(&error)));
                    tries += 1;
                    pause(tries).await;
                }
                other => break other?,
            }
        };
        begun((offset > 0).then(|| "what is here already is read once more".to_owned()));
        tries = 0;
        let watch = proof.watch(checked.keyring.as_ref())?;
        let media = self.media.clone();
        let mut coming = blocking(move || Coming::resume(media, watch, note, place)).await??;
        while !coming.whole() {
            let url = checked.urls.get(mirror % checked.urls.len().max(1)).ok_or(FetchError::NoUrl)?;
            let before = coming.got();
            let stand = |got, size, waits| tell(Stand { got, size, waits, from: url.to_string() });
            stand(coming.got(), coming.size(), None);
            let (ended, back) = self.part(url, coming, &proof, &checked, &stand).await?;
            coming = back;
            let Err(error) = ended else { break };
            // What one mirror does not have another may; what is wrong with the order is wrong everywhere.
            if !(self.may_pass(&error) || (checked.urls.len() > 1 && mirror + 1 < checked.urls.len() * 2)) {
                return Err(error.into());
            }
            let got = coming.got();
            tries = if got > before { 0 } else { tries + 1 };
            if tries >= if self.again || got > 0 { LONG_TRIES } else { TRIES } {
                return Err(match coming.size() {
                    Some(size) if got > 0 => FetchError::Short { got, size, tries, source: Some(error) },
                    _ => error.into(),
                });
            }
            mirror += 1;
            coming = blocking(move || coming.settle().map(|()| coming)).await??;
            stand(got, coming.size(), Some(crate::chain(&error)));
            pause(tries).await;
        }
        self.finish(coming, proof).await
    }

    /// Whether trying again may help.
    fn may_pass(&self, error: &ClientError) -> bool {
        // A certificate may not be valid yet by a clock that was not set yet.
        error.passing() || (self.again && matches!(error, ClientError::Tls { .. }))
    }

    /// Fetches what vouches for the file.
    async fn proof(&self, order: &Order, checked: &Checked) -> Result<Proof, FetchError> {
        let signature = match &checked.signature {
            Some(url) => {
                let small = self.client.small(url, signature::LONGEST, self.reach).await;
                Some(small.map_err(FetchError::SignatureFile)?)
            }
            None => None,
        };
        let given = order.sha256;
        let Some(at) = &checked.checksums else {
            return Ok(Proof { sum: given.map(Sum::Sha256), signature, ..Proof::default() });
        };
        let list = self.client.small(at, signature::LONGEST, self.reach).await.map_err(FetchError::List)?;
        let url = checked.urls.first().ok_or(FetchError::NoUrl)?;
        Proof::by_list(given, checked.keyring.as_ref(), &list, signature.as_deref(), url.path(), self.now)
    }

    /// One answer of one mirror, from where we are on. The outer error ends it all, the inner one this mirror.
    async fn part(
        &self,
        url: &Url,
        mut coming: Coming,
        proof: &Proof,
        checked: &Checked,
        stand: &impl Fn(u64, Option<u64>, Option<String>),
    ) -> Result<(Result<(), ClientError>, Coming), FetchError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        // From another mirror a rest is taken if something will prove that it is a rest of the same file.
        let proven = proof.tells();
        let tag = coming.known().filter(|known| known.url == url.to_string()).and_then(|known| known.tag.as_deref());
        if coming.got() > 0 && (proven || tag.is_some()) {
            if let Ok(range) = HeaderValue::from_str(&format!("bytes={}-", coming.got())) {
                headers.insert(header::RANGE, range);
            }
            if let Some(tag) = tag.and_then(|tag| HeaderValue::from_str(tag).ok()) {
                headers.insert(header::IF_RANGE, tag);
            }
        }
        let answer = match self.client.ask(&Method::GET, url, &headers, self.reach).await {
            Ok(answer) => answer,
            Err(error) => return Ok((Err(error), coming)),
        };
        let told = Known::of(url, &answer);
        match answer.response.status() {
            StatusCode::PARTIAL_CONTENT if told.from == coming.got() && told.fits(coming.known()) => {}
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if coming.got() > 0 => {
                // It cannot or may not go on here: all of it again.
                let watch = proof.watch(checked.keyring.as_ref())?;
                let media = self.media.clone();
                coming = blocking(move || coming.anew(media, watch)).await??;
                if answer.response.status() != StatusCode::OK {
                    return Ok((Err(ClientError::Elsewhere { url: url.to_string() }), coming));
                }
            }
            StatusCode::OK => {}
            status => return Ok((Err(ClientError::Status { url: url.to_string(), status }), coming)),
        }
        let size = told.size;
        coming.learn(told);
        if let Some(size) = size {
            let media = self.media.clone();
            let room = blocking(move || media.room("")).await?.saturating_add(coming.got());
            if size > room {
                return Err(FetchError::Room { size, room });
            }
        }
        stand(coming.got(), size, None);
        let mut pieces = Pieces::new(&answer.url, answer.response.into_body());
        let (mut held, mut wrote) = (Vec::new(), Instant::now());
        loop {
            let piece = pieces.next().await;
            let over = !matches!(piece, Ok(Some(_)));
            if let Ok(Some(piece)) = &piece {
                held.extend_from_slice(piece);
            }
            if !held.is_empty() && (over || held.len() >= WRITE || wrote.elapsed() >= WRITE_EVERY) {
                let bytes = std::mem::take(&mut held);
                coming = blocking(move || coming.take(&bytes).map(|()| coming)).await??;
                wrote = Instant::now();
                stand(coming.got(), size, None);
            }
            match piece {
                Ok(Some(_)) => {}
                Ok(None) => return Ok((Ok(()), coming)),
                Err(error) => return Ok((Err(error), coming)),
            }
        }
    }

    /// Checks everything that was asked for, and only then gives the file its name.
    async fn finish(&self, coming: Coming, proof: Proof) -> Result<Image, FetchError> {
        let now = self.now;
        blocking(move || {
            let (import, watch, order, _place) = coming.into_parts()?;
            let (wanted, verdict) = proof.judge(watch, now)?;
            let origin = CleanText::new(&first(&order));
            let mut image = import.finish(order.name, origin, wanted.or(order.sha256), now)?;
            if let Some(verdict) = verdict {
                image.verdict = verdict;
            }
            Ok(image)
        })
        .await?
    }
}

/// The first address, or nothing.
fn first(order: &Order) -> String {
    order.urls.first().cloned().unwrap_or_default()
}

async fn pause(tries: u32) {
    tokio::time::sleep((PAUSE * 2_u32.saturating_pow(tries.min(10))).min(LONGEST_PAUSE)).await;
}

/// What a mirror said of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    pub url: String,
    pub size: Option<u64>,
    /// A strong entity tag, or else a date (RFC 9110, 13.1.5).
    pub tag: Option<String>,
    /// Where its bytes begin.
    #[serde(skip)]
    from: u64,
}

impl Known {
    fn of(url: &Url, answer: &Answer) -> Self {
        let headers = answer.response.headers();
        let (mut size, mut from) = (length(headers), 0);
        if answer.response.status() == StatusCode::PARTIAL_CONTENT {
            let range = headers.get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok()).unwrap_or_default();
            let (part, whole) =
                range.strip_prefix("bytes ").and_then(|range| range.split_once('/')).unwrap_or_default();
            // Where it begins is not said: then it is not where we are.
            from = part.split_once('-').and_then(|(from, _)| from.parse().ok()).unwrap_or(u64::MAX);
            size = whole.parse().ok();
        }
        let strong = |tag: &&HeaderValue| tag.as_bytes().first() == Some(&b'"');
        let tag = headers.get(header::ETAG).filter(strong).or_else(|| headers.get(header::LAST_MODIFIED));
        let tag = tag.and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        Known { url: url.to_string(), size, tag, from }
    }

    /// Whether it can be the same file as the one begun.
    fn fits(&self, begun: Option<&Known>) -> bool {
        match (self.size, begun.and_then(|begun| begun.size)) {
            (Some(now), Some(then)) => now == then,
            _ => true,
        }
    }
}

/// Off the runtime.
async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> Result<T, FetchError> {
    tokio::task::spawn_blocking(act).await.map_err(|error| FetchError::Mistake(error.to_string()))
}

#[cfg(test)]
mod tests;
