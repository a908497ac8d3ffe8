//! Installs: armed, confirmed at the box, disarmed, cancelled, resumed.

use super::{
    Call,
    table::{Access, Answer, Body, Kind, Route, Schema, Verb, json, may, must},
};
use crate::http::{
    actions::{self, InstallRequest, Steer},
    error::Error,
};
use rackberry_core::install::Install;
use serde::Deserialize;
use std::collections::BTreeMap;

/// One run of a profile's workflow.
pub(super) static INSTALL: Schema = Schema {
    name: "Install",
    about: "One run of a profile's workflow on one host, with everything it needs copied in.",
    fields: &[
        must("id", Kind::Text, "Never changes."),
        must("host", Kind::Text, "The host's id."),
        must("plan", Kind::Object, "Profile, image, disk, parameters and files, as they were when it was armed."),
        must("state", Kind::Object, "Phase, Arm and tasks."),
        must("created", Kind::Number, "When it was armed, on the box's own clock, in milliseconds."),
        must("created_wall", Kind::Number, "The same since 1970; 0 if the box did not know."),
        must("by", Kind::Text, "Who armed it."),
    ],
    open: false,
};

pub(super) static ROUTES: &[Route] = &[
    Route {
        verb: Verb::Post,
        path: "/v1/hosts/{host}/install",
        access: Access::Admin,
        name: "installHost",
        command: "install",
        summary: "Arms an install: the host erases its disk at its next network boot, or at once if it waits.",
        query: &[],
        body: Body::Json(&[
            must("profile", Kind::Text, "What to install."),
            may("disk", Kind::Text, "A disk rule: only, smallest, largest, smallest-nvme, serial:, wwn: or name:."),
            may("parameters", Kind::Map, "The profile's parameters."),
            may("erase", Kind::Flag, "What is on the disk may go."),
        ]),
        answer: Answer::One(&INSTALL),
        run: |call| json(install(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/hosts/{host}/confirm",
        access: Access::Admin,
        name: "confirmHost",
        command: "confirm",
        summary: "Says yes to erasing a host's disk with the digits that the display at the box shows for it.",
        query: &[],
        body: Body::Json(&[must("code", Kind::Secret, "Four digits; three tries for each time the display asks.")]),
        answer: Answer::One(&INSTALL),
        run: |call| json(confirm(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/hosts/{host}/ask",
        access: Access::Admin,
        name: "askAgain",
        command: "confirm",
        summary: "Has the display at the box ask once more whether a host's disk may be erased.",
        query: &[],
        body: Body::None,
        answer: Answer::One(&INSTALL),
        run: |call| json(ask_again(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/hosts/{host}/disarm",
        access: Access::Admin,
        name: "disarmHost",
        command: "cancel",
        summary: "Takes back a permission to erase that was not used.",
        query: &[],
        body: Body::None,
        answer: Answer::One(&INSTALL),
        run: |call| json(steer(call, Steer::Disarm)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/hosts/{host}/cancel",
        access: Access::Admin,
        name: "cancelHost",
        command: "cancel",
        summary: "Disarms, or stops the install wherever it is.",
        query: &[],
        body: Body::None,
        answer: Answer::One(&INSTALL),
        run: |call| json(steer(call, Steer::Cancel)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/hosts/{host}/resume",
        access: Access::Admin,
        name: "resumeHost",
        command: "resume",
        summary: "Goes on with an install that the host broke off.",
        query: &[],
        body: Body::None,
        answer: Answer::One(&INSTALL),
        run: |call| json(steer(call, Steer::Resume)),
    },
];

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct InstallBody {
    profile: String,
    disk: String,
    parameters: BTreeMap<String, String>,
    erase: bool,
}

async fn install(call: Call) -> Result<Install, Error> {
    let InstallBody { profile, disk, parameters, erase } = call.json()?;
    let host = call.host()?;
    let Call { state, actor, .. } = call;
    let request = InstallRequest { profile, disk, parameters, erase };
    actions::install(&state, host.id, request, actor).await.map(|install| (*install).clone())
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ConfirmBody {
    code: String,
}

async fn confirm(call: Call) -> Result<Install, Error> {
    let ConfirmBody { code } = call.json()?;
    let host = call.host()?;
    let Call { state, actor, .. } = call;
    actions::confirm(&state, host.id, &code, actor).await.map(|install| (*install).clone())
}

async fn ask_again(call: Call) -> Result<Install, Error> {
    let host = call.host()?;
    let Call { state, actor, .. } = call;
    actions::ask_again(&state, host.id, actor).await.map(|install| (*install).clone())
}

async fn steer(call: Call, steer: Steer) -> Result<Install, Error> {
    let host = call.host()?;
    let Call { state, actor, .. } = call;
    actions::steer(&state, host.id, steer, actor).await.map(|install| (*install).clone())
}
