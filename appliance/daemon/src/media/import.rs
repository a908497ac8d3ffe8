//! An image comes in: hashed while it is written, unpacked if it is a packed archive, recognised, synced, and only then given
//! its name.

use super::{
    Media,
    recognise::Found,
    sums::{Beside, Summer},
    tar::{self, Index},
    unpack,
};
use rackberry_core::{
    image::{Compression, Digest, Image, ImageKind, Verdict},
    text::CleanText,
    time::WallTime,
};
use sha2::{Digest as _, Sha256};
use std::{
    fs::File,
    io::{self, BufReader, Read as _, Seek as _, Write as _},
    path::PathBuf,
};

/// How much of the start is kept for recognising the packing.
const HEAD: usize = 512;

/// Bytes that an import leaves free: images and state may share a disk, and the state has to go on.
const RESERVE: u64 = 64 << 20;
/// Bytes between two looks at the room that is left; so many more stay free.
const LOOK_EVERY: u64 = 4 << 20;

/// Why an import did not end; nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("cannot {doing} {}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "Not enough room: after {written} bytes the disk with the images has only the 64 MB left that the box keeps free for \
         itself. Remove an image that no host uses."
    )]
    Full { written: u64 },
    #[error(
        "Not enough room: the file has {size} bytes, and {room} are free for images: 64 MB stay free for the box itself. \
         `rackberry image prune` names what no profile uses."
    )]
    TooLarge { size: u64, room: u64 },
    #[error("The file does not match the digest that was given: it has {found}, {wanted} was wanted. It was not kept.")]
    WrongDigest { wanted: Digest, found: Digest },
    #[error("The file is empty. It was not kept.")]
    Empty,
    #[error("The archive does not unpack, as if it were damaged or incomplete. It was not kept.")]
    Unpack { source: io::Error },
}

/// An import under way; dropped before [`Import::finish`], it leaves nothing behind, unless it was begun to go on later.
#[derive(Debug)]
pub struct Import {
    media: Media,
    path: PathBuf,
    file: File,
    summer: Summer,
    head: Vec<u8>,
    written: u64,
    /// After so many bytes the room that is left is looked at again.
    look_at: u64,
    as_it_is: bool,
    /// Stays there when it is dropped, to go on later.
    stays: bool,
    finished: bool,
}

impl Import {
    /// Starts an import under a name that no other has.
    ///
    /// # Errors
    /// If the folder for incoming files cannot be written.
    pub fn start(media: &Media, unique: &str) -> Result<Self, ImportError> {
        Self::at(media, media.incoming().join(unique))
    }

    fn at(media: &Media, path: PathBuf) -> Result<Self, ImportError> {
        let file = File::options().write(true).create_new(true).open(&path).map_err(|source| ImportError::Io {
            doing: "create",
            path: path.clone(),
            source,
        })?;
        Ok(Import {
            media: media.clone(),
            path,
            file,
            summer: Summer::default(),
            head: Vec::new(),
            written: 0,
            look_at: 0,
            as_it_is: false,
            stays: false,
            finished: false,
        })
    }

    /// Goes on with a file of which so many bytes are there for sure, or fewer if it is shorter: they are read once, and given to
    /// `also`. One that is not there is begun. It stays when it is dropped, and what it was made from also when it is finished.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// If the file cannot be opened or read.
    pub fn resume(media: &Media, path: PathBuf, there: u64, mut also: impl FnMut(&[u8])) -> Result<Self, ImportError> {
        let wrap = |source| ImportError::Io { doing: "read", path: path.clone(), source };
        let mut options = File::options();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(&path).map_err(wrap)?;
        // What a longer file would have in that place came from nobody.
        let there = there.min(file.metadata().map_err(wrap)?.len());
        file.set_len(there).map_err(wrap)?;
        let (mut summer, mut head, mut written) = (Summer::default(), Vec::new(), 0);
        let mut buffer = vec![0; 1 << 20];
        loop {
            let length = file.read(&mut buffer).map_err(wrap)?;
            let piece = buffer.get(..length).unwrap_or_default();
            if piece.is_empty() {
                break;
            }
            summer.update(piece);
            also(piece);
            let missing = HEAD.saturating_sub(head.len()).min(length);
            head.extend_from_slice(piece.get(..missing).unwrap_or_default());
            written += length as u64;
        }
        let media = media.clone();
        Ok(Import {
            media,
            path,
            file,
            summer,
            head,
            written,
            look_at: 0,
            as_it_is: false,
            stays: true,
            finished: false,
        })
    }

    /// What came so far, to be read from its start.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn reader(&self) -> Result<File, ImportError> {
        File::open(&self.path).map_err(|source| ImportError::Io { doing: "read", path: self.path.clone(), source })
    }

    /// Bytes that came so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Makes sure that what came is on the disk. Blocks on it.
    ///
    /// # Errors
    /// What the disk says.
    pub fn sync(&self) -> Result<(), ImportError> {
        self.file.sync_data().map_err(|source| ImportError::Io { doing: "sync", path: self.path.clone(), source })
    }

    /// From now on it leaves nothing behind if it is dropped unfinished.
    #[must_use]
    pub(super) fn unless_finished_gone(mut self) -> Self {
        self.stays = false;
        self
    }

    /// Keeps a packed archive packed, for machines that unpack it themselves.
    #[must_use]
    pub fn as_it_is(mut self, as_it_is: bool) -> Self {
        self.as_it_is = as_it_is;
        self
    }

    /// Takes the next bytes. Blocks on the disk: call it off the runtime.
    ///
    /// # Errors
    /// [`ImportError::Full`] or what the disk said.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ImportError> {
        if self.written >= self.look_at {
            self.look_at = self.written + LOOK_EVERY;
            if room(&self.file).is_some_and(|room| room == 0) {
                return Err(ImportError::Full { written: self.written });
            }
        }
        self.file.write_all(bytes).map_err(|source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ImportError::Full { written: self.written },
            _ => ImportError::Io { doing: "write", path: self.path.clone(), source },
        })?;
        self.summer.update(bytes);
        let missing = HEAD.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(bytes.get(..missing).unwrap_or_default());
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Recognises, syncs and names the file. Blocks on the disk: call it off the runtime.
    ///
    /// # Errors
    /// [`ImportError`]; nothing is kept then.
    pub fn finish(
        mut self,
        name: CleanText,
        origin: CleanText,
        wanted: Option<Digest>,
        now: WallTime,
    ) -> Result<Image, ImportError> {
        if self.written == 0 {
            return Err(ImportError::Empty);
        }
        let (found, sums) = std::mem::take(&mut self.summer).finish();
        if let Some(wanted) = wanted
            && wanted != found
        {
            return Err(ImportError::WrongDigest { wanted, found });
        }
        let came = Compression::of(&self.head);
        let file = File::open(&self.path).map_err(|source| ImportError::Io {
            doing: "read",
            path: self.path.clone(),
            source,
        })?;
        let packed_archive = !self.as_it_is
            && came != Compression::None
            && tar::begins(&tar::start_of(unpack::unpacked(BufReader::new(&file), came), HEAD));
        let (digest, sums) = if packed_archive { self.unpack(&file, came)? } else { (found, sums) };
        let compression = if packed_archive { Compression::None } else { came };
        let mut beside = Beside { sums, tree: None };
        let target = self.media.image_path(&digest);
        let wrap = |doing, path: &PathBuf| {
            let path = path.clone();
            move |source| ImportError::Io { doing, path, source }
        };
        self.file.sync_all().map_err(wrap("sync", &self.path))?;
        let stored = File::open(&self.path).map_err(wrap("read", &self.path))?;
        if compression == Compression::None && tar::begins(&tar::start_of(&stored, HEAD)) {
            beside.tree = Index::read(&stored).ok();
        }
        let (about, unread) = match self.media.worker.look(&stored) {
            Ok(found) => (found, None),
            Err(error) => {
                tracing::warn!(%name, error = crate::chain(&error), "what an image is could not be found out");
                let none = Found { kind: ImageKind::Unknown, system: None, version: None, arch: None, label: None };
                let said = format!("The process that looks at media found nothing out: {}.", crate::chain(&error));
                (none, Some(CleanText::new(&said)))
            }
        };
        let list = beside.store(&target).map_err(wrap("write", &Beside::path(&target)))?;
        // What may have to be finished once more keeps its place until somebody has written down that it was.
        let linked = self.stays && !packed_archive && std::fs::hard_link(&self.path, &target).is_ok();
        if !linked {
            std::fs::rename(&self.path, &target).map_err(wrap("rename", &self.path))?;
        }
        self.finished = true;
        if let Some(folder) = target.parent() {
            let folder = folder.to_owned();
            File::open(&folder).and_then(|folder| folder.sync_all()).map_err(wrap("sync", &folder))?;
        }
        Ok(Image {
            digest,
            name,
            kind: about.kind,
            size_bytes: self.written,
            compression,
            raw_bytes: (compression == Compression::None).then_some(self.written),
            origin,
            verdict: if wanted.is_some() { Verdict::DigestGiven } else { Verdict::Unsigned },
            system: about.system,
            version: about.version,
            label: about.label,
            unread,
            arch: about.arch,
            came: packed_archive.then_some(found),
            sums: Some(list),
            imported_wall: now,
        })
    }

    /// Puts the archive's content in the place of what came; its digests.
    fn unpack(&mut self, packed: &File, compression: Compression) -> Result<(Digest, Vec<Digest>), ImportError> {
        let path = self.path.with_extension("tar");
        let mut import = Import::at(&self.media, path)?;
        let mut from_start = packed;
        from_start.rewind().map_err(|source| ImportError::Unpack { source })?;
        let mut unpacked = unpack::unpacked(BufReader::new(packed), compression);
        let mut buffer = vec![0; 1 << 20];
        loop {
            match unpacked.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => import.write(buffer.get(..length).unwrap_or_default())?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ImportError::Unpack { source }),
            }
        }
        // The packed one goes when the other is dropped, unless it has to stay.
        import.stays = self.stays;
        std::mem::swap(&mut self.path, &mut import.path);
        std::mem::swap(&mut self.file, &mut import.file);
        self.written = import.written;
        Ok(std::mem::take(&mut import.summer).finish())
    }
}

/// Bytes that the disk of this file has left for images; none if it does not say.
pub(super) fn room(file: &File) -> Option<u64> {
    let room = rustix::fs::fstatvfs(file).map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize)).ok()?;
    Some(room.saturating_sub(RESERVE + LOOK_EVERY))
}

impl Media {
    /// What the bytes of an image's file give now. Blocks on the disk: call it off the runtime.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn digest_of(&self, image: &Digest) -> Result<Digest, ImportError> {
        let path = self.image_path(image);
        let mut hash = Sha256::new();
        let mut read = || {
            let mut file = File::open(&path)?;
            let mut buffer = vec![0; 1 << 20];
            loop {
                match file.read(&mut buffer)? {
                    0 => return Ok(()),
                    length => hash.update(buffer.get(..length).unwrap_or_default()),
                }
            }
        };
        read().map_err(|source| ImportError::Io { doing: "read", path: path.clone(), source })?;
        Ok(Digest(hash.finalize().into()))
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        if !self.finished && !self.stays {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media() -> (tempfile::TempDir, Media) {
        let folder = tempfile::tempdir().unwrap();
        let media = Media::new(folder.path().join("assets"), folder.path().join("state")).unwrap();
        (folder, media)
    }

    fn import(media: &Media, bytes: &[u8], wanted: Option<Digest>) -> Result<Image, ImportError> {
        let mut import = Import::start(media, "one").unwrap();
        for piece in bytes.chunks(1000) {
            import.write(piece).unwrap();
        }
        import.finish("x".into(), "test".into(), wanted, WallTime(0))
    }

    #[test]
    fn a_whole_file_gets_its_digest_as_name() {
        let (_folder, media) = media();
        let image = import(&media, &[7; 5000], None).unwrap();
        assert_eq!(std::fs::read(media.image_path(&image.digest)).unwrap(), [7; 5000]);
        assert_eq!(std::fs::read_dir(media.incoming()).unwrap().count(), 0);
    }

    #[test]
    fn a_wrong_digest_keeps_nothing() {
        let (_folder, media) = media();
        let error = import(&media, &[7; 5000], Some(Digest([0; 32]))).unwrap_err();
        assert!(matches!(error, ImportError::WrongDigest { .. }), "{error}");
        assert!(matches!(import(&media, &[], None), Err(ImportError::Empty)));
        assert_eq!(std::fs::read_dir(media.incoming()).unwrap().count(), 0);
        assert_eq!(std::fs::read_dir(media.state_dir.join("images")).unwrap().count(), 1);
    }
}
