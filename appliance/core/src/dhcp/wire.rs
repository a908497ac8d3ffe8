//! Bytes to [`Request`]. The only file that knows dhcproto.
//!
//! dhcproto reads the fixed header; it is handed no options but END, since decoding some of them panics a debug build and
//! loses others silently. Options are scanned in [`options`](super::options), answers are written in [`answer`](super::answer).

use super::{
    client::{ClientArch, IpxeFeatures},
    options::{Options, code, sub_options, user_classes},
};
use crate::{
    host::{MacAddr, SmbiosUuid},
    text::CleanText,
};
use dhcproto::{
    Decodable, Decoder,
    v4::{Message, Opcode},
};
use std::net::{Ipv4Addr, SocketAddrV4};

/// The fixed header and the magic cookie (RFC 2131 2).
pub(super) const HEADER: usize = 240;
/// Where `sname`, `file` and the cookie lie in it.
pub(super) const SNAME: std::ops::Range<usize> = 44..108;
pub(super) const FILE: std::ops::Range<usize> = 108..236;
pub(super) const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// No DHCP message over Ethernet is longer.
const LONGEST: usize = 1500;
/// IPv4 and UDP headers, which option 57 counts in.
const IP_UDP: usize = 28;
/// Every client takes a datagram of 576 bytes (RFC 2131 2).
const LEAST_MAX: u16 = 576;
/// Some BOOTP relays and ROMs drop anything shorter (RFC 1542 2.1).
pub(super) const MIN_REPLY: usize = 300;

/// Which of our ports a packet came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// 67.
    Dhcp,
    /// 4011: a PXE client that asks for its boot file (PXE 2.1 2.2.5).
    BootServer,
}

/// No BOOTP answer is longer than what BOOTP had: 64 bytes for options (RFC 1534 2, RFC 951 3).
const BOOTP: usize = 300;

/// DHCP message types (RFC 2132 9.6) a client or a server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    Discover,
    Offer,
    Request,
    Decline,
    Ack,
    Nak,
    Release,
    Inform,
    /// No DHCP at all: a BOOTP client sends no option 53 (RFC 951, RFC 1534).
    Bootp,
}

impl MessageKind {
    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Discover,
            2 => Self::Offer,
            3 => Self::Request,
            4 => Self::Decline,
            5 => Self::Ack,
            6 => Self::Nak,
            7 => Self::Release,
            8 => Self::Inform,
            _ => return None,
        })
    }

    pub(super) fn number(self) -> u8 {
        match self {
            Self::Discover => 1,
            Self::Offer => 2,
            Self::Request => 3,
            Self::Decline => 4,
            Self::Ack => 5,
            Self::Nak => 6,
            Self::Release => 7,
            Self::Inform => 8,
            Self::Bootp => 0,
        }
    }
}

/// Why a packet is answered with silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("{0} bytes are no DHCP packet: 240 to 1500 are")]
    Size(usize),
    #[error("no DHCP magic cookie")]
    Cookie,
    #[error("neither a request nor a reply: op {0}")]
    Opcode(u8),
    #[error("hardware type {htype} with addresses of {hlen} bytes is not Ethernet")]
    Hardware { htype: u8, hlen: u8 },
    #[error("hardware address {0} belongs to no single machine")]
    GroupAddress(MacAddr),
    #[error("no DHCP message type")]
    MessageType,
    #[error("the header cannot be read")]
    Header,
}

/// A client's packet, decoded once; what is malformed inside it counts as absent.
#[derive(Debug, Clone)]
pub struct Request {
    pub port: Port,
    /// The sender of the datagram.
    pub from: SocketAddrV4,
    pub kind: MessageKind,
    pub xid: u32,
    /// Seconds since the client began, as it says.
    pub secs: u16,
    pub broadcast: bool,
    pub ciaddr: Ipv4Addr,
    pub giaddr: Ipv4Addr,
    pub mac: MacAddr,
    /// Option 61, verbatim.
    pub client_id: Option<Vec<u8>>,
    /// Option 50.
    pub requested: Option<Ipv4Addr>,
    /// Option 54.
    pub server_id: Option<Ipv4Addr>,
    /// Option 51: how long the client would like the address, in seconds.
    pub lease_time: Option<u32>,
    /// Option 60, verbatim.
    pub vendor_class: Option<Vec<u8>>,
    /// Option 77, in either form.
    pub user_classes: Vec<Vec<u8>>,
    /// Option 93: several are allowed (RFC 4578 2.1).
    pub archs: Vec<ClientArch>,
    /// Option 97 if it is valid: 17 bytes, the first 0 (RFC 4578 2.3).
    pub machine_id: Option<[u8; 17]>,
    /// Option 175: the client is iPXE, with these features.
    pub ipxe: Option<IpxeFeatures>,
    /// Option 55.
    pub parameters: Vec<u8>,
    /// Option 43, verbatim.
    pub vendor_options: Option<Vec<u8>>,
    /// Option 82, verbatim.
    pub relay: Option<Vec<u8>>,
    /// The subnet asked for: 82.5 (RFC 3527), else 118 (RFC 3011).
    pub subnet: Option<Ipv4Addr>,
    /// Option 118, to be sent back.
    pub subnet_selection: Option<Ipv4Addr>,
    /// 82.11: the relay wants to stand as the server towards its client (RFC 5107).
    pub server_override: Option<Ipv4Addr>,
    /// The server that a BOOTP client names in `sname`; empty for any.
    pub server_name: Vec<u8>,
    /// Option 12.
    pub host_name: Option<CleanText>,
    /// Largest DHCP message the client takes, in bytes of UDP payload.
    pub max_payload: usize,
    /// Whether it has a cookie, and so reads options; old BOOTP clients do not.
    pub(super) cookie: bool,
    /// The header as it came, for the answer.
    pub(super) header: Header,
}

/// The fixed header without the cookie.
pub(super) type Header = [u8; HEADER - COOKIE.len()];

/// A server's answer seen on the wire: evidence that somebody else serves here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenReply {
    pub kind: MessageKind,
    pub xid: u32,
    pub mac: MacAddr,
    pub yiaddr: Ipv4Addr,
    /// Option 54, else the datagram's sender.
    pub server: Ipv4Addr,
    /// Names a boot server: vendor class `PXEClient` or `HTTPClient`, or a boot file.
    pub boots: bool,
    /// Seconds; option 51.
    pub lease: Option<u32>,
    pub mask: Option<Ipv4Addr>,
    pub router: Option<Ipv4Addr>,
    pub dns: Vec<Ipv4Addr>,
    /// Time servers; option 42.
    pub ntp: Vec<Ipv4Addr>,
}

/// Either side of the protocol.
#[derive(Debug, Clone)]
pub enum Packet {
    Request(Box<Request>),
    Reply(SeenReply),
}

/// Decodes one datagram; never panics, whatever the bytes.
///
/// # Errors
/// [`Malformed`]; the answer to it is silence.
pub fn decode(bytes: &[u8], port: Port, from: SocketAddrV4) -> Result<Packet, Malformed> {
    let size = Malformed::Size(bytes.len());
    if bytes.len() > LONGEST {
        return Err(size);
    }
    let (header_bytes, field) = bytes.split_at_checked(HEADER).ok_or(size)?;
    let cookie = header_bytes.ends_with(&COOKIE);
    // RFC 951 knows no cookie: there the field is empty, or a vendor's own.
    if !cookie && (header_bytes.first() != Some(&1) || !header_bytes.ends_with(&[0; 4])) {
        return Err(Malformed::Cookie);
    }
    let field = if cookie { field } else { &[] };
    let (htype, hlen) = match header_bytes {
        // Some ROMs leave hlen 0 in packets to port 4011; the six bytes are there.
        [_, 1, 6 | 0, ..] => (1, 6),
        [_, htype, hlen, ..] => (*htype, *hlen),
        _ => return Err(size),
    };
    if (htype, hlen) != (1, 6) {
        return Err(Malformed::Hardware { htype, hlen });
    }
    let raw: Header = *header_bytes.first_chunk().ok_or(size)?;
    let header = bare(&raw).map_err(|_| Malformed::Header)?;
    let mac = MacAddr(header_bytes.get(28..34).and_then(|raw| raw.try_into().ok()).ok_or(size)?);
    let file = header_bytes.get(FILE).unwrap_or_default();
    let sname = header_bytes.get(SNAME).unwrap_or_default();
    let options = Options::scan(field, file, sname);
    let bootp = header_bytes.first() == Some(&1) && port == Port::Dhcp;
    let kind = match options.first(code::MESSAGE_TYPE) {
        None if bootp => MessageKind::Bootp,
        number => number.and_then(MessageKind::from_number).ok_or(Malformed::MessageType)?,
    };
    match header.opcode() {
        Opcode::BootRequest if !mac.is_station() => Err(Malformed::GroupAddress(mac)),
        Opcode::BootRequest => {
            let mut request = request(&header, raw, &options, port, from, kind, mac);
            if kind == MessageKind::Bootp {
                let own = options.number16(code::MAX_SIZE).map(|limit| usize::from(limit).saturating_sub(IP_UDP));
                request.max_payload = own.unwrap_or(bytes.len()).clamp(BOOTP, LONGEST - IP_UDP);
                request.server_name = sname.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
                request.cookie = cookie;
            }
            Ok(Packet::Request(Box::new(request)))
        }
        Opcode::BootReply => {
            let overloaded = options.first(code::OVERLOAD).is_some_and(|fields| fields & 1 != 0);
            Ok(Packet::Reply(SeenReply {
                kind,
                xid: header.xid(),
                mac,
                yiaddr: header.yiaddr(),
                server: options.address(code::SERVER_ID).unwrap_or(*from.ip()),
                boots: options
                    .get(code::VENDOR_CLASS)
                    .is_some_and(|class| class.starts_with(b"PXEClient") || class.starts_with(b"HTTPClient"))
                    || options.get(code::BOOT_FILE).is_some_and(|name| name.iter().any(|byte| *byte != 0))
                    || (!overloaded && file.first().is_some_and(|byte| *byte != 0)),
                lease: options.get(code::LEASE_TIME).and_then(|raw| raw.try_into().ok()).map(u32::from_be_bytes),
                mask: options.address(code::SUBNET_MASK),
                router: options.get(code::ROUTER).and_then(|raw| addresses(raw).next()),
                dns: options.get(code::DNS).map(|raw| addresses(raw).take(3).collect()).unwrap_or_default(),
                ntp: options.get(code::NTP).map(|raw| addresses(raw).take(4).collect()).unwrap_or_default(),
            }))
        }
        Opcode::Unknown(op) => Err(Malformed::Opcode(op)),
    }
}

/// The header alone, with END as its only option.
fn bare(header: &Header) -> dhcproto::error::DecodeResult<Message> {
    let mut bytes = [0; HEADER + 1];
    let parts = header.iter().chain(&COOKIE).chain(&[255]);
    bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
    Message::decode(&mut Decoder::new(&bytes))
}

fn request(
    header: &Message,
    raw: Header,
    options: &Options<'_>,
    port: Port,
    from: SocketAddrV4,
    kind: MessageKind,
    mac: MacAddr,
) -> Request {
    let owned = |code| options.get(code).map(<[u8]>::to_vec);
    let limit = options.number16(code::MAX_SIZE).unwrap_or(LEAST_MAX).max(LEAST_MAX);
    let relay = |wanted: u8| {
        let found = options.get(code::RELAY).and_then(|raw| sub_options(raw).find(|(sub, _)| *sub == wanted));
        found.and_then(|(_, value)| <[u8; 4]>::try_from(value).ok()).map(Ipv4Addr::from)
    };
    let subnet_selection = options.address(code::SUBNET_SELECT);
    Request {
        port,
        from,
        kind,
        xid: header.xid(),
        secs: header.secs(),
        broadcast: header.flags().broadcast(),
        ciaddr: header.ciaddr(),
        giaddr: header.giaddr(),
        mac,
        client_id: owned(code::CLIENT_ID).filter(|id| !id.is_empty()),
        requested: options.address(code::REQUESTED),
        server_id: options.address(code::SERVER_ID),
        lease_time: options.get(code::LEASE_TIME).and_then(|raw| raw.try_into().ok()).map(u32::from_be_bytes),
        vendor_class: owned(code::VENDOR_CLASS),
        user_classes: options.get(code::USER_CLASS).map(user_classes).unwrap_or_default(),
        archs: options
            .get(code::ARCH)
            .unwrap_or_default()
            .chunks_exact(2)
            .filter_map(|pair| pair.try_into().ok())
            .map(|pair| ClientArch(u16::from_be_bytes(pair)))
            .collect(),
        machine_id: options
            .get(code::MACHINE_ID)
            .and_then(|raw| <[u8; 17]>::try_from(raw).ok())
            .filter(|raw| raw.first() == Some(&0)),
        ipxe: options.get(code::IPXE).map(IpxeFeatures::read),
        parameters: owned(code::PARAMETERS).unwrap_or_default(),
        vendor_options: owned(code::VENDOR),
        relay: owned(code::RELAY),
        subnet: relay(5).or(subnet_selection),
        subnet_selection,
        server_override: relay(11).filter(|address| !address.is_unspecified() && !header.giaddr().is_unspecified()),
        server_name: Vec::new(),
        host_name: options.get(code::HOST_NAME).map(CleanText::from_bytes).filter(|name| !name.is_empty()),
        max_payload: usize::from(limit).min(LONGEST) - IP_UDP,
        cookie: true,
        header: raw,
    }
}

fn addresses(raw: &[u8]) -> impl Iterator<Item = Ipv4Addr> + '_ {
    raw.chunks_exact(4).filter_map(|quad| <[u8; 4]>::try_from(quad).ok()).map(Ipv4Addr::from)
}

impl Request {
    /// The SMBIOS UUID in option 97, in the byte order people read; `None` if it identifies no machine.
    ///
    /// The option carries the table's bytes: the first three fields little-endian (SMBIOS 2.6 7.2.1).
    #[must_use]
    pub fn uuid(&self) -> Option<SmbiosUuid> {
        let [_, a, b, c, d, e, f, g, h, rest @ ..] = self.machine_id?;
        let [i, j, k, l, m, n, o, p] = rest;
        SmbiosUuid::from_bytes([d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p])
    }

    /// Whether the client listed the option in 55, or sent no list at all.
    #[must_use]
    pub fn wants(&self, code: u8) -> bool {
        self.parameters.is_empty() || self.parameters.contains(&code)
    }
}
