//! One tree of an image: listing, looking up, walking. Nothing in here recurses, and no path leads out.

use crate::{
    Error,
    directory::Root,
    entry::{Contents, Entry, Kind, Listing, Place},
    error::shown,
    source::Medium,
    udf,
};
use std::{collections::HashSet, fmt, vec};

/// Bytes of a path that is looked up or met while walking.
const LONGEST_PATH: usize = 4096;
/// Directories within each other.
const DEEPEST: usize = 256;
/// Symbolic links on the way to one file, as Linux allows.
const MOST_LINKS: u32 = 40;

/// The names an image can be read by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TreeKind {
    RockRidge,
    Udf,
    Joliet,
    Plain,
}

impl TreeKind {
    /// The preferred one first.
    pub const ALL: [Self; 4] = [Self::RockRidge, Self::Udf, Self::Joliet, Self::Plain];
}

impl fmt::Display for TreeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RockRidge => "Rock Ridge",
            Self::Udf => "UDF",
            Self::Joliet => "Joliet",
            Self::Plain => "plain ISO 9660",
        })
    }
}

/// Where a tree's directories are read.
#[derive(Clone, Copy)]
pub(crate) enum Files<'a> {
    Iso(Root),
    Udf(&'a udf::Volume),
}

/// One tree of an image.
pub struct Tree<'a> {
    medium: Medium<'a>,
    files: Files<'a>,
    kind: TreeKind,
    label: &'a str,
    root: Entry,
}

impl<'a> Tree<'a> {
    pub(crate) fn open(medium: Medium<'a>, kind: TreeKind, files: Files<'a>, label: &'a str) -> Result<Self, Error> {
        let root = match files {
            Files::Iso(root) => root.entry(medium)?,
            Files::Udf(volume) => volume.root(medium)?,
        };
        Ok(Self { medium, files, kind, label, root })
    }

    #[must_use]
    pub fn kind(&self) -> TreeKind {
        self.kind
    }

    /// What this tree calls the disc: untrusted text.
    #[must_use]
    pub fn label(&self) -> &str {
        self.label
    }

    /// The directory everything else is in.
    #[must_use]
    pub fn root(&self) -> &Entry {
        &self.root
    }

    /// What stands in a directory.
    ///
    /// # Errors
    /// When it is none, cannot be read, is broken, or larger than 32 MiB.
    pub fn list(&self, directory: &Entry) -> Result<Listing, Error> {
        if directory.kind != Kind::Directory {
            return Err(Error::NotADirectory { path: shown(&directory.name) });
        }
        match self.files {
            Files::Iso(root) => root.list(self.medium, directory),
            Files::Udf(volume) => volume.list(self.medium, directory),
        }
    }

    /// The file or directory of a path, whatever symbolic links lead to it: parts between `/`, from the root on, where empty
    /// parts and `.` are nothing. Rock Ridge names are matched exactly; in the other trees case matters only where two names
    /// differ in nothing else.
    ///
    /// # Errors
    /// When nothing has that path, `..` or a link leads out of the image, or the way is broken, too long, or goes in circles.
    pub fn find(&self, path: impl AsRef<[u8]>) -> Result<Entry, Error> {
        self.look_up(path.as_ref(), true)
    }

    /// As [`Tree::find`], but if the last part is a symbolic link, then that link.
    ///
    /// # Errors
    /// As [`Tree::find`].
    pub fn find_link(&self, path: impl AsRef<[u8]>) -> Result<Entry, Error> {
        self.look_up(path.as_ref(), false)
    }

    /// Where the content of a file lies.
    ///
    /// # Errors
    /// When it is no file, its bytes are not stored as they are, or any lie outside of the image.
    pub fn contents(&self, file: &Entry) -> Result<Contents, Error> {
        if file.kind != Kind::File {
            return Err(Error::NotAFile { path: shown(&file.name) });
        }
        match (&file.place, self.files) {
            (Place::Iso { encoded: Some(how), .. }, _) => Err(Error::Encoded { path: shown(&file.name), how }),
            (Place::Iso { extents, encoded: None }, _) => Contents::new("a file", self.medium, extents.clone()),
            (Place::Udf(address), Files::Udf(volume)) => volume.contents(self.medium, *address),
            // An entry of another tree.
            (Place::Udf(_), Files::Iso(_)) => Err(Error::NotAFile { path: shown(&file.name) }),
        }
    }

    /// Every file, directory and link below the root with its path, directories before what is in them.
    #[must_use]
    pub fn walk(&self) -> Walk<'_> {
        Walk {
            tree: self,
            levels: Vec::new(),
            path: Vec::new(),
            seen: HashSet::new(),
            read: 0,
            begun: false,
            unnameable: 0,
        }
    }

    fn look_up(&self, path: &[u8], follow_last: bool) -> Result<Entry, Error> {
        let too_long = || Error::PathTooLong { path: shown(path), limit: LONGEST_PATH, depth: DEEPEST };
        if path.len() > LONGEST_PATH {
            return Err(too_long());
        }
        if path.contains(&0) {
            return Err(Error::NotFound { path: shown(path) });
        }
        let mut waiting: Vec<Vec<u8>> = parts(path);
        if waiting.iter().any(|part| part == b"..") {
            return Err(Error::LeadsOut { path: shown(path) });
        }
        // Where the way went so far, below the root.
        let mut way: Vec<Entry> = Vec::new();
        let mut links = 0;
        while let Some(part) = waiting.pop() {
            let here = way.last().unwrap_or(&self.root);
            if here.kind != Kind::Directory {
                return Err(Error::NotADirectory { path: shown(path) });
            }
            if part == b".." {
                way.pop().ok_or_else(|| Error::LeadsOut { path: shown(path) })?;
                continue;
            }
            let entry = self.child(here, &part)?.ok_or_else(|| Error::NotFound { path: shown(path) })?;
            match entry.target {
                Some(ref target) if entry.kind == Kind::Symlink && (follow_last || !waiting.is_empty()) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Error::LinkLoop { path: shown(path), limit: MOST_LINKS });
                    }
                    if target.starts_with(b"/") {
                        way.clear();
                    }
                    waiting.extend(parts(target));
                }
                _ => {
                    if way.len() >= DEEPEST {
                        return Err(too_long());
                    }
                    way.push(entry);
                }
            }
        }
        Ok(way.pop().unwrap_or_else(|| self.root.clone()))
    }

    /// The entry of that name in a directory.
    fn child(&self, directory: &Entry, name: &[u8]) -> Result<Option<Entry>, Error> {
        match self.files {
            Files::Iso(root) => {
                let mut entries = root.list(self.medium, directory)?.entries;
                let found = choose(entries.iter().map(|entry| entry.name.as_slice()), name, self.kind);
                Ok(found.map(|at| entries.swap_remove(at)))
            }
            Files::Udf(volume) => {
                let mut names = volume.names(self.medium, directory)?.named;
                match choose(names.iter().map(|(name, _)| name.as_slice()), name, self.kind) {
                    Some(at) => {
                        let (name, address) = names.swap_remove(at);
                        volume.entry(self.medium, name, address).map(Some)
                    }
                    None => Ok(None),
                }
            }
        }
    }
}

/// The parts of a path, the last one first.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    parts.rev().map(<[u8]>::to_vec).collect()
}

/// Which of the names is meant.
fn choose<'n>(names: impl Iterator<Item = &'n [u8]> + Clone, wanted: &[u8], kind: TreeKind) -> Option<usize> {
    let exact = names.clone().position(|name| name == wanted);
    if exact.is_some() || kind == TreeKind::RockRidge {
        return exact;
    }
    let fold = |name: &[u8]| String::from_utf8_lossy(name).to_lowercase();
    // What is not text has no case.
    let wanted = fold(std::str::from_utf8(wanted).ok()?.as_bytes());
    let mut names = names;
    names.position(|name| fold(name) == wanted)
}

/// All of a tree, see [`Tree::walk`]. After an error it has ended.
pub struct Walk<'t> {
    tree: &'t Tree<'t>,
    /// For each directory on the way: how long the path to it is, and what is left of it.
    levels: Vec<(usize, vec::IntoIter<Entry>)>,
    path: Vec<u8>,
    /// Where directories were read.
    seen: HashSet<u64>,
    /// Bytes of directories that were read.
    read: u64,
    begun: bool,
    unnameable: u32,
}

impl Walk<'_> {
    /// How many entries were left out so far, see [`Listing::unnameable`].
    #[must_use]
    pub fn unnameable(&self) -> u32 {
        self.unnameable
    }

    fn enter(&mut self, directory: &Entry) -> Result<(), Error> {
        let offset = match (&directory.place, self.tree.files) {
            (Place::Iso { extents, .. }, _) => extents.first().and_then(|extent| extent.offset).unwrap_or_default(),
            (Place::Udf(address), Files::Udf(volume)) => volume.offset_of(*address)?,
            (Place::Udf(_), Files::Iso(_)) => 0,
        };
        // No two directories of an honest image share a byte, so that all of them are smaller than it.
        self.read = self.read.saturating_add(directory.size);
        if !self.seen.insert(offset) || self.read > self.tree.medium.size {
            return Err(Error::DirectoryLoop { path: shown(&self.path), offset });
        }
        if self.path.len() > LONGEST_PATH || self.levels.len() >= DEEPEST {
            return Err(Error::PathTooLong { path: shown(&self.path), limit: LONGEST_PATH, depth: DEEPEST });
        }
        let listing = self.tree.list(directory)?;
        self.unnameable = self.unnameable.saturating_add(listing.unnameable);
        self.levels.push((self.path.len(), listing.entries.into_iter()));
        Ok(())
    }

    fn step(&mut self) -> Result<Option<(Vec<u8>, Entry)>, Error> {
        if !self.begun {
            self.begun = true;
            let root = self.tree.root.clone();
            self.enter(&root)?;
        }
        loop {
            let Some((length, entries)) = self.levels.last_mut() else { return Ok(None) };
            self.path.truncate(*length);
            let Some(entry) = entries.next() else {
                self.levels.pop();
                continue;
            };
            self.path.push(b'/');
            self.path.extend(&entry.name);
            if entry.kind == Kind::Directory {
                self.enter(&entry)?;
            }
            return Ok(Some((self.path.clone(), entry)));
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<(Vec<u8>, Entry), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.levels.clear();
        }
        step.transpose()
    }
}
