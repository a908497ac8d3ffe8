//! What page, API and command line ask: which versions there are, the bundle that is kept in the store, and its way into the
//! slot that is not in use.

use super::{
    client::{self, ClientError},
    words::{Answer, Ask, Status, Step},
};
use rackberry_core::update::{Header, LONGEST_HEADER};
use serde::Serialize;
use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

/// Below the state folder, in the store.
const FOLDER: &str = "update";
const BUNDLE: &str = "bundle";
const PART: &str = "bundle.part";
const HEADER: &str = "bundle.json";
/// The store keeps so much for others, in bytes.
const RESERVE: u64 = 16 << 20;

/// Where the bundle is kept that waits to be installed.
#[must_use]
pub fn bundle_path(state_dir: &Path) -> PathBuf {
    state_dir.join(FOLDER).join(BUNDLE)
}

/// Why an update does not go on; each is a sentence for people.
#[derive(Debug, thiserror::Error)]
pub enum UpdatesError {
    #[error(
        "This box is not started from Rackberry's SD card, so that it is not updated this way. Install the newer package or \
         program."
    )]
    NotACard,
    #[error(transparent)]
    Helper(#[from] ClientError),
    #[error("The file is longer than a bundle can be ({most} bytes). It was not kept.")]
    TooLarge { most: u64 },
    #[error("The store has no room for the bundle. Remove an image that no host uses.")]
    Full,
    #[error("cannot {doing} {}", path.display())]
    File { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("There is no bundle to install. Upload one first.")]
    NoBundle,
    #[error("Another upload, install or roll-back is under way.")]
    Busy,
}

/// An install or a roll-back under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Work {
    pub step: Step,
    /// Of this step.
    pub percent: u64,
    /// Why it ended without being done; empty while it goes on.
    pub failed: String,
}

/// The bundle that was verified and waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    pub header: Header,
    /// Of the file.
    pub bytes: u64,
}

/// Everything about updates, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    pub status: Status,
    pub kept: Option<Kept>,
    pub work: Option<Work>,
}

/// The box's updates; clones are of the same box.
#[derive(Debug, Clone)]
pub struct Updates(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    socket: PathBuf,
    folder: PathBuf,
    work: watch::Sender<Option<Work>>,
    /// The last one seen: the helper answers nobody else while it writes.
    status: watch::Sender<Option<Status>>,
    /// One upload, install or roll-back at a time.
    turn: Arc<Mutex<()>>,
}

/// An upload under way; dropped before its end, it leaves nothing behind.
#[derive(Debug)]
pub struct Upload {
    file: File,
    path: PathBuf,
    written: u64,
    most: u64,
    finished: bool,
    _turn: OwnedMutexGuard<()>,
}

impl Updates {
    /// With the helper's socket; without one this is no card.
    #[must_use]
    pub fn new(socket: Option<PathBuf>, state_dir: &Path) -> Self {
        Updates(socket.map(|socket| {
            let (work, status) = (watch::Sender::new(None), watch::Sender::new(None));
            Arc::new(Inner { socket, folder: state_dir.join(FOLDER), work, status, turn: Arc::default() })
        }))
    }

    fn inner(&self) -> Result<&Arc<Inner>, UpdatesError> {
        self.0.as_ref().ok_or(UpdatesError::NotACard)
    }

    /// The helper's socket, where there is one.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        self.0.as_ref().map(|inner| inner.socket.as_path())
    }

    /// How everything stands.
    ///
    /// # Errors
    /// [`UpdatesError`].
    pub async fn view(&self) -> Result<View, UpdatesError> {
        let inner = self.inner()?;
        let status = inner.status().await?;
        Ok(View { status, kept: inner.kept(), work: inner.work.borrow().clone() })
    }

    /// The install or roll-back under way; asks nobody.
    #[must_use]
    pub fn work(&self) -> Option<Work> {
        self.0.as_ref().and_then(|inner| inner.work.borrow().clone())
    }

    /// Begins to take a bundle in; the one that was kept goes. Blocks on the disk, shortly.
    ///
    /// # Errors
    /// [`UpdatesError`].
    pub fn upload(&self) -> Result<Upload, UpdatesError> {
        let inner = self.inner()?;
        let turn = inner.turn()?;
        inner.drop_kept()?;
        inner.work.send_replace(None);
        let path = inner.folder.join(PART);
        let wrap = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| UpdatesError::File { doing, path, source }
        };
        fs::create_dir_all(&inner.folder).map_err(wrap("create", &inner.folder))?;
        let file = File::create(&path).map_err(wrap("create", &path))?;
        let most = super::medium::Layout::of_the_card().slot_bytes + super::SIGNED_AT + LONGEST_HEADER as u64;
        Ok(Upload { file, path, written: 0, most, finished: false, _turn: turn })
    }

    /// Keeps what was uploaded, if the helper would take it; else nothing of it stays.
    ///
    /// # Errors
    /// [`UpdatesError`], with the reason in the helper's words.
    pub async fn keep(&self, mut upload: Upload) -> Result<Kept, UpdatesError> {
        let inner = self.inner()?;
        let bundle = inner.folder.join(BUNDLE);
        let wrap = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| UpdatesError::File { doing, path, source }
        };
        upload.file.sync_all().map_err(wrap("write", &upload.path))?;
        fs::rename(&upload.path, &bundle).map_err(wrap("rename", &upload.path))?;
        upload.finished = true;
        let checked = client::ask(&inner.socket, &Ask::Check, &mut |_, _, _| {}).await;
        let header = match checked {
            Ok(Answer::Checked(header)) => *header,
            Ok(other) => {
                let _ = inner.drop_kept();
                return Err(client::strange(&inner.socket, &other).into());
            }
            Err(error) => {
                let _ = inner.drop_kept();
                return Err(error.into());
            }
        };
        let kept = Kept { header, bytes: upload.written };
        let path = inner.folder.join(HEADER);
        let json = serde_json::to_vec(&kept.header).map_err(|error| wrap("write", &path)(error.into()))?;
        fs::write(&path, json).map_err(wrap("write", &path))?;
        Ok(kept)
    }

    /// Lets the kept bundle go.
    ///
    /// # Errors
    /// [`UpdatesError`].
    pub fn drop_kept(&self) -> Result<(), UpdatesError> {
        let inner = self.inner()?;
        let _turn = inner.turn()?;
        if inner.kept().is_none() {
            return Err(UpdatesError::NoBundle);
        }
        inner.drop_kept()
    }

    /// Begins to install the kept bundle; the box starts again when it is written. [`work`](Self::work) says how far it is.
    ///
    /// # Errors
    /// [`UpdatesError`].
    pub async fn install(&self) -> Result<Kept, UpdatesError> {
        let inner = self.inner()?;
        let turn = inner.turn()?;
        let kept = inner.kept().ok_or(UpdatesError::NoBundle)?;
        inner.status().await?;
        inner.clone().begin(Ask::Install, Step::Verify, turn);
        Ok(kept)
    }

    /// Begins to go back to the version in the other slot; the box starts again.
    ///
    /// # Errors
    /// [`UpdatesError`].
    pub async fn roll_back(&self) -> Result<Status, UpdatesError> {
        let inner = self.inner()?;
        let turn = inner.turn()?;
        let status = inner.status().await?;
        inner.clone().begin(Ask::RollBack, Step::ReadBack, turn);
        Ok(status)
    }
}

impl Inner {
    fn turn(&self) -> Result<OwnedMutexGuard<()>, UpdatesError> {
        self.turn.clone().try_lock_owned().map_err(|_| UpdatesError::Busy)
    }

    async fn status(&self) -> Result<Status, ClientError> {
        let working = self.work.borrow().as_ref().is_some_and(|work| work.failed.is_empty());
        let seen = self.status.borrow().clone();
        if working && let Some(status) = seen {
            return Ok(status);
        }
        let status = client::status(&self.socket).await?;
        self.status.send_replace(Some(status.clone()));
        Ok(status)
    }

    fn kept(&self) -> Option<Kept> {
        let header = serde_json::from_slice(&fs::read(self.folder.join(HEADER)).ok()?).ok()?;
        let bytes = fs::metadata(self.folder.join(BUNDLE)).ok()?.len();
        Some(Kept { header, bytes })
    }

    fn drop_kept(&self) -> Result<(), UpdatesError> {
        for name in [HEADER, BUNDLE, PART] {
            let path = self.folder.join(name);
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(UpdatesError::File { doing: "remove", path, source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn begin(self: Arc<Self>, ask: Ask, first: Step, turn: OwnedMutexGuard<()>) {
        self.work.send_replace(Some(Work { step: first, percent: 0, failed: String::new() }));
        tokio::spawn(async move {
            let mut told = |step, done: u64, total: u64| {
                let percent = done * 100 / u64::max(total, 1);
                self.work.send_replace(Some(Work { step, percent, failed: String::new() }));
            };
            let done = client::ask(&self.socket, &ask, &mut told).await;
            match done {
                Ok(_) => {
                    tracing::info!("the box starts again, to try the other version");
                    // What was installed is not offered again; a roll-back leaves the bundle where it is.
                    if ask == Ask::Install {
                        let _ = self.drop_kept();
                    }
                    self.work.send_replace(Some(Work { step: Step::Restart, percent: 100, failed: String::new() }));
                }
                Err(error) => {
                    tracing::warn!(error = crate::chain(&error), "the update was not written");
                    self.work.send_modify(|work| {
                        if let Some(work) = work {
                            work.failed = error.to_string();
                        }
                    });
                }
            }
            drop(turn);
        });
    }
}

impl Upload {
    /// Takes the next bytes. Blocks on the disk: call it off the runtime.
    ///
    /// # Errors
    /// [`UpdatesError::TooLarge`], [`UpdatesError::Full`], or what the disk said.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), UpdatesError> {
        self.written += bytes.len() as u64;
        if self.written > self.most {
            return Err(UpdatesError::TooLarge { most: self.most });
        }
        let wrap = |source| UpdatesError::File { doing: "write", path: self.path.clone(), source };
        let room = rustix::fs::fstatvfs(&self.file).map_err(|error| wrap(error.into()))?;
        if room.f_bavail.saturating_mul(room.f_frsize) < RESERVE + bytes.len() as u64 {
            return Err(UpdatesError::Full);
        }
        self.file.write_all(bytes).map_err(|source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => UpdatesError::Full,
            _ => wrap(source),
        })
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.finished {
            let _ = fs::remove_file(&self.path);
        }
    }
}
