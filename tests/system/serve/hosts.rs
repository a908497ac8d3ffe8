//! Hosts: enrolled, refused, and installed from first boot to own system.

use crate::{discover, host, list, refusal, said, soon, text};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::{
    process::Output,
    time::{Duration, Instant},
};
use system_tests::{
    Faults, Life, Site,
    fake_host::{Script, disk},
    site::{self, BOOT, cli, cli_json},
};

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
