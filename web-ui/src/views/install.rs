//! The install dialog: left what is chosen, right what is lost.

use super::facts::{Contents, DiskView};
use super::shell::Shell;
use crate::format;
use crate::render::Markup;

/// A system that can be installed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileChoice {
    pub id: String,
    pub name: String,
    /// For example `on the box · about 3 min`.
    pub note: String,
    /// Why it cannot be chosen for this host; empty if it can.
    pub refusal: String,
}

/// The type of a profile's parameter, which decides its control.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ParamKind {
    #[default]
    Text,
    Number {
        min: Option<i64>,
        max: Option<i64>,
    },
    /// Sends `true` or `false`.
    Bool,
    /// Value and label.
    Choice(Vec<(String, String)>),
    /// Several lines.
    Lines,
    /// Never written back into the form.
    Secret,
}

impl ParamKind {
    pub(crate) fn min(&self) -> Option<i64> {
        match self {
            Self::Number { min, .. } => *min,
            _ => None,
        }
    }

    pub(crate) fn max(&self) -> Option<i64> {
        match self {
            Self::Number { max, .. } => *max,
            _ => None,
        }
    }
}

/// One parameter of the chosen profile, sent as `p.<name>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParamField {
    pub name: String,
    pub label: String,
    pub hint: String,
    pub kind: ParamKind,
    pub value: String,
    pub required: bool,
    /// The rule and the fix; empty if all is well.
    pub problem: String,
}

impl ParamField {
    pub(crate) fn on(&self) -> bool {
        self.value == "true"
    }

    /// `aria-describedby` and `aria-invalid` for the control of field number `n`.
    pub(crate) fn described(&self, n: &usize) -> Markup {
        Markup::described(&format!("p{n}"), !self.hint.is_empty(), !self.problem.is_empty())
    }
}

/// A disk, or a rule that picks one, that may be chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskChoice {
    /// What the form sends as `disk`.
    pub value: String,
    /// What it is called; empty takes the disk's own name.
    pub label: String,
    /// For example `picks nvme0n1 today`; empty takes the disk's model, size and serial.
    pub note: String,
    /// The disk it means now, if that is known.
    pub disk: Option<DiskView>,
    /// Why it cannot be chosen, for example `smaller than the image`; empty if it can.
    pub refusal: String,
}

impl DiskChoice {
    pub(crate) fn title(&self) -> &str {
        match &self.disk {
            Some(disk) if self.label.is_empty() => &disk.name,
            _ => &self.label,
        }
    }

    pub(crate) fn detail(&self) -> String {
        match (&self.disk, self.refusal.is_empty(), self.note.is_empty()) {
            (_, false, _) => self.refusal.clone(),
            (_, _, false) => self.note.clone(),
            (Some(disk), ..) => disk.line(),
            (None, ..) => String::new(),
        }
    }

    /// A disk nobody looked at counts as used.
    pub(crate) fn holds_data(&self) -> bool {
        self.disk.as_ref().is_none_or(DiskView::holds_data)
    }
}

/// The outcome of a check made before arming.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Outlook {
    #[default]
    Good,
    /// Not decided yet, or worth a look.
    Open,
    Bad,
}

/// A check made before arming, for example memory against the profile's minimum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Check {
    pub outlook: Outlook,
    /// For example `Memory`.
    pub word: String,
    /// For example `16 GB, Debian 13 needs 1 GB`.
    pub note: String,
}

impl Check {
    pub(crate) fn data(&self) -> &'static str {
        match self.outlook {
            Outlook::Good => "done",
            Outlook::Open => "waiting",
            Outlook::Bad => "failed",
        }
    }

    pub(crate) fn shape(&self) -> Markup {
        Markup::glyph(self.data())
    }
}

/// The dialog.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstallDialog {
    pub host_id: String,
    /// Name or MAC: what has to be typed to confirm.
    pub host_name: String,
    /// Model and specs, for example `Lenovo ThinkCentre M720q · 6 cores · 16 GB`.
    pub host_line: String,
    pub csrf: String,
    pub profiles: Vec<ProfileChoice>,
    /// The id of the chosen profile; empty while none is.
    pub profile: String,
    /// Of the chosen profile.
    pub params: Vec<ParamField>,
    pub disks: Vec<DiskChoice>,
    /// The value the person chose; a single disk is chosen without it, one of several never.
    pub disk: String,
    pub disk_problem: String,
    /// What was typed to confirm, kept after a refusal.
    pub confirm: String,
    pub confirm_problem: String,
    /// Something that stands against the whole install, for example that it runs already.
    pub problem: String,
    pub checks: Vec<Check>,
    /// How long the permission will last.
    pub expires_ms: u64,
    /// Where Cancel leads without JavaScript: the host's page or the list.
    pub back: String,
}

impl InstallDialog {
    /// Those that can be chosen, then the rest.
    pub(crate) fn groups(&self) -> Vec<(&'static str, Vec<&ProfileChoice>)> {
        let (ready, rest): (Vec<_>, Vec<_>) = self.profiles.iter().partition(|profile| profile.refusal.is_empty());
        [("Ready", ready), ("Not ready", rest)].into_iter().filter(|(_, profiles)| !profiles.is_empty()).collect()
    }

    pub(crate) fn is_chosen(&self, choice: &DiskChoice) -> bool {
        if !choice.refusal.is_empty() {
            return false;
        }
        self.disks.len() == 1 || (!self.disk.is_empty() && choice.value == self.disk)
    }

    pub(crate) fn chosen(&self) -> Option<&DiskChoice> {
        self.disks.iter().find(|choice| self.is_chosen(choice))
    }

    /// What the right side describes: the chosen disk, or all that could be chosen.
    pub(crate) fn at_stake(&self) -> Vec<&DiskChoice> {
        match self.chosen() {
            Some(choice) => vec![choice],
            None => self.disks.iter().filter(|choice| choice.refusal.is_empty()).collect(),
        }
    }

    pub(crate) fn spared(&self) -> Vec<&DiskView> {
        let Some(chosen) = self.chosen().and_then(|choice| choice.disk.as_ref()) else { return Vec::new() };
        let others = self.disks.iter().filter_map(|choice| choice.disk.as_ref());
        let mut spared: Vec<&DiskView> = Vec::new();
        for disk in others.filter(|disk| disk.name != chosen.name) {
            if !spared.iter().any(|seen| seen.name == disk.name) {
                spared.push(disk);
            }
        }
        spared
    }

    /// Data was found, or nobody could look: the button is red and the name has to be typed.
    pub(crate) fn erases(&self) -> bool {
        self.disks.is_empty() || self.at_stake().iter().any(|choice| choice.holds_data())
    }

    pub(crate) fn confirm_lead(&self) -> &'static str {
        let known = |choice: &DiskChoice| matches!(&choice.disk, Some(disk) if disk.contents != Contents::Unknown);
        match self.chosen() {
            None => "If the disk you choose holds data:",
            Some(choice) if known(choice) => "This disk holds data.",
            Some(_) => "This disk may hold data.",
        }
    }

    pub(crate) fn ready(&self) -> bool {
        !self.profile.is_empty() && !self.disks.is_empty()
    }

    pub(crate) fn expires(&self) -> String {
        format::duration(self.expires_ms)
    }

    pub(crate) fn back_path(&self) -> &str {
        super::shell::local(&self.back)
    }

    pub(crate) fn disks_described(&self) -> Markup {
        Markup::described("disk", false, !self.disk_problem.is_empty())
    }

    pub(crate) fn confirm_described(&self) -> Markup {
        Markup::described("confirm", true, !self.confirm_problem.is_empty())
    }
}

/// The dialog as a page of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstallPage {
    pub shell: Shell,
    pub dialog: InstallDialog,
}
