//! Files that come in pieces, and can go on where they broke off: also after the box was off.

use super::{Import, ImportError, Media, import::room};
use rackberry_core::image::Digest;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Uploads that may wait for their rest.
const MOST: usize = 8;
/// One that nobody went on with for so long is swept.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// What was announced of a file, and how much of it is here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Upload {
    pub id: String,
    pub name: String,
    pub size_bytes: u64,
    /// So many bytes are here; the next one to send.
    pub offset: u64,
    #[serde(default)]
    pub origin: String,
    /// Tells one version of a file from another; the same again goes on.
    #[serde(default)]
    pub stamp: String,
    #[serde(default)]
    pub sha256: Option<Digest>,
    #[serde(default)]
    pub as_it_is: bool,
}

/// Why an upload does not go on.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error("There is no upload {0}. It may be done, or nobody went on with it for a day.")]
    Unknown(String),
    #[error("{offset} bytes of it are here: send what follows from there.")]
    Offset { offset: u64 },
    #[error("The file is longer than the {size} bytes that were announced.")]
    TooLong { size: u64 },
    #[error("Of {size} bytes only {offset} are here.")]
    NotWhole { offset: u64, size: u64 },
    #[error("{MOST} uploads wait for their rest already. Go on with one, or give one up.")]
    TooMany,
    #[error(transparent)]
    Import(#[from] ImportError),
}

type Slot = Arc<Mutex<Option<Import>>>;

/// The uploads under way; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Uploads {
    slots: Arc<Mutex<HashMap<String, Slot>>>,
}

/// An upload that somebody sends to; others wait.
#[derive(Debug)]
pub struct Arriving {
    upload: Upload,
    media: Media,
    import: OwnedMutexGuard<Option<Import>>,
}

impl Media {
    fn partial(&self) -> PathBuf {
        self.state_dir.join("images/partial")
    }

    fn note_of(&self, id: &str) -> PathBuf {
        self.partial().join(format!("{id}.json"))
    }

    /// Removes what nobody went on with for a day, and what belongs to none. Blocks on the disk.
    pub(super) fn sweep_uploads(&self) {
        let now = SystemTime::now();
        for entry in std::fs::read_dir(self.partial()).into_iter().flatten().flatten() {
            let path = entry.path();
            let changed = entry.metadata().and_then(|facts| facts.modified()).ok();
            // By a clock that was set back everything is young.
            let old = changed.and_then(|changed| now.duration_since(changed).ok()).is_some_and(|age| age > KEPT_FOR);
            if old || !path.with_extension("json").exists() {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// Every upload that can go on. Blocks on the disk.
    #[must_use]
    pub fn uploads(&self) -> Vec<Upload> {
        let entries = std::fs::read_dir(self.partial()).into_iter().flatten().flatten();
        let notes = entries.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "json"));
        let mut uploads: Vec<Upload> =
            notes.filter_map(|entry| serde_json::from_slice(&std::fs::read(entry.path()).ok()?).ok()).collect();
        uploads.sort_by(|a, b| a.id.cmp(&b.id));
        uploads
    }

    /// Announces a file; one that was announced before with the same words goes on. Blocks on the disk.
    ///
    /// # Errors
    /// [`UploadError`] if it cannot fit, or too many wait.
    pub fn begin_upload(&self, wanted: Upload) -> Result<Upload, UploadError> {
        self.sweep_uploads();
        let waiting = self.uploads();
        let same =
            |known: &&Upload| Upload { id: wanted.id.clone(), offset: wanted.offset, ..(*known).clone() } == wanted;
        if let Some(known) = waiting.iter().find(same) {
            return Ok(known.clone());
        }
        if waiting.len() >= MOST {
            return Err(UploadError::TooMany);
        }
        let room = self.room(&wanted.id);
        if wanted.size_bytes > room {
            return Err(ImportError::TooLarge { size: wanted.size_bytes, room }.into());
        }
        let data = self.partial().join(&wanted.id);
        std::fs::create_dir_all(self.partial()).map_err(|source| ImportError::Io {
            doing: "create",
            path: self.partial(),
            source,
        })?;
        self.note(&wanted)?;
        std::fs::File::create(&data).map_err(|source| ImportError::Io { doing: "create", path: data, source })?;
        Ok(wanted)
    }

    fn note(&self, upload: &Upload) -> Result<(), ImportError> {
        let path = self.note_of(&upload.id);
        let part = path.with_extension("part");
        let wrap = |source| ImportError::Io { doing: "write", path: path.clone(), source };
        let text = serde_json::to_vec(upload).map_err(|error| wrap(error.into()))?;
        std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, &path)).map_err(wrap)
    }

    /// Bytes that may still come in by the upload of this id, or by whatever else: what the other uploads were promised is theirs.
    /// Blocks on the disk.
    #[must_use]
    pub fn room(&self, upload: &str) -> u64 {
        let free = std::fs::File::open(self.state_dir.join("images")).ok().and_then(|folder| room(&folder));
        let others = self.uploads().into_iter().filter(|other| other.id != upload);
        others.fold(free.unwrap_or(0), |room, other| room.saturating_sub(other.size_bytes.saturating_sub(other.offset)))
    }

    /// An upload as it stands. Blocks on the disk.
    ///
    /// # Errors
    /// [`UploadError::Unknown`].
    pub fn upload(&self, id: &str) -> Result<Upload, UploadError> {
        let known = self.uploads().into_iter().find(|upload| upload.id == id);
        known.ok_or_else(|| UploadError::Unknown(rackberry_core::text::clean(id, 40)))
    }

    /// Goes on with an upload.
    ///
    /// # Errors
    /// [`UploadError`].
    pub async fn go_on(&self, id: &str) -> Result<Arriving, UploadError> {
        let slot = Arc::clone(self.uploads.slots.lock().await.entry(id.to_owned()).or_default());
        let import = slot.lock_owned().await;
        let (media, name) = (self.clone(), id.to_owned());
        let done = tokio::task::spawn_blocking(move || {
            let mut arriving = Arriving { upload: media.upload(&name)?, media, import };
            if arriving.import.is_none() {
                // What was not synced before the box went off is not believed to be here.
                let (path, offset) = (arriving.media.partial().join(&name), arriving.upload.offset);
                let import = Import::resume(&arriving.media, path, offset, |_| {})?;
                *arriving.import = Some(import.as_it_is(arriving.upload.as_it_is));
            }
            arriving.upload.offset = arriving.written();
            Ok(arriving)
        });
        let arriving = done.await.unwrap_or_else(|_| Err(UploadError::Unknown(id.to_owned())));
        if matches!(arriving, Err(UploadError::Unknown(_))) {
            self.uploads.slots.lock().await.remove(id);
        }
        arriving
    }

    /// Gives an upload up.
    ///
    /// # Errors
    /// [`UploadError::Unknown`].
    pub async fn give_up(&self, id: &str) -> Result<Upload, UploadError> {
        let arriving = self.go_on(id).await?;
        let upload = arriving.upload.clone();
        let _ = tokio::task::spawn_blocking(move || arriving.over()).await;
        self.uploads.slots.lock().await.remove(id);
        Ok(upload)
    }

    /// Forgets an upload that is done.
    pub async fn upload_over(&self, id: &str) {
        self.uploads.slots.lock().await.remove(id);
    }
}

impl Arriving {
    fn written(&self) -> u64 {
        self.import.as_ref().map_or(0, Import::written)
    }

    /// As it stands.
    #[must_use]
    pub fn upload(&self) -> &Upload {
        &self.upload
    }

    /// Checks where the next bytes belong.
    ///
    /// # Errors
    /// [`UploadError::Offset`].
    pub fn expects(&self, offset: u64) -> Result<(), UploadError> {
        if offset == self.written() { Ok(()) } else { Err(UploadError::Offset { offset: self.written() }) }
    }

    /// Takes the next bytes. Blocks on the disk.
    ///
    /// # Errors
    /// [`UploadError`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        if self.written() + bytes.len() as u64 > self.upload.size_bytes {
            return Err(UploadError::TooLong { size: self.upload.size_bytes });
        }
        let written = self.import.as_mut().map_or(Ok(()), |import| import.write(bytes));
        if written.is_err() {
            // How much of it is there is looked up when it goes on.
            *self.import = None;
        }
        Ok(written?)
    }

    /// Makes sure that what is here stays, whatever happens. Blocks on the disk.
    ///
    /// # Errors
    /// [`UploadError`].
    pub fn settle(&mut self) -> Result<Upload, UploadError> {
        if let Some(import) = self.import.as_ref() {
            import.sync()?;
        }
        self.upload.offset = self.written();
        self.media.note(&self.upload)?;
        Ok(self.upload.clone())
    }

    /// The whole file, to be finished. Blocks on the disk.
    ///
    /// # Errors
    /// [`UploadError::NotWhole`].
    pub fn whole(mut self) -> Result<Import, UploadError> {
        if self.written() != self.upload.size_bytes {
            return Err(UploadError::NotWhole { offset: self.written(), size: self.upload.size_bytes });
        }
        let import = self.import.take().ok_or_else(|| UploadError::Unknown(self.upload.id.clone()))?;
        let _ = std::fs::remove_file(self.media.note_of(&self.upload.id));
        Ok(import.unless_finished_gone())
    }

    fn over(mut self) {
        let _ = std::fs::remove_file(self.media.note_of(&self.upload.id));
        drop(self.import.take().map(Import::unless_finished_gone));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rackberry_core::time::WallTime;

    fn media(folder: &tempfile::TempDir) -> Media {
        Media::new(folder.path().join("assets"), folder.path().join("state")).unwrap()
    }

    fn wanted(id: &str, size: u64) -> Upload {
        Upload {
            id: id.to_owned(),
            name: "x".to_owned(),
            size_bytes: size,
            offset: 0,
            origin: "test".to_owned(),
            stamp: "1".to_owned(),
            sha256: None,
            as_it_is: false,
        }
    }

    #[tokio::test]
    async fn an_upload_goes_on_where_it_broke_off_also_in_another_process() {
        let folder = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..300_000u32).map(|at| (at % 251) as u8).collect();
        let first = media(&folder);
        assert_eq!(first.begin_upload(wanted("a", 300_000)).unwrap().id, "a");
        let mut arriving = first.go_on("a").await.unwrap();
        arriving.write(&bytes[..100_000]).unwrap();
        assert_eq!(arriving.settle().unwrap().offset, 100_000);
        // What comes now never reaches the disk for sure.
        arriving.write(&bytes[100_000..150_000]).unwrap();
        assert!(matches!(arriving.expects(100_000), Err(UploadError::Offset { offset: 150_000 })));
        drop((arriving, first));
        let second = media(&folder);
        // The same file announced again is the same upload.
        let known = second.begin_upload(wanted("b", 300_000)).unwrap();
        assert_eq!((known.id.as_str(), known.offset), ("a", 100_000));
        let mut arriving = second.go_on("a").await.unwrap();
        arriving.expects(100_000).unwrap();
        arriving.write(&bytes[100_000..]).unwrap();
        assert!(matches!(arriving.write(b"more"), Err(UploadError::TooLong { .. })));
        let image = arriving.whole().unwrap().finish("x".into(), "test".into(), None, WallTime(0)).unwrap();
        assert_eq!(std::fs::read(second.image_path(&image.digest)).unwrap(), bytes);
        assert!(second.uploads().is_empty());
        assert!(matches!(second.go_on("a").await, Err(UploadError::Unknown(_))));
        assert_eq!(std::fs::read_dir(second.partial()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn uploads_are_bounded_and_those_given_up_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let media = media(&folder);
        for number in 0..MOST {
            media.begin_upload(wanted(&number.to_string(), 1000 + number as u64)).unwrap();
        }
        assert!(matches!(media.begin_upload(wanted("more", 5)), Err(UploadError::TooMany)));
        media.give_up("0").await.unwrap();
        let huge = media.begin_upload(wanted("huge", 1 << 60)).unwrap_err();
        assert!(matches!(huge, UploadError::Import(ImportError::TooLarge { .. })), "{huge}");
        assert!(matches!(
            media.go_on("1").await.unwrap().whole(),
            Err(UploadError::NotWhole { offset: 0, size: 1001 })
        ));
        for number in 1..MOST {
            media.give_up(&number.to_string()).await.unwrap();
        }
        assert_eq!(std::fs::read_dir(media.partial()).unwrap().count(), 0);
    }

    #[test]
    fn what_an_upload_was_promised_is_no_room_for_others() {
        let folder = tempfile::tempdir().unwrap();
        let media = media(&folder);
        let whole = media.room("");
        media.begin_upload(wanted("a", whole / 4 * 3)).unwrap();
        assert!(media.room("") < whole / 2 && media.room("b") < whole / 2);
        assert!(media.room("a") > whole / 2, "of its own promise it takes");
        let second = media.begin_upload(Upload { name: "y".to_owned(), ..wanted("b", whole / 4 * 3) });
        assert!(matches!(second, Err(UploadError::Import(ImportError::TooLarge { .. }))), "{second:?}");
    }

    #[test]
    fn what_nobody_went_on_with_for_a_day_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let media = media(&folder);
        media.begin_upload(wanted("old", 10)).unwrap();
        media.begin_upload(wanted("new", 11)).unwrap();
        let long_ago = SystemTime::now() - 2 * KEPT_FOR;
        for name in ["old", "old.json"] {
            let file = std::fs::File::options().write(true).open(media.partial().join(name)).unwrap();
            file.set_modified(long_ago).unwrap();
        }
        media.sweep_uploads();
        let left: Vec<String> = media.uploads().into_iter().map(|upload| upload.id).collect();
        assert_eq!(left, ["new"]);
        assert!(!media.partial().join("old").exists());
    }
}
