//! The FAT partition of the box's SD card: what people write there on any laptop before the first start.
//!
//! | module | one sentence |
//! |---|---|
//! | `own` | `[box]` of `rackberry.toml`: what the box itself is |
//! | `people` | `[[box.user]]`: who may log in on console and by SSH |
//! | `preseed` | `rpi-preseed.toml` as Raspberry Pi Imager writes it |
//! | `edits` | changes within a file that leave everything else as it was: passwords become hashes |
//! | `accounts` | passwd, shadow and group with the people of the card |
//! | `report` | what was wrong, for whoever puts the card into a laptop again |
//! | `setup` | all of it applied at start, files written so that a power cut leaves the old or the new one |
//! | `reset` | back to as it was flashed |
//!
//! What stands on the card is data and never run. A mistake leaves its setting at the default and is named with file,
//! line and key: a box without a keyboard has to come up to tell anything.

mod accounts;
mod edits;
mod own;
mod people;
mod preseed;
mod report;
mod reset;
mod setup;

pub use own::BoxSettings;
pub use people::Account;
pub use report::Remark;
pub use reset::RESET_REQUEST;
pub use setup::{Look, Outcome, Places, SetupError, look, set_up};

/// The crypt(5) hash of a password, with salt from the kernel; what is one already stays.
///
/// # Errors
/// Why the password is none that a login prompt takes.
pub fn crypt(password: &str) -> Result<String, String> {
    edits::hashed(Hash::Crypt, password, &edits::hash)
}

use crate::config::{self, Config, InvalidConfig, Problem};
use edits::{Edit, Hash};

/// Our own file on the card.
pub const OWN: &str = "rackberry.toml";
/// Raspberry Pi Imager's file on the card.
pub const PRESEED: &str = "rpi-preseed.toml";
/// What the box writes back.
pub const REPORT: &str = "rackberry-report.txt";

/// Turns a plain password into a hash; `Err` is a sentence.
pub type Hasher<'h> = &'h dyn Fn(Hash, &str) -> Result<String, String>;

/// What one file says.
#[derive(Debug, Clone, Default, PartialEq)]
struct Read {
    settings: BoxSettings,
    problems: Vec<Problem>,
    /// What is not used here, which is no mistake.
    notes: Vec<Problem>,
    /// To take plain secrets out of the file.
    edits: Vec<Edit>,
}

/// Names every mistake of a `rackberry.toml`, the box's own part included.
///
/// # Errors
/// [`InvalidConfig`] with all of them.
pub fn check(toml: &str) -> Result<(), InvalidConfig> {
    let mut problems = Config::parse(toml).err().map_or_else(Vec::new, |InvalidConfig(problems)| problems);
    // Only looked at: what a password would become does not matter.
    problems.extend(own::read(toml, &|_, _| Ok(String::new())).problems);
    problems.sort_by_key(|problem| problem.line);
    if problems.is_empty() { Ok(()) } else { Err(InvalidConfig(problems)) }
}

/// The card's sample file: every setting with its meaning, all of them commented out.
#[must_use]
pub fn sample() -> String {
    let settings: String = config::sample()
        .lines()
        .map(|line| if line.is_empty() || line.starts_with('#') { format!("{line}\n") } else { format!("# {line}\n") })
        .collect();
    settings + &own::sample()
}
