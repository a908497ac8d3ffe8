//! A running server, the files it serves, and a client.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests, outside a test function"
)]

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tftp_server::packet::RawOption;
use tftp_server::{
    Content, ErrorCode, Observer, OpenError, Opened, Outcome, Packet, ReadRequest, Refusal, Server, Settings, Source,
    TransferInfo, path,
};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

/// Bytes without a pattern that a wrong offset could repeat.
pub fn noise(len: usize) -> Vec<u8> {
    (0..len as u64).map(|index| (index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 29) as u8).collect()
}

/// What a test server serves, by normalised name.
#[derive(Default)]
pub struct Files {
    memory: HashMap<String, Vec<u8>>,
    disk: HashMap<String, (File, u64)>,
}

impl Files {
    pub fn with(name: &str, bytes: Vec<u8>) -> Self {
        let mut files = Self::default();
        files.memory(name, bytes);
        files
    }

    pub fn memory(&mut self, name: &str, bytes: Vec<u8>) {
        self.memory.insert(name.to_owned(), bytes);
    }

    pub fn disk(&mut self, name: &str, bytes: &[u8]) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        self.disk.insert(name.to_owned(), (file, bytes.len() as u64));
    }

    /// A file whose bytes cannot be read, as on a broken disk.
    pub fn unreadable(&mut self, name: &str, len: u64) {
        self.disk.insert(name.to_owned(), (File::open("/").unwrap(), len));
    }
}

impl Source for Files {
    async fn open(&self, request: &ReadRequest, _: SocketAddr, _: IpAddr) -> Result<Opened, OpenError> {
        let name = path::normalize(&request.filename).map_err(|_| OpenError::AccessDenied)?;
        match name.as_str() {
            "busy" => return Err(OpenError::Busy("try later".to_owned())),
            "silent" => return Err(OpenError::Silent),
            "panic" => panic!("the source has a fault (this is part of the test)"),
            _ => {}
        }
        if let Some(bytes) = self.memory.get(&name) {
            return Ok(Opened::new(bytes.clone()));
        }
        let (file, len) = self.disk.get(&name).ok_or(OpenError::NotFound)?;
        let file = file.try_clone().unwrap();
        Ok(Opened { data: Content::File { file, len: *len }, limits: None })
    }
}

/// Everything the server reported.
#[derive(Default)]
pub struct Log {
    started: Mutex<Vec<TransferInfo>>,
    ended: Mutex<Vec<Outcome>>,
    refused: Mutex<Vec<Refusal>>,
    news: Notify,
}

impl Log {
    pub fn started(&self) -> usize {
        self.started.lock().unwrap().len()
    }

    /// The blksize and windowsize of the last transfer.
    pub fn terms(&self) -> Option<(u16, u16)> {
        let started = self.started.lock().unwrap();
        started.last().map(|transfer| (transfer.blksize, transfer.windowsize))
    }

    pub fn outcomes(&self) -> Vec<Outcome> {
        self.ended.lock().unwrap().clone()
    }

    pub fn refusals(&self) -> Vec<Refusal> {
        self.refused.lock().unwrap().clone()
    }

    /// The first transfer's outcome, once there is one.
    pub async fn wait_for_end(&self) -> Outcome {
        let ended = async {
            loop {
                let news = self.news.notified();
                if let Some(outcome) = self.outcomes().first() {
                    return outcome.clone();
                }
                news.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), ended).await.expect("no transfer ended")
    }
}

impl Observer for Log {
    fn started(&self, transfer: &TransferInfo) {
        self.started.lock().unwrap().push(transfer.clone());
    }

    fn ended(&self, _: &TransferInfo, _: u64, outcome: &Outcome, _: Duration) {
        self.ended.lock().unwrap().push(outcome.clone());
        self.news.notify_one();
    }

    fn refused(&self, _: SocketAddr, _: &str, refusal: &Refusal) {
        self.refused.lock().unwrap().push(refusal.clone());
    }
}

/// A server in the background.
pub struct Running {
    pub address: SocketAddr,
    log: Arc<Log>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    pub fn start(files: Files, settings: Settings) -> Self {
        Self::on(vec![UdpSocket::bind("127.0.0.1:0").unwrap()], files, settings)
    }

    pub fn on(sockets: Vec<UdpSocket>, files: Files, settings: Settings) -> Self {
        let log = Arc::new(Log::default());
        let server = Server::new(sockets, files, Arc::clone(&log), settings).unwrap();
        let address = server.local_addrs()[0];
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            server.run(stopped).await.unwrap();
        });
        Self { address, log, stop, task }
    }

    pub fn client(&self) -> Client {
        Client::of(self.address)
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    pub async fn stop(self) -> Arc<Log> {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
        self.log
    }
}

/// A fetched file and the options of its OACK.
#[derive(Debug)]
pub struct Fetched {
    pub data: Vec<u8>,
    pub options: Vec<RawOption>,
}

impl Fetched {
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|option| option.name == name).map(|option| option.value.as_str())
    }
}

/// A client on its own port.
pub struct Client {
    socket: UdpSocket,
    server: SocketAddr,
    loss_percent: u32,
    chance: Cell<u32>,
}

const PATIENCE: Duration = Duration::from_secs(10);
const REPEAT: Duration = Duration::from_millis(250);

impl Client {
    pub fn of(server: SocketAddr) -> Self {
        let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).unwrap();
        Self { socket, server, loss_percent: 0, chance: Cell::new(1) }
    }

    /// Loses this share of what it receives. Not every n-th packet: a window of n blocks would lose the same one for ever.
    pub fn losing(mut self, percent: u32) -> Self {
        self.loss_percent = percent;
        self
    }

    fn loses(&self) -> bool {
        let next = self.chance.get().wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.chance.set(next);
        (next >> 16) % 100 < self.loss_percent
    }

    pub fn send_raw(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.server).unwrap();
    }

    pub fn send_first(&self, packet: &Packet<'_>) {
        self.send_to(packet, self.server);
    }

    pub fn send_to(&self, packet: &Packet<'_>, to: SocketAddr) {
        self.socket.send_to(&packet.encode(), to).unwrap();
    }

    pub fn receive(&self) -> Option<Packet<'static>> {
        self.receive_within(PATIENCE)
    }

    pub fn receive_within(&self, patience: Duration) -> Option<Packet<'static>> {
        self.receive_from_within(patience).map(|(packet, _)| packet)
    }

    pub fn receive_from(&self) -> Option<(Packet<'static>, SocketAddr)> {
        self.receive_from_within(PATIENCE)
    }

    fn receive_from_within(&self, patience: Duration) -> Option<(Packet<'static>, SocketAddr)> {
        let mut buffer = vec![0; 65_536];
        self.socket.set_read_timeout(Some(patience)).unwrap();
        loop {
            let (len, from) = self.socket.recv_from(&mut buffer).ok()?;
            if !self.loses() {
                return Some((owned(&buffer[..len]), from));
            }
        }
    }

    /// Fetches a file by RFC 1350 and 7440; an ERROR is the error.
    pub fn fetch(&self, request: &ReadRequest) -> Result<Fetched, (ErrorCode, String)> {
        self.run(Packet::Read(request.clone()), self.server)
    }

    /// Accepts the OACK that came from `session` and fetches the file.
    pub fn carry_on(&self, session: SocketAddr) -> Result<Fetched, (ErrorCode, String)> {
        self.send_to(&Packet::Ack(0), session);
        self.run(Packet::Ack(0), session)
    }

    fn run(&self, first: Packet<'static>, to: SocketAddr) -> Result<Fetched, (ErrorCode, String)> {
        let mut fetched = Fetched { data: Vec::new(), options: Vec::new() };
        let (mut last, mut session) = (first, to);
        let (mut blksize, mut window, mut block, mut in_window) = (512, 1, 0u16, 0);
        let mut gap_told = false;
        if matches!(last, Packet::Read(_)) {
            self.send_to(&last, session);
        }
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < Duration::from_secs(60), "window {window}: no end, at block {block}");
            let Some((packet, from)) = self.receive_from_within(REPEAT) else {
                gap_told = false;
                self.send_to(&last, session);
                continue;
            };
            let due = match packet {
                Packet::Error { code, message } => return Err((code, message)),
                Packet::Oack(options) => {
                    for option in &options {
                        match option.name.as_str() {
                            "blksize" => blksize = option.value.parse().unwrap(),
                            "windowsize" => window = option.value.parse().unwrap(),
                            _ => {}
                        }
                    }
                    fetched.options = options;
                    true
                }
                Packet::Data { block: number, data } if number == block.wrapping_add(1) => {
                    fetched.data.extend_from_slice(&data);
                    block = number;
                    in_window += 1;
                    gap_told = false;
                    if data.len() < blksize {
                        self.send_to(&Packet::Ack(block), from);
                        return Ok(fetched);
                    }
                    in_window == window
                }
                Packet::Data { .. } => !std::mem::replace(&mut gap_told, true),
                other => panic!("unexpected {other:?}"),
            };
            session = from;
            last = Packet::Ack(block);
            if due {
                in_window = 0;
                self.send_to(&last, session);
            }
        }
    }
}

fn owned(datagram: &[u8]) -> Packet<'static> {
    match Packet::decode(datagram).unwrap() {
        Packet::Data { block, data } => Packet::Data { block, data: data.into_owned().into() },
        Packet::Read(request) => Packet::Read(request),
        Packet::Write(request) => Packet::Write(request),
        Packet::Ack(block) => Packet::Ack(block),
        Packet::Error { code, message } => Packet::Error { code, message },
        Packet::Oack(options) => Packet::Oack(options),
    }
}
