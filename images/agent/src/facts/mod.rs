//! What this machine is made of, read from the kernel without changing anything.

pub mod disks;
mod firmware;
mod nics;
mod processor;

use crate::{
    machine::{self, Machine},
    probe,
};
use rackberry_core::{
    hardware::{Disk, DiskContent, Facts},
    host::{Arch, MacAddr},
};
use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

/// A dying disk answers late or never; what is known of it by then is reported.
const PROBE_TIME: Duration = Duration::from_secs(20);

/// Everything the machine tells about itself; `boot_mac` marks the port it booted over.
#[must_use]
pub fn gather(machine: &Machine, boot_mac: Option<MacAddr>) -> Facts {
    let mut disks = disks::list(machine);
    look_into(machine, &mut disks);
    Facts {
        cpu: processor::cpu(machine),
        memory_bytes: processor::memory_bytes(machine),
        disks,
        nics: nics::list(machine, boot_mac),
        smbios: firmware::smbios(machine),
        arch: arch(),
        firmware: firmware::kind(machine),
        secure_boot: firmware::secure_boot(machine),
        bmc: firmware::bmc(machine),
    }
}

/// What this program was built for, which is what the machine runs.
#[must_use]
pub fn arch() -> Option<Arch> {
    match std::env::consts::ARCH {
        "x86" => Some(Arch::X86),
        "x86_64" => Some(Arch::X86_64),
        "arm" => Some(Arch::Arm),
        "aarch64" => Some(Arch::Aarch64),
        "riscv64" => Some(Arch::Riscv64),
        "loongarch64" => Some(Arch::Loongarch64),
        _ => None,
    }
}

/// Reads the disks' content side by side, each on its own thread, so that one that hangs holds up no other.
fn look_into(machine: &Machine, disks: &mut [Disk]) {
    let (found, results) = mpsc::channel::<(usize, DiskContent)>();
    for (index, disk) in disks.iter().enumerate() {
        let (machine, name, size, found) = (machine.clone(), disk.name.to_string(), disk.size_bytes, found.clone());
        std::thread::spawn(move || {
            let content = probe::disk(&machine, &name, size);
            // The other end has given up waiting: nobody wants to know any more.
            let _ = found.send((index, content));
        });
    }
    drop(found);
    let deadline = Instant::now() + PROBE_TIME;
    while let Ok((index, content)) = results.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        if let Some(disk) = disks.get_mut(index) {
            disk.content = content;
        }
    }
}

/// What the device tree says of a board without SMBIOS.
fn device_tree(machine: &Machine, property: &str) -> Option<String> {
    machine::text(&machine.path("/proc/device-tree").join(property)).filter(|text| !text.is_empty())
}
