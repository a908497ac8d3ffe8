//! Disks as the kernel names them, without what is on them.

use crate::machine::{self, Machine};
use rackberry_core::{
    hardware::{Disk, DiskContent, Transport},
    text::CleanText,
};
use std::path::Path;

/// Block devices that are made of others, or hold no file system of their own.
const NO_DISKS: &[&str] = &["loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd", "mtdblock"];

/// Drivers of controllers that show volumes, not disks (`/sys/class/scsi_host/*/proc_name`).
const RAID_DRIVERS: &[&str] = &["megaraid_sas", "hpsa", "aacraid", "smartpqi", "3w-sas", "3w-9xxx", "arcmsr", "ips"];

/// Every disk of the machine, sorted by name; their content is left open.
#[must_use]
pub fn list(machine: &Machine) -> Vec<Disk> {
    let names = machine::names(&machine.path("/sys/block"));
    names.iter().filter_map(|name| read(machine, name)).filter(|disk| disk.size_bytes > 0).collect()
}

/// One disk by the kernel's name, as it is now; none if there is no such disk.
#[must_use]
pub fn read(machine: &Machine, name: &str) -> Option<Disk> {
    let virtual_one = NO_DISKS.iter().any(|prefix| name.starts_with(prefix));
    // The boot and replay-protected areas of an eMMC are devices of their own.
    let area = name.starts_with("mmcblk") && (name.contains("boot") || name.contains("rpmb"));
    if virtual_one || area || name.contains('/') {
        return None;
    }
    let block = machine.path("/sys/block").join(name);
    let flag = |attribute: &str| machine::number(&block.join(attribute)) == Some(1);
    // One path of a multipath NVMe device; the device itself is listed too.
    if flag("hidden") {
        return None;
    }
    let sectors = machine::number(&block.join("size"))?;
    let vendor = machine::text(&block.join("device/vendor")).unwrap_or_default();
    let transport = transport(machine, &block, name, &vendor);
    Some(Disk {
        name: CleanText::new(name),
        model: model(&block, &vendor),
        serial: serial(&block, transport),
        wwn: wwn(&block),
        // The kernel counts in 512 bytes whatever the disk's own sectors are.
        size_bytes: sectors.saturating_mul(512),
        transport,
        rotational: flag("queue/rotational") && transport != Transport::Virtio,
        removable: flag("removable"),
        read_only: flag("ro"),
        content: DiskContent::default(),
    })
}

fn model(block: &Path, vendor: &str) -> CleanText {
    let model = machine::text(&block.join("device/model")).or_else(|| machine::text(&block.join("device/name")));
    let model = model.unwrap_or_default();
    // "ATA" is what the kernel puts there; virtio disks have their PCI vendor's number.
    if vendor.is_empty() || vendor == "ATA" || vendor.starts_with("0x") || model.is_empty() {
        return CleanText::new(&model);
    }
    CleanText::new(&format!("{vendor} {model}"))
}

fn serial(block: &Path, transport: Transport) -> CleanText {
    // NVMe and eMMC by their controller, virtio at the disk itself.
    for attribute in ["device/serial", "serial"] {
        let serial = machine::clean(&block.join(attribute));
        if !serial.is_empty() {
            return serial;
        }
    }
    // SCSI's Unit Serial Number page (SPC-5 7.7.19): the length in bytes 2 and 3, then ASCII.
    let page = machine::bytes(&block.join("device/vpd_pg80")).unwrap_or_default();
    if let [_, _, high, low, serial @ ..] = page.as_slice() {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let serial = serial.get(..length).unwrap_or(serial);
        let serial: Vec<u8> = serial.iter().copied().filter(|byte| *byte != 0).collect();
        if !serial.is_empty() {
            return CleanText::from_bytes(&serial);
        }
    }
    if transport == Transport::Usb
        && let Ok(device) = block.join("device").canonicalize()
    {
        // The USB device stands some folders above its SCSI disk.
        let above = device.ancestors().take(8).find(|folder| folder.join("idVendor").exists());
        return above.map_or_else(CleanText::default, |folder| machine::clean(&folder.join("serial")));
    }
    CleanText::default()
}

/// A name that no other disk in the world has; those made up of model and serial number say nothing new.
fn wwn(block: &Path) -> CleanText {
    let stated = machine::text(&block.join("wwid")).or_else(|| machine::text(&block.join("device/wwid")));
    match stated.as_deref().map(|wwid| wwid.split_once('.')) {
        Some(Some(("naa", number))) => CleanText::new(&format!("0x{number}")),
        Some(Some(("eui" | "uuid", _))) => CleanText::new(&stated.unwrap_or_default()),
        Some(_) | None => CleanText::default(),
    }
}

fn transport(machine: &Machine, block: &Path, name: &str, vendor: &str) -> Transport {
    if name.starts_with("nvme") {
        return Transport::Nvme;
    }
    if name.starts_with("mmcblk") {
        return Transport::Mmc;
    }
    let path = block.canonicalize().unwrap_or_default();
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    let any = |prefix: &str| parts.iter().any(|part| part.starts_with(prefix));
    let host = parts.iter().find(|part| part.strip_prefix("host").is_some_and(|n| n.parse::<u32>().is_ok()));
    let driver = host.and_then(|host| machine.text(&format!("/sys/class/scsi_host/{host}/proc_name")));
    if any("usb") {
        Transport::Usb
    } else if name.starts_with("vd") || any("virtio") {
        Transport::Virtio
    } else if any("ata") || vendor == "ATA" {
        Transport::Sata
    } else if driver.is_some_and(|driver| RAID_DRIVERS.contains(&driver.as_str())) {
        Transport::Raid
    } else if any("end_device-") {
        Transport::Sas
    } else {
        Transport::Other
    }
}
