//! Alarms: what a person should look at, until somebody has.

use super::{
    Call,
    table::{Access, Answer, Body, Kind, Route, Schema, Verb, json, may, must},
};
use crate::{
    http::{actions, error::Error},
    inventory::Alarm,
};
use serde_json::{Value, json as object};

static ALARM: Schema = Schema {
    name: "Alarm",
    about: "What a person should look at; it stays until it is settled.",
    fields: &[
        must("id", Kind::Text, "Of this kind of alarm: raised again, it is the same one."),
        must("text", Kind::Text, "What happened."),
        may("host", Kind::Text, "The host's id, if it is about one."),
        must("since", Kind::Number, "When, on the box's own clock, in milliseconds."),
        must("since_wall", Kind::Number, "The same since 1970; 0 if the box did not know."),
    ],
    open: false,
};

pub(super) static ROUTES: &[Route] = &[
    Route {
        verb: Verb::Get,
        path: "/v1/alarms",
        access: Access::Viewer,
        name: "listAlarms",
        command: "alarm list",
        summary: "Every alarm that nobody has settled, the oldest first.",
        query: &[],
        body: Body::None,
        answer: Answer::List(&ALARM),
        run: |call| json(list(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/alarms/{alarm}/settle",
        access: Access::Admin,
        name: "settleAlarm",
        command: "alarm settle",
        summary: "Takes an alarm off the page; history keeps it, and who settled it.",
        query: &[],
        body: Body::None,
        answer: Answer::One(&ALARM),
        run: |call| json(settle(call)),
    },
];

fn shown(id: &str, alarm: &Alarm) -> Value {
    object!({
        "id": id,
        "text": alarm.text,
        "host": alarm.host,
        "since": alarm.since,
        "since_wall": alarm.since_wall,
    })
}

async fn list(call: Call) -> Result<Vec<Value>, Error> {
    let snapshot = call.state.inventory.snapshot();
    let mut alarms: Vec<_> = snapshot.alarms.iter().collect();
    alarms.sort_by_key(|(_, alarm)| alarm.since);
    Ok(alarms.into_iter().map(|(id, alarm)| shown(id, alarm)).collect())
}

async fn settle(call: Call) -> Result<Value, Error> {
    let id = call.part("alarm");
    let Call { state, actor, .. } = call;
    let alarm = actions::settle(&state, &id, actor).await?;
    Ok(shown(&id, &alarm))
}
