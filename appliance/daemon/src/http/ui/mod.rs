//! The page: forms in, HTML out; what is shown comes from the snapshot, how it looks from `rackberry-web`.
//!
//! | module | one sentence |
//! |---|---|
//! | `session` | who asks, and whether their own browser page sent it |
//! | `entry` | logging in and out, the first person, the theme |
//! | `hosts`, `install`, `live`, `library`, `fetch`, `updates`, `alarms` | the pages by their nouns |
//! | `view`, `host_view`, `history` | snapshot to view structs |
//! | `stream` | news to open pages |
//! | `reply` | answers with the headers every page has |
//!
//! Every request passes [`answer`]: name, method, origin, session and token are checked there and nowhere else.

mod alarms;
mod entry;
mod fetch;
mod history;
mod host_view;
mod hosts;
mod install;
mod library;
mod live;
mod reply;
mod session;
mod stream;
mod updates;
mod view;

pub(super) use session::{same, session_cookie};

use super::{
    Ends, State, ends,
    error::Error,
    form::{self, Form},
    with,
};
use crate::auth::{Person, Role};
use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, Method, StatusCode};
use rackberry_core::event::Actor;
use rackberry_web::views::{Section, Shell, Watch};
use std::time::Duration;
use tokio::sync::watch;
use warp::{Filter, filters::BoxedFilter, reply::Response};

/// No form is longer: the largest is a list of machines.
const LARGEST: usize = 256 * 1024;
/// How long a form may take to arrive; a slow one would hold its connection for ever.
const FORM_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves every path that is not the API's; streams end when `stop` turns true.
pub(super) fn routes(state: &State, stop: &watch::Receiver<bool>) -> BoxedFilter<(Response,)> {
    let stop = stop.clone();
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(ends())
        .and(with(state))
        .and(warp::body::stream())
        .then(move |method, path: warp::path::FullPath, query: String, headers, ends, state, body| {
            let ask = Ask {
                method,
                path: path.as_str().to_owned(),
                query: Form::parse(query.as_bytes()),
                raw_query: query,
                headers,
                ends,
                state,
                stop: stop.clone(),
            };
            async move { reply::harden(answer(ask, body).await) }
        })
        .boxed()
}

/// A request whose body was not read yet.
struct Ask {
    method: Method,
    path: String,
    query: Form,
    raw_query: String,
    headers: HeaderMap,
    ends: Ends,
    state: State,
    stop: watch::Receiver<bool>,
}

/// A request of somebody who is logged in, with the token of their session if it changes anything.
struct Visit {
    ask: Ask,
    form: Form,
    person: Person,
}

impl Ask {
    /// Whether the page's own script asks, which wants fragments.
    fn by_script(&self) -> bool {
        self.headers.contains_key("hx-request")
    }

    /// The page's name for itself.
    fn box_name(&self) -> String {
        crate::net::box_name()
    }

    fn html(&self, status: StatusCode, html: String) -> Response {
        reply::html(&self.headers, status, html)
    }
}

impl Visit {
    fn actor(&self) -> Actor {
        Actor::User(self.person.name.clone())
    }

    /// The frame of a page; `position` is the snapshot that the page shows.
    fn shell(&self, section: Section, watch: Watch, position: u64) -> Shell {
        let state = &self.ask.state;
        let snapshot = state.inventory.snapshot();
        let network = state.network.borrow().clone();
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let look = session::look(&self.ask.headers);
        let back = match self.ask.raw_query.as_str() {
            _ if self.ask.method == Method::POST => "/".to_owned(),
            "" => self.ask.path.clone(),
            query => format!("{}?{query}", self.ask.path),
        };
        Shell {
            section,
            box_name: self.ask.box_name(),
            interface: network.interface.clone(),
            address: network.address.map(|address| address.to_string()).unwrap_or_default(),
            mode: network.mode.clone(),
            time: state.time.sentence(state.inventory.wall()),
            version: concat!("v", env!("CARGO_PKG_VERSION")).to_owned(),
            display: state
                .config
                .oled
                .controller
                .map(|_| state.config.oled.panel.word().to_owned())
                .unwrap_or_default(),
            hosts: count(snapshot.hosts.len()),
            profiles: count(state.catalog.iter().count()),
            images: count(snapshot.images.len()),
            alarm: view::alarm(&snapshot),
            toast: if self.ask.by_script() { String::new() } else { session::said(&self.ask.headers) },
            theme: look.0,
            contrast: look.1,
            user: self.person.name.to_string(),
            csrf: self.person.csrf.clone(),
            back,
            watch,
            stream_position: stream::position(position),
        }
    }

    /// A page with its frame; news that were shown once are taken off.
    fn page(&self, status: StatusCode, html: String) -> Response {
        let response = self.ask.html(status, html);
        if self.ask.by_script() || session::said(&self.ask.headers).is_empty() {
            return response;
        }
        reply::with_cookie(response, &session::unsay())
    }

    fn failed(&self, error: &Error, link: Option<(&str, String)>) -> Response {
        let shell = self.shell(Section::Elsewhere, Watch::Alarms, self.ask.state.inventory.snapshot().version);
        reply::failed(&self.ask.headers, error, Some(shell), link)
    }
}

/// Every request of the page listener that is not the API's.
async fn answer<B: Buf>(ask: Ask, body: impl Stream<Item = Result<B, warp::Error>> + Send) -> Response {
    if !session::named_right(&ask.headers, &ask.state) {
        return reply::text(
            StatusCode::FORBIDDEN,
            "This box does not answer under that name. Open it by its address, or by its own name.\n",
        );
    }
    let changes = match ask.method {
        Method::GET | Method::HEAD => false,
        Method::POST => true,
        _ => return reply::not_allowed(),
    };
    if let Some(path) = ask.path.strip_prefix("/assets/") {
        return reply::asset(path, !ask.raw_query.is_empty(), &ask.headers);
    }
    if ask.path == "/health" && !changes {
        let verdict = ask.state.health.verdict();
        let status = if verdict.is_good() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        return reply::text(status, &format!("{verdict}\n"));
    }
    if changes && !session::own_page(&ask.headers) {
        let error = Error::Forbidden("Another site sent this form.".to_owned());
        return reply::failed(&ask.headers, &error, None, None);
    }
    if changes && ["/updates/load", "/images/import"].contains(&ask.path.as_str()) {
        // A file is read as it comes, and only from somebody known.
        return match visitor(&ask).await {
            Ok(person) if ask.path == "/images/import" => library::import(ask, person, body).await,
            Ok(person) => updates::load(ask, person, body).await,
            Err(answer) => answer,
        };
    }
    let form = if changes {
        match tokio::time::timeout(FORM_TIMEOUT, read(body)).await.unwrap_or(Err(StatusCode::REQUEST_TIMEOUT)) {
            Ok(bytes) => Form::parse(&bytes),
            Err(status) => return reply::text(status, "The form is too long, or broke off on its way.\n"),
        }
    } else {
        Form::default()
    };
    match ask.path.as_str() {
        "/login" => return entry::login(&ask, &form).await,
        "/first-run" => return entry::first_run(&ask, &form).await,
        _ => {}
    }
    let person = match visitor(&ask).await {
        Ok(person) => person,
        Err(answer) => return answer,
    };
    let own_matter = ["/logout", "/theme"].contains(&ask.path.as_str());
    let refused = match () {
        () if !changes => None,
        () if !session::same(form.get("csrf"), &person.csrf) => Some(too_old()),
        () if own_matter => None,
        () => may_change(&person).err(),
    };
    if let Some(error) = refused {
        return reply::failed(&ask.headers, &error, None, None);
    }
    let visit = Visit { ask, form, person };
    if changes { post(visit).await } else { get(visit).await }
}

/// Who asks, or where they have to go first.
async fn visitor(ask: &Ask) -> Result<Person, Response> {
    match session::person(ask).await {
        Ok(Some(person)) => Ok(person),
        Ok(None) if ask.path == "/events/stream" => Err(reply::text(StatusCode::UNAUTHORIZED, "Log in first.\n")),
        Ok(None) if ask.state.auth.code().is_some() => Err(reply::see_other("/first-run")),
        Ok(None) => Err(reply::see_other("/login")),
        Err(error) => Err(reply::failed(&ask.headers, &error, None, None)),
    }
}

fn too_old() -> Error {
    Error::Forbidden("This form is too old. Load the page again.".to_owned())
}

fn may_change(person: &Person) -> Result<(), Error> {
    if person.role == Role::Admin {
        return Ok(());
    }
    Err(Error::Forbidden("You may look at everything and change nothing here: ask an admin.".to_owned()))
}

async fn get(visit: Visit) -> Response {
    let path = visit.ask.path.clone();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match parts.as_slice() {
        [""] => hosts::list(&visit).await,
        ["hosts", "enrol"] => hosts::enrol_page(&visit),
        ["hosts", id] => hosts::show(&visit, id).await,
        ["hosts", id, "install"] => install::show(&visit, id),
        ["hosts", id, "live"] => live::show(&visit, id),
        ["images"] => library::images(&visit, StatusCode::OK, String::new()).await,
        ["profiles"] => library::profiles(&visit),
        ["profiles", profile, "media", medium] => fetch::medium(&visit, profile, medium).await,
        ["activity"] => library::activity(&visit).await,
        ["updates"] => updates::show(&visit, StatusCode::OK, String::new()).await,
        ["events", "stream"] => stream::open(visit),
        ["api", ..] => Error::NotFound("The API has no such call.".to_owned()).json(),
        _ => not_found(&visit),
    }
}

async fn post(visit: Visit) -> Response {
    let path = visit.ask.path.clone();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match parts.as_slice() {
        ["logout"] => entry::logout(&visit).await,
        ["theme"] => entry::theme(&visit),
        ["hosts", "enrol"] => hosts::enrol(&visit).await,
        ["hosts", id, "install"] => install::arm(&visit, id).await,
        ["hosts", id, "live"] => live::set(&visit, id).await,
        ["hosts", id, "live", "off"] => live::off(&visit, id).await,
        ["hosts", id, "confirm"] => hosts::consent(&visit, id, false).await,
        ["hosts", id, "ask"] => hosts::consent(&visit, id, true).await,
        ["hosts", id, "power", verb] => hosts::power(&visit, id, verb).await,
        ["hosts", id, verb] => hosts::steer(&visit, id, verb).await,
        ["alarms", id, "settle"] => alarms::settle(&visit, id).await,
        ["images", "fetch"] => fetch::wish(&visit).await,
        ["fetches", id, "cancel"] => fetch::cancel(&visit, id).await,
        ["profiles", profile, "media", medium] => fetch::get_it(&visit, profile, medium).await,
        ["images", id, "remove"] => library::remove_image(&visit, id).await,
        ["updates", verb] => updates::order(&visit, verb).await,
        _ => not_found(&visit),
    }
}

fn not_found(visit: &Visit) -> Response {
    let shell = visit.shell(Section::Elsewhere, Watch::Alarms, visit.ask.state.inventory.snapshot().version);
    visit.page(StatusCode::NOT_FOUND, rackberry_web::not_found(Some(&shell), &visit.ask.path))
}

/// The whole body, unless it is too long.
async fn read<B: Buf>(body: impl Stream<Item = Result<B, warp::Error>>) -> Result<Bytes, StatusCode> {
    let mut body = std::pin::pin!(body);
    let mut whole = Vec::new();
    while let Some(piece) = body.next().await {
        let mut piece = piece.map_err(|_| StatusCode::BAD_REQUEST)?;
        if whole.len() + piece.remaining() > LARGEST {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        whole.extend_from_slice(&piece.copy_to_bytes(piece.remaining()));
    }
    Ok(whole.into())
}

#[cfg(test)]
mod tests;
