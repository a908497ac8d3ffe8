//! Events as lines that people read.

use crate::inventory::{Snapshot, StoredEvent};
use rackberry_core::{
    event::{Actor, ConsentWay, EventKind, Station, TaskName},
    task::TaskKind,
    time::WallTime,
};
use rackberry_web::views::{EventRow, Tone};

/// Milliseconds since 1970, or 0 from a clock that was not set.
pub(super) fn clean_time(wall: WallTime) -> u64 {
    if wall < WallTime::FIRST { 0 } else { u64::try_from(wall.0).unwrap_or(0) }
}

/// A line of history; with `hosts`, it names its host.
pub(super) fn row(stored: &StoredEvent, hosts: Option<&Snapshot>) -> EventRow {
    let event = &stored.event;
    let (tone, text, detail) = words(&event.kind);
    let actor = match &event.actor {
        Actor::Host => "host".to_owned(),
        Actor::Box => "box".to_owned(),
        Actor::User(name) => name.to_string(),
    };
    let named = hosts.zip(event.host);
    let (host_id, host_name) = named.map_or_else(Default::default, |(snapshot, id)| match snapshot.host(id) {
        Some(entry) => (id.to_string(), entry.host.name.to_string()),
        // Its page is gone, so there is nothing to link to.
        None => Default::default(),
    });
    EventRow { at_unix_ms: clean_time(event.wall), tone, text, detail, actor, host_id, host_name }
}

/// The task's name as people read it.
fn task(name: &TaskName) -> String {
    const KINDS: [(&str, TaskKind); 5] = [
        ("boot-ram-os", TaskKind::BootRamOs),
        ("write-image", TaskKind::WriteImage),
        ("configure", TaskKind::Configure),
        ("restart", TaskKind::Restart),
        ("wait-first-boot", TaskKind::WaitFirstBoot),
    ];
    let known = KINDS.iter().find(|(own, _)| *own == name.0).map(|(_, kind)| kind.title());
    known.map_or_else(|| name.to_string(), str::to_owned)
}

fn attempt(number: u32) -> String {
    if number > 1 { format!("Attempt {number}.") } else { String::new() }
}

/// Tone, sentence and detail.
fn words(kind: &EventKind) -> (Tone, String, String) {
    let none = String::new;
    match kind {
        EventKind::HostDiscovered { mac } => (Tone::Plain, "Seen for the first time.".into(), mac.to_string()),
        EventKind::HostEnrolled { name } => (Tone::Plain, format!("Enrolled as {name}."), none()),
        EventKind::HostChanged { what } => (Tone::Plain, format!("Changed: {what}."), none()),
        EventKind::BootReached { station, detail, .. } => (Tone::Plain, reached(*station).into(), detail.to_string()),
        EventKind::OwnFile { path, by } => (Tone::Plain, "Fetched your file.".into(), format!("{path} by {by}")),
        EventKind::AgentHello { address, .. } => (Tone::Plain, "The agent said hello.".into(), address.to_string()),
        EventKind::FactsReported { summary } => (Tone::Plain, "Reported its hardware.".into(), summary.to_string()),
        EventKind::SentToDisk { reason } => (Tone::Plain, "Sent on to its own disk.".into(), reason.to_string()),
        EventKind::Armed { profile, disk } => {
            (Tone::Warning, format!("Armed: may be erased for {profile}."), format!("Disk: {disk}."))
        }
        EventKind::Disarmed { reason } => (Tone::Plain, "Disarmed.".into(), reason.to_string()),
        EventKind::ArmExpired => (Tone::Plain, "The permission to erase expired unused.".into(), none()),
        EventKind::InstallRefused { reason } => {
            (Tone::Bad, "Nothing was written: the host does not suit.".into(), reason.to_string())
        }
        EventKind::ConsentNeeded { disk } => {
            (Tone::Warning, "A yes at the box is needed before its disk is erased.".into(), disk.to_string())
        }
        EventKind::ConsentWaived { reason } => (Tone::Plain, "No yes at the box is needed.".into(), reason.to_string()),
        EventKind::ConsentAsked { disk, seconds } => (
            Tone::Warning,
            format!("The box's display asks for {seconds} s: may its disk be erased?"),
            disk.to_string(),
        ),
        EventKind::ConsentGiven { by: ConsentWay::Press } => {
            (Tone::Good, "Somebody at the box pressed the button: its disk may be erased.".into(), none())
        }
        EventKind::ConsentGiven { by: ConsentWay::Code } => {
            (Tone::Good, "The digits of the display were typed: its disk may be erased.".into(), none())
        }
        EventKind::ConsentRefused { left: 0 } => {
            (Tone::Bad, "Wrong digits for the third time: the display asks no more.".into(), none())
        }
        EventKind::ConsentRefused { left } => {
            (Tone::Bad, "Wrong digits were typed.".into(), format!("Tries left: {left}."))
        }
        EventKind::ConsentExpired => (Tone::Warning, "Nobody confirmed at the box.".into(), none()),
        EventKind::ConsentWanted => (Tone::Plain, "The display is to ask again.".into(), none()),
        EventKind::PowerOn { how } => (Tone::Plain, "Switched on.".into(), how.to_string()),
        EventKind::PowerOff { how } => (Tone::Warning, "Switched off by force.".into(), how.to_string()),
        EventKind::PowerCycle { how } => (Tone::Warning, "Switched off by force and on again.".into(), how.to_string()),
        EventKind::PowerReset { how } => (Tone::Warning, "Reset.".into(), how.to_string()),
        EventKind::PowerPress { how, long: true } => {
            (Tone::Warning, "Its power button was pressed long.".into(), how.to_string())
        }
        EventKind::PowerPress { how, long: false } => {
            (Tone::Plain, "Its power button was pressed.".into(), how.to_string())
        }
        EventKind::PowerFailed { what, why } => (Tone::Bad, format!("Power {what} went wrong."), why.to_string()),
        EventKind::TaskClaimed { task: name, attempt: n, .. } => {
            (Tone::Busy, format!("{}: handed to the agent.", task(name)), attempt(*n))
        }
        EventKind::TaskRepeated { task: name, .. } => {
            (Tone::Busy, format!("{}: handed out once more, as the first reply may be lost.", task(name)), none())
        }
        EventKind::TaskStarted { task: name, attempt: n } => {
            (Tone::Busy, format!("{}: begun.", task(name)), attempt(*n))
        }
        EventKind::TaskDone { task: name, .. } => (Tone::Good, format!("{}: done.", task(name)), none()),
        EventKind::TaskFailed { task: name, transient, message, .. } => {
            let tone = if *transient { Tone::Warning } else { Tone::Bad };
            (tone, format!("{}: failed.", task(name)), message.to_string())
        }
        EventKind::TaskTimedOut { task: name } => (Tone::Bad, format!("{}: took too long.", task(name)), none()),
        EventKind::InstallerStage { stage, detail } => (Tone::Busy, format!("Installer: {stage}."), detail.to_string()),
        EventKind::InstallerLost { task: name, .. } => {
            (Tone::Bad, format!("{}: the machine restarted before it was done.", task(name)), none())
        }
        EventKind::LiveSet { profile } => {
            (Tone::Plain, format!("Boots {profile} from the network from now on."), none())
        }
        EventKind::LiveUnset => (Tone::Plain, "Boots no system of its own from the network any more.".into(), none()),
        EventKind::Resumed => (Tone::Busy, "Resumed.".into(), none()),
        EventKind::Cancelled { reason } => (Tone::Warning, "Install stopped.".into(), reason.to_string()),
        EventKind::FirstBoot { address } => (Tone::Good, "The installed system is up.".into(), address.to_string()),
        EventKind::UuidMismatch { mac, seen } => (
            Tone::Bad,
            "Another machine asked under this host's address, so the permission to erase was taken back.".into(),
            format!("{mac} stated UUID {seen}"),
        ),
        EventKind::Alarm { text } => (Tone::Warning, text.to_string(), none()),
        EventKind::AlarmSettled { text } => (Tone::Good, "Settled.".into(), text.to_string()),
        EventKind::ImageImported { digest, name } => {
            (Tone::Good, format!("Image {name} imported."), format!("sha256 {digest}"))
        }
        EventKind::ImageRemoved { digest, name } => {
            (Tone::Plain, format!("Image {name} removed."), format!("sha256 {digest}"))
        }
        EventKind::UserAdded { name } => (Tone::Plain, format!("User {name} added."), none()),
        EventKind::UserChanged { name, what } => (Tone::Plain, format!("User {name} changed: {what}."), none()),
        EventKind::UserRemoved { name } => (Tone::Plain, format!("User {name} removed."), none()),
        EventKind::TokenAdded { name, role } => {
            (Tone::Warning, format!("API token {name} made: a program may use this box."), format!("as {role}"))
        }
        EventKind::TokenRemoved { name } => (Tone::Plain, format!("API token {name} removed."), none()),
        EventKind::LoggedIn { name, address } => (Tone::Plain, format!("{name} signed in."), format!("from {address}")),
        EventKind::LoginRefused { name, address } => {
            (Tone::Warning, format!("A sign-in as {name} was refused."), format!("from {address}"))
        }
        EventKind::BoxUpdate { what } => (Tone::Plain, "The box changes its version.".into(), what.to_string()),
        EventKind::BoxStarted { version } => (Tone::Plain, "The box started.".into(), format!("version {version}")),
        EventKind::LadderMoved { to, reason } => {
            (Tone::Warning, format!("DHCP serves differently now: {to}."), reason.to_string())
        }
    }
}

fn reached(station: Station) -> &'static str {
    match station {
        Station::Discover => "Asked for an address.",
        Station::Offer => "Was offered what it needs to boot.",
        Station::Loader => "Fetched the loader.",
        Station::Script => "Fetched its boot script.",
        Station::RamOs => "Fetched the RAM OS.",
        Station::Agent => "Is up in the RAM OS.",
    }
}
