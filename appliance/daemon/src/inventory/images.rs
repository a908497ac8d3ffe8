//! Imported media, as far as they are rows; the bytes lie in files.

use super::{
    error::StoreError,
    rows::{execute, to_json},
    tx::Tx,
};
use rackberry_core::{
    event::{Actor, EventKind},
    image::{Digest, Image},
};
use std::sync::Arc;

impl Tx<'_> {
    /// An image.
    #[must_use]
    pub fn image(&self, digest: Digest) -> Option<Arc<Image>> {
        self.state.images.get(&digest).cloned()
    }

    /// Makes imported media known; the same digest again replaces what was known of it.
    ///
    /// # Errors
    /// [`StoreError::ImageNameTaken`], or storage.
    pub fn put_image(&mut self, image: Image, actor: Actor) -> Result<Arc<Image>, StoreError> {
        if self.state.image_by_name(image.name.as_str()).is_some_and(|other| other.digest != image.digest) {
            return Err(StoreError::ImageNameTaken { name: image.name });
        }
        let sql = "INSERT INTO images (digest, name, json) VALUES (?1, ?2, ?3) ON CONFLICT (digest)
                   DO UPDATE SET name = excluded.name, json = excluded.json";
        let row = (image.digest.0.as_slice(), image.name.as_str(), to_json(&image, &image.name)?);
        execute(self.conn, sql, row, "store image", &image.name)?;
        let kind = EventKind::ImageImported { digest: image.digest, name: image.name.clone() };
        self.record(None, None, actor, kind)?;
        let image = Arc::new(image);
        self.state.images.insert(image.digest, image.clone());
        Ok(image)
    }

    /// Forgets an image; running installs keep their copy of its digest.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or storage.
    pub fn remove_image(&mut self, digest: Digest, actor: Actor) -> Result<(), StoreError> {
        let Some(image) = self.state.images.remove(&digest) else {
            return Err(StoreError::NotFound { what: "image", id: digest.to_string() });
        };
        let key = [digest.0.as_slice()];
        execute(self.conn, "DELETE FROM images WHERE digest = ?1", key, "remove image", &image.name)?;
        self.record(None, None, actor, EventKind::ImageRemoved { digest, name: image.name.clone() }).map(drop)
    }
}
