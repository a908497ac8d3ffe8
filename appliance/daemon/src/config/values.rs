//! Values as TOML writes them, and the readers of those that several settings share.

use crate::origin::url::Url;
use rackberry_core::option::DhcpOption;
use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
};
use toml::de::DeValue;

/// Seconds. Longer waits are no settings but mistakes.
pub(crate) const DAY: u64 = 86_400;

/// A value as TOML writes it, as far as settings use it.
pub(crate) enum Scalar<'a> {
    Text(&'a str),
    Number(u64),
    Switch(bool),
    List(Vec<&'a str>),
    Table(Vec<(&'a str, &'a str)>),
}

pub(crate) fn scalar<'a>(value: &'a DeValue<'_>) -> Result<Scalar<'a>, String> {
    match value {
        DeValue::String(text) => Ok(Scalar::Text(text.as_ref())),
        DeValue::Boolean(on) => Ok(Scalar::Switch(*on)),
        DeValue::Integer(digits) => u64::from_str_radix(digits.as_str(), digits.radix())
            .map(Scalar::Number)
            .map_err(|_| format!("\"{}\" is no whole number from 0", digits.as_str())),
        DeValue::Array(list) => list
            .iter()
            .map(|item| item.get_ref().as_str().ok_or_else(|| "takes a list of texts in quotes".to_owned()))
            .collect::<Result<_, _>>()
            .map(Scalar::List),
        DeValue::Table(pairs) => pairs
            .iter()
            .map(|(key, item)| {
                let text = item.get_ref().as_str().ok_or_else(|| "takes texts in quotes as values".to_owned())?;
                Ok((key.get_ref().as_ref(), text))
            })
            .collect::<Result<_, _>>()
            .map(Scalar::Table),
        DeValue::Float(_) | DeValue::Datetime(_) => Err(format!("takes no {}", value.type_str())),
    }
}

pub(crate) fn text(value: Scalar<'_>) -> Result<String, String> {
    match value {
        Scalar::Text(text) => Ok(text.to_owned()),
        _ => Err("takes a text in quotes".to_owned()),
    }
}

pub(crate) fn switch(value: Scalar<'_>) -> Result<bool, String> {
    match value {
        Scalar::Switch(on) => Ok(on),
        _ => Err("takes true or false".to_owned()),
    }
}

pub(crate) fn number(value: Scalar<'_>, least: u64, most: u64) -> Result<u64, String> {
    match value {
        Scalar::Number(n) if (least..=most).contains(&n) => Ok(n),
        _ => Err(format!("takes a whole number from {least} to {most}")),
    }
}

pub(crate) fn port(value: Scalar<'_>, least: u64) -> Result<u16, String> {
    number(value, least, 65_535).and_then(|n| u16::try_from(n).map_err(|error| error.to_string()))
}

pub(crate) fn count(value: Scalar<'_>, most: u64) -> Result<usize, String> {
    number(value, 1, most).and_then(|n| usize::try_from(n).map_err(|error| error.to_string()))
}

pub(crate) fn byte(value: Scalar<'_>, least: u64, most: u64) -> Result<u8, String> {
    number(value, least, most).and_then(|n| u8::try_from(n).map_err(|error| error.to_string()))
}

pub(crate) fn texts(value: Scalar<'_>) -> Result<Vec<String>, String> {
    match value {
        Scalar::List(list) => Ok(list.into_iter().map(str::to_owned).collect()),
        _ => Err("takes a list of texts in quotes".to_owned()),
    }
}

pub(crate) fn address(text: &str) -> Result<Ipv4Addr, String> {
    text.trim().parse().map_err(|_| format!("\"{text}\" is no IPv4 address; write it as 192.168.77.1"))
}

pub(crate) fn addresses(value: Scalar<'_>) -> Result<Vec<Ipv4Addr>, String> {
    match value {
        Scalar::List(list) => list.into_iter().map(address).collect(),
        _ => Err("takes a list, for example [\"192.168.77.1\"]".to_owned()),
    }
}

pub(crate) fn pool(range: &str) -> Result<(Ipv4Addr, Ipv4Addr), String> {
    let (first, last) = range.split_once('-').ok_or("takes FIRST-LAST")?;
    let (first, last) = (address(first)?, address(last)?);
    if first > last { Err("the first address lies behind the last".to_owned()) } else { Ok((first, last)) }
}

pub(crate) fn options(value: Scalar<'_>) -> Result<Vec<DhcpOption>, String> {
    let Scalar::Table(pairs) = value else {
        return Err("takes a table, for example { 42 = \"192.168.77.1\" }".to_owned());
    };
    let read = |(code, text): (&str, &str)| DhcpOption::parse(&format!("{code}={text}")).map_err(|e| e.to_string());
    pairs.into_iter().map(read).collect()
}

/// Names as they stand in paths, and URLs.
pub(crate) fn mirrors(value: Scalar<'_>) -> Result<BTreeMap<String, Url>, String> {
    let Scalar::Table(pairs) = value else {
        return Err("takes a table, for example { debian = \"http://mirror.example.org/debian\" }".to_owned());
    };
    let read = |(name, url): (&str, &str)| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            return Err(format!("\"{name}\" cannot stand in a path: letters, digits, dots and dashes can"));
        }
        let url: Url = url.parse().map_err(|error: crate::origin::url::InvalidUrl| error.to_string())?;
        if url.path_and_query().contains('?') { Err(format!("{url} has a query")) } else { Ok((name.to_owned(), url)) }
    };
    pairs.into_iter().map(read).collect()
}

pub(crate) fn optional<T>(text: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    if text.is_empty() { Ok(None) } else { read(text).map(Some) }
}

/// Whom to ask for the time: a name or an address, and a UDP port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TimeServer {
    pub host: String,
    pub port: u16,
}

/// NTP's own (RFC 5905 section 16).
const NTP: u16 = 123;

impl From<Ipv4Addr> for TimeServer {
    fn from(address: Ipv4Addr) -> Self {
        TimeServer { host: address.to_string(), port: NTP }
    }
}

impl fmt::Display for TimeServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            NTP => f.write_str(&self.host),
            port if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            port => write!(f, "{}:{port}", self.host),
        }
    }
}

impl FromStr for TimeServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("\"{text}\" is no time server; write ntp.example.org, 192.168.77.1 or 192.168.77.1:123");
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(TimeServer { host: address.to_string(), port: NTP });
        }
        let (host, port) = match (text.parse::<SocketAddr>(), text.rsplit_once(':')) {
            (Ok(both), _) => (both.ip().to_string(), both.port()),
            (Err(_), Some((host, port))) => (host.to_owned(), port.parse().map_err(|_| bad())?),
            (Err(_), None) => (text.to_owned(), NTP),
        };
        // Letters, digits and hyphens (RFC 1123 section 2.1); one of digits alone would be a mistyped address.
        let label = |label: &str| {
            (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        let named = host.len() <= 253
            && host.split('.').all(label)
            && !host.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        if port > 0 && (named || host.parse::<IpAddr>().is_ok()) { Ok(TimeServer { host, port }) } else { Err(bad()) }
    }
}

/// More of them would only be more traffic.
pub(crate) const MOST_TIME_SERVERS: usize = 8;

pub(crate) fn time_servers(value: Scalar<'_>) -> Result<Vec<TimeServer>, String> {
    let Scalar::List(list) = value else {
        return Err("takes a list, for example [\"ntp.example.org\"]".to_owned());
    };
    if list.len() > MOST_TIME_SERVERS {
        return Err(format!("takes at most {MOST_TIME_SERVERS} servers"));
    }
    list.into_iter().map(str::parse).collect()
}
