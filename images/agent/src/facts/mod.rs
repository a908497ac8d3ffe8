//! What this machine is made of, read from the kernel without changing anything.

pub mod disks;
mod firmware;
mod ipmi;
pub mod nics;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::machine_files;
    use rackberry_core::{hardware::Transport, host::Firmware};

    /// A server with SMBIOS, a SAS disk, a volume of a RAID controller, an NVMe disk, a stick, and things that are no disks.
    fn server() -> (tempfile::TempDir, Machine) {
        let pci = "sys/devices/pci0000:00";
        let sas = format!("{pci}/0000:02:00.0/host1/port-1:0/end_device-1:0/target1:0:0/1:0:0:0");
        let raid = format!("{pci}/0000:03:00.0/host2/target2:2:0/2:2:0:0");
        let nvme = format!("{pci}/0000:04:00.0/nvme/nvme0");
        let usb = format!("{pci}/0000:00:14.0/usb2/2-1");
        let stick = format!("{usb}/2-1:1.0/host3/target3:0:0/3:0:0:0");
        let port = format!("{pci}/0000:05:00.0/net/eth0");
        let other = format!("{pci}/0000:05:00.1/net/eth1");
        let file = |folder: &str, name: &str, content: &str| (format!("{folder}/{name}"), content.as_bytes().to_vec());
        let mut files = vec![
            file("proc", "cpuinfo", CPUINFO),
            file("proc", "meminfo", "MemTotal:       65655000 kB\nMemFree: 1 kB\n"),
            file("sys/class/dmi/id", "sys_vendor", "Dell Inc.\n"),
            file("sys/class/dmi/id", "product_name", "PowerEdge R650\n"),
            file("sys/class/dmi/id", "product_serial", " 7XK2L33 \n"),
            file("sys/class/dmi/id", "board_vendor", "Dell Inc.\n"),
            file("sys/class/dmi/id", "board_name", "0PYXKY\u{1b}[2J\n"),
            (
                "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c".to_owned(),
                vec![6, 0, 0, 0, 1],
            ),
            ("sys/firmware/dmi/entries/38-0/raw".to_owned(), vec![38, 18, 0, 0x26, 1]),
            file("sys/class/scsi_host/host1", "proc_name", "mpt3sas\n"),
            file("sys/class/scsi_host/host2", "proc_name", "megaraid_sas\n"),
            file(&sas, "block/sda/size", "3907029168\n"),
            file(&sas, "block/sda/queue/rotational", "1\n"),
            file(&sas, "vendor", "SEAGATE \n"),
            file(&sas, "model", "ST2000NX0453    \n"),
            file(&sas, "wwid", "naa.5000c500a1b2c3d4\n"),
            (format!("{sas}/vpd_pg80"), [&[0, 0x80, 0, 20][..], b"W460ABCD            "].concat()),
            file(&raid, "block/sdb/size", "1000\n"),
            file(&raid, "vendor", "DELL\n"),
            file(&raid, "model", "PERC H755\n"),
            file(&nvme, "nvme0n1/size", "7501476528\n"),
            file(&nvme, "nvme0n1/wwid", "eui.0025385b91b00001\n"),
            file(&nvme, "model", "SAMSUNG MZQL23T8HCLS-00A07              \n"),
            file(&nvme, "serial", "S64HNE0T500001      \n"),
            file(&stick, "block/sdc/size", "60000000\n"),
            file(&stick, "block/sdc/removable", "1\n"),
            file(&usb, "idVendor", "0781\n"),
            file(&usb, "serial", "4C53000112\n"),
            file("sys/block/loop0", "size", "8\n"),
            file("sys/block/sdd", "size", "0\n"),
            file(&port, "address", "52:54:00:77:00:01\n"),
            file(&port, "type", "1\n"),
            file(&port, "carrier", "1\n"),
            file(&port, "speed", "25000\n"),
            file(&other, "address", "52:54:00:77:00:02\n"),
            file(&other, "type", "1\n"),
            file(&other, "carrier", "0\n"),
            file(&other, "speed", "-1\n"),
            file("sys/class/net/lo", "address", "00:00:00:00:00:00\n"),
        ];
        files.extend((0..4).map(|slot| {
            let mut module = vec![0; 0x28];
            module[0x0c..0x0e].copy_from_slice(&16384u16.to_le_bytes());
            (format!("sys/firmware/dmi/entries/17-{slot}/raw"), module)
        }));
        let links = [
            ("sys/block/sda", format!("{sas}/block/sda")),
            ("sys/block/sdb", format!("{raid}/block/sdb")),
            ("sys/block/sdc", format!("{stick}/block/sdc")),
            ("sys/block/nvme0n1", format!("{nvme}/nvme0n1")),
            ("sys/class/net/eth0", port.clone()),
            ("sys/class/net/eth1", other.clone()),
        ];
        let mut links: Vec<(String, String)> = links.map(|(link, to)| (link.to_owned(), to)).into();
        for (inner, device) in [
            (format!("{sas}/block/sda"), &sas),
            (format!("{raid}/block/sdb"), &raid),
            (format!("{stick}/block/sdc"), &stick),
            (format!("{nvme}/nvme0n1"), &nvme),
        ] {
            links.push((format!("{inner}/device"), device.clone()));
        }
        for port in [&port, &other] {
            links.push((format!("{port}/device"), format!("{port}/../..")));
        }
        links.push((format!("{pci}/0000:05:00.0/driver"), "sys/bus/pci/drivers/ice".to_owned()));
        machine_files(&files, &links)
    }

    const CPUINFO: &str = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Gold 5318Y\nphysical id\t: 0\ncore id\t\t: 0\n\n\
        processor\t: 1\nphysical id\t: 0\ncore id\t\t: 1\n\nprocessor\t: 2\nphysical id\t: 1\ncore id\t\t: 0\n\n\
        processor\t: 3\nphysical id\t: 1\ncore id\t\t: 0\n";

    #[test]
    fn a_servers_disks_are_told_apart() {
        let (_folder, machine) = server();
        let facts = gather(&machine, None);
        let told: Vec<(&str, &str, &str, &str, Transport)> = facts
            .disks
            .iter()
            .map(|d| (d.name.as_str(), d.model.as_str(), d.serial.as_str(), d.wwn.as_str(), d.transport))
            .collect();
        assert_eq!(
            told,
            [
                ("nvme0n1", "SAMSUNG MZQL23T8HCLS-00A07", "S64HNE0T500001", "eui.0025385b91b00001", Transport::Nvme),
                ("sda", "SEAGATE ST2000NX0453", "W460ABCD", "0x5000c500a1b2c3d4", Transport::Sas),
                ("sdb", "DELL PERC H755", "", "", Transport::Raid),
                ("sdc", "", "4C53000112", "", Transport::Usb),
            ]
        );
        let sda = &facts.disks[1];
        assert_eq!((sda.size_bytes, sda.rotational, sda.removable), (2_000_398_934_016, true, false));
        assert!(facts.disks[3].removable && !facts.disks[0].rotational);
    }

    #[test]
    fn a_servers_processors_memory_firmware_and_controller_are_reported() {
        let (_folder, machine) = server();
        let facts = gather(&machine, None);
        assert_eq!(facts.cpu.model.as_str(), "Intel(R) Xeon(R) Gold 5318Y");
        assert_eq!((facts.cpu.sockets, facts.cpu.cores, facts.cpu.threads), (2, 3, 4));
        assert_eq!(facts.memory_bytes, 64 << 30);
        assert_eq!((facts.firmware, facts.secure_boot), (Some(Firmware::Uefi), Some(true)));
        assert_eq!(facts.bmc.unwrap().interface.as_str(), "kcs");
        assert_eq!((facts.smbios.vendor.as_str(), facts.smbios.serial.as_str()), ("Dell Inc.", "7XK2L33"));
        assert_eq!(facts.smbios.board.as_str(), "Dell Inc. 0PYXKY\\x1b[2J");
    }

    #[test]
    fn the_port_it_booted_over_is_marked() {
        let (_folder, machine) = server();
        let nics = gather(&machine, Some(MacAddr([0x52, 0x54, 0, 0x77, 0, 1]))).nics;
        let told: Vec<_> =
            nics.iter().map(|n| (n.name.as_str(), n.link, n.speed_mbps, n.driver.as_str(), n.boot)).collect();
        assert_eq!(told, [("eth0", true, Some(25000), "ice", true), ("eth1", false, None, "", false)]);
    }

    #[test]
    fn a_board_without_smbios_is_described_by_its_device_tree() {
        let file = |path: &str, content: &str| (path.to_owned(), content.as_bytes().to_vec());
        let (_folder, machine) = machine_files(
            &[
                file("proc/cpuinfo", "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\nprocessor\t: 1\n"),
                file("proc/meminfo", "MemTotal:  8000000 kB\n"),
                file("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0"),
                file("proc/device-tree/serial-number", "1000000012345678\0"),
                file("proc/device-tree/compatible", "raspberrypi,5-model-b\0brcm,bcm2712\0"),
                file("sys/block/mmcblk0/size", "62333952\n"),
                file("sys/block/mmcblk0/device/name", "SD32G\n"),
                file("sys/block/mmcblk0/device/serial", "0x1c2d3e4f\n"),
                file("sys/block/mmcblk0boot0/size", "8192\n"),
            ],
            &[],
        );
        let facts = gather(&machine, None);
        assert_eq!((facts.cpu.model.as_str(), facts.cpu.sockets, facts.cpu.cores), ("Cortex-A76", 1, 2));
        assert_eq!(facts.memory_bytes, 8_192_000_000);
        assert_eq!(facts.firmware, Some(Firmware::Pi));
        assert_eq!(facts.smbios.product.as_str(), "Raspberry Pi 5 Model B Rev 1.0");
        assert_eq!(facts.smbios.serial.as_str(), "1000000012345678");
        let told: Vec<_> = facts.disks.iter().map(|d| (d.name.as_str(), d.model.as_str(), d.transport)).collect();
        assert_eq!(told, [("mmcblk0", "SD32G", Transport::Mmc)]);
        assert_eq!(facts.bmc, None);
    }
}
