//! What is on a disk: its table, its file systems, and the name of the system, without changing a byte.

use crate::{
    disk::{
        device,
        mount::{self, Access, Mounted},
        read_at,
        signature::{self, Found},
        table::{Slice, SliceKind, Table},
    },
    machine::Machine,
};
use rackberry_core::{
    hardware::{DiskContent, Partition},
    text::CleanText,
};
use std::{fs::File, io};

const MIB: u64 = 1 << 20;
/// More are neither read nor reported.
const PARTITIONS_LIMIT: usize = 128;
const OS_RELEASE_LIMIT: u64 = 64 << 10;

/// Looks at the disk that the kernel calls `name`; what cannot be read counts as not there.
#[must_use]
pub fn disk(machine: &Machine, name: &str, size: u64) -> DiskContent {
    let Ok(disk) = device::open(machine, name) else { return DiskContent::default() };
    let Ok((mut content, slices)) = layout(&disk, size) else { return DiskContent::default() };
    if device::is_block(&disk) {
        content.system = system(machine, name, &content, &slices);
    }
    content
}

/// Table, partitions, signatures; the system is left open.
///
/// # Errors
/// What the disk says.
pub fn layout(disk: &File, size: u64) -> io::Result<(DiskContent, Vec<Slice>)> {
    let table = Table::read(disk, size, device::sector(disk))?;
    let slices = table.as_ref().map(Table::slices).unwrap_or_default();
    let mut partitions = Vec::new();
    for slice in slices.iter().take(PARTITIONS_LIMIT) {
        // A partition beyond the end of the disk is listed all the same.
        let found = signature::identify(disk, slice.start, slice.size)?;
        let (filesystem, label) = found.map_or(("", Vec::new()), |Found { name, label }| (name, label));
        partitions.push(Partition {
            number: slice.number,
            size_bytes: slice.size,
            filesystem: filesystem.into(),
            label: CleanText::from_bytes(&label),
        });
    }
    let signature = if table.is_none() { signature::identify(disk, 0, size)? } else { None };
    let blank = table.is_none() && signature.is_none() && ends_are_zero(disk, size)?;
    let content = DiskContent {
        table: table.map(|table| table.name().into()),
        partitions,
        system: None,
        signature: signature.map(|found| found.name.into()),
        blank,
    };
    Ok((content, slices))
}

fn ends_are_zero(disk: &File, size: u64) -> io::Result<bool> {
    for start in [0, size.saturating_sub(MIB)] {
        if read_at(disk, start, usize::try_from(MIB).unwrap_or(0))?.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The name of the system, as its own files state it; otherwise by the loader that it left for the firmware.
fn system(machine: &Machine, name: &str, content: &DiskContent, slices: &[Slice]) -> Option<CleanText> {
    if let Some(whole) = &content.signature
        && mount::is_linux(whole.as_str())
    {
        return linux(&device::node(machine, name), whole.as_str());
    }
    let parts = || content.partitions.iter().map(|part| (part, device::partition_node(machine, name, part.number)));
    let named = |filesystem: &'static str| parts().filter(move |(part, _)| part.filesystem.as_str() == filesystem);
    let by_files = parts().filter(|(part, _)| mount::is_linux(part.filesystem.as_str()));
    by_files
        .filter_map(|(part, node)| linux(&node, part.filesystem.as_str()))
        .next()
        .or_else(|| {
            named("vfat").find_map(|(_, node)| by_loader(&Mounted::new(&node, "vfat", Access::ReadOnly, None).ok()?))
        })
        .or_else(|| {
            // On a PC without UEFI, the system starts from the partition marked active.
            let active = |number: u32| {
                slices
                    .iter()
                    .any(|slice| matches!(&slice.kind, SliceKind::Dos(entry) if entry.active && entry.number == number))
            };
            named("ntfs").find(|(part, _)| active(part.number)).map(|_| "Windows".into())
        })
}

fn linux(node: &std::path::Path, filesystem: &str) -> Option<CleanText> {
    mount::subvolumes(filesystem).iter().find_map(|subvolume| {
        let mounted = Mounted::new(node, filesystem, Access::ReadOnly, *subvolume).ok()?;
        ["etc/os-release", "usr/lib/os-release"].iter().find_map(|path| {
            let text = mounted.read(path, OS_RELEASE_LIMIT).ok()?;
            pretty_name(&String::from_utf8_lossy(&text))
        })
    })
}

/// The name that os-release(5) has for people.
fn pretty_name(text: &str) -> Option<CleanText> {
    let value = |key: &str| text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
    let value = value("PRETTY_NAME").or_else(|| value("NAME"))?.trim().trim_matches(['"', '\'']);
    Some(CleanText::new(value)).filter(|name| !name.is_empty())
}

/// A folder in an EFI system partition names its maker.
fn by_loader(mounted: &Mounted) -> Option<CleanText> {
    let mut names = mounted.names("EFI");
    names.retain(|name| !matches!(name.to_ascii_lowercase().as_str(), "." | ".." | "boot" | "tools"));
    names.sort();
    if names.iter().any(|name| name.eq_ignore_ascii_case("microsoft")) {
        return Some("Windows".into());
    }
    names.first().map(|name| CleanText::new(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pretty_name_is_the_systems_name() {
        let text = "NAME=\"Debian GNU/Linux\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
        assert_eq!(pretty_name(text), Some("Debian GNU/Linux 12 (bookworm)".into()));
        assert_eq!(pretty_name("NAME=Arch\n"), Some("Arch".into()));
        assert_eq!(pretty_name("PRETTY_NAME=\"\"\n"), None);
    }
}
