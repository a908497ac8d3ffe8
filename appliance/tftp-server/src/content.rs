//! What the caller provides: the [`Source`] that opens files, and their [`Content`].

use crate::options::Limits;
use crate::packet::ReadRequest;
use bytes::Bytes;
use std::fs::File;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use thiserror::Error;

/// Decides which request gets which bytes.
pub trait Source: Send + Sync + 'static {
    /// Opens what `request` names for the client `peer`, which sent it to our address `local`.
    ///
    /// The future runs in the task of the transfer; work that blocks belongs on a blocking thread.
    ///
    /// # Errors
    /// [`OpenError`] says how to answer instead.
    fn open(
        &self,
        request: &ReadRequest,
        peer: SocketAddr,
        local: IpAddr,
    ) -> impl Future<Output = Result<Opened, OpenError>> + Send;

    /// Whether this client is answered at all; asked for each request before anything is spent on it.
    fn admits(&self, _peer: SocketAddr, _local: IpAddr) -> bool {
        true
    }
}

/// A file that was found.
#[derive(Debug)]
pub struct Opened {
    /// Its bytes.
    pub data: Content,
    /// Limits for this transfer alone, such as another roll-over for an odd client; `None` takes the server's.
    pub limits: Option<Limits>,
}

impl Opened {
    /// These bytes under the server's limits.
    pub fn new(data: impl Into<Content>) -> Self {
        Self { data: data.into(), limits: None }
    }
}

/// The bytes of a file.
#[derive(Debug)]
pub enum Content {
    /// In memory.
    Bytes(Bytes),
    /// On a disk, read piecemeal while the transfer goes on.
    File {
        /// The open file; its position is not used.
        file: File,
        /// How many bytes to send from its start.
        len: u64,
    },
    /// Wherever the caller has it, read piecemeal while the transfer goes on.
    Shared(Arc<dyn ReadAt>),
}

/// Bytes by position, from wherever the caller has them.
pub trait ReadAt: std::fmt::Debug + Send + Sync {
    /// How many there are.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies what is at hand from `at` on, without waiting, and says how much that was.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nothing is.
    fn read_from_memory(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// Fills the buffer from `at` on; called on a thread that may wait.
    ///
    /// # Errors
    /// If that cannot be done: the transfer ends.
    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;
}

impl Content {
    /// A regular file in its present length.
    ///
    /// # Errors
    /// When the metadata cannot be read, or it is no regular file.
    pub fn from_file(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self::File { file, len: metadata.len() })
    }

    /// The length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
            Self::Shared(shared) => shared.len(),
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Into<Bytes>> From<T> for Content {
    fn from(bytes: T) -> Self {
        Self::Bytes(bytes.into())
    }
}

/// Why a file is not served.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    /// There is none of this name: ERROR 1.
    #[error("file not found")]
    NotFound,
    /// It is not for this client: ERROR 2.
    #[error("access denied")]
    AccessDenied,
    /// Not now, for the reason given: ERROR 0 with this text.
    #[error("busy: {0}")]
    Busy(String),
    /// The client gets no answer at all.
    #[error("not answered")]
    Silent,
}
