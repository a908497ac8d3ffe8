//! The raw option scan of a DHCP packet (RFC 2132, RFC 3396).
//!
//! dhcproto stops silently at the first option it dislikes and asserts the length of others; here each option is taken
//! as bytes and judged on its own, so that one broken option costs that option alone.

use std::borrow::Cow;

/// Option codes in use here, named as IANA names them.
pub mod code {
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DNS: u8 = 6;
    pub const HOST_NAME: u8 = 12;
    pub const DOMAIN: u8 = 15;
    pub const BROADCAST: u8 = 28;
    pub const NTP: u8 = 42;
    pub const VENDOR: u8 = 43;
    pub const REQUESTED: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_ID: u8 = 54;
    pub const PARAMETERS: u8 = 55;
    pub const MESSAGE: u8 = 56;
    pub const MAX_SIZE: u8 = 57;
    pub const RENEW: u8 = 58;
    pub const REBIND: u8 = 59;
    pub const VENDOR_CLASS: u8 = 60;
    pub const CLIENT_ID: u8 = 61;
    pub const TFTP_NAME: u8 = 66;
    pub const BOOT_FILE: u8 = 67;
    pub const USER_CLASS: u8 = 77;
    pub const RELAY: u8 = 82;
    pub const ARCH: u8 = 93;
    pub const MACHINE_ID: u8 = 97;
    pub const SUBNET_SELECT: u8 = 118;
    pub const TFTP_ADDRESSES: u8 = 150;
    pub const IPXE: u8 = 175;
}

/// Option 52 says which header fields carry options too (RFC 2132 9.3).
const OVERLOAD_FILE: u8 = 1;
const OVERLOAD_SNAME: u8 = 2;

/// The options of one packet; parts of a split option are joined in order of appearance (RFC 3396 7).
#[derive(Debug, Clone)]
pub struct Options<'a> {
    /// Where an option stands in `values`, by its code; one more than the place, so that zero says "not there".
    places: [u8; 256],
    values: Vec<Cow<'a, [u8]>>,
}

impl<'a> Options<'a> {
    /// Scans the options field, then `file`, then `sname` where option 52 says so (RFC 3396 5: this order).
    #[must_use]
    pub fn scan(field: &'a [u8], file: &'a [u8], sname: &'a [u8]) -> Self {
        let mut options = Options { places: [0; 256], values: Vec::with_capacity(16) };
        options.collect(field);
        let overload = options.first(code::OVERLOAD).unwrap_or(0);
        if overload & OVERLOAD_FILE != 0 {
            options.collect(file);
        }
        if overload & OVERLOAD_SNAME != 0 {
            options.collect(sname);
        }
        options
    }

    /// Takes options until END, the end of the bytes, or one whose length leads beyond them.
    fn collect(&mut self, mut rest: &'a [u8]) {
        loop {
            match rest {
                // Pad (RFC 2132 3.1).
                [0, tail @ ..] => rest = tail,
                [255, ..] | [] | [_] => return,
                [code, length, tail @ ..] => {
                    let Some((value, tail)) = tail.split_at_checked(usize::from(*length)) else { return };
                    self.add(*code, value);
                    rest = tail;
                }
            }
        }
    }

    fn add(&mut self, code: u8, value: &'a [u8]) {
        let Some(place) = self.places.get_mut(usize::from(code)) else { return };
        match self.values.get_mut(usize::from(*place).wrapping_sub(1)) {
            Some(before) => before.to_mut().extend_from_slice(value),
            // At most 254 codes, as 0 and 255 carry nothing.
            None => {
                self.values.push(Cow::Borrowed(value));
                *place = u8::try_from(self.values.len()).unwrap_or_default();
            }
        }
    }

    /// The option's bytes.
    #[must_use]
    pub fn get(&self, code: u8) -> Option<&[u8]> {
        let place = self.places.get(usize::from(code))?;
        self.values.get(usize::from(*place).checked_sub(1)?).map(AsRef::as_ref)
    }

    /// The option's first byte.
    #[must_use]
    pub fn first(&self, code: u8) -> Option<u8> {
        self.get(code).and_then(|bytes| bytes.first().copied())
    }

    /// The option as one IPv4 address; any other length counts as absent.
    #[must_use]
    pub fn address(&self, code: u8) -> Option<std::net::Ipv4Addr> {
        <[u8; 4]>::try_from(self.get(code)?).ok().map(Into::into)
    }

    /// The option as a 16-bit number; any other length counts as absent.
    #[must_use]
    pub fn number16(&self, code: u8) -> Option<u16> {
        <[u8; 2]>::try_from(self.get(code)?).ok().map(u16::from_be_bytes)
    }
}

/// The parts of option 77: RFC 3004 counted strings, or one plain string as iPXE sends it.
#[must_use]
pub fn user_classes(raw: &[u8]) -> Vec<Vec<u8>> {
    let mut classes = Vec::new();
    let mut rest = raw;
    while let [length, tail @ ..] = rest {
        match tail.split_at_checked(usize::from(*length)) {
            Some((class, after)) if *length > 0 => {
                classes.push(class.to_vec());
                rest = after;
            }
            // A count that does not fit: this was never a counted string.
            _ => return vec![raw.to_vec()],
        }
    }
    classes
}

/// Sub-options of an encapsulating option (43, 82, 175); ends at 255 or at the first length that leads beyond the bytes.
pub fn sub_options(raw: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = raw;
    std::iter::from_fn(move || {
        loop {
            match rest {
                [0, tail @ ..] => rest = tail,
                [255, ..] | [] | [_] => return None,
                [code, length, tail @ ..] => {
                    let (value, after) = tail.split_at_checked(usize::from(*length))?;
                    rest = after;
                    return Some((*code, value));
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_option_51_costs_no_other_option() {
        let options = Options::scan(&[51, 1, 9, 53, 1, 1, 61, 2, 7, 8, 255, 12, 1, 65], &[], &[]);
        assert_eq!(options.first(code::MESSAGE_TYPE), Some(1));
        assert_eq!(options.get(code::CLIENT_ID), Some(&[7, 8][..]));
        assert_eq!(options.get(code::HOST_NAME), None, "END ends the list");
    }

    #[test]
    fn wrong_lengths_of_80_94_and_154_do_no_harm() {
        let options = Options::scan(&[80, 3, 1, 2, 3, 94, 1, 1, 154, 2, 0, 0, 53, 1, 3, 255], &[], &[]);
        assert_eq!(options.first(code::MESSAGE_TYPE), Some(3));
    }

    #[test]
    fn a_split_option_is_joined_and_overloaded_fields_are_read() {
        let options = Options::scan(&[67, 2, b'a', b'b', 52, 1, 3, 67, 1, b'c'], &[12, 1, b'n', 255], &[61, 1, 9, 255]);
        assert_eq!(options.get(code::BOOT_FILE), Some(&b"abc"[..]));
        assert_eq!(options.get(code::HOST_NAME), Some(&b"n"[..]));
        assert_eq!(options.get(code::CLIENT_ID), Some(&[9][..]));
    }

    #[test]
    fn user_classes_come_counted_or_plain() {
        assert_eq!(user_classes(b"iPXE"), [b"iPXE".to_vec()]);
        assert_eq!(user_classes(b"\x04iPXE\x03abc"), [b"iPXE".to_vec(), b"abc".to_vec()]);
        assert_eq!(user_classes(b""), Vec::<Vec<u8>>::new());
    }
}
