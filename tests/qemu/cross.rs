//! The program for 64-bit Arm, as `./x cross` builds it, run by QEMU's user mode: it is whole, static, and serves.

use anyhow::{Context, Result, ensure};
use std::{
    net::SocketAddrV4,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};
use system_tests::{Console, Netns, local_api::LocalApi, pxe::web::Connection};

/// Generous, as the emulator is slow and other tests may run beside.
const LIMIT: Duration = Duration::from_secs(120);
/// The goal of the SD card, which holds two of them.
const MOST_BYTES: usize = 12_000_000;

fn program() -> Result<PathBuf> {
    std::env::var_os("RACKBERRY_AARCH64")
        .map(PathBuf::from)
        .context("RACKBERRY_AARCH64 is not set: run this through ./x")
}

/// Debian 13 packages the static emulator under another name than Debian 12.
fn emulator() -> Result<PathBuf> {
    let names = ["/usr/bin/qemu-aarch64-static", "/usr/bin/qemu-aarch64"];
    names.iter().map(PathBuf::from).find(|path| path.is_file()).context("no qemu-aarch64: apt install qemu-user-static")
}

/// A program of this machine that is the other one under the emulator.
fn wrapped(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("rackberry");
    let text = format!("#!/bin/sh\nexec {} {} \"$@\"\n", emulator()?.display(), program()?.display());
    std::fs::write(&path, text)?;
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755))?;
    Ok(path)
}

/// A number of the ELF header or of a program header (elf(5)), little-endian.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<usize> {
    let field = bytes.get(at..at + width)?;
    Some(field.iter().rev().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)))
}

#[test]
fn it_is_one_static_file_and_in_the_long_tests_small_enough_for_the_card() -> Result<()> {
    let bytes = std::fs::read(program()?)?;
    ensure!(bytes.starts_with(b"\x7fELF\x02\x01"), "no 64-bit little-endian ELF file");
    ensure!(number(&bytes, 18, 2) == Some(183), "e_machine is not AArch64");
    let (table, size, count) = (number(&bytes, 32, 8), number(&bytes, 54, 2), number(&bytes, 56, 2));
    let (table, size, count) = (table.context("e_phoff")?, size.context("e_phentsize")?, count.context("e_phnum")?);
    let kinds: Vec<_> = (0..count).filter_map(|entry| number(&bytes, table + entry * size, 4)).collect();
    // PT_LOAD is there, PT_INTERP is not: nothing has to be found at run time.
    ensure!(kinds.contains(&1) && !kinds.contains(&3), "program headers {kinds:?}");
    println!("aarch64: {} bytes", bytes.len());
    let symbols = bytes.windows(8).any(|window| window == b".symtab\0");
    ensure!(!symbols, "it is not stripped");
    // The quick build is larger.
    if std::env::var_os("RACKBERRY_SOAK").is_none() {
        return Ok(());
    }
    ensure!(bytes.len() < MOST_BYTES, "{} bytes", bytes.len());
    Ok(())
}

#[test]
fn it_says_its_version_and_checks_settings() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = wrapped(folder.path())?;
    let version = Command::new(&program).arg("--version").output()?;
    ensure!(String::from_utf8_lossy(&version.stdout).starts_with("rackberry "), "{version:?}");
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rackberry.toml");
    let checked = Command::new(&program).arg("check-config").arg(sample).output()?;
    ensure!(checked.status.success(), "{checked:?}");
    Ok(())
}

/// QEMU's user mode knows no ARP table and no packet sockets, so that the box waits for its network here; all else it does.
#[test]
fn it_serves_its_page_and_its_database_without_rights() -> Result<()> {
    let seat = Netns::new()?;
    let folder = tempfile::tempdir()?;
    let program = wrapped(folder.path())?;
    let state = folder.path().join("state");
    let mut command = seat.command(program.to_str().context("the folder's name is no UTF-8")?);
    command.arg("serve").arg("--state-dir").arg(&state).stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.env_remove("RACKBERRY_CONFIG").stderr(Stdio::piped()).spawn()?;
    let console = Console::new();
    let outcome = (|| {
        console.follow(child.stderr.take().context("no standard error")?, None)?;
        console.wait_for("waiting for the network", LIMIT)?;
        let page: SocketAddrV4 = "127.0.0.1:8000".parse()?;
        let reply = seat.enter(|| Connection::open(page)?.request("GET", "/login", &[]))?;
        ensure!(matches!(reply.status, 200 | 303), "{}", reply.status);
        let api = LocalApi::new(&state);
        api.call("POST", "/hosts", Some(&serde_json::json!({ "list": "02:00:00:00:00:01 node-01" })))?;
        ensure!(api.get("/hosts")?.as_array().map(Vec::len) == Some(1));
        Ok(())
    })();
    child.kill()?;
    child.wait()?;
    outcome
}
