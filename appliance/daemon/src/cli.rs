//! The command line's other half: asks a running daemon, on the box through the Unix socket in its state folder, where the
//! file's permission is the login; from elsewhere by the page's address and a token.

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Uri};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Method, Request,
    body::{Body, Frame, Incoming},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
};

/// The socket's name in the state folder.
pub const SOCKET: &str = "rackberry.sock";
/// What a daemon's answers carry; whatever lacks it is something else.
const MARK: &str = "rackberry-api";
/// Whoever asks is not known (RFC 9110 15.5.2).
const UNAUTHORIZED: u16 = 401;
/// How long a box may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a command got no answer, or a refusal.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("cannot reach the daemon at {}; is `rackberry serve` running with this --state-dir?", path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("\"{url}\" is no address of a box; write it as http://192.168.77.1:8000")]
    BadUrl { url: String },
    #[error(
        "{url}: https is not supported yet; use http://, over a network you trust or through a tunnel \
         (ssh -L 8000:localhost:8000 BOX)"
    )]
    Https { url: String },
    #[error("cannot reach {url}; is the box on, and is its page there (port 8000, unless page.listen says otherwise)?")]
    Unreachable { url: String, source: io::Error },
    #[error("{url} answers, but it is no Rackberry")]
    NotRackberry { url: String },
    #[error("{url} is where a Rackberry serves machines; its page and API are on another port, usually 8000")]
    BootPort { url: String },
    #[error(
        "{url} wants a token: make one on the box with `rackberry token add NAME`, and give it by RACKBERRY_TOKEN or \
         --token-file"
    )]
    NoToken { url: String },
    #[error("{url} refused the token: {said}")]
    TokenRefused { url: String, said: String },
    #[error("the daemon broke off the connection")]
    Http(#[from] hyper::Error),
    #[error("cannot {doing} {}", path.display())]
    File { doing: &'static str, path: PathBuf, source: io::Error },
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
    way: Way,
}

#[derive(Debug, Clone)]
enum Way {
    Socket(PathBuf),
    Url(Remote),
}

/// A box elsewhere.
#[derive(Clone)]
struct Remote {
    /// As it was given.
    url: String,
    /// Host and port.
    authority: String,
    /// What stands before `/api`, for a proxy that serves the page below a path.
    base: String,
    token: Option<String>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the token.
        f.debug_tuple("Remote").field(&self.url).finish()
    }
}

impl Client {
    /// The daemon of that state folder.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Client { way: Way::Socket(state_dir.join(SOCKET)) }
    }

    /// The daemon whose page is at that URL.
    ///
    /// # Errors
    /// [`CallError::BadUrl`] or [`CallError::Https`].
    pub fn at(url: &str, token: Option<String>) -> Result<Self, CallError> {
        let bad = || CallError::BadUrl { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| bad())?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(CallError::Https { url: url.to_owned() }),
            _ => return Err(bad()),
        }
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(bad)?;
        if uri.query().is_some() || authority.host().is_empty() {
            return Err(bad());
        }
        let authority = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
        let base = uri.path().trim_end_matches('/').to_owned();
        Ok(Client { way: Way::Url(Remote { url: url.trim_end_matches('/').to_owned(), authority, base, token }) })
    }

    /// One call of the API; `path` begins behind `/api/v1`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, CallError> {
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let response = self.send(method, path, Full::new(body), None).await?;
        Ok(serde_json::from_slice(&response.whole().await?)?)
    }

    /// Sends some bytes as a body.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn send_bytes(&self, path: &str, bytes: Bytes) -> Result<Value, CallError> {
        let length = bytes.len() as u64;
        let response = self.send(Method::POST, path, Full::new(bytes), Some(length)).await?;
        Ok(serde_json::from_slice(&response.whole().await?)?)
    }

    /// Sends a file's bytes as a body.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn upload(&self, path: &str, file: PathBuf) -> Result<Value, CallError> {
        let wrap = |source| CallError::File { doing: "read", path: file.clone(), source };
        let opened = tokio::fs::File::open(&file).await.map_err(wrap)?;
        let length = opened.metadata().await.map_err(wrap)?.len();
        if matches!(self.way, Way::Url(_)) {
            // A wrong address or token is told before gigabytes are on their way.
            self.call(Method::GET, "/status", None).await?;
        }
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
        let response = self.send(Method::POST, path, body, Some(length)).await?;
        Ok(serde_json::from_slice(&response.whole().await?)?)
    }

    /// Puts what a path answers into a file that only its owner may read; whoever looks sees the whole file or none.
    /// Returns its length in bytes.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn download(&self, path: &str, file: &Path) -> Result<u64, CallError> {
        let mut response = self.send(Method::GET, path, Full::new(Bytes::new()), None).await?;
        let part = PathBuf::from(format!("{}.part", file.display()));
        let wrap = |doing: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| CallError::File { doing, path, source }
        };
        let options = tokio::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).clone();
        let mut written = options.open(&part).await.map_err(wrap("create", &part))?;
        let mut length = 0;
        let fill = async {
            while let Some(frame) = response.body.frame().await {
                if let Ok(piece) = frame?.into_data() {
                    length += piece.len() as u64;
                    written.write_all(&piece).await.map_err(wrap("write", &part))?;
                }
            }
            written.sync_all().await.map_err(wrap("write", &part))?;
            tokio::fs::rename(&part, file).await.map_err(wrap("create", file))
        };
        let filled: Result<(), CallError> = fill.await;
        if filled.is_err() {
            let _ = tokio::fs::remove_file(&part).await;
        }
        filled.map(|()| length)
    }

    /// Sends one request; an answer that is a refusal is an error.
    async fn send<B>(&self, method: Method, path: &str, body: B, length: Option<u64>) -> Result<Answer, CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (host, base) = match &self.way {
            Way::Socket(_) => ("rackberry", ""),
            Way::Url(remote) => (remote.authority.as_str(), remote.base.as_str()),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{base}/api/v1{path}"))
            .header("host", host)
            .header("content-type", "application/json");
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        if let Way::Url(Remote { token: Some(token), .. }) = &self.way {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Box::pin(body))?;
        let answer = match &self.way {
            Way::Socket(socket) => {
                let stream = UnixStream::connect(socket)
                    .await
                    .map_err(|source| CallError::Connect { path: socket.clone(), source })?;
                exchange(stream, request).await?
            }
            Way::Url(remote) => remote.ask(request).await?,
        };
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        let status = answer.status;
        let bytes = answer.whole().await?;
        let said = serde_json::from_slice::<Value>(&bytes)
            .ok()
            .and_then(|answer| answer.get("error").and_then(Value::as_str).map(str::to_owned))
            .unwrap_or_else(|| format!("the daemon answered {status}"));
        match &self.way {
            Way::Url(Remote { url, token, .. }) if status == UNAUTHORIZED => Err(match token {
                Some(_) => CallError::TokenRefused { url: url.clone(), said },
                None => CallError::NoToken { url: url.clone() },
            }),
            Way::Socket(_) | Way::Url(_) => Err(CallError::Refused(said)),
        }
    }
}

impl Remote {
    async fn ask<B>(&self, request: Request<Pin<Box<B>>>) -> Result<Answer, CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let unreachable = |source| CallError::Unreachable { url: self.url.clone(), source };
        let stream = tokio::time::timeout(PATIENCE, TcpStream::connect(&self.authority))
            .await
            .map_err(|_| unreachable(io::ErrorKind::TimedOut.into()))?
            .map_err(unreachable)?;
        let foreign = || CallError::NotRackberry { url: self.url.clone() };
        let answer = match exchange(stream, request).await {
            Err(CallError::Http(error)) if error.is_parse() || error.is_incomplete_message() => return Err(foreign()),
            other => other?,
        };
        if answer.headers.contains_key(MARK) {
            Ok(answer)
        } else if answer.headers.get("server").is_some_and(|server| server == "rackberry") {
            Err(CallError::BootPort { url: self.url.clone() })
        } else {
            Err(foreign())
        }
    }
}

/// What came back; the connection lives as long as it.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Incoming,
    connection: tokio::task::JoinHandle<Result<(), hyper::Error>>,
}

impl Answer {
    async fn whole(mut self) -> Result<Bytes, hyper::Error> {
        Ok((&mut self.body).collect().await?.to_bytes())
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

async fn exchange<S, B>(stream: S, request: Request<Pin<Box<B>>>) -> Result<Answer, CallError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let (head, body) = response.into_parts();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body, connection })
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
    fn addresses_are_read_as_people_write_them() {
        let authority = |url: &str| match Client::at(url, None).unwrap().way {
            Way::Url(remote) => (remote.authority, remote.base),
            Way::Socket(socket) => panic!("{} is a socket", socket.display()),
        };
        assert_eq!(authority("http://192.0.2.1:8000"), ("192.0.2.1:8000".to_owned(), String::new()));
        assert_eq!(authority("http://box/"), ("box:80".to_owned(), String::new()));
        assert_eq!(authority("http://[2001:db8::1]:8000/rack/"), ("[2001:db8::1]:8000".to_owned(), "/rack".to_owned()));
        for bad in ["192.0.2.1:8000", "box", "", "ftp://box", "http://", "http://user:word@box", "http://box/?x=1"] {
            assert!(matches!(Client::at(bad, None), Err(CallError::BadUrl { .. })), "{bad}");
        }
        assert!(matches!(Client::at("https://box", None), Err(CallError::Https { .. })));
        let shown = format!("{:?}", Client::at("http://box", Some("secret".to_owned())).unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["node-01".to_owned(), "Waiting".to_owned()], vec!["n".to_owned(), "Armed".to_owned()]];
        assert_eq!(table(&["NAME", "STATE"], &rows), "NAME     STATE\nnode-01  Waiting\nn        Armed\n");
    }
}
