//! What the box may do on a link: what a person set, and what was found.

use crate::host::MacAddr;
use serde::{Deserialize, Serialize};
use std::{fmt, net::Ipv4Addr, str::FromStr};

/// The `[dhcp] mode` setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Find out by probing.
    #[default]
    Auto,
    /// Listen, answer nothing.
    Observe,
    /// Boot files beside another DHCP server, never an address.
    Proxy,
    /// Short leases to boot clients only, until another server shows up.
    PxeOnly,
    /// A person chose to serve everybody.
    Server,
}

/// A word that is none of the five modes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no DHCP mode: auto, observe, proxy, pxe-only or server")]
pub struct InvalidMode(String);

impl FromStr for Mode {
    type Err = InvalidMode;

    fn from_str(text: &str) -> Result<Self, InvalidMode> {
        Ok(match text {
            "auto" => Mode::Auto,
            "observe" => Mode::Observe,
            "proxy" => Mode::Proxy,
            "pxe-only" => Mode::PxeOnly,
            "server" => Mode::Server,
            other => return Err(InvalidMode(crate::text::clean(other, 40))),
        })
    }
}

impl Mode {
    /// The word of the setting.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Mode::Auto => "auto",
            Mode::Observe => "observe",
            Mode::Proxy => "proxy",
            Mode::PxeOnly => "pxe-only",
            Mode::Server => "server",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What the box does on this link now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Nothing.
    Observe,
    /// Proxy answers to hosts a person enrolled: somebody else's boot server is here too.
    ProxyEnrolled,
    /// Proxy answers.
    Proxy,
    /// Short leases to boot clients.
    PxeOnly,
    /// Leases to all.
    Server,
}

impl Stage {
    /// The stage that [`word`](Self::word) means, for a verdict kept on disk.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        [Stage::Observe, Stage::ProxyEnrolled, Stage::Proxy, Stage::PxeOnly, Stage::Server]
            .into_iter()
            .find(|stage| stage.word() == word)
    }

    /// For pages and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Stage::Observe => "observe",
            Stage::ProxyEnrolled => "proxy for enrolled hosts",
            Stage::Proxy => "proxy",
            Stage::PxeOnly => "pxe-only",
            Stage::Server => "server",
        }
    }

    /// Whether new leases are given.
    #[must_use]
    pub fn leases(self) -> bool {
        match self {
            Stage::PxeOnly | Stage::Server => true,
            Stage::Observe | Stage::ProxyEnrolled | Stage::Proxy => false,
        }
    }
}

/// A link as the verdict is stored for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LinkId {
    pub gateway: Option<MacAddr>,
    pub network: Ipv4Addr,
    pub prefix: u8,
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.gateway {
            Some(mac) => write!(f, "{}/{} via {mac}", self.network, self.prefix),
            None => write!(f, "{}/{}", self.network, self.prefix),
        }
    }
}
