//! HTTP/1.1 to the box: JSON posts, and byte streams that can start anywhere. The only importer of ureq.

use serde::{Serialize, de::DeserializeOwned};
use std::{io::Read, time::Duration};
use ureq::http::{Response, StatusCode, header};

/// A connection that carries nothing for so long is dropped and opened anew.
const SILENCE: Duration = Duration::from_secs(15);
const CONNECT: Duration = Duration::from_secs(5);
/// No reply of the box comes near: an order with all its files is some kilobytes.
const REPLY_LIMIT: u64 = 16 << 20;

/// Why a request had no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("no answer from {url}")]
    Unreachable {
        url: String,
        #[source]
        source: Box<ureq::Error>,
    },
    #[error("{url} answered {status}")]
    Status { url: String, status: u16 },
    #[error("{url} answered something that cannot be read")]
    Garbled {
        url: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("{url} answered with bytes from elsewhere in the file")]
    WrongRange { url: String },
}

impl HttpError {
    /// The status the server answered, if it answered at all.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            HttpError::Status { status, .. } => Some(*status),
            HttpError::Unreachable { .. } | HttpError::Garbled { .. } | HttpError::WrongRange { .. } => None,
        }
    }
}

/// Bytes of a file from some offset on.
pub struct Stream {
    /// Where the first byte of `reader` stands in the file.
    pub start: u64,
    /// Of the whole file, if the server says.
    pub total: Option<u64>,
    pub reader: Box<dyn Read + Send>,
}

/// A client; clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
}

impl Default for Client {
    fn default() -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // The box never redirects, and a proxy from the environment would be a mistake.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            // The digest is over the bytes as they lie on the box.
            .accept_encoding("identity")
            .user_agent(concat!("rackberry-agent/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT))
            .max_idle_age(Duration::from_secs(5))
            .build();
        Client { agent: config.new_agent() }
    }
}

impl Client {
    /// Posts `message` and reads the answer, both JSON, within `timeout`.
    ///
    /// # Errors
    /// [`HttpError`] unless a 200 with a readable answer came.
    pub fn post<M: Serialize, A: DeserializeOwned>(
        &self,
        url: &str,
        message: &M,
        timeout: Duration,
    ) -> Result<A, HttpError> {
        let garbled = |source| HttpError::Garbled { url: url.to_owned(), source };
        let body = serde_json::to_vec(message).map_err(garbled)?;
        let request = self.agent.post(url).header(header::CONTENT_TYPE, "application/json");
        let response = request.config().timeout_global(Some(timeout)).build().send(&body);
        let response = answered(url, response, &[StatusCode::OK])?;
        let reply = response.into_body().into_with_config().limit(REPLY_LIMIT).read_to_vec();
        serde_json::from_slice(&reply.map_err(unreachable(url))?).map_err(garbled)
    }

    /// Opens `url` from byte `from` on; a server without ranges may start at 0 instead.
    ///
    /// # Errors
    /// [`HttpError`] if no bytes of the file can be had now.
    pub fn open(&self, url: &str, from: u64) -> Result<Stream, HttpError> {
        let mut request = self.agent.get(url);
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        let request = request.config().timeout_per_read(Some(SILENCE)).timeout_recv_response(Some(SILENCE)).build();
        let response = answered(url, request.call(), &[StatusCode::OK, StatusCode::PARTIAL_CONTENT])?;
        let field = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let (start, total) = if response.status() == StatusCode::PARTIAL_CONTENT {
            let range = field(header::CONTENT_RANGE).and_then(content_range);
            range.ok_or_else(|| HttpError::WrongRange { url: url.to_owned() })?
        } else {
            (0, field(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()))
        };
        if start != from && start != 0 {
            return Err(HttpError::WrongRange { url: url.to_owned() });
        }
        let reader = response.into_body().into_with_config().limit(u64::MAX).reader();
        Ok(Stream { start, total, reader: Box::new(reader) })
    }
}

fn unreachable(url: &str) -> impl Fn(ureq::Error) -> HttpError + '_ {
    |source| HttpError::Unreachable { url: url.to_owned(), source: Box::new(source) }
}

fn answered(
    url: &str,
    response: Result<Response<ureq::Body>, ureq::Error>,
    wanted: &[StatusCode],
) -> Result<Response<ureq::Body>, HttpError> {
    let response = response.map_err(unreachable(url))?;
    if wanted.contains(&response.status()) {
        return Ok(response);
    }
    Err(HttpError::Status { url: url.to_owned(), status: response.status().as_u16() })
}

/// `bytes 10-19/20` (RFC 9110 14.4): first byte and, unless it is `*`, the length of the whole.
fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.trim().parse().ok()?, total.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::content_range;

    #[test]
    fn a_content_range_names_its_first_byte() {
        assert_eq!(content_range("bytes 10-19/20"), Some((10, Some(20))));
        assert_eq!(content_range("bytes 10-19/*"), Some((10, None)));
        assert_eq!(content_range("bytes */20"), None);
    }
}
