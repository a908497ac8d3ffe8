//! What can be wrong with an image or a question about it.

use crate::TreeKind;
use std::io;

/// Why something could not be read; offsets are bytes from the start of the image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file below the image failed.
    #[error("cannot read {what} at byte {offset} of the image")]
    Io { what: &'static str, offset: u64, source: io::Error },
    /// Neither a volume descriptor of ISO 9660 nor one of UDF is where it has to be.
    #[error("no ISO 9660 or UDF volume begins at byte 32768: this is not an optical disc image")]
    NotAnImage,
    /// The image says that something lies where the file has already ended: it was cut short, or lies.
    #[error("{what} should be {length} bytes at byte {offset}, but the image has only {size} bytes: is it complete?")]
    Outside { what: &'static str, offset: u64, length: u64, size: u64 },
    /// A structure contradicts its specification.
    #[error("{what} at byte {offset} of the image is broken: {why}")]
    Malformed { what: &'static str, offset: u64, why: &'static str },
    /// A format that exists and that this reader leaves alone.
    #[error("{what} at byte {offset} of the image cannot be read: {why}")]
    Unsupported { what: &'static str, offset: u64, why: &'static str },
    /// More of something than an honest image has.
    #[error("{what} at byte {offset} of the image goes beyond {limit}, the most that is read")]
    Limit { what: &'static str, offset: u64, limit: u64 },
    /// A directory that is its own descendant, or overlaps with others.
    #[error("the directory {path} lies at byte {offset} of the image, where another directory was read already")]
    DirectoryLoop { path: String, offset: u64 },
    /// The image has no such tree.
    #[error("the image has no {0} tree")]
    NoTree(TreeKind),
    /// No file has that name.
    #[error("the image has no {path}")]
    NotFound { path: String },
    /// A file stands where the path needs a directory.
    #[error("{path} is not a directory of the image")]
    NotADirectory { path: String },
    /// Its content was asked for, and it has none.
    #[error("{path} is not a file of the image")]
    NotAFile { path: String },
    /// `..` in a request, or a symbolic link that climbs over the root.
    #[error("{path} leads out of the image")]
    LeadsOut { path: String },
    /// Symbolic links that lead to each other, or too many in a row.
    #[error("{path} goes through more than {limit} symbolic links")]
    LinkLoop { path: String, limit: u32 },
    /// A path or one of its parts is longer than any name in an image.
    #[error("the path {path} is longer than {limit} bytes or deeper than {depth} directories")]
    PathTooLong { path: String, limit: usize, depth: usize },
    /// The bytes on the disc are not the file's: zisofs, sparse, interleaved.
    #[error("the content of {path} is stored {how}, which cannot be served in place")]
    Encoded { path: String, how: &'static str },
}

/// A path or name as it may stand in a message: ASCII, and not endless.
pub(crate) fn shown(path: &[u8]) -> String {
    const LONGEST: usize = 200;
    match path.get(..LONGEST) {
        Some(start) => format!("{}...", start.escape_ascii()),
        None => path.escape_ascii().to_string(),
    }
}
