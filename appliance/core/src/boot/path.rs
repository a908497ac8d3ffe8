//! A request path, by TFTP or HTTP, to the thing it names. Reserved names come first; all else is a person's own file.

use crate::{
    host::{Arch, MacAddr},
    image::Digest,
};

/// What a boot client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileRef {
    /// The boot script for the host named in the query.
    Script,
    /// The boot script for this MAC: `/boot/<mac>`.
    HostScript(MacAddr),
    /// iPXE's `autoexec.ipxe`: asks for the script properly.
    AutoExec,
    /// A network boot program by file name.
    Loader(String),
    /// A part of the RAM OS.
    RamOs { arch: Arch, part: RamOsPart },
    /// An imported image by digest.
    Image(Digest),
    /// A relative path beneath `<state>/files`.
    Own(String),
}

/// The files of a RAM OS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RamOsPart {
    Kernel,
    /// The small initramfs.
    Early,
    /// The rest, fetched by the initramfs.
    Main,
}

impl RamOsPart {
    /// The file's name beneath `ramos/<arch>/`.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            RamOsPart::Kernel => "vmlinuz",
            RamOsPart::Early => "early.img",
            RamOsPart::Main => "main.squashfs",
        }
    }
}

/// The loaders served, by file name; also found with any directory before them, as ROMs and shells add theirs.
pub const LOADERS: &[&str] = &[
    "undionly.kpxe",
    "ipxe.pxe",
    "snponly-x64.efi",
    "ipxe-x64.efi",
    "ipxe-ia32.efi",
    "ipxe-arm64.efi",
    "localdisk-x64.efi",
    "localdisk-arm64.efi",
    "grubx64.efi",
    "grubaa64.efi",
    "shimx64.efi",
    "shimaa64.efi",
];

/// Resolves a path as it came, percent-encoding already undone.
///
/// Backslashes count as slashes, empty parts and PXELINUX's `::` go (shim and WDS clients send both); `None` for a path
/// with `..`, a NUL or nothing in it.
#[must_use]
pub fn resolve(raw: &str) -> Option<FileRef> {
    if raw.contains('\0') || raw.len() > 1024 {
        return None;
    }
    let slashed = raw.replace('\\', "/");
    let parts: Vec<&str> =
        slashed.trim_start_matches("::").split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return None;
    }
    let reserved = match parts.as_slice() {
        [] => return None,
        ["boot.ipxe"] => Some(FileRef::Script),
        [.., "autoexec.ipxe"] => Some(FileRef::AutoExec),
        ["boot", mac] => mac.parse().ok().map(FileRef::HostScript),
        ["ramos", arch, file] => Some(FileRef::RamOs { arch: ram_os_arch(arch)?, part: ram_os_part(file)? }),
        ["images", digest] => Some(FileRef::Image(digest.parse().ok()?)),
        ["agent", ..] => return None,
        [.., name] => {
            LOADERS.iter().find(|loader| loader.eq_ignore_ascii_case(name)).map(|l| FileRef::Loader((*l).into()))
        }
    };
    Some(reserved.unwrap_or_else(|| FileRef::Own(parts.join("/"))))
}

fn ram_os_arch(name: &str) -> Option<Arch> {
    [Arch::X86_64, Arch::Aarch64].into_iter().find(|arch| arch.as_str() == name)
}

fn ram_os_part(name: &str) -> Option<RamOsPart> {
    [RamOsPart::Kernel, RamOsPart::Early, RamOsPart::Main].into_iter().find(|part| part.file_name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_come_before_own_files() {
        assert_eq!(resolve("/boot.ipxe"), Some(FileRef::Script));
        assert_eq!(resolve("\\EFI\\x\\snponly-x64.efi"), Some(FileRef::Loader("snponly-x64.efi".into())));
        assert_eq!(resolve("::undionly.kpxe"), Some(FileRef::Loader("undionly.kpxe".into())));
        assert_eq!(resolve("/boot/52-54-00-77-00-01").map(|f| matches!(f, FileRef::HostScript(_))), Some(true));
        assert_eq!(resolve("/boot.html"), Some(FileRef::Own("boot.html".into())));
        assert_eq!(
            resolve("cloud-configs/00:25:90:c0:f7:86.yml"),
            Some(FileRef::Own("cloud-configs/00:25:90:c0:f7:86.yml".into()))
        );
    }

    #[test]
    fn nothing_climbs_out() {
        for path in ["../x", "a/../../x", "..\\x", "a/..", "", "/", "x\0y", "agent/v1/hello", "ramos/x86_64/../x"] {
            assert_eq!(resolve(path), None, "{path:?}");
        }
    }
}
