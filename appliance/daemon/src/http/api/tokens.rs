//! Tokens: what programs show in place of a login.

use super::{
    Call,
    people::ROLES,
    table::{Access, Answer, Body, Field, Kind, Route, Schema, Verb, json, may, must},
};
use crate::{auth::Role, http::error::Error, inventory::ApiToken};
use serde::Deserialize;
use serde_json::{Value, json as object};

const NAME: Field = must("name", Kind::Text, "Unique on a box.");
const ROLE: Field = must("role", ROLES, "What it may, as a person of that role.");
const BY: Field = must("by", Kind::Text, "Who made it; it goes with that person.");
const CREATED: Field = must("created_wall", Kind::Number, "When; 0 if the box did not know.");

static TOKEN: Schema = Schema {
    name: "Token",
    about: "What a program shows; its text is not among these, as the box does not keep it.",
    fields: &[
        NAME,
        ROLE,
        BY,
        CREATED,
        may("used", Kind::Number, "When it was used last, to about a minute, on the box's own clock."),
        may("used_wall", Kind::Number, "The same since 1970; 0 if the box did not know."),
        may("address", Kind::Text, "Where it was used from then."),
    ],
    open: false,
};

static NEW: Schema = Schema {
    name: "NewToken",
    about: "A token, shown this once.",
    fields: &[NAME, ROLE, BY, CREATED, must("token", Kind::Text, "What the program has to show.")],
    open: false,
};

pub(super) static ROUTES: &[Route] = &[
    Route {
        verb: Verb::Get,
        path: "/v1/tokens",
        access: Access::Admin,
        name: "listTokens",
        command: "token list",
        summary: "Every token, without its text.",
        query: &[],
        body: Body::None,
        answer: Answer::List(&TOKEN),
        run: |call| json(list(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/tokens",
        access: Access::Admin,
        name: "addToken",
        command: "token add",
        summary: "Makes a token for a program; its text is in this answer and never again.",
        query: &[],
        body: Body::Json(&[must("name", Kind::Text, "What it is for."), may("role", ROLES, "An admin if not given.")]),
        answer: Answer::One(&NEW),
        run: |call| json(add(call)),
    },
    Route {
        verb: Verb::Delete,
        path: "/v1/tokens/{token}",
        access: Access::Admin,
        name: "removeToken",
        command: "token rm",
        summary: "Takes a token back; it opens nothing from now on.",
        query: &[],
        body: Body::None,
        answer: Answer::One(&super::hosts::REMOVED),
        run: |call| json(remove(call)),
    },
];

async fn list(call: Call) -> Result<Vec<Value>, Error> {
    let snapshot = call.state.inventory.snapshot();
    let shown = |token: &ApiToken| {
        object!({
            "name": token.name,
            "role": Role::of(&token.role),
            "by": token.by,
            "created_wall": token.created_wall,
            "used": token.used,
            "used_wall": token.used_wall,
            "address": token.address,
        })
    };
    Ok(snapshot.api_tokens.values().map(|token| shown(token)).collect())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AddBody {
    name: String,
    role: Option<Role>,
}

async fn add(call: Call) -> Result<Value, Error> {
    let AddBody { name, role } = call.json()?;
    let Call { state, actor, person, .. } = call;
    let (token, text) = state.auth.add_token(&name, role.unwrap_or(Role::Admin), person, actor).await?;
    Ok(object!({
        "name": token.name,
        "role": Role::of(&token.role),
        "by": token.by,
        "created_wall": token.created_wall,
        "token": text,
    }))
}

async fn remove(call: Call) -> Result<Value, Error> {
    let name = call.part("token");
    let Call { state, actor, .. } = call;
    let gone = state.auth.remove_token(&name, actor).await?;
    Ok(object!({ "removed": gone.name }))
}
