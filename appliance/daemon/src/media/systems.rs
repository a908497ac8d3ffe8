//! Every system that is recognised, by media with the layout and the words of the real one, and none of its content.

use super::recognise::recognise;
use rackberry_core::{
    host::Arch,
    image::{ImageKind, System},
};
use std::{fs::File, process::Command};

/// The name, what makes its folder, how that is packed, and what it has to be taken for.
type Case = (&'static str, &'static str, Pack, Option<System>, Option<&'static str>, Option<Arch>);

#[derive(Clone, Copy)]
enum Pack {
    /// With this label.
    Iso(&'static str),
    /// As Microsoft and VMware do: no Rock Ridge.
    PlainIso(&'static str),
    Udf(&'static str),
    Tar,
}
use Pack::{Iso, PlainIso, Tar, Udf};

const X64: Option<Arch> = Some(Arch::X86_64);
const ARM: Option<Arch> = Some(Arch::Aarch64);

const CASES: &[Case] = &[
    (
        "Debian netinst",
        "mkdir .disk install.amd; echo 'Debian GNU/Linux 13.1.0 \"Trixie\" - Official amd64 NETINST with firmware 20250906-10:22' \
         > .disk/info; echo k > install.amd/vmlinuz",
        Iso("Debian 13.1.0 amd64 n"),
        Some(System::Debian),
        Some("13.1.0"),
        X64,
    ),
    (
        "Debian live",
        "mkdir .disk live; echo 'Official Debian GNU/Linux Live 12.5.0 gnome 2024-02-10T11:49' > .disk/info; \
         echo s > live/filesystem.squashfs; mkdir -p EFI/BOOT; echo x > EFI/BOOT/BOOTX64.EFI",
        Iso("d-live 12.5.0 gn amd64"),
        Some(System::Debian),
        Some("12.5.0"),
        X64,
    ),
    (
        "Debian netboot",
        "mkdir -p debian-installer/arm64; echo k > debian-installer/arm64/linux; \
         printf 'Debian version:  13 (trixie)\\nInstaller build: 20250803\\n' > version.info",
        Tar,
        Some(System::Debian),
        Some("13"),
        ARM,
    ),
    (
        "Ubuntu server",
        "mkdir .disk casper; echo 'Ubuntu-Server 24.04.1 LTS \"Noble Numbat\" - Release amd64 (20240827)' > .disk/info; \
         echo k > casper/vmlinuz",
        Iso("Ubuntu-Server 24.04.1 LTS amd64"),
        Some(System::Ubuntu),
        Some("24.04.1"),
        X64,
    ),
    (
        "Ubuntu netboot",
        "mkdir -p amd64/grub; printf 'menuentry \"Install Ubuntu Server\" {\\n linux linux iso-url=http://x.invalid/noble/ubuntu-24.04.1-live-server-amd64.iso ---\\n}\\n' \
         > amd64/grub/grub.cfg; echo k > amd64/linux",
        Tar,
        Some(System::Ubuntu),
        Some("24.04.1"),
        X64,
    ),
    (
        "RHEL",
        "printf '[general]\\nfamily = Red Hat Enterprise Linux\\nversion = 9.4\\narch = x86_64\\nvariant = BaseOS\\n' > .treeinfo",
        Iso("RHEL-9-4-0-BaseOS-x86_64"),
        Some(System::Rhel),
        Some("9.4"),
        X64,
    ),
    (
        "Rocky",
        "printf '[general]\\narch = aarch64\\nfamily = Rocky Linux\\nname = Rocky Linux 9.4\\nversion = 9.4\\n' > .treeinfo",
        Iso("Rocky-9-4-aarch64-dvd"),
        Some(System::Rocky),
        Some("9.4"),
        ARM,
    ),
    (
        "Alma, by the older file",
        "printf '1714495513.0\\nAlmaLinux 9.4\\nx86_64\\n' > .discinfo",
        Iso("AlmaLinux-9-4-x86_64-dvd"),
        Some(System::Alma),
        Some("9.4"),
        X64,
    ),
    (
        "CentOS 6",
        "printf '[general]\\nfamily = CentOS\\ntimestamp = 1530291221.11\\nversion = 6.10\\narch = x86_64\\n' > .treeinfo",
        Iso("CentOS_6.10_Final"),
        Some(System::Centos),
        Some("6.10"),
        X64,
    ),
    (
        "CentOS Stream as a folder",
        "printf '[general]\\nfamily = CentOS Stream\\nversion = 10\\narch = x86_64\\n' > .treeinfo; mkdir -p images/pxeboot",
        Tar,
        Some(System::Centos),
        Some("10"),
        X64,
    ),
    (
        "Fedora",
        "printf '[general]\\nfamily = Fedora\\nname = Fedora 42\\nversion = 42\\narch = x86_64\\n' > .treeinfo",
        Iso("Fedora-S-dvd-x86_64-42"),
        Some(System::Fedora),
        Some("42"),
        X64,
    ),
    (
        "Fedora CoreOS",
        "mkdir -p coreos images/pxeboot EFI/BOOT; echo '{}' > coreos/igninfo.json; echo r > images/pxeboot/rootfs.img; \
         echo x > EFI/BOOT/BOOTX64.EFI",
        Iso("fedora-coreos-42.20250512.3.0"),
        Some(System::FedoraCoreos),
        Some("42.20250512.3.0"),
        X64,
    ),
    (
        "Fedora CoreOS for the network",
        "for part in kernel.x86_64 initramfs.x86_64.img rootfs.x86_64.img; do echo x > fedora-coreos-42.20250512.3.0-live-$part; done",
        Tar,
        Some(System::FedoraCoreos),
        Some("42.20250512.3.0"),
        X64,
    ),
    (
        "Flatcar",
        "echo k > flatcar_production_pxe.vmlinuz; echo i > flatcar_production_pxe_image.cpio.gz; \
         printf 'FLATCAR_BUILD=4081\\nFLATCAR_VERSION=4081.2.0\\nFLATCAR_BOARD=\"amd64-usr\"\\n' > version.txt",
        Tar,
        Some(System::Flatcar),
        Some("4081.2.0"),
        X64,
    ),
    (
        "SUSE",
        "mkdir media.1; printf 'openSUSE - openSUSE-Leap-15.6-DVD-x86_64-Build710.3-Media\\nopenSUSE-Leap-15.6-DVD-x86_64-Build710.3\\n2\\n' \
         > media.1/media; echo '/ openSUSE-Leap 15.6-1' > media.1/products",
        Iso("openSUSE-Leap-15.6-DVD-x86_64710"),
        Some(System::Suse),
        Some("15.6"),
        X64,
    ),
    (
        "Alpine",
        "mkdir -p apks/x86_64 boot; echo 'alpine-virt-3.20.3 240906' > .alpine-release; echo k > boot/vmlinuz-virt",
        Iso("alpine-virt 3.20.3 x86_64"),
        Some(System::Alpine),
        Some("3.20.3"),
        X64,
    ),
    (
        "Arch",
        "mkdir -p arch/boot/x86_64 arch/x86_64; echo 2024.10.01 > arch/version; echo k > arch/boot/x86_64/vmlinuz-linux",
        Iso("ARCH_202410"),
        Some(System::Arch),
        Some("2024.10.01"),
        X64,
    ),
    (
        "NixOS",
        "echo s > nix-store.squashfs; printf '24.05.5518.ecbc1ca8ffd6' > version.txt",
        Iso("nixos-minimal-24.05-x86_64"),
        Some(System::Nixos),
        Some("24.05.5518.ecbc1ca8ffd6"),
        X64,
    ),
    (
        "Proxmox",
        "printf \"PRODUCT='pve'\\nPRODUCTLONG='Proxmox VE'\\nRELEASE='8.2'\\nISORELEASE='1'\\n\" > .cd-info; echo s > pve-base.squashfs",
        Iso("PVE"),
        Some(System::Proxmox),
        Some("8.2-1"),
        X64,
    ),
    (
        "ESXi",
        "printf 'bootstate=0\\ntitle=Loading ESXi installer\\nkernel=/b.b00\\nkernelopt=runweasel cdromBoot\\nbuild=8.0.2-0.0.22380479\\n' \
         > BOOT.CFG; mkdir -p EFI/BOOT; echo x > EFI/BOOT/BOOTX64.EFI",
        PlainIso("ESXI-8.0U2-22380479"),
        Some(System::Esxi),
        Some("8.0.2"),
        X64,
    ),
    (
        "Windows",
        "mkdir -p sources efi/boot; echo w > sources/boot.wim; echo x > efi/boot/bootx64.efi",
        Udf("CCCOMA_X64FRE_EN-US_DV9"),
        Some(System::Windows),
        None,
        X64,
    ),
    (
        "memtest86+",
        "mkdir -p boot EFI/BOOT; echo m > boot/memtest; echo x > EFI/BOOT/BOOTX64.EFI",
        Iso("MT86PLUS_64"),
        Some(System::Memtest),
        None,
        X64,
    ),
    ("something else", "mkdir docs; echo hello > docs/readme", Iso("HOLIDAY"), None, None, None),
    ("some folder", "mkdir docs; echo hello > docs/readme", Tar, None, None, None),
];

fn made(script: &str) -> File {
    let folder = tempfile::tempdir().unwrap();
    let ran = Command::new("sh").arg("-ec").arg(script).current_dir(folder.path()).output().unwrap();
    assert!(ran.status.success(), "{script}: {}", String::from_utf8_lossy(&ran.stderr));
    File::open(folder.path().join("out")).unwrap()
}

#[test]
fn each_system_is_told_by_what_its_media_hold() {
    for (name, script, pack, system, version, arch) in CASES {
        let (pack, label) = match pack {
            Iso(label) => (format!("xorriso -as mkisofs -quiet -R -J -V '{label}' -o out in"), *label),
            PlainIso(label) => {
                (format!("xorriso -as mkisofs -quiet --norock -iso-level 3 -V '{label}' -o out in"), *label)
            }
            Udf(label) => (format!("genisoimage -quiet -udf -V '{label}' -o out in"), *label),
            Tar => ("tar -cf out -C in .".to_owned(), ""),
        };
        let found = recognise(&made(&format!("mkdir in; (cd in; {script}); {pack}")));
        assert_eq!(found.system, *system, "{name}: {found:?}");
        assert_eq!(found.version.as_ref().map(|version| version.as_str()), *version, "{name}");
        assert_eq!(found.arch, *arch, "{name}");
        assert_eq!(found.label.as_ref().map_or("", |label| label.as_str()), label, "{name}");
        assert_eq!(found.kind, if label.is_empty() { ImageKind::Tree } else { ImageKind::Iso }, "{name}");
    }
    let known: Vec<System> = CASES.iter().filter_map(|case| case.3).collect();
    for system in System::ALL {
        assert!(known.contains(&system), "no media of {system}");
    }
}

#[test]
fn single_files_are_told_by_their_magic() {
    let zeros = "head -c 4096 /dev/zero > out; put() { printf \"$2\" | dd of=out bs=1 seek=$(($1)) conv=notrunc 2>/dev/null; };";
    let cases = [
        ("put 0 hsqs", ImageKind::Squashfs, None, None),
        ("put 510 'U\\252'", ImageKind::Disk, None, None),
        ("put 510 'U\\252'; put 0x202 HdrS; put 0x236 '\\001'", ImageKind::Kernel, X64, None),
        (
            "put 0x202 HdrS; put 0x236 '\\001'; put 0x20e '\\000\\010'; put 0xa00 '5.15.111-flatcar (build@x) #1'",
            ImageKind::Kernel,
            X64,
            Some(System::Flatcar),
        ),
        ("put 0x38 'ARM\\144'; gzip out; mv out.gz out", ImageKind::Kernel, ARM, None),
        ("put 0x202 HdrS; put 1024 'Memtest86+ v7.00'", ImageKind::Kernel, Some(Arch::X86), Some(System::Memtest)),
        ("put 0 MZ; put 0x3c '\\200'; put 128 'PE\\000\\000\\144\\206'", ImageKind::Efi, X64, None),
        ("put 0 070701", ImageKind::Initrd, None, None),
        ("put 0 070701; xz out; mv out.xz out", ImageKind::Initrd, None, None),
        ("true", ImageKind::Unknown, None, None),
    ];
    for (script, kind, arch, system) in cases {
        let found = recognise(&made(&format!("{zeros} {script}")));
        assert_eq!((found.kind, found.arch, found.system), (kind, arch, system), "{script}");
    }
}
