//! Option negotiation: what a request asks for, what [`Limits`] allow, what is granted (RFC 2347, 2348, 2349, 7440).

use crate::packet::{Mode, RawOption, ReadRequest};
use std::time::Duration;

/// Data bytes per block where no blksize is agreed (RFC 1350).
pub const DEFAULT_BLKSIZE: u16 = 512;

/// The block number that follows 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RollOver {
    /// 0, as most clients count.
    #[default]
    ToZero,
    /// 1, as a few old clients count.
    ToOne,
}

/// Bounds on what a client may ask for and how long it is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest blksize granted, in bytes; the shell lowers it to what the path carries unfragmented.
    pub max_blksize: u16,
    /// Largest windowsize granted, in blocks.
    pub max_windowsize: u16,
    /// How block numbers go on after 65535.
    pub roll_over: RollOver,
    /// Repeats before a silent client is given up; before its first acknowledgement no more than these are ever sent.
    pub retries: u32,
    /// A client that has acknowledged something is not given up before this much silence, as it may be busy writing.
    pub patience: Duration,
    /// Wait before the first repeat while no round trip has been measured.
    pub first_timeout: Duration,
    /// Longest wait between two repeats.
    pub max_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_blksize: 65464,
            max_windowsize: 64,
            roll_over: RollOver::ToZero,
            retries: 5,
            patience: Duration::from_secs(20),
            first_timeout: Duration::from_secs(1),
            max_timeout: Duration::from_secs(4),
        }
    }
}

/// The terms of one transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    /// Data bytes per block.
    pub blksize: u16,
    /// Blocks sent before an acknowledgement is due.
    pub windowsize: u16,
    /// The longest wait before a repeat, if the client named one.
    pub timeout: Option<Duration>,
    /// What the OACK says: only options that were asked, in the client's order and spelling; empty means that no OACK is sent.
    pub oack: Vec<RawOption>,
}

impl Agreed {
    /// Negotiates the options of a request for `len` bytes.
    ///
    /// A value outside its RFC's range leaves the option out, as if it had not been asked.
    pub fn negotiate(request: &ReadRequest, len: u64, limits: &Limits) -> Self {
        let mut agreed = Self { blksize: DEFAULT_BLKSIZE, windowsize: 1, timeout: None, oack: Vec::new() };
        for option in &request.options {
            let Some(kind) = Kind::parse(&option.name) else {
                continue;
            };
            let repeated = agreed.oack.iter().any(|done| done.name.eq_ignore_ascii_case(&option.name));
            if repeated {
                continue;
            }
            if let Some(value) = agreed.grant(kind, &option.value, request.mode, len, limits) {
                agreed.oack.push(RawOption { name: option.name.clone(), value: value.to_string() });
            }
        }
        agreed
    }

    fn grant(&mut self, kind: Kind, asked: &str, mode: Mode, len: u64, limits: &Limits) -> Option<u64> {
        match kind {
            Kind::Blksize => {
                // RFC 2348 ends at 65464; what lies above is cut rather than ignored, since any smaller answer is legal.
                let asked = number_from(asked, 8)?;
                self.blksize = at_most(asked, limits.max_blksize.clamp(8, 65464));
                Some(self.blksize.into())
            }
            Kind::Windowsize => {
                let asked = number_from(asked, 1)?;
                self.windowsize = at_most(asked, limits.max_windowsize.max(1));
                Some(self.windowsize.into())
            }
            Kind::Timeout => {
                let seconds = number_from(asked, 1).filter(|seconds| *seconds <= 255)?;
                self.timeout = Some(Duration::from_secs(seconds));
                Some(seconds)
            }
            // The size on the wire differs from the file's in netascii. The value asked says nothing (RFC 2349: 0).
            Kind::Tsize => (mode == Mode::Octet).then_some(len),
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Blksize,
    Windowsize,
    Timeout,
    Tsize,
}

impl Kind {
    fn parse(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "blksize" => Some(Self::Blksize),
            "windowsize" => Some(Self::Windowsize),
            "timeout" => Some(Self::Timeout),
            "tsize" => Some(Self::Tsize),
            _ => None,
        }
    }
}

fn number_from(text: &str, least: u64) -> Option<u64> {
    text.trim().parse().ok().filter(|number| *number >= least)
}

fn at_most(asked: u64, limit: u16) -> u16 {
    u16::try_from(asked).unwrap_or(u16::MAX).min(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oack(request: &ReadRequest, len: u64) -> String {
        let limits = Limits { max_blksize: 1468, max_windowsize: 16, ..Limits::default() };
        let agreed = Agreed::negotiate(request, len, &limits);
        let pairs = agreed.oack.iter().map(|option| format!("{}={}", option.name, option.value));
        pairs.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn only_what_was_asked_is_answered_in_the_clients_spelling_and_order() {
        let request = ReadRequest::octet("x").with("TSize", 0).with("multicast", "").with("BLKSIZE", 1408);
        assert_eq!(oack(&request, 7_000_000_000), "TSize=7000000000 BLKSIZE=1408");
        assert_eq!(oack(&ReadRequest::octet("x"), 5), "");
    }

    #[test]
    fn grants_never_exceed_the_limits_nor_what_was_asked() {
        let asking = |name: &str, value: &str| oack(&ReadRequest::octet("x").with(name, value), 1);
        assert_eq!(asking("blksize", "65464"), "blksize=1468");
        assert_eq!(asking("blksize", "99999999"), "blksize=1468");
        assert_eq!(asking("blksize", "8"), "blksize=8");
        assert_eq!(asking("windowsize", "65535"), "windowsize=16");
        assert_eq!(asking("windowsize", "4"), "windowsize=4");
        assert_eq!(asking("timeout", "255"), "timeout=255");
    }

    #[test]
    fn values_outside_their_range_leave_the_option_out() {
        for (name, value) in [
            ("blksize", "7"),
            ("blksize", "-1"),
            ("blksize", ""),
            ("windowsize", "0"),
            ("windowsize", "many"),
            ("timeout", "0"),
            ("timeout", "256"),
        ] {
            assert_eq!(oack(&ReadRequest::octet("x").with(name, value), 1), "", "{name}={value}");
        }
    }

    #[test]
    fn tsize_is_never_told_for_netascii() {
        let mut request = ReadRequest::octet("x").with("tsize", 0).with("blksize", 512);
        request.mode = Mode::Netascii;
        assert_eq!(oack(&request, 9), "blksize=512");
    }

    #[test]
    fn an_option_asked_twice_is_answered_once_with_the_first() {
        let request = ReadRequest::octet("x").with("blksize", 600).with("Blksize", 700);
        assert_eq!(oack(&request, 9), "blksize=600");
    }
}
