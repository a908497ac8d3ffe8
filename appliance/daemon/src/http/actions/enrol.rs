//! Lists of hosts, read and enrolled before their first boot.

use super::{State, field};
use crate::{
    http::error::Error,
    inventory::{self, StoreError, Tx},
};
use rackberry_core::{
    event::Actor,
    host::{Host, MacAddr, SmbiosUuid},
    text::{CleanText, HostName},
};
use std::sync::Arc;

/// One line of a list of hosts to enrol.
#[derive(Debug, Clone, PartialEq)]
pub struct Enrolment {
    /// From 1, in the text that was given.
    pub line: usize,
    pub mac: MacAddr,
    pub name: Option<HostName>,
    pub uuid: Option<SmbiosUuid>,
    pub serial: Option<CleanText>,
    /// The address DHCP shall keep for it.
    pub fixed_address: Option<std::net::Ipv4Addr>,
}

/// Reads a pasted list or CSV: `MAC[, name[, serial[, uuid]]]` a line, blanks or commas or semicolons between; `#` begins
/// a comment, and a first line of headings is passed over. An IPv4 address anywhere behind the MAC is the host's fixed one.
///
/// # Errors
/// Every bad line with its number and a sentence.
pub fn read_list(text: &str) -> Result<Vec<Enrolment>, Vec<(usize, String)>> {
    let mut found = Vec::new();
    let mut wrong = Vec::new();
    for (index, raw) in text.lines().enumerate() {
        let line = index + 1;
        let content = raw.split('#').next().unwrap_or_default().trim();
        if content.is_empty() {
            continue;
        }
        let separated = content.contains([',', ';', '\t']);
        let cells: Vec<&str> = if separated {
            content.split([',', ';', '\t']).map(|cell| cell.trim().trim_matches('"')).collect()
        } else {
            content.split_whitespace().collect()
        };
        let fixed: Vec<std::net::Ipv4Addr> = cells.iter().filter_map(|cell| cell.parse().ok()).collect();
        let mut cells = cells.into_iter().filter(|cell| cell.parse::<std::net::Ipv4Addr>().is_err());
        let first = cells.next().unwrap_or_default();
        let mac = match first.parse::<MacAddr>() {
            Ok(mac) if mac.is_station() => mac,
            Ok(mac) => {
                wrong.push((line, format!("{mac} cannot be one machine's address.")));
                continue;
            }
            Err(_) if index == 0 && first.to_ascii_lowercase().contains("mac") => continue,
            Err(error) => {
                wrong.push((line, format!("{error}.")));
                continue;
            }
        };
        let name = match cells.next().filter(|cell| !cell.is_empty()).map(HostName::new).transpose() {
            Ok(name) => name,
            Err(error) => {
                wrong.push((line, error.to_string()));
                continue;
            }
        };
        let serial = cells.next().filter(|cell| !cell.is_empty()).map(CleanText::new);
        let uuid = match cells.next().filter(|cell| !cell.is_empty()) {
            None => None,
            Some(text) => match SmbiosUuid::parse(text) {
                Some(uuid) => Some(uuid),
                None => {
                    wrong.push((line, "The UUID does not identify a machine.".to_owned()));
                    continue;
                }
            },
        };
        if found.iter().any(|other: &Enrolment| other.mac == mac) {
            wrong.push((line, format!("{mac} stands in this list twice.")));
            continue;
        }
        let fixed_address = fixed.first().copied();
        if fixed.len() > 1 {
            wrong.push((line, "A host has one fixed address.".to_owned()));
            continue;
        }
        found.push(Enrolment { line, mac, name, uuid, serial, fixed_address });
    }
    if wrong.is_empty() { Ok(found) } else { Err(wrong) }
}

/// The name that a pattern such as `node-%02d` gives to number `n`.
///
/// # Errors
/// A sentence if the pattern has no number in it or yields no host name.
pub fn pattern_name(pattern: &str, n: usize) -> Result<HostName, String> {
    let sentence = || {
        format!("\"{}\" is no naming pattern; write for example node-%02d.", rackberry_core::text::clean(pattern, 60))
    };
    let (before, rest) = pattern.split_once('%').ok_or_else(sentence)?;
    let (width, after) = rest.split_once('d').ok_or_else(sentence)?;
    let (zeros, digits) = (width.starts_with('0'), width.len());
    let width: usize = if width.is_empty() { 1 } else { width.parse().map_err(|_| sentence())? };
    if width > 9 || digits > 3 {
        return Err(sentence());
    }
    let number = if zeros { format!("{n:0width$}") } else { format!("{n}") };
    HostName::new(&format!("{before}{number}{after}")).map_err(|error| error.to_string())
}

/// Enrols every host of a list, or none of them.
///
/// # Errors
/// The lines at fault.
pub async fn enrol(state: &State, list: Vec<Enrolment>, pattern: &str, actor: Actor) -> Result<Vec<Arc<Host>>, Error> {
    let pattern = pattern.trim().to_owned();
    if !pattern.is_empty() {
        pattern_name(&pattern, 1).map_err(|sentence| field("pattern", sentence))?;
    }
    state
        .inventory
        .transact(move |tx| {
            let mut hosts = Vec::new();
            let mut number = 0;
            for line in list {
                let name = match line.name {
                    Some(name) => Some(name),
                    None if pattern.is_empty() => None,
                    None => Some(next_name(tx, &pattern, &mut number)?),
                };
                let name = match name {
                    Some(name) => name,
                    None => HostName::new(&format!("host-{}", line.mac.to_string().replace(':', "")))
                        .map_err(|error| field("list", error.to_string()))?,
                };
                let enrolment = inventory::Enrolment {
                    name,
                    macs: vec![line.mac],
                    uuid: line.uuid,
                    serial: line.serial,
                    tags: Vec::new(),
                    fixed_address: line.fixed_address,
                };
                let enrolled = tx.enrol(enrolment, actor.clone());
                hosts.push(enrolled.map_err(|error| match error {
                    StoreError::Sql { .. } | StoreError::Row { .. } | StoreError::Random(_) => Error::Store(error),
                    other => field("list", format!("Line {}: {other}.", line.line)),
                })?);
            }
            Ok::<_, Error>(hosts)
        })
        .await
        .map_err(Error::from)
}

fn next_name(tx: &Tx<'_>, pattern: &str, number: &mut usize) -> Result<HostName, Error> {
    // Each taken name is passed over once, so the search ends with the hosts.
    loop {
        *number += 1;
        let name = pattern_name(pattern, *number).map_err(|sentence| field("pattern", sentence))?;
        if tx.state().host_by_name(&name).is_none() {
            return Ok(name);
        }
        if *number > 1_000_000 {
            return Err(field("pattern", "Every name of this pattern is taken.".to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_in_the_forms_people_have() {
        let text =
            "mac,name,serial\n52:54:00:77:00:01, node-a, S1\n\n# rack 2\n52-54-00-77-00-02 node-b\n525400770003\n";
        let list = read_list(text).unwrap();
        let names: Vec<Option<&str>> = list.iter().map(|e| e.name.as_ref().map(HostName::as_str)).collect();
        assert_eq!(names, [Some("node-a"), Some("node-b"), None]);
        assert_eq!(list.first().unwrap().serial.as_ref().unwrap().as_str(), "S1");
        let fixed = read_list("52:54:00:77:00:01, node-a, 10.0.0.5\n52:54:00:77:00:02 10.0.0.6\n").unwrap();
        let found: Vec<_> = fixed.iter().map(|e| (e.name.is_some(), e.serial.is_some(), e.fixed_address)).collect();
        assert_eq!(found, [(true, false, Some([10, 0, 0, 5].into())), (false, false, Some([10, 0, 0, 6].into()))]);
        assert!(read_list("52:54:00:77:00:01 10.0.0.5 10.0.0.6").is_err());
    }

    #[test]
    fn every_bad_line_is_named() {
        let text = "52:54:00:77:00:01 node_a\nhello\n52:54:00:77:00:02\n52:54:00:77:00:02\n";
        let lines: Vec<usize> = read_list(text).unwrap_err().into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, [1, 2, 4]);
    }

    #[test]
    fn patterns_count_with_leading_zeros() {
        assert_eq!(pattern_name("node-%02d", 7).unwrap().as_str(), "node-07");
        assert_eq!(pattern_name("n%d-x", 12).unwrap().as_str(), "n12-x");
        for bad in ["node", "node-%", "%0000000000d", "a_%d"] {
            assert!(pattern_name(bad, 1).is_err(), "{bad}");
        }
    }
}
