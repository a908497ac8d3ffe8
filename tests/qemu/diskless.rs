//! A small Debian without a disk, as `rackberry ramroot build` makes it, started by real iPXE from the box: in its three modes,
//! from an archive, with the box away, with too little memory; and an initrd that an archive behind it extends.

use anyhow::{Context, Result, ensure};
use std::{
    cell::Cell,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};
use system_tests::{
    Firmware, Vm, appliance,
    rack::{ADDRESS, Rack},
};

/// Power-on to login; many times what is usual, as the machine may be busy.
const LIMIT: Duration = Duration::from_secs(600);
/// For a command typed in the guest.
const SOON: Duration = Duration::from_secs(120);
/// How long the box stays away.
const AWAY: Duration = Duration::from_secs(60);
const LOGIN: &str = "root@diskless:";

/// The folder that `images/diskless/build.sh` made.
fn built() -> Result<PathBuf> {
    let folder = std::env::var_os("RACKBERRY_DISKLESS").map(PathBuf::from);
    folder.context("RACKBERRY_DISKLESS is not set: run this through ./x")
}

/// A rack whose hosts follow our own files, where the built ones lie.
struct Diskless {
    rack: Rack,
    arguments: String,
    typed: Cell<u32>,
}

impl Diskless {
    fn start() -> Result<Self> {
        let rack = Rack::start("")?;
        let files = rack.appliance.state_dir().join("files");
        std::fs::create_dir_all(&files)?;
        for name in ["vmlinuz", "initrd", "root.squashfs"] {
            std::fs::copy(built()?.join(name), files.join(name))?;
        }
        let arguments = std::fs::read_to_string(built()?.join("arguments"))?;
        Ok(Self { rack, arguments: arguments.trim().to_owned(), typed: Cell::new(0) })
    }

    fn files(&self) -> PathBuf {
        self.rack.appliance.state_dir().join("files")
    }

    /// A machine of this number and memory, led to our script with these arguments more.
    fn power_on(&self, number: u8, memory: u32, file: &str, mode: &str, more: &str, initrds: &[&str]) -> Result<Vm> {
        let mac = format!("52:54:00:77:06:{number:02x}");
        let name = format!("diskless-{number}");
        let arguments = self.arguments.replace("rooturl=URL", &format!("rooturl=http://{ADDRESS}/{file}"));
        // The word that comes last counts.
        let mut script = format!(
            "#!ipxe\nkernel http://{ADDRESS}/vmlinuz initrd=initrd.magic {arguments} rackberry.mode={mode} console=ttyS0 quiet mitigations=off systemd.getty_auto=no {more}\n"
        );
        for initrd in initrds {
            script.push_str(&format!("initrd http://{ADDRESS}/{initrd}\n"));
        }
        script.push_str("boot\n");
        std::fs::write(self.files().join(format!("{}.ipxe", mac.replace(':', "-"))), script)?;
        self.rack.cli(&["host", "add", &mac, &name])?;
        self.rack.cli(&["host", "set", &name, "policy=own-files"])?;
        self.rack.power_on(Vm::builder(Firmware::Bios).mac(Some(&mac)).memory(memory).disks(&[]))
    }

    /// What a command says that is typed in the guest.
    fn run(&self, vm: &mut Vm, command: &str) -> Result<String> {
        let number = self.typed.get() + 1;
        self.typed.set(number);
        let mark = vm.console().mark();
        // The echo of what is typed has the sum's two halves.
        vm.type_text(&format!("{command}; echo \"end$((10000 + {number}))\"\n"))?;
        let end = format!("end{}", 10000 + number);
        vm.wait_after(mark, &end, SOON).with_context(|| format!("type {command}"))?;
        let said = vm.console().text();
        Ok(said.get(mark..).unwrap_or(&said).to_owned())
    }

    /// The guest's own figures of its memory, and how it sees its root.
    fn print_memory(&self, vm: &mut Vm, mode: &str, began: Instant) -> Result<()> {
        let seconds = began.elapsed().as_secs();
        let said = self.run(vm, "free -m; findmnt -n -o FSTYPE,OPTIONS /")?;
        let line = |word: &str| said.lines().find(|line| line.contains(word)).unwrap_or_default().trim().to_owned();
        println!("{mode}: login after {seconds} s; total used free shared cache available, MB: {}", line("Mem:"));
        Ok(())
    }
}

fn logged_in(vm: &Vm, mark: usize) -> Result<()> {
    vm.with_last_words(vm.wait_after(mark, LOGIN, LIMIT)).map(drop)
}

#[test]
fn a_copy_in_memory_starts_by_itself_after_the_box_was_away_and_forgets_what_was_written() -> Result<()> {
    let began = Instant::now();
    let mut site = Diskless::start()?;
    let mut vm = site.power_on(1, 1024, "root.squashfs", "copy", "", &["initrd"])?;
    vm.with_last_words(vm.wait_for("rackberry: fetching", LIMIT))?;
    site.rack.appliance.kill()?;
    let away = Instant::now();
    // Whatever part it got, it goes on from there.
    while away.elapsed() < AWAY {
        std::thread::sleep(Duration::from_millis(500));
    }
    ensure!(vm.console().count(LOGIN) == 0, "the file was fetched before the box went: nothing was tried");
    site.rack.appliance.restart()?;
    logged_in(&vm, 0)?;
    for line in vm.console().text().lines().filter(|line| line.contains("rackberry: ")) {
        println!("  {}", line.trim());
    }
    site.print_memory(&mut vm, "copy", began)?;
    let said = site.run(&mut vm, "findmnt -n -o FSTYPE / && echo kept >/var/forgotten && cat /var/forgotten")?;
    ensure!(said.contains("tmpfs") && said.contains("kept"), "the root is written to as any other: {said}");

    let mark = vm.console().mark();
    let again = Instant::now();
    vm.reset()?;
    logged_in(&vm, mark)?;
    let said = site.run(&mut vm, "ls /var/forgotten")?;
    ensure!(said.contains("No such file"), "a reboot forgets: {said}");
    site.print_memory(&mut vm, "copy, again", again)?;
    println!("copy: {} s", began.elapsed().as_secs());
    Ok(())
}

#[test]
fn the_overlay_shows_both_its_halves_and_forgets_what_was_written() -> Result<()> {
    let began = Instant::now();
    let site = Diskless::start()?;
    let mut vm = site.power_on(2, 1024, "root.squashfs", "overlay", "", &["initrd"])?;
    logged_in(&vm, 0)?;
    site.print_memory(&mut vm, "overlay", began)?;
    let said = site.run(
        &mut vm,
        "findmnt -n -o FSTYPE /; echo changed >/etc/issue; cat /mnt/rw/up/etc/issue; head -c 6 /mnt/ro/etc/issue; touch /mnt/ro/x",
    )?;
    ensure!(said.contains("overlay") && said.contains("changed"), "what is written lies in /mnt/rw: {said}");
    ensure!(said.contains("Debian") && said.contains("Read-only file system"), "/mnt/ro stays as it is: {said}");

    let mark = vm.console().mark();
    vm.reset()?;
    logged_in(&vm, mark)?;
    let said = site.run(&mut vm, "ls /mnt/rw/up/etc/issue; head -c 6 /etc/issue")?;
    ensure!(said.contains("No such file") && said.contains("Debian"), "a reboot forgets: {said}");
    println!("overlay: {} s", began.elapsed().as_secs());
    Ok(())
}

#[test]
fn a_root_that_cannot_be_written_reaches_login() -> Result<()> {
    let began = Instant::now();
    let site = Diskless::start()?;
    let mut vm = site.power_on(3, 1024, "root.squashfs", "ro", "", &["initrd"])?;
    logged_in(&vm, 0)?;
    site.print_memory(&mut vm, "ro", began)?;
    let said = site.run(&mut vm, "findmnt -n -o FSTYPE /; touch /written")?;
    ensure!(said.contains("squashfs") && said.contains("Read-only file system"), "nothing writes to /: {said}");
    println!("ro: {} s", began.elapsed().as_secs());
    Ok(())
}

#[test]
fn a_machine_with_too_little_memory_refuses_in_words() -> Result<()> {
    let began = Instant::now();
    let site = Diskless::start()?;
    let report = format!("rackberry.report=http://{ADDRESS}/reports");
    let vm = site.power_on(4, 320, "root.squashfs", "copy", &report, &["initrd"])?;
    let said = vm.with_last_words(vm.wait_for("too little memory", LIMIT))?;
    println!("{}", said.trim());
    vm.with_last_words(vm.wait_for("(initramfs)", SOON))?;
    ensure!(vm.console().count("Out of memory") == 0, "it ran out of memory");
    println!("too little memory: {} s", began.elapsed().as_secs());
    Ok(())
}

fn sh(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

/// A driver out of the root, as a vendor would bring one, in a folder beside a tool of his.
fn vendors_folder(folder: &Path) -> Result<String> {
    let root = folder.join("root");
    sh(Command::new("unsquashfs")
        .args(["-q", "-n", "-d"])
        .arg(&root)
        .arg(built()?.join("root.squashfs"))
        .arg("usr/lib/modules"))?;
    let versions: Vec<_> = std::fs::read_dir(root.join("usr/lib/modules"))?.collect::<std::io::Result<_>>()?;
    let version = versions.first().context("the root has no modules")?.file_name().to_string_lossy().into_owned();
    let driver = root.join(format!("usr/lib/modules/{version}/kernel/drivers/net/dummy.ko.xz"));
    let extra = folder.join(format!("extra/lib/modules/{version}/vendor"));
    std::fs::create_dir_all(&extra)?;
    let plain = sh(Command::new("sh").arg("-c").arg("xz -dc \"$0\" >\"$1\"").arg(&driver).arg(extra.join("dummy.ko")));
    plain.context("take a driver out of the root")?;
    let tools = folder.join("extra/opt/vendor");
    std::fs::create_dir_all(&tools)?;
    let tool = tools.join("raidtool");
    std::fs::write(&tool, "#!/bin/sh\necho \"controller 0: $((6 * 7)) drives\"\n")?;
    sh(Command::new("chmod").arg("755").arg(&tool))?;
    Ok(version)
}

#[test]
fn a_driver_and_a_tool_in_an_archive_behind_the_initrd_run_in_the_guest() -> Result<()> {
    let began = Instant::now();
    let site = Diskless::start()?;
    let folder = tempfile::tempdir_in("/var/tmp")?;
    let version = vendors_folder(folder.path())?;
    let initrd = site.files().join("initrd");
    let extended = site.files().join("initrd-extended");
    let rackberry = appliance::binary()?;
    let listed = |path: &Path| sh(Command::new(&rackberry).args(["initrd", "list"]).arg(path));
    let module = format!("lib/modules/{version}/vendor/dummy.ko");
    ensure!(!listed(&initrd)?.contains("dummy.ko"), "the initrd has the driver already: nothing would be shown");
    let extra = folder.path().join("extra");
    sh(Command::new(&rackberry).args(["initrd", "append"]).arg(&initrd).arg(&extra).arg(&extended))?;
    ensure!(listed(&extended)?.contains(&module), "the archive is listed with the rest");
    let (before, after) = (std::fs::read(&initrd)?, std::fs::read(&extended)?);
    ensure!(after.starts_with(&before), "the original is not a prefix of the result");

    let mut vm = site.power_on(5, 512, "root.squashfs", "ro", "break=mount", &["initrd-extended"])?;
    vm.with_last_words(vm.wait_for("(initramfs)", LIMIT))?;
    let said = site.run(&mut vm, &format!("/opt/vendor/raidtool; insmod /{module} && grep -w dummy /proc/modules"))?;
    ensure!(said.contains("controller 0: 42 drives"), "the tool did not run: {said}");
    ensure!(said.lines().any(|line| line.starts_with("dummy ")), "the driver was not loaded: {said}");
    println!("an initrd with an archive behind it: {} s", began.elapsed().as_secs());
    Ok(())
}
