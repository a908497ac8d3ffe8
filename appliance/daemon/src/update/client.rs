//! The daemon's end of the helper's socket.

use super::words::{Answer, Ask, LONGEST, Status, Step};
use rackberry_core::update::Header;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
};

/// A slow card takes its time for a few megabytes; between two signs of progress not more than this.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why the helper did not do something.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("The part of the box that writes updates does not answer. Restart the box, and try again.")]
    Unreachable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The helper's own sentence.
    #[error("{0}")]
    Refused(String),
}

/// Asks one question; `told` hears the progress.
///
/// # Errors
/// [`ClientError`].
pub async fn ask(
    socket: &Path,
    ask: &Ask,
    told: &mut (dyn FnMut(Step, u64, u64) + Send),
) -> Result<Answer, ClientError> {
    let unreachable = |source| ClientError::Unreachable { path: socket.to_owned(), source };
    let mut stream = UnixStream::connect(socket).await.map_err(unreachable)?;
    let mut line = serde_json::to_vec(ask).map_err(|error| unreachable(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).await.map_err(unreachable)?;
    // Everything it says fits: a few hundred lines of progress, and one answer.
    let mut lines = BufReader::new(stream.take(LONGEST * 16)).lines();
    loop {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let line = line.map_err(|_| unreachable(io::ErrorKind::TimedOut.into()))?.map_err(unreachable)?;
        let line = line.ok_or_else(|| unreachable(io::ErrorKind::UnexpectedEof.into()))?;
        match serde_json::from_str(&line).map_err(|error| unreachable(error.into()))? {
            Answer::Progress { step, done, total } => told(step, done, total),
            Answer::Refused { why } => return Err(ClientError::Refused(why)),
            answer => return Ok(answer),
        }
    }
}

/// What the helper has of the sticks that are plugged in.
#[derive(Debug)]
pub enum Given {
    /// The bytes that follow, of a bundle with this header.
    Bundle { header: Box<Header>, bytes: tokio::io::Take<BufReader<UnixStream>> },
    /// The sentence why; empty if there is no stick.
    Nothing { why: String },
}

/// Asks for the bundle on a stick.
///
/// # Errors
/// [`ClientError`]; refused if there is one that this box does not take.
pub async fn stick(socket: &Path) -> Result<Given, ClientError> {
    let unreachable = |source| ClientError::Unreachable { path: socket.to_owned(), source };
    let mut reader = BufReader::new(UnixStream::connect(socket).await.map_err(unreachable)?);
    let mut line = serde_json::to_vec(&Ask::Stick).map_err(|error| unreachable(error.into()))?;
    line.push(b'\n');
    reader.write_all(&line).await.map_err(unreachable)?;
    loop {
        let mut line = String::new();
        let mut limited = (&mut reader).take(LONGEST);
        let read = tokio::time::timeout(PATIENCE, limited.read_line(&mut line)).await;
        read.map_err(|_| unreachable(io::ErrorKind::TimedOut.into()))?.map_err(unreachable)?;
        match serde_json::from_str(&line).map_err(|error| unreachable(error.into()))? {
            Answer::Progress { .. } => {}
            Answer::Stick { header, bytes } => return Ok(Given::Bundle { header, bytes: reader.take(bytes) }),
            Answer::NoStick { why } => return Ok(Given::Nothing { why }),
            Answer::Refused { why } => return Err(ClientError::Refused(why)),
            other => return Err(strange(socket, &other)),
        }
    }
}

/// How the card stands.
///
/// # Errors
/// [`ClientError`].
pub async fn status(socket: &Path) -> Result<Status, ClientError> {
    match ask(socket, &Ask::Status, &mut |_, _, _| {}).await? {
        Answer::Status(status) => Ok(*status),
        other => Err(strange(socket, &other)),
    }
}

/// An answer to another question.
pub fn strange(socket: &Path, answer: &Answer) -> ClientError {
    let source = io::Error::new(io::ErrorKind::InvalidData, format!("{answer:?}"));
    ClientError::Unreachable { path: socket.to_owned(), source }
}
