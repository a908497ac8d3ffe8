//! What root remembers about the card's slots: a file that only root writes.

use super::words::Last;
use rackberry_core::{
    image::Digest,
    update::{Header, Slot, Version},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// Everything that is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    pub floor: Option<Version>,
    pub a: Option<Content>,
    pub b: Option<Content>,
    pub last: Option<Last>,
    /// People were told how it ended.
    pub told: bool,
}

/// What is in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    pub version: Version,
    /// Once it has proved itself, nothing older is taken.
    pub floor: Option<Version>,
    /// Of the root, in bytes; none for the one that the card came with.
    pub length: u64,
    pub sha256: Option<Digest>,
}

impl Content {
    /// What a bundle puts into a slot.
    #[must_use]
    pub fn of(header: &Header) -> Self {
        Content {
            version: header.version,
            floor: Some(header.floor),
            length: header.root.length,
            sha256: Some(header.root.sha256),
        }
    }
}

impl Record {
    /// What is known about a slot.
    #[must_use]
    pub fn slot(&self, slot: Slot) -> Option<&Content> {
        match slot {
            Slot::A => self.a.as_ref(),
            Slot::B => self.b.as_ref(),
        }
    }

    /// Remembers what is in a slot.
    pub fn put(&mut self, slot: Slot, content: Option<Content>) {
        match slot {
            Slot::A => self.a = content,
            Slot::B => self.b = content,
        }
    }

    /// Reads the file; one that is missing or does not read is empty, as the slots themselves go before it.
    #[must_use]
    pub fn load(path: &Path) -> Self {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(%error, path = %path.display(), "what is known about the slots does not read; it begins anew");
                Record::default()
            }),
            Err(_) => Record::default(),
        }
    }

    /// Writes the file, so that a power cut leaves the old or the new one.
    ///
    /// # Errors
    /// What the disk says.
    pub fn store(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder)?;
        let fresh = PathBuf::from(format!("{}.new", path.display()));
        let mut file = File::create(&fresh)?;
        file.write_all(&serde_json::to_vec_pretty(self).map_err(io::Error::other)?)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        File::open(folder)?.sync_all()
    }
}
