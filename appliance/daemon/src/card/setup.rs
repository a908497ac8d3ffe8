//! All of it applied at start: read, reset if asked, written where init finds it, secrets taken off the card.

use super::{
    OWN, PRESEED, REPORT, Remark,
    accounts::{self, Accounts},
    edits::{Edit, hash, made},
    own::{self, BoxSettings},
    preseed, report,
    reset::{self, RESET_REQUEST},
};
use crate::config::{Config, Problem, line_at};
use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, chown},
    path::{Path, PathBuf},
};

/// A settings file is a few kilobytes; what is larger is something else.
const LARGEST: u64 = 256 * 1024;

/// Where things lie on the box.
#[derive(Debug, Clone)]
pub struct Places {
    /// The FAT partition.
    pub card: PathBuf,
    /// A folder of this start alone (tmpfs), where init finds the results.
    pub out: PathBuf,
    /// `passwd`, `shadow` and `group` of the read-only root.
    pub base: PathBuf,
    /// What a reset empties, the state folder first.
    pub wiped: Vec<PathBuf>,
    /// The card is mounted read-only, and made writable only while something is written.
    pub remount: bool,
}

/// What was found and done.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub settings: BoxSettings,
    pub mistakes: Vec<Remark>,
    pub notes: Vec<Remark>,
    /// Everything was forgotten.
    pub reset: bool,
    /// The card could not be written, in a sentence; the box comes up all the same.
    pub card_unwritten: Option<String>,
}

/// Why a box cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the reset is not complete: cannot remove {}", path.display())]
    Reset { path: PathBuf, source: io::Error },
}

/// A file of the card: its text, or empty with the reason.
struct Card {
    name: &'static str,
    text: String,
    mistake: Option<Problem>,
}

/// What the card says.
#[derive(Debug, Clone)]
pub struct Look {
    /// The settings of `serve`, without those that have mistakes.
    pub config: Config,
    /// The box's own.
    pub settings: BoxSettings,
    pub mistakes: Vec<Remark>,
    pub notes: Vec<Remark>,
    /// The card's files as they should be: without plain secrets.
    files: Vec<(&'static str, String)>,
}

/// Reads the card's files; whatever stands in them, something can be started from what comes back.
#[must_use]
pub fn look(card: &Path) -> Look {
    let (own, preseed) = (load(card, OWN), load(card, PRESEED));
    let (config, problems) = Config::parse_leniently(&own.text);
    let (ours, theirs) = (own::read(&own.text, &hash), preseed::read(&preseed.text, &hash));
    let mistakes = in_order([
        (&own, own.mistake.iter().chain(&problems).chain(&ours.problems).cloned().collect()),
        (&preseed, preseed.mistake.iter().chain(&theirs.problems).cloned().collect()),
    ]);
    let notes = in_order([(&own, ours.notes), (&preseed, theirs.notes)]);
    let files = [(own, ours.edits), (preseed, theirs.edits)]
        .into_iter()
        .filter_map(|(card, edits)| made(&card.text, &edits).map(|text| (card.name, text)))
        .collect();
    Look { config, settings: ours.settings.or(theirs.settings), mistakes, notes, files }
}

fn in_order(found: [(&Card, Vec<Problem>); 2]) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for (card, mut problems) in found {
        problems.sort_by_key(|problem| problem.line);
        remarks.extend(problems.into_iter().map(|problem| Remark { file: card.name.to_owned(), problem }));
    }
    remarks
}

/// Reads the card and makes the box what it says.
///
/// # Errors
/// [`SetupError`] for what the box cannot do without. A card that cannot be written is told in the outcome.
pub fn set_up(places: &Places) -> Result<Outcome, SetupError> {
    let Look { settings, mut mistakes, notes, mut files, .. } = look(&places.card);
    let requests: Vec<PathBuf> =
        places.wiped.iter().map(|folder| folder.join(RESET_REQUEST)).filter(|request| request.exists()).collect();
    let reset = settings.reset || !requests.is_empty();
    if reset {
        reset::wipe(&places.wiped).map_err(|(path, source)| SetupError::Reset { path, source })?;
    }
    for name in write_out(places, &settings)? {
        let what = format!("the system has an account {name} of its own");
        let problem = Problem { line: 1, key: "box.user".to_owned(), what };
        mistakes.push(Remark { file: OWN.to_owned(), problem });
    }

    if settings.reset {
        for (_, text) in files.iter_mut().filter(|(name, _)| *name == OWN) {
            *text = without_reset(text);
        }
    }
    files.push((REPORT, report::text(&mistakes, &notes)));
    // A file that is not there needs no empty one in its place.
    files.retain(|(name, text)| fs::read(places.card.join(name)).unwrap_or_default() != text.as_bytes());
    let card_unwritten = write_card(places, &files).err().map(|error| crate::chain(&error));
    if card_unwritten.is_none() {
        for request in requests {
            fs::remove_file(&request).map_err(|source| SetupError::Reset { path: request, source })?;
        }
    }
    Ok(Outcome { settings, mistakes, notes, reset, card_unwritten })
}

/// The text after a reset: asked for no more.
fn without_reset(text: &str) -> String {
    let (document, _) = toml::de::DeTable::parse_recoverable(text);
    let value = document
        .get_ref()
        .iter()
        .find(|(key, _)| key.get_ref().as_ref() == "box")
        .and_then(|(_, table)| table.get_ref().as_table())
        .and_then(|table| table.iter().find(|(key, _)| key.get_ref().as_ref() == "reset"));
    let edit = value.map(|(_, value)| Edit { at: value.span(), text: "false".to_owned() });
    made(text, edit.as_slice()).unwrap_or_else(|| text.to_owned())
}

/// Reads a file of the card; one that a power cut left half renamed is found under its other name.
fn load(card: &Path, name: &'static str) -> Card {
    let mistake = |line, what: String| Some(Problem { line, key: String::new(), what });
    let read = |path: PathBuf| -> io::Result<Vec<u8>> {
        use io::Read as _;
        let mut bytes = Vec::new();
        fs::File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read(card.join(name)).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => read(card.join(fresh(name))),
        _ => Err(error),
    });
    let (text, mistake) = match bytes {
        Err(error) if error.kind() == io::ErrorKind::NotFound => (String::new(), None),
        Err(error) => (String::new(), mistake(1, format!("cannot be read: {error}"))),
        Ok(bytes) if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LARGEST => {
            (String::new(), mistake(1, format!("is larger than {} KiB, so nothing of it is taken", LARGEST / 1024)))
        }
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => {
                let good = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(error.as_bytes());
                let what = "is not written in UTF-8 from here on, so nothing of it is taken".to_owned();
                (String::new(), mistake(line_at(&text, good), what))
            }
        },
    };
    // Editors on Windows begin a file with a mark that TOML does not know.
    let text = text.strip_prefix('\u{feff}').map(ToOwned::to_owned).unwrap_or(text);
    Card { name, text, mistake }
}

fn fresh(name: &str) -> String {
    format!("{name}.new")
}

/// Writes what init takes; returns the names that the system has already.
fn write_out(places: &Places, settings: &BoxSettings) -> Result<Vec<String>, SetupError> {
    let base = |name: &str| {
        let path = places.base.join(name);
        fs::read_to_string(&path).map_err(|source| SetupError::Read { path, source })
    };
    let base = Accounts { passwd: base("passwd")?, shadow: base("shadow")?, group: base("group")? };
    let homes = places.out.join("home");
    let (files, people, taken) = accounts::with(&base, &settings.users, &homes.to_string_lossy());
    let wrong = |path: &Path| {
        let path = path.to_owned();
        move |source| SetupError::Write { path, source }
    };
    for folder in [&places.out, &places.out.join("etc"), &homes] {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(wrong(folder))?;
    }
    let hostname = settings.hostname.as_deref().unwrap_or("rackberry");
    let hosts = format!("127.0.0.1 localhost\n127.0.1.1 {hostname}\n::1 localhost\n");
    for (name, text, mode) in [
        ("hostname", format!("{hostname}\n"), 0o644),
        ("hosts", hosts, 0o644),
        ("timezone", format!("{}\n", settings.timezone.as_deref().unwrap_or("UTC")), 0o644),
        ("passwd", files.passwd, 0o644),
        ("group", files.group, 0o644),
        ("shadow", files.shadow, 0o600),
    ] {
        let path = places.out.join("etc").join(name);
        write_new(&path, text.as_bytes(), mode).map_err(wrong(&path))?;
    }
    for person in people {
        // root's home is on the read-only root, so its keys lie beside the others'.
        let home = homes.join(&person.name);
        let ssh = home.join(".ssh");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&ssh).map_err(wrong(&ssh))?;
        let keys = ssh.join("authorized_keys");
        write_new(&keys, format!("{}\n", person.ssh_keys.join("\n")).as_bytes(), 0o600).map_err(wrong(&keys))?;
        for path in [&home, &ssh, &keys] {
            chown(path, Some(person.id), Some(person.id)).map_err(wrong(path))?;
        }
    }
    for (name, on) in [("ssh", settings.ssh), ("ssh-passwords", settings.ssh_passwords)] {
        let path = places.out.join(name);
        if on == Some(true) {
            write_new(&path, b"on\n", 0o644).map_err(wrong(&path))?;
        }
    }
    Ok(taken)
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let _ = fs::remove_file(path);
    fs::OpenOptions::new().create_new(true).write(true).mode(mode).open(path)?.write_all(content)
}

/// Writes files of the card, each whole or not at all.
fn write_card(places: &Places, files: &[(&str, String)]) -> Result<(), SetupError> {
    if files.is_empty() {
        return Ok(());
    }
    let wrong = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| SetupError::Write { path, source }
    };
    let mount = |flags| {
        use rustix::mount::mount_remount;
        if places.remount { mount_remount(&places.card, flags, "").map_err(io::Error::from) } else { Ok(()) }
    };
    let usual =
        rustix::mount::MountFlags::NOSUID | rustix::mount::MountFlags::NODEV | rustix::mount::MountFlags::NOEXEC;
    mount(usual).map_err(wrong(&places.card))?;
    let written = files.iter().try_for_each(|(name, text)| {
        let (path, new) = (places.card.join(name), places.card.join(fresh(name)));
        let mut file = fs::File::create(&new).map_err(wrong(&new))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(wrong(&new))?;
        fs::rename(&new, &path).map_err(wrong(&path))
    });
    let settled = fs::File::open(&places.card).and_then(|folder| folder.sync_all()).map_err(wrong(&places.card));
    let locked = mount(usual | rustix::mount::MountFlags::RDONLY).map_err(wrong(&places.card));
    written.and(settled).and(locked)
}
