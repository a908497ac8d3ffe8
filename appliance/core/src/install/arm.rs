//! The permission to erase, and the machine that it is for.

use crate::{
    host::{MacAddr, SmbiosUuid},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// The one-shot, expiring permission to erase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    pub granted: Timestamp,
    pub expires: Timestamp,
    pub bound: Binding,
    /// When it was used; a consumed Arm never comes back.
    pub consumed: Option<Timestamp>,
}

/// Which machine an Arm means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    pub macs: Vec<MacAddr>,
    /// None only if no UUID was ever learnt: then the page says "bound by MAC only".
    pub uuid: Option<SmbiosUuid>,
}

impl Binding {
    /// Whether a request by this address, stating this UUID, comes from the armed machine.
    ///
    /// A UUID other than the bound one is another machine, also when we never saw it before; none stated says nothing.
    #[must_use]
    pub fn admits(&self, mac: MacAddr, uuid: Option<SmbiosUuid>) -> bool {
        self.macs.contains(&mac) && !self.contradicts(uuid)
    }

    /// Whether a stated UUID shows that this is another machine.
    #[must_use]
    pub fn contradicts(&self, uuid: Option<SmbiosUuid>) -> bool {
        matches!((self.uuid, uuid), (Some(bound), Some(stated)) if bound != stated)
    }
}
