//! Packed bytes in, plain bytes out: one reader per format, each in Rust alone.

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;
use rackberry_core::image::Compression;
use std::io::{self, BufRead, Read};
use structured_zstd::decoding::{ContentChecksum, FrameDecoder, StreamingDecoder};

/// `zstd --long=31`, the most that the format's own tool writes.
const ZSTD_WINDOW: u64 = 1 << 31;

/// The plain bytes of `input`.
pub fn unpack<'a>(compression: Compression, input: impl BufRead + Send + 'a) -> Box<dyn Read + Send + 'a> {
    match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(Members::new(input, 0x1f, GzDecoder::new, GzDecoder::into_inner)),
        Compression::Xz => Box::new(XzReader::new(input, true)),
        Compression::Zstd => {
            let mut decoder = FrameDecoder::new();
            decoder.set_content_checksum(ContentChecksum::Verify);
            // Refused only where addresses are too short for it; the usual limit holds then.
            let _ = decoder.set_max_window_size(ZSTD_WINDOW);
            Box::new(StreamingDecoder::new_with_decoder(input, decoder))
        }
        Compression::Bzip2 => Box::new(Members::new(input, b'B', BzDecoder::new, BzDecoder::into_inner)),
    }
}

/// A format whose files may be several behind each other, as pigz, pbzip2 and cat make them.
struct Members<R, D> {
    decoder: Option<D>,
    magic: u8,
    begin: fn(R) -> D,
    end: fn(D) -> R,
}

impl<R: BufRead, D: Read> Members<R, D> {
    fn new(input: R, magic: u8, begin: fn(R) -> D, end: fn(D) -> R) -> Self {
        Members { decoder: Some(begin(input)), magic, begin, end }
    }
}

impl<R: BufRead, D: Read> Read for Members<R, D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(decoder) = &mut self.decoder else { return Ok(0) };
            let count = decoder.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(ended) = self.decoder.take() else { return Ok(0) };
            let mut input = (self.end)(ended);
            // What follows is another member or, as makers of firmware append it, something of their own.
            if input.fill_buf()?.first() == Some(&self.magic) {
                self.decoder = Some((self.begin)(input));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pack;

    fn plain(compression: Compression, packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // A small buffer, so that every boundary falls within some read.
        unpack(compression, io::BufReader::with_capacity(1000, packed)).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn sample() -> Vec<u8> {
        (0..700_000u32).flat_map(|n| ((n / 7).wrapping_mul(2_654_435_761) >> (n % 5)).to_le_bytes()).collect()
    }

    #[test]
    fn every_format_comes_out_as_it_went_in_also_in_several_parts() {
        let sample = sample();
        let (first, second) = sample.split_at(1_000_000);
        for (compression, tool) in [
            (Compression::Gzip, &["gzip", "-c"][..]),
            (Compression::Xz, &["xz", "-c"]),
            (Compression::Zstd, &["zstd", "-c"]),
            (Compression::Zstd, &["zstd", "-c", "--long=31", "-3", "--single-thread"]),
            (Compression::Bzip2, &["bzip2", "-c"]),
        ] {
            let (Some(mut packed), Some(more)) = (pack(tool, first), pack(tool, second)) else {
                eprintln!("{} is not installed", tool[0]);
                continue;
            };
            assert_eq!(Compression::of(&packed), compression);
            packed.extend(more);
            assert!(plain(compression, &packed).unwrap() == sample, "{tool:?}");
            assert!(plain(compression, &packed[..packed.len() - 100]).is_err(), "{tool:?} cut off");
        }
        assert!(plain(Compression::None, &sample).unwrap() == sample);
    }

    #[test]
    fn what_makers_append_to_a_gzip_file_is_left_alone() {
        let Some(mut packed) = pack(&["gzip", "-c"], b"system") else { return };
        packed.extend(b"{\"metadata\":1}");
        assert_eq!(plain(Compression::Gzip, &packed).unwrap(), b"system");
    }
}
