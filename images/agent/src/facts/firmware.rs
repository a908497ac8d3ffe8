//! Firmware, its tables, and the management controller.

use super::{device_tree, ipmi, processor};
use crate::machine::{self, Machine};
use rackberry_core::{
    hardware::{Bmc, Smbios},
    host::Firmware,
    text::CleanText,
};

/// EFI_GLOBAL_VARIABLE (UEFI 2.10, 3.3).
const SECURE_BOOT: &str = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// From `/sys/class/dmi/id`, or the device tree of a board without it.
pub fn smbios(machine: &Machine) -> Smbios {
    let id = machine.path("/sys/class/dmi/id");
    let field = |name: &str| machine::clean(&id.join(name));
    if id.exists() {
        let board = format!("{} {}", field("board_vendor"), field("board_name"));
        return Smbios {
            vendor: field("sys_vendor"),
            product: field("product_name"),
            serial: field("product_serial"),
            uuid: field("product_uuid"),
            board: CleanText::new(&board),
            firmware_version: field("bios_version"),
            firmware_date: field("bios_date"),
        };
    }
    let clean = |text: Option<String>| text.map_or_else(CleanText::default, |text| CleanText::new(&text));
    Smbios {
        product: clean(processor::board(machine)),
        serial: clean(device_tree(machine, "serial-number")),
        ..Smbios::default()
    }
}

/// What started this machine.
pub fn kind(machine: &Machine) -> Option<Firmware> {
    if machine.path("/sys/firmware/efi").exists() {
        return Some(Firmware::Uefi);
    }
    if device_tree(machine, "compatible").is_some_and(|names| names.contains("raspberrypi")) {
        return Some(Firmware::Pi);
    }
    machine.path("/sys/class/dmi/id").exists().then_some(Firmware::Bios)
}

/// Whether the firmware enforces signatures; none without UEFI.
pub fn secure_boot(machine: &Machine) -> Option<bool> {
    let variable = machine::bytes(&machine.path("/sys/firmware/efi/efivars").join(SECURE_BOOT))?;
    // Four bytes of attributes come first in efivarfs.
    Some(*variable.get(4)? == 1)
}

/// The management controller, by the kernel's driver or SMBIOS type 38 (DSP0134 7.39: interface type at 04h).
pub fn bmc(machine: &Machine) -> Option<Bmc> {
    let stated = machine::bytes(&machine.path("/sys/firmware/dmi/entries/38-0/raw"));
    let driven = machine.path("/sys/class/ipmi/ipmi0").exists() || machine.path("/dev/ipmi0").exists();
    let interface = match stated.as_deref().and_then(|raw| raw.get(4)) {
        Some(1) => "kcs",
        Some(2) => "smic",
        Some(3) => "bt",
        Some(4) => "ssif",
        Some(_) => "unknown",
        None if driven => "ipmi",
        None => return None,
    };
    let (address, mac) = ipmi::lan(machine);
    Some(Bmc { interface: interface.into(), address: address.map(|address| CleanText::new(&address.to_string())), mac })
}
