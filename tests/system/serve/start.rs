//! Starting, waiting for the network, stopping; settings and their mistakes.

use crate::{PATIENCE, host, refusal, said, soon, text};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};
use system_tests::{
    Appliance, Console, Dnsmasq, FakeHost, Faults, Life, Netns, Site, appliance,
    fake_agent::Said,
    pxe::web::Connection,
    site::{self, BOOT, ROOM, cli, cli_json},
};

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
fn net_up_takes_an_address_where_a_server_gives_one_and_writes_down_whom_to_ask_for_names_and_time() -> Result<()> {
    let (seat, room) = (Netns::new()?, Netns::new()?);
    seat.veth("eth0", &room, "c0")?;
    room.up("c0", Some("10.91.0.1/24"))?;
    let more = ["dhcp-option=option:dns-server,10.91.0.2", "dhcp-option=option:ntp-server,10.91.0.8,10.91.0.9"];
    let _server = Dnsmasq::start(&room, &["interface=c0", "dhcp-range=10.91.0.10,10.91.0.99,10m", more[0], more[1]])?;
    let folder = tempfile::tempdir()?;
    let lease = folder.path().join("lease");
    let program = appliance::binary()?;
    let program = program.to_str().context("the program's name is no UTF-8")?;
    let arguments = ["net-up", "eth0", "--lease", lease.to_str().unwrap_or_default()];
    let up = seat.run(program, &arguments)?;
    assert!(up.contains("from the DHCP server 10.91.0.1"), "{up}");
    assert!(seat.ip("address show eth0")?.contains("10.91.0."));
    let told = "dns=10.91.0.2\nntp=10.91.0.8\nntp=10.91.0.9\n";
    assert_eq!(std::fs::read_to_string(&lease)?, told);
    let again = seat.run(program, &arguments)?;
    assert!(again.contains("keeps"), "{again}");
    assert_eq!(std::fs::read_to_string(&lease)?, told, "where nothing is asked, nothing is forgotten");
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
