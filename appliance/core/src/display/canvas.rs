//! Text, bars, glyphs and codes inside an area that nothing leaves.

use super::glyphs::Glyph;
use embedded_graphics::{
    mono_font::{
        MonoFont, MonoTextStyle,
        ascii::{FONT_5X8, FONT_6X10, FONT_8X13, FONT_9X15_BOLD, FONT_10X20},
    },
    pixelcolor::BinaryColor,
    prelude::{DrawTarget, Drawable, Point, Primitive, Size},
    primitives::{PrimitiveStyle, Rectangle},
    text::{Baseline, Text},
};
use qrcode::{Color, EcLevel, QrCode, Version};

/// Lines.
pub(super) const SMALL: &MonoFont<'_> = &FONT_5X8;
/// Names and addresses.
pub(super) const BODY: &MonoFont<'_> = &FONT_6X10;
pub(super) const HEAD: &MonoFont<'_> = &FONT_8X13;
pub(super) const BOLD: &MonoFont<'_> = &FONT_9X15_BOLD;
/// The one figure that matters.
pub(super) const BIG: &MonoFont<'_> = &FONT_10X20;

/// Lit pixels on a dark ground.
pub(super) const LIT: BinaryColor = BinaryColor::On;
/// Dark pixels on a lit band.
pub(super) const DARK: BinaryColor = BinaryColor::Off;

/// The side of a code with its quiet zone: version 1 has 21 modules, 4 more stand around it (ISO/IEC 18004), 2 pixels each.
pub(super) const CODE_SIDE: i32 = 58;

/// An area of a target.
pub(super) struct Canvas<'t, D> {
    target: &'t mut D,
    at: Point,
    pub width: i32,
    pub height: i32,
}

impl<'t, D: DrawTarget<Color = BinaryColor>> Canvas<'t, D> {
    /// The area `down` rows below the target's top.
    pub fn new(target: &'t mut D, down: i32, width: i32, height: i32) -> Self {
        Canvas { at: target.bounding_box().top_left + Point::new(0, down), target, width, height }
    }

    /// A smaller area of this one.
    pub fn part(&mut self, x: i32, y: i32, width: i32, height: i32) -> Canvas<'_, D> {
        let width = width.min(self.width - x).max(0);
        let height = height.min(self.height - y).max(0);
        Canvas { at: self.at + Point::new(x, y), width, height, target: self.target }
    }

    /// How many signs of this face fit from `x` on.
    fn signs(&self, x: i32, face: &MonoFont<'_>) -> usize {
        usize::try_from((self.width - x).max(0) / advance(face)).unwrap_or(0)
    }

    /// Text with its upper left corner here; what does not fit is cut.
    pub fn text(&mut self, x: i32, y: i32, text: &str, face: &MonoFont<'_>, ink: BinaryColor) -> Result<(), D::Error> {
        let tall = i32::try_from(face.character_size.height).unwrap_or(i32::MAX);
        if x < 0 || y < 0 || y + tall > self.height {
            return Ok(());
        }
        let text: String = text.chars().take(self.signs(x, face)).map(plain).collect();
        let style = MonoTextStyle::new(face, ink);
        Text::with_baseline(&text, self.at + Point::new(x, y), style, Baseline::Top).draw(self.target).map(drop)
    }

    /// Text that ends before column `right`.
    pub fn right(
        &mut self,
        right: i32,
        y: i32,
        text: &str,
        face: &MonoFont<'_>,
        ink: BinaryColor,
    ) -> Result<(), D::Error> {
        let kept: String = text.chars().take(usize::try_from(right.max(0) / advance(face)).unwrap_or(0)).collect();
        self.text(right - width(&kept, face), y, &kept, face, ink)
    }

    /// Text in the middle.
    pub fn middle(&mut self, y: i32, text: &str, face: &MonoFont<'_>) -> Result<(), D::Error> {
        let kept: String = text.chars().take(self.signs(0, face)).collect();
        self.text((self.width - width(&kept, face)) / 2, y, &kept, face, LIT)
    }

    /// Two texts on one line, of which the right one is cut last.
    pub fn ends(&mut self, y: i32, left: &str, right: &str, ink: BinaryColor) -> Result<(), D::Error> {
        let face = SMALL;
        let room = self.width - width(right, face) - advance(face);
        let edge = self.width;
        self.part(0, 0, room, edge).text(0, y, left, face, ink)?;
        self.right(edge, y, right, face, ink)
    }

    /// Text over several lines of the small face, `pitch` rows apart, broken between words; at most `lines` of them after
    /// leaving out the first `skipped`.
    pub fn wrapped(&mut self, y: i32, text: &str, pitch: i32, skipped: usize, lines: usize) -> Result<(), D::Error> {
        let mut at = y;
        for line in wrap(text, self.signs(0, SMALL)).iter().skip(skipped).take(lines) {
            self.text(0, at, line, SMALL, LIT)?;
            at += pitch;
        }
        Ok(())
    }

    /// A filled box.
    pub fn fill(&mut self, x: i32, y: i32, width: i32, height: i32, ink: BinaryColor) -> Result<(), D::Error> {
        let Some(area) = self.area(x, y, width, height) else { return Ok(()) };
        self.target.fill_solid(&area, ink)
    }

    /// A band behind a title, and the ink to write on it: lit with dark signs, or `plain`, which is nothing with lit signs.
    pub fn band(&mut self, x: i32, y: i32, width: i32, height: i32, plain: bool) -> Result<BinaryColor, D::Error> {
        if plain {
            return Ok(LIT);
        }
        self.fill(x, y, width, height, LIT)?;
        Ok(DARK)
    }

    /// An empty box with an edge of one pixel.
    pub fn frame(&mut self, x: i32, y: i32, width: i32, height: i32) -> Result<(), D::Error> {
        let Some(area) = self.area(x, y, width, height) else { return Ok(()) };
        area.into_styled(PrimitiveStyle::with_stroke(LIT, 1)).draw(self.target)
    }

    fn area(&self, x: i32, y: i32, width: i32, height: i32) -> Option<Rectangle> {
        let width = width.min(self.width - x);
        let height = height.min(self.height - y);
        let inside = x >= 0 && y >= 0 && width > 0 && height > 0;
        inside
            .then(|| Rectangle::new(self.at + Point::new(x, y), Size::new(width.unsigned_abs(), height.unsigned_abs())))
    }

    /// An outline, one dark pixel, and so much of it filled: one column as soon as anything happened, all only at 100.
    pub fn bar(&mut self, x: i32, y: i32, width: i32, height: i32, percent: u8) -> Result<(), D::Error> {
        self.frame(x, y, width, height)?;
        let percent = i32::from(percent.min(100));
        let full = width - 4;
        let filled = if percent == 0 { 0 } else { (full * percent / 100).max(1) };
        self.fill(x + 2, y + 2, filled, height - 4, LIT)
    }

    /// A shape, each of its pixels `scale` wide.
    pub fn glyph(&mut self, x: i32, y: i32, glyph: Glyph, scale: i32, ink: BinaryColor) -> Result<(), D::Error> {
        for (row, pixels) in (0..).zip(glyph) {
            for (column, pixel) in (0..).zip(pixels.chars()) {
                if pixel == '#' {
                    self.fill(x + column * scale, y + row * scale, scale, scale, ink)?;
                }
            }
        }
        Ok(())
    }

    /// A code, dark on a lit field of [`CODE_SIDE`].
    pub fn code(&mut self, x: i32, y: i32, code: &QrCode) -> Result<(), D::Error> {
        self.fill(x, y, CODE_SIDE, CODE_SIDE, LIT)?;
        let modules = code.to_colors();
        for (row, line) in (4..).zip(modules.chunks(code.width().max(1))) {
            for (column, module) in (4..).zip(line) {
                if *module == Color::Dark {
                    self.fill(x + column * 2, y + row * 2, 2, 2, DARK)?;
                }
            }
        }
        Ok(())
    }
}

/// The code of a page's address, if it fits the panel at two pixels a module: capitals count less than other letters, and
/// neither scheme nor host knows a difference.
pub(super) fn code(url: &str) -> Option<QrCode> {
    let host_alone = url.strip_prefix("http://")?.strip_suffix('/').is_some_and(|host| !host.contains('/'));
    let url = if host_alone { url.to_ascii_uppercase() } else { url.to_owned() };
    QrCode::with_version(url, Version::Normal(1), EcLevel::L).ok()
}

/// Lines of at most `signs`; words longer than a line are broken.
pub(super) fn wrap(text: &str, signs: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        while !word.is_empty() && signs > 0 {
            let used = lines.last().map_or(0, |line| line.chars().count());
            let blank = usize::from(used > 0);
            let Some(line) = lines.last_mut() else { break };
            if used + blank + word.len() <= signs {
                if used > 0 {
                    line.push(' ');
                }
                line.extend(word.drain(..));
            } else if used == 0 {
                line.extend(word.drain(..signs.min(word.len())));
                lines.push(String::new());
            } else {
                lines.push(String::new());
            }
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

fn advance(face: &MonoFont<'_>) -> i32 {
    i32::try_from(face.character_size.width + face.character_spacing).unwrap_or(1).max(1)
}

fn width(text: &str, face: &MonoFont<'_>) -> i32 {
    i32::try_from(text.chars().count()).unwrap_or(i32::MAX).saturating_mul(advance(face))
}

/// What the faces hold; a line end would start a line of its own.
fn plain(sign: char) -> char {
    if (' '..='~').contains(&sign) { sign } else { '?' }
}
