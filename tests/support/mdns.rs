//! A neighbour that asks for names by multicast DNS (RFC 6762) and hears what is told, with packets of its own.

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    time::{Duration, Instant},
};

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const PORT: u16 = 5353;
/// An address record, whatever its cache-flush bit says.
const ADDRESS: u8 = 1;

/// A place in the group, on the link of one address of the calling thread's namespace.
pub struct Neighbour {
    socket: UdpSocket,
}

impl Neighbour {
    /// Joins the group on the link of this address.
    ///
    /// # Errors
    /// When it cannot.
    pub fn join(own: Ipv4Addr) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT).into())?;
        socket.join_multicast_v4(&GROUP, &own).with_context(|| format!("join {GROUP} on the link of {own}"))?;
        socket.set_multicast_if_v4(&own)?;
        socket.set_multicast_loop_v4(false)?;
        socket.set_read_timeout(Some(Duration::from_millis(250)))?;
        Ok(Self { socket: socket.into() })
    }

    /// The next packet, if one comes within a moment.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn hear(&self) -> Result<Option<Vec<u8>>> {
        let mut packet = [0; 9000];
        match self.socket.recv(&mut packet) {
            Ok(length) => Ok(Some(packet.get(..length).unwrap_or_default().to_vec())),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Asks for `label`.local until somebody answers; the address.
    ///
    /// # Errors
    /// When nobody does within `limit`.
    pub fn resolve(&self, label: &str, limit: Duration) -> Result<Ipv4Addr> {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            self.socket.send_to(&question(label), (GROUP, PORT))?;
            let again = Instant::now() + Duration::from_secs(1);
            while Instant::now() < again {
                if let Some(address) = self.hear()?.and_then(|packet| address_of(&packet, label)) {
                    return Ok(address);
                }
            }
        }
        anyhow::bail!("nobody on this link is {label}.local within {limit:?}")
    }
}

/// RFC 1035, 4.1: no identity, one question, class IN.
fn question(label: &str) -> Vec<u8> {
    let mut packet = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for part in [label, "local"] {
        packet.push(u8::try_from(part.len()).unwrap_or_default());
        packet.extend_from_slice(part.as_bytes());
    }
    packet.extend_from_slice(&[0, 0, ADDRESS, 0, 1]);
    packet
}

/// All that a response says of addresses: name, time to live in seconds, address.
#[must_use]
pub fn addresses(packet: &[u8]) -> Vec<(String, u32, Ipv4Addr)> {
    all_addresses(packet).unwrap_or_default()
}

fn address_of(packet: &[u8], label: &str) -> Option<Ipv4Addr> {
    let wanted = format!("{label}.local");
    let found = addresses(packet).into_iter().find(|(name, life, _)| *name == wanted && *life > 0);
    found.map(|(_, _, address)| address)
}

fn all_addresses(packet: &[u8]) -> Option<Vec<(String, u32, Ipv4Addr)>> {
    let short = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    // Answers only, not queries: what a probe would like to have is in its second part.
    if short(2)? & 0x8000 == 0 {
        return None;
    }
    let mut at = 12;
    for _ in 0..short(4)? {
        at = name_at(packet, at)?.1 + 4;
    }
    let mut found = Vec::new();
    for _ in 0..u32::from(short(6)?) + u32::from(short(8)?) + u32::from(short(10)?) {
        let (name, rest) = name_at(packet, at)?;
        let length = usize::from(short(rest + 8)?);
        let data = packet.get(rest + 10..rest + 10 + length)?;
        if let (1, [a, b, c, d]) = (short(rest)?, data) {
            let life = u32::from(short(rest + 4)?) << 16 | u32::from(short(rest + 6)?);
            found.push((name, life, Ipv4Addr::new(*a, *b, *c, *d)));
        }
        at = rest + 10 + length;
    }
    Some(found)
}

/// The name at a place, pointers followed (RFC 1035, 4.1.4), and where what follows it begins.
fn name_at(packet: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut at, mut end, mut labels) = (start, None, Vec::new());
    for _ in 0..128 {
        let length = usize::from(*packet.get(at)?);
        if length == 0 {
            return Some((labels.join("."), end.unwrap_or(at + 1)));
        } else if length >= 0xc0 {
            end.get_or_insert(at + 2);
            at = (length & 0x3f) << 8 | usize::from(*packet.get(at + 1)?);
        } else {
            labels.push(String::from_utf8_lossy(packet.get(at + 1..at + 1 + length)?).to_lowercase());
            at += 1 + length;
        }
    }
    None
}
