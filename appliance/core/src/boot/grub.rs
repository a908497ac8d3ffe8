//! The decision as a GRUB configuration (GRUB manual, "Shell-like scripting" and "Network").

use super::{
    decide::BootDecision,
    script::{DISTRIBUTIONS, Over, ScriptContext, plain, ram_os_arch},
};
use std::fmt::Write as _;

/// Renders the configuration; `None` for [`BootDecision::Silence`].
#[must_use]
pub fn config(decision: BootDecision, context: &ScriptContext<'_>) -> Option<String> {
    let name = plain(context.name);
    let url = context.box_url;
    let mut out = String::from("# Rackberry\n");
    // Writing to a String cannot fail.
    let _ = match decision {
        BootDecision::Silence => return None,
        BootDecision::RamOs(why) => {
            let arch = ram_os_arch(context.arch);
            let device = device(context);
            let args: String = plain(context.kernel_args).split_whitespace().map(|arg| format!(" '{arg}'")).collect();
            write!(
                out,
                "echo \"Rackberry: {name}: starting the RAM OS, {why}\"\n\
                 if linux {device}/ramos/{arch}/vmlinuz 'rackberry.url={url}' 'rackberry.token={token}' 'BOOTIF=01-{mac}'{args}; then\n  \
                 if initrd {device}/ramos/{arch}/early.img; then\n    boot\n  fi\nfi\n\
                 echo \"Rackberry: the RAM OS did not load from {url}\"\n{AGAIN}",
                why = why.sentence(),
                token = context.token,
                mac = context.mac.hyphens(),
            )
        }
        BootDecision::LocalDisk => {
            write!(out, "echo \"Rackberry: {name} starts from its own disk\"\n{}", local_disk())
        }
        BootDecision::NothingToBoot => write!(
            out,
            "echo \"Rackberry: {name} has an empty disk, and no install is armed.\"\n\
             echo \"Open the page of the box at {url} and press Install on {name}.\"\n{AGAIN}"
        ),
        BootDecision::Installer | BootDecision::Live => match context.files {
            Some(files) => {
                let device = device(context);
                let initrds: Vec<String> = files.initrds.iter().map(|path| format!("{device}/{path}")).collect();
                let boot = match initrds.is_empty() {
                    true => "  boot\n".to_owned(),
                    false => format!("  if initrd {}; then\n    boot\n  fi\n", initrds.join(" ")),
                };
                write!(
                    out,
                    "echo \"Rackberry: {name}: starting {title}\"\n\
                     if linux {device}/{kernel} {args}; then\n{boot}fi\n\
                     echo \"Rackberry: {title} did not load from {url}\"\n{AGAIN}",
                    title = plain(&files.title),
                    kernel = files.kernel,
                    args = files.args.grub(),
                )
            }
            None => write!(
                out,
                "echo \"Rackberry: {name}: what it shall boot could not be put together. The page of {url} says why.\"\n{AGAIN}"
            ),
        },
        BootDecision::OwnFiles => write!(
            out,
            "echo \"Rackberry: {name} is set to boot your own files, and none of them is for it.\"\n\
             echo \"Put grub/grub.cfg-01-{} or grub/grub.cfg into the files folder of {url}.\"\n{AGAIN}",
            context.mac.hyphens(),
        ),
    };
    Some(out)
}

/// For a machine that did not say who it is: it asks again under its card's address, and leaves if nobody knows that.
#[must_use]
pub fn ask_again(box_url: &str, over: Over) -> String {
    format!(
        "# Rackberry\n\
         if [ -n \"$net_default_mac\" ]; then\n  configfile {}/grub/grub.cfg-01-$net_default_mac\nfi\n\
         echo \"Rackberry: this machine is not known here and starts from its own disk\"\n{}",
        network_device(box_url, over),
        local_disk()
    )
}

/// A configuration that loads itself again and again fills GRUB's memory, so the machine starts over instead.
const AGAIN: &str = "echo \"Starting over in 60 seconds.\"\nsleep 60\nreboot\n";

fn device(context: &ScriptContext<'_>) -> String {
    network_device(context.box_url, context.over)
}

fn network_device(box_url: &str, over: Over) -> String {
    let server = box_url.strip_prefix("http://").unwrap_or(box_url);
    match over {
        Over::Http => format!("(http,{server})"),
        Over::Tftp => format!("(tftp,{})", server.split(':').next().unwrap_or(server)),
    }
}

/// The GRUB configuration that a distribution left on a disk: its shim cannot be started by GRUB 2.12. Everything else
/// is the firmware's, which goes on to its next boot entry.
fn local_disk() -> String {
    format!(
        "if [ \"$grub_platform\" != \"pc\" ]; then\n  \
           insmod regexp\n  insmod part_gpt\n  insmod fat\n  \
           for part in (hd*,gpt*); do\n    \
             for folder in {}; do\n      \
               if [ -f \"$part/EFI/$folder/grub.cfg\" ]; then\n        \
                 configfile \"$part/EFI/$folder/grub.cfg\"\n      \
               fi\n    done\n  done\nfi\nexit\n",
        DISTRIBUTIONS.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::{super::decide::Why, *};
    use crate::boot::script::tests::context;

    #[test]
    fn the_ram_os_configuration_is_the_reviewed_one() {
        let golden = "# Rackberry\n\
            echo \"Rackberry: node-01: starting the RAM OS, an install waits for this machine\"\n\
            if linux (tftp,192.168.77.1)/ramos/x86_64/vmlinuz 'rackberry.url=http://192.168.77.1:8080' 'rackberry.token=00ff' 'BOOTIF=01-52-54-00-77-00-01' 'quiet'; then\n  \
            if initrd (tftp,192.168.77.1)/ramos/x86_64/early.img; then\n    boot\n  fi\nfi\n\
            echo \"Rackberry: the RAM OS did not load from http://192.168.77.1:8080\"\n\
            echo \"Starting over in 60 seconds.\"\nsleep 60\nreboot\n";
        let other =
            ScriptContext { over: Over::Tftp, box_url: "http://192.168.77.1:8080", kernel_args: "quiet", ..context() };
        assert_eq!(config(BootDecision::RamOs(Why::Install), &other).as_deref(), Some(golden));
        assert!(config(BootDecision::RamOs(Why::Install), &context()).unwrap().contains("(http,192.168.77.1)/ramos/"));
        assert_eq!(config(BootDecision::Silence, &context()), None);
    }

    #[test]
    fn an_installers_arguments_are_words_of_the_shell() {
        let files = crate::boot::script::tests::installer();
        let text = config(BootDecision::Installer, &ScriptContext { files: Some(&files), ..context() }).unwrap();
        assert!(
            text.contains(
                "if linux (http,192.168.77.1)/images/aa/linux 'ds=nocloud;s=http://192.168.77.1/answers/tt/' 'rancher=['\\''a'\\'']' 'quiet'; then\n  \
                 if initrd (http,192.168.77.1)/images/aa/initrd.gz (http,192.168.77.1)/answers/tt/initrd; then\n    boot\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_machine_without_a_name_asks_by_its_card() {
        let text = ask_again("http://192.168.77.1", Over::Tftp);
        assert!(text.contains("configfile (tftp,192.168.77.1)/grub/grub.cfg-01-$net_default_mac\n"), "{text}");
        assert!(text.ends_with("exit\n"));
    }
}
