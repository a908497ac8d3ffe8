//! What can go wrong in the inventory, each naming what was attempted on what.

use rackberry_core::{
    host::MacAddr,
    id::InstallId,
    install::Rejected,
    text::{CleanText, HostName},
};
use std::{path::PathBuf, sync::Arc};

/// Why the inventory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot {doing} {}", path.display())]
    File { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("another rackberry has the state folder {} open; stop it, or name another folder with --state-dir", state_dir.display())]
    InUse { state_dir: PathBuf },
    #[error("SQLite {found} has a bug that can corrupt the inventory; 3.51.3 or later is needed")]
    OldSqlite { found: &'static str },
    #[error(
        "{} was written by a newer Rackberry (format {found}, this one knows {known}); use that version, or restore a backup made before the update", path.display()
    )]
    NewerSchema { path: PathBuf, found: i64, known: i64 },
    #[error("cannot bring {} from format {from} to the next one", path.display())]
    Migrate { path: PathBuf, from: i64, source: rusqlite::Error },
    #[error("cannot read the inventory {}", path.display())]
    Database { path: PathBuf, source: rusqlite::Error },
    #[error("cannot load the inventory")]
    Load(#[from] StoreError),
    #[error("cannot start the inventory's thread")]
    Thread(std::io::Error),
}

/// Why one step on the inventory failed; nothing of its closure stays.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {doing} {on} in the inventory")]
    Sql { doing: &'static str, on: String, source: rusqlite::Error },
    #[error("the inventory's entry for {on} does not read back")]
    Row { on: String, source: serde_json::Error },
    #[error("there are {limit} hosts that appeared by themselves already; remove some, or raise the limit")]
    TooManyHosts { limit: usize },
    #[error("the name {name} is taken by another host")]
    NameTaken { name: HostName },
    #[error("the MAC address {mac} belongs to {host}")]
    MacTaken { mac: MacAddr, host: HostName },
    #[error("the UUID {uuid} belongs to {host}")]
    UuidTaken { uuid: String, host: HostName },
    #[error("the address {address} is kept for {host}")]
    AddressTaken { address: std::net::Ipv4Addr, host: HostName },
    #[error("GPIO {pin} cannot be {setting} of {host}: {other} has it as its {theirs}")]
    PinTaken { pin: u8, setting: &'static str, host: HostName, theirs: &'static str, other: HostName },
    #[error("{mac} cannot be one machine's address")]
    NotAStation { mac: MacAddr },
    #[error("an image named {name} exists already")]
    ImageNameTaken { name: CleanText },
    #[error("a person named {name} exists already")]
    UserTaken { name: CleanText },
    #[error("{name} is the last person who may change things; make another one an admin before")]
    LastAdmin { name: CleanText },
    #[error("a token named {name} exists already; remove it, or choose another name")]
    TokenNameTaken { name: CleanText },
    #[error("there are {limit} tokens already; remove one that nobody uses")]
    TooManyTokens { limit: usize },
    #[error("there is no {what} {id}")]
    NotFound { what: &'static str, id: String },
    #[error("an install is under way on {host}")]
    InstallActive { host: HostName },
    #[error("the kernel gives no random bytes")]
    Random(getrandom::Error),
}

/// Why an event was not applied to an install.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("there is no install {0}")]
    NotFound(InstallId),
    #[error("install {install} does not take this event")]
    Rejected { install: InstallId, source: Rejected },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a transaction has no result; in each case nothing of it is stored.
#[derive(Debug, thiserror::Error)]
pub enum TransactError<E> {
    /// The closure's own error.
    #[error(transparent)]
    Failed(E),
    #[error("a step on the inventory panicked: {0}")]
    Panicked(String),
    /// The disk refused; every closure of the same commit gets this.
    #[error("cannot commit to the inventory")]
    Commit(Arc<StoreError>),
    #[error("the inventory is closed")]
    Closed,
}

/// Why a read has no result.
#[derive(Debug, thiserror::Error)]
pub enum ReadError<E> {
    #[error(transparent)]
    Failed(E),
    #[error("reading from the inventory took longer than 2 s and was broken off")]
    TooSlow,
    #[error("a read from the inventory panicked: {0}")]
    Panicked(String),
    #[error("the inventory is closed")]
    Closed,
}

/// Why a backup was not made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("cannot back up the inventory to {}", path.display())]
    Database { path: PathBuf, source: rusqlite::Error },
    #[error("cannot {doing} {}", path.display())]
    File { doing: &'static str, path: PathBuf, source: std::io::Error },
}

/// What a panic said.
pub(super) fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a word".to_owned())
}

impl StoreError {
    /// In words for people, when it is the disk that does not take or give what it should.
    pub(super) fn disk(&self) -> Option<&'static str> {
        match self {
            StoreError::Sql { source: rusqlite::Error::SqliteFailure(error, _), .. } => disk(error.code),
            _ => None,
        }
    }
}

/// The same by SQLite's own code.
pub(super) fn disk(code: rusqlite::ErrorCode) -> Option<&'static str> {
    match code {
        rusqlite::ErrorCode::DiskFull => Some(
            "The disk of the box's state is full: nothing new is stored. DHCP goes on from memory, and reports of installs wait \
             until there is room. Remove files of your own or images that nobody uses.",
        ),
        rusqlite::ErrorCode::ReadOnly | rusqlite::ErrorCode::SystemIoFailure | rusqlite::ErrorCode::CannotOpen => Some(
            "The box's card cannot be written to any more: nothing new is stored. DHCP goes on from memory, images are still \
             served, and reports of installs wait until the card takes them. Make a backup, and replace the card.",
        ),
        _ => None,
    }
}
