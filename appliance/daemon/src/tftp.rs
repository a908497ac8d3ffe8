//! The TFTP shell: requests become files through the same names as on the HTTP boot listener.

use crate::{
    boot::{Desk, Found, Question},
    config::Config,
    inventory::Inventory,
    media::{self, Blob, Part},
};
use rackberry_core::{
    boot::{
        path::{self, FileRef, RamOsPart},
        script::{Over, ask_again},
    },
    dhcp::Subnet,
    event::Station,
    text::CleanText,
};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
};
use tftp_server::{
    Content, Limits, Observer, OpenError, Opened, Outcome, ReadRequest, RollOver, Server, ServerError, Settings,
    Source, TransferInfo,
};
use tokio::sync::{Semaphore, watch};

/// Files opened at once: a disk that stalls takes no more blocking threads than these, whoever asks how often.
const OPENING: usize = 16;

/// Lets the machines of the served subnets ask, a few at a time.
struct Gate {
    files: Files,
    subnets: Vec<Subnet>,
    opening: Arc<Semaphore>,
}

impl Source for Gate {
    /// Strangers from elsewhere get no answer: their addresses are most likely forged, and an answer would hit the one named.
    fn admits(&self, peer: SocketAddr, _local: IpAddr) -> bool {
        match peer.ip() {
            IpAddr::V4(ip) => self.subnets.iter().any(|subnet| subnet.contains(ip)),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        }
    }

    /// The turn is given back when the disk has answered, not when the client has lost patience.
    async fn open(&self, request: &ReadRequest, peer: SocketAddr, local: IpAddr) -> Result<Opened, OpenError> {
        let turn = Arc::clone(&self.opening).acquire_owned().await.map_err(|_| OpenError::Silent)?;
        let (files, request) = (self.files.clone(), request.clone());
        let opening = tokio::spawn(async move {
            let opened = files.open(&request, peer, local).await;
            drop(turn);
            opened
        });
        opening.await.map_err(|_| OpenError::NotFound)?
    }
}

/// Finds what a boot client asks for.
#[derive(Clone)]
struct Files {
    /// The box's own; whoever asks elsewhere gets nothing.
    address: IpAddr,
    desk: Desk,
    inventory: Inventory,
    boot_port: u16,
}

impl Files {
    fn note_own(&self, peer: SocketAddr, opened: &media::Opened) {
        if let Some(path) = opened.own.as_deref() {
            self.inventory.own_file_by_address(peer.ip(), path, "TFTP");
        }
    }

    async fn open(&self, request: &ReadRequest, peer: SocketAddr, local: IpAddr) -> Result<Opened, OpenError> {
        if local != self.address {
            return Err(OpenError::NotFound);
        }
        let name = tftp_server::path::normalize(&request.filename).map_err(|_| OpenError::AccessDenied)?;
        let Some(file) = path::resolve(&name) else { return Err(OpenError::NotFound) };
        let port = if self.boot_port == 80 { String::new() } else { format!(":{}", self.boot_port) };
        let box_url = format!("http://{local}{port}");
        let found = match &file {
            FileRef::AutoExec | FileRef::Script | FileRef::HostScript(_) => {
                return Ok(Opened::new(ask_again(&box_url)));
            }
            FileRef::Config(asked) => {
                let (peer, over) = (peer.ip().to_canonical(), Over::Tftp);
                let question = Question { file: asked, over, peer, box_url: &box_url, looks_only: false };
                match self.desk.config(question).await {
                    Ok(Found::Own(opened)) => Ok(Some(Arc::new(opened))),
                    Ok(Found::Text(text)) => return Ok(Opened::new(text)),
                    Ok(Found::Nothing) => Ok(None),
                    Err(error) => Err(crate::chain(&error)),
                }
            }
            FileRef::Answer { token, path } => {
                let answer = self.desk.answer(token, path, peer.ip().to_canonical(), &box_url).await;
                match answer.map_err(|error| crate::chain(&error)) {
                    Ok(Some(bytes)) => return Ok(Opened::new(bytes)),
                    Ok(None) => Ok(None),
                    Err(error) => Err(error),
                }
            }
            other => match self.desk.media().open(other).await {
                Err(media::OpenFileError::Damaged(damaged)) => return Err(OpenError::Busy(damaged.to_string())),
                opened => opened.map_err(|error| crate::chain(&error)),
            },
        };
        match found {
            Ok(Some(opened)) => {
                self.note_own(peer, &opened);
                match &opened.blob {
                    Blob::Bytes(bytes) => Ok(Opened::new(bytes.clone())),
                    Blob::Part(part) => Ok(Opened::new(Content::Shared(Arc::new(Shared(Arc::clone(part)))))),
                    Blob::File(shared) => shared
                        .try_clone()
                        .and_then(Content::from_file)
                        .map(|data| Opened { data, limits: None })
                        .map_err(|error| {
                            tracing::warn!(%peer, name, %error, "a file could not be read");
                            OpenError::NotFound
                        }),
                }
            }
            Ok(None) => Err(OpenError::NotFound),
            Err(error) => {
                tracing::warn!(%peer, name, error, "a file could not be opened");
                Err(OpenError::NotFound)
            }
        }
    }
}

/// An image or a file inside one, as the transfers read it.
#[derive(Debug)]
struct Shared(Arc<Part>);

impl tftp_server::ReadAt for Shared {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_from_memory(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.0.read_from_memory(buffer, at)
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, at)
    }
}

/// Writes the timeline.
struct Timeline {
    inventory: Inventory,
}

impl Observer for Timeline {
    fn started(&self, transfer: &TransferInfo) {
        let (station, detail) = match path::resolve(&transfer.filename) {
            Some(FileRef::Loader(name)) => (Station::Loader, format!("{name} by TFTP")),
            Some(FileRef::Program { name, .. }) if name.ends_with(".0") => (Station::Loader, format!("{name} by TFTP")),
            Some(FileRef::RamOs { part: RamOsPart::Early, arch }) => {
                (Station::RamOs, format!("RAM OS for {arch} by TFTP"))
            }
            _ => return,
        };
        self.inventory.reach_by_address(transfer.peer.ip(), station, CleanText::new(&detail));
    }

    fn ended(&self, transfer: &TransferInfo, acked: u64, outcome: &Outcome, took: std::time::Duration) {
        tracing::debug!(peer = %transfer.peer, file = %transfer.filename, acked, ?outcome, ?took, "TFTP transfer ended");
    }
}

/// Serves on `sockets` what machines of `subnets` ask at `address`, until `stop` turns true.
///
/// # Errors
/// If a socket cannot be used.
pub async fn run(
    sockets: Vec<UdpSocket>,
    address: Ipv4Addr,
    desk: Desk,
    inventory: Inventory,
    config: &Config,
    subnets: Vec<Subnet>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), ServerError> {
    let roll_over = if config.tftp_rollover_to_one { RollOver::ToOne } else { RollOver::ToZero };
    let settings = Settings {
        max_sessions: config.tftp_sessions,
        max_sessions_per_host: config.tftp_sessions_per_host,
        limits: Limits { roll_over, ..Limits::default() },
        ..Settings::default()
    };
    let boot_port = config.boot_port;
    let files = Files { address: address.into(), desk, inventory: inventory.clone(), boot_port };
    let files = Gate { files, subnets, opening: Arc::new(Semaphore::new(OPENING)) };
    let server = Server::new(sockets, files, Timeline { inventory }, settings)?;
    server
        .run(async move {
            let _ = stop.wait_for(|stop| *stop).await;
        })
        .await
}
