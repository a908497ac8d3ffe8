//! A server with its cable, and a machine that asks over it.

use crate::cases::PATIENCE;
use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use system_tests::pxe::client::new_xid;
use system_tests::pxe::link::{BROADCAST_MAC, Datagram, Link};
use system_tests::pxe::message::{Message, kind, option};
use system_tests::pxe::{Kind, Machine};
use system_tests::site::{BOX, BOX_LINK, ROOM, ROOM_LINK, api};
use system_tests::{Appliance, Dnsmasq, Site, appliance};

/// Whose answers are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Ours,
    Dnsmasq,
}

impl Subject {
    /// As `RACKBERRY_SUBJECT` writes it.
    pub fn word(self) -> &'static str {
        match self {
            Subject::Ours => "ours",
            Subject::Dnsmasq => "dnsmasq",
        }
    }
}

/// How the server is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Config {
    /// Gives addresses to everybody: near (10.77/16), behind a relay (10.88.0/24), and three of them (10.89.0/24).
    Server,
    /// The same, and it speaks for the network: who knows nothing better is refused.
    Authoritative,
    /// Addresses for machines that boot.
    PxeOnly,
    /// Boot files beside another server.
    Proxy,
    /// Nothing.
    Observe,
}

impl Config {
    pub const ALL: [Config; 5] =
        [Config::Server, Config::Authoritative, Config::PxeOnly, Config::Proxy, Config::Observe];
}

/// Lease times of the near and the far subnet, in seconds.
pub const NEAR_LEASE: u32 = 3600;
pub const FAR_LEASE: u32 = 900;
/// The relay's address in the far subnet, and in the small one.
pub const RELAY: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
pub const SMALL_RELAY: Ipv4Addr = Ipv4Addr::new(10, 89, 0, 1);
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);
/// Machines with fixed addresses: number [`FIXED`] + n has 10.77.5.n, for n below [`MOST_FIXED`].
pub const FIXED: u32 = 900_000;
pub const MOST_FIXED: u8 = 24;
/// Addresses that the hosts' side really has, for those who claim to have one: 10.77.3.1 to 10.77.3.99.
const OWN: u8 = 99;

enum Server {
    Ours(Box<Appliance>),
    Dnsmasq(Dnsmasq),
}

/// A server of one configuration with the hosts' side of its cable.
pub struct Bench {
    server: Server,
    pub subject: Subject,
    pub config: Config,
    pub site: Site,
}

impl Bench {
    /// Starts it and waits until it serves.
    ///
    /// # Errors
    /// When a namespace or the server cannot be had.
    pub fn start(subject: Subject, config: Config) -> Result<Self> {
        let site = Site::new()?;
        let mut batch: Vec<String> = (1..=OWN).map(|n| format!("address add 10.77.3.{n}/32 dev {ROOM_LINK}")).collect();
        for relay in [RELAY, SMALL_RELAY] {
            batch.push(format!("address add {relay}/24 dev {ROOM_LINK}"));
        }
        for command in batch {
            site.room.ip(&command)?;
        }
        for network in ["10.88.0.0/24", "10.89.0.0/24"] {
            site.seat.ip(&format!("route add {network} via {ROOM} dev {BOX_LINK}"))?;
        }
        let server = match subject {
            Subject::Ours => Server::Ours(Box::new(ours(&site, config)?)),
            Subject::Dnsmasq => Server::Dnsmasq(dnsmasq(&site, config)?),
        };
        Ok(Bench { server, subject, config, site })
    }

    /// The end of what the server printed.
    pub fn last_words(&self) -> String {
        let text = match &self.server {
            Server::Ours(ours) => ours.log().text(),
            Server::Dnsmasq(dnsmasq) => dnsmasq.log().text(),
        };
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(30)).copied().collect::<Vec<_>>().join("\n")
    }
}

fn ours(site: &Site, config: Config) -> Result<Appliance> {
    let mode = match config {
        Config::Server | Config::Authoritative => "server",
        Config::PxeOnly => "pxe-only",
        Config::Proxy => "proxy",
        Config::Observe => "observe",
    };
    let authoritative = config == Config::Authoritative;
    let dhcp = format!(
        "mode = \"{mode}\"\nauthoritative = {authoritative}\npool = \"10.77.64.0-10.77.127.255\"\nlease_s = {NEAR_LEASE}\n\
         gateway = \"{GATEWAY}\"\ndns = [\"10.77.0.53\", \"10.77.0.54\"]\ndomain = \"rack.example\"\nntp = [\"10.77.0.123\"]\n\
         options = {{ 26 = \"hex:05dc\", 72 = \"10.77.0.72\", 119 = \"rack.example, example\" }}\n\
         dynamic_bootp = {authoritative}\nprobe_unit_ms = 50\nprobe_listen_ms = 300\nlook_ms = 400\n\
         [[dhcp.subnet]]\nnetwork = \"10.88.0.0/24\"\npool = \"10.88.0.100-10.88.0.200\"\ngateway = \"{RELAY}\"\n\
         lease_s = {FAR_LEASE}\noptions = {{ 42 = \"10.88.0.2\" }}\ndynamic_bootp = true\n\
         [[dhcp.subnet]]\nnetwork = \"10.89.0.0/24\"\npool = \"10.89.0.100-10.89.0.102\"\n"
    );
    let settings = site.settings(&dhcp, "");
    let appliance = Appliance::start_with(&appliance::binary()?, &site.seat, &settings, &[("RACKBERRY_LOG", "info")])?;
    let list: String = (0..MOST_FIXED)
        .map(|n| format!("{} fixed-{n} 10.77.5.{n}\n", Machine::new(FIXED + u32::from(n), Kind::Plain).mac_text()))
        .collect();
    api(&appliance).call("POST", "/hosts", Some(&json!({ "list": list })))?;
    let options = json!({ "dhcp_options": ["42=10.77.0.99", "67=own/boot.efi"] });
    api(&appliance).call("PATCH", "/hosts/fixed-1", Some(&options))?;
    if config == Config::PxeOnly {
        appliance.log().wait_for("to=\"pxe-only\"", PATIENCE)?;
    }
    Ok(appliance)
}

fn dnsmasq(site: &Site, config: Config) -> Result<Dnsmasq> {
    let mut arguments: Vec<String> = Vec::new();
    let mut say = |argument: &str| arguments.push(argument.to_owned());
    for arch in [0, 6, 7, 8, 9, 11, 15, 16, 19, 20] {
        say(&format!("dhcp-match=set:arch{arch},option:client-arch,{arch}"));
    }
    say("dhcp-userclass=set:ipxe,iPXE");
    if config == Config::Proxy {
        say("dhcp-range=10.77.0.0,proxy,255.255.0.0");
        say("pxe-service=x86PC,\"boot\",undionly.kpxe");
        say("pxe-service=X86-64_EFI,\"boot\",snponly-x64.efi");
        say("pxe-service=BC_EFI,\"boot\",snponly-x64.efi");
        return Dnsmasq::start(&site.seat, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    }
    say(&format!("dhcp-range=set:near,10.77.64.0,10.77.127.255,255.255.0.0,{NEAR_LEASE}"));
    say(&format!("dhcp-range=set:far,10.88.0.100,10.88.0.200,255.255.255.0,{FAR_LEASE}"));
    say(&format!("dhcp-range=set:small,10.89.0.100,10.89.0.102,255.255.255.0,{NEAR_LEASE}"));
    for near in [
        &format!("3,{GATEWAY}"),
        "6,10.77.0.53,10.77.0.54",
        "15,rack.example",
        "42,10.77.0.123",
        "26,1500",
        "72,10.77.0.72",
        "119,rack.example,example",
    ] {
        say(&format!("dhcp-option=tag:near,{near}"));
    }
    say(&format!("dhcp-option=tag:far,3,{RELAY}"));
    say("dhcp-option=tag:far,42,10.88.0.2");
    say("dhcp-lease-max=10000");
    say("bootp-dynamic=tag:far");
    for (arch, file) in [
        (0, "undionly.kpxe"),
        (6, "ipxe-ia32.efi"),
        (7, "snponly-x64.efi"),
        (9, "snponly-x64.efi"),
        (11, "ipxe-arm64.efi"),
    ] {
        say(&format!("dhcp-boot=tag:arch{arch},{file},{BOX},{BOX}"));
    }
    for (arch, file) in [(16, "snponly-x64.efi"), (19, "ipxe-arm64.efi")] {
        say(&format!("dhcp-boot=tag:arch{arch},http://{BOX}/{file}"));
        say(&format!("dhcp-option-force=tag:arch{arch},60,HTTPClient"));
    }
    for n in 0..MOST_FIXED {
        let mac = Machine::new(FIXED + u32::from(n), Kind::Plain).mac_text();
        say(&format!("dhcp-host={mac},10.77.5.{n},fixed-{n},set:fixed{n}"));
    }
    say("dhcp-option-force=tag:fixed1,42,10.77.0.99");
    if config == Config::Authoritative {
        say("dhcp-authoritative");
        say("bootp-dynamic");
    }
    Dnsmasq::start(&site.seat, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// An answer as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub message: Message,
    /// Its bytes are left in it.
    pub envelope: Datagram,
}

impl Seen {
    /// The message's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.envelope.payload
    }

    /// Option numbers in the order on the wire, and what stands behind END.
    pub fn order(&self) -> (Vec<u8>, Vec<u8>) {
        let mut codes = Vec::new();
        let mut rest = self.bytes().get(240..).unwrap_or_default();
        loop {
            match rest {
                [255, after @ ..] => return (codes, after.to_vec()),
                [code, length, after @ ..] => {
                    codes.push(*code);
                    rest = after.get(usize::from(*length)..).unwrap_or_default();
                }
                _ => return (codes, Vec::new()),
            }
        }
    }

    pub fn yiaddr(&self) -> Ipv4Addr {
        self.message.yiaddr
    }

    pub fn option(&self, code: u8) -> Option<&[u8]> {
        self.message.get(code)
    }

    /// This answer, if it has this message type.
    pub fn of_kind(self, wanted: u8) -> Result<Self> {
        ensure!(
            self.message.message_type() == wanted,
            "message type {} instead of {wanted}",
            self.message.message_type()
        );
        Ok(self)
    }
}

/// A machine with the interface to ask over.
pub struct Ask<'a> {
    pub bench: &'a Bench,
    link: Link,
}

static NEXT_MACHINE: AtomicU32 = AtomicU32::new(1);
static NEXT_OWN: AtomicU32 = AtomicU32::new(0);
static NEXT_FIXED: AtomicU32 = AtomicU32::new(2);

impl<'a> Ask<'a> {
    pub fn new(bench: &'a Bench) -> Result<Self> {
        Ok(Ask { bench, link: Link::open(&bench.site.room, ROOM_LINK)? })
    }

    /// A machine that nobody else is.
    pub fn machine(&self, kind: Kind) -> Machine {
        Machine::new(NEXT_MACHINE.fetch_add(1, Ordering::Relaxed), kind)
    }

    pub fn plain(&self) -> Machine {
        self.machine(Kind::Plain)
    }

    /// An address that the hosts' side answers for.
    pub fn own_address(&self) -> Ipv4Addr {
        let number = NEXT_OWN.fetch_add(1, Ordering::Relaxed) % u32::from(OWN);
        Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 77, 3, 1)) + number)
    }

    /// A machine with a fixed address that no other case uses, and the address. Number 1 has options of its own.
    pub fn fixed(&self, kind: Kind) -> Result<(Machine, Ipv4Addr)> {
        let number = NEXT_FIXED.fetch_add(1, Ordering::Relaxed) % (u32::from(MOST_FIXED) - 2) + 2;
        Ok(self.fixed_number(kind, u8::try_from(number)?))
    }

    pub fn fixed_number(&self, kind: Kind, number: u8) -> (Machine, Ipv4Addr) {
        (Machine::new(FIXED + u32::from(number), kind), Ipv4Addr::new(10, 77, 5, number))
    }

    /// Makes the hosts' side answer for a leased address, as its machine does once it uses it.
    pub fn settle(&self, address: Ipv4Addr) -> Result<()> {
        self.bench.site.room.ip(&format!("address replace {address}/32 dev {ROOM_LINK}")).map(drop)
    }

    /// DISCOVER of a machine.
    pub fn discover(&self, machine: &Machine) -> Message {
        machine.message(kind::DISCOVER, new_xid())
    }

    /// REQUEST that takes an offer.
    pub fn select(&self, machine: &Machine, offer: &Seen) -> Message {
        let mut request = machine.message(kind::REQUEST, offer.message.xid);
        request.set(option::REQUESTED_ADDRESS, &offer.yiaddr().octets());
        request.set(option::SERVER_ID, offer.option(option::SERVER_ID).unwrap_or_default());
        request.giaddr = offer.message.giaddr;
        request
    }

    /// REQUEST after a restart: the address is remembered, no server named (RFC 2131 4.3.2).
    pub fn reboot(&self, machine: &Machine, address: Ipv4Addr) -> Message {
        let mut request = machine.message(kind::REQUEST, new_xid());
        request.set(option::REQUESTED_ADDRESS, &address.octets());
        request
    }

    /// REQUEST of a machine that uses its address.
    pub fn renew(&self, machine: &Machine, address: Ipv4Addr) -> Message {
        let mut request = machine.message(kind::REQUEST, new_xid());
        request.ciaddr = address;
        request.broadcast = false;
        request
    }

    /// Sends a message to port 67 from its `ciaddr`, or from its relay.
    pub fn send(&self, message: &Message) -> Result<()> {
        self.send_bytes(message, message.encode())
    }

    /// The same with other bytes.
    pub fn send_bytes(&self, message: &Message, payload: Vec<u8>) -> Result<()> {
        let relayed = !message.giaddr.is_unspecified();
        let from = if relayed { SocketAddrV4::new(message.giaddr, 67) } else { SocketAddrV4::new(message.ciaddr, 68) };
        let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
        self.link.send(&Datagram { from_mac: message.mac, to_mac: BROADCAST_MAC, from, to, payload })
    }

    /// Sends any datagram from this card.
    pub fn send_from(&self, card: [u8; 6], from: SocketAddrV4, to: SocketAddrV4, payload: Vec<u8>) -> Result<()> {
        self.link.send(&Datagram { from_mac: card, to_mac: BROADCAST_MAC, from, to, payload })
    }

    /// The next answer to this exchange of this card, wherever it is sent.
    pub fn next(&self, message: &Message, until: Instant) -> Result<Option<Seen>> {
        while let Some(envelope) = self.link.receive(until)? {
            let from_server = matches!(envelope.from.port(), 67 | 4011);
            if !from_server || envelope.payload.first() != Some(&2) || *envelope.from.ip() != BOX {
                continue;
            }
            let read = match envelope.payload.get(236..240) {
                Some([0, 0, 0, 0]) => without_cookie(&envelope.payload),
                _ => Message::decode(&envelope.payload)
                    .with_context(|| format!("read the answer {:x?}", envelope.payload)),
            }?;
            // Whoever requests hears no more offers (RFC 2131, figure 5): on a busy machine a DISCOVER was repeated, and
            // the answer to the repetition comes late.
            let late = message.message_type() == kind::REQUEST && read.message_type() == kind::OFFER;
            if read.xid == message.xid && read.mac == message.mac && !late {
                return Ok(Some(Seen { message: read, envelope }));
            }
        }
        Ok(None)
    }

    /// Sends until something comes back, as clients do.
    pub fn answer(&self, message: &Message) -> Result<Seen> {
        self.answer_to(message, message.encode())
    }

    pub fn answer_to(&self, message: &Message, bytes: Vec<u8>) -> Result<Seen> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            self.send_bytes(message, bytes.clone())?;
            if let Some(seen) = self.next(message, end.min(Instant::now() + Duration::from_secs(2)))? {
                return Ok(seen);
            }
        }
        bail!("no answer within {PATIENCE:?}")
    }

    pub fn offer(&self, machine: &Machine) -> Result<Seen> {
        self.answer(&self.discover(machine))?.of_kind(kind::OFFER)
    }

    /// DISCOVER and REQUEST; the ACK.
    pub fn lease(&self, machine: &Machine) -> Result<Seen> {
        let offer = self.offer(machine)?;
        self.answer(&self.select(machine, &offer))?.of_kind(kind::ACK)
    }

    /// The same through a relay.
    pub fn relayed(&self, machine: &Machine, relay: Ipv4Addr) -> Result<Seen> {
        let mut discover = self.discover(machine);
        discover.giaddr = relay;
        discover.hops = 1;
        self.answer(&discover)?.of_kind(kind::OFFER)
    }

    /// Nothing comes back: another machine that asks later has its answer first.
    pub fn silent(&self, message: &Message) -> Result<()> {
        self.silent_to(message, message.encode())
    }

    pub fn silent_to(&self, message: &Message, bytes: Vec<u8>) -> Result<()> {
        self.send_bytes(message, bytes)?;
        if self.bench.config == Config::Observe {
            // Nobody is answered there; a second is many times what an answer takes.
            let answer = self.next(message, Instant::now() + Duration::from_secs(1))?;
            ensure!(answer.is_none(), "answered: {answer:?}");
            return Ok(());
        }
        let second = match self.bench.subject {
            Subject::Ours => Ask::new(self.bench)?.offer(&self.machine(Kind::BiosPxe)),
            Subject::Dnsmasq => Ask::new(self.bench)?.answer(&self.discover(&self.machine(Kind::BiosPxe))),
        };
        second.context("the machine that asks for comparison")?;
        // What was to come has come.
        let answer = self.next(message, Instant::now() + Duration::from_millis(50))?;
        ensure!(answer.is_none(), "answered: {:?}", answer.map(|seen| seen.message));
        Ok(())
    }
}

/// A BOOTP answer of before the cookie: the header alone.
fn without_cookie(bytes: &[u8]) -> Result<Message> {
    let mut dressed = bytes.to_vec();
    let tail = [99, 130, 83, 99, 255];
    for (slot, byte) in dressed.iter_mut().skip(236).zip(tail) {
        *slot = byte;
    }
    Message::decode(&dressed)
}
