//! Commands on people and the tokens of their programs.

use clap::{Subcommand, ValueEnum};

/// What somebody may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// See everything, change nothing.
    Viewer,
    Admin,
}

impl Role {
    pub(super) fn word(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Admin => "admin",
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Everybody who may log in.
    List,
    /// Adds a person; the password is read from standard input.
    Add {
        name: String,
        #[arg(long, value_enum, default_value = "admin")]
        role: Role,
    },
    /// Gives a new password, read from standard input; every session of theirs ends.
    Passwd { name: String },
    /// Says what a person may.
    Role { name: String, role: Role },
    /// Removes a person, whose sessions and tokens go too.
    Rm { name: String },
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Every token, without its text.
    List,
    /// Makes a token and prints it, this once.
    Add {
        /// What it is for.
        name: String,
        #[arg(long, value_enum, default_value = "admin")]
        role: Role,
    },
    /// Takes a token back; it opens nothing from now on.
    Rm { name: String },
}
