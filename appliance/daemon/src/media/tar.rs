//! Archives as tar writes them (POSIX.1-2017 pax, GNU tar's long names): where each file's bytes lie, so that they can be sent from
//! there. Archives come from strangers: names that lead out are left out, and everything is bounded.

use rackberry_iso::ReadAt;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io::{self, Read},
};

/// Of a header, and what contents are padded to.
pub(super) const BLOCK: u64 = 512;
/// Files and links of one archive.
const MOST: usize = 200_000;
/// Bytes of all names together.
const NAMES: usize = 32 << 20;
/// Bytes of one name.
const LONGEST: usize = 4096;
/// Bytes of a header that says more of the next file.
const EXTENDED: u64 = 1 << 20;
/// Symbolic links on the way to one file, as Linux allows.
const MOST_LINKS: u32 = 40;

/// Where the files of an archive lie.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Index {
    /// Offset and length by path.
    files: BTreeMap<String, (u64, u64)>,
    /// Targets of symbolic links.
    links: BTreeMap<String, String>,
}

/// Why an archive does not read.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    #[error("the archive does not read at byte {at}: {why}")]
    Broken { at: u64, why: &'static str },
    #[error("the archive has more than {MOST} files, or longer names than the box holds")]
    TooMany,
    #[error("reading the archive failed")]
    Io(#[from] io::Error),
}

/// Whether this begins with the header of an archive: its sum is right.
pub(super) fn begins(head: &[u8]) -> bool {
    head.first_chunk::<512>().is_some_and(|head| head.first() != Some(&0) && sum_is_right(head))
}

impl Index {
    /// Reads an archive's headers, and skips what they describe.
    pub fn read(source: &(impl ReadAt + ?Sized)) -> Result<Self, TarError> {
        let size = source.size()?;
        let (mut index, mut names, mut at, mut next) = (Index::default(), 0, 0, Next::default());
        while at + BLOCK <= size {
            let mut head = [0; 512];
            fill(source, at, &mut head)?;
            if head == [0; 512] {
                break;
            }
            let broken = |why| TarError::Broken { at, why };
            if !sum_is_right(&head) {
                return Err(broken("a header's sum is wrong"));
            }
            let field = |from: usize, to: usize| head.get(from..to).unwrap_or_default();
            let length = match next.size {
                Some(size) => size,
                None => number(field(124, 136)).ok_or_else(|| broken("a length is none"))?,
            };
            let data = at + BLOCK;
            let end = data.checked_add(length).filter(|end| *end <= size).ok_or_else(|| broken("it ends too early"))?;
            let kind = field(156, 157).first().copied().unwrap_or_default();
            match kind {
                b'L' | b'K' | b'x' | b'g' => {
                    if length > EXTENDED {
                        return Err(broken("a header is too long"));
                    }
                    let mut said = vec![0; usize::try_from(length).map_err(io::Error::other)?];
                    fill(source, data, &mut said)?;
                    match kind {
                        b'L' => next.name = Some(text(&said)),
                        b'K' => next.link = Some(text(&said)),
                        b'x' => next.take(&said),
                        _ => {}
                    }
                }
                _ => {
                    let said = std::mem::take(&mut next);
                    let own = || {
                        let (name, before) = (text(field(0, 100)), text(field(345, 500)));
                        let posix = field(257, 263) == b"ustar\0";
                        if posix && !before.is_empty() { format!("{before}/{name}") } else { name }
                    };
                    let name = said.name.unwrap_or_else(own);
                    let link = said.link.unwrap_or_else(|| text(field(157, 257)));
                    if let Some(name) = inner(&name) {
                        names += name.len() + link.len();
                        index.put(kind, name, link, data, length);
                    }
                    if index.files.len() + index.links.len() > MOST || names > NAMES {
                        return Err(TarError::TooMany);
                    }
                }
            }
            // Links and folders have no content, whatever their length says (POSIX.1-2017, ustar).
            let skipped = if matches!(kind, b'1'..=b'6') { data } else { end };
            at = skipped.next_multiple_of(BLOCK);
        }
        Ok(index)
    }

    fn put(&mut self, kind: u8, name: String, link: String, offset: u64, length: u64) {
        // The last one of a name counts, as when it is unpacked.
        self.files.remove(&name);
        self.links.remove(&name);
        match kind {
            0 | b'0' | b'7' => {
                self.files.insert(name, (offset, length));
            }
            b'1' => {
                if let Some(place) = inner(&link).and_then(|link| self.files.get(&link).copied()) {
                    self.files.insert(name, place);
                }
            }
            b'2' if link.len() <= LONGEST => {
                self.links.insert(name, link);
            }
            _ => {}
        }
    }

    /// Where the file of a path lies, whatever links lead to it; none out of the archive.
    pub fn find(&self, path: &str) -> Option<(u64, u64)> {
        let mut waiting: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let (mut way, mut links) = (Vec::<String>::new(), 0);
        while let Some(part) = waiting.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    way.pop()?;
                    continue;
                }
                _ => way.push(part),
            }
            if let Some(target) = self.links.get(&way.join("/")) {
                links += 1;
                if links > MOST_LINKS {
                    return None;
                }
                way.pop();
                if target.starts_with('/') {
                    way.clear();
                }
                waiting.extend(target.split('/').rev().map(str::to_owned));
            }
            if way.len() + waiting.len() > LONGEST {
                return None;
            }
        }
        self.files.get(&way.join("/")).copied()
    }

    /// Whether anything lies in a folder of that path.
    pub fn has_folder(&self, path: &str) -> bool {
        let start = format!("{}/", path.trim_matches('/'));
        self.files.range(start.clone()..).next().is_some_and(|(path, _)| path.starts_with(&start))
    }

    /// The first name in the root that begins so.
    pub fn begins(&self, start: &str) -> Option<String> {
        let (path, _) = self.files.range(start.to_owned()..).next()?;
        path.starts_with(start).then(|| path.split('/').next().unwrap_or_default().to_owned())
    }

    /// Whether all its files lie within so many bytes.
    pub fn lies_within(&self, size: u64) -> bool {
        self.files.values().all(|(offset, length)| offset.checked_add(*length).is_some_and(|end| end <= size))
    }
}

/// What extended headers say of the file that comes.
#[derive(Default)]
struct Next {
    name: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

impl Next {
    /// Records `LENGTH KEY=VALUE\n` (POSIX.1-2017 pax).
    fn take(&mut self, mut records: &[u8]) {
        while let Some(blank) = records.iter().position(|byte| *byte == b' ') {
            let length =
                records.get(..blank).and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok());
            let Some(record) = length.and_then(|length| records.get(blank + 1..length.checked_sub(1)?)) else { return };
            let (key, value) = match record.iter().position(|byte| *byte == b'=') {
                Some(at) => (record.get(..at).unwrap_or_default(), record.get(at + 1..).unwrap_or_default()),
                None => return,
            };
            match key {
                b"path" => self.name = Some(text(value)),
                b"linkpath" => self.link = Some(text(value)),
                b"size" => self.size = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()),
                _ => {}
            }
            records = records.get(length.unwrap_or(usize::MAX)..).unwrap_or_default();
        }
    }
}

/// Up to its NUL.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

/// A name as a path asks for it; none if it leads out or is none.
fn inner(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    (!parts.is_empty() && !parts.contains(&"..") && name.len() <= LONGEST).then(|| parts.join("/"))
}

/// Octal digits, or GNU tar's binary form with the first bit set.
fn number(field: &[u8]) -> Option<u64> {
    if let Some((first, rest)) = field.split_first()
        && first & 0x80 != 0
    {
        let first = u64::from(first & 0x7f);
        return rest.iter().try_fold(first, |sum, byte| sum.checked_mul(256)?.checked_add(u64::from(*byte)));
    }
    let digits = text(field);
    let digits = digits.trim();
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}

fn sum_is_right(head: &[u8; 512]) -> bool {
    let sum: u64 =
        head.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) }).sum();
    head.get(148..156).and_then(number) == Some(sum)
}

/// Reads exactly so much of a source.
pub(super) fn fill(source: &(impl ReadAt + ?Sized), mut at: u64, mut to: &mut [u8]) -> io::Result<()> {
    while !to.is_empty() {
        match source.read_at(at, to)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                to = to.get_mut(count..).unwrap_or_default();
                at += count as u64;
            }
        }
    }
    Ok(())
}

/// As much of a stream as there is, at most so many bytes.
pub(super) fn start_of(mut stream: impl Read, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; most];
    let mut done = 0;
    while let Some(room) = bytes.get_mut(done..).filter(|room| !room.is_empty()) {
        match stream.read(room) {
            // A stream that was cut off ends in an error after what it had.
            Ok(0) | Err(_) => break,
            Ok(count) => done += count,
        }
    }
    bytes.truncate(done);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn tar(how: &str, script: &str) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let made = Command::new("sh").arg("-ec").arg(script).current_dir(folder.path()).status().unwrap();
        assert!(made.success());
        let packed =
            Command::new("sh").arg("-ec").arg(format!("tar {how} -cf - .")).current_dir(folder.path()).output();
        packed.unwrap().stdout
    }

    fn read(archive: &[u8], path: &str) -> Option<Vec<u8>> {
        let index = Index::read(archive).unwrap();
        assert!(index.lies_within(archive.len() as u64));
        let (offset, length) = index.find(path)?;
        Some(archive[offset as usize..(offset + length) as usize].to_vec())
    }

    #[test]
    fn files_are_found_in_every_format_tar_writes() {
        let long = "a-directory-with-a-long-name/".repeat(9);
        let script = format!(
            "mkdir -p '{long}' d; echo deep > '{long}/file'; echo one > d/one; : > empty; ln d/one hard; ln -s d/one soft; \
             ln -s d dir; ln -s ../../etc/passwd out; ln -s /d/one rooted; ln -s loop loop"
        );
        for how in ["--format=gnu", "--format=pax", "--format=gnu --transform=s,^[.]/,,"] {
            let archive = tar(how, &script);
            for path in ["d/one", "hard", "soft", "dir/one", "rooted", "./d//one"] {
                assert_eq!(read(&archive, path).as_deref(), Some(b"one\n".as_slice()), "{how} {path}");
            }
            assert_eq!(read(&archive, &format!("{long}file")).as_deref(), Some(b"deep\n".as_slice()), "{how}");
            assert_eq!(read(&archive, "empty").as_deref(), Some(b"".as_slice()));
            for path in ["d", "dir", "out", "loop", "", "..", "d/../../etc/passwd", "none", "d/one/x"] {
                assert_eq!(read(&archive, path), None, "{how} {path}");
            }
        }
    }

    #[test]
    fn broken_archives_are_refused_and_nothing_lies_outside() {
        let archive = tar("", "echo one > one; echo two > two");
        assert!(begins(&archive) && !begins(&[0; 512]) && !begins(b"no"));
        for at in (0..archive.len().min(4096)).step_by(7) {
            for bit in 0..8 {
                let mut broken = archive.clone();
                broken[at] ^= 1 << bit;
                if let Ok(index) = Index::read(&broken) {
                    assert!(index.lies_within(broken.len() as u64));
                }
            }
        }
        for length in (0..archive.len()).step_by(100) {
            if let Ok(index) = Index::read(&archive[..length]) {
                assert!(index.lies_within(length as u64));
            }
        }
    }

    #[test]
    fn lengths_beyond_octal_digits_are_read() {
        assert_eq!(number(b"00000000017\0"), Some(15));
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]), Some(2 << 32));
        assert_eq!(number(b"not octal"), None);
        assert_eq!(number(&[0xff; 12]), None);
    }
}
