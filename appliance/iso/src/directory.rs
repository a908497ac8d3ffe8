//! Directory records of ISO 9660 (ECMA-119 6.8, 9.1), for the plain, the Joliet and the Rock Ridge tree alike.

use crate::{
    Error,
    entry::{Entry, Extent, Kind, Listing, Place, nameable},
    error::shown,
    joliet,
    rock_ridge::{self, Budget},
    source::{Medium, Piece},
    time,
    volume::SECTOR,
};

/// The largest directory that is read, in bytes: more than 200,000 files.
pub(crate) const LARGEST_DIRECTORY: u64 = 32 << 20;

/// How the names of a tree are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    Plain,
    Joliet,
    /// With as many bytes to pass over before each record's system use fields (SUSP 5.3).
    RockRidge {
        skip: u8,
    },
}

/// The root of one tree of ISO 9660.
#[derive(Clone, Copy)]
pub(crate) struct Root {
    pub offset: u64,
    pub length: u64,
    pub modified: Option<i64>,
    /// Bytes of a logical block.
    pub block: u32,
    pub naming: Naming,
}

impl Root {
    /// The root as an entry without a name.
    pub fn entry(&self, medium: Medium<'_>) -> Result<Entry, Error> {
        let mut entry = Entry {
            name: Vec::new(),
            kind: Kind::Directory,
            size: self.length,
            mode: None,
            modified: self.modified,
            target: None,
            place: Place::Iso {
                extents: vec![Extent { offset: Some(self.offset), length: self.length }],
                encoded: None,
            },
        };
        if let Naming::RockRidge { .. } = self.naming {
            let block = medium.read("the root directory", self.offset, SECTOR)?;
            let fields = self.fields(medium, Record::read(block.piece())?, &mut Budget::of(0))?;
            entry.mode = fields.mode;
            entry.modified = fields.modified.or(entry.modified);
        }
        Ok(entry)
    }

    /// The same tree with the names of Rock Ridge, if the root directory's own record promises them.
    pub fn rock_ridge(&self, medium: Medium<'_>) -> Result<Option<Self>, Error> {
        if self.length == 0 {
            return Ok(None);
        }
        let block = medium.read("the root directory", self.offset, SECTOR)?;
        let record = Record::read(block.piece())?;
        let skip = rock_ridge::promised(medium, u64::from(self.block), record.system_use)?;
        Ok(skip.map(|skip| Self { naming: Naming::RockRidge { skip }, ..*self }))
    }

    /// What stands in a directory.
    pub fn list(&self, medium: Medium<'_>, directory: &Entry) -> Result<Listing, Error> {
        let content = self.content(medium, directory)?;
        let mut listing = Listing::default();
        let mut budget = Budget::of(content.bytes.len() as u64);
        // Sections of a file that goes on in the next record (ECMA-119 6.5.1, 9.1.6).
        let mut sections: Option<(Vec<u8>, Vec<Extent>)> = None;
        for record in content.records() {
            let record = record?;
            if record.is_self_or_parent() || record.flags & ASSOCIATED != 0 {
                continue;
            }
            let mut extents = Vec::new();
            if let Some((identifier, earlier)) = sections.take() {
                if identifier != record.identifier.bytes {
                    return Err(record.whole.malformed("the file before it is not complete"));
                }
                extents = earlier;
            }
            extents.push(record.extent(self.block));
            if record.flags & MULTI_EXTENT != 0 {
                sections = Some((record.identifier.bytes.to_vec(), extents));
                continue;
            }
            match self.entry_of(medium, record, extents, &mut budget)? {
                Some(entry) if nameable(&entry.name) => listing.entries.push(entry),
                Some(_) => listing.unnameable = listing.unnameable.saturating_add(1),
                None => {}
            }
        }
        match sections {
            Some(_) => Err(content.piece().malformed("its last file is not complete")),
            None => Ok(listing),
        }
    }

    fn content(&self, medium: Medium<'_>, directory: &Entry) -> Result<Content, Error> {
        let Place::Iso { extents, .. } = &directory.place else {
            return Err(Error::NotADirectory { path: shown(&directory.name) });
        };
        let mut content = Content { offset: 0, bytes: Vec::new() };
        for (number, extent) in extents.iter().enumerate() {
            let offset = extent.offset.unwrap_or_default();
            if number == 0 {
                content.offset = offset;
            }
            // No directory is larger than its image, even if its parts overlap.
            let limit = LARGEST_DIRECTORY.min(medium.size);
            if (content.bytes.len() as u64).saturating_add(extent.length) > limit {
                medium.check("a directory", offset, extent.length)?;
                return Err(Error::Limit { what: "a directory", offset, limit });
            }
            medium.append("a directory", offset, extent.length, &mut content.bytes)?;
        }
        Ok(content)
    }

    fn fields(&self, medium: Medium<'_>, record: Record<'_>, budget: &mut Budget) -> Result<rock_ridge::Fields, Error> {
        match self.naming {
            Naming::RockRidge { skip } => {
                rock_ridge::fields(medium, u64::from(self.block), record.system_use.rest(skip.into()), budget)
            }
            Naming::Plain | Naming::Joliet => Ok(rock_ridge::Fields::default()),
        }
    }

    /// The entry of a record, or none if it only repeats a directory that was moved from elsewhere.
    fn entry_of(
        &self,
        medium: Medium<'_>,
        record: Record<'_>,
        mut extents: Vec<Extent>,
        budget: &mut Budget,
    ) -> Result<Option<Entry>, Error> {
        let fields = self.fields(medium, record, budget)?;
        if fields.relocated {
            return Ok(None);
        }
        let mut is_directory = record.flags & DIRECTORY != 0;
        if let Some(first) = fields.child {
            // The record only stands where the directory was; its own length is told by its own first record.
            let (what, offset) = ("a directory that was moved", u64::from(first) * u64::from(self.block));
            budget.spend(what, offset, SECTOR)?;
            let moved = medium.read(what, offset, SECTOR)?;
            extents = vec![Record::read(moved.piece())?.extent(self.block)];
            is_directory = true;
        }
        let name = match (fields.name, self.naming) {
            (Some(name), _) => name,
            (None, Naming::Joliet) => versionless(joliet::name(record.identifier.bytes)).into_bytes(),
            (None, _) => versionless(plain(record.identifier.bytes)).into_bytes(),
        };
        let kind = match (is_directory, &fields.target, fields.mode.map(|mode| mode & 0o170_000)) {
            (true, ..) => Kind::Directory,
            (false, Some(_), _) | (false, None, Some(0o120_000)) => Kind::Symlink,
            (false, None, Some(0o020_000 | 0o060_000 | 0o010_000 | 0o140_000)) => Kind::Special,
            (false, None, _) => Kind::File,
        };
        let size = match (kind, &fields.target) {
            (Kind::Symlink, target) => target.as_ref().map_or(0, Vec::len) as u64,
            (Kind::Special, _) => 0,
            _ => extents.iter().fold(0_u64, |sum, extent| sum.saturating_add(extent.length)),
        };
        let encoded = if record.interleaved { Some("interleaved with other files") } else { fields.encoded };
        Ok(Some(Entry {
            name,
            kind,
            size,
            mode: fields.mode,
            modified: fields.modified.or_else(|| time::short(record.date)),
            target: fields.target.filter(|_| kind == Kind::Symlink),
            place: Place::Iso { extents, encoded },
        }))
    }
}

/// The bytes of a directory.
struct Content {
    offset: u64,
    bytes: Vec<u8>,
}

impl Content {
    fn piece(&self) -> Piece<'_> {
        Piece { what: "a directory", offset: self.offset, bytes: &self.bytes }
    }

    /// All its records. None goes over the end of a sector; what is left of one is zeros (ECMA-119 6.8.1.1).
    fn records(&self) -> impl Iterator<Item = Result<Record<'_>, Error>> {
        const STEP: usize = SECTOR as usize;
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < self.bytes.len() {
                let sector_end = (at / STEP + 1).saturating_mul(STEP);
                let rest = self.piece().rest(at);
                let left = rest.bytes.get(..sector_end - at).unwrap_or(rest.bytes);
                if left.first().is_none_or(|length| *length == 0) {
                    at = sector_end;
                    continue;
                }
                let record = Record::read(Piece { what: "a directory record", bytes: left, ..rest });
                // After a broken record nothing can be found any more.
                at = record.as_ref().map_or(usize::MAX, |record| at + record.whole.bytes.len());
                return Some(record);
            }
            None
        })
    }
}

const DIRECTORY: u8 = 1 << 1;
const ASSOCIATED: u8 = 1 << 2;
const MULTI_EXTENT: u8 = 1 << 7;

/// One directory record (ECMA-119 9.1).
#[derive(Clone, Copy)]
struct Record<'a> {
    whole: Piece<'a>,
    identifier: Piece<'a>,
    date: Piece<'a>,
    system_use: Piece<'a>,
    flags: u8,
    first: u32,
    length: u32,
    interleaved: bool,
}

impl<'a> Record<'a> {
    /// The record at the start of a piece.
    fn read(at: Piece<'a>) -> Result<Self, Error> {
        let whole = Piece { what: "a directory record", ..at.part(0, at.u8(0)?.into())? };
        let identifier = whole.part(33, whole.u8(32)?.into())?;
        // A byte fills up names of even length (9.1.12).
        let end = 33 + identifier.bytes.len();
        let first = whole.u32(2)?.checked_add(whole.u8(1)?.into());
        Ok(Self {
            whole,
            identifier,
            date: whole.part(18, 7)?,
            system_use: Piece { what: "a system use area", ..whole.rest(end + (end & 1)) },
            flags: whole.u8(25)?,
            first: first.ok_or_else(|| whole.malformed("its extent begins beyond any image"))?,
            length: whole.u32(10)?,
            interleaved: whole.u8(26)? != 0 || whole.u8(27)? != 0,
        })
    }

    fn extent(&self, block: u32) -> Extent {
        Extent { offset: Some(u64::from(self.first) * u64::from(block)), length: self.length.into() }
    }

    fn is_self_or_parent(&self) -> bool {
        matches!(self.identifier.bytes, [0 | 1])
    }
}

/// A plain name has only capitals, digits and `_` by the standard. What is beyond ASCII is mostly UTF-8; anything else is kept
/// apart as Latin-1.
fn plain(identifier: &[u8]) -> String {
    match std::str::from_utf8(identifier) {
        Ok(name) => name.to_owned(),
        Err(_) => identifier.iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// A name without `;1`, and without the dot that stands for no ending (ECMA-119 7.5.1).
fn versionless(mut name: String) -> String {
    if let Some((stem, version)) = name.rsplit_once(';')
        && !version.is_empty()
        && version.bytes().all(|byte| byte.is_ascii_digit())
    {
        name.truncate(stem.len());
    }
    if name.len() > 1 && name.ends_with('.') && !name.ends_with("..") {
        name.pop();
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_empty_endings_are_no_part_of_a_name() {
        for (written, name) in
            [("A.TXT;1", "A.TXT"), ("VMLINUZ.;1", "VMLINUZ"), ("A", "A"), (";1", ""), ("a;b", "a;b"), ("x;", "x;")]
        {
            assert_eq!(versionless(written.to_owned()), name);
        }
        assert_eq!(versionless("..;1".to_owned()), "..");
    }
}
