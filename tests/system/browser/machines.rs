//! The machines behind the page: some wait, one runs, one failed, and those that are told to install take their time.

use anyhow::{Context, Result, anyhow, ensure};
use rackberry_core::{
    agent::{Answer, News, Progress, Run},
    hardware::{Cpu, Disk, DiskContent, Facts, Partition, Smbios, Transport},
    task::TaskOrder,
};
use serde_json::{Value, json};
use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{Scope, ScopedJoinHandle},
    time::{Duration, Instant},
};
use system_tests::{
    Faults, Life,
    appliance::Appliance,
    fake_agent::{FakeAgent, Said, Verdict},
    fake_host::{FakeHost, Script, disk},
    local_api::LocalApi,
    site::{self, BOOT, ROOM_LINK, Site},
};

/// How long anything may take in all.
const LIMIT: Duration = Duration::from_secs(900);
/// What a slow machine says its image has, and how fast it comes.
const TOTAL: u64 = 294_000_000;
const RATE: u64 = 11_200_000;

/// What a machine is like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Writes at once and comes up.
    Quick,
    /// Takes its time, so that its bar can be watched.
    Slow,
    /// Its disk breaks.
    Broken,
}

/// The machines, each on a thread of its own in the hosts' namespace; dropped, they are switched off.
pub struct Rack<'scope> {
    threads: Vec<ScopedJoinHandle<'scope, Result<()>>>,
    stop: Arc<AtomicBool>,
    /// How far slow machines write until somebody watched them, in percent.
    ceiling: Arc<AtomicU64>,
}

impl Drop for Rack<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl<'scope> Rack<'scope> {
    /// Enrols eight machines and brings each into its state.
    ///
    /// # Errors
    /// When one does not get there.
    pub fn fill(scope: &'scope Scope<'scope, '_>, site: &'scope Site, appliance: &Appliance) -> Result<Self> {
        let api = site::api(appliance);
        let mut rack = Self { threads: Vec::new(), stop: Arc::default(), ceiling: Arc::new(AtomicU64::new(3)) };
        let hosts: Vec<FakeHost> = (1..=8).map(machine).collect();
        let list: Vec<String> = (1..).zip(&hosts).map(|(n, host)| format!("{}, r1-n0{n}", host.mac)).collect();
        api.call("POST", "/hosts", Some(&json!({ "list": list.join("\n") })))?;
        let install = json!({ "profile": "debian-13", "disk": "only", "parameters": { "user": "admin" } });
        for name in ["r1-n01", "r1-n04", "r1-n06"] {
            api.call("POST", &format!("/hosts/{name}/install"), Some(&install))?;
        }
        for (number, host) in (1u64..).zip(hosts) {
            let kind = match number {
                1 => Kind::Quick,
                6 => Kind::Broken,
                // Armed, and enrolled: both were never switched on.
                4 | 8 => continue,
                _ => Kind::Slow,
            };
            site.room.ip(&format!("address add {}/16 dev {ROOM_LINK}", host.address))?;
            let (stop, ceiling) = (rack.stop.clone(), rack.ceiling.clone());
            rack.threads.push(scope.spawn(move || {
                site.room.join_current_thread()?;
                live(&host, kind, number, (&stop, &ceiling))
            }));
        }
        let until = Instant::now() + Duration::from_secs(60);
        for (name, condition) in [
            ("r1-n01", "running"),
            ("r1-n02", "waiting"),
            ("r1-n03", "waiting"),
            ("r1-n05", "waiting"),
            ("r1-n06", "failed"),
            ("r1-n07", "waiting"),
        ] {
            wait_for(&api, name, condition, until)?;
        }
        Ok(rack)
    }

    /// Lets slow machines write on until that many percent.
    pub fn write_to(&self, percent: u64) {
        self.ceiling.fetch_max(percent, Ordering::Relaxed);
    }

    /// Switches all of them off; the first error that one of them met.
    ///
    /// # Errors
    /// As said.
    pub fn end(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| anyhow!("a machine panicked"))??;
        }
        Ok(())
    }
}

fn wait_for(api: &LocalApi, name: &str, condition: &str, until: Instant) -> Result<()> {
    loop {
        let host = api.get(&format!("/hosts/{name}"))?;
        if host.get("condition").and_then(Value::as_str) == Some(condition) {
            return Ok(());
        }
        ensure!(Instant::now() < until, "{name} is not {condition}: {host:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn machine(number: u8) -> FakeHost {
    let mut host = FakeHost::new(u32::from(number), Ipv4Addr::new(10, 77, 1, number));
    host.serial = format!("A300918X9C044{number:02}");
    for nic in &mut host.facts.nics {
        nic.driver = "igb".into();
    }
    let (vendor, product, cpu, cores, memory) = match number {
        3 => ("Lenovo", "ThinkCentre M720q", "Core i5-9400T", 6, 16),
        7 => ("HPE", "ProLiant DL360 Gen9", "Xeon E5-2640 v4", 10, 128),
        _ => ("Supermicro", "SYS-5019D", "Xeon D-2123IT", 4, 64),
    };
    let mut nvme = disk("nvme0n1", &format!("S4EVNF0M91{number:04}"), 512_110_190_592);
    nvme.model = "SAMSUNG MZVLB512HAJQ".into();
    nvme.transport = Transport::Nvme;
    let disks = match number {
        3 => vec![Disk { content: windows(), ..nvme }],
        7 => vec![Disk { content: data(), ..sata("sda", "S2HRNXAH300391") }, sata("sdb", "S2HRNXAH300392")],
        _ => vec![nvme],
    };
    host.facts = Facts {
        cpu: Cpu { model: cpu.into(), sockets: 1, cores, threads: cores * 2 },
        memory_bytes: memory << 30,
        disks,
        smbios: Smbios {
            vendor: vendor.into(),
            product: product.into(),
            serial: host.serial.as_str().into(),
            firmware_version: "1.4".into(),
            firmware_date: "04/21/2020".into(),
            ..Smbios::default()
        },
        secure_boot: Some(false),
        ..host.facts
    };
    host
}

fn sata(name: &str, serial: &str) -> Disk {
    Disk { model: "SAMSUNG MZ7LM480".into(), transport: Transport::Sata, ..disk(name, serial, 480_103_981_056) }
}

fn windows() -> DiskContent {
    let part = |number, size_bytes, filesystem: &str, label: &str| Partition {
        number,
        size_bytes,
        filesystem: filesystem.into(),
        label: label.into(),
    };
    DiskContent {
        table: Some("gpt".into()),
        partitions: vec![
            part(1, 104_857_600, "vfat", "SYSTEM"),
            part(2, 489_000_000_000, "ntfs", "Windows"),
            part(3, 21_000_000_000, "ntfs", "Recovery"),
        ],
        system: Some("Windows 11".into()),
        signature: None,
        blank: false,
    }
}

fn data() -> DiskContent {
    DiskContent { signature: Some("Linux RAID member".into()), ..DiskContent::default() }
}

/// Boots from the network and does what the box says, until its own system is up or `stop` is set.
fn live(host: &FakeHost, kind: Kind, seed: u64, (stop, ceiling): (&AtomicBool, &AtomicU64)) -> Result<()> {
    let until = Instant::now() + LIMIT;
    let mut life = Life::new(Faults::default(), seed);
    let mut first_boot: Option<String> = None;
    while !stop.load(Ordering::Relaxed) {
        ensure!(Instant::now() < until, "{} did not end", host.mac);
        match (host.script(BOOT), first_boot.take()) {
            (Ok(Script::RamOs { token, .. }), _) => {
                let mut agent = FakeAgent::new(host, BOOT, token, &mut life);
                while !matches!(agent.hello(), Said::Answer(_)) && !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(100));
                }
                first_boot = serve(&mut agent, kind, (stop, ceiling), until)?;
            }
            (Ok(Script::LocalDisk), Some(token)) => {
                let mut system = FakeAgent::new(host, BOOT, token, &mut life);
                let up = News::FirstBoot { hostname: "fake".into() };
                ensure!(system.insist(&up, until)? == Verdict::Taken, "{}: its first boot was refused", host.mac);
                return Ok(());
            }
            // The box is away, or has nothing yet: ask again, as firmware does.
            (_, token) => {
                first_boot = token;
                std::thread::sleep(Duration::from_millis(200));
            }
        }
    }
    Ok(())
}

/// One boot of the RAM OS; what the written system has to report with, if one was written.
fn serve(
    agent: &mut FakeAgent<'_>,
    kind: Kind,
    (stop, ceiling): (&AtomicBool, &AtomicU64),
    until: Instant,
) -> Result<Option<String>> {
    let mut first_boot = None;
    while !stop.load(Ordering::Relaxed) {
        let (run, order) = match agent.next(&[], Duration::from_secs(2)) {
            Said::Answer(Answer::Run { run, order }) => (run, order),
            Said::Answer(Answer::ToDisk { .. } | Answer::Restart { .. } | Answer::PowerOff { .. })
            | Said::Refused(404) => break,
            _ => continue,
        };
        if !matches!(*order, TaskOrder::Restart {}) {
            agent.insist(&News::Started { run: run.clone() }, until)?;
        }
        match (&*order, kind) {
            (TaskOrder::WriteImage { .. }, Kind::Broken) => {
                let message = "nvme0n1 refused to be written: input/output error.".into();
                agent.insist(&News::Failed { run, transient: false, message }, until)?;
                continue;
            }
            (TaskOrder::WriteImage { .. }, Kind::Slow) => write(agent, &run, stop, ceiling),
            (TaskOrder::WriteImage { .. }, Kind::Quick) => {}
            (TaskOrder::Configure { files, .. }, _) => {
                let token = files.iter().find_map(|file| file.content.split_once("\"token\":\"")?.1.split('"').next());
                first_boot = Some(token.context("no file of the order holds a first-boot token")?.to_owned());
            }
            (TaskOrder::Restart {}, _) => {}
        }
        agent.insist(&News::Done { run }, until)?;
        if matches!(*order, TaskOrder::Restart {}) {
            break;
        }
    }
    Ok(first_boot)
}

/// Tells progress four times a second, as the agent does; what is lost of it is lost.
fn write(agent: &mut FakeAgent<'_>, run: &Run, stop: &AtomicBool, ceiling: &AtomicU64) {
    let mut done = 0;
    let mut sway = 0;
    while done < TOTAL && !stop.load(Ordering::Relaxed) {
        // A disk is not always equally fast.
        sway = (sway + 7) % 20;
        let rate = RATE + sway * 200_000;
        let most = TOTAL * ceiling.load(Ordering::Relaxed).min(100) / 100;
        done = (done + rate / 4).min(most.max(done));
        let progress = Progress { done_bytes: done, total_bytes: TOTAL, bytes_per_s: rate, written_bytes: done * 4 };
        let _ = agent.report(&News::Progress { run: run.clone(), progress });
        std::thread::sleep(Duration::from_millis(250));
    }
}
