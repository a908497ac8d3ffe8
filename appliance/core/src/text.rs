//! Text from packets, SMBIOS tables, ISO labels and BMCs is untrusted: it is cleaned once, where it enters.

use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// Printable text of at most 255 characters from an untrusted source; control characters appear as `\xNN`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Default)]
#[serde(transparent)]
pub struct CleanText(String);

impl CleanText {
    /// Cleans `raw`; surrounding blanks go, as vendors pad their tables with them.
    #[must_use]
    pub fn new(raw: &str) -> Self {
        CleanText(clean(raw.trim(), 255))
    }

    /// Cleans bytes that may not be UTF-8.
    #[must_use]
    pub fn from_bytes(raw: &[u8]) -> Self {
        Self::new(&String::from_utf8_lossy(raw))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for CleanText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CleanText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl From<&str> for CleanText {
    fn from(raw: &str) -> Self {
        Self::new(raw)
    }
}

impl<'de> Deserialize<'de> for CleanText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|raw| Self::new(&raw))
    }
}

/// `raw` with control and direction-changing characters written as `\xNN` / `\u{NNNN}`, cut at `limit` characters.
#[must_use]
pub fn clean(raw: &str, limit: usize) -> String {
    let mut out = String::new();
    for (count, c) in raw.chars().enumerate() {
        if count == limit {
            break;
        }
        match c {
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            // C1 controls and the bidirectional overrides can make a line read as another one.
            '\u{80}'..='\u{9f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.push_str(&format!("\\u{{{:x}}}", c as u32));
            }
            c => out.push(c),
        }
    }
    out
}

/// A host name: one DNS label of letters, digits and hyphens, at most 63 long, lower case (RFC 1123 2.1).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Debug)]
#[serde(transparent)]
pub struct HostName(String);

/// Why a text is no host name; says the rule and offers a fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{given}\" is no host name: letters, digits and hyphens only, 1 to 63 of them, none of the hyphens at an end. Try {fix}."
)]
pub struct InvalidHostName {
    given: String,
    fix: String,
}

impl HostName {
    /// Reads a host name; upper case becomes lower case.
    ///
    /// # Errors
    /// [`InvalidHostName`] with a name that would do.
    pub fn new(raw: &str) -> Result<Self, InvalidHostName> {
        let name = raw.to_ascii_lowercase();
        let fits = (1..=63).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !name.starts_with('-')
            && !name.ends_with('-');
        if fits {
            Ok(HostName(name))
        } else {
            Err(InvalidHostName { given: clean(raw, 80), fix: Self::nearest(raw).0 })
        }
    }

    /// The host name nearest to any text; `host` if nothing of it can stay.
    #[must_use]
    pub fn nearest(raw: &str) -> Self {
        let dashed: String = raw
            .to_ascii_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .take(63)
            .collect();
        let trimmed = dashed.trim_matches('-');
        HostName(if trimmed.is_empty() { "host".to_owned() } else { trimmed.to_owned() })
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for HostName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = String::deserialize(deserializer)?;
        Self::new(&raw).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_become_visible() {
        assert_eq!(CleanText::new("  a\nb\u{202e}c ").as_str(), "a\\x0ab\\u{202e}c");
        assert_eq!(CleanText::from_bytes(&[0xff, b'x']).as_str(), "\u{fffd}x");
    }

    #[test]
    fn a_bad_host_name_is_refused_with_a_fix() {
        assert_eq!(HostName::new("Node-06").unwrap().as_str(), "node-06");
        let error = HostName::new("node_06").unwrap_err();
        assert!(error.to_string().contains("node-06"), "{error}");
        assert!(HostName::new("").is_err());
        assert!(HostName::new("-a").is_err());
    }
}
