//! File systems mounted where nobody else looks, and paths that cannot lead out of them.

use rustix::{
    fs::{Mode, OFlags, ResolveFlags, openat2},
    mount::{MountFlags, UnmountFlags, mount, unmount},
};
use std::{
    ffi::CString,
    fs::{self, File},
    io::{self, Read},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

/// Why a file system could not be mounted.
#[derive(Debug, thiserror::Error)]
#[error("cannot mount the {filesystem} on {device}")]
pub struct MountError {
    device: PathBuf,
    filesystem: &'static str,
    #[source]
    source: io::Error,
}

/// How a file system is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Without replaying a journal: not a byte of the disk changes.
    ReadOnly,
    ReadWrite,
}

/// A mounted file system; unmounted when dropped.
#[derive(Debug)]
pub struct Mounted {
    folder: PathBuf,
    root: Option<OwnedFd>,
}

/// The kernel's driver and its options for a format that [`super::signature`] names.
fn driver(filesystem: &str, access: Access) -> Option<(&'static str, &'static str)> {
    Some(match (filesystem, access) {
        ("ext2" | "ext3" | "ext4", Access::ReadOnly) => ("ext4", "noload"),
        ("ext2" | "ext3" | "ext4", Access::ReadWrite) => ("ext4", ""),
        // Copies of one image carry one UUID, and a second disk may hold the same.
        ("xfs", Access::ReadOnly) => ("xfs", "norecovery,nouuid"),
        ("xfs", Access::ReadWrite) => ("xfs", "nouuid"),
        ("btrfs", Access::ReadOnly) => ("btrfs", "rescue=nologreplay"),
        ("btrfs", Access::ReadWrite) => ("btrfs", ""),
        ("vfat", _) => ("vfat", ""),
        _ => return None,
    })
}

/// Whether [`Mounted::new`] knows the format, and installed systems of ours lie on it.
#[must_use]
pub fn is_linux(filesystem: &str) -> bool {
    matches!(filesystem, "ext2" | "ext3" | "ext4" | "xfs" | "btrfs")
}

/// Where a root may be within a file system: Fedora and openSUSE, Ubuntu and Debian use subvolumes that are no default.
#[must_use]
pub fn subvolumes(filesystem: &str) -> &'static [Option<&'static str>] {
    if filesystem == "btrfs" { &[None, Some("root"), Some("@"), Some("@rootfs")] } else { &[None] }
}

impl Mounted {
    /// Mounts `device`, whose format is `filesystem`; `subvolume` picks one of a btrfs.
    ///
    /// # Errors
    /// [`MountError`] if the kernel cannot.
    pub fn new(
        device: &Path,
        filesystem: &str,
        access: Access,
        subvolume: Option<&str>,
    ) -> Result<Mounted, MountError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (driver, options) = driver(filesystem, access).unwrap_or(("unknown", ""));
        let failed = |source| MountError { device: device.to_owned(), filesystem: driver, source };
        let name = format!("rackberry-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).map_err(failed)?;
        let mut options = options.to_owned();
        if let Some(subvolume) = subvolume {
            let comma = if options.is_empty() { "" } else { "," };
            options = format!("{options}{comma}subvol={subvolume}");
        }
        let options = CString::new(options).map_err(|error| failed(error.into()))?;
        let mut flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOATIME;
        if access == Access::ReadOnly {
            flags |= MountFlags::RDONLY;
        }
        if let Err(error) = mount(device, &folder, driver, flags, options.as_c_str()) {
            // Only the empty folder remains, in memory.
            let _ = fs::remove_dir(&folder);
            return Err(failed(error.into()));
        }
        let mut mounted = Mounted { folder, root: None };
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&mounted.folder, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        mounted.root = Some(root);
        Ok(mounted)
    }

    /// Reads a file as the mounted system would see it: no symbolic link leads out. At most `limit` bytes.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn read(&self, path: &str, limit: u64) -> io::Result<Vec<u8>> {
        let file = beneath(self.root()?, path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
        let mut bytes = Vec::new();
        File::from(file).take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether something is at `path`, as the mounted system would see it.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        self.root().and_then(|root| beneath(root, path, OFlags::PATH, Mode::empty())).is_ok()
    }

    /// The names in a folder of it; empty if there is none.
    #[must_use]
    pub fn names(&self, path: &str) -> Vec<String> {
        let listed = self.root().and_then(|root| {
            let folder = beneath(root, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
            Ok(rustix::fs::Dir::new(folder)?)
        });
        let entries = listed.into_iter().flatten().take(1000).flatten();
        entries.filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned)).collect()
    }

    /// Its top folder.
    ///
    /// # Errors
    /// None that happens: it is open from the start until the unmount.
    pub fn root(&self) -> io::Result<&OwnedFd> {
        self.root.as_ref().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Writes everything out and unmounts, so that an error shows.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn close(mut self) -> io::Result<()> {
        rustix::fs::syncfs(self.root()?)?;
        self.root = None;
        unmount(&self.folder, UnmountFlags::empty())?;
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.root = None;
        // After `close` there is nothing left to unmount; the folder is in memory.
        let _ = unmount(&self.folder, UnmountFlags::DETACH);
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Opens `path` as if `root` were the root of everything (openat2 with RESOLVE_IN_ROOT).
///
/// # Errors
/// What the kernel says.
pub fn beneath(root: &OwnedFd, path: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    Ok(openat2(root, path, flags | OFlags::CLOEXEC, mode, resolve)?)
}
