//! A plan's file templates, rendered for one host by minijinja; an unknown name is an error, never an empty text.
//!
//! Templates see `host` (`name`, `mac`, `macs`, `uuid`, `serial`, `arch`, `firmware`), `box` (`url`, `address`), `answers` (the address
//! below which this boot finds its answers), `install` (`id`, `token`, `report_url`), `profile` (`name`, `title`), `disk` (`path`,
//! `name`, `serial`, `wwn`, `model`, `size_bytes`: the one that may be erased), `media[NAME]` (a medium's address) and `p.<parameter>`.
//! `network` with `network_config(FORMAT)` and `network_files(FORMAT)` is the installed system's network (`boot::network`).
//! Filters: `sh` quotes for a POSIX shell, `json` writes a JSON (and so YAML) value, `lines` splits at line ends without empty
//! ones, `preseed` makes one debconf value, `ks` one word of a kickstart command, `xml` escapes.

use super::{
    args::{BadArgument, KernelArgs},
    network::{Format, Network, NetworkFile},
    script::BootFiles,
};
use crate::{
    hardware::Disk,
    host::Host,
    id::InstallId,
    install::{Install, LiveBoot, Plan, PlannedBoot, PlannedFile, PlannedInitrd},
    profile::FileTemplate,
    task::SeedFile,
    text::HostName,
};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context, syntax::SyntaxConfig, value::Serde};
use std::collections::BTreeMap;

/// A template that could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    #[error("rendering {path} of profile \"{profile}\"")]
    Template {
        profile: String,
        path: String,
        #[source]
        source: minijinja::Error,
    },
    #[error("the kernel arguments of profile \"{profile}\"")]
    Args {
        profile: String,
        #[source]
        source: BadArgument,
    },
}

/// How many template instructions a file may take; a loop that runs away ends here.
const FUEL: u64 = 200_000;

/// Whose templates are rendered, and with what.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    profile: &'a str,
    title: &'a str,
    hostname: &'a HostName,
    parameters: &'a BTreeMap<String, String>,
    install: Option<InstallId>,
    boot: Option<&'a PlannedBoot>,
    disk: Option<&'a Disk>,
}

impl<'a> Subject<'a> {
    /// An install's frozen plan; `disk` is the one that may be erased.
    #[must_use]
    pub fn install(install: &'a Install, disk: Option<&'a Disk>) -> Self {
        let Plan { profile, title, hostname, parameters, boot, .. } = &install.plan;
        let install = Some(install.id);
        Subject { profile, title, hostname, parameters, install, boot: boot.as_ref(), disk }
    }

    /// What a host boots from the network at each boot.
    #[must_use]
    pub fn live(live: &'a LiveBoot) -> Self {
        let LiveBoot { profile, title, hostname, parameters, boot, .. } = live;
        Subject { profile, title, hostname, parameters, install: None, boot: Some(boot), disk: None }
    }

    /// The paths of its answers.
    pub fn answers(&self) -> impl Iterator<Item = &'a str> {
        self.boot.into_iter().flat_map(|boot| boot.answers.iter().map(|answer| answer.path.as_str()))
    }

    fn template(&self, path: &str) -> impl FnOnce(minijinja::Error) -> RenderError {
        let (profile, path) = (self.profile.to_owned(), path.to_owned());
        move |source| RenderError::Template { profile, path, source }
    }

    fn environment(&self) -> Result<Environment<'a>, RenderError> {
        let mut environment = environment();
        for (name, text) in self.boot.iter().flat_map(|boot| &boot.shared) {
            environment.add_template(name, text).map_err(self.template(name))?;
        }
        Ok(environment)
    }
}

/// One rendering: for which host, by which of the box's addresses, with which token in plain text.
#[derive(Debug, Clone, Copy)]
pub struct Occasion<'a> {
    pub host: &'a Host,
    /// No slash at the end.
    pub box_url: &'a str,
    pub token: &'a str,
}

/// Renders every file of `install`'s plan.
///
/// `token` is the plain first-boot token of this rendering, `box_url` the box as the host reaches it.
///
/// # Errors
/// [`RenderError`], naming profile and file.
pub fn render(install: &Install, host: &Host, box_url: &str, token: &str) -> Result<Vec<SeedFile>, RenderError> {
    seed_files(Subject::install(install, None), Occasion { host, box_url, token }, &install.plan.files)
}

fn seed_files(
    subject: Subject<'_>,
    occasion: Occasion<'_>,
    templates: &[FileTemplate],
) -> Result<Vec<SeedFile>, RenderError> {
    let environment = subject.environment()?;
    let values = values(subject, occasion);
    let mut files = Vec::with_capacity(templates.len());
    for file in templates {
        let render = |text: &str| environment.render_str(text, &values).map_err(subject.template(&file.path));
        let link = file.link.as_deref().map(render).transpose()?;
        files.push(SeedFile { path: render(&file.path)?, mode: file.mode, content: render(&file.template)?, link });
    }
    Ok(files)
}

/// Kernel, initrds and arguments for one boot; nothing for a plan that boots the RAM OS.
///
/// # Errors
/// [`RenderError`], naming the profile and what does not go through a loader.
pub fn boot_files(subject: Subject<'_>, occasion: Occasion<'_>) -> Result<Option<BootFiles>, RenderError> {
    let Some(boot) = subject.boot else { return Ok(None) };
    let line = subject
        .environment()?
        .render_str(&boot.args, values(subject, occasion))
        .map_err(subject.template("[boot] args"))?;
    let args =
        KernelArgs::parse(&line).map_err(|source| RenderError::Args { profile: subject.profile.to_owned(), source })?;
    let initrd = |initrd: &PlannedInitrd| match initrd {
        PlannedInitrd::File(file) => below(file),
        PlannedInitrd::Files => format!("answers/{}/{INITRD}", occasion.token),
    };
    Ok(Some(BootFiles {
        title: subject.title.to_owned(),
        kernel: below(&boot.kernel),
        initrds: boot.initrds.iter().map(initrd).collect(),
        args,
    }))
}

/// The answer under which the archive of a profile's own files is served.
pub const INITRD: &str = "initrd";

fn below(file: &PlannedFile) -> String {
    match file.path.as_str() {
        "" => format!("images/{}", file.image),
        path => format!("images/{}/{path}", file.image),
    }
}

/// The answer of that path; none if there is none.
///
/// # Errors
/// [`RenderError`], naming profile and answer.
pub fn answer(subject: Subject<'_>, occasion: Occasion<'_>, path: &str) -> Result<Option<String>, RenderError> {
    let Some(boot) = subject.boot else { return Ok(None) };
    let Some(template) = boot.answers.iter().find(|answer| answer.path == path) else { return Ok(None) };
    let rendered = subject.environment()?.render_str(&template.template, values(subject, occasion));
    rendered.map(Some).map_err(subject.template(path))
}

/// The path of the answer that this host finds under a fixed path; none if there is none.
///
/// # Errors
/// [`RenderError`], naming profile and answer.
pub fn answer_at<'a>(subject: Subject<'a>, occasion: Occasion<'_>, path: &str) -> Result<Option<&'a str>, RenderError> {
    let Some(boot) = subject.boot else { return Ok(None) };
    let environment = subject.environment()?;
    let values = values(subject, occasion);
    for answer in &boot.answers {
        if let Some(at) = &answer.at {
            let at = environment.render_str(at, &values).map_err(subject.template(&answer.path))?;
            if at.trim_start_matches('/').eq_ignore_ascii_case(path) {
                return Ok(Some(&answer.path));
            }
        }
    }
    Ok(None)
}

/// The files of the archive that a profile adds to its initrds.
///
/// # Errors
/// [`RenderError`], naming profile and file.
pub fn initrd_files(subject: Subject<'_>, occasion: Occasion<'_>) -> Result<Vec<SeedFile>, RenderError> {
    seed_files(subject, occasion, subject.boot.map_or(&[], |boot| boot.initrd_files.as_slice()))
}

/// Renders everything once, so that a mistake shows when a person presses the button and not on the way.
///
/// # Errors
/// [`RenderError`], naming profile and file.
pub fn check(subject: Subject<'_>, occasion: Occasion<'_>, files: &[FileTemplate]) -> Result<(), RenderError> {
    seed_files(subject, occasion, files)?;
    boot_files(subject, occasion)?;
    initrd_files(subject, occasion)?;
    for at in subject.boot.iter().flat_map(|boot| &boot.answers) {
        answer(subject, occasion, &at.path)?;
    }
    answer_at(subject, occasion, "").map(drop)
}

fn values(subject: Subject<'_>, occasion: Occasion<'_>) -> Value {
    let Occasion { host, box_url, token } = occasion;
    // What is wrong with a value was said when it was given.
    let network = host.mac().and_then(|mac| Network::read(subject.parameters, mac, &host.macs).ok());
    let address = box_url.trim_start_matches("http://").trim_start_matches("https://");
    let address = address.rsplit_once(':').map_or(address, |(address, _)| address);
    let disk = |disk: &Disk| {
        context! {
            name => disk.name.as_str(),
            path => disk.path(),
            serial => disk.serial.as_str(),
            wwn => disk.wwn.as_str(),
            model => disk.model.as_str(),
            size_bytes => disk.size_bytes,
        }
    };
    let media = subject.boot.map(|boot| &boot.media);
    let media: BTreeMap<&str, String> = media
        .into_iter()
        .flatten()
        .map(|(name, digest)| (name.as_str(), format!("{box_url}/images/{digest}")))
        .collect();
    context! {
        host => context! {
            name => subject.hostname.as_str(),
            mac => host.mac().map(|mac| mac.to_string()),
            macs => host.macs.iter().map(ToString::to_string).collect::<Vec<_>>(),
            uuid => host.uuid.map(|uuid| uuid.to_string()),
            serial => host.serial.as_ref().map(|serial| serial.as_str().to_owned()),
            arch => host.arch.map(|arch| arch.as_str()),
            firmware => host.firmware.map(|firmware| firmware.to_string()),
        },
        box => context! { url => box_url, address => address },
        answers => format!("{box_url}/answers/{token}"),
        install => context! {
            id => subject.install.map(|id| id.to_string()),
            token => token,
            report_url => format!("{box_url}/agent/v1/report"),
        },
        profile => context! { name => subject.profile, title => subject.title },
        disk => subject.disk.map(disk),
        media => Value::from_pairs(media),
        p => Value::from(subject.parameters.clone()),
        network => network.as_ref().map(|network| Value::from(Serde(network.values()))),
        network_config => network.clone().map(|network| {
            Value::from_function(move |format: String| Ok(network.config(format_of(&format)?)))
        }),
        network_files => network.map(|network| {
            Value::from_function(move |format: String| {
                let files: Vec<NetworkFile> = network.files(format_of(&format)?);
                Ok(Value::from(Serde(files)))
            })
        }),
    }
}

fn format_of(name: &str) -> Result<Format, minijinja::Error> {
    name.parse().map_err(|error| {
        minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, "a network format is wanted").with_source(error)
    })
}

fn environment<'a>() -> Environment<'a> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_syntax(syntax());
    environment.add_filter("sh", shell_quote);
    environment.add_filter("preseed", |text: String| one_line(&text));
    environment.add_filter("ks", kickstart_word);
    environment.add_filter("xml", xml_text);
    environment.add_filter("json", |value: Value| serde_json::to_string(&value).unwrap_or_default());
    environment.add_filter("lines", |text: String| {
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    });
    environment
}

/// Lines that hold only a block tag leave no empty line behind, as shells and INI files would show them.
fn syntax() -> SyntaxConfig {
    let mut builder = SyntaxConfig::builder();
    builder.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true);
    builder.build().unwrap_or_default()
}

/// One word for a POSIX shell, whatever is in it (XCU 2.2.2).
fn shell_quote(value: Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The value of one debconf line (debconf-set-selections(1)): line ends would end it.
fn one_line(text: &str) -> String {
    text.split(['\n', '\r', '\0']).map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// One word of a kickstart command: anaconda splits its lines as a POSIX shell does (Python's `shlex`).
fn kickstart_word(value: Value) -> String {
    shell_quote(Value::from(one_line(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))))
}

/// Text or an attribute's value in XML 1.0 (section 2.4); control characters, which it cannot hold, go.
fn xml_text(text: String) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_words_hold_anything() {
        let evil = "a'b $(reboot) `x`\n;";
        assert_eq!(shell_quote(Value::from(evil)), "'a'\\''b $(reboot) `x`\n;'");
    }

    #[test]
    fn an_unknown_name_is_an_error_not_an_empty_text() {
        let environment = environment();
        assert!(environment.render_str("{{ p.nmae }}", context! { p => context! { name => "x" } }).is_err());
        assert!(
            environment
                .render_str("{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}", ())
                .is_err()
        );
        assert_eq!(environment.render_str("{{ v|json }}", context! { v => "a\"b" }).unwrap(), "\"a\\\"b\"");
    }
}
