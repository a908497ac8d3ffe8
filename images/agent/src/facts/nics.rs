//! Network ports that are hardware.

use crate::machine::{self, Machine};
use rackberry_core::{hardware::Nic, host::MacAddr, text::CleanText};
use rustix::{
    ioctl::{self, Opcode},
    net::{AddressFamily, SocketType},
};
use std::{
    io,
    time::{Duration, Instant},
};

/// Linux's number for Ethernet in `/sys/class/net/*/type` (ARPHRD_ETHER).
const ETHERNET: u64 = 1;

/// `SIOCGIFFLAGS` and `SIOCSIFFLAGS` (linux/sockios.h).
const GET_FLAGS: Opcode = 0x8913;
const SET_FLAGS: Opcode = 0x8914;
/// IFF_UP.
const UP: i16 = 1;
/// What auto-negotiation takes on copper.
const LINK_TIME: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(100);

/// `struct ifreq` as the flags calls use it (linux/if.h).
#[repr(C)]
struct FlagsRequest {
    name: [u8; 16],
    flags: i16,
    rest: [u8; 22],
}

/// Switches every Ethernet port on, as one that is off knows of no link, and gives those without one a moment to find it.
pub fn raise(machine: &Machine) {
    let names: Vec<String> = list(machine, None).iter().map(|nic| nic.name.to_string()).collect();
    let raised = names.iter().filter(|name| raise_one(name).is_ok_and(|raised| raised)).count();
    let deadline = Instant::now() + LINK_TIME;
    while raised > 0 && Instant::now() < deadline && list(machine, None).iter().any(|nic| !nic.link) {
        std::thread::sleep(POLL);
    }
}

/// True if the port was off.
fn raise_one(name: &str) -> io::Result<bool> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let mut request = FlagsRequest { name: [0; 16], flags: 0, rest: [0; 22] };
    // The last byte stays zero.
    for (to, from) in request.name.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: the kernel reads the name from an ifreq of 40 bytes and writes the flags into it.
    unsafe { ioctl::ioctl(&socket, ioctl::Updater::<GET_FLAGS, FlagsRequest>::new(&mut request)) }?;
    if request.flags & UP != 0 {
        return Ok(false);
    }
    request.flags |= UP;
    // SAFETY: the kernel reads name and flags from an ifreq of 40 bytes.
    unsafe { ioctl::ioctl(&socket, ioctl::Setter::<SET_FLAGS, FlagsRequest>::new(request)) }?;
    Ok(true)
}

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
