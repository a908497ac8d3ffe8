//! The order `configure`: the written system learns who it is, and the firmware where it is.

pub mod boot_order;
pub mod efi;
pub mod load_option;
pub mod seed;

use crate::{
    console,
    disk::{
        device,
        mount::{self, Access, MountError, Mounted},
        signature,
        table::{Slice, Table},
    },
    tasks::{Job, NotWanted},
    write::target::{self, TargetError},
};
use efi::EfiError;
use rackberry_core::{
    task::{BootOrder, DiskTarget, SeedFile, SeedKind},
    text::{CleanText, HostName},
};
use seed::SeedError;
use std::{fs::File, io, path::PathBuf};

/// What the written system is to know.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    pub hostname: &'a HostName,
    pub seed: SeedKind,
    pub files: &'a [SeedFile],
    pub boot_order: BootOrder,
    pub boot_entry: &'a CleanText,
}

/// Why a system does not know who it is.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    #[error(transparent)]
    NotWanted(#[from] NotWanted),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("{disk} cannot be read")]
    Read {
        disk: String,
        #[source]
        source: io::Error,
    },
    #[error("No Linux root file system was found on {disk}. {looked}")]
    NoRoot { disk: String, looked: String },
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error(transparent)]
    Seed(#[from] SeedError),
    #[error("The configured system on {disk} could not be written out")]
    Close {
        disk: String,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Efi(#[from] EfiError),
}

impl ConfigureError {
    /// Whether another attempt may go better.
    #[must_use]
    pub fn transient(&self) -> bool {
        match self {
            ConfigureError::Read { .. } | ConfigureError::Close { .. } | ConfigureError::Efi(_) => true,
            ConfigureError::NotWanted(_)
            | ConfigureError::Target(_)
            | ConfigureError::NoRoot { .. }
            | ConfigureError::Mount(_)
            | ConfigureError::Seed(_) => false,
        }
    }
}

/// Puts name, seed and files into the system on the disk and enters it in the firmware's boot menu. A repeated call ends
/// in the same state.
///
/// # Errors
/// [`ConfigureError`].
pub fn configure(job: &Job, target: &DiskTarget, identity: &Identity) -> Result<(), ConfigureError> {
    let name = target.name.as_str();
    target::check(job.machine, target)?;
    let files = seed::files(identity, &job.run.install.to_string())?;
    let unreadable = |source| ConfigureError::Read { disk: name.to_owned(), source };
    let disk = device::open(job.machine, name).map_err(unreadable)?;
    let (slices, places) = candidates(job, name, &disk).map_err(unreadable)?;
    let place = find_root(name, places)?;

    job.begin()?;
    let mounted = Mounted::new(&place.node, place.filesystem, Access::ReadWrite, place.subvolume)?;
    seed::write(&mounted, &files)?;
    mounted.close().map_err(|source| ConfigureError::Close { disk: name.to_owned(), source })?;
    if let Some(note) = efi::enter(job.machine, name, &disk, &slices, identity)? {
        job.note(&note);
    }
    Ok(())
}

/// Where a root file system may be.
struct Place {
    node: PathBuf,
    filesystem: &'static str,
    subvolume: Option<&'static str>,
}

/// The first place that has what every root has.
fn find_root(disk: &str, places: Vec<Place>) -> Result<Place, ConfigureError> {
    let mut looked = Vec::new();
    for place in places {
        match Mounted::new(&place.node, place.filesystem, Access::ReadOnly, place.subvolume) {
            Ok(mounted) if mounted.exists("etc") || mounted.exists("usr/lib/os-release") => return Ok(place),
            Ok(_) => looked.push(format!("{} has no /etc", place.node.display())),
            // A subvolume that is not there is no news.
            Err(_) if place.subvolume.is_some() => {}
            Err(error) => looked.push(console::chain(&error)),
        }
    }
    if looked.is_empty() {
        looked.push("It has no ext4, XFS or Btrfs".to_owned());
    }
    Err(ConfigureError::NoRoot { disk: disk.to_owned(), looked: format!("{}.", looked.join("; ")) })
}

/// The Linux file systems of the disk, the last one first, as roots come behind boot partitions.
fn candidates(job: &Job, name: &str, disk: &File) -> io::Result<(Vec<Slice>, Vec<Place>)> {
    let size = device::size(disk)?;
    let table = Table::read(disk, size, device::sector(disk))?;
    let mut slices = table.as_ref().map(Table::slices).unwrap_or_default();
    slices.sort_by_key(|slice| std::cmp::Reverse(slice.start));
    let mut parts: Vec<(u64, u64, PathBuf)> = Vec::new();
    for slice in &slices {
        parts.push((slice.start, slice.size, device::partition_node(job.machine, name, slice.number)));
    }
    if table.is_none() {
        parts.push((0, size, device::node(job.machine, name)));
    }
    let mut places = Vec::new();
    for (start, length, node) in parts {
        let Some(found) = signature::identify(disk, start, length)? else { continue };
        if mount::is_linux(found.name) {
            let filesystem = found.name;
            let place =
                |subvolume: &Option<&'static str>| Place { node: node.clone(), filesystem, subvolume: *subvolume };
            places.extend(mount::subvolumes(filesystem).iter().map(place));
        }
    }
    Ok((slices, places))
}
