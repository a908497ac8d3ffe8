//! `rackberry-agent fetch`: the RAM OS gets the rest of itself, however long the box is away.

use crate::{
    console,
    download::{Download, DownloadError, Patience},
    http::Client,
    link::Backoff,
};
use rackberry_core::image::Digest;
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

/// Why a file could not be put in place; everything about the network is borne with instead.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("cannot write {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Puts what `url` holds at `destination` once its digest agrees; a file already there stays whole until then.
///
/// # Errors
/// [`FetchError`] if the file cannot be written here.
pub fn fetch(client: &Client, url: &str, wanted: Digest, destination: &Path) -> Result<(), FetchError> {
    let mut part = destination.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let never = AtomicBool::new(false);
    let mut backoff = Backoff::default();
    loop {
        let mut download = Download::new(client, url, None, Patience::Endless, &never);
        let write = |source| FetchError::Write { path: part.clone(), source };
        let mut file = File::create(&part).map_err(write)?;
        let mut buffer = vec![0; 256 << 10];
        let trouble = loop {
            match download.read(&mut buffer) {
                Ok(0) if download.digest() == wanted => {
                    return fs::rename(&part, destination)
                        .map_err(|source| FetchError::Write { path: destination.to_owned(), source });
                }
                Ok(0) => break format!("its SHA-256 is {}, not {wanted}", download.digest()),
                Ok(count) => file.write_all(buffer.get(..count).unwrap_or_default()).map_err(write)?,
                Err(
                    error @ (DownloadError::Stopped
                    | DownloadError::Refused { .. }
                    | DownloadError::OtherSize { .. }
                    | DownloadError::GaveUp { .. }),
                ) => break error.to_string(),
            }
        };
        console::say(&format!("{url} arrived damaged: {trouble}; fetching it again."));
        backoff.wait();
    }
}
