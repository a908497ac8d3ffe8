//! `[box]`: what the box itself is, beside what it serves.

use super::{
    Hasher, Read,
    edits::{Edit, Hash, hashed, quoted},
    people::{self, Account},
};
use crate::config::{
    Problem, line_at,
    values::{Scalar, address, addresses, optional, scalar, switch, text},
};
use std::{fmt::Write as _, net::Ipv4Addr};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// What the box itself is. `None` and empty: not said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BoxSettings {
    pub hostname: Option<String>,
    /// A name of the time zone database.
    pub timezone: Option<String>,
    /// The address of its own, with the prefix length; else it is a DHCP client.
    pub address: Option<(Ipv4Addr, u8)>,
    pub gateway: Option<Ipv4Addr>,
    pub dns: Vec<Ipv4Addr>,
    /// Whether an SSH server runs.
    pub ssh: Option<bool>,
    /// Whether that takes passwords, too.
    pub ssh_passwords: Option<bool>,
    /// The page's first person.
    pub owner: Option<String>,
    /// An argon2 hash in PHC form.
    pub owner_password: Option<String>,
    pub users: Vec<Account>,
    /// Back to as it was flashed, once.
    pub reset: bool,
}

impl BoxSettings {
    /// These, and where they say nothing the other's.
    pub(super) fn or(self, other: BoxSettings) -> BoxSettings {
        let mut users = self.users;
        users.extend(
            other.users.into_iter().filter(|user| users.iter().all(|ours| ours.name != user.name)).collect::<Vec<_>>(),
        );
        // An address goes with its own gateway and name servers.
        let (address, gateway, dns) = match self.address {
            Some(_) => (self.address, self.gateway, self.dns),
            None => {
                (other.address, self.gateway.or(other.gateway), if self.dns.is_empty() { other.dns } else { self.dns })
            }
        };
        BoxSettings {
            hostname: self.hostname.or(other.hostname),
            timezone: self.timezone.or(other.timezone),
            address,
            gateway,
            dns,
            ssh: self.ssh.or(other.ssh),
            ssh_passwords: self.ssh_passwords.or(other.ssh_passwords),
            owner: self.owner.or(other.owner),
            owner_password: self.owner_password.or(other.owner_password),
            users,
            reset: self.reset || other.reset,
        }
    }
}

/// A key of a table: its only parser and explanation.
pub(super) struct Row<T> {
    pub key: &'static str,
    pub example: &'static str,
    pub help: &'static str,
    /// Plain text here becomes this hash, in the file as well.
    pub secret: Option<Hash>,
    pub set: fn(&mut T, Scalar<'_>) -> Result<(), String>,
}

const ROWS: &[Row<BoxSettings>] = &[
    Row {
        key: "hostname",
        example: "\"rackberry\"",
        help: "The box's name; it is found as this with .local behind it.",
        secret: None,
        set: |b, v| optional(&text(v)?, hostname).map(|name| b.hostname = name),
    },
    Row {
        key: "timezone",
        example: "\"Europe/Berlin\"",
        help: "For the times in its logs.",
        secret: None,
        set: |b, v| optional(&text(v)?, timezone).map(|zone| b.timezone = zone),
    },
    Row {
        key: "address",
        example: "\"192.168.77.1/24\"",
        help: "Its own address. Without one it asks by DHCP, and takes 192.168.77.1/24 if nobody answers.",
        secret: None,
        set: |b, v| optional(&text(v)?, network).map(|address| b.address = address),
    },
    Row {
        key: "gateway",
        example: "\"192.168.77.254\"",
        help: "Its own router; goes with address.",
        secret: None,
        set: |b, v| optional(&text(v)?, address).map(|gateway| b.gateway = gateway),
    },
    Row {
        key: "dns",
        example: "[\"192.168.77.254\"]",
        help: "Name servers that it asks itself; goes with address.",
        secret: None,
        set: |b, v| addresses(v).map(|dns| b.dns = dns),
    },
    Row {
        key: "ssh",
        example: "true",
        help: "Runs an SSH server. Off by default.",
        secret: None,
        set: |b, v| switch(v).map(|on| b.ssh = Some(on)),
    },
    Row {
        key: "ssh_passwords",
        example: "true",
        help: "SSH takes passwords as well as keys. Off by default.",
        secret: None,
        set: |b, v| switch(v).map(|on| b.ssh_passwords = Some(on)),
    },
    Row {
        key: "owner",
        example: "\"anna\"",
        help: "The first person of the page; without one the page asks for the one-time code that console and display show.",
        secret: None,
        set: |b, v| optional(&text(v)?, page_name).map(|name| b.owner = name),
    },
    Row {
        key: "owner_password",
        example: "\"correct horse\"",
        help: "That person's password. The box replaces it in this file by its hash when it starts.",
        secret: Some(Hash::Page),
        set: |b, v| text(v).map(|hash| b.owner_password = Some(hash)),
    },
    Row {
        key: "reset",
        example: "true",
        help: "Forgets everything at the next start: people, machines, images. Becomes false when that is done.",
        secret: None,
        set: |b, v| switch(v).map(|on| b.reset = on),
    },
];

/// A label of a host name (RFC 1123 section 2.1).
pub(super) fn hostname(name: &str) -> Result<String, String> {
    let fits = (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if fits {
        Ok(name.to_ascii_lowercase())
    } else {
        Err("takes 1 to 63 letters, digits and hyphens, none of these first or last".to_owned())
    }
}

pub(super) fn timezone(name: &str) -> Result<String, String> {
    let part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-".contains(&b));
    if name.len() <= 64 && name.split('/').all(part) {
        Ok(name.to_owned())
    } else {
        Err("takes a name of the time zone database, for example Europe/Berlin".to_owned())
    }
}

fn network(text: &str) -> Result<(Ipv4Addr, u8), String> {
    let bad = || format!("\"{text}\" is no address with its subnet; write it as 192.168.77.1/24");
    let (host, prefix) = text.split_once('/').ok_or_else(bad)?;
    let host: Ipv4Addr = host.parse().map_err(|_| bad())?;
    let prefix: u8 = prefix.parse().ok().filter(|prefix| (8..=30).contains(prefix)).ok_or_else(bad)?;
    let beside = u32::from(host) & (u32::MAX >> prefix);
    if host.is_loopback() || host.is_multicast() || host.is_unspecified() || host.is_broadcast() {
        return Err(format!("{host} cannot be a machine's address"));
    }
    if beside == 0 || beside == u32::MAX >> prefix {
        return Err(format!("{host} is the subnet itself or its broadcast address"));
    }
    Ok((host, prefix))
}

fn page_name(name: &str) -> Result<String, String> {
    crate::auth::valid_name(name).then(|| name.to_owned()).ok_or_else(|| crate::auth::NAMES.to_owned())
}

/// Reads the part of `rackberry.toml` that is the box's own. Syntax errors are told by [`crate::config`].
pub(super) fn read(toml: &str, hasher: Hasher<'_>) -> Read {
    let mut read = Read::default();
    let (document, _) = DeTable::parse_recoverable(toml);
    let Some((key, content)) = document.get_ref().iter().find(|(key, _)| key.get_ref().as_ref() == "box") else {
        return read;
    };
    let at = line_at(toml, key.span().start);
    let Some(table) = content.get_ref().as_table() else {
        read.problems.push(Problem { line: at, key: "box".to_owned(), what: "takes a part, headed [box]".to_owned() });
        return read;
    };
    let mut settings = BoxSettings::default();
    for (key, value) in table {
        if key.get_ref().as_ref() == "user" {
            settings.users = people::read(toml, line_at(toml, key.span().start), value.get_ref(), hasher, &mut read);
        } else {
            set(toml, "box", ROWS, &mut settings, (key, value), hasher, &mut read);
        }
    }
    let wrong = |what: &str| Problem { line: at, key: "box".to_owned(), what: what.to_owned() };
    if settings.owner.is_some() != settings.owner_password.is_some()
        && !read.problems.iter().any(|p| p.key.starts_with("box.owner"))
    {
        read.problems.push(wrong("owner and owner_password go together"));
    }
    if settings.owner.is_none() || settings.owner_password.is_none() {
        (settings.owner, settings.owner_password) = (None, None);
    }
    if settings.address.is_none()
        && (settings.gateway.is_some() || !settings.dns.is_empty())
        && !read.problems.iter().any(|p| p.key == "box.address")
    {
        read.problems.push(wrong("gateway and dns go with an address"));
    }
    read.problems.sort_by_key(|problem| problem.line);
    read.settings = settings;
    read
}

type Entry<'d, 'a> = (&'d Spanned<std::borrow::Cow<'a, str>>, &'d Spanned<DeValue<'a>>);

/// Sets one key; a plain secret is hashed on the way.
pub(super) fn set<T>(
    toml: &str,
    table: &str,
    rows: &[Row<T>],
    into: &mut T,
    (key, value): Entry<'_, '_>,
    hasher: Hasher<'_>,
    read: &mut Read,
) {
    let full = format!("{table}.{}", key.get_ref());
    let line = line_at(toml, key.span().start);
    let Some(row) = rows.iter().find(|row| row.key == key.get_ref().as_ref()) else {
        let names: Vec<&str> = rows.iter().map(|row| row.key).collect();
        let what = format!("there is no such setting; [{table}] has {}", names.join(", "));
        read.problems.push(Problem { line, key: full, what });
        return;
    };
    let done = scalar(value.get_ref()).and_then(|given| match (row.secret, given) {
        (Some(_), Scalar::Text("")) => Ok(()),
        (Some(kind), Scalar::Text(plain)) => {
            let hash = hashed(kind, plain, hasher)?;
            if hash != plain {
                read.edits.push(Edit { at: value.span(), text: quoted(&hash) });
            }
            (row.set)(into, Scalar::Text(&hash))
        }
        (_, given) => (row.set)(into, given),
    });
    if let Err(what) = done {
        read.problems.push(Problem { line, key: full, what });
    }
}

/// The part of the sample file that only the card has, commented out.
#[must_use]
pub fn sample() -> String {
    let mut out = String::from(
        "\n# The box itself. Without these it has no accounts, no SSH, and finds its address alone.\n# [box]\n",
    );
    // Writing to a String cannot fail.
    for row in ROWS {
        let _ = writeln!(out, "# {} = {}  # {}", row.key, row.example, row.help);
    }
    out.push_str("# [[box.user]]\n");
    for row in people::ROWS {
        let _ = writeln!(out, "# {} = {}  # {}", row.key, row.example, row.help);
    }
    out
}
