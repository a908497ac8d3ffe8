//! `./x demo`: a rack of two bare virtual machines, one BIOS and one UEFI, and a box that installs Debian on them.
//!
//! With `--once` nobody has to press anything: the command line does, every milestone is printed with the seconds since
//! its machine was switched on, and the end is the exit code. However it ends, box, machines and network end with it.

#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by a name that it lacks is null, never a panic")]

mod ending;

use anyhow::{Context, Result, bail};
use ending::Ending;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};
use system_tests::{
    leftovers,
    rack::{self, Rack},
    vm::{Firmware, Vm},
};

/// Ten minutes from the first power-on to the last first boot is the promise on two cores without virtualisation.
const PROMISE: Duration = Duration::from_secs(600);
/// When a station is given up: the machine may be slow and busy.
const LIMIT: Duration = Duration::from_secs(1200);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let once = match arguments.as_slice() {
        [] => false,
        ["--once"] => true,
        [ending::CLEANER, maker] => return ending::clean_after(maker),
        other => bail!("rackberry-demo knows --once and nothing else, not {other:?}"),
    };
    leftovers::sweep();
    let ending = Ending::begin()?;
    let result = run(once);
    ending.end();
    result
}

fn run(once: bool) -> Result<()> {
    let rack = Rack::start("")?;
    import(&rack)?;
    let machines = [("BIOS", Firmware::Bios, "52:54:00:77:01:01"), ("UEFI", Firmware::OvmfPxe, "52:54:00:77:01:02")];
    let logs = std::env::var_os("RACKBERRY_DEMO_LOGS").map(PathBuf::from);
    let started = Instant::now();
    let mut running: Vec<(&str, Vm, Instant)> = Vec::new();
    for (name, firmware, mac) in machines {
        let mut machine = Vm::builder(firmware).mac(Some(mac)).memory(1024).product("Virtual rack");
        if let Some(logs) = &logs {
            machine = machine.log(logs.join(format!("{name}.log")));
        }
        running.push((name, rack.power_on(machine)?, Instant::now()));
        say(&format!("{name} machine switched on, {mac}, an empty disk"));
    }
    if once { unattended(&rack, &running, started) } else { attended(&rack, &mut running) }
}

fn say(line: &str) {
    println!("demo: {line}");
}

/// Brings the image in through the command that users have.
fn import(rack: &Rack) -> Result<()> {
    let began = Instant::now();
    let image = rack::image()?;
    let path = image.to_str().context("the image's path is no UTF-8")?;
    let imported = rack.cli(&["image", "import", path, "--name", "debian-13"])?;
    say(&format!("image debian-13 imported: {} bytes, {} s", imported["size_bytes"], began.elapsed().as_secs()));
    Ok(())
}

fn attended(rack: &Rack, running: &mut [(&str, Vm, Instant)]) -> Result<()> {
    let code = rack.appliance.one_time_code()?;
    let page = rack.appliance.url("");
    println!();
    println!("  The page:        {page}/");
    println!("  One-time code:   {code}");
    println!();
    println!("  Two machines with empty disks are booting from the network. Open the page, enter the code,");
    println!("  choose a name and a password, and press Install on each of them.");
    println!("  They, the box and their network exist only within this computer; Ctrl-C ends them all.");
    println!();
    println!("  If your browser runs on another computer, run this there first and then open the same address:");
    let port = page.rsplit(':').next().unwrap_or_default();
    println!("      ssh -N -L {port}:127.0.0.1:{port} root@THIS-COMPUTER");
    println!();
    let mut said = std::collections::BTreeMap::new();
    loop {
        for (name, machine, since) in running.iter() {
            if let Some(host) = rack.host(machine.mac())? {
                let now = format!("{}: {}", text(&host["word"]), without_figures(text(&host["sentence"])));
                if said.insert(*name, now.clone()) != Some(now) {
                    say(&format!(
                        "{:>4} s  {name}  {}: {}",
                        since.elapsed().as_secs(),
                        text(&host["word"]),
                        text(&host["sentence"])
                    ));
                }
            }
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// A sentence with its digits left out, so that a bar that moves is no news.
fn without_figures(sentence: &str) -> String {
    sentence.chars().filter(|c| !c.is_ascii_digit()).collect()
}

fn text(value: &serde_json::Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn unattended(rack: &Rack, running: &[(&str, Vm, Instant)], started: Instant) -> Result<()> {
    let mut next: Vec<usize> = vec![0; running.len()];
    let stations = ["seen", "waiting in the RAM OS", "installing", "written, restarting", "up from its own disk"];
    while next.iter().any(|reached| *reached < stations.len()) {
        for ((name, machine, since), reached) in running.iter().zip(&mut next) {
            let Some(station) = stations.get(*reached) else { continue };
            let Some(host) = rack.host(machine.mac())? else { continue };
            let condition = text(&host["condition"]).to_owned();
            if ["failed", "timed_out", "cancelled", "interrupted"].contains(&condition.as_str()) {
                bail!("{name}: {condition}: {}", text(&host["sentence"]));
            }
            let phase = text(&host["install"]["state"]["phase"]).to_owned();
            let there = match *reached {
                0 => true,
                1 => condition == "waiting",
                2 => phase == "installing" || phase == "waiting" || phase == "done",
                3 => phase == "waiting" || phase == "done",
                _ => phase == "done",
            };
            if !there {
                if since.elapsed() > LIMIT {
                    bail!("{name}: not {station} after {LIMIT:?}; it is {condition}: {}", text(&host["sentence"]));
                }
                continue;
            }
            *reached += 1;
            say(&format!("{:>4} s  {name}  {station}", since.elapsed().as_secs()));
            if *reached == 2 {
                let host = text(&host["name"]).to_owned();
                let facts = rack.cli(&["host", "show", &host])?;
                say(&format!("        {name}  {}", hardware(&facts)));
                rack.cli(&["install", &host, "debian-13", "--set", "user=admin"])?;
            }
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    for (name, machine, _) in running {
        // The system's own login prompt on its console: nothing of ours prints that.
        machine.wait_for("login:", LIMIT).with_context(|| format!("{name}: no login prompt"))?;
    }
    no_way_out(rack)?;
    let took = started.elapsed();
    say(&format!("both machines run Debian from their own disks, {} s after the first power-on", took.as_secs()));
    if took > PROMISE {
        bail!("that is more than the {} s promised", PROMISE.as_secs());
    }
    Ok(())
}

/// Shows that nothing could leave the rack: its namespace has no port but its own, and no route beyond its subnet.
fn no_way_out(rack: &Rack) -> Result<()> {
    let listed = rack.ns.ip("-o link show")?;
    let names: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .map(|name| name.trim_end_matches(':'))
        .collect();
    let own = |name: &&str| *name == "lo" || *name == rack::BRIDGE || name.starts_with("tap");
    if let Some(other) = names.iter().find(|name| !own(name)) {
        bail!("the rack has a port of its own no more: {other}");
    }
    let routes = rack.ns.ip("route show")?;
    if let Some(route) = routes.lines().find(|route| !route.starts_with("192.168.77.0/24")) {
        bail!("the rack has a route out: {route}");
    }
    say(&format!("0 packets off the rack: it has the ports {} and no route out", names.join(", ")));
    Ok(())
}

fn hardware(host: &serde_json::Value) -> String {
    let facts = &host["facts"];
    let disks: Vec<String> = facts["disks"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|disk| format!("{} {} MB", text(&disk["name"]), disk["size_bytes"].as_u64().unwrap_or(0) / 1_000_000))
        .collect();
    format!(
        "{}, {} MB of memory, {}, {}",
        text(&facts["cpu"]["model"]),
        facts["memory_bytes"].as_u64().unwrap_or(0) >> 20,
        disks.join(", "),
        text(&facts["firmware"])
    )
}
