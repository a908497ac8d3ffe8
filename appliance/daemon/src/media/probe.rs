//! What a file is, told by its content: compression by magic bytes, a disk by its partition table.

use rackberry_core::image::{Compression, ImageKind};
use std::io::Read;

/// How much of an unpacked image is looked at.
const LOOK: u64 = 4096;

/// Recognises a disk image by the MBR signature that GPT disks carry too (UEFI 5.2.3).
///
/// `head` is the start of the file as it is, some hundred KiB of it so that every format gives its first blocks.
#[must_use]
pub fn kind(head: &[u8], compression: Compression) -> ImageKind {
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
        Compression::None => take(&mut &*head),
        Compression::Gzip => take(&mut flate2::read::MultiGzDecoder::new(head)),
        Compression::Bzip2 => take(&mut bzip2::read::BzDecoder::new(head)),
        Compression::Xz => take(&mut lzma_rust2::XzReader::new(head, true)),
        Compression::Zstd => {
            if let Ok(mut reader) = ruzstd::decoding::StreamingDecoder::new(head) {
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
        assert_eq!(kind(&disk, Compression::None), ImageKind::Disk);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&disk).unwrap();
        let packed = gzip.finish().unwrap();
        assert_eq!(kind(packed.get(..packed.len() - 100).unwrap(), Compression::Gzip), ImageKind::Disk);
        assert_eq!(kind(&[0; 1024], Compression::None), ImageKind::Unknown);
        assert_eq!(kind(b"\x1f\x8bgarbage", Compression::Gzip), ImageKind::Unknown);
    }
}
