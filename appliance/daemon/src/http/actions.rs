//! What people do, whether by page, API or command line: checked, then one transaction each.

use super::{State, error::Error};
use crate::inventory::{self, Alarm, StoreError, Tx};
use rackberry_core::{
    boot::answers,
    event::{Actor, EventKind},
    hardware::{Disk, memory},
    host::{Host, MacAddr, SmbiosUuid},
    id::{HostId, InstallId},
    image::{Compression, Digest, ImageKind},
    install::{Binding, Install, InstallState, Phase, Plan, PlannedImage, SeenDisk},
    option::DhcpOption,
    profile::Profile,
    task::DiskRule,
    text::{CleanText, HostName},
    time::{Timestamp, WallTime},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// What a person asks for when pressing Install.
#[derive(Debug, Clone, Default)]
pub struct InstallRequest {
    pub profile: String,
    /// As [`DiskRule`] is written; the only disk if empty.
    pub disk: String,
    pub parameters: BTreeMap<String, String>,
    /// The person has confirmed that what is on the disk may go.
    pub erase: bool,
}

/// The host of that id or name.
///
/// # Errors
/// [`Error::NotFound`], naming it.
pub fn find_host(state: &State, name: &str) -> Result<Arc<Host>, Error> {
    let snapshot = state.inventory.snapshot();
    let by_id = name.parse::<HostId>().ok().and_then(|id| snapshot.host(id));
    let by_mac = || name.parse::<MacAddr>().ok().and_then(|mac| snapshot.host_by_mac(mac));
    let by_name = || HostName::new(name).ok().and_then(|name| snapshot.host_by_name(&name));
    by_id
        .or_else(by_name)
        .or_else(by_mac)
        .map(|entry| entry.host.clone())
        .ok_or_else(|| Error::NotFound(format!("There is no host {}.", rackberry_core::text::clean(name, 60))))
}

/// The disk an install would erase, checked against what is known of the host; `None` while its hardware is unknown.
///
/// # Errors
/// The sentence that says why not.
pub fn check(host: &Host, profile: &Profile, rule: &DiskRule) -> Result<Option<Disk>, Error> {
    let Some(facts) = &host.facts else { return Ok(None) };
    if let Some(arch) = facts.arch
        && arch != profile.arch
    {
        return Err(field(
            "profile",
            format!("This profile is for {}, the machine is {arch}. Pick another profile.", profile.arch),
        ));
    }
    // Firmware keeps some memory for itself, so a machine sold as 512 MB reports less.
    let enough = facts.memory_bytes.saturating_add(facts.memory_bytes / 8) >= profile.min_memory_mb << 20;
    if !enough {
        return Err(field(
            "profile",
            format!(
                "Needs {} of memory, this machine has {}. Choose a smaller system.",
                memory(profile.min_memory_mb << 20),
                memory(facts.memory_bytes)
            ),
        ));
    }
    rule.choose(&facts.disks).map(|disk| Some(disk.clone())).map_err(|none| field("disk", none.to_string()))
}

fn field(name: &str, sentence: String) -> Error {
    Error::Fields(vec![(name.to_owned(), sentence)])
}

/// Arms an install.
///
/// # Errors
/// Each field at fault with its sentence, or a conflict with an install under way.
pub async fn install(
    state: &State,
    host: HostId,
    request: InstallRequest,
    actor: Actor,
) -> Result<Arc<Install>, Error> {
    let profile = state.catalog.get(&request.profile).cloned().ok_or_else(|| {
        field("profile", format!("There is no profile \"{}\".", rackberry_core::text::clean(&request.profile, 60)))
    })?;
    let rule = match request.disk.as_str() {
        "" => DiskRule::Only,
        text => text.parse().map_err(|error| field("disk", format!("{error}.")))?,
    };
    let parameters = profile
        .fill(&request.parameters)
        .map_err(|wrong| Error::Fields(wrong.into_iter().map(|(name, text)| (format!("p.{name}"), text)).collect()))?;
    let snapshot = state.inventory.snapshot();
    let image = snapshot.image_by_name(&profile.image).cloned().ok_or_else(|| {
        field("profile", format!("The image \"{}\" is not on this box. Import it first.", profile.image))
    })?;
    if image.kind != ImageKind::Disk {
        return Err(field("profile", format!("\"{}\" is no disk image, so it cannot be written.", image.name)));
    }
    let ttl = state.config.arm_ttl;
    let by = match &actor {
        Actor::User(name) => name.clone(),
        Actor::Box | Actor::Host => CleanText::new("the box"),
    };
    state
        .inventory
        .transact(move |tx| {
            let known = tx.host(host).ok_or_else(|| Error::NotFound(format!("There is no host {host}.")))?;
            let disk = check(&known, &profile, &rule)?;
            if let Some(disk) = &disk
                && !disk.content.blank
                && !request.erase
            {
                let sentence =
                    format!("{} holds {}. Confirm that it may be erased.", disk.name, disk.content_sentence());
                return Err(field("confirm", sentence));
            }
            let frozen = PlannedImage {
                digest: image.digest,
                name: image.name.clone(),
                size_bytes: image.size_bytes,
                compression: image.compression,
                raw_bytes: image.raw_bytes,
            };
            let seen = disk.as_ref().map(SeenDisk::of);
            let plan = Plan { erase: request.erase, ..plan(&known, &profile, frozen, rule, seen, parameters) };
            answers::check(&plan).map_err(|error| field("profile", crate::chain(&error)))?;
            let bound = Binding { macs: known.macs.clone(), uuid: known.uuid };
            let now = tx.now();
            let install = Install {
                id: tx.install_id()?,
                host,
                plan,
                state: InstallState::armed(&profile.workflow, bound, now, ttl),
                created: now,
                created_wall: tx.wall(),
                by,
            };
            // Rendered once for nobody, so that a template's mistake shows now and not after the disk is written.
            answers::render(&install, &known, "http://192.0.2.1", "")
                .map_err(|error| field("profile", crate::chain(&error)))?;
            tx.arm(install).map_err(Error::from)
        })
        .await
        .map_err(Error::from)
}

/// The install that pressing the button would arm now, with the parameters' defaults; for showing what would be served.
#[must_use]
pub fn example(host: &Host, profile: &Profile) -> Install {
    let parameters = profile.parameters.iter().map(|p| (p.name.clone(), p.default.clone())).collect();
    let image = PlannedImage {
        digest: Digest([0; 32]),
        name: CleanText::new(&profile.image),
        size_bytes: 0,
        compression: Compression::None,
        raw_bytes: None,
    };
    let plan = plan(host, profile, image, DiskRule::Only, None, parameters);
    let bound = Binding { macs: host.macs.clone(), uuid: host.uuid };
    Install {
        id: InstallId(host.id.0),
        host: host.id,
        plan,
        state: InstallState::armed(&profile.workflow, bound, Timestamp::default(), Duration::ZERO),
        created: Timestamp::default(),
        created_wall: WallTime::default(),
        by: CleanText::default(),
    }
}

fn plan(
    host: &Host,
    profile: &Profile,
    image: PlannedImage,
    disk: DiskRule,
    seen_disk: Option<SeenDisk>,
    parameters: BTreeMap<String, String>,
) -> Plan {
    Plan {
        profile: profile.name.clone(),
        title: profile.title.clone(),
        arch: profile.arch,
        image,
        disk,
        seen_disk,
        erase: false,
        hostname: host.name.clone(),
        parameters,
        files: profile.files.clone(),
        seed: profile.seed,
        grow: profile.grow,
        boot_order: profile.boot_order,
    }
}

/// What may be done to an install under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steer {
    /// Takes back a permission that was not used.
    Disarm,
    /// Stops it wherever it is.
    Cancel,
    /// Goes on after the host broke off.
    Resume,
}

/// Steers the install under way on a host.
///
/// # Errors
/// If there is none, or it does not take that now.
pub async fn steer(state: &State, host: HostId, steer: Steer, actor: Actor) -> Result<Arc<Install>, Error> {
    state
        .inventory
        .transact(move |tx| {
            let install = tx
                .active_install(host)
                .ok_or_else(|| Error::Conflict("Nothing is armed or running on this host.".to_owned()))?;
            let who = match &actor {
                Actor::User(name) => name.to_string(),
                Actor::Box | Actor::Host => "the box".to_owned(),
            };
            let kind = match steer {
                Steer::Resume => EventKind::Resumed,
                Steer::Disarm | Steer::Cancel if install.state.arm.consumed.is_none() => {
                    EventKind::Disarmed { reason: CleanText::new(&format!("Disarmed by {who}. Nothing was written.")) }
                }
                Steer::Disarm => {
                    return Err(Error::Conflict("It has begun already. Cancel it to stop it.".to_owned()));
                }
                Steer::Cancel => EventKind::Cancelled { reason: CleanText::new(&format!("Stopped by {who}.")) },
            };
            tx.apply(install.id, actor, kind).map_err(Error::from)
        })
        .await
        .map_err(Error::from)
}

/// Ends the install of that id, if it is still the one under way.
///
/// # Errors
/// As [`steer`].
pub async fn cancel_install(state: &State, id: InstallId, actor: Actor) -> Result<Arc<Install>, Error> {
    let snapshot = state.inventory.snapshot();
    let install = snapshot
        .install(id)
        .filter(|install| install.state.phase != Phase::Done)
        .ok_or_else(|| Error::NotFound(format!("There is no install {id} under way.")))?;
    steer(state, install.host, Steer::Cancel, actor).await
}

/// Forgets a host; a network boot would enter it anew.
///
/// # Errors
/// If it is unknown or an install is under way on it.
pub async fn forget(state: &State, host: HostId, actor: Actor) -> Result<(), Error> {
    state.inventory.transact(move |tx| tx.remove_host(host, actor)).await.map_err(Error::from)
}

/// The address DHCP shall keep for a host; none for an empty text.
///
/// # Errors
/// The field, if it is no address a machine can have.
pub fn fixed_address(text: &str) -> Result<Option<std::net::Ipv4Addr>, Error> {
    let usable = |address: &std::net::Ipv4Addr| {
        !(address.is_unspecified() || address.is_multicast() || address.is_broadcast() || address.is_loopback())
    };
    match text.trim() {
        "" | "-" => Ok(None),
        given => given.parse().ok().filter(usable).map(Some).ok_or_else(|| {
            let given = rackberry_core::text::clean(given, 40);
            field("address", format!("\"{given}\" is no machine's IPv4 address; write it as 192.168.77.20."))
        }),
    }
}

/// DHCP options for one host, each written `NUMBER=VALUE`.
///
/// # Errors
/// The field, with what is wrong.
pub fn dhcp_options(list: &[String]) -> Result<Vec<DhcpOption>, Error> {
    if list.len() > 32 {
        return Err(field("dhcp_options", "At most 32 options are kept for a host.".to_owned()));
    }
    list.iter()
        .map(|pair| DhcpOption::parse(pair).map_err(|error| field("dhcp_options", format!("{error}."))))
        .collect()
}

/// Takes an alarm off every page; what raised it may raise it again.
///
/// # Errors
/// If there is none of that id.
pub async fn settle(state: &State, id: &str, actor: Actor) -> Result<Arc<Alarm>, Error> {
    let id = id.to_owned();
    state
        .inventory
        .transact(move |tx| {
            let missing = || {
                let id = rackberry_core::text::clean(&id, 60);
                Error::NotFound(format!("There is no alarm {id}. Somebody may have settled it already."))
            };
            let alarm = tx.state().alarms.get(&id).cloned().ok_or_else(missing)?;
            tx.settle_alarm(&id, actor)?;
            Ok::<_, Error>(alarm)
        })
        .await
        .map_err(Error::from)
}

/// One line of a list of hosts to enrol.
#[derive(Debug, Clone, PartialEq)]
pub struct Enrolment {
    /// From 1, in the text that was given.
    pub line: usize,
    pub mac: MacAddr,
    pub name: Option<HostName>,
    pub uuid: Option<SmbiosUuid>,
    pub serial: Option<CleanText>,
    /// The address DHCP shall keep for it.
    pub fixed_address: Option<std::net::Ipv4Addr>,
}

/// Reads a pasted list or CSV: `MAC[, name[, serial[, uuid]]]` a line, blanks or commas or semicolons between; `#` begins
/// a comment, and a first line of headings is passed over. An IPv4 address anywhere behind the MAC is the host's fixed one.
///
/// # Errors
/// Every bad line with its number and a sentence.
pub fn read_list(text: &str) -> Result<Vec<Enrolment>, Vec<(usize, String)>> {
    let mut found = Vec::new();
    let mut wrong = Vec::new();
    for (index, raw) in text.lines().enumerate() {
        let line = index + 1;
        let content = raw.split('#').next().unwrap_or_default().trim();
        if content.is_empty() {
            continue;
        }
        let separated = content.contains([',', ';', '\t']);
        let cells: Vec<&str> = if separated {
            content.split([',', ';', '\t']).map(|cell| cell.trim().trim_matches('"')).collect()
        } else {
            content.split_whitespace().collect()
        };
        let fixed: Vec<std::net::Ipv4Addr> = cells.iter().filter_map(|cell| cell.parse().ok()).collect();
        let mut cells = cells.into_iter().filter(|cell| cell.parse::<std::net::Ipv4Addr>().is_err());
        let first = cells.next().unwrap_or_default();
        let mac = match first.parse::<MacAddr>() {
            Ok(mac) if mac.is_station() => mac,
            Ok(mac) => {
                wrong.push((line, format!("{mac} cannot be one machine's address.")));
                continue;
            }
            Err(_) if index == 0 && first.to_ascii_lowercase().contains("mac") => continue,
            Err(error) => {
                wrong.push((line, format!("{error}.")));
                continue;
            }
        };
        let name = match cells.next().filter(|cell| !cell.is_empty()).map(HostName::new).transpose() {
            Ok(name) => name,
            Err(error) => {
                wrong.push((line, error.to_string()));
                continue;
            }
        };
        let serial = cells.next().filter(|cell| !cell.is_empty()).map(CleanText::new);
        let uuid = match cells.next().filter(|cell| !cell.is_empty()) {
            None => None,
            Some(text) => match SmbiosUuid::parse(text) {
                Some(uuid) => Some(uuid),
                None => {
                    wrong.push((line, "The UUID does not identify a machine.".to_owned()));
                    continue;
                }
            },
        };
        if found.iter().any(|other: &Enrolment| other.mac == mac) {
            wrong.push((line, format!("{mac} stands in this list twice.")));
            continue;
        }
        let fixed_address = fixed.first().copied();
        if fixed.len() > 1 {
            wrong.push((line, "A host has one fixed address.".to_owned()));
            continue;
        }
        found.push(Enrolment { line, mac, name, uuid, serial, fixed_address });
    }
    if wrong.is_empty() { Ok(found) } else { Err(wrong) }
}

/// The name that a pattern such as `node-%02d` gives to number `n`.
///
/// # Errors
/// A sentence if the pattern has no number in it or yields no host name.
pub fn pattern_name(pattern: &str, n: usize) -> Result<HostName, String> {
    let sentence = || {
        format!("\"{}\" is no naming pattern; write for example node-%02d.", rackberry_core::text::clean(pattern, 60))
    };
    let (before, rest) = pattern.split_once('%').ok_or_else(sentence)?;
    let (width, after) = rest.split_once('d').ok_or_else(sentence)?;
    let (zeros, digits) = (width.starts_with('0'), width.len());
    let width: usize = if width.is_empty() { 1 } else { width.parse().map_err(|_| sentence())? };
    if width > 9 || digits > 3 {
        return Err(sentence());
    }
    let number = if zeros { format!("{n:0width$}") } else { format!("{n}") };
    HostName::new(&format!("{before}{number}{after}")).map_err(|error| error.to_string())
}

/// Enrols every host of a list, or none of them.
///
/// # Errors
/// The lines at fault.
pub async fn enrol(state: &State, list: Vec<Enrolment>, pattern: &str, actor: Actor) -> Result<Vec<Arc<Host>>, Error> {
    let pattern = pattern.trim().to_owned();
    if !pattern.is_empty() {
        pattern_name(&pattern, 1).map_err(|sentence| field("pattern", sentence))?;
    }
    state
        .inventory
        .transact(move |tx| {
            let mut hosts = Vec::new();
            let mut number = 0;
            for line in list {
                let name = match line.name {
                    Some(name) => Some(name),
                    None if pattern.is_empty() => None,
                    None => Some(next_name(tx, &pattern, &mut number)?),
                };
                let name = match name {
                    Some(name) => name,
                    None => HostName::new(&format!("host-{}", line.mac.to_string().replace(':', "")))
                        .map_err(|error| field("list", error.to_string()))?,
                };
                let enrolment = inventory::Enrolment {
                    name,
                    macs: vec![line.mac],
                    uuid: line.uuid,
                    serial: line.serial,
                    tags: Vec::new(),
                    fixed_address: line.fixed_address,
                };
                let enrolled = tx.enrol(enrolment, actor.clone());
                hosts.push(enrolled.map_err(|error| match error {
                    StoreError::Sql { .. } | StoreError::Row { .. } | StoreError::Random(_) => Error::Store(error),
                    other => field("list", format!("Line {}: {other}.", line.line)),
                })?);
            }
            Ok::<_, Error>(hosts)
        })
        .await
        .map_err(Error::from)
}

fn next_name(tx: &Tx<'_>, pattern: &str, number: &mut usize) -> Result<HostName, Error> {
    // Each taken name is passed over once, so the search ends with the hosts.
    loop {
        *number += 1;
        let name = pattern_name(pattern, *number).map_err(|sentence| field("pattern", sentence))?;
        if tx.state().host_by_name(&name).is_none() {
            return Ok(name);
        }
        if *number > 1_000_000 {
            return Err(field("pattern", "Every name of this pattern is taken.".to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_in_the_forms_people_have() {
        let text =
            "mac,name,serial\n52:54:00:77:00:01, node-a, S1\n\n# rack 2\n52-54-00-77-00-02 node-b\n525400770003\n";
        let list = read_list(text).unwrap();
        let names: Vec<Option<&str>> = list.iter().map(|e| e.name.as_ref().map(HostName::as_str)).collect();
        assert_eq!(names, [Some("node-a"), Some("node-b"), None]);
        assert_eq!(list.first().unwrap().serial.as_ref().unwrap().as_str(), "S1");
        let fixed = read_list("52:54:00:77:00:01, node-a, 10.0.0.5\n52:54:00:77:00:02 10.0.0.6\n").unwrap();
        let found: Vec<_> = fixed.iter().map(|e| (e.name.is_some(), e.serial.is_some(), e.fixed_address)).collect();
        assert_eq!(found, [(true, false, Some([10, 0, 0, 5].into())), (false, false, Some([10, 0, 0, 6].into()))]);
        assert!(read_list("52:54:00:77:00:01 10.0.0.5 10.0.0.6").is_err());
    }

    #[test]
    fn every_bad_line_is_named() {
        let text = "52:54:00:77:00:01 node_a\nhello\n52:54:00:77:00:02\n52:54:00:77:00:02\n";
        let lines: Vec<usize> = read_list(text).unwrap_err().into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, [1, 2, 4]);
    }

    #[test]
    fn patterns_count_with_leading_zeros() {
        assert_eq!(pattern_name("node-%02d", 7).unwrap().as_str(), "node-07");
        assert_eq!(pattern_name("n%d-x", 12).unwrap().as_str(), "n12-x");
        for bad in ["node", "node-%", "%0000000000d", "a_%d"] {
            assert!(pattern_name(bad, 1).is_err(), "{bad}");
        }
    }
}
