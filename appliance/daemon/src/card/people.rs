//! `[[box.user]]`: who may log in on the console and by SSH.

use super::{
    Hasher, Read,
    edits::Hash,
    own::{Row, set},
};
use crate::config::{
    Problem, line_at,
    values::{Scalar, text},
};
use base64ct::Encoding as _;
use std::collections::BTreeSet;
use toml::de::DeValue;

/// Accounts that a card may bring.
const MOST_USERS: usize = 16;
/// Kinds of public keys that SSH servers take (IANA "SSH Protocol Parameters", with OpenSSH's security keys).
const KEY_KINDS: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// Who may log in on console and by SSH.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Account {
    pub name: String,
    /// As crypt(5) writes it; without one only keys let in.
    pub password: Option<String>,
    /// Lines of `authorized_keys`.
    pub ssh_keys: Vec<String>,
}

pub(super) const ROWS: &[Row<Account>] = &[
    Row {
        key: "name",
        example: "\"anna\"",
        help: "Who may log in on the console and by SSH; root is allowed.",
        secret: None,
        set: |a, v| login_name(&text(v)?).map(|name| a.name = name),
    },
    Row {
        key: "password",
        example: "\"correct horse\"",
        help: "Replaced by its hash as well. Without one only keys let in.",
        secret: Some(Hash::Crypt),
        set: |a, v| text(v).map(|hash| a.password = Some(hash)),
    },
    Row {
        key: "ssh_keys",
        example: "[\"ssh-ed25519 AAAA... anna\"]",
        help: "Public keys.",
        secret: None,
        set: |a, v| ssh_keys(v).map(|keys| a.ssh_keys = keys),
    },
];

/// A login name as useradd(8) takes it.
pub(super) fn login_name(name: &str) -> Result<String, String> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    if first
        && name.len() <= 32
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
    {
        Ok(name.to_owned())
    } else {
        Err("takes 1 to 32 lower-case letters, digits, - and _, a letter first".to_owned())
    }
}

pub(super) fn ssh_keys(value: Scalar<'_>) -> Result<Vec<String>, String> {
    let Scalar::List(list) = value else { return Err("takes a list of public keys in quotes".to_owned()) };
    list.into_iter().map(ssh_key).collect()
}

fn ssh_key(line: &str) -> Result<String, String> {
    let line = line.trim();
    let mut words = line.split(' ');
    let (kind, key) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    // The key's own text begins with the length and the name of its kind (RFC 4253 section 6.6).
    let begins = base64ct::Base64::decode_vec(key).is_ok_and(|bytes| {
        let length = bytes.get(..4).and_then(|length| length.try_into().ok()).map(u32::from_be_bytes);
        length.and_then(|length| usize::try_from(length).ok()).and_then(|length| bytes.get(4..4 + length))
            == Some(kind.as_bytes())
    });
    if line.chars().any(char::is_control) {
        Err("holds a key of more than one line".to_owned())
    } else if !KEY_KINDS.contains(&kind) {
        Err(format!(
            "holds \"{}\", which does not begin as a public key does (ssh-ed25519 ...)",
            line.chars().take(24).collect::<String>()
        ))
    } else if !begins {
        Err(format!("holds a key of kind {kind} that is cut off or mistyped"))
    } else {
        Ok(line.to_owned())
    }
}

pub(super) fn read(toml: &str, at: usize, value: &DeValue<'_>, hasher: Hasher<'_>, read: &mut Read) -> Vec<Account> {
    let mut wrong = |line: usize, what: String| read.problems.push(Problem { line, key: "box.user".to_owned(), what });
    let tables: Option<Vec<_>> = value
        .as_array()
        .map(|list| list.iter().map(|item| item.get_ref().as_table().map(|table| (item.span().start, table))).collect())
        .unwrap_or_default();
    let Some(tables) = tables else {
        wrong(at, "takes tables, each headed [[box.user]]".to_owned());
        return Vec::new();
    };
    if tables.len() > MOST_USERS {
        wrong(at, format!("at most {MOST_USERS} people are taken from the card"));
    }
    let mut names = BTreeSet::new();
    let mut users = Vec::new();
    for (start, table) in tables.into_iter().take(MOST_USERS) {
        let line = line_at(toml, start);
        let mut account = Account::default();
        let before = read.problems.len();
        for entry in table {
            set(toml, "box.user", ROWS, &mut account, entry, hasher, read);
        }
        let what = if read.problems.len() > before {
            // Half an account may let in whom nobody meant, or nobody.
            continue;
        } else if account.name.is_empty() {
            "has no name".to_owned()
        } else if account.password.is_none() && account.ssh_keys.is_empty() {
            format!("{} has neither a password nor a key, so cannot log in", account.name)
        } else if !names.insert(account.name.clone()) {
            format!("{} is there twice", account.name)
        } else {
            users.push(account);
            continue;
        };
        read.problems.push(Problem { line, key: "box.user".to_owned(), what });
    }
    users
}
