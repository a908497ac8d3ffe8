//! The firmware's boot menu, by way of efivarfs.

use super::{
    Identity, boot_order,
    load_option::{self, HardDrive, Signature},
};
use crate::{
    console,
    disk::{
        Fields, device,
        mount::{Access, Mounted},
        read_at, signature,
        table::{Slice, SliceKind},
    },
    machine::{self, Machine},
};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// EFI_GLOBAL_VARIABLE.
const GUID: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Non-volatile, boot service access, runtime access.
const ATTRIBUTES: u32 = 7;

/// Why the firmware does not know the new system.
#[derive(Debug, thiserror::Error)]
pub enum EfiError {
    #[error("cannot read the disk for its boot entry")]
    Disk(#[source] io::Error),
    #[error("cannot write the firmware's variable {name}")]
    Write {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("the firmware has no room for another boot entry")]
    Full,
}

/// Enters the system on `disk` in the boot menu and puts the entry where the order wants it. Without UEFI there is
/// nothing to do; a sentence says what a person should know.
///
/// # Errors
/// [`EfiError`]. A repeated call writes nothing new.
pub fn enter(
    machine: &Machine,
    name: &str,
    disk: &File,
    slices: &[Slice],
    identity: &Identity,
) -> Result<Option<String>, EfiError> {
    let variables = Variables { folder: machine.path("/sys/firmware/efi/efivars") };
    if !variables.folder.exists() {
        return Ok(None);
    }
    let Some((slice, loader)) = loader(machine, name, disk, slices) else {
        return Ok(Some(format!("{name} holds no loader for UEFI; this machine's firmware may not start it.")));
    };
    let drive = hard_drive(disk, slice).map_err(EfiError::Disk)?;
    let option = load_option::encode(identity.boot_entry.as_str(), &drive, &loader);
    let entries = variables.entries();
    let ours = variables.place(&entries, &option)?;
    variables.write(&format!("Boot{ours:04X}"), &option)?;

    let number = |name: &str| Some(u16::from_le_bytes(variables.read(name)?.array(0)?));
    let present: Vec<u16> = variables.read("BootOrder").map(|bytes| numbers(&bytes)).unwrap_or_default();
    // Some firmware names entries here that it only makes up for one boot.
    let booted = number("BootCurrent").filter(|booted| entries.contains_key(booted));
    let network = |entry| {
        let decoded = entries.get(&entry).and_then(|option: &Vec<u8>| load_option::decode(option));
        decoded.is_some_and(|(_, path)| load_option::is_network(path))
    };
    let order = boot_order::order(&present, booted, ours, identity.boot_order, network);
    let bytes: Vec<u8> = order.into_iter().flat_map(u16::to_le_bytes).collect();
    variables.write("BootOrder", &bytes)?;
    Ok(None)
}

/// The first loader found where firmware or a distribution puts it, on the disk's EFI system partitions.
fn loader<'s>(machine: &Machine, name: &str, disk: &File, slices: &'s [Slice]) -> Option<(&'s Slice, String)> {
    let suffix = if cfg!(target_arch = "aarch64") { "aa64" } else { "x64" };
    let fat = |slice: &&Slice| {
        let found = signature::identify(disk, slice.start, slice.size);
        matches!(found, Ok(Some(found)) if found.name == "vfat")
    };
    // The partition's type says it in most images; some have only the file system.
    let (marked, others): (Vec<&Slice>, Vec<&Slice>) = slices.iter().filter(fat).partition(|slice| slice.is_esp());
    marked.into_iter().chain(others).find_map(|slice| {
        let node = device::partition_node(machine, name, slice.number);
        let mounted = Mounted::new(&node, "vfat", Access::ReadOnly, None)
            .inspect_err(|error| console::say(&console::chain(error)))
            .ok()?;
        find_loader(&mounted, suffix).map(|loader| (slice, loader))
    })
}

/// `\EFI\BOOT\BOOTX64.EFI`, or the shim or GRUB in a distribution's own folder; names are spelt as on the disk.
fn find_loader(mounted: &Mounted, suffix: &str) -> Option<String> {
    let efi = mounted.names(".").into_iter().find(|name| name.eq_ignore_ascii_case("efi"))?;
    let mut folders = mounted.names(&efi);
    folders.sort_by_key(|folder| !folder.eq_ignore_ascii_case("boot"));
    let wanted = ["boot", "shim", "grub", "systemd-boot"].map(|stem| format!("{stem}{suffix}.efi"));
    folders.retain(|folder| !folder.starts_with('.'));
    folders.iter().find_map(|folder| {
        let files = mounted.names(&format!("{efi}/{folder}"));
        let find = |wanted: &String| files.iter().find(|file| file.eq_ignore_ascii_case(wanted));
        wanted.iter().find_map(find).map(|file| format!("\\{efi}\\{folder}\\{file}"))
    })
}

fn hard_drive(disk: &File, slice: &Slice) -> io::Result<HardDrive> {
    let sector = device::sector(disk);
    let signature = match &slice.kind {
        SliceKind::Gpt(entry) => Signature::Gpt(entry.guid),
        SliceKind::Dos(_) => Signature::Mbr(read_at(disk, 440, 4)?.array(0).unwrap_or_default()),
    };
    let (start, size) = (slice.start / sector, slice.size / sector);
    Ok(HardDrive { partition: slice.number, start, size, signature })
}

fn numbers(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).filter_map(|pair| pair.array(0).map(u16::from_le_bytes)).collect()
}

struct Variables {
    folder: PathBuf,
}

impl Variables {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}-{GUID}"))
    }

    /// A variable's value, without the attributes that efivarfs puts before it.
    fn read(&self, name: &str) -> Option<Vec<u8>> {
        Some(machine::bytes(&self.path(name))?.get(4..)?.to_vec())
    }

    /// All `Boot####` by number.
    fn entries(&self) -> BTreeMap<u16, Vec<u8>> {
        let number = |name: &str| {
            let digits = name.strip_prefix("Boot")?.strip_suffix(GUID)?.strip_suffix('-')?;
            (digits.len() == 4).then(|| u16::from_str_radix(digits, 16).ok()).flatten()
        };
        let names = machine::names(&self.folder);
        let numbered = names.iter().filter_map(|name| number(name));
        numbered.filter_map(|number| Some((number, self.read(&format!("Boot{number:04X}"))?))).collect()
    }

    /// The number for our entry: the one it has, or that of an earlier one with its name or place, or a free one.
    fn place(&self, entries: &BTreeMap<u16, Vec<u8>>, option: &[u8]) -> Result<u16, EfiError> {
        let same = |a: &[u8]| match (load_option::decode(a), load_option::decode(option)) {
            (Some((name, path)), Some((our_name, our_path))) => name == our_name || path == our_path,
            (_, _) => false,
        };
        let exact = entries.iter().find(|(_, present)| present.as_slice() == option);
        let known = exact.or_else(|| entries.iter().find(|(_, present)| same(present))).map(|(number, _)| *number);
        known.or_else(|| (0..u16::MAX).find(|number| !entries.contains_key(number))).ok_or(EfiError::Full)
    }

    /// Sets a variable, unless it has that value already: the flash behind it wears out.
    fn write(&self, name: &str, value: &[u8]) -> Result<(), EfiError> {
        if self.read(name).as_deref() == Some(value) {
            return Ok(());
        }
        let path = self.path(name);
        let mut bytes = ATTRIBUTES.to_le_bytes().to_vec();
        bytes.extend(value);
        make_mutable(&path);
        let written = OpenOptions::new().write(true).create(true).truncate(true).open(&path);
        // One call to write is one call to the firmware.
        written
            .and_then(|mut file| file.write_all(&bytes))
            .map_err(|source| EfiError::Write { name: name.to_owned(), source })
    }
}

/// The kernel guards most variables against `rm -r` by the immutable flag.
fn make_mutable(path: &Path) {
    if let Ok(file) = File::open(path)
        && let Ok(flags) = ioctl_getflags(&file)
        && flags.contains(IFlags::IMMUTABLE)
    {
        // If it stays, the write that follows fails and says so.
        let _ = ioctl_setflags(&file, flags - IFlags::IMMUTABLE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rackberry_core::task::BootOrder;

    fn firmware() -> (tempfile::TempDir, Variables) {
        let folder = tempfile::tempdir().unwrap();
        let variables = Variables { folder: folder.path().to_owned() };
        (folder, variables)
    }

    fn option(name: &str, partition: u32) -> Vec<u8> {
        let drive = HardDrive { partition, start: 2048, size: 4096, signature: Signature::Gpt([7; 16]) };
        load_option::encode(name, &drive, r"\EFI\BOOT\BOOTX64.EFI")
    }

    #[test]
    fn an_entry_of_the_same_name_or_place_is_replaced_and_no_other() {
        let (_folder, variables) = firmware();
        for (number, name, partition) in [(0, "PXE", 90), (1, "Debian", 91), (3, "Other", 92)] {
            variables.write(&format!("Boot{number:04X}"), &option(name, partition)).unwrap();
        }
        let place = |name, partition| variables.place(&variables.entries(), &option(name, partition)).unwrap();
        assert_eq!(place("Debian", 1), 1);
        assert_eq!(place("New name", 92), 3);
        assert_eq!(place("New", 1), 2);
    }

    #[test]
    fn a_variable_keeps_its_attributes_in_front_and_is_not_written_twice() {
        let (folder, variables) = firmware();
        variables.write("BootOrder", &[1, 0, 2, 0]).unwrap();
        let path = folder.path().join(format!("BootOrder-{GUID}"));
        assert_eq!(std::fs::read(&path).unwrap(), [7, 0, 0, 0, 1, 0, 2, 0]);
        let written = std::fs::metadata(&path).unwrap().modified().unwrap();
        variables.write("BootOrder", &[1, 0, 2, 0]).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), written);
        assert_eq!(numbers(&variables.read("BootOrder").unwrap()), [1, 2]);
        let order = boot_order::order(&[1, 2], Some(2), 1, BootOrder::NetworkFirst, |_| false);
        assert_eq!(order, [2, 1]);
    }
}
