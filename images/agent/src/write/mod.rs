//! The order `write-image`: bytes from the box straight onto the disk, and nothing that starts until all of them are right.

pub mod grow;
mod sink;
mod stream;
pub mod target;

use crate::{
    console,
    disk::{device, table::Table},
    download::DownloadError,
    tasks::{Job, NotWanted},
};
use rackberry_core::{
    hardware::size,
    image::{Compression, Digest},
    task::DiskTarget,
};
use sink::{Sink, SinkError};
use std::io;
use target::TargetError;

/// An image as it is ordered.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    pub url: &'a str,
    pub digest: Digest,
    pub compression: Compression,
    /// As served.
    pub size_bytes: u64,
    pub raw_bytes: Option<u64>,
}

/// Why an image is not on the disk.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    NotWanted(#[from] NotWanted),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("The image does not arrive: {0}.")]
    Download(#[source] DownloadError),
    #[error("The image arrived damaged: its SHA-256 is {found}, not {wanted}. Nothing on the disk can start.")]
    Damaged { found: Digest, wanted: Digest },
    #[error("The image cannot be unpacked although it arrived whole: {0}.")]
    Unpack(#[source] io::Error),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error("The image is made for disks with sectors of {image} bytes; {disk} has {sector}.")]
    Sectors { image: u64, disk: String, sector: u64 },
    #[error("The agent broke off while writing.")]
    Broken,
}

impl WriteError {
    /// Whether another attempt may go better.
    #[must_use]
    pub fn transient(&self) -> bool {
        match self {
            WriteError::Download(DownloadError::OtherSize { .. }) => false,
            WriteError::Download(_) | WriteError::Damaged { .. } | WriteError::Broken => true,
            WriteError::NotWanted(_)
            | WriteError::Target(_)
            | WriteError::Unpack(_)
            | WriteError::Sink(_)
            | WriteError::Sectors { .. } => false,
        }
    }
}

/// Puts the image on the disk and, if asked, grows its last partition to the disk's end.
///
/// # Errors
/// [`WriteError`]; from its first byte until success nothing on the disk can start.
pub fn write_image(job: &Job, source: &Source, target: &DiskTarget, grow: bool) -> Result<(), WriteError> {
    let disk = target::check(job.machine, target)?;
    let name = disk.name.as_str();
    let needed = source.raw_bytes.unwrap_or(0);
    if needed > disk.size_bytes {
        return Err(SinkError::Full { disk: name.to_owned(), size: size(disk.size_bytes) }.into());
    }
    let mut sink = Sink::open(job.machine, name)?;
    job.begin()?;
    console::say(&format!("Erasing {name} ({}) and writing the image to it.", size(disk.size_bytes)));
    sink.wipe_ends()?;
    stream::copy(job, source, sink)?.finish()?;
    settle(job, name, grow)
}

/// Has the kernel see what was written, and grows it.
fn settle(job: &Job, name: &str, grow: bool) -> Result<(), WriteError> {
    let disk = target::open_alone(job.machine, name, false)?;
    let unreadable = |source| WriteError::Sink(SinkError::Read { disk: name.to_owned(), source });
    let (size, sector) = (device::size(&disk).map_err(unreadable)?, device::sector(&disk));
    let table = Table::read(&disk, size, sector).map_err(unreadable)?;
    if let Some(Table::Gpt(gpt)) = &table
        && gpt.sector != sector
        && device::is_block(&disk)
    {
        return Err(WriteError::Sectors { image: gpt.sector, disk: name.to_owned(), sector });
    }
    if grow {
        // A system on a smaller partition still runs, and many grow themselves at their first start.
        if let Err(error) = grow::grow(job.machine, name, &disk) {
            job.note(&format!(
                "The image is written, but its last partition is not grown: {}.",
                console::chain(&error)
            ));
        }
    } else if let Err(error) = grow::reread(job.machine, name, &disk) {
        job.note(&format!("The kernel does not see the new partitions: {}.", console::chain(&error)));
    }
    Ok(())
}
