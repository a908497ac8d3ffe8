//! What is handed out with a card, made from the one that the other tests start, and held against it.

#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by a name that it lacks is null, never a panic")]

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};
use system_tests::{leftovers, output};

const BLOCK: u64 = 4096;

fn variable(name: &str) -> Result<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).with_context(|| format!("{name} is not set: run this through ./x"))
}

/// A release of the composed card in a folder of its own.
struct Release {
    folder: tempfile::TempDir,
    image: PathBuf,
}

impl Release {
    fn make(image: &Path, packed: Option<&Path>) -> Result<Self> {
        let folder = leftovers::disk_folder("release")?;
        let release = Self { folder, image: image.to_owned() };
        let own = release.file("rackberry.img.xz");
        match packed {
            Some(packed) => drop(fs::copy(packed, &own)?),
            // How small does not matter here.
            None => {
                let packed =
                    Command::new("xz").args(["-0", "-T2", "-c"]).arg(image).stdout(File::create(&own)?).status()?;
                ensure!(packed.success(), "xz: {packed}");
            }
        }
        let program = env!("CARGO_BIN_EXE_rackberry-release");
        let card = image.parent().context("the card's folder")?;
        let mut command = Command::new(program);
        command.args([
            OsStr::new("--card"),
            card.as_os_str(),
            OsStr::new("--packed"),
            own.as_os_str(),
            OsStr::new("--share"),
        ]);
        output(command.arg(variable("RACKBERRY_SHARE")?).args([
            "--date",
            "2026-01-02",
            "--url",
            "https://rackberry.example/",
        ]))?;
        Ok(release)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn json(&self, name: &str) -> Result<Value> {
        Ok(serde_json::from_str(&fs::read_to_string(self.file(name))?)?)
    }
}

fn sum(content: &[u8]) -> Result<String> {
    let mut child = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    child.stdin.take().context("a pipe")?.write_all(content)?;
    Ok(String::from_utf8(child.wait_with_output()?.stdout)?.split(' ').next().unwrap_or_default().to_owned())
}

fn file_sum(path: &Path) -> Result<String> {
    Ok(output(Command::new("sha256sum").arg(path))?.split(' ').next().unwrap_or_default().to_owned())
}

/// The value of an element that is there once.
fn element<'t>(text: &'t str, name: &str) -> Result<&'t str> {
    let inside = text.split_once(&format!("<{name}>")).and_then(|(_, rest)| rest.split_once(&format!("</{name}>")));
    Ok(inside.with_context(|| format!("the map has no {name}"))?.0.trim())
}

/// The map's ranges: sum, first and last block.
fn ranges(text: &str) -> Result<Vec<(String, u64, u64)>> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("<Range chksum=\""));
    let parsed = lines.map(|line| {
        let (sum, rest) = line.split_once("\"> ")?;
        let blocks = rest.strip_suffix(" </Range>")?;
        let (first, last) = blocks.split_once('-').unwrap_or((blocks, blocks));
        Some((sum.to_owned(), first.parse().ok()?, last.parse().ok()?))
    });
    parsed.collect::<Option<_>>().context("a range of the map")
}

/// Writes what the map names onto a card, and nothing else.
fn flash(ranges: &[(String, u64, u64)], image: &File, target: &File) -> Result<()> {
    for (wanted, first, last) in ranges {
        let mut content = vec![0; usize::try_from((last + 1 - first) * BLOCK)?];
        image.read_exact_at(&mut content, first * BLOCK)?;
        ensure!(sum(&content)? == *wanted, "the sum of blocks {first} to {last}");
        target.write_all_at(&content, first * BLOCK)?;
    }
    Ok(())
}

#[test]
fn a_release_is_complete_and_says_the_truth_about_its_card() -> Result<()> {
    let began = Instant::now();
    let image = variable("RACKBERRY_CARD")?;
    let release = Release::make(&image, None)?;
    imager(&release)?;
    parts(&release, &image)?;
    map(&release)?;
    // The same again, from the same card.
    let again = Release::make(&image, Some(&release.file("rackberry.img.xz")))?;
    for entry in fs::read_dir(release.folder.path())? {
        let name = entry?.file_name();
        let (one, other) = (fs::read(release.folder.path().join(&name))?, fs::read(again.folder.path().join(&name))?);
        ensure!(one == other, "{} differs from one run to the next", name.display());
    }
    println!("release: made twice with equal bytes and checked in {} s", began.elapsed().as_secs());
    Ok(())
}

/// The fields that Imager's notes on its schema require, with what they say computed anew.
fn imager(release: &Release) -> Result<()> {
    let manifest = release.json("rackberry.rpi-imager-manifest")?;
    let entry = &manifest["os_list"][0];
    for text in ["name", "description", "icon", "url", "extract_sha256", "release_date"] {
        ensure!(entry[text].as_str().is_some_and(|text| !text.is_empty()), "the manifest has no {text}: {entry}");
    }
    let packed = release.file("rackberry.img.xz");
    let wanted = [
        ("extract_size", Value::from(fs::metadata(&release.image)?.len())),
        ("image_download_size", Value::from(fs::metadata(&packed)?.len())),
        ("extract_sha256", Value::from(file_sum(&release.image)?)),
        ("image_download_sha256", Value::from(file_sum(&packed)?)),
        ("url", Value::from("https://rackberry.example/rackberry.img.xz")),
        ("icon", Value::from("https://rackberry.example/logo.svg")),
        ("devices", serde_json::json!(["pi3-64bit", "pi4-64bit", "pi5-64bit"])),
        ("init_format", Value::from("rpi-preseed")),
        ("release_date", Value::from("2026-01-02")),
    ];
    for (key, value) in wanted {
        ensure!(entry[key] == value, "{key} is {} instead of {value}", entry[key]);
    }
    ensure!(release.file("logo.svg").is_file());
    println!("release: Imager's manifest has 0 missing fields, sizes and sums computed anew are equal");
    Ok(())
}

/// CycloneDX's required fields, every crate of Cargo.lock and every package of the card's manifest.
fn parts(release: &Release, image: &Path) -> Result<()> {
    let list = release.json("rackberry.cdx.json")?;
    ensure!(list["bomFormat"] == "CycloneDX" && list["specVersion"] == "1.6" && list["version"] == 1, "{list}");
    let serial = list["serialNumber"].as_str().context("no serial number")?;
    ensure!(serial.starts_with("urn:uuid:") && serial.len() == 45, "{serial}");
    let components = list["components"].as_array().context("no components")?;
    let mut references = BTreeSet::new();
    for component in components {
        for key in ["type", "name", "version", "purl"] {
            ensure!(component[key].as_str().is_some_and(|text| !text.is_empty()), "{component} has no {key}");
        }
        ensure!(references.insert(component["bom-ref"].as_str().context("no bom-ref")?), "twice: {component}");
    }
    let has = |kind: &str, name: &str, version: &str| {
        let found = |part: &&Value| part["name"] == name && part["version"] == version;
        components.iter().filter(found).any(|part| part["purl"].as_str().is_some_and(|purl| purl.starts_with(kind)))
    };
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock"))?;
    let quoted = |line: Option<&str>, key: &str| {
        line.and_then(|line| line.strip_prefix(key)).map(|rest| rest.trim_matches('"').to_owned()).unwrap_or_default()
    };
    let (mut crates, mut lines) = (0, lock.lines());
    while let Some(line) = lines.next() {
        if line == "[[package]]" {
            let (name, version) = (quoted(lines.next(), "name = "), quoted(lines.next(), "version = "));
            ensure!(has("pkg:cargo/", &name, &version), "the crate {name} {version} is not listed");
            crates += 1;
        }
    }
    ensure!(crates > 100, "Cargo.lock was not read: {crates}");
    let manifest: Value = serde_json::from_str(&fs::read_to_string(image.with_file_name("manifest.json"))?)?;
    let packages = manifest["packages"].as_array().context("no packages")?;
    for package in packages {
        let text = |key: &str| package[key].as_str().unwrap_or_default();
        ensure!(has("pkg:deb/debian/", text("name"), text("version")), "{package} is not listed");
    }
    let shim = components.iter().any(|part| part["name"] == "ipxe");
    ensure!(shim, "the loaders are not listed");
    println!(
        "release: {} parts listed, all {crates} crates and {} packages of the card among them",
        components.len(),
        packages.len()
    );
    Ok(())
}

/// The map names every block that has something in it; written by it a blank card is the image, and a used card is sound.
fn map(release: &Release) -> Result<()> {
    let text = fs::read_to_string(release.file("rackberry.img.bmap"))?;
    let own = element(&text, "BmapFileChecksum")?;
    ensure!(sum(text.replacen(own, &"0".repeat(64), 1).as_bytes())? == own, "the map's own sum");
    let (ranges, image) = (ranges(&text)?, File::open(&release.image)?);
    let size = image.metadata()?.len();
    let mapped: u64 = ranges.iter().map(|(_, first, last)| last + 1 - first).sum();
    for (name, value) in
        [("ImageSize", size), ("BlockSize", BLOCK), ("BlocksCount", size / BLOCK), ("MappedBlocksCount", mapped)]
    {
        ensure!(element(&text, name)? == value.to_string(), "{name} is {} instead of {value}", element(&text, name)?);
    }
    let scratch = leftovers::disk_folder("cards")?;
    let target = scratch.path().join("target");
    let blank = File::options().create_new(true).write(true).read(true).open(&target)?;
    blank.set_len(size)?;
    flash(&ranges, &image, &blank)?;
    output(Command::new("cmp").arg(&release.image).arg(&target)).context("a blank card written by the map")?;

    // A card full of somebody's old data: what the map leaves out must not matter.
    let mut old = vec![0xa5; 1 << 20];
    for at in (0..size).step_by(old.len()) {
        let rest = usize::try_from(size - at)?.min(old.len());
        blank.write_all_at(&old[..rest], at)?;
    }
    flash(&ranges, &image, &blank)?;
    let layout = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../buildroot/board/layout"))?;
    let place = |name: &str| {
        let line = layout.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.and_then(|sector| sector.parse::<u64>().ok())
            .with_context(|| format!("no {name}"))
            .map(|sector| sector * 512)
    };
    for name in ["BLOCK_1", "BLOCK_2"] {
        blank.read_exact_at(&mut old[..512], place(name)?)?;
        ensure!(old[..512].iter().all(|byte| *byte == 0), "{name} of a used card is not empty");
    }
    let part = scratch.path().join("part");
    for (name, length, check) in [
        ("BOOT_START", "BOOT_SIZE", ["fsck.vfat", "-n"]),
        ("STATE_START", "STATE_SIZE", ["e2fsck", "-fn"]),
        ("STORE_START", "STORE_SIZE", ["e2fsck", "-fn"]),
    ] {
        let mut content = vec![0; usize::try_from(place(length)?)?];
        blank.read_exact_at(&mut content, place(name)?)?;
        fs::write(&part, content)?;
        output(Command::new(check[0]).arg(check[1]).arg(&part)).with_context(|| format!("{name} on a used card"))?;
    }
    let mut slot = blank.try_clone()?;
    std::io::Seek::seek(&mut slot, std::io::SeekFrom::Start(place("A_START")?))?;
    let mut head = [0; 96];
    slot.read_exact(&mut head)?;
    let used = u64::from_le_bytes(head[40..48].try_into()?);
    let mut system = vec![0; usize::try_from(used)?];
    blank.read_exact_at(&mut system, place("A_START")?)?;
    let mut wanted = vec![0; system.len()];
    image.read_exact_at(&mut wanted, place("A_START")?)?;
    ensure!(system == wanted, "slot A on a used card");
    println!(
        "release: {mapped} of {} blocks in {} ranges; a blank card is the image, a used one sound",
        size / BLOCK,
        ranges.len()
    );
    Ok(())
}
