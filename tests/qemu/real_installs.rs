//! `./x soak --media FOLDER --mirror URL`: the catalogue's own installers, each from the medium that a person has, on an emulated
//! machine up to its own disk.
//!
//! What lies in the folder is imported by the box, which says what it is. A file is a profile's medium if it is called like it
//! (`rocky-9.iso`, or a folder `debian-13-netboot`), or if the box recognises the system that the medium wants, in the version that its
//! name says. `RACKBERRY_SOAK_MEDIA` and `RACKBERRY_SOAK_MIRROR` hold what `x` was given, `RACKBERRY_SOAK_PROFILE` one profile's name.

#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by a name that it lacks is null, never a panic")]

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use system_tests::{
    Firmware, Netns, Vm, leftovers,
    rack::{ADDRESS, BRIDGE, Rack},
};

/// A whole install, emulated without help by the processor.
const LIMIT: Duration = Duration::from_secs(4 * 3600);
/// Of the machine's disk, which takes only what is written to it.
const DISK: u64 = 12 << 30;

fn given(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

/// What the box asked the mirror for, as its cache did not hold it.
#[derive(Default)]
struct Asked {
    requests: AtomicU64,
    bytes: AtomicU64,
}

/// The mirror as the rack's box reaches it: a port in the rack's network, behind which this machine asks by its own ways.
fn relay(ns: &Netns, mirror: &str, asked: &Arc<Asked>) -> Result<u16> {
    let listener = ns.enter(|| TcpListener::bind((ADDRESS, 0)).context("open the relay's port"))?;
    let port = listener.local_addr()?.port();
    let (mirror, asked) = (mirror.trim_end_matches('/').to_owned(), asked.clone());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (mirror, asked) = (mirror.clone(), asked.clone());
            std::thread::spawn(move || {
                asked.requests.fetch_add(1, Relaxed);
                // A request that fails here is an answer that breaks off there.
                if let Ok(bytes) = pass_on(stream, &mirror) {
                    asked.bytes.fetch_add(bytes, Relaxed);
                }
            });
        }
    });
    Ok(port)
}

/// Bytes of the answer without its head.
fn pass_on(stream: TcpStream, mirror: &str) -> Result<u64> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut first, mut line, mut conditions) = (String::new(), String::new(), Vec::new());
    reader.read_line(&mut first)?;
    while reader.read_line(&mut line)? > 0 && !line.trim().is_empty() {
        let lower = line.to_ascii_lowercase();
        if lower.starts_with("if-modified-since:") || lower.starts_with("if-none-match:") {
            conditions.push(line.trim().to_owned());
        }
        line.clear();
    }
    let mut words = first.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--http1.1", "--raw", "--suppress-connect-headers", "--max-time", "1800"]);
    curl.arg(if method == "HEAD" { "-I" } else { "-i" });
    for condition in &conditions {
        curl.args(["-H", condition]);
    }
    let mut curl = curl.arg(format!("{mirror}{path}")).stdout(Stdio::piped()).spawn().context("run curl")?;
    let mut answer = BufReader::new(curl.stdout.take().context("no output")?);
    let mut stream = stream;
    // The connection ends with the answer, which its head has to say.
    let mut status = String::new();
    answer.read_line(&mut status)?;
    stream.write_all(format!("{}\r\nConnection: close\r\n", status.trim_end()).as_bytes())?;
    loop {
        let mut line = String::new();
        ensure!(answer.read_line(&mut line)? > 0, "no whole head");
        if !line.to_ascii_lowercase().starts_with("connection:") {
            stream.write_all(line.as_bytes())?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let bytes = std::io::copy(&mut answer, &mut stream)?;
    curl.wait()?;
    Ok(bytes)
}

/// What a person has, by the name that it has in the folder.
struct Shelf {
    files: BTreeMap<String, (PathBuf, Value)>,
    _packed: tempfile::TempDir,
}

impl Shelf {
    /// Has the box look at everything in the folder.
    fn new(rack: &Rack, folder: Option<&Path>) -> Result<Self> {
        let packed = leftovers::disk_folder("media")?;
        let mut files = BTreeMap::new();
        for entry in folder.map(std::fs::read_dir).transpose()?.into_iter().flatten() {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut stem = name.trim_end_matches(".gz").trim_end_matches(".xz").trim_end_matches(".zst").to_owned();
            for end in [".iso", ".tar", ".img", ".tgz"] {
                stem = stem.trim_end_matches(end).to_owned();
            }
            let file = if path.is_dir() {
                let archive = packed.path().join(format!("{stem}.tar"));
                let tar = Command::new("tar").arg("-C").arg(&path).arg("-cf").arg(&archive).arg(".").status()?;
                ensure!(tar.success(), "tar of {}: {tar}", path.display());
                archive
            } else {
                path
            };
            match import(rack, &file, &format!("look {stem}")) {
                Ok(image) => {
                    println!(
                        "{name}: {} {} {}",
                        image["kind"].as_str().unwrap_or_default(),
                        image["system"].as_str().unwrap_or("of no system that the box knows"),
                        image["version"].as_str().unwrap_or_default()
                    );
                    files.insert(stem, (file, image));
                }
                Err(error) => println!("{name}: not taken: {error:#}"),
            }
        }
        Ok(Self { files, _packed: packed })
    }

    /// The file that is this medium.
    fn medium(&self, medium: &Value) -> Option<&Path> {
        let (name, system) = (medium["name"].as_str()?, medium["system"].as_str().unwrap_or_default());
        if let Some((path, _)) = self.files.get(name) {
            return Some(path);
        }
        // The version in its name: rocky-9, ubuntu-24.04, debian-13-netinst.
        let version = name.split('-').find(|part| part.starts_with(|c: char| c.is_ascii_digit()))?;
        let is = |image: &Value| {
            let found = image["version"].as_str().unwrap_or_default();
            let rest = found.strip_prefix(version);
            !system.is_empty()
                && image["system"].as_str() == Some(system)
                && rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
                && (image["kind"] == "iso") != name.contains("netboot")
        };
        self.files.values().find(|(_, image)| is(image)).map(|(path, _)| path.as_path())
    }
}

fn import(rack: &Rack, file: &Path, name: &str) -> Result<Value> {
    rack.cli(&["image", "import", file.to_str().context("a path that is no UTF-8")?, "--name", name])
}

/// Why a profile cannot be tried with what was given; else its media.
fn media<'a>(profile: &'a Value, shelf: &'a Shelf) -> Result<Vec<(&'a str, &'a Path)>, String> {
    let wanted = profile["media"].as_array().cloned().unwrap_or_default();
    let lacking: Vec<String> = wanted
        .iter()
        .filter(|medium| shelf.medium(medium).is_none())
        .filter_map(|medium| medium["name"].as_str().map(str::to_owned))
        .collect();
    if !lacking.is_empty() || wanted.is_empty() {
        return Err(format!("no medium ({})", lacking.join(", ")));
    }
    let found = profile["media"].as_array().into_iter().flatten();
    Ok(found.filter_map(|medium| Some((medium["name"].as_str()?, shelf.medium(medium)?))).collect())
}

/// What a person would have to fill in and nobody can guess.
fn unknown(profile: &Value) -> Option<String> {
    let parameters = profile["parameters"].as_array()?;
    let open = parameters.iter().find(|parameter| parameter["required"] == true && parameter["default"] == "")?;
    open["name"].as_str().map(str::to_owned)
}

/// From a blank disk to the report of the installed system, and whether a restart goes to its disk.
fn try_out(rack: &Rack, number: u8, profile: &Value, media: &[(&str, &Path)], mirror: bool) -> Result<()> {
    let name = profile["name"].as_str().context("a profile without a name")?;
    for (medium, path) in media {
        import(rack, path, medium)?;
    }
    let mac = format!("52:54:00:77:08:{number:02x}");
    let host = format!("real-{number}");
    rack.cli(&["host", "add", &mac, &host])?;
    let from = format!("mirror=http://{ADDRESS}/cache/mirror");
    let mut order = vec!["install", host.as_str(), name];
    if mirror {
        order.extend(["--set", &from]);
    }
    // What the installer asks, if it does, is then in the machine's last words.
    if profile["parameters"].as_array().is_some_and(|all| all.iter().any(|parameter| parameter["name"] == "console")) {
        order.extend(["--set", "console=ttyS0,115200n8"]);
    }
    rack.cli(&order)?;
    let memory = profile["min_memory_mb"].as_u64().unwrap_or_default().max(1024);
    let machine = Vm::builder(Firmware::Bios).mac(Some(&mac)).memory(u32::try_from(memory)?).disks(&[DISK]);
    let began = Instant::now();
    let mut vm = rack.power_on(machine.extra(&["-device", "VGA"]))?;
    let phase = |host: &Value| host["install"]["state"]["phase"].as_str().map(str::to_owned);
    let over = ["done", "failed", "timed_out", "cancelled", "interrupted"];
    let ended = rack.wait_host(&mac, "end of its install", LIMIT, |host| {
        phase(host).filter(|phase| over.contains(&phase.as_str())).map(|_| host.clone())
    });
    let ended = vm.with_last_words(ended)?;
    let events = rack.events(&host)?;
    let stages: Vec<&str> = events.iter().filter_map(|event| event["stage"].as_str()).collect();
    if phase(&ended).as_deref() != Some("done") {
        bail!(
            "{} after {} s; stages {stages:?}; {}",
            ended["sentence"],
            began.elapsed().as_secs(),
            last_lines(rack, &host)?
        );
    }
    println!("{name}: installed and up from its own disk after {} s; stages {stages:?}", began.elapsed().as_secs());
    let mark = vm.console().mark();
    vm.reset()?;
    vm.wait_after(mark, "starts from its own disk", LIMIT)?;
    println!("{name}: a restart was sent to its own disk");
    Ok(())
}

fn last_lines(rack: &Rack, host: &str) -> Result<String> {
    let shown = rack.cli(&["host", "show", host])?;
    let lines: Vec<&str> = shown["log"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    Ok(lines.get(lines.len().saturating_sub(25)..).unwrap_or_default().join("\n"))
}

#[test]
fn every_installer_that_a_person_has_the_medium_for_installs() -> Result<()> {
    let (folder, mirror) = (given("RACKBERRY_SOAK_MEDIA").map(PathBuf::from), given("RACKBERRY_SOAK_MIRROR"));
    let only = given("RACKBERRY_SOAK_PROFILE");
    let ns = Netns::new()?;
    ns.bridge(BRIDGE, Some(&format!("{ADDRESS}/24")))?;
    let asked = Arc::new(Asked::default());
    let cache = match &mirror {
        None => String::new(),
        Some(mirror) => {
            let port = relay(&ns, mirror, &asked)?;
            format!("[cache]\nmirrors = {{ mirror = \"http://{ADDRESS}:{port}\" }}\nsize_mb = 4096\n")
        }
    };
    let rack = Rack::on(ns, &cache)?;
    let shelf = Shelf::new(&rack, folder.as_deref())?;
    let profiles = rack.cli(&["profile", "list"])?;
    let installers = profiles.as_array().into_iter().flatten().filter(|profile| profile["way"] == "installer");
    let (mut failed, mut tried) = (Vec::new(), 0);
    for (number, profile) in (1..).zip(installers) {
        let name = profile["name"].as_str().unwrap_or_default();
        if only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        let media = match media(profile, &shelf) {
            Ok(media) => media,
            Err(why) => {
                println!("{name}: not run: {why}");
                continue;
            }
        };
        // A Debian archive serves Debian's own installers alone.
        let of_debian = name.starts_with("debian-");
        if of_debian && name.ends_with("-netboot") && mirror.is_none() {
            println!("{name}: not run: no mirror (--mirror URL)");
            continue;
        }
        if let Some(parameter) = unknown(profile) {
            println!("{name}: not run: its parameter {parameter} is a person's to set");
            continue;
        }
        tried += 1;
        let before = [&asked.requests, &asked.bytes].map(|count| count.load(Relaxed));
        if let Err(error) = try_out(&rack, number, profile, &media, of_debian && mirror.is_some()) {
            println!("{name}: FAILED: {error:#}");
            failed.push(name.to_owned());
        }
        if mirror.is_some() {
            let [requests, bytes] = [&asked.requests, &asked.bytes].map(|count| count.load(Relaxed));
            let (requests, megabytes) = (requests - before[0], (bytes - before[1]) / 1_000_000);
            println!("{name}: the box asked the mirror {requests} times, {megabytes} MB came");
        }
    }
    println!("real installs: {tried} tried, {} failed", failed.len());
    ensure!(failed.is_empty(), "{failed:?}");
    Ok(())
}
