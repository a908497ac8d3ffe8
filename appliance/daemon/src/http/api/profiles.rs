//! Profiles: listed, and rendered for a host without touching it.

use super::fetches::{FETCH, PRIVATE};
use super::{
    Call,
    table::{Access, Answer, Body, Kind, Route, Schema, Verb, json, may, must},
};
use crate::{
    http::{
        actions::{self, MediumStand},
        error::Error,
    },
    origin::desk::Fetch,
};
use rackberry_core::profile::Profile;
use serde::Deserialize;
use serde_json::{Value, json as object};

static PROFILE: Schema = Schema {
    name: "Profile",
    about: "An installable system.",
    fields: &[
        must("name", Kind::Text, "The folder's name."),
        must("title", Kind::Text, "For people."),
        must("description", Kind::Text, "For people."),
        must("way", Kind::Word(&["image", "installer", "live"]), "How its system gets onto a host."),
        must("image", Kind::Text, "The image that is written, by name; empty for the other ways."),
        must("arch", Kind::Text, "The architecture it runs on."),
        must("min_memory_mb", Kind::Number, "Memory it needs, in megabytes."),
        must("parameters", Kind::Objects, "What may be set when it is installed."),
        may("workflow", Kind::Objects, "Its tasks; none for a system that is not installed."),
        must("files", Kind::Objects, "Templates of what is put into the written system."),
    ],
    open: true,
};

static RENDERED: Schema = Schema {
    name: "Rendered",
    about: "Every text that would be served to this host, and every file that would be put into its system.",
    fields: &[
        must("profile", Kind::Text, "The profile's name."),
        must("host", Kind::Text, "The host's name."),
        must("files", Kind::Objects, "Path, mode and content."),
        may("workflow", Kind::Objects, "The profile's tasks; none for a system that is not installed."),
    ],
    open: false,
};

static MEDIUM: Schema = Schema {
    name: "Medium",
    about: "What a profile needs on the box.",
    fields: &[
        must("name", Kind::Text, "What it is called on the box."),
        must("title", Kind::Text, "For people."),
        must("place", Kind::Word(&["on-the-box", "coming", "needs-internet", "yours-to-find"]), "Where it is."),
        must("url", Kind::Text, "Where its vendor offers it; empty if no address is known."),
        must("vouched", Kind::Text, "What vouches for it when it is fetched; empty if nothing is known that does."),
        must("help", Kind::Text, "How a person gets it."),
    ],
    open: false,
};

pub(super) static ROUTES: &[Route] = &[
    Route {
        verb: Verb::Get,
        path: "/v1/profiles",
        access: Access::Viewer,
        name: "listProfiles",
        command: "profile list",
        summary: "Every profile.",
        query: &[],
        body: Body::None,
        answer: Answer::List(&PROFILE),
        run: |call| json(list(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/v1/profiles/{profile}/media",
        access: Access::Viewer,
        name: "listMedia",
        command: "profile media",
        summary: "What a profile needs on the box, and where that is.",
        query: &[],
        body: Body::None,
        answer: Answer::List(&MEDIUM),
        run: |call| json(media(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/profiles/{profile}/media/{medium}/fetch",
        access: Access::Admin,
        name: "getMedium",
        command: "profile get",
        summary: "Fetches a medium from where its vendor offers it.",
        query: &[],
        body: Body::Json(&[PRIVATE]),
        answer: Answer::One(&FETCH),
        run: |call| json(get_it(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/v1/hosts/{host}/render/{profile}",
        access: Access::Viewer,
        name: "renderProfile",
        command: "profile render",
        summary: "Every byte that would be put into this host's system, without touching it.",
        query: &[],
        body: Body::None,
        answer: Answer::One(&RENDERED),
        run: |call| json(render(call)),
    },
];

async fn list(call: Call) -> Result<Vec<Profile>, Error> {
    Ok(call.state.catalog.iter().map(|profile| (**profile).clone()).collect())
}

fn unknown(name: &str) -> Error {
    Error::NotFound(format!("There is no profile {}.", rackberry_core::text::clean(name, 60)))
}

async fn media(call: Call) -> Result<Vec<MediumStand>, Error> {
    let name = call.part("profile");
    let profile = call.state.catalog.get(&name).ok_or_else(|| unknown(&name))?;
    Ok(actions::media(&call.state, profile))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GetIt {
    #[serde(default)]
    allow_private: bool,
}

async fn get_it(call: Call) -> Result<Fetch, Error> {
    let GetIt { allow_private } = call.json()?;
    let (profile, medium) = (call.part("profile"), call.part("medium"));
    if call.state.catalog.get(&profile).is_none() {
        return Err(unknown(&profile));
    }
    actions::get_it(&call.state, &profile, &medium, allow_private, call.actor).await
}

async fn render(call: Call) -> Result<Value, Error> {
    let (host, name) = (call.host()?, call.part("profile"));
    let profile = call.state.catalog.get(&name).ok_or_else(|| unknown(&name))?;
    let files = actions::preview(&host, profile)?;
    Ok(object!({ "profile": profile.name, "host": host.name, "files": files, "workflow": profile.workflow }))
}
