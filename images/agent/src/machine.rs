//! Where this machine's kernel shows itself: `/proc`, `/sys` and `/dev`, or a copy of them below another folder.

use rackberry_core::text::CleanText;
use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

/// No attribute that we read is longer.
const ATTRIBUTE_LIMIT: u64 = 1 << 20;

/// The tree that stands for the machine.
#[derive(Debug, Clone)]
pub struct Machine {
    root: PathBuf,
}

impl Default for Machine {
    fn default() -> Self {
        Machine::at("/")
    }
}

impl Machine {
    /// The machine whose `/proc`, `/sys` and `/dev` lie below `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Machine { root: root.into() }
    }

    /// The place of an absolute path.
    #[must_use]
    pub fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// The text of an attribute, without blanks around it; none if it cannot be read.
    #[must_use]
    pub fn text(&self, absolute: &str) -> Option<String> {
        text(&self.path(absolute))
    }
}

/// The text of a small file without blanks and zero bytes around it; none if it cannot be read.
#[must_use]
pub fn text(path: &Path) -> Option<String> {
    let bytes = bytes(path)?;
    Some(String::from_utf8_lossy(&bytes).trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned())
}

/// An attribute as text for people; empty if it cannot be read.
#[must_use]
pub fn clean(path: &Path) -> CleanText {
    text(path).map_or_else(CleanText::default, |text| CleanText::new(&text))
}

/// A number in an attribute.
#[must_use]
pub fn number(path: &Path) -> Option<u64> {
    text(path)?.parse().ok()
}

/// The bytes of a small file.
#[must_use]
pub fn bytes(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(ATTRIBUTE_LIMIT).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The names in a folder, sorted; empty if there is none.
#[must_use]
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The last part of where a symbolic link points.
#[must_use]
pub fn link_name(link: &Path) -> Option<String> {
    fs::read_link(link).ok()?.file_name()?.to_str().map(str::to_owned)
}
