//! What the caller may watch: each transfer's start, progress and end.

use crate::content::OpenError;
use crate::transfer::Outcome;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A transfer as its observer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferInfo {
    /// Distinguishes the transfers of one [`crate::Server`].
    pub id: u64,
    /// The client.
    pub peer: SocketAddr,
    /// The address of ours it asked.
    pub local: IpAddr,
    /// The name it asked for, untrusted.
    pub filename: String,
    /// Bytes to send.
    pub len: u64,
    /// Data bytes per block.
    pub blksize: u16,
    /// Blocks per acknowledgement.
    pub windowsize: u16,
}

/// Why a request led to no transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The [`crate::Source`] refused it.
    Source(OpenError),
    /// The [`crate::Source`] took too long.
    SourceTooSlow,
    /// It asked to write.
    Write,
    /// It asked for the obsolete mail mode.
    MailMode,
    /// It asked for netascii of something that cannot be translated, for the reason given.
    Netascii(String),
    /// All sessions are taken; it was not answered, so that the client asks again.
    SessionsFull,
    /// This host's sessions are taken; it was not answered, so that the client asks again.
    HostSessionsFull,
    /// No socket could be opened for it, for the reason given.
    Socket(String),
}

/// Receives reports; every method does nothing by default.
///
/// They are called from the tasks that serve: they must be quick and must not block.
pub trait Observer: Send + Sync + 'static {
    /// A file was found and is about to be sent.
    fn started(&self, _transfer: &TransferInfo) {}
    /// The client has acknowledged this many bytes; at most four times a second.
    fn progress(&self, _transfer: &TransferInfo, _acked: u64) {}
    /// The transfer is over: bytes acknowledged, how it ended, how long it took.
    fn ended(&self, _transfer: &TransferInfo, _acked: u64, _outcome: &Outcome, _took: Duration) {}
    /// A request led to no transfer.
    fn refused(&self, _peer: SocketAddr, _filename: &str, _refusal: &Refusal) {}
}

impl Observer for () {}

impl<T: Observer> Observer for std::sync::Arc<T> {
    fn started(&self, transfer: &TransferInfo) {
        (**self).started(transfer);
    }
    fn progress(&self, transfer: &TransferInfo, acked: u64) {
        (**self).progress(transfer, acked);
    }
    fn ended(&self, transfer: &TransferInfo, acked: u64, outcome: &Outcome, took: Duration) {
        (**self).ended(transfer, acked, outcome, took);
    }
    fn refused(&self, peer: SocketAddr, filename: &str, refusal: &Refusal) {
        (**self).refused(peer, filename, refusal);
    }
}
