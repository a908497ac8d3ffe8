//! The API through the Unix socket in the state folder, where the file's permission is the login.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

/// The API of the daemon that runs on one state folder.
#[derive(Clone, Debug)]
pub struct LocalApi {
    socket: PathBuf,
}

impl LocalApi {
    /// The daemon of this state folder; it need not run yet.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { socket: state_dir.join("rackberry.sock") }
    }

    /// One call; `path` begins behind `/api/v1`. Any status is an answer.
    ///
    /// # Errors
    /// When no whole answer comes within 30 s.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let what = || format!("{method} {path}");
        let mut stream =
            UnixStream::connect(&self.socket).with_context(|| format!("connect to {}", self.socket.display()))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let head = format!("{method} /api/v1{path} HTTP/1.1\r\nhost: box\r\nconnection: close\r\n");
        write!(stream, "{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).with_context(what)?;
        let answer = String::from_utf8(answer).with_context(what)?;
        let (head, text) = answer.split_once("\r\n\r\n").with_context(|| format!("{}: cut short: {answer}", what()))?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        ensure!(length == Some(text.len()), "{}: {} bytes, but {head}", what(), text.len());
        let value = serde_json::from_str(text).with_context(|| format!("{} answered {text}", what()))?;
        Ok((status.with_context(|| format!("{}: the status of {head}", what()))?, value))
    }

    /// One call that has to succeed.
    ///
    /// # Errors
    /// As [`LocalApi::ask`], and with the daemon's sentence when it refuses.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        match self.ask(method, path, body)? {
            (200..=299, value) => Ok(value),
            (status, value) => bail!("{method} {path}: {status}: {value}"),
        }
    }

    /// What a path shows.
    ///
    /// # Errors
    /// As [`LocalApi::call`].
    pub fn get(&self, path: &str) -> Result<Value> {
        self.call("GET", path, None)
    }

    /// Every event there is, or of one host, the oldest first.
    ///
    /// # Errors
    /// As [`LocalApi::call`].
    pub fn events(&self, host: &str) -> Result<Vec<Value>> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let page = self.get(&format!("/events?host={host}&after={after}&limit=1000"))?;
            let page = page.as_array().context("events are no list")?.clone();
            let Some(last) = page.last() else { return Ok(all) };
            after = last.get("seq").and_then(Value::as_u64).context("an event without its number")?;
            all.extend(page);
        }
    }
}
