//! Three threads in a row, so that the network, the processor and the disk work at the same time.

use super::{
    Source, WriteError,
    sink::{Block, Sink, SinkError},
};
use crate::{
    console,
    download::{Download, DownloadError, Patience},
    tasks::Job,
    unpack,
};
use rackberry_core::{
    agent::{News, Progress},
    hardware::size,
    image::Digest,
};
use std::{
    collections::VecDeque,
    io::{self, BufRead, Read},
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

/// Bytes of one read from the network; a few of them wait for the processor, a few blocks for the disk.
const CHUNK: usize = 256 << 10;
const CHUNKS_AHEAD: usize = 16;
const BLOCKS_AHEAD: usize = 3;
/// A box that does not come back in this time has a reason that a person should hear of.
const PATIENCE: Duration = Duration::from_secs(600);
/// Two a second at most.
const BETWEEN_REPORTS: Duration = Duration::from_millis(500);
/// The rate shown is over this time.
const RATE_TIME: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Counters {
    served: AtomicU64,
    written: AtomicU64,
}

/// Copies the whole image into `sink`, whose start stays unwritten, and gives it back once the digest is right.
///
/// # Errors
/// [`WriteError`] for whatever went wrong first.
pub fn copy(job: &Job, source: &Source, sink: Sink) -> Result<Sink, WriteError> {
    let counters = Counters::default();
    // Ends the other threads when one has failed for good.
    let stop_download = AtomicBool::new(false);
    let (downloaded, unpacked, written) = thread::scope(|scope| {
        let (chunks_in, chunks) = mpsc::sync_channel(CHUNKS_AHEAD);
        let (blocks_in, blocks) = mpsc::sync_channel(BLOCKS_AHEAD);
        let (free_in, free) = mpsc::channel();
        let (over_in, over) = mpsc::channel::<()>();
        let (counters, stop_download) = (&counters, &stop_download);
        let download = scope.spawn(move || download(job, source, &chunks_in, counters, stop_download));
        let unpack = scope.spawn(move || unpack(source, chunks, &blocks_in, &free));
        let write = scope.spawn(move || {
            let written = write(sink, &blocks, &free_in, counters);
            stop_download.store(written.is_err(), Ordering::Relaxed);
            drop((blocks, over_in));
            written
        });
        report(job, source, counters, &over, stop_download);
        (download.join(), unpack.join(), write.join())
    });
    let (Ok(downloaded), Ok(unpacked), Ok(written)) = (downloaded, unpacked, written) else {
        return Err(WriteError::Broken);
    };
    let sink = written?;
    if job.stop.load(Ordering::Relaxed) {
        return Err(crate::tasks::NotWanted.into());
    }
    let found = downloaded.map_err(WriteError::Download)?;
    if found != source.digest {
        return Err(WriteError::Damaged { found, wanted: source.digest });
    }
    unpacked.map_err(WriteError::Unpack)?;
    Ok(sink)
}

fn download(
    job: &Job,
    source: &Source,
    chunks: &SyncSender<Vec<u8>>,
    counters: &Counters,
    stop: &AtomicBool,
) -> Result<Digest, DownloadError> {
    let patience = Patience::Without(PATIENCE);
    let mut download = Download::new(job.link.client(), source.url, Some(source.size_bytes), patience, stop);
    loop {
        let mut chunk = vec![0; CHUNK];
        let count = download.read(&mut chunk)?;
        if count == 0 {
            return Ok(download.digest());
        }
        chunk.truncate(count);
        counters.served.store(download.position(), Ordering::Relaxed);
        if chunks.send(chunk).is_err() {
            return Err(DownloadError::Stopped);
        }
    }
}

fn unpack(
    source: &Source,
    chunks: Receiver<Vec<u8>>,
    blocks: &SyncSender<Block>,
    free: &Receiver<Block>,
) -> io::Result<()> {
    let mut input = Chunks { chunks, chunk: Vec::new(), at: 0 };
    let unpacked = fill(&mut unpack::unpack(source.compression, &mut input), blocks, free);
    // To the end in any case: only the digest of everything tells a damaged image from a wrong one.
    io::copy(&mut input, &mut io::sink())?;
    unpacked
}

fn fill(plain: &mut dyn Read, blocks: &SyncSender<Block>, free: &Receiver<Block>) -> io::Result<()> {
    loop {
        let mut block = free.try_recv().unwrap_or_else(|_| Block::new());
        let mut length = 0;
        while let Some(rest @ [_, ..]) = block.room().get_mut(length..) {
            match plain.read(rest) {
                Ok(0) => break,
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        block.filled(length);
        // The writer has failed if it takes no more; its own error says why.
        if length == 0 || blocks.send(block).is_err() {
            return Ok(());
        }
    }
}

fn write(
    mut sink: Sink,
    blocks: &Receiver<Block>,
    free: &Sender<Block>,
    counters: &Counters,
) -> Result<Sink, SinkError> {
    for block in blocks {
        if let Some(block) = sink.write(block)? {
            // At the end nobody needs it any more.
            let _ = free.send(block);
        }
        counters.written.store(sink.position(), Ordering::Relaxed);
    }
    Ok(sink)
}

/// Tells the box how far it is until the writer is done; passes its wish to stop on.
fn report(job: &Job, source: &Source, counters: &Counters, over: &Receiver<()>, stop_download: &AtomicBool) {
    let mut past: VecDeque<(Instant, u64)> = VecDeque::new();
    let mut tenths = 0;
    while over.recv_timeout(BETWEEN_REPORTS) == Err(RecvTimeoutError::Timeout) {
        let (now, done_bytes) = (Instant::now(), counters.served.load(Ordering::Relaxed));
        past.push_back((now, done_bytes));
        while past.len() > 2 && past.front().is_some_and(|(then, _)| now.duration_since(*then) > RATE_TIME) {
            past.pop_front();
        }
        let rate = past.front().map_or(0.0, |(then, bytes)| {
            let seconds = now.duration_since(*then).as_secs_f64();
            if seconds > 0.0 { (done_bytes - bytes) as f64 / seconds } else { 0.0 }
        });
        let progress = Progress {
            done_bytes,
            total_bytes: source.size_bytes,
            bytes_per_s: rate as u64,
            written_bytes: counters.written.load(Ordering::Relaxed),
        };
        if progress.percent() / 10 > tenths {
            tenths = progress.percent() / 10;
            console::say(&format!("{}0% of the image is here, {}/s.", tenths, size(progress.bytes_per_s)));
        }
        if job.link.mention(&News::Progress { run: job.run.clone(), progress }) {
            job.stop.store(true, Ordering::Relaxed);
        }
        if job.stop.load(Ordering::Relaxed) {
            stop_download.store(true, Ordering::Relaxed);
        }
    }
}

/// What the downloader sends, as one stream.
struct Chunks {
    chunks: Receiver<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at >= self.chunk.len() {
            let Ok(chunk) = self.chunks.recv() else { return Ok(&[]) };
            (self.chunk, self.at) = (chunk, 0);
        }
        Ok(self.chunk.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(available) {
            *to = *from;
        }
        self.consume(count);
        Ok(count)
    }
}
