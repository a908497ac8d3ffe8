//! What page, API and command line ask: which versions there are, the bundle that is kept in the store, and its way into the
//! slot that is not in use.

use super::{
    client::{self, ClientError, Given},
    upload::{PART, Upload},
    words::{Answer, Ask, Status, Step},
};
use rackberry_core::update::{Header, Version};
use serde::Serialize;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::AsyncReadExt as _,
    sync::{Mutex, OwnedMutexGuard, watch},
};

/// Below the state folder, in the store.
const FOLDER: &str = "update";
const BUNDLE: &str = "bundle";
const HEADER: &str = "bundle.json";
/// What a stick gives at once, in bytes, and how long that may take.
const PIECE: usize = 256 << 10;
const PATIENCE: Duration = Duration::from_secs(60);

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
    #[error("The stick was pulled out, or cannot be read to its end. Nothing of it was kept.")]
    Stick(#[source] io::Error),
}

/// An install or a roll-back under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Work {
    pub step: Step,
    /// What is to run after it; empty if it is not known.
    pub version: String,
    /// Of this step.
    pub percent: u64,
    /// Why it ended without being done; empty while it goes on.
    pub failed: String,
}

/// What came of a look at the sticks that are plugged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Brought {
    /// A bundle that is kept now, or was already.
    Bundle(Kept),
    /// One of the version that runs.
    Same(Version),
    /// The sentence why; empty if there is no stick.
    Nothing { why: String },
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
    /// What is to say of the last USB stick; may be empty.
    pub stick: String,
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
    /// What is to say of the last USB stick.
    stick: watch::Sender<String>,
    /// One upload, install or roll-back at a time.
    turn: Arc<Mutex<()>>,
}

impl Updates {
    /// With the helper's socket; without one this is no card.
    #[must_use]
    pub fn new(socket: Option<PathBuf>, state_dir: &Path) -> Self {
        Updates(socket.map(|socket| {
            let (work, status) = (watch::Sender::new(None), watch::Sender::new(None));
            let (folder, stick) = (state_dir.join(FOLDER), watch::Sender::new(String::new()));
            Arc::new(Inner { socket, folder, work, status, stick, turn: Arc::default() })
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
        let (work, stick) = (inner.work.borrow().clone(), inner.stick.borrow().clone());
        Ok(View { status, kept: inner.kept(), work, stick })
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
        Upload::begin(&inner.folder, turn)
    }

    /// Keeps what was uploaded, if the helper would take it; else nothing of it stays.
    ///
    /// # Errors
    /// [`UpdatesError`], with the reason in the helper's words.
    pub async fn keep(&self, mut upload: Upload) -> Result<Kept, UpdatesError> {
        let inner = self.inner()?;
        let bytes = upload.finish(&inner.folder.join(BUNDLE))?;
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
        let kept = Kept { header, bytes };
        let path = inner.folder.join(HEADER);
        let write = || fs::write(&path, serde_json::to_vec(&kept.header)?);
        write().map_err(|source| UpdatesError::File { doing: "write", path: path.clone(), source })?;
        Ok(kept)
    }

    /// The bundle that waits, if there is one.
    #[must_use]
    pub fn kept(&self) -> Option<Kept> {
        self.0.as_ref().and_then(|inner| inner.kept())
    }

    /// Says what came of the last USB stick.
    pub fn say_of_stick(&self, what: &str) {
        if let Some(inner) = &self.0 {
            inner.stick.send_replace(what.to_owned());
        }
    }

    /// Has the helper look at the sticks that are plugged in, and keeps the bundle on one of them as if it were uploaded. The one
    /// that waits goes only for one that was verified on the stick.
    ///
    /// # Errors
    /// [`UpdatesError`], with the reason in the helper's words.
    pub async fn take_stick(&self) -> Result<Brought, UpdatesError> {
        let inner = self.inner()?;
        let (header, mut bytes) = match client::stick(&inner.socket).await? {
            Given::Bundle { header, bytes } => (*header, bytes),
            Given::Nothing { why } => return Ok(Brought::Nothing { why }),
        };
        if inner.status().await?.version == header.version {
            return Ok(Brought::Same(header.version));
        }
        if let Some(kept) = inner.kept().filter(|kept| kept.header == header) {
            return Ok(Brought::Bundle(kept));
        }
        let updates = self.clone();
        let mut upload = off_the_runtime(move || updates.upload()).await?;
        while bytes.limit() > 0 {
            let mut piece = Vec::with_capacity(PIECE);
            let mut some = (&mut bytes).take(PIECE as u64);
            let read = tokio::time::timeout(PATIENCE, some.read_to_end(&mut piece)).await;
            let read = read.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            if read.map_err(UpdatesError::Stick)? == 0 {
                return Err(UpdatesError::Stick(io::ErrorKind::UnexpectedEof.into()));
            }
            upload = off_the_runtime(move || upload.write(&piece).map(|()| upload)).await?;
        }
        self.keep(upload).await.map(Brought::Bundle)
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
        inner.clone().begin(Ask::Install, Step::Verify, kept.header.version.to_string(), turn);
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
        let version = status.other.version.map(|version| version.to_string()).unwrap_or_default();
        inner.clone().begin(Ask::RollBack, Step::ReadBack, version, turn);
        Ok(status)
    }
}

async fn off_the_runtime<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, UpdatesError> + Send + 'static,
) -> Result<T, UpdatesError> {
    let done = tokio::task::spawn_blocking(act).await;
    done.unwrap_or_else(|error| Err(UpdatesError::Stick(io::Error::other(error))))
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

    fn begin(self: Arc<Self>, ask: Ask, first: Step, version: String, turn: OwnedMutexGuard<()>) {
        let work = move |step, percent| Some(Work { step, version: version.clone(), percent, failed: String::new() });
        self.work.send_replace(work(first, 0));
        tokio::spawn(async move {
            let mut told = |step, done: u64, total: u64| {
                let percent = done * 100 / u64::max(total, 1);
                self.work.send_replace(work(step, percent));
            };
            let done = client::ask(&self.socket, &ask, &mut told).await;
            match done {
                Ok(_) => {
                    tracing::info!("the box starts again, to try the other version");
                    // What was installed is not offered again; a roll-back leaves the bundle where it is.
                    if ask == Ask::Install {
                        let _ = self.drop_kept();
                    }
                    self.work.send_replace(work(Step::Restart, 100));
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
