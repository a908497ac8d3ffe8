//! `[[dhcp.subnet]]`: one table for each IPv4 subnet that is served beside, or with other settings than, the link's own.

use super::{
    Problem,
    values::{DAY, Scalar, address, addresses, number, optional, options, pool, scalar, switch, text},
};
use rackberry_core::dhcp::Subnet;
use std::{net::Ipv4Addr, time::Duration};
use toml::de::{DeTable, DeValue};

/// A key of the table: its only parser and explanation.
struct Row {
    key: &'static str,
    example: &'static str,
    help: &'static str,
    set: fn(&mut Subnet, Scalar<'_>) -> Result<(), String>,
}

const ROWS: &[Row] = &[
    Row {
        key: "network",
        example: "\"10.2.0.0/16\"",
        help: "Which one; the link's own may stand here too, and takes its settings from here then.",
        set: |s, v| {
            let given = text(v)?;
            let bad = || format!("\"{given}\" is no network; write it as 10.2.0.0/16");
            let (network, prefix) = given.split_once('/').ok_or_else(bad)?;
            s.network = network.parse().map_err(|_| bad())?;
            s.prefix = prefix.parse().ok().filter(|prefix| (1..=30).contains(prefix)).ok_or_else(bad)?;
            let start = Ipv4Addr::from(u32::from(s.network) & u32::from(s.mask()));
            if s.network == start { Ok(()) } else { Err(format!("it begins at {start}/{}", s.prefix)) }
        },
    },
    Row {
        key: "pool",
        example: "\"10.2.1.0-10.2.1.255\"",
        help: "First and last address given out. Without it only fixed addresses are.",
        set: |s, v| optional(&text(v)?, pool).map(|range| s.pool = range),
    },
    Row {
        key: "gateway",
        example: "\"10.2.0.1\"",
        help: "The router told to hosts.",
        set: |s, v| optional(&text(v)?, address).map(|a| s.router = a),
    },
    Row {
        key: "dns",
        example: "[\"10.2.0.1\"]",
        help: "Name servers.",
        set: |s, v| addresses(v).map(|list| s.dns = list),
    },
    Row {
        key: "domain",
        example: "\"rack2.example\"",
        help: "Domain name.",
        set: |s, v| text(v).map(|name| s.domain = (!name.is_empty()).then_some(name)),
    },
    Row { key: "ntp", example: "[]", help: "Time servers.", set: |s, v| addresses(v).map(|list| s.ntp = list) },
    Row {
        key: "lease_s",
        example: "3600",
        help: "How long an address is given in server mode, in seconds.",
        set: |s, v| number(v, 60, 365 * DAY).map(|n| s.lease = Some(Duration::from_secs(n))),
    },
    Row {
        key: "dynamic_bootp",
        example: "false",
        help: "Clients of 1985, which know no DHCP, get an address too, for good.",
        set: |s, v| switch(v).map(|on| s.dynamic_bootp = on),
    },
    Row {
        key: "options",
        example: "{ 42 = \"10.2.0.1\" }",
        help: "More options by number: addresses, text, or hex:0a0b.",
        set: |s, v| options(v).map(|list| s.options = list),
    },
];

/// Reads one table; its problems are added to `problems`.
pub(super) fn read(
    table: &DeTable<'_>,
    at: usize,
    line: &dyn Fn(usize) -> usize,
    problems: &mut Vec<Problem>,
) -> Subnet {
    let mut subnet = Subnet {
        network: Ipv4Addr::UNSPECIFIED,
        prefix: 0,
        pool: None,
        router: None,
        dns: Vec::new(),
        domain: None,
        ntp: Vec::new(),
        lease: None,
        dynamic_bootp: false,
        options: Vec::new(),
    };
    let before = problems.len();
    for (key, value) in table {
        let name: &str = key.get_ref().as_ref();
        let mut wrong =
            |what| problems.push(Problem { line: line(key.span().start), key: format!("dhcp.subnet.{name}"), what });
        match ROWS.iter().find(|row| row.key == name) {
            None => wrong(format!("there is no such setting; a subnet has {}", keys())),
            Some(row) => {
                if let Err(what) = scalar(value.get_ref()).and_then(|value| (row.set)(&mut subnet, value)) {
                    wrong(what);
                }
            }
        }
    }
    let mut wrong = |key: &str, what: &str| {
        problems.push(Problem { line: at, key: format!("dhcp.subnet{key}"), what: what.to_owned() });
    };
    if !table.iter().any(|(key, _)| key.get_ref().as_ref() == "network") {
        wrong("", "names no network");
    } else if before == 0 || subnet.prefix != 0 {
        if subnet.pool.is_some_and(|(first, last)| !subnet.contains(first) || !subnet.contains(last)) {
            wrong(".pool", "lies outside the network");
        }
        if subnet.router.is_some_and(|router| !subnet.contains(router)) {
            wrong(".gateway", "lies outside the network");
        }
    }
    subnet
}

/// What the value of `dhcp.subnet` has to be: a list of tables.
pub(super) fn tables<'a, 'b>(value: &'a DeValue<'b>) -> Option<Vec<(usize, &'a DeTable<'b>)>> {
    let list = value.as_array()?;
    list.iter().map(|item| item.get_ref().as_table().map(|table| (item.span().start, table))).collect()
}

/// The first two that share addresses.
pub(super) fn overlap(subnets: &[Subnet]) -> Option<(&Subnet, &Subnet)> {
    subnets.iter().enumerate().find_map(|(at, one)| {
        let rest = subnets.iter().skip(at + 1);
        rest.into_iter()
            .find(|other| one.contains(other.network) || other.contains(one.network))
            .map(|other| (one, other))
    })
}

fn keys() -> String {
    ROWS.iter().map(|row| row.key).collect::<Vec<_>>().join(", ")
}

/// An example for the sample file, commented out.
pub(super) fn sample() -> String {
    let mut out = String::from("\n# A subnet behind a relay; as many of these as there are.\n# [[dhcp.subnet]]\n");
    for row in ROWS {
        out.push_str(&format!("# {} = {}  # {}\n", row.key, row.example, row.help));
    }
    out
}
