//! USB sticks: which there are, and the bundle on one of them. What a stick says is a stranger's word; it is mounted for as long as it
//! takes to open one file, and nothing on it is ever run.

use super::bundle::{self, BundleError, Key};
use rackberry_core::update::{BoxFacts, Header};
use rustix::{
    fs::OFlags,
    mount::{MountFlags, UnmountFlags, mount, unmount},
};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// What the bundle on a stick is called, in the root of its FAT file system.
pub const FILE: &str = "rackberry-update.bin";
/// More sticks at once are looked at when the first are gone.
const MOST: usize = 16;

/// Why a stick brings nothing.
#[derive(Debug, thiserror::Error)]
pub enum StickError {
    #[error("It has {partitions} partitions, so that it is not known which one is meant. Use a stick with one.")]
    Several { partitions: usize },
    #[error("It has no FAT file system.")]
    NoFat(#[source] io::Error),
    #[error("It has no file {FILE} in its root.")]
    NoFile,
    #[error("Its {FILE} is no plain file.")]
    NotPlain,
    #[error("It cannot be read.")]
    Unreadable(#[source] io::Error),
}

/// A way to what is on a volume: `/dev/sda1` and the like by its name.
pub type Open = dyn Fn(&str) -> Result<File, StickError> + Send + Sync;

/// What the helper looks into, and how.
pub struct Sticks {
    pub sys: PathBuf,
    /// The disk that this box itself runs from, which is no stick: `sda` and the like.
    pub own: String,
    pub open: Box<Open>,
}

/// Disks on USB with a medium in them, and the number that the kernel gave the medium: another one has another.
#[must_use]
pub fn plugged(sys: &Path) -> BTreeMap<String, u64> {
    let number = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let Ok(disks) = fs::read_dir(sys.join("block")) else { return BTreeMap::new() };
    let disks = disks.flatten().filter_map(|disk| {
        // Where it hangs shows in the place of its folder, as `.../usb1/1-1/1-1:1.0/host0/.../block/sda`.
        let place = fs::canonicalize(disk.path()).ok()?;
        let usb = place.components().any(|part| part.as_os_str().to_str().is_some_and(is_usb));
        let name = disk.file_name().into_string().ok()?;
        (usb && number(place.join("size"))? > 0).then(|| (name, number(place.join("diskseq")).unwrap_or(0)))
    });
    disks.take(MOST).collect()
}

fn is_usb(part: &str) -> bool {
    part.strip_prefix("usb").is_some_and(|bus| !bus.is_empty() && bus.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The name of the one volume of a disk: its only partition, or the disk itself if it has none.
fn volume(sys: &Path, disk: &str) -> Result<String, StickError> {
    let inside = fs::read_dir(sys.join("block").join(disk)).map_err(StickError::Unreadable)?;
    let parts = inside.flatten().filter(|part| part.path().join("partition").is_file());
    let mut parts: Vec<String> = parts.filter_map(|part| part.file_name().into_string().ok()).collect();
    match parts.len() {
        0 => Ok(disk.to_owned()),
        1 => Ok(parts.remove(0)),
        partitions => Err(StickError::Several { partitions }),
    }
}

/// What a look into all sticks found.
#[derive(Debug)]
pub enum Found {
    /// The file that was verified, its header and its length.
    Bundle { file: File, header: Box<Header>, bytes: u64 },
    /// There is no stick, or none with such a file; the sentence why, empty for none.
    Nothing { why: String },
    /// There is such a file, and it is not taken.
    Refused { why: BundleError },
}

impl Sticks {
    /// Looks into each stick; the first with the file counts.
    #[must_use]
    pub fn look(&self, key: &Key, facts: &BoxFacts, told: &mut dyn FnMut(u64, u64)) -> Found {
        let mut why = String::new();
        for disk in plugged(&self.sys).into_keys().filter(|disk| *disk != self.own) {
            let file = volume(&self.sys, &disk).and_then(|volume| (self.open)(&volume));
            match file {
                Ok(file) => {
                    return examine(file, key, facts, told).unwrap_or_else(|why| Found::Refused { why });
                }
                Err(error) => {
                    tracing::info!(disk, error = crate::chain(&error), "a stick brings nothing");
                    why = error.to_string();
                }
            }
        }
        Found::Nothing { why }
    }
}

fn examine(file: File, key: &Key, facts: &BoxFacts, told: &mut dyn FnMut(u64, u64)) -> Result<Found, BundleError> {
    let bytes = file.metadata().map_err(BundleError::Read)?.len();
    let bundle = bundle::verify(&file, key, facts.slot_bytes, told)?;
    bundle.header.check(facts)?;
    Ok(Found::Bundle { file, header: Box::new(bundle.header), bytes })
}

/// Opens the file on the FAT file system of a device. The mount at `at` is gone again when this returns; what was opened stays.
///
/// # Errors
/// [`StickError`].
pub fn open_on(device: &Path, at: &Path) -> Result<File, StickError> {
    fs::create_dir_all(at).map_err(StickError::Unreadable)?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount(device, at, "vfat", flags, None::<&std::ffi::CStr>).map_err(|error| StickError::NoFat(error.into()))?;
    let file = open_in(at);
    // The kernel ends it with the last file; also that of a program that is killed.
    if let Err(error) = unmount(at, UnmountFlags::DETACH) {
        tracing::warn!(%error, "a stick stays mounted");
    }
    file
}

/// Opens the file in a folder: a plain one, and no link to another.
///
/// # Errors
/// [`StickError`].
pub fn open_in(folder: &Path) -> Result<File, StickError> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(folder.join(FILE));
    let file = file.map_err(|error| match rustix::io::Errno::from_io_error(&error) {
        Some(rustix::io::Errno::NOENT) => StickError::NoFile,
        Some(rustix::io::Errno::LOOP) => StickError::NotPlain,
        _ => StickError::Unreadable(error),
    })?;
    if file.metadata().map_err(StickError::Unreadable)?.is_file() { Ok(file) } else { Err(StickError::NotPlain) }
}
