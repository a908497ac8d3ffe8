//! A server on loopback that does what a test wants of it.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};
use tokio::net::TcpListener;

/// An answer's body.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A body of these bytes.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    use http_body_util::BodyExt as _;
    Body::new(http_body_util::Full::new(bytes.into()).map_err(|never| match never {}))
}

/// A body that says to be longer than the bytes that come before it breaks.
pub(crate) fn broken(bytes: impl Into<Bytes>) -> Body {
    use futures_util::StreamExt as _;
    let first = futures_util::stream::iter([Ok(http_body::Frame::data(bytes.into()))]);
    let then = futures_util::stream::once(async {
        // What was sent has to arrive before the connection ends.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        Err(std::io::Error::other("broken"))
    });
    Body::new(http_body_util::StreamBody::new(first.chain(then)))
}

/// An answer.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        response.headers_mut().append(name, value.parse().unwrap());
    }
    response
}

/// A file served as a good server does: ranges, entity tag.
pub(crate) fn file(request: &Request<Incoming>, bytes: &[u8], tag: &str) -> Response<Body> {
    let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let from = header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let may = header("if-range").is_none_or(|wanted| wanted == tag);
    let body = |part: &[u8]| if request.method() == http::Method::HEAD { whole("") } else { whole(part.to_vec()) };
    match from.filter(|from| may && *from < bytes.len()) {
        Some(from) => {
            let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
            answer(206, &[("etag", tag), ("content-range", &range)], body(&bytes[from..]))
        }
        None => {
            let length = bytes.len().to_string();
            answer(200, &[("etag", tag), ("content-length", &length)], body(bytes))
        }
    }
}

/// A running server.
pub(crate) struct Server {
    pub address: SocketAddr,
    asked: Arc<AtomicUsize>,
    told: mpsc::Receiver<String>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Answers the n-th request, from 0, by `answer`.
    pub async fn start(
        answer: impl Fn(usize, Request<Incoming>) -> Response<Body> + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let (tell, told) = mpsc::channel();
        let count = asked.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, count, tell) = (answer.clone(), count.clone(), tell.clone());
                let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                    let range =
                        request.headers().get("range").and_then(|range| range.to_str().ok()).unwrap_or_default();
                    let _ = tell.send(format!("{} {} {range}", request.method(), request.uri()).trim().to_owned());
                    let answer = answer(count.fetch_add(1, Ordering::SeqCst), request);
                    async move { Ok::<_, std::io::Error>(answer) }
                });
                tokio::spawn(async move {
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Server { address, asked, told, task }
    }

    /// A URL of it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How many requests came so far.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Every request so far: method, path, range.
    pub fn requests(&self) -> Vec<String> {
        self.told.try_iter().collect()
    }
}
