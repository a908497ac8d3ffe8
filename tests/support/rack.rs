//! A virtual rack: a namespace with a bridge, the box on it, and machines on taps. The demo and the QEMU tests share it.

use crate::{
    appliance::{self, Appliance},
    netns::Netns,
    vm::{Builder, Vm},
};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{
    cell::Cell,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// The bridge's name, and the box's interface.
pub const BRIDGE: &str = "br0";
/// The box's address in the rack.
pub const ADDRESS: &str = "192.168.77.1";

/// A rack with a running box. Fields drop in order: the box before its network.
pub struct Rack {
    pub appliance: Appliance,
    pub ns: Netns,
    taps: Cell<u32>,
}

/// Where loaders, RAM OS and catalogue lie: `RACKBERRY_SHARE`, as `./x` prepares it.
///
/// # Errors
/// When it is not set or holds no RAM OS.
pub fn share() -> Result<PathBuf> {
    let share = std::env::var_os("RACKBERRY_SHARE").context("RACKBERRY_SHARE is not set: run this through ./x")?;
    let share = PathBuf::from(share);
    if !share.join("ramos/x86_64/vmlinuz").is_file() {
        bail!("there is no RAM OS in {}: run ./x prepare", share.display());
    }
    Ok(share)
}

/// The Debian image to install: `RACKBERRY_IMAGE`, as `./x` prepares it.
///
/// # Errors
/// When it is not set.
pub fn image() -> Result<PathBuf> {
    named("RACKBERRY_IMAGE")
}

/// The Debian image with cloud-init: `RACKBERRY_CLOUD_IMAGE`, as `./x test` prepares it.
///
/// # Errors
/// When it is not set.
pub fn cloud_image() -> Result<PathBuf> {
    named("RACKBERRY_CLOUD_IMAGE")
}

/// The folder of media for the catalogue's profiles: `RACKBERRY_MEDIA`, as `./x test` prepares it.
///
/// # Errors
/// When it is not set.
pub fn media() -> Result<PathBuf> {
    named("RACKBERRY_MEDIA")
}

fn named(variable: &str) -> Result<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    path.with_context(|| format!("{variable} is not set: run this through ./x"))
}

impl Rack {
    /// Builds the rack and starts the box; `more` is appended to its settings.
    ///
    /// # Errors
    /// When something is missing or the box does not become ready.
    pub fn start(more: &str) -> Result<Self> {
        let ns = Netns::new()?;
        ns.bridge(BRIDGE, Some(&format!("{ADDRESS}/24")))?;
        Self::on(ns, more)
    }

    /// Starts the box in a namespace that has its bridge already.
    ///
    /// # Errors
    /// As [`Rack::start`].
    pub fn on(ns: Netns, more: &str) -> Result<Self> {
        let config = settings(&share()?, more);
        let appliance = Appliance::start(&ns, &config)?;
        Ok(Rack { appliance, ns, taps: Cell::new(0) })
    }

    /// Switches a machine on, on a port of its own.
    ///
    /// # Errors
    /// When QEMU does not start.
    pub fn power_on(&self, machine: Builder) -> Result<Vm> {
        let number = self.taps.get() + 1;
        self.taps.set(number);
        let tap = format!("tap{number}");
        self.ns.tap(&tap, Some(BRIDGE))?;
        machine.start(&self.ns, &tap)
    }

    /// Runs the command line against the box; its JSON.
    ///
    /// # Errors
    /// With what it said, when it fails.
    pub fn cli(&self, arguments: &[&str]) -> Result<Value> {
        cli(&self.appliance.state_dir(), arguments)
    }

    /// The host with this MAC as the API shows it; none while it is unknown.
    ///
    /// # Errors
    /// When the box does not answer.
    pub fn host(&self, mac: &str) -> Result<Option<Value>> {
        let hosts = self.cli(&["host", "list"])?;
        let has = |host: &&Value| {
            host.get("macs")
                .and_then(Value::as_array)
                .is_some_and(|macs| macs.iter().any(|known| known.as_str() == Some(mac)))
        };
        Ok(hosts.as_array().and_then(|hosts| hosts.iter().find(has).cloned()))
    }

    /// Waits until `found` says something about the host with this MAC.
    ///
    /// # Errors
    /// After `timeout`, with the host as it was last, and the box's last lines.
    pub fn wait_host<T>(
        &self,
        mac: &str,
        what: &str,
        timeout: Duration,
        mut found: impl FnMut(&Value) -> Option<T>,
    ) -> Result<T> {
        let until = Instant::now() + timeout;
        loop {
            let host = self.host(mac)?;
            if let Some(found) = host.as_ref().and_then(&mut found) {
                return Ok(found);
            }
            if Instant::now() >= until {
                let log = self.appliance.log().text();
                let tail: Vec<&str> = log.lines().rev().take(25).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                bail!("{mac}: no {what} within {timeout:?}; it is {host:?}\nthe box said:\n{}", tail.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits for a condition in the words of the API, for example `waiting`.
    ///
    /// # Errors
    /// As [`Rack::wait_host`].
    pub fn wait_condition(&self, mac: &str, condition: &str, timeout: Duration) -> Result<Value> {
        self.wait_host(mac, condition, timeout, |host| {
            (host.get("condition").and_then(Value::as_str) == Some(condition)).then(|| host.clone())
        })
    }

    /// Events of a host, the oldest first.
    ///
    /// # Errors
    /// When the box does not answer.
    pub fn events(&self, host: &str) -> Result<Vec<Value>> {
        let text = cli_text(&self.appliance.state_dir(), &["events", "--host", host])?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}

/// The settings of a box in a rack: quick probes, since nobody else is there.
#[must_use]
pub fn settings(share: &Path, more: &str) -> String {
    let network =
        if more.contains("[network]") { String::new() } else { format!("[network]\ninterface = \"{BRIDGE}\"\n") };
    let dhcp = if more.contains("[dhcp]") {
        String::new()
    } else {
        "[dhcp]\nprobe_unit_ms = 100\nprobe_listen_ms = 400\n".to_owned()
    };
    let boot = format!("[boot]\nassets = \"{}\"\n", share.display());
    format!("{network}{dhcp}{boot}{more}")
}

/// The command line's JSON.
///
/// # Errors
/// With what it said, when it fails.
pub fn cli(state_dir: &Path, arguments: &[&str]) -> Result<Value> {
    let text = cli_text(state_dir, arguments)?;
    serde_json::from_str(&text).with_context(|| format!("rackberry {arguments:?} printed {text}"))
}

fn cli_text(state_dir: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(appliance::binary()?)
        .arg("--state-dir")
        .arg(state_dir)
        .arg("--json")
        .args(arguments)
        .output()
        .context("run the command line")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("rackberry {arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}
