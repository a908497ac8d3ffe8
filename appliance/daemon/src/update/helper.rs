//! The process that may write to the card: root, started by the card's init, one question at a time over a Unix socket that only
//! the daemon's user may open. It takes no path and no byte of a bundle from there: the place of the bundle is fixed, and the
//! file is verified here again.

use super::{
    bundle::Key,
    keeper::{Inspect, Keeper, KeeperError},
    medium::{Card, Layout, Medium},
    record::Record,
    stick::{self, Found, Sticks},
    words::{Answer, Ask, LONGEST, Step},
};
use rackberry_core::update::{BoxFacts, Slot, Version};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
    mount::{MountFlags, UnmountFlags, mount, unmount},
};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{
        fs::{OpenOptionsExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// The machines this card is for.
const BOARD: &str = "pi64";
/// How long the daemon may be silent in the middle of a question.
const PATIENCE: Duration = Duration::from_secs(10);
/// And in the middle of the bytes of a bundle, which its card may be slow to take.
const LONG_PATIENCE: Duration = Duration::from_secs(60);
/// Where a stick is mounted, for a moment.
const STICK: &str = "/run/card/stick";
/// An answer is read before the box goes down.
const FAREWELL: Duration = Duration::from_secs(2);
/// Between two looks at the clock.
const LOOK: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// Out of file descriptors, mostly: trying again at once would only spin.
const PAUSE: Duration = Duration::from_millis(500);

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What the initramfs found and chose: DISK, `SLOT_A`, `SLOT_B`, SLOT, TRYING, `TRIAL_S`.
    pub env: PathBuf,
    pub socket: PathBuf,
    /// Where the daemon keeps a bundle.
    pub bundle: PathBuf,
    pub record: PathBuf,
    pub key: PathBuf,
    /// The kernel's tree, `/sys` but for tests.
    pub sys: PathBuf,
    /// The initramfs's guard waits at it for the end of a trial.
    pub trial: PathBuf,
}

/// Why the helper does not run.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("cannot {doing} {}", path.display())]
    File { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("{} does not say {name}", path.display())]
    Env { path: PathBuf, name: &'static str },
    #[error("{}: {why}", path.display())]
    Key { path: PathBuf, why: String },
    #[error("this program's own version does not read")]
    Version(#[from] rackberry_core::update::BadVersion),
    #[error("the card's slots cannot be looked at")]
    Keeper(#[from] KeeperError),
}

/// Serves the socket for ever.
///
/// # Errors
/// [`SetupError`], if it cannot begin.
pub fn run(setup: &Setup) -> Result<std::convert::Infallible, SetupError> {
    let file = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| SetupError::File { doing, path, source }
    };
    let text = fs::read_to_string(&setup.env).map_err(file("read", &setup.env))?;
    let env: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let said = |name: &'static str| {
        let value = env.get(name).filter(|value| !value.is_empty()).copied();
        value.ok_or_else(|| SetupError::Env { path: setup.env.clone(), name })
    };
    let slot = Slot::parse(said("SLOT")?).ok_or_else(|| SetupError::Env { path: setup.env.clone(), name: "SLOT" })?;
    let trying = env.get("TRYING").is_some_and(|trying| *trying == "yes");
    let limit = said("TRIAL_S")?.parse().map(Duration::from_secs);
    let limit = limit.map_err(|_| SetupError::Env { path: setup.env.clone(), name: "TRIAL_S" })?;
    let devices = [PathBuf::from(said("SLOT_A")?), PathBuf::from(said("SLOT_B")?)];
    let key = fs::read_to_string(&setup.key).map_err(file("read", &setup.key))?;
    let key = Key::parse(&key).map_err(|why| SetupError::Key { path: setup.key.clone(), why })?;
    let [a, b] = &devices;
    let card = Card::open(Path::new(said("DISK")?), [a, b], &Layout::of_the_card())
        .map_err(|(path, source)| SetupError::File { doing: "open", path, source })?;
    let mut keeper = Keeper {
        card,
        record: Record::load(&setup.record),
        record_path: setup.record.clone(),
        key,
        slot,
        trying,
        program: env!("CARGO_PKG_VERSION").parse()?,
        board: BOARD.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        inspect: look_into(devices),
    };
    keeper.settle()?;
    let sticks = Sticks {
        sys: setup.sys.clone(),
        own: Path::new(said("DISK")?).file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned(),
        open: Box::new(|volume| stick::open_on(&Path::new("/dev").join(volume), Path::new(STICK))),
    };
    let sticks = Arc::new(Mutex::new(sticks));
    let listener = listen(&setup.socket).map_err(file("listen at", &setup.socket))?;
    tracing::info!(%slot, trying, version = %keeper.version(), "the card can be updated");
    attend(&mut keeper, &listener, setup, &sticks, Instant::now() + limit, &restart);
}

/// A fresh socket; who may come as far as it is what its folder says.
pub(super) fn listen(socket: &Path) -> io::Result<UnixListener> {
    let _ = fs::remove_file(socket);
    let listener = UnixListener::bind(socket)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o666))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers for ever; a trial that is not over at its deadline starts the box again.
pub(super) fn attend<M: Medium>(
    keeper: &mut Keeper<M>,
    listener: &UnixListener,
    setup: &Setup,
    sticks: &Arc<Mutex<Sticks>>,
    deadline: Instant,
    restart: &dyn Fn(),
) -> ! {
    loop {
        if keeper.trying && Instant::now() >= deadline {
            keeper.expired();
            tracing::error!("this version did not become healthy in time: starting again");
            restart();
        }
        let mut waiting = [PollFd::new(listener, PollFlags::IN)];
        let _ = poll(&mut waiting, Some(&LOOK));
        match listener.accept() {
            Ok((stream, _)) => match serve(keeper, stream, setup, sticks) {
                Ok(true) => {
                    std::thread::sleep(FAREWELL);
                    restart();
                }
                Ok(false) => {}
                Err(error) => tracing::debug!(%error, "a question broke off"),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::warn!(%error, "accepting a question failed");
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// Answers one question; whether the box has to start again.
fn serve<M: Medium>(
    keeper: &mut Keeper<M>,
    stream: UnixStream,
    setup: &Setup,
    sticks: &Arc<Mutex<Sticks>>,
) -> io::Result<bool> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new((&stream).take(LONGEST)).read_line(&mut line)?;
    let ask = serde_json::from_str(&line).map_err(io::Error::other)?;
    let say = |answer: &Answer| say(&stream, answer);
    let mut shown = (Step::Restart, u64::MAX);
    // Whoever stopped listening stops nothing.
    let mut progress = |step, done, total| {
        let percent = done * 100 / u64::max(total, 1);
        if shown != (step, percent) {
            shown = (step, percent);
            let _ = say(&Answer::Progress { step, done, total });
        }
    };
    let mut restart = false;
    let answer = match ask {
        Ask::Status => keeper.status().map(|status| Answer::Status(Box::new(status))),
        Ask::Check => open_bundle(&setup.bundle)
            .and_then(|file| keeper.check(&file, &mut |done, total| progress(Step::Verify, done, total)))
            .map(|bundle| Answer::Checked(Box::new(bundle.header))),
        Ask::Install => {
            open_bundle(&setup.bundle).and_then(|file| keeper.install(&file, &mut progress)).map(|header| {
                tracing::info!(version = %header.version, "the update is written; it is tried at the next start");
                restart = true;
                Answer::Done
            })
        }
        Ask::RollBack => keeper.roll_back(&mut progress).map(|version| {
            tracing::info!(%version, "going back");
            restart = true;
            Answer::Done
        }),
        Ask::Health { missing } => keeper.health(&missing).map(|proved| {
            if proved {
                tracing::info!(version = %keeper.version(), "this version has proved itself");
                end_guard(&setup.trial);
            }
            Answer::Done
        }),
        Ask::Told => keeper.told().map(|()| Answer::Done),
        Ask::Stick => {
            // A stick may take its time, or hang: everybody else is answered meanwhile.
            let (sticks, key, facts) = (sticks.clone(), keeper.key.clone(), keeper.facts());
            std::thread::spawn(move || {
                if let Err(error) = hand_over(&stream, &sticks, &key, &facts) {
                    tracing::info!(%error, "the bundle of a stick was not taken to its end");
                }
            });
            return Ok(false);
        }
    };
    let answer = answer.unwrap_or_else(|error| {
        tracing::warn!(error = crate::chain(&error), "refused");
        Answer::Refused { why: error.to_string() }
    });
    let _ = say(&answer);
    Ok(restart)
}

fn say(mut stream: &UnixStream, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer).map_err(io::Error::other)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Looks for a bundle on the sticks that are plugged in, verifies it there, and hands its bytes over.
fn hand_over(mut stream: &UnixStream, sticks: &Mutex<Sticks>, key: &Key, facts: &BoxFacts) -> io::Result<()> {
    stream.set_write_timeout(Some(LONG_PATIENCE))?;
    let Ok(sticks) = sticks.try_lock() else {
        return say(stream, &Answer::NoStick { why: "A stick is being read already.".to_owned() });
    };
    let mut shown = u64::MAX;
    let found = sticks.look(key, facts, &mut |done, total| {
        let percent = done * 100 / u64::max(total, 1);
        if shown != percent {
            shown = percent;
            let _ = say(stream, &Answer::Progress { step: Step::Verify, done, total });
        }
    });
    match found {
        Found::Nothing { why } => say(stream, &Answer::NoStick { why }),
        Found::Refused { why } => {
            tracing::warn!(error = crate::chain(&why), "the bundle on a stick is not taken");
            say(stream, &Answer::Refused { why: why.to_string() })
        }
        Found::Bundle { file, header, bytes } => {
            say(stream, &Answer::Stick { header, bytes })?;
            // Its reader verifies it again; a stick that gives other bytes now fools nobody.
            let sent = io::copy(&mut file.take(bytes), &mut stream)?;
            if sent == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
        }
    }
}

/// A plain file, and no link to another one.
fn open_bundle(path: &Path) -> Result<File, KeeperError> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits()).unwrap_or_default();
    let open = || {
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no plain file")) }
    };
    open().map_err(|error| KeeperError::Bundle(super::BundleError::Read(error)))
}

/// Mounts a slot's root and asks its program for its version: what cannot even do that is not worth a start.
fn look_into(devices: [PathBuf; 2]) -> Inspect {
    Box::new(move |slot| {
        let [a, b] = &devices;
        let device = if slot == Slot::A { a } else { b };
        let at = Path::new("/run/card/look");
        let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
        fs::create_dir_all(at).map_err(failed("no place to mount it"))?;
        let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
        mount(device, at, "squashfs", flags, None::<&std::ffi::CStr>)
            .map_err(|error| format!("it cannot be mounted: {}", io::Error::from(error)))?;
        let found = look_at(at);
        if let Err(error) = unmount(at, UnmountFlags::empty()) {
            tracing::warn!(%error, "the slot that was looked at stays mounted");
        }
        found
    })
}

fn look_at(root: &Path) -> Result<Option<Version>, String> {
    for (program, name) in [("sbin/init", "init"), ("usr/bin/rackberry", "program")] {
        // Within the root, links may only point to what lies beside them.
        let found = fs::metadata(root.join(program)).map_err(|_| format!("it has no {name}"))?;
        if !found.is_file() || found.permissions().mode() & 0o111 == 0 {
            return Err(format!("its {name} cannot be run"));
        }
    }
    let said = Command::new(root.join("usr/bin/rackberry")).arg("--version").output();
    let said = said.map_err(|error| format!("its program does not run: {error}"))?;
    if !said.status.success() {
        return Err(format!("its program does not run: {}", said.status));
    }
    let text = String::from_utf8_lossy(&said.stdout);
    Ok(text.split_whitespace().nth(1).and_then(|version| version.parse().ok()))
}

/// The initramfs's guard reads a line, or starts the box again.
fn end_guard(trial: &Path) {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let told =
        OpenOptions::new().write(true).custom_flags(flags).open(trial).and_then(|mut pipe| pipe.write_all(b"\n"));
    match told {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::error!(%error, "the trial's guard cannot be told; it starts the box again");
        }
        _ => {}
    }
}

/// The orderly way: init ends everything first.
fn restart() {
    match Command::new("reboot").status() {
        Ok(status) if status.success() => std::thread::sleep(Duration::from_secs(60)),
        said => tracing::error!(?said, "the box does not start again"),
    }
}
