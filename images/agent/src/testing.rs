//! A box in miniature for tests: HTTP over loopback, losing connections and answers when told to.

use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

/// What came in.
pub struct Request {
    pub path: String,
    /// First byte asked for.
    pub from: Option<u64>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What goes out.
pub enum Reply {
    Json(u16, Value),
    /// A file from the byte asked for on, at most so many bytes of it although more were announced.
    File {
        bytes: Arc<Vec<u8>>,
        cut: usize,
    },
    /// The connection ends without an answer.
    Nothing,
}

/// Serves until dropped.
pub struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(handler: impl FnMut(Request) -> Reply + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (handler, stopped) = (Arc::new(Mutex::new(handler)), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let (handler, stream) = (Arc::clone(&handler), stream.unwrap());
                std::thread::spawn(move || {
                    let Some(request) = read(&stream) else { return };
                    let from = request.from;
                    let reply = (handler.lock().unwrap())(request);
                    // The client may have gone.
                    let _ = answer(stream, from, reply);
                });
            }
        });
        Server { address, stop, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut fields = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        fields.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut body = vec![0; fields.get("content-length").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    let range = fields.get("range").map(|range| range.strip_prefix("bytes=").unwrap().trim_end_matches('-').to_owned());
    Some(Request { path, from: range.map(|from| from.parse().unwrap()), body })
}

fn answer(mut stream: TcpStream, from: Option<u64>, reply: Reply) -> std::io::Result<()> {
    match reply {
        Reply::Nothing => Ok(()),
        Reply::Json(status, value) => {
            let body = value.to_string();
            write!(stream, "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        }
        Reply::File { bytes, cut } => {
            let start = from.unwrap_or(0) as usize;
            let rest = &bytes[start..];
            let total = bytes.len();
            if from.is_some() {
                write!(stream, "HTTP/1.1 206 X\r\ncontent-range: bytes {start}-{}/{total}\r\n", total - 1)?;
            } else {
                write!(stream, "HTTP/1.1 200 X\r\n")?;
            }
            write!(stream, "connection: close\r\ncontent-length: {}\r\n\r\n", rest.len())?;
            stream.write_all(&rest[..cut.min(rest.len())])
        }
    }
}

/// A sequence that looks random and is the same in every run (xorshift).
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.below(256) as u8).collect()
    }
}

/// A machine below a temporary folder, with one disk of `size` bytes called `sda`, serial number `S1`.
pub fn machine_with_disk(folder: &std::path::Path, size: u64) -> crate::machine::Machine {
    let block = folder.join("sys/block/sda");
    std::fs::create_dir_all(block.join("device")).unwrap();
    std::fs::create_dir_all(folder.join("dev")).unwrap();
    std::fs::write(block.join("size"), format!("{}\n", size / 512)).unwrap();
    std::fs::write(block.join("device/serial"), "S1\n").unwrap();
    std::fs::File::create(folder.join("dev/sda")).unwrap().set_len(size).unwrap();
    crate::machine::Machine::at(folder)
}

/// How an order names that disk.
pub fn target(size: u64) -> rackberry_core::task::DiskTarget {
    rackberry_core::task::DiskTarget { name: "sda".into(), serial: "S1".into(), wwn: "".into(), size_bytes: size }
}

/// A greeting with nothing in it.
pub fn hello() -> rackberry_core::agent::Hello {
    rackberry_core::agent::Hello {
        protocol: rackberry_core::agent::PROTOCOL,
        token: "ab12".to_owned(),
        mac: rackberry_core::host::MacAddr([0x52, 0x54, 0, 0, 0, 1]),
        uuid: None,
        serial: "".into(),
        facts: rackberry_core::hardware::Facts::default(),
        version: "".into(),
    }
}

/// Runs a tool; false if it is not installed.
pub fn tool(command: &[&str], input: &str) -> bool {
    use std::process::{Command, Stdio};
    let Ok(mut child) =
        Command::new(command[0]).args(&command[1..]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()
    else {
        eprintln!("{} is not installed", command[0]);
        return false;
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{command:?}");
    true
}

/// What a packer makes of `bytes`; none where it is not installed.
pub fn pack(tool: &[&str], bytes: &[u8]) -> Option<Vec<u8>> {
    use std::process::{Command, Stdio};
    let child = Command::new(tool[0]).args(&tool[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = child else {
        eprintln!("{} is not installed", tool[0]);
        return None;
    };
    let mut input = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let feeder = std::thread::spawn(move || input.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    assert!(output.status.success());
    Some(output.stdout)
}

/// A loop device over a file, for what only a block device can do.
pub struct Loop {
    pub device: String,
}

impl Loop {
    /// None where there are no loop devices for us.
    pub fn new(file: &std::path::Path, offset: u64) -> Option<Loop> {
        let offset = offset.to_string();
        let mut command = std::process::Command::new("losetup");
        let output = command.args(["-f", "--show", "-o", &offset]).arg(file).output().ok()?;
        let device = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        if device.is_empty() {
            eprintln!("no loop device: {}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
        Some(Loop { device })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = std::process::Command::new("losetup").args(["-d", &self.device]).status();
    }
}

/// A machine of these files and of links to folders of it, below a temporary folder.
pub fn machine_files(
    files: &[(String, Vec<u8>)],
    links: &[(String, String)],
) -> (tempfile::TempDir, crate::machine::Machine) {
    let folder = tempfile::tempdir().unwrap();
    let place = |path: &str| {
        let place = folder.path().join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        place
    };
    for (path, content) in files {
        std::fs::write(place(path), content).unwrap();
    }
    for (link, to) in links {
        std::os::unix::fs::symlink(folder.path().join(to), place(link)).unwrap();
    }
    let machine = crate::machine::Machine::at(folder.path());
    (folder, machine)
}
