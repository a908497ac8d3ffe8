//! TFTP: one file from the page cache to 1, 16 and 64 clients at windows of 1, 16 and 64 blocks, and over a wire that loses packets.

use crate::process::{Process, become_load};
use crate::row::{Goal, Measured, Row, Units};
use crate::tftp_client::{self, Got, Work};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use system_tests::{Impairment, Netns, Wire};

/// The units of these rows.
pub const UNITS: Units = Units { rate: "MB/s", cost: "CPU-s/GB" };

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 93, 0, 1);
const LOAD: Ipv4Addr = Ipv4Addr::new(10, 93, 0, 2);
const BLKSIZE: u16 = 1428;
/// The file of the rows with windows.
const LEN: u64 = 8 << 20;
/// Of the rows without: the more clients, the shorter, as they are slower; each takes seconds, so that what a process for one file costs
/// is seen before it ends.
const LEN_WITHOUT_WINDOW: [(usize, u64); 3] = [(1, 32 << 20), (16, 8 << 20), (64, 2 << 20)];
/// Begins no more files after this time.
const TIME: Duration = Duration::from_secs(3);
/// The same for the rows with loss: each long enough to lose some packets, and short enough for timers of a second.
const LOSSY_LEN: u64 = 8 << 20;
const LOSSY_LEN_WITHOUT_WINDOW: u64 = 1 << 20;

/// A server to measure.
#[derive(Clone, Debug)]
pub struct Subject {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
}

/// Ours and the others, as far as they are there: `ours` is the crate's example, `peers` the folder where `./x bench` puts the others.
pub fn subjects(ours: &Path, peers: &Path, folder: &Path) -> (Subject, Vec<Subject>) {
    let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
    let at = format!("{SERVER}:69");
    let folder = folder.display().to_string();
    let own = Subject {
        name: "ours",
        program: ours.to_owned(),
        arguments: words(&[&folder, &at, "256"]),
        environment: Vec::new(),
    };
    let libraries = vec![("LD_LIBRARY_PATH", peers.join("root/usr/lib/x86_64-linux-gnu").into())];
    let peer = |name, program: PathBuf, arguments: &[&str]| Subject {
        name,
        program,
        arguments: words(arguments),
        environment: libraries.clone(),
    };
    let debian = peers.join("root/usr/sbin");
    let address = SERVER.to_string();
    let rs = ["--ip-address", &address, "--port", "69", "--directory", &folder, "--read-only"];
    let atftpd = ["--daemon", "--no-fork", "--logfile", "/dev/null", "--user", "root.root", "--maxthread", "256"];
    let atftpd = [&atftpd[..], &["--bind-address", &address, "--port", "69", &folder]].concat();
    let dnsmasq = ["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--enable-tftp"];
    let (root, listen) = (format!("--tftp-root={folder}"), format!("--listen-address={address}"));
    let more = ["--bind-interfaces", "--tftp-max=256", "--pid-file=", "--log-facility=/dev/null", &root, &listen];
    let all = vec![
        peer("rs-tftpd", peers.join("bin/tftpd"), &rs),
        peer("atftpd", debian.join("atftpd"), &atftpd),
        peer("dnsmasq", "/usr/sbin/dnsmasq".into(), &[&dnsmasq[..], &more].concat()),
        peer(
            "tftpd-hpa",
            debian.join("in.tftpd"),
            &["--foreground", "--user", "root", "--address", &at, "--secure", &folder],
        ),
    ];
    (own, all.into_iter().filter(|peer| peer.program.is_file()).collect())
}

/// The two ends of a cable, and the file to serve.
struct Place {
    seat: Netns,
    room: Netns,
    _wire: Option<Wire>,
}

impl Place {
    fn with_veth() -> Result<Self> {
        let (seat, room) = (Netns::new()?, Netns::new()?);
        seat.veth("b0", &room, "b1")?;
        let place = Self { seat, room, _wire: None };
        place.address()?;
        Ok(place)
    }

    fn with_loss(percent: f64, each_way: Duration) -> Result<Self> {
        let (seat, room) = (Netns::new()?, Netns::new()?);
        let impairment = Impairment { loss: percent, delay: each_way, ..Impairment::default() };
        let wire = Wire::between((&seat, "b0"), (&room, "b1"), impairment, 1)?;
        let place = Self { seat, room, _wire: Some(wire) };
        place.address()?;
        Ok(place)
    }

    fn address(&self) -> Result<()> {
        self.seat.up("b0", Some(&format!("{SERVER}/24")))?;
        self.room.up("b1", Some(&format!("{LOAD}/24")))?;
        // Neither end has to ask for the other's card in the middle of a run.
        self.room.run("ping", &["-c", "1", "-W", "5", &SERVER.to_string()]).map(drop).or(Ok(()))
    }

    /// Starts the server and waits until it answers.
    fn serve(&self, subject: &Subject) -> Result<Process> {
        let program = subject.program.to_str().context("a path that is no text")?;
        let process = Process::start(&self.seat, program, &subject.arguments, &subject.environment)?;
        self.room.enter(|| {
            let until = Instant::now() + Duration::from_secs(20);
            let mut answer = [0; 600];
            while Instant::now() < until {
                let socket = UdpSocket::bind((LOAD, 0))?;
                socket.set_read_timeout(Some(Duration::from_millis(200)))?;
                socket.send_to(b"\0\x01no-such-file\0octet\0", (SERVER, 69))?;
                if socket.recv(&mut answer).is_ok() {
                    return Ok(());
                }
            }
            anyhow::bail!("{} does not answer", subject.name)
        })?;
        Ok(process)
    }

    /// One run; an error where the server does not grant the window.
    fn run(&self, subject: &Subject, work: &Work) -> Result<Measured> {
        let mut process = self.serve(subject)?;
        let before = process.cpu()?;
        let mut memory = 0f64;
        let got: Got = self.room.enter(|| {
            become_load()?;
            tftp_client::run(LOAD, work, || {
                memory = memory.max(process.memory());
                process.look();
            })
        })?;
        memory = memory.max(process.memory());
        process.settle();
        let cost = process.cpu()? - before;
        let bytes = got.bytes as f64;
        Ok(Measured { rate: bytes / 1e6 / got.took.as_secs_f64(), cost: cost / (bytes / 1e9), memory })
    }

    /// Three runs of each in turn, so that what else the machine does meets all alike.
    fn row(&self, what: String, work: &Work, all: &[&Subject], goal: Option<Goal>, runs: usize) -> Result<Row> {
        let mut results: Vec<Vec<Measured>> = vec![Vec::new(); all.len()];
        for _ in 0..runs {
            for (subject, results) in all.iter().zip(&mut results) {
                match self.run(subject, work) {
                    Ok(measured) => results.push(measured),
                    Err(error) => eprintln!("{what}: {}: {error:#}", subject.name),
                }
            }
        }
        let mut medians = all.iter().zip(&results).map(|(subject, runs)| (subject.name, Measured::median(runs)));
        let ours = medians.next().and_then(|(_, ours)| ours).with_context(|| format!("{what}: ours did not run"))?;
        let peers = medians.filter_map(|(name, median)| Some((name, median?))).collect();
        Ok(Row { what, ours, peers, goal })
    }
}

/// FIELD figures: what ours shall reach at this window and number of clients.
fn goal(window: u16, clients: usize) -> Option<Goal> {
    let (rate, cost) = match (window, clients) {
        (1, 1) => (1.0, 0.85),
        (1, 64) => (1.0, 1.0),
        (16, 1) => (1.4, 2.2),
        (64, 1) => (2.5, 4.0),
        (16, 64) => (4.0, 4.0),
        (64, 64) => (5.0, 5.0),
        _ => return None,
    };
    Some(Goal { rate, cost: Some(cost) })
}

/// All rows, each told to `tell` as soon as it is there.
///
/// # Errors
/// When ours cannot be measured.
pub fn rows(
    ours: &Path,
    peers: &Path,
    runs: usize,
    wanted: impl Fn(&str) -> bool,
    mut tell: impl FnMut(Row),
) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("rackberry-bench-").tempdir()?;
    // tftpd-hpa and others serve only what everybody may read.
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let (own, others) = subjects(ours, peers, folder.path());
    let all: Vec<&Subject> = std::iter::once(&own).chain(&others).collect();
    let work = |clients, window, len, time| Work {
        server: SocketAddrV4::new(SERVER, 69),
        clients,
        blksize: BLKSIZE,
        window,
        len,
        time,
    };
    let place = Place::with_veth()?;
    for window in [1, 16, 64] {
        for (clients, without_window) in LEN_WITHOUT_WINDOW {
            let len = if window == 1 { without_window } else { LEN };
            let what = format!("TFTP {BLKSIZE} x {window}, {clients} client{}", if clients == 1 { "" } else { "s" });
            if wanted(&what) {
                tftp_client::write_file(folder.path(), len)?;
                let goal = goal(window, clients);
                tell(place.row(what, &work(clients, window, len, TIME), &all, goal, runs)?);
            }
        }
    }
    drop(place);
    for window in [1, 16, 64] {
        let len = if window == 1 { LOSSY_LEN_WITHOUT_WINDOW } else { LOSSY_LEN };
        tftp_client::write_file(folder.path(), len)?;
        let what = format!("TFTP {BLKSIZE} x {window}, 1 client, 1 % loss each way, 0.2 ms");
        if wanted(&what) {
            let place = Place::with_loss(1.0, Duration::from_micros(100))?;
            let goal = Some(Goal { rate: 15.0, cost: None });
            tell(place.row(what, &work(1, window, len, Duration::ZERO), &all, goal, runs)?);
        }
    }
    Ok(())
}
