//! Images from elsewhere: begun, followed until they are there.

use super::{OriginArgs, show::Shown};
use anyhow::{Context as _, bail};
use base64ct::Encoding as _;
use hyper::Method;
use rackberry::cli::{CallError, Client, encode};
use serde_json::{Value, json};
use std::{
    io::{IsTerminal as _, Write as _},
    path::Path,
    time::Duration,
};

/// Between two looks at how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looks in a row without an answer, after which the box is given up: it may be starting again.
const TRIES: u32 = 120;

/// Whether the box is meant to fetch it.
pub fn is_url(file: &Path) -> bool {
    file.to_str().is_some_and(|text| text.starts_with("http://") || text.starts_with("https://"))
}

/// Has the box fetch an image, and waits for it.
///
/// # Errors
/// Whatever the box refuses, and why it came to nothing.
pub async fn import(
    client: &Client,
    url: &Path,
    name: Option<&str>,
    sha256: Option<&str>,
    as_it_is: bool,
    origin: &OriginArgs,
    shown: &Shown,
) -> anyhow::Result<()> {
    let url = url.to_str().context("the URL is no text")?;
    if origin.size {
        let (size, sentence) = size(client, url, origin.allow_private).await?;
        shown.done(&size, &sentence);
        return Ok(());
    }
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let stem = path.rsplit('/').next().unwrap_or_default().split('.').next().unwrap_or_default();
    let name = name.unwrap_or(stem);
    if name.is_empty() {
        bail!("the URL names no file: say what the image is to be called, --name NAME");
    }
    let key = match &origin.key {
        Some(file) if file.exists() => Some(armored(file, "PUBLIC KEY BLOCK")?),
        Some(named) => Some(named.display().to_string()),
        None => None,
    };
    let urls: Vec<&str> = std::iter::once(url).chain(origin.mirror.iter().map(String::as_str)).collect();
    let order = json!({
        "name": name,
        "urls": urls,
        "sha256": sha256,
        "checksums": origin.checksums,
        "signature": origin.signature,
        "key": key,
        "as_it_is": as_it_is,
        "allow_private": origin.allow_private,
    });
    let begun = client.call(Method::POST, "/fetches", Some(order)).await?;
    follow(client, &begun, shown).await
}

/// How big a file elsewhere is, and that as a sentence.
async fn size(client: &Client, url: &str, allow_private: bool) -> anyhow::Result<(Value, String)> {
    let asked = json!({ "url": url, "allow_private": allow_private });
    let size = client.call(Method::POST, "/fetch-size", Some(asked)).await?;
    let number = |key: &str| size.get(key).and_then(Value::as_u64);
    let sentence = match number("size_bytes") {
        Some(bytes) => format!("It has {bytes} bytes; there is room for {}.", number("room_bytes").unwrap_or(0)),
        None => "Its server does not say how big it is.".to_owned(),
    };
    Ok((size, sentence))
}

/// Has the box fetch what a profile needs, or says how big it is.
///
/// # Errors
/// Whatever the box refuses, and what no address is known of.
pub async fn media(
    client: &Client,
    profile: &str,
    medium: Option<&str>,
    only_size: bool,
    allow_private: bool,
    shown: &Shown,
) -> anyhow::Result<()> {
    let below = format!("/profiles/{}/media", encode(profile));
    let all = client.call(Method::GET, &below, None).await?;
    let text = |known: &Value, key: &str| known.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let all = all.as_array().cloned().unwrap_or_default();
    let wanted: Vec<&Value> = match medium {
        Some(name) => all.iter().filter(|known| text(known, "name") == name).collect(),
        None => all.iter().filter(|known| text(known, "place") != "on-the-box").collect(),
    };
    match medium {
        Some(name) if wanted.is_empty() => bail!("{profile} needs no {name}"),
        None if wanted.is_empty() => shown.line(&format!("All that {profile} needs is on the box.")),
        _ => {}
    }
    let mut yours = Vec::new();
    for known in wanted {
        let (name, url) = (text(known, "name"), text(known, "url"));
        if url.is_empty() {
            yours.push(format!("{name} ({})", text(known, "help")));
            continue;
        }
        let (size, sentence) = size(client, &url, allow_private).await?;
        if only_size {
            shown.done(&size, &format!("{name}: {sentence}"));
            continue;
        }
        if !shown.json {
            let _ = writeln!(std::io::stderr(), "{name}: {sentence}");
        }
        let body = json!({ "allow_private": allow_private });
        let begun = client.call(Method::POST, &format!("{below}/{}/fetch", encode(&name)), Some(body)).await?;
        follow(client, &begun, shown).await?;
    }
    if !yours.is_empty() {
        bail!("no address is known here, so import it under its name: {}", yours.join("; "));
    }
    Ok(())
}

/// A file of keys or signatures as text: a binary one is armored (RFC 9580, 6.2).
///
/// # Errors
/// If it cannot be read.
pub fn armored(file: &Path, kind: &str) -> anyhow::Result<String> {
    let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    Ok(match String::from_utf8(bytes) {
        Ok(text) if text.contains("-----BEGIN") => {
            let at = text.find("-----BEGIN").unwrap_or_default();
            text.get(at..).unwrap_or_default().to_owned()
        }
        text => {
            let bytes = text.map_or_else(std::string::FromUtf8Error::into_bytes, String::into_bytes);
            let packed = base64ct::Base64::encode_string(&bytes);
            let lines: Vec<String> = packed.chars().collect::<Vec<_>>().chunks(64).map(String::from_iter).collect();
            let lines = lines.join("\n");
            format!("-----BEGIN PGP {kind}-----\n\n{lines}\n-----END PGP {kind}-----\n")
        }
    })
}

async fn follow(client: &Client, begun: &Value, shown: &Shown) -> anyhow::Result<()> {
    let id = begun.get("id").and_then(Value::as_u64).context("the box gave the fetch no number")?;
    let live = !shown.json && std::io::stderr().is_terminal();
    let (mut last, mut failed) = (String::new(), 0);
    loop {
        let all = match client.call(Method::GET, "/fetches", None).await {
            Ok(all) => all,
            // A box that starts again goes on with it.
            Err(CallError::Http(_) | CallError::Connect { .. } | CallError::Unreachable { .. }) if failed < TRIES => {
                failed += 1;
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        failed = 0;
        let fetch = all
            .as_array()
            .and_then(|all| all.iter().find(|fetch| fetch.get("id").and_then(Value::as_u64) == Some(id)).cloned());
        let Some(fetch) = fetch else {
            // It was done a moment before the box started again, or there is an alarm.
            let name = begun.get("name").and_then(Value::as_str).unwrap_or_default();
            let image = image(client, "name", name).await?;
            let image = image.context("the box knows nothing more of the fetch: see `rackberry alarm list`")?;
            shown.done(&image, &format!("{name} is on the box."));
            return Ok(());
        };
        let text = |key: &str| fetch.get(key).and_then(Value::as_str).unwrap_or_default();
        let number = |key: &str| fetch.get(key).and_then(Value::as_u64);
        let line = match (number("size_bytes"), number("done_bytes").unwrap_or(0)) {
            _ if !text("message").is_empty() => text("message").to_owned(),
            (Some(size), done) => format!(
                "{}: {} % of {size} bytes, {} bytes/s",
                text("name"),
                done.saturating_mul(100) / size.max(1),
                number("rate").unwrap_or(0)
            ),
            (None, done) => format!("{}: {done} bytes", text("name")),
        };
        if line != last && live {
            let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
            last = line;
        }
        let over = text("state");
        if live && matches!(over, "done" | "failed" | "cancelled") {
            let _ = writeln!(std::io::stderr());
        }
        match over {
            "done" => {
                let digest = text("digest");
                let image = image(client, "digest", digest).await?;
                let sentence = format!("{} is on the box; its digest is {digest}.", text("name"));
                shown.done(&image.unwrap_or_default(), &sentence);
                return Ok(());
            }
            "failed" => bail!("{}", text("message")),
            "cancelled" => bail!("somebody called the fetch off"),
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// The image of which the box says this.
async fn image(client: &Client, key: &str, wanted: &str) -> anyhow::Result<Option<Value>> {
    let all = client.call(Method::GET, "/images", None).await?;
    let mut all = all.as_array().into_iter().flatten();
    Ok(all.find(|image| image.get(key).and_then(Value::as_str) == Some(wanted)).cloned())
}
