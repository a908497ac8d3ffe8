//! The box itself: what it does, and a copy of what it knows.

use super::{
    Call,
    table::{Access, Answer, Body, Kind, Route, Schema, Verb, json, may, must},
};
use crate::{http::error::Error, media::Blob};
use http::HeaderValue;
use serde_json::{Value, json as object};
use std::{fs::File, sync::Arc};
use warp::reply::Response;

static STATUS: Schema = Schema {
    name: "Status",
    about: "What the box does now.",
    fields: &[
        must("version", Kind::Text, "Of the program."),
        must("interface", Kind::Text, "The one it serves; empty while there is none."),
        may("address", Kind::Text, "Its own there."),
        must("mode", Kind::Text, "What it does on this network, in one word."),
        must("sentence", Kind::Text, "The same, and why."),
        must("hosts", Kind::Number, "How many it knows."),
        must("alarms", Kind::Texts, "What a person should look at."),
        must(
            "time",
            Kind::Text,
            "Where its time of day is from and what is wrong with it, in sentences; may be empty.",
        ),
        may("time_server", Kind::Text, "The time server that it believed last."),
        may("time_offset_ms", Kind::Number, "How far that one was ahead of the box's clock then; negative: behind."),
        may("one_time_code", Kind::Text, "For the first person, while there is none."),
    ],
    open: false,
};

pub(super) static ROUTES: &[Route] = &[
    Route {
        verb: Verb::Get,
        path: "/v1/status",
        access: Access::Viewer,
        name: "showStatus",
        command: "status",
        summary: "What the box does now.",
        query: &[],
        body: Body::None,
        answer: Answer::One(&STATUS),
        run: |call| json(status(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/v1/backup",
        access: Access::Admin,
        name: "backup",
        command: "backup",
        summary: "A copy of the inventory as it is now, for `rackberry restore`. It holds the hashes of passwords.",
        query: &[],
        body: Body::None,
        answer: Answer::Bytes("application/vnd.sqlite3"),
        run: |call| Box::pin(backup(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/openapi.json",
        access: Access::Viewer,
        name: "describe",
        command: "openapi",
        summary: "This description.",
        query: &[],
        body: Body::None,
        answer: Answer::Document,
        run: |_| json(async { Ok(super::openapi::document()) }),
    },
];

async fn status(call: Call) -> Result<Value, Error> {
    let state = &call.state;
    let network = state.network.borrow().clone();
    let snapshot = state.inventory.snapshot();
    let told = state.time.told();
    Ok(object!({
        "version": env!("CARGO_PKG_VERSION"),
        "interface": network.interface,
        "address": network.address,
        "mode": network.mode_word,
        "sentence": network.mode,
        "hosts": snapshot.hosts.len(),
        "alarms": snapshot.alarms.values().map(|alarm| alarm.text.to_string()).collect::<Vec<_>>(),
        "time": state.time.sentence(state.inventory.wall()),
        "time_server": told.as_ref().map(|told| told.server.to_string()),
        "time_offset_ms": told.as_ref().and_then(|told| i64::try_from(told.offset / 1_000_000).ok()),
        "one_time_code": state.auth.code().map(|code| code.to_string()),
    }))
}

/// Copied aside first, as the copy has to be of one moment; the file is gone when it was sent.
async fn backup(call: Call) -> Result<Response, Error> {
    let Call { state, .. } = call;
    let path = state.media.aside(&format!("backup-{}", crate::auth::Token::random()?.hex()));
    state.inventory.backup(path.clone()).await.map_err(|error| Error::Mistake(crate::chain(&error)))?;
    let opened = tokio::task::spawn_blocking({
        let path = path.clone();
        move || {
            let file = File::open(&path)?;
            std::fs::remove_file(&path)?;
            let length = file.metadata()?.len();
            Ok((file, length))
        }
    });
    let wrap = |source: std::io::Error| Error::Io { what: path.display().to_string(), source };
    let (file, length) = opened.await.map_err(|error| Error::Mistake(error.to_string()))?.map_err(wrap)?;
    let mut response = crate::http::transfer::body(&Blob::File(Arc::new(file.into())), 0, length);
    let head = response.headers_mut();
    head.insert("content-length", HeaderValue::from(length));
    head.insert("content-type", HeaderValue::from_static("application/vnd.sqlite3"));
    head.insert("content-disposition", HeaderValue::from_static("attachment; filename=\"rackberry-backup.db\""));
    Ok(response)
}
