//! What stands in a directory, and where its bytes lie.

use crate::{
    Error,
    source::{Medium, ReadAt},
    udf::Address,
};
use std::io;

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    File,
    Directory,
    Symlink,
    /// A device, pipe or socket: named, and without content.
    Special,
}

/// One file, directory or link of an image.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name, as bytes: Rock Ridge knows no encoding, all other trees give UTF-8. Never empty but for the root; without
    /// `/` and NUL, and not `.` or `..`. What else is in it is whatever the image's author liked.
    pub name: Vec<u8>,
    pub kind: Kind,
    /// Bytes of content; of a link the length of its target.
    pub size: u64,
    /// File type and permissions as in `st_mode`, where the tree knows them.
    pub mode: Option<u32>,
    /// Seconds since 1970.
    pub modified: Option<i64>,
    /// Where a link leads.
    pub target: Option<Vec<u8>>,
    pub(crate) place: Place,
}

/// Where a tree finds what belongs to an entry.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// Extents of ISO 9660, and why they are not the content, if they are not.
    Iso { extents: Vec<Extent>, encoded: Option<&'static str> },
    /// The block with a UDF file entry.
    Udf(Address),
}

/// The content of a directory as far as it can be named.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// In the order of the image.
    pub entries: Vec<Entry>,
    /// How many entries were left out because no path can name them: empty, `.`, `..`, longer than 1,024 bytes, or with `/` or NUL.
    pub unnameable: u32,
}

/// A stretch of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes from the start of the image; none where the file has zeros that the image does not store.
    pub offset: Option<u64>,
    /// Bytes.
    pub length: u64,
}

/// The content of one file as stretches of the image, checked to lie within it: what a server sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    extents: Vec<Extent>,
    length: u64,
}

impl Contents {
    /// Takes extents whose sum no file can exceed and of which every one lies within the image.
    pub(crate) fn new(what: &'static str, medium: Medium<'_>, parts: Vec<Extent>) -> Result<Self, Error> {
        let mut contents = Self::default();
        for part in parts {
            // Where an empty file lies does not matter, and some say nonsense.
            if let Some(offset) = part.offset.filter(|_| part.length > 0) {
                medium.check(what, offset, part.length)?;
            }
            contents.push(what, part)?;
        }
        Ok(contents)
    }

    /// Adds a stretch, to the last one if it goes on there.
    pub(crate) fn push(&mut self, what: &'static str, part: Extent) -> Result<(), Error> {
        if part.length == 0 {
            return Ok(());
        }
        let offset = part.offset.unwrap_or_default();
        let length = self.length.checked_add(part.length);
        self.length = length.ok_or(Error::Limit { what, offset, limit: u64::MAX })?;
        if let Some(last) = self.extents.last_mut() {
            let goes_on = match (last.offset, part.offset) {
                (Some(at), Some(next)) => at.checked_add(last.length) == Some(next),
                (None, None) => true,
                _ => false,
            };
            if goes_on {
                last.length = last.length.saturating_add(part.length);
                return Ok(());
            }
        }
        self.extents.push(part);
        Ok(())
    }

    /// The stretches, in the order of the file; none is empty, and neighbours are joined.
    #[must_use]
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// Bytes of the whole file.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.length
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The stretches that bytes `from` up to `from + length` of the file lie in: an HTTP range, or a TFTP block.
    #[must_use]
    pub fn range(&self, from: u64, length: u64) -> Vec<Extent> {
        let end = from.saturating_add(length).min(self.length);
        let mut parts = Vec::new();
        let mut at = 0_u64;
        for extent in &self.extents {
            let (begin, stop) = (from.max(at), end.min(at.saturating_add(extent.length)));
            if begin < stop {
                let offset = extent.offset.map(|offset| offset.saturating_add(begin - at));
                parts.push(Extent { offset, length: stop - begin });
            }
            at = at.saturating_add(extent.length);
            if at >= end {
                break;
            }
        }
        parts
    }

    /// Fills `buf` with the file's bytes from `from` on, as far as the file goes, and says how many those were.
    ///
    /// # Errors
    /// What `source` says, which has to be the image of the file.
    pub fn read_at(&self, source: &(impl ReadAt + ?Sized), from: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        for part in self.range(from, buf.len() as u64) {
            let length = usize::try_from(part.length).map_err(io::Error::other)?;
            let Some(to) = done_part(buf, done, length) else { break };
            match part.offset {
                None => to.fill(0),
                Some(offset) => fill(source, offset, to)?,
            }
            done += length;
        }
        Ok(done)
    }
}

fn done_part(buf: &mut [u8], done: usize, length: usize) -> Option<&mut [u8]> {
    buf.get_mut(done..done.checked_add(length)?)
}

fn fill(source: &(impl ReadAt + ?Sized), mut offset: u64, mut to: &mut [u8]) -> io::Result<()> {
    while !to.is_empty() {
        match source.read_at(offset, to) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                let count = count.min(to.len());
                to = to.get_mut(count..).unwrap_or_default();
                offset = offset.saturating_add(count as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The longest name that is taken. ISO 9660 and UDF have at most 255 bytes or characters.
const LONGEST_NAME: usize = 1024;

/// Whether a path can name it, and can name nothing else by it.
pub(crate) fn nameable(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && name.len() <= LONGEST_NAME && !name.contains(&b'/') && !name.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_touches_only_the_extents_it_needs() {
        let image = b"..abc.....defgh.".to_vec();
        let parts = [(Some(2), 2), (Some(4), 1), (None, 4), (Some(10), 5)];
        let parts = parts.map(|(offset, length)| Extent { offset, length }).to_vec();
        let medium = Medium::new(&image, image.len() as u64);
        let contents = Contents::new("a file", medium, parts).unwrap();
        assert_eq!(contents.extents().len(), 3, "neighbours are joined");
        let whole = b"abc\0\0\0\0defgh";
        for from in 0..=whole.len() + 2 {
            for length in 0..=whole.len() + 2 {
                let mut buf = vec![b'!'; length];
                let count = contents.read_at(&image, from as u64, &mut buf).unwrap();
                let expected =
                    &whole[from.min(whole.len())..(from + length).min(whole.len()).max(from.min(whole.len()))];
                assert_eq!(&buf[..count], expected);
            }
        }
        assert_eq!(contents.range(8, 2), [Extent { offset: Some(11), length: 2 }]);
        assert_eq!(contents.range(u64::MAX, u64::MAX), []);
    }

    #[test]
    fn extents_outside_of_the_image_and_endless_sums_are_refused() {
        let image = vec![0; 100];
        let medium = Medium::new(&image, 100);
        let outside = |offset, length| Contents::new("a file", medium, vec![Extent { offset: Some(offset), length }]);
        assert!(outside(0, 100).is_ok());
        assert!(matches!(outside(1, 100), Err(Error::Outside { size: 100, .. })));
        assert!(matches!(outside(u64::MAX, 2), Err(Error::Outside { .. })));
        let zeros = vec![Extent { offset: None, length: u64::MAX }, Extent { offset: None, length: 1 }];
        assert!(matches!(Contents::new("a file", medium, zeros), Err(Error::Limit { .. })));
    }
}
