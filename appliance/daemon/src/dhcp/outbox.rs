//! Answers ready to leave: gathered while packets are decided about, then sent with one call for each way out.

use super::writer::Sending;
use crate::net::{LinkPackets, LinkSocket, ToCard, packet::EVERYBODY};
use rackberry_core::{
    dhcp::{Destination, Port},
    host::MacAddr,
};
use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
};

/// Where clients listen that have no address.
const CLIENTS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::BROADCAST, 68);

/// The ways out.
#[derive(Debug)]
pub(super) struct Ways {
    pub dhcp: LinkSocket,
    pub boot_server: LinkSocket,
    /// Reaches machines without an address.
    pub packets: Option<LinkPackets>,
    /// Where answers come from on the DHCP port and on the boot server's.
    pub ports: (u16, u16),
}

#[derive(Debug, Default)]
pub(super) struct Outbox(Vec<Sending>);

impl Outbox {
    pub(super) fn put(&mut self, sending: Sending) {
        self.0.push(sending);
    }

    /// Sends everything. A full socket buffer loses the answer; the client asks again.
    pub(super) fn leave(&mut self, ways: &Ways) {
        if self.0.is_empty() {
            return;
        }
        let (mut cards, mut dhcp, mut boot_server) = (Vec::new(), Vec::new(), Vec::new());
        for Sending { port, to, bytes } in &self.0 {
            let (by_address, from_port) = match port {
                Port::Dhcp => (&mut dhcp, ways.ports.0),
                Port::BootServer => (&mut boot_server, ways.ports.1),
            };
            let to_card = |card: MacAddr, to: SocketAddrV4| ToCard { from_port, card, to, bytes };
            match *to {
                Destination::Unicast(to) => by_address.push((bytes.as_slice(), to)),
                // By UDP the kernel would also give each broadcast back to this machine.
                Destination::Broadcast => cards.push((to_card(EVERYBODY, CLIENTS), *port)),
                Destination::Unconfigured { address, mac } => {
                    cards.push((to_card(mac, SocketAddrV4::new(address, CLIENTS.port())), *port));
                }
            }
        }
        // A server that cannot reach a client without an address may broadcast (RFC 2131 section 4.1).
        let mut by_udp = |place: usize| {
            if let Some((to_card, port)) = cards.get(place) {
                let by_address = if *port == Port::Dhcp { &mut dhcp } else { &mut boot_server };
                by_address.push((to_card.bytes, CLIENTS));
            }
        };
        match &ways.packets {
            Some(packets) => {
                let to_cards: Vec<_> = cards.iter().map(|(to_card, _)| *to_card).collect();
                packets.send_all(&to_cards, |place, error| {
                    tracing::debug!("send a DHCP answer to a card: {error}");
                    by_udp(place);
                });
            }
            None => (0..cards.len()).for_each(by_udp),
        }
        let lost = |_: usize, error: io::Error| tracing::debug!("send a DHCP answer: {error}");
        ways.dhcp.send_all(&dhcp, lost);
        ways.boot_server.send_all(&boot_server, lost);
        self.0.clear();
    }
}
