//! The daemon's end of the helper's socket.

use super::words::{Answer, Ask, LONGEST, Status, Step};
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
