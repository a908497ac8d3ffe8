//! Reads optical disc images in place: ISO 9660 with Rock Ridge and Joliet, UDF 1.02 to 2.60, and El Torito's boot catalogue.
//!
//! An [`Image`] stands on anything that implements [`ReadAt`]. Its best [`Tree`] lists directories, looks paths up and tells where
//! in the image the [`Contents`] of a file lie, so that a server can send them from there.
//!
//! ```no_run
//! use rackberry_iso::Image;
//! use std::fs::File;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let image = Image::open(File::open("netinst.iso")?)?;
//! let tree = image.best_tree()?;
//! let kernel = tree.find("/install.amd/vmlinuz")?;
//! for extent in tree.contents(&kernel)?.extents() {
//!     println!("{} bytes at {:?}", extent.length, extent.offset);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Images come from strangers. Whatever the bytes: nothing panics, nothing recurses, everything ends, memory stays below a small
//! multiple of what the image has, and no path leads out of it.

mod boot;
mod directory;
mod entry;
mod error;
mod image;
mod joliet;
mod rock_ridge;
mod source;
mod time;
mod tree;
mod udf;
mod volume;

pub use boot::{BootImage, Media, Platform};
pub use entry::{Contents, Entry, Extent, Kind, Listing};
pub use error::Error;
pub use image::Image;
pub use source::ReadAt;
pub use tree::{Tree, TreeKind, Walk};
pub use volume::VolumeInfo;
