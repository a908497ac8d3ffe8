//! Initrds on this machine: what they are made of, unpacked, and extended by an archive behind them.

use super::{InitrdCommand, show::Shown};
use anyhow::{Context, bail, ensure};
use rackberry_core::boot::initrd::{self, Entry, InitrdError, InitrdFile, LINK, Packing};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use serde_json::json;
use std::{
    borrow::Cow,
    io::{Read, Write as _},
    os::unix::ffi::OsStrExt,
    os::unix::fs::MetadataExt,
    path::Path,
};

/// More than any initrd unpacks to; a part that goes on is no initrd.
const LARGEST: u64 = 4 << 30;

/// Does what was typed behind `initrd`.
///
/// # Errors
/// When a file can't be read or written, or is no initrd.
pub fn initrd(command: &InitrdCommand, shown: &Shown) -> anyhow::Result<()> {
    match command {
        InitrdCommand::List { file } => list(file, shown),
        InitrdCommand::Unpack { file, folder } => unpack(file, folder, shown),
        InitrdCommand::Append { file, folder, out } => append(Some(file), folder, out, shown),
        InitrdCommand::Pack { folder, out } => append(None, folder, out, shown),
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("reading the initrd {}", file.display()))
}

/// One archive, or several that were packed together.
struct Part<'a> {
    packing: Packing,
    /// Where it begins in the file.
    at: usize,
    plain: Cow<'a, [u8]>,
}

/// The parts of an initrd, unpacked.
fn parts(bytes: &[u8]) -> anyhow::Result<Vec<Part<'_>>> {
    let mut parts: Vec<Part<'_>> = Vec::new();
    let mut at = 0;
    loop {
        // Zeros between archives are nothing, as the kernel has it.
        at += bytes.get(at..).unwrap_or_default().iter().take_while(|byte| **byte == 0).count();
        let rest = bytes.get(at..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(parts);
        }
        let Some(packing) = Packing::of(rest) else {
            bail!("byte {at} begins nothing that the kernel would unpack");
        };
        let (plain, used) = match packing {
            Packing::Cpio => {
                let (_, used) = initrd::read(rest).with_context(|| format!("the archive at byte {at}"))?;
                (Cow::Borrowed(rest.get(..used).unwrap_or(rest)), used)
            }
            _ => {
                let (plain, used) =
                    plain(packing, rest).with_context(|| format!("unpacking {} from byte {at} on", packing.word()))?;
                (Cow::Owned(plain), used)
            }
        };
        ensure!(used > 0, "byte {at} begins a part without any bytes");
        parts.push(Part { packing, at, plain });
        at += used;
    }
}

/// What `rest` begins with, unpacked, and how many of its bytes that took.
fn plain(packing: Packing, rest: &[u8]) -> anyhow::Result<(Vec<u8>, usize)> {
    let mut plain = Vec::new();
    let left = match packing {
        Packing::Gzip => {
            let mut reader = flate2::bufread::GzDecoder::new(rest);
            take(&mut reader, &mut plain)?;
            reader.into_inner().len()
        }
        Packing::Bzip2 => {
            let mut reader = bzip2::bufread::BzDecoder::new(rest);
            take(&mut reader, &mut plain)?;
            reader.into_inner().len()
        }
        Packing::Xz => {
            let mut reader = lzma_rust2::XzReader::new(rest, false);
            take(&mut reader, &mut plain)?;
            reader.into_inner().len()
        }
        Packing::Lzma => {
            let mut reader = lzma_rust2::LzmaReader::new_mem_limit(rest, u32::MAX, None)?;
            take(&mut reader, &mut plain)?;
            let (rest, ahead) = reader.into_parts();
            rest.len() + ahead.len()
        }
        Packing::Zstd => {
            let mut reader = ruzstd::decoding::StreamingDecoder::new(rest)?;
            take(&mut reader, &mut plain)?;
            reader.into_inner().len()
        }
        Packing::Cpio | Packing::Lz4 => bail!("{} is not unpacked here", packing.word()),
    };
    Ok((plain, rest.len().saturating_sub(left)))
}

fn take(reader: &mut dyn Read, plain: &mut Vec<u8>) -> anyhow::Result<()> {
    reader.take(LARGEST).read_to_end(plain)?;
    ensure!((plain.len() as u64) < LARGEST, "it unpacks to more than {LARGEST} bytes");
    Ok(())
}

/// Calls `each` with every entry, those of earlier archives first.
fn entries(parts: &[Part<'_>], mut each: impl FnMut(&Entry<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
    for part in parts {
        let mut rest: &[u8] = &part.plain;
        loop {
            let zeros = rest.iter().take_while(|byte| **byte == 0).count();
            rest = rest.get(zeros..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            let (found, used) = initrd::read(rest).map_err(|error: InitrdError| {
                anyhow::Error::new(error).context(format!("the {} part at byte {}", part.packing.word(), part.at))
            })?;
            for entry in &found {
                each(entry)?;
            }
            rest = rest.get(used..).unwrap_or_default();
        }
    }
    Ok(())
}

fn list(file: &Path, shown: &Shown) -> anyhow::Result<()> {
    let bytes = read(file)?;
    let parts = parts(&bytes).with_context(|| file.display().to_string())?;
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for part in &parts {
        lines.push(format!("# at byte {}: {}, {} bytes unpacked", part.at, part.packing.word(), part.plain.len()));
        let mut files = Vec::new();
        entries(std::slice::from_ref(part), |entry| {
            // Names are the archive's; what would move a terminal's cursor is not shown.
            let path = String::from_utf8_lossy(entry.path).replace(char::is_control, "?");
            lines.push(format!("{:06o} {:>10} {path}", entry.mode, entry.content.len()));
            files.push(json!({ "path": path, "mode": entry.mode, "size": entry.content.len() }));
            Ok(())
        })?;
        rows.push(json!({ "at": part.at, "packing": part.packing.word(), "bytes": part.plain.len(), "files": files }));
    }
    shown.done(&json!(rows), &lines.join("\n"));
    Ok(())
}

fn unpack(file: &Path, folder: &Path, shown: &Shown) -> anyhow::Result<()> {
    let bytes = read(file)?;
    let parts = parts(&bytes).with_context(|| file.display().to_string())?;
    std::fs::create_dir(folder).with_context(|| format!("making the folder {}", folder.display()))?;
    let root = rustix::fs::openat(CWD, folder, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .with_context(|| format!("opening {}", folder.display()))?;
    let (mut files, mut left_out) = (0u64, 0u64);
    entries(&parts, |entry| {
        let put = put(&root, entry);
        let put = put.with_context(|| format!("unpacking {}", String::from_utf8_lossy(entry.path).escape_debug()))?;
        if put {
            files += 1;
        } else {
            left_out += 1;
        }
        Ok(())
    })?;
    let sentence = match left_out {
        0 => format!("{files} files and folders are in {}.", folder.display()),
        _ => format!("{files} files and folders are in {}; {left_out} devices and pipes are not.", folder.display()),
    };
    shown.done(&json!({ "folder": folder, "files": files, "left_out": left_out }), &sentence);
    Ok(())
}

/// Makes an entry below `root`, whatever links the archive made there before; false for what is no file, folder or link.
fn put(root: &rustix::fd::OwnedFd, entry: &Entry<'_>) -> anyhow::Result<bool> {
    let path = Path::new(std::ffi::OsStr::from_bytes(entry.path));
    let (Some(name), above) = (path.file_name(), path.parent().unwrap_or(Path::new("."))) else {
        // The folder itself.
        return Ok(true);
    };
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    // Every link on the way leads to something below the root, as in a chroot.
    let above = rustix::fs::openat2(
        root,
        above,
        OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
    .context("its folder is not there")?;
    let mode = Mode::from_raw_mode(entry.mode & 0o7777);
    if entry.is_folder() {
        match rustix::fs::mkdirat(&above, name, mode) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        return Ok(true);
    }
    if !entry.is_regular() && !entry.is_link() {
        return Ok(false);
    }
    match rustix::fs::unlinkat(&above, name, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    if entry.is_link() {
        rustix::fs::symlinkat(std::ffi::OsStr::from_bytes(entry.content), &above, name)?;
        return Ok(true);
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&above, name, flags, mode)?;
    // The umask does not count for what an archive says.
    rustix::fs::fchmod(&file, mode)?;
    std::fs::File::from(file).write_all(entry.content)?;
    Ok(true)
}

fn append(file: Option<&Path>, folder: &Path, out: &Path, shown: &Shown) -> anyhow::Result<()> {
    let mut bytes = file.map(read).transpose()?.unwrap_or_default();
    let before = bytes.len();
    if let Some(file) = file {
        ensure!(Packing::of(&bytes).is_some(), "{} is no initrd that the kernel would unpack", file.display());
    }
    let mut files = Vec::new();
    gather(folder, Path::new(""), file.is_some(), &mut files)?;
    ensure!(!files.is_empty(), "there are no files in {}", folder.display());
    initrd::pad4(&mut bytes);
    bytes.extend_from_slice(&initrd::cpio(&files));
    std::fs::write(out, &bytes).with_context(|| format!("writing {}", out.display()))?;
    let sentence =
        format!("{}: {} files in {} bytes behind {before}.", out.display(), files.len(), bytes.len() - before);
    shown.done(&json!({ "file": out, "files": files.len(), "bytes": bytes.len(), "before": before }), &sentence);
    Ok(())
}

/// The files and links below a folder; its folders only for a whole initrd, as the ones of an initrd that is extended may be
/// links there.
fn gather(root: &Path, below: &Path, extends: bool, files: &mut Vec<InitrdFile>) -> anyhow::Result<()> {
    let folder = root.join(below);
    for item in std::fs::read_dir(&folder).with_context(|| format!("reading the folder {}", folder.display()))? {
        let item = item?;
        let path = below.join(item.file_name());
        let name =
            path.to_str().with_context(|| format!("{} has a name that is not UTF-8", path.display()))?.to_owned();
        let about = item.metadata().with_context(|| format!("looking at {}", item.path().display()))?;
        if about.is_dir() {
            if !extends {
                files.push(InitrdFile { path: name, mode: about.mode(), content: Vec::new() });
            }
            gather(root, &path, extends, files)?;
        } else if about.is_symlink() {
            let content = std::fs::read_link(item.path())?.as_os_str().as_bytes().to_vec();
            files.push(InitrdFile { path: name, mode: LINK | 0o777, content });
        } else if about.is_file() {
            let content = std::fs::read(item.path()).with_context(|| format!("reading {}", item.path().display()))?;
            files.push(InitrdFile { path: name, mode: about.mode(), content });
        } else {
            bail!("{} is no file, folder or link", item.path().display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn quiet() -> Shown {
        Shown { json: true }
    }

    fn archive(path: &str, content: &[u8]) -> Vec<u8> {
        initrd::cpio(&[InitrdFile { path: path.into(), mode: 0o644, content: content.to_vec() }])
    }

    fn packed(program: &[&str], bytes: &[u8]) -> Vec<u8> {
        let mut command = Command::new(program[0]);
        let mut child = command
            .args(&program[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("xz, gzip and zstd");
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        child.wait_with_output().unwrap().stdout
    }

    #[test]
    fn an_initrd_of_many_parts_is_unpacked_whatever_each_is_packed_with() {
        let mut whole = archive("kernel/x86/microcode/GenuineIntel.bin", b"microcode");
        for (name, program) in [
            ("gzip", &["gzip", "-c"][..]),
            ("xz", &["xz", "-c", "--check=crc32"][..]),
            ("lzma", &["xz", "-c", "--format=lzma"][..]),
            ("zstd", &["zstd", "-q", "-c"][..]),
        ] {
            whole.extend(packed(program, &archive(name, name.as_bytes())));
            initrd::pad4(&mut whole);
        }
        let dir = tempfile::tempdir().unwrap();
        let (file, folder) = (dir.path().join("initrd"), dir.path().join("out"));
        std::fs::write(&file, &whole).unwrap();
        unpack(&file, &folder, &quiet()).unwrap();
        for name in ["gzip", "xz", "lzma", "zstd"] {
            assert_eq!(std::fs::read_to_string(folder.join(name)).unwrap(), name);
        }
        assert_eq!(std::fs::read(folder.join("kernel/x86/microcode/GenuineIntel.bin")).unwrap(), b"microcode");
    }

    #[test]
    fn no_archive_writes_outside_of_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let link = |path: &str, to: &str| InitrdFile { path: path.into(), mode: LINK | 0o777, content: to.into() };
        let mut whole = initrd::cpio(&[link("out", "../.."), link("root", "/")]);
        whole.extend(archive("out/escaped", b"x"));
        whole.extend(archive("root/escaped-too", b"x"));
        // The writer takes such names apart; a hostile one does not.
        let mut dots = archive("aa/bb/escaped", b"x");
        let at = dots.windows(13).rposition(|window| window == b"aa/bb/escaped").unwrap();
        dots[at..at + 13].copy_from_slice(b"../../escaped");
        whole.extend(dots);
        let (file, folder) = (dir.path().join("initrd"), dir.path().join("below/folder"));
        std::fs::write(&file, &whole).unwrap();
        std::fs::create_dir(dir.path().join("below")).unwrap();
        let _ = unpack(&file, &folder, &quiet());
        for place in [dir.path().join("escaped"), dir.path().join("below/escaped"), "/escaped-too".into()] {
            assert!(!place.exists(), "{}", place.display());
        }
        assert!(folder.join("escaped").exists());
    }

    #[test]
    fn what_is_appended_leaves_the_original_as_a_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let (file, folder, out) = (dir.path().join("initrd"), dir.path().join("more"), dir.path().join("out"));
        let original = packed(&["gzip", "-c"], &archive("init", b"#!/bin/sh\n"));
        std::fs::write(&file, &original).unwrap();
        std::fs::create_dir_all(folder.join("lib/modules")).unwrap();
        std::fs::write(folder.join("lib/modules/raid.ko"), b"driver").unwrap();
        std::os::unix::fs::symlink("raid.ko", folder.join("lib/modules/link.ko")).unwrap();
        append(Some(&file), &folder, &out, &quiet()).unwrap();
        let result = std::fs::read(&out).unwrap();
        assert!(result.starts_with(&original));
        let parts = parts(&result).unwrap();
        assert_eq!(parts.iter().map(|part| part.packing).collect::<Vec<_>>(), [Packing::Gzip, Packing::Cpio]);
        let mut seen = Vec::new();
        entries(&parts, |entry| {
            seen.push(String::from_utf8(entry.path.to_vec()).unwrap());
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, ["init", "lib/modules", "lib/modules/link.ko", "lib/modules/raid.ko"]);
        assert!(append(Some(&folder.join("lib/modules/raid.ko")), &folder, &out, &quiet()).is_err());
    }
}
