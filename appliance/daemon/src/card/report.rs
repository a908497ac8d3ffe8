//! `rackberry-report.txt`: what was wrong, for whoever puts the card into a laptop again.

use crate::config::Problem;
use std::fmt::Write as _;

/// A mistake, or something else worth knowing, in one of the card's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    pub file: String,
    pub problem: Problem,
}

impl std::fmt::Display for Remark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {}", self.file, self.problem)
    }
}

/// The whole report; the same for the same card, so that it is written once.
pub fn text(mistakes: &[Remark], notes: &[Remark]) -> String {
    let mut out = format!("Rackberry {} has read this card.\n\n", env!("CARGO_PKG_VERSION"));
    // Writing to a String cannot fail.
    let _ = match mistakes.len() {
        0 => writeln!(out, "Its settings are in order."),
        1 => writeln!(out, "One mistake; the setting stands at its default:"),
        many => writeln!(out, "{many} mistakes; these settings stand at their defaults:"),
    };
    for mistake in mistakes {
        let _ = writeln!(out, "  {mistake}");
    }
    if !notes.is_empty() {
        let _ = writeln!(out, "\nNot used here:");
        for note in notes {
            let _ = writeln!(out, "  {note}");
        }
    }
    out
}
