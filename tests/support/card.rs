//! The SD card in a machine of its own: a copy of the card that `./x` composed, started, cut off and asked.

use crate::{
    appliance, leftovers,
    netns::{Netns, output},
    vm::{Builder, Firmware, Vm},
};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// What `buildroot/board/layout` counts in, in bytes.
const SECTOR: u64 = 512;

/// A copy of the card, of the size of a real one, and what QEMU starts from it.
pub struct Card {
    folder: tempfile::TempDir,
    layout: BTreeMap<String, u64>,
}

/// The card that `./x` composed: `RACKBERRY_CARD`.
fn composed() -> Result<PathBuf> {
    let path = std::env::var_os("RACKBERRY_CARD").map(PathBuf::from);
    path.context("RACKBERRY_CARD is not set: run this through ./x")
}

impl Card {
    /// A fresh copy on a card of so many bytes (a power of 2, as QEMU's card slot wants it) with these settings.
    ///
    /// # Errors
    /// When there is no composed card, or something in it is missing.
    pub fn new(bytes: u64, settings: &str) -> Result<Self> {
        let folder = leftovers::disk_folder("card")?;
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../buildroot/board/layout");
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let lines = text.lines().filter_map(|line| line.split_once('='));
        let layout = lines.filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?))).collect();
        let card = Self { folder, layout };
        output(Command::new("cp").arg("--sparse=always").arg(composed()?).arg(card.path()))?;
        OpenOptions::new().write(true).open(card.path())?.set_len(bytes)?;
        let boot = card.boot()?;
        for file in ["vmlinuz", "initramfs.img", "cmdline.txt", "bcm2837-rpi-3-b.dtb"] {
            output(Command::new("mcopy").args(["-i", &boot, &format!("::{file}")]).arg(card.folder.path()))?;
        }
        card.put("rackberry.toml", settings.as_bytes())?;
        Ok(card)
    }

    /// Writes a file of the FAT partition, as a person's laptop would, while the card is in no machine.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, name: &str, content: &[u8]) -> Result<()> {
        let own = self.folder.path().join(name);
        std::fs::write(&own, content)?;
        output(Command::new("mcopy").args(["-o", "-i", &self.boot()?]).arg(own).arg(format!("::{name}")))?;
        Ok(())
    }

    /// The raw image.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("card.raw")
    }

    /// The FAT partition as mtools name it.
    fn boot(&self) -> Result<String> {
        Ok(format!("{}@@{}", self.path().display(), self.place("BOOT_START")?))
    }

    /// The byte of a place in the layout.
    ///
    /// # Errors
    /// When the layout has no such name.
    pub fn place(&self, name: &str) -> Result<u64> {
        let sector = self.layout.get(name).with_context(|| format!("the layout has no {name}"))?;
        Ok(sector * SECTOR)
    }

    /// Writes bytes to a place, while the card is in no machine.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, place: &str, bytes: &[u8]) -> Result<()> {
        let file = OpenOptions::new().write(true).open(self.path())?;
        file.write_all_at(bytes, self.place(place)?).with_context(|| format!("write to {place}"))
    }

    /// So many bytes of a place.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn read(&self, place: &str, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        File::open(self.path())?.read_exact_at(&mut bytes, self.place(place)?)?;
        Ok(bytes)
    }

    /// A machine that starts from this card: QEMU's own 64-bit Arm board, or a Raspberry Pi 3B.
    ///
    /// # Errors
    /// When the kernel's arguments cannot be read.
    pub fn machine(&self, firmware: Firmware) -> Result<Builder> {
        // QEMU's Pi resets itself as soon as its watchdog is started.
        self.machine_with(firmware, &["rackberry.nowatchdog", "rackberry.shell"])
    }

    /// QEMU's own board with a watchdog that resets it, as a Pi has one.
    ///
    /// # Errors
    /// As [`Card::machine`].
    pub fn watched_machine(&self) -> Result<Builder> {
        Ok(self.machine_with(Firmware::ArmKernel, &["rackberry.shell"])?.extra(&["-device", "i6300esb"]))
    }

    /// With these words on the kernel's command line beside the usual ones.
    ///
    /// # Errors
    /// As [`Card::machine`].
    pub fn machine_with(&self, firmware: Firmware, words: &[&str]) -> Result<Builder> {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let cmdline = std::fs::read_to_string(self.folder.path().join("cmdline.txt"))?;
        // The card's consoles are a Pi's; the kernel gives up at the first of them that a board lacks.
        let usual = cmdline.split_whitespace().filter(|word| !word.starts_with("console="));
        let console = if firmware == Firmware::Pi3Kernel { "console=ttyS1,115200" } else { "console=ttyAMA0" };
        let own = words.iter().copied().chain([console]);
        let append = own.chain(usual).collect::<Vec<_>>();
        let (kernel, initramfs) = (file("vmlinuz"), file("initramfs.img"));
        // The same address at each start, as the same board would have: neighbours remember it.
        let builder = Vm::builder(firmware).disk_file(self.path()).memory(512).mac(Some("52:54:00:77:0c:00"));
        let builder = builder.extra(&["-kernel", &kernel, "-initrd", &initramfs, "-append", &append.join(" ")]);
        Ok(if firmware == Firmware::Pi3Kernel {
            builder.extra(&["-dtb", &file("bcm2837-rpi-3-b.dtb")])
        } else {
            // Where sticks are plugged in.
            builder.extra(&["-device", "qemu-xhci"])
        })
    }
}

/// Runs a command in the card's shell on the serial port; what it printed.
///
/// # Errors
/// When it does not end within `limit`.
pub fn shell(vm: &mut Vm, command: &str, limit: Duration) -> Result<String> {
    let mark = vm.console().mark();
    // In two halves, so that what is typed does not look like the end.
    vm.type_text(&format!("echo BEG''IN; {command}; echo EN''D\n"))?;
    vm.wait_after(mark, "END", limit)?;
    let text = vm.console().text().split_off(mark);
    let said = text.split_once("BEGIN\n").and_then(|(_, rest)| rest.split_once("END"));
    Ok(said.with_context(|| format!("the shell said {text}"))?.0.to_owned())
}

/// The API of the box on the card, as the command line asks for it from another machine on its network.
pub struct Remote<'a> {
    ns: &'a Netns,
    url: String,
    token: String,
}

impl<'a> Remote<'a> {
    /// Asks at this URL from within the namespace, with this token.
    #[must_use]
    pub fn new(ns: &'a Netns, url: &str, token: &str) -> Self {
        Self { ns, url: url.to_owned(), token: token.to_owned() }
    }

    /// What it shows to be let in.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The command line's JSON.
    ///
    /// # Errors
    /// With what it said, when it fails.
    pub fn cli(&self, arguments: &[&str]) -> Result<Value> {
        let program = appliance::binary()?;
        let mut command = self.ns.command(program.to_str().context("the program's path is no UTF-8")?);
        command.args(["--json", "--url", &self.url]).args(arguments).env("RACKBERRY_TOKEN", &self.token);
        let text = output(&mut command)?;
        serde_json::from_str(&text).with_context(|| format!("rackberry {arguments:?} printed {text}"))
    }

    /// The names of the hosts.
    ///
    /// # Errors
    /// When the box does not answer.
    pub fn names(&self) -> Result<Vec<String>> {
        let hosts = self.cli(&["host", "list"])?;
        let name = |host: &Value| host.get("name").and_then(Value::as_str).map(str::to_owned);
        Ok(hosts.as_array().context("hosts are no list")?.iter().filter_map(name).collect())
    }

    /// Waits until `found` says something about the host with this MAC.
    ///
    /// # Errors
    /// After `timeout`, with the host as it was last.
    pub fn wait_host<T>(
        &self,
        mac: &str,
        what: &str,
        timeout: Duration,
        found: impl Fn(&Value) -> Option<T>,
    ) -> Result<T> {
        let until = Instant::now() + timeout;
        loop {
            let hosts = self.cli(&["host", "list"])?;
            let macs = |host: &Value| host.get("macs").map(Value::to_string).unwrap_or_default();
            let host = hosts.as_array().and_then(|hosts| hosts.iter().find(|host| macs(host).contains(mac)));
            if let Some(found) = host.and_then(&found) {
                return Ok(found);
            }
            if Instant::now() >= until {
                bail!("{mac}: no {what} within {timeout:?}; it is {host:?}");
            }
            // The box has to share two cores with the machine that it serves.
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}
