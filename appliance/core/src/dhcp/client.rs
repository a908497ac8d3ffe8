//! What kind of client asks, and which loader it is given.
//!
//! Architectures are matched by number, as the field uses them: names in libraries and in IANA's table disagree.

use super::{options::sub_options, wire::Request};
use crate::host::{Arch, Firmware, FirstLoader, MacAddr, Strategy};

/// A client architecture as option 93 numbers it (RFC 4578 2.1 and IANA's table).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientArch(pub u16);

/// One row of the architecture table.
struct ArchRow {
    number: u16,
    arch: Arch,
    firmware: Firmware,
    /// The loader under our names; none where we have none.
    loader: Option<&'static str>,
    http: bool,
}

const UNDIONLY: &str = "undionly.kpxe";
const SNPONLY_X64: &str = "snponly-x64.efi";
const IPXE_IA32: &str = "ipxe-ia32.efi";
const IPXE_ARM64: &str = "ipxe-arm64.efi";

/// Every number we know. 7, 8 and 9 all mean UEFI on x64 in the field, whatever IANA calls them.
const ARCHS: &[ArchRow] = &[
    row(0, Arch::X86_64, Firmware::Bios, Some(UNDIONLY), false),
    row(6, Arch::X86, Firmware::Uefi, Some(IPXE_IA32), false),
    row(7, Arch::X86_64, Firmware::Uefi, Some(SNPONLY_X64), false),
    row(8, Arch::X86_64, Firmware::Uefi, Some(SNPONLY_X64), false),
    row(9, Arch::X86_64, Firmware::Uefi, Some(SNPONLY_X64), false),
    row(10, Arch::Arm, Firmware::Uefi, None, false),
    row(11, Arch::Aarch64, Firmware::Uefi, Some(IPXE_ARM64), false),
    row(15, Arch::X86, Firmware::Uefi, Some(IPXE_IA32), true),
    row(16, Arch::X86_64, Firmware::Uefi, Some(SNPONLY_X64), true),
    row(17, Arch::X86_64, Firmware::Uefi, Some(SNPONLY_X64), true),
    row(18, Arch::Arm, Firmware::Uefi, None, true),
    row(19, Arch::Aarch64, Firmware::Uefi, Some(IPXE_ARM64), true),
    row(20, Arch::X86_64, Firmware::Bios, Some(UNDIONLY), true),
    // U-Boot, which looks for PXELINUX files by itself.
    row(21, Arch::Arm, Firmware::Uefi, None, false),
    row(22, Arch::Aarch64, Firmware::Uefi, None, false),
    row(0x1b, Arch::Riscv64, Firmware::Uefi, None, false),
    row(0x1c, Arch::Riscv64, Firmware::Uefi, None, true),
    row(0x27, Arch::Loongarch64, Firmware::Uefi, None, false),
    row(0x28, Arch::Loongarch64, Firmware::Uefi, None, true),
    row(0x29, Arch::Aarch64, Firmware::Pi, None, true),
];

const fn row(number: u16, arch: Arch, firmware: Firmware, loader: Option<&'static str>, http: bool) -> ArchRow {
    ArchRow { number, arch, firmware, loader, http }
}

impl ClientArch {
    fn row(self) -> Option<&'static ArchRow> {
        ARCHS.iter().find(|row| row.number == self.0)
    }

    /// The processor; `None` for a number we do not know. BIOS clients count as 64-bit until the RAM OS says otherwise.
    #[must_use]
    pub fn arch(self) -> Option<Arch> {
        self.row().map(|row| row.arch)
    }

    /// The firmware; `None` for a number we do not know.
    #[must_use]
    pub fn firmware(self) -> Option<Firmware> {
        self.row().map(|row| row.firmware)
    }
}

/// What iPXE says about itself in option 175 (iPXE features.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IpxeFeatures {
    /// 0x13.
    pub http: bool,
    /// 0x14.
    pub https: bool,
    /// 0x15.
    pub tftp: bool,
    /// 0x11.
    pub iscsi: bool,
    /// 0x24.
    pub efi: bool,
    /// 0xeb: major, minor, patch.
    pub version: Option<[u8; 3]>,
}

impl IpxeFeatures {
    /// Reads the sub-options; unknown ones and wrong lengths count for nothing.
    #[must_use]
    pub fn read(raw: &[u8]) -> Self {
        let mut features = IpxeFeatures::default();
        for (code, value) in sub_options(raw) {
            let set = value.first().is_some_and(|level| *level != 0);
            match code {
                0x11 => features.iscsi = set,
                0x13 => features.http = set,
                0x14 => features.https = set,
                0x15 => features.tftp = set,
                0x24 => features.efi = set,
                0xeb => features.version = value.try_into().ok(),
                _ => {}
            }
        }
        features
    }
}

/// What kind of program sent a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A PXE ROM, BIOS or UEFI.
    PxeRom(ClientArch),
    /// A UEFI HTTP boot client.
    HttpRom(ClientArch),
    /// iPXE.
    Ipxe(ClientArch, IpxeFeatures),
    /// A Raspberry Pi's boot loader.
    Pi(PiModel),
    /// U-Boot before it starts anything.
    UBoot,
    /// Our RAM OS.
    RamOs,
    /// Any other DHCP client: an installer, an operating system, a printer.
    Plain,
}

/// Raspberry Pi boot loaders that behave apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PiModel {
    /// The boot ROM of the 3 and before: one OFFER, never a REQUEST.
    Rom,
    /// The EEPROM loader of the 4 and later.
    Eeprom,
}

/// The vendor class of our RAM OS.
pub const RAM_OS_CLASS: &[u8] = b"rackberry-ramos";

/// Addresses that the maker of the Raspberry Pi was assigned (IEEE OUI list).
const PI_OUIS: &[[u8; 3]] = &[
    [0xb8, 0x27, 0xeb],
    [0xdc, 0xa6, 0x32],
    [0xe4, 0x5f, 0x01],
    [0xd8, 0x3a, 0xdd],
    [0x28, 0xcd, 0xc1],
    [0x2c, 0xcf, 0x67],
    [0x88, 0xa2, 0x9e],
];

/// A firmware that must be told apart from its look-alikes: first match wins. Each has a packet of its name in
/// `testdata/quirks`, which says where that one comes from.
struct Quirk {
    name: &'static str,
    matches: fn(&Request) -> bool,
    kind: fn(ClientArch) -> Kind,
}

const QUIRKS: &[Quirk] = &[
    // Raspberry Pi 4, 5 and later send architecture 0 over IPv4 (raspberrypi/firmware#1928) and say who they are in
    // option 97: type 0, then "RPi4", "RPi5", ... (rpi eeprom-bootloader documentation).
    Quirk {
        name: "raspberry-pi-4",
        matches: |request| request.machine_id.is_some_and(|id| id.get(1..4) == Some(b"RPi")),
        kind: |_| Kind::Pi(PiModel::Eeprom),
    },
    // A Pi loader announces itself as a BIOS PXE ROM without UUID; only the address tells. UEFI on a Pi sends 11.
    Quirk {
        name: "raspberry-pi-3",
        matches: |request| {
            let MacAddr([a, b, c, ..]) = request.mac;
            PI_OUIS.contains(&[a, b, c])
                && class(request).starts_with(b"PXEClient")
                && request.ipxe.is_none()
                && request.archs.first().is_none_or(|arch| *arch == ClientArch(0))
        },
        kind: |_| Kind::Pi(PiModel::Rom),
    },
    // The first exchange of U-Boot's standard boot carries no PXE class (U-Boot 2023.01).
    Quirk { name: "u-boot", matches: |request| class(request).starts_with(b"U-Boot"), kind: |_| Kind::UBoot },
    // iPXE built before it had option 175, and gPXE, say who they are in option 77 alone; all of them speak HTTP.
    Quirk {
        name: "ipxe-without-features",
        matches: |request| request.ipxe.is_none() && request.user_classes.iter().any(|u| u == b"iPXE" || u == b"gPXE"),
        kind: |arch| Kind::Ipxe(arch, IpxeFeatures { http: true, tftp: true, ..IpxeFeatures::default() }),
    },
    // HTTP architectures under the PXE class: the number says what the client can do.
    Quirk {
        name: "http-architecture-of-a-pxe-client",
        matches: |request| {
            request.ipxe.is_none()
                && class(request).starts_with(b"PXEClient")
                && arch_of(request).row().is_some_and(|row| row.http)
        },
        kind: Kind::HttpRom,
    },
];

fn class(request: &Request) -> &[u8] {
    request.vendor_class.as_deref().unwrap_or_default()
}

fn quirk_of(request: &Request) -> Option<&'static Quirk> {
    QUIRKS.iter().find(|quirk| (quirk.matches)(request))
}

/// The row of the quirks table that decides about a packet, if one does; for logs and tests.
#[must_use]
pub fn quirk(request: &Request) -> Option<&'static str> {
    quirk_of(request).map(|quirk| quirk.name)
}

/// Every row of the quirks table by name, in the order they are tried.
pub fn quirks() -> impl Iterator<Item = &'static str> {
    QUIRKS.iter().map(|quirk| quirk.name)
}

/// Several may be listed: the first one we know counts (RFC 4578 2.1). Without option 93 the class says it too.
fn arch_of(request: &Request) -> ClientArch {
    let known = request.archs.iter().find(|arch| arch.row().is_some()).or(request.archs.first());
    known.copied().or_else(|| arch_in_class(class(request))).unwrap_or(ClientArch(0))
}

impl Kind {
    /// Recognises the sender of a packet.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        let arch = arch_of(request);
        if let Some(quirk) = quirk_of(request) {
            return (quirk.kind)(arch);
        }
        let class = class(request);
        match request.ipxe {
            Some(features) => Kind::Ipxe(arch, features),
            None if class.starts_with(b"HTTPClient") => Kind::HttpRom(arch),
            None if class.starts_with(b"PXEClient") => Kind::PxeRom(arch),
            None if class.starts_with(RAM_OS_CLASS) => Kind::RamOs,
            None => Kind::Plain,
        }
    }

    /// Whether it asks in order to boot.
    #[must_use]
    pub fn boots(self) -> bool {
        match self {
            Kind::PxeRom(_) | Kind::HttpRom(_) | Kind::Ipxe(..) | Kind::Pi(_) | Kind::UBoot => true,
            Kind::RamOs | Kind::Plain => false,
        }
    }

    /// Whether a proxy answer (no address, PXE 2.1 2.2.3) means something to it.
    #[must_use]
    pub fn takes_proxy(self) -> bool {
        match self {
            Kind::PxeRom(_) | Kind::HttpRom(_) | Kind::Ipxe(..) | Kind::Pi(_) => true,
            Kind::UBoot | Kind::RamOs | Kind::Plain => false,
        }
    }

    /// The processor, as far as the packet says it.
    #[must_use]
    pub fn arch(self) -> Option<Arch> {
        match self {
            Kind::PxeRom(arch) | Kind::HttpRom(arch) | Kind::Ipxe(arch, _) => arch.arch(),
            Kind::Pi(_) => Some(Arch::Aarch64),
            Kind::UBoot | Kind::RamOs | Kind::Plain => None,
        }
    }

    /// The firmware, as far as the packet says it.
    #[must_use]
    pub fn firmware(self) -> Option<Firmware> {
        match self {
            Kind::PxeRom(arch) | Kind::HttpRom(arch) | Kind::Ipxe(arch, _) => arch.firmware(),
            Kind::Pi(_) => Some(Firmware::Pi),
            Kind::UBoot | Kind::RamOs | Kind::Plain => None,
        }
    }

    /// One word for the timeline.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Kind::PxeRom(_) => "PXE",
            Kind::HttpRom(_) => "HTTP boot",
            Kind::Ipxe(..) => "iPXE",
            Kind::Pi(_) => "Raspberry Pi",
            Kind::UBoot => "U-Boot",
            Kind::RamOs => "RAM OS",
            Kind::Plain => "DHCP",
        }
    }
}

/// `PXEClient:Arch:00007:UNDI:003016` (PXE 2.1 2.2.2).
fn arch_in_class(class: &[u8]) -> Option<ClientArch> {
    let text = std::str::from_utf8(class).ok()?;
    let (_, after) = text.split_once(":Arch:")?;
    after.split(':').next()?.parse().ok().map(ClientArch)
}

/// What a client is told to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loader {
    /// A file by TFTP.
    Tftp(&'static str),
    /// A file by HTTP, as URI.
    Http(&'static str),
    /// The boot script, by HTTP.
    Script,
    /// Nothing by name: the client knows what it looks for.
    Own,
}

/// iPXE expands settings in a DHCP file name before it uses it (autoboot.c, `fetch_next_server_and_filename`), so one
/// text serves every machine. `netX` is the interface that asked.
pub const SCRIPT_PATH: &str =
    "/boot.ipxe?mac=${netX/mac:hexhyp}&uuid=${uuid}&serial=${serial:uristring}&arch=${buildarch}";

/// The loader for a client whose host is set to start with `first`. What the box has not for this kind of machine is iPXE all
/// the same: a machine may start by BIOS today and by UEFI tomorrow.
#[must_use]
pub fn loader_for(kind: Kind, first: FirstLoader) -> Loader {
    let file = |arch: ClientArch| arch.row().and_then(|row| row.loader);
    let other = |arch: ClientArch| arch.row().and_then(|row| first.file(row.firmware, row.arch));
    match kind {
        Kind::PxeRom(arch) => other(arch).or(file(arch)).map_or(Loader::Own, Loader::Tftp),
        Kind::HttpRom(arch) => other(arch).or(file(arch)).map_or(Loader::Own, Loader::Http),
        Kind::Ipxe(arch, features) => match other(arch) {
            // It is the machine's own ROM; ours is not started on such a host.
            Some(name) => Loader::Tftp(name),
            None if features.http => Loader::Script,
            // Built without HTTP: ours has it.
            None => file(arch).map_or(Loader::Own, Loader::Tftp),
        },
        Kind::Pi(_) | Kind::UBoot | Kind::RamOs | Kind::Plain => Loader::Own,
    }
}

/// Vendor options (43) for a Raspberry Pi: it boots only from a server whose menu says `Raspberry Pi Boot`.
/// The boot ROM of the 3 compares the text with three blanks behind it.
#[must_use]
pub fn pi_vendor_options(model: PiModel) -> Vec<u8> {
    let text: &[u8] = match model {
        PiModel::Rom => b"Raspberry Pi Boot   ",
        PiModel::Eeprom => b"Raspberry Pi Boot",
    };
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    let mut options = vec![6, 1, 3, 10, 4, 0, b'P', b'X', b'E', 9, length + 3, 0, 0, length];
    options.extend_from_slice(text);
    options.push(255);
    options
}

/// 43.6 = 8 (PXE 2.1 table 2-1): take the boot file that is named, discover nothing.
pub const SKIP_DISCOVERY: [u8; 4] = [6, 1, 8, 255];

/// Which parts a PXE ROM's answer has: with the boot file, with option 43.6 = 8.
///
/// EDK2 takes an answer of class `PXEClient` without option 43 for a BINL offer and asks on port 4011 in any case;
/// BIOS ROMs want 43.6 to believe a file in a proxy answer.
#[must_use]
pub fn form(kind: Kind, strategy: Strategy, proxy: bool) -> Form {
    let Kind::PxeRom(arch) = kind else { return Form { boot_file: true, skip_discovery: false } };
    let bios = arch.firmware() != Some(Firmware::Uefi);
    match strategy {
        Strategy::Port4011 => Form { boot_file: false, skip_discovery: false },
        Strategy::Discovery8 => Form { boot_file: true, skip_discovery: true },
        Strategy::Plain | Strategy::HttpUri => Form { boot_file: true, skip_discovery: bios || !proxy },
    }
}

/// See [`form`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    pub boot_file: bool,
    pub skip_discovery: bool,
}
