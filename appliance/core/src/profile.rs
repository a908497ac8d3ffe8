//! A Profile: an installable system as `profile.toml` and templates describe it.

use crate::{
    event::TaskName,
    host::Arch,
    task::{BootOrder, Retry, SeedKind, TaskKind, TaskSpec},
    workflow::{InvalidWorkflow, Workflow},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A profile, read and checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// The folder's name: lower case, digits, dots and hyphens.
    pub name: String,
    pub title: String,
    pub description: String,
    /// The [`Image`](crate::image::Image) it installs, by name.
    pub image: String,
    pub arch: Arch,
    pub min_memory_mb: u64,
    pub boot_order: BootOrder,
    pub seed: SeedKind,
    /// Grow the last partition to the disk's end.
    pub grow: bool,
    pub parameters: Vec<Parameter>,
    pub workflow: Workflow,
    /// Files for the written system; contents are templates.
    pub files: Vec<FileTemplate>,
}

/// A value the person installing may give; the page draws its form from these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// As templates name it: `p.NAME`.
    pub name: String,
    pub title: String,
    #[serde(default)]
    pub help: String,
    #[serde(default)]
    pub kind: ParameterKind,
    #[serde(default)]
    pub default: String,
    #[serde(default)]
    pub required: bool,
    /// For `choice`: what may be chosen.
    #[serde(default)]
    pub choices: Vec<String>,
}

/// The form a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum ParameterKind {
    /// One line.
    #[default]
    Text,
    Number,
    /// `true` or `false`.
    Bool,
    Choice,
    /// Several lines.
    Lines,
    /// A user name as Linux takes it.
    User,
    /// OpenSSH public keys, one a line.
    SshKeys,
}

/// A file of the written system before rendering.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileTemplate {
    /// Absolute; itself a template.
    pub path: String,
    pub mode: u32,
    /// Text with minijinja expressions; see `boot::answers`.
    pub template: String,
    /// For a symbolic link: where it points, in place of a content.
    #[serde(default)]
    pub link: Option<String>,
}

/// Why a `profile.toml` is refused.
#[derive(Debug, thiserror::Error)]
pub enum InvalidProfile {
    #[error("profile.toml of \"{name}\": {cause}")]
    Syntax { name: String, cause: String },
    #[error("profile \"{name}\": {what}")]
    Content { name: String, what: String },
    #[error("profile \"{name}\"")]
    Workflow { name: String, source: InvalidWorkflow },
    #[error("profile \"{name}\": file {path} names the template {template}, which is not in its folder")]
    NoTemplate { name: String, path: String, template: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    title: String,
    #[serde(default)]
    description: String,
    image: String,
    arch: Arch,
    #[serde(default)]
    min_memory_mb: u64,
    #[serde(default)]
    boot_order: BootOrder,
    #[serde(default)]
    seed: SeedKind,
    #[serde(default = "yes")]
    grow: bool,
    #[serde(default, rename = "parameter")]
    parameters: Vec<Parameter>,
    #[serde(default, rename = "task")]
    tasks: Vec<RawTask>,
    #[serde(default, rename = "file")]
    files: Vec<RawFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTask {
    name: TaskName,
    kind: TaskKind,
    #[serde(default)]
    after: Vec<TaskName>,
    timeout_s: Option<u64>,
    retry: Option<Retry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    path: String,
    /// Octal, as chmod takes it.
    #[serde(default = "default_mode")]
    mode: String,
    template: Option<String>,
    link: Option<String>,
}

fn yes() -> bool {
    true
}

fn default_mode() -> String {
    "0644".to_owned()
}

impl Profile {
    /// Reads `profile.toml`; `templates` holds the folder's `*.tmpl` files by file name.
    ///
    /// Without `[[task]]` entries the profile gets the usual chain: boot the RAM OS, write the image, configure, restart,
    /// wait for the first boot.
    ///
    /// # Errors
    /// [`InvalidProfile`], naming the profile and the key, file or task at fault.
    pub fn parse(name: &str, toml: &str, templates: &BTreeMap<String, String>) -> Result<Self, InvalidProfile> {
        let content = |what: String| InvalidProfile::Content { name: name.to_owned(), what };
        let named = (1..=60).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
            && !name.starts_with('.');
        if !named {
            return Err(content(
                "a profile's folder is named with lower-case letters, digits, dots and hyphens".into(),
            ));
        }
        let raw: Raw = toml::from_str(toml)
            .map_err(|error| InvalidProfile::Syntax { name: name.to_owned(), cause: error.to_string() })?;
        for parameter in &raw.parameters {
            let identifier = parameter.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if parameter.name.is_empty() || !identifier {
                return Err(content(format!("parameter name \"{}\": letters, digits and _ only", parameter.name)));
            }
            if !parameter.default.is_empty() {
                parameter.check(&parameter.default).map_err(content)?;
            }
        }
        let tasks: Vec<TaskSpec> = raw
            .tasks
            .into_iter()
            .map(|task| TaskSpec {
                name: task.name,
                kind: task.kind,
                after: task.after,
                timeout_s: task.timeout_s,
                retry: task.retry.unwrap_or_default(),
            })
            .collect();
        let tasks = if tasks.is_empty() { image_chain() } else { tasks };
        let workflow =
            Workflow::new(tasks).map_err(|source| InvalidProfile::Workflow { name: name.to_owned(), source })?;
        if !workflow.tasks().iter().any(|task| task.kind == TaskKind::WaitFirstBoot) {
            return Err(content("its workflow never waits for the first boot, so no install could end as done".into()));
        }
        let mut files = Vec::new();
        for file in raw.files {
            let mode = u32::from_str_radix(&file.mode, 8).ok().filter(|mode| *mode <= 0o7777);
            let mode =
                mode.ok_or_else(|| content(format!("file {}: mode \"{}\" is not octal", file.path, file.mode)))?;
            if !file.path.starts_with('/') || file.path.split('/').any(|part| part == "..") {
                return Err(content(format!("file path \"{}\" is not absolute, or climbs with \"..\"", file.path)));
            }
            let template = match (file.template, &file.link) {
                (None, Some(_)) => String::new(),
                (Some(template), None) => templates.get(&template).cloned().ok_or_else(|| {
                    InvalidProfile::NoTemplate { name: name.to_owned(), path: file.path.clone(), template }
                })?,
                _ => return Err(content(format!("file {}: give either template or link", file.path))),
            };
            files.push(FileTemplate { path: file.path, mode, template, link: file.link });
        }
        Ok(Profile {
            name: name.to_owned(),
            title: raw.title,
            description: raw.description,
            image: raw.image,
            arch: raw.arch,
            min_memory_mb: raw.min_memory_mb,
            boot_order: raw.boot_order,
            seed: raw.seed,
            grow: raw.grow,
            parameters: raw.parameters,
            workflow,
            files,
        })
    }

    /// The values an install runs with: the given ones checked, defaults for the rest.
    ///
    /// # Errors
    /// A list of parameter name and sentence, one for each value at fault.
    pub fn fill(&self, given: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Vec<(String, String)>> {
        let mut wrong = Vec::new();
        let mut filled = BTreeMap::new();
        for name in given.keys() {
            if !self.parameters.iter().any(|parameter| parameter.name == *name) {
                let known: Vec<&str> = self.parameters.iter().map(|p| p.name.as_str()).collect();
                wrong.push((
                    name.clone(),
                    format!("{} has no parameter of this name; it has {}", self.name, known.join(", ")),
                ));
            }
        }
        for parameter in &self.parameters {
            let value = given.get(&parameter.name).cloned().unwrap_or_else(|| parameter.default.clone());
            if value.trim().is_empty() {
                if parameter.required {
                    wrong.push((parameter.name.clone(), format!("{} is needed.", parameter.title)));
                }
            } else if let Err(sentence) = parameter.check(&value) {
                wrong.push((parameter.name.clone(), sentence));
            }
            filled.insert(parameter.name.clone(), value);
        }
        if wrong.is_empty() { Ok(filled) } else { Err(wrong) }
    }
}

impl Parameter {
    fn check(&self, value: &str) -> Result<(), String> {
        let one_line = !value.contains(['\n', '\r', '\0']);
        let fits = match self.kind {
            ParameterKind::Text => one_line,
            ParameterKind::Number => value.trim().parse::<i64>().is_ok(),
            ParameterKind::Bool => matches!(value, "true" | "false"),
            ParameterKind::Choice => self.choices.iter().any(|choice| choice == value),
            ParameterKind::Lines => !value.contains('\0'),
            ParameterKind::User => {
                (1..=32).contains(&value.len())
                    && value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
                    && value.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            }
            ParameterKind::SshKeys => value.lines().map(str::trim).filter(|line| !line.is_empty()).all(|line| {
                let mut words = line.split_whitespace();
                let kind = words.next().unwrap_or_default();
                let key = words.next().unwrap_or_default();
                let known = kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-");
                known && key.len() > 20 && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
            }),
        };
        if fits {
            return Ok(());
        }
        let rule = match self.kind {
            ParameterKind::Text => "one line of text",
            ParameterKind::Number => "a whole number",
            ParameterKind::Bool => "true or false",
            ParameterKind::Choice => return Err(format!("{}: choose one of {}.", self.title, self.choices.join(", "))),
            ParameterKind::Lines => "text",
            ParameterKind::User => "a user name: lower-case letters, digits, - and _, starting with a letter",
            ParameterKind::SshKeys => "OpenSSH public keys, one a line, such as the content of ~/.ssh/id_ed25519.pub",
        };
        Err(format!("{} takes {rule}.", self.title))
    }
}

/// The chain that writing a disk image needs.
fn image_chain() -> Vec<TaskSpec> {
    let mut before: Option<TaskName> = None;
    [TaskKind::BootRamOs, TaskKind::WriteImage, TaskKind::Configure, TaskKind::Restart, TaskKind::WaitFirstBoot]
        .into_iter()
        .map(|kind| {
            let name = TaskName::from(match kind {
                TaskKind::BootRamOs => "boot-ram-os",
                TaskKind::WriteImage => "write-image",
                TaskKind::Configure => "configure",
                TaskKind::Restart => "restart",
                TaskKind::WaitFirstBoot => "wait-first-boot",
            });
            let after = before.replace(name.clone()).into_iter().collect();
            TaskSpec { name, kind, after, timeout_s: None, retry: Retry::default() }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = r#"
        title = "Debian 13"
        image = "debian-13"
        arch = "x86_64"
        [[parameter]]
        name = "user"
        title = "User"
        kind = "user"
        default = "admin"
        [[parameter]]
        name = "keys"
        title = "SSH keys"
        kind = "ssh-keys"
        required = true
        [[file]]
        path = "/etc/hostname"
        template = "hostname.tmpl"
    "#;

    fn templates() -> BTreeMap<String, String> {
        BTreeMap::from([("hostname.tmpl".to_owned(), "{{ host.name }}\n".to_owned())])
    }

    #[test]
    fn a_profile_without_tasks_gets_the_usual_chain() {
        let profile = Profile::parse("debian-13", TOML, &templates()).unwrap();
        assert_eq!(profile.workflow.stages().len(), 5);
        assert_eq!(profile.files.first().unwrap().mode, 0o644);
    }

    #[test]
    fn values_are_checked_by_kind_and_filled_with_defaults() {
        let profile = Profile::parse("debian-13", TOML, &templates()).unwrap();
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE me@laptop";
        let given = BTreeMap::from([("keys".to_owned(), key.to_owned())]);
        assert_eq!(profile.fill(&given).unwrap().get("user").unwrap(), "admin");
        let given =
            BTreeMap::from([("user".to_owned(), "Root; rm".to_owned()), ("colour".to_owned(), "red".to_owned())]);
        let wrong: Vec<String> = profile.fill(&given).unwrap_err().into_iter().map(|(name, _)| name).collect();
        assert_eq!(wrong, ["colour", "user", "keys"]);
    }

    #[test]
    fn what_is_wrong_with_a_profile_is_named() {
        let unknown_key = Profile::parse("x", &format!("{TOML}\nflavour = 1"), &templates()).unwrap_err();
        assert!(unknown_key.to_string().contains("flavour"), "{unknown_key}");
        let no_template = Profile::parse("x", TOML, &BTreeMap::new()).unwrap_err();
        assert!(matches!(no_template, InvalidProfile::NoTemplate { .. }));
        let climbs = TOML.replace("/etc/hostname", "/etc/../../x");
        assert!(Profile::parse("x", &climbs, &templates()).is_err());
    }
}
