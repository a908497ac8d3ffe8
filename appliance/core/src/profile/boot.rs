//! How a system boots from the network: kernel, initrds, arguments, the media they lie in, and the answers it asks for.

use crate::host::Firmware;
use serde::{Deserialize, Serialize};

/// Which way a profile's system gets onto a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// The RAM OS writes a disk image.
    #[default]
    Image,
    /// The distribution's own installer, booted from the network, erases the disk and installs.
    Installer,
    /// It runs from the network and erases nothing: a diskless root, a memory test, a rescue system.
    Live,
}

/// Media that have to be on the box before a profile can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Medium {
    /// The [`Image`](crate::image::Image) it is on the box, by name.
    pub name: String,
    pub title: String,
    /// What it has to be recognised as at its import; anything if empty.
    #[serde(default)]
    pub system: String,
    /// Where its vendor offers it; the person's to find if empty.
    #[serde(default)]
    pub url: String,
    /// A list of digests beside it, signed in itself or by `signature_url`.
    #[serde(default)]
    pub checksums_url: String,
    /// A detached OpenPGP signature of the digests, or of the file.
    #[serde(default)]
    pub signature_url: String,
    /// The file in the profile's folder with the OpenPGP key that signs it.
    #[serde(default)]
    pub key: String,
    /// How a person gets it.
    #[serde(default)]
    pub help: String,
}

/// Kernel, initrds and arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootSpec {
    pub kernel: FileSpec,
    /// Joined in this order by the loader.
    #[serde(default)]
    pub initrd: Vec<InitrdSpec>,
    /// A template that gives one line; see `boot::args`.
    #[serde(default)]
    pub args: String,
}

/// A file of a medium: `MEDIUM:PATH`, or `MEDIUM` alone where the medium is the file itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileSpec {
    pub medium: String,
    /// Relative, without `..`; empty for the medium itself.
    pub path: String,
}

/// Text that names no file of a medium.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" names no file: MEDIUM:PATH is wanted, PATH relative, without \"..\" and of letters, digits and . _ - + / only"
)]
pub struct InvalidFileSpec(String);

impl TryFrom<String> for FileSpec {
    type Error = InvalidFileSpec;

    fn try_from(text: String) -> Result<Self, InvalidFileSpec> {
        let (medium, path) = text.split_once(':').unwrap_or((&text, ""));
        // What stands in scripts of three loaders must not mean anything to one of them.
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-+/".contains(&b);
        let path = path.trim_start_matches('/');
        let fits = !medium.is_empty()
            && !medium.contains('/')
            && text.bytes().all(|b| plain(b) || b == b':')
            && path.bytes().all(plain)
            && !path.split('/').any(|part| part == "..");
        if fits {
            Ok(FileSpec { medium: medium.to_owned(), path: path.to_owned() })
        } else {
            Err(InvalidFileSpec(text))
        }
    }
}

impl From<FileSpec> for String {
    fn from(spec: FileSpec) -> Self {
        if spec.path.is_empty() { spec.medium } else { format!("{}:{}", spec.medium, spec.path) }
    }
}

/// One of the archives that a kernel starts with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum InitrdSpec {
    File(FileSpec),
    /// `files`: the archive made of the profile's own `[[initrd_file]]`s.
    Files,
}

impl TryFrom<String> for InitrdSpec {
    type Error = InvalidFileSpec;

    fn try_from(text: String) -> Result<Self, InvalidFileSpec> {
        if text == "files" { Ok(InitrdSpec::Files) } else { text.try_into().map(InitrdSpec::File) }
    }
}

impl From<InitrdSpec> for String {
    fn from(spec: InitrdSpec) -> Self {
        match spec {
            InitrdSpec::File(file) => file.into(),
            InitrdSpec::Files => "files".to_owned(),
        }
    }
}

/// A text that an installer or a system asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerTemplate {
    /// Below the address of the answers.
    pub path: String,
    pub template: String,
    /// A fixed path under which the host gets it too; itself a template.
    #[serde(default)]
    pub at: Option<String>,
}

/// Whether a profile boots on this firmware; one that is not known may do.
#[must_use]
pub fn boots_on(wanted: &[Firmware], firmware: Option<Firmware>) -> bool {
    wanted.is_empty() || firmware.is_none_or(|firmware| wanted.contains(&firmware))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_medium_and_path() {
        let read = |text: &str| FileSpec::try_from(text.to_owned());
        let file = read("debian-13-netboot:/debian-installer/amd64/linux").unwrap();
        assert_eq!((file.medium.as_str(), file.path.as_str()), ("debian-13-netboot", "debian-installer/amd64/linux"));
        assert_eq!(read("memtest").unwrap().path, "");
        for wrong in ["", ":x", "a:../x", "a:x/../y", "a:x y", "a:x;y", "a:${x}", "a/b:c", "a:b:c", "a:x\ny"] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
