//! An answer under construction, and its bytes: options in our own order, all of them within what the client takes.

use super::{
    options::code,
    wire::{COOKIE, FILE, HEADER, MIN_REPLY, MessageKind, Request, SNAME},
};
use std::{net::Ipv4Addr, ops::Range};

/// The first of the flags, in the first of their two bytes (RFC 2131 2).
const BROADCAST: u8 = 0x80;
/// No option is longer (RFC 2132 2).
const LONGEST_VALUE: usize = 255;

/// One option of an answer.
#[derive(Debug, Clone)]
struct Entry {
    code: u8,
    /// Where its value lies among the values of all.
    value: Range<usize>,
    required: bool,
}

/// An answer under construction; [`encode`](Self::encode) puts it into bytes.
#[derive(Debug, Clone)]
pub struct Answer {
    pub yiaddr: Ipv4Addr,
    pub ciaddr: Ipv4Addr,
    /// Where the boot file lies; also `sname` and option 66.
    pub siaddr: Ipv4Addr,
    /// The broadcast flag is set whatever the client said.
    pub broadcast: bool,
    /// Boot file for the header and option 67.
    pub boot_file: Option<String>,
    /// Options 66 and `sname`: for TFTP boot files only.
    pub name_server: bool,
    options: Vec<Entry>,
    values: Vec<u8>,
}

impl Answer {
    /// An answer of `kind` with no other option.
    #[must_use]
    pub fn new(kind: MessageKind) -> Self {
        let mut answer = Answer {
            yiaddr: Ipv4Addr::UNSPECIFIED,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            broadcast: false,
            boot_file: None,
            name_server: false,
            options: Vec::with_capacity(24),
            values: Vec::with_capacity(256),
        };
        // Option 53 comes first, as every peer puts it.
        answer.put(code::MESSAGE_TYPE, [kind.number()]);
        answer
    }

    /// Adds an option that must be there; more than 255 bytes are left out.
    pub fn put(&mut self, code: u8, value: impl AsRef<[u8]>) -> &mut Self {
        self.push(code, value.as_ref(), true)
    }

    /// Adds an option that goes first when the client's limit is near; the later ones go before the earlier ones.
    pub fn offer(&mut self, code: u8, value: impl AsRef<[u8]>) -> &mut Self {
        self.push(code, value.as_ref(), false)
    }

    /// Adds an option in the place of all of its number.
    pub fn replace(&mut self, code: u8, value: impl AsRef<[u8]>) -> &mut Self {
        self.options.retain(|entry| entry.code != code);
        self.push(code, value.as_ref(), false)
    }

    fn push(&mut self, code: u8, value: &[u8], required: bool) -> &mut Self {
        if value.len() <= LONGEST_VALUE && !value.is_empty() {
            let from = self.values.len();
            self.values.extend_from_slice(value);
            self.options.push(Entry { code, value: from..self.values.len(), required });
        }
        self
    }

    /// The bytes to send for `request`: at least 300, at most what the client takes, all padding after END.
    ///
    /// Option 67 is the last one before END, since EDK2 writes a NUL behind its value; option 82 follows it, as the
    /// last option (RFC 3046 2.2). `None` if not even the required options fit.
    #[must_use]
    pub fn encode(&self, request: &Request) -> Option<Vec<u8>> {
        let bootp = request.kind == MessageKind::Bootp;
        let dotted = if self.names_server() { self.siaddr.to_string() } else { String::new() };
        // To a BOOTP client the header says it; its 64 bytes are for the network.
        let file = self.boot_file.as_deref().filter(|_| !bootp);
        let server = Some(dotted.as_str()).filter(|_| file.is_some() && self.name_server);
        let names = [(code::TFTP_NAME, server), (code::BOOT_FILE, file)];
        let names = names.into_iter().filter_map(|(code, name)| Some((code, name?.as_bytes())));
        // One that came in parts leaves in parts (RFC 3396 6).
        let relay = request.relay.iter().flat_map(|relay| relay.chunks(LONGEST_VALUE)).map(|part| (code::RELAY, part));
        let last = names.chain(relay).map(|(code, value)| (code, value, true));
        let own = self.options.iter().filter_map(|Entry { code, value, required }| {
            // The message type is what makes an answer a DHCP one (RFC 1534 2).
            let spoken = !(bootp && *code == code::MESSAGE_TYPE);
            spoken.then_some((*code, self.values.get(value.clone())?, *required))
        });
        let mut room = request.max_payload.checked_sub(HEADER + 1)?;
        for (_, value, _) in own.clone().chain(last.clone()).filter(|(.., required)| *required) {
            room = room.checked_sub(value.len() + 2)?;
        }
        let mut bytes = self.header(request, &dotted);
        if !request.cookie {
            bytes.resize(MIN_REPLY, 0);
            return Some(bytes);
        }
        bytes.extend(COOKIE);
        for (code, value, required) in own.chain(last) {
            if !required {
                let Some(left) = room.checked_sub(value.len() + 2) else { continue };
                room = left;
            }
            bytes.push(code);
            bytes.push(u8::try_from(value.len()).ok()?);
            bytes.extend_from_slice(value);
        }
        bytes.push(255);
        if bytes.len() < MIN_REPLY {
            bytes.resize(MIN_REPLY, 0);
        }
        Some(bytes)
    }

    /// Whether the server of the boot file is named by its address as text.
    fn names_server(&self) -> bool {
        self.name_server && self.boot_file.is_some()
    }

    /// The header without the cookie (RFC 2131 table 3): what the table does not say stays as the client sent it.
    fn header(&self, request: &Request, dotted: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(2 * MIN_REPLY);
        bytes.extend_from_slice(&request.header);
        let mut write = |at: Range<usize>, value: &[u8]| {
            let field = bytes.get_mut(at).unwrap_or_default();
            let (start, rest) = field.split_at_mut(value.len().min(field.len()));
            start.iter_mut().zip(value).for_each(|(to, from)| *to = *from);
            rest.fill(0);
        };
        // BOOTREPLY, Ethernet, six bytes of address.
        write(0..4, &[2, 1, 6, 0]);
        // Seconds.
        write(8..10, &[]);
        if self.broadcast {
            write(10..11, &[request.header.get(10).map_or(BROADCAST, |flags| flags | BROADCAST)]);
        }
        write(12..16, &self.ciaddr.octets());
        write(16..20, &self.yiaddr.octets());
        write(20..24, &self.siaddr.octets());
        write(28..44, &request.mac.0);
        write(SNAME, dotted.as_bytes());
        // One byte stays for the NUL.
        let file = self.boot_file.as_deref().filter(|file| file.len() < FILE.len()).unwrap_or_default();
        write(FILE, file.as_bytes());
        bytes
    }
}
