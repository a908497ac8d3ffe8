//! One host as its page shows it: hardware, the way its boot took, and what its install does.

use super::view::{disk, model, ms, state_of, wall_before};
use crate::{
    http::{State, actions::power_sentence},
    inventory::{BootTrace, HostEntry},
};
use rackberry_core::{
    agent::Progress,
    event,
    host::Host,
    install::{Consent, Install, Phase, TaskRun, TaskStatus},
    power::{Power, Switch},
    status::stuck,
    time::Timestamp,
    workflow::Workflow,
};
use rackberry_web::views::{
    BmcView, BootView, EventRow, Hardware, HostView, InstallView, LiveView, NicView, PowerView, Question, Served,
    StateKind, StateView, Station, StationState, TaskState, TaskView, Why,
};
use std::time::Duration;

/// A station is called under way for this long after the one before.
const ON_ITS_WAY: Duration = Duration::from_secs(150);
/// Of a host's log; the whole live part goes out again with each new one.
const LINES: usize = 50;

/// The live part of a host's page; `events` newest first, `rates` one a second.
pub(super) fn host(
    state: &State,
    entry: &HostEntry,
    events: Vec<EventRow>,
    rates: Vec<u64>,
    now: Timestamp,
) -> HostView {
    let host = &entry.host;
    let shown = state_of(state, entry, now);
    let install = entry.install.as_deref().filter(|install| install.state.phase != Phase::Done);
    HostView {
        id: host.id.to_string(),
        name: host.name.to_string(),
        mac: host.mac().map(|mac| mac.to_string()).unwrap_or_default(),
        tags: host.tags.iter().map(ToString::to_string).collect(),
        hardware: hardware(host),
        boot: entry.trace.as_deref().map(|trace| boot(state, entry, trace, now)),
        earlier: None,
        power: power(state, entry),
        question: entry.active_install().and_then(|install| question(install)),
        live: entry.live_boot.as_ref().map(|live| LiveView {
            title: live.title.to_string(),
            since_unix_ms: u64::try_from(live.since_wall.0).unwrap_or(0),
            by: live.by.to_string(),
        }),
        install: install.map(|install| install_view(entry, install, &shown, rates, now)),
        events,
        log: entry.log.iter().skip(entry.log.len().saturating_sub(LINES)).map(ToString::to_string).collect(),
        served: entry.install.as_deref().map(served).unwrap_or_default(),
        state: shown,
    }
}

/// Its power, where something switches it.
fn power(state: &State, entry: &HostEntry) -> Option<PowerView> {
    let Power::Gpio(settings) = entry.host.power.as_ref()?;
    let standing = state.power.standing(entry.host.id)?;
    let phase = entry.active_install().map(|install| install.state.phase);
    Some(PowerView {
        sentence: power_sentence(Some(&standing)),
        held: standing.busy.is_some() || standing.trouble.is_some(),
        button: settings.kind == Switch::Button,
        reset: settings.reset_pin.is_some(),
        installing: phase.is_some_and(|phase| matches!(phase, Phase::Installing | Phase::Waiting)),
    })
}

/// What people at the box were asked.
fn question(install: &Install) -> Option<Question> {
    match &install.state.consent {
        _ if !install.state.waits_for_consent() => None,
        Consent::Asked { .. } => Some(Question::Asked),
        Consent::Denied { .. } => Some(Question::Unanswered),
        Consent::NotNeeded | Consent::Due { .. } | Consent::Queued { .. } | Consent::Given { .. } => None,
    }
}

fn hardware(host: &Host) -> Hardware {
    let facts = host.facts.clone().unwrap_or_default();
    let smbios = &facts.smbios;
    let serial = host.serial.as_ref().map(ToString::to_string).unwrap_or_else(|| smbios.serial.to_string());
    let mut firmware: Vec<String> = [
        host.firmware.or(facts.firmware).map(|firmware| firmware.to_string()),
        host.arch.or(facts.arch).map(|arch| arch.to_string()),
    ]
    .into_iter()
    .flatten()
    .collect();
    if let Some(on) = facts.secure_boot {
        firmware.push(format!("Secure Boot {}", if on { "on" } else { "off" }));
    }
    let version = [smbios.firmware_version.as_str(), smbios.firmware_date.as_str()];
    Hardware {
        model: model(host),
        serial,
        uuid: host.uuid.map(|uuid| uuid.to_string()).unwrap_or_default(),
        board: smbios.board.to_string(),
        firmware: firmware.join(", "),
        firmware_version: version.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(", "),
        cpu: facts.cpu.model.to_string(),
        cores: facts.cpu.cores,
        threads: facts.cpu.threads,
        memory_bytes: facts.memory_bytes,
        disks: facts.disks.iter().map(disk).collect(),
        nics: facts
            .nics
            .iter()
            .map(|nic| NicView {
                name: nic.name.to_string(),
                mac: nic.mac.to_string(),
                link: nic.link,
                speed_mbit: nic.speed_mbps.map(u64::from),
                boots_here: nic.boot,
                note: nic.driver.to_string(),
            })
            .collect(),
        bmc: facts.bmc.as_ref().map(|bmc| BmcView {
            address: bmc.address.as_ref().map(ToString::to_string).unwrap_or_default(),
            mac: bmc.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            interface: bmc.interface.to_string(),
        }),
    }
}

fn boot(state: &State, entry: &HostEntry, trace: &BootTrace, now: Timestamp) -> BootView {
    let times: Vec<(event::Station, Timestamp)> = trace.stations.iter().map(|(s, at, _)| (*s, *at)).collect();
    let why = stuck(&times, entry.host.firmware, now);
    let last = trace.stations.iter().map(|(station, at, _)| (*station, *at)).max();
    let detail = |station: event::Station| {
        trace.stations.iter().find(|(reached, _, _)| *reached == station).map(|(_, _, text)| text.to_string())
    };
    // The station behind the last one reached is where it is, or where it hangs.
    let next = |station: event::Station, before: &[event::Station]| match last {
        Some((reached, _)) if reached >= station => StationState::Done,
        Some((reached, _)) if before.contains(&reached) && why.is_some() => StationState::Failed,
        Some((reached, at)) if before.contains(&reached) && now.since(at) < ON_ITS_WAY => StationState::Busy,
        _ => StationState::Next,
    };
    let view = |station: event::Station, before: &[event::Station]| {
        let shown = next(station, before);
        let note = match shown {
            StationState::Failed => "never asked".to_owned(),
            _ => detail(station).unwrap_or_default(),
        };
        let since = before.iter().filter_map(|before| trace.reached(*before)).max();
        let took = trace.reached(station).zip(since).map(|(at, since)| ms(at.since(since)));
        Station { state: shown, took_ms: took, note }
    };
    use event::Station as S;
    // A script that sends the host to its own disk ends the way: nothing is under way behind it.
    let to_ram = detail(S::Script).is_none_or(|word| word.contains("RAM"));
    let after_script: &[S] = if to_ram { &[S::Script] } else { &[] };
    BootView {
        started_unix_ms: wall_before(state, now.since(trace.started)),
        dhcp: view(S::Offer, &[S::Discover]),
        loader: view(S::Loader, &[S::Offer]),
        script: view(S::Script, &[S::Loader]),
        ram_os: view(S::RamOs, after_script),
        agent: view(S::Agent, &[S::RamOs]),
        tasks: tasks(entry.install.as_deref(), trace),
        why: why.map(|title| Why { title, text: advice(last.map(|(station, _)| station), state) }),
    }
}

/// What to do about a boot that hangs behind `last`.
fn advice(last: Option<event::Station>, state: &State) -> String {
    match last {
        Some(event::Station::Discover) => format!("What the box does now: {}", state.network.borrow().mode),
        Some(event::Station::Offer) => {
            "Another boot server may have been faster, or a firewall keeps TFTP and port 4011 away.".to_owned()
        }
        Some(event::Station::Loader) => "Look at its screen. With Secure Boot on, switch it off for now.".to_owned(),
        Some(event::Station::RamOs) => "Its network port may need a driver that the RAM OS lacks.".to_owned(),
        _ => String::new(),
    }
}

fn tasks(install: Option<&Install>, trace: &BootTrace) -> Station {
    let Some(install) = install.filter(|install| install.state.ended.is_none_or(|ended| ended >= trace.started)) else {
        return Station::default();
    };
    let done = install.state.tasks.iter().filter(|task| task.done()).count();
    let state = match install.state.phase {
        Phase::Armed | Phase::Booting => StationState::Next,
        Phase::Installing | Phase::Waiting => StationState::Busy,
        Phase::Done => StationState::Done,
        Phase::Interrupted | Phase::Failed | Phase::TimedOut | Phase::Cancelled => StationState::Failed,
    };
    let note = match state {
        StationState::Next => String::new(),
        _ => format!("{done} of {} done", install.state.tasks.len()),
    };
    Station { state, took_ms: None, note }
}

fn install_view(
    entry: &HostEntry,
    install: &Install,
    shown: &StateView,
    rates: Vec<u64>,
    now: Timestamp,
) -> InstallView {
    let live = entry.live.as_ref().filter(|live| live.install == install.id);
    let progress = |task: &TaskRun| live.and_then(|live| live.progress.get(&task.spec.name)).copied();
    let current = install.state.current().and_then(progress);
    let begun = install.state.arm.consumed.unwrap_or(install.state.arm.granted);
    let specs = install.state.tasks.iter().map(|task| task.spec.clone()).collect();
    let stages: Vec<Vec<TaskView>> = Workflow::new(specs).map_or_else(
        |_| Vec::new(),
        |workflow| {
            let names = workflow.stages();
            let task = |name| install.state.task(name).map(|task| task_view(task, progress(task), shown, now));
            names.into_iter().map(|stage| stage.into_iter().filter_map(task).collect()).collect()
        },
    );
    InstallView {
        profile: install.plan.title.clone(),
        disk: install.plan.seen_disk.as_ref().map(|disk| disk.name.to_string()).unwrap_or_default(),
        done_bytes: current.map(|progress| progress.done_bytes),
        total_bytes: current.map(|progress| progress.total_bytes).filter(|total| *total > 0),
        elapsed_ms: ms(install.state.ended.unwrap_or(now).since(begun)),
        usual_ms: None,
        rates,
        stages,
    }
}

fn task_view(task: &TaskRun, progress: Option<Progress>, shown: &StateView, now: Timestamp) -> TaskView {
    let mut view = TaskView { name: task.spec.kind.title().to_owned(), ..TaskView::default() };
    let later = |number: u32| if number > 1 { format!("Attempt {number}.") } else { String::new() };
    match &task.status {
        TaskStatus::Pending => {
            if shown.kind == StateKind::Cancelled {
                view.state = TaskState::Cancelled;
            }
        }
        TaskStatus::Running { attempt, since, .. } => {
            view.state = if shown.kind == StateKind::Silent { TaskState::Silent } else { TaskState::Busy };
            view.took_ms = Some(ms(now.since(*since)));
            view.percent = progress.map(|progress| progress.percent());
            view.note = later(*attempt);
        }
        TaskStatus::Retrying { attempt, message, .. } => {
            view.state = TaskState::Busy;
            view.note = format!("{message} Attempt {attempt} follows.");
        }
        TaskStatus::Done { attempt, since, at } => {
            view.state = TaskState::Done;
            view.took_ms = Some(ms(at.since(*since)));
            view.note = later(*attempt);
        }
        TaskStatus::Failed { message, .. } => {
            view.state = TaskState::Failed;
            view.note = message.to_string();
        }
        TaskStatus::TimedOut { .. } => {
            view.state = TaskState::Failed;
            view.note = "Took too long.".to_owned();
        }
        TaskStatus::Interrupted { .. } => {
            view.state = TaskState::Failed;
            view.note = "Broke off with the host.".to_owned();
        }
    }
    // An install that was stopped runs nothing any more, whatever its task said last.
    if shown.kind == StateKind::Cancelled && matches!(view.state, TaskState::Busy | TaskState::Silent) {
        view.state = TaskState::Cancelled;
    }
    view
}

/// The image, once an agent was told to write it.
fn served(install: &Install) -> Vec<Served> {
    if install.state.arm.consumed.is_none() {
        return Vec::new();
    }
    let image = &install.plan.image;
    vec![Served {
        role: "Image".to_owned(),
        name: image.name.to_string(),
        digest: image.digest.to_string(),
        bytes: image.size_bytes,
    }]
}
