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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Dice, Reply, Server};
    use sha2::{Digest as _, Sha256};
    use std::sync::{Arc, Mutex};

    #[test]
    fn a_file_arrives_whole_through_lost_connections_and_nothing_is_sent_twice() {
        let mut dice = Dice(7);
        let bytes = Arc::new(dice.bytes(3_000_000));
        let sent = Arc::new(Mutex::new(Vec::new()));
        let (served, log) = (Arc::clone(&bytes), Arc::clone(&sent));
        let server = Server::start(move |request| {
            if dice.below(4) == 0 {
                return Reply::Nothing;
            }
            let cut = 1 + dice.below(900_000) as usize;
            log.lock().unwrap().push(request.from.unwrap_or(0));
            Reply::File { bytes: Arc::clone(&served), cut }
        });
        let folder = tempfile::tempdir().unwrap();
        let destination = folder.path().join("system");
        let digest = Digest(Sha256::digest(bytes.as_slice()).into());
        fetch(&Client::default(), &format!("{}/file", server.url()), digest, &destination).unwrap();
        assert!(fs::read(&destination).unwrap() == *bytes);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let sent = sent.lock().unwrap();
        assert!(sent.len() > 3 && sent.is_sorted_by(|a, b| a < b), "{sent:?}");
    }

    #[test]
    fn a_damaged_file_never_takes_the_name_of_the_right_one() {
        let right = Arc::new(Dice(9).bytes(100_000));
        let mut wrong = right.to_vec();
        wrong[5000] ^= 1;
        let (served, mut copies) = (Arc::clone(&right), vec![Arc::new(wrong)]);
        let folder = tempfile::tempdir().unwrap();
        let destination = folder.path().join("system");
        let seen = destination.clone();
        let server = Server::start(move |_| {
            assert!(!seen.exists());
            Reply::File { bytes: copies.pop().unwrap_or_else(|| Arc::clone(&served)), cut: usize::MAX }
        });
        let digest = Digest(Sha256::digest(right.as_slice()).into());
        fetch(&Client::default(), &server.url(), digest, &destination).unwrap();
        assert!(fs::read(&destination).unwrap() == *right);
    }
}
