//! A server under measurement: on its own processor, with what it costs read from /proc.

use anyhow::{Context, Result, bail};
use std::{
    collections::HashMap,
    ffi::OsString,
    fs,
    process::{Child, Stdio},
    time::{Duration, Instant},
};
use system_tests::Netns;

/// The processor of the servers.
pub const SERVER_CPU: usize = 0;
/// The processor of the load.
pub const LOAD_CPU: usize = 1;

/// A running server and its children.
pub struct Process {
    child: Child,
    /// CPU of its children as last seen: a server that ignores their end (SIGCHLD) is never charged for them.
    seen: HashMap<u32, f64>,
}

impl Process {
    /// Starts it in the namespace, on [`SERVER_CPU`], ahead of other work of this machine.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(ns: &Netns, program: &str, arguments: &[OsString], environment: &[(&str, OsString)]) -> Result<Self> {
        let mut command = ns.command("taskset");
        command.args(["-c", &SERVER_CPU.to_string(), "nice", "-n", "-15", program]).args(arguments);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Self { child: child.with_context(|| format!("start {program}"))?, seen: HashMap::new() })
    }

    /// CPU seconds so far, of the process and of its children; call [`Self::look`] now and then, lest some be missed.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cpu(&mut self) -> Result<f64> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the server ended: {status}");
        }
        self.look();
        // proc(5): utime 14, stime 15, cutime 16, cstime 17.
        let pid = self.child.id();
        let children = ticks(pid, &[16, 17]).max(self.seen.values().sum());
        Ok((ticks(pid, &[14, 15]) + children) / rustix::param::clock_ticks_per_second() as f64)
    }

    /// CPU seconds so far of the process alone, by the scheduler's own clock: for runs shorter than many ticks.
    ///
    /// # Errors
    /// When it has ended or the kernel does not tell.
    pub fn exact_cpu(&mut self) -> Result<f64> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the server ended: {status}");
        }
        let tasks = format!("/proc/{}/task", self.child.id());
        let mut nanoseconds = 0u64;
        for task in fs::read_dir(&tasks).with_context(|| format!("list {tasks}"))? {
            // A thread may end while the list is read.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            nanoseconds +=
                text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).context("no schedstat")?;
        }
        Ok(nanoseconds as f64 / 1e9)
    }

    /// Notes what the children have cost so far.
    pub fn look(&mut self) {
        for pid in self.children() {
            let ticks = ticks(pid, &[14, 15]);
            let seen = self.seen.entry(pid).or_insert(0.0);
            *seen = seen.max(ticks);
        }
    }

    /// Anonymous memory now, in MiB.
    pub fn memory(&self) -> f64 {
        let of = |pid: u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).map(str::to_owned);
            line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0)
        };
        let kib: f64 = self.children().into_iter().chain([self.child.id()]).map(of).sum();
        kib / 1024.0
    }

    fn children(&self) -> Vec<u32> {
        let pid = self.child.id();
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// Waits until children of finished requests are gone, so that their cost is counted with their parent.
    pub fn settle(&self) {
        let until = Instant::now() + Duration::from_secs(8);
        while !self.children().is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The sum of these fields of /proc/PID/stat; 0 once it has ended.
fn ticks(pid: u32, fields: &[usize]) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may hold blanks, the third field comes first.
    let words: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    fields.iter().filter_map(|field| words.get(field - 3)?.parse::<f64>().ok()).sum()
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the kernel divides the processors among sessions first and among their processes then (sched(7), autogroup), a process's
/// nice value counts within its session only.
const SESSION: &str = "/proc/self/autogroup";

/// This session ahead of the machine's others, until it is dropped.
pub struct Ahead {
    before: String,
}

impl Ahead {
    /// Asks for it; `None` where the kernel knows no such groups.
    pub fn of_the_others() -> Option<Self> {
        let text = fs::read_to_string(SESSION).ok()?;
        let before = text.split_whitespace().last()?.to_owned();
        fs::write(SESSION, "-20").ok()?;
        Some(Self { before })
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        let _stays_ahead = fs::write(SESSION, &self.before);
    }
}

/// Puts the calling thread on [`LOAD_CPU`], ahead of other work of this machine.
///
/// # Errors
/// When the machine has no such processor.
pub fn become_load() -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(LOAD_CPU);
    rustix::thread::sched_setaffinity(None, &set).context("pin the load to the second processor")?;
    rustix::process::setpriority_process(None, -15).context("raise the load's priority")
}
