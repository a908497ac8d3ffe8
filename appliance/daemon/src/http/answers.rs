//! What installers and live systems ask for and tell, by the token of their boot: answers, stages, subiquity's webhook.

#[cfg(test)]
mod tests;

use super::{
    Ends, State,
    boot::script_response,
    ends,
    error::Error,
    files::{percent_decode, text},
    with,
};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use rackberry_core::text::CleanText;
use serde::Deserialize;
use std::collections::HashMap;
use warp::{Filter, reply::Response};

/// A report is a word and perhaps a line; subiquity's webhook sends some KiB.
const LONGEST: u64 = 64 << 10;

pub(super) fn routes(state: &State) -> impl Filter<Extract = (Response,), Error = warp::Rejection> + Clone + use<> {
    let report =
        warp::path!("answers" / String / "report" / String)
            .and(warp::get().or(warp::post()).unify())
            .and(warp::query::<HashMap<String, String>>().or(warp::any().map(HashMap::new)).unify())
            .and(
                warp::body::content_length_limit(LONGEST)
                    .and(warp::body::bytes())
                    .or(warp::any().map(Bytes::new))
                    .unify(),
            )
            .and(ends())
            .and(with(state))
            .then(
                |token: String,
                 stage: String,
                 query: HashMap<String, String>,
                 body: Bytes,
                 ends: Ends,
                 state: State| async move {
                    let stage = percent_decode(&stage).unwrap_or(stage);
                    let why = query.get("why").cloned().unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
                    told(state.desk.report(&token, &stage, &why, ends.peer).await)
                },
            );
    let hook = warp::path!("answers" / String / "hook")
        .and(warp::post())
        .and(warp::body::content_length_limit(LONGEST))
        .and(warp::body::bytes())
        .and(ends())
        .and(with(state))
        .then(|token: String, body: Bytes, ends: Ends, state: State| async move {
            hooked(&token, &body, ends, &state).await
        });
    let answer = warp::path("answers")
        .and(warp::get().or(warp::head()).unify())
        .and(warp::path::full())
        .and(warp::method())
        .and(ends())
        .and(with(state))
        .then(|path: warp::path::FullPath, method: Method, ends: Ends, state: State| async move {
            answer(path.as_str(), &method, ends, &state).await
        });
    report.or(hook).unify().or(answer).unify()
}

async fn answer(raw: &str, method: &Method, ends: Ends, state: &State) -> Response {
    let decoded = percent_decode(raw).unwrap_or_default();
    let mut parts = decoded.trim_start_matches("/answers/").splitn(2, '/');
    let (token, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match state.desk.answer(token, path, ends.peer, &ends.box_url()).await {
        Ok(Some(body)) => rendered(body, method),
        Ok(None) => text(StatusCode::NOT_FOUND, "There is no such answer, or its time is over.\n"),
        Err(error) => failed(error.into()),
    }
}

/// A text made for this request alone.
pub(super) fn rendered(body: Bytes, method: &Method) -> Response {
    let length = body.len();
    let mut response = script_response(String::new());
    if *method != Method::HEAD {
        *response.body_mut() = body.into();
    }
    response.headers_mut().insert("content-length", HeaderValue::from(length));
    response
}

fn told(told: Result<bool, crate::boot::BootError>) -> Response {
    match told {
        Ok(true) => text(StatusCode::OK, "Noted.\n"),
        Ok(false) => text(StatusCode::NOT_FOUND, "This token is not known here, or its time is over.\n"),
        Err(error) => failed(error.into()),
    }
}

fn failed(error: Error) -> Response {
    let status = error.status();
    if status.is_server_error() {
        tracing::warn!(error = crate::chain(&error), "an installer's request could not be answered");
    }
    text(status, format!("{error}\n"))
}

/// What subiquity's `webhook` reporter posts (curtin's reporter of that kind has the same form).
#[derive(Debug, Deserialize)]
struct Hook {
    #[serde(default)]
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    event_type: String,
    #[serde(default)]
    result: String,
}

async fn hooked(token: &str, body: &Bytes, ends: Ends, state: &State) -> Response {
    let Ok(hook) = serde_json::from_slice::<Hook>(body) else {
        return text(StatusCode::BAD_REQUEST, "This is no message of a webhook reporter.\n");
    };
    let reported = match stage(&hook) {
        Some(stage) => state.desk.report(token, stage, &hook.description, ends.peer).await,
        None => state.desk.log(token, line(&hook), ends.peer).await,
    };
    told(reported)
}

fn line(hook: &Hook) -> CleanText {
    CleanText::new(&format!("{} {}: {} {}", hook.event_type, hook.name, hook.description, hook.result))
}

/// The stage that an event of subiquity or curtin begins; they are named by path, as in
/// `subiquity/Install/install/curtin_install/cmd-install/stage-partitioning`.
fn stage(hook: &Hook) -> Option<&'static str> {
    if hook.event_type != "start" {
        return None;
    }
    let has = |part: &str| hook.name.split('/').any(|found| found == part);
    if hook.name.ends_with("/Network") || has("apply_autoinstall_config") && hook.name.contains("Network") {
        Some("network")
    } else if has("stage-partitioning") || hook.name.ends_with("partitioning") {
        Some("disks")
    } else if has("stage-extract") || hook.name.ends_with("extract") {
        Some("base-system")
    } else if has("cmd-install-grub")
        || hook.name.contains("installing bootloader")
        || hook.name.ends_with("bootloader")
    {
        Some("bootloader")
    } else if has("stage-curthooks") || hook.name.ends_with("curthooks") {
        Some("configure")
    } else if hook.name.ends_with("install_kernel") || hook.name.contains("postinstall/install_") {
        Some("packages")
    } else {
        None
    }
}
