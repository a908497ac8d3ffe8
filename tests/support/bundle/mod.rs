//! Update bundles for the card, made of the card's own root: as it is but small, or broken in a way that only a start shows.

pub mod broken;

use crate::{card::Card, leftovers, netns::output};
use anyhow::{Context, Result};
use std::{
    fs::File,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

/// A root that can be changed, and bundles made of it.
pub struct Forge {
    folder: tempfile::TempDir,
    secret: PathBuf,
}

impl Forge {
    /// Unpacks the card's slot A, without what it holds for other machines: it is written often, and by an emulated processor.
    ///
    /// # Errors
    /// When `x` prepared no key, or the root does not unpack.
    pub fn new(card: &Card) -> Result<Self> {
        let secret = std::env::var_os("RACKBERRY_UPDATE_SECRET").map(PathBuf::from);
        let secret = secret.context("RACKBERRY_UPDATE_SECRET is not set: run this through ./x")?;
        let folder = leftovers::disk_folder("bundle")?;
        let slot = folder.path().join("slot");
        std::fs::write(&slot, card.read("A_START", 192 << 20)?)?;
        let forge = Self { folder, secret };
        output(Command::new("unsquashfs").args(["-quiet", "-no-progress", "-dest"]).arg(forge.root()).arg(&slot))?;
        std::fs::remove_file(slot)?;
        for large in ["loaders", "ramos", "memtest"] {
            let _ = std::fs::remove_dir_all(forge.root().join("usr/share/rackberry").join(large));
        }
        Ok(forge)
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Puts a script in place of a file of the root.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn script(&self, path: &str, lines: &str) -> Result<()> {
        let path = self.root().join(path);
        // Else what a link leads to would be written.
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, format!("#!/bin/sh\n{lines}\n"))?;
        Ok(std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?)
    }

    /// A USB stick with one FAT partition that holds this file under the name by which boxes look for it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn stick(&self, bundle: &Path) -> Result<PathBuf> {
        const START: u64 = 1 << 20;
        let stick = self.folder.path().join("stick");
        let blocks = std::fs::metadata(bundle)?.len().div_ceil(1 << 20) * 1024 + 4096;
        File::create(&stick)?.set_len(START + blocks * 1024)?;
        let table = self.folder.path().join("table");
        std::fs::write(&table, format!("label: dos\nstart={}, type=c\n", START / 512))?;
        output(Command::new("sfdisk").arg("--quiet").arg(&stick).stdin(File::open(table)?))?;
        let mut format = Command::new("mkfs.vfat");
        output(format.args(["--offset", &(START / 512).to_string()]).arg(&stick).arg(blocks.to_string()))?;
        let place = format!("{}@@{START}", stick.display());
        output(Command::new("mcopy").args(["-i", &place]).arg(bundle).arg("::rackberry-update.bin"))?;
        Ok(stick)
    }

    /// The bundle of the root as it is now.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn bundle(&self, version: &str) -> Result<PathBuf> {
        let out = self.folder.path().join(version);
        script(&pack(&self.root())?, &self.secret, version, &out)?;
        Ok(out)
    }
}

/// A folder as the squashfs beside it.
fn pack(root: &Path) -> Result<PathBuf> {
    let packed = root.with_extension("squashfs");
    let mut pack = Command::new("mksquashfs");
    pack.arg(root).arg(&packed).args(["-quiet", "-no-progress", "-noappend", "-all-root", "-no-xattrs"]);
    output(pack.args(["-comp", "zstd", "-Xcompression-level", "1"]))?;
    Ok(packed)
}

/// The bundle as people make it.
fn script(packed: &Path, secret: &Path, version: &str, out: &Path) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../buildroot/bundle.sh");
    let mut sign = Command::new(script);
    sign.arg("--root").arg(packed).arg("--secret").arg(secret).arg("--out").arg(out);
    output(sign.args(["--version", version]))?;
    Ok(())
}
