//! The entry for Raspberry Pi Imager's list of systems, by its `doc/schema-notes.md` and `doc/os_customisation_formats.md`.

use crate::{VERSION, file_digest};
use anyhow::{Context, Result};
use serde_json::json;
use std::path::Path;

/// Imager's words for the 64-bit boards that the card is for; the first is 3B, 3B+ and Zero 2 W.
const DEVICES: [&str; 3] = ["pi3-64bit", "pi4-64bit", "pi5-64bit"];

/// The manifest of one system, in JSON.
pub fn manifest(image: &Path, packed: &Path, base: &str, date: &str) -> Result<String> {
    let length = |path: &Path| {
        std::fs::metadata(path).map(|found| found.len()).with_context(|| format!("read {}", path.display()))
    };
    let name = packed.file_name().and_then(|name| name.to_str()).context("the packed card's name")?;
    let list = json!({ "os_list": [{
        "name": format!("Rackberry {VERSION}"),
        "description": "A box that provisions a rack: machines start from the network and get their systems by a click",
        "icon": format!("{base}/logo.svg"),
        "url": format!("{base}/{name}"),
        "extract_size": length(image)?,
        "extract_sha256": file_digest(image)?,
        "image_download_size": length(packed)?,
        "image_download_sha256": file_digest(packed)?,
        "release_date": date,
        // What Imager asks of a person arrives as rpi-preseed.toml (docs/card-settings.md).
        "init_format": "rpi-preseed",
        "architecture": "armv8",
        "devices": DEVICES,
    }]});
    Ok(format!("{list:#}\n"))
}
