//! DHCP: addresses for new clients, 64 at once, by ours in server mode, dnsmasq and Kea, with few and with many leases given before.
//!
//! All three answer without asking first whether somebody uses the address, as Kea always does; what ours does by default, with
//! its wait for an answer, is a row of its own with more clients at once, so that the wait does not decide the rate.

use crate::dhcp_load::{Exchanges, Load, new_machine};
use crate::process::{LOAD_CPU, Process, become_load};
use crate::row::{Goal, Measured, Row, Units};
use anyhow::{Context, Result, ensure};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use system_tests::site::{BOX, BOX_LINK, ROOM_LINK};
use system_tests::{Site, appliance, leftovers};

/// The units of these rows.
pub const UNITS: Units = Units { rate: "exchanges/s", cost: "CPU-us/exchange" };

const FIRST: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 0);
const LAST: Ipv4Addr = Ipv4Addr::new(10, 77, 255, 250);
const LEASE_S: u32 = 36_000;
/// A run ends after so many exchanges, or after [`TIME`].
const EXCHANGES: usize = 2000;
const TIME: Duration = Duration::from_secs(10);
const AT_ONCE: usize = 64;
/// Clients at once while leases are given that only have to be there.
const SEEDING: usize = 128;
/// Exchanges that perfdhcp begins each second; it does not wait for those before.
const ASKED: u32 = 10_000;
/// For the row with the wait: 300 ms of it would allow 64 clients 213 exchanges a second.
const AT_ONCE_WITH_WAIT: usize = 1024;

/// A relay in front of the second subnet, whose addresses only have to be given.
const RELAY: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
const RELAYED_NET: &str = "10.78.0.0/16";
const RELAYED_FIRST: Ipv4Addr = Ipv4Addr::new(10, 78, 1, 0);
const RELAYED_LAST: Ipv4Addr = Ipv4Addr::new(10, 78, 255, 250);
/// How many clients get theirs by the first subnet at most: of the largest pool of ours, 65,536 addresses, an eighth stays
/// free for hosts that it knows.
const DIRECT: usize = 50_000;

/// What a row asks of its subjects.
#[derive(Clone, Copy, Debug)]
struct Work {
    /// Leases given before.
    leases: usize,
    at_once: usize,
    disk: Disk,
}

/// Where a server keeps its leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    /// On this machine's disk, with all else that it is busy with.
    Own,
    /// The same where each fsync takes 5 ms more, as on an SD card.
    Slow,
    /// In memory, so that no disk decides.
    None,
}

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Ours { wait: bool },
    Dnsmasq,
    Kea,
}

/// Arguments and environment of a server.
type Command = (Vec<OsString>, Vec<(&'static str, OsString)>);

/// All rows, each told to `tell` as soon as it is there.
///
/// # Errors
/// When ours cannot be measured.
pub fn rows(peers: &Path, runs: usize, wanted: impl Fn(&str) -> bool, mut tell: impl FnMut(Row)) -> Result<()> {
    let all = [Subject::Ours { wait: false }, Subject::Dnsmasq, Subject::Kea];
    let subjects: Vec<Subject> = all.into_iter().filter(|subject| subject.program(peers).is_ok()).collect();
    let name = |subject: &Subject| subject.name();
    let mut few = None;
    for (leases, named) in [(100, "100"), (10_000, "10,000"), (60_000, "60,000")] {
        let what = format!("DHCP {AT_ONCE} new clients at once, {named} leases");
        if wanted(&what) {
            let goal = (leases == 100).then_some(Goal { rate: 3.0, cost: Some(4.0) });
            let work = Work { leases, at_once: AT_ONCE, disk: Disk::Own };
            let row = Row::compared(what, goal, runs, &subjects, name, |subject| run(*subject, peers, work))?;
            let ours = row.ours;
            let dnsmasq = row.peers.iter().find(|(name, _)| *name == "dnsmasq").copied();
            tell(row);
            let beside = |whom: &str, peer, goal| {
                let what = format!("DHCP {AT_ONCE} new clients at once, {named} leases, beside {whom}");
                Row { what, ours, peers: vec![peer], goal: Some(goal) }
            };
            match (leases, dnsmasq, few) {
                (100, dnsmasq, _) => {
                    few = Some(ours);
                    if let Some(dnsmasq) = dnsmasq {
                        tell(beside("dnsmasq alone", dnsmasq, Goal { rate: 30.0, cost: None }));
                    }
                }
                // No more than 1.1 of the cost.
                (60_000, _, Some(few)) => {
                    tell(beside("ours with 100", ("ours with 100", few), Goal { rate: 0.9, cost: Some(0.91) }));
                }
                _ => {}
            }
        }
    }
    let what = format!("DHCP {AT_ONCE} new clients at once, 100 leases, kept in memory");
    if wanted(&what) {
        let goal = Some(Goal { rate: 3.0, cost: Some(4.0) });
        let work = Work { leases: 100, at_once: AT_ONCE, disk: Disk::None };
        tell(Row::compared(what, goal, runs, &subjects, name, |subject| run(*subject, peers, work))?);
    }
    let what = format!("DHCP {AT_ONCE} new clients at once, 100 leases, fsync +5 ms (an SD card)");
    if wanted(&what) {
        let durable = subjects.iter().copied().filter(|subject| *subject != Subject::Kea).collect::<Vec<_>>();
        let goal = Some(Goal { rate: 25.0, cost: None });
        let work = Work { leases: 100, at_once: AT_ONCE, disk: Disk::Slow };
        tell(Row::compared(what, goal, runs, &durable, name, |subject| run(*subject, peers, work))?);
    }
    let what = format!("DHCP by perfdhcp, {ASKED}/s asked for through a relay");
    if wanted(&what) {
        tell(Row::compared(what, None, runs, &subjects, name, |subject| run_perfdhcp(*subject, peers))?);
    }
    let what = format!("DHCP {AT_ONCE_WITH_WAIT} new clients at once, each address asked for first");
    if wanted(&what) {
        let own = [Subject::Ours { wait: true }];
        let work = Work { leases: 100, at_once: AT_ONCE_WITH_WAIT, disk: Disk::Own };
        tell(Row::compared(what, None, runs, &own, name, |subject| run(*subject, peers, work))?);
    }
    Ok(())
}

/// One run: a new server with so many leases, and its next [`EXCHANGES`].
fn run(subject: Subject, peers: &Path, work: Work) -> Result<Measured> {
    let site = Site::new()?;
    // Where the relay's answers go.
    site.room.ip(&format!("address add {RELAY}/16 dev {ROOM_LINK}"))?;
    site.seat.ip(&format!("route add {RELAYED_NET} dev {BOX_LINK}"))?;
    let Work { leases, at_once, disk } = work;
    let folder = match disk {
        Disk::Own | Disk::Slow => leftovers::disk_folder("bench-dhcp")?,
        Disk::None => tempfile::Builder::new().prefix("bench-dhcp-").tempdir_in("/dev/shm")?,
    };
    let mut more = Vec::new();
    if disk == Disk::Slow {
        more.push(("LD_PRELOAD", slow_fsync(folder.path())?.into()));
    }
    let mut process = subject.start(&site, peers, folder.path(), leases, more)?;
    let load = Load::open(&site.room, ROOM_LINK)?;
    site.room.enter(|| {
        become_load()?;
        load.ask_until_answered()?;
        if subject != Subject::Dnsmasq {
            let direct = leases.min(DIRECT);
            let patience = Duration::from_secs(240);
            let seeded = load.exchanges(direct, SEEDING.max(at_once), patience, None)?;
            ensure!(seeded.done == direct, "only {} of {direct} leases were given", seeded.done);
            let seeded = load.exchanges(leases - direct, SEEDING.max(at_once), patience, Some(RELAY))?;
            ensure!(
                seeded.done == leases - direct,
                "only {} of {} relayed leases were given",
                seeded.done,
                leases - direct
            );
        }
        // What is still done for the leases before belongs to them.
        std::thread::sleep(Duration::from_millis(500));
        let before = process.exact_cpu()?;
        let Exchanges { done, took, again, load } = load.exchanges(EXCHANGES, at_once, TIME, None)?;
        let cost = process.exact_cpu()? - before;
        ensure!(done > 0, "no address was given within {TIME:?}");
        let busy = load.as_secs_f64() / took.as_secs_f64();
        if again > 0 || busy > 0.9 {
            let name = subject.name();
            eprintln!(
                "{name}: {again} of {done} exchanges with a question repeated; the load's processor {busy:.2} busy"
            );
        }
        let (rate, cost) = (done as f64 / took.as_secs_f64(), cost * 1e6 / done as f64);
        Ok(Measured { rate, cost, memory: process.memory() })
    })
}

/// A second opinion: Kea's own load, for 5 s; the rate is that of the ACKs which reached it.
fn run_perfdhcp(subject: Subject, peers: &Path) -> Result<Measured> {
    let program = peers.join("root/usr/sbin/perfdhcp");
    let (site, folder) = (Site::new()?, leftovers::disk_folder("bench-dhcp")?);
    let mut process = subject.start(&site, peers, folder.path(), 100, Vec::new())?;
    Load::open(&site.room, ROOM_LINK)?.ask_until_answered()?;
    let before = process.exact_cpu()?;
    let mut command = site.room.command("taskset");
    command.args(["-c", &LOAD_CPU.to_string(), "nice", "-n", "-15"]).arg(program);
    command.args(["-4", "-l", ROOM_LINK, "-R", "1000000", "-p", "5", "-r", &ASKED.to_string(), &BOX.to_string()]);
    let told = command.output().context("run perfdhcp")?;
    let cost = process.exact_cpu()? - before;
    let text = String::from_utf8_lossy(&told.stdout);
    let acks = text.split_once("REQUEST-ACK").and_then(|(_, text)| text.split_once("received packets: "));
    let acks = acks.and_then(|(_, text)| text.lines().next()?.trim().parse::<f64>().ok()).filter(|acks| *acks > 0.0);
    let acks = acks.with_context(|| format!("perfdhcp tells of no ACKs: {text}"))?;
    Ok(Measured { rate: acks / 5.0, cost: cost * 1e6 / acks, memory: process.memory() })
}

impl Subject {
    /// Starts it with its settings in `at`.
    fn start(
        self,
        site: &Site,
        peers: &Path,
        at: &Path,
        leases: usize,
        more: Vec<(&'static str, OsString)>,
    ) -> Result<Process> {
        let (arguments, mut environment) = self.prepare(site, at, leases)?;
        environment.extend(more);
        let program = self.program(peers)?;
        let program = program.to_str().context("a path that is no text")?;
        Process::start(&site.seat, program, &arguments, &environment)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ours { .. } => "ours",
            Self::Dnsmasq => "dnsmasq",
            Self::Kea => "kea",
        }
    }

    fn program(self, peers: &Path) -> Result<PathBuf> {
        let path = match self {
            Self::Ours { .. } => return appliance::binary(),
            Self::Dnsmasq => "/usr/sbin/dnsmasq".into(),
            Self::Kea => peers.join("root/usr/sbin/kea-dhcp4"),
        };
        ensure!(path.is_file(), "there is no {}", path.display());
        Ok(path)
    }

    /// Writes its settings (and dnsmasq's leases, which would take it hours to give).
    fn prepare(self, site: &Site, at: &Path, leases: usize) -> Result<Command> {
        match self {
            Self::Ours { wait } => {
                let ask = if wait { "" } else { "conflict_ms = 0\n" };
                let dhcp = format!("mode = \"server\"\npool = \"{FIRST}-{LAST}\"\nlease_s = {LEASE_S}\n{ask}");
                let config = at.join("rackberry.toml");
                let relayed = format!(
                    "[[dhcp.subnet]]\nnetwork = \"{RELAYED_NET}\"\npool = \"{RELAYED_FIRST}-{RELAYED_LAST}\"\nlease_s = {LEASE_S}\n"
                );
                let more = format!("{relayed}[page]\nlisten = \"127.0.0.1:8000\"\n");
                std::fs::write(&config, site.settings(&dhcp, &more))?;
                let state = at.join("state");
                std::fs::create_dir(&state)?;
                let arguments = ["serve".into(), "--config".into(), config.into(), "--state-dir".into(), state.into()];
                Ok((arguments.to_vec(), vec![("RACKBERRY_LOG", "info".into())]))
            }
            Self::Dnsmasq => {
                let file = at.join("leases");
                std::fs::write(&file, dnsmasq_leases(leases))?;
                let words = ["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--no-ping"];
                let more = ["--pid-file=", "--log-facility=/dev/null", "--quiet-dhcp", "--dhcp-lease-max=100000"];
                let mut arguments: Vec<OsString> = words.iter().chain(&more).map(OsString::from).collect();
                arguments.push(format!("--interface={BOX_LINK}").into());
                arguments.push(format!("--dhcp-range={FIRST},{LAST},255.255.0.0,{LEASE_S}").into());
                arguments.push(format!("--dhcp-leasefile={}", file.display()).into());
                Ok((arguments, Vec::new()))
            }
            Self::Kea => {
                let config = at.join("kea.json");
                std::fs::write(&config, kea_settings(at))?;
                let folders = ["KEA_PIDFILE_DIR", "KEA_LOCKFILE_DIR", "KEA_DHCP_DATA_DIR", "KEA_LOG_FILE_DIR"];
                let environment = folders.map(|name| (name, at.into())).to_vec();
                Ok((vec!["-c".into(), config.into()], environment))
            }
        }
    }
}

/// A library that makes each fsync of a program take 5 ms more.
fn slow_fsync(at: &Path) -> Result<PathBuf> {
    let (source, library) = (at.join("slow.c"), at.join("slow.so"));
    std::fs::write(&source, include_str!("slow_fsync.c"))?;
    let made = std::process::Command::new("gcc")
        .args(["-shared", "-fPIC", "-O2", "-o"])
        .arg(&library)
        .arg(&source)
        .status()?;
    ensure!(made.success(), "gcc: {made}");
    Ok(library)
}

/// Spread over the pool, as dnsmasq itself would have spread them.
fn dnsmasq_leases(count: usize) -> String {
    let ends = now_s() + u64::from(LEASE_S);
    let room = u32::from(LAST) - u32::from(FIRST) + 1;
    let mut text = String::new();
    for (machine, at) in (0..count).map(|_| new_machine()).zip(0u32..) {
        // 40,503 shares no divisor with the room, so that no address comes twice.
        let place = u64::from(at) * 40_503 % u64::from(room);
        let address = Ipv4Addr::from(u32::from(FIRST) + u32::try_from(place).unwrap_or_default());
        let mac = machine.mac_text();
        let _ = writeln!(text, "{ends} {mac} {address} * 01:{mac}");
    }
    text
}

fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Leases in its own file ("memfile"), which it does not flush to the disk before it answers.
fn kea_settings(at: &Path) -> String {
    format!(
        r#"{{ "Dhcp4": {{
  "interfaces-config": {{ "interfaces": ["{BOX_LINK}"] }},
  "lease-database": {{ "type": "memfile", "persist": true, "name": "{}" }},
  "valid-lifetime": {LEASE_S},
  "subnet4": [ {{ "id": 1, "subnet": "10.77.0.0/16", "pools": [ {{ "pool": "{FIRST} - {LAST}" }} ] }},
               {{ "id": 2, "subnet": "{RELAYED_NET}", "pools": [ {{ "pool": "{RELAYED_FIRST} - {RELAYED_LAST}" }} ] }} ],
  "loggers": [ {{ "name": "kea-dhcp4", "severity": "ERROR", "output_options": [ {{ "output": "stderr" }} ] }} ]
}} }}"#,
        at.join("leases.csv").display()
    )
}
