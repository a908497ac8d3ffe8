//! The decision as a PXELINUX configuration (Syslinux `doc/syslinux.txt`); U-Boot reads the same.

use super::{
    decide::BootDecision,
    script::{Over, ScriptContext, plain, ram_os_arch},
};
use crate::host::Arch;
use std::fmt::Write as _;

/// Renders the configuration; `None` for [`BootDecision::Silence`].
#[must_use]
pub fn config(decision: BootDecision, context: &ScriptContext<'_>) -> Option<String> {
    let name = plain(context.name);
    let url = context.box_url;
    let mut out = String::from("# Rackberry\nPROMPT 0\n");
    // Writing to a String cannot fail.
    let _ = match decision {
        BootDecision::Silence => return None,
        BootDecision::RamOs(why) => {
            let args = plain(context.kernel_args);
            write!(
                out,
                "SAY Rackberry: {name}: starting the RAM OS, {why}\n\
                 DEFAULT ramos\n\
                 LABEL ramos\n  KERNEL {files}/vmlinuz\n  INITRD {files}/early.img\n  \
                 APPEND rackberry.url={url} rackberry.token={token} BOOTIF=01-{mac}{space}{args}\n",
                why = why.sentence(),
                files = ram_os_files(context),
                token = context.token,
                mac = context.mac.hyphens(),
                space = if args.is_empty() { "" } else { " " },
            )
        }
        // -1 gives the boot back to the firmware, which goes on to its next device, as iPXE's `exit` does; UEFI too.
        BootDecision::LocalDisk => {
            write!(out, "SAY Rackberry: {name} starts from its own disk\nDEFAULT local\nLABEL local\n  LOCALBOOT -1\n")
        }
        BootDecision::NothingToBoot => write!(
            out,
            "SAY Rackberry: {name} has an empty disk, and no install is armed.\n\
             SAY Open the page of the box at {url} and press Install on {name}.\n{}",
            again(context)
        ),
        BootDecision::Installer | BootDecision::Live => match context.files {
            Some(files) => {
                let at = |path: &String| below(context, path);
                let initrds: Vec<String> = files.initrds.iter().map(at).collect();
                let initrds =
                    if initrds.is_empty() { String::new() } else { format!("  INITRD {}\n", initrds.join(",")) };
                write!(
                    out,
                    "SAY Rackberry: {name}: starting {title}\nDEFAULT system\nLABEL system\n  LINUX {kernel}\n{initrds}  APPEND {args}\n",
                    title = plain(&files.title),
                    kernel = at(&files.kernel),
                    args = files.args.pxelinux(),
                )
            }
            None => write!(
                out,
                "SAY Rackberry: {name}: what it shall boot could not be put together. The page of {url} says why.\n{}",
                again(context)
            ),
        },
        BootDecision::OwnFiles => write!(
            out,
            "SAY Rackberry: {name} is set to boot your own files, and none of them is for it.\n\
             SAY Put pxelinux.cfg/01-{} or pxelinux.cfg/default into the files folder of {url}.\n{}",
            context.mac.hyphens(),
            again(context)
        ),
    };
    Some(out)
}

/// For a machine that nobody knows and that did not say who it is.
#[must_use]
pub fn nobody() -> String {
    "# Rackberry\nPROMPT 0\nSAY Rackberry: this machine is not known here and starts from its own disk\n\
     DEFAULT local\nLABEL local\n  LOCALBOOT -1\n"
        .to_owned()
}

/// A time-out counts only while PXELINUX prompts.
fn again(context: &ScriptContext<'_>) -> String {
    let file = match context.over {
        Over::Tftp => format!("::pxelinux.cfg/01-{}", context.mac.hyphens()),
        Over::Http => format!("{}/pxelinux.cfg/01-{}", context.box_url, context.mac.hyphens()),
    };
    format!("SAY Asking again in 10 seconds.\nPROMPT 1\nTIMEOUT 100\nDEFAULT again\nLABEL again\n  CONFIG {file}\n")
}

/// By the way the configuration came, as `pxelinux.0` speaks no HTTP. Two colons take the folder of the boot file away;
/// U-Boot, which alone reads this on Arm, takes a slash for that.
fn ram_os_files(context: &ScriptContext<'_>) -> String {
    below(context, &format!("ramos/{}", ram_os_arch(context.arch)))
}

/// Where a loader finds a file of the box. U-Boot, which reads these configurations on Arm, knows no `::`.
fn below(context: &ScriptContext<'_>, path: &str) -> String {
    match (context.over, ram_os_arch(context.arch)) {
        (Over::Http, _) => format!("{}/{path}", context.box_url),
        (Over::Tftp, Arch::Aarch64) => format!("/{path}"),
        (Over::Tftp, _) => format!("::{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::decide::Why, *};
    use crate::boot::script::tests::context;

    #[test]
    fn the_ram_os_configuration_is_the_reviewed_one() {
        let golden = "# Rackberry\nPROMPT 0\n\
            SAY Rackberry: node-01: starting the RAM OS, an install waits for this machine\n\
            DEFAULT ramos\nLABEL ramos\n  KERNEL ::ramos/x86_64/vmlinuz\n  INITRD ::ramos/x86_64/early.img\n  \
            APPEND rackberry.url=http://192.168.77.1 rackberry.token=00ff BOOTIF=01-52-54-00-77-00-01\n";
        let by_tftp = ScriptContext { over: Over::Tftp, ..context() };
        assert_eq!(config(BootDecision::RamOs(Why::Install), &by_tftp).as_deref(), Some(golden));
        let by_http = config(BootDecision::RamOs(Why::Install), &context()).unwrap();
        assert!(by_http.contains("KERNEL http://192.168.77.1/ramos/x86_64/vmlinuz\n"), "{by_http}");
        assert_eq!(config(BootDecision::Silence, &context()), None);
    }

    #[test]
    fn an_installer_is_a_linux_with_its_initrds_in_order() {
        let files = crate::boot::script::tests::installer();
        let by_tftp = ScriptContext { over: Over::Tftp, files: Some(&files), ..context() };
        let golden = "# Rackberry\nPROMPT 0\nSAY Rackberry: node-01: starting Debian 13\nDEFAULT system\nLABEL system\n  \
            LINUX ::images/aa/linux\n  INITRD ::images/aa/initrd.gz,::answers/tt/initrd\n  \
            APPEND ds=nocloud;s=http://192.168.77.1/answers/tt/ rancher=['a'] quiet\n";
        assert_eq!(config(BootDecision::Installer, &by_tftp).as_deref(), Some(golden));
    }

    #[test]
    fn only_the_local_disk_leaves() {
        for decision in [BootDecision::NothingToBoot, BootDecision::OwnFiles, BootDecision::RamOs(Why::Policy)] {
            assert!(!config(decision, &context()).unwrap().contains("LOCALBOOT"), "{decision:?}");
        }
        assert!(config(BootDecision::LocalDisk, &context()).unwrap().ends_with("LOCALBOOT -1\n"));
    }
}
