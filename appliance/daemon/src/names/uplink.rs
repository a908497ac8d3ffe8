//! The uplink's name servers: who they are, and a question to them.

use super::wire::Asked;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use hickory_proto::op::{Message, ResponseCode};
use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    path::PathBuf,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::{Instant, sleep_until, timeout_at},
};

/// Asked at most.
const MOST: usize = 4;
/// One is silent for so long: the next one is asked, too.
const NEXT: Duration = Duration::from_millis(700);
/// A question is given up after so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who may know.
#[derive(Debug, Clone)]
pub struct Uplink {
    /// Asked first.
    pub servers: Vec<SocketAddrV4>,
    /// Where this machine's own are told of, in lines `dns=ADDRESS` (its lease) or `nameserver ADDRESS` (resolv.conf(5)).
    pub file: Option<PathBuf>,
    /// This machine's: it asks nobody by asking itself.
    pub own: Ipv4Addr,
}

impl Uplink {
    /// Those of the settings, then those of the file, each once.
    pub async fn servers(&self) -> Vec<SocketAddrV4> {
        let text = match &self.file {
            Some(file) => tokio::fs::read_to_string(file).await.unwrap_or_default(),
            None => String::new(),
        };
        let told = text.lines().filter_map(|line| {
            let address = line.strip_prefix("dns=").or_else(|| line.strip_prefix("nameserver"))?.trim();
            Some(SocketAddrV4::new(address.parse().ok()?, 53))
        });
        // Port 53 of loopback is this server's as well.
        let told = told.filter(|server| !server.ip().is_loopback() && *server.ip() != self.own);
        let mut servers = Vec::new();
        for server in self.servers.iter().copied().chain(told) {
            if !servers.contains(&server) && servers.len() < MOST {
                servers.push(server);
            }
        }
        servers
    }
}

/// Why a server gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("the kernel gives no random bytes")]
    Random,
    #[error("it cannot be reached")]
    Reach(#[source] io::Error),
    #[error("the question cannot be said")]
    Encode,
    #[error("its answer cannot be read")]
    Unreadable,
    #[error("it does not know either")]
    Refused,
}

/// The first answer that is one, with its length: the servers are asked one after the other, as long as those before are silent.
pub async fn ask(servers: &[SocketAddrV4], asked: &Asked) -> Option<(Message, usize)> {
    let end = Instant::now() + PATIENCE;
    let (mut running, mut rest) = (FuturesUnordered::new(), servers.iter());
    let mut next = Instant::now();
    loop {
        tokio::select! {
            Some((server, result)) = running.next() => match result {
                Ok(answer) => return Some(answer),
                Err(error) => {
                    tracing::debug!(%server, error = crate::chain(&error), "no answer");
                    next = Instant::now();
                    if running.is_empty() && rest.len() == 0 {
                        return None;
                    }
                }
            },
            () = sleep_until(next.min(end)), if rest.len() > 0 => {
                if let Some(server) = rest.next() {
                    running.push(async move { (*server, exchange(*server, asked).await) });
                }
                next = Instant::now() + NEXT;
            }
            () = sleep_until(end) => return None,
        }
    }
}

/// One question from a port of its own, under a number of its own: only who saw it can answer (RFC 5452).
async fn exchange(server: SocketAddrV4, asked: &Asked) -> Result<(Message, usize), AskError> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(|_| AskError::Random)?;
    let id = u16::from_be_bytes(id);
    let question = asked.question(id).to_vec().map_err(|_| AskError::Encode)?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.map_err(AskError::Reach)?;
    socket.connect(server).await.map_err(AskError::Reach)?;
    socket.send(&question).await.map_err(AskError::Reach)?;
    let mut buffer = [0; 4096];
    let (answer, length) = loop {
        let length = socket.recv(&mut buffer).await.map_err(AskError::Reach)?;
        let answer = Message::from_vec(buffer.get(..length).unwrap_or_default());
        match answer {
            Ok(answer) if asked.is_answered_by(id, &answer) => break (answer, length),
            // A stranger's, or a server's that cannot be understood: the right one may still come.
            _ => {}
        }
    };
    let (answer, length) = match answer.metadata.truncation {
        true => by_tcp(server, asked, id, &question).await?,
        false => (answer, length),
    };
    match answer.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => Ok((answer, length)),
        _ => Err(AskError::Refused),
    }
}

async fn by_tcp(server: SocketAddrV4, asked: &Asked, id: u16, question: &[u8]) -> Result<(Message, usize), AskError> {
    let mut stream = TcpStream::connect(server).await.map_err(AskError::Reach)?;
    write(&mut stream, question).await.map_err(AskError::Reach)?;
    let bytes = read(&mut stream).await.map_err(AskError::Reach)?;
    let answer = Message::from_vec(&bytes).map_err(|_| AskError::Unreadable)?;
    if asked.is_answered_by(id, &answer) { Ok((answer, bytes.len())) } else { Err(AskError::Unreadable) }
}

/// A message with its length before it (RFC 1035 section 4.2.2).
pub async fn write(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes()[..], message].concat()).await
}

/// The next message.
pub async fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut bytes).await.map(|_| bytes)
}

/// Whether the server at `asked` answers that `name` is at `wanted`.
pub async fn answers(asked: SocketAddrV4, name: hickory_proto::rr::Name, wanted: Ipv4Addr, patience: Duration) -> bool {
    use hickory_proto::{
        op::Query,
        rr::{RData, RecordType},
    };
    let mut request = Message::query();
    request.add_query(Query::query(name, RecordType::A));
    let Some(asking) = Asked::new(request) else { return false };
    match timeout_at(Instant::now() + patience, exchange(asked, &asking)).await {
        Ok(Ok((answer, _))) => {
            answer.answers.iter().any(|record| matches!(&record.data, RData::A(address) if address.0 == wanted))
        }
        Ok(Err(_)) | Err(_) => false,
    }
}
