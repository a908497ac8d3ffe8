//! What machines ask a box for by HTTP and TFTP, heard on its bridge: in their order, whoever answers.

use crate::{console::Console, leftovers, netns::Netns};
use anyhow::{Context, Result};
use std::{
    process::{Child, Stdio},
    time::Duration,
};

/// A listener on an interface; it ends when dropped.
pub struct Overheard {
    child: Child,
    console: Console,
}

impl Overheard {
    /// Listens to what is sent to ports 80 (TCP) and 69 (UDP) there.
    ///
    /// # Errors
    /// When tcpdump is missing or does not begin.
    pub fn on(ns: &Netns, interface: &str) -> Result<Self> {
        let mut command = ns.command("tcpdump");
        command.args(["-l", "-n", "-A", "--immediate-mode", "-s", "1500", "-i", interface]);
        // Of TCP only what carries data that begins as a request does; downloads are answered by bare acknowledgements.
        command.arg("udp dst port 69 or (tcp dst port 80 and (tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420 or tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x48454144))");
        leftovers::end_with_us(&mut command);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start tcpdump")?;
        let (console, said) = (Console::new(), Console::new());
        if let Some(output) = child.stdout.take() {
            console.follow(output, None)?;
        }
        if let Some(output) = child.stderr.take() {
            said.follow(output, None)?;
        }
        let overheard = Self { child, console };
        said.wait_for("listening on", Duration::from_secs(30))?;
        Ok(overheard)
    }

    /// Paths by HTTP with their method, names by TFTP as `RRQ name`; the oldest first, what is asked again in a row only once.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        let text = self.console.text();
        let mut requests: Vec<String> = text.lines().filter_map(request).collect();
        requests.dedup();
        requests
    }
}

fn request(line: &str) -> Option<String> {
    for method in ["GET /", "HEAD /"] {
        let found = line.find(method).and_then(|at| line.get(at..)).and_then(|rest| rest.split_once(" HTTP/1"));
        if let Some((request, _)) = found {
            return Some(request.to_owned());
        }
    }
    let (_, name) = line.split_once("RRQ \"")?;
    name.split_once('"').map(|(name, _)| format!("RRQ {name}"))
}

impl Drop for Overheard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
