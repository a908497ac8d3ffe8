//! Updates of the box's SD card: bundles are verified before a byte of a slot is written, a new version has to prove itself,
//! and what does not is left for the one before.
//!
//! | module | one sentence |
//! |---|---|
//! | `bundle` | a bundle's file: its signature, its header, its root |
//! | `medium` | the card: the state block and both slots, as files or devices |
//! | `write` | a verified root goes into the slot that is not in use |
//! | `record` | what root remembers about slots, versions and trials |
//! | `keeper` | the decisions on one card: status, install, trial, roll-back |
//! | `helper` | the process that may write to the card: root's end of a Unix socket |
//! | `plugged` | the daemon's eye on USB sticks: what one brought, told once, and the button's yes |
//! | `stick` | root's look into USB sticks: the one file on one of them |
//! | `words` | what the two ends of that socket say |
//! | `client` | the daemon's end of it |
//! | `gate` | on trial: looks at the box's health, and says so to the helper |
//! | `desk` | what page, API and display ask: the bundle that is kept, its way into the slot |
//! | `upload` | a bundle on its way into the store, from page, command line or stick |
//! | `order` | somebody orders an update or a roll-back: may it begin now? |
//!
//! The daemon runs as a user of its own and writes no card. Only `helper` does, and it believes nobody: it verifies
//! what it was given from the file that it opened itself.

mod bundle;
mod client;
mod desk;
mod gate;
mod helper;
mod keeper;
mod medium;
mod order;
mod plugged;
mod record;
mod stick;
#[cfg(test)]
pub(crate) mod tests;
mod upload;
mod words;
mod write;

pub use bundle::{Bundle, BundleError, Key, SIGNED_AT, verify};
pub use client::ClientError;
pub use desk::{Brought, Kept, Updates, UpdatesError, View, Work, bundle_path};
pub use gate::{Probe, sentence, watch};
pub use helper::{Setup, SetupError, run};
pub use order::{OrderError, install, roll_back};
pub use plugged::{ALARMS, STICK, watch_sticks};
pub use upload::Upload;
pub use words::{Last, Other, OtherState, Outcome, Status, Step};
