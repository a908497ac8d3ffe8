//! A plan's file templates, rendered for one host by minijinja; an unknown name is an error, never an empty text.
//!
//! Templates see `host` (`name`, `mac`, `macs`, `uuid`, `serial`), `box.url`, `install` (`id`, `token`, `report_url`),
//! `profile` (`name`, `title`) and `p.<parameter>`. Filters: `sh` quotes for a POSIX shell, `json` writes a JSON (and so
//! YAML) value, `lines` splits at line ends without empty ones.

use crate::{
    host::Host,
    install::{Install, Plan},
    task::SeedFile,
};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context, syntax::SyntaxConfig};

/// A template that could not be rendered.
#[derive(Debug, thiserror::Error)]
#[error("rendering {path} of profile \"{profile}\"")]
pub struct RenderError {
    profile: String,
    path: String,
    #[source]
    source: minijinja::Error,
}

/// How many template instructions a file may take; a loop that runs away ends here.
const FUEL: u64 = 200_000;

/// Renders every file of `install`'s plan.
///
/// `token` is the plain first-boot token of this rendering, `box_url` the box as the host reaches it.
///
/// # Errors
/// [`RenderError`], naming profile and file.
pub fn render(install: &Install, host: &Host, box_url: &str, token: &str) -> Result<Vec<SeedFile>, RenderError> {
    let plan = &install.plan;
    let environment = environment();
    let values = values(install, host, box_url, token);
    let mut files = Vec::with_capacity(plan.files.len());
    for file in &plan.files {
        let wrap = |source| RenderError { profile: plan.profile.clone(), path: file.path.clone(), source };
        let path = environment.render_str(&file.path, &values).map_err(wrap)?;
        let content = environment.render_str(&file.template, &values).map_err(wrap)?;
        let link = match &file.link {
            Some(link) => Some(environment.render_str(link, &values).map_err(wrap)?),
            None => None,
        };
        files.push(SeedFile { path, mode: file.mode, content, link });
    }
    Ok(files)
}

/// Whether a plan's templates can be rendered at all; used when a profile is loaded and before arming.
///
/// # Errors
/// [`RenderError`], naming profile and file.
pub fn check(plan: &Plan) -> Result<(), RenderError> {
    let environment = environment();
    for file in &plan.files {
        environment.template_from_str(&file.template).map_err(|source| RenderError {
            profile: plan.profile.clone(),
            path: file.path.clone(),
            source,
        })?;
    }
    Ok(())
}

fn values(install: &Install, host: &Host, box_url: &str, token: &str) -> Value {
    context! {
        host => context! {
            name => install.plan.hostname.as_str(),
            mac => host.mac().map(|mac| mac.to_string()),
            macs => host.macs.iter().map(ToString::to_string).collect::<Vec<_>>(),
            uuid => host.uuid.map(|uuid| uuid.to_string()),
            serial => host.serial.as_ref().map(|serial| serial.as_str().to_owned()),
        },
        box => context! { url => box_url },
        install => context! {
            id => install.id.to_string(),
            token => token,
            report_url => format!("{box_url}/agent/v1/report"),
        },
        profile => context! { name => install.plan.profile.as_str(), title => install.plan.title.as_str() },
        p => Value::from(install.plan.parameters.clone()),
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_syntax(syntax());
    environment.add_filter("sh", shell_quote);
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
