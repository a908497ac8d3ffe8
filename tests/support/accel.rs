//! Whether hardware virtualisation can be trusted here.
//!
//! On some build machines `/dev/kvm` opens and firmware runs under it, and then a Linux kernel hangs without a word. So
//! KVM is used only after a kernel has printed its first line under it.

use crate::console::Console;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// How QEMU runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// Hardware virtualisation, seen to work.
    Kvm,
    /// Emulation: slow and everywhere.
    Tcg,
}

impl Accel {
    /// The fastest that works here for x86 guests; decided once. `RACKBERRY_ACCEL=tcg` forces emulation.
    #[must_use]
    pub fn here() -> Self {
        static DECIDED: OnceLock<Accel> = OnceLock::new();
        *DECIDED.get_or_init(|| {
            let forced = std::env::var("RACKBERRY_ACCEL").is_ok_and(|value| value == "tcg");
            if !forced && Path::new("/dev/kvm").exists() && probe_kernels().iter().any(|kernel| boots(kernel)) {
                Self::Kvm
            } else {
                Self::Tcg
            }
        })
    }

    /// QEMU's arguments for accelerator and processor of an x86 guest.
    ///
    /// QEMU 7.2 emulates `cmpxchg16b` wrongly: after it the flags hold a data word, so that kernels of the 6.x series,
    /// which use it in their allocator, die of double faults or stray debug traps at random. Without the processor
    /// flag they take another way. Left alone it keeps up to 1 GiB of translated code for each machine; an eighth of that
    /// serves as well, and two machines fit into a computer of 4 GB.
    #[must_use]
    pub fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => ["-accel", "tcg,tb-size=128", "-cpu", "qemu64,-cx16"],
        }
    }
}

/// Kernels to try: one named by `RACKBERRY_PROBE_KERNEL`, then this machine's own.
fn probe_kernels() -> Vec<PathBuf> {
    let named = std::env::var_os("RACKBERRY_PROBE_KERNEL").map(PathBuf::from);
    let own = std::fs::read_dir("/boot").into_iter().flatten().flatten().map(|entry| entry.path());
    let own = own.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")));
    named.into_iter().chain(own.take(1)).filter(|path| path.is_file()).collect()
}

fn boots(kernel: &Path) -> bool {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-accel", "kvm", "-cpu", "host", "-m", "256", "-nodefaults", "-display", "none", "-no-reboot"]);
    command.args([
        "-chardev",
        "stdio,id=s0,signal=off",
        "-serial",
        "chardev:s0",
        "-append",
        "console=ttyS0",
        "-kernel",
    ]);
    let child = command.arg(kernel).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let Ok(mut child) = child else {
        return false;
    };
    let console = Console::new();
    let heard = child.stdout.take().is_some_and(|output| {
        console.follow(output, None).is_ok() && console.wait_for("Linux version", Duration::from_secs(5)).is_ok()
    });
    let _ = child.kill();
    let _ = child.wait();
    heard
}
