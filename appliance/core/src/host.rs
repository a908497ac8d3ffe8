//! A machine we may boot: how it is told apart from others, and what it is made of.

use crate::{
    hardware::Facts,
    id::HostId,
    option::DhcpOption,
    power::Power,
    text::{CleanText, HostName},
    time::{Timestamp, WallTime},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, net::Ipv4Addr, str::FromStr};

/// A MAC address (IEEE 802 EUI-48), written `52:54:00:77:00:01`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; 6]);

/// Text that is no MAC address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no MAC address; write it as 52:54:00:77:00:01")]
pub struct InvalidMac(String);

impl MacAddr {
    /// The form with hyphens that PXELINUX, iPXE (`hexhyp`) and `BOOTIF` use.
    #[must_use]
    pub fn hyphens(&self) -> String {
        let [a, b, c, d, e, f] = self.0;
        format!("{a:02x}-{b:02x}-{c:02x}-{d:02x}-{e:02x}-{f:02x}")
    }

    /// Whether the address can belong to one machine: neither zero nor a group address.
    #[must_use]
    pub fn is_station(&self) -> bool {
        let [first, ..] = self.0;
        first & 1 == 0 && self.0 != [0; 6]
    }
}

impl FromStr for MacAddr {
    type Err = InvalidMac;

    /// Reads `:`, `-`, `.` or no separators, either case, and a leading ARP type (`01-`) as PXELINUX writes it.
    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let invalid = || InvalidMac(crate::text::clean(text, 40));
        let mut digits = Vec::with_capacity(14);
        for c in text.trim().chars() {
            match c {
                ':' | '-' | '.' => {}
                c => digits.push(u8::try_from(c.to_digit(16).ok_or_else(invalid)?).map_err(|_| invalid())?),
            }
        }
        let digits = match digits.as_slice() {
            [0, 1, rest @ ..] if rest.len() == 12 => rest,
            all => all,
        };
        let mut mac = [0; 6];
        if digits.len() != 12 {
            return Err(invalid());
        }
        for (byte, pair) in mac.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = pair else { return Err(invalid()) };
            *byte = high << 4 | low;
        }
        Ok(MacAddr(mac))
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hyphens().replace('-', ":"))
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for MacAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The UUID a machine's firmware states (SMBIOS type 1), known to be of use.
///
/// Two are equal when they agree in either byte order: PXE option 97 carries the table's bytes (the first three
/// fields little-endian, SMBIOS 2.6 7.2.1), iPXE and Linux turn them round, and some firmware does neither.
#[derive(Clone, Copy, Eq)]
pub struct SmbiosUuid([u8; 16]);

/// UUIDs that vendors put into every machine; they say nothing about which one it is.
const VENDOR_DEFAULTS: &[&str] = &[
    // AMI's reference value, left in many white-box boards.
    "03000200-0400-0500-0006-000700080009",
    // Supermicro and others: reference table never filled in.
    "00020003-0004-0005-0006-000700080009",
    "01234567-89ab-cdef-0123-456789abcdef",
    "12345678-1234-5678-90ab-cddeefaabbcc",
    "fefefefe-fefe-fefe-fefe-fefefefefefe",
    "11111111-2222-3333-4444-555555555555",
];

impl SmbiosUuid {
    /// Takes 16 bytes as they stand; `None` if all are 0, all are F, or a vendor's default.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        let uuid = SmbiosUuid(bytes);
        let empty = bytes == [0; 16] || bytes == [0xff; 16];
        let default = VENDOR_DEFAULTS
            .iter()
            .filter_map(|text| uuid::Uuid::parse_str(text).ok())
            .any(|known| SmbiosUuid(*known.as_bytes()) == uuid);
        (!empty && !default).then_some(uuid)
    }

    /// Reads the usual text form; `None` for anything that identifies no machine.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        uuid::Uuid::parse_str(text.trim()).ok().and_then(|uuid| Self::from_bytes(*uuid.as_bytes()))
    }

    /// One value for both byte orders, for look-ups.
    #[must_use]
    pub fn key(&self) -> [u8; 16] {
        let [a, b, c, d, e, f, g, h, rest @ ..] = self.0;
        let [i, j, k, l, m, n, o, p] = rest;
        self.0.min([d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p])
    }

    /// [`key`](Self::key) as 32 hex digits.
    #[must_use]
    pub fn key_text(&self) -> String {
        uuid::Uuid::from_bytes(self.key()).simple().to_string()
    }
}

impl PartialEq for SmbiosUuid {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl std::hash::Hash for SmbiosUuid {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl fmt::Display for SmbiosUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&uuid::Uuid::from_bytes(self.0), f)
    }
}

impl fmt::Debug for SmbiosUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for SmbiosUuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SmbiosUuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("this UUID identifies no machine"))
    }
}

/// Processor architectures we know a boot path for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// 32-bit Intel; boots, but our RAM OS needs 64 bits.
    #[serde(rename = "x86")]
    X86,
    /// 64-bit Intel and AMD.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 32-bit Arm.
    Arm,
    /// 64-bit Arm.
    Aarch64,
    /// 64-bit RISC-V.
    Riscv64,
    /// 64-bit LoongArch.
    Loongarch64,
}

impl Arch {
    /// The name used in paths and profiles.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Arch::X86 => "x86",
            Arch::X86_64 => "x86_64",
            Arch::Arm => "arm",
            Arch::Aarch64 => "aarch64",
            Arch::Riscv64 => "riscv64",
            Arch::Loongarch64 => "loongarch64",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What starts the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Firmware {
    /// The IBM PC's, with a PXE ROM.
    Bios,
    /// UEFI.
    Uefi,
    /// A Raspberry Pi's own boot loader.
    Pi,
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Firmware::Bios => "BIOS",
            Firmware::Uefi => "UEFI",
            Firmware::Pi => "Raspberry Pi",
        })
    }
}

/// Which form of DHCP answer this machine's firmware takes; found out by trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Boot file in the header and in option 67, option 43 left out where the firmware allows it.
    #[default]
    Plain,
    /// No option 43 and no boot file in the offer: the client asks on port 4011.
    Port4011,
    /// Option 43.6 = 8 and the boot file in the offer: no discovery.
    Discovery8,
    /// The boot file as a URI with vendor class `HTTPClient`.
    HttpUri,
}

/// The network boot program that a host is sent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum FirstLoader {
    /// Ours; it asks for a script by HTTP.
    #[default]
    Ipxe,
    /// Of the Syslinux family; looks for a configuration by TFTP. BIOS only, as the box has none for UEFI.
    Pxelinux,
    /// Looks for a configuration by TFTP. UEFI only, as the box has none for BIOS.
    Grub,
}

impl FirstLoader {
    /// The word for it, in settings and history.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            FirstLoader::Ipxe => "ipxe",
            FirstLoader::Pxelinux => "pxelinux",
            FirstLoader::Grub => "grub",
        }
    }

    /// Its file for a machine of this kind; `None` if the box has none, and for iPXE, whose file goes by the client's
    /// own number of its architecture.
    #[must_use]
    pub fn file(self, firmware: Firmware, arch: Arch) -> Option<&'static str> {
        match (self, firmware, arch) {
            (FirstLoader::Pxelinux, Firmware::Bios, _) => Some("pxelinux.0"),
            (FirstLoader::Grub, Firmware::Uefi, Arch::X86_64) => Some("grubx64.efi"),
            (FirstLoader::Grub, Firmware::Uefi, Arch::Aarch64) => Some("grubaa64.efi"),
            _ => None,
        }
    }

    /// Why a machine of which so much is known cannot start with it; `None` if it can, or may.
    #[must_use]
    pub fn refusal(self, firmware: Option<Firmware>, arch: Option<Arch>) -> Option<String> {
        let (wanted, name) = match self {
            FirstLoader::Ipxe => return None,
            FirstLoader::Pxelinux => (Firmware::Bios, "PXELINUX"),
            FirstLoader::Grub => (Firmware::Uefi, "GRUB"),
        };
        let firmware = firmware.unwrap_or(wanted);
        let arch = arch.unwrap_or(Arch::X86_64);
        self.file(firmware, arch)
            .is_none()
            .then(|| format!("The box has {name} for {wanted} only, and none for {firmware} on {arch}."))
    }
}

/// What a host does at a network boot when nothing is armed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum BootPolicy {
    /// Follow the box's `discovery` setting until something is installed, then the disk.
    #[default]
    Default,
    /// Always its own disk.
    LocalDisk,
    /// Always the RAM OS.
    RamOs,
    /// A person's own files from the files folder; these stand outside the Arm.
    OwnFiles,
    /// No answer at all.
    Ignore,
}

impl BootPolicy {
    /// The word for it, in settings and history.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            BootPolicy::Default => "default",
            BootPolicy::LocalDisk => "local-disk",
            BootPolicy::RamOs => "ram-os",
            BootPolicy::OwnFiles => "own-files",
            BootPolicy::Ignore => "ignore",
        }
    }
}

/// A machine we may boot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Host {
    pub id: HostId,
    pub name: HostName,
    /// Every MAC address seen or enrolled, the first one first.
    pub macs: Vec<MacAddr>,
    pub uuid: Option<SmbiosUuid>,
    pub serial: Option<CleanText>,
    pub arch: Option<Arch>,
    pub firmware: Option<Firmware>,
    pub policy: BootPolicy,
    #[serde(default)]
    pub loader: FirstLoader,
    pub strategy: Strategy,
    pub tags: Vec<CleanText>,
    /// The address DHCP keeps for it; any free one if none.
    #[serde(default)]
    pub fixed_address: Option<Ipv4Addr>,
    /// DHCP options for it alone.
    #[serde(default)]
    pub dhcp_options: Vec<DhcpOption>,
    /// What switches its power from here; nothing if none.
    #[serde(default)]
    pub power: Option<Power>,
    /// What the agent found; none until the host ran the RAM OS once.
    pub facts: Option<Facts>,
    /// Written down by a person before it was ever seen.
    pub enrolled: bool,
    /// What a person wrote about it.
    pub note: CleanText,
    /// The profile whose Install ended as done last, if any; its disk is the host's system.
    pub installed: Option<Installed>,
    /// Until then a network boot goes on to the host's own disk: it had waited in the RAM OS long enough.
    pub disk_until: Option<Timestamp>,
    pub created: Timestamp,
    pub created_wall: WallTime,
}

/// The system that our last finished Install left on a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Installed {
    pub profile: CleanText,
    pub title: CleanText,
    pub at: Timestamp,
    pub at_wall: WallTime,
}

impl Host {
    /// The address shown and logged: the first one learnt.
    #[must_use]
    pub fn mac(&self) -> Option<MacAddr> {
        self.macs.first().copied()
    }

    /// Pins of the box's header that it needs for itself, by the names of their settings.
    pub fn pins(&self) -> impl Iterator<Item = (&'static str, u8)> {
        self.power.iter().flat_map(|Power::Gpio(power)| power.pins())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_are_read_in_every_usual_form() {
        let mac = MacAddr([0x52, 0x54, 0, 0x77, 0, 1]);
        for text in ["52:54:00:77:00:01", "52-54-00-77-00-01", "525400770001", "5254.0077.0001", "01-52-54-00-77-00-01"]
        {
            assert_eq!(text.parse(), Ok(mac), "{text}");
        }
        assert_eq!(mac.to_string(), "52:54:00:77:00:01");
        for text in ["", "52:54", "52:54:00:77:00:0g", "52:54:00:77:00:01:02"] {
            assert!(text.parse::<MacAddr>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_uuid_is_the_same_in_both_byte_orders() {
        let text = SmbiosUuid::parse("564d1234-5678-9abc-def0-112233445566").unwrap();
        let table = SmbiosUuid::parse("34124d56-7856-bc9a-def0-112233445566").unwrap();
        assert_eq!(text, table);
        assert_ne!(text, SmbiosUuid::parse("564d1234-5678-9abc-def0-112233445567").unwrap());
    }

    #[test]
    fn a_uuid_that_many_machines_share_counts_as_none() {
        assert!(SmbiosUuid::from_bytes([0; 16]).is_none());
        assert!(SmbiosUuid::from_bytes([0xff; 16]).is_none());
        assert!(SmbiosUuid::parse("03000200-0400-0500-0006-000700080009").is_none());
        // The same default, as option 97 carries it.
        assert!(SmbiosUuid::parse("00020003-0004-0005-0006-000700080009").is_none());
    }
}
