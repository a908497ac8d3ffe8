//! The values that a person may give a profile.

use serde::{Deserialize, Serialize};

/// A value the person installing may give; the page draws its form from these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// As templates name it: `p.NAME`.
    pub name: String,
    pub title: String,
    #[serde(default)]
    pub help: String,
    #[serde(default)]
    pub kind: ParameterKind,
    #[serde(default)]
    pub default: String,
    #[serde(default)]
    pub required: bool,
    /// For `choice`: what may be chosen.
    #[serde(default)]
    pub choices: Vec<String>,
}

/// The form a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum ParameterKind {
    /// One line.
    #[default]
    Text,
    Number,
    /// `true` or `false`.
    Bool,
    Choice,
    /// Several lines.
    Lines,
    /// A user name as Linux takes it.
    User,
    /// OpenSSH public keys, one a line.
    SshKeys,
    /// Typed in plain; what is kept, frozen and seen by templates is its SHA-512 crypt hash (crypt(5), `$6$`).
    Password,
}

impl Parameter {
    pub(super) fn check(&self, value: &str) -> Result<(), String> {
        let one_line = !value.contains(['\n', '\r', '\0']);
        let fits = match self.kind {
            ParameterKind::Text => one_line,
            ParameterKind::Number => value.trim().parse::<i64>().is_ok(),
            ParameterKind::Bool => matches!(value, "true" | "false"),
            ParameterKind::Choice => self.choices.iter().any(|choice| choice == value),
            ParameterKind::Lines => !value.contains('\0'),
            ParameterKind::User => {
                (1..=32).contains(&value.len())
                    && value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
                    && value.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            }
            ParameterKind::SshKeys => value.lines().map(str::trim).filter(|line| !line.is_empty()).all(|line| {
                let mut words = line.split_whitespace();
                let kind = words.next().unwrap_or_default();
                let key = words.next().unwrap_or_default();
                let known = kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-");
                known && key.len() > 20 && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
            }),
            ParameterKind::Password => one_line && !value.contains('\0') && value.len() <= 128,
        };
        if fits {
            return Ok(());
        }
        let rule = match self.kind {
            ParameterKind::Text => "one line of text",
            ParameterKind::Number => "a whole number",
            ParameterKind::Bool => "true or false",
            ParameterKind::Choice => return Err(format!("{}: choose one of {}.", self.title, self.choices.join(", "))),
            ParameterKind::Lines => "text",
            ParameterKind::User => "a user name: lower-case letters, digits, - and _, starting with a letter",
            ParameterKind::SshKeys => "OpenSSH public keys, one a line, such as the content of ~/.ssh/id_ed25519.pub",
            ParameterKind::Password => "one line of at most 128 characters",
        };
        Err(format!("{} takes {rule}.", self.title))
    }
}
