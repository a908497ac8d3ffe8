//! HTTP: the boot listener beside nginx with sendfile, a file and an image of 64 MiB and a file of 4 KiB from the page cache, over
//! kept connections.
//!
//! The load throws the bytes of the large file away inside the kernel (`MSG_TRUNC`), so that it costs less than any server; each
//! server has to send the file right once before it is measured.

use crate::process::{Process, become_load};
use crate::row::{Goal, Measured, Row, Units};
use anyhow::{Context, Result, bail, ensure};
use rustix::net::{RecvFlags, recv};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use system_tests::site::{BOOT, BOX, disk_image};
use system_tests::{Site, appliance, leftovers};

/// The units of the rows of the large file.
pub const LARGE_UNITS: Units = Units { rate: "MB/s", cost: "CPU-s/GB" };
/// The units of the row of the small file.
pub const SMALL_UNITS: Units = Units { rate: "requests/s", cost: "CPU-us/request" };

const LARGE: usize = 64 << 20;
const SMALL: usize = 4 << 10;
/// Connections are open and windows wide before anything is counted.
const WARM: Duration = Duration::from_millis(400);
const TIME: Duration = Duration::from_secs(2);

/// A server and how to start it.
struct Subject {
    name: &'static str,
    program: String,
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
}

/// A file that all servers have.
struct Served {
    path: String,
    bytes: Vec<u8>,
}

/// What the clients got so far.
#[derive(Default)]
struct Counts {
    bytes: AtomicU64,
    requests: AtomicU64,
    stop: AtomicBool,
}

/// All rows, each told to `tell` as soon as it is there.
///
/// # Errors
/// When ours cannot be measured.
pub fn rows(peers: &Path, runs: usize, wanted: impl Fn(&str) -> bool, mut tell: impl FnMut(Units, Row)) -> Result<()> {
    let goal = Some(Goal { rate: 0.65, cost: Some(0.65) });
    let small_goal = Some(Goal { rate: 3.0, cost: None });
    let all = [
        ("HTTP 64 MiB, 1 client", 1, Kind::Large, goal),
        ("HTTP 64 MiB, 16 clients", 16, Kind::Large, goal),
        ("HTTP 64 MiB, 64 clients", 64, Kind::Large, goal),
        ("HTTP image of 64 MiB, 16 clients", 16, Kind::Image, goal),
        ("HTTP 4 KiB, 32 clients", 32, Kind::Small, small_goal),
    ];
    if !all.iter().any(|(what, ..)| wanted(what)) {
        return Ok(());
    }
    let site = Site::new()?;
    let folder = leftovers::disk_folder("bench-http")?;
    let files = folder.path().join("state/files");
    std::fs::create_dir_all(files.join("images"))?;
    let own = ours(&site, folder.path())?;
    let image = import(&site, &own, folder.path())?;
    let mut subjects = vec![own];
    subjects.extend(nginx(peers, folder.path(), &files)?);
    for (what, clients, kind, goal) in all.into_iter().filter(|(what, ..)| wanted(what)) {
        let (path, bytes) = match kind {
            Kind::Large => ("large.bin".to_owned(), content(LARGE)),
            Kind::Small => ("small.bin".to_owned(), content(SMALL)),
            Kind::Image => (image.clone(), disk_image(LARGE)),
        };
        // Ours serves an image under a name of its own kind, whatever lies in this folder; the others serve this copy of it.
        std::fs::write(files.join(&path), &bytes)?;
        let served = Served { path, bytes };
        let units = if kind == Kind::Small { SMALL_UNITS } else { LARGE_UNITS };
        let measure = |subject: &Subject| run(&site, subject, clients, &served, units);
        tell(units, Row::compared(what.to_owned(), goal, runs, &subjects, |subject| subject.name, measure)?);
    }
    Ok(())
}

/// What is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Large,
    Image,
    Small,
}

/// Each 8 bytes tell their place.
fn content(len: usize) -> Vec<u8> {
    (0..len as u64 / 8).flat_map(|at| at.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()).collect()
}

/// Gives ours an image; the path that it has from then on.
fn import(site: &Site, own: &Subject, folder: &Path) -> Result<String> {
    let _process = Process::start(&site.seat, &own.program, &own.arguments, &own.environment)?;
    let file = folder.join("disk.raw");
    std::fs::write(&file, disk_image(LARGE))?;
    // The command finds the box by its state folder once it listens.
    site.room.enter(|| connect().map(drop))?;
    let mut command = std::process::Command::new(&own.program);
    command.arg("--state-dir").arg(folder.join("state")).args(["--json", "image", "import"]).arg(&file);
    let output = command.args(["--name", "bench"]).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "the image: {said}{}", String::from_utf8_lossy(&output.stderr));
    let answer: serde_json::Value = serde_json::from_str(&said).with_context(|| format!("read {said}"))?;
    let digest =
        answer.get("digest").and_then(|digest| digest.as_str()).with_context(|| format!("no digest in {said}"))?;
    Ok(format!("images/{digest}"))
}

fn ours(site: &Site, folder: &Path) -> Result<Subject> {
    let config = folder.join("rackberry.toml");
    std::fs::write(&config, site.settings("mode = \"observe\"", "[page]\nlisten = \"127.0.0.1:8000\"\n"))?;
    let binary = appliance::binary()?.to_str().context("a path that is no text")?.to_owned();
    let arguments =
        ["serve".into(), "--config".into(), config.into(), "--state-dir".into(), folder.join("state").into()];
    let environment = vec![("RACKBERRY_LOG", "info".into())];
    Ok(Subject { name: "ours", program: binary, arguments: arguments.to_vec(), environment })
}

/// As its manual tunes it for large files; one process, since it has one processor.
fn nginx(peers: &Path, folder: &Path, files: &Path) -> Result<Option<Subject>> {
    let program: PathBuf = peers.join("root/usr/sbin/nginx");
    if !program.is_file() {
        return Ok(None);
    }
    let (at, files) = (folder.display(), files.display());
    let config = format!(
        "daemon off; master_process off; user root; pid {at}/nginx.pid; error_log /dev/null crit;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n\
         access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; open_file_cache max=100;\n\
         client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/fastcgi;\n\
         uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;\n\
         server {{ listen {BOOT}; root {files}; }}\n\
         }}\n"
    );
    let path = folder.join("nginx.conf");
    std::fs::write(&path, config)?;
    let arguments = ["-e".into(), "/dev/null".into(), "-p".into(), folder.into(), "-c".into(), path.into()];
    let program = program.to_str().context("a path that is no text")?.to_owned();
    Ok(Some(Subject { name: "nginx", program, arguments: arguments.to_vec(), environment: Vec::new() }))
}

/// One run: starts the server, has it show the file right, and counts for [`TIME`].
fn run(site: &Site, subject: &Subject, clients: usize, file: &Served, units: Units) -> Result<Measured> {
    let mut process = Process::start(&site.seat, &subject.program, &subject.arguments, &subject.environment)?;
    site.room.enter(|| {
        become_load()?;
        await_right(file).with_context(|| format!("{} does not serve {}", subject.name, file.path))?;
        let counts = Counts::default();
        std::thread::scope(|scope| {
            let loads: Vec<_> = (0..clients).map(|_| scope.spawn(|| load(file, &counts))).collect();
            let measured = window(&mut process, &counts, units);
            counts.stop.store(true, Ordering::Relaxed);
            for load in loads {
                load.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
            }
            measured
        })
    })
}

/// What the server did and cost within [`TIME`].
fn window(process: &mut Process, counts: &Counts, units: Units) -> Result<Measured> {
    let work = || match units.rate {
        "MB/s" => counts.bytes.load(Ordering::Relaxed),
        _ => counts.requests.load(Ordering::Relaxed),
    } as f64;
    std::thread::sleep(WARM);
    let (begun, before, cpu) = (Instant::now(), work(), process.cpu()?);
    let mut memory = 0f64;
    while begun.elapsed() < TIME {
        std::thread::sleep(Duration::from_millis(200));
        memory = memory.max(process.memory());
    }
    let (work, took, cpu) = (work() - before, begun.elapsed().as_secs_f64(), process.cpu()? - cpu);
    ensure!(work > 0.0, "nothing was served");
    // Both units of work are a millionth of what is counted, or it itself with costs in millionths.
    let (rate, cost) = match units.rate {
        "MB/s" => (work / 1e6 / took, cpu / (work / 1e9)),
        _ => (work / took, cpu * 1e6 / work),
    };
    Ok(Measured { rate, cost, memory })
}

/// Connects as soon as the server is there.
fn connect() -> Result<TcpStream> {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        match TcpStream::connect(BOOT) {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() >= until => return Err(error).context("connect"),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Waits until the server is there, and compares the file that it sends.
fn await_right(file: &Served) -> Result<()> {
    let mut stream = connect()?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let request = format!("GET /{} HTTP/1.1\r\nHost: {BOX}\r\nConnection: close\r\n\r\n", file.path);
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let body = body_of(&answer).context("an answer without an end of its head")?;
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(answer.get(..100).unwrap_or(&answer)));
    ensure!(answer.get(body..) == Some(&file.bytes), "other bytes than the file's");
    Ok(())
}

/// One client on one connection: the file again and again.
fn load(file: &Served, counts: &Counts) -> Result<()> {
    let mut stream = TcpStream::connect(BOOT).context("connect")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let request = format!("GET /{} HTTP/1.1\r\nHost: {BOX}\r\n\r\n", file.path);
    let len = file.bytes.len() as u64;
    let mut head = vec![0; 8 << 10];
    let mut waste = vec![0; 1 << 20];
    while !counts.stop.load(Ordering::Relaxed) {
        stream.write_all(request.as_bytes())?;
        let mut filled = 0;
        let body = loop {
            let read = stream.read(head.get_mut(filled..).unwrap_or_default()).context("read an answer's head")?;
            ensure!(read > 0, "the server closed the connection");
            filled += read;
            if let Some(body) = head.get(..filled).and_then(body_of) {
                break body;
            }
        };
        ensure!(head.starts_with(b"HTTP/1.1 200"), "not the file was sent");
        let mut left = len.checked_sub((filled - body) as u64).context("more was sent than the file")?;
        counts.bytes.fetch_add(len - left, Ordering::Relaxed);
        while left > 0 {
            if counts.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let most = usize::try_from(left)?.min(waste.len());
            let part = waste.get_mut(..most).unwrap_or_default();
            let (_, taken) = recv(&stream, part, RecvFlags::TRUNC).context("read a body")?;
            if taken == 0 {
                bail!("the body broke off");
            }
            left -= taken as u64;
            counts.bytes.fetch_add(taken as u64, Ordering::Relaxed);
        }
        counts.requests.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Where the body begins.
fn body_of(answer: &[u8]) -> Option<usize> {
    answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|at| at + 4)
}
