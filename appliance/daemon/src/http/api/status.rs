//! The box itself: what it does, and a copy of what it knows.

use super::{
    Call,
    table::{Access, Answer, Body, Kind, Route, Schema, Verb, json, may, must},
};
use crate::http::error::Error;
use serde::Deserialize;
use serde_json::{Value, json as object};
use std::path::PathBuf;

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
        may("one_time_code", Kind::Text, "For the first person, while there is none."),
    ],
    open: false,
};

static BACKUP: Schema = Schema {
    name: "Backup",
    about: "Where a copy went.",
    fields: &[must("backup", Kind::Text, "The file.")],
    open: false,
};

pub(super) static ROUTES: &[Route] = &[
    Route {
        verb: Verb::Get,
        path: "/status",
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
        verb: Verb::Post,
        path: "/backup",
        access: Access::Admin,
        name: "backup",
        command: "backup",
        summary: "Copies the inventory into a file on the box; only on the box itself.",
        query: &[],
        body: Body::Json(&[must("path", Kind::Text, "The file on the box.")]),
        answer: Answer::One(&BACKUP),
        run: |call| json(backup(call)),
    },
];

async fn status(call: Call) -> Result<Value, Error> {
    let state = &call.state;
    let network = state.network.borrow().clone();
    let snapshot = state.inventory.snapshot();
    Ok(object!({
        "version": env!("CARGO_PKG_VERSION"),
        "interface": network.interface,
        "address": network.address,
        "mode": network.mode_word,
        "sentence": network.mode,
        "hosts": snapshot.hosts.len(),
        "alarms": snapshot.alarms.values().map(|alarm| alarm.text.to_string()).collect::<Vec<_>>(),
        "one_time_code": state.auth.code().map(|code| code.to_string()),
    }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BackupBody {
    path: PathBuf,
}

async fn backup(call: Call) -> Result<Value, Error> {
    if !call.local {
        return Err(Error::Forbidden("A backup is written on the box itself: use its command line.".to_owned()));
    }
    let BackupBody { path } = call.json()?;
    let Call { state, .. } = call;
    state.inventory.backup(path.clone()).await.map_err(|error| Error::Invalid(crate::chain(&error)))?;
    Ok(object!({ "backup": path }))
}
