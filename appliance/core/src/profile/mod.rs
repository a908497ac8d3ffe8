//! A Profile: an installable or bootable system as `profile.toml` and templates describe it.

mod boot;
mod parameter;
mod read;

pub use boot::{AnswerTemplate, BootSpec, FileSpec, InitrdSpec, InvalidFileSpec, Medium, Way, boots_on};
pub use parameter::{Parameter, ParameterKind};

use crate::{
    host::{Arch, Firmware},
    task::{BootOrder, SeedKind},
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
    pub way: Way,
    /// The [`Image`](crate::image::Image) that is written, by name; empty but for [`Way::Image`].
    pub image: String,
    /// What has to be on the box beside it, or in its place.
    pub media: Vec<Medium>,
    /// What boots; none for [`Way::Image`], which the RAM OS serves.
    pub boot: Option<BootSpec>,
    /// What it may be booted by; anything if empty.
    pub firmware: Vec<Firmware>,
    pub answers: Vec<AnswerTemplate>,
    /// Files of the archive that `files` among the initrds means; contents are templates.
    pub initrd_files: Vec<FileTemplate>,
    /// Templates that others include, by name (`shared/NAME.tmpl`).
    pub shared: BTreeMap<String, String>,
    pub arch: Arch,
    pub min_memory_mb: u64,
    pub boot_order: BootOrder,
    pub seed: SeedKind,
    /// Grow the last partition to the disk's end.
    pub grow: bool,
    pub parameters: Vec<Parameter>,
    /// None for [`Way::Live`]: nothing is installed.
    pub workflow: Option<Workflow>,
    /// Files for the written system; contents are templates.
    pub files: Vec<FileTemplate>,
}

/// A file of the written system before rendering.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileTemplate {
    /// Absolute, or below the archive's root; itself a template.
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

impl Profile {
    /// Names of everything it needs on the box.
    pub fn needs(&self) -> impl Iterator<Item = &str> {
        let image = Some(self.image.as_str()).filter(|image| !image.is_empty());
        image.into_iter().chain(self.media.iter().map(|medium| medium.name.as_str()))
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
        assert_eq!(profile.workflow.unwrap().stages().len(), 5);
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
