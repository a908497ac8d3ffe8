//! What a host runs from the network without its disks: chosen on a page of its own, shown and ended on the host's.

use super::install::{ParamField, ProfileChoice};
use super::shell::Shell;
use crate::format;

/// What a host runs now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LiveView {
    pub title: String,
    /// Milliseconds since 1970; 0 when the clock was not set then.
    pub since_unix_ms: u64,
    /// Who chose it.
    pub by: String,
}

impl LiveView {
    pub(crate) fn line(&self) -> String {
        match self.since_unix_ms {
            0 => format!("At each boot; chosen by {}.", self.by),
            since => format!("At each boot since {}; chosen by {}.", format::moment(since), self.by),
        }
    }
}

/// `GET /hosts/{id}/live?profile=`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LivePage {
    pub shell: Shell,
    pub host_id: String,
    pub host_name: String,
    pub profiles: Vec<ProfileChoice>,
    /// The id of the chosen one; empty while none is.
    pub profile: String,
    /// Of the chosen one.
    pub params: Vec<ParamField>,
    pub problem: String,
}
