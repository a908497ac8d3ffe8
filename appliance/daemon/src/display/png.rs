//! Pictures as PNG files (ISO/IEC 15948): one bit a pixel, lit is the light colour.

use flate2::{Compression, Crc, write::ZlibEncoder};
use rackberry_core::display::Picture;
use std::io::Write as _;

const WIDTH: usize = 128;
/// Nobody needs a pixel larger than this.
const MOST: usize = 16;

/// The picture with pixels of `scale` by `scale`, 1 to 16.
#[must_use]
pub fn png(picture: &Picture, scale: usize) -> Vec<u8> {
    let scale = scale.clamp(1, MOST);
    let rows = picture.panel().rows();
    let mut lines = Vec::new();
    for y in 0..rows * scale {
        // No filter: lines of one bit a pixel compress well as they are.
        lines.push(0);
        for byte in 0..WIDTH * scale / 8 {
            let bits =
                (0..8).fold(0_u8, |bits, bit| bits << 1 | u8::from(picture.lit((byte * 8 + bit) / scale, y / scale)));
            lines.push(bits);
        }
    }
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut head = Vec::new();
    for side in [WIDTH * scale, rows * scale] {
        head.extend(u32::try_from(side).unwrap_or(0).to_be_bytes());
    }
    // One bit, colours from a palette, and the only ways of compression, filters and order.
    head.extend([1, 3, 0, 0, 0]);
    chunk(&mut file, b"IHDR", &head);
    chunk(&mut file, b"PLTE", &[0x0b, 0x0d, 0x12, 0xe8, 0xf4, 0xff]);
    chunk(&mut file, b"IDAT", &deflated(&lines));
    chunk(&mut file, b"IEND", &[]);
    file
}

fn deflated(lines: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing into memory does not fail.
    let _ = encoder.write_all(lines);
    encoder.finish().unwrap_or_default()
}

fn chunk(file: &mut Vec<u8>, kind: &[u8; 4], content: &[u8]) {
    let mut sum = Crc::new();
    sum.update(kind);
    sum.update(content);
    file.extend(u32::try_from(content.len()).unwrap_or(0).to_be_bytes());
    file.extend(kind);
    file.extend(content);
    file.extend(sum.sum().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::ZlibDecoder;
    use rackberry_core::display::{Panel, StatusView, picture};
    use std::io::Read as _;

    #[test]
    fn a_file_holds_the_pixels_of_the_picture() {
        let view = StatusView { name: "box".to_owned(), ..StatusView::default() };
        let drawn = picture(&view, 0, Panel::Strip);
        let file = png(&drawn, 2);
        assert_eq!(file.get(16..24).unwrap(), [0, 0, 1, 0, 0, 0, 0, 64], "256 by 64");
        let at = file.windows(4).position(|kind| kind == b"IDAT").unwrap() + 4;
        let mut lines = Vec::new();
        ZlibDecoder::new(&file[at..]).read_to_end(&mut lines).unwrap();
        assert_eq!(lines.len(), 64 * (1 + 32));
        for y in 0..64 {
            for x in 0..256 {
                let lit = lines[y * 33 + 1 + x / 8] >> (7 - x % 8) & 1 == 1;
                assert_eq!(lit, drawn.lit(x / 2, y / 2), "{x},{y}");
            }
        }
        assert_eq!(png(&drawn, 9999).len(), png(&drawn, 16).len());
    }
}
