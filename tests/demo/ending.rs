//! The demo's end, however it comes: a second process, the cleaner, waits for it and takes away what is left. That
//! process sees the end as the end of a pipe that nobody else holds, which comes even after SIGKILL.

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use system_tests::leftovers;

/// The argument that makes this program a cleaner; the process id of the demo follows it.
pub const CLEANER: &str = "--clean-after";

/// The demo's hold on its cleaner.
pub struct Ending {
    cleaner: Arc<Mutex<Child>>,
}

impl Ending {
    /// Starts the cleaner, and listens for signals from now on.
    ///
    /// # Errors
    /// When a process cannot be started or signals cannot be heard.
    pub fn begin() -> Result<Self> {
        let mut command = Command::new(std::env::current_exe().context("find this program's own file")?);
        command.arg(CLEANER).arg(std::process::id().to_string());
        // A group of its own: the terminal's Ctrl-C is for the demo.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let cleaner = Arc::new(Mutex::new(command.spawn().context("start the demo's cleaner")?));
        let mut heard = vec![SIGINT, SIGTERM];
        // `nohup` means that the terminal's end is not ours.
        if !ignores(SIGHUP) {
            heard.push(SIGHUP);
        }
        let mut signals = Signals::new(heard).context("listen for signals")?;
        let shared = Arc::clone(&cleaner);
        std::thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                // The lock stays held: the main thread, whose machines vanish now, may not end the process before.
                let mut cleaner = shared.lock().unwrap_or_else(PoisonError::into_inner);
                tell(&format!("\ndemo: {}: switching the machines and the box off", name(signal)));
                wait(&mut cleaner);
                tell("demo: ended; nothing of it is left");
                std::process::exit(128 + signal);
            }
        });
        Ok(Self { cleaner })
    }

    /// Waits until nothing is left. The process has to end afterwards.
    pub fn end(self) {
        wait(&mut self.cleaner.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Lets the cleaner begin, and waits for it.
fn wait(cleaner: &mut Child) {
    drop(cleaner.stdin.take());
    // Nobody else takes its status, so this fails only if it was never ours.
    let _ = cleaner.wait();
}

/// Says it if somebody still listens: a terminal that was closed is a reason to end, not to stop ending.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn name(signal: i32) -> String {
    signal_hook::low_level::signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned)
}

/// Whether this process was told from outside to ignore a signal (`SigIgn` in proc_pid_status(5)).
fn ignores(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}

/// The cleaner's whole life.
///
/// # Errors
/// When `maker` is no process id or standard input cannot be read.
pub fn clean_after(maker: &str) -> Result<()> {
    let maker = maker.parse().with_context(|| format!("{maker:?} is no process id"))?;
    // Nothing is ever sent; the end is the message.
    std::io::stdin().read_to_end(&mut Vec::new()).context("wait for the demo's end")?;
    leftovers::remove_of(maker);
    Ok(())
}
