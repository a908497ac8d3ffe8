//! People and what they may.

use super::{
    Call,
    table::{Access, Answer, Body, Kind, Route, Schema, Verb, json, may, must},
};
use crate::{auth::Role, http::error::Error, inventory::User};
use serde::Deserialize;
use serde_json::{Value, json as object};

/// The words of [`Role`].
pub(super) const ROLES: Kind = Kind::Word(&["viewer", "admin"]);

static PERSON: Schema = Schema {
    name: "Person",
    about: "Somebody who may log in.",
    fields: &[
        must("name", Kind::Text, "The name to log in with."),
        must("role", ROLES, "A viewer sees everything and changes nothing."),
    ],
    open: false,
};

pub(super) static ROUTES: &[Route] = &[
    Route {
        verb: Verb::Get,
        path: "/v1/users",
        access: Access::Admin,
        name: "listPeople",
        command: "user list",
        summary: "Everybody who may log in.",
        query: &[],
        body: Body::None,
        answer: Answer::List(&PERSON),
        run: |call| json(list(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/users",
        access: Access::Admin,
        name: "addPerson",
        command: "user add",
        summary: "Adds a person.",
        query: &[],
        body: Body::Json(&[
            must("name", Kind::Text, "The name to log in with."),
            must("password", Kind::Secret, "At least 8 characters."),
            may("role", ROLES, "An admin if not given."),
        ]),
        answer: Answer::One(&PERSON),
        run: |call| json(add(call)),
    },
    Route {
        verb: Verb::Patch,
        path: "/v1/users/{user}",
        access: Access::Admin,
        name: "changePerson",
        command: "user passwd",
        summary: "Gives a person a new password, which ends every session of theirs, or a new role.",
        query: &[],
        body: Body::Json(&[
            may("password", Kind::Secret, "At least 8 characters."),
            may("role", ROLES, "The last admin stays one."),
        ]),
        answer: Answer::One(&PERSON),
        run: |call| json(change(call)),
    },
    Route {
        verb: Verb::Delete,
        path: "/v1/users/{user}",
        access: Access::Admin,
        name: "removePerson",
        command: "user rm",
        summary: "Removes a person, whose sessions and tokens go too; the last admin stays.",
        query: &[],
        body: Body::None,
        answer: Answer::One(&super::hosts::REMOVED),
        run: |call| json(remove(call)),
    },
];

fn person(user: &User) -> Value {
    object!({ "name": user.name, "role": Role::of(&user.role) })
}

async fn list(call: Call) -> Result<Vec<Value>, Error> {
    let Call { state, .. } = call;
    let users = state.inventory.read(|reader| reader.users()).await?;
    Ok(users.iter().map(person).collect())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AddBody {
    name: String,
    password: String,
    role: Option<Role>,
}

async fn add(call: Call) -> Result<Value, Error> {
    let AddBody { name, password, role } = call.json()?;
    let Call { state, actor, .. } = call;
    let user = state.auth.add_person(&name, &password, role.unwrap_or(Role::Admin), actor).await?;
    Ok(person(&user))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeBody {
    password: Option<String>,
    role: Option<Role>,
}

async fn change(call: Call) -> Result<Value, Error> {
    let ChangeBody { password, role } = call.json()?;
    let name = call.part("user");
    if password.is_none() && role.is_none() {
        return Err(Error::Invalid("Say what to change: the password or the role.".to_owned()));
    }
    let Call { state, actor, .. } = call;
    let user = state.auth.change_person(&name, password.as_deref(), role, actor).await?;
    Ok(person(&user))
}

async fn remove(call: Call) -> Result<Value, Error> {
    let name = call.part("user");
    let Call { state, actor, .. } = call;
    state.auth.remove_person(&name, actor).await?;
    Ok(object!({ "removed": name }))
}
