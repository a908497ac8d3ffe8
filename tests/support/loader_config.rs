//! PXELINUX and GRUB configurations, read as strictly as boot scripts: one line that none of ours has makes it another.

use crate::fake_host::Script;

/// What a PXELINUX configuration makes a machine do.
#[must_use]
pub fn pxelinux(text: &str) -> Script {
    let other = || Script::Other(text.to_owned());
    let (mut kernel, mut leaves, mut asks) = (None, false, false);
    for line in text.lines() {
        let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let ram_os = |file: &str| {
            let path = rest
                .strip_prefix("::")
                .or_else(|| rest.strip_prefix('/'))
                .or_else(|| rest.strip_prefix("http://").and_then(|r| r.split_once('/')).map(|r| r.1));
            path.is_some_and(|path| path.starts_with("ramos/") && path.ends_with(file))
        };
        let known = match word {
            "#" | "SAY" | "PROMPT" | "TIMEOUT" | "DEFAULT" | "LABEL" => true,
            "KERNEL" => ram_os("/vmlinuz"),
            "INITRD" => ram_os("/early.img"),
            "APPEND" => {
                kernel = arguments(rest);
                kernel.is_some()
            }
            "LOCALBOOT" => {
                leaves = true;
                rest == "-1"
            }
            "CONFIG" => {
                asks = true;
                rest.contains("pxelinux.cfg/01-")
            }
            _ => false,
        };
        if !known {
            return other();
        }
    }
    judge(kernel, leaves, asks, text)
}

/// What a GRUB configuration makes a machine do.
#[must_use]
pub fn grub(text: &str) -> Script {
    let (mut kernel, mut leaves, mut asks) = (None, false, false);
    for line in text.lines() {
        let line = line.trim();
        let ours = |rest: &str, file: &str| {
            let path = rest
                .split_once(")/")
                .filter(|(device, _)| device.starts_with("(tftp,") || device.starts_with("(http,"));
            path.is_some_and(|(_, path)| path.starts_with("ramos/") && path.contains(file))
        };
        let known = if let Some(rest) = line.strip_prefix("if linux ") {
            kernel = arguments(&rest.trim_end_matches("; then").replace('\'', ""));
            ours(rest, "/vmlinuz ") && kernel.is_some()
        } else if let Some(rest) = line.strip_prefix("if initrd ") {
            ours(rest, "/early.img; then")
        } else if let Some(rest) = line.strip_prefix("configfile ") {
            // A disk's own, or under its card's address.
            asks |= rest.ends_with("/grub/grub.cfg-01-$net_default_mac");
            rest == "\"$part/EFI/$folder/grub.cfg\"" || asks
        } else {
            leaves |= line == "exit";
            let words =
                ["boot", "fi", "done", "exit", "reboot", "sleep 60", "insmod regexp", "insmod part_gpt", "insmod fat"];
            let starts = ["# ", "echo \"", "if [ ", "for part in (hd*,gpt*); do", "for folder in "];
            words.contains(&line) || starts.iter().any(|start| line.starts_with(start))
        };
        if !known {
            return Script::Other(text.to_owned());
        }
    }
    judge(kernel, leaves, asks || text.ends_with("reboot\n") && kernel_less(text), text)
}

fn kernel_less(text: &str) -> bool {
    !text.contains("if linux ")
}

fn arguments(line: &str) -> Option<(String, String)> {
    let value = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name)).map(str::to_owned);
    value("rackberry.url=").zip(value("rackberry.token="))
}

fn judge(kernel: Option<(String, String)>, leaves: bool, asks: bool, text: &str) -> Script {
    match (kernel, leaves, asks) {
        (Some((url, token)), false, false) => Script::RamOs { url, token },
        (None, true, false) => Script::LocalDisk,
        (None, false, true) if text.contains("empty disk") => Script::NothingToBoot,
        (None, _, true) => Script::AskAgain,
        _ => Script::Other(text.to_owned()),
    }
}
