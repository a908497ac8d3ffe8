//! Host names for machines on an isolated network (DNS, RFC 1035): the inventory's, and the uplink's where there is one.
//!
//! | module | one sentence |
//! |---|---|
//! | `question` | what the box answers by itself |
//! | `wire` | messages as bytes |
//! | `uplink` | others asked, by UDP and TCP |
//! | `cache` | their answers, kept |
//! | `server` | the sockets on port 53 |
//!
//! Only machines of the subnets that are served are answered, and questions to others are bounded: nobody can make the box ask or
//! answer on behalf of strangers.

mod cache;
mod question;
mod server;
#[cfg(test)]
mod tests;
mod uplink;
mod wire;

pub use server::{Server, ServerError, Sockets};
pub use uplink::Uplink;

use crate::inventory::Inventory;
use hickory_proto::rr::Name;
use rackberry_core::text::HostName;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    time::Duration,
};

/// The hosts of the inventory, and the box itself.
#[derive(Debug, Clone)]
pub struct Book {
    inventory: Inventory,
    own: (HostName, Ipv4Addr),
    domains: Vec<Name>,
}

impl Book {
    /// With the box's own name and address, and the domains that DHCP tells; what is no domain is left out.
    #[must_use]
    pub fn new<'a>(
        inventory: Inventory,
        name: HostName,
        address: Ipv4Addr,
        domains: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut found: Vec<Name> = Vec::new();
        for domain in domains {
            let Ok(mut domain) = Name::from_ascii(domain) else { continue };
            domain.set_fqdn(true);
            if !domain.is_root() && !found.contains(&domain) {
                found.push(domain);
            }
        }
        Book { inventory, own: (name, address), domains: found }
    }
}

impl question::Book for Book {
    fn address_of(&self, name: &HostName) -> Option<Option<Ipv4Addr>> {
        let (own, address) = &self.own;
        if name == own {
            return Some(Some(*address));
        }
        let snapshot = self.inventory.snapshot();
        let entry = snapshot.host_by_name(name)?;
        let heard = match entry.address {
            Some(IpAddr::V4(address)) => Some(address),
            Some(IpAddr::V6(_)) | None => None,
        };
        Some(heard.or(entry.host.fixed_address))
    }

    fn name_of(&self, address: Ipv4Addr) -> Option<HostName> {
        let (own, at) = &self.own;
        if address == *at {
            return Some(own.clone());
        }
        let snapshot = self.inventory.snapshot();
        let host = snapshot.host_at(address.into())?;
        Some(snapshot.host(host)?.host.name.clone())
    }

    fn domains(&self) -> &[Name] {
        &self.domains
    }
}

/// Tries the server at the box's own address out, through its socket.
pub async fn answers(name: &HostName, address: Ipv4Addr, port: u16) -> bool {
    const PATIENCE: Duration = Duration::from_secs(2);
    let Ok(mut name) = Name::from_labels([name.as_str().as_bytes()]) else { return false };
    name.set_fqdn(true);
    uplink::answers(SocketAddrV4::new(address, port), name, address, PATIENCE).await
}
