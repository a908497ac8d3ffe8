//! Loaders, RAM OS, images and own files: GET and HEAD with exact lengths, ETag and ranges (RFC 9110), never a redirect.

use super::{Ends, State, boot::script_for_nobody, ends, with};
use crate::{
    inventory::Inventory,
    media::{Blob, Opened},
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use rackberry_core::{
    boot::path::{self, FileRef, RamOsPart},
    event::Station,
    text::CleanText,
};
use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};
use warp::{Filter, Reply as _, reply::Response};

/// How much is read from disk at once: large enough that a card reads ahead, small enough for many clients.
const CHUNK: u64 = 1 << 20;

pub(super) fn routes(state: &State) -> impl Filter<Extract = (Response,), Error = warp::Rejection> + Clone + use<> {
    warp::method().and(warp::path::full()).and(warp::header::headers_cloned()).and(ends()).and(with(state)).then(
        |method: Method, path: warp::path::FullPath, headers: HeaderMap, ends: Ends, state: State| async move {
            serve(&method, path.as_str(), &headers, ends, &state).await
        },
    )
}

async fn serve(method: &Method, raw: &str, headers: &HeaderMap, ends: Ends, state: &State) -> Response {
    if method != Method::GET && method != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "This address answers GET and HEAD.\n");
        response.headers_mut().insert("allow", HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    if raw == "/" && wants_page(headers) {
        return to_page(ends, state);
    }
    let Some(file) = percent_decode(raw).as_deref().and_then(path::resolve) else {
        return text(StatusCode::NOT_FOUND, "There is no such file here.\n");
    };
    let found = match &file {
        FileRef::AutoExec | FileRef::Script | FileRef::HostScript(_) => {
            return script_for_nobody(ends);
        }
        other => state.media.open(other).await,
    };
    match found {
        Ok(Some(opened)) => {
            note(method, &file, ends, &state.inventory);
            send(method, headers, opened)
        }
        Ok(None) => text(StatusCode::NOT_FOUND, "There is no such file here.\n"),
        Err(error) => {
            tracing::warn!(path = raw, error = crate::chain(&error), "a file could not be read");
            text(StatusCode::INTERNAL_SERVER_ERROR, "The box could not read this file.\n")
        }
    }
}

/// Firmware never asks for pages; a person who typed the address of the box does.
fn wants_page(headers: &HeaderMap) -> bool {
    headers.get("accept").and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"))
}

fn to_page(ends: Ends, state: &State) -> Response {
    let mut response = text(StatusCode::SEE_OTHER, "The page is elsewhere.\n");
    let location = format!("http://{}:{}/", ends.local.ip(), state.config.page_listen.port());
    if let Ok(value) = HeaderValue::from_str(&location) {
        response.headers_mut().insert("location", value);
    }
    response
}

/// The timeline's stations that show in file requests.
fn note(method: &Method, file: &FileRef, ends: Ends, inventory: &Inventory) {
    if method != Method::GET {
        return;
    }
    let (station, detail) = match file {
        FileRef::Loader(name) => (Station::Loader, format!("{name} by HTTP")),
        FileRef::RamOs { part: RamOsPart::Early, arch } => (Station::RamOs, format!("RAM OS for {arch} by HTTP")),
        _ => return,
    };
    inventory.reach_by_address(ends.peer, station, CleanText::new(&detail));
}

/// `%41` to `A`; `None` for a broken escape or bytes that are no UTF-8.
pub(super) fn percent_decode(raw: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn send(method: &Method, headers: &HeaderMap, opened: Opened) -> Response {
    let etag = HeaderValue::from_str(&format!("\"{}\"", opened.etag)).unwrap_or(HeaderValue::from_static("\"\""));
    if headers.get("if-none-match").is_some_and(|given| *given == etag) {
        let mut response = Response::new(Bytes::new().into());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().insert("etag", etag);
        return response;
    }
    // A range of another version of the file would be glued to the wrong bytes.
    let same = headers.get("if-range").is_none_or(|given| *given == etag);
    let range = headers.get("range").filter(|_| same).and_then(|range| range.to_str().ok());
    let (status, from, length) = match range.map_or(Wanted::Whole, |range| wanted(range, opened.len)) {
        Wanted::Whole => (StatusCode::OK, 0, opened.len),
        Wanted::Part { from, length } => (StatusCode::PARTIAL_CONTENT, from, length),
        Wanted::Nothing => {
            let mut response = text(StatusCode::RANGE_NOT_SATISFIABLE, "The file is shorter than that.\n");
            if let Ok(value) = HeaderValue::from_str(&format!("bytes */{}", opened.len)) {
                response.headers_mut().insert("content-range", value);
            }
            return response;
        }
    };
    let total = opened.len;
    let content_type = HeaderValue::from_static(opened.content_type);
    let mut response =
        if method == Method::HEAD { Response::new(Bytes::new().into()) } else { body(opened.blob, from, length) };
    *response.status_mut() = status;
    let head = response.headers_mut();
    head.insert("content-length", HeaderValue::from(length));
    head.insert("content-type", content_type);
    head.insert("accept-ranges", HeaderValue::from_static("bytes"));
    head.insert("etag", etag);
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(value) = HeaderValue::from_str(&format!("bytes {from}-{}/{total}", from + length - 1))
    {
        head.insert("content-range", value);
    }
    response
}

/// `length` bytes from `from` on, read ahead of the client in large pieces off the runtime.
fn body(blob: Blob, from: u64, length: u64) -> Response {
    match blob {
        Blob::Bytes(bytes) => {
            let start = usize::try_from(from).unwrap_or(usize::MAX);
            let end = usize::try_from(from.saturating_add(length)).unwrap_or(usize::MAX);
            let part = if start <= end && end <= bytes.len() { bytes.slice(start..end) } else { Bytes::new() };
            Response::new(part.into())
        }
        Blob::File(file) => {
            let pieces = stream::try_unfold((file, from, length), |(file, at, left)| async move {
                if left == 0 {
                    return Ok::<_, io::Error>(None);
                }
                let piece = read_piece(Arc::clone(&file), at, left.min(CHUNK)).await?;
                let read = u64::try_from(piece.len()).unwrap_or(left);
                Ok(Some((piece, (file, at + read, left - read))))
            });
            warp::reply::stream(pieces).into_response()
        }
    }
}

/// One positioned read; an error, or a file cut short meanwhile, ends this transfer only.
async fn read_piece(file: Arc<File>, at: u64, length: u64) -> io::Result<Bytes> {
    tokio::task::spawn_blocking(move || {
        let mut buffer = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        file.read_exact_at(&mut buffer, at)?;
        Ok(Bytes::from(buffer))
    })
    .await
    .map_err(io::Error::other)?
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
    let (first, last) = (first.trim(), last.trim());
    let (from, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(from), Ok(last)) if from <= last => (from, last.saturating_add(1).min(len)),
        (Ok(from), Err(_)) if last.is_empty() => (from, len),
        (Err(_), Ok(suffix)) if first.is_empty() => (len.saturating_sub(suffix), len),
        _ => return Wanted::Whole,
    };
    if from >= end { Wanted::Nothing } else { Wanted::Part { from, length: end - from } }
}

/// A short answer in plain text, with its exact length.
pub(super) fn text(status: StatusCode, body: impl Into<String>) -> Response {
    let body = body.into();
    let length = body.len();
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert("content-length", HeaderValue::from(length));
    response
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
        for whole in ["bytes=5-2", "bytes=0-1,3-4", "lines=1-2", "bytes=x-", "bytes=-"] {
            assert_eq!(part(whole), None, "{whole}");
        }
    }

    #[test]
    fn escapes_are_undone_once() {
        assert_eq!(percent_decode("/a%3Ab%2525").as_deref(), Some("/a:b%25"));
        assert_eq!(percent_decode("/a%3"), None);
        assert_eq!(percent_decode("/%ff"), None);
    }
}
