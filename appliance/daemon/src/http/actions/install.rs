//! Arming an install, and steering what is under way.

use super::{State, field};
use crate::http::error::Error;
use rackberry_core::{
    boot::answers,
    event::{Actor, EventKind},
    hardware::{Disk, memory},
    host::Host,
    id::{HostId, InstallId},
    image::{Compression, Digest, ImageKind},
    install::{Binding, ConsentRule, Install, InstallState, Plan, PlannedImage, SeenDisk},
    profile::Profile,
    task::DiskRule,
    text::CleanText,
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
    let (ttl, consent) = (state.config.arm_ttl, state.config.consent);
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
                state: InstallState::armed(&profile.workflow, bound, consent, now, ttl),
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
        state: InstallState::armed(&profile.workflow, bound, ConsentRule::Never, Timestamp::default(), Duration::ZERO),
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
