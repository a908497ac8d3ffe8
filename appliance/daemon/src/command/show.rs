//! The answers: JSON as it is, or what people want to see of it.

use super::{AlarmCommand, Command, HostCommand, ImageCommand, ProfileCommand, TokenCommand, UserCommand};
use rackberry::cli::table;
use serde_json::Value;
use std::io::Write as _;

/// How answers are said.
pub struct Shown {
    /// For programs.
    pub json: bool,
}

impl Shown {
    /// Prints a line; a reader that has gone away is no error of ours.
    pub fn line(&self, line: &str) {
        let _ = writeln!(std::io::stdout(), "{}", line.trim_end());
    }

    /// Something that worked: as JSON, or as a sentence.
    pub fn done(&self, value: &Value, sentence: &str) {
        if self.json { self.line(&value.to_string()) } else { self.line(sentence) }
    }

    /// What the box answered to a command.
    pub fn answer(&self, command: &Command, answer: &Value) {
        if self.json {
            self.line(&answer.to_string());
            return;
        }
        if let Some(rows) = rows(command, answer) {
            self.line(&rows);
            return;
        }
        match (command, answer) {
            (Command::Install(args), _) => self.line(&format!(
                "Armed: {} erases its disk at the next network boot, or at once if it waits.",
                args.host
            )),
            (Command::Confirm { host, again: true, .. }, _) => {
                self.line(&format!("The display at the box asks about {host} again."));
            }
            (Command::Confirm { host, .. }, _) => self.line(&format!("Confirmed: the disk of {host} may be erased.")),
            (Command::Live { host, off: true, .. }, _) => {
                self.line(&format!("{host} boots what the box decides from now on."));
            }
            (Command::Live { host, .. }, _) => {
                self.line(&format!("{host} boots {} from the network from now on.", text(answer, "title")));
            }
            (Command::Power { host, action, .. }, _) => {
                let done = action.verb().map(|verb| format!("Power {verb} of {host} is done. ")).unwrap_or_default();
                self.line(&format!("{done}{}: {}", text(answer, "state"), text(answer, "sentence")));
            }
            (Command::Cancel { host }, _) => {
                self.line(&format!("{host} is no longer armed, and nothing runs on it."));
            }
            (Command::Resume { host }, _) => self.line(&format!("{host} goes on.")),
            (Command::Backup { file }, _) => self.line(&format!("The inventory is in {}.", file.display())),
            (Command::Image(ImageCommand::Verify { image }), _) => {
                self.line(&format!("{image} is whole: its file gives its digest."));
            }
            (Command::Image(ImageCommand::Cancel { .. }), _) => {
                self.line(&format!("{} is {}.", text(answer, "name"), text(answer, "state")));
            }
            (Command::Alarm(AlarmCommand::Settle { .. }), _) => {
                self.line(&format!("Settled: {}", text(answer, "text")));
            }
            (Command::Token(TokenCommand::Add { name, .. }), _) => {
                // The token alone on standard output, so that it can be sent into a file.
                let _ = writeln!(
                    std::io::stderr(),
                    "The token {name}, shown this once. Give it to the program by RACKBERRY_TOKEN or --token-file."
                );
                self.line(&text(answer, "token"));
            }
            (
                Command::Host(HostCommand::Rm { host: name })
                | Command::Image(ImageCommand::Rm { image: name })
                | Command::User(UserCommand::Rm { name })
                | Command::Token(TokenCommand::Rm { name }),
                _,
            ) => self.line(&format!("{name} is gone.")),
            (Command::User(UserCommand::Add { name, .. }), _) => self.line(&format!("{name} may log in now.")),
            (Command::User(UserCommand::Passwd { name }), _) => {
                self.line(&format!("{name} has a new password and is logged out everywhere."));
            }
            (Command::User(UserCommand::Role { name, role }), _) => {
                self.line(&format!("{name} is {} now.", role.word()));
            }
            (_, Value::String(content)) => self.line(content),
            (_, other) => self.line(&serde_json::to_string_pretty(other).unwrap_or_default()),
        }
    }
}

/// One entry of a list as the cells of its line.
type Row = fn(&Value) -> Vec<String>;

/// A list as a table.
fn rows(command: &Command, answer: &Value) -> Option<String> {
    let list = answer.as_array()?;
    let columns: (&[&str], Row) = match command {
        Command::Host(HostCommand::List) => (&["NAME", "MAC", "STATE", "WHAT HAPPENS NOW"], |host| {
            let mac = host.get("macs").and_then(|macs| macs.get(0)).map(plain).unwrap_or_default();
            vec![text(host, "name"), mac, text(host, "word"), text(host, "sentence")]
        }),
        Command::Image(ImageCommand::List) => {
            (&["NAME", "KIND", "SYSTEM", "VERSION", "ARCH", "BYTES", "SHA-256"], |image| {
                let digest: String = text(image, "digest").chars().take(12).collect();
                let cells = ["name", "kind", "system", "version", "arch", "size_bytes"];
                cells.iter().map(|key| text(image, key)).chain([digest]).collect()
            })
        }
        Command::Image(ImageCommand::Prune { yes: true }) => {
            (&["REMOVED", "BYTES FREED"], |image| vec![text(image, "name"), text(image, "size_bytes")])
        }
        Command::Image(ImageCommand::Prune { yes: false }) => {
            (&["--yes WOULD REMOVE", "BYTES FREED"], |image| vec![text(image, "name"), text(image, "size_bytes")])
        }
        Command::Image(ImageCommand::Fetches) => (&["ID", "NAME", "STATE", "BYTES", "OF", "WHY"], |fetch| {
            ["id", "name", "state", "done_bytes", "size_bytes", "message"].map(|key| text(fetch, key)).to_vec()
        }),
        Command::Profile(ProfileCommand::Media { .. }) => (&["NAME", "WHERE", "WHAT IT IS", "HOW"], |medium| {
            let how = [text(medium, "url"), text(medium, "help")];
            let how = how.into_iter().find(|how| !how.is_empty()).unwrap_or_default();
            vec![text(medium, "name"), text(medium, "place"), text(medium, "title"), how]
        }),
        Command::Profile(ProfileCommand::List) => (&["NAME", "TITLE", "WHAT IT IS"], |profile| {
            vec![text(profile, "name"), text(profile, "title"), text(profile, "description")]
        }),
        Command::Alarm(AlarmCommand::List) => {
            (&["ID", "WHAT HAPPENED"], |alarm| vec![text(alarm, "id"), text(alarm, "text")])
        }
        Command::User(UserCommand::List) => (&["NAME", "ROLE"], |user| vec![text(user, "name"), text(user, "role")]),
        Command::Token(TokenCommand::List) => (&["NAME", "ROLE", "MADE BY", "LAST USED", "FROM"], |token| {
            let used = match token.get("used_wall").and_then(Value::as_u64) {
                Some(wall) if wall > 0 => moment(wall),
                Some(_) => "at an unknown time".to_owned(),
                None => "never".to_owned(),
            };
            vec![text(token, "name"), text(token, "role"), text(token, "by"), used, text(token, "address")]
        }),
        _ => return None,
    };
    let (headings, row) = columns;
    Some(table(headings, &list.iter().map(row).collect::<Vec<_>>()))
}

/// Milliseconds since 1970 as a moment in UTC (RFC 3339).
fn moment(wall: u64) -> String {
    rackberry_web::format::iso(wall)
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).map(plain).filter(|text| text != "null").unwrap_or_default()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What an event says beside its kind, for people.
pub fn event_line(event: &Value) -> String {
    const SHOWN_APART: [&str; 9] = ["id", "origin", "at", "wall", "host", "install", "actor", "kind", "seq"];
    let kind = event.get("kind").and_then(Value::as_str).unwrap_or_default();
    let details: Vec<String> = event
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, value)| !SHOWN_APART.contains(&key.as_str()) && !value.is_null())
        .map(|(key, value)| format!("{key}={}", plain(value)))
        .collect();
    let seq = event.get("seq").and_then(Value::as_u64).unwrap_or_default();
    format!("{seq:>6}  {kind:<18} {}", details.join(" "))
}
