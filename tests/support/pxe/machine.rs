//! Who asks: the identity of a machine, and the options that its firmware sends.

use super::message::{Message, option};

/// Which program on the machine speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A BIOS card's PXE ROM (arch 0).
    BiosPxe,
    /// UEFI's PXE client of this architecture (7 for x64, 11 for Arm).
    UefiPxe(u16),
    /// UEFI's HTTP boot client of this architecture (16 for x64, 19 for Arm).
    UefiHttp(u16),
    /// iPXE on this architecture (0 or 7), which sends user class and features.
    Ipxe(u16),
    /// An installed system or a laptop: nothing of network boot.
    Plain,
}

/// One machine's identity and the program that speaks for it.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The card's address.
    pub mac: [u8; 6],
    /// The SMBIOS UUID in the byte order that goes into option 97; none is sent without.
    pub uuid: Option<[u8; 16]>,
    /// Which program speaks.
    pub kind: Kind,
    /// Options that replace the usual ones of the same code; an empty value removes the option.
    pub changed: Vec<(u8, Vec<u8>)>,
}

impl Machine {
    /// The machine with this number: address `52:54:00:<number>`, a UUID that holds the number.
    #[must_use]
    pub fn new(number: u32, kind: Kind) -> Self {
        let [_, a, b, c] = number.to_be_bytes();
        let mut uuid = *b"\x7a\xc0\xb3\xe1\x00\x01\x40\x00\x80\x00rack\x00\x00";
        let [.., last, end] = &mut uuid;
        (*last, *end) = (b, c);
        Self { mac: [0x52, 0x54, 0x00, a, b, c], uuid: Some(uuid), kind, changed: Vec::new() }
    }

    /// The same machine with another program speaking, as when iPXE takes over from the ROM.
    #[must_use]
    pub fn speaking_as(&self, kind: Kind) -> Self {
        Self { kind, ..self.clone() }
    }

    /// The same machine that sends `value` as this option instead; an empty value removes it.
    #[must_use]
    pub fn with(mut self, code: u8, value: &[u8]) -> Self {
        self.changed.push((code, value.to_vec()));
        self
    }

    /// The address as `52:54:00:00:00:01`.
    #[must_use]
    pub fn mac_text(&self) -> String {
        self.mac.map(|byte| format!("{byte:02x}")).join(":")
    }

    /// A message of this machine with the options that it sends in every one.
    #[must_use]
    pub fn message(&self, message_type: u8, xid: u32) -> Message {
        let mut message = Message::from_client(self.mac, xid);
        // Recorded: EDK2 asks for broadcast answers, ROMs and iPXE take unicast ones.
        message.broadcast = matches!(self.kind, Kind::UefiPxe(_) | Kind::UefiHttp(_));
        message.set(option::MESSAGE_TYPE, &[message_type]);
        let (class, arch, undi) = match self.kind {
            Kind::BiosPxe => ("PXEClient", 0, [2, 1]),
            Kind::UefiPxe(arch) => ("PXEClient", arch, [3, 0]),
            Kind::UefiHttp(arch) => ("HTTPClient", arch, [3, 0]),
            Kind::Ipxe(0) => ("PXEClient", 0, [2, 1]),
            Kind::Ipxe(arch) => ("PXEClient", arch, [3, 10]),
            Kind::Plain => ("", 0, [0, 0]),
        };
        let [major, minor] = undi;
        if self.kind == Kind::Plain {
            message.set(option::HOST_NAME, b"laptop");
            message.set(option::PARAMETERS, &[1, 3, 6, 12, 15, 28, 42]);
            message.set(option::CLIENT_ID, &self.client_id());
        } else {
            message.set(option::MAX_SIZE, &1472u16.to_be_bytes());
            message.set(option::ARCHITECTURE, &arch.to_be_bytes());
            message.set(option::INTERFACE, &[1, major, minor]);
            message.set(option::VENDOR_CLASS, format!("{class}:Arch:{arch:05}:UNDI:{major:03}{minor:03}").as_bytes());
            message.set(option::PARAMETERS, &[1, 2, 3, 6, 12, 13, 15, 17, 43, 54, 60, 66, 67, 97, 128, 129, 150]);
            if let Some(uuid) = self.uuid {
                message.set(option::MACHINE_ID, &[&[0][..], &uuid].concat());
            }
        }
        if let Kind::Ipxe(arch) = self.kind {
            message.set(option::USER_CLASS, b"iPXE");
            message.set(option::CLIENT_ID, &self.client_id());
            message.set(option::PARAMETERS, &[1, 3, 6, 7, 12, 15, 17, 26, 43, 60, 66, 67, 119, 128, 175, 203]);
            // Recorded sub-options: version, then one each for HTTP, TFTP, DNS, menus ... and EFI where it is.
            let mut features: Vec<u8> = vec![0xeb, 3, 1, 0, 0];
            let platform = if arch == 0 { 0x21 } else { 0x24 };
            for feature in [0x13, 0x15, 0x17, 0x19, 0x27, 0x29, 0x10, 0x12, platform] {
                features.extend([feature, 1, 1]);
            }
            message.set(option::IPXE, &features);
        }
        for (code, value) in &self.changed {
            message.remove(*code);
            if !value.is_empty() {
                message.set(*code, value);
            }
        }
        message
    }

    fn client_id(&self) -> Vec<u8> {
        [&[1][..], &self.mac].concat()
    }
}
