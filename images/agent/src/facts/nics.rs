//! Network ports that are hardware.

use crate::machine::{self, Machine};
use rackberry_core::{hardware::Nic, host::MacAddr, text::CleanText};

/// Linux's number for Ethernet in `/sys/class/net/*/type` (ARPHRD_ETHER).
const ETHERNET: u64 = 1;

/// Every Ethernet port with a device behind it.
pub fn list(machine: &Machine, boot_mac: Option<MacAddr>) -> Vec<Nic> {
    let folder = machine.path("/sys/class/net");
    let ports = machine::names(&folder).into_iter().filter_map(|name| {
        let port = folder.join(&name);
        if !port.join("device").exists() || machine::number(&port.join("type")) != Some(ETHERNET) {
            return None;
        }
        let mac: MacAddr = machine::text(&port.join("address"))?.parse().ok()?;
        let link = machine::number(&port.join("carrier")) == Some(1);
        let speed = machine::number(&port.join("speed")).and_then(|speed| u32::try_from(speed).ok());
        Some(Nic {
            name: CleanText::new(&name),
            mac,
            link,
            // A port without link says 0, -1 or 4294967295, by driver.
            speed_mbps: speed.filter(|speed| link && (1..u32::MAX).contains(speed)),
            driver: CleanText::new(&machine::link_name(&port.join("device/driver")).unwrap_or_default()),
            boot: Some(mac) == boot_mac,
        })
    });
    ports.collect()
}
