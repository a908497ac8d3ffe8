//! The seven formats.

use super::{
    Bond, Network,
    redhat::{ifcfg, keyfile, kickstart},
};
use crate::host::MacAddr;
use std::{fmt::Write as _, str::FromStr};

/// Who reads the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// `/etc/sysconfig/network-scripts/ifcfg-*`: RHEL 6 to 8 and their kin.
    Ifcfg,
    /// NetworkManager's own files: RHEL 9 and later, Fedora.
    Keyfile,
    /// `/etc/network/interfaces` of ifupdown: Debian.
    Interfaces,
    /// Netplan version 2: Ubuntu.
    Netplan,
    /// `/etc/sysconfig/network/ifcfg-*` and `routes` of wicked: SUSE.
    Suse,
    /// systemd-networkd.
    Networkd,
    /// The `network` line of a kickstart file.
    Kickstart,
}

/// A word that names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no network format; there are ifcfg, keyfile, interfaces, netplan, suse, networkd, kickstart")]
pub struct UnknownFormat(String);

impl Format {
    /// All of them.
    pub const ALL: [Format; 7] = [
        Format::Ifcfg,
        Format::Keyfile,
        Format::Interfaces,
        Format::Netplan,
        Format::Suse,
        Format::Networkd,
        Format::Kickstart,
    ];

    /// The word templates use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Format::Ifcfg => "ifcfg",
            Format::Keyfile => "keyfile",
            Format::Interfaces => "interfaces",
            Format::Netplan => "netplan",
            Format::Suse => "suse",
            Format::Networkd => "networkd",
            Format::Kickstart => "kickstart",
        }
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        Format::ALL
            .into_iter()
            .find(|format| format.name() == text)
            .ok_or_else(|| UnknownFormat(crate::text::clean(text, 40)))
    }
}

/// A file of the installed system.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NetworkFile {
    /// Absolute.
    pub path: String,
    /// Permission bits as chmod takes them, octal.
    pub mode: &'static str,
    pub content: String,
}

pub(super) const NOTE: &str = "# Written by Rackberry.\n";
pub(super) const BOND: &str = "bond0";
/// Milliseconds between two looks at a port's link.
pub(super) const MIIMON: u32 = 100;

pub(super) fn files(network: &Network, format: Format) -> Vec<NetworkFile> {
    let layout = Layout::of(network);
    match format {
        Format::Ifcfg => ifcfg(network, &layout),
        Format::Keyfile => keyfile(network, &layout),
        Format::Interfaces => interfaces(network, &layout),
        Format::Netplan => netplan(network, &layout),
        Format::Suse => suse(network, &layout),
        Format::Networkd => networkd(network, &layout),
        Format::Kickstart => vec![file("", "0644", kickstart(network))],
    }
}

/// Which devices there are, lowest first.
pub(super) struct Layout<'a> {
    /// Name and MAC address.
    pub(super) ports: Vec<(String, MacAddr)>,
    pub(super) bond: Option<&'a Bond>,
    /// What a VLAN lies on, or has the address itself.
    pub(super) base: String,
    pub(super) vlan: Option<(String, u16)>,
}

impl<'a> Layout<'a> {
    pub(super) fn of(network: &'a Network) -> Self {
        let macs = network.bond.as_ref().map_or_else(|| vec![network.mac], |bond| bond.macs.clone());
        let ports: Vec<_> = macs.into_iter().enumerate().map(|(at, mac)| (format!("lan{at}"), mac)).collect();
        let base = if network.bond.is_some() { BOND.to_owned() } else { "lan0".to_owned() };
        let vlan = network.vlan.map(|id| (format!("{base}.{id}"), id));
        Layout { ports, bond: network.bond.as_ref(), base, vlan }
    }

    /// The device that has the address.
    pub(super) fn top(&self) -> &str {
        self.vlan.as_ref().map_or(&self.base, |(name, _)| name)
    }

    pub(super) fn has_address(&self, name: &str) -> bool {
        self.top() == name
    }

    pub(super) fn port_names(&self) -> Vec<&str> {
        self.ports.iter().map(|(name, _)| name.as_str()).collect()
    }
}

pub(super) fn file(path: impl Into<String>, mode: &'static str, content: String) -> NetworkFile {
    NetworkFile { path: path.into(), mode, content }
}

pub(super) fn joined<T: ToString>(values: &[T], between: &str) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

// Writing to a String cannot fail, so the results of `write!` are dropped below.

/// interfaces(5) of ifupdown 0.8.27 and later, which renames by MAC address; a bond needs the package ifenslave. Without
/// resolvconf nothing reads name servers out of it, so they are written too.
fn interfaces(network: &Network, layout: &Layout<'_>) -> Vec<NetworkFile> {
    let mut out = format!("{NOTE}auto lo\niface lo inet loopback\n");
    for (name, mac) in &layout.ports {
        let _ = write!(out, "\nrename mac/{mac}={name}\n");
    }
    let mut add = |name: &str, options: String| {
        if !layout.has_address(name) {
            let _ = write!(out, "\nauto {name}\niface {name} inet manual\n{options}");
            return;
        }
        match network.address {
            None => {
                let _ = write!(out, "\nauto {name}\niface {name} inet dhcp\n{options}");
            }
            Some(address) => {
                let _ = write!(out, "\nauto {name}\niface {name} inet static\n    address {address}\n");
                if let Some(gateway) = network.gateway {
                    let _ = writeln!(out, "    gateway {gateway}");
                }
                if !network.dns.is_empty() {
                    let _ = writeln!(out, "    dns-nameservers {}", joined(&network.dns, " "));
                }
                if let Some(domain) = &network.domain {
                    let _ = writeln!(out, "    dns-search {domain}");
                }
                out.push_str(&options);
            }
        }
    };
    match layout.bond {
        Some(bond) => add(
            BOND,
            format!(
                "    bond-slaves {}\n    bond-mode {}\n    bond-miimon {MIIMON}\n",
                layout.port_names().join(" "),
                bond.mode
            ),
        ),
        None => add(&layout.base, String::new()),
    }
    if let Some((name, _)) = &layout.vlan {
        add(name, format!("    vlan-raw-device {}\n", layout.base));
    }
    let mut files = vec![file("/etc/network/interfaces", "0644", out)];
    files.extend(resolv_conf(network));
    files
}

fn resolv_conf(network: &Network) -> Option<NetworkFile> {
    if network.dns.is_empty() {
        return None;
    }
    let mut out = String::from(NOTE);
    if let Some(domain) = &network.domain {
        let _ = writeln!(out, "search {domain}");
    }
    for server in &network.dns {
        let _ = writeln!(out, "nameserver {server}");
    }
    Some(file("/etc/resolv.conf", "0644", out))
}

/// netplan.readthedocs.io, version 2.
fn netplan(network: &Network, layout: &Layout<'_>) -> Vec<NetworkFile> {
    let own = |name: &str| -> String {
        let mut out = String::new();
        if !layout.has_address(name) {
            return out;
        }
        match network.address {
            None => out.push_str("      dhcp4: true\n"),
            Some(address) => {
                let _ = write!(out, "      addresses:\n        - \"{address}\"\n");
                if let Some(gateway) = network.gateway {
                    let _ = write!(out, "      routes:\n        - to: \"0.0.0.0/0\"\n          via: \"{gateway}\"\n");
                }
            }
        }
        if !network.dns.is_empty() || network.domain.is_some() {
            out.push_str("      nameservers:\n");
            if !network.dns.is_empty() {
                let _ = writeln!(out, "        addresses: [{}]", joined(&network.dns, ", "));
            }
            if let Some(domain) = &network.domain {
                let _ = writeln!(out, "        search: [\"{domain}\"]");
            }
        }
        out
    };
    let mut out = format!("{NOTE}network:\n  version: 2\n  ethernets:\n");
    for (name, mac) in &layout.ports {
        let _ = write!(out, "    {name}:\n      match:\n        macaddress: \"{mac}\"\n{}", own(name));
    }
    if let Some(bond) = layout.bond {
        let _ = write!(
            out,
            "  bonds:\n    {BOND}:\n      interfaces: [{}]\n      parameters:\n        mode: \"{}\"\n        \
             mii-monitor-interval: {MIIMON}\n{}",
            layout.port_names().join(", "),
            bond.mode,
            own(BOND)
        );
    }
    if let Some((name, id)) = &layout.vlan {
        let _ = write!(out, "  vlans:\n    {name}:\n      id: {id}\n      link: {}\n{}", layout.base, own(name));
    }
    // Netplan warns where others may read its files.
    vec![file("/etc/netplan/50-rackberry.yaml", "0600", out)]
}

/// ifcfg(5), ifcfg-bonding(5), ifcfg-vlan(5) and routes(5) of wicked, which knows ports by name: udev names them first.
fn suse(network: &Network, layout: &Layout<'_>) -> Vec<NetworkFile> {
    let own = |name: &str| match (layout.has_address(name), network.address) {
        (true, Some(address)) => format!("STARTMODE='auto'\nBOOTPROTO='static'\nIPADDR='{address}'\n"),
        (true, None) => "STARTMODE='auto'\nBOOTPROTO='dhcp'\n".to_owned(),
        (false, _) => "STARTMODE='auto'\nBOOTPROTO='none'\n".to_owned(),
    };
    let mut rules = String::from(NOTE);
    for (name, mac) in &layout.ports {
        let _ = writeln!(
            rules,
            "SUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"?*\", ATTR{{address}}==\"{mac}\", ATTR{{type}}==\"1\", NAME=\"{name}\""
        );
    }
    let mut files = vec![file("/etc/udev/rules.d/70-persistent-net.rules", "0644", rules)];
    let mut add = |name: &str, content: String| {
        files.push(file(format!("/etc/sysconfig/network/ifcfg-{name}"), "0644", format!("{NOTE}{content}")));
    };
    for (name, _) in &layout.ports {
        match layout.bond {
            Some(_) => add(name, "STARTMODE='hotplug'\nBOOTPROTO='none'\n".to_owned()),
            None => add(name, own(name)),
        }
    }
    if let Some(bond) = layout.bond {
        let mut content = format!("{}BONDING_MASTER='yes'\n", own(BOND));
        for (at, name) in layout.port_names().into_iter().enumerate() {
            let _ = writeln!(content, "BONDING_SLAVE_{at}='{name}'");
        }
        let _ = writeln!(content, "BONDING_MODULE_OPTS='mode={} miimon={MIIMON}'", bond.mode);
        add(BOND, content);
    }
    if let Some((name, id)) = &layout.vlan {
        add(name, format!("{}ETHERDEVICE='{}'\nVLAN_ID='{id}'\n", own(name), layout.base));
    }
    if let Some(gateway) = network.gateway {
        files.push(file(
            "/etc/sysconfig/network/routes",
            "0644",
            format!("{NOTE}default {gateway} - {}\n", layout.top()),
        ));
    }
    files.extend(resolv_conf(network));
    files
}

/// systemd.network(5), systemd.netdev(5). The permanent address is the port's own in a bond too, and nothing but a port has one.
fn networkd(network: &Network, layout: &Layout<'_>) -> Vec<NetworkFile> {
    let mut files = Vec::new();
    let mut add = |name: &str, content: String| {
        files.push(file(format!("/etc/systemd/network/{name}"), "0644", format!("{NOTE}{content}")));
    };
    let own = |name: &str| -> String {
        let mut out = String::from("\n[Network]\n");
        if layout.base == name
            && let Some((vlan, _)) = &layout.vlan
        {
            let _ = writeln!(out, "VLAN={vlan}");
        }
        if !layout.has_address(name) {
            out.push_str("LinkLocalAddressing=no\n");
            return out;
        }
        match network.address {
            None => out.push_str("DHCP=yes\n"),
            Some(address) => {
                let _ = writeln!(out, "Address={address}");
                if let Some(gateway) = network.gateway {
                    let _ = writeln!(out, "Gateway={gateway}");
                }
                for server in &network.dns {
                    let _ = writeln!(out, "DNS={server}");
                }
            }
        }
        if let Some(domain) = &network.domain {
            let _ = writeln!(out, "Domains={domain}");
        }
        out
    };
    for (name, mac) in &layout.ports {
        let port = format!("[Match]\nPermanentMACAddress={mac}\n");
        match layout.bond {
            Some(_) => add(&format!("50-{name}.network"), format!("{port}\n[Network]\nBond={BOND}\n")),
            None => add(&format!("50-{name}.network"), format!("{port}{}", own(name))),
        }
    }
    if let Some(bond) = layout.bond {
        let device =
            format!("[NetDev]\nName={BOND}\nKind=bond\n\n[Bond]\nMode={}\nMIIMonitorSec={MIIMON}ms\n", bond.mode);
        add(&format!("50-{BOND}.netdev"), device);
        add(&format!("50-{BOND}.network"), format!("[Match]\nName={BOND}\n{}", own(BOND)));
    }
    if let Some((name, id)) = &layout.vlan {
        add(&format!("50-{name}.netdev"), format!("[NetDev]\nName={name}\nKind=vlan\n\n[VLAN]\nId={id}\n"));
        add(&format!("50-{name}.network"), format!("[Match]\nName={name}\n{}", own(name)));
    }
    files
}
