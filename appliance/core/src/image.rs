//! Imported media: content-addressed, with what was found out about them at import.

use crate::{host::Arch, text::CleanText, time::WallTime};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// A SHA-256 digest (FIPS 180-4), written as 64 lower-case hex digits; the name of a blob.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

/// Text that is no SHA-256 digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no SHA-256 digest: 64 hex digits are needed")]
pub struct InvalidDigest(String);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let invalid = || InvalidDigest(crate::text::clean(text, 80));
        let digits: Vec<u8> = text
            .chars()
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()
            .ok_or_else(invalid)?;
        let bytes: Vec<u8> = digits
            .chunks(2)
            .filter_map(|pair| if let [high, low] = pair { Some(high << 4 | low) } else { None })
            .collect();
        if digits.len() != 64 {
            return Err(invalid());
        }
        bytes.try_into().map(Digest).map_err(|_| invalid())
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Imported media.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// Of the file as it was imported and is served, compression included.
    pub digest: Digest,
    /// What people and profiles call it; unique on a box.
    pub name: CleanText,
    pub kind: ImageKind,
    /// Whose it is, if its content says so.
    #[serde(default)]
    pub system: Option<System>,
    /// As its content names it, for example `13.1` or `9.6`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<CleanText>,
    /// What the disc or tree calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<CleanText>,
    /// Why its content could not be looked at, as a sentence; none if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<CleanText>,
    /// Of the file as it is served.
    pub size_bytes: u64,
    pub compression: Compression,
    /// Once unpacked, if that was found out.
    #[serde(default)]
    pub raw_bytes: Option<u64>,
    /// Where it came from: a path or a URL.
    pub origin: CleanText,
    pub verdict: Verdict,
    #[serde(default)]
    pub arch: Option<Arch>,
    /// Of the file as it came, where another is kept: a packed archive is kept unpacked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub came: Option<Digest>,
    /// Of the list of chunk sums that lies beside the file; none for what came before there were such lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sums: Option<Digest>,
    pub imported_wall: WallTime,
}

impl Image {
    /// Whether this digest is of what is kept, or of what came.
    #[must_use]
    pub fn is(&self, digest: &Digest) -> bool {
        self.digest == *digest || self.came == Some(*digest)
    }
}

/// What kind of media an image is, told by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageKind {
    /// A disk, byte for byte, with a partition table.
    Disk,
    /// A disc: ISO 9660 or UDF; its files are served out of it.
    Iso,
    /// A folder or an archive, kept as a tar; its files are served out of it.
    Tree,
    /// A kernel by itself.
    Kernel,
    /// An initial file system by itself: cpio, packed or not.
    Initrd,
    /// A SquashFS by itself.
    Squashfs,
    /// A program for UEFI that is no kernel.
    Efi,
    /// Nothing we recognise; kept and served, but no profile installs it.
    Unknown,
}

impl ImageKind {
    /// Whether files are served out of it.
    #[must_use]
    pub fn is_container(self) -> bool {
        matches!(self, ImageKind::Iso | ImageKind::Tree)
    }

    /// As people read it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            ImageKind::Disk => "disk image",
            ImageKind::Iso => "ISO",
            ImageKind::Tree => "folder",
            ImageKind::Kernel => "kernel",
            ImageKind::Initrd => "initrd",
            ImageKind::Squashfs => "squashfs",
            ImageKind::Efi => "UEFI program",
            ImageKind::Unknown => "unknown kind",
        }
    }
}

/// Whose media it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    Debian,
    Ubuntu,
    Rhel,
    Rocky,
    Alma,
    Centos,
    Fedora,
    FedoraCoreos,
    Flatcar,
    /// SLES, Leap, Tumbleweed.
    Suse,
    Alpine,
    Arch,
    Nixos,
    Proxmox,
    Esxi,
    Windows,
    /// memtest86+.
    Memtest,
}

impl System {
    pub const ALL: [Self; 17] = [
        System::Debian,
        System::Ubuntu,
        System::Rhel,
        System::Rocky,
        System::Alma,
        System::Centos,
        System::Fedora,
        System::FedoraCoreos,
        System::Flatcar,
        System::Suse,
        System::Alpine,
        System::Arch,
        System::Nixos,
        System::Proxmox,
        System::Esxi,
        System::Windows,
        System::Memtest,
    ];

    /// The word that profiles and the API use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            System::Debian => "debian",
            System::Ubuntu => "ubuntu",
            System::Rhel => "rhel",
            System::Rocky => "rocky",
            System::Alma => "alma",
            System::Centos => "centos",
            System::Fedora => "fedora",
            System::FedoraCoreos => "fedora-coreos",
            System::Flatcar => "flatcar",
            System::Suse => "suse",
            System::Alpine => "alpine",
            System::Arch => "arch",
            System::Nixos => "nixos",
            System::Proxmox => "proxmox",
            System::Esxi => "esxi",
            System::Windows => "windows",
            System::Memtest => "memtest",
        }
    }

    /// As people write it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            System::Debian => "Debian",
            System::Ubuntu => "Ubuntu",
            System::Rhel => "Red Hat Enterprise Linux",
            System::Rocky => "Rocky Linux",
            System::Alma => "AlmaLinux",
            System::Centos => "CentOS",
            System::Fedora => "Fedora",
            System::FedoraCoreos => "Fedora CoreOS",
            System::Flatcar => "Flatcar",
            System::Suse => "SUSE",
            System::Alpine => "Alpine Linux",
            System::Arch => "Arch Linux",
            System::Nixos => "NixOS",
            System::Proxmox => "Proxmox",
            System::Esxi => "VMware ESXi",
            System::Windows => "Windows",
            System::Memtest => "memtest86+",
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a file is packed, told by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    None,
    /// RFC 1952.
    Gzip,
    /// The .xz file format.
    Xz,
    /// RFC 8878.
    Zstd,
    Bzip2,
}

impl Compression {
    /// Recognises a file by its magic bytes; six suffice.
    #[must_use]
    pub fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            [b'B', b'Z', b'h', ..] => Compression::Bzip2,
            _ => Compression::None,
        }
    }
}

/// What is known of an image's origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// No signature or digest came with it; only our own digest pins it from now on.
    Unsigned,
    /// The digest that the person gave at import agreed, or that of the vendor's list.
    DigestGiven,
    /// A key that the person or the catalogue trusts signed it, or the list that names it.
    Signed {
        /// The fingerprint of the key, in upper-case hex.
        key: CleanText,
        /// The name that the key gives itself.
        signer: CleanText,
        /// When the key ends, or ended; what it signed before stays signed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_wall: Option<WallTime>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_exactly_64_hex_digits() {
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(text.parse::<Digest>().unwrap().to_string(), text);
        assert!(text.get(1..).unwrap().parse::<Digest>().is_err());
        assert!("zz".repeat(32).parse::<Digest>().is_err());
    }

    #[test]
    fn a_row_of_before_still_reads_and_a_new_one_comes_back_the_same() {
        let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let old = format!(
            r#"{{"digest":"{digest}","name":"x","kind":"disk","size_bytes":3,"compression":"xz","raw_bytes":null,
                "origin":"upload","verdict":{{"verdict":"unsigned"}},"arch":"x86_64","imported_wall":0}}"#
        );
        let mut image: Image = serde_json::from_str(&old).unwrap();
        assert_eq!((image.system, image.sums, image.kind), (None, None, ImageKind::Disk));
        (image.system, image.version, image.kind) = (Some(System::FedoraCoreos), Some("42".into()), ImageKind::Iso);
        let json = serde_json::to_string(&image).unwrap();
        assert!(json.contains("\"fedora-coreos\""), "{json}");
        assert_eq!(serde_json::from_str::<Image>(&json).unwrap(), image);
        for system in System::ALL {
            assert_eq!(serde_json::to_string(&system).unwrap(), format!("\"{system}\""));
        }
    }

    #[test]
    fn compression_is_told_by_content() {
        assert_eq!(Compression::of(&[0x1f, 0x8b, 8]), Compression::Gzip);
        assert_eq!(Compression::of(&[0x28, 0xb5, 0x2f, 0xfd, 0]), Compression::Zstd);
        assert_eq!(Compression::of(b""), Compression::None);
    }
}
