//! Names, time and logs for machines on an isolated network, asked for by the programs that they run.

use crate::{PATIENCE, soon};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{
    net::{Ipv4Addr, UdpSocket},
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use system_tests::{
    Appliance, Dnsmasq, FakeHost, Faults, Life, PxeClient, Site, appliance,
    fake_host::Script,
    leftovers,
    pxe::{Kind, Machine},
    site::{BOOT, BOX, BOX_LINK, ROOM, ROOM_LINK, api, cli_json},
};

/// From 1900 to 1970, in seconds.
const TO_UNIX: u64 = 2_208_988_800;
const POOL: &str = "pool = \"10.77.64.0-10.77.127.255\"\nconflict_ms = 0";

/// The box in server mode with this domain, and these tables more.
fn serve(site: &Site, dhcp: &str, more: &str) -> Result<Appliance> {
    let settings = site.settings(&format!("mode = \"server\"\n{POOL}\n{dhcp}"), more);
    Appliance::start_with(&appliance::binary()?, &site.seat, &settings, &[("RACKBERRY_LOG", "info")])
}

/// Asks the box by dig; what it prints.
fn dig(site: &Site, words: &[&str]) -> Result<String> {
    let server = format!("@{BOX}");
    let fixed = [server.as_str(), "+tries=2", "+time=20", "+nocookie"];
    site.room.run("dig", &[&fixed, words].concat())
}

fn short(site: &Site, words: &[&str]) -> Result<String> {
    dig(site, &[&["+short"], words].concat()).map(|said| said.trim().to_owned())
}

/// The status that dig shows, and how many records came.
fn status(site: &Site, words: &[&str]) -> Result<(String, String)> {
    let said = dig(site, words)?;
    let word = |before: &str| {
        let rest = said.split(before).nth(1)?;
        rest.split([',', ';', '\n']).next().map(|word| word.trim().to_owned())
    };
    Ok((word("status: ").with_context(|| said.clone())?, word("ANSWER: ").with_context(|| said.clone())?))
}

fn is(site: &Site, words: &[&str], wanted: (&str, &str)) -> Result<()> {
    let (code, count) = status(site, words)?;
    ensure!((code.as_str(), count.as_str()) == wanted, "{words:?}: {code} with {count} records, not {wanted:?}");
    Ok(())
}

#[test]
fn hosts_are_found_by_name_and_the_world_by_the_uplinks_server_while_there_is_one() -> Result<()> {
    let began = Instant::now();
    let site = Site::new()?;
    let strings = (b'a'..=b'h').map(|letter| char::from(letter).to_string().repeat(250)).collect::<Vec<_>>().join(",");
    let big = format!("txt-record=big.world.example,{strings}");
    let listen = format!("listen-address={ROOM}");
    let arguments =
        ["port=53", "no-resolv", "no-hosts", "bind-interfaces", &listen, "address=/world.example/192.0.2.80", &big];
    let uplink = Dnsmasq::start(&site.room, &arguments)?;
    // The first one is dead, and the second answers.
    let forward = format!("[names]\nforward = [\"10.77.0.9\", \"{ROOM}\"]\n");
    let server = serve(&site, "domain = \"rack.example\"", &forward)?;
    cli_json(&server, &["host", "add", "02:00:00:00:00:01", "node-a"])?;
    cli_json(&server, &["host", "set", "node-a", "--address", "10.77.6.6"])?;
    cli_json(&server, &["host", "add", "02:00:00:00:00:02", "node-b"])?;

    for words in [&["node-a", "A"][..], &["NODE-A.rack.example", "A"], &["+tcp", "node-a.rack.example", "A"]] {
        ensure!(short(&site, words)? == "10.77.6.6", "{words:?}");
    }
    is(&site, &["node-a", "AAAA"], ("NOERROR", "0"))?;
    is(&site, &["node-b", "A"], ("NOERROR", "0"))?;
    is(&site, &["nobody", "A"], ("NXDOMAIN", "0"))?;
    is(&site, &["-t", "TXT", "-c", "CH", "version.bind"], ("REFUSED", "0"))?;
    is(&site, &["+opcode=NOTIFY", "node-a", "A"], ("NOTIMP", "0"))?;

    // What a machine was given by DHCP it is found by, both ways.
    let machine = Machine::new(7, Kind::BiosPxe);
    cli_json(&server, &["host", "add", &machine.mac_text(), "node-c"])?;
    let lease = PxeClient::new(&site.room, ROOM_LINK)?.lease(&machine, PATIENCE)?;
    let address = lease.yiaddr.to_string();
    let until = soon();
    while short(&site, &["node-c", "A"])? != address {
        ensure!(Instant::now() < until, "node-c is not found");
        std::thread::sleep(Duration::from_millis(50));
    }
    ensure!(short(&site, &["-x", &address])? == "node-c.rack.example.");
    let own = short(&site, &["-x", &BOX.to_string()])?;
    ensure!(short(&site, &[&own, "A"])? == BOX.to_string(), "the box is {own:?}");

    ensure!(short(&site, &["world.example", "A"])? == "192.0.2.80");
    ensure!(short(&site, &["+tcp", "www.world.example", "A"])? == "192.0.2.80");
    // Longer than a datagram: dig comes again by TCP, and the box did so before.
    let told = short(&site, &["big.world.example", "TXT"])?;
    ensure!(told.len() > 2000 && told.contains(&"h".repeat(250)), "{} bytes", told.len());
    ensure!(dig(&site, &["+ignore", "big.world.example", "TXT"])?.contains("flags: qr tc rd ra"));
    // A program with a reader of its own.
    let said = site.room.run("busybox", &["nslookup", "node-a.rack.example", &BOX.to_string()])?;
    ensure!(said.contains("10.77.6.6"), "{said}");

    drop(uplink);
    is(&site, &["other.example", "A"], ("SERVFAIL", "0"))?;
    ensure!(short(&site, &["node-a", "A"])? == "10.77.6.6", "its own names need nobody");
    println!("names: {:.1?}", began.elapsed());
    Ok(())
}

#[test]
fn strangers_and_the_machines_of_another_dhcp_server_are_not_answered() -> Result<()> {
    let site = Site::new()?;
    // Silence is awaited for a second. Who is to be answered asks again: it gives addresses a moment after it is ready.
    let answered = |from: Ipv4Addr, wanted: bool| -> Result<()> {
        site.room.enter(|| {
            let socket = UdpSocket::bind((from, 0))?;
            socket.set_read_timeout(Some(Duration::from_secs(1)))?;
            let until = soon();
            loop {
                let question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x06nobody\x00\x00\x01\x00\x01";
                socket.send_to(question, (BOX, 53))?;
                let came = socket.recv(&mut [0; 512]).is_ok();
                ensure!(wanted || !came, "{from} was answered");
                if came == wanted {
                    break;
                }
                ensure!(Instant::now() < until, "{from} was not answered");
            }
            Ok(())
        })
    };
    site.room.ip(&format!("address add 10.99.0.5/32 dev {ROOM_LINK}"))?;
    site.seat.ip(&format!("route add 10.99.0.5/32 dev {BOX_LINK}"))?;
    let server = serve(&site, "", "")?;
    answered(ROOM, true)?;
    answered(Ipv4Addr::new(10, 99, 0, 5), false)?;
    drop(server);
    for (word, wanted) in [("auto", false), ("on", true), ("off", false)] {
        let settings = site.settings("mode = \"proxy\"", &format!("[names]\ndns = \"{word}\"\n"));
        let server = Appliance::start(&site.seat, &settings)?;
        answered(ROOM, wanted).with_context(|| format!("beside another DHCP server, with {word:?}"))?;
        drop(server);
    }
    Ok(())
}

/// A time server among the hosts that is in order, until the test's process ends; its name for the settings.
fn time_server(site: &Site) -> Result<String> {
    let socket = site.room.enter(|| Ok(UdpSocket::bind((ROOM, 0))?))?;
    let name = socket.local_addr()?.to_string();
    std::thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((48.., from)) = socket.recv_from(&mut question) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let ticks = ((now.as_secs() + TO_UNIX) << 32) | ((u64::from(now.subsec_nanos()) << 32) / 1_000_000_000);
            let mut answer = vec![0x24, 2, 6, 0xe9, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1];
            answer.extend([0; 8]);
            answer.extend_from_slice(question.get(40..48).unwrap_or_default());
            answer.extend(ticks.to_be_bytes().repeat(2));
            let _ = socket.send_to(&answer, from);
        }
    });
    Ok(name)
}

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What dhclient is told of name servers and time servers.
fn told(site: &Site) -> Result<(String, String)> {
    let scratch = site.scratch();
    let (script, log, settings) = (scratch.join("script"), scratch.join("log"), scratch.join("dhclient.conf"));
    let line = "\"$reason|$new_domain_name_servers|$new_ntp_servers|\"";
    std::fs::write(&script, format!("#!/bin/sh\necho {line} >>{}\nexit 0\n", log.display()))?;
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    std::fs::write(&settings, "initial-delay 0;\nrequest subnet-mask, routers, domain-name-servers, ntp-servers;\n")?;
    std::fs::write(&log, "")?;
    let mut command = site.room.command("dhclient");
    command.args(["-4", "-d", "-sf"]).arg(&script).arg("-cf").arg(&settings);
    command.arg("-lf").arg(scratch.join("leases")).arg("-pf").arg(scratch.join("pid")).arg(ROOM_LINK);
    leftovers::end_with_us(&mut command);
    let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let _running = Running(started.with_context(|| format!("start {command:?}"))?);
    let until = soon();
    loop {
        let text = std::fs::read_to_string(&log)?;
        let bound = text.lines().filter(|line| line.ends_with('|')).find(|line| line.starts_with("BOUND|"));
        if let Some([_, names, time, ..]) = bound.map(|line| line.split('|').collect::<Vec<_>>()).as_deref() {
            std::fs::remove_file(scratch.join("leases"))?;
            return Ok(((*names).to_owned(), (*time).to_owned()));
        }
        ensure!(Instant::now() < until, "dhclient was given nothing: {text:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_box_is_told_for_names_and_time_only_while_it_answers_and_where_nobody_else_is_set() -> Result<()> {
    let began = Instant::now();
    let site = Site::new()?;
    let own = BOX.to_string();
    let is = |dhcp: &str, more: &str, wanted: (&str, &str)| -> Result<Appliance> {
        let server = serve(&site, dhcp, more)?;
        let (names, time) = told(&site)?;
        ensure!((names.as_str(), time.as_str()) == wanted, "{dhcp:?} {more:?}: told {names:?} and {time:?}");
        Ok(server)
    };
    // At once, to the first who asks; the time is not known here.
    is("", "", (&own, ""))?;
    is("dns = [\"10.77.0.53\"]", "", ("10.77.0.53", ""))?;
    is("", "[names]\ndns = \"off\"\n", ("", ""))?;
    {
        let listen = format!("listen-address={BOX}");
        let _other = Dnsmasq::start(&site.seat, &["port=53", "no-resolv", "no-hosts", "bind-interfaces", &listen])?;
        let server = is("", "", ("", ""))?;
        let sentence = "Names are not served here, as port 53 cannot be had: another program on this machine has it.";
        ensure!(server.log().count(sentence) == 1, "{}", server.log().text());
    }

    let server = serve(&site, "", &format!("[time]\nntp = [\"{}\"]\n", time_server(&site)?))?;
    let until = soon();
    // DHCP learns of it a moment after the time is known.
    while told(&site)? != (own.clone(), own.clone()) {
        ensure!(Instant::now() < until, "the time is not offered: {}", server.log().text());
    }
    let said = site.room.run("ntpdig", &["-t", "20", &own])?;
    ensure!(said.contains(&own) && said.contains(" s3 "), "one behind the server that is followed: {said:?}");
    println!("told: {:.1?}", began.elapsed());
    Ok(())
}

/// The log lines of a host that is shown.
fn list(shown: &Value) -> Vec<String> {
    let lines = shown.get("log").and_then(Value::as_array);
    lines.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[test]
fn an_installers_log_is_shown_with_its_host() -> Result<()> {
    let site = Site::new()?;
    let server = serve(&site, "", "")?;
    let machine = Machine::new(9, Kind::BiosPxe);
    cli_json(&server, &["host", "add", &machine.mac_text(), "node-a"])?;
    let logger = |words: &[&str]| -> Result<String> {
        let own = BOX.to_string();
        site.room.run("logger", &[&["--server", own.as_str(), "--port", "514", "-t", "main-menu"], words].concat())
    };
    logger(&["--udp", "from nobody we know"])?;
    let lease = PxeClient::new(&site.room, ROOM_LINK)?.lease(&machine, PATIENCE)?;
    site.room.ip(&format!("address flush dev {ROOM_LINK}"))?;
    site.room.ip(&format!("address add {}/16 dev {ROOM_LINK}", lease.yiaddr))?;
    let until = soon();
    // The lease is in the list of hosts a moment after it is with the machine.
    loop {
        logger(&["--udp", "--rfc3164", "INFO: Menu item 'netcfg' selected"])?;
        let shown = cli_json(&server, &["host", "show", "node-a"])?;
        if !list(&shown).is_empty() {
            break;
        }
        ensure!(Instant::now() < until, "{shown}");
        std::thread::sleep(Duration::from_millis(200));
    }
    logger(&["--udp", "--rfc5424", "two"])?;
    logger(&["--tcp", "--rfc5424", "--octet-count", "three"])?;
    logger(&["--tcp", "--rfc3164", "four"])?;
    let wanted = ["INFO: Menu item 'netcfg' selected", "two", "three", "four"].map(|word| format!("main-menu: {word}"));
    let until = soon();
    let shown = loop {
        let shown = list(&cli_json(&server, &["host", "show", "node-a"])?);
        if wanted.iter().all(|line| shown.contains(line)) {
            break shown;
        }
        ensure!(Instant::now() < until, "{shown:?}");
        std::thread::sleep(Duration::from_millis(50));
    };
    ensure!(!shown.iter().any(|line| line.contains("nobody")), "{shown:?}");
    Ok(())
}

/// One line as debian-installer sends it, from this address.
fn menu_item(site: &Site, from: Ipv4Addr, item: &str) -> Result<()> {
    site.room.enter(|| {
        let line = format!("<14>Sep  6 10:52:20 main-menu[321]: INFO: Menu item '{item}' selected");
        UdpSocket::bind((from, 0))?.send_to(line.as_bytes(), (BOX, 514))?;
        Ok(())
    })
}

/// Whether a line with this word is shown with the host.
fn told_of(server: &Appliance, host: &FakeHost, word: &str) -> Result<bool> {
    let shown = cli_json(server, &["host", "show", &host.mac.hyphens()])?;
    Ok(list(&shown).iter().any(|line| line.contains(word)))
}

/// The stages in a host's history, the oldest first.
fn stages(server: &Appliance, host: &FakeHost) -> Result<Vec<String>> {
    let of = |event: &Value| {
        let is = event.get("kind").and_then(Value::as_str) == Some("installer_stage");
        event.get("stage").and_then(Value::as_str).filter(|_| is).map(str::to_owned)
    };
    let events = api(server).events(&host.mac.hyphens())?;
    Ok(events.iter().filter_map(of).collect())
}

/// Boots the machine until the box hands its installer out.
fn start_installer(site: &Site, host: &FakeHost) -> Result<()> {
    site.room.enter(|| {
        let mut life = Life::new(Faults::default(), 1);
        let until = soon();
        host.boot(BOOT, &mut life)?.work(until)?;
        let script = host.script(BOOT)?;
        ensure!(matches!(&script, Script::Other(text) if text.contains("/answers/")), "no installer: {script:?}");
        Ok(())
    })
}

#[test]
fn a_line_of_an_installers_log_is_a_stage_of_the_host_that_sent_it_and_of_no_other() -> Result<()> {
    let site = Site::new()?;
    let server = serve(&site, "", "")?;
    let medium = site.scratch().join("netboot/debian-installer/amd64");
    std::fs::create_dir_all(&medium)?;
    for name in ["linux", "initrd.gz"] {
        std::fs::write(medium.join(name), [7; 20_000])?;
    }
    let tarball = site.scratch().join("netboot.tar");
    let packed =
        Command::new("tar").arg("-C").arg(site.scratch().join("netboot")).arg("-cf").arg(&tarball).arg(".").status()?;
    ensure!(packed.success(), "tar: {packed}");
    cli_json(&server, &["image", "import", &tarball.display().to_string(), "--name", "debian-13-netboot"])?;
    let hosts: Vec<FakeHost> = (1..=2)
        .map(|number| {
            let address = Ipv4Addr::new(10, 77, 1, number);
            site.room.ip(&format!("address add {address}/16 dev {ROOM_LINK}"))?;
            Ok(FakeHost::new(number.into(), address))
        })
        .collect::<Result<_>>()?;
    let [host, other] = hosts.as_slice() else { anyhow::bail!("two hosts were asked for") };
    site.room
        .enter(|| hosts.iter().try_for_each(|host| host.boot(BOOT, &mut Life::new(Faults::default(), 1)).map(drop)))?;
    api(&server).call(
        "POST",
        &format!("/hosts/{}/install", host.mac.hyphens()),
        Some(&json!({ "profile": "debian-13-netboot", "erase": true })),
    )?;

    // Before the installer runs a line is a line.
    let until = soon();
    while !told_of(&server, host, "partman-base")? {
        menu_item(&site, host.address, "partman-base")?;
        ensure!(Instant::now() < until, "no line is shown");
        std::thread::sleep(Duration::from_millis(50));
    }
    start_installer(&site, host)?;
    // Of a machine that installs nothing, of nobody, and what is no stage; then twice the same.
    menu_item(&site, other.address, "pkgsel")?;
    menu_item(&site, ROOM, "pkgsel")?;
    for item in ["localechooser", "netcfg", "network-preseed", "partman-base", "bootstrap-base"] {
        menu_item(&site, host.address, item)?;
    }
    let until = soon();
    let wanted = ["network", "disks", "base-system"];
    while stages(&server, host)? != wanted {
        ensure!(Instant::now() < until, "{:?}", stages(&server, host)?);
        std::thread::sleep(Duration::from_millis(50));
    }
    ensure!(stages(&server, other)?.is_empty(), "{:?}", stages(&server, other)?);

    // An installer that repeats itself for ever fills no history.
    for _ in 0..80 {
        menu_item(&site, host.address, "partman-base")?;
        menu_item(&site, host.address, "bootstrap-base")?;
    }
    // Lines are taken one after the other.
    let until = soon();
    while !told_of(&server, host, "finish-install")? {
        menu_item(&site, host.address, "finish-install")?;
        ensure!(Instant::now() < until, "the last line is not shown");
        std::thread::sleep(Duration::from_millis(50));
    }
    let all = stages(&server, host)?;
    ensure!(all.len() == 60, "{} stages: {all:?}", all.len());
    Ok(())
}
