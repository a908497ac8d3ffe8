//! One opened file as an answer: exact lengths, ETag, conditions and ranges (RFC 9110), read off the disk in pieces.

use super::{buffer::Buffer, files::text};
use crate::media::{self, Blob, HeldFile, OpenFileError, Opened, Part};
use bytes::Bytes;
use futures_util::stream;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE},
};
use std::{io, sync::Arc};
use warp::{Reply as _, reply::Response};

/// The answer to GET or HEAD for this file.
pub(super) fn send(method: &Method, headers: &HeaderMap, opened: &Opened) -> Response {
    let etag = opened.etag.clone();
    if headers.get_all(IF_NONE_MATCH).iter().any(|given| names(given, &etag)) {
        let mut response = Response::new(Bytes::new().into());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().insert(ETAG, etag);
        return response;
    }
    let (status, from, length) = match asked(method, headers, opened) {
        Wanted::Whole => (StatusCode::OK, 0, opened.len),
        Wanted::Part { from, length } => (StatusCode::PARTIAL_CONTENT, from, length),
        Wanted::Nothing => {
            let mut response = text(StatusCode::RANGE_NOT_SATISFIABLE, "The file is shorter than that.\n");
            if let Ok(value) = HeaderValue::from_str(&format!("bytes */{}", opened.len)) {
                response.headers_mut().insert(CONTENT_RANGE, value);
            }
            return response;
        }
    };
    let mut response =
        if method == Method::HEAD { Response::new(Bytes::new().into()) } else { body(&opened.blob, from, length) };
    *response.status_mut() = status;
    let head = response.headers_mut();
    head.reserve(8);
    head.insert(CONTENT_LENGTH, HeaderValue::from(length));
    head.insert(CONTENT_TYPE, HeaderValue::from_static(opened.content_type));
    head.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    head.insert(ETAG, etag);
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(value) = HeaderValue::from_str(&format!("bytes {from}-{}/{}", from + length - 1, opened.len))
    {
        head.insert(CONTENT_RANGE, value);
    }
    response
}

/// What of a file is asked for. A range of another version of the file would be glued to the wrong bytes. Only GET has
/// ranges (RFC 9110 14.2).
fn asked(method: &Method, headers: &HeaderMap, opened: &Opened) -> Wanted {
    let same = headers.get(IF_RANGE).is_none_or(|given| *given == opened.etag);
    let range = headers.get(RANGE).filter(|_| same && method == Method::GET);
    range.and_then(|range| range.to_str().ok()).map_or(Wanted::Whole, |range| wanted(range, opened.len))
}

/// The bytes that have to be known as good before an answer begins: of an image alone.
fn first(method: &Method, headers: &HeaderMap, opened: &Opened) -> (u64, u64) {
    match asked(method, headers, opened) {
        Wanted::Whole => (0, media::first(opened.len)),
        Wanted::Part { from, length } => (from, media::first(length)),
        Wanted::Nothing => (0, 0),
    }
}

/// Whether an answer can begin at once. Waits for no disk.
pub(super) fn ready(method: &Method, headers: &HeaderMap, opened: &Opened) -> bool {
    let Blob::Part(part) = &opened.blob else { return true };
    let (from, length) = first(method, headers, opened);
    part.ready(from, length)
}

/// Compares what an answer begins with.
///
/// # Errors
/// [`OpenFileError`] if the image is damaged there, or cannot be read.
pub(super) async fn prepare(method: &Method, headers: &HeaderMap, opened: &Opened) -> Result<(), OpenFileError> {
    let Blob::Part(part) = &opened.blob else { return Ok(()) };
    let (from, length) = first(method, headers, opened);
    part.prepare(from, length).await
}

/// Bytes by position.
trait Source: Send + Sync + 'static {
    fn read_from_memory(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;
    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;
}

impl Source for HeldFile {
    fn read_from_memory(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.read_from_memory(buffer, at)
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(buffer, at)
    }
}

impl Source for Part {
    fn read_from_memory(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.read_from_memory(buffer, at)
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(buffer, at)
    }
}

/// `length` bytes from `from` on, read ahead of the client in large pieces off the runtime.
pub(super) fn body(blob: &Blob, from: u64, length: u64) -> Response {
    match blob {
        Blob::Bytes(bytes) => {
            let start = usize::try_from(from).unwrap_or(usize::MAX);
            let end = usize::try_from(from.saturating_add(length)).unwrap_or(usize::MAX);
            let part = if start <= end && end <= bytes.len() { bytes.slice(start..end) } else { Bytes::new() };
            Response::new(part.into())
        }
        Blob::File(file) => pieces(Arc::clone(file), from, length),
        Blob::Part(part) => pieces(Arc::clone(part), from, length),
    }
}

fn pieces(source: Arc<impl Source>, from: u64, length: u64) -> Response {
    let pieces = stream::try_unfold((source, from, length), |(source, at, left)| async move {
        if left == 0 {
            return Ok::<_, io::Error>(None);
        }
        let piece = read_piece(&source, at, left).await.inspect_err(|error| {
            tracing::warn!(%error, at, "reading a served file failed; its transfer ends");
        })?;
        let read = u64::try_from(piece.len()).unwrap_or(left);
        Ok(Some((piece, (source, at + read, left - read))))
    });
    warp::reply::stream(pieces).into_response()
}

/// The next bytes of a file, at once where the kernel has them in memory; an error, or a file cut short meanwhile, ends
/// this transfer only. Never a mapping: a disk that fails under one ends the whole process (SIGBUS).
async fn read_piece(file: &Arc<impl Source>, at: u64, left: u64) -> io::Result<Bytes> {
    let mut buffer = Buffer::take(left);
    if let Ok(read) = file.read_from_memory(buffer.room(), at)
        && read > 0
    {
        return Ok(buffer.filled(read));
    }
    let file = Arc::clone(file);
    let read = tokio::task::spawn_blocking(move || {
        let room = buffer.room();
        let length = room.len();
        file.read_exact_at(room, at)?;
        Ok(buffer.filled(length))
    });
    read.await.map_err(io::Error::other)?
}

/// Whether a list of entity tags has this one; a weak one counts, as GET and HEAD compare weakly (RFC 9110 13.1.2).
fn names(list: &HeaderValue, tag: &HeaderValue) -> bool {
    let list = list.to_str().unwrap_or_default();
    list.split(',').map(str::trim).any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag)
}

enum Wanted {
    Whole,
    Part {
        from: u64,
        /// At least 1.
        length: u64,
    },
    Nothing,
}

/// One byte range (RFC 9110 14.1.2); several, or another unit, count as the whole file, as the RFC allows.
fn wanted(range: &str, len: u64) -> Wanted {
    let Some((first, last)) = range.strip_prefix("bytes=").filter(|r| !r.contains(',')).and_then(|r| r.split_once('-'))
    else {
        return Wanted::Whole;
    };
    let (first, last) = (number(first), number(last));
    let (from, end) = match (first, last) {
        (Bound::At(from), Bound::At(last)) if from <= last => (from, last.saturating_add(1).min(len)),
        (Bound::At(from), Bound::Open) => (from, len),
        (Bound::Open, Bound::At(suffix)) => (len.saturating_sub(suffix), len),
        _ => return Wanted::Whole,
    };
    if from >= end { Wanted::Nothing } else { Wanted::Part { from, length: end - from } }
}

enum Bound {
    At(u64),
    Open,
    Nonsense,
}

/// A number past all files is one past the end of this one.
fn number(digits: &str) -> Bound {
    match digits.trim() {
        "" => Bound::Open,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => Bound::At(digits.parse().unwrap_or(u64::MAX)),
        _ => Bound::Nonsense,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(range: &str) -> Option<(u64, u64)> {
        match wanted(range, 100) {
            Wanted::Part { from, length } => Some((from, length)),
            Wanted::Whole => None,
            Wanted::Nothing => Some((0, 0)),
        }
    }

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        assert_eq!(part("bytes=0-0"), Some((0, 1)));
        assert_eq!(part("bytes=90-"), Some((90, 10)));
        assert_eq!(part("bytes=90-900"), Some((90, 10)));
        assert_eq!(part("bytes=-10"), Some((90, 10)));
        assert_eq!(part("bytes=100-"), Some((0, 0)));
        assert_eq!(part("bytes=-0"), Some((0, 0)));
        assert_eq!(part("bytes=0-99999999999999999999999"), Some((0, 100)));
        for whole in ["bytes=5-2", "bytes=0-1,3-4", "lines=1-2", "bytes=x-", "bytes=-", "bytes=+1-2"] {
            assert_eq!(part(whole), None, "{whole}");
        }
    }

    #[test]
    fn a_list_of_tags_is_searched() {
        let has = |list: &str| names(&HeaderValue::from_str(list).unwrap(), &HeaderValue::from_static("\"a\""));
        for list in ["\"a\"", "\"b\", \"a\"", "W/\"a\"", "*"] {
            assert!(has(list), "{list}");
        }
        assert!(!has("\"b\"") && !has("a") && !has(""));
    }
}
