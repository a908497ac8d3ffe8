//! The install dialog: what may be chosen, what would be lost, and the permission to erase.

use super::{Visit, reply, session, view};
use crate::{
    http::{
        actions::{self, InstallRequest},
        error::Error,
    },
    inventory::{HostEntry, Snapshot},
};
use http::StatusCode;
use rackberry_core::{
    hardware::{Disk, Facts, size},
    image::{Image, ImageKind},
    profile::{Parameter, ParameterKind, Profile, Way},
    status::Condition,
    task::DiskRule,
};
use rackberry_web::{
    format,
    views::{
        Check, DiskChoice, InstallDialog, InstallPage, Outlook, ParamField, ParamKind, ProfileChoice, Section, Watch,
    },
};
use std::collections::BTreeMap;
use warp::reply::Response;

/// What a person chose so far, and what is wrong with it.
#[derive(Debug, Clone, Default)]
struct Choice {
    profile: String,
    disk: String,
    parameters: BTreeMap<String, String>,
    confirm: String,
    /// Field names and sentences.
    wrong: Vec<(String, String)>,
}

/// `GET /hosts/{id}/install`, with `?profile=&disk=`.
pub(super) fn show(visit: &Visit, id: &str) -> Response {
    let entry = match view::entry(&visit.ask, id) {
        Ok(entry) => entry,
        Err(error) => return visit.failed(&error, None),
    };
    let query = &visit.ask.query;
    let choice =
        Choice { profile: query.get("profile").to_owned(), disk: query.get("disk").to_owned(), ..Choice::default() };
    answer(visit, StatusCode::OK, &entry, choice)
}

/// `POST /hosts/{id}/install`.
pub(super) async fn arm(visit: &Visit, id: &str) -> Response {
    let entry = match view::entry(&visit.ask, id) {
        Ok(entry) => entry,
        Err(error) => return visit.failed(&error, None),
    };
    let form = &visit.form;
    // Browsers send line ends as CR LF, which a shell script does not survive.
    let parameters = form.below("p.").map(|(name, value)| (name.to_owned(), value.replace("\r\n", "\n"))).collect();
    let mut choice = Choice {
        profile: form.get("profile").to_owned(),
        disk: form.get("disk").to_owned(),
        parameters,
        confirm: form.get("confirm").trim().to_owned(),
        wrong: Vec::new(),
    };
    let name = entry.host.name.to_string();
    let confirmed = choice.confirm == name;
    let refused = StatusCode::UNPROCESSABLE_ENTITY;
    if !confirmed && entry.host.facts.is_none() {
        let sentence = format!("Nobody looked at its disks yet. Type {name} to confirm that what is there may go.");
        choice.wrong.push(("confirm".to_owned(), sentence));
        return answer(visit, refused, &entry, choice);
    }
    let request = InstallRequest {
        profile: choice.profile.clone(),
        disk: choice.disk.clone(),
        parameters: choice.parameters.clone(),
        erase: confirmed,
    };
    match actions::install(&visit.ask.state, entry.host.id, request, visit.actor()).await {
        Ok(install) => {
            let said = format!("{name} is armed for {}.", install.plan.title);
            reply::with_cookie(reply::see_other(&format!("/hosts/{}", entry.host.id)), &session::say(&said))
        }
        Err(Error::Fields(mut wrong)) => {
            for (field, sentence) in &mut wrong {
                if field == "confirm" && !choice.confirm.is_empty() {
                    *sentence = format!("That is not its name. Type {name}.");
                }
            }
            choice.wrong = wrong;
            answer(visit, refused, &entry, choice)
        }
        Err(error @ (Error::Conflict(_) | Error::Invalid(_))) => {
            choice.wrong.push(("profile".to_owned(), error.to_string()));
            answer(visit, refused, &entry, choice)
        }
        Err(error) => visit.failed(&error, Some((&name, format!("/hosts/{}", entry.host.id)))),
    }
}

/// The dialog as a page, or alone for the page's script.
fn answer(visit: &Visit, status: StatusCode, entry: &HostEntry, choice: Choice) -> Response {
    let dialog = dialog(visit, entry, choice);
    if visit.ask.by_script() {
        return visit.ask.html(status, rackberry_web::install_dialog(&dialog));
    }
    let shell = visit.shell(Section::Hosts, Watch::Alarms, visit.ask.state.inventory.snapshot().version);
    visit.page(status, rackberry_web::install(&InstallPage { shell, dialog }))
}

fn dialog(visit: &Visit, entry: &HostEntry, choice: Choice) -> InstallDialog {
    let state = &visit.ask.state;
    let snapshot = state.inventory.snapshot();
    let host = &entry.host;
    // Of several, the first is the one with the system itself.
    let image_of = |profile: &Profile| profile.needs().next().and_then(|name| snapshot.image_by_name(name)).cloned();
    let profiles: Vec<ProfileChoice> = state
        .catalog
        .iter()
        .filter(|profile| profile.way != Way::Live)
        .map(|profile| {
            let image = image_of(profile);
            ProfileChoice {
                id: profile.name.clone(),
                name: profile.title.clone(),
                note: image.as_ref().map(|i| format!("on the box, {}", size(i.size_bytes))).unwrap_or_default(),
                refusal: refusal(&snapshot, entry, profile).unwrap_or_default(),
            }
        })
        .collect();
    let chosen = chosen(entry, &profiles, &choice.profile).and_then(|id| state.catalog.get(&id).cloned());
    let image = chosen.as_deref().and_then(image_of);
    let wrong = |field: &str| {
        let found = choice.wrong.iter().find(|(name, _)| name == field);
        found.map(|(_, sentence)| sentence.clone()).unwrap_or_default()
    };
    let (condition, _) = entry.describe(&snapshot, state.config.idle_to_disk, state.inventory.now());
    let off = matches!(condition, Condition::Off | Condition::Expected);
    let line = [view::model(host), host.facts.as_ref().map(parts).unwrap_or_default()];
    InstallDialog {
        host_id: host.id.to_string(),
        host_name: host.name.to_string(),
        host_line: line.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" · "),
        csrf: visit.person.csrf.clone(),
        profiles,
        params: chosen
            .iter()
            .flat_map(|profile| &profile.parameters)
            .map(|parameter| field(parameter, &choice.parameters, wrong(&format!("p.{}", parameter.name))))
            .collect(),
        disks: disks(entry, image.as_deref()),
        checks: chosen.as_deref().map(|profile| checks(&snapshot, entry, profile, off)).unwrap_or_default(),
        profile: chosen.map(|profile| profile.name.clone()).unwrap_or_default(),
        disk_problem: wrong("disk"),
        confirm_problem: wrong("confirm"),
        problem: wrong("profile"),
        disk: choice.disk,
        confirm: choice.confirm,
        expires_ms: view::ms(state.config.arm_ttl),
        back: format!("/hosts/{}", host.id),
    }
}

/// Cores, memory and disks, in the figures of the list.
fn parts(facts: &Facts) -> String {
    let disks = facts.disks.iter().filter(|disk| !disk.removable).count();
    let count = |n: usize, noun| format::count(u64::try_from(n).unwrap_or(u64::MAX), noun);
    let known = [
        (facts.cpu.cores > 0).then(|| format::count(facts.cpu.cores.into(), "core")),
        (facts.memory_bytes > 0).then(|| format::memory(facts.memory_bytes)),
        Some(count(disks, "disk")),
    ];
    known.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// The profile that was chosen; else the one it has, or the only one it can have.
fn chosen(entry: &HostEntry, profiles: &[ProfileChoice], wanted: &str) -> Option<String> {
    if profiles.iter().any(|profile| profile.id == wanted) {
        return Some(wanted.to_owned());
    }
    let fitting: Vec<&ProfileChoice> = profiles.iter().filter(|profile| profile.refusal.is_empty()).collect();
    let present = entry.host.installed.as_ref().map(|installed| installed.profile.to_string());
    let again = fitting.iter().find(|profile| Some(&profile.id) == present.as_ref());
    match (again, fitting.as_slice()) {
        (Some(again), _) => Some(again.id.clone()),
        (None, [only]) => Some(only.id.clone()),
        _ => None,
    }
}

/// Why a profile cannot be had by this host.
pub(super) fn refusal(snapshot: &Snapshot, entry: &HostEntry, profile: &Profile) -> Option<String> {
    if let Some(missing) = actions::missing(snapshot, profile) {
        return Some(missing);
    }
    let written = profile.needs().next().filter(|_| profile.way == Way::Image);
    if written.and_then(|name| snapshot.image_by_name(name)).is_some_and(|image| image.kind != ImageKind::Disk) {
        return Some("Its image is no disk image.".to_owned());
    }
    match actions::check(&entry.host, profile, &DiskRule::Only) {
        Err(Error::Fields(wrong)) => wrong.into_iter().find(|(field, _)| field == "profile").map(|(_, text)| text),
        _ => None,
    }
}

pub(super) fn field(parameter: &Parameter, given: &BTreeMap<String, String>, problem: String) -> ParamField {
    let kind = match parameter.kind {
        ParameterKind::Text | ParameterKind::User => ParamKind::Text,
        ParameterKind::Number => ParamKind::Number { min: None, max: None },
        ParameterKind::Bool => ParamKind::Bool,
        ParameterKind::Choice => {
            ParamKind::Choice(parameter.choices.iter().map(|choice| (choice.clone(), choice.clone())).collect())
        }
        ParameterKind::Lines | ParameterKind::SshKeys => ParamKind::Lines,
        ParameterKind::Password => ParamKind::Secret,
    };
    ParamField {
        name: parameter.name.clone(),
        label: parameter.title.clone(),
        hint: view::sentence(&parameter.help),
        kind,
        value: given.get(&parameter.name).unwrap_or(&parameter.default).clone(),
        required: parameter.required,
        problem,
    }
}

/// Every disk of a known machine; rules for one whose hardware nobody has seen.
fn disks(entry: &HostEntry, image: Option<&Image>) -> Vec<DiskChoice> {
    let Some(facts) = &entry.host.facts else {
        let rules = [
            (DiskRule::Only, "The only disk", "Stops if there are several."),
            (DiskRule::Smallest, "The smallest disk", "Stops if two are equally small."),
            (DiskRule::Largest, "The largest disk", "Stops if two are equally large."),
            (DiskRule::SmallestNvme, "The smallest NVMe disk", "Stops if there is none."),
        ];
        let choice = |(rule, label, note): (DiskRule, &str, &str)| DiskChoice {
            value: rule.to_string(),
            label: label.to_owned(),
            note: note.to_owned(),
            ..DiskChoice::default()
        };
        return rules.into_iter().map(choice).collect();
    };
    facts
        .disks
        .iter()
        .map(|disk| DiskChoice {
            value: rule_for(disk, &facts.disks).to_string(),
            label: String::new(),
            note: String::new(),
            disk: Some(view::disk(disk)),
            refusal: unfit(disk, image),
        })
        .collect()
}

/// The rule that means this disk alone, by the most lasting of its names.
fn rule_for(disk: &Disk, all: &[Disk]) -> DiskRule {
    let by_serial = DiskRule::Serial(disk.serial.clone());
    let by_wwn = DiskRule::Wwn(disk.wwn.clone());
    let alone = |rule: &DiskRule| rule.choose(all).is_ok_and(|found| found.name == disk.name);
    if !disk.serial.is_empty() && alone(&by_serial) {
        by_serial
    } else if !disk.wwn.is_empty() && alone(&by_wwn) {
        by_wwn
    } else {
        DiskRule::Name(disk.name.clone())
    }
}

fn unfit(disk: &Disk, image: Option<&Image>) -> String {
    let needed = image.and_then(|image| image.raw_bytes).unwrap_or(0);
    match disk {
        disk if disk.removable => "Removable, so it is left alone.".to_owned(),
        disk if disk.read_only => "Read only.".to_owned(),
        disk if disk.size_bytes < needed => format!("Smaller than the image, which needs {}.", size(needed)),
        _ => String::new(),
    }
}

fn checks(snapshot: &Snapshot, entry: &HostEntry, profile: &Profile, off: bool) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut add = |outlook, word: &str, note: String| checks.push(Check { outlook, word: word.to_owned(), note });
    if let Some(facts) = &entry.host.facts {
        let fits = refusal(snapshot, entry, profile).is_none();
        let needs = format::memory(profile.min_memory_mb << 20);
        add(
            if fits { Outlook::Good } else { Outlook::Bad },
            "Memory",
            format!("{}, {} needs {needs}", format::memory(facts.memory_bytes), profile.title),
        );
        if facts.secure_boot == Some(true) {
            add(Outlook::Open, "Secure Boot", "on; the installed system has to be signed".to_owned());
        }
    }
    for name in profile.needs() {
        match snapshot.image_by_name(name) {
            Some(image) => add(Outlook::Good, "Image", format!("{name}, {}, on the box", size(image.size_bytes))),
            None => add(Outlook::Bad, "Image", format!("{name} is not on the box")),
        }
    }
    match &entry.ram {
        Some(_) => add(Outlook::Good, "Network boot", "in the RAM OS now, so it begins at once".to_owned()),
        None if off => add(Outlook::Open, "Network boot", "it is off: switch it on, and it begins".to_owned()),
        None => add(Outlook::Open, "Network boot", "begins when it boots from the network next".to_owned()),
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use rackberry_core::{hardware::Transport, text::CleanText};

    fn disk(name: &str, serial: &str) -> Disk {
        Disk {
            name: name.into(),
            model: CleanText::default(),
            serial: serial.into(),
            wwn: CleanText::default(),
            size_bytes: 10,
            transport: Transport::Sata,
            rotational: false,
            removable: false,
            read_only: false,
            content: Default::default(),
        }
    }

    #[test]
    fn a_disk_is_named_by_its_serial_unless_another_states_the_same() {
        let all = [disk("sda", "A"), disk("sdb", "B"), disk("sdc", "B"), disk("sdd", "")];
        let rules: Vec<String> = all.iter().map(|disk| rule_for(disk, &all).to_string()).collect();
        assert_eq!(rules, ["serial:A", "name:sdb", "name:sdc", "name:sdd"]);
    }
}
