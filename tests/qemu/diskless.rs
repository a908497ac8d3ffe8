//! A small Debian without a disk, as `rackberry ramroot build` makes it, started by real iPXE through the catalogue's profile
//! `diskless-debian`: in its three modes, with the box away, with too little memory; and an initrd that an archive behind it extends.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    cell::Cell,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};
use system_tests::{
    Firmware, Vm, appliance, leftovers,
    rack::{ADDRESS, Rack},
};

/// Power-on to login; many times what is usual, as the machine may be busy.
const LIMIT: Duration = Duration::from_secs(600);
/// For a command typed in the guest.
const SOON: Duration = Duration::from_secs(240);
/// What is typed is typed again after this.
const AGAIN: Duration = Duration::from_secs(30);
/// How long the box stays away.
const AWAY: Duration = Duration::from_secs(60);
const LOGIN: &str = "root@diskless:";

/// The folder that `images/diskless/build.sh` made.
fn built() -> Result<PathBuf> {
    let folder = std::env::var_os("RACKBERRY_DISKLESS").map(PathBuf::from);
    folder.context("RACKBERRY_DISKLESS is not set: run this through ./x")
}

/// A rack whose hosts run the catalogue's profile `diskless-debian`.
struct Diskless {
    rack: Rack,
    /// What `arguments` in the folder says that the profile takes.
    parameters: Vec<String>,
    typed: Cell<u32>,
}

impl Diskless {
    /// With the medium that was built, its initrd replaced by another one where that is given.
    fn start(initrd: Option<&Path>) -> Result<Self> {
        Self::of(&built()?, initrd)
    }

    fn of(built: &Path, initrd: Option<&Path>) -> Result<Self> {
        let rack = Rack::start("")?;
        let folder = leftovers::disk_folder("medium")?;
        let tarball = folder.path().join("diskless.tar");
        let initrd = match initrd {
            Some(path) => path.to_owned(),
            None => built.join("initrd"),
        };
        let mut pack = Command::new("tar");
        pack.arg("-cf").arg(&tarball).arg("-C").arg(built).args(["vmlinuz", "root.squashfs"]);
        pack.arg("-C").arg(initrd.parent().context("a path without a folder")?).arg("initrd");
        sh(&mut pack)?;
        rack.cli(&["image", "import", tarball.to_str().context("no UTF-8")?, "--name", "diskless-debian"])?;
        let arguments = std::fs::read_to_string(built.join("arguments"))?;
        let value =
            |name: &str| arguments.split_whitespace().find_map(|word| word.strip_prefix(name).map(str::to_owned));
        let (digest, size) = value("rackberry.sha256=").zip(value("rackberry.size=")).context("no digest or size")?;
        let parameters = vec![format!("sha256={digest}"), format!("size={size}")];
        Ok(Self { rack, parameters, typed: Cell::new(0) })
    }

    /// The host boots this mode from now on, with these kernel arguments more.
    fn boots(&self, host: &str, mode: &str, more: &str) -> Result<()> {
        let mode = format!("mode={mode}");
        let options = format!("options=console=ttyS0 quiet mitigations=off systemd.getty_auto=no {more}");
        let mut order = vec!["live", host, "diskless-debian", "--set", &mode, "--set", options.trim()];
        order.extend(self.parameters.iter().flat_map(|parameter| ["--set", parameter]));
        self.rack.cli(&order).map(drop)
    }

    /// A machine of this number and memory, which boots this mode.
    fn power_on(&self, number: u8, memory: u32, mode: &str, more: &str) -> Result<Vm> {
        let mac = format!("52:54:00:77:06:{number:02x}");
        let name = host_name(number);
        self.rack.cli(&["host", "add", &mac, &name])?;
        self.boots(&name, mode, more)?;
        self.rack.power_on(Vm::builder(Firmware::Bios).mac(Some(&mac)).memory(memory).disks(&[]))
    }

    /// What the machine's initramfs reported, the oldest first.
    fn reported(&self, host: &str) -> Result<Vec<(String, String)>> {
        let events = self.rack.events(host)?;
        let text = |event: &Value, key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let stages = events.iter().filter(|event| text(event, "kind") == "installer_stage");
        Ok(stages.map(|event| (text(event, "stage"), text(event, "detail"))).collect())
    }

    /// What a command says that is typed in the guest.
    fn run(&self, vm: &mut Vm, command: &str) -> Result<String> {
        let number = self.typed.get() + 1;
        self.typed.set(number);
        let mark = vm.console().mark();
        let end = format!("end{}", 10000 + number);
        let until = Instant::now() + SOON;
        loop {
            // The echo of what is typed has the sum's two halves.
            vm.type_text(&format!("{command}; echo \"end$((10000 + {number}))\"\n"))?;
            let said = vm.wait_after(mark, &end, AGAIN);
            if said.is_ok() {
                break;
            }
            // A shell that has just begun may drop what was typed before it reads.
            ensure!(Instant::now() < until, "type {command}: {:#}", said.err().context("no error")?);
        }
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

/// Presses the reset button and waits for the login of that start; its begin. A prompt of the start before may still come.
fn restarted(vm: &mut Vm) -> Result<Instant> {
    let (mark, began) = (vm.console().mark(), Instant::now());
    vm.reset()?;
    vm.with_last_words(vm.wait_after(mark, "rackberry: fetching", LIMIT))?;
    logged_in(vm, vm.console().mark())?;
    Ok(began)
}

fn host_name(number: u8) -> String {
    format!("diskless-{number}")
}

#[test]
fn the_three_modes_run_one_after_the_other_and_each_start_forgets_what_was_written_before() -> Result<()> {
    let began = Instant::now();
    let mut site = Diskless::start(None)?;
    let mut vm = site.power_on(1, 1024, "copy", "")?;
    let host = host_name(1);

    // The box goes away in the middle of the fetch.
    vm.with_last_words(vm.wait_for("rackberry: fetching", LIMIT))?;
    site.rack.appliance.kill()?;
    let away = Instant::now();
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
    let reported: Vec<String> = site.reported(&host)?.into_iter().map(|(stage, _)| stage).collect();
    ensure!(
        ["started", "fetched", "mounted"].iter().all(|stage| reported.iter().any(|known| known == stage)),
        "{reported:?}"
    );

    // Each start asks the box anew what to run.
    site.boots(&host, "overlay", "")?;
    let started = restarted(&mut vm)?;
    site.print_memory(&mut vm, "overlay", started)?;
    let said = site.run(
        &mut vm,
        "ls /var/forgotten; findmnt -n -o FSTYPE /; echo changed >/etc/issue; cat /mnt/rw/up/etc/issue; head -c 6 /mnt/ro/etc/issue; touch /mnt/ro/x",
    )?;
    ensure!(said.contains("No such file"), "a start forgets what a copy was written: {said}");
    ensure!(said.contains("overlay") && said.contains("changed"), "what is written lies in /mnt/rw: {said}");
    ensure!(said.contains("Debian") && said.contains("Read-only file system"), "/mnt/ro stays as it is: {said}");

    site.boots(&host, "ro", "")?;
    let started = restarted(&mut vm)?;
    site.print_memory(&mut vm, "ro", started)?;
    let said = site.run(&mut vm, "head -c 6 /etc/issue; findmnt -n -o FSTYPE /; touch /written")?;
    ensure!(said.contains("Debian"), "a start forgets what an overlay was written: {said}");
    ensure!(said.contains("squashfs") && said.contains("Read-only file system"), "nothing writes to /: {said}");
    drop(vm);
    println!("the three modes: {} s", began.elapsed().as_secs());

    let small = Instant::now();
    let vm = site.power_on(2, 320, "copy", "")?;
    let said = vm.with_last_words(vm.wait_for("too little memory", LIMIT))?;
    println!("{}", said.trim());
    vm.with_last_words(vm.wait_for("(initramfs)", SOON))?;
    ensure!(vm.console().count("Out of memory") == 0, "it ran out of memory");
    let reported = site.reported(&host_name(2))?;
    let (stage, why) = reported.last().context("nothing was reported")?;
    ensure!(stage == "failed" && why.contains("memory"), "{reported:?}");
    println!("too little memory: {} s", small.elapsed().as_secs());
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
    let folder = leftovers::disk_folder("initrd")?;
    let version = vendors_folder(folder.path())?;
    let (initrd, extended) = (built()?.join("initrd"), folder.path().join("initrd"));
    let rackberry = appliance::binary()?;
    let listed = |path: &Path| sh(Command::new(&rackberry).args(["initrd", "list"]).arg(path));
    let module = format!("lib/modules/{version}/vendor/dummy.ko");
    ensure!(!listed(&initrd)?.contains("dummy.ko"), "the initrd has the driver already: nothing would be shown");
    let extra = folder.path().join("extra");
    sh(Command::new(&rackberry).args(["initrd", "append"]).arg(&initrd).arg(&extra).arg(&extended))?;
    ensure!(listed(&extended)?.contains(&module), "the archive is listed with the rest");
    let (before, after) = (std::fs::read(&initrd)?, std::fs::read(&extended)?);
    ensure!(after.starts_with(&before), "the original is not a prefix of the result");

    let site = Diskless::start(Some(&extended))?;
    let mut vm = site.power_on(5, 512, "ro", "break=mount")?;
    vm.with_last_words(vm.wait_for("(initramfs)", LIMIT))?;
    let said = site.run(&mut vm, &format!("/opt/vendor/raidtool; insmod /{module} && grep -w dummy /proc/modules"))?;
    ensure!(said.contains("controller 0: 42 drives"), "the tool did not run: {said}");
    ensure!(said.lines().any(|line| line.starts_with("dummy ")), "the driver was not loaded: {said}");
    println!("an initrd with an archive behind it: {} s", began.elapsed().as_secs());
    Ok(())
}

/// Forms that take long to make and to start.
fn soak() -> bool {
    std::env::var_os("RACKBERRY_SOAK").is_some()
}

#[test]
fn an_archive_is_unpacked_into_memory_and_starts() -> Result<()> {
    if !soak() {
        println!("not run: RACKBERRY_SOAK is not set");
        return Ok(());
    }
    let began = Instant::now();
    let folder = leftovers::disk_folder("archive")?;
    let root = folder.path().join("root");
    sh(Command::new("unsquashfs").args(["-q", "-n", "-d"]).arg(&root).arg(built()?.join("root.squashfs")))?;
    let archive = folder.path().join("root.tar.xz");
    let pack = "tar -C \"$0\" --numeric-owner --one-file-system -cf - . | xz -1 -T2 >\"$1\" && sha256sum <\"$1\"";
    let sum = sh(Command::new("sh").arg("-c").arg(pack).arg(&root).arg(&archive))?;
    let sum = sum.split_whitespace().next().context("no digest")?;
    let site = Diskless::start(None)?;
    let image = site.rack.cli(&[
        "image",
        "import",
        archive.to_str().context("no UTF-8")?,
        "--name",
        "archive",
        "--as-it-is",
    ])?;
    let digest = image.get("digest").and_then(Value::as_str).context("no digest of the image")?;
    // The word that comes last counts.
    let more = format!("rooturl=http://{ADDRESS}/images/{digest} rackberry.sha256={sum}");
    let mut vm = site.power_on(7, 1024, "copy", &more)?;
    logged_in(&vm, 0)?;
    site.print_memory(&mut vm, "tar.xz", began)?;
    let said = site.run(&mut vm, "findmnt -n -o FSTYPE / && echo kept >/var/forgotten && cat /var/forgotten")?;
    ensure!(said.contains("tmpfs") && said.contains("kept"), "the root is written to as any other: {said}");
    println!("an archive: {} s", began.elapsed().as_secs());
    Ok(())
}

#[test]
fn the_form_for_dracut_starts_as_well() -> Result<()> {
    if !soak() {
        println!("not run: RACKBERRY_SOAK is not set");
        return Ok(());
    }
    let began = Instant::now();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = leftovers::disk_folder("dracut")?;
    let mut build = Command::new(here.join("../images/diskless/build.sh"));
    build.args(["--kernel", "cloud-amd64", "--initramfs", "dracut", "--files"]).arg(here.join("qemu/diskless/root"));
    println!("{}", sh(build.arg("--out").arg(folder.path()))?.trim());
    let site = Diskless::of(folder.path(), None)?;
    let mut vm = site.power_on(8, 1024, "overlay", "rd.neednet=1")?;
    logged_in(&vm, 0)?;
    site.print_memory(&mut vm, "dracut, overlay", began)?;
    let said = site
        .run(&mut vm, "findmnt -n -o FSTYPE /; echo changed >/etc/issue; cat /mnt/rw/up/etc/issue; touch /mnt/ro/x")?;
    ensure!(said.contains("overlay") && said.contains("changed"), "what is written lies in /mnt/rw: {said}");
    ensure!(said.contains("Read-only file system"), "/mnt/ro stays as it is: {said}");
    println!("dracut: {} s", began.elapsed().as_secs());
    Ok(())
}
