//! What a run of tests or of the demo would leave behind, and how it goes: programs end with their maker, and names tell
//! whose a folder or namespace is.
//!
//! A program ends with us even after SIGKILL, as the kernel sees to that. Folders and namespaces carry their maker's
//! process id, and go at the next start if nobody took them away.

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const PREFIX: &str = "rackberry-";
/// How long programs that were just killed may keep a folder from going.
const DYING: Duration = Duration::from_secs(10);

/// A folder for a run's small files, gone when dropped: `what` is a word for its name.
///
/// # Errors
/// When it cannot be made.
pub fn folder(what: &str) -> Result<tempfile::TempDir> {
    folder_in(&std::env::temp_dir(), what)
}

/// A folder for disks: where files lie on a disk, as `/tmp` is memory on many machines.
///
/// # Errors
/// When it cannot be made.
pub fn disk_folder(what: &str) -> Result<tempfile::TempDir> {
    folder_in(&place_for_disks(), what)
}

fn place_for_disks() -> PathBuf {
    std::env::var_os("TMPDIR").map_or_else(|| "/var/tmp".into(), PathBuf::from)
}

fn folder_in(place: &Path, what: &str) -> Result<tempfile::TempDir> {
    let prefix = format!("{PREFIX}{what}-{}-", std::process::id());
    let made = tempfile::Builder::new().prefix(&prefix).tempdir_in(place);
    made.with_context(|| format!("make a folder {prefix}... in {}", place.display()))
}

/// Has the kernel end the program with the thread that starts it, however that thread ends.
pub fn end_with_us(command: &mut Command) {
    let us = getpid();
    let bind = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // Whoever died before that call sent no signal.
        if getppid() == Some(us) { Ok(()) } else { Err(std::io::ErrorKind::BrokenPipe.into()) }
    };
    // SAFETY: between fork and exec it makes two system calls and touches no memory of other threads.
    unsafe { command.pre_exec(bind) };
}

/// The folders of this maker.
#[must_use]
pub fn folders_of(maker: u32) -> Vec<PathBuf> {
    folders(|pid| pid == maker)
}

/// Takes away what this maker left: programs and namespaces first, then folders.
pub fn remove_of(maker: u32) {
    crate::netns::remove_of(maker);
    folders_of(maker).iter().for_each(|folder| remove_folder(folder));
}

/// Takes away what makers left that are dead.
pub fn sweep() {
    crate::netns::sweep();
    folders(is_dead).iter().for_each(|folder| remove_folder(folder));
}

/// Whether no process has this id any more.
pub(crate) fn is_dead(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_none_or(|pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}

/// Folders by their maker's process id: `rackberry-WHAT-PID-RANDOM`.
fn folders(wanted: impl Fn(u32) -> bool) -> Vec<PathBuf> {
    let mut places = vec![std::env::temp_dir(), place_for_disks()];
    places.dedup();
    let entries = places.iter().filter_map(|place| fs::read_dir(place).ok()).flatten().flatten();
    let has_maker = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(PREFIX));
        name.and_then(|name| name.split('-').nth(1)?.parse().ok()).is_some_and(&wanted)
    };
    entries.map(|entry| entry.path()).filter(has_maker).collect()
}

fn remove_folder(folder: &Path) {
    let until = Instant::now() + DYING;
    while fs::remove_dir_all(folder).is_err() && folder.exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
}
