//! A distribution's installer without its programs: what its boot script loads, what it asks, and what it tells the box.

use crate::{FakeAgent, FakeHost, Life, fake_agent::Said, pxe::web, site};
use anyhow::{Context, Result, bail, ensure};
use rackberry_core::agent::Answer;
use serde_json::{Value, json};
use std::{
    net::SocketAddrV4,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the script of an installer or a live system makes a machine load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeInstaller {
    /// The kernel's URL.
    pub kernel: String,
    /// The initrds' URLs, in order.
    pub initrds: Vec<String>,
    /// The kernel's arguments, in order.
    pub arguments: Vec<String>,
    /// The path below which its answers lie, from its arguments: `/answers/TOKEN`.
    pub answers: String,
}

impl FakeInstaller {
    /// Reads an iPXE script; none if it starts no system with answers.
    #[must_use]
    pub fn read(script: &str) -> Option<Self> {
        let line = script.lines().find_map(|line| line.strip_prefix("kernel "))?;
        let mut words = line.trim_end_matches(" || goto retry").split_whitespace().map(str::to_owned);
        let kernel = words.next()?;
        let arguments: Vec<String> = words.collect();
        let initrds = script.lines().filter_map(|line| {
            let rest = line.strip_prefix("initrd --name ")?;
            rest.split_whitespace().nth(1).map(str::to_owned)
        });
        let token = arguments.iter().find_map(|argument| argument.split("/answers/").nth(1))?.split('/').next()?;
        let answers = format!("/answers/{token}");
        Some(Self { kernel, initrds: initrds.collect(), arguments, answers })
    }

    /// An answer of this boot, as text.
    ///
    /// # Errors
    /// When it is refused.
    pub fn answer(&self, host: &FakeHost, server: SocketAddrV4, path: &str) -> Result<String> {
        let reply = self.ask(host, server, path)?;
        ensure!(reply.status == 200, "{path} for {}: {} {}", host.mac, reply.status, reply.text());
        Ok(reply.text())
    }

    /// Says how far it is.
    ///
    /// # Errors
    /// When the box does not take it.
    pub fn report(&self, host: &FakeHost, server: SocketAddrV4, stage: &str) -> Result<()> {
        self.answer(host, server, &format!("report/{stage}")).map(drop)
    }

    /// One request below its answers.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub fn ask(&self, host: &FakeHost, server: SocketAddrV4, path: &str) -> Result<web::Reply> {
        let mut line = web::Connection::open_from(host.address, server, PATIENCE)?;
        line.request("GET", &format!("{}/{path}", self.answers), &[])
    }
}

/// Takes an armed host from its first network boot over the RAM OS to the script that starts its installer.
///
/// # Errors
/// When it does not get there.
pub fn reach(host: &FakeHost, server: SocketAddrV4, life: &mut Life) -> Result<FakeInstaller> {
    let until = Instant::now() + 4 * PATIENCE;
    while Instant::now() < until {
        let reply = web::Connection::open_from(host.address, server, PATIENCE)?.request("GET", &host.ask(), &[])?;
        ensure!(reply.status == 200, "the script of {}: {} {}", host.mac, reply.status, reply.text());
        if let Some(installer) = FakeInstaller::read(&reply.text()) {
            return Ok(installer);
        }
        let crate::fake_host::Script::RamOs { token, .. } = crate::fake_host::Script::read(&reply.text()) else {
            bail!("{} was given this script:\n{}", host.mac, reply.text());
        };
        let mut agent = FakeAgent::new(host, server, token, life);
        ensure!(matches!(agent.hello(), Said::Answer(_)), "hello of {}", host.mac);
        // Once it is its turn, the order is to restart.
        while Instant::now() < until {
            match agent.next(&[], PATIENCE) {
                Said::Answer(Answer::Restart { .. }) => break,
                Said::Answer(Answer::Wait { .. }) | Said::Nothing => {}
                other => bail!("{} was to restart into its installer, but got {other:?}", host.mac),
            }
        }
    }
    bail!("{} got no installer", host.mac)
}

/// Arms an install with these parameters; what it is.
///
/// # Errors
/// When it is refused.
pub fn arm(appliance: &crate::Appliance, host: &FakeHost, profile: &str, parameters: &Value) -> Result<Value> {
    let body = json!({ "profile": profile, "erase": true, "parameters": parameters });
    site::api(appliance).call("POST", &format!("/hosts/{}/install", host.mac.hyphens()), Some(&body))
}

/// Packs files into an archive, each by its path, and imports it under this name; its digest.
///
/// # Errors
/// When it cannot be packed or is refused.
pub fn import_folder(
    appliance: &crate::Appliance,
    scratch: &Path,
    name: &str,
    files: &[(&str, Vec<u8>)],
) -> Result<String> {
    let folder = scratch.join(format!("{name}.d"));
    for (path, content) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().context("a path without a folder")?)?;
        std::fs::write(path, content)?;
    }
    let archive = scratch.join(format!("{name}.tar"));
    let packed = Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&folder).arg(".").output()?;
    ensure!(packed.status.success(), "tar: {}", String::from_utf8_lossy(&packed.stderr));
    import(appliance, name, &archive)
}

/// Imports bytes under this name; their digest.
///
/// # Errors
/// When they are refused.
pub fn import_bytes(appliance: &crate::Appliance, scratch: &Path, name: &str, content: &[u8]) -> Result<String> {
    let path = scratch.join(name);
    std::fs::write(&path, content)?;
    import(appliance, name, &path)
}

/// Imports a file under this name; its digest.
///
/// # Errors
/// When it is refused.
pub fn import(appliance: &crate::Appliance, name: &str, path: &Path) -> Result<String> {
    let path = path.to_str().context("a path that is no UTF-8")?;
    let image = site::cli_json(appliance, &["image", "import", path, "--name", name])?;
    image.get("digest").and_then(Value::as_str).map(str::to_owned).context("an image without a digest")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read_for_what_it_loads() {
        let script = "#!ipxe\necho x\n:start\nkernel http://b/images/00/linux auto=true url=http://b/answers/0123/preseed.cfg --- || goto retry\n\
            initrd --name initrd0.img http://b/images/00/initrd.gz || goto retry\nboot || goto retry\n";
        let read = FakeInstaller::read(script).unwrap();
        assert_eq!((read.kernel.as_str(), read.answers.as_str()), ("http://b/images/00/linux", "/answers/0123"));
        assert_eq!(read.initrds, ["http://b/images/00/initrd.gz"]);
        assert_eq!(read.arguments, ["auto=true", "url=http://b/answers/0123/preseed.cfg", "---"]);
        assert_eq!(FakeInstaller::read("#!ipxe\nexit\n"), None);
    }
}
