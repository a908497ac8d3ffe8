//! Versions: three numbers.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A version such as 0.12.3; ordered by its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(pub u32, pub u32, pub u32);

/// What does not read as one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a version is three numbers with dots between them, as 0.12.3")]
pub struct BadVersion;

impl FromStr for Version {
    type Err = BadVersion;

    fn from_str(text: &str) -> Result<Self, BadVersion> {
        let mut numbers = text.split('.').map(|number| {
            let plain = number.bytes().all(|byte| byte.is_ascii_digit()) && (number == "0" || !number.starts_with('0'));
            number.parse().ok().filter(|_| plain).ok_or(BadVersion)
        });
        let mut next = || numbers.next().ok_or(BadVersion)?;
        let version = Version(next()?, next()?, next()?);
        if numbers.next().is_none() { Ok(version) } else { Err(BadVersion) }
    }
}

impl TryFrom<String> for Version {
    type Error = BadVersion;

    fn try_from(text: String) -> Result<Self, BadVersion> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_decide_and_not_letters() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert!(version("0.10.0") > version("0.9.9"));
        assert!(version("1.0.0") > version("0.99.99"));
        assert_eq!(version("1.2.3").to_string(), "1.2.3");
        for bad in
            ["", "1", "1.2", "1.2.3.4", "1.2.x", "1.2.-3", "01.2.3", "1.2.4294967296", "1.2.3-rc1", " 1.2.3", "+1.2.3"]
        {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }
}
