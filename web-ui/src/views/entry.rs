//! The two pages before anybody is signed in. Passwords are never written back into a form.

use super::shell::{Contrast, Theme, look};
use crate::render::Markup;

/// Sign in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoginPage {
    pub box_name: String,
    /// A calm second line, for example `9 hosts, 2 installing`; may be empty.
    pub summary: String,
    pub theme: Theme,
    pub contrast: Contrast,
    pub csrf: String,
    /// The name typed before, kept after a refusal.
    pub user: String,
    /// For example `That is not the password for ops. 3 tries left, then a pause of 1 minute.`; empty if all is well.
    pub problem: String,
    /// No user exists yet: offer the first run instead.
    pub first_run: bool,
}

impl LoginPage {
    pub(crate) fn look(&self) -> Markup {
        look(self.theme, self.contrast)
    }
}

/// The first visit: the one-time code proves that the person stands at the box, then they choose name and password.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FirstRunPage {
    pub box_name: String,
    pub theme: Theme,
    pub contrast: Contrast,
    pub csrf: String,
    /// What was typed before, kept after a refusal of another field.
    pub code: String,
    pub user: String,
    pub code_problem: String,
    pub user_problem: String,
    pub password_problem: String,
}

impl FirstRunPage {
    pub(crate) fn look(&self) -> Markup {
        look(self.theme, self.contrast)
    }
}
