//! Files that the box fetches from elsewhere: begun, watched, called off.

use super::{
    Call,
    table::{Access, Answer, Body, Field, Kind, Route, Schema, Verb, json, may, must},
};
use crate::{
    http::{
        actions::{self, Wish},
        error::Error,
    },
    origin::desk::Fetch,
};
use serde::Deserialize;
use serde_json::{Value, json as object};

pub(super) const PRIVATE: Field =
    may("allow_private", Kind::Flag, "Fetch it also from an address that is not the internet's.");

pub(super) static FETCH: Schema = Schema {
    name: "Fetch",
    about: "A file that comes in from elsewhere.",
    fields: &[
        must("id", Kind::Number, "Stays the same while it goes on, also when the box starts again."),
        must("name", Kind::Text, "What the image will be called."),
        must("url", Kind::Text, "Where its bytes come from just now."),
        must("state", Kind::Word(&["waiting", "fetching", "done", "failed", "cancelled"]), "How it is with it."),
        must("done_bytes", Kind::Number, "Have come."),
        may("size_bytes", Kind::Number, "In all, once its server said so."),
        must("rate", Kind::Number, "Bytes a second."),
        may("message", Kind::Text, "Why it waits, or why it failed."),
        may("digest", Kind::Text, "Of the image that it became."),
    ],
    open: false,
};

static SIZE: Schema = Schema {
    name: "FetchSize",
    about: "How big a file elsewhere is.",
    fields: &[
        may("size_bytes", Kind::Number, "None if its server does not say."),
        must("room_bytes", Kind::Number, "How much may come in."),
    ],
    open: false,
};

pub(super) static ROUTES: &[Route] = &[
    Route {
        verb: Verb::Get,
        path: "/v1/fetches",
        access: Access::Viewer,
        name: "listFetches",
        command: "image fetches",
        summary: "Files that are fetched, and the last that were.",
        query: &[],
        body: Body::None,
        answer: Answer::List(&FETCH),
        run: |call| json(list(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/fetches",
        access: Access::Admin,
        name: "beginFetch",
        command: "image import",
        summary: "Fetches an image from a URL; a signature or list of checksums is fetched and held against it.",
        query: &[],
        body: Body::Json(&[
            must("name", Kind::Text, "What people and profiles call it."),
            must("urls", Kind::Texts, "The file, then the same elsewhere."),
            may("sha256", Kind::Text, "It is refused unless it has this digest."),
            may("checksums", Kind::Text, "URL of a list of checksums that names it."),
            may("signature", Kind::Text, "URL of an OpenPGP signature: of the list if there is one, else of the file."),
            may(
                "key",
                Kind::Text,
                "The keys that may have signed: armored, or the name of a file in the folder of keys.",
            ),
            may("as_it_is", Kind::Flag, "A packed archive is kept packed, and nothing is served out of it."),
            PRIVATE,
        ]),
        answer: Answer::One(&FETCH),
        run: |call| json(begin(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/fetch-size",
        access: Access::Admin,
        name: "sizeFetch",
        command: "image import",
        summary: "Asks how big a file elsewhere is; fetches nothing.",
        query: &[],
        body: Body::Json(&[must("url", Kind::Text, "The file."), PRIVATE]),
        answer: Answer::One(&SIZE),
        run: |call| json(size(call)),
    },
    Route {
        verb: Verb::Delete,
        path: "/v1/fetches/{fetch}",
        access: Access::Admin,
        name: "cancelFetch",
        command: "image cancel",
        summary: "Calls a fetch off; nothing of it is kept.",
        query: &[],
        body: Body::None,
        answer: Answer::One(&FETCH),
        run: |call| json(cancel(call)),
    },
];

async fn list(call: Call) -> Result<Vec<Fetch>, Error> {
    Ok(call.state.fetches.list())
}

async fn begin(call: Call) -> Result<Fetch, Error> {
    let wish: Wish = call.json()?;
    actions::fetch(&call.state, wish, call.actor).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SizeBody {
    url: String,
    #[serde(default)]
    allow_private: bool,
}

async fn size(call: Call) -> Result<Value, Error> {
    let SizeBody { url, allow_private } = call.json()?;
    let (size, room) = call.state.fetches.size(&url, allow_private).await?;
    Ok(object!({ "size_bytes": size, "room_bytes": room }))
}

async fn cancel(call: Call) -> Result<Fetch, Error> {
    Ok(call.state.fetches.cancel(number(&call)?).await?)
}

fn number(call: &Call) -> Result<u64, Error> {
    let given = call.part("fetch");
    given
        .parse()
        .map_err(|_| Error::NotFound(format!("There is no fetch {}.", rackberry_core::text::clean(&given, 20))))
}
