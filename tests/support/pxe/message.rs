//! A DHCP message (RFC 2131 section 2) to bytes and back; reading is strict, since it judges a server.

use anyhow::{Context, Result, bail, ensure};
use std::net::Ipv4Addr;

/// Option codes by what they carry.
pub mod option {
    #![allow(missing_docs, reason = "the names are IANA's")]
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DNS: u8 = 6;
    pub const HOST_NAME: u8 = 12;
    pub const VENDOR_SPECIFIC: u8 = 43;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_ID: u8 = 54;
    pub const PARAMETERS: u8 = 55;
    pub const MAX_SIZE: u8 = 57;
    pub const VENDOR_CLASS: u8 = 60;
    pub const CLIENT_ID: u8 = 61;
    pub const TFTP_SERVER: u8 = 66;
    pub const BOOT_FILE: u8 = 67;
    pub const USER_CLASS: u8 = 77;
    pub const RELAY: u8 = 82;
    pub const ARCHITECTURE: u8 = 93;
    pub const INTERFACE: u8 = 94;
    pub const MACHINE_ID: u8 = 97;
    pub const IPXE: u8 = 175;
}

/// Message types (option 53).
pub mod kind {
    #![allow(missing_docs, reason = "the names are RFC 2131's")]
    pub const DISCOVER: u8 = 1;
    pub const OFFER: u8 = 2;
    pub const REQUEST: u8 = 3;
    pub const DECLINE: u8 = 4;
    pub const ACK: u8 = 5;
    pub const NAK: u8 = 6;
    pub const RELEASE: u8 = 7;
    pub const INFORM: u8 = 8;
}

const COOKIE: [u8; 4] = [99, 130, 83, 99];
const HEADER: usize = 236;

/// One message, as sent or as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// 1 from a client, 2 from a server.
    pub op: u8,
    /// Relay agents passed.
    pub hops: u8,
    /// The exchange's number.
    pub xid: u32,
    /// Seconds that the client tries.
    pub secs: u16,
    /// Whether the client cannot take unicast yet.
    pub broadcast: bool,
    /// The client's own address, when it has one that it uses.
    pub ciaddr: Ipv4Addr,
    /// The address given.
    pub yiaddr: Ipv4Addr,
    /// The next server.
    pub siaddr: Ipv4Addr,
    /// The relay agent.
    pub giaddr: Ipv4Addr,
    /// The client's card.
    pub mac: [u8; 6],
    /// The server name field, up to its first NUL.
    pub sname: Vec<u8>,
    /// The boot file field, up to its first NUL.
    pub file: Vec<u8>,
    /// Options in the order on the wire; long ones joined (RFC 3396).
    pub options: Vec<(u8, Vec<u8>)>,
    /// Bytes of the whole message on the wire; 0 for one not yet sent.
    pub length: usize,
}

impl Message {
    /// A client's message without options.
    #[must_use]
    pub fn from_client(mac: [u8; 6], xid: u32) -> Self {
        Self {
            op: 1,
            hops: 0,
            xid,
            secs: 0,
            broadcast: false,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: Ipv4Addr::UNSPECIFIED,
            mac,
            sname: Vec::new(),
            file: Vec::new(),
            options: Vec::new(),
            length: 0,
        }
    }

    /// The first option of this code.
    #[must_use]
    pub fn get(&self, code: u8) -> Option<&[u8]> {
        self.options.iter().find(|(known, _)| *known == code).map(|(_, value)| value.as_slice())
    }

    /// Replaces or appends an option.
    pub fn set(&mut self, code: u8, value: &[u8]) {
        match self.options.iter_mut().find(|(known, _)| *known == code) {
            Some((_, old)) => *old = value.to_vec(),
            None => self.options.push((code, value.to_vec())),
        }
    }

    /// Takes an option away.
    pub fn remove(&mut self, code: u8) {
        self.options.retain(|(known, _)| *known != code);
    }

    /// Option 53; 0 when it is missing.
    #[must_use]
    pub fn message_type(&self) -> u8 {
        self.get(option::MESSAGE_TYPE).and_then(|value| value.first().copied()).unwrap_or(0)
    }

    /// An option that is one address or a list; the first.
    #[must_use]
    pub fn address(&self, code: u8) -> Option<Ipv4Addr> {
        let bytes: [u8; 4] = self.get(code)?.get(..4)?.try_into().ok()?;
        Some(Ipv4Addr::from(bytes))
    }

    /// An option of four bytes as a number.
    #[must_use]
    pub fn number(&self, code: u8) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(code)?.try_into().ok()?))
    }

    /// An option as text, a trailing NUL removed.
    #[must_use]
    pub fn text(&self, code: u8) -> Option<String> {
        let value = self.get(code)?;
        let value = value.strip_suffix(&[0]).unwrap_or(value);
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// The boot file: option 67, else the header field.
    #[must_use]
    pub fn boot_file(&self) -> Option<String> {
        let header = || (!self.file.is_empty()).then(|| String::from_utf8_lossy(&self.file).into_owned());
        self.text(option::BOOT_FILE).filter(|text| !text.is_empty()).or_else(header)
    }

    /// The bytes on the wire, at least 300 as BOOTP had.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.op, 1, 6, self.hops];
        bytes.extend(self.xid.to_be_bytes());
        bytes.extend(self.secs.to_be_bytes());
        bytes.extend(if self.broadcast { [0x80, 0] } else { [0, 0] });
        for address in [self.ciaddr, self.yiaddr, self.siaddr, self.giaddr] {
            bytes.extend(address.octets());
        }
        bytes.extend(self.mac);
        bytes.resize(44, 0);
        bytes.extend(self.sname.iter().take(63));
        bytes.resize(108, 0);
        bytes.extend(self.file.iter().take(127));
        bytes.resize(HEADER, 0);
        bytes.extend(COOKIE);
        for (code, value) in &self.options {
            if value.is_empty() {
                bytes.extend([*code, 0]);
            }
            for part in value.chunks(255) {
                bytes.push(*code);
                bytes.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
                bytes.extend(part);
            }
        }
        bytes.push(255);
        bytes.resize(bytes.len().max(300), 0);
        bytes
    }

    /// Reads a message.
    ///
    /// # Errors
    /// When it is cut, no BOOTP over Ethernet, or an option runs over the end; a missing END is an error too.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let header = bytes.get(..HEADER).context("shorter than the BOOTP header")?;
        let field = |from: usize, to: usize| header.get(from..to).unwrap_or_default();
        let byte = |at: usize| header.get(at).copied().unwrap_or_default();
        let address = |at: usize| Ipv4Addr::new(byte(at), byte(at + 1), byte(at + 2), byte(at + 3));
        ensure!(byte(1) == 1 && byte(2) == 6, "hardware type {} length {} is not Ethernet", byte(1), byte(2));
        ensure!(bytes.get(HEADER..HEADER + 4) == Some(&COOKIE), "no DHCP magic cookie");
        let text =
            |from: usize, to: usize| field(from, to).split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        let options = bytes.get(HEADER + 4..).unwrap_or_default();
        Ok(Self {
            op: byte(0),
            hops: byte(3),
            xid: u32::from_be_bytes([byte(4), byte(5), byte(6), byte(7)]),
            secs: u16::from_be_bytes([byte(8), byte(9)]),
            broadcast: byte(10) & 0x80 != 0,
            ciaddr: address(12),
            yiaddr: address(16),
            siaddr: address(20),
            giaddr: address(24),
            mac: field(28, 34).try_into().unwrap_or_default(),
            sname: text(44, 108),
            file: text(108, HEADER),
            options: decode_options(options)?,
            length: bytes.len(),
        })
    }
}

fn decode_options(mut rest: &[u8]) -> Result<Vec<(u8, Vec<u8>)>> {
    let mut options: Vec<(u8, Vec<u8>)> = Vec::new();
    loop {
        match rest {
            [255, ..] => return Ok(options),
            [0, after @ ..] => rest = after,
            [code, length, after @ ..] if after.len() >= usize::from(*length) => {
                let (value, after) = after.split_at(usize::from(*length));
                match options.iter_mut().find(|(known, _)| known == code) {
                    Some((_, old)) => old.extend(value),
                    None => options.push((*code, value.to_vec())),
                }
                rest = after;
            }
            [code, ..] => bail!("option {code} runs over the end of the message"),
            [] => bail!("the options have no END"),
        }
    }
}
