//! Arming an install, and steering what is under way.

use super::{
    State, field,
    plan::{self, Frozen},
};
use crate::http::error::Error;
use rackberry_core::{
    boot::answers::{self, Occasion, Subject},
    event::{Actor, EventKind},
    hardware::{Disk, DiskContent, Transport, memory},
    host::Host,
    id::HostId,
    install::{Binding, Install, InstallState, Plan, SeenDisk},
    profile::Profile,
    task::DiskRule,
    text::CleanText,
};
use std::{collections::BTreeMap, sync::Arc};

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

/// The disk an install would erase, checked against what is known of the host; `None` while its hardware is unknown.
///
/// # Errors
/// The sentence that says why not.
pub fn check(host: &Host, profile: &Profile, rule: &DiskRule) -> Result<Option<Disk>, Error> {
    fits(host, profile)?;
    let Some(facts) = &host.facts else { return Ok(None) };
    rule.choose(&facts.disks).map(|disk| Some(disk.clone())).map_err(|none| field("disk", none.to_string()))
}

/// Whether the machine can run the profile, as far as it is known.
///
/// # Errors
/// The sentence that says why not.
pub(super) fn fits(host: &Host, profile: &Profile) -> Result<(), Error> {
    if let Some(why) = plan::unsuitable(host, profile) {
        return Err(field("profile", why));
    }
    let Some(facts) = &host.facts else { return Ok(()) };
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
    Ok(())
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
    let profile = plan::profile(state, &request.profile)?;
    let Some(workflow) = profile.workflow.clone() else {
        return Err(field("profile", format!("{} runs from the network and is not installed.", profile.title)));
    };
    let rule = match request.disk.as_str() {
        "" => DiskRule::Only,
        text => text.parse().map_err(|error| field("disk", format!("{error}.")))?,
    };
    let parameters = plan::parameters(&profile, &request.parameters)?;
    let frozen = plan::freeze(state, &profile).await?;
    let (ttl, consent) = (state.config.arm_ttl, state.config.consent);
    let by = match &actor {
        Actor::User(name) => name.clone(),
        Actor::Box | Actor::Host => CleanText::new("the box"),
    };
    state
        .inventory
        .transact(move |tx| {
            let known = tx.host(host).ok_or_else(|| Error::NotFound(format!("There is no host {host}.")))?;
            plan::network(&known, &parameters)?;
            let disk = check(&known, &profile, &rule)?;
            if let Some(disk) = &disk
                && !disk.content.blank
                && !request.erase
            {
                let sentence =
                    format!("{} holds {}. Confirm that it may be erased.", disk.name, disk.content_sentence());
                return Err(field("confirm", sentence));
            }
            let seen = disk.as_ref().map(SeenDisk::of);
            let plan = Plan { erase: request.erase, ..freeze(&known, &profile, frozen, rule, seen, parameters) };
            plan::still_there(tx, plan.images())?;
            let bound = Binding { macs: known.macs.clone(), uuid: known.uuid };
            let now = tx.now();
            let install = Install {
                id: tx.install_id()?,
                host,
                plan,
                state: InstallState::armed(&workflow, bound, consent, now, ttl),
                created: now,
                created_wall: tx.wall(),
                by,
            };
            // Rendered once for nobody, so that a template's mistake shows now and not after the disk is written.
            check_texts(&install, &known, disk.as_ref()).map_err(|error| field("profile", crate::chain(&error)))?;
            tx.arm(install).map_err(Error::from)
        })
        .await
        .map_err(Error::from)
}

/// The box as nobody reaches it (RFC 5737), for texts that are rendered for nobody.
pub(super) const NOBODY: &str = "http://192.0.2.1";

/// Renders everything that the install will serve.
fn check_texts(install: &Install, host: &Host, disk: Option<&Disk>) -> Result<(), answers::RenderError> {
    let unknown = unknown_disk();
    // A host that was never seen: which disk it is shows before the installer is handed out.
    let subject = Subject::install(install, disk.or(Some(&unknown)));
    answers::check(subject, Occasion { host, box_url: NOBODY, token: "" }, &install.plan.files)
}

/// The disk of a machine that nobody has seen yet.
pub(super) fn unknown_disk() -> Disk {
    Disk {
        name: CleanText::new("sda"),
        model: CleanText::default(),
        serial: CleanText::default(),
        wwn: CleanText::default(),
        size_bytes: 0,
        transport: Transport::default(),
        rotational: false,
        removable: false,
        read_only: false,
        content: DiskContent::default(),
    }
}

pub(super) fn freeze(
    host: &Host,
    profile: &Profile,
    frozen: Frozen,
    disk: DiskRule,
    seen_disk: Option<SeenDisk>,
    parameters: BTreeMap<String, String>,
) -> Plan {
    Plan {
        profile: profile.name.clone(),
        title: profile.title.clone(),
        way: profile.way,
        arch: profile.arch,
        image: frozen.image,
        boot: frozen.boot,
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
