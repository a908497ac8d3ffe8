//! The loop: drain up to 64 datagrams, decide all, start one write if something is durable, send.

mod others;

use super::{
    Alert, Command, DhcpError, Ports, Setup, Sockets, Status,
    checks::Checks,
    gate::Gate,
    lookout::Lookout,
    outbox::{Outbox, Ways},
    writer::{Sending, Writer},
};
use crate::health::Part;
use crate::net::{Inbox, LinkEvents, LinkFacts, LinkPackets, LinkSocket, Netlink};
use rackberry_core::{
    dhcp::{
        Fact, Ladder, LeaseTable, Link, MessageKind, Mode, Outcome, Packet, Port, Request, ladder::ForeignServer,
        reply, wire::decode,
    },
    text::CleanText,
    time::Timestamp,
};
use std::time::Duration;
use tokio::sync::watch;

/// How long the end waits for the last write.
const LAST_WRITE: Duration = Duration::from_secs(5);
/// The loop turns at least this often, to show that it does.
const TURN: Duration = Duration::from_secs(2);

struct Shell {
    ways: Ways,
    client: LinkSocket,
    outbox: Outbox,
    netlink: Netlink,
    events: LinkEvents,
    facts: LinkFacts,
    link: Link,
    mode: Mode,
    table: LeaseTable,
    ladder: Ladder,
    gate: Gate,
    lookout: Lookout,
    look_wait: Duration,
    checks: Checks,
    writer: Writer,
    ports: Ports,
    probes: Vec<u32>,
}

/// Serves until told to stop.
pub(super) async fn run(sockets: Sockets, setup: Setup, ports: Ports) -> Result<(), DhcpError> {
    let device = setup.facts.name.clone();
    let wait = |source| DhcpError::Wait { device: device.clone(), source };
    let now = (ports.now)();
    let mut table = LeaseTable::new(&setup.pools, setup.leases, now);
    table.reserve(setup.reserved);
    table.avoid(setup.facts.neighbours.iter().copied(), now);
    let ladder = Ladder::new(setup.mode, setup.times, setup.remembered, setup.random, now);
    let (index, address) = (setup.facts.index, setup.facts.address);
    let packets = sockets.packet.map(|socket| LinkPackets::new(socket, index, setup.facts.mac, address)).transpose();
    let port = |socket: &std::net::UdpSocket| socket.local_addr().map(|address| address.port()).map_err(wait);
    let mut shell = Shell {
        ways: Ways {
            ports: (port(&sockets.dhcp)?, port(&sockets.boot_server)?),
            dhcp: LinkSocket::new(sockets.dhcp, index, address).map_err(wait)?,
            boot_server: LinkSocket::new(sockets.boot_server, index, address).map_err(wait)?,
            packets: packets.map_err(wait)?,
        },
        client: LinkSocket::new(sockets.client, index, address).map_err(wait)?,
        outbox: Outbox::default(),
        netlink: Netlink::open()?,
        events: LinkEvents::open()?,
        checks: Checks::new(setup.conflict_wait),
        link: Link { stage: ladder.stage(), ..setup.link },
        facts: setup.facts,
        mode: setup.mode,
        table,
        ladder,
        gate: Gate::default(),
        lookout: Lookout::default(),
        look_wait: setup.look_wait,
        writer: Writer::default(),
        ports,
        probes: Vec::new(),
    };
    tracing::info!(device, stage = shell.link.stage.word(), mode = %shell.mode, "DHCP starts");
    shell.publish();
    // What changed after the facts were read and before the events were heard.
    let end = match shell.look_at_link(now) {
        Ok(()) => shell.serve(&device).await,
        Err(error) => Err(error),
    };
    shell.last_writes().await;
    tracing::info!(device, "DHCP ends");
    end
}

impl Shell {
    async fn serve(&mut self, device: &str) -> Result<(), DhcpError> {
        let wait = |source| DhcpError::Wait { device: device.to_owned(), source };
        let mut inbox = Inbox::default();
        let duty = self.ports.health.begin(Part::Dhcp);
        loop {
            duty.tick();
            self.due(&mut inbox);
            self.outbox.leave(&self.ways);
            self.writer.start(&*self.ports.record);
            let now = (self.ports.now)();
            let sleep = self.wakeup().since(now).clamp(Duration::from_millis(1), TURN);
            tokio::select! {
                () = stopped(&mut self.ports.stop) => return Ok(()),
                (sendings, result) = self.writer.finished() => self.written(sendings, result),
                ready = self.ways.dhcp.readable() => {
                    ready.map_err(wait)?;
                    self.drain(Port::Dhcp, &mut inbox);
                }
                ready = self.ways.boot_server.readable() => {
                    ready.map_err(wait)?;
                    self.drain(Port::BootServer, &mut inbox);
                }
                ready = self.client.readable() => {
                    ready.map_err(wait)?;
                    self.overhear(&mut inbox);
                }
                ready = arp(self.ways.packets.as_ref()) => {
                    ready.map_err(wait)?;
                    self.hear();
                }
                changed = self.events.changed() => {
                    changed?;
                    self.look_at_link((self.ports.now)())?;
                }
                Some(command) = self.ports.commands.recv() => self.obey(command),
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// What time alone brings about.
    fn due(&mut self, inbox: &mut Inbox) {
        let now = (self.ports.now)();
        let waited = self.lookout.wakeup().is_some_and(|first| first <= now) || self.checks.is_due(now);
        if waited {
            // What another server said meanwhile counts before anything is promised.
            self.overhear(inbox);
            self.hear();
        }
        let steps = self.ladder.tick(now);
        if !steps.is_empty() {
            self.act(steps);
        }
        for request in self.lookout.due(now) {
            self.decide(request, now);
        }
        for (held, answered) in self.checks.due(now) {
            if held.stage != self.link.stage {
                // The box serves differently by now: what was held is no longer meant.
                self.decide(held.request, now);
                continue;
            }
            if answered {
                tracing::info!(address = %held.address, mac = %held.request.mac, "in use already; not offered");
                self.table.conflict(held.address, now);
                self.decide(held.request, now);
            } else {
                self.dispatch(held.request.port, held.outcome);
            }
        }
    }

    fn wakeup(&self) -> Timestamp {
        let first = self.ladder.wakeup();
        [self.checks.wakeup(), self.lookout.wakeup()].into_iter().flatten().fold(first, Timestamp::min)
    }

    /// Takes what waits on a server port and decides about each.
    fn drain(&mut self, port: Port, inbox: &mut Inbox) {
        let now = (self.ports.now)();
        let socket = match port {
            Port::Dhcp => &self.ways.dhcp,
            Port::BootServer => &self.ways.boot_server,
        };
        if let Err(error) = socket.try_receive(inbox) {
            tracing::trace!("take DHCP packets: {error}");
        }
        for (bytes, from) in inbox.datagrams() {
            match decode(bytes, port, from) {
                Ok(Packet::Request(request)) => self.admit(*request, now),
                Ok(Packet::Reply(_)) => {}
                Err(error) => tracing::trace!(%from, "{error}"),
            }
        }
    }

    fn admit(&mut self, request: Request, now: Timestamp) {
        let durable = matches!(request.kind, MessageKind::Request | MessageKind::Release | MessageKind::Decline);
        let ours = request.mac == self.facts.mac || request.mac.0.first() == Some(&2);
        let own = ours && self.probes.contains(&request.xid);
        if own || !self.gate.admit(request.mac, now) || (durable && self.writer.is_full()) {
            return;
        }
        // The offer to its first DISCOVER is on its way.
        if request.kind == MessageKind::Discover && request.port == Port::Dhcp && self.checks.holds(request.mac) {
            return;
        }
        if self.link.may_promise(&request) {
            self.ladder.asked(now);
            let clear = self.ladder.clear_at(now, self.look_wait);
            // Who holds a lease has nothing new to get.
            if clear > now && !self.table.holds_any(request.mac, now) {
                self.lookout.keep(request, clear);
                return;
            }
        }
        self.decide(request, now);
    }

    fn decide(&mut self, request: Request, now: Timestamp) {
        let host = (self.ports.host_view)(&request, now);
        let outcome = reply(&request, &self.link, &mut self.table, &host, now);
        tracing::trace!(mac = %request.mac, xid = request.xid, kind = ?request.kind, answered = outcome.reply.is_some());
        let steps = match outcome.foreign {
            Some(address) => self.ladder.foreign(ForeignServer {
                address,
                mac: None,
                leases: true,
                boots: false,
                vendor: CleanText::default(),
            }),
            None => Vec::new(),
        };
        if !steps.is_empty() {
            self.act(steps);
        }
        for note in outcome.notes.iter().filter(|note| note.is_told(host.known)) {
            if self.ports.notes.try_send(note.clone()).is_err() {
                tracing::debug!(mac = %note.mac, "a note for the timeline was lost: too many at once");
            }
        }
        let stage = self.link.stage;
        if let Some((request, outcome)) = self.checks.hold(self.ways.packets.as_ref(), request, outcome, stage, now) {
            self.dispatch(request.port, outcome);
        }
    }

    /// Sends an answer, now or after its write.
    fn dispatch(&mut self, port: Port, outcome: Outcome) {
        let confirms = outcome.notes.iter().find_map(|note| match note.fact {
            Fact::Ack(address) => Some(address),
            _ => None,
        });
        let sending = outcome.reply.map(|bytes| Sending { port, to: outcome.to, bytes });
        if let Some(sending) = self.writer.take(outcome.changes, confirms, sending) {
            self.outbox.put(sending);
        }
    }

    fn written(&mut self, sendings: Vec<Sending>, result: Result<(), super::RecordError>) {
        if let Err(error) = result {
            // A card that turned read-only must not stop a rack: the leases hold in memory, and people hear of it.
            let text = crate::chain(&*error);
            tracing::error!("leases were not written: {text}");
            let _full = self.ports.alerts.try_send(Alert::NotDurable(text));
        }
        for sending in sendings {
            self.outbox.put(sending);
        }
    }

    /// Who has which address, as ARP tells it.
    fn hear(&mut self) {
        for (address, mac) in self.ways.packets.iter().flat_map(LinkPackets::heard) {
            self.checks.heard(address, mac);
        }
    }

    fn publish(&self) {
        let status = Status {
            mode: self.mode,
            stage: self.link.stage,
            link: self.facts.id(),
            foreign: self.ladder.foreign_servers().to_vec(),
        };
        self.ports.status.send_if_modified(|shown| {
            let changed = *shown != status;
            *shown = status;
            changed
        });
    }

    fn obey(&mut self, command: Command) {
        let now = (self.ports.now)();
        match command {
            Command::Reserve(addresses) => self.table.reserve(addresses),
            Command::Services(services) => self.link.services = services,
            Command::Leases(to) => {
                let _gone = to.send(self.table.leases(now).collect());
            }
        }
    }

    async fn last_writes(&mut self) {
        let write_all = async {
            while !self.writer.is_idle() {
                self.writer.start(&*self.ports.record);
                let (sendings, result) = self.writer.finished().await;
                self.written(sendings, result);
                self.outbox.leave(&self.ways);
            }
        };
        if tokio::time::timeout(LAST_WRITE, write_all).await.is_err() {
            tracing::error!("the last leases were not written in time");
        }
    }
}

/// Waits for ARP; for ever without a packet socket.
async fn arp(packets: Option<&LinkPackets>) -> std::io::Result<()> {
    match packets {
        Some(packets) => packets.readable().await,
        None => std::future::pending().await,
    }
}

/// Told to stop, or nobody is left to tell it.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}
