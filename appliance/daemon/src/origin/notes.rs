//! What is written down of each fetch beside its bytes, so that a box that starts again goes on with it: `<number>.json` beside
//! `<number>`, in the folder of what is being fetched.
//!
//! A note is replaced as a whole and synced, and never says more bytes than are synced themselves. One that does not read is
//! removed with its bytes and told of: what it wanted checked is not known, so nothing may come of it. That goes also for a field
//! that this version does not know. One that the disk does not give now stays for the next start.

use super::fetch::{Known, Order};
use crate::media::ImportError;
use rackberry_core::event::Actor;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// A fetch that was begun, and how far it is for sure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    pub order: Order,
    /// Who asked for it.
    pub actor: Actor,
    /// So many bytes are on the disk.
    pub offset: u64,
    /// What was said of the file by whom they came from.
    pub known: Option<Known>,
}

/// A note that nothing can be done by.
#[derive(Debug)]
pub struct Unread {
    pub file: PathBuf,
    pub why: String,
}

/// The place of one fetch on the disk; cheap to clone. Once the last copy is dropped nothing of it is there, unless it has to stay.
#[derive(Debug, Clone)]
pub struct Place(Arc<Spot>);

#[derive(Debug)]
struct Spot {
    folder: PathBuf,
    id: u64,
    stays: AtomicBool,
    /// Whether its note is gone for good; held while that is written.
    over: Mutex<bool>,
}

impl Spot {
    fn note(&self) -> PathBuf {
        self.folder.join(format!("{}.json", self.id))
    }

    fn data(&self) -> PathBuf {
        self.folder.join(self.id.to_string())
    }
}

impl Drop for Spot {
    fn drop(&mut self) {
        if !self.stays.load(Ordering::Relaxed) {
            // The note first: bytes without one are swept at the next start.
            for path in [self.note(), self.data(), self.data().with_extension("tar")] {
                let _ = fs::remove_file(path);
            }
        }
    }
}

impl Place {
    /// One that does not stay yet.
    #[must_use]
    pub fn new(folder: PathBuf, id: u64) -> Self {
        Place(Arc::new(Spot { folder, id, stays: AtomicBool::new(false), over: Mutex::new(false) }))
    }

    /// From now on it outlives its last copy, for the next start of the box.
    pub fn stays(&self) {
        self.0.stays.store(true, Ordering::Relaxed);
    }

    /// Takes the note away for good, and has the rest go with the last copy. Blocks on the disk.
    pub fn over(self) {
        self.0.stays.store(false, Ordering::Relaxed);
        let mut over = self.0.over.lock().unwrap_or_else(PoisonError::into_inner);
        *over = true;
        let _ = fs::remove_file(self.0.note());
        let _ = File::open(&self.0.folder).and_then(|folder| folder.sync_all());
    }

    /// Where its bytes are.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.0.data()
    }

    /// Writes the note, so that a power cut leaves the old or the new one; none of what is over. Blocks on the disk.
    ///
    /// # Errors
    /// What the disk says.
    pub fn store(&self, note: &Note) -> Result<(), ImportError> {
        let path = self.0.note();
        let over = self.0.over.lock().unwrap_or_else(PoisonError::into_inner);
        if *over {
            return Ok(());
        }
        let write = || {
            fs::create_dir_all(&self.0.folder)?;
            let part = path.with_extension("part");
            let mut file = File::create(&part)?;
            file.write_all(&serde_json::to_vec(note)?)?;
            file.sync_all()?;
            fs::rename(&part, &path)?;
            File::open(&self.0.folder)?.sync_all()
        };
        write().map_err(|source| ImportError::Io { doing: "write", path: path.clone(), source })
    }
}

/// Every fetch that was under way, by its number; and the notes of which nothing can come. Whatever else lies there is removed.
/// Blocks on the disk.
#[must_use]
pub fn load(folder: &Path) -> (Vec<(Place, u64, Note)>, Vec<Unread>) {
    let (mut notes, mut unread) = (Vec::new(), Vec::new());
    let paths = || fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut kept = Vec::new();
    for file in paths().filter(|path| path.extension().is_some_and(|ending| ending == "json")) {
        let id = file.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        let id = id.filter(|id| file.ends_with(format!("{id}.json")));
        let read = fs::read(&file).map(|bytes| serde_json::from_slice::<Note>(&bytes));
        match (id, read) {
            (Some(id), Ok(Ok(note))) => {
                kept.push(file);
                notes.push((Place::new(folder.to_owned(), id), id, note));
            }
            (_, Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                kept.push(file.clone());
                unread.push(Unread { file, why: error.to_string() });
            }
            (_, Ok(Err(error))) => unread.push(Unread { file, why: error.to_string() }),
            (None, Ok(Ok(_))) | (_, Err(_)) => {}
        }
    }
    for path in paths() {
        let of_a_note = path.extension().is_none() && kept.contains(&path.with_extension("json"));
        if !of_a_note && !kept.contains(&path) {
            let _ = fs::remove_file(path);
        }
    }
    notes.sort_by_key(|(_, id, _)| *id);
    (notes, unread)
}

/// Bytes as text.
pub(super) mod packed {
    use base64ct::{Base64, Encoding as _};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => serializer.serialize_str(&Base64::encode_string(bytes)),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| Base64::decode_vec(&text).map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn note() -> Note {
        let order = Order {
            name: "x".into(),
            urls: vec!["https://a.example/x".to_owned()],
            sha256: Some(rackberry_core::image::Digest([7; 32])),
            checksums: Some("https://a.example/SUMS".to_owned()),
            signature: None,
            key: Some(vec![0, 1, 254, 255]),
            as_it_is: true,
            private: true,
        };
        Note { order, actor: Actor::User("ops".into()), offset: 5, known: None }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = entries.collect();
        names.sort();
        names
    }

    #[test]
    fn a_note_reads_as_it_was_written_and_strays_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(folder.path().to_owned(), 12);
        place.store(&note()).unwrap();
        place.stays();
        fs::write(place.data(), "bytes").unwrap();
        drop(place);
        for stray in ["3", "12.tar", "12.part", "x", "7.json.part"] {
            fs::write(folder.path().join(stray), "stray").unwrap();
        }
        let (notes, unread) = load(folder.path());
        assert!(unread.is_empty(), "{unread:?}");
        let [(place, 12, read)] = notes.as_slice() else { panic!("{notes:?}") };
        assert_eq!(*read, note());
        assert_eq!(names(folder.path()), ["12", "12.json"]);
        place.clone().over();
        assert_eq!(names(folder.path()), ["12"], "the note goes at once");
        place.store(&note()).unwrap();
        assert_eq!(names(folder.path()), ["12"], "and does not come again");
        drop(notes);
        assert!(names(folder.path()).is_empty(), "the bytes go with the last who might write there");
        assert!(load(&folder.path().join("none")).0.is_empty());
    }

    #[test]
    fn a_note_that_does_not_read_is_named_and_removed_with_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let whole = serde_json::to_string(&note()).unwrap();
        let with = |key: &str, value: Value| {
            let mut changed: Value = serde_json::from_str(&whole).unwrap();
            changed.pointer_mut("/order").unwrap()[key] = value;
            changed.to_string()
        };
        let broken = [
            String::new(),
            "\0\0\0\0".to_owned(),
            whole[..whole.len() / 2].to_owned(),
            format!("{whole}{{"),
            with("blake3", json!("wanted by a newer version")),
            with("key", json!("no base64!")),
            with("urls", json!("one")),
            whole.replacen("\"offset\":5", "\"offset\":-5", 1),
            "[]".to_owned(),
        ];
        for (id, text) in broken.iter().enumerate() {
            assert_ne!(*text, whole, "{id}");
            fs::write(folder.path().join(format!("{id}.json")), text).unwrap();
            fs::write(folder.path().join(id.to_string()), "bytes").unwrap();
        }
        fs::write(folder.path().join("name.json"), &whole).unwrap();
        Place::new(folder.path().to_owned(), 99).store(&note()).unwrap();
        fs::write(folder.path().join("99.json"), &whole).unwrap();
        // The disk does not give this one now.
        fs::create_dir(folder.path().join("55.json")).unwrap();
        fs::write(folder.path().join("55"), "bytes").unwrap();
        let (notes, unread) = load(folder.path());
        assert_eq!(notes.iter().map(|(_, id, _)| *id).collect::<Vec<_>>(), [99]);
        let mut told: Vec<String> =
            unread.iter().map(|unread| unread.file.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        told.sort();
        let mut wanted: Vec<String> = (0..broken.len()).map(|id| format!("{id}.json")).collect();
        wanted.push("55.json".to_owned());
        wanted.sort();
        assert_eq!(told, wanted);
        assert!(unread.iter().all(|unread| !unread.why.is_empty()));
        assert_eq!(names(folder.path()), ["55", "55.json", "99.json"]);
    }
}
