//! What the loader told us on the kernel command line.

use rackberry_core::host::MacAddr;
use std::time::Duration;

/// How long a machine with a system on its disk waits for a box that does not answer.
const DEFAULT_IDLE: Duration = Duration::from_secs(300);

/// The settings of one boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// `rackberry.url=`, without a slash at its end.
    pub url: String,
    /// `rackberry.token=`: names this boot to the box.
    pub token: String,
    /// `BOOTIF=`: the port it booted over, as PXELINUX and iPXE (`${netX/mac:hexhyp}`) pass it.
    pub boot_mac: Option<MacAddr>,
    /// `rackberry.idle=` in seconds.
    pub idle: Duration,
}

/// A command line that does not say whose agent this is.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandLineError {
    #[error("the kernel command line names no box: rackberry.url=http://ADDRESS is missing")]
    NoUrl,
    #[error("the kernel command line has no rackberry.token=; boot this machine from the box again")]
    NoToken,
}

impl CommandLine {
    /// Reads the text of `/proc/cmdline`; of a repeated word the last one counts, as for the kernel.
    ///
    /// # Errors
    /// [`CommandLineError`] if the box or the token is not named.
    pub fn parse(text: &str) -> Result<Self, CommandLineError> {
        let value = |key: &str| {
            let values = text.split_whitespace().filter_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            values.map(|value| value.trim_matches('"').to_owned()).rfind(|value| !value.is_empty())
        };
        Ok(CommandLine {
            url: value("rackberry.url").ok_or(CommandLineError::NoUrl)?.trim_end_matches('/').to_owned(),
            token: value("rackberry.token").ok_or(CommandLineError::NoToken)?,
            boot_mac: value("BOOTIF").and_then(|mac| mac.parse().ok()),
            idle: value("rackberry.idle")
                .and_then(|seconds| seconds.parse().ok())
                .map_or(DEFAULT_IDLE, Duration::from_secs),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_repeated_word_counts() {
        let line = "quiet rackberry.url=http://a/ rackberry.url=http://10.0.0.1:8080/ BOOTIF=01-52-54-00-77-00-01 \
                    rackberry.token=abcd rackberry.idle=7\n";
        let read = CommandLine::parse(line).unwrap();
        assert_eq!(read.url, "http://10.0.0.1:8080");
        assert_eq!(read.token, "abcd");
        assert_eq!(read.boot_mac, Some(MacAddr([0x52, 0x54, 0, 0x77, 0, 1])));
        assert_eq!(read.idle, Duration::from_secs(7));
    }

    #[test]
    fn without_a_box_or_token_there_is_nothing_to_do() {
        assert_eq!(CommandLine::parse("quiet"), Err(CommandLineError::NoUrl));
        assert_eq!(CommandLine::parse("rackberry.url=http://a"), Err(CommandLineError::NoToken));
        assert_eq!(
            CommandLine::parse("rackberry.url=http://a rackberry.token=b").unwrap().idle,
            Duration::from_secs(300)
        );
    }
}
