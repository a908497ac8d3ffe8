//! What the ladder lives on: other servers heard, our own questions for them, and the cable.

use super::Shell;
use crate::{
    dhcp::{Alert, DhcpError},
    net::{Inbox, interfaces},
};
use rackberry_core::{
    dhcp::{
        MessageKind, Packet, Port, Stage, asking,
        ladder::{ForeignServer, Step},
        wire::{SeenReply, decode},
    },
    text::CleanText,
    time::Timestamp,
};
use std::net::{Ipv4Addr, SocketAddrV4};

const SERVERS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
/// Own probes remembered, so that they are not taken for clients.
const MOST_PROBES: usize = 16;

impl Shell {
    /// Answers of other servers on the client port.
    pub(super) fn overhear(&mut self, inbox: &mut Inbox) {
        if let Err(error) = self.client.try_receive(inbox) {
            tracing::trace!("take answers of other servers: {error}");
        }
        for (bytes, from) in inbox.datagrams() {
            let Ok(Packet::Reply(seen)) = decode(bytes, Port::Dhcp, from) else { continue };
            let ours = seen.server == self.link.address || *from.ip() == self.link.address;
            if !ours && matches!(seen.kind, MessageKind::Offer | MessageKind::Ack) {
                self.foreign(&seen, *from.ip());
            }
        }
    }

    fn foreign(&mut self, seen: &SeenReply, from: Ipv4Addr) {
        let mac = self.netlink.neighbour(self.facts.index, from).ok().flatten().map(|entry| entry.mac);
        let server = ForeignServer {
            address: seen.server,
            mac,
            // An INFORM of ours is answered without an address by those who give addresses.
            leases: !seen.yiaddr.is_unspecified() || seen.kind == MessageKind::Ack,
            boots: seen.boots,
            vendor: CleanText::default(),
        };
        let steps = self.ladder.foreign(server);
        self.act(steps);
    }

    pub(super) fn act(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Probe { xid, mac, boots } => {
                    self.probes.truncate(MOST_PROBES - 1);
                    self.probes.insert(0, xid);
                    let inform = asking::inform(xid, self.facts.mac, self.link.address);
                    for question in [inform, asking::probe(xid, mac, boots)] {
                        if let Err(error) = self.client.send(&question, SERVERS) {
                            tracing::debug!("probe for other DHCP servers: {error}");
                        }
                    }
                }
                Step::Stage { from, to } => {
                    tracing::info!(from = from.word(), to = to.word(), "DHCP serves differently from now on");
                    self.link.stage = to;
                    if to != Stage::Observe {
                        (self.ports.keep_verdict)(self.facts.id(), to);
                    }
                    let _full = self.ports.alerts.try_send(Alert::Stage { from, to });
                }
                Step::Alarm(server) => {
                    let _full = self.ports.alerts.try_send(Alert::Foreign(server));
                }
            }
        }
        self.publish();
    }

    /// A cable that comes back may hang in another socket: observe anew. An address that went away ends the service.
    pub(super) fn look_at_link(&mut self, now: Timestamp) -> Result<(), DhcpError> {
        let listed = interfaces::list(&mut self.netlink)?;
        let lost = || DhcpError::AddressLost { device: self.facts.name.clone(), address: self.facts.address };
        let interface = listed.iter().find(|interface| interface.index == self.facts.index).ok_or_else(lost)?;
        if !interface.addresses.contains(&(self.facts.address, self.facts.prefix)) {
            return Err(lost());
        }
        let came_up = interface.carrier && !self.facts.carrier;
        if interface.carrier != self.facts.carrier {
            tracing::info!(device = self.facts.name, carrier = interface.carrier, "the cable");
        }
        self.facts.carrier = interface.carrier;
        if came_up {
            let steps = self.ladder.link_up(None, now);
            self.link.stage = self.ladder.stage();
            self.act(steps);
        }
        Ok(())
    }
}
