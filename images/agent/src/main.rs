//! The program the RAM OS exists for: it reports the machine's hardware to the box and does what the box orders.
//!
//! | module | one sentence |
//! |---|---|
//! | [`agent`], [`crew`], [`link`] | the life of a boot: the loop, the runs under way, the words with the box |
//! | [`tasks`] | one function per kind of order |
//! | [`write`], [`configure`] | an image onto a disk; a name, files and a boot entry for it |
//! | [`disk`], [`unpack`] | partition tables, file systems, mounts; packed bytes |
//! | [`facts`], [`probe`] | what the machine is made of, and what is on its disks |
//! | [`download`], [`fetch`], [`http`] | bytes from the box, through lost connections |
//! | [`machine`], [`cmdline`], [`console`] | the kernel's trees, our kernel command line, the screen |

mod agent;
mod cmdline;
mod configure;
mod console;
mod crew;
mod disk;
mod download;
mod facts;
mod fetch;
mod http;
mod link;
mod machine;
mod probe;
mod tasks;
#[cfg(test)]
mod testing;
mod unpack;
mod write;

use cmdline::CommandLine;
use crew::Leave;
use http::Client;
use machine::Machine;
use rackberry_core::{
    agent::{Hello, PROTOCOL},
    host::SmbiosUuid,
};
use rustix::system::{RebootCommand, reboot};
use std::{error::Error, path::Path, process::ExitCode, sync::Arc};

const USAGE: &str = "usage: rackberry-agent fetch --sha256 HEX URL DEST | facts | run";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["fetch", "--sha256", digest, url, destination] => fetch(digest, url, destination),
        ["facts"] => facts(),
        ["run"] => run(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::say(&console::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn fetch(digest: &str, url: &str, destination: &str) -> Result<(), Box<dyn Error>> {
    Ok(fetch::fetch(&Client::default(), url, digest.parse()?, Path::new(destination))?)
}

fn facts() -> Result<(), Box<dyn Error>> {
    let machine = Machine::default();
    let boot_mac = machine.text("/proc/cmdline").and_then(|line| CommandLine::parse(&line).ok()?.boot_mac);
    println!("{}", serde_json::to_string_pretty(&facts::gather(&machine, boot_mac))?);
    Ok(())
}

/// Serves the box that the kernel command line names; comes back only with an error.
fn run() -> Result<(), Box<dyn Error>> {
    let machine = Machine::default();
    let line = CommandLine::parse(&machine.text("/proc/cmdline").unwrap_or_default())?;
    facts::nics::raise(&machine);
    let facts = facts::gather(&machine, line.boot_mac);
    // Some loaders pass no BOOTIF; then the first port with a link is the likeliest.
    let port = facts.nics.iter().find(|nic| nic.boot).or_else(|| facts.nics.iter().find(|nic| nic.link));
    let mac = line.boot_mac.or_else(|| port.map(|nic| nic.mac)).ok_or("no network port was found in this machine")?;
    let hello = Hello {
        protocol: PROTOCOL,
        token: line.token,
        mac,
        uuid: SmbiosUuid::parse(facts.smbios.uuid.as_str()),
        serial: facts.smbios.serial.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        facts,
    };
    console::say(&format!("{}; asking {} for orders.", hello.facts.summary(), line.url));
    let link = Arc::new(link::Link::new(Client::default(), line.url, hello));
    let command = match agent::run(link, machine, line.idle) {
        Leave::Restart => RebootCommand::Restart,
        Leave::PowerOff => RebootCommand::PowerOff,
    };
    rustix::fs::sync();
    Ok(reboot(command)?)
}
