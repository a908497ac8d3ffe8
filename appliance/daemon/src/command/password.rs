//! A password typed without being seen, or piped in.

use anyhow::Context;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::io::{IsTerminal as _, Write as _};

/// One line of standard input; a terminal is asked for it and does not show it.
///
/// # Errors
/// If standard input cannot be read.
pub fn read(name: &str) -> anyhow::Result<String> {
    let input = std::io::stdin();
    let shown = if input.is_terminal() {
        let _ = write!(std::io::stderr(), "Password for {name}: ");
        let shown = tcgetattr(&input).context("asking the terminal")?;
        let mut hidden = shown.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&input, OptionalActions::Flush, &hidden).context("telling the terminal to hide the password")?;
        Some(shown)
    } else {
        None
    };
    let mut password = String::new();
    let read = input.read_line(&mut password);
    if let Some(shown) = shown {
        // Shown again also when reading failed.
        let _ = tcsetattr(&input, OptionalActions::Flush, &shown);
        let _ = writeln!(std::io::stderr());
    }
    read.context("reading the password from standard input")?;
    Ok(password.trim_end_matches(['\n', '\r']).to_owned())
}
