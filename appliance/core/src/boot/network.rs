//! The network of an installed system: what a person wants, checked once, and written in the format of its distribution.
//!
//! Ports are matched by MAC address, as an installer and the system it installs may name the same port differently. Where a
//! format knows ports by name alone, it first gives each port a name of ours (`lan0`, `lan1`, ...) by its MAC address.

mod formats;
mod redhat;

pub use formats::{Format, NetworkFile, UnknownFormat};

use crate::host::MacAddr;
use serde::Serialize;
use std::{collections::BTreeMap, net::Ipv4Addr};

/// How the system reaches its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The port it uses where no bond is made.
    pub mac: MacAddr,
    /// None asks DHCP.
    pub address: Option<Address>,
    pub gateway: Option<Ipv4Addr>,
    pub dns: Vec<Ipv4Addr>,
    /// Search domain.
    pub domain: Option<String>,
    /// 802.1Q identifier of the tagged network that the address is in, 1 to 4094.
    pub vlan: Option<u16>,
    pub bond: Option<Bond>,
}

/// An IPv4 address with its prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    pub ip: Ipv4Addr,
    /// 8 to 31.
    pub prefix: u8,
}

/// Several ports as one (Linux "bonding").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bond {
    /// A word of [`BOND_MODES`].
    pub mode: &'static str,
    /// At least two, each once.
    pub macs: Vec<MacAddr>,
}

/// The kernel's names (Documentation/networking/bonding.rst, "mode").
pub const BOND_MODES: [&str; 7] =
    ["balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"];

/// The parameters a network is read from, under the same names in every profile.
pub const PARAMETERS: [&str; 6] = ["address", "gateway", "dns", "domain", "vlan", "bond"];

/// What templates see as `network`; none or empty where it is not set.
#[derive(Debug, Clone, Serialize)]
pub struct NetworkValues {
    pub dhcp: bool,
    pub address: Option<String>,
    pub prefix: Option<u8>,
    pub netmask: Option<String>,
    pub gateway: Option<String>,
    pub dns: Vec<String>,
    pub domain: Option<String>,
    pub vlan: Option<u16>,
    pub bond_mode: Option<String>,
    pub bond_macs: Vec<String>,
    /// Whether DHCP or an address on an untagged single port is all there is, which every installer can do by itself.
    pub plain: bool,
}

impl Network {
    /// Reads the standard parameters; those that are absent or blank are not set.
    ///
    /// `mac` is the port the machine booted over, `macs` all its ports that are known: a bond that names no ports takes those.
    ///
    /// # Errors
    /// Parameter name and sentence, one for each value at fault.
    pub fn read(
        parameters: &BTreeMap<String, String>,
        mac: MacAddr,
        macs: &[MacAddr],
    ) -> Result<Self, Vec<(String, String)>> {
        let value = |name: &str| parameters.get(name).map(|text| text.trim()).filter(|text| !text.is_empty());
        let mut wrong = Vec::new();
        let mut say = |name: &str, sentence: String| wrong.push((name.to_owned(), sentence));

        let address = value("address").and_then(|text| match address(text) {
            Ok(address) => Some(address),
            Err(sentence) => {
                say("address", sentence);
                None
            }
        });
        let mut gateway = None;
        if let Some(text) = value("gateway") {
            match (text.parse::<Ipv4Addr>(), address) {
                (Err(_), _) => say("gateway", format!("gateway \"{text}\" is no IPv4 address such as 192.168.77.1.")),
                (Ok(_), None) if value("address").is_none() => {
                    say("gateway", "gateway is only for a fixed address: DHCP names its own. Give address too.".into());
                }
                (Ok(_), None) => {}
                (Ok(ip), Some(own)) if ip == own.ip => {
                    say("gateway", format!("gateway {ip} is the host's own address."));
                }
                (Ok(ip), Some(own)) if !own.reaches(ip) => {
                    say("gateway", format!("gateway {ip} is not in the network of address {own}."));
                }
                (Ok(ip), Some(_)) => gateway = Some(ip),
            }
        }
        let mut dns = Vec::new();
        for text in value("dns").unwrap_or_default().split([' ', ',', ';', '\t']).filter(|text| !text.is_empty()) {
            match text.parse::<Ipv4Addr>() {
                Ok(ip) if !ip.is_unspecified() && !ip.is_multicast() => dns.push(ip),
                _ => say(
                    "dns",
                    format!("dns \"{text}\" is no IPv4 address of a name server; several are separated by blanks."),
                ),
            }
        }
        if !dns.is_empty() && value("address").is_none() {
            say("dns", "dns is only for a fixed address: DHCP names its own. Give address too.".into());
        }
        let domain = value("domain").map(str::to_owned);
        if let Some(text) = domain.as_deref().filter(|text| !is_domain(text)) {
            say("domain", format!("domain \"{text}\" is no domain name such as rack.example."));
        }
        let vlan = value("vlan").and_then(|text| match text.parse::<u16>() {
            Ok(id @ 1..=4094) => Some(id),
            _ => {
                say("vlan", format!("vlan \"{text}\" is no VLAN identifier from 1 to 4094."));
                None
            }
        });
        let bond = value("bond").and_then(|text| match bond(text, macs) {
            Ok(bond) => Some(bond),
            Err(sentence) => {
                say("bond", sentence);
                None
            }
        });
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(Network { mac, address, gateway, dns, domain, vlan, bond })
    }

    /// The files of the installed system that say all this, in a format; [`Format::Kickstart`] has none of a system and yields
    /// one with an empty path.
    #[must_use]
    pub fn files(&self, format: Format) -> Vec<NetworkFile> {
        formats::files(self, format)
    }

    /// The same as one text: the only file of `interfaces`, `netplan` and `kickstart`; files of the other formats one after
    /// the other, each below a comment with its path.
    #[must_use]
    pub fn config(&self, format: Format) -> String {
        let files = self.files(format);
        match files.as_slice() {
            [only] => only.content.clone(),
            several if matches!(format, Format::Interfaces) => {
                several.first().map(|file| file.content.clone()).unwrap_or_default()
            }
            several => several.iter().map(|file| format!("# {}\n{}", file.path, file.content)).collect(),
        }
    }

    /// What templates see.
    #[must_use]
    pub fn values(&self) -> NetworkValues {
        NetworkValues {
            dhcp: self.address.is_none(),
            address: self.address.map(|address| address.ip.to_string()),
            prefix: self.address.map(|address| address.prefix),
            netmask: self.address.map(|address| address.netmask().to_string()),
            gateway: self.gateway.map(|ip| ip.to_string()),
            dns: self.dns.iter().map(ToString::to_string).collect(),
            domain: self.domain.clone(),
            vlan: self.vlan,
            bond_mode: self.bond.as_ref().map(|bond| bond.mode.to_owned()),
            bond_macs: self.bond.iter().flat_map(|bond| &bond.macs).map(ToString::to_string).collect(),
            plain: self.vlan.is_none() && self.bond.is_none(),
        }
    }
}

impl Address {
    /// As four numbers, for formats that know no prefix length.
    #[must_use]
    pub fn netmask(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::MAX << (32 - u32::from(self.prefix.clamp(1, 32))))
    }

    fn reaches(&self, other: Ipv4Addr) -> bool {
        self.ip.to_bits() & self.netmask().to_bits() == other.to_bits() & self.netmask().to_bits()
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

fn address(text: &str) -> Result<Address, String> {
    let form = || format!("address \"{text}\" is no IPv4 address with prefix length such as 192.168.77.20/24.");
    let (ip, prefix) = text.split_once('/').ok_or_else(form)?;
    let ip: Ipv4Addr = ip.parse().map_err(|_| form())?;
    let prefix: u8 = prefix
        .parse()
        .ok()
        .filter(|prefix| (8..=31).contains(prefix))
        .ok_or_else(|| format!("address \"{text}\": the prefix length is from 8 to 31."))?;
    let address = Address { ip, prefix };
    let host_bits = !address.netmask().to_bits();
    let host = ip.to_bits() & host_bits;
    if ip.is_loopback() || ip.is_multicast() || ip.is_unspecified() || ip.is_broadcast() {
        return Err(format!("address {ip} cannot belong to one machine."));
    }
    // A network of two addresses has neither (RFC 3021).
    if prefix < 31 && (host == 0 || host == host_bits) {
        return Err(format!("address {address} names the network or its broadcast, not a machine in it."));
    }
    Ok(address)
}

fn bond(text: &str, known: &[MacAddr]) -> Result<Bond, String> {
    let mut words = text.split([' ', ',', ';', '\t']).filter(|word| !word.is_empty());
    let mode = words.next().unwrap_or_default();
    let mode = BOND_MODES.into_iter().find(|known| *known == mode).ok_or_else(|| {
        format!("bond \"{mode}\" is no mode of bonding; it begins with one of {}.", BOND_MODES.join(", "))
    })?;
    let mut macs = Vec::new();
    for word in words {
        let mac: MacAddr = word.parse().map_err(|error| format!("bond: {error}."))?;
        if macs.contains(&mac) {
            return Err(format!("bond names {mac} twice."));
        }
        macs.push(mac);
    }
    if macs.is_empty() {
        macs = known.to_vec();
    }
    if macs.len() < 2 {
        return Err(format!(
            "bond {mode} needs two ports at least, and {} known of this host: write their MAC addresses after the mode.",
            if known.len() == 1 { "one is" } else { "none is" }
        ));
    }
    Ok(Bond { mode, macs })
}

/// RFC 1035 2.3.1 with digits first, as RFC 1123 2.1 allows.
fn is_domain(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

#[cfg(test)]
mod tests;
