//! dnsmasq in a namespace: a server that many networks run, to prove the tests on and to stand beside.

use crate::console::Console;
use crate::leftovers;
use crate::netns::Netns;
use anyhow::{Context, Result};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

/// A running dnsmasq, without DNS unless a `port` is among its arguments; killed when dropped.
pub struct Dnsmasq {
    child: Child,
    console: Console,
    dir: tempfile::TempDir,
}

impl Dnsmasq {
    /// Starts it with these arguments (`dhcp-range=10.0.0.10,10.0.0.99`, without dashes) and waits until it serves.
    /// Files in [`Dnsmasq::tftp_root`] are served when `enable-tftp` is among them.
    ///
    /// # Errors
    /// When dnsmasq is missing or refuses an argument; its words are in the error.
    pub fn start(ns: &Netns, arguments: &[&str]) -> Result<Self> {
        let dir = leftovers::folder("dnsmasq")?;
        let root = dir.path().join("tftp");
        std::fs::create_dir(&root)?;
        let mut command = ns.command("dnsmasq");
        command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--no-ping"]);
        // Twice it would be refused.
        command.args((!arguments.iter().any(|argument| argument.starts_with("port="))).then_some("--port=0"));
        command.args(["--log-facility=-", "--log-dhcp", "--pid-file="]);
        command.arg(format!("--dhcp-leasefile={}", dir.path().join("leases").display()));
        command.arg(format!("--tftp-root={}", root.display()));
        command.args(arguments.iter().map(|argument| format!("--{argument}")));
        leftovers::end_with_us(&mut command);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let console = Console::new();
        let messages = child.as_mut().ok().and_then(|child| child.stderr.take());
        let dnsmasq = Self { child: child.with_context(|| format!("start {command:?}"))?, console, dir };
        if let Some(messages) = messages {
            dnsmasq.console.follow(messages, None)?;
        }
        dnsmasq.console.wait_for("started", Duration::from_secs(30))?;
        // It says "started" once and lists its services after it; the sockets are open by then.
        Ok(dnsmasq)
    }

    /// What it logs.
    #[must_use]
    pub fn log(&self) -> &Console {
        &self.console
    }

    /// The folder that its TFTP serves.
    #[must_use]
    pub fn tftp_root(&self) -> std::path::PathBuf {
        self.dir.path().join("tftp")
    }

    /// Puts a file into [`Dnsmasq::tftp_root`].
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.tftp_root().join(Path::new(name));
        std::fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
