//! The agent's calls (`/agent/v1/hello | next | report`): a transition is durable before its 200.

mod order;

use super::{Ends, State, ends, error::Error, files::text, with};
use crate::{
    auth::Token,
    boot::admit,
    inventory::{Identity, Telemetry, TokenPurpose, Tx},
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use order::{order, unmet};
use rackberry_core::{
    agent::{Hello, News, OLDEST_PROTOCOL, PROTOCOL, Received, Report, Welcome},
    event::{Actor, BootKey, EventKind, Station},
    host::MacAddr,
    id::{HostId, InstallId},
    image::Digest,
    text::CleanText,
};
use serde::{Serialize, de::DeserializeOwned};
use std::net::IpAddr;
use warp::{Filter, reply::Response};

/// No honest message is longer: hardware of a large machine takes some tens of KiB.
const LARGEST: u64 = 512 * 1024;

pub(super) fn routes(state: &State) -> impl Filter<Extract = (Response,), Error = warp::Rejection> + Clone + use<> {
    let hello = warp::path!("agent" / "v1" / "hello").and(message()).and(ends()).and(with(state)).then(
        |body: Bytes, ends: Ends, state: State| async move {
            reply(match parse(&body) {
                Ok(hello) => welcome(hello, ends, &state).await,
                Err(error) => Err(error),
            })
        },
    );
    let next = warp::path!("agent" / "v1" / "next").and(message()).and(ends()).and(with(state)).then(
        |body: Bytes, ends: Ends, state: State| async move {
            reply(match parse(&body) {
                Ok(next) => order(next, ends, &state).await,
                Err(error) => Err(error),
            })
        },
    );
    let report = warp::path!("agent" / "v1" / "report").and(message()).and(ends()).and(with(state)).then(
        |body: Bytes, ends: Ends, state: State| async move {
            reply(match parse(&body) {
                Ok(report) => receive(report, ends, &state).await,
                Err(error) => Err(error),
            })
        },
    );
    // What none of them takes is no file either.
    let refused = warp::path("agent").and(warp::post()).and(warp::header::optional("content-length")).map(
        |length: Option<u64>| {
            let (status, said) = match length {
                Some(length) if length > LARGEST => (StatusCode::PAYLOAD_TOO_LARGE, "This message is too long.\n"),
                Some(_) => (StatusCode::NOT_FOUND, "The protocol has no such call.\n"),
                None => (StatusCode::LENGTH_REQUIRED, "A message has to say how long it is.\n"),
            };
            text(status, said)
        },
    );
    hello.or(next).unify().or(report).unify().or(refused).unify()
}

fn message() -> impl Filter<Extract = (Bytes,), Error = warp::Rejection> + Copy {
    warp::post().and(warp::body::content_length_limit(LARGEST)).and(warp::body::bytes())
}

fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, Error> {
    serde_json::from_slice(body)
        .map_err(|error| Error::Invalid(format!("This is no message of the protocol: {error}.")))
}

fn reply<T: Serialize>(answer: Result<T, Error>) -> Response {
    match answer.map(|answer| serde_json::to_vec(&answer)) {
        Ok(Ok(body)) => {
            let length = body.len();
            let mut response = Response::new(body.into());
            response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
            response.headers_mut().insert("content-length", HeaderValue::from(length));
            response
        }
        Ok(Err(error)) => Error::Invalid(format!("The answer could not be written: {error}.")).json(),
        Err(error) => {
            let mut response = error.json();
            if response.status() == StatusCode::UNPROCESSABLE_ENTITY {
                *response.status_mut() = StatusCode::BAD_REQUEST;
            }
            response
        }
    }
}

/// The token's owner; bound to the address of its first use.
struct Caller {
    key: Digest,
    host: HostId,
    install: Option<InstallId>,
    purpose: TokenPurpose,
    /// The port this boot came over.
    mac: MacAddr,
}

fn caller(tx: &mut Tx<'_>, token: &str, address: IpAddr) -> Result<Caller, Error> {
    let unknown = || Error::NotFound("This token is not known here, or its time is over.".to_owned());
    let key = Token::parse(token).ok_or_else(unknown)?.digest();
    let found = tx.token(key)?.ok_or_else(unknown)?;
    match found.address {
        Some(bound) if bound != address && !tx.lease_moved(found.mac, address)? => {
            return Err(Error::Forbidden("This token belongs to another address.".to_owned()));
        }
        Some(bound) if bound == address => {}
        _ => drop(tx.bind_token(key, address)?),
    }
    Ok(Caller { key, host: found.host, install: found.install, purpose: found.purpose, mac: found.mac })
}

async fn welcome(hello: Hello, ends: Ends, state: &State) -> Result<Welcome, Error> {
    if hello.protocol < OLDEST_PROTOCOL || hello.protocol > PROTOCOL {
        return Ok(Welcome {
            protocol: PROTOCOL,
            name: CleanText::default(),
            message: "This RAM OS is not of this box's time; it restarts to get the right one.".into(),
            restart: true,
        });
    }
    let name = state
        .inventory
        .transact(move |tx| {
            let caller = caller(tx, &hello.token, ends.peer)?;
            let identity = Identity {
                mac: hello.mac,
                uuid: hello.uuid,
                serial: Some(hello.serial.clone()).filter(|serial| !serial.is_empty()),
            };
            let host = admit(tx, &identity, hello.facts.arch, hello.facts.firmware)?;
            if host.id != caller.host || caller.purpose != TokenPurpose::Boot {
                return Err(Error::Forbidden("This token was given to another machine.".to_owned()));
            }
            let summary = CleanText::new(&hello.facts.summary());
            let changed = host.facts.as_ref() != Some(&hello.facts);
            let mut known = (*host).clone();
            known.facts = Some(hello.facts);
            known.disk_until = None;
            tx.put_host(&known)?;
            if changed {
                tx.record(Some(host.id), None, Actor::Host, EventKind::FactsReported { summary })?;
            }
            tx.at_address(host.id, ends.peer);
            tx.reach(host.id, Station::Agent, CleanText::new(&format!("from {}", ends.peer)), None, None)?;
            let kind =
                EventKind::AgentHello { boot: BootKey(caller.key), address: CleanText::new(&ends.peer.to_string()) };
            match tx.active_install(host.id) {
                // An install that has met no boot yet is met when the agent asks, which checks what it is bound to.
                Some(install) if !unmet(&install) => tx.apply(install.id, Actor::Host, kind).map(|_| ())?,
                _ => tx.record(Some(host.id), None, Actor::Host, kind).map(|_| ())?,
            }
            tx.wait_in_ram(host.id, BootKey(caller.key));
            Ok::<_, Error>(known.name)
        })
        .await?;
    let message = format!("This is {name}. The disk stays untouched until an install is armed.");
    Ok(Welcome {
        protocol: PROTOCOL,
        name: CleanText::new(name.as_str()),
        message: CleanText::new(&message),
        restart: false,
    })
}

async fn receive(report: Report, ends: Ends, state: &State) -> Result<Received, Error> {
    if let News::Progress { run, progress } = &report.news {
        // Telemetry waits for no disk; whether the token fits is looked up in the snapshot's boots.
        let snapshot = state.inventory.snapshot();
        let speaks = Token::parse(&report.token).is_some_and(|token| {
            snapshot.install(run.install).is_some_and(|install| install.state.boot == Some(BootKey(token.digest())))
        });
        if !speaks {
            return Err(Error::NotFound("This token is not known here, or its time is over.".to_owned()));
        }
        let wanted = snapshot
            .install(run.install)
            .and_then(|install| install.state.task(&run.task))
            .is_some_and(rackberry_core::install::TaskRun::running);
        if wanted {
            let (install, task) = (run.install, run.task.clone());
            state.inventory.telemetry(Telemetry::Progress { install, task, progress: *progress });
        }
        return Ok(Received { stop: !wanted });
    }
    if let News::Log { lines } = report.news {
        let (token, peer) = (report.token, ends.peer);
        let host = state.inventory.transact(move |tx| caller(tx, &token, peer).map(|caller| caller.host)).await?;
        state.inventory.telemetry(Telemetry::Log { host, lines });
        return Ok(Received { stop: false });
    }
    if let Some((stage, detail)) = of_installer(&report.news) {
        if state.desk.report(&report.token, stage, &detail, ends.peer).await? {
            return Ok(Received { stop: false });
        }
        if report.news.is_for_installers() {
            return Err(Error::NotFound("This token is not known here, or its time is over.".to_owned()));
        }
    }
    state
        .inventory
        .transact(move |tx| {
            let caller = caller(tx, &report.token, ends.peer)?;
            tx.seen(caller.host);
            let (run, kind) = match report.news {
                News::FirstBoot { .. } => {
                    let install = caller.install.filter(|_| caller.purpose == TokenPurpose::FirstBoot);
                    let install =
                        install.ok_or_else(|| Error::Forbidden("This token is not for a first boot.".to_owned()))?;
                    let kind = EventKind::FirstBoot { address: CleanText::new(&ends.peer.to_string()) };
                    tx.apply(install, Actor::Host, kind)?;
                    return Ok(Received { stop: false });
                }
                News::Progress { .. }
                | News::Log { .. }
                | News::Stage { .. }
                | News::Installed
                | News::InstallerFailed { .. } => return Ok(Received { stop: false }),
                News::Started { run } => {
                    let kind = EventKind::TaskStarted { task: run.task.clone(), attempt: run.attempt };
                    (run, kind)
                }
                News::Done { run } => {
                    let kind = EventKind::TaskDone { task: run.task.clone(), attempt: run.attempt };
                    (run, kind)
                }
                News::Failed { run, transient, message } => {
                    let kind =
                        EventKind::TaskFailed { task: run.task.clone(), attempt: run.attempt, transient, message };
                    (run, kind)
                }
            };
            let install = tx
                .install(run.install)?
                .filter(|install| install.host == caller.host && caller.purpose == TokenPurpose::Boot)
                .ok_or_else(|| Error::NotFound("There is no such run on this host.".to_owned()))?;
            if install.state.boot.as_ref() != Some(&BootKey(caller.key)) {
                return Err(Error::Conflict("Another boot of this host speaks for it now.".to_owned()));
            }
            tx.apply(run.install, Actor::Host, kind)?;
            Ok::<_, Error>(Received { stop: false })
        })
        .await
        .map_err(Error::from)
}

/// The same as an installer reports it by an address, for news that may be an installer's.
fn of_installer(news: &News) -> Option<(&str, String)> {
    match news {
        News::Stage { stage, detail } => Some((stage.as_str(), detail.to_string())),
        News::Installed => Some(("installed", String::new())),
        News::InstallerFailed { message } => Some(("failed", message.to_string())),
        News::FirstBoot { .. } => Some(("first-boot", String::new())),
        News::Started { .. } | News::Progress { .. } | News::Done { .. } | News::Failed { .. } | News::Log { .. } => {
            None
        }
    }
}
