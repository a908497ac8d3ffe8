//! Updates of the box: sent, installed, followed until the box starts again.

use super::{UpdateArgs, UpdateCommand, show::Shown};
use anyhow::bail;
use hyper::Method;
use rackberry::cli::{CallError, Client};
use serde_json::Value;
use std::{io::Write as _, path::Path, time::Duration};

/// Between two looks at how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Does what was typed behind `update`.
///
/// # Errors
/// Whatever the box refuses.
pub async fn update(client: &Client, args: &UpdateArgs, shown: &Shown) -> anyhow::Result<()> {
    match (&args.command, &args.file) {
        (Some(UpdateCommand::Load { file }), _) => {
            let view = load(client, file).await?;
            let sentence =
                format!("Version {} is verified and waits; `rackberry update install` installs it.", waiting(&view));
            shown.done(&view, &sentence);
            Ok(())
        }
        (Some(UpdateCommand::Install), _) => install(client, shown).await,
        (Some(UpdateCommand::Drop), _) => {
            let view = client.call(Method::DELETE, "/update", None).await?;
            shown.done(&view, "The bundle is gone.");
            Ok(())
        }
        (None, Some(file)) => {
            let view = load(client, file).await?;
            aside(shown, &format!("Version {} is verified.", waiting(&view)));
            install(client, shown).await
        }
        (Some(UpdateCommand::Status) | None, _) => {
            let view = client.call(Method::GET, "/update", None).await?;
            shown.done(&view, &sentences(&view));
            Ok(())
        }
    }
}

async fn load(client: &Client, file: &Path) -> anyhow::Result<Value> {
    Ok(client.upload("/update", file.to_owned()).await?)
}

async fn install(client: &Client, shown: &Shown) -> anyhow::Result<()> {
    client.call(Method::POST, "/update/install", None).await?;
    follow(client, shown).await
}

/// Says how far an install or a roll-back is, until the box starts again.
///
/// # Errors
/// Why it was not done.
pub async fn follow(client: &Client, shown: &Shown) -> anyhow::Result<()> {
    let mut last = String::new();
    loop {
        let view = match client.call(Method::GET, "/update", None).await {
            Ok(view) => view,
            // It says so before it goes down, but nobody has to have listened just then.
            Err(CallError::Http(_) | CallError::Connect { .. } | CallError::Unreachable { .. })
                if last == "restart" =>
            {
                Value::Null
            }
            Err(error) => return Err(error.into()),
        };
        let work = view.get("work").cloned().unwrap_or_default();
        let word = |key: &str| work.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (step, failed) = (word("step"), word("failed"));
        if !failed.is_empty() {
            bail!("{failed}");
        }
        if step == "restart" || view.is_null() {
            let sentence =
                "Written. The box starts again now and tries it; `rackberry update status` says how that ends.";
            shown.done(&view, sentence);
            return Ok(());
        }
        if step != last {
            let sentence = match step.as_str() {
                "verify" => "The bundle is verified once more...",
                "write" => "It is written into the other slot...",
                "read_back" => "The slot is read back and compared...",
                _ => "",
            };
            aside(shown, sentence);
            last = step;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// For people who wait, and not for programs.
fn aside(shown: &Shown, sentence: &str) {
    if !shown.json && !sentence.is_empty() {
        let _ = writeln!(std::io::stderr(), "{sentence}");
    }
}

fn waiting(view: &Value) -> String {
    let version = view.get("bundle").and_then(|bundle| bundle.get("header")?.get("version"));
    version.and_then(Value::as_str).unwrap_or("?").to_owned()
}

fn sentences(view: &Value) -> String {
    let text = |key: &str| view.get(key).and_then(Value::as_str).unwrap_or_default();
    let flag = |key: &str| view.get(key).and_then(Value::as_bool).unwrap_or_default();
    let mut lines = vec![format!("Version {} runs from slot {}.", text("version"), text("slot"))];
    if flag("trying") {
        lines.push("It is on trial: unless it proves itself, the version before comes back.".to_owned());
    }
    let known = if text("other_version").is_empty() { "A version" } else { text("other_version") };
    lines.push(match text("other_state") {
        "ready" => format!("{known} is in slot {}; `rackberry rollback` goes back to it.", text("other_slot")),
        "failed" => format!("{known} in slot {} failed when it was tried.", text("other_slot")),
        _ => format!("Slot {} is empty.", text("other_slot")),
    });
    if let Some(last) = view.get("last").filter(|last| last.get("outcome").and_then(Value::as_str) == Some("failed")) {
        let word = |key: &str| last.get(key).and_then(Value::as_str).unwrap_or_default();
        let why = if word("why").is_empty() { String::new() } else { format!(": {}", word("why")) };
        lines.push(format!("The update to {} failed{why}.", word("version")));
    }
    if !text("floor").is_empty() {
        lines.push(format!("Nothing older than {} is taken.", text("floor")));
    }
    if view.get("bundle").is_some_and(|bundle| !bundle.is_null()) {
        lines.push(format!("Version {} is verified and waits; `rackberry update install` installs it.", waiting(view)));
    }
    if !text("stick").is_empty() {
        lines.push(format!("The last USB stick: {}", text("stick")));
    }
    if flag("development_key") {
        lines.push("Bundles are verified with a development key, which nobody vouches for.".to_owned());
    }
    lines.join("\n")
}
