//! What a machine is made of, as QEMU's arguments.

use super::{DiskBus, Firmware, Nic, Vm};
use crate::accel::Accel;
use crate::console::Console;
use crate::leftovers;
use crate::netns::Netns;
use crate::qmp::Qmp;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where a machine's disk comes from.
#[derive(Clone, Debug)]
pub(super) enum Disk {
    /// A new, blank disk of this many bytes, gone with the machine.
    Blank(u64),
    /// A raw file of the test's own, which outlives the machine.
    File(PathBuf),
}

/// What a machine is made of; start from [`Vm::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    pub(super) firmware: Firmware,
    pub(super) nic: Nic,
    pub(super) bus: DiskBus,
    pub(super) memory_mib: u32,
    pub(super) cpus: u32,
    pub(super) disks: Vec<Disk>,
    pub(super) mac: Option<String>,
    pub(super) uuid: String,
    pub(super) serial: String,
    pub(super) product: String,
    pub(super) own_order: bool,
    pub(super) log: Option<PathBuf>,
    pub(super) extra: Vec<String>,
}

impl Builder {
    /// The network card's model.
    #[must_use]
    pub fn nic(mut self, nic: Nic) -> Self {
        self.nic = nic;
        self
    }

    /// The network card's address; `None` for a machine without a card.
    #[must_use]
    pub fn mac(mut self, mac: Option<&str>) -> Self {
        self.mac = mac.map(str::to_owned);
        self
    }

    /// What the disks hang on.
    #[must_use]
    pub fn bus(mut self, bus: DiskBus) -> Self {
        self.bus = bus;
        self
    }

    /// Memory in MiB.
    #[must_use]
    pub fn memory(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// Processors.
    #[must_use]
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    /// Blank disks of these sizes in bytes instead of the one of 2 GiB; an empty list for a machine without.
    #[must_use]
    pub fn disks(mut self, sizes: &[u64]) -> Self {
        self.disks = sizes.iter().copied().map(Disk::Blank).collect();
        self
    }

    /// One disk that is this raw file, written in place.
    #[must_use]
    pub fn disk_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.disks = vec![Disk::File(path.into())];
        self
    }

    /// The SMBIOS UUID.
    #[must_use]
    pub fn uuid(mut self, uuid: &str) -> Self {
        self.uuid = uuid.into();
        self
    }

    /// The SMBIOS serial number; disks take it with their number appended.
    #[must_use]
    pub fn serial(mut self, serial: &str) -> Self {
        self.serial = serial.into();
        self
    }

    /// The SMBIOS product name.
    #[must_use]
    pub fn product(mut self, product: &str) -> Self {
        self.product = product.into();
        self
    }

    /// Boots in the order of its firmware's own menu, which a system may change. Else QEMU puts the network before the
    /// disks at each start, whatever the menu says.
    #[must_use]
    pub fn own_order(mut self) -> Self {
        self.own_order = true;
        self
    }

    /// What a device gets to be tried at this place.
    fn order(&self, place: usize) -> String {
        if self.own_order { String::new() } else { format!(",bootindex={place}") }
    }

    /// Appends the serial port's raw output to this file too.
    #[must_use]
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }

    /// More arguments for QEMU, at the end.
    #[must_use]
    pub fn extra(mut self, arguments: &[&str]) -> Self {
        self.extra.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Switches the machine on with its cable in `tap`, an interface of the namespace.
    ///
    /// # Errors
    /// When a firmware file is missing, QEMU does not start, or it refuses its arguments (its words are in the error).
    pub fn start(self, ns: &Netns, tap: &str) -> Result<Vm> {
        let dir = leftovers::disk_folder("vm")?;
        let arm = matches!(self.firmware, Firmware::Aavmf | Firmware::ArmKernel | Firmware::Pi3Kernel);
        let mut command = ns.command(if arm { "qemu-system-aarch64" } else { "qemu-system-x86_64" });
        command.args(["-name", &self.serial, "-nodefaults", "-display", "none", "-chardev", "stdio,id=s0,signal=off"]);
        if self.firmware == Firmware::Pi3Kernel {
            // The first serial port is Bluetooth's.
            command.args(["-serial", "null"]);
        } else {
            command.args(["-m", &self.memory_mib.to_string(), "-smp", &self.cpus.to_string(), "-uuid", &self.uuid]);
            command.args([
                "-smbios",
                &format!(
                    "type=1,manufacturer=Rackberry tests,product={},serial={},uuid={}",
                    self.product, self.serial, self.uuid
                ),
            ]);
        }
        command.args(["-serial", "chardev:s0"]);
        let socket = dir.path().join("qmp");
        command.args(["-qmp", &format!("unix:{},server=on,wait=off", socket.display())]);
        self.firmware_arguments(&mut command, dir.path())?;
        self.nic_arguments(&mut command, tap);
        self.disk_arguments(&mut command, dir.path())?;
        if !matches!(self.firmware, Firmware::Bios | Firmware::Pi3Kernel) {
            // EDK2 of 2024 and later boots from no network without a source of random numbers.
            command.args(["-device", "virtio-rng-pci"]);
        }
        command.args(&self.extra);
        let messages = std::fs::File::create(dir.path().join("qemu.err"))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(messages);
        leftovers::end_with_us(&mut command);
        let mut child = command.spawn().with_context(|| format!("start {command:?}"))?;
        let console = Console::new();
        if let Some(output) = child.stdout.take() {
            console.follow(output, self.log.as_deref())?;
        }
        match Qmp::connect(&socket) {
            Ok(qmp) => Ok(Vm { child, console, qmp, mac: self.mac, dir }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                let said = std::fs::read_to_string(dir.path().join("qemu.err")).unwrap_or_default();
                Err(error.context(format!("QEMU said: {:?}", said.trim())))
            }
        }
    }

    fn firmware_arguments(&self, command: &mut Command, dir: &Path) -> Result<()> {
        match self.firmware {
            Firmware::Aavmf | Firmware::ArmKernel => {
                command.args(["-M", "virt", "-accel", "tcg,tb-size=128", "-cpu", "cortex-a57"]);
            }
            Firmware::Pi3Kernel => {
                command.args(["-M", "raspi3b", "-accel", "tcg,tb-size=128"]);
            }
            Firmware::Bios | Firmware::OvmfPxe | Firmware::OvmfHttp | Firmware::OvmfSecure => {
                command.args(Accel::here().arguments());
            }
        }
        match self.firmware {
            Firmware::Bios => {
                // Without graphics SeaBIOS copies what is drawn, iPXE's words too, to the serial port.
                command.args(["-M", "pc,graphics=off"]);
                return Ok(());
            }
            Firmware::OvmfSecure => {
                command.args(["-M", "q35,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"]);
            }
            Firmware::OvmfPxe | Firmware::OvmfHttp => {
                command.args(["-M", "q35"]);
            }
            Firmware::ArmKernel | Firmware::Pi3Kernel => return Ok(()),
            Firmware::Aavmf => {}
        }
        if self.firmware == Firmware::OvmfHttp {
            for protocol in ["IPv4", "IPv6"] {
                command.args(["-fw_cfg", &format!("name=opt/org.tianocore/{protocol}PXESupport,string=n")]);
            }
        }
        let (code, variables) = match self.firmware {
            Firmware::OvmfSecure => ("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"),
            Firmware::Aavmf => ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
            Firmware::Bios | Firmware::OvmfPxe | Firmware::OvmfHttp | Firmware::ArmKernel | Firmware::Pi3Kernel => {
                ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd")
            }
        };
        let own = dir.join("variables.fd");
        std::fs::copy(variables, &own).with_context(|| format!("copy the firmware's variables {variables}"))?;
        command.args(["-drive", &format!("if=pflash,format=raw,unit=0,readonly=on,file={code}")]);
        command.args(["-drive", &format!("if=pflash,format=raw,unit=1,file={}", own.display())]);
        Ok(())
    }

    fn nic_arguments(&self, command: &mut Command, tap: &str) {
        let Some(mac) = &self.mac else {
            command.args(["-nic", "none"]);
            return;
        };
        let model = match self.nic {
            Nic::Virtio => "virtio-net-pci",
            Nic::E1000e => "e1000e",
            Nic::Vmxnet3 => "vmxnet3",
        };
        // Without the card's ROM the firmware's own client boots; it has a driver for virtio alone, so the other
        // cards keep the ROM (iPXE for UEFI).
        let own_client = self.firmware != Firmware::Bios && self.nic == Nic::Virtio;
        let rom = if own_client { ",romfile=" } else { "" };
        let order = self.order(1);
        command.args(["-netdev", &format!("tap,id=net0,ifname={tap},script=no,downscript=no")]);
        if self.firmware == Firmware::Pi3Kernel {
            command.args(["-device", &format!("usb-net,netdev=net0,id=nic0,mac={mac}")]);
            return;
        }
        command.args(["-device", &format!("{model},netdev=net0,id=nic0,mac={mac}{order}{rom}")]);
    }

    fn disk_arguments(&self, command: &mut Command, dir: &Path) -> Result<()> {
        if self.firmware == Firmware::Pi3Kernel {
            if let Some(Disk::File(path)) = self.disks.first() {
                command.args(["-drive", &format!("if=sd,format=raw,cache=unsafe,file={}", path.display())]);
            }
            return Ok(());
        }
        match self.bus {
            DiskBus::Megasas if !self.disks.is_empty() => {
                command.args(["-device", "megasas,id=bus0"]);
            }
            DiskBus::Ahci if !self.disks.is_empty() => {
                command.args(["-device", "ich9-ahci,id=bus0"]);
            }
            DiskBus::Virtio | DiskBus::Nvme | DiskBus::Megasas | DiskBus::Ahci => {}
        }
        for (number, disk) in self.disks.iter().enumerate() {
            let path = match disk {
                Disk::File(path) => path.clone(),
                Disk::Blank(size) => {
                    let path = dir.join(format!("disk{number}.raw"));
                    let made = std::fs::File::create(&path).and_then(|file| file.set_len(*size));
                    made.with_context(|| format!("make a disk of {size} bytes at {}", path.display()))?;
                    path
                }
            };
            let device = match self.bus {
                DiskBus::Virtio => "virtio-blk-pci".to_owned(),
                DiskBus::Nvme => "nvme".to_owned(),
                DiskBus::Megasas => format!("scsi-hd,bus=bus0.0,scsi-id={number}"),
                DiskBus::Ahci => format!("ide-hd,bus=bus0.{number}"),
            };
            let file = path.display();
            command.args([
                "-drive",
                &format!("if=none,id=disk{number},format=raw,cache=unsafe,discard=unmap,file={file}"),
            ]);
            command.args([
                "-device",
                &format!("{device},drive=disk{number},serial={}-{number}{}", self.serial, self.order(2 + number)),
            ]);
        }
        Ok(())
    }
}
