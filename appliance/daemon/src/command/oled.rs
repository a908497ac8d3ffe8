//! The display's picture, for people without a display.

use super::{OledArgs, show::Shown};
use anyhow::{Context, bail};
use hyper::Method;
use rackberry::{cli::Client, display::png};
use rackberry_core::display::{Panel, Picture, StatusView, picture};
use serde_json::Value;
use std::path::Path;

/// Draws what the box shows now, or the state in a file.
///
/// # Errors
/// If neither can be had, or the picture not be written.
pub async fn preview(client: &Client, args: &OledArgs, shown: &Shown) -> anyhow::Result<()> {
    let answer = match &args.state {
        Some(file) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
            let given: Value = serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))?;
            // What --json prints, or a view alone.
            if given.get("view").is_some() { given } else { serde_json::json!({ "view": given }) }
        }
        None => client.call(Method::GET, "/display", None).await?,
    };
    let view: StatusView = serde_json::from_value(answer.get("view").cloned().unwrap_or_default())
        .context("reading what the display shows")?;
    let named = args.size.as_deref().or_else(|| answer.get("size").and_then(Value::as_str)).unwrap_or("128x64");
    let Some(panel) = Panel::of_word(named) else {
        bail!("{named} is no size of a display; there are 128x64 and 128x32")
    };
    let tick = args.tick.or_else(|| answer.get("tick").and_then(Value::as_u64)).unwrap_or(0);
    let drawn = picture(&view, tick, panel);
    match &args.file {
        Some(file) => {
            std::fs::write(file, encoded(&drawn, file)?).with_context(|| format!("writing {}", file.display()))?;
            shown.done(&serde_json::json!({ "file": file }), &format!("The picture is in {}.", file.display()));
        }
        None => shown.done(&answer, &drawn.text()),
    }
    Ok(())
}

/// In the format that the file's name asks for.
fn encoded(drawn: &Picture, file: &Path) -> anyhow::Result<Vec<u8>> {
    match file.extension().and_then(|ending| ending.to_str()) {
        Some("png") => Ok(png(drawn, 4)),
        Some("pbm") => Ok(drawn.pbm()),
        Some("txt") => Ok(drawn.text().into_bytes()),
        _ => bail!("{} names no format; let it end in .png, .pbm or .txt", file.display()),
    }
}
