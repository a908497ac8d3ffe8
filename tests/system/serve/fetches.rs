//! Files fetched from elsewhere by a box that is killed meanwhile.

use crate::{soon, text};
use anyhow::{Context, Result, ensure};
use rackberry_core::image::Digest;
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use system_tests::{
    Appliance, Dice, LocalApi, Netns, Site,
    netns::output,
    site::{self, ROOM, cli, cli_json},
};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 30 * MIB;
/// The box makes sure of what came each 8 MiB.
const STEP: u64 = 9 * MIB;

/// A server that gives so much of its file as it may, and of the rest hardly anything.
struct Holding {
    address: SocketAddr,
    /// Bytes of the file that go out.
    open_to: Arc<AtomicU64>,
    /// Nobody is answered.
    away: Arc<AtomicBool>,
    /// Where each request began, or none if it asked for all.
    asked: Arc<Mutex<Vec<Option<u64>>>>,
}

impl Holding {
    fn start(place: &Netns, file: Arc<Vec<u8>>) -> Result<Self> {
        let listener = place.enter(|| Ok(TcpListener::bind((ROOM, 0))?))?;
        let holding = Holding {
            address: listener.local_addr()?,
            open_to: Arc::default(),
            away: Arc::default(),
            asked: Arc::default(),
        };
        let (open_to, away, asked) = (holding.open_to.clone(), holding.away.clone(), holding.asked.clone());
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if away.load(Ordering::Relaxed) {
                    continue;
                }
                let (file, open_to, asked) = (file.clone(), open_to.clone(), asked.clone());
                // Who was killed does not read on.
                std::thread::spawn(move || give(stream, &file, &open_to, &asked));
            }
        });
        Ok(holding)
    }

    fn url(&self) -> String {
        format!("http://{}/disk.img", self.address)
    }

    fn asked(&self) -> Vec<Option<u64>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

const TAG: &str = "\"of this file\"";

fn give(stream: TcpStream, file: &[u8], open_to: &AtomicU64, asked: &Mutex<Vec<Option<u64>>>) -> Result<()> {
    let (mut range, mut same) = (None, false);
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?.to_ascii_lowercase();
        if let Some(from) = line.strip_prefix("range: bytes=") {
            range = from.trim_end_matches('-').parse::<u64>().ok();
        }
        same |= line.strip_prefix("if-range: ").is_some_and(|tag| tag == TAG);
        if line.is_empty() {
            break;
        }
    }
    let range = range.filter(|_| same);
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(range);
    let (mut at, size) = (range.unwrap_or(0), file.len() as u64);
    let status = match range {
        Some(from) => format!("206 Partial Content\r\ncontent-range: bytes {from}-{}/{size}", size - 1),
        None => "200 OK".to_owned(),
    };
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status}\r\netag: {TAG}\r\ncontent-length: {}\r\n\r\n", size - at)?;
    while at < size {
        let free = open_to.load(Ordering::Relaxed).min(size).saturating_sub(at).min(MIB / 4);
        // What is held back trickles: who was killed shows by it, and who waits does not give up.
        let to = at + free.max(1);
        stream.write_all(file.get(usize::try_from(at)?..usize::try_from(to)?).unwrap_or_default())?;
        at = to;
        if free == 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// A disk whose every block is another.
fn disk() -> Vec<u8> {
    let blocks = (0..SIZE / 8).flat_map(|at| at.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    let mut bytes: Vec<u8> = blocks.collect();
    for (place, mark) in bytes.iter_mut().skip(510).zip([0x55, 0xaa]) {
        *place = mark;
    }
    bytes
}

/// The fetch of this number; none once it is over and the box started again.
fn shown(api: &LocalApi, id: u64) -> Result<Option<Value>> {
    let all = api.get("/fetches")?;
    let all = all.as_array().context("no list of fetches")?;
    Ok(all.iter().find(|fetch| number(fetch, "id") == id).cloned())
}

fn number(fetch: &Value, key: &str) -> u64 {
    fetch.get(key).and_then(Value::as_u64).unwrap_or_default()
}

/// Waits until the fetch is as wanted.
fn until(api: &LocalApi, id: u64, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let end = soon();
    loop {
        let fetch = shown(api, id)?.context("the box forgot the fetch")?;
        if wanted(&fetch) {
            return Ok(fetch);
        }
        ensure!(Instant::now() < end, "still {fetch}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn left(appliance: &Appliance) -> Result<Vec<String>> {
    let folder = appliance.state_dir().join("images/fetching");
    let names = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

#[test]
fn a_fetch_outlives_every_kill_and_asks_only_for_what_is_missing() -> Result<()> {
    let began = Instant::now();
    let seed = Dice::seed();
    let mut dice = Dice::new(seed);
    println!("fetch: seed {seed}");
    let site = Site::new()?;
    let file = Arc::new(disk());
    let server = Holding::start(&site.room, file.clone())?;
    std::fs::write(site.scratch().join("disk.img"), file.as_slice())?;
    let sum = output(Command::new("sha256sum").arg(site.scratch().join("disk.img")))?;
    let digest: Digest = sum.split(' ').next().unwrap_or_default().parse()?;
    let mut appliance = site.serve("")?;
    let api = site::api(&appliance);
    let order = serde_json::json!({ "name": "afar", "urls": [server.url()], "allow_private": true });
    let id = number(&api.call("POST", "/fetches", Some(&order))?, "id");

    // Killed where more than the last settled bytes came; the rest, and no more, is asked for each time.
    let mut kills = 0;
    for step in 1..=3 {
        server.open_to.store(step * STEP, Ordering::Relaxed);
        until(&api, id, |fetch| number(fetch, "done_bytes") >= step * STEP - MIB)?;
        appliance.restart()?;
        kills += 1;
        let fetch = shown(&api, id)?.context("the fetch is gone")?;
        ensure!(number(&fetch, "done_bytes") >= (step - 1) * STEP, "progress is not shown: {fetch}");
        ensure!((text(&fetch, "name"), number(&fetch, "size_bytes")) == ("afar", SIZE), "{fetch}");
        let table = cli(&appliance, &["image", "fetches"])?;
        ensure!(String::from_utf8_lossy(&table.stdout).contains("afar"), "{table:?}");
        let end = soon();
        while server.asked().len() <= usize::try_from(step)? {
            ensure!(Instant::now() < end, "the server is not asked again");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let asked = server.asked();
    ensure!(asked.first() == Some(&None), "{asked:?}");
    for (step, from) in (1..).zip(asked.iter().skip(1)) {
        let from = from.with_context(|| format!("all of it again: {asked:?}"))?;
        ensure!(from > (step - 1) * STEP && from < step * STEP + MIB, "{asked:?}");
    }

    // While nobody answers it waits, also across a restart.
    server.away.store(true, Ordering::Relaxed);
    appliance.restart()?;
    kills += 1;
    let waits = until(&api, id, |fetch| fetch.get("message").is_some_and(Value::is_string))?;
    ensure!(text(&waits, "state") == "fetching", "{waits}");
    server.away.store(false, Ordering::Relaxed);

    // Killed at any moment, also while the file is checked and named.
    server.open_to.store(SIZE, Ordering::Relaxed);
    let mut image = Value::Null;
    while image.is_null() {
        std::thread::sleep(Duration::from_millis(u64::from(dice.below(2500))));
        // The last of many is let live.
        if kills >= 9 {
            until(&api, id, |fetch| text(fetch, "state") == "done")?;
        } else {
            appliance.restart()?;
            kills += 1;
        }
        let images = cli_json(&appliance, &["image", "list"])?;
        image = images.get(0).cloned().unwrap_or_default();
    }
    appliance.restart()?;
    let asked = server.asked();
    ensure!(asked.iter().skip(1).all(Option::is_some), "all of it again: {asked:?}");
    ensure!(text(&image, "digest") == digest.to_string(), "{image}");
    ensure!(std::fs::read(appliance.state_dir().join("images").join(digest.to_string()))? == *file);
    ensure!(shown(&api, id)?.is_none() && left(&appliance)?.is_empty(), "left behind: {:?}", left(&appliance)?);
    println!("fetch: {kills} kills, asked from {asked:?}; {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

#[test]
fn a_fetch_that_is_called_off_stays_so_and_a_broken_note_is_told_of() -> Result<()> {
    let site = Site::new()?;
    let server = Holding::start(&site.room, Arc::new(vec![7; 3 << 20]))?;
    let mut appliance = site.serve("")?;
    let api = site::api(&appliance);
    let begin = |name: &str| {
        let order = serde_json::json!({ "name": name, "urls": [server.url()], "allow_private": true });
        api.call("POST", "/fetches", Some(&order)).map(|fetch| number(&fetch, "id"))
    };
    let (first, second) = (begin("first")?, begin("second")?);
    appliance.restart()?;
    until(&api, first, |fetch| text(fetch, "state") == "fetching")?;
    cli_json(&appliance, &["image", "cancel", &first.to_string()])?;
    appliance.kill()?;
    let note = appliance.state_dir().join(format!("images/fetching/{second}.json"));
    let whole = std::fs::read(&note)?;
    std::fs::write(&note, whole.get(..whole.len() / 2).unwrap_or_default())?;
    appliance.restart()?;
    ensure!(api.get("/fetches")? == serde_json::json!([]), "{}", api.get("/fetches")?);
    ensure!(left(&appliance)?.is_empty(), "{:?}", left(&appliance)?);
    let alarms = api.get("/alarms")?.to_string();
    ensure!(alarms.contains(&format!("images/fetching/{second}.json")), "{alarms}");
    // Asked for again, it is fetched.
    server.open_to.store(SIZE, Ordering::Relaxed);
    let again = begin("second")?;
    until(&api, again, |fetch| text(fetch, "state") == "done")?;
    Ok(())
}
