//! Images that are served from: a few stay open with what was found out about them.

use super::{
    Blob, HeldFile, Media, OpenFileError, Opened, Place,
    checked::{Checked, Part, as_damage},
    content_type, entity_tag,
};
use rackberry_core::image::Digest;
use rackberry_iso::{Error as DiscError, Extent};
use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Instant,
};
use tokio::sync::Mutex;

/// Images that stay open; beyond, the one asked for longest ago goes.
const MOST: usize = 16;
/// Up to so many bytes are compared with their sums before the first is sent; of more, each chunk before its own.
pub const AT_ONCE: u64 = 64 << 20;

/// How much is compared before the first byte of so many is sent.
#[must_use]
pub fn first(length: u64) -> u64 {
    if length <= AT_ONCE { length } else { 1 }
}

/// One image, open.
#[derive(Debug)]
struct Stored {
    checked: Arc<Checked>,
    disc: OnceLock<Option<Disc>>,
}

struct Disc(rackberry_iso::Image<Arc<Checked>>);

impl std::fmt::Debug for Disc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disc").field("size", &self.0.size()).finish()
    }
}

/// A place for one image; who opens it holds it.
#[derive(Debug, Clone)]
struct Slot {
    stored: Arc<Mutex<Option<Arc<Stored>>>>,
    used: Instant,
}

/// The images that are open; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Containers {
    slots: Arc<Mutex<HashMap<Digest, Slot>>>,
}

impl Containers {
    async fn slot(&self, image: Digest) -> Arc<Mutex<Option<Arc<Stored>>>> {
        let mut slots = self.slots.lock().await;
        if slots.len() >= MOST && !slots.contains_key(&image) {
            let oldest = slots.iter().min_by_key(|(_, slot)| slot.used).map(|(image, _)| *image);
            oldest.map(|oldest| slots.remove(&oldest));
        }
        let now = Instant::now();
        let slot = slots.entry(image).or_insert_with(|| Slot { stored: Arc::default(), used: now });
        slot.used = now;
        Arc::clone(&slot.stored)
    }

    /// Closes what belongs to an image that is gone.
    pub async fn forget(&self, image: &Digest) {
        let gone = self.slots.lock().await.remove(image);
        // Closing a removed file frees its blocks, which can take a card long.
        let _ = tokio::task::spawn_blocking(move || drop(gone)).await;
    }
}

impl Media {
    /// The image's bytes as they are served, or a file inside it; `None` if there is none.
    pub(super) async fn open_image(
        &self,
        image: Digest,
        inside: Option<String>,
    ) -> Result<Option<Opened>, OpenFileError> {
        let Some(stored) = self.stored(image).await? else { return Ok(None) };
        let checked = Arc::clone(&stored.checked);
        let (part, etag, content_type) = match inside {
            None => (Part::whole(checked), entity_tag(&image.to_string()), "application/octet-stream"),
            Some(path) => {
                let content_type = content_type(&path);
                let path_of_image = self.image_path(&image);
                let found = tokio::task::spawn_blocking(move || {
                    stored.find(&path).map_err(|error| error.named(&path_of_image, &path))
                });
                let Some(part) = found.await.unwrap_or(Ok(None))? else { return Ok(None) };
                let first = part.stretches().first().and_then(|stretch| stretch.offset).unwrap_or_default();
                let tag = format!("{image}-{first:x}-{:x}-{:x}", part.len(), part.stretches().len());
                (part, entity_tag(&tag), content_type)
            }
        };
        let part = Arc::new(part);
        part.prepare(0, first(part.len())).await?;
        let len = part.len();
        Ok(Some(Opened { blob: Blob::Part(part), len, etag, content_type, own: None }))
    }

    /// How long a file inside an image is; `None` if there is no such file or no such image.
    ///
    /// # Errors
    /// [`OpenFileError`] if the image cannot be read or is damaged.
    pub async fn find_inside(&self, image: &Digest, path: &str) -> Result<Option<u64>, OpenFileError> {
        let Some(stored) = self.stored(*image).await? else { return Ok(None) };
        let (path, path_of_image) = (path.to_owned(), self.image_path(image));
        let found =
            tokio::task::spawn_blocking(move || stored.find(&path).map_err(|error| error.named(&path_of_image, &path)));
        Ok(found.await.unwrap_or(Ok(None))?.map(|part| part.len()))
    }

    async fn stored(&self, image: Digest) -> Result<Option<Arc<Stored>>, OpenFileError> {
        let slot = self.containers.slot(image).await;
        let mut held = slot.lock_owned().await;
        if let Some(stored) = held.as_ref().filter(|stored| stored.checked.is_same()) {
            return Ok(Some(Arc::clone(stored)));
        }
        let media = self.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let fresh = media.open_stored(image)?;
            *held = fresh.clone().filter(|stored| stored.checked.settled);
            Ok(fresh)
        });
        opened.await.unwrap_or(Ok(None))
    }

    fn open_stored(&self, image: Digest) -> Result<Option<Arc<Stored>>, OpenFileError> {
        let Some(file) = self.file_of(image)? else { return Ok(None) };
        let inventory = self.inventory.get().cloned();
        let known = inventory.as_ref().and_then(|inventory| inventory.snapshot().images.get(&image).cloned());
        let checked = Checked::open(image, known.as_deref(), file, self.image_path(&image), inventory)?;
        Ok(Some(Arc::new(Stored { checked: Arc::new(checked), disc: OnceLock::new() })))
    }

    fn file_of(&self, image: Digest) -> Result<Option<Arc<HeldFile>>, OpenFileError> {
        let opened = self.first(vec![(Place::Images, image.to_string())])?;
        Ok(opened.and_then(|opened| match opened.blob {
            Blob::File(file) => Some(file),
            Blob::Bytes(_) | Blob::Part(_) => None,
        }))
    }
}

/// Why a file is not found in an image.
enum FindError {
    Damaged(super::checked::Damaged),
    Disc(DiscError),
}

impl FindError {
    fn named(self, image: &std::path::Path, path: &str) -> OpenFileError {
        match self {
            FindError::Damaged(damaged) => OpenFileError::Damaged(damaged),
            FindError::Disc(source) => {
                let path = image.join(rackberry_core::text::clean(path, 200));
                OpenFileError::Io { path, source: std::io::Error::other(source) }
            }
        }
    }
}

impl Stored {
    /// Blocks on the disk: folders are read, and compared with their sums.
    fn find(&self, path: &str) -> Result<Option<Part>, FindError> {
        if let Some(tree) = &self.checked.tree {
            let found = tree.find(path);
            let part =
                |(offset, length)| Part::new(Arc::clone(&self.checked), vec![Extent { offset: Some(offset), length }]);
            return Ok(found.map(part));
        }
        let damaged = |error: DiscError| match as_damage(&error) {
            Some(damaged) => FindError::Damaged(damaged),
            None => FindError::Disc(error),
        };
        let Some(disc) = self.disc().map_err(damaged)? else { return Ok(None) };
        let look = || {
            let tree = disc.0.best_tree()?;
            tree.contents(&tree.find(path)?)
        };
        match look() {
            Ok(contents) => Ok(Some(Part::new(Arc::clone(&self.checked), contents.extents().to_vec()))),
            Err(
                DiscError::NotFound { .. }
                | DiscError::NotADirectory { .. }
                | DiscError::NotAFile { .. }
                | DiscError::LeadsOut { .. }
                | DiscError::LinkLoop { .. }
                | DiscError::PathTooLong { .. },
            ) => Ok(None),
            Err(error) => Err(damaged(error)),
        }
    }

    fn disc(&self) -> Result<Option<&Disc>, DiscError> {
        if let Some(disc) = self.disc.get() {
            return Ok(disc.as_ref());
        }
        let disc = match rackberry_iso::Image::open(Arc::clone(&self.checked)) {
            Ok(disc) => Some(Disc(disc)),
            // Files that are no discs have nothing inside.
            Err(error @ DiscError::Io { .. }) if as_damage(&error).is_some() => return Err(error),
            Err(_) => None,
        };
        Ok(self.disc.get_or_init(|| disc).as_ref())
    }
}
