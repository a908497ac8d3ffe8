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
    use crate::testing;
    use std::os::unix::fs::FileExt;

    #[test]
    fn the_pretty_name_is_the_systems_name() {
        let text = "NAME=\"Debian GNU/Linux\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
        assert_eq!(pretty_name(text), Some("Debian GNU/Linux 12 (bookworm)".into()));
        assert_eq!(pretty_name("NAME=Arch\n"), Some("Arch".into()));
        assert_eq!(pretty_name("PRETTY_NAME=\"\"\n"), None);
    }

    /// A disk of 64 MiB.
    fn disk() -> tempfile::NamedTempFile {
        let disk = tempfile::NamedTempFile::new().unwrap();
        disk.as_file().set_len(64 << 20).unwrap();
        disk
    }

    fn look(disk: &tempfile::NamedTempFile) -> DiskContent {
        layout(disk.as_file(), 64 << 20).unwrap().0
    }

    #[test]
    fn file_systems_are_recognised_by_what_their_own_tools_write() {
        for (filesystem, label, command) in [
            ("ext4", "root", &["mkfs.ext4", "-q", "-L", "root"][..]),
            ("ext3", "", &["mkfs.ext3", "-q"]),
            ("ext2", "", &["mkfs.ext2", "-q"]),
            ("vfat", "EFI", &["mkfs.vfat", "-n", "EFI"]),
            ("vfat", "", &["mkfs.vfat", "-F", "16"]),
            ("swap", "swap1", &["mkswap", "-q", "-L", "swap1"]),
            ("xfs", "data", &["mkfs.xfs", "-q", "-d", "size=64m", "-L", "data"]),
            ("btrfs", "b", &["mkfs.btrfs", "-q", "-m", "single", "-L", "b"]),
            ("ntfs", "", &["mkfs.ntfs", "-q", "-F"]),
            ("crypto_LUKS", "", &["cryptsetup", "-q", "luksFormat", "--type", "luks1", "--key-file", "/proc/cmdline"]),
        ] {
            let disk = disk();
            let mut command = command.to_vec();
            command.push(disk.path().to_str().unwrap());
            if command[0] == "mkfs.xfs" {
                // Its smallest is 300 MB.
                disk.as_file().set_len(320 << 20).unwrap();
                command.retain(|word| !matches!(*word, "-d" | "size=64m"));
            }
            if !testing::tool(&command, "") {
                continue;
            }
            let found = signature::identify(disk.as_file(), 0, 64 << 20).unwrap().unwrap();
            assert_eq!((found.name, String::from_utf8(found.label).unwrap().as_str()), (filesystem, label));
            let content = look(&disk);
            assert_eq!((content.signature, content.table, content.blank), (Some(filesystem.into()), None, false));
        }
    }

    #[test]
    fn members_of_larger_wholes_are_recognised() {
        for (name, offset, bytes) in [
            ("linux_raid_member", 4096, &[0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0][..]),
            ("linux_raid_member", (64 << 20) - (64 << 10), &[0xfc, 0x4e, 0x2b, 0xa9]),
            ("LVM2_member", 512, b"LABELONE................LVM2 001"),
            ("zfs_member", (128 << 10) + 5 * 1024, &[0x0c, 0xb1, 0xba, 0, 0, 0, 0, 0]),
            ("iso9660", 32769, b"CD001"),
            ("BitLocker", 3, b"-FVE-FS-"),
        ] {
            let disk = disk();
            disk.as_file().write_all_at(bytes, offset).unwrap();
            assert_eq!(look(&disk).signature, Some(name.into()));
        }
    }

    #[test]
    fn only_zeros_at_both_ends_are_blank() {
        let blank = disk();
        assert!(look(&blank).blank);
        for at in [0, (1 << 20) - 1, (63 << 20) + 5, (64 << 20) - 1] {
            let disk = disk();
            disk.as_file().write_all_at(&[1], at).unwrap();
            assert!(!look(&disk).blank, "{at}");
        }
    }

    #[test]
    fn partitions_are_listed_with_what_is_on_them() {
        for (table, script) in [
            ("gpt", "label: gpt\nsize=20M, type=linux\nsize=30M, type=linux\n"),
            ("dos", "label: dos\nsize=20M, type=83\nsize=30M, type=83\n"),
        ] {
            let disk = disk();
            let path = disk.path().to_str().unwrap();
            let made = testing::tool(&["sfdisk", "-q", path], script)
                && testing::tool(&["mkfs.ext4", "-q", "-F", "-L", "one", "-E", "offset=1048576", path, "20M"], "");
            if !made {
                continue;
            }
            let content = look(&disk);
            let found: Vec<(u32, u64, &str, &str)> = content
                .partitions
                .iter()
                .map(|part| (part.number, part.size_bytes >> 20, part.filesystem.as_str(), part.label.as_str()))
                .collect();
            assert_eq!(found, [(1, 20, "ext4", "one"), (2, 30, "", "")]);
            assert_eq!((content.table, content.blank, content.signature), (Some(table.into()), false, None));
        }
    }

    #[test]
    fn the_systems_name_is_read_without_changing_the_disk() {
        let (disk, tree) = (disk(), tempfile::tempdir().unwrap());
        std::fs::create_dir_all(tree.path().join("usr/lib")).unwrap();
        std::fs::create_dir_all(tree.path().join("etc")).unwrap();
        std::fs::write(tree.path().join("usr/lib/os-release"), "PRETTY_NAME=\"Test OS 1\"\n").unwrap();
        // Absolute as the installed system sees it; this machine's own file must not be read.
        std::os::unix::fs::symlink("/usr/lib/os-release", tree.path().join("etc/os-release")).unwrap();
        let (path, folder) = (disk.path().to_str().unwrap(), tree.path().to_str().unwrap());
        if !testing::tool(&["mkfs.ext4", "-q", "-F", "-d", folder, path], "") {
            return;
        }
        let before = std::fs::read(path).unwrap();
        let Some(device) = testing::Loop::new(disk.path(), 0) else { return };
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("dev")).unwrap();
        std::os::unix::fs::symlink(&device.device, root.path().join("dev/sda")).unwrap();
        let content = super::disk(&Machine::at(root.path()), "sda", 64 << 20);
        assert_eq!(content.system, Some("Test OS 1".into()));
        drop(device);
        assert!(std::fs::read(path).unwrap() == before, "looking at the disk changed it");
    }
}
