//! One packet in, one [`Outcome`] out: who is answered, and which options an answer carries.

use super::{
    answer::Answer,
    client::{Form, Kind, Loader, SCRIPT_PATH, SKIP_DISCOVERY, form, loader_for, pi_vendor_options},
    lease,
    link::{HostView, Link, Subnet},
    options::{code, sub_options},
    outcome::{Destination, Fact, Note, Outcome},
    proxy,
    stage::Stage,
    table::{Key, LeaseTable},
    wire::{MessageKind, Port, Request},
};
use crate::time::Timestamp;
use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

/// The client port (RFC 2131 4.1).
const CLIENT: u16 = 68;
/// Where relays listen: not 68, whatever the broadcast flag says (RFC 2131 4.1).
const RELAY: u16 = 67;

/// All that a decision about one packet reads.
pub(super) struct Ask<'a> {
    pub request: &'a Request,
    pub link: &'a Link,
    pub host: &'a HostView,
    pub kind: Kind,
    pub key: Key,
    pub now: Timestamp,
}

/// Decides about one packet. The table holds what was promised; time comes from the caller.
#[must_use]
pub fn reply(request: &Request, link: &Link, table: &mut LeaseTable, host: &HostView, now: Timestamp) -> Outcome {
    if host.ignore {
        return Outcome::silence();
    }
    let kind = table.remembered(request, Kind::of(request), now);
    let key = Key::new(request.mac, request.client_id.as_deref());
    let ask = Ask { request, link, host, kind, key, now };
    match (request.port, link.stage) {
        (_, Stage::Observe) => Outcome::silence(),
        (_, Stage::ProxyEnrolled) if !host.enrolled => lease::keep(&ask, table),
        (Port::BootServer, _) => proxy::boot_server(&ask),
        (Port::Dhcp, Stage::Proxy | Stage::ProxyEnrolled) => match lease::keep(&ask, table) {
            kept if kept.reply.is_some() || !kept.changes.is_empty() => kept,
            _ => proxy::offer(&ask),
        },
        (Port::Dhcp, Stage::PxeOnly | Stage::Server) => lease::serve(&ask, table),
    }
}

impl Ask<'_> {
    pub(super) fn note(&self, fact: Fact) -> Note {
        Note::new(fact, self.request, self.kind)
    }

    pub(super) fn silence(&self, fact: Fact) -> Outcome {
        Outcome { notes: vec![self.note(fact)], ..Outcome::silence() }
    }

    /// An answer with what every answer carries: 54, 61 and 97 echoed (RFC 6842, RFC 4578 2.3).
    pub(super) fn answer(&self, kind: MessageKind) -> Answer {
        let mut answer = Answer::new(kind);
        // A BOOTP client knows no server identifier and has little room (RFC 1534 2).
        if kind != MessageKind::Bootp {
            answer.put(code::SERVER_ID, self.server().octets());
        }
        answer
    }

    /// Who we are to this client: a relay may stand between us for all its packets (RFC 5107).
    pub(super) fn server(&self) -> Ipv4Addr {
        self.request.server_override.unwrap_or(self.link.address)
    }

    pub(super) fn echo(&self, answer: &mut Answer) {
        if let Some(id) = self.request.client_id.as_deref().filter(|id| id.len() <= 64) {
            answer.put(code::CLIENT_ID, id);
        }
        if let Some(id) = self.request.machine_id {
            answer.put(code::MACHINE_ID, id);
        }
        // A copy of the option that chose the subnet (RFC 3011 2).
        if let Some(subnet) = self.request.subnet_selection.filter(|_| self.request.subnet.is_some()) {
            answer.put(code::SUBNET_SELECT, subnet.octets());
        }
    }

    /// What people set for the subnet and, before it, for the host. The host's go to it whatever it asks for.
    ///
    /// To a client that boots, class, vendor options and loader are the box's own to say; a boot file set for the
    /// host itself comes before the loader, but never before the script that iPXE gets.
    pub(super) fn settings(&self, answer: &mut Answer, subnet: &Subnet) {
        let script = matches!(self.kind, Kind::Ipxe(..));
        let of_subnet = subnet.options.iter().filter(|option| self.request.wants(option.code())).map(|o| (o, false));
        for (option, of_host) in of_subnet.chain(self.host.options.iter().map(|option| (option, true))) {
            match option.code() {
                code::VENDOR | code::VENDOR_CLASS | code::IPXE if self.kind.boots() => {}
                code::TFTP_NAME | code::BOOT_FILE if script || (self.kind.boots() && !of_host) => {}
                code::BOOT_FILE => answer.boot_file = Some(String::from_utf8_lossy(option.value()).into_owned()),
                code::TFTP_NAME => match option.text().trim().parse() {
                    Ok(server) => {
                        answer.siaddr = server;
                        answer.name_server = true;
                    }
                    Err(_) => {
                        answer.name_server = false;
                        answer.replace(code::TFTP_NAME, option.value());
                    }
                },
                other => {
                    answer.replace(other, option.value());
                }
            }
        }
    }

    /// Options 1, 3, 6, 12, 15, 28, 42 and the lease times.
    pub(super) fn network(&self, answer: &mut Answer, subnet: &Subnet, time: Option<Duration>) {
        if let Some(time) = time {
            let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX).to_be_bytes();
            answer.put(code::LEASE_TIME, seconds(time));
            // Half and seven eighths (RFC 2131 4.4.5).
            answer.put(code::RENEW, seconds(time / 2));
            answer.put(code::REBIND, seconds(time / 8 * 7));
        }
        answer.put(code::SUBNET_MASK, subnet.mask().octets());
        if let Some(router) = subnet.router {
            answer.put(code::ROUTER, router.octets());
        }
        let octets = |list: &[Ipv4Addr]| list.iter().take(4).flat_map(Ipv4Addr::octets).collect::<Vec<_>>();
        answer.offer(code::DNS, octets(self.link.name_servers(subnet)));
        if let Some(name) = self.host.name.as_ref().filter(|_| self.request.wants(code::HOST_NAME)) {
            answer.offer(code::HOST_NAME, name.as_str());
        }
        if let Some(domain) = &subnet.domain {
            answer.offer(code::DOMAIN, domain.as_str());
        }
        answer.offer(code::BROADCAST, subnet.broadcast().octets());
        answer.offer(code::NTP, octets(self.link.time_servers(subnet)));
    }

    /// The boot part: vendor class, vendor options, boot file.
    pub(super) fn boot(&self, answer: &mut Answer, proxy: bool) {
        let asked_4011 = self.request.port == Port::BootServer;
        // On port 4011 the boot file is what was asked for.
        let Form { boot_file, skip_discovery } = match asked_4011 {
            true => Form { boot_file: true, skip_discovery: false },
            false => form(self.kind, self.host.strategy, proxy),
        };
        if self.kind.boots() {
            answer.siaddr = self.link.address;
        }
        match self.kind {
            // The bare word: EDK2 compares nine bytes, others the whole (PXE 2.1 2.2).
            Kind::PxeRom(_) | Kind::Ipxe(..) | Kind::Pi(_) => {
                answer.put(code::VENDOR_CLASS, "PXEClient");
            }
            Kind::HttpRom(_) => {
                answer.put(code::VENDOR_CLASS, "HTTPClient");
            }
            Kind::UBoot | Kind::RamOs | Kind::Plain => {}
        }
        match self.kind {
            Kind::Pi(model) => {
                answer.put(code::VENDOR, pi_vendor_options(model));
                // Pi loaders look for the server by name (66) and by siaddr.
                answer.put(code::TFTP_NAME, self.link.address.to_string());
            }
            Kind::Ipxe(..) if !proxy => {
                // no-pxedhcp: saves the two seconds that iPXE waits for a proxy (iPXE dhcp.h).
                answer.put(code::IPXE, [0xb0, 1, 1]);
            }
            _ if asked_4011 => {
                if let Some(item) = self.boot_item() {
                    answer.put(code::VENDOR, item);
                }
            }
            _ if skip_discovery => {
                answer.put(code::VENDOR, SKIP_DISCOVERY);
            }
            _ => {}
        }
        if !boot_file {
            return;
        }
        let wants_150 = self.request.parameters.contains(&code::TFTP_ADDRESSES);
        match loader_for(self.kind, self.host.loader) {
            Loader::Tftp(name) => {
                answer.boot_file = Some(name.to_owned());
                answer.name_server = true;
                if wants_150 {
                    answer.put(code::TFTP_ADDRESSES, self.link.address.octets());
                }
            }
            Loader::Http(name) => answer.boot_file = Some(self.link.url(&format!("/{name}"))),
            Loader::Script => answer.boot_file = Some(self.link.url(SCRIPT_PATH)),
            Loader::Own => {}
        }
    }

    /// 43.71 of the request, echoed with the layer as it came (PXE 2.1 2.2.4).
    fn boot_item(&self) -> Option<Vec<u8>> {
        let raw = self.request.vendor_options.as_deref()?;
        let (_, item) = sub_options(raw).find(|(sub, value)| *sub == 71 && value.len() == 4)?;
        let mut echoed = vec![71, 4];
        echoed.extend_from_slice(item);
        echoed.push(255);
        Some(echoed)
    }

    /// Where an answer that gives or confirms `yiaddr` goes.
    pub(super) fn destination(&self, yiaddr: Ipv4Addr) -> Destination {
        let request = self.request;
        if !request.giaddr.is_unspecified() {
            Destination::Unicast(SocketAddrV4::new(request.giaddr, RELAY))
        } else if !request.ciaddr.is_unspecified() {
            Destination::Unicast(SocketAddrV4::new(request.ciaddr, CLIENT))
        } else if request.broadcast || yiaddr.is_unspecified() {
            Destination::Broadcast
        } else {
            Destination::Unconfigured { address: yiaddr, mac: request.mac }
        }
    }

    pub(super) fn send(&self, answer: &Answer, to: Destination, notes: Vec<Note>) -> Outcome {
        Outcome { reply: answer.encode(self.request), to, notes, ..Outcome::silence() }
    }
}
