//! Hosts of the snapshot as rows, states and alarms; words and sentences are those of the API.

use super::{Ask, history::clean_time};
use crate::{
    http::{State, error::Error},
    inventory::{HostEntry, Snapshot},
};
use rackberry_core::{
    hardware::{Disk, Facts},
    host::Host,
    status::Condition,
    task::TaskKind,
    time::Timestamp,
};
use rackberry_web::views::{
    self, Contents, DiskView, HostRow, HostsPage, Link, PartView, Progress, StateCounts, StateKind, StateView,
};
use std::{sync::Arc, time::Duration};

/// A host glows in the list for this long after it came up.
const FRESH: Duration = Duration::from_secs(3);

/// A duration in milliseconds, as views take it.
pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The state of a host at `now`.
pub(super) fn state_of(state: &State, entry: &HostEntry, now: Timestamp) -> StateView {
    let (condition, said) = entry.describe(&state.inventory.snapshot(), state.config.idle_to_disk, now);
    let (sentence, rest) = first_sentence(&said);
    let mut aside = vec![rest.to_owned()];
    match condition {
        Condition::Waiting => aside.insert(0, found(entry.host.facts.as_ref())),
        Condition::Discovered => aside.insert(0, firmware(&entry.host)),
        _ => {}
    }
    aside.retain(|part| !part.is_empty());
    StateView {
        kind: kind_of(condition),
        sentence: sentence.to_owned(),
        aside: aside.join(" "),
        progress: bar(entry, condition, now),
    }
}

fn kind_of(condition: Condition) -> StateKind {
    match condition {
        Condition::Discovered => StateKind::Discovered,
        Condition::Expected => StateKind::Expected,
        Condition::Waiting => StateKind::Waiting,
        Condition::Armed => StateKind::Armed,
        Condition::Installing => StateKind::Installing,
        Condition::Quiet => StateKind::Silent,
        Condition::Interrupted => StateKind::Interrupted,
        Condition::Failed => StateKind::Failed,
        Condition::TimedOut => StateKind::TimedOut,
        Condition::Cancelled => StateKind::Cancelled,
        Condition::Running => StateKind::Running,
        Condition::Off => StateKind::Off,
    }
}

/// The first sentence and the rest: the one stands large, the other small below it.
fn first_sentence(said: &str) -> (&str, &str) {
    match said.find(". ") {
        Some(end) => (said.get(..=end).unwrap_or(said), said.get(end + 2..).unwrap_or_default()),
        None => (said, ""),
    }
}

/// A bar only while an image is written and reports: nothing is drawn that was not reported.
fn bar(entry: &HostEntry, condition: Condition, now: Timestamp) -> Option<Progress> {
    let current = entry.active_install()?.state.current()?;
    let shown = matches!(condition, Condition::Installing | Condition::Quiet)
        && current.running()
        && current.spec.kind == TaskKind::WriteImage;
    let progress = entry.progress().filter(|_| shown)?;
    let heard = entry.live.as_ref().map(|live| live.last_news).max(entry.last_seen).unwrap_or(now);
    let left = progress.total_bytes.saturating_sub(progress.done_bytes).saturating_mul(1000);
    Some(Progress {
        percent: Some(progress.percent()),
        task: current.spec.kind.title().to_owned(),
        rate: (progress.bytes_per_s > 0).then_some(progress.bytes_per_s),
        left_ms: left.checked_div(progress.bytes_per_s),
        silent_ms: if condition == Condition::Quiet { ms(now.since(heard)) } else { 0 },
    })
}

fn found(facts: Option<&Facts>) -> String {
    let fixed = facts.into_iter().flat_map(|facts| &facts.disks).filter(|disk| !disk.removable);
    let systems: Vec<String> = fixed
        .filter_map(|disk| disk.content.system.as_ref().map(|system| format!("{system} found on {}.", disk.name)))
        .collect();
    systems.join(" ")
}

/// What starts the machine, for example `UEFI, x86_64.`
fn firmware(host: &Host) -> String {
    let known: Vec<String> =
        [host.firmware.map(|firmware| firmware.to_string()), host.arch.map(|arch| arch.to_string())]
            .into_iter()
            .flatten()
            .collect();
    if known.is_empty() { String::new() } else { format!("{}.", known.join(", ")) }
}

/// Vendor and product.
pub(super) fn model(host: &Host) -> String {
    let Some(facts) = &host.facts else { return String::new() };
    let (vendor, product) = (facts.smbios.vendor.as_str(), facts.smbios.product.as_str());
    if product.starts_with(vendor) { product.to_owned() } else { format!("{vendor} {product}").trim().to_owned() }
}

/// One line of the list.
pub(super) fn row(state: &State, entry: &HostEntry, now: Timestamp) -> HostRow {
    let host = &entry.host;
    let facts = host.facts.as_ref();
    HostRow {
        id: host.id.to_string(),
        name: host.name.to_string(),
        mac: host.mac().map(|mac| mac.to_string()).unwrap_or_default(),
        model: model(host),
        note: String::new(),
        cores: facts.map_or(0, |facts| facts.cpu.cores.max(facts.cpu.threads.min(1))),
        memory_bytes: facts.map_or(0, |facts| facts.memory_bytes),
        disk_bytes: facts
            .into_iter()
            .flat_map(|facts| &facts.disks)
            .filter(|disk| !disk.removable)
            .map(|disk| disk.size_bytes)
            .collect(),
        seen_ms: entry.last_seen.map(|seen| ms(now.since(seen))),
        state: state_of(state, entry, now),
        fresh: now.since(host.created) < FRESH,
    }
}

/// Hosts in the order of the list: by name, with numbers in it by their value.
pub(super) fn ordered(hosts: impl Iterator<Item = Arc<HostEntry>>) -> Vec<Arc<HostEntry>> {
    let mut hosts: Vec<Arc<HostEntry>> = hosts.collect();
    hosts.sort_by_cached_key(|entry| natural(entry.host.name.as_str()));
    hosts
}

/// `n2` before `n10`: runs of digits count by length, then by digits.
fn natural(name: &str) -> Vec<(usize, String)> {
    let mut parts: Vec<(usize, String)> = Vec::new();
    for c in name.chars() {
        match parts.last_mut() {
            Some((length, digits)) if c.is_ascii_digit() && *length > 0 => {
                // A leading zero adds nothing to the value.
                if digits == "0" {
                    digits.clear();
                }
                digits.push(c);
                *length = digits.len();
            }
            Some((0, text)) if !c.is_ascii_digit() => text.push(c),
            _ if c.is_ascii_digit() => parts.push((1, c.to_string())),
            _ => parts.push((0, c.to_string())),
        }
    }
    parts
}

/// The list of all hosts without its frame, as the stream carries it.
pub(super) fn all_hosts(state: &State, snapshot: &Snapshot, now: Timestamp) -> HostsPage {
    let rows: Vec<HostRow> =
        ordered(snapshot.hosts.values().cloned()).iter().map(|entry| row(state, entry, now)).collect();
    let mut counts = StateCounts::default();
    rows.iter().for_each(|row| counts.add(row.state.kind()));
    let network = state.network.borrow().clone();
    let last_packet = snapshot.hosts.values().filter_map(|entry| entry.last_seen).max();
    HostsPage {
        shell: views::Shell {
            interface: network.interface.clone(),
            address: network.address.map(|address| address.to_string()).unwrap_or_default(),
            ..views::Shell::default()
        },
        counts,
        rows,
        last_packet_ms: last_packet.map(|seen| ms(now.since(seen))),
        ..HostsPage::default()
    }
}

/// The one card for all alarms: the oldest one large, the others below.
pub(super) fn alarm(snapshot: &Snapshot) -> Option<views::Alarm> {
    let mut alarms: Vec<_> = snapshot.alarms.iter().collect();
    alarms.sort_by_key(|(_, alarm)| alarm.since);
    let mut texts = alarms.iter().map(|(_, alarm)| alarm.text.to_string());
    let title = texts.next()?;
    let id = alarms.first().map(|(id, _)| (*id).clone()).unwrap_or_default();
    let mut links: Vec<Link> = Vec::new();
    for id in alarms.iter().filter_map(|(_, alarm)| alarm.host) {
        if let Some(entry) = snapshot.host(id)
            && links.len() < 3
        {
            links.push(Link { label: entry.host.name.to_string(), href: format!("/hosts/{id}") });
        }
    }
    if alarms.iter().any(|(id, _)| crate::update::ALARMS.contains(&id.as_str())) {
        links.push(Link { label: "Updates".to_owned(), href: "/updates".to_owned() });
    }
    links.push(Link { label: "Activity".to_owned(), href: "/activity".to_owned() });
    Some(views::Alarm { id, severe: false, title, text: texts.collect::<Vec<_>>().join(" "), links })
}

/// A disk and what is on it.
pub(super) fn disk(disk: &Disk) -> DiskView {
    let contents = if disk.content.blank {
        Contents::Empty
    } else {
        Contents::Data {
            summary: sentence(&disk.content_sentence()),
            parts: disk
                .content
                .partitions
                .iter()
                .map(|part| PartView {
                    label: part.label.to_string(),
                    filesystem: part.filesystem.to_string(),
                    bytes: part.size_bytes,
                    used_bytes: None,
                })
                .collect(),
        }
    };
    let note = match (disk.removable, disk.read_only) {
        (true, _) => "removable, left alone",
        (_, true) => "read only, left alone",
        _ => "",
    };
    DiskView {
        name: disk.name.to_string(),
        model: disk.model.to_string(),
        serial: disk.serial.to_string(),
        bytes: disk.size_bytes,
        note: note.to_owned(),
        contents,
    }
}

/// With a capital first and a full stop last.
pub(super) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let Some(first) = letters.next() else { return String::new() };
    let stop = if text.ends_with('.') { "" } else { "." };
    format!("{}{}{stop}", first.to_uppercase(), letters.as_str())
}

/// The entry of the host that a path names, by id, name or address.
pub(super) fn entry(ask: &Ask, name: &str) -> Result<Arc<HostEntry>, Error> {
    let name = super::form::decode(name.replace('+', "%2B").as_bytes());
    let host = crate::http::actions::find_host(&ask.state, &name)?;
    let gone = || Error::NotFound(format!("{} was removed meanwhile.", host.name));
    ask.state.inventory.snapshot().host(host.id).cloned().ok_or_else(gone)
}

/// When something happened that lies `ago` back, in milliseconds since 1970; 0 while the clock is not set.
pub(super) fn wall_before(state: &State, ago: Duration) -> u64 {
    clean_time(state.inventory.wall()).saturating_sub(ms(ago))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_people_count() {
        let mut names = ["n10", "n2", "n1", "m9", "n02-b", "n2-a", "a"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["a", "m9", "n1", "n2", "n2-a", "n02-b", "n10"]);
    }

    #[test]
    fn the_first_sentence_stands_apart() {
        assert_eq!(first_sentence("One. Two. Three."), ("One.", "Two. Three."));
        assert_eq!(first_sentence("1.5 GB are written."), ("1.5 GB are written.", ""));
        assert_eq!(sentence("empty"), "Empty.");
    }
}
