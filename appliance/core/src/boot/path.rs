//! A request path, by TFTP or HTTP, to the thing it names. Reserved names come first; all else is a person's own file.

use super::config::{ConfigKind, ConfigRef, MachineName};
use crate::{
    host::{Arch, MacAddr},
    image::Digest,
};

/// What a boot client asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    /// A file inside an imported image: the path within it, without a slash at its ends.
    Inside { image: Digest, path: String },
    /// What PXELINUX or GRUB looks for as its configuration: a person's own one, else one rendered for the machine.
    Config(ConfigRef),
    /// A program that a person may have another version of: the own file at `path`, else the box's copy.
    Program { path: String, name: &'static str },
    /// A text rendered for one boot: `/answers/<token>/<path>`.
    Answer { token: String, path: String },
    /// A relative path beneath `<state>/files`.
    Own(String),
}

/// The files of a RAM OS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

/// Programs beside the loaders, by file name. The box leads nobody to them, so an own file of that name comes first:
/// PXELINUX and its modules have to be of one version.
pub const PROGRAMS: &[&str] = &[
    "pxelinux.0",
    "lpxelinux.0",
    "ldlinux.c32",
    "libcom32.c32",
    "libutil.c32",
    "menu.c32",
    "vesamenu.c32",
    "chain.c32",
    "reboot.c32",
    "poweroff.c32",
];

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
        // Before all names that count in any folder: what lies in an image is the image's own.
        ["images", digest, inside @ ..] if !inside.is_empty() && digest.parse::<Digest>().is_ok() => {
            digest.parse().ok().map(|image| FileRef::Inside { image, path: inside.join("/") })
        }
        [.., "autoexec.ipxe"] => Some(FileRef::AutoExec),
        ["boot", mac] => mac.parse().ok().map(FileRef::HostScript),
        ["ramos", arch, file] => Some(FileRef::RamOs { arch: ram_os_arch(arch)?, part: ram_os_part(file)? }),
        ["images", digest] => Some(FileRef::Image(digest.parse().ok()?)),
        ["answers", token, path @ ..] if !path.is_empty() => {
            Some(FileRef::Answer { token: (*token).to_owned(), path: path.join("/") })
        }
        ["agent" | "answers", ..] => return None,
        [.., "pxelinux.cfg", name] => config(ConfigKind::Pxelinux, &parts, name),
        [.., name] if name.starts_with("grub.cfg") => {
            config(ConfigKind::Grub, &parts, name.trim_start_matches("grub.cfg").trim_start_matches('-'))
        }
        [.., name] if PROGRAMS.contains(name) => {
            let known = PROGRAMS.iter().find(|known| *known == name);
            known.map(|known| FileRef::Program { path: parts.join("/"), name: known })
        }
        [.., name] => {
            LOADERS.iter().find(|loader| loader.eq_ignore_ascii_case(name)).map(|l| FileRef::Loader((*l).into()))
        }
    };
    Some(reserved.unwrap_or_else(|| FileRef::Own(parts.join("/"))))
}

fn config(kind: ConfigKind, parts: &[&str], name: &str) -> Option<FileRef> {
    let machine = MachineName::read(name)?;
    Some(FileRef::Config(ConfigRef { kind, path: parts.join("/"), machine }))
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
    fn configuration_searches_are_recognised_in_any_folder() {
        let machine = |path: &str| match resolve(path) {
            Some(FileRef::Config(ConfigRef { kind, machine, .. })) => Some((kind, machine)),
            _ => None,
        };
        let mac = MacAddr([0x00, 0x25, 0x90, 0xc0, 0xf7, 0x86]);
        let by_mac = Some((ConfigKind::Pxelinux, MachineName::Mac(mac)));
        assert_eq!(machine("pxelinux.cfg/01-00-25-90-c0-f7-86"), by_mac);
        assert_eq!(machine("/bios/pxelinux.cfg/01-00-25-90-C0-F7-86"), by_mac);
        assert_eq!(machine("/pxelinux.cfg/default"), Some((ConfigKind::Pxelinux, MachineName::Default)));
        assert_eq!(machine("/grub/grub.cfg-01-00-25-90-c0-f7-86"), Some((ConfigKind::Grub, MachineName::Mac(mac))));
        assert_eq!(machine("/grub/x86_64-efi/grub.cfg"), Some((ConfigKind::Grub, MachineName::Default)));
        // Names that no machine of ours has are left to the files folder.
        for own in ["pxelinux.cfg/default-arm-bcm283x", "pxelinux.cfg/06-00", "grub/grub.cfg.bak", "pxelinux.cfg/C0A8"]
        {
            assert_eq!(resolve(own), Some(FileRef::Own(own.into())), "{own}");
        }
    }

    #[test]
    fn what_lies_in_an_image_is_the_images_own() {
        let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let image: Digest = digest.parse().unwrap();
        for (asked, path) in [
            ("install.amd/vmlinuz", "install.amd/vmlinuz"),
            ("EFI//BOOT/./grubx64.efi", "EFI/BOOT/grubx64.efi"),
            ("boot\\grub\\grub.cfg", "boot/grub/grub.cfg"),
            ("a:b/autoexec.ipxe", "a:b/autoexec.ipxe"),
        ] {
            let inside = Some(FileRef::Inside { image, path: path.into() });
            assert_eq!(resolve(&format!("/images/{digest}/{asked}")), inside, "{asked}");
        }
        assert_eq!(resolve(&format!("/images/{digest}/")), Some(FileRef::Image(image)));
        for out in ["..", "a/../../b", "..\\b", "x\0y"] {
            assert_eq!(resolve(&format!("/images/{digest}/{out}")), None, "{out:?}");
        }
        assert_eq!(resolve("/images/tools/x"), Some(FileRef::Own("images/tools/x".into())));
    }

    #[test]
    fn nothing_climbs_out() {
        for path in ["../x", "a/../../x", "..\\x", "a/..", "", "/", "x\0y", "agent/v1/hello", "ramos/x86_64/../x"] {
            assert_eq!(resolve(path), None, "{path:?}");
        }
    }
}
