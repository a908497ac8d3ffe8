//! Images, profiles and the history of everything.

use super::shell::Shell;
use super::state::Progress;
use crate::format;
use crate::render::{Markup, key, query};

/// How far an image can be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// `by` names the key, for example `Debian signing key 0xDA87E80D`.
    Signed {
        by: String,
    },
    /// The digest matches a list that nobody signed.
    DigestOnly {
        source: String,
    },
    Unsigned,
    Importing(Progress),
    /// Not kept; `why` says what happened and what to do.
    Refused {
        why: String,
    },
    /// Known, but not on the box.
    NeedsInternet,
}

impl Trust {
    pub(crate) fn chip(&self) -> Markup {
        match self {
            Self::Signed { .. } => Markup::chip("done", "done", "Signed"),
            Self::DigestOnly { .. } => Markup::chip("waiting", "waiting", "Digest only"),
            Self::Unsigned => Markup::chip("armed", "armed", "No signature"),
            Self::Importing(progress) if progress.silent() => Markup::chip("quiet", "quiet", "Importing"),
            Self::Importing(_) => Markup::chip("busy", "busy", "Importing"),
            Self::Refused { .. } => Markup::chip("failed", "failed", "Refused"),
            Self::NeedsInternet => Markup::chip("found", "found", "Needs internet"),
        }
    }

    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::Signed { by } if by.is_empty() => "The maker's signature was checked.".to_owned(),
            Self::Signed { by } => by.clone(),
            Self::DigestOnly { source } => format!("Matches {source}, which nobody signed."),
            Self::Unsigned => "We can prove it has not changed, not who made it.".to_owned(),
            Self::Importing(_) => String::new(),
            Self::Refused { why } => why.clone(),
            Self::NeedsInternet => "Fetched and checked at the first install.".to_owned(),
        }
    }
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    pub id: String,
    pub name: String,
    /// For example `disk image` or `ISO`.
    pub kind: String,
    pub bytes: u64,
    /// SHA-256 in hex; empty until it is known.
    pub digest: String,
    /// For example `uploaded by ops`.
    pub origin: String,
    pub trust: Trust,
    /// Names of the profiles that use it.
    pub used_by: Vec<String>,
    /// How many installed hosts came from it.
    pub hosts: u64,
    /// Why it cannot be removed now; empty if it can.
    pub keep: String,
    /// The fetch that brings it, to call off; empty if none does.
    pub fetch: String,
}

impl ImageRow {
    pub(crate) fn key(&self) -> String {
        key(&self.id)
    }

    pub(crate) fn size(&self) -> String {
        if self.bytes == 0 { String::new() } else { format::bytes(self.bytes) }
    }

    pub(crate) fn short_digest(&self) -> String {
        if self.digest.is_empty() { String::new() } else { format!("sha256 {}", format::short_digest(&self.digest)) }
    }

    pub(crate) fn progress(&self) -> Option<&Progress> {
        match &self.trust {
            Trust::Importing(progress) => Some(progress),
            _ => None,
        }
    }

    pub(crate) fn users(&self) -> String {
        let hosts = format::count(self.hosts, "host");
        if self.used_by.is_empty() {
            format!("No profile · {hosts}")
        } else {
            format!("{} · {hosts}", self.used_by.join(", "))
        }
    }
}

/// The library of images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImagesPage {
    pub shell: Shell,
    pub rows: Vec<ImageRow>,
    pub used_bytes: u64,
    pub free_bytes: u64,
    /// What happened to the last request, for example that the image is in use; may be empty.
    pub problem: String,
    /// The form for a web address.
    pub form: FetchForm,
}

/// What somebody typed of a file elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchForm {
    pub url: String,
    pub name: String,
    pub sha256: String,
    pub checksums: String,
    pub signature: String,
    /// Armored, or a file's name.
    pub key: String,
}

impl FetchForm {
    /// Whether something was given that vouches for the file.
    pub(crate) fn vouched(&self) -> bool {
        [&self.sha256, &self.checksums, &self.signature, &self.key].iter().any(|text| !text.is_empty())
    }
}

/// A file elsewhere, before it is fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchPage {
    pub shell: Shell,
    /// For example `Get Flatcar PXE kernel`.
    pub title: String,
    pub form: FetchForm,
    /// What a profile asks for, which nobody types: the form's path, and what vouches for it. None: a person's own.
    pub medium: Option<FetchMedium>,
    /// How big it is and what is free; empty before that was asked.
    pub size: String,
    /// Why it does not go; may be empty.
    pub problem: String,
}

/// A profile's medium that can be fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchMedium {
    pub profile: String,
    pub name: String,
    /// What vouches for it; empty if nothing is known that does.
    pub vouched: String,
}

impl FetchPage {
    /// Nothing is begun before its size was asked for.
    pub(crate) fn may_begin(&self) -> bool {
        !self.size.is_empty()
    }
}

impl ImagesPage {
    /// Its size comes first.
    pub(crate) fn may_begin(&self) -> bool {
        false
    }

    /// While something is imported the table asks for news.
    pub(crate) fn importing(&self) -> bool {
        self.rows.iter().any(|row| row.progress().is_some())
    }

    pub(crate) fn used(&self) -> String {
        format::bytes(self.used_bytes)
    }

    pub(crate) fn free(&self) -> String {
        format::bytes(self.free_bytes)
    }

    pub(crate) fn total(&self) -> String {
        format::bytes(self.used_bytes.saturating_add(self.free_bytes))
    }

    /// Share of the storage in use, whole percent.
    pub(crate) fn percent(&self) -> u128 {
        let (used, free) = (u128::from(self.used_bytes), u128::from(self.free_bytes));
        used * 100 / (used + free).max(1)
    }
}

/// One profile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileRow {
    pub id: String,
    pub name: String,
    pub summary: String,
    /// For example `write image` or `installer`.
    pub method: String,
    /// For example `x86-64, arm64`.
    pub arches: String,
    pub min_memory_bytes: u64,
    pub min_disk_bytes: u64,
    /// How many parameters it asks for.
    pub params: u64,
    /// What is missing before it can be installed; empty if it is ready.
    pub missing: String,
    /// What it needs on the box.
    pub media: Vec<MediumRow>,
    /// How many hosts run it.
    pub hosts: u64,
    /// Changed on this box against the shipped one.
    pub changed: bool,
}

/// What a profile needs on the box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediumRow {
    /// What it is called on the box.
    pub name: String,
    pub title: String,
    pub place: MediumPlace,
    /// How a person gets it; may be empty.
    pub help: String,
}

/// Where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediumPlace {
    Here,
    Coming,
    NeedsInternet,
    YoursToFind,
}

impl MediumRow {
    pub(crate) fn word(&self) -> &'static str {
        match self.place {
            MediumPlace::Here => "on the box",
            MediumPlace::Coming => "on its way",
            MediumPlace::NeedsInternet => "needs internet",
            MediumPlace::YoursToFind => "yours to find",
        }
    }

    pub(crate) fn can_be_got(&self) -> bool {
        self.place == MediumPlace::NeedsInternet
    }
}

impl ProfileRow {
    /// Whether nothing of it is a person's to find.
    fn can_be_got(&self) -> bool {
        self.media.iter().all(|medium| medium.place != MediumPlace::YoursToFind)
    }

    pub(crate) fn chip(&self) -> Markup {
        if self.missing.is_empty() {
            Markup::chip("done", "done", "Ready")
        } else {
            Markup::chip("armed", "armed", "Not ready")
        }
    }

    pub(crate) fn needs(&self) -> String {
        let mut needs = Vec::new();
        if self.min_memory_bytes > 0 {
            needs.push(format!("{} memory", format::memory(self.min_memory_bytes)));
        }
        if self.min_disk_bytes > 0 {
            needs.push(format!("{} disk", format::bytes(self.min_disk_bytes)));
        }
        needs.join(" · ")
    }

    pub(crate) fn counts(&self) -> String {
        format!("{} · {}", format::count(self.params, "setting"), format::count(self.hosts, "host"))
    }
}

/// The list of profiles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfilesPage {
    pub shell: Shell,
    pub rows: Vec<ProfileRow>,
}

/// Profiles that stand alike.
pub(crate) struct ProfileGroup<'a> {
    pub id: &'static str,
    pub title: &'static str,
    pub rows: Vec<&'a ProfileRow>,
    /// Shown without a click.
    pub open: bool,
}

impl ProfilesPage {
    /// The ready ones first and open, the rest folded.
    pub(crate) fn groups(&self) -> Vec<ProfileGroup<'_>> {
        let rows = |fits: fn(&ProfileRow) -> bool| self.rows.iter().filter(|row| fits(row)).collect::<Vec<_>>();
        let groups = [
            ("ready", "Ready", rows(|row| row.missing.is_empty())),
            ("internet", "Their media can be fetched", rows(|row| !row.missing.is_empty() && row.can_be_got())),
            ("yours", "Their media are yours to find", rows(|row| !row.missing.is_empty() && !row.can_be_got())),
        ];
        let some = groups.into_iter().filter(|(_, _, rows)| !rows.is_empty());
        some.enumerate().map(|(at, (id, title, rows))| ProfileGroup { id, title, rows, open: at == 0 }).collect()
    }
}

/// What kind of news an event is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tone {
    #[default]
    Plain,
    /// Work began or goes on.
    Busy,
    Good,
    Warning,
    Bad,
}

impl Tone {
    pub(crate) fn data(self) -> &'static str {
        match self {
            Self::Plain => "next",
            Self::Busy => "busy",
            Self::Good => "done",
            Self::Warning => "armed",
            Self::Bad => "failed",
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Plain => "Note",
            Self::Busy => "Work",
            Self::Good => "Good",
            Self::Warning => "Warning",
            Self::Bad => "Problem",
        }
    }
}

/// One event of the history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventRow {
    /// Milliseconds since 1970; 0 when the clock was not set yet.
    pub at_unix_ms: u64,
    pub tone: Tone,
    /// What happened, as a sentence.
    pub text: String,
    /// More of it on a second line; may be empty.
    pub detail: String,
    /// Who did it, for example `ops` or `agent`; may be empty.
    pub actor: String,
    /// The host it belongs to, if any; left empty on the host's own page.
    pub host_id: String,
    pub host_name: String,
}

impl EventRow {
    pub(crate) fn iso(&self) -> String {
        format::iso(self.at_unix_ms)
    }

    pub(crate) fn moment(&self) -> String {
        format::moment(self.at_unix_ms)
    }

    pub(crate) fn shape(&self) -> Markup {
        Markup::glyph(self.tone.data())
    }
}

/// The history of the box.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActivityPage {
    pub shell: Shell,
    /// Newest first.
    pub rows: Vec<EventRow>,
    /// Only of this host, named here; empty shows all.
    pub host_name: String,
    pub host_id: String,
    /// Cursor of the next page (`/activity?before=`); empty on the last.
    pub older: String,
}

impl ActivityPage {
    pub(crate) fn older_href(&self) -> String {
        if self.host_id.is_empty() {
            format!("/activity?before={}", query(&self.older))
        } else {
            format!("/activity?host={}&before={}", query(&self.host_id), query(&self.older))
        }
    }
}
