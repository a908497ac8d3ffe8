//! History.

use super::{
    Call,
    table::{Access, Answer, Body, Kind, Route, Schema, Verb, json, may, must},
};
use crate::{
    http::{actions, error::Error},
    inventory::EventFilter,
};
use serde_json::{Value, json as object};

/// Events in one answer, unless fewer are asked for.
const USUAL: u64 = 200;
/// Events in one answer at most.
const MOST: u64 = 1000;

static EVENT: Schema = Schema {
    name: "Event",
    about: "One line of history; each kind has members of its own beside these.",
    fields: &[
        must("seq", Kind::Number, "Grows with each event and is never given twice."),
        must("id", Kind::Text, "Never changes."),
        must("origin", Kind::Text, "The box that made it."),
        must("at", Kind::Number, "When, on the box's own clock, in milliseconds."),
        must("wall", Kind::Number, "When, since 1970; 0 if the box did not know."),
        may("host", Kind::Text, "The host's id."),
        may("install", Kind::Text, "The install's id."),
        must("actor", Kind::Object, "Who caused it."),
        must("kind", Kind::Text, "What happened."),
    ],
    open: true,
};

pub(super) static ROUTES: &[Route] = &[Route {
    verb: Verb::Get,
    path: "/v1/events",
    access: Access::Viewer,
    name: "listEvents",
    command: "events",
    summary: "History, the newest first; with `after` the oldest first, for those who follow.",
    query: &[
        may("host", Kind::Text, "Only of this host."),
        may("after", Kind::Number, "Only those behind this number."),
        may("limit", Kind::Number, "So many at most; 200 if not given, never more than 1000."),
    ],
    body: Body::None,
    answer: Answer::List(&EVENT),
    run: |call| json(list(call)),
}];

async fn list(call: Call) -> Result<Vec<Value>, Error> {
    let host = match call.query("host").as_str() {
        "" => None,
        name => Some(actions::find_host(&call.state, name)?.id),
    };
    let limit = call.number("limit")?.unwrap_or(USUAL).min(MOST);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let filter = EventFilter { host, after: call.number("after")?, limit, ..EventFilter::default() };
    let follows = filter.after.is_some();
    let Call { state, .. } = call;
    let found = state
        .inventory
        .read(move |reader| if follows { reader.follow(&filter) } else { reader.events(&filter) })
        .await?;
    found
        .into_iter()
        .map(|stored| {
            let mut value = serde_json::to_value(&stored.event).map_err(|error| Error::Mistake(error.to_string()))?;
            if let Some(members) = value.as_object_mut() {
                members.insert("seq".to_owned(), object!(stored.seq));
            }
            Ok(value)
        })
        .collect()
}
