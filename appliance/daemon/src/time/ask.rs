//! One server asked: a few questions, and of the answers the one that took least time on its way.

use super::{
    Pace, Wall,
    choice::{Sample, nanos},
    packet::{self, Unusable},
};
use crate::config::TimeServer;
use rackberry_core::time::WallTime;
use std::{
    io,
    net::IpAddr,
    time::{Duration, Instant},
};
use tokio::{net::UdpSocket, time::timeout_at};

/// Questions in a row.
const QUESTIONS: u32 = 4;
/// A name may stand for many addresses.
const ADDRESSES: usize = 4;

/// Why a server gave no time.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("its name is not found")]
    Name(#[source] io::Error),
    #[error("it cannot be reached")]
    Reach(#[source] io::Error),
    #[error("it does not answer")]
    Silent,
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// A clock that nobody set, or somebody's joke.
    #[error("its time cannot be right")]
    Absurd,
    #[error("the kernel gives no random bytes")]
    Random,
}

/// What came of asking a server: the best answer, and what went wrong, if anything did.
#[derive(Debug, Default)]
pub struct Heard {
    pub sample: Option<Sample>,
    /// Where the answers came from, once somebody could be asked.
    pub from: Option<IpAddr>,
    pub trouble: Option<AskError>,
}

/// Asks a server. A kiss-o'-death ends the questions at once; what was heard before it counts.
pub async fn ask(server: &TimeServer, pace: &Pace, wall: &Wall) -> Heard {
    let socket = match connect(server, pace).await {
        Ok(socket) => socket,
        Err(error) => return Heard { trouble: Some(error), ..Heard::default() },
    };
    let from = socket.peer_addr().ok().map(|address| address.ip());
    let mut heard = Heard { from, ..Heard::default() };
    for number in 0..QUESTIONS {
        if number > 0 {
            tokio::time::sleep(pace.between).await;
        }
        match exchange(&socket, pace, wall).await {
            Ok(sample) if heard.sample.is_none_or(|best| sample.delay < best.delay) => heard.sample = Some(sample),
            Ok(_) => {}
            Err(kiss @ AskError::Unusable(Unusable::Denied | Unusable::Rate)) => {
                heard.trouble = Some(kiss);
                break;
            }
            // The first reason that is one says most.
            Err(error) if heard.trouble.as_ref().is_none_or(|first| matches!(first, AskError::Silent)) => {
                heard.trouble = Some(error);
            }
            Err(_) => {}
        }
    }
    heard
}

/// A socket that hears nobody but this server.
async fn connect(server: &TimeServer, pace: &Pace) -> Result<UdpSocket, AskError> {
    let found = tokio::time::timeout(pace.lookup, tokio::net::lookup_host((server.host.as_str(), server.port))).await;
    let found = found.map_err(|_| AskError::Name(io::ErrorKind::TimedOut.into()))?.map_err(AskError::Name)?;
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for address in found.take(ADDRESSES) {
        let own = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let opened = async {
            let socket = UdpSocket::bind(own).await?;
            socket.connect(address).await.map(|()| socket)
        };
        match opened.await {
            Ok(socket) => return Ok(socket),
            // A machine without IPv6 finds addresses of it all the same.
            Err(error) => failed = error,
        }
    }
    Err(AskError::Reach(failed))
}

async fn exchange(socket: &UdpSocket, pace: &Pace, wall: &Wall) -> Result<Sample, AskError> {
    let mut cookie = [0; 8];
    getrandom::fill(&mut cookie).map_err(|_| AskError::Random)?;
    let cookie = u64::from_be_bytes(cookie);
    let (began, asked) = (Instant::now(), wall());
    socket.send(&packet::question(cookie)).await.map_err(AskError::Reach)?;
    let deadline = tokio::time::Instant::now() + pace.patience;
    let mut buffer = [0; 512];
    loop {
        let received = timeout_at(deadline, socket.recv(&mut buffer)).await.map_err(|_| AskError::Silent)?;
        let trip = began.elapsed();
        let length = received.map_err(AskError::Reach)?;
        match judge(buffer.get(..length).unwrap_or_default(), cookie, asked, trip) {
            Err(AskError::Unusable(Unusable::Stray)) => {}
            judged => return judged,
        }
    }
}

/// What an answer that came after `trip` says to the question that was sent at `asked` by this machine's clock. Pure.
pub(super) fn judge(bytes: &[u8], cookie: u64, asked: Duration, trip: Duration) -> Result<Sample, AskError> {
    let reading = packet::read(bytes, cookie)?;
    let sample = Sample::new(&reading, asked, trip).ok_or(Unusable::Nonsense)?;
    if plausible(nanos(asked) + sample.offset) { Ok(sample) } else { Err(AskError::Absurd) }
}

/// Whether the time can be one at which this program runs: not before it was written, and not thirty years later.
fn plausible(time: i128) -> bool {
    const LIFE: Duration = Duration::from_secs(30 * 365 * 86_400);
    let first = i128::from(WallTime::FIRST.0) * 1_000_000;
    (first..first + nanos(LIFE)).contains(&time)
}
