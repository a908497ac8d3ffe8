//! People who come to the box: by SSH with Debian's client, and at its console.

use super::LIMIT;
use anyhow::{Context, Result, ensure};
use std::{
    process::{Command, Output},
    time::{Duration, Instant},
};
use system_tests::{Netns, Vm, netns::output};

/// A person with an SSH key, and what Debian's client knows of the box.
pub struct Visitor {
    folder: tempfile::TempDir,
    pub public: String,
}

impl Visitor {
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let key = folder.path().join("key");
        output(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "visitor", "-f"]).arg(&key))?;
        let public = std::fs::read_to_string(key.with_extension("pub"))?.trim().to_owned();
        Ok(Self { folder, public })
    }

    /// Runs the client with options of its own.
    fn ssh(&self, ns: &Netns, options: &[&str], name: &str, words: &str) -> Result<Output> {
        let known = format!("UserKnownHostsFile={}", self.folder.path().join("known").display());
        let mut command = ns.command("ssh");
        command.args([
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "ConnectTimeout=60",
            "-o",
            &known,
        ]);
        command.args(options).arg(format!("{name}@192.168.77.1")).arg(words);
        Ok(command.output()?)
    }

    /// Logs in with the key and runs a command; `trust` is what to think of the box's own key.
    pub fn run(&self, ns: &Netns, trust: &str, name: &str, words: &str) -> Result<String> {
        let (key, trust) =
            (self.folder.path().join("key").display().to_string(), format!("StrictHostKeyChecking={trust}"));
        let until = Instant::now() + LIMIT;
        loop {
            let reply = self.ssh(ns, &["-i", &key, "-o", &trust], name, words)?;
            let said = String::from_utf8_lossy(&reply.stderr).into_owned();
            // The server starts beside the page, not before it.
            if said.contains("Connection refused") && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(500));
                continue;
            }
            ensure!(reply.status.success(), "ssh {words}: {} {said}", reply.status);
            return Ok(String::from_utf8(reply.stdout)?);
        }
    }

    /// The ways in that the box names to somebody without a key.
    pub fn ways(&self, ns: &Netns) -> Result<String> {
        let reply = self.ssh(ns, &["-i", "/dev/null", "-o", "StrictHostKeyChecking=accept-new"], "anna", "true")?;
        ensure!(!reply.status.success(), "somebody without a key was let in");
        let said = String::from_utf8_lossy(&reply.stderr).into_owned();
        let ways = said.rsplit_once("Permission denied (").and_then(|(_, rest)| rest.split_once(')'));
        Ok(ways.with_context(|| format!("ssh said {said}"))?.0.to_owned())
    }
}

/// Logs in as root at the card's console; a wrong password is refused before.
pub fn log_in(vm: &mut Vm, password: &str) -> Result<()> {
    for (typed, wanted) in [("wrong", "Login incorrect"), (password, " # ")] {
        // What was typed before there is a question is lost; an empty line asks for another one.
        let mark = vm.console().mark();
        vm.type_text("\n")?;
        vm.wait_after(mark, "login:", LIMIT)?;
        let mark = vm.console().mark();
        vm.type_text("root\n")?;
        vm.wait_after(mark, "Password:", LIMIT)?;
        let mark = vm.console().mark();
        vm.type_text(&format!("{typed}\n"))?;
        vm.wait_after(mark, wanted, LIMIT)?;
    }
    println!("card: root logged in at the console with the password of the settings");
    Ok(())
}
