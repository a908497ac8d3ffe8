//! The agent's calls (`/agent/v1/hello | next | report`): a transition is durable before its 200.

use super::{Ends, State, ends, error::Error, files::text, with};
use crate::{
    auth::Token,
    boot::admit,
    inventory::{HostEntry, Identity, Snapshot, Telemetry, TokenPurpose, Tx},
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use rackberry_core::{
    agent::{Answer, Hello, LONG_POLL_S, News, Next, OLDEST_PROTOCOL, PROTOCOL, Received, Report, Run, Welcome},
    boot::{BootDecision, HostState, answers, decide},
    event::{Actor, BootKey, EventKind, Station},
    host::MacAddr,
    id::{HostId, InstallId},
    image::Digest,
    install::{self, Fleet, Install, Limits, Phase},
    task::{DiskTarget, TaskKind, TaskOrder},
    text::CleanText,
    time::Timestamp,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{net::IpAddr, sync::Arc, time::Duration};
use warp::{Filter, reply::Response};

/// No honest message is longer: hardware of a large machine takes some tens of KiB.
const LARGEST: u64 = 512 * 1024;
/// How long a host that was sent to its disk gets it at network boots.
const DISK_FOR: Duration = Duration::from_secs(600);

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

/// What an agent asked, and when.
#[derive(Debug, Clone)]
struct Question {
    host: HostId,
    /// The port this boot came over.
    mac: MacAddr,
    boot: BootKey,
    /// What it was doing at `asked`.
    running: Vec<Run>,
    asked: Timestamp,
    box_url: String,
}

async fn order(next: Next, ends: Ends, state: &State) -> Result<Answer, Error> {
    let asked = state.inventory.clock().now();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(LONG_POLL_S);
    let mut snapshots = state.inventory.subscribe();
    let first = {
        let (token, peer) = (next.token.clone(), ends.peer);
        state.inventory.transact(move |tx| {
            let caller = caller(tx, &token, peer)?;
            tx.seen(caller.host);
            // After a restart of the box nothing is known of who waits where.
            tx.wait_in_ram(caller.host, BootKey(caller.key));
            tx.at_address(caller.host, peer);
            Ok::<_, Error>(caller)
        })
    }
    .await?;
    if first.purpose != TokenPurpose::Boot {
        return Err(Error::Forbidden("This token is for the first boot of an installed system.".to_owned()));
    }
    let boot = BootKey(first.key);
    let (running, box_url) = (next.running, ends.box_url());
    let question = Question { host: first.host, mac: first.mac, boot, running, asked, box_url };
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        let Some(entry) = snapshot.host(first.host) else {
            return Ok(Answer::Restart { message: "This host was removed from the box.".into() });
        };
        let rules = Rules::of(state);
        if rules.due(&snapshot, entry, &question, state.inventory.clock().now()) {
            let (rules, question) = (rules.clone(), question.clone());
            let answer = state.inventory.transact(move |tx| rules.answer(tx, &question)).await?;
            if let Some(answer) = answer {
                return Ok(answer);
            }
        }
        // The idle rules depend on time alone, so the wait is looked at again every second.
        let tick = tokio::time::Instant::now() + Duration::from_secs(1);
        tokio::select! {
            changed = snapshots.changed() => changed.map_err(|_| Error::Unavailable)?,
            () = tokio::time::sleep_until(tick.min(deadline)) => {}
        }
        if tokio::time::Instant::now() >= deadline {
            return Ok(Answer::Wait { message: "Waiting for orders.".into() });
        }
    }
}

/// What the settings say about hosts in the RAM OS.
#[derive(Debug, Clone)]
struct Rules {
    limits: Limits,
    discovery: bool,
    idle_to_disk: Option<Duration>,
    idle_power_off: Option<Duration>,
}

impl Rules {
    fn of(state: &State) -> Self {
        let config = &state.config;
        Rules {
            limits: config.limits(),
            discovery: config.discovery,
            idle_to_disk: config.idle_to_disk,
            idle_power_off: config.idle_power_off,
        }
    }

    /// Whether a transaction would find something; works on the snapshot so that a hundred waiting agents cost nothing.
    fn due(&self, snapshot: &Snapshot, entry: &HostEntry, question: &Question, now: Timestamp) -> bool {
        let Question { boot, running, asked, .. } = question;
        let installs: Vec<Arc<Install>> = snapshot.active_installs().cloned().collect();
        let fleet = Fleet { installs: installs.iter().map(Arc::as_ref).collect(), limits: self.limits };
        let install = entry.active_install().map(Arc::as_ref);
        install.is_some_and(unmet)
            || install::next_for_agent(&fleet, install, boot, running, *asked, now) != install::Next::Wait
            || self.leave(entry, running, now).is_some()
    }

    /// Whether an idle host should leave the RAM OS, and how.
    fn leave(&self, entry: &HostEntry, running: &[Run], now: Timestamp) -> Option<Leave> {
        if !running.is_empty() {
            return None;
        }
        if let Some(install) = entry.active_install() {
            // Its disk is written, so the RAM OS is only a stop on the way.
            return (install.state.phase == Phase::Waiting).then_some(Leave::ToDisk("Its disk is written."));
        }
        let since = entry.ram.as_ref().map(|ram| ram.since)?;
        let ended = entry.install.as_ref().and_then(|install| install.state.ended);
        let idle = now.since(ended.map_or(since, |ended| ended.max(since)));
        let facts = entry.host.facts.as_ref()?;
        let to_disk = self.idle_to_disk.is_some_and(|limit| idle >= limit) && facts.holds_system() && {
            let mut allowed = HostState::of(&entry.host, entry.install.as_deref(), self.discovery);
            allowed.disk_until = Some(now.after(DISK_FOR));
            decide(&allowed, now) == BootDecision::LocalDisk
        };
        if to_disk {
            return Some(Leave::ToDisk("Nothing was asked of it, and its disk holds a system."));
        }
        self.idle_power_off.is_some_and(|limit| idle >= limit).then_some(Leave::PowerOff)
    }

    fn answer(&self, tx: &mut Tx<'_>, question: &Question) -> Result<Option<Answer>, Error> {
        let Question { host, mac, boot, running, asked, box_url } = question;
        let (host, now) = (*host, tx.now());
        if let Some(install) = tx.active_install(host).filter(|install| unmet(install)) {
            // Armed while the host waited here already: its hello came before the install.
            if !install.state.arm.bound.macs.contains(mac) {
                let reason = "It came over a port that was not known when it was armed. Arm it again.";
                tx.apply(install.id, Actor::Box, EventKind::InstallRefused { reason: reason.into() })?;
                return Ok(None);
            }
            let address = tx.state().host(host).and_then(|entry| entry.address);
            let address = CleanText::new(&address.map(|address| address.to_string()).unwrap_or_default());
            tx.apply(install.id, Actor::Host, EventKind::AgentHello { boot: boot.clone(), address })?;
        }
        let installs = tx.active_installs();
        let fleet = Fleet { installs: installs.iter().map(Arc::as_ref).collect(), limits: self.limits };
        let install = installs.iter().find(|install| install.host == host);
        match install::next_for_agent(&fleet, install.map(Arc::as_ref), boot, running, *asked, now) {
            install::Next::Stop(run) => Ok(Some(Answer::Stop { run })),
            install::Next::Lost(run) => {
                let message = CleanText::new("The agent lost it, for example by a crash.");
                let kind = EventKind::TaskFailed { task: run.task, attempt: run.attempt, transient: true, message };
                tx.apply(run.install, Actor::Host, kind)?;
                Ok(None)
            }
            install::Next::Claim(run) => claim(tx, &run, boot, box_url),
            install::Next::Repeat(run) => {
                let kind = EventKind::TaskRepeated { task: run.task.clone(), attempt: run.attempt };
                let install = tx.apply(run.install, Actor::Host, kind)?;
                // The claim was checked when it was made; what changed since shows as a refusal by the agent.
                let order = make_order(tx, &install, &run, box_url)?.map_err(Error::Conflict)?;
                Ok(Some(Answer::Run { run, order: Box::new(order) }))
            }
            install::Next::Wait => self.send_away(tx, host, running, now),
        }
    }

    fn send_away(
        &self,
        tx: &mut Tx<'_>,
        host: HostId,
        running: &[Run],
        now: Timestamp,
    ) -> Result<Option<Answer>, Error> {
        let Some(entry) = tx.state().host(host).cloned() else { return Ok(None) };
        match self.leave(&entry, running, now) {
            None => Ok(None),
            Some(Leave::ToDisk(reason)) => {
                let mut host = (*entry.host).clone();
                host.disk_until = Some(now.after(DISK_FOR));
                tx.put_host(&host)?;
                let kind = EventKind::SentToDisk { reason: reason.into() };
                tx.record(Some(host.id), None, Actor::Box, kind)?;
                tx.leave_ram(host.id);
                Ok(Some(Answer::ToDisk { message: reason.into() }))
            }
            Some(Leave::PowerOff) => {
                tx.leave_ram(host);
                Ok(Some(Answer::PowerOff {
                    message: "Nothing was asked of it; the box's settings switch it off.".into(),
                }))
            }
        }
    }
}

/// Whether no boot of the RAM OS has spoken for this install yet.
fn unmet(install: &Install) -> bool {
    install.state.boot.is_none()
}

/// How an idle host leaves the RAM OS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    ToDisk(&'static str),
    PowerOff,
}

fn claim(tx: &mut Tx<'_>, run: &Run, boot: &BootKey, box_url: &str) -> Result<Option<Answer>, Error> {
    let Some(install) = tx.install(run.install)? else { return Ok(None) };
    let order = match make_order(tx, &install, run, box_url)? {
        Ok(order) => order,
        Err(reason) => {
            let kind = if install.state.arm.consumed.is_none() {
                EventKind::InstallRefused { reason: CleanText::new(&reason) }
            } else {
                EventKind::Cancelled { reason: CleanText::new(&reason) }
            };
            tx.apply(run.install, Actor::Box, kind)?;
            return Ok(None);
        }
    };
    let kind = EventKind::TaskClaimed { task: run.task.clone(), attempt: run.attempt, boot: boot.clone() };
    tx.apply(run.install, Actor::Host, kind)?;
    Ok(Some(Answer::Run { run: run.clone(), order: Box::new(order) }))
}

/// The whole order, or the sentence why this host cannot have it.
fn make_order(
    tx: &mut Tx<'_>,
    install: &Install,
    run: &Run,
    box_url: &str,
) -> Result<Result<TaskOrder, String>, Error> {
    let plan = &install.plan;
    let Some(host) = tx.host(install.host) else { return Ok(Err("The host was removed.".to_owned())) };
    let Some(task) = install.state.task(&run.task) else { return Ok(Err("The task is not in the plan.".to_owned())) };
    let Some(facts) = host.facts.as_ref() else { return Ok(Err("The hardware is not known yet.".to_owned())) };
    if let Some(arch) = facts.arch
        && arch != plan.arch
    {
        return Ok(Err(format!("This profile is for {}, the machine is {arch}. Pick another profile.", plan.arch)));
    }
    let disk = match plan.disk.choose(&facts.disks) {
        Ok(disk) => disk,
        Err(none) => return Ok(Err(none.to_string())),
    };
    if let Some(seen) = &plan.seen_disk
        && !seen.is(disk)
    {
        return Ok(Err(format!(
            "The rule \"{}\" now means {}, not the disk that was armed, {seen}.",
            plan.disk, disk.name
        )));
    }
    // Once the permission is used, what is on the disk is the install's own half-written work.
    if install.state.arm.consumed.is_none() && !plan.erase && !disk.content.blank {
        let (name, content) = (&disk.name, disk.content_sentence());
        return Ok(Err(format!(
            "{name} holds {content}, and nobody confirmed that it may be erased. Install again and confirm."
        )));
    }
    let target = DiskTarget {
        name: disk.name.clone(),
        serial: disk.serial.clone(),
        wwn: disk.wwn.clone(),
        size_bytes: disk.size_bytes,
    };
    Ok(Ok(match task.spec.kind {
        TaskKind::WriteImage => {
            if plan.image.raw_bytes.is_some_and(|raw| raw > disk.size_bytes) {
                return Ok(Err(format!("{} is smaller than the image.", disk.name)));
            }
            TaskOrder::WriteImage {
                url: format!("{box_url}/images/{}", plan.image.digest),
                digest: plan.image.digest,
                compression: plan.image.compression,
                size_bytes: plan.image.size_bytes,
                raw_bytes: plan.image.raw_bytes,
                disk: target,
                grow: plan.grow,
            }
        }
        TaskKind::Configure => {
            let Some(mac) = host.mac() else { return Ok(Err("The host has no address.".to_owned())) };
            let token = Token::random()?;
            let files = match answers::render(install, &host, box_url, &token.hex()) {
                Ok(files) => files,
                Err(error) => return Ok(Err(crate::chain(&error))),
            };
            tx.add_token(token.digest(), host.id, Some(install.id), TokenPurpose::FirstBoot, mac)?;
            TaskOrder::Configure {
                disk: target,
                hostname: plan.hostname.clone(),
                seed: plan.seed,
                files,
                boot_order: plan.boot_order,
                boot_entry: CleanText::new(&plan.title),
            }
        }
        TaskKind::Restart => TaskOrder::Restart {},
        TaskKind::BootRamOs | TaskKind::WaitFirstBoot => {
            return Ok(Err("This task is not one for an agent.".to_owned()));
        }
    }))
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
                News::Progress { .. } | News::Log { .. } => return Ok(Received { stop: false }),
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
