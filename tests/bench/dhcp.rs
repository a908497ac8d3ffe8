//! DHCP: addresses for new clients, 64 at once, by ours in server mode, dnsmasq and Kea, with few and with many leases given before.
//!
//! All three answer without asking first whether somebody uses the address, as Kea always does; what ours does by default, with
//! its wait for an answer, is a row of its own with more clients at once, so that the wait does not decide the rate.

use crate::process::{Process, become_load};
use crate::row::{Goal, Measured, Row, Units};
use anyhow::{Context, Result, ensure};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use system_tests::pxe::client::new_xid;
use system_tests::pxe::link::{BROADCAST_MAC, Datagram, Link};
use system_tests::pxe::machine::{Kind, Machine};
use system_tests::pxe::message::{Message, kind, option};
use system_tests::site::{BOX_LINK, ROOM_LINK};
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
/// For the row with the wait: 300 ms of it would allow 64 clients 213 exchanges a second.
const AT_ONCE_WITH_WAIT: usize = 1024;
/// When an unanswered question is asked again.
const AGAIN: Duration = Duration::from_secs(1);

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
    // Of the largest pool of ours, 65,536 addresses, an eighth stays free for hosts that it knows.
    for (leases, named) in [(100, "100"), (10_000, "10,000"), (50_000, "50,000")] {
        let what = format!("DHCP {AT_ONCE} new clients at once, {named} leases");
        if wanted(&what) {
            let goal = (leases == 100).then_some(Goal { rate: 3.0, cost: Some(4.0) });
            let measure = |subject: &Subject| run(*subject, peers, leases, AT_ONCE);
            tell(Row::compared(what, goal, runs, &subjects, |subject| subject.name(), measure)?);
        }
    }
    let what = format!("DHCP {AT_ONCE_WITH_WAIT} new clients at once, each address asked for first");
    if wanted(&what) {
        let own = [Subject::Ours { wait: true }];
        let measure = |subject: &Subject| run(*subject, peers, 100, AT_ONCE_WITH_WAIT);
        tell(Row::compared(what, None, runs, &own, |subject| subject.name(), measure)?);
    }
    Ok(())
}

/// One run: a new server with so many leases, and its next [`EXCHANGES`].
fn run(subject: Subject, peers: &Path, leases: usize, at_once: usize) -> Result<Measured> {
    let site = Site::new()?;
    let folder = leftovers::disk_folder("bench-dhcp")?;
    let (arguments, environment) = subject.prepare(&site, folder.path(), leases)?;
    let program = subject.program(peers)?;
    let program = program.to_str().context("a path that is no text")?;
    let mut process = Process::start(&site.seat, program, &arguments, &environment)?;
    let link = Link::open(&site.room, ROOM_LINK)?;
    site.room.enter(|| {
        become_load()?;
        ask_until_answered(&link)?;
        if subject != Subject::Dnsmasq {
            let seeded = exchanges(&link, leases, SEEDING.max(at_once), Duration::from_secs(240))?;
            ensure!(seeded.done == leases, "only {} of {leases} leases were given", seeded.done);
        }
        // What is still done for the leases before belongs to them.
        std::thread::sleep(Duration::from_millis(500));
        let before = process.exact_cpu()?;
        let Exchanges { done, took, again, load } = exchanges(&link, EXCHANGES, at_once, TIME)?;
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

impl Subject {
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
                std::fs::write(&config, site.settings(&dhcp, "[page]\nlisten = \"127.0.0.1:8000\"\n"))?;
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
  "subnet4": [ {{ "id": 1, "subnet": "10.77.0.0/16", "pools": [ {{ "pool": "{FIRST} - {LAST}" }} ] }} ],
  "loggers": [ {{ "name": "kea-dhcp4", "severity": "ERROR", "output_options": [ {{ "output": "stderr" }} ] }} ]
}} }}"#,
        at.join("leases.csv").display()
    )
}

/// What the clients got.
struct Exchanges {
    done: usize,
    took: Duration,
    /// Questions that had to be repeated.
    again: usize,
    /// CPU time of the clients.
    load: Duration,
}

/// A client that waits for an answer.
struct Waiting {
    machine: Machine,
    packet: Datagram,
    sent: Instant,
    requests: bool,
}

/// DISCOVER to ACK for `count` machines never seen before, `at_once` in flight, until `time` is over.
fn exchanges(link: &Link, count: usize, at_once: usize, time: Duration) -> Result<Exchanges> {
    let mut waiting: HashMap<u32, Waiting> = HashMap::new();
    let (mut begun, mut done, mut again) = (0, 0, 0);
    let (start, cpu) = (Instant::now(), own_cpu());
    let mut looked_at = start;
    while done < count && start.elapsed() < time {
        while begun < count && waiting.len() < at_once {
            let machine = new_machine();
            let xid = new_xid();
            let packet = broadcast(&machine.message(kind::DISCOVER, xid));
            link.send(&packet)?;
            waiting.insert(xid, Waiting { machine, packet, sent: Instant::now(), requests: false });
            begun += 1;
        }
        if let Some(answer) = link.receive(Instant::now() + Duration::from_millis(50))?
            && let Some(xid) = answer.payload.get(4..8).and_then(|xid| xid.try_into().ok()).map(u32::from_be_bytes)
            && let Some(client) = waiting.get_mut(&xid)
        {
            let message = Message::decode(&answer.payload)?;
            match (message.message_type(), client.requests) {
                (kind::OFFER, false) => {
                    let mut request = client.machine.message(kind::REQUEST, xid);
                    request.set(option::REQUESTED_ADDRESS, &message.yiaddr.octets());
                    request.set(option::SERVER_ID, message.get(option::SERVER_ID).unwrap_or_default());
                    client.packet = broadcast(&request);
                    (client.sent, client.requests) = (Instant::now(), true);
                    link.send(&client.packet)?;
                }
                (kind::ACK, true) => {
                    waiting.remove(&xid);
                    done += 1;
                }
                // Two clients were offered one address, as dnsmasq does: the later one begins again.
                (kind::NAK, true) => {
                    client.packet = broadcast(&client.machine.message(kind::DISCOVER, xid));
                    (client.sent, client.requests) = (Instant::now(), false);
                    link.send(&client.packet)?;
                    again += 1;
                }
                _ => {}
            }
        }
        if looked_at.elapsed() > AGAIN / 10 {
            looked_at = Instant::now();
            for client in waiting.values_mut().filter(|client| client.sent.elapsed() > AGAIN) {
                link.send(&client.packet)?;
                client.sent = looked_at;
                again += 1;
            }
        }
    }
    Ok(Exchanges { done, took: start.elapsed(), again, load: own_cpu().saturating_sub(cpu) })
}

/// CPU time of this thread.
fn own_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Waits until the server offers an address.
fn ask_until_answered(link: &Link) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(60);
    let packet = broadcast(&new_machine().message(kind::DISCOVER, new_xid()));
    while Instant::now() < until {
        link.send(&packet)?;
        let again = Instant::now() + Duration::from_millis(500);
        while let Some(answer) = link.receive(again)? {
            if answer.to.port() == 68 {
                return Ok(());
            }
        }
    }
    anyhow::bail!("no address is offered")
}

/// A machine never seen before: a plain client without a name, which takes its answers by broadcast.
fn new_machine() -> Machine {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    Machine::new(NEXT.fetch_add(1, Ordering::Relaxed), Kind::Plain).with(option::HOST_NAME, b"")
}

fn broadcast(message: &Message) -> Datagram {
    let message = Message { broadcast: true, ..message.clone() };
    Datagram {
        from_mac: message.mac,
        to_mac: BROADCAST_MAC,
        from: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
        to: SocketAddrV4::new(Ipv4Addr::BROADCAST, 67),
        payload: message.encode(),
    }
}
