//! A disk as the kernel has it: opened for us alone, its size, its partitions' nodes.

use crate::machine::{self, Machine};
use rustix::{
    fs::{Mode, OFlags, fstat},
    ioctl::{self, Opcode},
};
use std::{
    fs::File,
    io,
    os::fd::AsFd,
    path::PathBuf,
    time::{Duration, Instant},
};

/// `_IO(0x12, 95)`: read the partition table again (linux/fs.h).
const BLKRRPART: Opcode = ioctl::opcode::none(0x12, 95);
/// `_IO(0x12, 127)`: write zeros, by the disk's own means if it has any (linux/fs.h).
const BLKZEROOUT: Opcode = ioctl::opcode::none(0x12, 127);
const NODES_TIME: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

/// Where a disk's node is.
#[must_use]
pub fn node(machine: &Machine, name: &str) -> PathBuf {
    machine.path("/dev").join(name)
}

/// Where a partition's node is: names that end in a digit put a `p` before the number.
#[must_use]
pub fn partition_node(machine: &Machine, disk: &str, number: u32) -> PathBuf {
    let between = if disk.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
    machine.path("/dev").join(format!("{disk}{between}{number}"))
}

/// Opens a disk for reading.
///
/// # Errors
/// What the kernel says.
pub fn open(machine: &Machine, name: &str) -> io::Result<File> {
    Ok(rustix::fs::open(node(machine, name), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?.into())
}

/// Opens a disk for writing, if nobody else holds it or a part of it: no mount, no swap, no RAID, no LVM.
///
/// # Errors
/// `ResourceBusy` if it is in use; else what the kernel says.
pub fn open_alone(machine: &Machine, name: &str, direct: bool) -> io::Result<File> {
    let mut flags = OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC;
    if direct {
        flags |= OFlags::DIRECT;
    }
    Ok(rustix::fs::open(node(machine, name), flags, Mode::empty())?.into())
}

/// Who uses a disk or its partitions, as names of other devices; for the sentence that refuses it.
#[must_use]
pub fn holders(machine: &Machine, name: &str) -> Vec<String> {
    let block = machine.path("/sys/block").join(name);
    let partitions = machine::names(&block).into_iter().filter(|entry| entry.starts_with(name));
    let folders = partitions.map(|partition| block.join(partition).join("holders"));
    std::iter::once(block.join("holders")).chain(folders).flat_map(|folder| machine::names(&folder)).collect()
}

/// Whether this is a block device; tests write to files.
#[must_use]
pub fn is_block(disk: &File) -> bool {
    fstat(disk).is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_block_device())
}

/// Bytes of one of its sectors.
#[must_use]
pub fn sector(disk: &File) -> u64 {
    rustix::fs::ioctl_blksszget(disk).map_or(512, u64::from)
}

/// Bytes it holds.
///
/// # Errors
/// What the kernel says.
pub fn size(disk: &File) -> io::Result<u64> {
    Ok(rustix::fs::seek(disk, rustix::fs::SeekFrom::End(0))?)
}

/// Zeros a range by the disk's own means, else by writing; the kernel promises zeros when it says yes.
///
/// # Errors
/// What the kernel says; for a plain file always, as this is a request to block devices.
pub fn zero_out(disk: &File, start: u64, length: u64) -> io::Result<()> {
    // SAFETY: BLKZEROOUT reads two u64 at the pointer and keeps none of it.
    Ok(unsafe { ioctl::ioctl(disk, ioctl::Setter::<BLKZEROOUT, [u64; 2]>::new([start, length])) }?)
}

/// Lets the kernel read the partition table again and waits until the nodes of `numbers` are there.
///
/// # Errors
/// What the kernel says; `TimedOut` if a node stays away.
pub fn reread(machine: &Machine, name: &str, disk: &File, numbers: &[u32]) -> io::Result<()> {
    let deadline = Instant::now() + NODES_TIME;
    // Somebody who looks at a partition just now, as a device manager does, makes the kernel refuse.
    while let Err(error) = reread_once(disk.as_fd()) {
        if Instant::now() >= deadline {
            return Err(error);
        }
        std::thread::sleep(POLL);
    }
    while let Some(missing) = numbers.iter().find(|number| !partition_node(machine, name, **number).exists()) {
        if Instant::now() >= deadline {
            let message = format!("partition {missing} of {name} does not appear");
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

fn reread_once(disk: impl AsFd) -> io::Result<()> {
    // SAFETY: BLKRRPART takes no argument.
    Ok(unsafe { ioctl::ioctl(disk, ioctl::NoArg::<BLKRRPART>::new()) }?)
}
