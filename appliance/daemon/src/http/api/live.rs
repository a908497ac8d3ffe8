//! What hosts run from the network.

use super::{
    Call,
    hosts::HOST,
    table::{Access, Answer, Body, Kind, Route, Schema, Verb, json, may, must},
};
use crate::http::{actions, error::Error};
use rackberry_core::{host::Host, install::LiveBoot};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What a host runs from the network.
static LIVE: Schema = Schema {
    name: "LiveBoot",
    about: "What a host boots from the network at each boot, frozen when a person said so.",
    fields: &[
        must("profile", Kind::Text, "The profile's name."),
        must("title", Kind::Text, "For people."),
        must("hostname", Kind::Text, "The name that templates see."),
        must("parameters", Kind::Map, "The profile's parameters; passwords as their hashes."),
        must("boot", Kind::Object, "Kernel, initrds, arguments and answers."),
        must("since", Kind::Number, "On the box's own clock, in milliseconds."),
        must("since_wall", Kind::Number, "The same since 1970; 0 if the box did not know."),
        must("by", Kind::Text, "Who said so."),
    ],
    open: false,
};

pub(super) static ROUTES: &[Route] = &[
    Route {
        verb: Verb::Post,
        path: "/v1/hosts/{host}/live",
        access: Access::Admin,
        name: "setLive",
        command: "live",
        summary: "Has a host boot a live profile from the network from now on; nothing is erased.",
        query: &[],
        body: Body::Json(&[
            must("profile", Kind::Text, "A profile of the way live."),
            may("parameters", Kind::Map, "The profile's parameters."),
        ]),
        answer: Answer::One(&LIVE),
        run: |call| json(set_live(call)),
    },
    Route {
        verb: Verb::Delete,
        path: "/v1/hosts/{host}/live",
        access: Access::Admin,
        name: "unsetLive",
        command: "live",
        summary: "Has a host boot what the box decides again.",
        query: &[],
        body: Body::None,
        answer: Answer::One(&HOST),
        run: |call| json(unset_live(call)),
    },
];

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LiveBody {
    profile: String,
    parameters: BTreeMap<String, String>,
}

async fn set_live(call: Call) -> Result<LiveBoot, Error> {
    let LiveBody { profile, parameters } = call.json()?;
    let host = call.host()?;
    let Call { state, actor, .. } = call;
    actions::set_live(&state, &host, &profile, &parameters, actor).await.map(|live| (*live).clone())
}

async fn unset_live(call: Call) -> Result<Host, Error> {
    let host = call.host()?;
    let Call { state, actor, .. } = call;
    actions::unset_live(&state, host.id, actor).await?;
    Ok((*host).clone())
}
