//! What a file is, told by its content: compression by magic bytes, a disk by its partition table.

use rackberry_core::image::{Compression, ImageKind};
use std::io::Read;

/// How much of an unpacked image is looked at.
const LOOK: u64 = 4096;

/// Recognises a disk image by the MBR signature that GPT disks carry too (UEFI 5.2.3).
///
/// `packed` is the file as it is, from its start; as much of it is read as its format needs to give its first bytes
/// (a zstd decoder gives none before it has filled its window).
#[must_use]
pub fn kind(packed: impl Read, compression: Compression) -> ImageKind {
    let mut unpacked = Vec::new();
    let mut take = |reader: &mut dyn Read| {
        // A cut-off stream ends in an error after giving what it had; that much is enough.
        let mut buffer = [0; 512];
        while (unpacked.len() as u64) < LOOK {
            match reader.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(read) => unpacked.extend_from_slice(buffer.get(..read).unwrap_or_default()),
            }
        }
    };
    match compression {
        Compression::None => take(&mut { packed }),
        Compression::Gzip => take(&mut flate2::read::MultiGzDecoder::new(packed)),
        Compression::Bzip2 => take(&mut bzip2::read::BzDecoder::new(packed)),
        Compression::Xz => take(&mut lzma_rust2::XzReader::new(packed, true)),
        Compression::Zstd => {
            if let Ok(mut reader) = ruzstd::decoding::StreamingDecoder::new(packed) {
                take(&mut reader);
            }
        }
    }
    if unpacked.get(510..512) == Some(&[0x55, 0xaa]) { ImageKind::Disk } else { ImageKind::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_disk_is_recognised_through_its_packing_also_when_cut_off() {
        let mut disk = vec![0; 3 << 20];
        disk[510] = 0x55;
        disk[511] = 0xaa;
        assert_eq!(kind(disk.as_slice(), Compression::None), ImageKind::Disk);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&disk).unwrap();
        let packed = gzip.finish().unwrap();
        assert_eq!(kind(packed.get(..packed.len() - 100).unwrap(), Compression::Gzip), ImageKind::Disk);
        assert_eq!(kind([0; 1024].as_slice(), Compression::None), ImageKind::Unknown);
        assert_eq!(kind(b"\x1f\x8bgarbage".as_slice(), Compression::Gzip), ImageKind::Unknown);
    }
}
