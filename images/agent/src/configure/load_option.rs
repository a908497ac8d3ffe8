//! EFI_LOAD_OPTION and the device path in it (UEFI 2.10, 3.1.3 and 10.3), as bytes.

use crate::disk::Fields;

/// LOAD_OPTION_ACTIVE.
const ACTIVE: u32 = 1;
const END: [u8; 4] = [0x7f, 0xff, 4, 0];
/// Messaging device path, MAC address (10.3.4.10).
const MAC: [u8; 2] = [3, 11];

/// Where a loader lies on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HardDrive {
    pub partition: u32,
    /// In sectors of the disk, as is the size.
    pub start: u64,
    pub size: u64,
    pub signature: Signature,
}

/// What tells this partition's disk from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    /// The partition's GUID, as it lies on disk.
    Gpt([u8; 16]),
    /// The disk's number in its MBR.
    Mbr([u8; 4]),
}

/// A boot entry named `description` that starts `file`, which is written with backslashes.
#[must_use]
pub fn encode(description: &str, drive: &HardDrive, file: &str) -> Vec<u8> {
    let mut path = hard_drive(drive);
    let name = utf16(file);
    path.extend(node(4, 4, &name));
    path.extend(END);
    let mut option = ACTIVE.to_le_bytes().to_vec();
    option.extend(u16::try_from(path.len()).unwrap_or(u16::MAX).to_le_bytes());
    option.extend(utf16(description));
    option.extend(path);
    option
}

/// The description of an entry and its device path; none if it is no load option.
#[must_use]
pub fn decode(option: &[u8]) -> Option<(String, &[u8])> {
    let length = usize::from(u16::from_le_bytes(option.array(4)?));
    let rest = option.get(6..)?;
    let units: Vec<u16> =
        rest.chunks_exact(2).map(|pair| u16::from_le_bytes(pair.array(0).unwrap_or_default())).collect();
    let end = units.iter().position(|unit| *unit == 0)?;
    let description = String::from_utf16_lossy(units.get(..end)?);
    Some((description, rest.get(2 * (end + 1)..)?.get(..length)?))
}

/// Whether a device path goes over a network port.
#[must_use]
pub fn is_network(mut path: &[u8]) -> bool {
    loop {
        let [kind, subtype, low, high, ..] = path else { return false };
        if [*kind, *subtype] == MAC {
            return true;
        }
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        match path.get(length..) {
            Some(rest) if length >= 4 => path = rest,
            Some(_) | None => return false,
        }
    }
}

/// Media device path, hard drive (10.3.5.1).
fn hard_drive(drive: &HardDrive) -> Vec<u8> {
    let mut body = drive.partition.to_le_bytes().to_vec();
    body.extend(drive.start.to_le_bytes());
    body.extend(drive.size.to_le_bytes());
    match &drive.signature {
        Signature::Gpt(guid) => {
            body.extend(guid);
            body.extend([2, 2]);
        }
        Signature::Mbr(number) => {
            body.extend(number);
            body.extend([0; 12]);
            body.extend([1, 1]);
        }
    }
    node(4, 1, &body)
}

fn node(kind: u8, subtype: u8, body: &[u8]) -> Vec<u8> {
    let mut node = vec![kind, subtype];
    node.extend(u16::try_from(body.len() + 4).unwrap_or(u16::MAX).to_le_bytes());
    node.extend(body);
    node
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_the_bytes_that_efibootmgr_writes() {
        let drive = HardDrive {
            partition: 15,
            start: 0x800,
            size: 0x3e000,
            signature: Signature::Gpt([
                0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x00,
            ]),
        };
        let option = encode("Hi", &drive, r"\EFI\A");
        let expected = [
            &[1, 0, 0, 0, 64, 0][..],
            b"H\0i\0\0\0",
            &[4, 1, 42, 0, 15, 0, 0, 0],
            &[0, 8, 0, 0, 0, 0, 0, 0, 0, 0xe0, 3, 0, 0, 0, 0, 0],
            &[0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x00, 2, 2],
            &[4, 4, 18, 0],
            b"\\\0E\0F\0I\0\\\0A\0\0\0",
            &[0x7f, 0xff, 4, 0],
        ]
        .concat();
        assert_eq!(option, expected);
        let (description, path) = decode(&option).unwrap();
        assert_eq!((description.as_str(), path.len()), ("Hi", 64));
        assert!(!is_network(path));
    }

    #[test]
    fn a_network_entry_is_told_by_its_port() {
        let mut path = node(2, 1, &[0xd0, 0x41, 3, 0x0a, 0, 0, 0, 0]);
        path.extend(node(1, 1, &[0, 3]));
        path.extend(node(3, 11, &[0; 33]));
        path.extend(node(3, 12, &[0; 23]));
        path.extend(END);
        assert!(is_network(&path));
        assert!(!is_network(&[3, 11]));
        assert!(!is_network(&[2, 1, 0, 0]));
    }
}
