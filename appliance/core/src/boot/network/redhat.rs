//! What Red Hat's family reads: ifcfg files, NetworkManager's files, and kickstart's line.

use super::{
    Network,
    formats::{BOND, Layout, MIIMON, NOTE, NetworkFile, file, joined},
};
use crate::host::MacAddr;
use std::fmt::Write as _;

// Writing to a String cannot fail, so the results of `write!` are dropped below.

/// initscripts' sysconfig.txt. HWADDR with DEVICE renames the port, so that a VLAN and a bond can name it.
pub(super) fn ifcfg(network: &Network, layout: &Layout<'_>) -> Vec<NetworkFile> {
    let own = |name: &str| -> String {
        let mut out = String::new();
        if !layout.has_address(name) {
            return "BOOTPROTO=none\n".to_owned();
        }
        match network.address {
            None => out.push_str("BOOTPROTO=dhcp\n"),
            Some(address) => {
                let _ = write!(out, "BOOTPROTO=none\nIPADDR={}\nPREFIX={}\n", address.ip, address.prefix);
                let _ = writeln!(out, "NETMASK={}", address.netmask());
                if let Some(gateway) = network.gateway {
                    let _ = writeln!(out, "GATEWAY={gateway}");
                }
                for (at, server) in network.dns.iter().enumerate() {
                    let _ = writeln!(out, "DNS{}={server}", at + 1);
                }
            }
        }
        if let Some(domain) = &network.domain {
            let _ = writeln!(out, "DOMAIN={domain}");
        }
        out
    };
    let mut files = Vec::new();
    let mut add = |name: &str, content: String| {
        let path = format!("/etc/sysconfig/network-scripts/ifcfg-{name}");
        files.push(file(path, "0644", format!("{NOTE}DEVICE={name}\nONBOOT=yes\n{content}")));
    };
    for (name, mac) in &layout.ports {
        let mac = mac.to_string().to_uppercase();
        if layout.bond.is_some() {
            add(name, format!("TYPE=Ethernet\nHWADDR={mac}\nBOOTPROTO=none\nMASTER={BOND}\nSLAVE=yes\n"));
        } else {
            add(name, format!("TYPE=Ethernet\nHWADDR={mac}\n{}", own(name)));
        }
    }
    if let Some(bond) = layout.bond {
        let options = format!("BONDING_OPTS=\"mode={} miimon={MIIMON}\"\n", bond.mode);
        add(BOND, format!("TYPE=Bond\nBONDING_MASTER=yes\n{options}{}", own(BOND)));
    }
    if let Some((name, id)) = &layout.vlan {
        add(name, format!("TYPE=Vlan\nVLAN=yes\nPHYSDEV={}\nVLAN_ID={id}\n{}", layout.base, own(name)));
    }
    files
}

/// nm-settings-keyfile(5). `mac-address` is the port's permanent one, so that ports of a bond are found again.
pub(super) fn keyfile(network: &Network, layout: &Layout<'_>) -> Vec<NetworkFile> {
    // The same connection has the same identifier each time; version 8 is for identifiers of one's own making (RFC 9562).
    let uuid = |kind: u8, mac: MacAddr| {
        let mac = mac.hyphens().replace('-', "");
        format!("72616b62-6572-8{kind:03x}-8000-{mac}")
    };
    let first = layout.ports.first().map_or(network.mac, |(_, mac)| *mac);
    let own = |name: &str| -> String {
        if !layout.has_address(name) {
            return "\n[ipv4]\nmethod=disabled\n\n[ipv6]\nmethod=disabled\n".to_owned();
        }
        let mut out = String::from("\n[ipv4]\n");
        match network.address {
            None => out.push_str("method=auto\n"),
            Some(address) => {
                let gateway = network.gateway.map(|ip| format!(",{ip}")).unwrap_or_default();
                let _ = write!(out, "method=manual\naddress1={address}{gateway}\n");
                if !network.dns.is_empty() {
                    let _ = writeln!(out, "dns={};", joined(&network.dns, ";"));
                }
            }
        }
        if let Some(domain) = &network.domain {
            let _ = writeln!(out, "dns-search={domain};");
        }
        out.push_str("\n[ipv6]\nmethod=auto\n");
        out
    };
    let mut files = Vec::new();
    let mut add = |name: &str, content: String| {
        let path = format!("/etc/NetworkManager/system-connections/{name}.nmconnection");
        // NetworkManager ignores files that others may read.
        files.push(file(path, "0600", format!("{NOTE}[connection]\nid={name}\n{content}")));
    };
    for (name, mac) in &layout.ports {
        let head = format!("uuid={}\ntype=ethernet\n", uuid(1, *mac));
        let port = format!("\n[ethernet]\nmac-address={}\n", mac.to_string().to_uppercase());
        if layout.bond.is_some() {
            add(name, format!("{head}master={BOND}\nslave-type=bond\n{port}"));
        } else {
            add(name, format!("{head}{port}{}", own(name)));
        }
    }
    if let Some(bond) = layout.bond {
        let settings = format!("\n[bond]\nmode={}\nmiimon={MIIMON}\n", bond.mode);
        add(BOND, format!("uuid={}\ntype=bond\ninterface-name={BOND}\n{settings}{}", uuid(2, first), own(BOND)));
    }
    if let Some((name, id)) = &layout.vlan {
        let parent = uuid(if layout.bond.is_some() { 2 } else { 1 }, first);
        let settings = format!("\n[vlan]\nid={id}\nparent={parent}\n");
        add(name, format!("uuid={}\ntype=vlan\ninterface-name={name}\n{settings}{}", uuid(3, first), own(name)));
    }
    files
}

/// pykickstart's `network` command, in options that RHEL 6 has already. Ports of a bond are named by MAC address like all
/// others; Anaconda wants their names there, so the `%pre` script that writes this line puts them in.
pub(super) fn kickstart(network: &Network) -> String {
    let mut out = String::from("network --onboot=yes --activate");
    match &network.bond {
        Some(bond) => {
            let _ = write!(
                out,
                " --device={BOND} --bondslaves={} --bondopts=mode={},miimon={MIIMON}",
                joined(&bond.macs, ","),
                bond.mode
            );
        }
        None => {
            let _ = write!(out, " --device={}", network.mac);
        }
    }
    if let Some(id) = network.vlan {
        let _ = write!(out, " --vlanid={id}");
    }
    match network.address {
        None => out.push_str(" --bootproto=dhcp"),
        Some(address) => {
            let _ = write!(out, " --bootproto=static --ip={} --netmask={}", address.ip, address.netmask());
            if let Some(gateway) = network.gateway {
                let _ = write!(out, " --gateway={gateway}");
            }
            if network.dns.is_empty() {
                out.push_str(" --nodns");
            } else {
                let _ = write!(out, " --nameserver={}", joined(&network.dns, ","));
            }
        }
    }
    out.push('\n');
    out
}
