//! A place to try the box without emulated machines: its namespace, the hosts' namespace, a cable between them, and a
//! folder of small stand-ins for the files it serves.

use crate::{
    appliance::{self, Appliance},
    crowd::Crowd,
    leftovers,
    local_api::LocalApi,
    netns::Netns,
    wire::{Impairment, Wire},
};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{
    net::{Ipv4Addr, SocketAddrV4},
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The box.
pub const BOX: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The hosts' interface, for requests of nobody in particular.
pub const ROOM: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// The boot listener.
pub const BOOT: SocketAddrV4 = SocketAddrV4::new(BOX, 80);
/// Where the addresses that it leases lie, all of them on the hosts' interface.
const POOL: &str = "10.77.64.0/18";
/// The box's interface.
pub const BOX_LINK: &str = "s0";
/// The hosts' interface.
pub const ROOM_LINK: &str = "c0";

/// The two namespaces and the files. Fields drop in order: the hosts before the cable's other end.
pub struct Site {
    /// Where hosts are.
    pub room: Netns,
    /// Where the box is.
    pub seat: Netns,
    wire: Option<Wire>,
    files: tempfile::TempDir,
}

/// The loaders that the stand-ins are made for.
pub const LOADERS: [&str; 5] =
    ["undionly.kpxe", "snponly-x64.efi", "ipxe-arm64.efi", "localdisk-x64.efi", "localdisk-arm64.efi"];

impl Site {
    /// Builds it; the box's interface has [`BOX`], the hosts' one [`ROOM`].
    ///
    /// # Errors
    /// When a namespace cannot be made or a file not be written.
    pub fn new() -> Result<Self> {
        let (seat, room) = (Netns::new()?, Netns::new()?);
        seat.veth(BOX_LINK, &room, ROOM_LINK)?;
        Self::between(seat, room, None)
    }

    /// The same over a cable that loses, delays and reorders frames.
    ///
    /// # Errors
    /// As [`Site::new`].
    pub fn over(impairment: Impairment, seed: u64) -> Result<Self> {
        let (seat, room) = (Netns::new()?, Netns::new()?);
        let wire = Wire::between((&seat, BOX_LINK), (&room, ROOM_LINK), impairment, seed)?;
        Self::between(seat, room, Some(wire))
    }

    fn between(seat: Netns, room: Netns, wire: Option<Wire>) -> Result<Self> {
        seat.up(BOX_LINK, Some(&format!("{BOX}/16")))?;
        room.up(ROOM_LINK, Some(&format!("{ROOM}/16")))?;
        let files = leftovers::folder("share")?;
        let site = Self { room, seat, wire, files };
        site.stand_ins().context("make the stand-ins")?;
        Ok(site)
    }

    /// The cable, if it is one that can be made bad.
    #[must_use]
    pub fn wire(&self) -> Option<&Wire> {
        self.wire.as_ref()
    }

    /// Many hosts on the hosts' interface.
    ///
    /// The box reaches all of them by one neighbour: the kernel keeps 1,024 for all namespaces together, and loses packets
    /// beyond.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn crowd(&self) -> Result<Crowd<'_>> {
        self.seat.ip(&format!("route replace {POOL} via {ROOM} dev {BOX_LINK}"))?;
        Crowd::new(&self.room, ROOM_LINK)
    }

    fn stand_ins(&self) -> Result<()> {
        let share = self.share();
        std::fs::create_dir_all(share.join("loaders"))?;
        for (number, name) in (1u8..).zip(LOADERS) {
            std::fs::write(share.join("loaders").join(name), vec![number; 3000 + usize::from(number)])?;
        }
        for arch in ["x86_64", "aarch64"] {
            let folder = share.join("ramos").join(arch);
            std::fs::create_dir_all(&folder)?;
            for (file, size) in [("vmlinuz", 20_000), ("early.img", 10_000), ("main.squashfs", 40_000)] {
                std::fs::write(folder.join(file), vec![7; size])?;
            }
        }
        let catalog = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/catalog");
        copy_folder(&catalog, &share.join("catalog"))
    }

    /// The folder of loaders, RAM OS and catalogue.
    #[must_use]
    pub fn share(&self) -> PathBuf {
        self.files.path().join("share")
    }

    /// A place for other files of a test.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.files.path()
    }

    /// Settings with these keys for `[dhcp]`, and these tables behind.
    #[must_use]
    pub fn settings(&self, dhcp: &str, more: &str) -> String {
        format!("[dhcp]\n{dhcp}\n[boot]\nassets = \"{}\"\n{more}", self.share().display())
    }

    /// Starts the box in server mode with a large pool; `more` as in [`Site::settings`].
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn serve(&self, more: &str) -> Result<Appliance> {
        let dhcp = "mode = \"server\"\npool = \"10.77.64.0-10.77.127.255\"";
        Appliance::start_with(&appliance::binary()?, &self.seat, &self.settings(dhcp, more), &[LOG])
    }

    /// A disk image of one mebibyte, imported as `debian-13`.
    ///
    /// # Errors
    /// When it is refused.
    pub fn import_image(&self, appliance: &Appliance) -> Result<Value> {
        let path = self.scratch().join("disk.raw");
        std::fs::write(&path, disk_image(1 << 20))?;
        let path = path.to_str().context("the folder's name is no UTF-8")?;
        cli_json(appliance, &["image", "import", path, "--name", "debian-13"])
    }
}

/// Quiet enough for thousands of requests.
const LOG: (&str, &str) = ("RACKBERRY_LOG", "info");

/// A disk with the mark of a partition table and nothing else.
#[must_use]
pub fn disk_image(size: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..size).map(|at| u8::try_from(at / 4096 % 251).unwrap_or_default()).collect();
    for (place, mark) in bytes.iter_mut().skip(510).zip([0x55, 0xaa]) {
        *place = mark;
    }
    bytes
}

/// The API of a running box.
#[must_use]
pub fn api(appliance: &Appliance) -> LocalApi {
    LocalApi::new(&appliance.state_dir())
}

/// Runs the command line on the box's state folder.
///
/// # Errors
/// When the program is missing.
pub fn cli(appliance: &Appliance, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(appliance::binary()?);
    command.arg("--state-dir").arg(appliance.state_dir()).args(arguments);
    command.output().with_context(|| format!("run {command:?}"))
}

/// What a command prints with `--json`.
///
/// # Errors
/// When it fails, with what it said.
pub fn cli_json(appliance: &Appliance, arguments: &[&str]) -> Result<Value> {
    let output = cli(appliance, &[&["--json"], arguments].concat())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("rackberry {arguments:?}: {}: {said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_str(&said).with_context(|| format!("rackberry {arguments:?} printed {said:?}"))
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
