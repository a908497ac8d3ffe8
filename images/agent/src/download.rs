//! A file read over HTTP to its end through any number of lost connections, its digest computed on the way.

use crate::{
    console,
    http::{Client, HttpError, Stream},
};
use rackberry_core::image::Digest;
use sha2::{Digest as _, Sha256};
use std::{
    io::Read,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why a download ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error("the download was stopped")]
    Stopped,
    #[error("{url} does not give the file: {status}")]
    Refused { url: String, status: u16 },
    #[error("{url} has {found} bytes, not {expected}")]
    OtherSize { url: String, expected: u64, found: u64 },
    #[error("nothing more of {url} came for {seconds} s; last error: {last}")]
    GaveUp { url: String, seconds: u64, last: String },
}

/// What to hold on to while the box is away.
#[derive(Debug, Clone, Copy)]
pub enum Patience {
    /// Whatever happens, try again.
    Endless,
    /// So long without one byte; a file that the box refuses to give is an error at once.
    Without(Duration),
}

/// One file on its way.
pub struct Download<'a> {
    client: &'a Client,
    url: &'a str,
    stop: &'a AtomicBool,
    patience: Patience,
    size: Option<u64>,
    at: u64,
    stream: Option<Stream>,
    hash: Sha256,
    last_byte: Instant,
    pause: Duration,
    complained: bool,
}

impl<'a> Download<'a> {
    /// Prepares to read `url`, whose length must be `size` if that is known beforehand; `stop` ends it between reads.
    pub fn new(
        client: &'a Client,
        url: &'a str,
        size: Option<u64>,
        patience: Patience,
        stop: &'a AtomicBool,
    ) -> Download<'a> {
        Download {
            client,
            url,
            stop,
            patience,
            size,
            at: 0,
            stream: None,
            hash: Sha256::new(),
            last_byte: Instant::now(),
            pause: FIRST_PAUSE,
            complained: false,
        }
    }

    /// Reads some bytes; 0 only at the end of the file.
    ///
    /// # Errors
    /// [`DownloadError`] once patience ends or `stop` is set.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, DownloadError> {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(DownloadError::Stopped);
            }
            if self.size == Some(self.at) {
                return Ok(0);
            }
            let trouble = match &mut self.stream {
                None => match self.open() {
                    Ok(()) => continue,
                    Err(trouble) => trouble,
                },
                Some(stream) => match stream.reader.read(buffer) {
                    Ok(0) if self.size.is_none() => return Ok(0),
                    Ok(0) => Trouble::Passing("the connection ended early".to_owned()),
                    Ok(count) => {
                        self.took(buffer.get(..count).unwrap_or_default());
                        return Ok(count);
                    }
                    Err(error) => Trouble::Passing(console::chain(&error)),
                },
            };
            self.stream = None;
            self.bear(trouble)?;
        }
    }

    /// Where the next byte stands in the file.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Of the bytes read so far.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(self.hash.clone().finalize().into())
    }

    fn took(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.at += bytes.len() as u64;
        self.last_byte = Instant::now();
        self.pause = FIRST_PAUSE;
        self.complained = false;
    }

    fn open(&mut self) -> Result<(), Trouble> {
        let mut stream = self.client.open(self.url, self.at).map_err(|error| match &error {
            HttpError::Status { status: status @ (401 | 403 | 404 | 410), .. } => Trouble::Refused(*status),
            HttpError::Status { .. }
            | HttpError::Unreachable { .. }
            | HttpError::Garbled { .. }
            | HttpError::WrongRange { .. } => Trouble::Passing(console::chain(&error)),
        })?;
        match (self.size, stream.total) {
            (Some(expected), Some(found)) if expected != found => return Err(Trouble::OtherSize { expected, found }),
            (None, found) => self.size = found,
            (Some(_), _) => {}
        }
        // A server without ranges starts over; what we have already is passed by.
        let known = self.at - stream.start;
        let passed = std::io::copy(&mut (&mut stream.reader).take(known), &mut std::io::sink());
        match passed {
            Ok(count) if count == known => {
                self.stream = Some(stream);
                Ok(())
            }
            Ok(_) => Err(Trouble::Passing("the connection ended early".to_owned())),
            Err(error) => Err(Trouble::Passing(console::chain(&error))),
        }
    }

    /// Waits a little before the next try, or says why there is none.
    fn bear(&mut self, trouble: Trouble) -> Result<(), DownloadError> {
        let url = || self.url.to_owned();
        let last = match (trouble, self.patience) {
            (Trouble::OtherSize { expected, found }, _) => {
                return Err(DownloadError::OtherSize { url: url(), expected, found });
            }
            (Trouble::Refused(status), Patience::Without(_)) => {
                return Err(DownloadError::Refused { url: url(), status });
            }
            (Trouble::Refused(status), Patience::Endless) => format!("the box answered {status}"),
            (Trouble::Passing(last), _) => last,
        };
        if let Patience::Without(limit) = self.patience
            && self.last_byte.elapsed() >= limit
        {
            return Err(DownloadError::GaveUp { url: url(), seconds: limit.as_secs(), last });
        }
        if !self.complained {
            self.complained = true;
            console::say(&format!("{} stopped at byte {}: {last}; trying again.", self.url, self.at));
        }
        std::thread::sleep(self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

enum Trouble {
    /// May be over at the next try.
    Passing(String),
    Refused(u16),
    OtherSize {
        expected: u64,
        found: u64,
    },
}
