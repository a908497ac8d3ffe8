//! `/cache/<name>/<path>`: packages of a mirror, kept here (`cache.rs`).

use super::{State, files::text, transfer, with};
use crate::{
    cache::{CacheError, Facts, Hit, Kept, Reading},
    media::{Blob, Opened},
};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt as _;
use warp::{Filter, Reply as _, reply::Response};

/// What every path of it begins with.
pub(super) const ROOT: &str = "/cache/";

pub(super) fn routes(state: &State) -> impl Filter<Extract = (Response,), Error = warp::Rejection> + Clone + use<> {
    warp::path("cache")
        .and(warp::method())
        .and(warp::path::full())
        .and(warp::header::headers_cloned())
        .and(with(state))
        .then(|method: Method, path: warp::path::FullPath, headers: HeaderMap, state: State| async move {
            if method != Method::GET && method != Method::HEAD {
                let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "This address answers GET and HEAD.\n");
                response.headers_mut().insert("allow", HeaderValue::from_static("GET, HEAD"));
                return response;
            }
            let path = path.as_str().strip_prefix(ROOT).unwrap_or_default();
            match state.cache.get(&method, path).await {
                Ok(hit) => answer(&method, &headers, hit),
                Err(error) => refusal(&error),
            }
        })
}

fn refusal(error: &CacheError) -> Response {
    let status = match error {
        CacheError::Off | CacheError::NoMirror { .. } | CacheError::Path | CacheError::Missing(_) => {
            StatusCode::NOT_FOUND
        }
        CacheError::Away(_) => StatusCode::BAD_GATEWAY,
        CacheError::Slow(_) => StatusCode::GATEWAY_TIMEOUT,
    };
    text(status, format!("{error}\n"))
}

fn answer(method: &Method, headers: &HeaderMap, hit: Hit) -> Response {
    match hit {
        Hit::Kept(kept) => of_kept(method, headers, kept),
        Hit::Coming(reading) => of_coming(method, reading),
        Hit::Passing(body, told) => {
            let mut response = warp::reply::stream(body.into_data_stream()).into_response();
            copy(&told, response.headers_mut());
            response
        }
        Hit::Head(told) => {
            let mut response = Response::new(bytes::Bytes::new().into());
            copy(&told, response.headers_mut());
            response
        }
    }
}

fn of_kept(method: &Method, headers: &HeaderMap, Kept { facts, file }: Kept) -> Response {
    // Clients of packages know files by their date: the same one means the same file (RFC 9110, 13.1.3).
    let date = facts.last_modified.as_deref().and_then(|date| HeaderValue::from_str(date).ok());
    if date.is_some() && headers.get(header::IF_MODIFIED_SINCE) == date.as_ref() {
        let mut response = Response::new(bytes::Bytes::new().into());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        describe(&facts, response.headers_mut());
        return response;
    }
    let etag = facts.etag.as_deref().and_then(|tag| HeaderValue::from_str(tag).ok());
    let opened = Opened {
        len: facts.len,
        etag: etag.unwrap_or(HeaderValue::from_static("\"\"")),
        content_type: "application/octet-stream",
        blob: Blob::File(file),
        own: None,
    };
    // A range with a date of another file gets the whole (RFC 9110, 13.1.5).
    let mut headers = headers.clone();
    if date.is_some() && headers.get(header::IF_RANGE) == date.as_ref() {
        headers.remove(header::IF_RANGE);
    }
    let mut response = transfer::send(method, &headers, &opened);
    response.headers_mut().remove(header::ETAG);
    describe(&facts, response.headers_mut());
    response
}

fn of_coming(method: &Method, reading: Reading) -> Response {
    let (facts, len) = (reading.facts.clone(), reading.len);
    let mut response = if method == Method::HEAD {
        Response::new(bytes::Bytes::new().into())
    } else {
        let pieces = stream::try_unfold(reading, |mut reading| async move {
            Ok::<_, std::io::Error>(reading.next().await?.map(|piece| (piece, reading)))
        });
        warp::reply::stream(pieces).into_response()
    };
    describe(&facts, response.headers_mut());
    if let Some(len) = len {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(len));
    }
    response
}

fn describe(facts: &Facts, head: &mut HeaderMap) {
    let told = [(header::ETAG, &facts.etag), (header::LAST_MODIFIED, &facts.last_modified)];
    for (name, text) in told {
        if let Some(value) = text.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
            head.insert(name, value);
        }
    }
    head.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/octet-stream"));
}

fn copy(told: &HeaderMap, head: &mut HeaderMap) {
    for name in [header::CONTENT_LENGTH, header::CONTENT_TYPE, header::ETAG, header::LAST_MODIFIED] {
        if let Some(value) = told.get(&name) {
            head.insert(name, value.clone());
        }
    }
}
