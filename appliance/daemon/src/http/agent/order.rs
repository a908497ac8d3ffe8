//! What an agent that asks is told to do: a task of an install, to leave the RAM OS, or to wait.

use super::caller;
use crate::{
    auth::Token,
    http::{Ends, State, error::Error},
    inventory::{HostEntry, Snapshot, TokenPurpose, Tx},
};
use rackberry_core::{
    agent::{Answer, LONG_POLL_S, Next, Run},
    boot::{BootDecision, HostState, answers, decide},
    event::{Actor, BootKey, EventKind},
    hardware::SeenDisk,
    host::MacAddr,
    id::HostId,
    install::{self, Consent, ConsentRule, Fleet, Install, Limits, Phase, target},
    task::{DiskTarget, TaskKind, TaskOrder},
    text::CleanText,
    time::Timestamp,
};
use std::{sync::Arc, time::Duration};

/// How long a host that was sent to its disk gets it at network boots.
const DISK_FOR: Duration = Duration::from_secs(600);

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

/// Waits until there is something for the agent to do.
pub(super) async fn order(next: Next, ends: Ends, state: &State) -> Result<Answer, Error> {
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
            let asked = snapshot
                .host(first.host)
                .and_then(|entry| entry.active_install())
                .is_some_and(|install| install.state.waits_for_consent());
            let message = if asked { "Waiting for a yes at the box." } else { "Waiting for orders." };
            return Ok(Answer::Wait { message: message.into() });
        }
    }
}

/// What the settings say about hosts in the RAM OS.
#[derive(Debug, Clone)]
struct Rules {
    limits: Limits,
    consent: ConsentRule,
    discovery: bool,
    idle_to_disk: Option<Duration>,
    idle_power_off: Option<Duration>,
}

impl Rules {
    fn of(state: &State) -> Self {
        let config = &state.config;
        Rules {
            limits: config.limits(),
            consent: config.consent,
            discovery: config.discovery,
            idle_to_disk: config.idle_to_disk,
            idle_power_off: config.idle_power_off,
        }
    }

    /// Whether a transaction would find something; works on the snapshot so that a hundred waiting agents cost nothing.
    fn due(&self, snapshot: &Snapshot, entry: &HostEntry, question: &Question, now: Timestamp) -> bool {
        let Question { boot, running, asked, .. } = question;
        let install = entry.active_install().map(Arc::as_ref);
        // A thousand that wait for people wake whenever one of them moves.
        if running.is_empty() && install.is_some_and(|install| !unmet(install) && install.state.waits_for_consent()) {
            return false;
        }
        let installs: Vec<Arc<Install>> = snapshot.active_installs().cloned().collect();
        let fleet = Fleet { installs: installs.iter().map(Arc::as_ref).collect(), limits: self.limits };
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
            let live = entry.live_boot.is_some();
            let mut allowed = HostState::of(&entry.host, entry.install.as_deref(), live, self.discovery, now);
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
            install::Next::Installer(_) => {
                tx.leave_ram(host);
                Ok(Some(Answer::Restart { message: "Its installer waits for it at the next network boot.".into() }))
            }
            install::Next::Claim(run) => claim(tx, &run, boot, box_url, self.consent),
            install::Next::Consent(run) => seek_consent(tx, &run).map(|()| None),
            install::Next::Repeat(run) => {
                let kind = EventKind::TaskRepeated { task: run.task.clone(), attempt: run.attempt, boot: None };
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
pub(super) fn unmet(install: &Install) -> bool {
    install.state.boot.is_none()
}

/// How an idle host leaves the RAM OS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    ToDisk(&'static str),
    PowerOff,
}

/// Puts the question about this host's disk, now that it is known, or finds that there is none.
fn seek_consent(tx: &mut Tx<'_>, run: &Run) -> Result<(), Error> {
    let Some(install) = tx.install(run.install)? else { return Ok(()) };
    let Consent::Due { rule } = install.state.consent else { return Ok(()) };
    let host = tx.host(install.host);
    let kind =
        match host.as_deref().map_or_else(|| Err("The host was removed.".to_owned()), |host| target(&install, host)) {
            Ok(disk) if rule.wants(disk.content.blank) => EventKind::ConsentNeeded { disk: SeenDisk::of(disk) },
            Ok(disk) => {
                let reason = format!("{} is empty, so nobody at the box has to confirm.", disk.name);
                EventKind::ConsentWaived { reason: CleanText::new(&reason) }
            }
            Err(reason) => EventKind::InstallRefused { reason: CleanText::new(&reason) },
        };
    tx.apply(install.id, Actor::Box, kind)?;
    Ok(())
}

fn claim(
    tx: &mut Tx<'_>,
    run: &Run,
    boot: &BootKey,
    box_url: &str,
    rule: ConsentRule,
) -> Result<Option<Answer>, Error> {
    let Some(install) = tx.install(run.install)? else { return Ok(None) };
    let unasked = tx.host(install.host).and_then(|host| install::unasked(&install, &host, &run.task, rule));
    if let Some(disk) = unasked {
        tx.apply(run.install, Actor::Box, EventKind::ConsentNeeded { disk })?;
        return Ok(None);
    }
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
    let disk = match target(install, &host) {
        Ok(disk) => disk,
        Err(reason) => return Ok(Err(reason)),
    };
    let ordered = DiskTarget {
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
                disk: ordered,
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
                disk: ordered,
                hostname: plan.hostname.clone(),
                seed: plan.seed,
                files,
                boot_order: plan.boot_order,
                boot_entry: CleanText::new(&plan.title),
            }
        }
        TaskKind::Restart => TaskOrder::Restart {},
        TaskKind::BootRamOs | TaskKind::RunInstaller | TaskKind::WaitFirstBoot => {
            return Ok(Err("This task is not one for an agent.".to_owned()));
        }
    }))
}
