//! Identifiers: UUIDv7 (RFC 9562) made by the caller, so that several boxes can share an inventory later.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::parse_str(text).map($name).map_err(|_| InvalidId { what: $what, text: crate::text::clean(text, 64) })
            }
        }
    };
}

uuid_id!(
    /// Names a [`Host`](crate::host::Host).
    HostId, "host"
);
uuid_id!(
    /// Names an [`Install`](crate::install::Install).
    InstallId, "install"
);
uuid_id!(
    /// Names an [`Event`](crate::event::Event).
    EventId, "event"
);
uuid_id!(
    /// Names the box that wrote an event.
    BoxId, "box"
);

/// Text that is no identifier of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not the id of a {what}; ids look like 0197f1c4-7d2e-7c11-b1a0-3f5c8e2d9a44")]
pub struct InvalidId {
    what: &'static str,
    text: String,
}
