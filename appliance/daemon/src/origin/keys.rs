//! The folder where people put keys that they trust, as files.

use super::signature::LONGEST;
use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// In the state folder.
pub const FOLDER: &str = "keys";

/// Why there is no key of this name.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("\"{0}\" is no name of a file in the folder of keys")]
    Name(String),
    #[error("the key file {} cannot be read: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Reads a key file of a folder. Waits for the disk.
///
/// # Errors
/// [`KeyFileError`].
pub fn read(folder: &Path, name: &str) -> Result<Vec<u8>, KeyFileError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.chars().all(plain) {
        return Err(KeyFileError::Name(rackberry_core::text::clean(name, 60)));
    }
    let path = folder.join(name);
    let mut bytes = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(LONGEST as u64 + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        Err(source) => Err(KeyFileError::Io { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_in_the_folder_are_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("debian.asc"), "key").unwrap();
        assert_eq!(read(folder.path(), "debian.asc").unwrap(), b"key");
        assert!(matches!(read(folder.path(), "none.asc"), Err(KeyFileError::Io { .. })));
        for name in ["", ".", "..", "../x", "a/b", "/etc/passwd", ".hidden", "a\0b"] {
            assert!(matches!(read(folder.path(), name), Err(KeyFileError::Name(_))), "{name:?}");
        }
    }
}
