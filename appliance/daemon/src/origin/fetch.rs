//! One file comes in from elsewhere: what vouches for it first, then its bytes, from one mirror after another, going on where
//! the one before broke off.

use super::{
    checksums::{ListError, Sum},
    client::{Answer, Client, ClientError, Pieces, Reach},
    proof::{Proof, Watch},
    signature::{self, KeyError, Keyring, SignatureError},
    url::{InvalidUrl, Url},
};
use crate::media::{Import, ImportError, Media};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use rackberry_core::{
    image::{Digest, Image},
    text::CleanText,
    time::WallTime,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Pieces are put together to so many bytes before they are written.
const WRITE: usize = 1 << 20;
/// Breaks in a row without a byte in between, after which nothing more is tried.
const TRIES: u32 = 8;
/// The first pause after a break; each one after it is twice as long, up to the longest.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Bytes that stay free for the box's own state, and for the steps by which an import looks at what is left.
const RESERVE: u64 = (64 + 4) << 20;
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
    #[serde(default)]
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
    #[error("only {got} of {size} bytes came, and after that nothing more in {TRIES} tries")]
    Short { got: u64, size: u64, source: Option<ClientError> },
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
    order: Order,
}

impl Order {
    /// Reads URLs and keys.
    ///
    /// # Errors
    /// [`FetchError`] for what can be told without asking anybody.
    pub fn check(self) -> Result<Checked, FetchError> {
        let read = |text: &Option<String>| text.as_deref().map(str::parse::<Url>).transpose();
        let urls: Vec<Url> = self.urls.iter().map(|url| url.parse()).collect::<Result<_, _>>()?;
        let (checksums, signature) = (read(&self.checksums)?, read(&self.signature)?);
        let keyring = self.key.as_deref().map(Keyring::parse).transpose()?;
        match (urls.len(), &keyring, &signature, &checksums) {
            (0, ..) => Err(FetchError::NoUrl),
            (MIRRORS.., ..) => Err(FetchError::ManyUrls),
            (_, Some(_), None, None) => Err(FetchError::KeyWithoutSignature),
            (_, None, Some(_), _) => Err(FetchError::SignatureWithoutKey),
            _ => Ok(Checked { urls, checksums, signature, keyring, order: self }),
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

/// Where it is kept and who vouches for it, while it comes.
#[derive(Debug)]
struct Coming {
    import: Import,
    got: u64,
    watch: Watch,
}

impl Coming {
    fn take(&mut self, bytes: &[u8]) -> Result<(), ImportError> {
        self.import.write(bytes)?;
        self.watch.update(bytes);
        self.got += bytes.len() as u64;
        Ok(())
    }
}

/// Fetches one file.
#[derive(Debug)]
pub struct Fetcher<'a> {
    pub client: &'a Client,
    pub media: &'a Media,
    /// A name for its file that no other has.
    pub unique: String,
    /// The box's own time; zero if it does not know.
    pub now: WallTime,
}

impl Fetcher<'_> {
    /// Fetches, checks and takes in; `tell` learns how far it is.
    ///
    /// # Errors
    /// [`FetchError`]; nothing is kept then.
    pub async fn run(&self, checked: Checked, tell: impl Fn(Stand)) -> Result<Image, FetchError> {
        let reach = if checked.order.private { Reach::Anywhere } else { Reach::Internet };
        let proof = self.proof(&checked, reach).await?;
        let mut coming = self.begin(&checked, &proof).await?;
        let mut known: Option<Known> = None;
        let (mut tries, mut mirror) = (0, 0);
        loop {
            let url = checked.urls.get(mirror % checked.urls.len().max(1)).ok_or(FetchError::NoUrl)?;
            let before = coming.got;
            let stand = |got, size, waits| tell(Stand { got, size, waits, from: url.to_string() });
            let size = known.as_ref().and_then(|known| known.size);
            stand(coming.got, size, None);
            let (ended, back) = self.part(url, reach, coming, &mut known, &proof, &checked, &stand).await?;
            coming = back;
            let Err(error) = ended else { break };
            // What one mirror does not have another may; what is wrong with the order is wrong everywhere.
            if !(error.passing() || (checked.urls.len() > 1 && mirror + 1 < checked.urls.len() * 2)) {
                return Err(error.into());
            }
            tries = if coming.got > before { 0 } else { tries + 1 };
            if tries >= TRIES {
                let size = known.as_ref().and_then(|known| known.size);
                return Err(match size {
                    Some(size) if coming.got > 0 => FetchError::Short { got: coming.got, size, source: Some(error) },
                    _ => error.into(),
                });
            }
            mirror += 1;
            let size = known.as_ref().and_then(|known| known.size);
            stand(coming.got, size, Some(crate::chain(&error)));
            tokio::time::sleep((PAUSE * 2_u32.saturating_pow(tries)).min(LONGEST_PAUSE)).await;
        }
        self.finish(coming, checked, proof).await
    }

    /// Fetches what vouches for the file.
    async fn proof(&self, checked: &Checked, reach: Reach) -> Result<Proof, FetchError> {
        let signature = match &checked.signature {
            Some(url) => {
                let small = self.client.small(url, signature::LONGEST, reach).await;
                Some(small.map_err(FetchError::SignatureFile)?)
            }
            None => None,
        };
        let given = checked.order.sha256;
        let Some(at) = &checked.checksums else {
            return Ok(Proof { sum: given.map(Sum::Sha256), signature, ..Proof::default() });
        };
        let list = self.client.small(at, signature::LONGEST, reach).await.map_err(FetchError::List)?;
        let url = checked.urls.first().ok_or(FetchError::NoUrl)?;
        Proof::by_list(given, checked.keyring.as_ref(), &list, signature.as_deref(), url.path(), self.now)
    }

    /// From nothing.
    async fn begin(&self, checked: &Checked, proof: &Proof) -> Result<Coming, FetchError> {
        let watch = proof.watch(checked.keyring.as_ref())?;
        let (media, unique) = (self.media.clone(), self.unique.clone());
        let import = blocking(move || Import::start(&media, &unique)).await??;
        let import = import.as_it_is(checked.order.as_it_is);
        Ok(Coming { import, got: 0, watch })
    }

    /// One answer of one mirror, from where we are on. The outer error ends it all, the inner one this mirror.
    #[allow(clippy::too_many_arguments, reason = "one call's surroundings, used once")]
    async fn part(
        &self,
        url: &Url,
        reach: Reach,
        mut coming: Coming,
        known: &mut Option<Known>,
        proof: &Proof,
        checked: &Checked,
        stand: &impl Fn(u64, Option<u64>, Option<String>),
    ) -> Result<(Result<(), ClientError>, Coming), FetchError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        // From another mirror a rest is taken if something will prove that it is a rest of the same file.
        let proven = proof.tells();
        let same = known.as_ref().filter(|known| known.url == *url);
        if coming.got > 0 && (proven || same.is_some_and(|known| known.tag.is_some())) {
            if let Ok(range) = HeaderValue::from_str(&format!("bytes={}-", coming.got)) {
                headers.insert(header::RANGE, range);
            }
            if let Some(tag) = same.and_then(|known| known.tag.clone()) {
                headers.insert(header::IF_RANGE, tag);
            }
        }
        let answer = match self.client.ask(&Method::GET, url, &headers, reach).await {
            Ok(answer) => answer,
            Err(error) => return Ok((Err(error), coming)),
        };
        let told = Known::of(url, &answer);
        match answer.response.status() {
            StatusCode::PARTIAL_CONTENT if told.from == coming.got && told.fits(known.as_ref()) => {}
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if coming.got > 0 => {
                // It cannot or may not go on here: all of it again.
                drop(coming);
                coming = self.begin(checked, proof).await?;
                if answer.response.status() != StatusCode::OK {
                    *known = None;
                    return Ok((Err(ClientError::Elsewhere { url: url.to_string() }), coming));
                }
            }
            StatusCode::OK => {}
            status => return Ok((Err(ClientError::Status { url: url.to_string(), status }), coming)),
        }
        let size = told.size;
        *known = Some(told);
        if let Some(size) = size {
            let room = room(self.media).saturating_add(coming.got);
            if size > room {
                return Err(FetchError::Room { size, room });
            }
        }
        stand(coming.got, size, None);
        let mut pieces = Pieces::new(&answer.url, answer.response.into_body());
        let mut held = Vec::new();
        loop {
            let piece = pieces.next().await;
            let over = !matches!(piece, Ok(Some(_)));
            if let Ok(Some(piece)) = &piece {
                held.extend_from_slice(piece);
            }
            if (over && !held.is_empty()) || held.len() >= WRITE {
                let bytes = std::mem::take(&mut held);
                coming = blocking(move || coming.take(&bytes).map(|()| coming)).await??;
                stand(coming.got, size, None);
            }
            match piece {
                Ok(Some(_)) => {}
                Ok(None) => return Ok((Ok(()), coming)),
                Err(error) => return Ok((Err(error), coming)),
            }
        }
    }

    /// Checks everything that was asked for, and only then gives the file its name.
    async fn finish(&self, coming: Coming, checked: Checked, proof: Proof) -> Result<Image, FetchError> {
        let Coming { import, watch, .. } = coming;
        let (wanted, verdict) = proof.judge(watch, self.now)?;
        let wanted = wanted.or(checked.order.sha256);
        let origin = CleanText::new(checked.order.urls.first().map_or("", String::as_str));
        let (name, now) = (checked.order.name, self.now);
        let mut image = blocking(move || import.finish(name, origin, wanted, now)).await??;
        if let Some(verdict) = verdict {
            image.verdict = verdict;
        }
        Ok(image)
    }
}

/// What may be written until only the box's own reserve is left.
#[must_use]
pub fn room(media: &Media) -> u64 {
    let folder = media.aside("");
    let free = rustix::fs::statvfs(&folder).map_or(u64::MAX, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
    free.saturating_sub(RESERVE)
}

/// What a mirror said of the file.
#[derive(Debug, Clone)]
struct Known {
    url: Url,
    size: Option<u64>,
    /// A strong entity tag, or else a date (RFC 9110, 13.1.5).
    tag: Option<HeaderValue>,
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
        Known { url: url.clone(), size, tag: tag.cloned(), from }
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
