//! One file on its way in: written once, read by everybody who waits for it, as far as it has come.

use super::{CacheError, Facts, Kept, shelf::Shelf};
use crate::{
    media::HeldFile,
    origin::client::{Answer, Pieces},
};
use bytes::Bytes;
use http::header;
use std::{
    io::{self, Write as _},
    sync::Arc,
};
use tokio::sync::watch;

/// Pieces are put together to so many bytes before they are written.
const WRITE: usize = 256 << 10;

/// How a flight began.
#[derive(Debug, Clone)]
pub(super) enum Head {
    Asking,
    Coming(Reading),
    /// What was kept is still right.
    Kept(Kept),
    /// It is passed on and not kept.
    NoRoom,
    Refused(CacheError),
}

/// A flight under way, for those who come later.
#[derive(Debug, Clone)]
pub(super) struct Flight(watch::Receiver<Head>);

impl Flight {
    pub fn new(head: watch::Receiver<Head>) -> Self {
        Flight(head)
    }

    pub fn head(&self) -> watch::Receiver<Head> {
        self.0.clone()
    }
}

/// How far a file has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    Going(u64),
    Whole(u64),
    Broken,
}

/// A file that is read while it comes in.
#[derive(Debug, Clone)]
pub struct Reading {
    /// None if the mirror does not say.
    pub len: Option<u64>,
    pub facts: Facts,
    file: Arc<HeldFile>,
    stand: watch::Receiver<Stand>,
    at: u64,
}

impl Reading {
    /// The next bytes; `None` at its end.
    ///
    /// # Errors
    /// If the mirror broke off, or the disk failed.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let at = self.at;
        let further = |stand: &Stand| !matches!(stand, Stand::Going(got) if *got <= at);
        let stand = self.stand.wait_for(further).await.map_or(Stand::Broken, |stand| *stand);
        let got = match stand {
            Stand::Broken => return Err(io::Error::other("the mirror broke off")),
            Stand::Whole(got) if got <= at => return Ok(None),
            Stand::Whole(got) | Stand::Going(got) => got,
        };
        let length = usize::try_from(got - at).unwrap_or(WRITE).min(WRITE);
        let file = self.file.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; length];
            file.read_exact_at(&mut buffer, at).map(|()| buffer)
        });
        let buffer = read.await.map_err(io::Error::other)??;
        self.at += buffer.len() as u64;
        Ok(Some(buffer.into()))
    }
}

/// Stores an answer's file, and lets everybody read it meanwhile.
pub(super) async fn take(shelf: &Shelf, key: &str, answer: Answer, tell: &watch::Sender<Head>) {
    let Answer { url, response } = answer;
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let len: Option<u64> = text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let mut facts = Facts {
        of: url.to_string(),
        len: len.unwrap_or(0),
        etag: text(header::ETAG),
        last_modified: text(header::LAST_MODIFIED),
    };
    // Where the connection's end is the file's, one that broke off looks whole (RFC 9112, 6.3 and 8): nobody else shall get it.
    if len.is_none() && !response.headers().contains_key(header::TRANSFER_ENCODING) {
        return drop(tell.send_replace(Head::NoRoom));
    }
    let begun = shelf.begin(key, len).await;
    let (mut partial, reader) = match begun {
        Ok(Some(begun)) => begun,
        Ok(None) => return drop(tell.send_replace(Head::NoRoom)),
        Err(error) => {
            tracing::warn!(%error, "a package cannot be kept");
            return drop(tell.send_replace(Head::NoRoom));
        }
    };
    let (news, stand) = watch::channel(Stand::Going(0));
    let file = Arc::new(HeldFile::from(reader));
    tell.send_replace(Head::Coming(Reading { len, facts: facts.clone(), file: file.clone(), stand, at: 0 }));
    let mut pieces = Pieces::new(&url, response.into_body());
    let (mut held, mut got) = (Vec::new(), 0_u64);
    loop {
        let piece = pieces.next().await;
        let over = !matches!(piece, Ok(Some(_)));
        if let Ok(Some(piece)) = &piece {
            held.extend_from_slice(piece);
        }
        if (over && !held.is_empty()) || held.len() >= WRITE {
            let bytes = std::mem::take(&mut held);
            let length = bytes.len() as u64;
            let room = shelf.room_for(got + length, len);
            let written = tokio::task::spawn_blocking(move || partial.file.write_all(&bytes).map(|()| partial)).await;
            partial = match written {
                Ok(Ok(partial)) if room => partial,
                // What came so far was read by others; they learn that it breaks off.
                _ => {
                    news.send_replace(Stand::Broken);
                    return;
                }
            };
            got += length;
            news.send_replace(Stand::Going(got));
        }
        match piece {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(error) => {
                tracing::info!(error = crate::chain(&error), "a mirror broke off");
                news.send_replace(Stand::Broken);
                return;
            }
        }
    }
    if len.is_some_and(|len| len != got) {
        news.send_replace(Stand::Broken);
        return;
    }
    facts.len = got;
    // Kept before the last reader is told that it is whole: who asks next finds it.
    if let Err(error) = shelf.keep(key, partial, facts).await {
        tracing::warn!(%error, "a package is passed on and not kept");
    }
    news.send_replace(Stand::Whole(got));
}
