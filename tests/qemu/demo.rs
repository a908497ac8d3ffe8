//! However the demo ends, nothing of it stays: no process, no namespace, no folder.

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use system_tests::{Console, leftovers, netns, rack, site};

const LIMIT: Duration = Duration::from_secs(180);

/// A running demo with both machines on.
struct Demo {
    child: Child,
    console: Console,
    programs: Vec<i32>,
}

impl Demo {
    /// Starts it with an image of nothing, in a process group of its own as a shell would; nobody reads what it says to a
    /// terminal that is closed.
    fn start(image: &Path, closed: bool) -> Result<Self> {
        // Who runs the tests may have told them to ignore signals, and the demo would respect that.
        let mut command = Command::new("env");
        command.args(["--default-signal=INT,TERM,HUP", env!("CARGO_BIN_EXE_rackberry-demo")]);
        command.env("RACKBERRY_SHARE", rack::share()?).env("RACKBERRY_IMAGE", image);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        leftovers::end_with_us(&mut command);
        let mut child = command.spawn().context("start the demo")?;
        let console = Console::new();
        console.follow(child.stdout.take().context("no output")?, None)?;
        let errors = child.stderr.take().context("no errors")?;
        if !closed {
            console.follow(errors, None)?;
        }
        let mut demo = Self { child, console, programs: Vec::new() };
        demo.console.wait_for("UEFI machine switched on", LIMIT)?;
        demo.console.wait_for("Ctrl-C ends", LIMIT)?;
        for name in netns::names_of(demo.child.id()) {
            demo.programs.extend(netns::pids(&name)?);
        }
        ensure!(demo.programs.len() >= 3, "box and machines run: {:?}", demo.programs);
        ensure!(leftovers::folders_of(demo.child.id()).len() >= 3, "box and machines have folders");
        Ok(demo)
    }

    fn pid(&self) -> Result<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no process id")
    }

    /// Waits for its end; what it ended with, and what stays of it once `patience` is over.
    fn end(mut self, patience: Duration) -> Result<(std::process::ExitStatus, Vec<String>)> {
        let until = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(Instant::now() < until, "it still runs:\n{}", self.console.text());
            std::thread::sleep(Duration::from_millis(20));
        };
        let until = Instant::now() + patience;
        loop {
            let left = self.left();
            if left.is_empty() || Instant::now() >= until {
                return Ok((status, left));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn left(&self) -> Vec<String> {
        let mut left = netns::names_of(self.child.id());
        left.extend(leftovers::folders_of(self.child.id()).iter().map(|folder| folder.display().to_string()));
        // A process that ended has no command line, even while nobody took its status yet.
        let runs = |pid: &&i32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty());
        left.extend(self.programs.iter().filter(runs).map(|pid| format!("process {pid}")));
        left
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn nothing_stays_of_a_demo_however_it_ends() -> Result<()> {
    let mut image = tempfile::NamedTempFile::new()?;
    image.write_all(&site::disk_image(1 << 20))?;
    for (signal, to_group) in [(Signal::TERM, false), (Signal::INT, false), (Signal::INT, true), (Signal::HUP, true)] {
        let closed = signal == Signal::HUP;
        let demo = Demo::start(image.path(), closed)?;
        let began = Instant::now();
        let console = demo.console.clone();
        if to_group {
            rustix::process::kill_process_group(demo.pid()?, signal)?;
        } else {
            rustix::process::kill_process(demo.pid()?, signal)?;
        }
        // It has cleaned up by the time it ends.
        let (status, left) = demo.end(Duration::ZERO)?;
        ensure!(left.is_empty(), "{signal:?}: {left:?} stay; it said:\n{}", console.text());
        ensure!(status.code() == Some(128 + signal.as_raw()), "{signal:?}: {status}; it said:\n{}", console.text());
        if !closed {
            console.wait_for("nothing of it is left", LIMIT)?;
        }
        println!("{signal:?}, to its group: {to_group}: ended in {} ms, nothing stays", began.elapsed().as_millis());
    }
    Ok(())
}

#[test]
fn nothing_stays_of_a_demo_that_is_killed() -> Result<()> {
    let mut image = tempfile::NamedTempFile::new()?;
    image.write_all(&site::disk_image(1 << 20))?;
    let demo = Demo::start(image.path(), false)?;
    let began = Instant::now();
    rustix::process::kill_process(demo.pid()?, Signal::KILL)?;
    let (_, left) = demo.end(LIMIT)?;
    ensure!(left.is_empty(), "{left:?} stay");
    println!("SIGKILL: nothing stays after {} ms", began.elapsed().as_millis());
    Ok(())
}
