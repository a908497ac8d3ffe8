//! The API (`/api/v1`, JSON): every action of the page, for programs and the command line.

use super::{
    Ends, State,
    actions::{self, InstallRequest, Steer},
    ends,
    error::Error,
    with,
};
use crate::{
    inventory::{EventFilter, HostEntry},
    media::{Import, ImportError},
};
use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, HeaderValue, Method};
use rackberry_core::{
    boot::answers,
    event::{Actor, Station},
    host::{Host, MacAddr},
    id::HostId,
    image::{Digest, Image},
    install::Install,
    status::{Signs, describe},
    text::CleanText,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};
use warp::{Filter, filters::BoxedFilter, reply::Response};

/// No JSON request is longer.
const LARGEST: u64 = 1 << 20;
/// Of a refused upload so many bytes are taken in and thrown away, so that its sender gets to read why.
const DRAIN: usize = 256 << 20;
/// And no longer than this.
const DRAIN_FOR: std::time::Duration = std::time::Duration::from_secs(10);

/// A host as the API and the command line show it.
#[derive(Debug, Clone, Serialize)]
pub struct HostJson {
    #[serde(flatten)]
    pub host: Host,
    pub condition: rackberry_core::status::Condition,
    pub word: &'static str,
    pub sentence: String,
    /// Percent of the task under way, if it has any.
    pub percent: Option<u8>,
    pub install: Option<Install>,
    pub last_seen: Option<Timestamp>,
    pub address: Option<std::net::IpAddr>,
    pub stations: Vec<(Station, Timestamp, CleanText)>,
    /// This box's time, to compare the others with.
    pub now: Timestamp,
}

/// Word and sentence for a host of the snapshot.
#[must_use]
pub fn signs_of(state: &State, entry: &HostEntry, now: Timestamp) -> (rackberry_core::status::Condition, String) {
    let stations: Vec<(Station, Timestamp)> = entry
        .trace
        .as_ref()
        .map(|trace| trace.stations.iter().map(|(station, at, _)| (*station, *at)).collect())
        .unwrap_or_default();
    describe(&Signs {
        host: &entry.host,
        install: entry.install.as_deref(),
        stations: &stations,
        in_ram_since: entry.ram.as_ref().map(|ram| ram.since),
        last_seen: entry.last_seen,
        progress: progress_of(entry),
        last_news: entry.live.as_ref().map(|live| live.last_news),
        idle_to_disk: state.config.idle_to_disk,
        now,
    })
}

/// How far the task under way got.
#[must_use]
pub fn progress_of(entry: &HostEntry) -> Option<rackberry_core::agent::Progress> {
    let current = entry.active_install()?.state.current()?;
    entry.live.as_ref()?.progress.get(&current.spec.name).copied()
}

fn host_json(state: &State, entry: &HostEntry) -> HostJson {
    let now = state.inventory.clock().now();
    let (condition, sentence) = signs_of(state, entry, now);
    HostJson {
        host: (*entry.host).clone(),
        condition,
        word: condition.word(),
        sentence,
        percent: progress_of(entry).map(|progress| progress.percent()),
        install: entry.install.as_deref().cloned(),
        last_seen: entry.last_seen,
        address: entry.address,
        stations: entry.trace.as_ref().map(|trace| trace.stations.clone()).unwrap_or_default(),
        now,
    }
}

fn json_response<T: Serialize>(answer: Result<T, Error>) -> Response {
    let body = match answer {
        Ok(answer) => serde_json::to_vec(&answer),
        Err(error) => return error.json(),
    };
    match body {
        Ok(body) => {
            let mut response = Response::new(body.into());
            response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
            response.headers_mut().insert("cache-control", HeaderValue::from_static("no-store"));
            response
        }
        Err(error) => Error::Mistake(error.to_string()).json(),
    }
}

/// Who calls; refused unless logged in or on the local socket.
async fn caller(ends: Ends, headers: &HeaderMap, method: &Method, state: &State) -> Result<Actor, Error> {
    if ends.trusted {
        return Ok(Actor::User(CleanText::new("local")));
    }
    let cookie = super::ui::session_cookie(headers).ok_or(Error::NotLoggedIn)?;
    let person = state.auth.person(&cookie).await?.ok_or(Error::NotLoggedIn)?;
    let changes = method != Method::GET && method != Method::HEAD;
    let csrf = headers.get("x-csrf-token").and_then(|token| token.to_str().ok());
    if changes && !csrf.is_some_and(|csrf| super::ui::same(csrf, &person.csrf)) {
        return Err(Error::Forbidden("The header X-CSRF-Token is missing or old. Load the page again.".to_owned()));
    }
    Ok(Actor::User(person.name))
}

/// A call after its caller was let in.
#[derive(Clone)]
struct Call {
    state: State,
    actor: Result<Actor, Arc<Error>>,
}

fn call(state: &State) -> impl Filter<Extract = (Call,), Error = warp::Rejection> + Clone + use<> {
    ends().and(warp::header::headers_cloned()).and(warp::method()).and(with(state)).then(
        |ends: Ends, headers: HeaderMap, method: Method, state: State| async move {
            let actor = caller(ends, &headers, &method, &state).await.map_err(Arc::new);
            Call { state, actor }
        },
    )
}

/// Runs `act` for a caller that was let in; every route of the API goes through here.
async fn answer<T, F>(call: Call, act: impl FnOnce(State, Actor) -> F) -> Response
where
    T: Serialize,
    F: Future<Output = Result<T, Error>>,
{
    match call.actor {
        Ok(actor) => json_response(act(call.state, actor).await),
        Err(error) => error.json(),
    }
}

fn body<T: for<'de> Deserialize<'de> + Send>()
-> impl Filter<Extract = (Result<T, Error>,), Error = warp::Rejection> + Copy {
    warp::body::content_length_limit(LARGEST).and(warp::body::bytes()).map(|bytes: Bytes| {
        let bytes = if bytes.is_empty() { Bytes::from_static(b"{}") } else { bytes };
        serde_json::from_slice(&bytes).map_err(|error| Error::Invalid(format!("The request does not read: {error}.")))
    })
}

/// One part of a path as it is meant: a name or address whose `:` may have come as `%3A`.
struct Part(String);

impl std::str::FromStr for Part {
    type Err = ();

    fn from_str(raw: &str) -> Result<Self, ()> {
        super::files::percent_decode(raw).map(Part).ok_or(())
    }
}

pub(super) fn routes(state: &State) -> BoxedFilter<(Response,)> {
    hosts(state).or(host(state)).unify().or(images(state)).unify().or(others(state)).unify().boxed()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnrolBody {
    list: String,
    #[serde(default)]
    pattern: String,
}

fn hosts(state: &State) -> BoxedFilter<(Response,)> {
    let list = warp::path!("api" / "v1" / "hosts").and(warp::get()).and(call(state)).then(|call| {
        answer(call, |state, _| async move {
            let snapshot = state.inventory.snapshot();
            Ok(snapshot.hosts.values().map(|entry| host_json(&state, entry)).collect::<Vec<_>>())
        })
    });
    let enrol = warp::path!("api" / "v1" / "hosts").and(warp::post()).and(body::<EnrolBody>()).and(call(state)).then(
        |body: Result<EnrolBody, Error>, call| {
            answer(call, |state, actor| async move {
                let body = body?;
                let list = actions::read_list(&body.list).map_err(|wrong| {
                    Error::Fields(
                        wrong.into_iter().map(|(n, text)| ("list".to_owned(), format!("Line {n}: {text}"))).collect(),
                    )
                })?;
                let hosts = actions::enrol(&state, list, &body.pattern, actor).await?;
                Ok(hosts.iter().map(|host| (**host).clone()).collect::<Vec<Host>>())
            })
        },
    );
    list.or(enrol).unify().boxed()
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct InstallBody {
    profile: String,
    disk: String,
    parameters: BTreeMap<String, String>,
    erase: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ChangeBody {
    name: Option<String>,
    policy: Option<rackberry_core::host::BootPolicy>,
    tags: Option<Vec<CleanText>>,
    note: Option<CleanText>,
    add_mac: Option<MacAddr>,
}

fn host(state: &State) -> BoxedFilter<(Response,)> {
    let show = warp::path!("api" / "v1" / "hosts" / Part).and(warp::get()).and(call(state)).then(|Part(name), call| {
        answer(call, |state, _| async move {
            let host = actions::find_host(&state, &name)?;
            let snapshot = state.inventory.snapshot();
            let entry = snapshot.host(host.id).ok_or_else(|| Error::NotFound(format!("There is no host {name}.")))?;
            Ok(host_json(&state, entry))
        })
    });
    let change =
        warp::path!("api" / "v1" / "hosts" / Part).and(warp::patch()).and(body::<ChangeBody>()).and(call(state)).then(
            |Part(name), body: Result<ChangeBody, Error>, call| {
                answer(call, |state, actor| async move { change_host(&state, &name, body?, actor).await })
            },
        );
    let forget =
        warp::path!("api" / "v1" / "hosts" / Part).and(warp::delete()).and(call(state)).then(|Part(name), call| {
            answer(call, |state, actor| async move {
                let host = actions::find_host(&state, &name)?;
                actions::forget(&state, host.id, actor).await.map(|()| json!({ "removed": host.id }))
            })
        });
    let install = warp::path!("api" / "v1" / "hosts" / Part / "install")
        .and(warp::post())
        .and(body::<InstallBody>())
        .and(call(state))
        .then(|Part(name), body: Result<InstallBody, Error>, call| {
            answer(call, |state, actor| async move {
                let body = body?;
                let host = actions::find_host(&state, &name)?;
                let request = InstallRequest {
                    profile: body.profile,
                    disk: body.disk,
                    parameters: body.parameters,
                    erase: body.erase,
                };
                actions::install(&state, host.id, request, actor).await.map(|install| (*install).clone())
            })
        });
    let steer = warp::path!("api" / "v1" / "hosts" / Part / String).and(warp::post()).and(call(state)).then(
        |Part(name), verb: String, call| {
            answer(call, |state, actor| async move {
                let steer = match verb.as_str() {
                    "disarm" => Steer::Disarm,
                    "cancel" => Steer::Cancel,
                    "resume" => Steer::Resume,
                    _ => {
                        return Err(Error::NotFound("A host can be told: install, disarm, cancel, resume.".to_owned()));
                    }
                };
                let host = actions::find_host(&state, &name)?;
                actions::steer(&state, host.id, steer, actor).await.map(|install| (*install).clone())
            })
        },
    );
    install.or(steer).unify().or(show).unify().or(change).unify().or(forget).unify().boxed()
}

async fn change_host(state: &State, name: &str, body: ChangeBody, actor: Actor) -> Result<Host, Error> {
    let id: HostId = actions::find_host(state, name)?.id;
    let changed = state
        .inventory
        .transact(move |tx| {
            let known = tx.host(id).ok_or_else(|| Error::NotFound("The host was removed meanwhile.".to_owned()))?;
            let mut host = (*known).clone();
            let mut what = Vec::new();
            if let Some(name) = body.name {
                host.name = rackberry_core::text::HostName::new(&name)
                    .map_err(|error| Error::Fields(vec![("name".to_owned(), error.to_string())]))?;
                what.push(format!("name {}", host.name));
            }
            if let Some(policy) = body.policy {
                host.policy = policy;
                what.push(format!("policy {}", serde_json::to_value(policy).unwrap_or_default()));
            }
            if let Some(tags) = body.tags {
                host.tags = tags.into_iter().take(32).collect();
                what.push("tags".to_owned());
            }
            if let Some(note) = body.note {
                host.note = note;
                what.push("note".to_owned());
            }
            if let Some(mac) = body.add_mac {
                host.macs.push(mac);
                what.push(format!("address {mac}"));
            }
            let host = tx.put_host(&host)?;
            let kind = rackberry_core::event::EventKind::HostChanged { what: CleanText::new(&what.join(", ")) };
            tx.record(Some(id), None, actor, kind)?;
            Ok::<_, Error>(host)
        })
        .await?;
    Ok((*changed).clone())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ImportQuery {
    name: String,
    sha256: String,
    origin: String,
}

fn images(state: &State) -> BoxedFilter<(Response,)> {
    let list = warp::path!("api" / "v1" / "images").and(warp::get()).and(call(state)).then(|call| {
        answer(call, |state, _| async move {
            let snapshot = state.inventory.snapshot();
            Ok(snapshot.images.values().map(|image| (**image).clone()).collect::<Vec<Image>>())
        })
    });
    let import = warp::path!("api" / "v1" / "images")
        .and(warp::post())
        .and(warp::query::<ImportQuery>())
        .and(call(state))
        .and(warp::body::stream())
        .then(|query, call, body| answer(call, |state, actor| import(state, actor, query, body)));
    let remove =
        warp::path!("api" / "v1" / "images" / Part).and(warp::delete()).and(call(state)).then(|Part(name), call| {
            answer(call, |state, actor| async move { remove_image(&state, &name, actor).await.map(|i| (*i).clone()) })
        });
    list.or(import).unify().or(remove).unify().boxed()
}

/// Takes an image as a stream: nothing is held in memory, and a broken-off upload leaves nothing.
async fn import<B: Buf>(
    state: State,
    actor: Actor,
    query: ImportQuery,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<Image, Error> {
    let mut body = std::pin::pin!(body);
    let taken = take_in(state, actor, query, body.as_mut()).await;
    if taken.is_err() {
        // Whoever still sends reads no answer.
        let _ = tokio::time::timeout(DRAIN_FOR, async {
            let mut left = DRAIN;
            while let Some(Ok(piece)) = body.next().await {
                left = left.saturating_sub(piece.remaining());
                if left == 0 {
                    return;
                }
            }
        })
        .await;
    }
    taken
}

async fn take_in<B: Buf>(
    state: State,
    actor: Actor,
    query: ImportQuery,
    mut body: std::pin::Pin<&mut impl Stream<Item = Result<B, warp::Error>>>,
) -> Result<Image, Error> {
    let name = CleanText::new(&query.name);
    if name.is_empty() {
        return Err(Error::Fields(vec![("name".to_owned(), "An image needs a name.".to_owned())]));
    }
    let wanted = match query.sha256.as_str() {
        "" => None,
        text => Some(
            text.parse::<Digest>().map_err(|error| Error::Fields(vec![("sha256".to_owned(), format!("{error}."))]))?,
        ),
    };
    if let Some(other) = state.inventory.snapshot().image_by_name(name.as_str())
        && wanted != Some(other.digest)
    {
        return Err(Error::Conflict(format!(
            "There is an image named {name} already. Remove it, or choose another name."
        )));
    }
    let unique = crate::auth::Token::random()?.hex();
    let mut incoming = blocking({
        let media = state.media.clone();
        move || Import::start(&media, &unique)
    })
    .await?;
    while let Some(piece) = body.next().await {
        let mut piece = piece.map_err(|error| Error::Invalid(format!("The upload broke off: {error}.")))?;
        let bytes = piece.copy_to_bytes(piece.remaining());
        incoming = blocking(move || incoming.write(&bytes).map(|()| incoming)).await?;
    }
    let origin = CleanText::new(if query.origin.is_empty() { "upload" } else { &query.origin });
    let wall = state.inventory.clock().wall();
    let image = blocking(move || incoming.finish(name, origin, wanted, wall)).await?;
    let stored = state.inventory.transact(move |tx| tx.put_image(image, actor)).await?;
    Ok((*stored).clone())
}

async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, ImportError> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(act).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Error::Import(error)),
        Err(error) => Err(Error::Mistake(error.to_string())),
    }
}

/// Removes an image that no running install reads.
///
/// # Errors
/// If it is unknown or in use.
pub async fn remove_image(state: &State, name: &str, actor: Actor) -> Result<Arc<Image>, Error> {
    let name = name.to_owned();
    let removed = state
        .inventory
        .transact(move |tx| {
            let by_digest = name.parse::<Digest>().ok().and_then(|digest| tx.image(digest));
            let image = by_digest.or_else(|| tx.state().image_by_name(&name).cloned()).ok_or_else(|| {
                Error::NotFound(format!("There is no image {}.", rackberry_core::text::clean(&name, 60)))
            })?;
            if tx.active_installs().iter().any(|install| install.plan.image.digest == image.digest) {
                return Err(Error::Conflict(format!("An install is under way that reads {}.", image.name)));
            }
            tx.remove_image(image.digest, actor)?;
            Ok::<_, Error>(image)
        })
        .await?;
    let (media, gone) = (state.media.clone(), removed.clone());
    let unlinked = tokio::task::spawn_blocking(move || media.remove(&gone)).await;
    if let Ok(Err(error)) = unlinked {
        tracing::warn!(error = crate::chain(&error), "an image left its file behind");
    }
    Ok(removed)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EventsQuery {
    host: String,
    /// Only events behind this number.
    after: Option<u64>,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordBody {
    name: String,
    password: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BackupBody {
    path: std::path::PathBuf,
}

fn others(state: &State) -> BoxedFilter<(Response,)> {
    let profiles = warp::path!("api" / "v1" / "profiles").and(warp::get()).and(call(state)).then(|call| {
        answer(call, |state, _| async move { Ok(state.catalog.iter().map(|p| (**p).clone()).collect::<Vec<_>>()) })
    });
    let render = warp::path!("api" / "v1" / "hosts" / Part / "render" / Part).and(warp::get()).and(call(state)).then(
        |Part(host), Part(profile), call| answer(call, |state, _| async move { render(&state, &host, &profile) }),
    );
    let events = warp::path!("api" / "v1" / "events")
        .and(warp::get())
        .and(warp::query::<EventsQuery>())
        .and(call(state))
        .then(|query: EventsQuery, call| answer(call, |state, _| async move { events(&state, query).await }));
    let status = warp::path!("api" / "v1" / "status").and(warp::get()).and(call(state)).then(|call| {
        answer(call, |state, _| async move {
            let network = state.network.borrow().clone();
            let snapshot = state.inventory.snapshot();
            Ok(json!({
                "version": env!("CARGO_PKG_VERSION"),
                "interface": network.interface,
                "address": network.address,
                "mode": network.mode_word,
                "sentence": network.mode,
                "hosts": snapshot.hosts.len(),
                "alarms": snapshot.alarms.values().map(|alarm| alarm.text.to_string()).collect::<Vec<_>>(),
                "one_time_code": state.auth.code().map(|code| code.to_string()),
            }))
        })
    });
    let user = warp::path!("api" / "v1" / "users").and(warp::post()).and(body::<PasswordBody>()).and(call(state)).then(
        |body: Result<PasswordBody, Error>, call| {
            answer(call, |state, _| async move {
                let body = body?;
                state.auth.set_password(&body.name, &body.password, "admin").await?;
                Ok(json!({ "user": body.name }))
            })
        },
    );
    let backup = warp::path!("api" / "v1" / "backup")
        .and(warp::post())
        .and(ends())
        .and(body::<BackupBody>())
        .and(call(state))
        .then(|ends: Ends, body: Result<BackupBody, Error>, call| {
            answer(call, move |state, _| async move {
                if !ends.trusted {
                    return Err(Error::Forbidden(
                        "A backup is written on the box itself: use its command line.".to_owned(),
                    ));
                }
                let path = body?.path;
                state.inventory.backup(path.clone()).await.map_err(|error| Error::Invalid(crate::chain(&error)))?;
                Ok(json!({ "backup": path }))
            })
        });
    profiles.or(render).unify().or(events).unify().or(status).unify().or(user).unify().or(backup).unify().boxed()
}

async fn events(state: &State, query: EventsQuery) -> Result<Vec<Value>, Error> {
    let host = match query.host.as_str() {
        "" => None,
        name => Some(actions::find_host(state, name)?.id),
    };
    let filter =
        EventFilter { host, after: query.after, limit: query.limit.unwrap_or(200).min(1000), ..EventFilter::default() };
    let follows = filter.after.is_some();
    let found = state
        .inventory
        .read(move |reader| if follows { reader.follow(&filter) } else { reader.events(&filter) })
        .await?;
    found
        .into_iter()
        .map(|stored| {
            let mut value = serde_json::to_value(&stored.event).map_err(|error| Error::Mistake(error.to_string()))?;
            if let Some(object) = value.as_object_mut() {
                object.insert("seq".to_owned(), json!(stored.seq));
            }
            Ok(value)
        })
        .collect()
}

/// Every byte that would be put into this host's system, without touching it.
fn render(state: &State, host: &str, profile: &str) -> Result<Value, Error> {
    let host = actions::find_host(state, host)?;
    let profile = state
        .catalog
        .get(profile)
        .ok_or_else(|| Error::NotFound(format!("There is no profile {}.", rackberry_core::text::clean(profile, 60))))?;
    let plan = actions::example(&host, profile);
    let files = answers::render(&plan, &host, "http://192.0.2.1", "TOKEN")
        .map_err(|error| Error::Invalid(crate::chain(&error)))?;
    Ok(json!({ "profile": profile.name, "host": host.name, "files": files, "workflow": profile.workflow }))
}
