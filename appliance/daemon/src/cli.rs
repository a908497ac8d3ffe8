//! The command line's other half: asks a running daemon through the Unix socket in its state folder, where the file's
//! permission is the login.

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Method, Request,
    body::{Body, Frame},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::{io, path::PathBuf};
use tokio::{io::AsyncReadExt as _, net::UnixStream};

/// The socket's name in the state folder.
pub const SOCKET: &str = "rackberry.sock";

/// Why a command got no answer, or a refusal.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("cannot reach the daemon at {}; is `rackberry serve` running with this --state-dir?", path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("the daemon broke off the connection")]
    Http(#[from] hyper::Error),
    #[error("cannot read {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the request could not be built")]
    Build(#[from] http::Error),
    #[error("the daemon's answer does not read")]
    Answer(#[from] serde_json::Error),
    /// The daemon's own sentence.
    #[error("{0}")]
    Refused(String),
}

/// Speaks to one daemon.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The daemon of that state folder.
    #[must_use]
    pub fn new(state_dir: &std::path::Path) -> Self {
        Client { socket: state_dir.join(SOCKET) }
    }

    /// One call of the API; `path` begins behind `/api/v1`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, CallError> {
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        self.send(method, path, Full::new(body)).await
    }

    /// Sends a file's bytes as a body.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn upload(&self, path: &str, file: PathBuf) -> Result<Value, CallError> {
        let wrap = |source| CallError::File { path: file.clone(), source };
        let opened = tokio::fs::File::open(&file).await.map_err(wrap)?;
        let length = opened.metadata().await.map_err(wrap)?.len();
        let pieces = stream::unfold((opened, vec![0; 1 << 20]), |(mut opened, mut buffer)| async move {
            match opened.read(&mut buffer).await {
                Ok(0) => None,
                Ok(read) => {
                    let piece = Bytes::copy_from_slice(buffer.get(..read).unwrap_or_default());
                    Some((Ok(Frame::data(piece)), (opened, buffer)))
                }
                Err(error) => Some((Err(error), (opened, buffer))),
            }
        });
        let body: BoxBody<Bytes, io::Error> = BodyExt::boxed(StreamBody::new(pieces));
        self.send_sized(Method::POST, path, body, Some(length)).await
    }

    async fn send<B>(&self, method: Method, path: &str, body: B) -> Result<Value, CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.send_sized(method, path, body, None).await
    }

    async fn send_sized<B>(&self, method: Method, path: &str, body: B, length: Option<u64>) -> Result<Value, CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| CallError::Connect { path: self.socket.clone(), source })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("host", "rackberry")
            .header("content-type", "application/json");
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let response = sender.send_request(request.body(Box::pin(body))?).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        connection.abort();
        if status.is_success() {
            return Ok(serde_json::from_slice(&bytes)?);
        }
        let said = serde_json::from_slice::<Value>(&bytes)
            .ok()
            .and_then(|answer| answer.get("error").and_then(Value::as_str).map(str::to_owned));
        Err(CallError::Refused(said.unwrap_or_else(|| format!("the daemon answered {status}"))))
    }
}

/// A table for people: columns as wide as their widest cell, the last one unbounded.
#[must_use]
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(headings.get(column).map(|heading| heading.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut out = line(&mut headings.iter().copied());
    for row in rows {
        out.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    out
}

/// One part of a path, percent-encoded.
#[must_use]
pub fn encode(part: &str) -> String {
    part.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["node-01".to_owned(), "Waiting".to_owned()], vec!["n".to_owned(), "Armed".to_owned()]];
        assert_eq!(table(&["NAME", "STATE"], &rows), "NAME     STATE\nnode-01  Waiting\nn        Armed\n");
    }
}
