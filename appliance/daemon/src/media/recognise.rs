//! Whose media it is, told by its content: the files that each vendor's discs and archives are known by, and what stands in them.
//!
//! All of it is a stranger's: it runs in a process of its own (`worker`) that can reach nothing but the one file.

use super::{
    tar::{self, Index},
    unpack,
};
use rackberry_core::{
    host::Arch,
    image::{Compression, ImageKind, System},
    text::CleanText,
};
use serde::{Deserialize, Serialize};
use std::{fs::File, io::BufReader};

/// How much of the start of a file is looked at.
const LOOK: usize = 64 << 10;
/// How much of a text in it is read.
const TEXT: u64 = 64 << 10;
/// How much of a program is searched for its name.
const PROGRAM: usize = 4 << 20;

/// What was found out about a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    pub kind: ImageKind,
    pub system: Option<System>,
    pub version: Option<CleanText>,
    pub arch: Option<Arch>,
    pub label: Option<CleanText>,
}

impl Found {
    fn only(kind: ImageKind) -> Self {
        Found { kind, system: None, version: None, arch: None, label: None }
    }
}

/// Recognises a file by what is in it.
#[must_use]
pub fn recognise(file: &File) -> Found {
    let head = tar::start_of(FromStart(file, 0), 512);
    let compression = Compression::of(&head);
    if compression == Compression::None {
        if let Ok(disc) = rackberry_iso::Image::open(file)
            && let Ok(tree) = disc.best_tree()
        {
            let mut found = in_tree(&Disc(&disc, &tree), tree.label());
            found.kind = ImageKind::Iso;
            return found;
        }
        if tar::begins(&head) {
            let index = Index::read(file).unwrap_or_default();
            let mut found = in_tree(&Archive(file, &index), "");
            found.kind = ImageKind::Tree;
            return found;
        }
    }
    let most = if compression == Compression::None { PROGRAM } else { LOOK };
    alone(&tar::start_of(unpack::unpacked(BufReader::new(FromStart(file, 0)), compression), most))
}

/// Reads by position, as the descriptor may be shared with others.
struct FromStart<'a>(&'a File, u64);

impl std::io::Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = std::os::unix::fs::FileExt::read_at(self.0, buffer, self.1)?;
        self.1 += length as u64;
        Ok(length)
    }
}

/// Files by path.
trait Files {
    /// The start of a file as text; none if there is no such file.
    fn text(&self, path: &str) -> Option<String>;

    fn has(&self, path: &str) -> bool;

    /// A name in the root that begins so.
    fn begins(&self, start: &str) -> Option<String>;
}

struct Disc<'a>(&'a rackberry_iso::Image<&'a File>, &'a rackberry_iso::Tree<'a>);

impl Files for Disc<'_> {
    fn text(&self, path: &str) -> Option<String> {
        let contents = self.1.contents(&self.1.find(path).ok()?).ok()?;
        let mut bytes = vec![0; usize::try_from(contents.len().min(TEXT)).ok()?];
        contents.read_at(self.0.source(), 0, &mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn has(&self, path: &str) -> bool {
        self.1.find(path).is_ok()
    }

    fn begins(&self, start: &str) -> Option<String> {
        let names = self.1.list(self.1.root()).ok()?.entries;
        names.iter().map(|entry| String::from_utf8_lossy(&entry.name).into_owned()).find(|name| name.starts_with(start))
    }
}

struct Archive<'a>(&'a File, &'a Index);

impl Files for Archive<'_> {
    fn text(&self, path: &str) -> Option<String> {
        let (offset, length) = self.1.find(path)?;
        let mut bytes = vec![0; usize::try_from(length.min(TEXT)).ok()?];
        tar::fill(self.0, offset, &mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn has(&self, path: &str) -> bool {
        self.1.find(path).is_some() || self.1.has_folder(path)
    }

    fn begins(&self, start: &str) -> Option<String> {
        self.1.begins(start)
    }
}

/// Knows one family's media by their files and their label.
type Rule = fn(&dyn Files, &str) -> Option<Found>;

/// By the files of a disc or archive; the surest signs first.
fn in_tree(files: &dyn Files, label: &str) -> Found {
    let rules: [Rule; 15] = [
        proxmox,
        coreos,
        flatcar,
        red_hat,
        suse,
        disk_info,
        debian_netboot,
        ubuntu_netboot,
        alpine,
        arch,
        nixos,
        esxi,
        windows,
        memtest,
        casper,
    ];
    let mut found = rules.iter().find_map(|rule| rule(files, label)).unwrap_or(Found::only(ImageKind::Tree));
    found.arch = found.arch.or_else(|| arch_of_loaders(files));
    found.label = Some(CleanText::new(label)).filter(|label| !label.is_empty());
    found
}

fn found(system: System, version: Option<&str>, arch: Option<Arch>) -> Option<Found> {
    let version = version.map(CleanText::new).filter(|version| !version.is_empty());
    Some(Found { system: Some(system), version, arch, ..Found::only(ImageKind::Tree) })
}

/// An architecture by any of its vendors' names, standing alone in a text.
fn arch_in(text: &str) -> Option<Arch> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).find_map(|word| match word {
        "amd64" | "x86_64" | "x64" => Some(Arch::X86_64),
        "arm64" | "aarch64" => Some(Arch::Aarch64),
        "i386" | "i486" | "i586" | "i686" | "x86" => Some(Arch::X86),
        "armhf" | "armv7" => Some(Arch::Arm),
        "riscv64" => Some(Arch::Riscv64),
        _ => None,
    })
}

fn arch_of_loaders(files: &dyn Files) -> Option<Arch> {
    let boots =
        |name: &str| files.has(&format!("EFI/BOOT/{name}")) || files.has(&format!("efi/boot/{}", name.to_lowercase()));
    match (boots("BOOTX64.EFI"), boots("BOOTAA64.EFI")) {
        (true, false) => Some(Arch::X86_64),
        (false, true) => Some(Arch::Aarch64),
        _ => None,
    }
}

/// The first word that begins with a digit and has only what versions have.
fn version_in(text: &str) -> Option<&str> {
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, '-' | '_' | '/' | '"' | '\'' | '(' | ')' | '='));
    words.map(|word| word.trim_end_matches('.')).find(|word| {
        word.starts_with(|c: char| c.is_ascii_digit()) && word.chars().all(|c| c.is_ascii_digit() || c == '.')
    })
}

/// Shell assignments and INI lines: `key=value`, `key = 'value'`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == key).then(|| value.trim().trim_matches(['\'', '"']))
    })
}

fn proxmox(files: &dyn Files, _: &str) -> Option<Found> {
    let text = files.text(".cd-info").filter(|text| value(text, "PRODUCT").is_some());
    let marked = [".pve-cd-id.txt", ".pmg-cd-id.txt", ".pbs-cd-id.txt"].iter().any(|name| files.has(name));
    if text.is_none() && !marked && !files.has("pve-base.squashfs") {
        return None;
    }
    let text = text.unwrap_or_default();
    let version = match (value(&text, "RELEASE"), value(&text, "ISORELEASE")) {
        (Some(release), Some(iso)) => Some(format!("{release}-{iso}")),
        (release, _) => release.map(str::to_owned),
    };
    found(System::Proxmox, version.as_deref(), Some(Arch::X86_64))
}

/// Fedora CoreOS, as a disc or as the files for a network boot.
fn coreos(files: &dyn Files, label: &str) -> Option<Found> {
    let name = match label.strip_prefix("fedora-coreos-") {
        Some(rest) if files.has("coreos/igninfo.json") || files.has("images/pxeboot/rootfs.img") => rest.to_owned(),
        _ => files.begins("fedora-coreos-")?.trim_start_matches("fedora-coreos-").to_owned(),
    };
    found(System::FedoraCoreos, version_in(&name), arch_in(&name.replace(['-', '.'], " ")))
}

fn flatcar(files: &dyn Files, _: &str) -> Option<Found> {
    let named = files.begins("flatcar_production_").is_some();
    if !named && !files.has("flatcar/vmlinuz") && !files.has("flatcar/vmlinuz.a") {
        return None;
    }
    let text = files.text("version.txt").unwrap_or_default();
    let board = value(&text, "FLATCAR_BOARD").and_then(arch_in);
    found(System::Flatcar, value(&text, "FLATCAR_VERSION"), board)
}

/// `.treeinfo` (productmd), else the older `.discinfo`.
fn red_hat(files: &dyn Files, _: &str) -> Option<Found> {
    let system = |text: &str| {
        let text = text.to_lowercase();
        let known = [
            ("rocky", System::Rocky),
            ("alma", System::Alma),
            ("centos", System::Centos),
            ("fedora", System::Fedora),
            ("red hat", System::Rhel),
            ("rhel", System::Rhel),
        ];
        known.into_iter().find(|(word, _)| text.contains(word)).map(|(_, system)| system)
    };
    if let Some(text) = files.text(".treeinfo") {
        let family = value(&text, "family").or_else(|| value(&text, "name")).unwrap_or_default();
        if let Some(system) = system(family) {
            return found(system, value(&text, "version"), value(&text, "arch").and_then(arch_in));
        }
    }
    let text = files.text(".discinfo")?;
    let mut lines = text.lines().skip(1);
    let name = lines.next()?;
    found(system(name)?, version_in(name), lines.next().and_then(arch_in))
}

fn suse(files: &dyn Files, _: &str) -> Option<Found> {
    let media = files.text("media.1/media")?;
    let products = files.text("media.1/products").unwrap_or_default();
    let text = format!("{media}\n{products}");
    let lower = text.to_lowercase();
    if !lower.contains("suse") && !lower.contains("sle") {
        return None;
    }
    // `/ openSUSE-Leap 15.6-1` names it exactly; the other text has build numbers too.
    let product = products.lines().find_map(|line| line.split_whitespace().nth(2)).and_then(version_in);
    found(System::Suse, product.or_else(|| version_in(media.lines().next()?)), arch_in(&text))
}

/// Debian's and Ubuntu's name of a disc.
fn disk_info(files: &dyn Files, _: &str) -> Option<Found> {
    let text = files.text(".disk/info")?;
    let first = text.lines().next()?;
    let lower = first.to_lowercase();
    let system = if lower.contains("ubuntu") {
        System::Ubuntu
    } else if lower.starts_with("debian") || lower.contains("debian gnu/linux") {
        System::Debian
    } else {
        return None;
    };
    let named = first.split(" - ").next().unwrap_or(first);
    let version = named.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    found(system, version, arch_in(first))
}

/// Debian's netboot.tar.gz, and Ubuntu's of before 20.10.
fn debian_netboot(files: &dyn Files, _: &str) -> Option<Found> {
    let installers = [("debian-installer", System::Debian), ("ubuntu-installer", System::Ubuntu)];
    let (folder, system) = installers.into_iter().find(|(folder, _)| files.has(folder))?;
    let arch =
        ["amd64", "arm64", "i386", "armhf", "riscv64"].into_iter().find(|arch| files.has(&format!("{folder}/{arch}")));
    let text = files.text("version.info").unwrap_or_default();
    found(system, version_in(text.lines().next().unwrap_or_default()), arch.and_then(arch_in))
}

/// Ubuntu's netboot.tar.gz of today: its menus name the disc.
fn ubuntu_netboot(files: &dyn Files, _: &str) -> Option<Found> {
    for arch in ["amd64", "arm64"] {
        let menus = [format!("{arch}/grub/grub.cfg"), format!("{arch}/pxelinux.cfg/default")];
        let Some(text) = menus.iter().find_map(|menu| files.text(menu)).filter(|text| text.contains("ubuntu")) else {
            continue;
        };
        let disc = text.split_whitespace().find(|word| word.contains("ubuntu-") && word.ends_with(".iso"));
        let name = disc.and_then(|disc| disc.rsplit('/').next()).unwrap_or_default();
        return found(System::Ubuntu, version_in(name), arch_in(arch));
    }
    None
}

fn alpine(files: &dyn Files, _: &str) -> Option<Found> {
    let release = files.text(".alpine-release");
    if release.is_none() && !files.has("boot/modloop-lts") && !files.has("boot/modloop-virt") {
        return None;
    }
    let arch = ["x86_64", "aarch64", "x86", "armv7"].into_iter().find(|arch| files.has(&format!("apks/{arch}")));
    found(System::Alpine, release.as_deref().and_then(version_in), arch.and_then(arch_in))
}

fn arch(files: &dyn Files, _: &str) -> Option<Found> {
    if !files.has("arch/boot/x86_64/vmlinuz-linux") && !files.has("arch/x86_64/airootfs.sfs") {
        return None;
    }
    let version = files.text("arch/version").unwrap_or_default();
    found(System::Arch, version.lines().next().map(str::trim), Some(Arch::X86_64))
}

fn nixos(files: &dyn Files, label: &str) -> Option<Found> {
    if !files.has("nix-store.squashfs") {
        return None;
    }
    let version = files.text("version.txt");
    let version = version.as_deref().map(str::trim).filter(|version| !version.is_empty());
    found(System::Nixos, version.or_else(|| version_in(label)), arch_in(label))
}

fn esxi(files: &dyn Files, _: &str) -> Option<Found> {
    let text = files.text("boot.cfg").or_else(|| files.text("BOOT.CFG"))?;
    let ours =
        text.contains("ESXi") || value(&text, "kernel").is_some_and(|kernel| kernel.trim_start_matches('/') == "b.b00");
    let build = value(&text, "build").unwrap_or_default();
    ours.then(|| found(System::Esxi, build.split('-').next(), None)).flatten()
}

fn windows(files: &dyn Files, _: &str) -> Option<Found> {
    files.has("sources/boot.wim").then(|| found(System::Windows, None, None)).flatten()
}

fn memtest(files: &dyn Files, label: &str) -> Option<Found> {
    let there = files.has("boot/memtest") || files.has("boot/memtest.efi") || files.has("boot/mt86plus");
    let named = there || label.to_lowercase().starts_with("mt86plus") || label.to_lowercase().starts_with("memtest86+");
    named.then(|| found(System::Memtest, None, None)).flatten()
}

/// Remixes of Ubuntu's live disc without its name.
fn casper(files: &dyn Files, _: &str) -> Option<Found> {
    files.has("casper/vmlinuz").then(|| found(System::Ubuntu, None, None)).flatten()
}

/// A file by itself, from its unpacked start.
fn alone(head: &[u8]) -> Found {
    let at = |from: usize, wanted: &[u8]| head.get(from..from + wanted.len()) == Some(wanted);
    if at(0, b"hsqs") {
        return Found::only(ImageKind::Squashfs);
    }
    if at(0, b"070701") || at(0, b"070702") {
        return Found::only(ImageKind::Initrd);
    }
    // Linux' boot protocol for x86 (Documentation/arch/x86/boot.rst), and for arm64 (Documentation/arch/arm64/booting.rst).
    let x86 = at(0x202, b"HdrS");
    if x86 || at(0x38, b"ARM\x64") {
        return kernel(head, x86);
    }
    let pe = head.get(0x3c..0x40).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    if at(0, b"MZ")
        && let Some(pe) = pe.and_then(|pe| usize::try_from(pe).ok()).filter(|pe| *pe < head.len())
        && at(pe, b"PE\0\0")
    {
        let machine = head.get(pe + 4..pe + 6);
        let arch = match machine {
            Some([0x64, 0x86]) => Some(Arch::X86_64),
            Some([0x64, 0xaa]) => Some(Arch::Aarch64),
            Some([0x4c, 0x01]) => Some(Arch::X86),
            _ => None,
        };
        let system = names(head, b"Memtest86+").then_some(System::Memtest);
        return Found { system, arch, ..Found::only(ImageKind::Efi) };
    }
    // GPT disks carry the signature of the MBR too (UEFI 5.2.3).
    Found::only(if at(510, &[0x55, 0xaa]) { ImageKind::Disk } else { ImageKind::Unknown })
}

fn kernel(head: &[u8], x86: bool) -> Found {
    let mut found = Found::only(ImageKind::Kernel);
    found.arch = Some(Arch::Aarch64);
    if x86 {
        let flags = head.get(0x236).copied().unwrap_or_default();
        found.arch = Some(if flags & 1 == 1 { Arch::X86_64 } else { Arch::X86 });
        let text = head.get(0x20e..0x210).and_then(|bytes| bytes.try_into().ok()).map(u16::from_le_bytes);
        let text = text.filter(|at| *at > 0).and_then(|at| head.get(usize::from(at) + 0x200..));
        let text = text.map(|bytes| bytes.get(..256.min(bytes.len())).unwrap_or_default());
        let text = text.map(|bytes| bytes.split(|byte| *byte == 0).next().unwrap_or_default());
        let text = String::from_utf8_lossy(text.unwrap_or_default()).into_owned();
        found.system = [("flatcar", System::Flatcar), ("debian", System::Debian), ("Ubuntu", System::Ubuntu)]
            .into_iter()
            .find(|(word, _)| text.contains(word))
            .map(|(_, system)| system);
        let version = text.split_whitespace().next().map(CleanText::new);
        found.version = version.filter(|version| version.as_str().starts_with(|c: char| c.is_ascii_digit()));
    }
    if names(head, b"Memtest86+") {
        (found.system, found.version) = (Some(System::Memtest), None);
    }
    found
}

fn names(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn kind_of(bytes: &[u8]) -> ImageKind {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        recognise(&file).kind
    }

    #[test]
    fn a_disk_is_recognised_through_its_packing_also_when_cut_off() {
        let mut disk = vec![0; 3 << 20];
        disk[510] = 0x55;
        disk[511] = 0xaa;
        assert_eq!(kind_of(&disk), ImageKind::Disk);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&disk).unwrap();
        let packed = gzip.finish().unwrap();
        assert_eq!(kind_of(packed.get(..packed.len() - 100).unwrap()), ImageKind::Disk);
        assert_eq!(kind_of(&[0; 1024]), ImageKind::Unknown);
        assert_eq!(kind_of(b"\x1f\x8bgarbage"), ImageKind::Unknown);
    }
}
