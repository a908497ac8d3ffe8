//! One file comes in from elsewhere: what vouches for it first, then its bytes, from one mirror after another, going on where
//! the one before broke off.

use super::{
    checksums::{self, ListError, Long, Sum},
    client::{Answer, Client, ClientError, Pieces, Reach},
    signature::{self, Expected, KeyError, Keyring, SignatureError, Signer},
    url::{InvalidUrl, Url},
};
use crate::media::{Import, ImportError, Media};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use rackberry_core::{
    image::{Digest, Image, Verdict},
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
    expected: Option<Expected>,
    long: Option<Long>,
}

impl Coming {
    fn take(&mut self, bytes: &[u8]) -> Result<(), ImportError> {
        self.import.write(bytes)?;
        if let Some(expected) = &mut self.expected {
            expected.update(bytes);
        }
        if let Some(long) = &mut self.long {
            long.update(bytes);
        }
        self.got += bytes.len() as u64;
        Ok(())
    }
}

/// What vouches for the file.
#[derive(Debug, Default)]
struct Proof {
    sum: Option<Sum>,
    /// Of the list.
    signer: Option<Signer>,
    /// Of the file itself.
    signature: Option<Bytes>,
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
        let mut proof = Proof { sum: checked.order.sha256.map(Sum::Sha256), ..Proof::default() };
        let signature = match &checked.signature {
            Some(url) => {
                let small = self.client.small(url, signature::LONGEST, reach).await;
                Some(small.map_err(FetchError::SignatureFile)?)
            }
            None => None,
        };
        let Some(at) = &checked.checksums else {
            return Ok(Proof { signature, ..proof });
        };
        let list = self.client.small(at, signature::LONGEST, reach).await.map_err(FetchError::List)?;
        let text = str::from_utf8(&list).map_err(|_| ListError::NoText)?;
        let text = match (&checked.keyring, &signature) {
            (Some(keyring), Some(signature)) => {
                proof.signer = Some(keyring.vouch(&list, signature, self.now)?);
                text.to_owned()
            }
            (Some(keyring), None) => {
                if !text.starts_with(CLEAR_SIGNED) {
                    return Err(FetchError::Unsigned);
                }
                let (text, signer) = keyring.open(&list, self.now)?;
                proof.signer = Some(signer);
                text
            }
            (None, _) => text.to_owned(),
        };
        let url = checked.urls.first().ok_or(FetchError::NoUrl)?;
        let sum = checksums::find(&text, url.path())?;
        match (proof.sum, sum) {
            (Some(Sum::Sha256(given)), Sum::Sha256(listed)) if given != listed => return Err(FetchError::TwoDigests),
            // Both are held against the file: ours where it is stored, the list's as it comes.
            _ => proof.sum = Some(sum),
        }
        Ok(proof)
    }

    /// From nothing.
    async fn begin(&self, checked: &Checked, proof: &Proof) -> Result<Coming, FetchError> {
        let expected = match (&checked.keyring, &proof.signature) {
            (Some(keyring), Some(signature)) => Some(keyring.expect(signature)?),
            _ => None,
        };
        let long = matches!(proof.sum, Some(Sum::Sha512(_))).then(Long::default);
        let (media, unique) = (self.media.clone(), self.unique.clone());
        let import = blocking(move || Import::start(&media, &unique)).await??;
        let import = import.as_it_is(checked.order.as_it_is);
        Ok(Coming { import, got: 0, expected, long })
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
        let proven = proof.sum.is_some() || proof.signature.is_some();
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
        let Coming { import, expected, long, .. } = coming;
        let mut signer = proof.signer;
        if let Some(expected) = expected {
            signer = Some(expected.finish(self.now)?);
        }
        let mut wanted = checked.order.sha256;
        match proof.sum {
            Some(Sum::Sha256(sum)) => wanted = Some(sum),
            Some(Sum::Sha512(sum)) if !long.is_some_and(|long| long.is(&sum)) => return Err(FetchError::WrongSum),
            Some(Sum::Sha512(_)) | None => {}
        }
        let origin = CleanText::new(checked.order.urls.first().map_or("", String::as_str));
        let (name, now) = (checked.order.name, self.now);
        let by_list = checked.checksums.is_some();
        let mut image = blocking(move || import.finish(name, origin, wanted, now)).await??;
        if let Some(Signer { key, name, expires }) = signer {
            image.verdict = Verdict::Signed { key: CleanText::new(&key), signer: name, expires_wall: expires };
        } else if by_list {
            image.verdict = Verdict::DigestGiven;
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

const CLEAR_SIGNED: &str = "-----BEGIN PGP SIGNED MESSAGE-----";

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
