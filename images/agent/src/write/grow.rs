//! The last partition and its file system, grown to the end of the disk.

use super::target::{self, TargetError};
use crate::{
    disk::{
        Fields, device, mbr,
        mount::{self, Access, MountError, Mounted},
        read_at, signature,
        table::{Slice, Table},
    },
    machine::Machine,
};
use rustix::ioctl::{self, Opcode, Setter};
use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

/// `_IOW('f', 16, __u64)`: blocks of the whole file system (fs/ext4/ext4.h).
const EXT4_IOC_RESIZE_FS: Opcode = ioctl::opcode::write::<u64>(b'f', 16);
/// `_IOW('X', 110, struct xfs_growfs_data)`: blocks, and the percentage for inodes (fs/xfs/libxfs/xfs_fs.h).
const XFS_IOC_FSGROWFSDATA: Opcode = ioctl::opcode::write::<[u64; 2]>(b'X', 110);
/// `_IOW(0x94, 3, struct btrfs_ioctl_vol_args)`: a file descriptor not used here, and `max` (linux/btrfs.h).
const BTRFS_IOC_RESIZE: Opcode = ioctl::opcode::write::<[u8; 4096]>(0x94, 3);

/// Why something stays as small as it is.
#[derive(Debug, thiserror::Error)]
pub enum GrowError {
    #[error("cannot change the partition table of {disk}")]
    Table {
        disk: String,
        #[source]
        source: io::Error,
    },
    #[error("the last partition of {0} is a logical one, which stays as it is")]
    Logical(String),
    #[error("the kernel does not see the new partitions of {disk}")]
    Reread {
        disk: String,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error("cannot resize the {filesystem} on {device}")]
    Resize {
        filesystem: &'static str,
        device: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Grows the partition that lies last on the disk, and the Linux file system on it. A repeated call changes nothing.
///
/// # Errors
/// [`GrowError`]; the disk is usable as it was before.
pub fn grow(machine: &Machine, name: &str) -> Result<(), GrowError> {
    let table_error = |source| GrowError::Table { disk: name.to_owned(), source };
    let disk = target::open_alone(machine, name, false)?;
    let size = device::size(&disk).map_err(table_error)?;
    match Table::read(&disk, size, device::sector(&disk)).map_err(table_error)? {
        Some(Table::Gpt(gpt)) => gpt.grow(&disk, size).map_err(table_error)?,
        Some(Table::Dos(entries, sector)) => {
            let grown = mbr::grow(&disk, size, sector, &entries).map_err(table_error)?;
            grown.then_some(()).ok_or_else(|| GrowError::Logical(name.to_owned()))?;
        }
        None => {}
    }
    // Nobody can mount a part of a disk that is held as a whole.
    drop(disk);
    let slices = reread(machine, name)?;
    let disk = device::open(machine, name).map_err(table_error)?;
    if !device::is_block(&disk) {
        return Ok(());
    }
    let last = slices.iter().max_by_key(|slice| slice.start);
    let (start, length, node) = match last {
        Some(last) => (last.start, last.size, device::partition_node(machine, name, last.number)),
        None => (0, size, device::node(machine, name)),
    };
    let found = signature::identify(&disk, start, length).map_err(table_error)?;
    match found {
        Some(found) if mount::is_linux(found.name) => grow_filesystem(&disk, start, length, &node, found.name),
        Some(_) | None => Ok(()),
    }
}

/// Has the kernel read the table again; the partitions it shows now.
///
/// # Errors
/// [`GrowError::Reread`].
pub fn reread(machine: &Machine, name: &str) -> Result<Vec<Slice>, GrowError> {
    let reread_error = |source| GrowError::Reread { disk: name.to_owned(), source };
    let disk = device::open(machine, name).map_err(reread_error)?;
    let size = device::size(&disk).map_err(reread_error)?;
    let table = Table::read(&disk, size, device::sector(&disk)).map_err(reread_error)?;
    let slices = table.as_ref().map(Table::slices).unwrap_or_default();
    if device::is_block(&disk) {
        let numbers: Vec<u32> = slices.iter().map(|slice| slice.number).collect();
        device::reread(machine, name, &disk, &numbers).map_err(reread_error)?;
    }
    Ok(slices)
}

/// Grows a file system while it is mounted, as its own tools do.
fn grow_filesystem(
    disk: &File,
    start: u64,
    length: u64,
    node: &Path,
    filesystem: &'static str,
) -> Result<(), GrowError> {
    let resize_error = |source| GrowError::Resize { filesystem, device: node.to_owned(), source };
    let head = read_at(disk, start, 4096).map_err(resize_error)?;
    let mounted = Mounted::new(node, filesystem, Access::ReadWrite, None)?;
    let root = mounted.root().map_err(resize_error)?;
    resize(root, filesystem, &head, length).map_err(resize_error)?;
    mounted.close().map_err(resize_error)
}

fn resize(root: &OwnedFd, filesystem: &str, head: &[u8], length: u64) -> io::Result<()> {
    let unreadable = || io::Error::from(io::ErrorKind::InvalidData);
    match filesystem {
        "xfs" => {
            // The superblock is big-endian: the block size at 4, the percentage for inodes at 127.
            let block = head.array(4).map(u32::from_be_bytes).filter(|size| *size > 0).ok_or_else(unreadable)?;
            let percent = head.get(127).copied().ok_or_else(unreadable)?;
            let data = [length / u64::from(block), u64::from_ne_bytes(percent_field(percent))];
            // SAFETY: the kernel reads 16 bytes laid out as struct xfs_growfs_data and keeps none of them.
            unsafe { ioctl::ioctl(root, Setter::<XFS_IOC_FSGROWFSDATA, [u64; 2]>::new(data)) }?;
        }
        "btrfs" => {
            let mut arguments = [0; 4096];
            arguments.put(8, b"max");
            // SAFETY: the kernel reads 4096 bytes laid out as struct btrfs_ioctl_vol_args and keeps none of them.
            unsafe { ioctl::ioctl(root, Setter::<BTRFS_IOC_RESIZE, [u8; 4096]>::new(arguments)) }?;
        }
        _ => {
            let shift = head.u32_at(0x418).filter(|shift| *shift <= 6).ok_or_else(unreadable)?;
            let blocks = length / (1024 << shift);
            // SAFETY: the kernel reads one u64 and keeps nothing of it.
            unsafe { ioctl::ioctl(root, Setter::<EXT4_IOC_RESIZE_FS, u64>::new(blocks)) }?;
        }
    }
    Ok(())
}

/// A __u32 and four bytes of padding.
fn percent_field(percent: u8) -> [u8; 8] {
    let mut field = [0; 8];
    field.put(0, &u32::from(percent).to_ne_bytes());
    field
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Loop};

    /// Blocks and their size, of a file system that has grown from the first size to the second.
    fn grown(command: &[&str], small: u64, large: u64) -> Option<Vec<u8>> {
        let disk = tempfile::NamedTempFile::new().unwrap();
        disk.as_file().set_len(small).unwrap();
        let mut command = command.to_vec();
        let filesystem = command[0].strip_prefix("mkfs.")?.to_owned();
        command.push(disk.path().to_str()?);
        if !testing::tool(&command, "") {
            return None;
        }
        disk.as_file().set_len(large).unwrap();
        let device = Loop::new(disk.path(), 0)?;
        let file = File::open(&device.device).unwrap();
        let name = match filesystem.as_str() {
            "xfs" => "xfs",
            "btrfs" => "btrfs",
            _ => "ext4",
        };
        for _ in 0..2 {
            match grow_filesystem(&file, 0, large, Path::new(&device.device), name) {
                // ext4 asks for CAP_SYS_RESOURCE, which a container may lack.
                Err(GrowError::Resize { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                    eprintln!("not allowed to resize {name} here");
                    return None;
                }
                grown => grown.unwrap(),
            }
        }
        drop(device);
        Some(read_at(disk.as_file(), 0, 128 << 10).unwrap())
    }

    #[test]
    fn each_linux_file_system_fills_its_partition() {
        let (small, large) = (340 << 20, 500 << 20);
        if let Some(head) = grown(&["mkfs.ext4", "-q"], small, large) {
            assert_eq!(u64::from(head.u32_at(0x404).unwrap()) * (1024 << head.u32_at(0x418).unwrap()), large);
        }
        if let Some(head) = grown(&["mkfs.xfs", "-q"], small, large) {
            let blocks = u64::from_be_bytes(head.array(8).unwrap());
            assert_eq!(blocks * u64::from(u32::from_be_bytes(head.array(4).unwrap())), large);
            assert_eq!(head.get(127), Some(&25), "the share of inodes changed");
        }
        if let Some(head) = grown(&["mkfs.btrfs", "-q"], small, large) {
            assert_eq!(head.u64_at(0x10000 + 0x70), Some(large));
        }
    }
}
