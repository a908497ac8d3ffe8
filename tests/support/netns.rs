//! Private networks: one kernel namespace per test, removed with it.

use crate::leftovers;
use anyhow::{Context, Result, anyhow, bail};
use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Names carry the maker's process id, so that what a killed test left behind can be told from what is in use.
const PREFIX: &str = "rb-";
/// How long a program that was killed may take to go.
const DYING: Duration = Duration::from_secs(10);
static NEXT: AtomicU32 = AtomicU32::new(0);
static SWEEP: Once = Once::new();

/// A network namespace with its loopback up; gone when dropped.
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes a namespace of its own.
    ///
    /// # Errors
    /// When `ip netns add` fails (not root, no iproute2).
    pub fn new() -> Result<Self> {
        SWEEP.call_once(leftovers::sweep);
        let name = format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        output(Command::new("ip").args(["netns", "add", &name]))?;
        let ns = Self { name };
        ns.ip("link set lo up")?;
        Ok(ns)
    }

    /// The name that `ip netns` shows.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` on this namespace with the words of `arguments`; returns what it printed.
    ///
    /// # Errors
    /// With ip's own message when it fails.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        output(Command::new("ip").args(["-n", &self.name]).args(arguments.split_whitespace()))
    }

    /// A command that will run inside; the process id is the program's own.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs a program inside to its end; returns its standard output.
    ///
    /// # Errors
    /// With its standard error when it fails.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        output(self.command(program).args(arguments))
    }

    /// Runs `work` on a thread that stands inside: sockets made there keep belonging to this namespace.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or with the error of `work`.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    self.join_current_thread()?;
                    work()
                })
                .join()
                .map_err(|panic| match panic.downcast::<String>() {
                    Ok(text) => anyhow!("panicked inside {}: {text}", self.name),
                    Err(_) => anyhow!("panicked inside {}", self.name),
                })?
        })
    }

    /// Moves the calling thread inside for the rest of its life; use it on a thread of your own.
    ///
    /// # Errors
    /// When the namespace is gone or this process is not root.
    pub fn join_current_thread(&self) -> Result<()> {
        let path = format!("/run/netns/{}", self.name);
        let file = File::open(&path).with_context(|| format!("open {path}"))?;
        rustix::thread::move_into_link_name_space(file.as_fd(), Some(rustix::thread::LinkNameSpaceType::Network))
            .with_context(|| format!("enter {path}"))
    }

    /// Adds a bridge that is up at once, with an address (`10.0.0.1/24`) when given.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn bridge(&self, name: &str, address: Option<&str>) -> Result<()> {
        self.ip(&format!("link add name {name} type bridge forward_delay 0"))?;
        self.up(name, address)
    }

    /// Adds a tap for a machine, on a bridge when given.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn tap(&self, name: &str, bridge: Option<&str>) -> Result<()> {
        self.ip(&format!("tuntap add dev {name} mode tap"))?;
        self.attach(name, bridge)
    }

    /// Adds a pair of interfaces `a` and `b`, `b` in the other namespace (which may be this one); both up.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn veth(&self, a: &str, other: &Netns, b: &str) -> Result<()> {
        self.ip(&format!("link add name {a} type veth peer name {b} netns {}", other.name))?;
        self.up(a, None)?;
        other.up(b, None)
    }

    /// Puts an interface on a bridge when given, and up.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn attach(&self, name: &str, bridge: Option<&str>) -> Result<()> {
        if let Some(bridge) = bridge {
            self.ip(&format!("link set dev {name} master {bridge}"))?;
        }
        self.up(name, None)
    }

    /// Sets an interface up, with an address when given.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn up(&self, name: &str, address: Option<&str>) -> Result<()> {
        if let Some(address) = address {
            self.ip(&format!("address add {address} dev {name}"))?;
        }
        self.ip(&format!("link set dev {name} up")).map(drop)
    }

    /// The process ids of programs that run inside.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn pids(&self) -> Result<Vec<i32>> {
        pids(&self.name)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Removes the namespaces, with the programs in them, of makers that are dead; returns how many.
pub fn sweep() -> usize {
    let stale = names(leftovers::is_dead);
    stale.iter().for_each(|name| remove(name));
    stale.len()
}

/// Removes the namespaces of one maker, with the programs in them.
pub fn remove_of(maker: u32) {
    names_of(maker).iter().for_each(|name| remove(name));
}

/// The names of the namespaces that this process made.
#[must_use]
pub fn names_of(maker: u32) -> Vec<String> {
    names(|pid| pid == maker)
}

/// Namespaces by their maker's process id.
fn names(wanted: impl Fn(u32) -> bool) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/run/netns") else {
        return Vec::new();
    };
    let maker = |name: &str| name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| maker(name).is_some_and(&wanted)).collect()
}

/// Ends what still runs inside, since a namespace lives as long as a process in it, and takes the name away.
fn remove(name: &str) {
    let own = rustix::process::getpid();
    let until = Instant::now() + DYING;
    loop {
        let pids = pids(name).unwrap_or_default().into_iter().filter_map(rustix::process::Pid::from_raw);
        let others: Vec<_> = pids.filter(|pid| *pid != own).collect();
        if others.is_empty() || Instant::now() >= until {
            break;
        }
        for pid in others {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = Command::new("ip").args(["netns", "delete", name]).output();
}

/// The process ids of programs in the namespace of this name.
///
/// # Errors
/// When `ip` refuses.
pub fn pids(name: &str) -> Result<Vec<i32>> {
    let text = output(Command::new("ip").args(["netns", "pids", name]))?;
    Ok(text.lines().filter_map(|line| line.trim().parse().ok()).collect())
}

/// Runs a command to its end; what it printed.
///
/// # Errors
/// With what it said, when it fails.
pub fn output(command: &mut Command) -> Result<String> {
    let done = command.output().with_context(|| format!("start {command:?}"))?;
    if !done.status.success() {
        // With --json our own command says on its output what went wrong.
        let said = if done.stderr.is_empty() { &done.stdout } else { &done.stderr };
        bail!("{command:?}: {}: {}", done.status, String::from_utf8_lossy(said).trim());
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
