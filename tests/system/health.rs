//! A box in trouble: a part of it hangs, its card turns read-only or runs full, its supply voltage drops.
//!
//! `RACKBERRY_SOAK=1` hangs it fifty times instead of three, and fills its disk 200 times instead of five.

#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by a name that it lacks is null, never a panic")]

use anyhow::{Context, Result, ensure};
use nix::{
    sys::{
        ptrace,
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};
use serde_json::json;
use std::{
    net::Ipv4Addr,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};
use system_tests::{
    Appliance, Dice, FakeHost, Faults, Life, PxeClient, Site, appliance,
    fake_agent::Said,
    leftovers, output,
    pxe::{Kind, Machine},
    site::{self, BOOT, ROOM_LINK, cli, cli_json},
};

/// Many times what is usual, as the machine may be slow and busy.
const LIMIT: Duration = Duration::from_secs(240);

fn soak() -> bool {
    std::env::var_os("RACKBERRY_SOAK").is_some()
}

/// Threads of a process that stand still while this lives, as in an endless loop or a deadlock. Belongs to one thread.
struct Held(Vec<Pid>);

impl Held {
    fn hold(process: i32, name: &str) -> Result<Self> {
        let mut held = Held(Vec::new());
        for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
            let thread = thread?;
            let comm = std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
            if comm.trim_end().starts_with(name) {
                let thread = Pid::from_raw(thread.file_name().to_string_lossy().parse()?);
                ptrace::seize(thread, ptrace::Options::empty())?;
                ptrace::interrupt(thread)?;
                waitpid(thread, Some(WaitPidFlag::__WALL))?;
                held.0.push(thread);
            }
        }
        ensure!(!held.0.is_empty(), "no thread of {process} is called {name}");
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for thread in &self.0 {
            let _ = ptrace::detach(*thread, None);
        }
    }
}

/// A box, and what it tells its service manager.
struct Watched {
    site: Site,
    appliance: Appliance,
    manager: UnixDatagram,
}

impl Watched {
    fn start() -> Result<Self> {
        let site = Site::new()?;
        let path = site.scratch().join("manager");
        let manager = UnixDatagram::bind(&path)?;
        manager.set_read_timeout(Some(LIMIT))?;
        let path = path.to_str().context("the folder's name is no UTF-8")?;
        let settings = site.settings("mode = \"server\"\npool = \"10.77.64.0-10.77.127.255\"", "");
        let environment = [("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", "20000000")];
        let appliance = Appliance::start_with(&appliance::binary()?, &site.seat, &settings, &environment)?;
        Ok(Self { site, appliance, manager })
    }

    /// Waits until the service manager is told this.
    fn told(&self, wanted: &str) -> Result<()> {
        let mut buffer = [0; 4096];
        let until = Instant::now() + LIMIT;
        loop {
            let length = self.manager.recv(&mut buffer).with_context(|| format!("wait for {wanted}"))?;
            let said = String::from_utf8_lossy(&buffer[..length]);
            if said.lines().any(|line| line == wanted) {
                return Ok(());
            }
            ensure!(Instant::now() < until, "no {wanted}, but {said}");
        }
    }
}

/// Hangs the threads of that name; which part was found late, and how long it took until it served again.
fn hang(watched: &mut Watched, threads: &str) -> Result<(String, Duration)> {
    watched.told("WATCHDOG=1")?;
    let mark = watched.appliance.log().mark();
    let began = Instant::now();
    let held = Held::hold(watched.appliance.pid()?.as_raw_nonzero().get(), threads)?;
    watched.told("WATCHDOG=trigger")?;
    let line = watched.appliance.log().wait_after(mark, "no watchdog is fed any more: late: ", LIMIT)?;
    let part = line.split("late: ").nth(1).and_then(|rest| rest.split(" did").next()).unwrap_or_default().to_owned();
    // What a service manager does on that word.
    drop(held);
    watched.appliance.restart()?;
    PxeClient::new(&watched.site.room, ROOM_LINK)?.lease(&Machine::new(1, Kind::BiosPxe), LIMIT)?;
    Ok((part, began.elapsed()))
}

#[test]
fn a_part_that_hangs_is_found_and_named_and_the_service_manager_told_to_act() -> Result<()> {
    let rounds = if soak() { 17 } else { 1 };
    let kinds = [("dhcp", &["DHCP"][..]), ("inventory", &["the database"]), ("tokio", &["HTTP", "the database"])];
    std::thread::scope(|scope| {
        let running: Vec<_> = kinds
            .iter()
            .map(|(threads, parts)| {
                scope.spawn(move || {
                    let mut watched = Watched::start()?;
                    let mut worst = Duration::ZERO;
                    for _ in 0..rounds {
                        let (part, back) = hang(&mut watched, threads)?;
                        ensure!(parts.contains(&part.as_str()), "{threads}: {part} was named");
                        worst = worst.max(back);
                    }
                    println!("health: {rounds} hangs of {threads}: served again after {worst:.1?} at most");
                    Ok(())
                })
            })
            .collect();
        running.into_iter().try_for_each(|run| run.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)
    })
}

/// A state folder on a file system of its own.
struct Disk {
    folder: tempfile::TempDir,
    target: PathBuf,
    options: &'static str,
}

impl Disk {
    /// Puts it under the box's state, which moves into it; the box is started again.
    fn under(appliance: &mut Appliance, image: Option<u64>, options: &'static str) -> Result<Self> {
        appliance.stop(LIMIT)?;
        let disk = Disk { folder: leftovers::disk_folder("disk")?, target: appliance.state_dir(), options };
        if let Some(size) = image {
            std::fs::File::create(disk.image())?.set_len(size)?;
            output(Command::new("mkfs.ext4").arg("-q").arg(disk.image()))?;
        }
        let aside = disk.target.with_extension("aside");
        std::fs::rename(&disk.target, &aside)?;
        std::fs::create_dir(&disk.target)?;
        disk.mount()?;
        output(Command::new("cp").arg("-a").arg(aside.join(".")).arg(&disk.target))?;
        // What the box itself wrote was on its disk.
        output(Command::new("sync").arg("-f").arg(&disk.target))?;
        appliance.restart()?;
        Ok(disk)
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn mount(&self) -> Result<()> {
        let mut command = Command::new("mount");
        match self.image().exists() {
            true => command.args(["-o", self.options]).arg(self.image()),
            false => command.args(["-t", "tmpfs", "-o", self.options, "tmpfs"]),
        };
        output(command.arg(&self.target)).map(drop)
    }

    /// Puts a repaired copy in its place. The old one may stay mounted for others: a namespace that was made meanwhile has it.
    fn replace(&self) -> Result<()> {
        output(Command::new("umount").arg("-l").arg(&self.target))?;
        let copy = self.folder.path().join("copy");
        output(Command::new("cp").arg("--sparse=always").arg(self.image()).arg(&copy))?;
        std::fs::rename(&copy, self.image())?;
        let _repaired = Command::new("e2fsck").arg("-fy").arg(self.image()).output()?;
        self.mount()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.target).status();
    }
}

/// Waits until an alarm says so, on the API and on the page alike.
fn alarm(appliance: &Appliance, word: &str) -> Result<Duration> {
    let began = Instant::now();
    loop {
        let alarms = cli_json(appliance, &["status"])?["alarms"].to_string();
        if alarms.contains(word) {
            return Ok(began.elapsed());
        }
        ensure!(began.elapsed() < LIMIT, "no alarm says {word}: {alarms}\n{}", appliance.log().text());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn host(site: &Site, number: u8) -> Result<FakeHost> {
    let address = Ipv4Addr::new(10, 77, 1, number);
    site.room.ip(&format!("address add {address}/16 dev {ROOM_LINK}"))?;
    Ok(FakeHost::new(number.into(), address))
}

#[test]
fn a_card_that_turns_read_only_stops_neither_dhcp_nor_a_running_install_and_the_box_says_so() -> Result<()> {
    let site = Site::new()?;
    let mut appliance = site.serve("")?;
    let image = site.import_image(&appliance)?;
    let digest = image["digest"].as_str().context("no digest")?.to_owned();
    let disk = Disk::under(&mut appliance, Some(96 << 20), "loop,errors=remount-ro")?;
    let api = site::api(&appliance);
    let host = host(&site, 1)?;
    let path = format!("/hosts/{}", host.mac.hyphens());
    site.room.enter(|| {
        ensure!(matches!(host.boot(BOOT, &mut Life::new(Faults::default(), 1))?.hello(), Said::Answer(_)), "hello");
        Ok(())
    })?;
    api.call("POST", &format!("{path}/install"), Some(&json!({ "profile": "debian-13", "erase": true })))?;
    let phase = || Ok::<_, anyhow::Error>(api.get(&path)?.pointer("/install/state/phase").cloned().unwrap_or_default());
    let client = PxeClient::new(&site.room, ROOM_LINK)?;

    std::thread::scope(|scope| {
        let living = scope.spawn(|| {
            site.room.enter(|| host.live(BOOT, &mut Life::new(Faults::default(), 2), Instant::now() + LIMIT))
        });
        let until = Instant::now() + LIMIT;
        while phase()? == "armed" || phase()? == "booting" {
            ensure!(Instant::now() < until, "the install does not begin");
            std::thread::sleep(Duration::from_millis(5));
        }
        give_up(&disk.target)?;
        let began = Instant::now();
        println!("health: the page says that the card is read-only after {:.1?}", alarm(&appliance, "read-only")?);
        for number in 50..60 {
            client.lease(&Machine::new(number, Kind::BiosPxe), LIMIT)?;
        }
        let served = site.room.enter(|| host.request(BOOT, "GET", &format!("/images/{digest}")))?;
        ensure!(served.status == 200 && served.body.len() == 1 << 20, "{}", served.status);
        let refused = cli(&appliance, &["host", "add", "02:00:00:00:00:77", "late"])?;
        ensure!(!refused.status.success(), "what cannot be stored is not acknowledged");
        ensure!(appliance.get("/health")?.expect_status(200).is_ok(), "a failing card is no reason to start again");
        println!("health: 10 leases and an image given while the card was read-only, {:.1?}", began.elapsed());

        // A new card, with what was on the old one.
        appliance.kill()?;
        disk.replace()?;
        appliance.restart()?;
        let lived = living.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
        lived.with_context(|| appliance.log().text())
    })?;
    ensure!(phase()? == "done", "{}", api.get(&path)?);
    let alarms = cli_json(&appliance, &["status"])?["alarms"].to_string();
    ensure!(!alarms.contains("read-only"), "{alarms}");
    Ok(())
}

/// Makes the kernel believe that the file system on this folder met an error.
fn give_up(folder: &Path) -> Result<()> {
    let source = output(Command::new("findmnt").args(["-no", "SOURCE"]).arg(folder))?;
    let name = source.trim().trim_start_matches("/dev/").to_owned();
    let trigger = format!("/sys/fs/ext4/{name}/trigger_fs_error");
    std::fs::write(&trigger, "1").with_context(|| format!("write {trigger}"))
}

#[test]
fn a_disk_that_runs_full_at_any_moment_loses_nothing_and_the_box_stays_up() -> Result<()> {
    let seed = Dice::seed();
    println!("health: RACKBERRY_SEED={seed}");
    let mut dice = Dice::new(seed);
    let site = Site::new()?;
    let mut appliance = site.serve("")?;
    let _disk = Disk::under(&mut appliance, None, "size=24m")?;
    let state = appliance.state_dir();
    let filler = state.join("filler");
    let (mut kept, mut refused) = (Vec::new(), 0);
    let mut number = 0_u32;
    let rounds = if soak() { 200 } else { 5 };
    for round in 0..rounds {
        let full_at = dice.below(8);
        for step in 0..12 {
            if step == full_at {
                // To the last byte.
                let _full = Command::new("dd")
                    .args(["if=/dev/zero", "bs=4k"])
                    .arg(format!("of={}", filler.display()))
                    .output()?;
            }
            number += 1;
            let name = format!("node-{number}");
            let mac = format!("02:00:00:00:{:02x}:{:02x}", number >> 8, number & 255);
            match cli(&appliance, &["host", "add", &mac, &name])?.status.success() {
                true => kept.push(name),
                false => refused += 1,
            }
        }
        let small = site.scratch().join("small");
        std::fs::write(&small, [1; 1000])?;
        let upload = cli(&appliance, &["image", "import", small.to_str().unwrap_or_default(), "--name", "small"])?;
        ensure!(!upload.status.success() && String::from_utf8_lossy(&upload.stderr).contains("room"), "{upload:?}");
        ensure!(std::fs::read_dir(state.join("images/incoming"))?.next().is_none(), "nothing of the upload stays");
        if round == 0 {
            alarm(&appliance, "Less than 16 MB")?;
        }
        appliance.pid()?;
        if round % 4 == 3 {
            // With the disk still full.
            appliance.kill()?;
            std::fs::remove_file(&filler)?;
            appliance.restart()?;
        } else {
            std::fs::remove_file(&filler)?;
        }
        let hosts = cli_json(&appliance, &["host", "list"])?;
        let there: Vec<&str> =
            hosts.as_array().into_iter().flatten().filter_map(|host| host["name"].as_str()).collect();
        let lost: Vec<_> = kept.iter().filter(|name| !there.contains(&name.as_str())).collect();
        ensure!(lost.is_empty(), "round {round}: {lost:?} were acknowledged and are gone");
    }
    ensure!(refused > 0, "the disk was never full");
    println!("health: full {rounds} times, {refused} changes refused, 0 of {} acknowledged ones lost", kept.len());
    Ok(())
}

#[test]
fn a_low_voltage_is_an_alarm_and_refuses_imports_until_it_is_over() -> Result<()> {
    let site = Site::new()?;
    let sys = site.scratch().join("sys");
    let sensor = sys.join("class/hwmon/hwmon0");
    std::fs::create_dir_all(&sensor)?;
    std::fs::write(sensor.join("name"), "rpi_volt\n")?;
    std::fs::write(sensor.join("in0_lcrit_alarm"), "0\n")?;
    let settings = site.settings("mode = \"server\"\npool = \"10.77.64.0-10.77.127.255\"", "");
    let environment = [("RACKBERRY_SYS", sys.to_str().context("the folder's name is no UTF-8")?)];
    let appliance = Appliance::start_with(&appliance::binary()?, &site.seat, &settings, &environment)?;
    site.import_image(&appliance)?;
    std::fs::write(sensor.join("in0_lcrit_alarm"), "1\n")?;
    println!("health: the undervoltage is told after {:.1?}", alarm(&appliance, "supply voltage")?);
    let path = site.scratch().join("other.raw");
    std::fs::write(&path, site::disk_image(4096))?;
    let refused = cli(&appliance, &["image", "import", path.to_str().unwrap_or_default(), "--name", "other"])?;
    ensure!(String::from_utf8_lossy(&refused.stderr).contains("supply voltage"), "{refused:?}");
    let history = cli(&appliance, &["events"])?;
    ensure!(String::from_utf8_lossy(&history.stdout).contains("supply voltage"), "history tells of it: {history:?}");
    Ok(())
}
