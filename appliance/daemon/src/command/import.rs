//! Media brought to the box: announced with its size, sent piece by piece, gone on with when the way breaks.

use super::{OriginArgs, fetch::armored, show::Shown};
use anyhow::{Context, bail};
use hyper::Method;
use rackberry::{
    cli::{CallError, Client, encode},
    media::Packed,
};
use rackberry_web::format;
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{IsTerminal as _, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::Path,
    time::Duration,
};

/// Bytes sent at once.
const PIECE: usize = 8 << 20;
/// Tries in a row to reach a box that is gone; it may start again meanwhile.
const TRIES: u32 = 60;
/// Between two of them.
const WAIT: Duration = Duration::from_secs(2);

/// What is sent.
enum Source {
    File(File, u64),
    /// A folder as a tar, made while it is sent.
    Folder(Packed),
}

impl Source {
    fn open(path: &Path) -> anyhow::Result<(Self, String)> {
        let reading = || format!("reading {}", path.display());
        let facts = std::fs::metadata(path).with_context(reading)?;
        if facts.is_dir() {
            let packed = Packed::plan(path).with_context(reading)?;
            let stamp = format!("tar {}", packed.stamp());
            return Ok((Source::Folder(packed), stamp));
        }
        let stamp = format!("{}.{}", facts.mtime(), facts.mtime_nsec());
        Ok((Source::File(File::open(path).with_context(reading)?, facts.len()), stamp))
    }

    fn len(&self) -> u64 {
        match self {
            Source::File(_, length) => *length,
            Source::Folder(packed) => packed.len(),
        }
    }

    fn piece(&self, at: u64) -> std::io::Result<Vec<u8>> {
        let length = usize::try_from(self.len().saturating_sub(at)).unwrap_or(PIECE).min(PIECE);
        let mut bytes = vec![0; length];
        match self {
            Source::File(file, _) => file.read_exact_at(&mut bytes, at)?,
            Source::Folder(packed) => packed.read_exact_at(&mut bytes, at)?,
        }
        Ok(bytes)
    }
}

/// Sends a file or folder; the image it became.
///
/// # Errors
/// Whatever the box refuses, and what cannot be read here.
pub async fn import(
    client: &Client,
    path: &Path,
    name: &str,
    sha256: Option<&str>,
    as_it_is: bool,
    beside: &OriginArgs,
    shown: &Shown,
) -> anyhow::Result<Value> {
    // Read before anything is sent: a wrong path is told at once.
    let papers = papers(path, beside)?;
    let (source, stamp) = Source::open(path)?;
    let origin = path.display().to_string();
    let body = json!({
        "name": name,
        "size_bytes": source.len(),
        "origin": origin,
        "stamp": stamp,
        "sha256": sha256.unwrap_or_default(),
        "as_it_is": as_it_is,
    });
    let mut upload = client.call(Method::POST, "/uploads", Some(body)).await?;
    let number = |upload: &Value, key: &str| upload.get(key).and_then(Value::as_u64).unwrap_or_default();
    let id = upload.get("id").and_then(Value::as_str).context("the box named no upload")?.to_owned();
    let whole = source.len();
    let aside = |sentence: &str| {
        if !shown.json {
            let _ = writeln!(std::io::stderr(), "{sentence}");
        }
    };
    let free = format::bytes(number(&upload, "free_bytes"));
    aside(&format!("{origin} has {}; the box has {free} free for images.", format::bytes(whole)));
    if number(&upload, "offset") > 0 {
        aside(&format!("{} of it are there already.", format::bytes(number(&upload, "offset"))));
    }
    let bar = !shown.json && std::io::stderr().is_terminal();
    let mut failed = 0;
    while number(&upload, "offset") < whole {
        let at = number(&upload, "offset");
        let bytes = source.piece(at).with_context(|| format!("reading {origin}"))?;
        match client.send_bytes(&format!("/uploads/{}?offset={at}", encode(&id)), bytes.into()).await {
            Ok(next) => (upload, failed) = (next, 0),
            Err(CallError::Http(_) | CallError::Connect { .. } | CallError::Unreachable { .. }) if failed < TRIES => {
                failed += 1;
                tokio::time::sleep(WAIT).await;
                // The box knows best how much arrived.
                if let Ok(known) = client.call(Method::GET, &format!("/uploads/{}", encode(&id)), None).await {
                    upload = known;
                }
            }
            Err(error) => return Err(error.into()),
        }
        if bar {
            let percent = number(&upload, "offset") * 100 / whole.max(1);
            let _ = write!(std::io::stderr(), "\r{percent:>3} %");
        }
    }
    if bar {
        let _ = writeln!(std::io::stderr(), "\r100 %");
    }
    if whole == 0 {
        bail!("{origin} is empty");
    }
    Ok(client.call(Method::POST, &format!("/uploads/{}/finish", encode(&id)), Some(papers)).await?)
}

/// What vouches for a file, as the box takes it.
fn papers(path: &Path, beside: &OriginArgs) -> anyhow::Result<Value> {
    let list = beside
        .checksums
        .as_deref()
        .map(|list| std::fs::read_to_string(list).with_context(|| format!("reading {list}")));
    let signature = beside.signature.as_deref().map(|file| armored(Path::new(file), "SIGNATURE"));
    let key = match &beside.key {
        Some(file) if file.exists() => Some(armored(file, "PUBLIC KEY BLOCK")?),
        named => named.as_ref().map(|named| named.display().to_string()),
    };
    let file = path.file_name().and_then(|name| name.to_str());
    Ok(json!({ "checksums": list.transpose()?, "signature": signature.transpose()?, "key": key, "file": file }))
}
