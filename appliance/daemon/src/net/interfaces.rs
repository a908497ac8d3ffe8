//! Which interface is ours, and what the link behind it looks like.

use super::netlink::{Device, Netlink, NetlinkError};
use rackberry_core::{dhcp::LinkId, host::MacAddr};
use std::{net::Ipv4Addr, path::Path};

/// A network interface that could serve hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub index: u32,
    pub name: String,
    pub mac: MacAddr,
    pub up: bool,
    /// A cable is in.
    pub carrier: bool,
    pub wireless: bool,
    /// Made by software: `veth`, `bridge`, `tun`, ...
    pub kind: Option<String>,
    /// IPv4 addresses with their prefix lengths, the first one first.
    pub addresses: Vec<(Ipv4Addr, u8)>,
}

/// Why no interface was chosen; each says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChooseError {
    #[error("there is no network interface {name}; this machine has: {}", have.join(", "))]
    Missing { name: String, have: Vec<String> },
    #[error("several wired interfaces are up: {}. Name one as `interface` in rackberry.toml", names.join(", "))]
    Several { names: Vec<String> },
    #[error("no wired interface is up ({}): plug in a cable, or run `rackberry net-up`", names.join(", "))]
    Down { names: Vec<String> },
    #[error("this machine has no wired network interface; name one as `interface` in rackberry.toml")]
    None,
}

/// All Ethernet interfaces but loopback.
///
/// # Errors
/// [`NetlinkError`].
pub fn list(netlink: &mut Netlink) -> Result<Vec<Interface>, NetlinkError> {
    let addresses = netlink.addresses()?;
    let usable = |device: &Device| device.ethernet && !device.loopback;
    Ok(netlink
        .devices()?
        .into_iter()
        .filter(usable)
        .filter_map(|device| {
            Some(Interface {
                index: device.index,
                mac: device.mac?,
                up: device.up,
                carrier: device.carrier,
                wireless: is_wireless(&device.name),
                kind: device.kind,
                addresses: addresses
                    .iter()
                    .filter(|entry| entry.index == device.index)
                    .map(|entry| (entry.address, entry.prefix))
                    .collect(),
                name: device.name,
            })
        })
        .collect())
}

/// Wi-Fi drivers show a PHY in sysfs.
fn is_wireless(name: &str) -> bool {
    let folder = Path::new("/sys/class/net").join(name);
    folder.join("wireless").exists() || folder.join("phy80211").exists()
}

/// The named interface; without a name the one wired interface that is up and not made by software.
///
/// A network namespace has no hardware at all: there its only veth counts.
///
/// # Errors
/// [`ChooseError`].
pub fn choose(interfaces: &[Interface], named: Option<&str>) -> Result<Interface, ChooseError> {
    let names = |list: &[&Interface]| list.iter().map(|interface| interface.name.clone()).collect::<Vec<_>>();
    if let Some(name) = named {
        let found = interfaces.iter().find(|interface| interface.name == name);
        let missing =
            || ChooseError::Missing { name: name.to_owned(), have: names(&interfaces.iter().collect::<Vec<_>>()) };
        return found.cloned().ok_or_else(missing);
    }
    // The ports of a switch chip are hardware, too.
    let hardware = |interface: &Interface| interface.kind.as_deref().is_none_or(|kind| kind == "dsa");
    let wired: Vec<&Interface> =
        interfaces.iter().filter(|interface| hardware(interface) && !interface.wireless).collect();
    let up: Vec<&Interface> = wired.iter().copied().filter(|interface| interface.up && interface.carrier).collect();
    let veths: Vec<&Interface> =
        interfaces.iter().filter(|interface| interface.kind.as_deref() == Some("veth")).collect();
    let no_hardware = !interfaces.iter().any(hardware);
    match (up.as_slice(), veths.as_slice()) {
        ([one], _) => Ok((*one).clone()),
        ([], [veth]) if no_hardware => Ok((*veth).clone()),
        ([], _) if wired.is_empty() => Err(ChooseError::None),
        ([], _) => Err(ChooseError::Down { names: names(&wired) }),
        (several, _) => Err(ChooseError::Several { names: names(several) }),
    }
}

/// The link behind an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkFacts {
    pub index: u32,
    pub name: String,
    pub mac: MacAddr,
    pub carrier: bool,
    pub address: Ipv4Addr,
    pub prefix: u8,
    pub gateway: Option<Ipv4Addr>,
    pub gateway_mac: Option<MacAddr>,
    /// Addresses that ARP showed.
    pub neighbours: Vec<Ipv4Addr>,
}

impl LinkFacts {
    /// First address of the subnet.
    #[must_use]
    pub fn network(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) & mask(self.prefix))
    }

    /// The name under which the LAN-safety verdict is kept.
    #[must_use]
    pub fn id(&self) -> LinkId {
        LinkId { gateway: self.gateway_mac, network: self.network(), prefix: self.prefix }
    }

    /// What must never be given out: our own address and the gateway. What ARP showed is avoided for a while only:
    /// after a restart these are mostly our own clients.
    #[must_use]
    pub fn taken(&self) -> Vec<Ipv4Addr> {
        let mut taken = vec![self.address];
        taken.extend(self.gateway);
        taken
    }
}

/// Reads the interface's first address, its gateway and its ARP table; `None` if it has no address.
///
/// # Errors
/// [`NetlinkError`].
pub fn facts(netlink: &mut Netlink, interface: &Interface) -> Result<Option<LinkFacts>, NetlinkError> {
    let Some((address, prefix)) = interface.addresses.first().copied() else { return Ok(None) };
    let gateway = netlink.gateway(interface.index)?;
    let neighbours = netlink.neighbours(interface.index)?;
    let gateway_mac = neighbours.iter().find(|entry| Some(entry.address) == gateway).map(|entry| entry.mac);
    Ok(Some(LinkFacts {
        index: interface.index,
        name: interface.name.clone(),
        mac: interface.mac,
        carrier: interface.carrier,
        address,
        prefix,
        gateway,
        gateway_mac,
        neighbours: neighbours.into_iter().map(|entry| entry.address).collect(),
    }))
}

/// The upper half of the subnet without network and broadcast address; `None` where there is no room (/31, /32).
///
/// On the fallback network of `net-up` it is .100 to .250.
#[must_use]
pub fn default_pool(address: Ipv4Addr, prefix: u8) -> Option<(Ipv4Addr, Ipv4Addr)> {
    if (address, prefix) == (super::up::FALLBACK, super::up::FALLBACK_PREFIX) {
        let [a, b, c, _] = address.octets();
        return Some((Ipv4Addr::new(a, b, c, 100), Ipv4Addr::new(a, b, c, 250)));
    }
    if prefix > 30 {
        return None;
    }
    let network = u32::from(address) & mask(prefix);
    let broadcast = network | !mask(prefix);
    let half = network + (broadcast - network).div_ceil(2);
    Some((Ipv4Addr::from(half.max(network + 1)), Ipv4Addr::from(broadcast - 1)))
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, kind: Option<&str>, up: bool) -> Interface {
        Interface {
            index: 1,
            name: name.to_owned(),
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            up,
            carrier: up,
            wireless: name.starts_with("wl"),
            kind: kind.map(str::to_owned),
            addresses: Vec::new(),
        }
    }

    fn chosen(interfaces: &[Interface], named: Option<&str>) -> Result<String, ChooseError> {
        choose(interfaces, named).map(|interface| interface.name)
    }

    #[test]
    fn the_one_wired_interface_that_is_up_is_chosen() {
        let interfaces = [
            interface("eth0", None, true),
            interface("eth1", None, false),
            interface("wlan0", None, true),
            interface("docker0", Some("bridge"), true),
        ];
        assert_eq!(chosen(&interfaces, None).unwrap(), "eth0");
    }

    #[test]
    fn several_are_refused_by_name_and_a_setting_decides() {
        let interfaces = [interface("eth0", None, true), interface("eth1", None, true)];
        let error = choose(&interfaces, None).unwrap_err();
        assert!(error.to_string().contains("eth0, eth1"), "{error}");
        assert_eq!(chosen(&interfaces, Some("eth1")).unwrap(), "eth1");
        assert!(matches!(choose(&interfaces, Some("eth9")), Err(ChooseError::Missing { .. })));
    }

    #[test]
    fn wifi_is_never_chosen_by_itself_but_by_name() {
        let interfaces = [interface("wlan0", None, true)];
        assert_eq!(choose(&interfaces, None), Err(ChooseError::None));
        assert_eq!(chosen(&interfaces, Some("wlan0")).unwrap(), "wlan0");
    }

    #[test]
    fn in_a_namespace_without_hardware_the_only_veth_counts() {
        assert_eq!(chosen(&[interface("veth0", Some("veth"), true)], None).unwrap(), "veth0");
        let with_hardware = [interface("veth0", Some("veth"), true), interface("eth0", None, false)];
        assert!(matches!(choose(&with_hardware, None), Err(ChooseError::Down { .. })));
        let two = [interface("veth0", Some("veth"), true), interface("veth1", Some("veth"), true)];
        assert_eq!(choose(&two, None), Err(ChooseError::None));
    }

    #[test]
    fn the_pool_is_the_upper_half_of_the_subnet() {
        let pool = |text: &str, prefix| {
            default_pool(text.parse().unwrap(), prefix).map(|(first, last)| (first.to_string(), last.to_string()))
        };
        let range = |first: &str, last: &str| Some((first.to_owned(), last.to_owned()));
        assert_eq!(pool("10.0.0.1", 24), range("10.0.0.128", "10.0.0.254"));
        assert_eq!(pool("10.1.2.3", 16), range("10.1.128.0", "10.1.255.254"));
        assert_eq!(pool("10.0.0.1", 30), range("10.0.0.2", "10.0.0.2"));
        assert_eq!(pool("10.0.0.1", 31), None);
        assert_eq!(pool("192.168.77.1", 24), range("192.168.77.100", "192.168.77.250"));
    }
}
