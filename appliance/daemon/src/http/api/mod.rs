//! The API (`/api/v1`, JSON): every action of the page, for programs and the command line.
//!
//! | module | one sentence |
//! |---|---|
//! | `table` | one row for each call: what routes it, guards it and describes it |
//! | `openapi` | the description of all of them |
//! | `hosts`, `installs`, `images`, `fetches`, `profiles`, `events`, `alarms`, `people`, `power`, `tokens`, `display`, `updates`, `uploads`, `status` | the calls by their nouns |
//!
//! Every request passes [`answer`]: who asks, whether there is such a call, and whether they may, in this order.

mod alarms;
mod display;
mod events;
mod fetches;
mod hosts;
pub(super) mod images;
mod installs;
mod live;
pub mod openapi;
mod people;
mod power;
mod profiles;
mod status;
pub mod table;
#[cfg(test)]
mod tests;
mod tokens;
mod updates;
mod uploads;

pub use images::remove_image;

use super::{Ends, State, ends, error::Error, form::Form, with};
use crate::auth::Role;
use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, HeaderValue, Method};
use rackberry_core::{event::Actor, host::Host, text::CleanText};
use serde::de::DeserializeOwned;
use std::{pin::Pin, sync::Arc, time::Duration};
use table::{Access, Body, Found, Verb};
use warp::{Filter, filters::BoxedFilter, reply::Response};

/// No JSON request is longer.
const LARGEST: usize = 1 << 20;
/// How long a JSON request may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves every path below `/api`.
pub(super) fn routes(state: &State) -> BoxedFilter<(Response,)> {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::path("api")
        .and(warp::method())
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(ends())
        .and(with(state))
        .and(warp::body::stream())
        .then(|method, path: warp::path::FullPath, query: String, headers, ends, state, body| async move {
            let ask = Ask { method, path: path.as_str().to_owned(), query, headers, ends, state };
            let mut response = answer(ask, body).await.unwrap_or_else(|error| error.json());
            response.headers_mut().insert("cache-control", HeaderValue::from_static("no-store"));
            // Tells a program that it speaks to a Rackberry, also when it is refused.
            response.headers_mut().insert("rackberry-api", HeaderValue::from_static("v1"));
            response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
            response
        })
        .boxed()
}

/// A request before anything of it is believed.
struct Ask {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    ends: Ends,
    state: State,
}

/// Who calls.
struct Caller {
    actor: Actor,
    /// Whose tokens the ones made now are.
    person: CleanText,
    role: Role,
    /// What a browser has to repeat, as its cookie alone may have been sent along by another site's page.
    csrf: Option<String>,
}

/// A request that was let in, as its handler gets it.
struct Call {
    state: State,
    actor: Actor,
    person: CleanText,
    parts: Vec<(&'static str, String)>,
    query: Form,
    json: Bytes,
    /// The body of a call that takes bytes.
    upload: Option<Upload>,
}

/// A body as it arrives.
type Upload = Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send>>;

impl Call {
    /// What stands in the path in place of `{name}`.
    fn part(&self, name: &str) -> String {
        self.parts.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()).unwrap_or_default()
    }

    /// The host that the path names.
    fn host(&self) -> Result<Arc<Host>, Error> {
        super::actions::find_host(&self.state, &self.part("host"))
    }

    /// A parameter of the query; empty if it was not given.
    fn query(&self, name: &str) -> String {
        self.query.get(name).to_owned()
    }

    /// A parameter of the query that is a number.
    fn number(&self, name: &str) -> Result<Option<u64>, Error> {
        match self.query.get(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Error::Fields(vec![(name.to_owned(), format!("{name} has to be a whole number that is not negative."))])
            }),
        }
    }

    /// The body; an empty one counts as an object without members.
    fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let bytes: &[u8] = if self.json.is_empty() { b"{}" } else { &self.json };
        serde_json::from_slice(bytes).map_err(|error| Error::Invalid(format!("The request does not read: {error}.")))
    }
}

async fn answer<B: Buf>(
    ask: Ask,
    body: impl Stream<Item = Result<B, warp::Error>> + Send + 'static,
) -> Result<Response, Error> {
    // A stranger does not even learn which calls there are.
    let caller = caller(&ask).await?;
    let Found { route, parts } = table::find(&ask.method, &ask.path)?;
    if route.access == Access::Admin && caller.role != Role::Admin {
        return Err(Error::Forbidden("This is for admins; you may look and change nothing.".to_owned()));
    }
    if let Some(csrf) = &caller.csrf
        && route.verb != Verb::Get
        && !ask
            .headers
            .get("x-csrf-token")
            .and_then(|token| token.to_str().ok())
            .is_some_and(|given| super::ui::same(given, csrf))
    {
        return Err(Error::Forbidden("The header X-CSRF-Token is missing or old. Load the page again.".to_owned()));
    }
    let query = Form::parse(ask.query.as_bytes());
    if let Some(unknown) = query.names().find(|name| route.query.iter().all(|field| field.name != *name)) {
        let known: Vec<&str> = route.query.iter().map(|field| field.name).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(Error::Invalid(format!(
            "This call takes no parameter \"{}\"; it takes: {known}.",
            rackberry_core::text::clean(unknown, 40)
        )));
    }
    let mut body: Upload = Box::pin(body.map(|piece| piece.map(|mut piece| piece.copy_to_bytes(piece.remaining()))));
    let (json, upload) = match route.body {
        Body::None => (Bytes::new(), None),
        Body::Json(_) => {
            let whole = tokio::time::timeout(PATIENCE, read(&mut body)).await;
            let late = || Error::Invalid("The request did not arrive within 30 s.".to_owned());
            (whole.map_err(|_| late())??, None)
        }
        Body::Bytes(_) => (Bytes::new(), Some(body)),
    };
    let Ask { state, .. } = ask;
    let Caller { actor, person, .. } = caller;
    (route.run)(Call { state, actor, person, parts, query, json, upload }).await
}

/// Who calls; refused unless on the local socket, with a token, or logged in.
async fn caller(ask: &Ask) -> Result<Caller, Error> {
    if ask.ends.trusted {
        let person = CleanText::new("local");
        return Ok(Caller { actor: Actor::User(person.clone()), person, role: Role::Admin, csrf: None });
    }
    if let Some(shown) = ask.headers.get("authorization") {
        let shown = shown.to_str().unwrap_or_default();
        let (scheme, shown) = shown.split_once(' ').unwrap_or((shown, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Error::BadToken("Show a token as \"Authorization: Bearer TOKEN\".".to_owned()));
        }
        let token = ask.state.auth.bearer(shown.trim(), ask.ends.peer).await?;
        // A person's name has no blank in it, so this is nobody else's.
        let actor = Actor::User(CleanText::new(&format!("token {}", token.name)));
        return Ok(Caller { actor, person: token.by.clone(), role: Role::of(&token.role), csrf: None });
    }
    let cookie = super::ui::session_cookie(&ask.headers).ok_or(Error::NotLoggedIn)?;
    let person = ask.state.auth.person(&cookie).await?.ok_or(Error::NotLoggedIn)?;
    Ok(Caller {
        actor: Actor::User(person.name.clone()),
        person: person.name,
        role: person.role,
        csrf: Some(person.csrf),
    })
}

/// The whole body, unless it is too long.
async fn read(body: &mut Upload) -> Result<Bytes, Error> {
    let mut whole = Vec::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| Error::Invalid(format!("The request broke off: {error}.")))?;
        if whole.len() + piece.len() > LARGEST {
            return Err(Error::Invalid(format!("The request is longer than {LARGEST} bytes.")));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.into())
}
