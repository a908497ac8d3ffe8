//! A DHCP option that a person sets, for a subnet or for one host: its number and what it carries.

use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// One option to send (RFC 2132), written as text and sent as bytes.
///
/// The text is one of: `hex:0a0b0c`, IPv4 addresses separated by commas, or the text itself. Option 119 takes domain
/// names separated by commas (RFC 3397).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "(u8, String)", into = "(u8, String)")]
pub struct DhcpOption {
    code: u8,
    text: String,
    value: Vec<u8>,
}

/// Why an option cannot be sent as it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOption {
    #[error("option {0} is the box's own to fill; leave it out")]
    Own(u8),
    #[error("\"{0}\" after hex: takes pairs of the digits 0-9 and a-f")]
    Hex(String),
    #[error("\"{0}\" is no domain name")]
    Domain(String),
    #[error("option {code} would have {length} bytes; 1 to 255 fit")]
    Length { code: u8, length: usize },
    #[error("option {0} holds control characters; write them as hex:")]
    Control(u8),
    #[error("\"{0}\" is no option number: 1 to 254")]
    Number(String),
}

/// Options that follow from the packet, the lease or the subnet, and that nobody can set by hand: padding, mask, the
/// protocol's own, identifiers that are echoed, relay information, END.
const OWN: &[u8] = &[0, 1, 50, 51, 52, 53, 54, 55, 57, 58, 59, 61, 82, 97, 118, 255];
const DOMAIN_SEARCH: u8 = 119;

impl DhcpOption {
    /// Reads an option as a person writes it.
    ///
    /// # Errors
    /// [`InvalidOption`].
    pub fn new(code: u8, text: &str) -> Result<Self, InvalidOption> {
        if OWN.contains(&code) {
            return Err(InvalidOption::Own(code));
        }
        let value = match text.trim().strip_prefix("hex:") {
            Some(digits) => from_hex(digits).ok_or_else(|| InvalidOption::Hex(crate::text::clean(digits, 40)))?,
            None if code == DOMAIN_SEARCH => domains(text)?,
            None => match text.split(',').map(|part| part.trim().parse::<Ipv4Addr>()).collect::<Result<Vec<_>, _>>() {
                Ok(addresses) => addresses.iter().flat_map(Ipv4Addr::octets).collect(),
                Err(_) if text.chars().any(char::is_control) => return Err(InvalidOption::Control(code)),
                Err(_) => text.as_bytes().to_vec(),
            },
        };
        match value.len() {
            1..=255 => Ok(DhcpOption { code, text: text.to_owned(), value }),
            length => Err(InvalidOption::Length { code, length }),
        }
    }

    /// Reads `NUMBER=VALUE`.
    ///
    /// # Errors
    /// [`InvalidOption`].
    pub fn parse(pair: &str) -> Result<Self, InvalidOption> {
        let (code, text) = pair.split_once('=').unwrap_or((pair, ""));
        let number = code.trim().parse().map_err(|_| InvalidOption::Number(crate::text::clean(code, 20)))?;
        DhcpOption::new(number, text)
    }

    /// The option's number.
    #[must_use]
    pub fn code(&self) -> u8 {
        self.code
    }

    /// What a person wrote.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is sent; 1 to 255 bytes.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.value
    }
}

impl TryFrom<(u8, String)> for DhcpOption {
    type Error = InvalidOption;

    fn try_from((code, text): (u8, String)) -> Result<Self, InvalidOption> {
        DhcpOption::new(code, &text)
    }
}

impl From<DhcpOption> for (u8, String) {
    fn from(option: DhcpOption) -> Self {
        (option.code, option.text)
    }
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = digits
        .chars()
        .filter(|c| !matches!(c, ':' | '-' | ' '))
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    let whole = pairs.remainder().is_empty() && !digits.is_empty();
    whole.then(|| {
        pairs
            .map(|pair| match pair {
                [high, low] => high << 4 | low,
                _ => 0,
            })
            .collect()
    })
}

/// Domain names as DNS writes them (RFC 1035 3.1), without compression.
fn domains(text: &str) -> Result<Vec<u8>, InvalidOption> {
    let mut value = Vec::new();
    for name in text.split(',').map(|name| name.trim().trim_end_matches('.')) {
        let invalid = || InvalidOption::Domain(crate::text::clean(name, 60));
        for label in name.split('.') {
            let known = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
            let length = u8::try_from(label.len()).ok().filter(|length| known && (1..=63).contains(length));
            value.push(length.ok_or_else(invalid)?);
            value.extend_from_slice(label.as_bytes());
        }
        value.push(0);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(code: u8, text: &str) -> Vec<u8> {
        DhcpOption::new(code, text).unwrap().value().to_vec()
    }

    #[test]
    fn addresses_text_and_hex_are_told_apart() {
        assert_eq!(bytes(42, "10.0.0.1"), [10, 0, 0, 1]);
        assert_eq!(bytes(42, "10.0.0.1, 10.0.0.2"), [10, 0, 0, 1, 10, 0, 0, 2]);
        assert_eq!(bytes(67, "boot/loader.efi"), b"boot/loader.efi");
        assert_eq!(bytes(26, "hex:05dc"), [5, 0xdc]);
        assert_eq!(bytes(43, "hex:01:04:c0-a8 0101"), [1, 4, 0xc0, 0xa8, 1, 1]);
    }

    #[test]
    fn domain_search_is_written_as_dns_writes_names() {
        assert_eq!(bytes(119, "a.example, b.example."), b"\x01a\x07example\x00\x01b\x07example\x00");
        assert!(matches!(DhcpOption::new(119, "a..b"), Err(InvalidOption::Domain(_))));
    }

    #[test]
    fn what_the_box_fills_itself_and_what_does_not_fit_is_refused() {
        for code in [0, 1, 51, 53, 54, 61, 82, 255] {
            assert_eq!(DhcpOption::new(code, "x"), Err(InvalidOption::Own(code)));
        }
        assert!(matches!(DhcpOption::new(43, "hex:123"), Err(InvalidOption::Hex(_))));
        assert!(matches!(DhcpOption::new(43, "hex:"), Err(InvalidOption::Hex(_))));
        assert!(matches!(DhcpOption::new(15, ""), Err(InvalidOption::Length { length: 0, .. })));
        assert!(matches!(DhcpOption::new(15, &"x".repeat(256)), Err(InvalidOption::Length { .. })));
        assert!(matches!(DhcpOption::new(15, "a\nb"), Err(InvalidOption::Control(15))));
        assert!(matches!(DhcpOption::parse("seven=x"), Err(InvalidOption::Number(_))));
    }

    #[test]
    fn an_option_is_kept_as_it_was_written() {
        let option = DhcpOption::parse("42=10.0.0.1").unwrap();
        let kept = serde_json::to_string(&option).unwrap();
        assert_eq!(kept, "[42,\"10.0.0.1\"]");
        assert_eq!(serde_json::from_str::<DhcpOption>(&kept).unwrap(), option);
        assert!(serde_json::from_str::<DhcpOption>("[53,\"x\"]").is_err());
    }
}
