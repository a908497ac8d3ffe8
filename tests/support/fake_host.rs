//! A machine without hardware, as its firmware shows it: who it is, and what the boot scripts make it do.

use crate::pxe::{Kind, Machine, web};
use anyhow::{Result, ensure};
use rackberry_core::{
    hardware::{Disk, DiskContent, Facts, Nic, Transport},
    host::{Arch, Firmware, MacAddr},
};
use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who a machine is, and what it is made of.
#[derive(Clone, Debug)]
pub struct FakeHost {
    /// Of the port it boots over.
    pub mac: MacAddr,
    /// As iPXE says it; empty for firmware that says none.
    pub uuid: String,
    /// As iPXE says it.
    pub serial: String,
    /// The sender of all that it says.
    pub address: Ipv4Addr,
    /// What its agent finds.
    pub facts: Facts,
}

/// An empty disk.
#[must_use]
pub fn disk(name: &str, serial: &str, size_bytes: u64) -> Disk {
    Disk {
        name: name.into(),
        model: "Fake".into(),
        serial: serial.into(),
        wwn: "".into(),
        size_bytes,
        transport: Transport::Virtio,
        rotational: false,
        removable: false,
        read_only: false,
        content: DiskContent { blank: true, ..DiskContent::default() },
    }
}

impl FakeHost {
    /// The machine with this number, as [`Machine::new`] counts them, with 4 GB of memory and one empty disk.
    #[must_use]
    pub fn new(number: u32, address: Ipv4Addr) -> Self {
        let machine = Machine::new(number, Kind::Plain);
        let mac = MacAddr(machine.mac);
        let nic =
            Nic { name: "eth0".into(), mac, link: true, speed_mbps: Some(1000), driver: "fake".into(), boot: true };
        let facts = Facts {
            memory_bytes: 4 << 30,
            disks: vec![disk("vda", &format!("DISK{number}"), 20_000_000_000)],
            nics: vec![nic],
            arch: Some(Arch::X86_64),
            firmware: Some(Firmware::Uefi),
            ..Facts::default()
        };
        // Firmware keeps the first three fields little-endian (SMBIOS 7.2.1); option 97 carries them so, iPXE turns them.
        let [a, b, c, d, e, f, g, h, rest @ ..] = machine.uuid.unwrap_or_default();
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (node, clock) = (rest.get(2..).unwrap_or_default(), rest.get(..2).unwrap_or_default());
        let fields = [hex(&[d, c, b, a]), hex(&[f, e]), hex(&[h, g]), hex(clock), hex(node)];
        Self { mac, uuid: fields.join("-"), serial: format!("FAKE{number:06}"), address, facts }
    }

    /// Path and query by which its iPXE asks for the script.
    #[must_use]
    pub fn ask(&self) -> String {
        let Self { mac, uuid, serial, .. } = self;
        format!("/boot.ipxe?mac={}&uuid={uuid}&serial={serial}&arch=x86_64&platform=efi", mac.hyphens())
    }

    /// One request on a connection of its own.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub fn request(&self, server: SocketAddrV4, method: &str, path: &str) -> Result<web::Reply> {
        web::Connection::open_from(self.address, server, PATIENCE)?.request(method, path, &[])
    }

    /// Asks for its script, once.
    ///
    /// # Errors
    /// When none comes.
    pub fn script(&self, server: SocketAddrV4) -> Result<Script> {
        let reply = self.request(server, "GET", &self.ask())?;
        ensure!(reply.status == 200, "the script: {} {}", reply.status, reply.text());
        Ok(Script::read(&reply.text()))
    }
}

/// A boot script, by what it makes a machine do. Nothing but these four may ever be given to a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Script {
    /// Starts our RAM OS.
    RamOs {
        /// `rackberry.url`.
        url: String,
        /// `rackberry.token`.
        token: String,
    },
    /// Leaves for the machine's own disk.
    LocalDisk,
    /// Says that there is nothing to start, and asks again.
    NothingToBoot,
    /// Asks again with its identity.
    AskAgain,
    /// Anything else.
    Other(String),
}

impl Script {
    /// Reads a script strictly: one line that none of ours has makes it another script.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let other = || Script::Other(text.to_owned());
        if !text.starts_with("#!ipxe\n") {
            return other();
        }
        let (mut kernel, mut leaves, mut asks, mut sleeps) = (None, false, false, false);
        for line in text.lines().skip(1) {
            let mut words = line.split_whitespace();
            let command = words.next().unwrap_or_default();
            let rest: Vec<&str> = words.filter(|word| *word != "||").collect();
            let ours = |url: &str, path: &str| url.starts_with("http://") && url.contains(path);
            let known = match (command, rest.as_slice()) {
                ("kernel", [url, arguments @ .., "goto", "retry"]) if ours(url, "/ramos/") => {
                    let value = |name: &str| arguments.iter().find_map(|word| word.strip_prefix(name));
                    kernel = value("rackberry.url=").zip(value("rackberry.token="));
                    url.ends_with("/vmlinuz") && kernel.is_some()
                }
                ("initrd", ["--name", "early.img", url, ..]) => ours(url, "/ramos/") && url.contains("/early.img"),
                // iPXE's own way to start a disk's loader, never from a URL, and a program of ours that does the same.
                ("sanboot", ["--no-describe", "--drive", "${drive}"]) => true,
                ("sanboot", ["--no-describe", "--drive", "${drive}", "--filename", file]) => {
                    file.starts_with("\\EFI\\")
                }
                ("chain", [url]) if ours(url, "/loaders/localdisk-") => true,
                ("chain", ["--replace", url, ..]) if ours(url, "/boot.ipxe?mac=${netX/mac:hexhyp}&uuid=${uuid}&") => {
                    asks = true;
                    true
                }
                ("exit", _) => {
                    leaves = true;
                    true
                }
                ("sleep", _) => {
                    sleeps = true;
                    true
                }
                ("boot", ["goto", "retry"]) => true,
                ("echo" | "goto" | "imgfree" | "inc" | "iseq" | "isset", _) | ("set", ["drive:int32", "0"]) => true,
                (label, []) => label.starts_with(':'),
                _ => false,
            };
            if !known {
                return other();
            }
        }
        match (kernel, leaves, asks, sleeps) {
            (Some((url, token)), false, false, _) => Script::RamOs { url: url.to_owned(), token: token.to_owned() },
            (None, true, false, false) => Script::LocalDisk,
            (None, false, true, _) if text.contains("empty disk") => Script::NothingToBoot,
            (None, false, true, _) => Script::AskAgain,
            _ => other(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_with_one_foreign_line_is_another_script() {
        let ram = "#!ipxe\necho x\n:start\nkernel http://b/ramos/x86_64/vmlinuz initrd=early.img rackberry.url=http://b \
            rackberry.token=00 quiet || goto retry\ninitrd --name early.img http://b/ramos/x86_64/early.img || goto retry\n\
            boot || goto retry\n:retry\nimgfree\nsleep 5\ngoto start\n";
        assert_eq!(Script::read(ram), Script::RamOs { url: "http://b".into(), token: "00".into() });
        for line in ["sanboot http://b/x", "kernel http://b/images/00 || goto retry", "chain http://b/x.efi ||", "boot"]
        {
            let text = format!("{ram}{line}\n");
            assert_eq!(Script::read(&text), Script::Other(text.clone()), "{line}");
        }
        assert!(matches!(Script::read("<html>"), Script::Other(_)));
    }
}
