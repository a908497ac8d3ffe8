//! A host's power: what is known of it, and switching it.

use super::{
    Call,
    table::{Access, Answer, Body, Kind, Route, Schema, Verb, json, may, must},
};
use crate::http::{State, actions, error::Error};
use rackberry_core::{
    host::Host,
    power::{self, PowerState},
};
use serde::{Deserialize, Serialize};

/// The words of what can be done.
const VERBS: Kind = Kind::Word(&["on", "off", "cycle", "reset", "short", "long"]);

static POWER: Schema = Schema {
    name: "Power",
    about: "What is known of a host's power.",
    fields: &[
        must("host", Kind::Text, "Its name."),
        must("state", Kind::Word(&["on", "off", "unknown"]), "Whether it is on, as far as anybody knows."),
        must("switched", Kind::Flag, "Something switches it from here."),
        may("busy", VERBS, "What is being done to it now."),
        must("sentence", Kind::Text, "The same for people."),
    ],
    open: false,
};

pub(super) static ROUTES: &[Route] = &[
    Route {
        verb: Verb::Get,
        path: "/v1/hosts/{host}/power",
        access: Access::Viewer,
        name: "showPower",
        command: "power",
        summary: "Whether a host is on, as far as anybody knows.",
        query: &[],
        body: Body::None,
        answer: Answer::One(&POWER),
        run: |call| json(show(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/hosts/{host}/power",
        access: Access::Admin,
        name: "switchPower",
        command: "power",
        summary: "Switches a host, and answers when that is done: up to half a minute. Refused while another action on it is under way.",
        query: &[],
        body: Body::Json(&[
            must("verb", VERBS, "off and cycle are by force; short and long press its button, whatever it does now."),
            may("interrupt", Kind::Flag, "An install under way may be broken off."),
        ]),
        answer: Answer::One(&POWER),
        run: |call| json(switch(call)),
    },
];

#[derive(Debug, Serialize)]
struct PowerJson {
    host: String,
    state: PowerState,
    switched: bool,
    busy: Option<power::Verb>,
    sentence: String,
}

fn power_json(state: &State, host: &Host) -> PowerJson {
    let standing = state.power.standing(host.id);
    let sentence = actions::power_sentence(standing.as_ref());
    let switched = standing.as_ref().is_some_and(|standing| standing.trouble.is_none());
    let standing = standing.unwrap_or_default();
    PowerJson { host: host.name.to_string(), state: standing.state, switched, busy: standing.busy, sentence }
}

async fn show(call: Call) -> Result<PowerJson, Error> {
    let host = call.host()?;
    Ok(power_json(&call.state, &host))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PowerBody {
    verb: power::Verb,
    #[serde(default)]
    interrupt: bool,
}

async fn switch(call: Call) -> Result<PowerJson, Error> {
    let PowerBody { verb, interrupt } = call.json()?;
    let host = call.host()?;
    let Call { state, actor, .. } = call;
    actions::power(&state, &host, verb, interrupt, actor).await?.ended().await?;
    Ok(power_json(&state, &host))
}
