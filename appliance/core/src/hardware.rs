//! What a host is made of, as its agent reports it, and what is on its disks.

use crate::{
    host::{Arch, Firmware, MacAddr},
    text::CleanText,
};
use serde::{Deserialize, Serialize};

/// A host's hardware as its agent reported it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct Facts {
    pub cpu: Cpu,
    pub memory_bytes: u64,
    pub disks: Vec<Disk>,
    pub nics: Vec<Nic>,
    pub smbios: Smbios,
    pub arch: Option<Arch>,
    pub firmware: Option<Firmware>,
    pub secure_boot: Option<bool>,
    pub bmc: Option<Bmc>,
}

/// Processors of a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct Cpu {
    pub model: CleanText,
    pub sockets: u32,
    pub cores: u32,
    pub threads: u32,
}

/// What the firmware's SMBIOS tables say (DMTF DSP0134, types 0 to 2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct Smbios {
    pub vendor: CleanText,
    pub product: CleanText,
    pub serial: CleanText,
    /// As stated; may be a value that identifies no machine.
    pub uuid: CleanText,
    pub board: CleanText,
    pub firmware_version: CleanText,
    pub firmware_date: CleanText,
}

/// A management controller seen from inside the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct Bmc {
    /// The kernel's interface, for example `kcs`.
    pub interface: CleanText,
    pub address: Option<CleanText>,
    pub mac: Option<MacAddr>,
}

/// A network port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Nic {
    /// The kernel's name in the RAM OS, for example `eth0`.
    pub name: CleanText,
    pub mac: MacAddr,
    pub link: bool,
    /// Mb/s, if the link says.
    #[serde(default)]
    pub speed_mbps: Option<u32>,
    #[serde(default)]
    pub driver: CleanText,
    /// Whether the host booted over this one.
    #[serde(default)]
    pub boot: bool,
}

/// A disk and what is on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Disk {
    /// The kernel's name in the RAM OS, for example `nvme0n1`.
    pub name: CleanText,
    #[serde(default)]
    pub model: CleanText,
    #[serde(default)]
    pub serial: CleanText,
    #[serde(default)]
    pub wwn: CleanText,
    pub size_bytes: u64,
    #[serde(default)]
    pub transport: Transport,
    #[serde(default)]
    pub rotational: bool,
    #[serde(default)]
    pub removable: bool,
    #[serde(default)]
    pub read_only: bool,
    #[serde(default)]
    pub content: DiskContent,
}

/// How a disk is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    Nvme,
    Sata,
    Sas,
    Usb,
    Virtio,
    /// A volume of a hardware RAID controller.
    Raid,
    Mmc,
    #[default]
    Other,
}

/// What was found on a disk before anything was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct DiskContent {
    /// `gpt`, `dos`, or none.
    pub table: Option<CleanText>,
    pub partitions: Vec<Partition>,
    /// The name of an operating system found, as its own files state it.
    pub system: Option<CleanText>,
    /// A signature on the whole disk: a file system, LVM or RAID member without a partition table.
    pub signature: Option<CleanText>,
    /// First and last MiB are zero and no signature was found.
    pub blank: bool,
}

/// A partition found on a disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct Partition {
    pub number: u32,
    pub size_bytes: u64,
    pub filesystem: CleanText,
    pub label: CleanText,
}

impl Disk {
    /// Where a Linux with udev finds this very disk, whatever name its kernel gives it; by the RAM OS' name where nothing tells.
    ///
    /// The links are those of udev's `60-persistent-storage.rules`: by WWN for SCSI and SATA, by the namespace's number for NVMe, by
    /// serial number for virtio. Others are made up of more than the agent reports.
    #[must_use]
    pub fn path(&self) -> String {
        let plain =
            |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        let (serial, wwn) = (self.serial.as_str(), self.wwn.as_str());
        match self.transport {
            Transport::Sata | Transport::Sas | Transport::Raid if wwn.starts_with("0x") && plain(wwn) => {
                format!("/dev/disk/by-id/wwn-{wwn}")
            }
            Transport::Nvme if plain(wwn) => format!("/dev/disk/by-id/nvme-{wwn}"),
            Transport::Virtio if self.name.as_str().starts_with("vd") && plain(serial) => {
                format!("/dev/disk/by-id/virtio-{serial}")
            }
            _ => format!("/dev/{}", self.name),
        }
    }

    /// One sentence on what would be lost, for dialogs.
    #[must_use]
    pub fn content_sentence(&self) -> String {
        let content = &self.content;
        if content.blank {
            return "empty".to_owned();
        }
        match (&content.system, content.partitions.len(), &content.signature) {
            (Some(system), 0, _) => system.to_string(),
            (Some(system), 1, _) => format!("{system}, 1 partition"),
            (Some(system), n, _) => format!("{system}, {n} partitions"),
            (None, 0, Some(signature)) => signature.to_string(),
            (None, 0, None) => "data without a partition table".to_owned(),
            (None, 1, _) => "1 partition, no system recognised".to_owned(),
            (None, n, _) => format!("{n} partitions, no system recognised"),
        }
    }
}

impl Facts {
    /// Whether any fixed disk holds something a firmware could start.
    #[must_use]
    pub fn holds_system(&self) -> bool {
        self.disks.iter().any(|disk| !disk.removable && (disk.content.system.is_some() || disk.content.table.is_some()))
    }

    /// One line for lists: processor, memory, disks.
    #[must_use]
    pub fn summary(&self) -> String {
        let disks = self.disks.iter().filter(|disk| !disk.removable).count();
        let threads = self.cpu.threads.max(1);
        format!(
            "{threads} CPU, {} memory, {disks} {}",
            memory(self.memory_bytes),
            if disks == 1 { "disk" } else { "disks" }
        )
    }
}

/// Bytes as people read them: `64 GB`, decimal units, as on the label of a disk.
#[must_use]
pub fn size(bytes: u64) -> String {
    scaled(bytes, 1000)
}

/// An amount of memory under the names people use for binary steps: 17179869184 is `16 GB`.
#[must_use]
pub fn memory(bytes: u64) -> String {
    scaled(bytes, 1024)
}

fn scaled(bytes: u64, step: u64) -> String {
    for (power, name) in [(4, "TB"), (3, "GB"), (2, "MB"), (1, "kB")] {
        let unit = step.pow(power);
        if bytes >= unit {
            let tenths = bytes.saturating_mul(10) / unit;
            return if tenths >= 100 || tenths.is_multiple_of(10) {
                format!("{} {name}", tenths / 10)
            } else {
                format!("{}.{} {name}", tenths / 10, tenths % 10)
            };
        }
    }
    format!("{bytes} B")
}

/// A disk as it was shown before it was armed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenDisk {
    pub name: CleanText,
    pub serial: CleanText,
    pub size_bytes: u64,
    /// What was found on it, in words.
    pub content: String,
}

impl SeenDisk {
    /// What identifies `disk` from now on.
    #[must_use]
    pub fn of(disk: &Disk) -> Self {
        SeenDisk {
            name: disk.name.clone(),
            serial: disk.serial.clone(),
            size_bytes: disk.size_bytes,
            content: disk.content_sentence(),
        }
    }

    /// Whether `disk` is the same one: serial and size where it has a serial, else name and size.
    #[must_use]
    pub fn is(&self, disk: &Disk) -> bool {
        self.size_bytes == disk.size_bytes
            && self.serial == disk.serial
            && (!self.serial.is_empty() || self.name == disk.name)
    }
}

impl std::fmt::Display for SeenDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}, {})", self.name, size(self.size_bytes), self.content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_like_a_disk_label() {
        assert_eq!(size(64_000_000_000), "64 GB");
        assert_eq!(size(1_920_383_410_176), "1.9 TB");
        assert_eq!(size(512), "512 B");
        assert_eq!(
            (memory(16 << 30), memory(512 << 20), memory(1536 << 20)),
            ("16 GB".into(), "512 MB".into(), "1.5 GB".into())
        );
    }

    #[test]
    fn a_disk_is_found_by_what_udev_calls_it_and_by_its_name_where_nothing_tells() {
        let path = |name: &str, serial: &str, wwn: &str, transport| {
            let disk: Disk = serde_json::from_value(serde_json::json!({
                "name": name, "serial": serial, "wwn": wwn, "size_bytes": 1, "transport": transport,
            }))
            .unwrap();
            disk.path()
        };
        assert_eq!(path("sda", "W4", "0x5000c500a1b2c3d4", "sas"), "/dev/disk/by-id/wwn-0x5000c500a1b2c3d4");
        assert_eq!(path("nvme0n1", "S6", "eui.0025385b91b00001", "nvme"), "/dev/disk/by-id/nvme-eui.0025385b91b00001");
        assert_eq!(path("vda", "DISK1", "", "virtio"), "/dev/disk/by-id/virtio-DISK1");
        for (name, serial, wwn, transport) in [
            ("vda", "", "", "virtio"),
            ("vda", "a b/../c", "", "virtio"),
            ("sda", "W4", "", "sata"),
            ("sdb", "4C53", "0x5000c500a1b2c3d4", "usb"),
            ("mmcblk0", "0x1c", "", "mmc"),
        ] {
            assert_eq!(path(name, serial, wwn, transport), format!("/dev/{name}"));
        }
    }
}
