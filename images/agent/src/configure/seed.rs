//! Files put into the written system, none of them outside it whatever its symbolic links say.

use super::Identity;
use crate::disk::mount::{Mounted, beneath};
use rackberry_core::{
    task::{SeedFile, SeedKind},
    text::clean,
};
use rustix::{
    fs::{AtFlags, Mode, OFlags, XattrFlags, fgetxattr, fsetxattr, mkdirat, openat, renameat, symlinkat, unlinkat},
    io::Errno,
};
use std::{
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
};

/// Where cloud-init looks for a seed without any device (its NoCloud data source).
const NOCLOUD: &str = "/var/lib/cloud/seed/nocloud";
const LABEL: &str = "security.selinux";

/// Why a file is not in the written system.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    #[error("\"{0}\" is no path for a file: it has to be absolute, without \"..\" and empty parts")]
    Path(String),
    #[error("cannot write {path} into the installed system")]
    Write {
        path: String,
        #[source]
        source: io::Error,
    },
}

/// Everything to write: the host's name, what its seed needs at least, and the files of the order, which win.
///
/// # Errors
/// [`SeedError::Path`] for a path that names no file within the system.
pub fn files(identity: &Identity, instance: &str) -> Result<Vec<SeedFile>, SeedError> {
    let hostname = identity.hostname;
    let file = |path: String, content: String| SeedFile { path, mode: 0o644, content, link: None };
    let mut files = vec![file("/etc/hostname".to_owned(), format!("{hostname}\n"))];
    match identity.seed {
        SeedKind::PlainFiles => {}
        SeedKind::NoCloud => {
            // The instance makes cloud-init begin anew even if the image was started before.
            let meta = format!("instance-id: {instance}\nlocal-hostname: {hostname}\n");
            files.push(file(format!("{NOCLOUD}/meta-data"), meta));
            files.push(file(format!("{NOCLOUD}/user-data"), "#cloud-config\n".to_owned()));
        }
    }
    files.retain(|own| identity.files.iter().all(|ordered| ordered.path != own.path));
    files.extend(identity.files.iter().cloned());
    for file in &files {
        parts(&file.path).ok_or_else(|| SeedError::Path(clean(&file.path, 100)))?;
    }
    Ok(files)
}

/// Writes the files, each whole or not at all, replacing what stands in their place.
///
/// # Errors
/// [`SeedError`] for the first that cannot be written.
pub fn write(mounted: &Mounted, files: &[SeedFile]) -> Result<(), SeedError> {
    let root = |source| SeedError::Write { path: "/".to_owned(), source };
    let root = mounted.root().map_err(root)?;
    files.iter().try_for_each(|file| {
        put(root, file).map_err(|source| SeedError::Write { path: clean(&file.path, 100), source })
    })
}

/// The parts of an absolute path below the root, the last one a file's name.
fn parts(path: &str) -> Option<Vec<&str>> {
    let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let plain = |part: &&str| !part.is_empty() && *part != "." && *part != ".." && !part.contains('\0');
    parts.iter().all(plain).then_some(parts)
}

fn put(root: &OwnedFd, file: &SeedFile) -> io::Result<()> {
    let parts = parts(&file.path).unwrap_or_default();
    let Some((name, folders)) = parts.split_last() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let folder = folder(root, folders)?;
    let new = format!(".{name}.rackberry");
    match unlinkat(&folder, new.as_str(), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    if let Some(target) = &file.link {
        symlinkat(target.as_str(), &folder, new.as_str())?;
    } else {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut written = File::from(openat(&folder, new.as_str(), flags, Mode::from_raw_mode(0o600))?);
        let old = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match openat(&folder, *name, old, Mode::empty()) {
            Ok(old) => copy_label(&old, &written),
            Err(_) => copy_label(&folder, &written),
        }
        written.write_all(file.content.as_bytes())?;
        rustix::fs::fchmod(&written, Mode::from_raw_mode(file.mode & 0o7777))?;
        written.sync_all()?;
    }
    renameat(&folder, new.as_str(), &folder, *name)?;
    Ok(())
}

/// Opens a folder of the written system; what is missing of it is made, for everybody to read.
fn folder(root: &OwnedFd, parts: &[&str]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut path = ".".to_owned();
    let mut at = beneath(root, &path, flags, Mode::empty())?;
    for part in parts {
        path = format!("{path}/{part}");
        at = match beneath(root, &path, flags, Mode::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                mkdirat(&at, *part, Mode::from_raw_mode(0o755))?;
                let made = beneath(root, &path, flags, Mode::empty())?;
                // The kernel took our own mask away.
                rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755))?;
                copy_label(&at, &made);
                made
            }
            opened => opened?,
        };
    }
    Ok(at)
}

/// Gives a new file the SELinux label of what it replaces or stands in: without one, an enforcing system may not read it.
fn copy_label(from: &OwnedFd, to: &impl std::os::fd::AsFd) {
    let mut label = [0; 256];
    if let Ok(length) = fgetxattr(from, LABEL, &mut label) {
        // Systems without SELinux have no labels, and a file system may take none.
        let _ = fsetxattr(to, LABEL, label.get(..length).unwrap_or_default(), XattrFlags::empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rackberry_core::{
        task::BootOrder,
        text::{CleanText, HostName},
    };

    fn seed_file(path: &str, content: &str) -> SeedFile {
        SeedFile { path: path.to_owned(), mode: 0o600, content: content.to_owned(), link: None }
    }

    fn planned(seed: SeedKind, ordered: &[SeedFile]) -> Result<Vec<SeedFile>, SeedError> {
        let identity = Identity {
            hostname: &HostName::new("node-06").unwrap(),
            seed,
            files: ordered,
            boot_order: BootOrder::NetworkFirst,
            boot_entry: &CleanText::new("Debian"),
        };
        files(&identity, "1")
    }

    #[test]
    fn only_plain_absolute_paths_are_taken() {
        for path in ["etc/passwd", "/etc/../../passwd", "/", "/etc/", "//etc/x", "/etc/./x", "/a\0b"] {
            assert!(planned(SeedKind::PlainFiles, &[seed_file(path, "")]).is_err(), "{path}");
        }
    }

    #[test]
    fn the_orders_own_files_win() {
        let ordered = [seed_file("/var/lib/cloud/seed/nocloud/user-data", "#cloud-config\nusers: []\n")];
        let all = planned(SeedKind::NoCloud, &ordered).unwrap();
        let named: Vec<(&str, &str)> = all.iter().map(|file| (file.path.as_str(), file.content.as_str())).collect();
        assert_eq!(
            named,
            [
                ("/etc/hostname", "node-06\n"),
                ("/var/lib/cloud/seed/nocloud/meta-data", "instance-id: 1\nlocal-hostname: node-06\n"),
                ("/var/lib/cloud/seed/nocloud/user-data", "#cloud-config\nusers: []\n"),
            ]
        );
    }

    #[test]
    fn a_link_in_the_image_leads_nowhere_else() {
        let outside = tempfile::tempdir().unwrap();
        let image = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), image.path().join("etc")).unwrap();
        let root: OwnedFd = File::open(image.path()).unwrap().into();
        // Within the image that absolute path does not exist, and a link that leads nowhere is no folder.
        assert!(put(&root, &seed_file("/etc/shadow", "x")).is_err());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        assert!(put(&root, &seed_file("/root/.ssh/authorized_keys", "key")).is_ok());
        assert!(image.path().join("root/.ssh/authorized_keys").exists());
    }

    #[test]
    fn a_second_write_ends_in_the_same_state() {
        use std::os::unix::fs::PermissionsExt;
        let image = tempfile::tempdir().unwrap();
        let root: OwnedFd = File::open(image.path()).unwrap().into();
        let mut link = seed_file("/etc/systemd/system/a.wants/x.service", "");
        link.link = Some("/lib/x.service".to_owned());
        for _ in 0..2 {
            put(&root, &seed_file("/etc/x", "secret")).unwrap();
            put(&root, &link).unwrap();
        }
        let mut names: Vec<_> =
            std::fs::read_dir(image.path().join("etc")).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["systemd", "x"]);
        let mode = |path: &str| std::fs::metadata(image.path().join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("etc/x"), mode("etc/systemd/system")), (0o600, 0o755));
        let target = std::fs::read_link(image.path().join("etc/systemd/system/a.wants/x.service")).unwrap();
        assert_eq!(target.to_str(), Some("/lib/x.service"));
    }
}
