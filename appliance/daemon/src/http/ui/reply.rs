//! Answers with the headers that every page has.

use crate::http::error::Error;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use rackberry_web::views::{ErrorPage, Link, Shell};
use std::{collections::BTreeMap, io::Write as _, sync::LazyLock};
use warp::reply::Response;

/// Nothing but our own files is loaded, framed or posted to.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Shorter texts do not get smaller worth mentioning.
const WORTH_PACKING: usize = 1024;

/// Adds what keeps a browser from doing more with an answer than we mean.
pub(super) fn harden(mut response: Response) -> Response {
    let head = response.headers_mut();
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        head.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if !head.contains_key("cache-control") {
        head.insert("cache-control", HeaderValue::from_static("no-store"));
    }
    response
}

pub(super) fn html(asked: &HeaderMap, status: StatusCode, html: String) -> Response {
    let body = Bytes::from(html);
    let body =
        if takes_gzip(asked) && body.len() >= WORTH_PACKING { pack(&body, Compression::fast()) } else { Err(body) };
    respond(status, "text/html; charset=utf-8", body)
}

/// `Ok` is packed.
fn respond(status: StatusCode, content_type: &'static str, body: Result<Bytes, Bytes>) -> Response {
    let packed = body.is_ok();
    let (Ok(body) | Err(body)) = body;
    let length = body.len();
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let head = response.headers_mut();
    head.insert("content-type", HeaderValue::from_static(content_type));
    head.insert("content-length", HeaderValue::from(length));
    head.insert("vary", HeaderValue::from_static("accept-encoding"));
    if packed {
        head.insert("content-encoding", HeaderValue::from_static("gzip"));
    }
    response
}

/// The packed bytes, or the given ones if packing fails.
fn pack(body: &Bytes, level: Compression) -> Result<Bytes, Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), level);
    let packed = encoder.write_all(body).and_then(|()| encoder.finish());
    packed.map(Bytes::from).map_err(|_| body.clone())
}

fn takes_gzip(asked: &HeaderMap) -> bool {
    asked.get_all("accept-encoding").iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(',')).any(
        |choice| {
            let mut parts = choice.split(';').map(str::trim);
            let never = |part: &str| part.strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0));
            parts.next() == Some("gzip") && !parts.any(never)
        },
    )
}

pub(super) fn text(status: StatusCode, body: &str) -> Response {
    super::super::files::text(status, body)
}

pub(super) fn not_allowed() -> Response {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "The page answers GET, HEAD and POST.\n");
    response.headers_mut().insert("allow", HeaderValue::from_static("GET, HEAD, POST"));
    response
}

/// Sends the browser on to a page of ours.
pub(super) fn see_other(path: &str) -> Response {
    let mut response = text(StatusCode::SEE_OTHER, "");
    let location = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert("location", location);
    response
}

pub(super) fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().append("set-cookie", value);
    }
    response
}

/// A path on this box, or `/` for anything that could lead elsewhere.
pub(super) fn local(path: &str) -> &str {
    let rest = path.strip_prefix('/');
    match rest {
        Some(rest) if !rest.starts_with(['/', '\\']) && path.bytes().all(|b| (0x21..0x7f).contains(&b)) => path,
        _ => "/",
    }
}

/// A page that says what went wrong, and where to go on.
pub(super) fn failed(asked: &HeaderMap, error: &Error, shell: Option<Shell>, link: Option<(&str, String)>) -> Response {
    let status = error.status();
    error.log(status);
    let todo = match status {
        StatusCode::FORBIDDEN => "Open the page anew and try again.",
        StatusCode::CONFLICT => "Look at its present state; somebody else may have been faster.",
        StatusCode::SERVICE_UNAVAILABLE => "Wait a few seconds and load the page again.",
        status if status.is_server_error() => "Load the page again. The box's log says more.",
        _ => "Go back, put it right and try again.",
    };
    let happened = error.to_string();
    let page = ErrorPage {
        shell,
        did: if happened.contains("Nothing was changed") { String::new() } else { "Nothing was changed.".to_owned() },
        happened,
        todo: todo.to_owned(),
        link: link.map(|(label, href)| Link { label: label.to_owned(), href }),
    };
    html(asked, status, rackberry_web::error(&page))
}

/// The files that pages name, packed once.
static PACKED: LazyLock<BTreeMap<&'static str, Bytes>> = LazyLock::new(|| {
    ["style.css", "script.js", "icons.svg", "logo.svg"]
        .into_iter()
        .filter_map(|path| {
            let plain = Bytes::from(rackberry_web::asset(path)?.bytes.into_owned());
            Some((path, pack(&plain, Compression::best()).ok()?))
        })
        .collect()
});

/// A file of the page; with its version in the query it may be kept for ever.
pub(super) fn asset(path: &str, versioned: bool, asked: &HeaderMap) -> Response {
    let Some(asset) = rackberry_web::asset(path) else {
        return text(StatusCode::NOT_FOUND, "There is no such file here.\n");
    };
    let etag = HeaderValue::from_str(&asset.etag).unwrap_or(HeaderValue::from_static("\"\""));
    let mut response = if asked.get("if-none-match").is_some_and(|given| *given == etag) {
        let mut response = Response::new(Bytes::new().into());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let packed = PACKED.get(path).filter(|_| takes_gzip(asked)).cloned();
        let body = packed.ok_or_else(|| Bytes::from(asset.bytes.into_owned()));
        respond(StatusCode::OK, asset.content_type, body)
    };
    let keep = if versioned { "public, max-age=31536000, immutable" } else { "no-cache" };
    response.headers_mut().insert("cache-control", HeaderValue::from_static(keep));
    response.headers_mut().insert("etag", etag);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_this_box_are_local() {
        assert_eq!(local("/hosts/x?q=a%20b"), "/hosts/x?q=a%20b");
        for bad in ["", "//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nset-cookie: x", "/\u{e4}"] {
            assert_eq!(local(bad), "/", "{bad:?}");
        }
    }

    #[test]
    fn gzip_is_sent_only_to_those_who_take_it() {
        let asked = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("accept-encoding", HeaderValue::from_static(value));
            takes_gzip(&headers)
        };
        assert!(asked("gzip, deflate, br") && asked("br;q=1.0, gzip;q=0.8"));
        assert!(!asked("identity") && !asked("gzip;q=0") && !asked("xgzip") && !takes_gzip(&HeaderMap::new()));
    }
}
