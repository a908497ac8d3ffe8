//! From `profile.toml` and templates to a checked [`Profile`].

use super::{
    AnswerTemplate, BootSpec, FileTemplate, InitrdSpec, InvalidProfile, Medium, Parameter, ParameterKind, Profile, Way,
};
use crate::{
    event::TaskName,
    host::{Arch, Firmware},
    task::{BootOrder, Retry, SeedKind, TaskKind, TaskSpec},
    workflow::Workflow,
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// How a template that many profiles include is named.
const SHARED: &str = "shared/";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    title: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    way: Way,
    #[serde(default)]
    image: String,
    #[serde(default, rename = "medium")]
    media: Vec<Medium>,
    boot: Option<BootSpec>,
    #[serde(default)]
    firmware: Vec<Firmware>,
    #[serde(default, rename = "answer")]
    answers: Vec<RawAnswer>,
    #[serde(default, rename = "initrd_file")]
    initrd_files: Vec<RawFile>,
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
struct RawAnswer {
    path: String,
    template: String,
    at: Option<String>,
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
    /// Reads `profile.toml`; `templates` holds the folder's `*.tmpl` files by file name, and those that all profiles share by
    /// `shared/NAME.tmpl`.
    ///
    /// Without `[[task]]` entries a profile gets the usual chain of its [`Way`].
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
        check_way(&raw).map_err(content)?;
        let template = |path: &str, template: String| {
            templates.get(&template).cloned().ok_or_else(|| InvalidProfile::NoTemplate {
                name: name.to_owned(),
                path: path.to_owned(),
                template,
            })
        };
        let file = |file: RawFile, absolute: bool| {
            let mode = u32::from_str_radix(&file.mode, 8).ok().filter(|mode| *mode <= 0o7777);
            let mode =
                mode.ok_or_else(|| content(format!("file {}: mode \"{}\" is not octal", file.path, file.mode)))?;
            if file.path.starts_with('/') != absolute || file.path.split('/').any(|part| part == "..") {
                let wanted = if absolute { "absolute" } else { "relative to the archive's root" };
                return Err(content(format!("file path \"{}\" is not {wanted}, or climbs with \"..\"", file.path)));
            }
            let text = match (file.template, &file.link) {
                (None, Some(_)) => String::new(),
                (Some(named), None) => template(&file.path, named)?,
                _ => return Err(content(format!("file {}: give either template or link", file.path))),
            };
            Ok(FileTemplate { path: file.path, mode, template: text, link: file.link })
        };
        let files: Vec<_> = raw.files.into_iter().map(|raw| file(raw, true)).collect::<Result<_, _>>()?;
        let initrd_files: Vec<_> =
            raw.initrd_files.into_iter().map(|raw| file(raw, false)).collect::<Result<_, _>>()?;
        let secret = raw.parameters.iter().any(|parameter| parameter.kind == ParameterKind::Password);
        let mut answers = Vec::new();
        for answer in raw.answers {
            if answer.path.is_empty() || answer.path.starts_with('/') || answer.path.split('/').any(|part| part == "..")
            {
                return Err(content(format!("answer path \"{}\" is not relative, or climbs with \"..\"", answer.path)));
            }
            if answer.path.starts_with("report/") || answer.path == "hook" {
                return Err(content(format!("answer path \"{}\" is one the box itself answers", answer.path)));
            }
            if secret && answer.at.is_some() {
                return Err(content(format!(
                    "answer {}: a fixed path (at) is open to whoever has the host's address, and this profile asks for a password",
                    answer.path
                )));
            }
            let text = template(&answer.path, answer.template)?;
            answers.push(AnswerTemplate { path: answer.path, template: text, at: answer.at });
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
        let workflow = workflow(name, raw.way, tasks)?;
        let texts = files.iter().chain(&initrd_files).map(|file| file.template.as_str());
        let shared = included(texts.chain(answers.iter().map(|answer| answer.template.as_str())), templates);
        Ok(Profile {
            name: name.to_owned(),
            title: raw.title,
            description: raw.description,
            way: raw.way,
            image: raw.image,
            media: raw.media,
            boot: raw.boot,
            firmware: raw.firmware,
            answers,
            initrd_files,
            shared,
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
}

/// Whether the keys suit the way.
fn check_way(raw: &Raw) -> Result<(), String> {
    let Some(boot) = &raw.boot else {
        return match raw.way {
            Way::Image if raw.image.is_empty() => Err("way = \"image\" needs the key image".to_owned()),
            Way::Image => Ok(()),
            Way::Installer | Way::Live => Err("it boots by itself, so it needs [boot] with a kernel".to_owned()),
        };
    };
    if raw.way == Way::Image {
        return Err("[boot] is for way = \"installer\" and \"live\"; an image is written by the RAM OS".to_owned());
    }
    if !raw.image.is_empty() || !raw.files.is_empty() {
        return Err("image and [[file]] are for way = \"image\"; give [[medium]] and [[answer]]".to_owned());
    }
    if raw.way == Way::Live && !raw.tasks.is_empty() {
        return Err("a live system has no tasks: nothing is installed".to_owned());
    }
    let known = |medium: &str| raw.media.iter().any(|known| known.name == medium);
    let files = boot.initrd.iter().filter_map(|initrd| match initrd {
        InitrdSpec::File(file) => Some(file),
        InitrdSpec::Files => None,
    });
    for file in std::iter::once(&boot.kernel).chain(files) {
        if !known(&file.medium) {
            return Err(format!("[boot] names the medium \"{}\", and no [[medium]] is called that", file.medium));
        }
    }
    if boot.initrd.contains(&InitrdSpec::Files) == raw.initrd_files.is_empty() {
        return Err("\"files\" among the initrds and [[initrd_file]] belong together".to_owned());
    }
    Ok(())
}

fn workflow(name: &str, way: Way, tasks: Vec<TaskSpec>) -> Result<Option<Workflow>, InvalidProfile> {
    let usual: &[TaskKind] = match way {
        Way::Image => &[
            TaskKind::BootRamOs,
            TaskKind::WriteImage,
            TaskKind::Configure,
            TaskKind::Restart,
            TaskKind::WaitFirstBoot,
        ],
        Way::Installer => &[TaskKind::BootRamOs, TaskKind::RunInstaller, TaskKind::WaitFirstBoot],
        Way::Live => return Ok(None),
    };
    let tasks = if tasks.is_empty() { chain(usual) } else { tasks };
    let workflow = Workflow::new(tasks).map_err(|source| InvalidProfile::Workflow { name: name.to_owned(), source })?;
    let has = |kind: TaskKind| workflow.tasks().iter().any(|task| task.kind == kind);
    let content = |what: &str| InvalidProfile::Content { name: name.to_owned(), what: what.to_owned() };
    if has(TaskKind::RunInstaller) != (way == Way::Installer) {
        return Err(content("the task run-installer and way = \"installer\" belong together"));
    }
    // An installer says itself that it is done.
    if !has(TaskKind::WaitFirstBoot) && way == Way::Image {
        return Err(content("its workflow never waits for the first boot, so no install could end as done"));
    }
    Ok(Some(workflow))
}

/// One task after the other, each named by its kind.
fn chain(kinds: &[TaskKind]) -> Vec<TaskSpec> {
    let mut before: Option<TaskName> = None;
    kinds
        .iter()
        .map(|kind| {
            let name = TaskName::from(kind.word());
            let after = before.replace(name.clone()).into_iter().collect();
            TaskSpec { name, kind: *kind, after, timeout_s: None, retry: Retry::default() }
        })
        .collect()
}

/// The shared templates that these texts include, and those that these include.
fn included<'t>(
    texts: impl Iterator<Item = &'t str>,
    templates: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut open: Vec<&str> = texts.collect();
    while let Some(text) = open.pop() {
        for (name, shared) in templates.iter().filter(|(name, _)| name.starts_with(SHARED)) {
            if text.contains(name.as_str()) && found.insert(name.clone(), shared.clone()).is_none() {
                open.push(shared);
            }
        }
    }
    found
}
