//! HTTP/1.1 as firmware speaks it: one connection kept open, lengths only, every header looked at.

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Socket, Type};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::Duration;

/// An answer, as it stood on the wire.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Headers in order, names as sent.
    pub headers: Vec<(String, String)>,
    /// The body; empty for HEAD.
    pub body: Vec<u8>,
}

impl Reply {
    /// The first header of this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection that stays open between requests, as UEFI needs it to after HEAD.
pub struct Connection {
    stream: BufReader<TcpStream>,
    host: SocketAddrV4,
}

impl Connection {
    /// Connects; open it inside the namespace that it should belong to.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn open(server: SocketAddrV4) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&server.into(), Duration::from_secs(5))
            .with_context(|| format!("connect to {server}"))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self { stream: BufReader::new(stream), host: server })
    }

    /// Connects from one of the namespace's addresses, as the machine that has it.
    ///
    /// # Errors
    /// When the address is not there, or nobody listens.
    pub fn open_from(own: Ipv4Addr, server: SocketAddrV4, patience: Duration) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddrV4::new(own, 0).into()).with_context(|| format!("use the address {own}"))?;
        socket.connect_timeout(&server.into(), patience).with_context(|| format!("connect {own} to {server}"))?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        Ok(Self { stream: BufReader::new(stream), host: server })
    }

    /// How long an answer may take from now on.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn set_patience(&self, patience: Duration) -> Result<()> {
        self.stream.get_ref().set_read_timeout(Some(patience)).context("set the connection's time-out")
    }

    /// One request without a body.
    ///
    /// # Errors
    /// When the answer is cut, chunked, or has no length: firmware reads none of these.
    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> Result<Reply> {
        self.send(method, path, headers, &[])
    }

    /// One request with a body.
    ///
    /// # Errors
    /// As [`Connection::request`].
    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Reply> {
        self.say(method, path, headers, body)?;
        let what = || format!("{method} http://{}{path}", self.host);
        let line = line(&mut self.stream).with_context(what)?;
        let status = line.split(' ').nth(1).and_then(|text| text.parse().ok());
        let status = status.with_context(|| format!("{}: the status line {line:?}", what()))?;
        let mut answer = Reply { status, headers: Vec::new(), body: Vec::new() };
        loop {
            let line = self::line(&mut self.stream)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').with_context(|| format!("the header {line:?}"))?;
            answer.headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let bodyless = method == "HEAD" || status == 204 || status == 304;
        if !bodyless {
            let length = answer.header("content-length").and_then(|text| text.parse::<u64>().ok());
            let length = length.with_context(|| format!("{}: no Content-Length: {:?}", what(), answer.headers))?;
            (&mut self.stream).take(length).read_to_end(&mut answer.body)?;
            ensure!(answer.body.len() as u64 == length, "{}: {} of {length} bytes", what(), answer.body.len());
        }
        Ok(answer)
    }

    /// Sends a request and does not wait for its answer: dropping the connection then is how answers get lost.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn say(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<()> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.host);
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        // In one piece, so that no answer waits for the acknowledgement of a first one.
        self.stream.get_mut().write_all(&[request.as_bytes(), body].concat())?;
        Ok(())
    }
}

fn line(stream: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = String::new();
    ensure!(stream.read_line(&mut line)? > 0, "the server closed the connection");
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
