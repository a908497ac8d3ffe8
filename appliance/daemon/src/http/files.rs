//! Loaders, RAM OS, images, own files and loaders' configurations by GET and HEAD; never a redirect.

use super::{
    Ends, State,
    answers::rendered,
    boot::{script_for_nobody, script_response},
    ends,
    error::Error,
    transfer::{self, send},
    with,
};
use crate::{
    boot::{Found, Question},
    inventory::Inventory,
    media::Opened,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use rackberry_core::{
    boot::{
        config::ConfigRef,
        path::{self, FileRef, RamOsPart},
        script::Over,
    },
    event::Station,
    text::CleanText,
};
use warp::{Filter, reply::Response};

pub(super) fn routes(state: &State) -> impl Filter<Extract = (Response,), Error = warp::Rejection> + Clone + use<> {
    warp::method().and(warp::path::full()).and(warp::header::headers_cloned()).and(ends()).and(with(state)).then(
        |method: Method, path: warp::path::FullPath, headers: HeaderMap, ends: Ends, state: State| async move {
            serve(&method, path.as_str(), &headers, ends, &state).await
        },
    )
}

/// A file that was opened a moment ago, without the way through the filters and other threads; `None` for all else.
pub(super) fn at_once(method: &Method, raw: &str, headers: &HeaderMap, ends: Ends, state: &State) -> Option<Response> {
    // Below /boot/ all is a script, also under a name that is no address; below /cache/ all is a mirror's.
    let other = raw.starts_with("/boot/") || raw.starts_with(super::cache::ROOT);
    if other || (method != Method::GET && method != Method::HEAD) {
        return None;
    }
    let file = resolve(raw)?;
    let opened = state.media.at_once(&file).filter(|opened| transfer::ready(method, headers, opened))?;
    note(method, &file, &opened, ends, &state.inventory);
    Some(send(method, headers, &opened))
}

/// What a path as it stands in a request means.
fn resolve(raw: &str) -> Option<FileRef> {
    if raw.contains('%') { path::resolve(&percent_decode(raw)?) } else { path::resolve(raw) }
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
    let Some(file) = resolve(raw) else {
        return text(StatusCode::NOT_FOUND, "There is no such file here.\n");
    };
    let found = match &file {
        FileRef::AutoExec | FileRef::Script | FileRef::HostScript(_) => return script_for_nobody(ends),
        FileRef::Config(asked) => return config(asked, method, headers, ends, state).await,
        FileRef::Answer { .. } => Ok(None),
        other => state.media.open(other).await,
    };
    match found {
        Ok(Some(opened)) => {
            if let Err(error) = transfer::prepare(method, headers, &opened).await {
                return unreadable(&error.into());
            }
            note(method, &file, &opened, ends, &state.inventory);
            send(method, headers, &opened)
        }
        Ok(None) => match &file {
            // A person's own file of that name comes before the one that is made.
            FileRef::Own(path) => made(path, method, ends, state).await,
            _ => text(StatusCode::NOT_FOUND, "There is no such file here.\n"),
        },
        Err(error) => unreadable(&error.into()),
    }
}

/// An answer that the host's profile offers under a fixed path.
async fn made(path: &str, method: &Method, ends: Ends, state: &State) -> Response {
    match state.desk.answer_at(path, ends.peer, &ends.box_url(), method == Method::HEAD).await {
        Ok(Some(body)) => rendered(body, method),
        Ok(None) => text(StatusCode::NOT_FOUND, "There is no such file here.\n"),
        Err(error) => unreadable(&error.into()),
    }
}

/// A loader's search for its configuration: what is not answered here it looks for under its next name.
async fn config(asked: &ConfigRef, method: &Method, headers: &HeaderMap, ends: Ends, state: &State) -> Response {
    let box_url = ends.box_url();
    let looks_only = method == Method::HEAD;
    let question = Question { file: asked, over: Over::Http, peer: ends.peer, box_url: &box_url, looks_only };
    match state.desk.config(question).await {
        Ok(Found::Own(opened)) => {
            note_own(method, &opened, ends, &state.inventory);
            send(method, headers, &opened)
        }
        Ok(Found::Text(text)) => script_response(text),
        Ok(Found::Nothing) => text(StatusCode::NOT_FOUND, "There is no configuration of this name.\n"),
        Err(error) => unreadable(&error.into()),
    }
}

fn unreadable(error: &Error) -> Response {
    if let Error::Damaged(damaged) = error {
        return text(error.status(), format!("{damaged}\n"));
    }
    tracing::warn!(error = crate::chain(error), "a boot request could not be answered");
    text(error.status(), "The box could not do this now. Its log says why.\n")
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

/// The timeline's stations that show in file requests, and a person's own files.
fn note(method: &Method, file: &FileRef, opened: &Opened, ends: Ends, inventory: &Inventory) {
    if method != Method::GET {
        return;
    }
    let (station, detail) = match file {
        FileRef::Loader(name) => (Station::Loader, format!("{name} by HTTP")),
        FileRef::Program { name, .. } if name.ends_with(".0") => (Station::Loader, format!("{name} by HTTP")),
        FileRef::RamOs { part: RamOsPart::Early, arch } => (Station::RamOs, format!("RAM OS for {arch} by HTTP")),
        _ => return note_own(method, opened, ends, inventory),
    };
    inventory.reach_by_address(ends.peer, station, CleanText::new(&detail));
}

fn note_own(method: &Method, opened: &Opened, ends: Ends, inventory: &Inventory) {
    if let Some(path) = opened.own.as_deref().filter(|_| method == Method::GET) {
        inventory.own_file_by_address(ends.peer, path, "HTTP");
    }
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

    #[test]
    fn escapes_are_undone_once() {
        assert_eq!(percent_decode("/a%3Ab%2525").as_deref(), Some("/a:b%25"));
        assert_eq!(percent_decode("/a%3"), None);
        assert_eq!(percent_decode("/%ff"), None);
    }
}
