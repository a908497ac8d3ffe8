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
    let unreadable = |source| WriteError::Sink(SinkError::Read { disk: name.to_owned(), source });
    let disk = device::open(job.machine, name).map_err(unreadable)?;
    let (size, sector) = (device::size(&disk).map_err(unreadable)?, device::sector(&disk));
    let table = Table::read(&disk, size, sector).map_err(unreadable)?;
    if let Some(Table::Gpt(gpt)) = &table
        && gpt.sector != sector
        && device::is_block(&disk)
    {
        return Err(WriteError::Sectors { image: gpt.sector, disk: name.to_owned(), sector });
    }
    drop(disk);
    if grow {
        // A system on a smaller partition still runs, and many grow themselves at their first start.
        if let Err(error) = grow::grow(job.machine, name) {
            job.note(&format!(
                "The image is written, but its last partition is not grown: {}.",
                console::chain(&error)
            ));
        }
    } else if let Err(error) = grow::reread(job.machine, name) {
        job.note(&format!("The kernel does not see the new partitions: {}.", console::chain(&error)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        http::Client,
        link::Link,
        machine::Machine,
        testing::{self, Dice, Reply, Server},
    };
    use rackberry_core::{agent::Run, event::TaskName, id::InstallId};
    use serde_json::json;
    use sha2::{Digest as _, Sha256};
    use std::sync::{Arc, Mutex, atomic::AtomicBool};

    const DISK: u64 = 48 << 20;

    /// One write to a file that stands for a disk full of old bytes.
    struct Bench {
        folder: tempfile::TempDir,
        machine: Machine,
        news: Arc<Mutex<Vec<String>>>,
        gets: Arc<Mutex<u32>>,
    }

    impl Bench {
        fn new() -> Bench {
            let folder = tempfile::tempdir().unwrap();
            let machine = testing::machine_with_disk(folder.path(), DISK);
            std::fs::write(folder.path().join("dev/sda"), vec![0x5a; DISK as usize]).unwrap();
            Bench { folder, machine, news: Arc::default(), gets: Arc::default() }
        }

        fn disk(&self) -> Vec<u8> {
            std::fs::read(self.folder.path().join("dev/sda")).unwrap()
        }

        /// Serves `packed`, losing connections, and writes what the order says is `source`.
        fn write(
            &self,
            packed: Vec<u8>,
            started: u16,
            order: impl FnOnce(&mut Source, &mut DiskTarget),
        ) -> Result<(), WriteError> {
            let digest = Digest(Sha256::digest(&packed).into());
            let size_bytes = packed.len() as u64;
            let (packed, mut dice) = (Arc::new(packed), Dice(3));
            let (news, gets) = (Arc::clone(&self.news), Arc::clone(&self.gets));
            let disk = self.folder.path().join("dev/sda");
            let server = Server::start(move |request| {
                if request.path == "/image" {
                    *gets.lock().unwrap() += 1;
                    let cut = size_bytes / 5 + dice.below(size_bytes / 2);
                    return Reply::File { bytes: Arc::clone(&packed), cut: cut as usize };
                }
                let told = request.json()["news"].as_str().unwrap().to_owned();
                let status = if told == "started" {
                    assert!(std::fs::read(&disk).unwrap().iter().all(|byte| *byte == 0x5a), "changed before");
                    started
                } else {
                    200
                };
                news.lock().unwrap().push(told);
                Reply::Json(status, json!({}))
            });
            let link = Link::new(Client::default(), server.url(), testing::hello());
            let run = Run { install: InstallId(uuid::Uuid::nil()), task: TaskName::from("write"), attempt: 1 };
            let stop = AtomicBool::new(false);
            let job = Job { link: &link, machine: &self.machine, run: &run, stop: &stop };
            let url = format!("{}/image", server.url());
            let compression = Compression::None;
            let mut source = Source { url: &url, digest, compression, size_bytes, raw_bytes: None };
            let mut target = testing::target(DISK);
            order(&mut source, &mut target);
            write_image(&job, &source, &target, false)
        }
    }

    /// An image with runs of zeros that does not end at a block.
    fn image() -> Vec<u8> {
        let mut dice = Dice(11);
        let mut image = dice.bytes(5_000_000);
        image.extend(vec![0; 9_000_000]);
        image.extend(dice.bytes(123_904));
        image
    }

    #[test]
    fn every_format_reaches_the_disk_through_lost_connections() {
        for (compression, tool) in [
            (Compression::None, "cat"),
            (Compression::Gzip, "gzip"),
            (Compression::Xz, "xz"),
            (Compression::Zstd, "zstd"),
            (Compression::Bzip2, "bzip2"),
        ] {
            let Some(packed) = testing::pack(&[tool], &image()) else { continue };
            let bench = Bench::new();
            bench.write(packed, 200, |source, _| source.compression = compression).unwrap();
            let (disk, image) = (bench.disk(), image());
            assert!(disk[..image.len()] == image, "{tool}");
            assert!(disk[image.len()..DISK as usize - (1 << 20)].iter().all(|byte| *byte == 0x5a), "{tool}");
            assert!(disk[DISK as usize - (1 << 20)..].iter().all(|byte| *byte == 0), "{tool}: an old table's copy");
            assert!(*bench.gets.lock().unwrap() > 1, "{tool}: no connection was lost");
            assert_eq!(bench.news.lock().unwrap()[0], "started");
        }
    }

    #[test]
    fn a_flipped_bit_leaves_nothing_that_starts() {
        for (compression, tool) in [(Compression::None, "cat"), (Compression::Gzip, "gzip"), (Compression::Xz, "xz")] {
            let Some(right) = testing::pack(&[tool], &image()) else { continue };
            let wanted = Digest(Sha256::digest(&right).into());
            let mut wrong = right.clone();
            let middle = wrong.len() / 2;
            wrong[middle] ^= 4;
            let bench = Bench::new();
            let order = |source: &mut Source, _: &mut DiskTarget| {
                (source.compression, source.digest) = (compression, wanted);
            };
            let error = bench.write(wrong, 200, order).unwrap_err();
            assert!(matches!(error, WriteError::Damaged { .. }) && error.transient(), "{tool}: {error}");
            assert!(bench.disk()[..1 << 20].iter().all(|byte| *byte == 0), "{tool}");
        }
    }

    #[test]
    fn another_disk_than_the_one_chosen_is_left_alone() {
        let changes: [fn(&mut DiskTarget); 4] = [
            |target| target.serial = "S2".into(),
            |target| target.wwn = "0x5000".into(),
            |target| target.size_bytes -= 512,
            |target| target.name = "sdb".into(),
        ];
        for change in changes {
            let bench = Bench::new();
            let error = bench.write(image(), 200, |_, target| change(target)).unwrap_err();
            assert!(matches!(error, WriteError::Target(_)) && !error.transient(), "{error}");
            assert!(bench.disk().iter().all(|byte| *byte == 0x5a) && bench.news.lock().unwrap().is_empty());
        }
    }

    #[test]
    fn without_the_boxs_yes_not_a_byte_changes() {
        let bench = Bench::new();
        let error = bench.write(image(), 409, |_, _| {}).unwrap_err();
        assert!(matches!(error, WriteError::NotWanted(_)), "{error}");
        assert!(bench.disk().iter().all(|byte| *byte == 0x5a));
        assert_eq!(*bench.gets.lock().unwrap(), 0);
    }

    #[test]
    fn an_image_that_is_too_large_is_refused_beforehand_if_its_size_is_known() {
        let bench = Bench::new();
        let error = bench.write(image(), 200, |source, _| source.raw_bytes = Some(DISK + 1)).unwrap_err();
        assert!(matches!(error, WriteError::Sink(SinkError::Full { .. })), "{error}");
        assert!(bench.disk().iter().all(|byte| *byte == 0x5a));

        let Some(bomb) = testing::pack(&["gzip"], &image()) else { return };
        let mut bombs = Vec::new();
        (0..4).for_each(|_| bombs.extend(&bomb));
        let error = bench.write(bombs, 200, |source, _| source.compression = Compression::Gzip).unwrap_err();
        assert!(matches!(error, WriteError::Sink(SinkError::Full { .. })) && !error.transient(), "{error}");
        assert!(bench.disk()[..1 << 20].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_mounted_disk_is_left_alone() {
        let bench = Bench::new();
        let path = bench.folder.path().join("dev/sda");
        if !testing::tool(&["mkfs.ext4", "-q", "-F", path.to_str().unwrap()], "") {
            return;
        }
        let Some(device) = testing::Loop::new(&path, 0) else { return };
        std::fs::rename(&path, bench.folder.path().join("backing")).unwrap();
        std::os::unix::fs::symlink(&device.device, &path).unwrap();
        let access = crate::disk::mount::Access::ReadOnly;
        let mounted = crate::disk::mount::Mounted::new(&path, "ext4", access, None).unwrap();
        let error = target::open_alone(&bench.machine, "sda", false).unwrap_err();
        assert!(matches!(error, TargetError::InUse { .. }), "{error}");
        drop(mounted);
        target::open_alone(&bench.machine, "sda", false).unwrap();
    }
}
