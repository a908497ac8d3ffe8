//! Updates of the SD card: which versions there are, a bundle taken in, installed, and the way back.

use super::{
    Call, Upload,
    table::{Access, Answer, Body, Kind, Route, Schema, Verb, json, may, must},
};
use crate::{
    http::{State, actions::update as actions, error::Error},
    update::{Kept, Status, View},
};
use futures_util::StreamExt as _;
use serde_json::{Value, json as object};

static UPDATE: Schema = Schema {
    name: "Update",
    about: "The versions on the box's SD card, and what becomes of them.",
    fields: &[
        must("version", Kind::Text, "What runs."),
        must("slot", Kind::Word(&["a", "b"]), "The slot it runs from."),
        must("trying", Kind::Flag, "It has to prove itself first; else the version before comes back."),
        must("other_slot", Kind::Word(&["a", "b"]), "The slot that does not run."),
        must("other_state", Kind::Word(&["empty", "ready", "failed"]), "Whether it can be gone back to."),
        may("other_version", Kind::Text, "The version in it, if that is known."),
        may("floor", Kind::Text, "Nothing older is taken."),
        must("development_key", Kind::Flag, "Bundles are verified with a key that was made where this was built."),
        may("last", Kind::Object, "How the last update or roll-back ended: version, from, outcome, why."),
        may("bundle", Kind::Object, "The bundle that was verified and waits: header, bytes."),
        must("stick", Kind::Text, "What came of the last USB stick; may be empty."),
        may("work", Kind::Object, "The install or roll-back under way: step, version, percent, failed."),
    ],
    open: false,
};

pub(super) static ROUTES: &[Route] = &[
    Route {
        verb: Verb::Get,
        path: "/v1/update",
        access: Access::Viewer,
        name: "showUpdate",
        command: "update status",
        summary: "The versions on the SD card, and how far an update is.",
        query: &[],
        body: Body::None,
        answer: Answer::One(&UPDATE),
        run: |call| json(show(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/update",
        access: Access::Admin,
        name: "loadUpdate",
        command: "update load",
        summary: "Takes an update bundle in and verifies it; nothing of the running system changes.",
        query: &[],
        body: Body::Bytes("The bundle, as it was signed."),
        answer: Answer::One(&UPDATE),
        run: |call| json(load(call)),
    },
    Route {
        verb: Verb::Delete,
        path: "/v1/update",
        access: Access::Admin,
        name: "dropUpdate",
        command: "update drop",
        summary: "Lets the bundle that waits go.",
        query: &[],
        body: Body::None,
        answer: Answer::One(&UPDATE),
        run: |call| json(forget(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/update/install",
        access: Access::Admin,
        name: "installUpdate",
        command: "update install",
        summary: "Writes the bundle that waits into the other slot, and starts the box again to try it.",
        query: &[],
        body: Body::None,
        answer: Answer::One(&UPDATE),
        run: |call| json(install(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/update/rollback",
        access: Access::Admin,
        name: "rollBack",
        command: "rollback",
        summary: "Starts the box again with the version in the other slot.",
        query: &[],
        body: Body::None,
        answer: Answer::One(&UPDATE),
        run: |call| json(roll_back(call)),
    },
];

async fn show(call: Call) -> Result<Value, Error> {
    Ok(shown(&call.state.updates.view().await?))
}

fn shown(view: &View) -> Value {
    let View { status, kept, work, stick } = view;
    let Status { slot, version, trying, other, floor, development_key, last, told: _ } = status;
    object!({
        "version": version,
        "slot": slot,
        "trying": trying,
        "other_slot": other.slot,
        "other_state": other.state,
        "other_version": other.version,
        "floor": floor,
        "development_key": development_key,
        "last": last,
        "bundle": kept,
        "work": work,
        "stick": stick,
    })
}

async fn load(call: Call) -> Result<Value, Error> {
    let Call { state, upload, .. } = call;
    let Some(mut body) = upload else { return Err(Error::Mistake("an upload without its bytes".to_owned())) };
    if let Err(error) = take_in(&state, &mut body).await {
        actions::drain(&mut body).await;
        return Err(error);
    }
    Ok(shown(&state.updates.view().await?))
}

async fn take_in(state: &State, body: &mut Upload) -> Result<Kept, Error> {
    let mut arriving = actions::Arriving::default();
    while let Some(piece) = body.next().await {
        let bytes = piece.map_err(|error| Error::Invalid(format!("The upload broke off: {error}.")))?;
        arriving.write(state, bytes).await?;
    }
    arriving.keep(state).await
}

async fn forget(call: Call) -> Result<Value, Error> {
    actions::forget(&call.state).await?;
    Ok(shown(&call.state.updates.view().await?))
}

async fn install(call: Call) -> Result<Value, Error> {
    actions::install(&call.state, call.actor).await?;
    Ok(shown(&call.state.updates.view().await?))
}

async fn roll_back(call: Call) -> Result<Value, Error> {
    actions::roll_back(&call.state, call.actor).await?;
    Ok(shown(&call.state.updates.view().await?))
}
