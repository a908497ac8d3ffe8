//! The one disk that may be erased: everything that the order states about it has to be true now.

use crate::{disk::device, facts::disks, machine::Machine};
use rackberry_core::{
    hardware::{Disk, size},
    task::DiskTarget,
    text::CleanText,
};
use std::{fs::File, io};

/// Why a disk is left alone.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("This machine has no disk {0} now; nothing was written.")]
    Gone(CleanText),
    #[error(
        "{disk} is another disk than the one chosen: its {what} is \"{found}\", not \"{wanted}\". Nothing was written."
    )]
    Other { disk: CleanText, what: &'static str, found: String, wanted: String },
    #[error("{0} is write-protected; nothing was written.")]
    ReadOnly(CleanText),
    #[error("{disk} is in use by {by}; nothing was written.")]
    InUse { disk: String, by: String },
    #[error("{disk} cannot be opened for writing: {source}")]
    Open { disk: String, source: io::Error },
}

/// The disk that `target` describes, if it is that very disk.
///
/// # Errors
/// [`TargetError`] if anything differs.
pub fn check(machine: &Machine, target: &DiskTarget) -> Result<Disk, TargetError> {
    let disk = disks::read(machine, target.name.as_str()).ok_or_else(|| TargetError::Gone(target.name.clone()))?;
    let states = [
        ("serial number", disk.serial.to_string(), target.serial.to_string()),
        ("WWN", disk.wwn.to_string(), target.wwn.to_string()),
        ("size", size_in_full(disk.size_bytes), size_in_full(target.size_bytes)),
    ];
    for (what, found, wanted) in states {
        if found != wanted {
            return Err(TargetError::Other { disk: disk.name, what, found, wanted });
        }
    }
    if disk.read_only {
        return Err(TargetError::ReadOnly(disk.name));
    }
    Ok(disk)
}

/// Opens a disk that nobody else uses.
///
/// # Errors
/// [`TargetError`] naming who does.
pub fn open_alone(machine: &Machine, name: &str, direct: bool) -> Result<File, TargetError> {
    device::open_alone(machine, name, direct).map_err(|source| {
        if source.kind() != io::ErrorKind::ResourceBusy {
            return TargetError::Open { disk: name.to_owned(), source };
        }
        let holders = device::holders(machine, name);
        let by = if holders.is_empty() { "a mounted file system or swap".to_owned() } else { holders.join(", ") };
        TargetError::InUse { disk: name.to_owned(), by }
    })
}

fn size_in_full(bytes: u64) -> String {
    format!("{} ({bytes} bytes)", size(bytes))
}
