//! Pixels as panels, people and files want them.

use embedded_graphics::{
    Pixel,
    pixelcolor::BinaryColor,
    prelude::{DrawTarget, OriginDimensions, Size},
};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;

/// Columns of every panel.
const WIDTH: usize = 128;

/// How many pixels a panel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Panel {
    #[serde(rename = "128x64")]
    Tall,
    #[serde(rename = "128x32")]
    Strip,
}

impl Panel {
    /// As settings write it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Panel::Tall => "128x64",
            Panel::Strip => "128x32",
        }
    }

    /// The panel of that size.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Panel> {
        [Panel::Tall, Panel::Strip].into_iter().find(|panel| panel.word() == word)
    }

    /// Rows.
    #[must_use]
    pub fn rows(self) -> usize {
        match self {
            Panel::Tall => 64,
            Panel::Strip => 32,
        }
    }
}

/// What a panel shows: one bit for each pixel.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    panel: Panel,
    /// As the controllers keep them: a byte is a column of eight pixels, the uppermost the lowest bit.
    bytes: Vec<u8>,
}

impl Picture {
    /// All dark.
    #[must_use]
    pub fn new(panel: Panel) -> Self {
        Picture { panel, bytes: vec![0; WIDTH * panel.rows() / 8] }
    }

    /// The panel it is for.
    #[must_use]
    pub fn panel(&self) -> Panel {
        self.panel
    }

    /// Whether a pixel is lit; those outside are not.
    #[must_use]
    pub fn lit(&self, x: usize, y: usize) -> bool {
        x < WIDTH && self.bytes.get(y / 8 * WIDTH + x).is_some_and(|byte| byte >> (y % 8) & 1 == 1)
    }

    /// Strips of eight rows from the top, 128 bytes each, as SSD1306 and SH1106 take them ("pages" in their data sheets).
    pub fn strips(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks(WIDTH)
    }

    /// As text of 64 columns: Braille signs, whose eight dots are two by four pixels.
    #[must_use]
    pub fn text(&self) -> String {
        // Unicode counts the dots of U+2800 down the left column, then the right one; the lowest two came later.
        const DOTS: [(usize, usize, u32); 8] =
            [(0, 0, 1), (0, 1, 2), (0, 2, 4), (1, 0, 8), (1, 1, 16), (1, 2, 32), (0, 3, 64), (1, 3, 128)];
        let mut text = String::new();
        for y in (0..self.panel.rows()).step_by(4) {
            for x in (0..WIDTH).step_by(2) {
                let dots = DOTS.iter().filter(|(right, down, _)| self.lit(x + right, y + down));
                let sign = 0x2800 + dots.map(|(_, _, bit)| bit).sum::<u32>();
                text.extend(char::from_u32(sign));
            }
            text.push('\n');
        }
        text
    }

    /// As a file of the format PBM (P4): a lit pixel is a 0, as 1 is black there.
    #[must_use]
    pub fn pbm(&self) -> Vec<u8> {
        let mut file = format!("P4\n{WIDTH} {}\n", self.panel.rows()).into_bytes();
        for y in 0..self.panel.rows() {
            file.extend(self.row(y));
        }
        file
    }

    /// A row, eight pixels a byte, the leftmost the highest bit; lit is 0.
    fn row(&self, y: usize) -> impl Iterator<Item = u8> {
        (0..WIDTH / 8).map(move |byte| (0..8).fold(0, |bits, bit| bits << 1 | u8::from(!self.lit(byte * 8 + bit, y))))
    }
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n{}", self.panel.word(), self.text())
    }
}

impl OriginDimensions for Picture {
    fn size(&self) -> Size {
        Size::new(128, if self.panel == Panel::Tall { 64 } else { 32 })
    }
}

impl DrawTarget for Picture {
    type Color = BinaryColor;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(point, color) in pixels {
            let (Ok(x), Ok(y)) = (usize::try_from(point.x), usize::try_from(point.y)) else { continue };
            if x >= WIDTH {
                continue;
            }
            if let Some(byte) = self.bytes.get_mut(y / 8 * WIDTH + x) {
                let bit = 1 << (y % 8);
                if color.is_on() { *byte |= bit } else { *byte &= !bit }
            }
        }
        Ok(())
    }
}
