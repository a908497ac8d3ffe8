//! The wire format: the five packets of RFC 1350 and the option acknowledgement of RFC 2347.
//!
//! [`Packet::decode`] takes whatever arrived and never panics; [`Packet::encode`] writes what [`Packet::decode`] reads.

use std::borrow::Cow;
use thiserror::Error;

/// The error code of an ERROR packet (RFC 1350 appendix, RFC 2347 for code 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u16);

impl ErrorCode {
    /// Not defined: see the message.
    pub const UNDEFINED: Self = Self(0);
    /// File not found.
    pub const NOT_FOUND: Self = Self(1);
    /// Access violation.
    pub const ACCESS_VIOLATION: Self = Self(2);
    /// Illegal TFTP operation.
    pub const ILLEGAL_OPERATION: Self = Self(4);
    /// Unknown transfer ID, that is a packet from a port that has no part in this transfer.
    pub const UNKNOWN_TID: Self = Self(5);
    /// The peer ends the transfer because of an option, or because it only wanted to know the size.
    pub const OPTION_REFUSED: Self = Self(8);
}

/// The transfer mode of a request (RFC 1350 section 1), matched without regard to case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Bytes as they are.
    Octet,
    /// Text with CR LF line ends and CR NUL for a lone CR.
    Netascii,
    /// Obsolete; only recognised in order to be refused.
    Mail,
}

impl Mode {
    fn parse(text: &[u8]) -> Option<Self> {
        [Self::Octet, Self::Netascii, Self::Mail]
            .into_iter()
            .find(|mode| text.eq_ignore_ascii_case(mode.as_str().as_bytes()))
    }

    /// The name of the mode on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Octet => "octet",
            Self::Netascii => "netascii",
            Self::Mail => "mail",
        }
    }
}

/// One option of a request or of an OACK, name and value as they stand on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RawOption {
    /// The name in the sender's spelling; compare it without regard to case (RFC 2347).
    pub name: String,
    /// The value, mostly a decimal number.
    pub value: String,
}

/// A request to read a file.
///
/// Bytes that are not UTF-8 become U+FFFD, so such a name matches no file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReadRequest {
    /// The name the client asked for, untrusted and not normalised: see [`crate::path::normalize`].
    pub filename: String,
    /// How the bytes are to be carried.
    pub mode: Mode,
    /// All options in the order asked, known or not.
    pub options: Vec<RawOption>,
}

impl ReadRequest {
    /// A request in octet mode without options.
    pub fn octet(filename: impl Into<String>) -> Self {
        Self { filename: filename.into(), mode: Mode::Octet, options: Vec::new() }
    }

    /// Adds an option.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.options.push(RawOption { name: name.to_owned(), value: value.to_string() });
        self
    }

    /// The first option of this name; RFC 2347 allows each name once only.
    pub fn option(&self, name: &str) -> Option<&RawOption> {
        self.options.iter().find(|option| option.name.eq_ignore_ascii_case(name))
    }
}

/// A TFTP packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    /// RRQ, opcode 1.
    Read(ReadRequest),
    /// WRQ, opcode 2; the fields have the same shape as those of a read request.
    Write(ReadRequest),
    /// DATA, opcode 3.
    Data {
        /// The block number on the wire.
        block: u16,
        /// Up to blksize bytes; fewer end the transfer.
        data: Cow<'a, [u8]>,
    },
    /// ACK, opcode 4, of this block number on the wire.
    Ack(u16),
    /// ERROR, opcode 5.
    Error {
        /// What kind of error it is.
        code: ErrorCode,
        /// Text for a person.
        message: String,
    },
    /// OACK, opcode 6 (RFC 2347).
    Oack(Vec<RawOption>),
}

/// Why a datagram is no TFTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// It ends inside a fixed field.
    #[error("datagram of {0} bytes is too short for a TFTP packet")]
    TooShort(usize),
    /// The opcode is none of 1 to 6.
    #[error("unknown TFTP opcode {0}")]
    UnknownOpcode(u16),
    /// The file name or the mode of a request has no terminating NUL.
    #[error("unterminated text in a TFTP request")]
    Unterminated,
    /// The mode is none of `octet`, `netascii`, `mail`.
    #[error("unknown TFTP mode")]
    UnknownMode,
}

const RRQ: u16 = 1;
const WRQ: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OACK: u16 = 6;

impl<'a> Packet<'a> {
    /// Reads one datagram.
    ///
    /// # Errors
    /// [`Malformed`] if it is no TFTP packet. An option list that breaks off loses its last, unfinished option only,
    /// because some boot ROMs cut it there.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let too_short = Malformed::TooShort(datagram.len());
        let (opcode, rest) = split_u16(datagram).ok_or(too_short)?;
        match opcode {
            RRQ => decode_request(rest).map(Self::Read),
            WRQ => decode_request(rest).map(Self::Write),
            DATA => {
                let (block, data) = split_u16(rest).ok_or(too_short)?;
                let data = Cow::Borrowed(data);
                Ok(Self::Data { block, data })
            }
            ACK => {
                let (block, _) = split_u16(rest).ok_or(too_short)?;
                Ok(Self::Ack(block))
            }
            ERROR => {
                let (code, rest) = split_u16(rest).ok_or(too_short)?;
                // Clients exist that leave the message unterminated or out.
                let text = split_text(rest).map_or(rest, |(text, _)| text);
                Ok(Self::Error { code: ErrorCode(code), message: lossy(text) })
            }
            OACK => Ok(Self::Oack(decode_options(rest))),
            other => Err(Malformed::UnknownOpcode(other)),
        }
    }

    /// Writes the packet. Text is cut at its first NUL, which the wire cannot carry.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        match self {
            Self::Read(request) => encode_request(&mut out, RRQ, request),
            Self::Write(request) => encode_request(&mut out, WRQ, request),
            Self::Data { block, data } => {
                out.extend_from_slice(&data_header(*block));
                out.extend_from_slice(data);
            }
            Self::Ack(block) => {
                put_u16(&mut out, ACK);
                put_u16(&mut out, *block);
            }
            Self::Error { code, message } => {
                put_u16(&mut out, ERROR);
                put_u16(&mut out, code.0);
                put_text(&mut out, message);
            }
            Self::Oack(options) => {
                put_u16(&mut out, OACK);
                put_options(&mut out, options);
            }
        }
        out
    }

    /// An ERROR packet.
    pub fn error(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Error { code, message: message.into() }
    }
}

/// The four bytes in front of the data of block `block`.
pub fn data_header(block: u16) -> [u8; 4] {
    let [op_high, op_low] = DATA.to_be_bytes();
    let [high, low] = block.to_be_bytes();
    [op_high, op_low, high, low]
}

fn decode_request(body: &[u8]) -> Result<ReadRequest, Malformed> {
    let (filename, rest) = split_text(body).ok_or(Malformed::Unterminated)?;
    let (mode, rest) = split_text(rest).ok_or(Malformed::Unterminated)?;
    Ok(ReadRequest {
        filename: lossy(filename),
        mode: Mode::parse(mode).ok_or(Malformed::UnknownMode)?,
        options: decode_options(rest),
    })
}

fn decode_options(mut rest: &[u8]) -> Vec<RawOption> {
    let mut options = Vec::new();
    while let Some((name, after_name)) = split_text(rest) {
        let Some((value, after_value)) = split_text(after_name) else {
            break;
        };
        options.push(RawOption { name: lossy(name), value: lossy(value) });
        rest = after_value;
    }
    options
}

fn encode_request(out: &mut Vec<u8>, opcode: u16, request: &ReadRequest) {
    put_u16(out, opcode);
    put_text(out, &request.filename);
    put_text(out, request.mode.as_str());
    put_options(out, &request.options);
}

fn put_options(out: &mut Vec<u8>, options: &[RawOption]) {
    for option in options {
        put_text(out, &option.name);
        put_text(out, &option.value);
    }
}

fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.bytes().take_while(|byte| *byte != 0));
    out.push(0);
}

fn split_u16(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*head), rest))
}

fn split_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let (text, rest) = bytes.split_at_checked(end)?;
    Some((text, rest.get(1..)?))
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_reads_as_rfc_1350_draws_it() {
        let bytes = b"\x00\x01pxelinux.0\0OcTeT\0BlkSize\x001408\0tsize\x000\0";
        let Ok(Packet::Read(request)) = Packet::decode(bytes) else { panic!("not a read request") };
        assert_eq!(request.filename, "pxelinux.0");
        assert_eq!(request.mode, Mode::Octet);
        assert_eq!(request.option("blksize").unwrap().value, "1408");
        assert_eq!(request.option("TSIZE").unwrap().value, "0");
        assert_eq!(request.option("windowsize"), None);
    }

    #[test]
    fn an_option_list_that_breaks_off_keeps_its_whole_options() {
        let bytes = b"\x00\x01a\0octet\0tsize\x000\0blksize\x00140";
        let Ok(Packet::Read(request)) = Packet::decode(bytes) else { panic!("not a read request") };
        assert_eq!(request.options.len(), 1);
    }

    #[test]
    fn an_error_needs_no_terminated_message() {
        for (bytes, text) in [(&b"\0\x05\0\x08"[..], ""), (b"\0\x05\0\x08no", "no")] {
            assert_eq!(Packet::decode(bytes), Ok(Packet::error(ErrorCode::OPTION_REFUSED, text)));
        }
    }

    #[test]
    fn what_is_no_packet_is_named() {
        assert_eq!(Packet::decode(b""), Err(Malformed::TooShort(0)));
        assert_eq!(Packet::decode(b"\0\x04\0"), Err(Malformed::TooShort(3)));
        assert_eq!(Packet::decode(b"\0\x09aa"), Err(Malformed::UnknownOpcode(9)));
        assert_eq!(Packet::decode(b"\0\x01file"), Err(Malformed::Unterminated));
        assert_eq!(Packet::decode(b"\0\x01file\0octet"), Err(Malformed::Unterminated));
        assert_eq!(Packet::decode(b"\0\x01file\0binary\0"), Err(Malformed::UnknownMode));
    }

    #[test]
    fn packets_have_these_bytes() {
        assert_eq!(Packet::Data { block: 258, data: Cow::Borrowed(b"xy") }.encode(), b"\0\x03\x01\x02xy");
        assert_eq!(Packet::Ack(65535).encode(), b"\0\x04\xff\xff");
        assert_eq!(Packet::error(ErrorCode::NOT_FOUND, "no\0such").encode(), b"\0\x05\0\x01no\0");
        let oack = ReadRequest::octet("").with("tsize", 7).options;
        assert_eq!(Packet::Oack(oack).encode(), b"\0\x06tsize\x007\0");
    }

    fn text() -> impl Strategy<Value = String> {
        "[^\\x00]{0,40}"
    }

    fn request() -> impl Strategy<Value = ReadRequest> {
        let mode = prop_oneof![Just(Mode::Octet), Just(Mode::Netascii), Just(Mode::Mail)];
        (text(), mode, options()).prop_map(|(filename, mode, options)| ReadRequest { filename, mode, options })
    }

    fn options() -> impl Strategy<Value = Vec<RawOption>> {
        prop::collection::vec((text(), text()).prop_map(|(name, value)| RawOption { name, value }), 0..6)
    }

    fn packet() -> impl Strategy<Value = Packet<'static>> {
        prop_oneof![
            request().prop_map(Packet::Read),
            request().prop_map(Packet::Write),
            (any::<u16>(), prop::collection::vec(any::<u8>(), 0..600))
                .prop_map(|(block, data)| Packet::Data { block, data: Cow::Owned(data) }),
            any::<u16>().prop_map(Packet::Ack),
            (any::<u16>(), text()).prop_map(|(code, message)| Packet::error(ErrorCode(code), message)),
            options().prop_map(Packet::Oack),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_packet_reads_back_as_written(packet in packet()) {
            let bytes = packet.encode();
            prop_assert_eq!(Packet::decode(&bytes), Ok(packet));
        }

        #[test]
        fn no_datagram_panics_and_what_reads_writes_the_same_again(
            opcode in 0u8..8, tail in prop::collection::vec(any::<u8>(), 0..300), zeros in any::<bool>()
        ) {
            let mut bytes = vec![0, opcode];
            // Half of the cases are rich in NULs, where the text fields end.
            bytes.extend(tail.into_iter().map(|byte| if zeros && byte % 3 == 0 { 0 } else { byte }));
            if let Ok(packet) = Packet::decode(&bytes) {
                let again = packet.encode();
                prop_assert_eq!(Packet::decode(&again), Ok(packet));
            }
        }
    }
}
