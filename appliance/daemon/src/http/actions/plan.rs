//! What is copied into an install or a live boot when a person decides: parameters, media, templates.

use super::{State, field};
use crate::{
    card,
    http::error::Error,
    inventory::{Snapshot, Tx},
};
use rackberry_core::{
    boot::network::Network,
    host::Host,
    image::{Compression, Digest, Image, ImageKind},
    install::{PlannedBoot, PlannedFile, PlannedImage, PlannedInitrd},
    profile::{FileSpec, InitrdSpec, ParameterKind, Profile, Way, boots_on},
    text::CleanText,
};
use std::{collections::BTreeMap, sync::Arc};

/// The profile of that name.
///
/// # Errors
/// The field, if there is none.
pub(super) fn profile(state: &State, name: &str) -> Result<Arc<Profile>, Error> {
    state
        .catalog
        .get(name)
        .cloned()
        .ok_or_else(|| field("profile", format!("There is no profile \"{}\".", rackberry_core::text::clean(name, 60))))
}

/// Whether the network that the parameters ask for can be had on this host.
///
/// # Errors
/// Each parameter at fault with its sentence.
pub(super) fn network(host: &Host, parameters: &BTreeMap<String, String>) -> Result<(), Error> {
    let Some(mac) = host.mac() else { return Ok(()) };
    Network::read(parameters, mac, &host.macs)
        .map(drop)
        .map_err(|wrong| Error::Fields(wrong.into_iter().map(|(name, text)| (format!("p.{name}"), text)).collect()))
}

/// The values it runs with; a password is its hash from here on.
///
/// # Errors
/// Each field at fault with its sentence.
pub(super) fn parameters(
    profile: &Profile,
    given: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Error> {
    let named = |wrong: Vec<(String, String)>| {
        Error::Fields(wrong.into_iter().map(|(name, text)| (format!("p.{name}"), text)).collect())
    };
    let mut values = profile.fill(given).map_err(named)?;
    for parameter in profile.parameters.iter().filter(|parameter| parameter.kind == ParameterKind::Password) {
        if let Some(value) = values.get_mut(&parameter.name).filter(|value| !value.is_empty()) {
            *value = card::crypt(value)
                .map_err(|why| named(vec![(parameter.name.clone(), format!("{}: {why}.", parameter.title))]))?;
        }
    }
    Ok(values)
}

/// What of a profile's media is not on the box; nothing if all is there.
#[must_use]
pub fn missing(snapshot: &Snapshot, profile: &Profile) -> Option<String> {
    let absent: Vec<String> = profile
        .needs()
        .filter(|name| snapshot.image_by_name(name).is_none())
        .map(|name| format!("\"{name}\""))
        .collect();
    match absent.as_slice() {
        [] => None,
        [one] => Some(format!("The image {one} is not on this box. Import it first.")),
        several => Some(format!("The images {} are not on this box. Import them first.", several.join(", "))),
    }
}

/// Why this machine cannot take the profile whatever its disks; nothing if it can.
#[must_use]
pub fn unsuitable(host: &Host, profile: &Profile) -> Option<String> {
    if boots_on(&profile.firmware, host.firmware) {
        return None;
    }
    let by = profile.firmware.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    let firmware = host.firmware.map(|firmware| firmware.to_string()).unwrap_or_default();
    Some(format!("It boots by {by}, the machine has {firmware}. Pick another profile."))
}

/// Media of a plan.
pub(super) struct Frozen {
    /// What is written, or what holds the kernel.
    pub image: PlannedImage,
    pub boot: Option<PlannedBoot>,
}

/// Finds what a profile needs among the images of the box, and that its kernel and initrds lie in them.
///
/// # Errors
/// The sentence that says what is missing.
pub(super) async fn freeze(state: &State, profile: &Profile) -> Result<Frozen, Error> {
    let snapshot = state.inventory.snapshot();
    if let Some(missing) = missing(&snapshot, profile) {
        return Err(field("profile", missing));
    }
    let image = |name: &str| {
        let image = snapshot.image_by_name(name).cloned();
        image.ok_or_else(|| field("profile", format!("The image \"{name}\" is not on this box. Import it first.")))
    };
    let Some(boot) = &profile.boot else {
        let image = image(&profile.image)?;
        if image.kind != ImageKind::Disk {
            return Err(field("profile", format!("\"{}\" is no disk image, so it cannot be written.", image.name)));
        }
        return Ok(Frozen { image: planned(&image), boot: None });
    };
    let file = async |file: &FileSpec| {
        let image = image(&file.medium)?;
        let there = match (file.path.as_str(), image.kind.is_container()) {
            ("", false) => true,
            ("", true) => false,
            (path, _) => state.media.find_inside(&image.digest, path).await?.is_some(),
        };
        if !there {
            let name = String::from(file.clone());
            return Err(field(
                "profile",
                format!("{name} is not there: \"{}\" is other media than it wants.", image.name),
            ));
        }
        Ok(PlannedFile { image: image.digest, path: file.path.clone() })
    };
    let kernel = file(&boot.kernel).await?;
    let mut initrds = Vec::new();
    for initrd in &boot.initrd {
        initrds.push(match initrd {
            InitrdSpec::File(spec) => PlannedInitrd::File(file(spec).await?),
            InitrdSpec::Files => PlannedInitrd::Files,
        });
    }
    let media = profile.media.iter().map(|medium| Ok((medium.name.clone(), image(&medium.name)?.digest)));
    let media = media.collect::<Result<BTreeMap<_, _>, Error>>()?;
    Ok(Frozen { image: planned(&*image(&boot.kernel.medium)?), boot: Some(frozen(profile, kernel, initrds, media)) })
}

/// Whether every image of a frozen plan is still on the box; asked in the transaction that stores the plan.
///
/// # Errors
/// The sentence, if one was removed meanwhile.
pub(super) fn still_there(tx: &Tx<'_>, mut images: impl Iterator<Item = Digest>) -> Result<(), Error> {
    if images.all(|image| tx.image(image).is_some()) {
        return Ok(());
    }
    Err(field("profile", "An image that it needs was just removed. Import it again.".to_owned()))
}

/// As [`freeze`] would, of media that need not be there; for showing what would be served.
pub(super) fn supposed(profile: &Profile) -> Frozen {
    let digest = Digest([0; 32]);
    let name = profile.needs().next().unwrap_or_default();
    let image = PlannedImage {
        digest,
        name: CleanText::new(name),
        size_bytes: 0,
        compression: Compression::None,
        raw_bytes: None,
    };
    let file = |file: &FileSpec| PlannedFile { image: digest, path: file.path.clone() };
    let boot = profile.boot.as_ref().map(|boot| {
        let initrds = boot.initrd.iter().map(|initrd| match initrd {
            InitrdSpec::File(spec) => PlannedInitrd::File(file(spec)),
            InitrdSpec::Files => PlannedInitrd::Files,
        });
        let media = profile.media.iter().map(|medium| (medium.name.clone(), digest)).collect();
        frozen(profile, file(&boot.kernel), initrds.collect(), media)
    });
    Frozen { image, boot }
}

fn frozen(
    profile: &Profile,
    kernel: PlannedFile,
    initrds: Vec<PlannedInitrd>,
    media: BTreeMap<String, Digest>,
) -> PlannedBoot {
    PlannedBoot {
        kernel,
        initrds,
        args: profile.boot.as_ref().map(|boot| boot.args.clone()).unwrap_or_default(),
        initrd_files: profile.initrd_files.clone(),
        answers: profile.answers.clone(),
        shared: profile.shared.clone(),
        media,
    }
}

fn planned(image: &Image) -> PlannedImage {
    PlannedImage {
        digest: image.digest,
        name: image.name.clone(),
        size_bytes: image.size_bytes,
        compression: image.compression,
        raw_bytes: image.raw_bytes,
    }
}

/// The verb for what a profile does, for people.
#[must_use]
pub fn method(way: Way) -> &'static str {
    match way {
        Way::Image => "Writes a disk image",
        Way::Installer => "Boots its own installer",
        Way::Live => "Runs from the network, erases nothing",
    }
}
