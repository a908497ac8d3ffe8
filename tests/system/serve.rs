//! The box as its users meet it: started without settings, asked by command line, API and firmware, stopped, restored.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{
    net::Ipv4Addr,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};
use system_tests::{
    Appliance, Console, Dnsmasq, FakeHost, Faults, Life, Netns, PxeClient, Site, appliance,
    fake_agent::{Said, Script, disk},
    pxe::{
        Kind, Machine,
        message::{kind, option},
        tftp,
        web::{Connection, Reply},
    },
    site::{self, BOOT, BOX, ROOM, ROOM_LINK, cli, cli_json},
};

const PATIENCE: Duration = Duration::from_secs(20);

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What a command says that has to fail with exit code 1.
fn refusal(output: &Output) -> Result<String> {
    ensure!(output.status.code() == Some(1), "{}: {}", output.status, said(output));
    Ok(said(output))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A machine at an address of its own in the hosts' namespace.
fn host(site: &Site, number: u8) -> Result<FakeHost> {
    let address = Ipv4Addr::new(10, 77, 1, number);
    site.room.ip(&format!("address add {address}/16 dev {ROOM_LINK}"))?;
    Ok(FakeHost::new(number.into(), address))
}

/// Boots it into the RAM OS and lets its agent say what it found.
fn discover(site: &Site, host: &FakeHost) -> Result<()> {
    site.room.enter(|| {
        let mut life = Life::new(Faults::default(), 1);
        let said = host.boot(BOOT, &mut life)?.hello();
        ensure!(matches!(said, Said::Answer(_)), "hello: {said:?}");
        Ok(())
    })
}

#[test]
fn without_settings_and_address_it_waits_and_names_net_up_which_makes_it_ready() -> Result<()> {
    let (seat, room) = (Netns::new()?, Netns::new()?);
    seat.veth("eth0", &room, "c0")?;
    let state = tempfile::tempdir()?;
    let began = Instant::now();
    let mut command = seat.command(appliance::binary()?.to_str().context("the program's name is no UTF-8")?);
    command.arg("--state-dir").arg(state.path().join("state")).arg("serve").env_remove("RACKBERRY_CONFIG");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let console = Console::new();
    let outcome = (|| {
        console.follow(child.stderr.take().context("no standard error")?, None)?;
        let line = console.wait_for("waiting for the network", PATIENCE)?;
        ensure!(line.contains("rackberry net-up") && line.contains("eth0"), "{line}");
        let waits = began.elapsed();
        ensure!(console.count("is ready") == 0, "{}", console.text());
        let up = seat.run(appliance::binary()?.to_str().unwrap_or_default(), &["net-up"])?;
        ensure!(up.contains("eth0 is 192.168.77.1/24") || up.contains("it is 192.168.77.1/24"), "{up}");
        console.wait_for("rackberry is ready", PATIENCE)?;
        println!("net-up: waits after {waits:?}, ready after {:?} in all", began.elapsed());
        let again = seat.run(appliance::binary()?.to_str().unwrap_or_default(), &["net-up"])?;
        ensure!(again.contains("keeps 192.168.77.1/24"), "{again}");
        Ok(())
    })();
    child.kill()?;
    child.wait()?;
    outcome
}

#[test]
fn net_up_takes_an_address_where_a_server_gives_one() -> Result<()> {
    let (seat, room) = (Netns::new()?, Netns::new()?);
    seat.veth("eth0", &room, "c0")?;
    room.up("c0", Some("10.91.0.1/24"))?;
    let _server = Dnsmasq::start(&room, &["interface=c0", "dhcp-range=10.91.0.10,10.91.0.99,10m"])?;
    let up = seat.run(appliance::binary()?.to_str().unwrap_or_default(), &["net-up", "eth0"])?;
    assert!(up.contains("from the DHCP server 10.91.0.1"), "{up}");
    assert!(seat.ip("address show eth0")?.contains("10.91.0."));
    Ok(())
}

#[test]
fn mistakes_in_settings_are_named_with_their_lines() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let check = |content: &str| -> Result<Output> {
        let path = dir.path().join("rackberry.toml");
        std::fs::write(&path, content)?;
        Ok(Command::new(appliance::binary()?).arg("check-config").arg(path).output()?)
    };
    let wrong = "[dhcp]\nmode = \"full\"\nlease_s = 1\n[boot]\nport = 0\nflavour = 1\n[kitchen]\nsink = true\n";
    let words = refusal(&check(wrong)?)?;
    for named in ["line 2: dhcp.mode", "line 3: dhcp.lease_s", "line 5: boot.port", "line 6", "line 7"] {
        assert!(words.contains(named), "{named} is missing in {words}");
    }
    assert!(words.contains("auto, observe, proxy, pxe-only or server"), "{words}");
    assert!(refusal(&check("[dhcp\n")?)?.contains("line 1"));
    for right in ["", "[dhcp]\nmode = \"server\"\n"] {
        assert!(check(right)?.status.success(), "{right:?}");
    }
    let sample = Command::new(appliance::binary()?).args(["config", "sample"]).output()?;
    assert!(check(&String::from_utf8(sample.stdout)?)?.status.success(), "the sample is in order");
    let missing = Command::new(appliance::binary()?).args(["check-config", "/no/such/file"]).output()?;
    assert!(refusal(&missing)?.contains("/no/such/file"));
    let usage = Command::new(appliance::binary()?).args(["host", "frobnicate"]).output()?;
    assert_eq!(usage.status.code(), Some(2), "a mistake in the command itself");
    // The same mistakes keep `serve` from starting.
    let path = dir.path().join("rackberry.toml");
    std::fs::write(&path, wrong)?;
    let mut serve = Command::new(appliance::binary()?);
    serve.arg("--state-dir").arg(dir.path().join("state")).arg("serve").arg("--config").arg(&path);
    assert!(refusal(&serve.output()?)?.contains("line 2: dhcp.mode"));
    // And every value says where it comes from.
    std::fs::write(&path, "[dhcp]\nmode = \"server\"\n")?;
    let mut show = Command::new(appliance::binary()?);
    let shown = show.args(["--json", "config", "show", "--config"]).arg(&path).output()?;
    let shown: Value = serde_json::from_slice(&shown.stdout)?;
    let origin = |key: &str| {
        let list = shown.as_array().into_iter().flatten();
        list.clone().find(|entry| text(entry, "key") == key).map(|entry| text(entry, "origin").to_owned())
    };
    assert_eq!(origin("dhcp.mode").as_deref(), Some("file, line 2"), "{shown}");
    assert_eq!(origin("boot.port").as_deref(), Some("default"), "{shown}");
    Ok(())
}

#[test]
fn a_second_daemon_on_one_state_folder_is_refused_and_the_first_goes_on() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let mut second = site.seat.command(appliance::binary()?.to_str().unwrap_or_default());
    second.arg("--state-dir").arg(appliance.state_dir()).arg("serve").arg("--config").arg(appliance.config_file());
    let words = refusal(&second.output()?)?;
    assert!(words.contains("inventory") && words.contains("another"), "{words}");
    assert!(cli_json(&appliance, &["status"])?.get("version").is_some(), "the first still answers on its socket");
    let restore = cli(&appliance, &["restore", "/no/such/file"])?;
    assert!(!restore.status.success(), "nothing is restored under a running box: {}", said(&restore));
    Ok(())
}

#[test]
fn sigterm_stops_it_within_five_seconds_also_while_agents_wait() -> Result<()> {
    let site = Site::new()?;
    let mut appliance = site.serve("")?;
    let waiting = host(&site, 1)?;
    let stopped = site.room.enter(|| {
        let mut life = Life::new(Faults::default(), 1);
        let mut agent = waiting.boot(BOOT, &mut life)?;
        ensure!(matches!(agent.hello(), Said::Answer(_)), "hello");
        let _idle = Connection::open_from(ROOM, BOOT, PATIENCE)?;
        std::thread::scope(|scope| {
            // Held for 25 s if nothing happens.
            let held = scope.spawn(|| {
                site.room.join_current_thread()?;
                Ok::<_, anyhow::Error>(agent.next(&[], PATIENCE))
            });
            let until = soon();
            while !words_of_host(&appliance, &waiting)?.contains("aiting") {
                ensure!(Instant::now() < until, "the host does not wait");
            }
            let began = Instant::now();
            let status = appliance.stop(Duration::from_secs(5))?;
            let took = began.elapsed();
            ensure!(status.success(), "{status}");
            let _ = held.join();
            Ok(took)
        })
    })?;
    println!("SIGTERM: ended after {stopped:?}");
    assert_eq!(appliance.log().count("panicked"), 0, "{}", appliance.log().text());
    appliance.restart()?;
    assert_eq!(cli_json(&appliance, &["host", "list"])?.as_array().map(Vec::len), Some(1));
    Ok(())
}

fn words_of_host(appliance: &Appliance, host: &FakeHost) -> Result<String> {
    let shown = site::api(appliance).get(&format!("/hosts/{}", host.mac.hyphens()))?;
    Ok(format!("{}: {}", text(&shown, "word"), text(&shown, "sentence")))
}

#[test]
fn a_backup_of_a_running_box_is_restored_into_a_new_one() -> Result<()> {
    let site = Site::new()?;
    let mut appliance = site.serve("")?;
    cli_json(&appliance, &["host", "add", "52:54:00:00:00:01", "kept"])?;
    let file = site.scratch().join("backup.db");
    let file = file.to_str().context("no UTF-8")?;
    cli_json(&appliance, &["backup", file])?;
    let held = std::fs::metadata(file)?;
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&held.permissions()) & 0o077, 0, "only for its owner");
    cli_json(&appliance, &["host", "add", "52:54:00:00:00:02", "later"])?;
    let running = cli(&appliance, &["restore", file])?;
    assert!(refusal(&running)?.contains("another"), "a running box keeps its inventory: {}", said(&running));
    appliance.stop(Duration::from_secs(5))?;
    let restored = cli(&appliance, &["restore", file])?;
    assert!(restored.status.success(), "{}", said(&restored));
    appliance.restart()?;
    let names: Vec<String> = list(&cli_json(&appliance, &["host", "list"])?, "name");
    assert_eq!(names, ["kept"]);
    let broken = site.scratch().join("broken.db");
    std::fs::write(&broken, "this is no database")?;
    appliance.stop(Duration::from_secs(5))?;
    refusal(&cli(&appliance, &["restore", broken.to_str().unwrap_or_default()])?)?;
    appliance.restart()?;
    assert_eq!(list(&cli_json(&appliance, &["host", "list"])?, "name"), ["kept"], "a bad backup changes nothing");
    Ok(())
}

fn list(value: &Value, key: &str) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|entry| text(entry, key).to_owned()).collect()
}

#[test]
fn images_come_in_raw_and_packed_and_go_again() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let raw = site::disk_image(3 << 20);
    let put = |name: &str, bytes: &[u8]| -> Result<String> {
        let path = site.scratch().join(name);
        std::fs::write(&path, bytes)?;
        Ok(path.to_str().context("no UTF-8")?.to_owned())
    };
    let packed = zstd_of_raw_blocks(&raw);
    let first = cli_json(&appliance, &["image", "import", &put("one.raw", &raw)?, "--name", "one"])?;
    assert_eq!((text(&first, "name"), text(&first, "kind"), text(&first, "compression")), ("one", "disk", "none"));
    assert_eq!(first.get("raw_bytes"), Some(&json!(raw.len())));
    let second = cli_json(&appliance, &["image", "import", &put("two.img.zst", &packed)?])?;
    assert_eq!((text(&second, "name"), text(&second, "kind"), text(&second, "compression")), ("two", "disk", "zstd"));
    assert_eq!(second.get("size_bytes"), Some(&json!(packed.len())));
    let junk = cli_json(&appliance, &["image", "import", &put("junk.bin", &[9; 4096])?, "--name", "junk"])?;
    assert_eq!(text(&junk, "kind"), "unknown");

    // Served as it came in, under its digest.
    let path = format!("/images/{}", text(&second, "digest"));
    let served = site.room.enter(|| Connection::open_from(ROOM, BOOT, PATIENCE)?.request("GET", &path, &[]))?;
    assert!(served.status == 200 && served.body == packed, "{} {:?}", served.status, served.headers);

    let other = put("other.raw", &site::disk_image(1 << 20))?;
    let words = refusal(&cli(&appliance, &["image", "import", &other, "--name", "one"])?)?;
    assert!(words.contains("named one already"), "{words}");
    let digest = "00".repeat(32);
    let wrong = ["image", "import", &other, "--name", "three", "--sha256", &digest];
    let words = refusal(&cli(&appliance, &wrong)?)?;
    assert!(words.contains(&digest), "{words}");
    assert!(!refusal(&cli(&appliance, &["image", "import", &put("empty", &[])?])?)?.is_empty());
    assert_eq!(list(&cli_json(&appliance, &["image", "list"])?, "name").len(), 3);
    assert!(said(&cli(&appliance, &["image", "list"])?).contains("NAME"), "a table for people");

    cli_json(&appliance, &["image", "rm", "two"])?;
    refusal(&cli(&appliance, &["image", "rm", "two"])?)?;
    let gone = site.room.enter(|| Connection::open_from(ROOM, BOOT, PATIENCE)?.request("GET", &path, &[]))?;
    assert_eq!(gone.status, 404);
    let files = std::fs::read_dir(appliance.state_dir().join("images"))?.count();
    assert_eq!(files, 3, "two images, and the folder of incoming ones");
    Ok(())
}

/// A Zstandard frame whose blocks are stored as they are (RFC 8878 section 3.1.1).
fn zstd_of_raw_blocks(content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    frame.extend(u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes());
    let last = content.len().div_ceil(100_000);
    for (number, block) in (1..).zip(content.chunks(100_000)) {
        let header = u32::try_from(block.len()).unwrap_or(0) << 3 | u32::from(number == last);
        frame.extend(header.to_le_bytes().get(..3).unwrap_or_default());
        frame.extend(block);
    }
    frame
}

#[test]
fn a_list_of_hosts_is_enrolled_by_pattern_or_not_at_all() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let import = |content: &str, pattern: &str| -> Result<Output> {
        let path = site.scratch().join("hosts.csv");
        std::fs::write(&path, content)?;
        let path = path.to_str().context("no UTF-8")?;
        cli(&appliance, &["--json", "host", "import", path, "--pattern", pattern])
    };
    let good = "mac,name,serial\n52:54:00:00:00:01,,S1\n52-54-00-00-00-02,db,S2\n525400000003\n";
    let done = import(good, "node-%02d")?;
    assert!(done.status.success(), "{}", said(&done));
    let mut names = list(&cli_json(&appliance, &["host", "list"])?, "name");
    names.sort();
    assert_eq!(names, ["db", "node-01", "node-02"]);
    for bad in ["52:54:00:00:00:04\n52:54:00:00:00:01\n", "52:54:00:00:00:05\nnonsense\n", "52:54:00:00:00:06,a_b\n"] {
        let words = refusal(&import(bad, "")?)?;
        assert!(words.contains("Line "), "{words}");
    }
    refusal(&import("52:54:00:00:00:07\n", "no-number")?)?;
    assert_eq!(cli_json(&appliance, &["host", "list"])?.as_array().map(Vec::len), Some(3), "all of a list or nothing");
    // A machine written down before is known when it comes.
    let mut first = host(&site, 1)?;
    first.serial = "s-1".into();
    discover(&site, &first)?;
    let shown = cli_json(&appliance, &["host", "show", "node-01"])?;
    assert!(shown.get("facts").is_some_and(|facts| !facts.is_null()), "{shown}");
    assert_eq!(cli_json(&appliance, &["host", "list"])?.as_array().map(Vec::len), Some(3));
    Ok(())
}

#[test]
fn an_install_that_cannot_work_is_refused_with_the_reason_and_nothing_is_armed() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let mut twins = host(&site, 1)?;
    twins.facts.disks = vec![disk("sda", "A", 1 << 40), disk("sdb", "B", 1 << 40), disk("nvme0n1", "C", 1 << 38)];
    let mut small = host(&site, 2)?;
    small.facts.memory_bytes = 128 << 20;
    let mut arm = host(&site, 3)?;
    arm.facts.arch = Some(rackberry_core::host::Arch::Aarch64);
    let mut used = host(&site, 4)?;
    for disk in &mut used.facts.disks {
        disk.content.blank = false;
        disk.content.system = Some("Windows".into());
    }
    let mut bare = host(&site, 5)?;
    bare.facts.disks.clear();
    let names = ["twins", "small", "arm", "used", "bare"];
    for (host, name) in [&twins, &small, &arm, &used, &bare].into_iter().zip(names) {
        discover(&site, host)?;
        let mac = host.mac.to_string();
        cli_json(&appliance, &["host", "set", &mac, &format!("name={name}")])?;
    }
    let refused = |arguments: &[&str], reason: &str| -> Result<()> {
        let words = refusal(&cli(&appliance, &[&["install"], arguments].concat())?)?;
        ensure!(words.contains(reason), "install {arguments:?}: {words}");
        Ok(())
    };
    refused(&["twins", "debian-13"], "is not on this box")?;
    site.import_image(&appliance)?;
    refused(&["twins", "debian-13"], "3 disks fit the rule \"only\"")?;
    refused(&["twins", "debian-13", "--disk", "largest"], "2 disks fit")?;
    refused(&["twins", "debian-13", "--disk", "serial:Z"], "No disk fits")?;
    refused(&["twins", "debian-13", "--disk", "first"], "is no disk rule")?;
    refused(&["twins", "debian-13", "--disk", "smallest", "--set", "user=Root!"], "user name")?;
    refused(&["twins", "debian-13", "--disk", "smallest", "--set", "colour=red"], "has no parameter of this name")?;
    refused(&["small", "debian-13"], "memory")?;
    refused(&["arm", "debian-13"], "aarch64")?;
    refused(&["used", "debian-13"], "holds Windows")?;
    refused(&["bare", "debian-13"], "no disk that can be written")?;
    refused(&["nobody", "debian-13"], "There is no host nobody")?;
    refused(&["twins", "solaris"], "There is no profile")?;
    let armed = site::api(&appliance).events("")?;
    let armed = armed.iter().filter(|event| text(event, "kind") == "armed").count();
    assert_eq!(armed, 0);
    // The same with what was missing.
    cli_json(&appliance, &["install", "twins", "debian-13", "--disk", "smallest"])?;
    cli_json(&appliance, &["install", "used", "debian-13", "--yes"])?;
    refused(&["used", "debian-13", "--yes"], "used")?;
    refusal(&cli(&appliance, &["image", "rm", "debian-13"])?)?;
    cli_json(&appliance, &["cancel", "used"])?;
    refusal(&cli(&appliance, &["cancel", "used"])?)?;
    Ok(())
}

#[test]
fn a_machine_goes_from_its_first_network_boot_to_its_own_system() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    site.import_image(&appliance)?;
    let node = host(&site, 1)?;
    let began = Instant::now();
    let life = std::thread::scope(|scope| {
        let living = scope.spawn(|| {
            site.room.join_current_thread()?;
            let mut life = Life::new(Faults::default(), 1);
            node.live(BOOT, &mut life, soon())?;
            Ok::<_, anyhow::Error>(life)
        });
        let until = soon();
        loop {
            // Armed while it waits in the RAM OS.
            let known = site::api(&appliance).ask("GET", &format!("/hosts/{}", node.mac.hyphens()), None)?;
            if known.1.get("facts").is_some_and(|facts| !facts.is_null()) {
                break;
            }
            ensure!(Instant::now() < until, "the machine was not discovered");
            std::thread::sleep(Duration::from_millis(20));
        }
        cli_json(&appliance, &["host", "set", &node.mac.to_string(), "name=node"])?;
        cli_json(&appliance, &["install", "node", "debian-13"])?;
        living.join().map_err(|_| anyhow::anyhow!("the machine panicked"))?
    })?;
    println!("first boot to own system: {:?}, {} network boots", began.elapsed(), life.boots);
    assert_eq!((life.erased.len(), life.boots), (1, 2), "{life:?}");
    let shown = cli_json(&appliance, &["host", "show", "node"])?;
    assert_eq!(text(&shown, "condition"), "running", "{shown}");
    let events = site::api(&appliance).events("node")?;
    let kinds = list(&json!(events), "kind");
    for wanted in ["host_discovered", "facts_reported", "armed", "task_claimed", "task_started", "first_boot"] {
        assert!(kinds.iter().any(|kind| kind == wanted), "{wanted}: {kinds:?}");
    }
    // From now on it has a system of its own, and a token that was used is worth nothing to others.
    site.room.enter(|| {
        ensure!(node.script(BOOT)? == Script::LocalDisk, "its disk");
        Ok(())
    })
}

#[test]
fn every_command_speaks_json_and_says_by_its_exit_code_whether_it_worked() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let added = cli_json(&appliance, &["host", "add", "52:54:00:00:00:01", "node"])?;
    assert_eq!(list(&added, "name"), ["node"]);
    let set = cli_json(&appliance, &["host", "set", "node", "name=web", "policy=local-disk", "tags=a,b", "note=x y"])?;
    assert_eq!((text(&set, "name"), text(&set, "policy"), text(&set, "note")), ("web", "local-disk", "x y"));
    assert_eq!(set.get("tags"), Some(&json!(["a", "b"])));
    let by_mac = cli_json(&appliance, &["host", "show", "52-54-00-00-00-01"])?;
    assert_eq!(text(&by_mac, "name"), "web");
    let profile = cli_json(&appliance, &["profile", "show", "debian-13"])?;
    assert_eq!(text(&profile, "arch"), "x86_64");
    assert!(list(&cli_json(&appliance, &["profile", "list"])?, "name").contains(&"debian-13".to_owned()));
    let rendered = cli_json(&appliance, &["profile", "render", "web", "debian-13"])?;
    assert!(rendered.get("files").and_then(Value::as_array).is_some_and(|files| files.len() > 3), "{rendered}");
    let hostname = cli(&appliance, &["profile", "render", "web", "debian-13", "/etc/hostname"])?;
    assert_eq!(String::from_utf8_lossy(&hostname.stdout).trim(), "web");
    let status = cli_json(&appliance, &["status"])?;
    assert_eq!((text(&status, "mode"), text(&status, "address")), ("server", BOX.to_string().as_str()), "{status}");
    let events = cli(&appliance, &["--json", "events", "--host", "web"])?;
    let lines = String::from_utf8(events.stdout)?;
    for line in lines.lines() {
        let event: Value = serde_json::from_str(line)?;
        assert!(event.get("kind").is_some(), "{line}");
    }
    assert!(lines.contains("host_enrolled") && lines.contains("host_changed"), "{lines}");
    let table = said(&cli(&appliance, &["host", "list"])?);
    assert!(table.starts_with("NAME") && table.contains("web"), "{table}");
    let mut user = Command::new(appliance::binary()?);
    user.arg("--state-dir").arg(appliance.state_dir()).args(["--json", "user", "add", "anna"]);
    let mut user = user.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    std::io::Write::write_all(&mut user.stdin.take().context("no input")?, b"a long enough password\n")?;
    let user = user.wait_with_output()?;
    assert!(user.status.success(), "{}", said(&user));
    cli_json(&appliance, &["host", "rm", "web"])?;
    for (wrong, reason) in [
        (&["host", "show", "web"][..], "There is no host web"),
        (&["host", "set", "web", "name=x"], "There is no host web"),
        (&["host", "add", "52:54"], "no MAC address"),
        (&["profile", "show", "none"], "there is no profile none"),
        (&["resume", "web"], "There is no host"),
    ] {
        let plain = refusal(&cli(&appliance, wrong)?)?;
        assert!(plain.contains(reason), "{wrong:?}: {plain}");
        let output = cli(&appliance, &[&["--json"], wrong].concat())?;
        refusal(&output)?;
        let error: Value = serde_json::from_slice(&output.stdout).with_context(|| said(&output))?;
        assert!(text(&error, "error").contains(reason), "{error}");
    }
    let nobody = Command::new(appliance::binary()?).args(["--state-dir", "/no/such/dir", "status"]).output()?;
    assert!(refusal(&nobody)?.contains("rackberry serve"), "it says what to start");
    assert!(!Path::new("/no/such/dir").exists(), "asking makes no state folder");
    Ok(())
}

#[test]
fn firmware_gets_files_by_head_range_and_etag_on_one_connection() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    std::fs::write(appliance.state_dir().join("files/own.txt"), "mine")?;
    let loader = std::fs::read(site.share().join("loaders/snponly-x64.efi"))?;
    site.room.enter(|| {
        // All of it on one connection: UEFI asks HEAD first and goes on where it is.
        let mut line = Connection::open_from(ROOM, BOOT, PATIENCE)?;
        let mut ask = |method: &str, path: &str, headers: &[(&str, &str)]| line.request(method, path, headers);
        let length = loader.len().to_string();
        let head = ask("HEAD", "/snponly-x64.efi", &[])?;
        ensure!(head.status == 200 && head.header("content-length") == Some(&length), "{head:?}");
        ensure!(head.header("content-type") == Some("application/efi"), "{head:?}");
        let whole = ask("GET", "/snponly-x64.efi", &[])?;
        ensure!(whole.status == 200 && whole.body == loader, "{:?}", whole.headers);
        let etag = whole.header("etag").context("no ETag")?.to_owned();
        ensure!(head.header("etag") == Some(&etag), "{head:?}");
        ensure!(ask("GET", "/snponly-x64.efi", &[("If-None-Match", &etag)])?.status == 304, "not modified");
        let part = |reply: &Reply, from: usize, to: usize| {
            reply.status == 206
                && Some(reply.body.as_slice()) == loader.get(from..to)
                && reply.header("content-range") == Some(&format!("bytes {from}-{}/{length}", to - 1))
        };
        for (range, from, to) in [
            ("bytes=0-0", 0, 1),
            ("bytes=1000-1999", 1000, 2000),
            ("bytes=-10", loader.len() - 10, loader.len()),
            ("bytes=2990-", 2990, loader.len()),
            ("bytes=2990-99999", 2990, loader.len()),
        ] {
            let reply = ask("GET", "/snponly-x64.efi", &[("Range", range)])?;
            ensure!(part(&reply, from, to), "{range}: {} {:?}", reply.status, reply.headers);
        }
        let behind = ask("GET", "/snponly-x64.efi", &[("Range", "bytes=99999-")])?;
        ensure!(behind.status == 416 && behind.header("content-range") == Some(&format!("bytes */{length}")));
        let same = ask("GET", "/snponly-x64.efi", &[("Range", "bytes=5-9"), ("If-Range", &etag)])?;
        ensure!(part(&same, 5, 10), "{same:?}");
        let changed = ask("GET", "/snponly-x64.efi", &[("Range", "bytes=5-9"), ("If-Range", "\"old\"")])?;
        ensure!(changed.status == 200 && changed.body == loader, "a range of another version is no range");
        for (path, size) in [("/ramos/x86_64/vmlinuz", 20_000), ("/ramos/aarch64/early.img", 10_000)] {
            ensure!(ask("GET", path, &[])?.body.len() == size, "{path}");
        }
        for path in ["/SNPONLY-X64.EFI", "/EFI/BOOT/snponly-x64.efi", "//snponly-x64.efi", "/%73nponly-x64.efi"] {
            ensure!(ask("GET", path, &[])?.body == loader, "{path}");
        }
        ensure!(ask("GET", "/own.txt", &[])?.text() == "mine", "a person's own file");
        let post = ask("DELETE", "/own.txt", &[])?;
        ensure!(post.status == 405 && post.header("allow") == Some("GET, HEAD"), "{post:?}");
        let script = ask("HEAD", "/boot.ipxe?mac=52-54-00-00-00-09", &[])?;
        ensure!(script.status == 200 && script.header("content-length").is_some(), "{script:?}");
        ensure!(ask("GET", "/autoexec.ipxe", &[])?.status == 200, "still the same connection");
        let hosts = cli_json(&appliance, &["host", "list"])?;
        ensure!(hosts == json!([]), "HEAD entered nobody: {hosts}");
        Ok(())
    })?;
    let client = PxeClient::new(&site.room, ROOM_LINK)?;
    let fetched = client.tftp(BOX, "undionly.kpxe", &tftp::Options { tsize: true, ..tftp::Options::default() })?;
    assert_eq!(fetched.size, Some(std::fs::metadata(site.share().join("loaders/undionly.kpxe"))?.len()));
    Ok(())
}

#[test]
fn names_that_climb_find_nothing() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let secret = "a secret that nobody may read";
    std::fs::write(appliance.state_dir().join("secret"), secret)?;
    std::fs::write(site.share().join("secret"), secret)?;
    std::fs::create_dir(appliance.state_dir().join("files-sibling"))?;
    std::fs::write(appliance.state_dir().join("files-sibling/secret"), secret)?;
    std::os::unix::fs::symlink("../secret", appliance.state_dir().join("files/link"))?;
    std::os::unix::fs::symlink("/etc", appliance.state_dir().join("files/etc"))?;
    let climbs = ["..", "%2e%2e", "%2E.", "..%5c..", "....", "%c0%ae%c0%ae", "..%00", "%252e%252e"];
    let roots = ["", "/files", "/ramos/x86_64", "/images", "/loaders", "/boot", "/agent/v1"];
    let targets = ["secret", "etc/passwd", "inventory.db", "rackberry.sock", "files-sibling/secret"];
    let mut names: Vec<String> = Vec::new();
    for root in roots {
        for climb in climbs {
            for target in targets {
                for depth in [1, 2, 6] {
                    let up = vec![climb; depth];
                    for slash in ["/", "%2f", "\\", "%5c", "//"] {
                        names.push(format!("{root}/{}{slash}{target}", up.join(slash)));
                    }
                }
            }
        }
    }
    names.extend(
        ["/link", "/etc/passwd", "/files/link", "/inventory.db", "/../inventory.db", "/%00", "/."].map(str::to_owned),
    );
    names.push(format!("/{}", "a/".repeat(20_000)));
    let counted = site.room.enter(|| {
        let (mut line, mut asked) = (Connection::open_from(ROOM, BOOT, PATIENCE)?, 0);
        for name in &names {
            let reply = match line.request("GET", name, &[]) {
                Ok(reply) => reply,
                // A name that is no request at all ends the connection.
                Err(_) => {
                    line = Connection::open_from(ROOM, BOOT, PATIENCE)?;
                    continue;
                }
            };
            asked += 1;
            // Below /boot/ nothing is a file: whoever cannot be told apart is asked for its address.
            let asked_again = name.starts_with("/boot/") && Script::read(&reply.text()) == Script::AskAgain;
            ensure!(asked_again || (400..500).contains(&reply.status), "{name}: {} {}", reply.status, reply.text());
            ensure!(!reply.text().contains(secret) && !reply.text().contains("root:"), "{name}: {}", reply.text());
        }
        Ok(asked)
    })?;
    println!("HTTP: {counted} of {} climbing names answered, 0 with a file", names.len());
    assert!(counted > 1000);
    let client = PxeClient::new(&site.room, ROOM_LINK)?;
    for name in
        ["../secret", "..\\secret", "files/../../secret", "/etc/passwd", "link", "etc/hostname", "loaders/../secret"]
    {
        let refused = client.tftp(BOX, name, &tftp::Options::default()).map(|file| file.data.len());
        assert!(refused.is_err(), "{name}: {refused:?}");
    }
    Ok(())
}

#[test]
fn a_person_who_types_the_address_is_sent_to_the_page_and_firmware_never() -> Result<()> {
    let site = Site::new()?;
    let _appliance = site.serve("[page]\nlisten = \"0.0.0.0:8000\"\n")?;
    site.room.enter(|| {
        let mut line = Connection::open_from(ROOM, BOOT, PATIENCE)?;
        let person = line.request("GET", "/", &[("Accept", "text/html,application/xhtml+xml")])?;
        ensure!(person.status == 303, "{person:?}");
        ensure!(person.header("location") == Some("http://10.77.0.1:8000/"), "{person:?}");
        for (method, path, accept) in
            [("GET", "/", "*/*"), ("GET", "/index.html", "text/html"), ("GET", "/api/v1/hosts", "text/html")]
        {
            let firmware = line.request(method, path, &[("Accept", accept)])?;
            ensure!(firmware.status == 404, "{method} {path}: {firmware:?}");
        }
        Ok(())
    })
}

/// A switch with three sockets: the box, another server, and hosts.
struct Lan {
    hosts: Netns,
    other: Netns,
    seat: Netns,
    _switch: Netns,
}

impl Lan {
    fn new() -> Result<Self> {
        let lan = Self { hosts: Netns::new()?, other: Netns::new()?, seat: Netns::new()?, _switch: Netns::new()? };
        lan._switch.bridge("br0", None)?;
        for (ns, port) in [(&lan.hosts, "hosts"), (&lan.other, "other"), (&lan.seat, "seat")] {
            lan._switch.veth(port, ns, "e0")?;
            lan._switch.attach(port, Some("br0"))?;
        }
        lan.seat.up("e0", Some("10.77.0.1/24"))?;
        lan.other.up("e0", Some("10.77.0.2/24"))?;
        Ok(lan)
    }

    fn foreign(&self) -> Result<Dnsmasq> {
        Dnsmasq::start(&self.other, &["interface=e0", "dhcp-range=10.77.0.10,10.77.0.99,10m"])
    }
}

const QUICK: &str = "probe_unit_ms = 50\nprobe_listen_ms = 150";

fn stage(appliance: &Appliance) -> Result<String> {
    Ok(text(&site::api(appliance).get("/status")?, "mode").to_owned())
}

fn wait_stage(appliance: &Appliance, wanted: &str) -> Result<()> {
    let until = soon();
    while stage(appliance)? != wanted {
        ensure!(Instant::now() < until, "{} instead of {wanted}: {}", stage(appliance)?, appliance.log().text());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[test]
fn beside_another_server_the_box_adds_boot_files_and_never_gives_an_address() -> Result<()> {
    let site = Site::new()?;
    let lan = Lan::new()?;
    let _foreign = lan.foreign()?;
    let appliance = Appliance::start(&lan.seat, &site.settings(QUICK, ""))?;
    wait_stage(&appliance, "proxy")?;
    let (theirs, ours) = (Ipv4Addr::new(10, 77, 0, 2), Ipv4Addr::new(10, 77, 0, 1));
    let client = PxeClient::new(&lan.hosts, "e0")?;
    let (mut addresses, mut offers) = (0, 0);
    for (number, kind) in (1..).zip([Kind::BiosPxe, Kind::UefiPxe(7), Kind::UefiPxe(11)]) {
        let machine = Machine::new(number, kind);
        let answers = client.discover(&machine, Duration::from_millis(3500))?;
        let by = |server: Ipv4Addr| {
            let from = move |answer: &&system_tests::pxe::client::Answer| {
                answer.message.address(option::SERVER_ID) == Some(server)
            };
            answers.iter().find(from).map(|answer| &answer.message)
        };
        let (proxy, giver) = (by(ours).context("no proxy offer")?, by(theirs).context("no address offer")?);
        ensure!(proxy.yiaddr.is_unspecified(), "{kind:?}: an address of ours: {proxy:?}");
        ensure!(proxy.text(option::VENDOR_CLASS).as_deref() == Some("PXEClient"), "{proxy:?}");
        addresses += answers
            .iter()
            .filter(|a| a.message.address(option::SERVER_ID) == Some(ours))
            .filter(|a| !a.message.yiaddr.is_unspecified())
            .count();
        offers += 1;
        let lease = client.request(&machine, giver)?.message;
        ensure!(lease.message_type() == kind::ACK && lease.address(option::SERVER_ID) == Some(theirs), "{lease:?}");
        client.settle(&machine, &lease)?;
        let boot = client.boot_server(&machine, lease.yiaddr, ours)?;
        let file = boot.boot_file().context("port 4011 names no file")?;
        let wanted = match kind {
            Kind::BiosPxe => "undionly.kpxe",
            Kind::UefiPxe(7) => "snponly-x64.efi",
            _ => "ipxe-arm64.efi",
        };
        ensure!(file.ends_with(wanted) && boot.siaddr == ours, "{kind:?}: {file} from {}", boot.siaddr);
        let fetched = client.tftp(ours, &file, &tftp::Options { blksize: Some(1428), ..tftp::Options::default() })?;
        ensure!(fetched.data == std::fs::read(site.share().join("loaders").join(wanted))?, "{file}");
    }
    // A laptop hears nothing from us.
    let laptop = client.discover(&Machine::new(50, Kind::Plain), Duration::from_millis(3500))?;
    ensure!(laptop.iter().all(|answer| answer.message.address(option::SERVER_ID) == Some(theirs)), "{laptop:?}");
    println!("proxy: {offers} machines, {addresses} addresses of ours, files by offer, port 4011 and TFTP");
    assert_eq!(addresses, 0);
    assert!(appliance.log().count("Another DHCP server is here") > 0);
    Ok(())
}

#[test]
fn a_server_that_appears_later_ends_new_leases_within_five_seconds() -> Result<()> {
    let site = Site::new()?;
    let lan = Lan::new()?;
    let appliance = Appliance::start(&lan.seat, &site.settings(&format!("{QUICK}\nprobe_every_s = 1"), ""))?;
    wait_stage(&appliance, "pxe-only")?;
    let ours = Ipv4Addr::new(10, 77, 0, 1);
    let client = PxeClient::new(&lan.hosts, "e0")?;
    let lease = client.lease(&Machine::new(1, Kind::BiosPxe), PATIENCE)?;
    assert_eq!(lease.address(option::SERVER_ID), Some(ours), "alone, it gives addresses to what boots");
    let laptop = client.discover(&Machine::new(2, Kind::Plain), Duration::from_millis(700))?;
    assert!(laptop.is_empty(), "and to nothing else: {laptop:?}");
    let _foreign = lan.foreign()?;
    let appeared = Instant::now();
    let (mut last, mut number, mut asked) = (Duration::ZERO, 100, 0);
    while appeared.elapsed() < Duration::from_secs(8) {
        number += 1;
        asked += 1;
        let answers = client.discover(&Machine::new(number, Kind::BiosPxe), Duration::from_millis(400))?;
        let gives = |answer: &system_tests::pxe::client::Answer| {
            answer.message.address(option::SERVER_ID) == Some(ours) && !answer.message.yiaddr.is_unspecified()
        };
        if answers.iter().any(gives) {
            last = appeared.elapsed();
        }
    }
    println!("foreign server mid-run: {asked} machines asked in 8 s, our last offer of an address after {last:?}");
    assert!(last <= Duration::from_secs(5), "{last:?}");
    assert_eq!(stage(&appliance)?, "proxy");
    let alarms = site::api(&appliance).get("/status")?;
    assert!(alarms["alarms"].to_string().contains("10.77.0.2"), "{alarms}");
    Ok(())
}
