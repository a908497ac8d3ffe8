//! What is in a release, as CycloneDX 1.6: the crates of Cargo.lock, and the Debian packages of card, RAM OS and loaders.

use crate::{VERSION, digest, project};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

/// The list, in JSON. `date` is a day; the hour is midnight, so that two runs are equal.
pub fn list(card: &Path, share: &Path, date: &str) -> Result<String> {
    // By reference, so that what two parts share is there once.
    let mut components = BTreeMap::new();
    crates(&mut components)?;
    let manifests = [card.join("manifest.json"), share.join("loaders/manifest.json")];
    let ramos = fs::read_dir(share.join("ramos")).with_context(|| format!("read {}/ramos", share.display()))?;
    let ramos = ramos.map(|entry| Ok(entry?.path().join("manifest.json"))).collect::<Result<Vec<_>>>()?;
    for path in manifests.iter().chain(&ramos) {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let manifest: Value = serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))?;
        packages(&manifest, &mut components).with_context(|| format!("the packages of {}", path.display()))?;
    }
    let components: Vec<Value> = components.into_values().collect();
    let sum = digest(serde_json::to_vec(&components)?.as_slice())?;
    let part = |from: usize, to: usize| sum.get(from..to).unwrap_or_default();
    let list = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        // A name made of the content (UUID version 8).
        "serialNumber": format!("urn:uuid:{}-{}-8{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32)),
        "version": 1,
        "metadata": {
            "timestamp": format!("{date}T00:00:00Z"),
            "component": { "type": "firmware", "bom-ref": "rackberry", "name": "rackberry", "version": VERSION },
        },
        "components": components,
    });
    Ok(format!("{list:#}\n"))
}

/// The blocks of Cargo.lock: our own crates have no source and no checksum.
fn crates(components: &mut BTreeMap<String, Value>) -> Result<()> {
    let text = fs::read_to_string(project().join("Cargo.lock")).context("read Cargo.lock")?;
    for block in text.split("[[package]]").skip(1) {
        let field = |key: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(&format!("{key} = ")));
            line.map(|value| value.trim_matches('"').to_owned())
        };
        let name = field("name").context("a crate without a name in Cargo.lock")?;
        let version = field("version").with_context(|| format!("{name} has no version in Cargo.lock"))?;
        let purl = format!("pkg:cargo/{name}@{}", escape(&version));
        components.insert(purl.clone(), component("library", &name, &version, &purl, field("checksum").as_deref()));
    }
    Ok(())
}

/// The packages of a manifest: listed by themselves, or each beside the files that were taken out of it.
fn packages(manifest: &Value, components: &mut BTreeMap<String, Value>) -> Result<()> {
    let list = |key: &str| manifest.get(key).and_then(Value::as_array).into_iter().flatten();
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    for package in list("packages") {
        let name = text(package, "name").context("a package without a name")?;
        let version = text(package, "version").with_context(|| format!("{name} has no version"))?;
        let arch = text(package, "architecture").or_else(|| text(manifest, "arch"));
        let mut purl = format!("pkg:deb/debian/{}@{}", escape(&name), escape(&version));
        if let Some(arch) = arch {
            let _ = write!(purl, "?arch={arch}");
        }
        let sum = text(package, "sha256");
        components.insert(purl.clone(), component("library", &name, &version, &purl, sum.as_deref()));
    }
    for file in list("files") {
        if let (Some(name), Some(version)) = (text(file, "package"), text(file, "version")) {
            let purl = format!("pkg:deb/debian/{}@{}", escape(&name), escape(&version));
            components.insert(purl.clone(), component("library", &name, &version, &purl, None));
        }
    }
    Ok(())
}

fn component(kind: &str, name: &str, version: &str, purl: &str, sum: Option<&str>) -> Value {
    let mut made = json!({ "type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl });
    if let (Some(sum), Some(fields)) = (sum, made.as_object_mut()) {
        fields.insert("hashes".to_owned(), json!([{ "alg": "SHA-256", "content": sum }]));
    }
    made
}

/// What a package URL does not take as it is.
fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
