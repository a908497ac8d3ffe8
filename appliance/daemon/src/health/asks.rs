//! Asks HTTP and the database, as others would: through the listener, and through the queue of the database's thread.

use super::{Duty, Health, Part};
use crate::inventory::{Inventory, StoreError, TransactError};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    sync::watch,
};

/// Between an answer and the next question.
const EVERY: Duration = Duration::from_secs(3);
/// How long one question waits for its answer; a newcomer to a crowded listener may be put out once.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long the last question waits, once the box stops.
const LAST: Duration = Duration::from_secs(2);

/// Asks the page's listener again and again until `stop` turns true; where its address cannot be reached from here, as it
/// was passed in from another network namespace, the socket in the state folder.
///
/// It has to end before the listener does: a question that nobody takes any more stays in a socket that systemd keeps, and systemd
/// would start the box again for it.
pub async fn ask_http(health: Health, page: SocketAddr, local: PathBuf, mut stop: watch::Receiver<bool>) {
    let page = near(page);
    // The listener is open already, and the kernel answers for it: who cannot get there now will not later.
    let reached = tokio::time::timeout(PATIENCE, TcpStream::connect(page)).await;
    let way = match reached {
        Ok(Err(error)) => {
            tracing::info!(%page, %error, "health is asked on the local socket: the page is not reached from here");
            Way::Local(local)
        }
        Ok(Ok(_)) | Err(_) => Way::Page(page),
    };
    let duty = health.begin(Part::Http);
    loop {
        let last = async {
            let _ = stop.wait_for(|stop| *stop).await;
            tokio::time::sleep(LAST).await;
        };
        tokio::select! {
            asked = tokio::time::timeout(PATIENCE, way.ask()) => match asked {
                Ok(Ok(())) => duty.tick(),
                Ok(Err(error)) => tracing::warn!(%error, "the page does not answer"),
                Err(_) => tracing::warn!("the page did not answer within {} s", PATIENCE.as_secs()),
            },
            () = last => return,
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Gives the database's thread an empty transaction again and again, until `stop` turns true. It waits behind whatever holds
/// up a write, and writes nothing itself: a card is not worn out by being asked.
pub async fn ask_database(health: Health, inventory: Inventory, mut stop: watch::Receiver<bool>) {
    let duty = health.begin(Part::Database);
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = turn(&duty, &inventory) => {}
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn turn(duty: &Duty, inventory: &Inventory) {
    match inventory.transact(|_| Ok::<_, StoreError>(())).await {
        // A card that fails is not healed by a restart: the thread turns, and an alarm says what it met.
        Ok(()) | Err(TransactError::Failed(_) | TransactError::Commit(_)) => duty.tick(),
        Err(error @ (TransactError::Closed | TransactError::Panicked(_))) => {
            tracing::warn!(error = crate::chain(&error), "the database does not answer");
        }
    }
}

/// Where a listener on `address` is reached from this machine.
fn near(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

enum Way {
    Page(SocketAddr),
    Local(PathBuf),
}

impl Way {
    async fn ask(&self) -> io::Result<()> {
        match self {
            Way::Page(address) => answered(TcpStream::connect(address).await?, &address.to_string()).await,
            Way::Local(path) => answered(connect(path).await?, "localhost").await,
        }
    }
}

async fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}

/// Any answer of HTTP will do: it went through listener, runtime and routes.
async fn answered(mut stream: impl AsyncRead + AsyncWrite + Unpin, host: &str) -> io::Result<()> {
    let question = format!("GET /health HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(question.as_bytes()).await?;
    let mut line = [0; 9];
    stream.read_exact(&mut line).await?;
    if line == *b"HTTP/1.1 " { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidData, "that is not HTTP")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_question_under_way_is_answered_before_the_box_stops() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (stopping, stop) = watch::channel(false);
        let page = listener.local_addr().unwrap();
        let asks = tokio::spawn(ask_http(Health::default(), page, PathBuf::new(), stop));
        // The first one only sees whether the page is reached.
        drop(listener.accept().await.unwrap());
        let (mut question, _) = listener.accept().await.unwrap();
        let mut line = [0; 11];
        question.read_exact(&mut line).await.unwrap();
        assert_eq!(line, *b"GET /health");
        stopping.send_replace(true);
        tokio::task::yield_now().await;
        assert!(!asks.is_finished(), "it left its question behind");
        question.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        asks.await.unwrap();
        let listener = listener.into_std().unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "it asked once more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_never_answers_does_not_hold_up_the_stop() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (stopping, stop) = watch::channel(false);
        let page = listener.local_addr().unwrap();
        let asks = tokio::spawn(ask_http(Health::default(), page, PathBuf::new(), stop));
        let (_first, _question) = (listener.accept().await.unwrap(), listener.accept().await.unwrap());
        stopping.send_replace(true);
        let began = tokio::time::Instant::now();
        asks.await.unwrap();
        assert!(began.elapsed() <= LAST + Duration::from_millis(100), "{:?}", began.elapsed());
    }
}
