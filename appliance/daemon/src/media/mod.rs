//! Everything served as a file: loaders, RAM OS, imported images, own files; and how images come in.
//!
//! Images are blobs named by their digest in `<state>/images`; a file appears there only by rename, once it is whole and
//! synced, and is never changed afterwards.

mod checked;
mod containers;
mod import;
mod pack;
mod recognise;
mod shelf;
mod sums;
#[cfg(test)]
mod systems;
mod tar;
#[cfg(test)]
mod tests;
mod unpack;
mod uploads;
mod worker;

pub use checked::{Damaged, Part, alarm_key};
pub use containers::first;
pub use import::{Import, ImportError};
pub use pack::Packed;
pub use recognise::{Found, recognise};
pub use shelf::HeldFile;
pub use uploads::{Arriving, Upload, UploadError};
pub use worker::{WorkerError, run as run_worker};

use crate::inventory::Inventory;
use bytes::Bytes;
use containers::Containers;
use http::HeaderValue;
use rackberry_core::{
    boot::path::FileRef,
    image::{Digest, Image},
};
use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    io::Errno,
};
use shelf::Shelf;
use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Instant,
};
use worker::Worker;

/// The bytes of an opened file.
#[derive(Debug, Clone)]
pub enum Blob {
    Bytes(Bytes),
    /// Read by position only, so that many clients can share it.
    File(Arc<HeldFile>),
    /// An image, or a file inside one: nothing of it is given away that was not compared with its sum.
    Part(Arc<Part>),
}

/// A file ready to be served.
#[derive(Debug, Clone)]
pub struct Opened {
    pub blob: Blob,
    pub len: u64,
    /// The entity tag with its quotes: the digest where the name is one; else it changes whenever the bytes may have.
    pub etag: HeaderValue,
    pub content_type: &'static str,
    /// The path in the files folder, if it is a person's own file.
    pub own: Option<String>,
}

/// A file that is there but cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum OpenFileError {
    #[error("cannot open {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Damaged(Damaged),
}

/// Finds and opens files; cheap to clone.
#[derive(Debug, Clone)]
pub struct Media {
    assets: Arc<PathBuf>,
    /// The same folder, open since the start; none if it was not there then. Root by its name alone may not reach it any more
    /// once its rights are given up: it may lie in somebody's closed home.
    assets_folder: Option<Arc<OwnedFd>>,
    state_dir: Arc<PathBuf>,
    shelf: Shelf,
    containers: Containers,
    /// Which images there are, once that is open.
    inventory: Arc<OnceLock<Inventory>>,
    worker: Worker,
    uploads: uploads::Uploads,
}

impl Media {
    /// Serves loaders and RAM OS from `assets`, images and own files from `state_dir`, whose folders it makes.
    ///
    /// # Errors
    /// If the folders cannot be made.
    pub fn new(assets: PathBuf, state_dir: PathBuf) -> Result<Self, OpenFileError> {
        for folder in ["files", "images", "images/incoming"] {
            let path = state_dir.join(folder);
            std::fs::create_dir_all(&path).map_err(|source| OpenFileError::Io { path, source })?;
        }
        let assets_folder = folder(&assets).ok().map(Arc::new);
        let (assets, state_dir) = (Arc::new(assets), Arc::new(state_dir));
        let (shelf, containers) = (Shelf::default(), Containers::default());
        let media = Media {
            assets,
            assets_folder,
            state_dir,
            shelf,
            containers,
            inventory: Arc::default(),
            worker: Worker::default(),
            uploads: uploads::Uploads::default(),
        };
        media.sweep();
        media.sweep_uploads();
        Ok(media)
    }

    /// Has media looked at by `program import-worker`, in a process of its own.
    #[must_use]
    pub fn with_worker(mut self, program: PathBuf) -> Self {
        self.worker.program = Some(program);
        self
    }

    /// Learns from now on of images and their sums from this inventory, and tells it of damage.
    pub fn attend(&self, inventory: &Inventory) {
        let _ = self.inventory.set(inventory.clone());
    }

    /// Removes what imports left behind that a crash broke off.
    fn sweep(&self) {
        let Ok(leftovers) = std::fs::read_dir(self.incoming()) else { return };
        for leftover in leftovers.flatten() {
            let _ = std::fs::remove_file(leftover.path());
        }
    }

    /// Where the blob of an image lies.
    #[must_use]
    pub fn image_path(&self, digest: &Digest) -> PathBuf {
        self.state_dir.join("images").join(digest.to_string())
    }

    /// A place for a file that lives only while something is under way; swept at start.
    #[must_use]
    pub fn aside(&self, name: &str) -> PathBuf {
        self.incoming().join(name)
    }

    /// Where files from elsewhere lie until they are whole, each with its note; there once one was begun.
    #[must_use]
    pub fn fetching(&self) -> PathBuf {
        self.state_dir.join("images/fetching")
    }

    fn incoming(&self) -> PathBuf {
        self.state_dir.join("images/incoming")
    }

    /// Where loaders, RAM OS and catalogue lie.
    #[must_use]
    pub fn assets(&self) -> &Path {
        &self.assets
    }

    /// Removes an image's blob; one that is gone already is fine.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn remove(&self, image: &Image) -> Result<(), OpenFileError> {
        let path = self.image_path(&image.digest);
        let _ = std::fs::remove_file(sums::Beside::path(&path));
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(OpenFileError::Io { path, source }),
            _ => Ok(()),
        }
    }

    /// Closes the file of an image that is about to be removed.
    pub async fn forget(&self, image: &Digest) {
        self.containers.forget(image).await;
    }

    /// What a boot client asked for, if it was opened a moment ago and has not changed since. Waits for no disk.
    #[must_use]
    pub fn at_once(&self, file: &FileRef) -> Option<Arc<Opened>> {
        self.shelf.find(file)
    }

    /// Opens what a boot client asked for, off the runtime; `None` if it does not exist or is no plain file.
    ///
    /// # Errors
    /// [`OpenFileError`] if it exists and cannot be opened.
    pub async fn open(&self, file: &FileRef) -> Result<Option<Arc<Opened>>, OpenFileError> {
        if let Some(opened) = self.at_once(file) {
            return Ok(Some(opened));
        }
        // The two folders that only we and the package manager fill may hold symbolic links; a person's may not, as
        // their target may lie outside.
        let asset = |relative: String| vec![(Place::Assets, relative)];
        let places = match file {
            FileRef::Loader(name) => asset(format!("loaders/{name}")),
            FileRef::RamOs { arch, part } => asset(format!("ramos/{arch}/{}", part.file_name())),
            FileRef::Program { path, name } => {
                vec![(Place::Files, path.clone()), (Place::Assets, format!("loaders/{name}"))]
            }
            FileRef::Image(image) => return self.open_in_image(file, *image, None).await,
            FileRef::Inside { image, path } => return self.open_in_image(file, *image, Some(path.clone())).await,
            FileRef::Own(path) => vec![(Place::Files, path.clone())],
            FileRef::Script
            | FileRef::HostScript(_)
            | FileRef::AutoExec
            | FileRef::Config(_)
            | FileRef::Answer { .. } => return Ok(None),
        };
        let (media, file) = (self.clone(), file.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let since = Instant::now();
            // A person may put a file before the one that was found: that one is looked for each time.
            let sole = places.len() == 1;
            let found = media.first(places)?;
            Ok(found.map(|opened| if sole { media.shelf.keep(file, opened, since) } else { Arc::new(opened) }))
        });
        opened.await.unwrap_or(Ok(None))
    }

    async fn open_in_image(
        &self,
        file: &FileRef,
        image: Digest,
        inside: Option<String>,
    ) -> Result<Option<Arc<Opened>>, OpenFileError> {
        let since = Instant::now();
        let Some(opened) = self.open_image(image, inside).await? else { return Ok(None) };
        let settled = matches!(&opened.blob, Blob::Part(part) if part.checked().settled);
        if !settled {
            return Ok(Some(Arc::new(opened)));
        }
        let (shelf, file) = (self.shelf.clone(), file.clone());
        let kept = tokio::task::spawn_blocking(move || shelf.keep(file, opened, since)).await;
        Ok(kept.ok())
    }

    /// The first of these paths in the files folder that is a plain file, opened.
    ///
    /// # Errors
    /// [`OpenFileError`] if one exists and cannot be opened.
    pub async fn first_own(&self, paths: Vec<String>) -> Result<Option<Opened>, OpenFileError> {
        let media = self.clone();
        let places = paths.into_iter().map(|path| (Place::Files, path)).collect();
        tokio::task::spawn_blocking(move || media.first(places)).await.unwrap_or(Ok(None))
    }

    /// Waits for the disk.
    fn first(&self, places: Vec<(Place, String)>) -> Result<Option<Opened>, OpenFileError> {
        for (place, relative) in places {
            let root = match place {
                Place::Assets => self.assets.as_path().to_owned(),
                Place::Images => self.state_dir.join("images"),
                Place::Files => self.state_dir.join("files"),
            };
            let held = self.assets_folder.as_ref().filter(|_| place == Place::Assets);
            let opened = match held {
                Some(held) => open_in(held, &root, &relative, false),
                None => open_beneath(&root, &relative, place == Place::Files),
            };
            if let Some(mut opened) = opened? {
                match place {
                    Place::Files => opened.own = Some(relative),
                    Place::Images | Place::Assets => {}
                }
                return Ok(Some(opened));
            }
        }
        Ok(None)
    }
}

/// The folders that are served from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Assets,
    Images,
    Files,
}

fn folder(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens `relative` beneath `root`.
fn open_beneath(root: &Path, relative: &str, strict: bool) -> Result<Option<Opened>, OpenFileError> {
    match folder(root) {
        Ok(folder) => open_in(&folder, root, relative, strict),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(OpenFileError::Io { path: root.join(relative), source: error.into() }),
    }
}

/// Opens `relative` in `folder`, which is `root`; nothing in the path can lead outside (openat2(2), RESOLVE_BENEATH).
fn open_in(folder: &OwnedFd, root: &Path, relative: &str, strict: bool) -> Result<Option<Opened>, OpenFileError> {
    let wrap = |error: Errno| OpenFileError::Io { path: root.join(relative), source: error.into() };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = if strict {
        rustix::fs::openat2(
            folder,
            relative,
            flags,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
        )
    } else {
        rustix::fs::openat(folder, relative, flags, Mode::empty())
    };
    let file = match opened {
        Ok(descriptor) => HeldFile::from(File::from(descriptor)),
        Err(
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NAMETOOLONG | Errno::NXIO | Errno::INVAL,
        ) => return Ok(None),
        Err(error) => return Err(wrap(error)),
    };
    let facts = file.metadata().map_err(|source| OpenFileError::Io { path: root.join(relative), source })?;
    if !facts.is_file() {
        return Ok(None);
    }
    Ok(Some(Opened {
        len: facts.len(),
        etag: entity_tag(&format!("{:x}-{:x}-{:x}{:x}", facts.ino(), facts.len(), facts.mtime(), facts.mtime_nsec())),
        content_type: content_type(relative),
        blob: Blob::File(Arc::new(file)),
        own: None,
    }))
}

/// Of digits and dashes only.
fn entity_tag(of: &str) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{of}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// EDK2 decides by type whether it may start a file (UEFI 2.10, 24.7.1), so those types have to be right.
fn content_type(name: &str) -> &'static str {
    let suffix = name.rsplit_once('.').map(|(_, suffix)| suffix.to_ascii_lowercase());
    match suffix.as_deref().unwrap_or_default() {
        "efi" => "application/efi",
        "iso" => "application/vnd.efi-iso",
        "img" => "application/vnd.efi-img",
        "ipxe" | "txt" | "cfg" | "yml" | "yaml" | "ks" => "text/plain; charset=utf-8",
        "json" => "application/json",
        "html" => "text/html; charset=utf-8",
        _ => "application/octet-stream",
    }
}
