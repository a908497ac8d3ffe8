//! People.

use super::{
    Call,
    table::{Access, Answer, Body, Kind, Route, Schema, Verb, json, must},
};
use crate::http::error::Error;
use serde::Deserialize;
use serde_json::{Value, json as object};

static PERSON: Schema = Schema {
    name: "Person",
    about: "Somebody who may log in.",
    fields: &[must("user", Kind::Text, "The name to log in with.")],
    open: false,
};

pub(super) static ROUTES: &[Route] = &[Route {
    verb: Verb::Post,
    path: "/users",
    access: Access::Admin,
    name: "addPerson",
    command: "user add",
    summary: "Adds a person or gives one a new password.",
    query: &[],
    body: Body::Json(&[
        must("name", Kind::Text, "The name to log in with."),
        must("password", Kind::Text, "At least 8 characters."),
    ]),
    answer: Answer::One(&PERSON),
    run: |call| json(add(call)),
}];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordBody {
    name: String,
    password: String,
}

async fn add(call: Call) -> Result<Value, Error> {
    let body: PasswordBody = call.json()?;
    let Call { state, .. } = call;
    state.auth.set_password(&body.name, &body.password, "admin").await?;
    Ok(object!({ "user": body.name }))
}
