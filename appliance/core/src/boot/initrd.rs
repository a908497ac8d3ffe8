//! Initial RAM disks: archives in cpio's newc format, written, read, and told apart from packed ones.
//!
//! Linux unpacks every archive that its initrd consists of, one behind the other, each packed or not, and a later file replaces
//! an earlier one of the same name (Documentation/driver-api/early-userspace/buffer-format.rst). So an initrd is extended by
//! what is put behind it: the original stays as it was, a byte prefix of the result.

use std::collections::BTreeMap;

/// The file types in a mode, as stat(2) has them.
const TYPE: u32 = 0o170_000;
const FOLDER: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
/// `S_IFLNK`: a symbolic link, whose content is where it leads.
pub const LINK: u32 = 0o120_000;

const HEADER: usize = 110;
const TRAILER: &str = "TRAILER!!!";

/// Names that are links into `usr` wherever folders are merged. A folder of the name in a later archive would have the kernel
/// remove that link, and with it everything behind it; so these are taken as being there.
const LINKED: [&str; 8] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "var/run", "var/lock"];

/// One file for [`cpio`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitrdFile {
    /// Where it comes to lie, for example `usr/lib/modules/6.12.0/extra/raid.ko`; a slash in front means nothing.
    pub path: String,
    /// Permissions as in chmod(1). With a type's bits (`S_IFDIR`, [`LINK`]) a folder or a link, else a regular file.
    pub mode: u32,
    /// Its bytes, below 4 GiB, which is all that the format can count; where a link leads.
    pub content: Vec<u8>,
}

/// Why an archive can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InitrdError {
    /// No header of the format where one has to be.
    #[error("no newc header at byte {at} of the archive")]
    NoHeader {
        /// Counted from the archive's first byte.
        at: usize,
    },
    /// It ends within an entry.
    #[error("the archive is cut off in the entry at byte {at}")]
    CutOff {
        /// Where the entry begins, counted from the archive's first byte.
        at: usize,
    },
}

/// What one part of an initrd is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// An archive as it is; the microcode that comes first never is packed.
    Cpio,
    /// gzip (RFC 1952).
    Gzip,
    /// xz.
    Xz,
    /// lzma, xz's predecessor.
    Lzma,
    /// Zstandard (RFC 8878).
    Zstd,
    /// bzip2.
    Bzip2,
    /// lz4's frames, of either version.
    Lz4,
}

impl Packing {
    /// By the first bytes; none if they are nothing that the kernel would unpack.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        Some(match bytes {
            [b'0', b'7', b'0', b'7', b'0', b'1' | b'2', ..] => Packing::Cpio,
            [0x1f, 0x8b, ..] => Packing::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Packing::Xz,
            [0x5d, 0, 0, ..] => Packing::Lzma,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Packing::Zstd,
            [b'B', b'Z', b'h', ..] => Packing::Bzip2,
            [0x02, 0x21, 0x4c, 0x18, ..] | [0x04, 0x22, 0x4d, 0x18, ..] => Packing::Lz4,
            _ => return None,
        })
    }

    /// Its name, as people say it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Packing::Cpio => "cpio",
            Packing::Gzip => "gzip",
            Packing::Xz => "xz",
            Packing::Lzma => "lzma",
            Packing::Zstd => "zstd",
            Packing::Bzip2 => "bzip2",
            Packing::Lz4 => "lz4",
        }
    }
}

/// One entry of an archive that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its name, byte for byte; whoever wrote the archive chose it.
    pub path: &'a [u8],
    /// Type and permissions.
    pub mode: u32,
    /// Its bytes; where a link leads.
    pub content: &'a [u8],
}

impl Entry<'_> {
    /// Whether it is a folder.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        self.mode & TYPE == FOLDER
    }

    /// Whether it is a symbolic link.
    #[must_use]
    pub fn is_link(&self) -> bool {
        self.mode & TYPE == LINK
    }

    /// Whether it is a regular file, and no device or pipe.
    #[must_use]
    pub fn is_regular(&self) -> bool {
        self.mode & TYPE == REGULAR
    }
}

/// An archive of these files: the same ones make the same bytes, in whatever order they come. Folders on the way are made, but
/// for those that are links in most systems (`lib`, `bin`...) and have to be there; everything is root's, from 1970. Of two files
/// with one path the later counts. Its length is a multiple of 4, so that another archive can follow.
#[must_use]
pub fn cpio(files: &[InitrdFile]) -> Vec<u8> {
    let mut entries: BTreeMap<String, (u32, &[u8])> = BTreeMap::new();
    for file in files {
        let path = clean(&file.path);
        for (at, _) in path.match_indices('/') {
            let above = path.get(..at).unwrap_or_default();
            if !LINKED.contains(&above) {
                entries.entry(above.to_owned()).or_insert((FOLDER | 0o755, &[]));
            }
        }
        if !path.is_empty() {
            let kind = if file.mode & TYPE == 0 { REGULAR } else { file.mode & TYPE };
            let content = if kind == FOLDER { &[] } else { file.content.as_slice() };
            entries.insert(path, (kind | file.mode & 0o7777, content));
        }
    }
    let mut out = Vec::new();
    for (number, (path, (mode, content))) in (1..).zip(&entries) {
        entry(&mut out, number, path, *mode, content);
    }
    entry(&mut out, 0, TRAILER, 0, &[]);
    out
}

/// Zeros up to a multiple of 4 bytes, which the kernel skips before the next archive.
pub fn pad4(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// Without what a name can't have in an archive or what would lead out of it.
fn clean(path: &str) -> String {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "." | ".."));
    let joined: Vec<String> = parts.map(|part| part.replace('\0', "")).collect();
    joined.join("/")
}

fn entry(out: &mut Vec<u8>, number: u32, path: &str, mode: u32, content: &[u8]) {
    let size = u32::try_from(content.len()).unwrap_or(u32::MAX);
    let name = u32::try_from(path.len() + 1).unwrap_or(u32::MAX);
    let links = if mode & TYPE == FOLDER { 2 } else { 1 };
    out.extend_from_slice(b"070701");
    // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
    for field in [number, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name, 0] {
        out.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    pad4(out);
    out.extend_from_slice(content.get(..size as usize).unwrap_or(content));
    pad4(out);
}

/// The entries of the archive that `bytes` begin with, and its length, the trailer and its padding with it.
///
/// # Errors
/// When it is damaged.
pub fn read(bytes: &[u8]) -> Result<(Vec<Entry<'_>>, usize), InitrdError> {
    let mut entries = Vec::new();
    let mut at = 0;
    loop {
        let header = bytes.get(at..).and_then(|rest| rest.get(..HEADER));
        let header = header.ok_or(InitrdError::CutOff { at })?;
        if !matches!(header, [b'0', b'7', b'0', b'7', b'0', b'1' | b'2', ..]) {
            return Err(InitrdError::NoHeader { at });
        }
        let field = |number: usize| -> Result<usize, InitrdError> {
            let digits = header.get(6 + 8 * number..).and_then(|rest| rest.get(..8));
            // from_str_radix takes a sign, which the format does not have.
            let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
            let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
            let value = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
            value.map(|value| value as usize).ok_or(InitrdError::NoHeader { at })
        };
        let (mode, size, name_size) = (field(1)?, field(6)?, field(11)?);
        let cut = InitrdError::CutOff { at };
        // Names and contents begin at multiples of 4, counted from the archive's first byte.
        let name_end = at.checked_add(HEADER + name_size).ok_or(cut)?;
        let name = bytes.get(at + HEADER..name_end).ok_or(cut)?;
        let begin = name_end.next_multiple_of(4);
        let end = begin.checked_add(size).ok_or(cut)?;
        let content = bytes.get(begin.min(bytes.len())..end).ok_or(cut)?;
        at = end.next_multiple_of(4);
        let path = name.split(|byte| *byte == 0).next().unwrap_or_default();
        if path == TRAILER.as_bytes() {
            return Ok((entries, at.min(bytes.len())));
        }
        entries.push(Entry { path, mode: u32::try_from(mode).unwrap_or_default(), content });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn file(path: &str, content: &[u8]) -> InitrdFile {
        InitrdFile { path: path.into(), mode: 0o644, content: content.to_vec() }
    }

    /// What the host's own cpio lists: `mode owner... path` of each entry.
    fn listed(archive: &[u8]) -> BTreeSet<String> {
        let mut cpio = Command::new("cpio")
            .args(["-t", "--quiet"])
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cpio(1) is needed: apt install cpio");
        let mut input = cpio.stdin.take().unwrap();
        let archive = archive.to_vec();
        let writer = std::thread::spawn(move || input.write_all(&archive));
        let output = cpio.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    fn paths() -> impl Strategy<Value = String> {
        prop::collection::vec("[a-zA-Z0-9_.+-]{1,12}", 1..5)
            .prop_filter("a folder's name", |parts| parts.iter().all(|part| part != "." && part != ".."))
            .prop_map(|parts| parts.join("/"))
    }

    /// Files none of which lies where another needs a folder.
    fn trees() -> impl Strategy<Value = Vec<InitrdFile>> {
        let content = prop::collection::vec(any::<u8>(), 0..70);
        prop::collection::vec((paths(), 0u32..0o1000, content), 0..12).prop_map(|files| {
            let names: BTreeSet<String> = files.iter().map(|(path, ..)| path.clone()).collect();
            let is_folder = |path: &str| names.iter().any(|other| other.starts_with(&format!("{path}/")));
            let mut seen = BTreeSet::new();
            let files = files.iter().filter(|(path, ..)| !is_folder(path) && seen.insert(path.clone()));
            files
                .map(|(path, mode, content)| InitrdFile { path: path.clone(), mode: *mode, content: content.clone() })
                .collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_hosts_own_cpio_lists_exactly_what_was_put_in(files in trees()) {
            let archive = cpio(&files);
            let mut wanted: BTreeSet<String> = files.iter().map(|file| file.path.clone()).collect();
            for file in &files {
                let folders = file.path.match_indices('/').map(|(at, _)| file.path[..at].to_owned());
                wanted.extend(folders.filter(|folder| !LINKED.contains(&folder.as_str())));
            }
            prop_assert_eq!(listed(&archive), wanted);
        }

        #[test]
        fn what_was_written_is_read_back_and_the_order_of_files_means_nothing(files in trees()) {
            let archive = cpio(&files);
            prop_assert_eq!(archive.len() % 4, 0);
            let (entries, end) = read(&archive).unwrap();
            prop_assert_eq!(end, archive.len());
            for file in &files {
                let found: Vec<_> = entries.iter().filter(|entry| entry.path == file.path.as_bytes()).collect();
                prop_assert_eq!(found.len(), 1);
                prop_assert_eq!(found[0].content, &file.content[..]);
                prop_assert_eq!(found[0].mode, REGULAR | file.mode);
            }
            let mut turned = files;
            turned.reverse();
            prop_assert_eq!(cpio(&turned), archive);
        }

        #[test]
        fn no_bytes_whatever_break_the_reader(mut bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..300) {
            let _ = read(&bytes);
            let mut archive = cpio(&[file("a/b", &bytes)]);
            archive.truncate(cut.min(archive.len().saturating_sub(4)));
            prop_assert!(read(&archive).is_err());
            bytes.splice(..0, *b"070701");
            let _ = read(&bytes);
        }
    }

    #[test]
    fn folders_come_before_what_is_in_them_and_links_of_merged_systems_are_left_alone() {
        let archive = cpio(&[file("/lib/modules/6.12/extra/raid.ko", b"module"), file("usr/bin/tool", b"#!/bin/sh\n")]);
        let (entries, _) = read(&archive).unwrap();
        let names: Vec<_> = entries.iter().map(|entry| std::str::from_utf8(entry.path).unwrap()).collect();
        assert_eq!(
            names,
            [
                "lib/modules",
                "lib/modules/6.12",
                "lib/modules/6.12/extra",
                "lib/modules/6.12/extra/raid.ko",
                "usr",
                "usr/bin",
                "usr/bin/tool"
            ]
        );
    }

    #[test]
    fn nothing_leads_out_of_an_archive_and_the_later_of_two_files_counts() {
        let archive = cpio(&[file("../../etc/./passwd", b"old"), file("etc//passwd", b"new")]);
        let (entries, _) = read(&archive).unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[1].path, entries[1].content), (&b"etc/passwd"[..], &b"new"[..]));
        assert_eq!(listed(&archive), ["etc", "etc/passwd"].map(str::to_owned).into());
    }

    #[test]
    fn links_and_folders_keep_their_kind() {
        let archive = cpio(&[
            InitrdFile { path: "bin/sh".into(), mode: LINK | 0o777, content: b"busybox".to_vec() },
            InitrdFile { path: "tmp".into(), mode: FOLDER | 0o1777, content: Vec::new() },
        ]);
        let (entries, _) = read(&archive).unwrap();
        assert!(entries[0].is_link() && entries[0].content == b"busybox");
        assert!(entries[1].is_folder() && entries[1].mode & 0o7777 == 0o1777);
    }

    #[test]
    fn an_archive_behind_another_is_found_where_the_first_ends() {
        let mut joined = cpio(&[file("kernel/x86/microcode/GenuineIntel.bin", b"first")]);
        let first = joined.clone();
        joined.extend(cpio(&[file("init", b"second")]));
        let (_, end) = read(&joined).unwrap();
        assert_eq!(end, first.len());
        let (entries, _) = read(&joined[end..]).unwrap();
        assert_eq!(entries[0].content, b"second");
    }

    #[test]
    fn packings_are_told_by_their_first_bytes() {
        for (program, arguments, wanted) in [
            ("gzip", &["-c"][..], Packing::Gzip),
            ("xz", &["-c"][..], Packing::Xz),
            ("xz", &["-c", "--format=lzma"][..], Packing::Lzma),
            ("zstd", &["-c", "-q"][..], Packing::Zstd),
        ] {
            let mut child = Command::new(program)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap_or_else(|error| panic!("{program}: {error}"));
            child.stdin.take().unwrap().write_all(&cpio(&[file("init", b"x")])).unwrap();
            let packed = child.wait_with_output().unwrap().stdout;
            assert_eq!(Packing::of(&packed), Some(wanted));
        }
        assert_eq!(Packing::of(&cpio(&[])), Some(Packing::Cpio));
        assert_eq!(Packing::of(b"MZ"), None);
    }
}
