//! Which disk an install means on the machine that is there now.

use super::{Consent, ConsentRule, Install};
use crate::{
    event::TaskName,
    hardware::{Disk, SeenDisk},
    host::Host,
};

/// The disk that the install would write, or the sentence why this host cannot have it.
///
/// # Errors
/// The sentence, as people read it.
pub fn target<'h>(install: &Install, host: &'h Host) -> Result<&'h Disk, String> {
    let plan = &install.plan;
    let Some(facts) = host.facts.as_ref() else { return Err("The hardware is not known yet.".to_owned()) };
    if let Some(arch) = facts.arch
        && arch != plan.arch
    {
        return Err(format!("This profile is for {}, the machine is {arch}. Pick another profile.", plan.arch));
    }
    let disk = plan.disk.choose(&facts.disks).map_err(|none| none.to_string())?;
    if let Some(seen) = &plan.seen_disk
        && !seen.is(disk)
    {
        return Err(format!(
            "The rule \"{}\" now means {}, not the disk that was armed, {seen}.",
            plan.disk, disk.name
        ));
    }
    // Once the permission is used, what is on the disk is the install's own half-written work.
    if install.state.arm.consumed.is_none() && !plan.erase && !disk.content.blank {
        let (name, content) = (&disk.name, disk.content_sentence());
        return Err(format!(
            "{name} holds {content}, and nobody confirmed that it may be erased. Install again and confirm."
        ));
    }
    Ok(disk)
}

/// The disk to ask about before `task`, if what people at the box said is not for this very disk.
#[must_use]
pub fn unasked(install: &Install, host: &Host, task: &TaskName, rule: ConsentRule) -> Option<SeenDisk> {
    let destructive = install.state.task(task).is_some_and(|task| task.spec.kind.destructive());
    if !destructive || install.state.arm.consumed.is_some() {
        return None;
    }
    let disk = target(install, host).ok()?;
    let now = SeenDisk::of(disk);
    let unasked = match &install.state.consent {
        Consent::Given { disk: shown, .. } => !(shown.is(disk) && shown.content == now.content),
        // The settings may have become stricter since it was armed, the disk another one since it was found empty.
        Consent::NotNeeded => rule.wants(disk.content.blank),
        Consent::Due { .. } | Consent::Queued { .. } | Consent::Asked { .. } | Consent::Denied { .. } => false,
    };
    unasked.then_some(now)
}
