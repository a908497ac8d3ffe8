//! Updates of the box's own SD card: which slot starts, which bundle may be taken, and when a new version has proved itself.
//!
//! | module | one sentence |
//! |---|---|
//! | `block` | the state block: which slot is started, in two copies |
//! | `version` | versions, and their order |
//! | `header` | what a bundle says about itself, and whether this box may take it |
//! | `gate` | when a version on trial counts as healthy |

mod block;
mod gate;
mod header;
mod version;

pub use block::{Block, Boot, COPY, Slots, TRIES};
pub use gate::{Gate, Signs, Verdict};
pub use header::{BoxFacts, FORMAT, Header, LONGEST_HEADER, PRODUCT, Refusal, Root};
pub use version::{BadVersion, Version};

use serde::{Deserialize, Serialize};
use std::fmt;

/// One of the two places of the card that hold a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    A,
    B,
}

impl Slot {
    /// The one that is not this.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }

    /// As the state block writes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Slot::A => "a",
            Slot::B => "b",
        }
    }

    /// From the state block's word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "a" => Some(Slot::A),
            "b" => Some(Slot::B),
            _ => None,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
