//! Processors and memory.

use super::device_tree;
use crate::machine::{self, Machine};
use rackberry_core::hardware::Cpu;
use std::collections::BTreeSet;

/// Arm's own processor cores by `CPU part` (MIDR_EL1 bits 15:4, implementer 0x41); cpuinfo names none of them.
const ARM_CORES: &[(u32, &str)] = &[
    (0xd03, "Cortex-A53"),
    (0xd05, "Cortex-A55"),
    (0xd07, "Cortex-A57"),
    (0xd08, "Cortex-A72"),
    (0xd0a, "Cortex-A75"),
    (0xd0b, "Cortex-A76"),
    (0xd0c, "Neoverse N1"),
    (0xd40, "Neoverse V1"),
    (0xd49, "Neoverse N2"),
    (0xd4f, "Neoverse V2"),
];

/// From `/proc/cpuinfo`.
pub fn cpu(machine: &Machine) -> Cpu {
    let text = machine.text("/proc/cpuinfo").unwrap_or_default();
    let fields = || text.lines().filter_map(|line| line.split_once(':')).map(|(key, value)| (key.trim(), value.trim()));
    let first = |name: &str| fields().find(|(key, _)| *key == name).map(|(_, value)| value);
    let (mut sockets, mut cores, mut threads) = (BTreeSet::new(), BTreeSet::new(), 0);
    let mut socket = "";
    for (key, value) in fields() {
        match key {
            "processor" => {
                threads += 1;
                socket = "";
            }
            "physical id" => {
                socket = value;
                sockets.insert(value);
            }
            "core id" => {
                cores.insert((socket, value));
            }
            _ => {}
        }
    }
    let count = |found: usize, otherwise: u32| if found == 0 { otherwise } else { u32::try_from(found).unwrap_or(0) };
    let arm = || {
        let part = u32::from_str_radix(first("CPU part")?.trim_start_matches("0x"), 16).ok()?;
        ARM_CORES.iter().find(|(number, _)| *number == part).map(|(_, name)| *name)
    };
    let model = first("model name").or_else(arm).or_else(|| first("Model"));
    Cpu {
        model: model.unwrap_or_default().into(),
        sockets: count(sockets.len(), u32::from(threads > 0)),
        cores: count(cores.len(), threads),
        threads,
    }
}

/// What is plugged in, as SMBIOS type 17 says; without that, what the kernel has for itself.
pub fn memory_bytes(machine: &Machine) -> u64 {
    let kernel = machine.text("/proc/meminfo").and_then(|text| {
        let kilobytes = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().strip_suffix(" kB")?;
        Some(kilobytes.parse::<u64>().ok()? << 10)
    });
    let kernel = kernel.unwrap_or(0);
    let entries = machine.path("/sys/firmware/dmi/entries");
    let modules = machine::names(&entries).into_iter().filter(|name| name.starts_with("17-"));
    let plugged: u64 = modules.filter_map(|name| module_bytes(&machine::bytes(&entries.join(name).join("raw"))?)).sum();
    // A virtual machine's tables may say less than it has.
    if plugged >= kernel && plugged / 2 <= kernel { plugged } else { kernel }
}

/// Size of one memory module (DSP0134 7.18: word at 0Ch in MB, or in kB with bit 15; 7FFFh: double word at 1Ch in MB).
fn module_bytes(raw: &[u8]) -> Option<u64> {
    let size = u16::from_le_bytes([*raw.get(0x0c)?, *raw.get(0x0d)?]);
    Some(match size {
        0 | 0xffff => 0,
        0x7fff => {
            let extended: [u8; 4] = raw.get(0x1c..0x20)?.try_into().ok()?;
            u64::from(u32::from_le_bytes(extended) & 0x7fff_ffff) << 20
        }
        kilobytes if kilobytes & 0x8000 != 0 => u64::from(kilobytes & 0x7fff) << 10,
        megabytes => u64::from(megabytes) << 20,
    })
}

/// The board's own name, where a device tree says it.
pub fn board(machine: &Machine) -> Option<String> {
    device_tree(machine, "model")
}
