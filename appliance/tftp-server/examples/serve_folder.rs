//! Serves the files of one folder: `cargo run -p tftp-server --example serve_folder -- FOLDER [ADDRESS:PORT [SESSIONS]]`.
//!
//! SESSIONS raises the limits on transfers at once, also those of one client address; without it they are 64 and 2.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tftp_server::{
    Content, Observer, OpenError, Opened, Outcome, ReadRequest, Refusal, Server, Settings, Source, TransferInfo, path,
};

struct Folder(PathBuf);

impl Source for Folder {
    async fn open(&self, request: &ReadRequest, _peer: SocketAddr, _local: IpAddr) -> Result<Opened, OpenError> {
        let name = path::normalize(&request.filename).map_err(|_| OpenError::AccessDenied)?;
        let root = self.0.clone();
        let opening = tokio::task::spawn_blocking(move || open_below(&root, &name));
        opening.await.map_err(|error| OpenError::Busy(error.to_string()))?
    }
}

fn open_below(root: &Path, name: &str) -> Result<Opened, OpenError> {
    // A symbolic link may lead outside; what it leads to decides.
    let file = root.join(name).canonicalize().map_err(|_| OpenError::NotFound)?;
    if !file.starts_with(root) {
        return Err(OpenError::AccessDenied);
    }
    let file = File::open(file).map_err(|_| OpenError::AccessDenied)?;
    let data = Content::from_file(file).map_err(|_| OpenError::AccessDenied)?;
    Ok(Opened { data, limits: None })
}

struct Print;

impl Observer for Print {
    fn started(&self, transfer: &TransferInfo) {
        let TransferInfo { peer, filename, len, blksize, windowsize, .. } = transfer;
        println!("{peer} {filename:?}: {len} bytes in blocks of {blksize}, {windowsize} at a time");
    }

    fn ended(&self, transfer: &TransferInfo, acked: u64, outcome: &Outcome, took: Duration) {
        println!("{} {:?}: {outcome:?}, {acked} bytes in {took:?}", transfer.peer, transfer.filename);
    }

    fn refused(&self, peer: SocketAddr, filename: &str, refusal: &Refusal) {
        println!("{peer} {filename:?}: {refusal:?}");
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: serve_folder FOLDER [ADDRESS:PORT [SESSIONS]]")?;
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:6969".to_owned());
    let mut settings = Settings::default();
    if let Some(sessions) = arguments.next() {
        settings.max_sessions = sessions.parse()?;
        settings.max_sessions_per_host = settings.max_sessions;
    }
    let folder = Folder(PathBuf::from(folder).canonicalize()?);
    let server = Server::new(vec![UdpSocket::bind(address)?], folder, Print, settings)?;
    println!("listening on {:?}; Ctrl-C ends", server.local_addrs());
    let interrupted = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    Ok(server.run(interrupted).await?)
}
