//! One request to a server elsewhere, and its answer: the address is chosen and checked here, and then connected to, so that a
//! name which means another address a moment later changes nothing. Redirects are followed by the same rule, and are few.

use super::{
    address::{OwnNetworks, refusal},
    url::{InvalidUrl, Url},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// Redirects that are followed for one request.
const REDIRECTS: usize = 5;
/// Addresses of one name that are tried.
const ADDRESSES: usize = 4;
/// For a name to be looked up, an address to answer, TLS to be agreed on: each.
const CONNECT: Duration = Duration::from_secs(10);
/// From a request to the head of its answer.
const HEAD: Duration = Duration::from_secs(30);
/// Between two pieces of a body.
const STALL: Duration = Duration::from_secs(30);
/// No answer's head is longer.
const LONGEST_HEAD: usize = 64 << 10;

/// Why there is no answer, or it broke off.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    #[error("the name {host} could not be looked up: has the box a way to the internet, and a name server?")]
    Lookup { host: String, source: io::Error },
    #[error(
        "{host} has the address {address}, which is {why}: nothing is fetched from there unless private addresses are allowed (--allow-private, or the setting import.private)"
    )]
    Private { host: String, address: IpAddr, why: &'static str },
    #[error("{host} could not be reached")]
    Connect { host: String, source: io::Error },
    #[error("no encrypted connection to {host} could be agreed on; is the box's clock right?")]
    Tls { host: String, source: io::Error },
    #[error("{host} did not answer as HTTP has it")]
    Http { host: String, source: hyper::Error },
    #[error("{host} did not answer within {} s", after.as_secs())]
    Slow { host: String, after: Duration },
    #[error("the answer of {host} broke off")]
    Broken { host: String, source: hyper::Error },
    #[error("{url} leads on more than {REDIRECTS} times")]
    Redirects { url: String },
    #[error("{from} leads from an encrypted connection to an open one, {to}: give that URL yourself if you trust it")]
    Downgrade { from: String, to: String },
    #[error("{url} answers {status}")]
    Status { url: String, status: http::StatusCode },
    #[error("{url} answers with another part of the file than was asked for")]
    Elsewhere { url: String },
    #[error("{url} is longer than the {most} bytes that such a file may have")]
    Long { url: String, most: usize },
}

impl ClientError {
    /// Whether trying again by itself may help.
    #[must_use]
    pub fn passing(&self) -> bool {
        match self {
            ClientError::Lookup { .. }
            | ClientError::Connect { .. }
            | ClientError::Http { .. }
            | ClientError::Slow { .. }
            | ClientError::Broken { .. }
            | ClientError::Elsewhere { .. } => true,
            ClientError::Status { status, .. } => status.is_server_error() || status.as_u16() == 429,
            ClientError::Url(_)
            | ClientError::Private { .. }
            | ClientError::Tls { .. }
            | ClientError::Redirects { .. }
            | ClientError::Downgrade { .. }
            | ClientError::Long { .. } => false,
        }
    }
}

/// From whom may be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The internet alone.
    Internet,
    /// Any address: a person said so.
    Anywhere,
}

/// Makes requests; cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    tls: Option<Arc<ClientConfig>>,
}

impl Default for Client {
    fn default() -> Self {
        Client::new()
    }
}

/// An answer whose body is still to come.
#[derive(Debug)]
pub struct Answer {
    /// Where it came from in the end.
    pub url: Url,
    pub response: Response<Incoming>,
}

impl Client {
    /// With Mozilla's list of authorities, as the program carries it.
    #[must_use]
    pub fn new() -> Self {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        Self::trusting(roots)
    }

    fn trusting(roots: RootCertStore) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        // The versions are those that the provider has: that they fail is not known to happen.
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Client { tls: tls.ok().map(|tls| Arc::new(tls.with_root_certificates(roots).with_no_client_auth())) }
    }

    /// Asks for `url`, and goes where it leads.
    ///
    /// # Errors
    /// [`ClientError`]; an answer of any status but a redirect is none.
    pub async fn ask(
        &self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        reach: Reach,
    ) -> Result<Answer, ClientError> {
        let mut at = url.clone();
        for _ in 0..=REDIRECTS {
            let response = self.once(method, &at, headers, reach).await?;
            let leads = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            let location = response.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
            let Some(location) = location.filter(|_| leads) else {
                return Ok(Answer { url: at, response });
            };
            let next = at.join(location)?;
            if at.secure() && !next.secure() {
                return Err(ClientError::Downgrade { from: at.to_string(), to: next.to_string() });
            }
            at = next;
        }
        Err(ClientError::Redirects { url: url.to_string() })
    }

    /// A whole small file.
    ///
    /// # Errors
    /// [`ClientError`], also if the status is not 200 or the file is longer than `most` bytes.
    pub async fn small(&self, url: &Url, most: usize, reach: Reach) -> Result<Bytes, ClientError> {
        let Answer { url, response } = self.ask(&Method::GET, url, &HeaderMap::new(), reach).await?;
        if response.status() != http::StatusCode::OK {
            return Err(ClientError::Status { url: url.to_string(), status: response.status() });
        }
        let mut body = Pieces::new(&url, response.into_body());
        let mut whole = Vec::new();
        while let Some(piece) = body.next().await? {
            if whole.len() + piece.len() > most {
                return Err(ClientError::Long { url: url.to_string(), most });
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.into())
    }

    async fn once(
        &self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        reach: Reach,
    ) -> Result<Response<Incoming>, ClientError> {
        let host = url.host().to_owned();
        let stream = connect(url, reach).await?;
        let mut request = Request::builder().method(method).uri(url.path_and_query());
        if let Some(all) = request.headers_mut() {
            all.extend(headers.clone());
            let authority = HeaderValue::from_str(&url.authority()).unwrap_or(HeaderValue::from_static(""));
            all.insert(header::HOST, authority);
            all.insert(header::USER_AGENT, HeaderValue::from_static(concat!("rackberry/", env!("CARGO_PKG_VERSION"))));
            all.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        }
        let request = request.body(Empty::new()).map_err(|_| ClientError::Connect {
            host: host.clone(),
            source: io::Error::other("the path cannot be asked for"),
        })?;
        if !url.secure() {
            return send(&host, stream, request).await;
        }
        let tls = |source| ClientError::Tls { host: host.clone(), source };
        let name = ServerName::try_from(host.clone()).map_err(|error| tls(io::Error::other(error)))?;
        let config = self.tls.clone().ok_or_else(|| tls(io::ErrorKind::Unsupported.into()))?;
        let agreed = timeout(CONNECT, TlsConnector::from(config).connect(name, stream)).await;
        let stream = agreed.map_err(|_| ClientError::Slow { host: host.clone(), after: CONNECT })?.map_err(tls)?;
        send(&host, stream, request).await
    }
}

/// Connects to an address that was looked at.
async fn connect(url: &Url, reach: Reach) -> Result<TcpStream, ClientError> {
    let host = url.host().to_owned();
    let slow = || ClientError::Slow { host: host.clone(), after: CONNECT };
    let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, url.port())],
        Err(_) => timeout(CONNECT, tokio::net::lookup_host((host.as_str(), url.port())))
            .await
            .map_err(|_| slow())?
            .map_err(|source| ClientError::Lookup { host: host.clone(), source })?
            .collect(),
    };
    let mut last = None;
    let allowed = match reach {
        Reach::Anywhere => found,
        Reach::Internet => {
            let own = OwnNetworks::look();
            let (fine, inside): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|address| refusal(address.ip(), &own).is_none());
            if let Some(address) = inside.first().map(SocketAddr::ip) {
                let why = refusal(address, &own).unwrap_or_default();
                last = Some(ClientError::Private { host: host.clone(), address, why });
            }
            fine
        }
    };
    for address in allowed.into_iter().take(ADDRESSES) {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(source)) => last = Some(ClientError::Connect { host: host.clone(), source }),
            Err(_) => last = Some(slow()),
        }
    }
    Err(last.unwrap_or_else(|| ClientError::Lookup { host: host.clone(), source: io::ErrorKind::NotFound.into() }))
}

async fn send<S>(host: &str, stream: S, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let wrong = |source| ClientError::Http { host: host.to_owned(), source };
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(LONGEST_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(wrong)?;
    // Ends with the answer's body, or once that is dropped.
    tokio::spawn(connection);
    match timeout(HEAD, sender.send_request(request)).await {
        Ok(answer) => answer.map_err(wrong),
        Err(_) => Err(ClientError::Slow { host: host.to_owned(), after: HEAD }),
    }
}

/// A body piece by piece; a server that falls silent ends it.
#[derive(Debug)]
pub struct Pieces {
    host: String,
    body: Incoming,
}

impl Pieces {
    #[must_use]
    pub fn new(url: &Url, body: Incoming) -> Self {
        Pieces { host: url.host().to_owned(), body }
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`ClientError::Broken`] or [`ClientError::Slow`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let frame = match timeout(STALL, self.body.frame()).await {
                Err(_) => return Err(ClientError::Slow { host: self.host.clone(), after: STALL }),
                Ok(None) => return Ok(None),
                Ok(Some(frame)) => frame.map_err(|source| ClientError::Broken { host: self.host.clone(), source })?,
            };
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }
}
