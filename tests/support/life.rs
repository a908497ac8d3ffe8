//! What a machine without hardware goes through: its faults, and what it erased and was told.

use crate::dice::Dice;
use rackberry_core::agent::{News, Run};

/// What goes wrong between a machine and its box, in percent of its messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The answer never arrives; the box may or may not have heard the message.
    pub lose: f64,
    /// The message arrives twice.
    pub double: f64,
    /// The power fails before the message leaves, and the machine boots again.
    pub die: f64,
}

/// What a machine went through, over all its boots.
#[derive(Clone, Debug)]
pub struct Life {
    /// Its luck.
    pub faults: Faults,
    /// Network boots.
    pub boots: u32,
    /// Each time a disk began to be overwritten.
    pub erased: Vec<Run>,
    /// What the box answered 200 to, and so must never forget.
    pub acknowledged: Vec<News>,
    /// What the written system has to report with.
    pub first_boot: Option<String>,
    /// Messages whose answers were lost on purpose.
    pub lost: u32,
    /// Messages sent twice on purpose.
    pub doubled: u32,
    pub(crate) dice: Dice,
}

impl Life {
    /// A life with these faults; the same seed meets the same ones.
    #[must_use]
    pub fn new(faults: Faults, seed: u64) -> Self {
        Self {
            faults,
            boots: 0,
            erased: Vec::new(),
            acknowledged: Vec::new(),
            first_boot: None,
            lost: 0,
            doubled: 0,
            dice: Dice::new(seed),
        }
    }

    /// Its last days, for messages.
    #[must_use]
    pub fn brief(&self) -> String {
        let last = |count: usize| count.saturating_sub(6);
        let Self { boots, erased, acknowledged, .. } = self;
        let news = acknowledged.get(last(acknowledged.len())..);
        format!("{boots} boots, last erases {:?}, last acknowledged {news:?}", erased.last())
    }
}
