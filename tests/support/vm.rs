//! A machine in QEMU that boots from the network first, as one in a rack is set up to do.

mod builder;

use crate::console::Console;
use crate::qmp::Qmp;
use anyhow::{Context, Result, bail};
pub use builder::Builder;
use builder::Disk;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What starts the machine and how it asks the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS with the iPXE that QEMU puts into its network cards (arch 0, user class iPXE).
    Bios,
    /// OVMF's own PXE client (arch 7).
    OvmfPxe,
    /// OVMF's own HTTP boot client (arch 16), PXE switched off.
    OvmfHttp,
    /// OVMF with Secure Boot enforced and the usual keys, booting by PXE.
    OvmfSecure,
    /// AAVMF on a 64-bit Arm board (arch 11).
    Aavmf,
    /// No firmware: the same board starts the kernel that [`Builder::extra`] names.
    ArmKernel,
    /// No firmware either: a Raspberry Pi 3B with its SD card, its memory and processors, and a network adapter on USB.
    Pi3Kernel,
}

/// The network card's model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nic {
    /// Paravirtual; OVMF and AAVMF have a driver of their own for it.
    Virtio,
    /// Intel 82574L.
    E1000e,
    /// VMware's card.
    Vmxnet3,
}

/// What the disks hang on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskBus {
    /// `/dev/vda`
    Virtio,
    /// `/dev/nvme0n1`
    Nvme,
    /// A RAID controller of the megaraid_sas family: `/dev/sda`.
    Megasas,
    /// SATA: `/dev/sda`.
    Ahci,
}

/// A running machine; killed when dropped.
pub struct Vm {
    child: Child,
    console: Console,
    qmp: Qmp,
    mac: Option<String>,
    dir: tempfile::TempDir,
}

static NEXT: AtomicU32 = AtomicU32::new(1);

impl Vm {
    /// One processor, 512 MiB, a virtio card, a blank virtio disk of 2 GiB; MAC, UUID and serial number of its own.
    #[must_use]
    pub fn builder(firmware: Firmware) -> Builder {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let [.., high, low] = number.to_be_bytes();
        Builder {
            firmware,
            nic: Nic::Virtio,
            bus: DiskBus::Virtio,
            memory_mib: 512,
            cpus: 1,
            disks: vec![Disk::Blank(2 << 30)],
            mac: Some(format!("52:54:00:7b:{high:02x}:{low:02x}")),
            uuid: format!("7ac0b3e1-{:04x}-4000-8000-{number:012x}", process & 0xffff),
            serial: format!("RB-TEST-{process}-{number}"),
            product: "Virtual rack server".into(),
            own_order: false,
            log: None,
            extra: Vec::new(),
        }
    }

    /// What the serial port said; firmware, loaders and systems all speak there.
    #[must_use]
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Adds what it said last to an error.
    ///
    /// # Errors
    /// The same, longer.
    pub fn with_last_words<T>(&self, result: Result<T>) -> Result<T> {
        result.with_context(|| {
            let console = self.console.text();
            let tail: Vec<&str> = console.lines().rev().take(25).collect();
            format!("its console ended with\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"))
        })
    }

    /// The network card's address as `52:54:00:..`; empty for a machine without a card.
    #[must_use]
    pub fn mac(&self) -> &str {
        self.mac.as_deref().unwrap_or_default()
    }

    /// The folder with the machine's blank disk (`disk0.raw`), variables and QEMU's messages (`qemu.err`).
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Waits until the serial port says `wanted`; returns the line.
    ///
    /// # Errors
    /// At the time-out or the machine's end, with the last lines and QEMU's own messages.
    pub fn wait_for(&self, wanted: &str, timeout: Duration) -> Result<String> {
        self.explain(self.console.wait_for(wanted, timeout))
    }

    /// As [`Vm::wait_for`], for what is said after `mark` (a [`Console::mark`]).
    ///
    /// # Errors
    /// As [`Vm::wait_for`].
    pub fn wait_after(&self, mark: usize, wanted: &str, timeout: Duration) -> Result<String> {
        self.explain(self.console.wait_after(mark, wanted, timeout))
    }

    fn explain<T>(&self, result: Result<T>) -> Result<T> {
        result.with_context(|| {
            let said = std::fs::read_to_string(self.dir.path().join("qemu.err")).unwrap_or_default();
            format!("machine {}, QEMU said: {:?}", self.mac(), said.trim())
        })
    }

    /// Types at the serial port.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().context("the machine has no serial input")?;
        input.write_all(text.as_bytes()).context("type at the serial port")
    }

    /// Runs a QMP command.
    ///
    /// # Errors
    /// When the machine refuses or is gone.
    pub fn control(&mut self, command: &str, arguments: Value) -> Result<Value> {
        self.explain_mut(|vm| vm.qmp.execute(command, arguments))
    }

    /// Plugs a USB stick with this image in, which is written to; the machine needs a USB controller.
    ///
    /// # Errors
    /// When the machine refuses or is gone.
    pub fn plug_stick(&mut self, image: &Path) -> Result<()> {
        let file = json!({ "driver": "file", "filename": image });
        self.control("blockdev-add", json!({ "driver": "raw", "node-name": "stick", "file": file }))?;
        let device = json!({ "driver": "usb-storage", "id": "stick", "drive": "stick", "removable": true });
        self.control("device_add", device).map(drop)
    }

    fn explain_mut<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let result = work(self);
        self.explain(result)
    }

    /// Presses the reset button.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn reset(&mut self) -> Result<()> {
        self.control("system_reset", json!({})).map(drop)
    }

    /// Presses the power button once; the system in it decides.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn power_button(&mut self) -> Result<()> {
        self.control("system_powerdown", json!({})).map(drop)
    }

    /// QEMU's word for the machine's state: `running`, `paused`, `shutdown`, `internal-error`...
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn state(&mut self) -> Result<String> {
        let answer = self.control("query-status", json!({}))?;
        Ok(answer.get("status").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// Pulls (`false`) or plugs the network cable.
    ///
    /// # Errors
    /// When the machine has no card or is gone.
    pub fn link(&mut self, plugged: bool) -> Result<()> {
        self.control("set_link", json!({ "name": "net0", "up": plugged })).map(drop)
    }

    /// Waits until the machine is off.
    ///
    /// # Errors
    /// When it still runs after `timeout`.
    pub fn wait_off(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let until = Instant::now() + timeout;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("machine {} is not off after {timeout:?}", self.mac())
    }

    /// Pulls the plug; the machine's folder stays until it is dropped.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        let _ = self.child.kill();
        self.child.wait().map(drop).context("wait for QEMU's end")
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
