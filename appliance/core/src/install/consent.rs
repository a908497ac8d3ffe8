//! A yes from a person at the box, where the settings want one before a disk is erased: asked for once the host is there
//! and its disk was looked at, one host at a time.
//!
//! The four digits that say yes from afar are no part of this state: nothing that is stored or told holds them.

use super::{Install, InstallState, Rejected};
use crate::{
    event::{ConsentWay, EventKind},
    hardware::SeenDisk,
    id::InstallId,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{str::FromStr, time::Duration};

/// How often wrong digits may be given for one request.
pub const CONSENT_TRIES: u8 = 3;
/// A press so soon after a question appeared was meant for the one before: nobody reads faster.
pub const CONSENT_SETTLE: Duration = Duration::from_secs(1);

/// When a person at the box has to say yes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsentRule {
    #[default]
    Never,
    /// If the disk holds anything, or nobody can tell.
    Data,
    Always,
}

impl ConsentRule {
    /// Whether `disk` takes a yes.
    #[must_use]
    pub fn wants(self, disk_is_blank: bool) -> bool {
        match self {
            ConsentRule::Never => false,
            ConsentRule::Data => !disk_is_blank,
            ConsentRule::Always => true,
        }
    }
}

impl FromStr for ConsentRule {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "never" => Ok(ConsentRule::Never),
            "data" => Ok(ConsentRule::Data),
            "always" => Ok(ConsentRule::Always),
            _ => Err("takes never, data or always".to_owned()),
        }
    }
}

/// Where the yes of one install stands; it belongs to the install's Arm and to the disk that was shown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Consent {
    /// Nobody has to be asked.
    #[default]
    NotNeeded,
    /// Decided when the host is there and its disk is known.
    Due {
        rule: ConsentRule,
    },
    /// The host is there; the display asks one question at a time.
    Queued {
        since: Timestamp,
        disk: SeenDisk,
    },
    /// The display asks.
    Asked {
        at: Timestamp,
        until: Timestamp,
        tries_left: u8,
        disk: SeenDisk,
    },
    Given {
        at: Timestamp,
        by: ConsentWay,
        disk: SeenDisk,
    },
    /// Nobody said yes in time, or wrong digits were given too often: a person may have it asked again.
    Denied {
        at: Timestamp,
        wrong_digits: bool,
        disk: SeenDisk,
    },
}

impl Consent {
    /// What an install begins with.
    #[must_use]
    pub fn by_rule(rule: ConsentRule) -> Self {
        match rule {
            ConsentRule::Never => Consent::NotNeeded,
            ConsentRule::Data | ConsentRule::Always => Consent::Due { rule },
        }
    }

    /// Whether a disk may be erased as far as people at the box are concerned.
    #[must_use]
    pub fn open(&self) -> bool {
        matches!(self, Consent::NotNeeded | Consent::Given { .. })
    }

    /// Whether it waits for people and nothing else.
    #[must_use]
    pub fn waits(&self) -> bool {
        matches!(self, Consent::Queued { .. } | Consent::Asked { .. } | Consent::Denied { .. })
    }

    /// Until when the display asks, if it does.
    #[must_use]
    pub fn asked_until(&self) -> Option<Timestamp> {
        match self {
            Consent::Asked { until, .. } => Some(*until),
            _ => None,
        }
    }
}

/// How many questions come before that of `id`, which is queued.
#[must_use]
pub fn consent_place<'a>(installs: impl Iterator<Item = &'a Install>, id: InstallId, since: Timestamp) -> usize {
    installs
        .filter(|other| match &other.state.consent {
            Consent::Asked { .. } => other.state.waits_for_consent(),
            Consent::Queued { since: theirs, .. } => {
                other.state.waits_for_consent() && (*theirs, other.id) < (since, id)
            }
            Consent::NotNeeded | Consent::Due { .. } | Consent::Given { .. } | Consent::Denied { .. } => false,
        })
        .count()
}

impl InstallState {
    /// Whether it waits for people at the box and nothing else.
    #[must_use]
    pub fn waits_for_consent(&self) -> bool {
        self.arm.consumed.is_none() && !self.phase.ended() && self.consent.waits()
    }

    /// How an event moves the yes.
    pub(super) fn consent(&mut self, kind: &EventKind, now: Timestamp) -> Result<(), Rejected> {
        if self.arm.consumed.is_some() {
            return Err(Rejected::ArmConsumed);
        }
        self.consent = match (kind, &self.consent) {
            (EventKind::ConsentWaived { .. }, Consent::Due { rule: ConsentRule::Data }) => Consent::NotNeeded,
            // A yes was for the disk that was shown and for no other.
            (EventKind::ConsentNeeded { disk }, Consent::NotNeeded | Consent::Due { .. } | Consent::Given { .. }) => {
                Consent::Queued { since: now, disk: disk.clone() }
            }
            (EventKind::ConsentWanted, Consent::Denied { disk, .. }) => {
                Consent::Queued { since: now, disk: disk.clone() }
            }
            // Asked anew where the digits got lost with the program that showed them.
            (EventKind::ConsentAsked { seconds, .. }, Consent::Queued { disk, .. } | Consent::Asked { disk, .. }) => {
                let until = now.after(Duration::from_secs(u64::from(*seconds)));
                Consent::Asked { at: now, until, tries_left: CONSENT_TRIES, disk: disk.clone() }
            }
            (EventKind::ConsentGiven { .. }, Consent::Asked { until, .. }) if *until <= now => {
                return Err(Rejected::ConsentOver);
            }
            (EventKind::ConsentGiven { by: ConsentWay::Press }, Consent::Asked { at, .. })
                if now.since(*at) < CONSENT_SETTLE =>
            {
                return Err(Rejected::ConsentTooSoon);
            }
            (EventKind::ConsentGiven { by }, Consent::Asked { disk, .. }) => {
                Consent::Given { at: now, by: *by, disk: disk.clone() }
            }
            (EventKind::ConsentRefused { left }, Consent::Asked { at, until, tries_left, disk })
                if left.saturating_add(1) == *tries_left =>
            {
                let disk = disk.clone();
                if *left == 0 {
                    Consent::Denied { at: now, wrong_digits: true, disk }
                } else {
                    Consent::Asked { at: *at, until: *until, tries_left: *left, disk }
                }
            }
            (EventKind::ConsentExpired, Consent::Asked { until, disk, .. }) if *until <= now => {
                Consent::Denied { at: now, wrong_digits: false, disk: disk.clone() }
            }
            _ => return Err(Rejected::ConsentNotAsked),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests;
