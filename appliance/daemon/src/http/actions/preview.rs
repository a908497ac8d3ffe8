//! Every text that a profile would serve to a host, and every file that would lie in its system, without touching it.

use super::{
    field,
    install::{NOBODY, freeze, unknown_disk},
    plan,
};
use crate::http::error::Error;
use rackberry_core::{
    boot::{
        BootDecision,
        answers::{self, Occasion, RenderError, Subject},
        grub,
        own::OwnBoot,
        pxelinux, script,
        script::{Over, ScriptContext},
    },
    host::{Host, MacAddr},
    id::InstallId,
    install::{Binding, ConsentRule, Install, InstallState, LiveBoot},
    profile::Profile,
    task::{DiskRule, SeedFile},
    text::CleanText,
    time::{Timestamp, WallTime},
};
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

/// A text that would be served to a host, or a file that would lie in its system.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    pub path: String,
    /// Permission bits; 0 for what is served and not kept.
    pub mode: u32,
    pub content: String,
    /// For a symbolic link: where it points.
    pub link: Option<String>,
}

/// Every byte that pressing the button would serve to this host, with the parameters' defaults and a token that is none.
///
/// # Errors
/// The first template that cannot be rendered.
pub fn preview(host: &Host, profile: &Profile) -> Result<Vec<Shown>, Error> {
    let parameters: BTreeMap<_, _> = profile.parameters.iter().map(|p| (p.name.clone(), p.default.clone())).collect();
    let frozen = plan::supposed(profile);
    let (now, wall, by) = (Timestamp::default(), WallTime::default(), CleanText::default());
    let occasion = Occasion { host, box_url: NOBODY, token: "TOKEN" };
    let wrong = |error: RenderError| Error::Invalid(crate::chain(&error));
    let Some(workflow) = &profile.workflow else {
        let boot = frozen.boot.ok_or_else(|| field("profile", format!("{} boots nothing.", profile.title)))?;
        let (profile, title, hostname) = (profile.name.clone(), profile.title.clone(), host.name.clone());
        let live = LiveBoot { profile, title, hostname, parameters, boot, since: now, since_wall: wall, by };
        return served(Subject::live(&live), occasion, BootDecision::Live).map_err(wrong);
    };
    let plan = freeze(host, profile, frozen, DiskRule::Only, None, parameters);
    let bound = Binding { macs: host.macs.clone(), uuid: host.uuid };
    let disk = host.facts.as_ref().and_then(|facts| plan.disk.choose(&facts.disks).ok()).cloned();
    let disk = disk.unwrap_or_else(unknown_disk);
    let state = InstallState::armed(workflow, bound, ConsentRule::Never, now, Duration::ZERO);
    let id = InstallId(host.id.0);
    let install = Install { id, host: host.id, plan, state, created: now, created_wall: wall, by };
    let mut shown =
        served(Subject::install(&install, Some(&disk)), occasion, BootDecision::Installer).map_err(wrong)?;
    let files = answers::render(&install, host, NOBODY, occasion.token).map_err(wrong)?;
    shown.extend(files.into_iter().map(|file| kept("", file)));
    Ok(shown)
}

/// What the loaders and the system they start would be sent.
fn served(subject: Subject<'_>, occasion: Occasion<'_>, decision: BootDecision) -> Result<Vec<Shown>, RenderError> {
    let text = |path: String, content: String| Shown { path, mode: 0, content, link: None };
    let mut shown = Vec::new();
    if let Some(files) = answers::boot_files(subject, occasion)? {
        let (host, own) = (occasion.host, OwnBoot::Nothing);
        let context = ScriptContext {
            box_url: occasion.box_url,
            name: host.name.as_str(),
            mac: host.mac().unwrap_or(MacAddr([2, 0, 0, 0, 0, 1])),
            arch: host.arch.unwrap_or(rackberry_core::host::Arch::X86_64),
            token: occasion.token,
            kernel_args: "",
            over: Over::Http,
            own: &own,
            files: Some(&files),
        };
        shown.push(text("boot.ipxe".to_owned(), script(decision, &context)));
        shown.extend(pxelinux::config(decision, &context).map(|config| text("pxelinux.cfg".to_owned(), config)));
        shown.extend(grub::config(decision, &context).map(|config| text("grub.cfg".to_owned(), config)));
    }
    for path in subject.answers() {
        let content = answers::answer(subject, occasion, path)?;
        shown.extend(content.map(|content| text(format!("answers/{path}"), content)));
    }
    shown.extend(answers::initrd_files(subject, occasion)?.into_iter().map(|file| kept("initrd/", file)));
    Ok(shown)
}

fn kept(below: &str, file: SeedFile) -> Shown {
    Shown { path: format!("{below}{}", file.path), mode: file.mode, content: file.content, link: file.link }
}
