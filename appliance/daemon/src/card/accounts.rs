//! `passwd`, `shadow` and `group` (passwd(5), shadow(5), group(5)) with the people of the card.

use super::people::Account;
use std::fmt::Write as _;

/// The first user id of people, as useradd(8) begins.
const FIRST_ID: u32 = 1000;
/// Members may read the card's settings.
const GROUP: &str = "rackberry";

/// The three files of the read-only root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    pub passwd: String,
    pub shadow: String,
    pub group: String,
}

/// A person's ids and home folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    pub name: String,
    pub id: u32,
    /// Below the folder of all homes.
    pub ssh_keys: Vec<String>,
}

/// The files with the people added, and their homes below `homes`; names that the root has already are told.
pub fn with(base: &Accounts, people: &[Account], homes: &str) -> (Accounts, Vec<Home>, Vec<String>) {
    let mut files = base.clone();
    for text in [&mut files.passwd, &mut files.shadow, &mut files.group] {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
    }
    let (mut list, mut taken) = (Vec::new(), Vec::new());
    let mut id = FIRST_ID;
    for person in people {
        let name = person.name.as_str();
        let hash = person.password.as_deref().unwrap_or("*");
        if name == "root" {
            files.shadow = with_field(&files.shadow, "root", 1, hash);
            list.push(Home { name: name.to_owned(), id: 0, ssh_keys: person.ssh_keys.clone() });
            continue;
        }
        if line_of(&base.passwd, name).is_some() || line_of(&base.group, name).is_some() {
            taken.push(name.to_owned());
            continue;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(files.passwd, "{name}:x:{id}:{id}::{homes}/{name}:/bin/sh");
        // busybox's login takes a line whose numbers are all empty for a damaged one.
        let _ = writeln!(files.shadow, "{name}:{hash}::0:99999:7:::");
        let _ = writeln!(files.group, "{name}:x:{id}:");
        if let Some(members) = line_of(&files.group, GROUP).and_then(|line| line.split(':').nth(3)) {
            let members = if members.is_empty() { name.to_owned() } else { format!("{members},{name}") };
            files.group = with_field(&files.group, GROUP, 3, &members);
        }
        list.push(Home { name: name.to_owned(), id, ssh_keys: person.ssh_keys.clone() });
        id += 1;
    }
    (files, list, taken)
}

fn line_of<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find(|line| line.split(':').next() == Some(name))
}

/// The text with one field of one line changed.
fn with_field(text: &str, name: &str, field: usize, value: &str) -> String {
    let mut out = String::with_capacity(text.len() + value.len());
    for line in text.lines() {
        if line.split(':').next() == Some(name) {
            let fields: Vec<&str> =
                line.split(':').enumerate().map(|(number, old)| if number == field { value } else { old }).collect();
            out.push_str(&fields.join(":"));
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Accounts {
        Accounts {
            passwd: "root:x:0:0:root:/root:/bin/sh\nrackberry:x:900:900::/var/lib/rackberry:/bin/false".to_owned(),
            shadow: "root:*::0:99999:7:::\nrackberry:*::0:99999:7:::\n".to_owned(),
            group: "root:x:0:\nrackberry:x:900:\n".to_owned(),
        }
    }

    fn person(name: &str, password: Option<&str>) -> Account {
        Account { name: name.to_owned(), password: password.map(ToOwned::to_owned), ssh_keys: vec!["key".to_owned()] }
    }

    #[test]
    fn people_follow_the_systems_own_accounts() {
        let (files, homes, taken) =
            with(&base(), &[person("anna", Some("$6$x$y")), person("bert", None)], "/run/card/home");
        assert!(files.passwd.ends_with(
            "anna:x:1000:1000::/run/card/home/anna:/bin/sh\nbert:x:1001:1001::/run/card/home/bert:/bin/sh\n"
        ));
        assert!(files.passwd.contains("/bin/false\nanna:"), "the base's last line is ended: {}", files.passwd);
        assert!(files.shadow.ends_with("anna:$6$x$y::0:99999:7:::\nbert:*::0:99999:7:::\n"));
        assert_eq!(files.group, "root:x:0:\nrackberry:x:900:anna,bert\nanna:x:1000:\nbert:x:1001:\n");
        assert_eq!(homes.iter().map(|home| home.id).collect::<Vec<_>>(), [1000, 1001]);
        assert!(taken.is_empty());
    }

    #[test]
    fn root_keeps_its_place_and_the_systems_names_are_not_taken() {
        let (files, homes, taken) =
            with(&base(), &[person("root", Some("$6$x$y")), person("rackberry", None)], "/home");
        assert_eq!(files.shadow, "root:$6$x$y::0:99999:7:::\nrackberry:*::0:99999:7:::\n");
        assert_eq!((homes.len(), taken), (1, vec!["rackberry".to_owned()]));
    }
}
