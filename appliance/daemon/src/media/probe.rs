//! What a file is, told by its content: its packing by magic bytes, a disc by its volume, an archive by its header, a disk by its
//! partition table.

use super::tar;
use rackberry_core::{
    image::{Compression, ImageKind},
    text::CleanText,
};
use std::{
    fs::File,
    io::{self, BufReader, Read, Seek as _},
};

/// How much of an unpacked image is looked at.
const LOOK: usize = 4096;

/// What was found out about a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct About {
    pub kind: ImageKind,
    pub unread: Option<CleanText>,
}

/// Recognises a file.
pub(super) fn about(file: &File, compression: Compression) -> About {
    let mut from_start = file;
    let _ = from_start.rewind();
    let head = tar::start_of(unpacked(BufReader::new(file), compression), LOOK);
    let packed = compression != Compression::None;
    let kind = if !packed && rackberry_iso::Image::open(file).is_ok() {
        ImageKind::Iso
    } else if !packed && tar::begins(&head) {
        ImageKind::Tree
    } else {
        kind(&head)
    };
    About { kind, unread: None }
}

/// Recognises a disk image by the MBR signature that GPT disks carry too (UEFI 5.2.3).
fn kind(head: &[u8]) -> ImageKind {
    if head.get(510..512) == Some(&[0x55, 0xaa]) { ImageKind::Disk } else { ImageKind::Unknown }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn kind_of(bytes: &[u8]) -> ImageKind {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        about(&file, Compression::of(bytes)).kind
    }

    #[test]
    fn a_disk_is_recognised_through_its_packing_also_when_cut_off() {
        let mut disk = vec![0; 3 << 20];
        disk[510] = 0x55;
        disk[511] = 0xaa;
        assert_eq!(kind_of(&disk), ImageKind::Disk);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&disk).unwrap();
        let packed = gzip.finish().unwrap();
        assert_eq!(kind_of(packed.get(..packed.len() - 100).unwrap()), ImageKind::Disk);
        assert_eq!(kind_of(&[0; 1024]), ImageKind::Unknown);
        assert_eq!(kind_of(b"\x1f\x8bgarbage"), ImageKind::Unknown);
    }
}
