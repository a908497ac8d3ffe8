//! Network boots of hosts that are not armed, by every loader.

use super::*;

/// What a host went through before the boots that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Past {
    Known,
    Done,
    Failed,
    Interrupted,
    /// Armed, and disarmed again.
    Disarmed,
    /// A distribution's installer said that it is done, and the system that it is up.
    Installed,
    /// It said that it gave up.
    InstallerFailed,
    /// It began, and the machine came back without a word.
    InstallerLost,
    /// It was handed out, and a person stopped the install.
    InstallerStopped,
    /// It was armed, and disarmed before it was handed out.
    InstallerDisarmed,
}

const PASTS: [Past; 10] = [
    Past::Known,
    Past::Done,
    Past::Failed,
    Past::Interrupted,
    Past::Disarmed,
    Past::Installed,
    Past::InstallerFailed,
    Past::InstallerLost,
    Past::InstallerStopped,
    Past::InstallerDisarmed,
];

/// A profile whose system has an installer of its own.
const INSTALLER: &str = "debian-13-netboot";

/// The same for a past with a distribution's own installer.
fn live_through_installer(past: Past, host: &FakeHost, appliance: &Appliance) -> Result<&'static str> {
    let mut life = Life::new(Faults::default(), 1);
    let api = site::api(appliance);
    fake_installer::arm(appliance, host, INSTALLER, &json!({}))?;
    if past == Past::InstallerDisarmed {
        steer(&api, host, "disarm")?;
        return Ok("cancelled");
    }
    let installer = fake_installer::reach(host, BOOT, &mut life)?;
    let report = |stage: &str| installer.report(host, BOOT, stage);
    if past == Past::InstallerStopped {
        steer(&api, host, "cancel")?;
        return Ok("cancelled");
    }
    report("started")?;
    Ok(match past {
        Past::Installed => {
            report("installed")?;
            report("first-boot")?;
            "done"
        }
        Past::InstallerFailed => {
            report("failed")?;
            "failed"
        }
        _ => {
            // The machine switched itself on again.
            ensure!(matches!(host.script(BOOT)?, Script::RamOs { .. }), "{past:?} of {}", host.mac);
            "interrupted"
        }
    })
}

/// Brings a host there, and says what its install is called then.
fn live_through(past: Past, host: &FakeHost, appliance: &Appliance) -> Result<&'static str> {
    let api = &site::api(appliance);
    let mut life = Life::new(Faults::default(), 1);
    let until = Instant::now() + PATIENCE;
    greet(host)?;
    if past == Past::Known {
        return Ok("");
    }
    match past {
        Past::Known | Past::Done | Past::Failed | Past::Interrupted | Past::Disarmed => {}
        Past::Installed
        | Past::InstallerFailed
        | Past::InstallerLost
        | Past::InstallerStopped
        | Past::InstallerDisarmed => return live_through_installer(past, host, appliance),
    }
    arm(api, host)?;
    if past == Past::Disarmed {
        steer(api, host, "disarm")?;
        return Ok("cancelled");
    }
    if past == Past::Done {
        host.live(BOOT, &mut life, until)?;
        ensure!(life.erased.len() == 1, "{life:?}");
        return Ok("done");
    }
    let mut agent = host.boot(BOOT, &mut life)?;
    let _ = agent.hello();
    let Said::Answer(Answer::Run { run, .. }) = agent.next(&[], PATIENCE) else {
        anyhow::bail!("no order for {}", host.mac)
    };
    agent.insist(&News::Started { run: run.clone() }, until)?;
    if past == Past::Failed {
        agent.insist(&News::Failed { run, transient: false, message: "the disk is broken".into() }, until)?;
        return Ok("failed");
    }
    greet(host)?;
    Ok("interrupted")
}

/// One of the counted boots.
#[derive(Clone, Debug)]
struct Boot {
    machine: Machine,
    host: FakeHost,
    seed: u32,
}

/// What came of the counted boots.
#[derive(Debug, Default)]
struct Tally {
    ram_os: AtomicU32,
    local_disk: AtomicU32,
    nothing: AtomicU32,
    asked_again: AtomicU32,
    heads: AtomicU32,
    refused: AtomicU32,
    loaders: AtomicU32,
    configs: AtomicU32,
    agents: AtomicU32,
    installers: AtomicU32,
    orders: AtomicU32,
}

impl Tally {
    fn add(counter: &AtomicU32) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn script(&self, script: &Script) {
        Self::add(match script {
            Script::RamOs { .. } => &self.ram_os,
            Script::LocalDisk => &self.local_disk,
            Script::NothingToBoot => &self.nothing,
            Script::AskAgain => &self.asked_again,
            Script::Other(text) => {
                eprintln!("not one of our harmless scripts:\n{text}");
                &self.installers
            }
        });
    }
}

/// Loader, script and agent of one boot, as far as its firmware gets.
fn boot_once(boot: &Boot, tally: &Tally) -> Result<()> {
    let (host, mut dice) = (&boot.host, Dice::new(boot.seed.into()));
    let by_tftp = |name: &str| {
        let socket = UdpSocket::bind((host.address, 0))?;
        let server = std::net::SocketAddrV4::new(*BOOT.ip(), 69);
        tftp::fetch(socket, server, name, &tftp::Options { blksize: Some(1428), ..tftp::Options::default() })
    };
    let mut line = web::Connection::open_from(host.address, BOOT, PATIENCE)?;
    match dice.below(10) {
        0..3 => {
            let loader = dice.pick(&LOADERS);
            for method in ["HEAD", "GET"] {
                let reply = line.request(method, &format!("/{loader}"), &[])?;
                ensure!(reply.status == 200, "{method} {loader}: {}", reply.status);
            }
            Tally::add(&tally.loaders);
        }
        3..6 => {
            let loader = dice.pick(&LOADERS);
            ensure!(!by_tftp(loader)?.data.is_empty(), "{loader}");
            Tally::add(&tally.loaders);
        }
        _ => {}
    }
    // PXELINUX and GRUB take the same decision by names of their own.
    if dice.hits(30.0) {
        return boot_by_config(boot, &mut dice, tally);
    }
    let (dashed, colons) = (host.mac.hyphens(), host.mac.to_string());
    let ask = host.ask();
    let path = match dice.below(10) {
        0 => format!("/boot/{dashed}"),
        1 => format!("/boot/{}", colons.to_uppercase()),
        2 => format!("/boot.ipxe?mac={colons}"),
        3 => format!("/{ask}&extra=1"),
        4 => ask.replace("arch=x86_64&platform=efi", "arch=i386&platform=pcbios"),
        5 => "/autoexec.ipxe".to_owned(),
        6 => ask.replace("/boot.ipxe", "/BOOT.IPXE"),
        _ => ask.clone(),
    };
    // HEAD shows the same and changes nothing; the token in it is none.
    if dice.hits(20.0) {
        let reply = line.request("HEAD", &path, &[])?;
        ensure!(matches!(reply.status, 200 | 404) && reply.body.is_empty(), "{reply:?}");
        Tally::add(&tally.heads);
    }
    if dice.hits(10.0) {
        let fetched = by_tftp(dice.pick::<&str>(&["autoexec.ipxe", "boot.ipxe", "\\autoexec.ipxe"]))?;
        tally.script(&Script::read(&String::from_utf8_lossy(&fetched.data)));
    }
    let reply = line.request("GET", &path, &[])?;
    if reply.status == 404 {
        Tally::add(&tally.refused);
        ensure!(!reply.text().starts_with("#!"), "{}", reply.text());
    } else {
        ensure!(reply.status == 200, "{path}: {} {}", reply.status, reply.text());
    }
    let mut script = if reply.status == 200 { Script::read(&reply.text()) } else { Script::AskAgain };
    if reply.status == 200 {
        tally.script(&script);
    }
    if script == Script::AskAgain {
        script = Script::read(&line.request("GET", &ask, &[])?.text());
        tally.script(&script);
    }
    let Script::RamOs { token, .. } = script else { return Ok(()) };
    agent_once(host, &token, &mut dice, tally, &[])
}

/// The search of PXELINUX or GRUB, by TFTP or HTTP, until a name is answered.
fn boot_by_config(boot: &Boot, dice: &mut Dice, tally: &Tally) -> Result<()> {
    let host = &boot.host;
    let hex = format!("{:08X}", u32::from(host.address));
    let names = [host.uuid.clone(), format!("01-{}", host.mac.hyphens()), hex, String::new()];
    let (of_grub, by_http) = (dice.hits(50.0), dice.hits(50.0));
    for name in names {
        let path = match (of_grub, name.as_str()) {
            (true, "") => "grub/grub.cfg".to_owned(),
            (true, name) => format!("grub/grub.cfg-{name}"),
            (false, "") => "pxelinux.cfg/default".to_owned(),
            (false, name) => format!("pxelinux.cfg/{name}"),
        };
        let found = if by_http {
            let reply =
                web::Connection::open_from(host.address, BOOT, PATIENCE)?.request("GET", &format!("/{path}"), &[])?;
            (reply.status == 200).then(|| reply.text())
        } else {
            let server = std::net::SocketAddrV4::new(*BOOT.ip(), 69);
            match tftp::fetch(UdpSocket::bind((host.address, 0))?, server, &path, &tftp::Options::default()) {
                Ok(fetched) => Some(String::from_utf8(fetched.data)?),
                Err(error) if format!("{error:#}").contains("not found") => None,
                Err(error) => return Err(error),
            }
        };
        let Some(text) = found else { continue };
        let script = if of_grub { loader_config::grub(&text) } else { loader_config::pxelinux(&text) };
        tally.script(&script);
        Tally::add(&tally.configs);
        let Script::RamOs { token, .. } = script else { return Ok(()) };
        // A card that just moved to another machine may still count as the former's: then its token helps nobody.
        return agent_once(host, &token, dice, tally, &[403]);
    }
    Tally::add(&tally.refused);
    Ok(())
}

/// The agent of one boot asks for orders; `refusals` of its hello end it without a fault.
fn agent_once(host: &FakeHost, token: &str, dice: &mut Dice, tally: &Tally, refusals: &[u16]) -> Result<()> {
    Tally::add(&tally.agents);
    let mut life = Life::new(Faults::default(), 1);
    if dice.hits(3.0) {
        let mut forger = FakeAgent::new(host, BOOT, "0".repeat(32), &mut life);
        ensure!(forger.hello() == Said::Refused(404), "a token that nobody was given");
    }
    let mut agent = FakeAgent::new(host, BOOT, token.to_owned(), &mut life);
    let said = agent.hello();
    if let Said::Refused(status) = said
        && refusals.contains(&status)
    {
        Tally::add(&tally.refused);
        return Ok(());
    }
    ensure!(matches!(said, Said::Answer(_)), "hello of {}: {said:?}", host.mac);
    match agent.next(&[], MOMENT) {
        Said::Answer(Answer::Run { run, order }) => {
            eprintln!("{} was ordered {run:?}: {order:?}", host.mac);
            Tally::add(&tally.orders);
        }
        Said::Answer(_) | Said::Nothing => {}
        Said::Refused(status) => anyhow::bail!("next of {}: {status}", host.mac),
    }
    Ok(())
}

#[test]
fn hosts_that_are_not_armed_never_get_an_installer_or_an_order() -> Result<()> {
    let (seed, boots, each) = (Dice::seed(), 10_000, 16);
    println!("unarmed: seed {seed}");
    let site = Site::new()?;
    let mut appliance = site.serve("")?;
    site.import_image(&appliance)?;
    let files = ["linux", "initrd.gz"].map(|file| format!("debian-installer/amd64/{file}"));
    let files = files.each_ref().map(|path| (path.as_str(), vec![7; 20_000]));
    fake_installer::import_folder(&appliance, site.scratch(), INSTALLER, &files)?;
    let api = site::api(&appliance);
    let crowd = site.crowd()?;
    let began = Instant::now();
    let mut known: Vec<FakeHost> = hosts(&crowd, 1..1 + u32::try_from(each * PASTS.len())?)?;
    // Half of them have a system on their disk.
    for host in known.iter_mut().step_by(2) {
        for disk in &mut host.facts.disks {
            disk.content.blank = false;
            disk.content.table = Some("gpt".into());
        }
    }
    let pasts: Vec<Past> = PASTS.into_iter().cycle().take(known.len()).collect();
    let words = side_by_side(&site.room, THREADS, &known, |at, host| {
        live_through(*pasts.get(at).context("a past")?, host, &appliance)
    })?;
    println!("unarmed: {} hosts with a past after {:?}", known.len(), began.elapsed());
    let before = api.events("")?;

    let mut dice = Dice::new(seed);
    let tally = Tally::default();
    let kinds = [Kind::BiosPxe, Kind::UefiPxe(7), Kind::UefiPxe(11), Kind::UefiHttp(16), Kind::Ipxe(0), Kind::Ipxe(7)];
    let (mut unknown, mut rivals, mut fresh) = (0, 0, 100_000);
    let began = Instant::now();
    let mut made = 0;
    while made < boots {
        // The last tenth meets a box that sends strangers to their disks.
        if made >= boots / 10 * 9 && appliance.log().count("rackberry is ready") == 1 {
            std::fs::write(
                appliance.config_file(),
                std::fs::read_to_string(appliance.config_file())?.replace("[boot]\n", "[boot]\ndiscovery = false\n"),
            )?;
            appliance.restart()?;
        }
        let mut wave: HashMap<[u8; 6], (Machine, FakeHost)> = HashMap::new();
        for _ in 0..200.min(boots - made) {
            let kind = *dice.pick(&kinds);
            let (machine, host) = if dice.hits(14.0) {
                unknown += 1;
                fresh += 1;
                (Machine::new(fresh, kind), FakeHost::new(fresh, Ipv4Addr::UNSPECIFIED))
            } else {
                let host = dice.pick(&known).clone();
                let mut machine = Machine::new(0, kind);
                machine.mac = host.mac.0;
                if dice.hits(15.0) {
                    // The same card in another machine.
                    rivals += 1;
                    let other = 50_000 + dice.below(300);
                    let rival = FakeHost::new(other, host.address);
                    machine.uuid = Machine::new(other, kind).uuid;
                    (machine, FakeHost { mac: host.mac, ..rival })
                } else {
                    let [_, _, _, _, a, b] = host.mac.0;
                    machine.uuid = Machine::new(u32::from_be_bytes([0, 0, a, b]), kind).uuid;
                    (machine, host)
                }
            };
            // One card boots once at a time; another throw decides for the next wave.
            wave.entry(machine.mac).or_insert((machine, host));
        }
        let wave: Vec<(Machine, FakeHost)> = wave.into_values().collect();
        let machines: Vec<Machine> = wave.iter().map(|(machine, _)| machine.clone()).collect();
        let leased = crowd.lease(&machines, PATIENCE)?;
        let wave: Vec<Boot> = wave
            .into_iter()
            .zip(leased)
            .map(|((machine, host), leased)| Boot {
                machine,
                host: FakeHost { address: leased.address, ..host },
                seed: dice.throw(),
            })
            .collect();
        side_by_side(&site.room, THREADS, &wave, |_, boot| {
            boot_once(boot, &tally).with_context(|| format!("{:?} {}", boot.machine.kind, boot.host.mac))
        })?;
        made += wave.len();
    }
    let took = began.elapsed();
    let after = api.events("")?;
    let count = |kind: &str| counted(&after, kind) - counted(&before, kind);
    let destructive = count("task_claimed") + count("task_started") + count("task_repeated");
    println!(
        "unarmed: {made} network boots by DHCP and HTTP in {:.1} s ({unknown} of unknown machines, {rivals} of other \
         machines on known cards): {tally:?}; destructive events {destructive}",
        took.as_secs_f64()
    );
    assert_eq!(tally.installers.load(Ordering::Relaxed), 0, "installer scripts");
    assert_eq!(tally.orders.load(Ordering::Relaxed), 0, "orders");
    assert_eq!(destructive, 0);
    for counter in [
        &tally.ram_os,
        &tally.local_disk,
        &tally.asked_again,
        &tally.heads,
        &tally.loaders,
        &tally.configs,
        &tally.agents,
    ] {
        assert!(counter.load(Ordering::Relaxed) > 100, "a path that was hardly taken: {tally:?}");
    }
    // And each is what it was, whoever came under its address meanwhile.
    let all = api.get("/hosts")?;
    for ((host, past), word) in known.iter().zip(pasts).zip(words) {
        let disk = host.facts.disks.first().map(|disk| disk.serial.as_str().to_owned()).unwrap_or_default();
        let serial = |shown: &&Value| {
            shown.get("serial").and_then(Value::as_str) == Some(&host.serial)
                && shown.pointer("/facts/disks/0/serial").and_then(Value::as_str) == Some(&disk)
        };
        let shown = all.as_array().into_iter().flatten().find(serial).with_context(|| format!("{past:?} is gone"))?;
        let install = shown.get("install").cloned().unwrap_or_default();
        assert_eq!(phase(&install), word, "{past:?}: {shown}");
    }
    drop(appliance);
    Ok(())
}
