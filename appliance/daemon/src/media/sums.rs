//! What lies beside an image's file: the SHA-256 of each 4 MiB of it, and where the files of an archive are. Its own digest
//! stands in the image's row, so that nothing in here has to be believed.

use super::tar::Index;
use rackberry_core::image::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// Bytes of a chunk.
pub(super) const CHUNK: u64 = 4 << 20;
/// A list is never longer: a TiB has 20 MiB of sums, an index is bounded itself.
const LONGEST: u64 = 128 << 20;

/// The list beside an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Beside {
    /// Of each [`CHUNK`], in order; the last one may be shorter.
    pub sums: Vec<Digest>,
    /// Where the files of an archive lie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<Index>,
}

impl Beside {
    /// Where the list of the image at `image` lies.
    pub fn path(image: &Path) -> PathBuf {
        let mut path = image.as_os_str().to_owned();
        path.push(".sums");
        path.into()
    }

    /// Puts it beside the image; its digest, for the row. Blocks on the disk.
    pub fn store(&self, image: &Path) -> io::Result<Digest> {
        let bytes = serde_json::to_vec(self).map_err(io::Error::other)?;
        let path = Self::path(image);
        let part = path.with_extension("sums-part");
        let mut file = File::create(&part)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, &path)?;
        Ok(Digest(Sha256::digest(&bytes).into()))
    }

    /// The list beside an image of `length` bytes, if it is there and has this digest. Blocks on the disk.
    pub fn load(image: &Path, wanted: Digest, length: u64) -> Option<Self> {
        let path = Self::path(image);
        if std::fs::metadata(&path).ok()?.len() > LONGEST {
            return None;
        }
        let bytes = std::fs::read(path).ok()?;
        let found = Digest(Sha256::digest(&bytes).into());
        let beside: Beside = serde_json::from_slice(&bytes).ok().filter(|_| found == wanted)?;
        (beside.sums.len() as u64 == length.div_ceil(CHUNK)).then_some(beside)
    }
}

/// The digest of a whole file and of its chunks, while its bytes pass.
#[derive(Debug, Clone, Default)]
pub(super) struct Summer {
    whole: Sha256,
    chunk: Sha256,
    in_chunk: u64,
    sums: Vec<Digest>,
}

impl Summer {
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.whole.update(bytes);
        while !bytes.is_empty() {
            let room = usize::try_from(CHUNK - self.in_chunk).unwrap_or(usize::MAX).min(bytes.len());
            let (now, later) = bytes.split_at(room);
            self.chunk.update(now);
            self.in_chunk += now.len() as u64;
            bytes = later;
            if self.in_chunk == CHUNK {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        self.sums.push(Digest(self.chunk.finalize_reset().into()));
        self.in_chunk = 0;
    }

    /// Of all the bytes, and of each chunk.
    pub fn finish(mut self) -> (Digest, Vec<Digest>) {
        if self.in_chunk > 0 {
            self.close();
        }
        (Digest(self.whole.finalize().into()), self.sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_do_not_depend_on_how_the_bytes_came() {
        let bytes: Vec<u8> = (0..9_000_000u32).map(|at| (at % 251) as u8).collect();
        let of = |step: usize| {
            let mut summer = Summer::default();
            bytes.chunks(step).for_each(|piece| summer.update(piece));
            summer.finish()
        };
        let (whole, sums) = of(9_000_000);
        assert_eq!((of(1_000_003), of(4 << 20)), ((whole, sums.clone()), (whole, sums.clone())));
        assert_eq!(sums.len(), 3);
        assert_eq!(sums[2], Digest(Sha256::digest(&bytes[8 << 20..]).into()));
        assert_eq!(Summer::default().finish().1, []);
    }

    #[test]
    fn a_list_that_was_touched_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("x");
        let beside = Beside { sums: vec![Digest([1; 32]); 2], tree: None };
        let digest = beside.store(&image).unwrap();
        assert_eq!(Beside::load(&image, digest, CHUNK + 1), Some(beside));
        assert_eq!(Beside::load(&image, digest, CHUNK), None);
        let path = Beside::path(&image);
        let text = std::fs::read_to_string(&path).unwrap().replacen('1', "2", 1);
        std::fs::write(&path, text).unwrap();
        assert_eq!(Beside::load(&image, digest, CHUNK + 1), None);
    }
}
