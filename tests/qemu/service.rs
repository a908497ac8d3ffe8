//! The units under a real systemd: the program put on a Debian 13 as a package would put it there.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddrV4},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};
use system_tests::{
    Firmware, Netns, PxeClient, Vm, appliance, output,
    pxe::{Kind, Machine, message::option, web::Connection},
    rack,
};

/// Many times what is usual on two quiet cores.
const LIMIT: Duration = Duration::from_secs(1200);
const BOX: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);

/// Added to the image: a program with debug code is several times the one that is shipped, and the image has room for a shipped one.
const ROOM: u64 = 256 << 20;

/// Begin and length in bytes of the image's root file system, its last partition, and its number.
fn root(image: &Path) -> Result<(u64, u64, usize)> {
    let table: Value = serde_json::from_str(&output(Command::new("sfdisk").arg("--json").arg(image))?)?;
    let table = table.get("partitiontable").context("sfdisk shows no table")?;
    let sector = table.get("sectorsize").and_then(Value::as_u64).unwrap_or(512);
    let list = table.get("partitions").and_then(Value::as_array).context("the image has no partition")?;
    let last = list.last().context("the image has no partition")?;
    let field =
        |name| last.get(name).and_then(Value::as_u64).with_context(|| format!("a partition without its {name}"));
    Ok((field("start")? * sector, field("size")? * sector, list.len()))
}

/// Makes the image, its last partition and the file system in it larger.
fn grow(image: &Path) -> Result<()> {
    let file = std::fs::OpenOptions::new().write(true).open(image)?;
    let whole = file.metadata()?.len() + ROOM;
    // The second table of partitions lies at the disk's end.
    let end_it = || {
        file.set_len(whole)?;
        output(Command::new("sfdisk").args(["-q", "--relocate", "gpt-bak-std"]).arg(image))
    };
    end_it()?;
    let (_, _, number) = root(image)?;
    let script = image.with_extension("sfdisk");
    std::fs::write(&script, ", +\n")?;
    let sfdisk = ["-q", "--no-reread", "-N", &number.to_string()].map(str::to_owned);
    output(Command::new("sfdisk").args(sfdisk).arg(image).stdin(std::fs::File::open(&script)?))?;
    let (start, length, _) = root(image)?;
    let place = format!("{}?offset={start}", image.display());
    // It ends with 1 when it changed something, and resize2fs wants it run.
    let checked = Command::new("e2fsck").arg("-fy").arg(&place).output()?;
    ensure!(checked.status.code().is_some_and(|code| code <= 1), "{}", String::from_utf8_lossy(&checked.stderr));
    output(Command::new("resize2fs").arg("-f").arg(&place).arg(format!("{}K", length / 4096 * 4)))?;
    // It cuts the file at the file system's length, wherever that begins.
    end_it().map(drop)
}

/// An unpacked copy of the image in `folder` with the program, the units and the proof in it, all of it enabled.
fn installed(folder: &Path) -> Result<PathBuf> {
    let image = folder.join("disk.raw");
    output(Command::new("zstd").args(["-dqf"]).arg(rack::image()?).arg("-o").arg(&image))?;
    grow(&image)?;
    let program = folder.join("rackberry");
    output(Command::new("strip").arg("-o").arg(&program).arg(appliance::binary()?))?;

    let mut commands = format!("write {} /usr/bin/rackberry\n", program.display());
    let mut wanted = vec![("multi-user", "proof.service".to_owned())];
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../appliance/daemon/systemd").canonicalize()?;
    for unit in std::fs::read_dir(units)? {
        let path = unit?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("a unit's name")?.to_owned();
        writeln!(commands, "write {} /usr/lib/systemd/system/{name}", path.display())?;
        wanted.push((if name.ends_with(".socket") { "sockets" } else { "multi-user" }, name));
    }
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("qemu/service");
    writeln!(commands, "write {} /usr/bin/proof", own.join("proof.sh").display())?;
    let files = [
        ("proof.service", "/usr/lib/systemd/system/proof.service", PROOF_UNIT),
        // The box's interface is nobody else's.
        ("10-box.network", "/etc/systemd/network/10-box.network", "[Match]\nName=en* eth*\n\n[Link]\nUnmanaged=yes\n"),
    ];
    for (name, place, content) in files {
        let path = folder.join(name);
        std::fs::write(&path, content)?;
        writeln!(commands, "write {} {place}", path.display())?;
    }
    for target in ["multi-user", "sockets"] {
        writeln!(commands, "mkdir /etc/systemd/system/{target}.target.wants")?;
    }
    for (target, name) in wanted {
        writeln!(commands, "symlink /etc/systemd/system/{target}.target.wants/{name} /usr/lib/systemd/system/{name}")?;
    }
    let script = folder.join("commands");
    std::fs::write(&script, commands)?;
    let place = format!("{}?offset={}", image.display(), root(&image)?.0);
    output(Command::new("debugfs").arg("-w").arg("-f").arg(&script).arg(&place))?;
    let listed = output(Command::new("debugfs").arg("-R").arg("stat /usr/bin/rackberry").arg(&place))?;
    ensure!(listed.contains("Mode:  0755"), "the program is not in the image: {listed}");
    Ok(image)
}

const PROOF_UNIT: &str = "[Unit]\nAfter=multi-user.target\n[Service]\nType=oneshot\nExecStart=/usr/bin/proof\n";

#[test]
fn the_units_run_it_under_systemd() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("rackberry-units-").tempdir_in("/var/tmp")?;
    let began = Instant::now();
    let image = installed(folder.path())?;
    println!("units: an image with the program and the units after {} s", began.elapsed().as_secs());

    let (ns, room) = (Netns::new()?, Netns::new()?);
    ns.bridge("br0", None)?;
    ns.tap("tap1", Some("br0"))?;
    ns.veth("room", &room, "c0")?;
    ns.attach("room", Some("br0"))?;
    let began = Instant::now();
    let machine = Vm::builder(Firmware::Bios).disk_file(image).own_order().memory(1024);
    let vm = machine.start(&ns, "tap1")?;
    vm.wait_for("PROOF end", LIMIT)?;
    println!("units: the proof ended {} s after power-on", began.elapsed().as_secs());
    let text = vm.console().text();
    let lines: Vec<&str> = text.lines().filter_map(|line| line.split_once("PROOF ").map(|(_, said)| said)).collect();
    for line in &lines {
        println!("units: {line}");
    }
    let failed: Vec<_> = lines.iter().filter(|line| line.ends_with(": NO")).collect();
    ensure!(failed.is_empty(), "{failed:#?}\n{text}");
    let claims = lines.iter().filter(|line| line.ends_with(": yes")).count();
    ensure!(claims == 24, "{claims} claims were proved, not all of them:\n{text}");

    let exposure = lines.iter().find_map(|line| line.strip_prefix("exposure: ")).context("no exposure was measured")?;
    let number = exposure.split_whitespace().find_map(|word| word.parse::<f64>().ok()).context("no number in it")?;
    ensure!(number <= 2.0, "{exposure}");
    let restarts = lines.iter().find(|line| line.starts_with("restarts: 3")).context("no restarts")?;
    let asked = restarts.split([' ', ',']).filter_map(|word| word.parse::<u32>().ok()).nth(1);
    ensure!(restarts.ends_with("lost: 0") && asked >= Some(8), "{restarts}");

    // From the link: an address for a machine that boots, its loader's port, and the page.
    let client = PxeClient::new(&room, "c0")?;
    let offer = client.offer(&Machine::new(1, Kind::BiosPxe), LIMIT)?;
    ensure!(offer.message.address(option::SERVER_ID) == Some(BOX), "{offer:?}");
    room.up("c0", Some("192.168.77.2/24"))?;
    for (port, path) in [(8000, "/login"), (80, "/boot.ipxe"), (8080, "/boot.ipxe")] {
        let server = SocketAddrV4::new(BOX, port);
        let reply = room.enter(|| Connection::open(server)?.request("GET", path, &[]))?;
        ensure!(matches!(reply.status, 200 | 303), "{server}{path}: {}", reply.status);
    }
    println!("units: {} offered to a machine on the link; page and boot ports answer there", offer.message.yiaddr);
    Ok(())
}
