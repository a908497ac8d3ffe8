//! Systems of the catalogue, by its own profiles and the box's plans: real iPXE and PXELINUX start them, and what they ask the
//! box for is heard on its bridge.
//!
//! debian-installer is followed up to its request to the package mirror. Where a system's own kernel is nowhere to be had any more
//! (RancherOS, CoreOS Container Linux), our RAM OS's kernel stands in with an init of a few lines, which fetches the
//! cloud-config that its command line names, as that system did.

#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by a name that it lacks is null, never a panic")]

use anyhow::{Context, Result, ensure};
use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use system_tests::{
    Firmware, Netns, Overheard, Vm, appliance, leftovers,
    rack::{self, ADDRESS, BRIDGE, Rack},
};

/// Power-on to what is waited for; many times what is usual, as the machine may be busy.
const LIMIT: Duration = Duration::from_secs(900);
/// What memtest86+ writes into its first line.
const MEMTEST: &str = "Memtest86+";
const SERIAL: &str = "options=console=ttyS0,115200";

/// Imports a file or folder as the medium of this name.
fn import(rack: &Rack, file: &Path, name: &str) -> Result<String> {
    let file = file.to_str().context("a path that is no UTF-8")?;
    let image = rack.cli(&["image", "import", file, "--name", name])?;
    image["digest"].as_str().map(str::to_owned).with_context(|| format!("no digest in {image}"))
}

/// What a listener heard, with the console's end when that is no good.
fn heard<T>(vm: &Vm, overheard: &Overheard, result: Result<T>) -> Result<T> {
    vm.with_last_words(result).with_context(|| format!("asked for: {:#?}", overheard.requests()))
}

/// Holds that these were asked for in the order given, others between them or not; all that was asked for.
fn in_order(overheard: &Overheard, wanted: &[&str]) -> Result<Vec<String>> {
    // The listener is a program of its own, and may be a moment late.
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let requests = overheard.requests();
        let mut rest = requests.iter();
        match wanted.iter().find(|wanted| !rest.any(|request| request.contains(**wanted))) {
            None => return Ok(requests),
            Some(missing) => ensure!(Instant::now() < until, "no {missing} at its place in {requests:#?}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A package mirror of the test's: it has nothing, and remembers what it was asked for.
fn mirror(ns: &Netns) -> Result<(u16, Arc<Mutex<Vec<String>>>)> {
    let listener = ns.enter(|| TcpListener::bind((ADDRESS, 0)).context("open the mirror's port"))?;
    let port = listener.local_addr()?.port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let written = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut first = String::new();
            let mut reader = BufReader::new(stream);
            if reader.read_line(&mut first).is_ok() {
                written.lock().unwrap_or_else(PoisonError::into_inner).push(first.trim().to_owned());
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|read| read > 0) && !line.trim().is_empty() {
                    line.clear();
                }
                let _ = reader
                    .into_inner()
                    .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        }
    });
    Ok((port, asked))
}

#[test]
fn debian_installer_starts_by_its_profile_and_asks_for_the_mirror_of_its_preseed() -> Result<()> {
    let began = Instant::now();
    let rack = Rack::start("")?;
    import(&rack, &rack::media()?.join("debian-13-netboot"), "debian-13-netboot")?;
    let (port, asked) = mirror(&rack.ns)?;
    let overheard = Overheard::on(&rack.ns, BRIDGE)?;
    let mac = "52:54:00:77:07:01";
    rack.cli(&["host", "add", mac, "di"])?;
    let set = format!("mirror=http://{ADDRESS}:{port}/debian");
    rack.cli(&["install", "di", "debian-13-netboot", "--set", &set])?;
    let screen = ["-device", "VGA"];
    let vm = rack.power_on(Vm::builder(Firmware::Bios).mac(Some(mac)).memory(1024).extra(&screen))?;

    let until = Instant::now() + LIMIT;
    let release = loop {
        let asked = asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(found) = asked.iter().find(|line| line.contains("/debian/dists/trixie/")) {
            break found.clone();
        }
        let more =
            || format!("the mirror was asked for {asked:?}; {:#}", rack.host(mac).ok().flatten().unwrap_or_default());
        heard(&vm, &overheard, (Instant::now() < until).then_some(()).with_context(more))?;
        std::thread::sleep(Duration::from_millis(200));
    };
    println!("debian-installer: {release} after {} s", began.elapsed().as_secs());
    let requests = in_order(
        &overheard,
        &[
            "GET /boot.ipxe",
            "/ramos/x86_64/vmlinuz",
            "GET /boot.ipxe",
            "/debian-installer/amd64/linux",
            "/debian-installer/amd64/initrd.gz",
            "/preseed.cfg",
            "/installer.sh",
            "/report/started",
            "/report/network",
        ],
    )?;
    let preseed = requests.iter().find(|request| request.ends_with("/preseed.cfg")).context("no preseed")?;
    ensure!(preseed.starts_with("GET /answers/"), "{preseed}");
    let host = rack.host(mac)?.context("the host is gone")?;
    ensure!(host["install"]["state"]["phase"] == "installing", "{}", host["sentence"]);
    let shown = rack.cli(&["host", "show", "di"])?;
    let lines: Vec<&str> = shown["log"].as_array().into_iter().flatten().filter_map(|line| line.as_str()).collect();
    ensure!(lines.iter().any(|line| line.starts_with("main-menu: ")), "no line of its log: {lines:#?}");
    let events = rack.events("di")?;
    let stages: Vec<&str> = events
        .iter()
        .filter(|event| event["kind"] == "installer_stage")
        .filter_map(|event| event["stage"].as_str())
        .collect();
    println!("debian-installer: {} lines of its log, stages {stages:?}", lines.len());
    ensure!(["started", "network"].iter().all(|wanted| stages.contains(wanted)), "{stages:?}");
    println!("debian-installer: {} s", began.elapsed().as_secs());
    Ok(())
}

#[test]
fn memtest_starts_by_its_profile_from_ipxe_and_from_pxelinux_by_the_name_of_its_card() -> Result<()> {
    let rack = Rack::start("")?;
    let digest = import(&rack, &rack::media()?.join("memtest86plus"), "memtest86plus")?;
    for (loader, mac) in [("ipxe", "52:54:00:77:07:11"), ("pxelinux", "52:54:00:77:07:12")] {
        let began = Instant::now();
        let overheard = Overheard::on(&rack.ns, BRIDGE)?;
        rack.cli(&["host", "add", mac, loader])?;
        rack.cli(&["host", "set", loader, &format!("loader={loader}")])?;
        rack.cli(&["live", loader, "memtest86plus", "--set", SERIAL])?;
        let vm = rack.power_on(Vm::builder(Firmware::Bios).mac(Some(mac)).memory(256).disks(&[]))?;
        let banner = heard(&vm, &overheard, vm.wait_for(MEMTEST, LIMIT))?;
        println!("memtest86+ by {loader}: {} s: {}", began.elapsed().as_secs(), banner.trim());
        match loader {
            "ipxe" => in_order(&overheard, &["GET /boot.ipxe", &format!("GET /images/{digest}")])?,
            _ => in_order(
                &overheard,
                &["pxelinux.0", "ldlinux.c32", "pxelinux.cfg/01-52-54-00-77-07-12", &format!("images/{digest}")],
            )?,
        };
    }
    Ok(())
}

#[test]
fn pxelinux_walks_through_its_whole_search_to_a_persons_default() -> Result<()> {
    let began = Instant::now();
    let rack = Rack::start("")?;
    let files = rack.appliance.state_dir().join("files");
    std::fs::create_dir_all(files.join("pxelinux.cfg"))?;
    std::fs::copy(rack::media()?.join("memtest86plus"), files.join("memtest"))?;
    let config = "DEFAULT own\nPROMPT 0\nLABEL own\n  SAY this is my own default\n  LINUX memtest\n  APPEND console=ttyS0,115200\n";
    std::fs::write(files.join("pxelinux.cfg/default"), config)?;
    let mac = "52:54:00:77:07:21";
    rack.cli(&["host", "add", mac, "own"])?;
    rack.cli(&["host", "set", "own", "policy=own-files"])?;
    let overheard = Overheard::on(&rack.ns, BRIDGE)?;
    let vm = rack.power_on(Vm::builder(Firmware::Bios).mac(Some(mac)).memory(256).disks(&[]))?;
    heard(&vm, &overheard, vm.wait_for(MEMTEST, LIMIT))?;
    let by_address = "pxelinux.cfg/C0A84D";
    let search = [
        "pxelinux.0",
        "pxelinux.cfg/01-52-54-00-77-07-21",
        by_address,
        "pxelinux.cfg/C",
        "pxelinux.cfg/default",
        "memtest",
    ];
    in_order(&overheard, &search)?;
    println!("PXELINUX's whole search: {} s", began.elapsed().as_secs());
    Ok(())
}

/// An initrd whose init does what the old systems did with their command lines: it fetches the cloud-config that is named there.
fn stand_in(folder: &Path) -> Result<PathBuf> {
    let extra = folder.join("extra");
    std::fs::create_dir(&extra)?;
    let init = extra.join("init");
    std::fs::write(&init, include_str!("media/stand-in-init.sh"))?;
    std::fs::set_permissions(&init, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let out = folder.join("initrd");
    let ramos = rack::share()?.join("ramos/x86_64/early.img");
    let made =
        Command::new(appliance::binary()?).args(["initrd", "append"]).arg(ramos).arg(&extra).arg(&out).status()?;
    ensure!(made.success(), "rackberry initrd append: {made}");
    Ok(out)
}

#[test]
fn the_contracts_of_rancheros_and_coreos_are_kept_in_their_order() -> Result<()> {
    let rack = Rack::start("")?;
    let folder = leftovers::disk_folder("medium")?;
    let (kernel, initrd) = (rack::share()?.join("ramos/x86_64/vmlinuz"), stand_in(folder.path())?);
    for (kind, profile, mac, config) in [
        ("rancheros", "rancheros", "52:54:00:77:07:31", "/rancheros.yml"),
        ("coreos", "coreos-container-linux", "52:54:00:77:07:32", "/cloud-configs/52:54:00:77:07:32.yml"),
    ] {
        let began = Instant::now();
        // The same bytes under two names would be one image.
        let own = |file: &Path, name: &str| -> Result<String> {
            let copy = folder.path().join(name);
            let mut bytes = std::fs::read(file)?;
            bytes.extend(name.bytes().chain([0; 4]));
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            std::fs::write(&copy, bytes)?;
            import(&rack, &copy, name)
        };
        let (kernel, initrd) = (own(&kernel, &format!("{kind}-kernel"))?, own(&initrd, &format!("{kind}-initrd"))?);
        rack.cli(&["host", "add", mac, kind])?;
        rack.cli(&["live", kind, profile])?;
        let overheard = Overheard::on(&rack.ns, BRIDGE)?;
        let vm = rack.power_on(Vm::builder(Firmware::Bios).mac(Some(mac)).memory(512).disks(&[]))?;
        heard(&vm, &overheard, vm.wait_for("stand-in: end", LIMIT))?;
        let wanted = [
            "GET /boot.ipxe".to_owned(),
            format!("GET /images/{kernel}"),
            format!("GET /images/{initrd}"),
            format!("GET {config}"),
        ];
        let requests = in_order(&overheard, &wanted.each_ref().map(String::as_str))?;
        ensure!(requests.last() == wanted.last(), "{requests:#?}");
        let said = vm.console().text();
        ensure!(said.contains("#cloud-config") && said.contains(&format!("hostname: \"{kind}\"")), "{said}");
        println!("{profile}: {} s", began.elapsed().as_secs());
    }
    Ok(())
}
