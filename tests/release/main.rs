//! `./x release`: what is handed out beside the packed card, made from that card alone.
//!
//!     rackberry-release --card FOLDER --packed FILE.img.xz --share FOLDER --date YYYY-MM-DD [--url BASE]
//!
//! FOLDER has the composed `rackberry.img` and `manifest.json`; beside the packed file are written `FILE.img.bmap` (which blocks
//! have to be written), `rackberry.rpi-imager-manifest` (for Raspberry Pi Imager), `rackberry.cdx.json` (what is in it) and
//! `logo.svg`. BASE is where people get the files from; without one it is their folder. The same inputs give the same bytes.

mod bmap;
mod imager;
mod sbom;

use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The version that all crates share.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The project's folder.
fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut given = BTreeMap::new();
    while let Some(name) = arguments.next() {
        ensure!(["--card", "--packed", "--share", "--date", "--url"].contains(&name.as_str()), "what is {name}?");
        given.insert(name.clone(), arguments.next().with_context(|| format!("{name} wants a value"))?);
    }
    let path = |name: &str| given.get(name).map(PathBuf::from).with_context(|| format!("{name} is missing"));
    let (card, packed, share) = (path("--card")?, path("--packed")?, path("--share")?);
    let date = given.get("--date").context("--date is missing")?;
    let packed = fs::canonicalize(&packed).with_context(|| format!("find {}", packed.display()))?;
    let name = packed.file_name().and_then(|name| name.to_str()).context("the packed card's name")?;
    let Some(image_name) = name.strip_suffix(".xz") else { bail!("{name} does not end in .xz") };
    let out = packed.parent().context("the packed card's folder")?;
    let base = given.get("--url").cloned().unwrap_or_else(|| format!("file://{}", out.display()));

    let image = card.join("rackberry.img");
    write(&out.join(format!("{image_name}.bmap")), &bmap::map(&image)?)?;
    fs::copy(project().join("web-ui/assets/logo.svg"), out.join("logo.svg")).context("copy the logo")?;
    let entry = imager::manifest(&image, &packed, base.trim_end_matches('/'), date)?;
    write(&out.join("rackberry.rpi-imager-manifest"), &entry)?;
    write(&out.join("rackberry.cdx.json"), &sbom::list(&card, &share, date)?)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// SHA-256 as hexadecimal digits. The system's program is many times faster than an unoptimised one of ours.
fn digest(mut content: impl Read) -> Result<String> {
    let mut child =
        Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("run sha256sum")?;
    let mut pipe = child.stdin.take().context("sha256sum's input")?;
    std::io::copy(&mut content, &mut pipe).context("feed sha256sum")?;
    pipe.flush()?;
    drop(pipe);
    let said = String::from_utf8(child.wait_with_output()?.stdout)?;
    let digits = said.split(' ').next().unwrap_or_default();
    ensure!(digits.len() == 64, "sha256sum said {said}");
    Ok(digits.to_owned())
}

fn file_digest(path: &Path) -> Result<String> {
    digest(BufReader::new(fs::File::open(path).with_context(|| format!("open {}", path.display()))?))
}
