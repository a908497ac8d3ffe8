//! `rpi-preseed.toml` as Raspberry Pi Imager writes it (its keys: `schema/rpi-preseed.schema` of the project
//! raspberrypi/rpi-preseed, format 1). Taken are those that mean something on this box; commands never are.

use super::{
    Hasher, Read,
    edits::{Edit, Hash, hashed, quoted},
    own::{BoxSettings, hostname, timezone},
    people::{Account, login_name, ssh_keys},
};
use crate::config::{
    Problem, line_at,
    values::{scalar, switch, text},
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// The version of the format that is read: the part before the dot.
const MAJOR: &str = "1";
/// Parts that would run or fetch something, or change how the box starts.
const NEVER: [&str; 4] = ["runcmd", "boot", "packages", "mounts"];
/// Secrets of things that this box does not do: they are taken off the card.
const BLANKED: [&str; 2] = ["wlan.password", "connect.token"];

/// What is read of an account before it is known to be one.
#[derive(Default)]
struct User {
    name: Option<String>,
    password: Option<String>,
    keys: Vec<String>,
}

type Value<'d, 'a> = &'d Spanned<DeValue<'a>>;

pub(super) fn read(toml: &str, hasher: Hasher<'_>) -> Read {
    let mut read = Read::default();
    if toml.trim().is_empty() {
        return read;
    }
    let (document, errors) = DeTable::parse_recoverable(toml);
    for error in &errors {
        let line = line_at(toml, error.span().map_or(0, |span| span.start));
        read.problems.push(Problem { line, key: String::new(), what: error.message().to_owned() });
    }
    let root = document.get_ref();
    let version = root.iter().find(|(key, _)| key.get_ref().as_ref() == "config_version");
    let major = version.and_then(|(_, value)| value.get_ref().as_str()).and_then(|text| text.split('.').next());
    if major != Some(MAJOR) {
        let line = version.map_or(1, |(key, _)| line_at(toml, key.span().start));
        let what = format!("takes \"{MAJOR}.0\": another format is not understood, so nothing of this file is taken");
        read.problems.push(Problem { line, key: "config_version".to_owned(), what });
        return read;
    }
    let mut settings = BoxSettings::default();
    let mut user = User::default();
    for (part, content) in root {
        let name = part.get_ref().as_ref();
        if name == "config_version" || name == "debug" {
            continue;
        }
        let at = line_at(toml, part.span().start);
        let Some(table) = content.get_ref().as_table() else {
            let what = "takes a part in brackets".to_owned();
            read.problems.push(Problem { line: at, key: name.to_owned(), what });
            continue;
        };
        if NEVER.contains(&name) {
            let what = "is not taken: nothing that stands on the card is run, or changes how the box starts".to_owned();
            read.notes.push(Problem { line: at, key: name.to_owned(), what });
            continue;
        }
        let encrypted = name == "user" && flag(table, "password_encrypted");
        for (key, value) in table {
            let full = format!("{name}.{}", key.get_ref());
            let line = line_at(toml, key.span().start);
            let done =
                take(toml, &full, (key.span().start, value), encrypted, (&mut settings, &mut user), hasher, &mut read);
            match done {
                Ok(true) => {}
                Ok(false) => read.notes.push(Problem { line, key: full, what: "is not used by this box".to_owned() }),
                Err(what) => read.problems.push(Problem { line, key: full, what }),
            }
        }
        if name == "user" && user.name.is_none() && !read.problems.iter().any(|p| p.key == "user.name") && !user.empty()
        {
            read.problems.push(Problem { line: at, key: "user".to_owned(), what: "has no name".to_owned() });
        }
    }
    if let Some(name) = user.name.take() {
        settings.users = vec![Account { name, password: user.password, ssh_keys: user.keys }];
    } else if !user.keys.is_empty() {
        // Imager writes keys beside the name of their account.
        let what = "goes with user.name: whose keys these are is not said".to_owned();
        read.problems.push(Problem { line: 1, key: "ssh.authorized_keys".to_owned(), what });
    }
    read.problems.sort_by_key(|problem| problem.line);
    read.notes.sort_by_key(|note| note.line);
    read.settings = settings;
    read
}

impl User {
    fn empty(&self) -> bool {
        self.password.is_none() && self.keys.is_empty()
    }
}

fn flag(table: &DeTable<'_>, key: &str) -> bool {
    table.iter().any(|(found, value)| found.get_ref().as_ref() == key && value.get_ref().as_bool() == Some(true))
}

/// One key; whether it is one that means something here.
fn take(
    toml: &str,
    full: &str,
    (key_at, value): (usize, Value<'_, '_>),
    encrypted: bool,
    (settings, user): (&mut BoxSettings, &mut User),
    hasher: Hasher<'_>,
    read: &mut Read,
) -> Result<bool, String> {
    if BLANKED.contains(&full) {
        if text(scalar(value.get_ref())?)?.is_empty() {
            return Ok(true);
        }
        read.edits.push(Edit { at: value.span(), text: "\"\"".to_owned() });
        return Ok(false);
    }
    let given = |value: Value<'_, '_>| scalar(value.get_ref()).and_then(text);
    match full {
        "system.hostname" => settings.hostname = Some(hostname(&given(value)?)?),
        "locale.timezone" => settings.timezone = Some(timezone(&given(value)?)?),
        "ssh.enabled" => settings.ssh = Some(switch(scalar(value.get_ref())?)?),
        "ssh.password_authentication" => settings.ssh_passwords = Some(switch(scalar(value.get_ref())?)?),
        "ssh.authorized_keys" => user.keys = ssh_keys(scalar(value.get_ref())?)?,
        "user.name" => user.name = Some(login_name(&given(value)?)?),
        "user.password_encrypted" => {
            switch(scalar(value.get_ref())?)?;
        }
        "user.password" => {
            let plain = given(value)?;
            if encrypted && !Hash::Crypt.is_one(&plain) {
                return Err("is said to be encrypted, but is no crypt(5) hash ($5$, $6$ or $y$)".to_owned());
            }
            let hash = hashed(Hash::Crypt, &plain, hasher)?;
            if hash != plain {
                read.edits.push(Edit { at: value.span(), text: quoted(&hash) });
                read.edits.push(say_encrypted(toml, key_at));
            }
            user.password = Some(hash);
        }
        // Checked with all known keys, so that a mistake in them is told as well.
        "wlan.password_encrypted" | "wlan.hidden" | "user.passwordless_sudo" | "connect.enabled" => {
            switch(scalar(value.get_ref())?)?;
            return Ok(false);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Says beside a password that it is a hash now.
fn say_encrypted(toml: &str, key_at: usize) -> Edit {
    let line_at = toml.get(..key_at).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1);
    let before = toml.get(line_at..key_at).unwrap_or_default();
    if before.contains('{') || before.contains(',') {
        Edit { at: key_at..key_at, text: "password_encrypted = true, ".to_owned() }
    } else {
        // Alone on its line, perhaps behind "user.".
        Edit { at: line_at..line_at, text: format!("{before}password_encrypted = true\n") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::edits::made;

    fn plain(kind: Hash, password: &str) -> Result<String, String> {
        assert_eq!(kind, Hash::Crypt);
        Ok(format!("$6$salt$hash.of.{}.................", password.len()))
    }

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f anna";

    #[test]
    fn what_imager_writes_is_taken() {
        let toml = format!(
            "config_version = \"1.0\"\n[system]\nhostname = \"Berry\"\n[user]\nname = \"anna\"\npassword = \"$5$abcdefgh$0123456789abcdef\"\n\
             password_encrypted = true\n[ssh]\nenabled = true\npassword_authentication = false\nauthorized_keys = [\"{KEY}\"]\n\
             [locale]\ntimezone = \"Europe/Berlin\"\nkeymap = \"de\"\n"
        );
        let read = read(&toml, &plain);
        assert_eq!((read.problems, read.edits), (Vec::new(), Vec::new()));
        let [user] = read.settings.users.as_slice() else { panic!() };
        assert_eq!((user.name.as_str(), user.ssh_keys.len()), ("anna", 1));
        assert_eq!(read.settings.hostname.as_deref(), Some("berry"));
        assert_eq!((read.settings.ssh, read.settings.ssh_passwords), (Some(true), Some(false)));
        assert_eq!(read.notes.iter().map(|note| note.key.as_str()).collect::<Vec<_>>(), ["locale.keymap"]);
    }

    #[test]
    fn plain_passwords_become_hashes_however_they_are_written() {
        for (toml, wanted) in [
            (
                "config_version = \"1.0\"\n[user]\nname = \"anna\"\n  password = \"correct horse\" # mine\n",
                "config_version = \"1.0\"\n[user]\nname = \"anna\"\n  password_encrypted = true\n  password = \"$6$salt$hash.of.13.................\" # mine\n",
            ),
            (
                "config_version = \"1.0\"\nuser = { name = \"anna\", password = 'correct horse' }\n",
                "config_version = \"1.0\"\nuser = { name = \"anna\", password_encrypted = true, password = \"$6$salt$hash.of.13.................\" }\n",
            ),
            (
                "config_version = \"1.0\"\nuser.name = \"anna\"\nuser.password = \"correct horse\"",
                "config_version = \"1.0\"\nuser.name = \"anna\"\nuser.password_encrypted = true\nuser.password = \"$6$salt$hash.of.13.................\"",
            ),
        ] {
            let first = read(toml, &plain);
            let rewritten = made(toml, &first.edits).unwrap();
            assert_eq!(rewritten, wanted);
            let second = read(&rewritten, &plain);
            assert_eq!((second.settings, second.edits), (first.settings, Vec::new()));
        }
    }

    #[test]
    fn secrets_of_things_that_the_box_does_not_do_are_taken_off_the_card() {
        let toml = "config_version = \"1.1\"\n[wlan]\nssid = \"home\"\npassword = \"hunter2hunter2\"\n[connect]\ntoken = \"rpuak_x\"\n";
        let rewritten = made(toml, &read(toml, &plain).edits).unwrap();
        assert!(!rewritten.contains("hunter2") && !rewritten.contains("rpuak"), "{rewritten}");
        assert!(read(&rewritten, &plain).edits.is_empty());
    }

    #[test]
    fn commands_are_never_taken() {
        let read = read("config_version = \"1.0\"\n[runcmd]\nlate = [\"rm -rf /\"]\n", &plain);
        assert_eq!(read.settings, BoxSettings::default());
        assert!(read.notes.first().unwrap().what.contains("nothing that stands on the card is run"));
    }
}
