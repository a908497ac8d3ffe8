//! Whole installs on real firmware: from a blank disk to the system's own login prompt, and what happens afterwards.
//!
//! Between them they write the three usual packings of an image. `RACKBERRY_SOAK=1` restarts the installed machines ten
//! times instead of once.

#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by a name that it lacks is null, never a panic")]

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    fs::File,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use system_tests::{
    Firmware, Vm, leftovers,
    rack::{self, Rack},
};

/// Many times what is usual, as the machine may be slow and busy.
const LIMIT: Duration = Duration::from_secs(900);
/// How long the box is away in the middle of a write.
const AWAY: Duration = Duration::from_secs(60);

fn rack_with(image: &Path, name: &str) -> Result<Rack> {
    let rack = Rack::start("")?;
    rack.cli(&["image", "import", image.to_str().context("the image's path is no UTF-8")?, "--name", name])?;
    Ok(rack)
}

fn name_of(host: &Value) -> String {
    host["name"].as_str().unwrap_or_default().to_owned()
}

/// Orders the install once the machine waits; the host's name.
fn install(rack: &Rack, vm: &Vm, title: &str, order: &[&str]) -> Result<String> {
    let began = Instant::now();
    let host = vm.with_last_words(rack.wait_condition(vm.mac(), "waiting", LIMIT))?;
    let name = name_of(&host);
    println!("{title}: waiting after {} s", began.elapsed().as_secs());
    rack.cli(&[&["install", &name], order].concat())?;
    Ok(name)
}

fn finish(rack: &Rack, vm: &Vm, title: &str, began: Instant) -> Result<()> {
    let phase = |host: &Value| host["install"]["state"]["phase"].as_str().map(str::to_owned);
    let over = ["done", "failed", "timed_out", "cancelled", "interrupted"];
    let ended = rack.wait_host(vm.mac(), "end of its install", LIMIT, |host| {
        phase(host).filter(|phase| over.contains(&phase.as_str())).map(|_| host.clone())
    });
    let ended = vm.with_last_words(ended)?;
    ensure!(phase(&ended).as_deref() == Some("done"), "{title}: {} {}", ended["sentence"], ended["install"]);
    vm.wait_for("login:", LIMIT)?;
    println!("{title}: up from its own disk after {} s", began.elapsed().as_secs());
    Ok(())
}

/// The stations of the last boot, with seconds since the first of them.
fn stations(rack: &Rack, vm: &Vm) -> Result<String> {
    let host = rack.host(vm.mac())?.context("the host is gone")?;
    let stations = host["stations"].as_array().cloned().unwrap_or_default();
    let at = |station: &Value| station[1].as_u64().unwrap_or(0);
    let first = stations.iter().map(at).min().unwrap_or(0);
    let told = stations.iter().map(|s| format!("{} {} s", s[0].as_str().unwrap_or("?"), (at(s) - first) / 1000));
    Ok(told.collect::<Vec<_>>().join(", "))
}

/// How often the host's history shows an erase beginning.
fn erases(rack: &Rack, name: &str) -> Result<usize> {
    let events = rack.events(name)?;
    Ok(events.iter().filter(|event| event["kind"] == "task_started" && event["task"] == "write-image").count())
}

fn installed_then_rebooted(firmware: Firmware, title: &str, mac: &str) -> Result<()> {
    let rack = rack_with(&rack::image()?, "debian-13")?;
    let began = Instant::now();
    let mut vm = rack.power_on(Vm::builder(firmware).mac(Some(mac)).memory(1024))?;
    let name = install(&rack, &vm, title, &["debian-13", "--set", "user=admin"])?;
    finish(&rack, &vm, title, began)?;
    let lived: Vec<String> =
        vm.console().text().lines().filter(|line| line.contains(&name)).map(str::to_owned).collect();
    ensure!(lived.iter().any(|line| line.contains(&format!("{name} login"))), "it does not know its name: {lived:?}");
    let reboots = if std::env::var_os("RACKBERRY_SOAK").is_some() { 10 } else { 3 };
    for round in 1..=reboots {
        let mark = vm.console().mark();
        let began = Instant::now();
        vm.reset()?;
        vm.wait_after(mark, "starts from its own disk", LIMIT)?;
        let handed = began.elapsed();
        vm.wait_after(mark, "login:", LIMIT)?;
        println!(
            "{title}: reboot {round} was sent to its own disk after {} s and reached its login after {} s; stations: {}",
            handed.as_secs(),
            began.elapsed().as_secs(),
            stations(&rack, &vm)?
        );
    }
    let erases = erases(&rack, &name)?;
    ensure!(erases == 1, "{title}: {erases} erases in one install and {reboots} reboots");
    println!("{title}: {reboots} reboots, 0 re-installs");
    Ok(())
}

#[test]
fn bios_from_blank_disk_to_its_own_disk_again() -> Result<()> {
    installed_then_rebooted(Firmware::Bios, "BIOS", "52:54:00:77:03:01")
}

#[test]
fn uefi_from_blank_disk_to_its_own_disk_again() -> Result<()> {
    installed_then_rebooted(Firmware::OvmfPxe, "UEFI", "52:54:00:77:03:02")
}

/// The image in gzip, as many offer theirs.
fn in_gzip(image: &Path, packed: &Path) -> Result<()> {
    let mut unpack = Command::new("zstd").args(["-dc", "--"]).arg(image).stdout(Stdio::piped()).spawn()?;
    let raw = unpack.stdout.take().context("no output")?;
    let status = Command::new("gzip").args(["-1", "-c"]).stdin(raw).stdout(File::create(packed)?).status()?;
    ensure!(status.success() && unpack.wait()?.success(), "packing {} in gzip", image.display());
    Ok(())
}

#[test]
fn a_write_goes_on_where_it_was_after_the_box_was_killed_and_away_for_a_minute() -> Result<()> {
    let title = "BIOS, image in gzip, box killed";
    let folder = leftovers::disk_folder("image")?;
    let image = folder.path().join("debian-13.raw.gz");
    in_gzip(&rack::image()?, &image)?;
    let mut rack = rack_with(&image, "debian-13")?;
    let began = Instant::now();
    let vm = rack.power_on(Vm::builder(Firmware::Bios).mac(Some("52:54:00:77:03:03")).memory(1024))?;
    let name = install(&rack, &vm, title, &["debian-13", "--set", "user=admin"])?;
    let percent = rack.wait_host(vm.mac(), "first part of the write", LIMIT, |host| {
        let tasks = host["install"]["state"]["tasks"].as_array()?;
        let write = tasks.iter().find(|task| task["spec"]["name"] == "write-image")?;
        let percent = host["percent"].as_u64()?;
        (write["status"] == "running" && percent > 0).then_some(percent)
    })?;
    rack.appliance.kill()?;
    println!("{title}: SIGKILL at {percent} % after {} s", began.elapsed().as_secs());
    let line = vm.wait_for("stopped at byte", LIMIT)?;
    std::thread::sleep(AWAY);
    rack.appliance.restart()?;
    let restarted = Instant::now();
    finish(&rack, &vm, title, began)?;
    let byte = line.split("stopped at byte ").nth(1).and_then(|rest| rest.split(':').next()).map(str::parse::<u64>);
    ensure!(byte.and_then(Result::ok).is_some_and(|byte| byte > 0), "it had nothing yet: {line}");
    println!("{title}: {line}; {AWAY:?} later the box was back, done {} s after", restarted.elapsed().as_secs());
    let erases = erases(&rack, &name)?;
    ensure!(erases == 1, "{erases} erases");
    Ok(())
}

/// Runs a command in the installed machine as the person who has the key.
fn ssh(rack: &Rack, key: &Path, to: &str, command: &str) -> Result<String> {
    let key = key.to_str().context("the key's path is no UTF-8")?;
    let options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=60", "BatchMode=yes"];
    let mut arguments = vec!["-q", "-F", "none", "-i", key];
    arguments.extend(options.iter().flat_map(|option| ["-o", option]));
    arguments.extend([to, command]);
    rack.ns.run("ssh", &arguments)
}

#[test]
fn a_cloud_image_takes_all_from_its_seed_and_boots_its_disk_first() -> Result<()> {
    let (title, address) = ("UEFI, cloud image in xz, disk first", "192.168.77.30");
    let mut rack = rack_with(&rack::cloud_image()?, "debian-13-cloud-init")?;
    let profile = Path::new(env!("CARGO_MANIFEST_DIR")).join("qemu/cloud-init");
    copy_files(&profile, &rack.appliance.state_dir().join("catalog/debian-13-cloud-init"))?;
    // Own profiles are read at the start.
    rack.appliance.restart()?;
    let folder = leftovers::folder("key")?;
    let key = folder.path().join("key");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status()?;
    ensure!(made.success(), "ssh-keygen: {made}");
    let public = std::fs::read_to_string(key.with_extension("pub"))?;

    let began = Instant::now();
    let machine = Vm::builder(Firmware::OvmfPxe).own_order().mac(Some("52:54:00:77:03:04")).memory(1024);
    let mut vm = rack.power_on(machine)?;
    let settings = ["user=jane".to_owned(), format!("ssh_keys={}", public.trim()), format!("address={address}/24")];
    let mut order = vec!["debian-13-cloud-init"];
    order.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    let name = install(&rack, &vm, title, &order)?;
    finish(&rack, &vm, title, began)?;

    // Who gets in proves user, key and network; what cloud-init wrote down proves whose doing it was.
    let told = ssh(&rack, &key, &format!("jane@{address}"), "hostname; cat /run/cloud-init/status.json; sync")?;
    ensure!(told.lines().next() == Some(name.as_str()), "it is called {told}");
    ensure!(told.contains("DataSourceNoCloud [seed=/var/lib/cloud/seed/nocloud]"), "{told}");
    println!("{title}: jane logs in at {address}, cloud-init had its seed");

    // An order changes nothing by itself: a person has to make this machine boot from the network.
    rack.cli(&[&["install", &name, "--yes"], order.as_slice()].concat())?;
    let armed = rack.host(vm.mac())?.context("the host is gone")?;
    ensure!(armed["sentence"].as_str().is_some_and(|said| said.contains("press the network-boot key")), "{armed}");
    let mark = vm.console().mark();
    let restarted = Instant::now();
    vm.reset()?;
    vm.wait_after(mark, &format!("{name} login:"), LIMIT)?;
    let said = vm.console().text().split_off(mark);
    for asked in ["PXE", "HTTP", "starts from its own disk"] {
        ensure!(!said.contains(asked), "it asked the network: {:?}", said.lines().find(|line| line.contains(asked)));
    }
    let host = rack.host(vm.mac())?.context("the host is gone")?;
    ensure!(host["stations"] == armed["stations"] && host["condition"] == "armed", "the box was asked: {host}");
    ensure!(erases(&rack, &name)? == 1, "it was erased again");
    println!("{title}: armed again and restarted, its own login after {} s, no network", restarted.elapsed().as_secs());
    Ok(())
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
