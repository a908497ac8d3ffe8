//! Foreign media is looked at in a process of its own, `rackberry import-worker`: it has the one file open and nothing else, no
//! network, little memory and little time. Whatever becomes of it, the import goes on.

use super::recognise::{Found, recognise};
use landlock::{ABI, Access as _, AccessFs, AccessNet, Ruleset, RulesetAttr as _, RulesetStatus};
use nix::sched::{CloneFlags, unshare};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

/// How long it may look.
const LIMIT: Duration = Duration::from_secs(60);
/// Seconds of the processor's time.
const CPU: u64 = 50;
/// Bytes of address space: decoders keep windows of up to 128 MiB.
const MEMORY: u64 = 768 << 20;
/// Bytes that it may say.
const WORDS: u64 = 16 << 10;

/// Why nothing was found out.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("it could not be started")]
    Start(#[source] io::Error),
    #[error("it took longer than {} s", .0.as_secs())]
    TooLong(Duration),
    #[error("it ended with {0}")]
    Ended(String),
    #[error("its answer does not read")]
    Nonsense,
}

/// What keeps the worker in. A kernel may not offer one of them: then the others have to do, and the log says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wall {
    /// No more memory, time and files than it needs.
    Limits,
    /// A network of its own that leads nowhere.
    Network,
    /// No file but the one it was given (Landlock).
    Files,
    /// No system call that opens a socket or starts a program (seccomp).
    Calls,
}

impl Wall {
    fn named(self) -> &'static str {
        match self {
            Wall::Limits => "limits for memory and time",
            Wall::Network => "a network of its own (user namespaces)",
            Wall::Files => "files shut off (Landlock)",
            Wall::Calls => "a filter for system calls (seccomp)",
        }
    }
}

/// What the worker says.
#[derive(Debug, Serialize, Deserialize)]
struct Words {
    found: Found,
    /// The walls that it could not put up.
    without: Vec<Wall>,
}

/// Says once what this machine does not offer.
fn tell(without: &[Wall]) {
    static TOLD: std::sync::Once = std::sync::Once::new();
    if without.is_empty() {
        return;
    }
    let missing = without.iter().map(|wall| wall.named()).collect::<Vec<_>>().join(" and without ");
    TOLD.call_once(|| match without {
        // The filter shuts every network off by itself; our own systemd unit wants it so.
        [Wall::Network] => {
            tracing::info!("media is looked at without {missing}: the filter for system calls has to do")
        }
        _ => tracing::warn!(
            "media is looked at without {missing}: this kernel, or who started the box, does not offer it"
        ),
    });
}

/// Who looks at media.
#[derive(Debug, Clone)]
pub(super) struct Worker {
    /// None: this process itself, as tests do.
    pub program: Option<PathBuf>,
    pub limit: Duration,
}

impl Default for Worker {
    fn default() -> Self {
        Worker { program: None, limit: LIMIT }
    }
}

impl Worker {
    /// What a file is. Blocks: call it off the runtime.
    pub fn look(&self, file: &File) -> Result<Found, WorkerError> {
        match &self.program {
            None => Ok(recognise(file)),
            Some(program) => self.ask(program, file),
        }
    }

    fn ask(&self, program: &Path, file: &File) -> Result<Found, WorkerError> {
        let mut child = Command::new(program)
            .arg("import-worker")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(file.try_clone().map_err(WorkerError::Start)?))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(WorkerError::Start)?;
        let (done, said) = mpsc::channel();
        let out = child.stdout.take();
        let reader = std::thread::Builder::new().name("import-worker".to_owned()).spawn(move || {
            let mut words = Vec::new();
            let read = out.map_or(Ok(0), |out| out.take(WORDS).read_to_end(&mut words));
            let _ = done.send(read.map(|_| words));
        });
        let words = match reader {
            Ok(_) => said.recv_timeout(self.limit),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(WorkerError::Start(error));
            }
        };
        // Also one that closed its end and stays.
        if words.is_err() || !self.ends(&mut child) {
            let _ = child.kill();
        }
        let status = child.wait().map_err(WorkerError::Start)?;
        let Ok(words) = words else { return Err(WorkerError::TooLong(self.limit)) };
        if !status.success() {
            return Err(WorkerError::Ended(status.to_string()));
        }
        let words = words.map_err(WorkerError::Start)?;
        let Words { found, without } = serde_json::from_slice(&words).map_err(|_| WorkerError::Nonsense)?;
        tell(&without);
        Ok(found)
    }

    /// Whether a child that said all it had to say has ended.
    fn ends(&self, child: &mut std::process::Child) -> bool {
        for _ in 0..200 {
            if !matches!(child.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

/// The worker itself: looks at the file that is its standard input, and prints JSON. What it is kept from is decided before the
/// first byte is read.
///
/// # Errors
/// If the file cannot be had, or nobody listens.
pub fn run() -> io::Result<()> {
    let without = shut_in();
    let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let words = serde_json::to_vec(&Words { found: recognise(&file), without }).map_err(io::Error::other)?;
    io::stdout().write_all(&words)
}

/// Puts the walls up; those that this machine does not offer.
fn shut_in() -> Vec<Wall> {
    let walls: [(Wall, fn() -> bool); 4] =
        [(Wall::Limits, limited), (Wall::Network, alone), (Wall::Files, no_files), (Wall::Calls, no_sockets)];
    walls.into_iter().filter(|(_, put_up)| !put_up()).map(|(wall, _)| wall).collect()
}

fn limited() -> bool {
    [(Resource::As, MEMORY), (Resource::Cpu, CPU), (Resource::Fsize, 0), (Resource::Core, 0), (Resource::Nofile, 16)]
        .map(|(resource, most)| setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) }).is_ok())
        .into_iter()
        .all(|limited| limited)
}

fn alone() -> bool {
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).is_ok()
}

/// No file, and no connection: as much of it as this kernel knows.
fn no_files() -> bool {
    let restricted = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V5))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(ABI::V5)))
        .and_then(|ruleset| ruleset.create())
        .and_then(|ruleset| ruleset.restrict_self());
    restricted.is_ok_and(|status| status.ruleset != RulesetStatus::NotEnforced)
}

/// System calls that open sockets or start programs fail from now on.
fn no_sockets() -> bool {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
    let arch = if cfg!(target_arch = "x86_64") { TargetArch::x86_64 } else { TargetArch::aarch64 };
    let calls = [
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_connect,
        libc::SYS_sendto,
        libc::SYS_sendmsg,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_io_uring_setup,
    ];
    let refused = u32::try_from(libc::EPERM).unwrap_or(1);
    let filter = SeccompFilter::new(
        calls.into_iter().map(|call| (call, Vec::new())).collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(refused),
        arch,
    );
    let program = filter.ok().and_then(|filter| BpfProgram::try_from(filter).ok());
    program.is_some_and(|program| seccompiler::apply_filter(&program).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_hangs_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("worker");
        // Written by another process: one that this one starts meanwhile would hold the file open for writing, and it could not run.
        let script = "printf '#!/bin/sh\nexec sleep 600\n' > \"$0\"; chmod 755 \"$0\"";
        assert!(Command::new("sh").args(["-ec", script]).arg(&program).status().unwrap().success());
        let worker = Worker { program: Some(program), limit: Duration::from_millis(300) };
        let file = tempfile::tempfile().unwrap();
        assert!(matches!(worker.look(&file), Err(WorkerError::TooLong(_))));
    }
}
