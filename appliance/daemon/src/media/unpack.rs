//! Packed files as the bytes that they stand for.

use rackberry_core::image::Compression;
use std::io::{self, BufReader, Read};

/// The bytes that a packed file stands for.
///
/// As much of `packed` is read as its format needs to give its first bytes (a zstd decoder gives none before it has filled its
/// window); a stream that is cut off ends in an error after what it had.
pub(super) fn unpacked<'a>(packed: impl Read + 'a, compression: Compression) -> Box<dyn Read + 'a> {
    match compression {
        Compression::None => Box::new(packed),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(packed)),
        Compression::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(packed)),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new(packed, true)),
        Compression::Zstd => Box::new(Zstd { frames: Frames::Between(BufReader::new(packed)) }),
    }
}

/// Frames of zstd, one behind the other (RFC 8878 2).
struct Zstd<R: Read> {
    frames: Frames<R>,
}

type Frame<R> = ruzstd::decoding::StreamingDecoder<BufReader<R>, ruzstd::decoding::FrameDecoder>;

enum Frames<R: Read> {
    Between(BufReader<R>),
    Within(Box<Frame<R>>),
    Over,
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(&mut self.frames, Frames::Over) {
                Frames::Over => return Ok(0),
                Frames::Between(mut packed) => {
                    if io::BufRead::fill_buf(&mut packed)?.is_empty() {
                        return Ok(0);
                    }
                    let frame = ruzstd::decoding::StreamingDecoder::new(packed).map_err(io::Error::other)?;
                    self.frames = Frames::Within(Box::new(frame));
                }
                Frames::Within(mut frame) => {
                    let length = frame.read(buffer)?;
                    if length > 0 || buffer.is_empty() {
                        self.frames = Frames::Within(frame);
                        return Ok(length);
                    }
                    self.frames = Frames::Between(frame.into_inner());
                }
            }
        }
    }
}
