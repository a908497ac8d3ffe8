//! A disk that stalls and fails as told: a small read-only file system over `/dev/fuse` (kernel ABI, `linux/fuse.h`).

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, UnmountFlags};
use std::{
    collections::BTreeMap,
    ffi::CString,
    fs::File,
    io::{Read, Write},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// A mounted folder of files, held in memory.
pub struct SlowDisk {
    target: PathBuf,
    disk: Arc<Disk>,
}

struct Disk {
    device: File,
    nodes: Vec<Node>,
    delay_ms: AtomicU64,
    hanging: AtomicBool,
    failing: AtomicBool,
    reads: AtomicU64,
}

enum Node {
    Folder(BTreeMap<String, u64>),
    File(Vec<u8>),
}

const ROOT: u64 = 1;
const EIO: i32 = 5;
const ENOENT: i32 = 2;
const ENOSYS: i32 = 38;
const EROFS: i32 = 30;

impl SlowDisk {
    /// Mounts these files, whose names may have one folder before them, and empty folders on `target`.
    ///
    /// # Errors
    /// Without `/dev/fuse` or the right to mount.
    pub fn mount(target: &Path, files: &[(&str, &[u8])], folders: &[&str]) -> Result<Self> {
        let device = File::options().read(true).write(true).open("/dev/fuse").context("open /dev/fuse")?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        let options = CString::new(options)?;
        rustix::mount::mount("rackberry-slow", target, "fuse", MountFlags::RDONLY, Some(options.as_c_str()))
            .with_context(|| format!("mount a FUSE file system on {}", target.display()))?;
        let mut nodes = vec![Node::Folder(BTreeMap::new())];
        let folder = |nodes: &mut Vec<Node>, name: &str| -> u64 {
            if let Some(Node::Folder(root)) = nodes.first()
                && let Some(known) = root.get(name)
            {
                return *known;
            }
            add(nodes, ROOT, name, Node::Folder(BTreeMap::new()))
        };
        for name in folders {
            folder(&mut nodes, name);
        }
        for (path, content) in files {
            let (parent, name) = match path.split_once('/') {
                Some((parent, name)) => (folder(&mut nodes, parent), name),
                None => (ROOT, *path),
            };
            add(&mut nodes, parent, name, Node::File(content.to_vec()));
        }
        let disk = Arc::new(Disk {
            device,
            nodes,
            delay_ms: AtomicU64::new(0),
            hanging: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            reads: AtomicU64::new(0),
        });
        let serving = disk.clone();
        std::thread::spawn(move || serving.serve());
        Ok(Self { target: target.to_owned(), disk })
    }

    /// How long every look-up, look at a file and read takes from now on.
    pub fn slow_down(&self, delay: Duration) {
        self.disk.delay_ms.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether nothing of it is answered from now on; what was asked meanwhile is answered once it goes on.
    pub fn hang(&self, on: bool) {
        self.disk.hanging.store(on, Ordering::Relaxed);
    }

    /// Whether reads fail (EIO) from now on.
    pub fn fail(&self, on: bool) {
        self.disk.failing.store(on, Ordering::Relaxed);
    }

    /// How many reads there were.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.disk.reads.load(Ordering::Relaxed)
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        self.slow_down(Duration::ZERO);
        self.hang(false);
        let _ = rustix::mount::unmount(&self.target, UnmountFlags::DETACH);
    }
}

fn add(nodes: &mut Vec<Node>, parent: u64, name: &str, node: Node) -> u64 {
    nodes.push(node);
    let number = nodes.len() as u64;
    if let Some(Node::Folder(names)) = usize::try_from(parent - 1).ok().and_then(|at| nodes.get_mut(at)) {
        names.insert(name.to_owned(), number);
    }
    number
}

/// A request of the kernel: `fuse_in_header`, and what follows it.
struct Request {
    opcode: u32,
    unique: u64,
    node: u64,
    body: Vec<u8>,
}

impl Disk {
    fn serve(self: Arc<Self>) {
        let mut buffer = vec![0; 1 << 18];
        loop {
            let length = match (&self.device).read(&mut buffer) {
                Ok(length) => length,
                // The mount is gone.
                Err(error) if error.raw_os_error() == Some(19) => return,
                Err(_) => continue,
            };
            let Some(request) = buffer.get(..length).and_then(parse) else { continue };
            let disk = self.clone();
            let delay = Duration::from_millis(self.delay_ms.load(Ordering::Relaxed));
            match request.opcode {
                // FORGET, INTERRUPT and BATCH_FORGET have no answer.
                2 | 36 | 42 => {}
                // LOOKUP, GETATTR, OPEN and READ take their time, each on its own.
                1 | 3 | 14 | 15 if !delay.is_zero() || self.hanging.load(Ordering::Relaxed) => {
                    std::thread::spawn(move || {
                        std::thread::sleep(delay);
                        while disk.hanging.load(Ordering::Relaxed) {
                            std::thread::sleep(Duration::from_millis(10));
                        }
                        disk.answer(&request);
                    });
                }
                _ => disk.answer(&request),
            }
        }
    }

    fn answer(&self, request: &Request) {
        let (error, body) = match self.reply(request) {
            Ok(body) => (0, body),
            Err(error) => (-error, Vec::new()),
        };
        let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
        let packet = [&length.to_le_bytes()[..], &error.to_le_bytes(), &request.unique.to_le_bytes(), &body].concat();
        // One write is one answer; a request that was interrupted has none.
        let _ = (&self.device).write(&packet);
    }

    fn node(&self, number: u64) -> Option<&Node> {
        usize::try_from(number.checked_sub(1)?).ok().and_then(|at| self.nodes.get(at))
    }

    fn reply(&self, request: &Request) -> Result<Vec<u8>, i32> {
        let node = self.node(request.node);
        match request.opcode {
            // INIT: version 7.31, no flags, 128 KiB of read-ahead.
            26 => {
                let mut out = vec![0; 64];
                for (at, value) in [(0, 7u32), (4, 31), (8, 1 << 17), (20, 1 << 16)] {
                    put(&mut out, at, value);
                }
                Ok(out)
            }
            // LOOKUP
            1 => {
                let name = request.body.split(|byte| *byte == 0).next().unwrap_or_default();
                let Some(Node::Folder(names)) = node else { return Err(ENOENT) };
                let number = names.get(&*String::from_utf8_lossy(name)).copied().ok_or(ENOENT)?;
                let mut out = [number.to_le_bytes().to_vec(), vec![0; 32]].concat();
                out.extend(self.attributes(number)?);
                Ok(out)
            }
            // GETATTR
            3 => Ok([vec![0; 16], self.attributes(request.node)?].concat()),
            // OPEN: FOPEN_DIRECT_IO, so that every read of the program is one of the disk.
            14 => Ok([vec![0; 8], 1u32.to_le_bytes().to_vec(), vec![0; 4]].concat()),
            // READ
            15 => {
                self.reads.fetch_add(1, Ordering::Relaxed);
                if self.failing.load(Ordering::Relaxed) {
                    return Err(EIO);
                }
                let Some(Node::File(content)) = node else { return Err(EIO) };
                let from = usize::try_from(number(&request.body, 8, 8)).unwrap_or(usize::MAX).min(content.len());
                let size = usize::try_from(number(&request.body, 16, 4)).unwrap_or(0);
                let until = from.saturating_add(size).min(content.len());
                Ok(content.get(from..until).unwrap_or_default().to_vec())
            }
            // OPENDIR, and READDIR of a folder that shows nothing
            27 => Ok(vec![0; 16]),
            28 | 44 => Ok(Vec::new()),
            // STATFS
            17 => Ok(vec![0; 80]),
            // RELEASE, FLUSH, RELEASEDIR, ACCESS, DESTROY
            18 | 25 | 29 | 34 | 38 => Ok(Vec::new()),
            // MKDIR, UNLINK, CREATE
            9 | 10 | 35 => Err(EROFS),
            _ => Err(ENOSYS),
        }
    }

    /// `fuse_attr`.
    fn attributes(&self, number: u64) -> Result<Vec<u8>, i32> {
        let (mode, size) = match self.node(number).ok_or(ENOENT)? {
            Node::Folder(_) => (0o040_755u32, 0),
            Node::File(content) => (0o100_644, content.len() as u64),
        };
        let mut out = vec![0; 88];
        put(&mut out, 0, number);
        put(&mut out, 8, size);
        for (at, value) in [(60, mode), (64, 1), (80, 4096)] {
            put(&mut out, at, value);
        }
        Ok(out)
    }
}

trait Field {
    fn bytes(&self) -> Vec<u8>;
}

impl Field for u32 {
    fn bytes(&self) -> Vec<u8> {
        self.to_le_bytes().to_vec()
    }
}

impl Field for u64 {
    fn bytes(&self) -> Vec<u8> {
        self.to_le_bytes().to_vec()
    }
}

fn put(out: &mut [u8], at: usize, value: impl Field) {
    for (place, byte) in out.iter_mut().skip(at).zip(value.bytes()) {
        *place = byte;
    }
}

fn number(bytes: &[u8], at: usize, size: usize) -> u64 {
    bytes.iter().skip(at).take(size).rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn parse(packet: &[u8]) -> Option<Request> {
    let body = packet.get(40..)?.to_vec();
    let opcode = u32::try_from(number(packet, 4, 4)).ok()?;
    Some(Request { opcode, unique: number(packet, 8, 8), node: number(packet, 16, 8), body })
}
