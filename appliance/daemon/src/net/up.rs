//! `rackberry net-up`: gives the interface an address before `serve` starts, if it has none.

use super::{
    interfaces::{ChooseError, Interface, choose, list},
    netlink::{Address, Netlink, NetlinkError},
    sockets::{SocketError, udp_on_device},
};
use rackberry_core::dhcp::{
    MessageKind, Packet, Port,
    asking::{accept, probe},
    wire::{SeenReply, decode},
};
use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    time::{Duration, Instant},
};

/// The box's own address on a link where nobody gives any.
pub const FALLBACK: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
/// Its prefix length.
pub const FALLBACK_PREFIX: u8 = 24;

const SERVERS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
/// How long one question waits for its answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How the interface came to its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetUp {
    /// It had one.
    Kept(Ipv4Addr, u8),
    /// A person chose it.
    Fixed(Ipv4Addr, u8),
    /// A DHCP server gave it.
    Leased {
        address: Ipv4Addr,
        prefix: u8,
        gateway: Option<Ipv4Addr>,
        dns: Vec<Ipv4Addr>,
        /// Time servers.
        ntp: Vec<Ipv4Addr>,
        server: Ipv4Addr,
    },
    /// Nobody answered.
    Fallback,
}

/// An address that a person chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedAddress {
    pub address: Ipv4Addr,
    pub prefix: u8,
    pub gateway: Option<Ipv4Addr>,
}

/// Why the interface stays without an address.
#[derive(Debug, thiserror::Error)]
pub enum NetUpError {
    #[error(transparent)]
    Choose(#[from] ChooseError),
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("speak DHCP on {device}")]
    Speak {
        device: String,
        #[source]
        source: std::io::Error,
    },
}

impl NetUp {
    /// What this machine was told beside its address, for whoever asks names or the time: lines `dns=ADDRESS` and
    /// `ntp=ADDRESS`. `dns` are those that a person chose. None where the address was there before, as nothing is
    /// known of it then.
    #[must_use]
    pub fn told(&self, dns: &[Ipv4Addr]) -> Option<String> {
        let (dns, ntp) = match self {
            NetUp::Kept(..) => return None,
            NetUp::Fixed(..) => (dns, &[][..]),
            NetUp::Leased { dns, ntp, .. } => (dns.as_slice(), ntp.as_slice()),
            NetUp::Fallback => (&[][..], &[][..]),
        };
        let lines = |key: &'static str, list: &[Ipv4Addr]| -> String {
            list.iter().map(|address| format!("{key}={address}\n")).collect()
        };
        Some(lines("dns", dns) + &lines("ntp", ntp))
    }
}

/// Does what is missing: with an address nothing; without one the `fixed` one, or DHCP for `patience`, else
/// 192.168.77.1/24.
///
/// Blocks; needs root. `random` becomes the transaction id. A leased address is set without a lifetime: the box's
/// address must not vanish under running installs.
///
/// # Errors
/// [`NetUpError`].
pub fn net_up(
    named: Option<&str>,
    fixed: Option<FixedAddress>,
    patience: Duration,
    random: u32,
) -> Result<(Interface, NetUp), NetUpError> {
    let mut netlink = Netlink::open()?;
    let interface = settle(&mut netlink, named)?;
    if let Some((address, prefix)) = interface.addresses.first().copied() {
        return Ok((interface, NetUp::Kept(address, prefix)));
    }
    let (address, prefix, gateway, up) = match fixed {
        Some(fixed) => (fixed.address, fixed.prefix, fixed.gateway, NetUp::Fixed(fixed.address, fixed.prefix)),
        None => match lease(&interface, patience, random)? {
            Some(reply) => {
                let prefix = reply.mask.map_or(24, |mask| u8::try_from(u32::from(mask).leading_ones()).unwrap_or(24));
                let (address, gateway) = (reply.yiaddr, reply.router);
                let up =
                    NetUp::Leased { address, prefix, gateway, dns: reply.dns, ntp: reply.ntp, server: reply.server };
                (address, prefix, gateway, up)
            }
            None => (FALLBACK, FALLBACK_PREFIX, None, NetUp::Fallback),
        },
    };
    netlink.add_address(Address { index: interface.index, address, prefix })?;
    if let Some(gateway) = gateway {
        netlink.set_gateway(interface.index, gateway)?;
    }
    Ok((interface, up))
}

/// Chooses the interface; switches all wired ones on first, as an interface that is off shows no cable.
fn settle(netlink: &mut Netlink, named: Option<&str>) -> Result<Interface, NetUpError> {
    let asleep = |interface: &Interface| match named {
        Some(name) => interface.name == name && !interface.up,
        None => interface.kind.is_none() && !interface.wireless && !interface.up,
    };
    let sleeping: Vec<u32> = list(netlink)?.iter().filter(|interface| asleep(interface)).map(|i| i.index).collect();
    for index in &sleeping {
        netlink.set_up(*index)?;
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let interfaces = list(netlink)?;
        let found = choose(&interfaces, named);
        let waiting = match &found {
            Ok(interface) => !interface.carrier,
            Err(ChooseError::Down { .. }) => true,
            Err(_) => false,
        };
        // Autonegotiation takes up to some seconds; a port that stays dark gets its address all the same.
        if !waiting || Instant::now() >= deadline {
            return Ok(found?);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// DISCOVER, the first OFFER, REQUEST, ACK.
fn lease(interface: &Interface, patience: Duration, random: u32) -> Result<Option<SeenReply>, NetUpError> {
    let socket = udp_on_device(&interface.name, 68)?;
    let speak = |source| NetUpError::Speak { device: interface.name.clone(), source };
    socket.set_nonblocking(false).map_err(speak)?;
    let deadline = Instant::now() + patience;
    let mut xid = random;
    while Instant::now() < deadline {
        xid = xid.wrapping_add(1);
        socket.send_to(&probe(xid, interface.mac, false), SERVERS).map_err(speak)?;
        let Some(offer) = hear(&socket, xid, MessageKind::Offer, deadline).map_err(speak)? else { continue };
        socket.send_to(&accept(&offer, interface.mac), SERVERS).map_err(speak)?;
        if let Some(ack) = hear(&socket, xid, MessageKind::Ack, deadline).map_err(speak)? {
            // Some servers name mask and router in one of the two only.
            return Ok(Some(SeenReply {
                mask: ack.mask.or(offer.mask),
                router: ack.router.or(offer.router),
                dns: if ack.dns.is_empty() { offer.dns } else { ack.dns },
                ntp: if ack.ntp.is_empty() { offer.ntp } else { ack.ntp },
                ..ack
            }));
        }
    }
    Ok(None)
}

fn hear(socket: &UdpSocket, xid: u32, kind: MessageKind, end: Instant) -> std::io::Result<Option<SeenReply>> {
    let until = end.min(Instant::now() + PATIENCE);
    let mut buffer = [0; 2048];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        let (length, from) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let SocketAddr::V4(from) = from else { continue };
        let bytes = buffer.get(..length).unwrap_or_default();
        if let Ok(Packet::Reply(reply)) = decode(bytes, Port::Dhcp, from)
            && reply.xid == xid
            && reply.kind == kind
            && !reply.yiaddr.is_unspecified()
        {
            return Ok(Some(reply));
        }
    }
}
