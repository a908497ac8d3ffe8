//! What an install does, frozen when it is armed: a later edit of profile, image or host changes nothing in it.

use crate::{
    hardware::SeenDisk,
    host::Arch,
    image::{Compression, Digest},
    profile::{AnswerTemplate, FileTemplate, Way},
    task::{BootOrder, DiskRule, SeedKind},
    text::{CleanText, HostName},
    time::{Timestamp, WallTime},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything an install needs, frozen when it is armed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub profile: String,
    pub title: String,
    #[serde(default)]
    pub way: Way,
    pub arch: Arch,
    /// What is written; for an installer the medium with its kernel.
    pub image: PlannedImage,
    /// What an installer boots; none for an image.
    #[serde(default)]
    pub boot: Option<PlannedBoot>,
    pub disk: DiskRule,
    /// The disk the person saw in the dialog; it has to be the one the rule still chooses.
    pub seen_disk: Option<SeenDisk>,
    /// A person confirmed that what is on the disk may go; without, only an empty disk is written.
    #[serde(default)]
    pub erase: bool,
    pub hostname: HostName,
    pub parameters: BTreeMap<String, String>,
    pub files: Vec<FileTemplate>,
    pub seed: SeedKind,
    pub grow: bool,
    pub boot_order: BootOrder,
}

/// What a host boots from the network, frozen: files by digest, texts as templates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedBoot {
    pub kernel: PlannedFile,
    pub initrds: Vec<PlannedInitrd>,
    /// A template that gives one line.
    pub args: String,
    /// Of the archive that [`PlannedInitrd::Files`] means.
    pub initrd_files: Vec<FileTemplate>,
    pub answers: Vec<AnswerTemplate>,
    /// Templates that others include, by name.
    pub shared: BTreeMap<String, String>,
    /// The media, by the names that templates use.
    pub media: BTreeMap<String, Digest>,
}

impl PlannedBoot {
    /// Every image that it reads; one may come several times.
    pub fn images(&self) -> impl Iterator<Item = Digest> {
        let initrds = self.initrds.iter().filter_map(|initrd| match initrd {
            PlannedInitrd::File(file) => Some(file.image),
            PlannedInitrd::Files => None,
        });
        self.media.values().copied().chain([self.kernel.image]).chain(initrds)
    }
}

impl Plan {
    /// Every image that it reads; one may come several times.
    pub fn images(&self) -> impl Iterator<Item = Digest> {
        [self.image.digest].into_iter().chain(self.boot.iter().flat_map(PlannedBoot::images))
    }
}

/// A file in an image, or the image itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedFile {
    pub image: Digest,
    /// Relative; empty for the image itself.
    pub path: String,
}

/// An archive that a kernel starts with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlannedInitrd {
    File(PlannedFile),
    /// Made of the profile's own files.
    Files,
}

/// What a host boots at each network boot until a person says otherwise; nothing of it erases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveBoot {
    pub profile: String,
    pub title: String,
    pub hostname: HostName,
    pub parameters: BTreeMap<String, String>,
    pub boot: PlannedBoot,
    pub since: Timestamp,
    pub since_wall: WallTime,
    pub by: CleanText,
}

/// The image of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedImage {
    pub digest: Digest,
    pub name: CleanText,
    pub size_bytes: u64,
    pub compression: Compression,
    pub raw_bytes: Option<u64>,
}
