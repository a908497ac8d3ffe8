//! Both ends of the socket at which root sets the card's clock. The daemon's user may set nothing; the helper takes a moment from
//! it and nothing else, and sets no other than a believable one, and not often.

use rustix::{
    net::sockopt::socket_peercred,
    time::{ClockId, Timespec, clock_settime},
};
use serde::{Deserialize, Serialize};
use std::{
    convert::Infallible,
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};

/// Neither end says more in one line.
const LONGEST: u64 = 512;
/// How long the other end may be silent.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two steps: right servers need fewer, and wrong ones shall not make the clock dance.
const EVERY: Duration = Duration::from_secs(30);
/// A card is not in use for longer than that after it was made.
const LIFE: Duration = Duration::from_secs(30 * 365 * 86_400);
/// Out of file descriptors, mostly: trying again at once would only spin.
const PAUSE: Duration = Duration::from_millis(500);

/// All that may be asked.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    seconds: u64,
    nanos: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Set,
    Refused(String),
}

/// Why the clock was not set.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    #[error("The part of the box that sets its clock does not answer.")]
    Unreachable(#[source] io::Error),
    /// The helper's own sentence.
    #[error("The clock is not set: {0}.")]
    Refused(String),
}

/// Has the helper set the clock to what `target` says when it is asked.
///
/// # Errors
/// [`SetError`].
pub async fn set(socket: &Path, target: impl FnOnce() -> Option<Duration>) -> Result<(), SetError> {
    let talk = async {
        let mut stream = tokio::net::UnixStream::connect(socket).await?;
        let target = target().ok_or(io::ErrorKind::InvalidInput)?;
        let ask = Ask { seconds: target.as_secs(), nanos: target.subsec_nanos() };
        let mut line = serde_json::to_vec(&ask)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut line = String::new();
        tokio::io::BufReader::new(stream.take(LONGEST)).read_line(&mut line).await?;
        Ok(serde_json::from_str(&line)?)
    };
    let answer = tokio::time::timeout(PATIENCE, talk).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    match answer.map_err(SetError::Unreachable)? {
        Answer::Set => Ok(()),
        Answer::Refused(why) => Err(SetError::Refused(why)),
    }
}

/// Where the helper's things are.
#[derive(Debug, Clone)]
pub struct Places {
    pub socket: PathBuf,
    /// When this card was made, in seconds since 1970.
    pub built: PathBuf,
    /// Where the time is kept for the next start, in seconds since 1970.
    pub floor: PathBuf,
    /// Its owner is who may ask.
    pub state_dir: PathBuf,
}

/// Why the helper does not run.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    #[error("cannot {doing} {}", path.display())]
    File { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("{} has no number of seconds", path.display())]
    Built { path: PathBuf },
}

/// Serves the socket for ever. Needs the right to set the clock (`CAP_SYS_TIME`).
///
/// # Errors
/// [`HelperError`], if it cannot begin.
pub fn run(places: &Places) -> Result<Infallible, HelperError> {
    let keeper = Keeper::new(places, |target| {
        let seconds = i64::try_from(target.as_secs()).map_err(io::Error::other)?;
        let time = Timespec { tv_sec: seconds, tv_nsec: target.subsec_nanos().into() };
        clock_settime(ClockId::Realtime, time).map_err(io::Error::from)
    })?;
    let listener = keeper.listen(&places.socket)?;
    tracing::info!("the clock can be set");
    keeper.attend(&listener)
}

/// What decides whether the clock is set; `S` sets it.
pub struct Keeper<S> {
    set: S,
    built: Duration,
    floor: PathBuf,
    /// Who may ask, beside root.
    user: u32,
    last: Option<Instant>,
}

impl<S: FnMut(Duration) -> io::Result<()>> Keeper<S> {
    /// With what `places` say.
    ///
    /// # Errors
    /// [`HelperError`].
    pub fn new(places: &Places, set: S) -> Result<Self, HelperError> {
        let file = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| HelperError::File { doing, path, source }
        };
        let built = fs::read_to_string(&places.built).map_err(file("read", &places.built))?;
        let built = built.trim().parse().map_err(|_| HelperError::Built { path: places.built.clone() })?;
        let state = fs::metadata(&places.state_dir).map_err(file("look at", &places.state_dir))?;
        Ok(Keeper {
            set,
            built: Duration::from_secs(built),
            floor: places.floor.clone(),
            user: state.uid(),
            last: None,
        })
    }

    /// A fresh socket. Who may come as far as it is what its folder says; who may ask is looked at for each question.
    ///
    /// # Errors
    /// [`HelperError`].
    pub fn listen(&self, socket: &Path) -> Result<UnixListener, HelperError> {
        let _ = fs::remove_file(socket);
        let open = || {
            let listener = UnixListener::bind(socket)?;
            fs::set_permissions(socket, fs::Permissions::from_mode(0o666))?;
            Ok(listener)
        };
        open().map_err(|source| HelperError::File { doing: "listen at", path: socket.to_owned(), source })
    }

    /// Answers one question at a time, for ever.
    pub fn attend(mut self, listener: &UnixListener) -> ! {
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    if let Err(error) = self.serve(&stream) {
                        tracing::debug!(%error, "a question broke off");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a question failed");
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }

    fn serve(&mut self, stream: &UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let asks = socket_peercred(stream)?.uid.as_raw();
        let answer = if asks == self.user || asks == 0 {
            let mut line = String::new();
            BufReader::new(stream.take(LONGEST)).read_line(&mut line)?;
            match serde_json::from_str(&line) {
                Ok(Ask { seconds, nanos }) => self.step(seconds, nanos),
                Err(_) => Err("it takes seconds and nanos".to_owned()),
            }
        } else {
            Err(format!("user {asks} may not ask for it"))
        };
        let answer = match answer {
            Ok(()) => Answer::Set,
            Err(why) => {
                tracing::warn!(why, "refused");
                Answer::Refused(why)
            }
        };
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        let mut stream = stream;
        stream.write_all(&line)
    }

    /// Sets the clock; the time of the next start follows.
    fn step(&mut self, seconds: u64, nanos: u32) -> Result<(), String> {
        if nanos >= 1_000_000_000 {
            return Err("a second has fewer nanoseconds".to_owned());
        }
        let target = Duration::new(seconds, nanos);
        if target < self.built {
            return Err("that is before this card was made".to_owned());
        }
        if target > self.built + LIFE {
            return Err("that is more than 30 years after this card was made".to_owned());
        }
        if self.last.is_some_and(|last| last.elapsed() < EVERY) {
            return Err(format!("it was set less than {} s ago", EVERY.as_secs()));
        }
        (self.set)(target).map_err(|error| format!("the kernel says: {error}"))?;
        self.last = Some(Instant::now());
        tracing::info!(seconds, "the clock was set");
        if let Err(error) = self.keep(seconds) {
            tracing::warn!(%error, "the time for the next start stays as it was");
        }
        Ok(())
    }

    /// A power cut leaves the old or the new one.
    fn keep(&self, seconds: u64) -> io::Result<()> {
        let new = self.floor.with_extension("step");
        let mut file = fs::File::create(&new)?;
        writeln!(file, "{seconds}")?;
        file.sync_all()?;
        fs::rename(&new, &self.floor)
    }
}

impl<S> std::fmt::Debug for Keeper<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("built", &self.built).field("user", &self.user).finish_non_exhaustive()
    }
}
