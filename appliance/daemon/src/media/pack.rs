//! A folder as a tar whose bytes depend on its files alone: names in order, no times, nobody's. Made anew at any position, so that
//! sending it can go on where it broke off.

use super::tar::BLOCK;
use std::{
    fs::File,
    io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileExt as _, MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

/// Longest name a header of its own holds.
const SHORT: usize = 100;

/// A folder, read once for what is in it.
#[derive(Debug)]
pub struct Packed {
    members: Vec<Member>,
    len: u64,
    stamp: u64,
}

#[derive(Debug)]
struct Member {
    /// Where it begins in the archive.
    at: u64,
    head: Vec<u8>,
    file: Option<PathBuf>,
    size: u64,
}

impl Packed {
    /// Looks at everything in a folder. What is no file, folder or symbolic link is left out.
    ///
    /// # Errors
    /// If something in it cannot be read.
    pub fn plan(folder: &Path) -> io::Result<Self> {
        let mut found: Vec<(Vec<u8>, PathBuf)> = Vec::new();
        let mut folders = vec![(Vec::new(), folder.to_owned())];
        while let Some((name, path)) = folders.pop() {
            for entry in std::fs::read_dir(&path)? {
                let entry = entry?;
                let mut below: Vec<u8> = name.clone();
                below.extend_from_slice(entry.file_name().as_bytes());
                if entry.file_type()?.is_dir() {
                    below.push(b'/');
                    folders.push((below.clone(), entry.path()));
                }
                found.push((below, entry.path()));
            }
        }
        found.sort();
        let mut packed = Packed { members: Vec::new(), len: 0, stamp: 0 };
        for (name, path) in found {
            let facts = std::fs::symlink_metadata(&path)?;
            let kind = facts.file_type();
            let target =
                if kind.is_symlink() { std::fs::read_link(&path)?.as_os_str().as_bytes().to_vec() } else { Vec::new() };
            let (kind, mode, size) = match () {
                () if kind.is_dir() => (b'5', 0o755, 0),
                () if kind.is_symlink() => (b'2', 0o777, 0),
                () if kind.is_file() && facts.permissions().mode() & 0o100 != 0 => (b'0', 0o755, facts.len()),
                () if kind.is_file() => (b'0', 0o644, facts.len()),
                () => continue,
            };
            let changed = facts.mtime().wrapping_mul(1_000_000_007).wrapping_add(facts.mtime_nsec());
            packed.stamp =
                packed.stamp.wrapping_mul(1_099_511_628_211) ^ u64::from_ne_bytes(changed.to_ne_bytes()) ^ size;
            let mut head = Vec::new();
            for (kind, long) in [(b'K', &target), (b'L', &name)] {
                if long.len() >= SHORT {
                    head.extend(header(b"././@LongLink", kind, 0o644, long.len() as u64 + 1, b""));
                    head.extend_from_slice(long);
                    head.push(0);
                    head.resize(head.len().next_multiple_of(512), 0);
                }
            }
            head.extend(header(&name, kind, mode, size, &target));
            let file = (kind == b'0').then_some(path);
            let at = packed.len;
            packed.len += head.len() as u64 + size.next_multiple_of(BLOCK);
            packed.members.push(Member { at, head, file, size });
        }
        // Two empty blocks end it.
        packed.len += 2 * BLOCK;
        Ok(packed)
    }

    /// Bytes of the archive.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Another number once a file in it was changed.
    #[must_use]
    pub fn stamp(&self) -> u64 {
        self.stamp
    }

    /// Fills the buffer with the archive's bytes from `at` on.
    ///
    /// # Errors
    /// If a file cannot be read, or became shorter.
    pub fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        buffer.fill(0);
        let end = at + buffer.len() as u64;
        let first = self.members.partition_point(|member| member.at <= at).saturating_sub(1);
        for member in self.members.get(first..).unwrap_or_default().iter().take_while(|member| member.at < end) {
            let data = member.at + member.head.len() as u64;
            if let Some((to, from)) = overlap(buffer, at, member.at, member.head.len() as u64) {
                let from = usize::try_from(from).map_err(io::Error::other)?;
                to.copy_from_slice(member.head.get(from..from + to.len()).unwrap_or_default());
            }
            if let Some(file) = &member.file
                && let Some((to, from)) = overlap(buffer, at, data, member.size)
            {
                File::open(file)?.read_exact_at(to, from)?;
            }
        }
        Ok(())
    }
}

/// What of the buffer, which begins at `at`, holds bytes of a stretch; and which of the stretch's bytes come first.
fn overlap(buffer: &mut [u8], at: u64, start: u64, length: u64) -> Option<(&mut [u8], u64)> {
    let (from, to) = (at.max(start), (at + buffer.len() as u64).min(start + length));
    if from >= to {
        return None;
    }
    let place = usize::try_from(from - at).ok()?..usize::try_from(to - at).ok()?;
    Some((buffer.get_mut(place)?, from - start))
}

/// One header as GNU tar writes it.
fn header(name: &[u8], kind: u8, mode: u32, size: u64, target: &[u8]) -> Vec<u8> {
    let mut head = vec![0; 512];
    let mut put = |at: usize, most: usize, bytes: &[u8]| {
        let length = bytes.len().min(most);
        if let (Some(to), Some(from)) = (head.get_mut(at..at + length), bytes.get(..length)) {
            to.copy_from_slice(from);
        }
    };
    put(0, SHORT, name);
    put(100, 8, format!("{mode:07o}").as_bytes());
    put(108, 8, b"0000000");
    put(116, 8, b"0000000");
    if size < 1 << 33 {
        put(124, 12, format!("{size:011o}").as_bytes());
    } else {
        put(124, 12, &[&[0x80, 0, 0, 0][..], &size.to_be_bytes()].concat());
    }
    put(136, 12, b"00000000000");
    put(148, 8, b"        ");
    put(156, 1, &[kind]);
    put(157, SHORT, target);
    put(257, 8, b"ustar  \0");
    let sum: u64 = head.iter().map(|byte| u64::from(*byte)).sum();
    if let Some(to) = head.get_mut(148..156) {
        to.copy_from_slice(format!("{sum:06o}\0 ").as_bytes().get(..8).unwrap_or(b"        "));
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::tar::Index;
    use std::process::Command;

    #[test]
    fn a_folder_becomes_the_same_tar_however_it_is_read_and_tar_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("in");
        let long = "a-directory-with-a-long-name/".repeat(7);
        std::fs::create_dir_all(root.join(&long)).unwrap();
        std::fs::write(root.join(&long).join("deep"), [7; 1000]).unwrap();
        std::fs::write(root.join("b"), vec![9; 70_000]).unwrap();
        std::fs::write(root.join("empty"), "").unwrap();
        std::os::unix::fs::symlink("b", root.join("link")).unwrap();
        std::os::unix::fs::symlink(format!("{long}deep"), root.join("far")).unwrap();
        let packed = Packed::plan(&root).unwrap();
        let mut whole = vec![0; packed.len() as usize];
        packed.read_exact_at(&mut whole, 0).unwrap();
        for step in [1usize, 511, 4096] {
            let mut at = 0;
            for piece in whole.chunks(step.max(packed.len() as usize / 400)) {
                let mut read = vec![1; piece.len()];
                packed.read_exact_at(&mut read, at as u64).unwrap();
                assert_eq!(read, piece, "{at}");
                at += piece.len();
            }
        }
        let index = Index::read(&whole).unwrap();
        for (path, length) in
            [(format!("{long}deep"), 1000), ("far".into(), 1000), ("link".into(), 70_000), ("empty".into(), 0)]
        {
            assert_eq!(index.find(&path).map(|(_, length)| length), Some(length), "{path}");
        }
        let archive = folder.path().join("out.tar");
        std::fs::write(&archive, &whole).unwrap();
        let out = folder.path().join("out");
        std::fs::create_dir(&out).unwrap();
        let unpacked = Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&out).output().unwrap();
        assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
        let differs = Command::new("diff").arg("-r").arg("--no-dereference").arg(&root).arg(&out).output().unwrap();
        assert!(differs.status.success(), "{}", String::from_utf8_lossy(&differs.stdout));
        let before = packed.stamp();
        std::fs::write(root.join("b"), vec![8; 70_000]).unwrap();
        assert_ne!(Packed::plan(&root).unwrap().stamp(), before);
    }
}
