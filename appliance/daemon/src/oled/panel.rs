//! SSD1306 and SH1106 over any I2C bus: the same words but for a charge pump and two columns (data sheets: Solomon Systech SSD1306
//! rev 1.1, Sino Wealth SH1106 rev 2.3).

use crate::config::{Controller, Oled};
use embedded_hal::i2c::I2c;
use rackberry_core::display::{Panel, Picture};

/// The byte before commands, and the one before pixels (SSD1306 section 8.1.5.2).
const COMMANDS: u8 = 0x00;
const PIXELS: u8 = 0x40;
/// Contrast, of 255.
const BRIGHT: u8 = 0xcf;
const DIM: u8 = 0x10;

/// A panel on a bus.
#[derive(Debug)]
pub struct Driver<B> {
    bus: B,
    controller: Controller,
    panel: Panel,
    address: u8,
    rotate: bool,
    /// What it shows, as far as we wrote it.
    shown: Option<Picture>,
    dimmed: bool,
}

impl<B: I2c> Driver<B> {
    /// A panel of which nothing is known yet.
    pub fn new(bus: B, controller: Controller, settings: &Oled) -> Self {
        Driver {
            bus,
            controller,
            panel: settings.panel,
            address: settings.address,
            rotate: settings.rotate,
            shown: None,
            dimmed: false,
        }
    }

    /// Sets the panel up, whatever state it is in, and keeps what it shows.
    ///
    /// # Errors
    /// The bus's.
    pub fn wake(&mut self) -> Result<(), B::Error> {
        let (multiplex, pins) = match self.panel {
            Panel::Tall => (63, 0x12),
            Panel::Strip => (31, 0x02),
        };
        let pump = match self.controller {
            Controller::Ssd1306 => [0x8d, 0x14],
            Controller::Sh1106 => [0xad, 0x8b],
        };
        let (columns, rows) = if self.rotate { (0xa0, 0xc0) } else { (0xa1, 0xc8) };
        self.command(&[0xd5, 0x80])?; // clock
        self.command(&[0xa8, multiplex])?;
        self.command(&[0xd3, 0x00])?; // no offset
        self.command(&[0x40])?; // from line 0
        self.command(&pump)?;
        if self.controller == Controller::Ssd1306 {
            self.command(&[0x20, 0x02])?; // strip after strip, the only way SH1106 knows
        }
        self.command(&[columns, rows])?;
        self.command(&[0xda, pins])?;
        self.command(&[0xd9, 0xf1])?; // precharge
        self.command(&[0xdb, 0x40])?; // deselect level
        self.command(&[0xa4, 0xa6])?; // from memory, not inverted
        self.shown = None;
        self.contrast()
    }

    /// Lights the panel; before the first picture it would show what its memory held.
    ///
    /// # Errors
    /// The bus's.
    pub fn light(&mut self) -> Result<(), B::Error> {
        self.command(&[0xaf])
    }

    /// Shows a picture: only strips that changed are written.
    ///
    /// # Errors
    /// The bus's; what is shown is unknown then, and [`Driver::wake`] is due.
    pub fn show(&mut self, picture: &Picture, dimmed: bool) -> Result<(), B::Error> {
        if self.dimmed != dimmed {
            self.dimmed = dimmed;
            self.contrast()?;
        }
        let before = self.shown.take();
        let first_column = match self.controller {
            Controller::Ssd1306 => 0,
            // It has 132 columns, of which panels show the middle ones.
            Controller::Sh1106 => 2,
        };
        let mut known = before.as_ref().map(Picture::strips);
        for (number, strip) in (0..).zip(picture.strips()) {
            if known.as_mut().and_then(Iterator::next) == Some(strip) {
                continue;
            }
            self.command(&[0xb0 | number, first_column, 0x10])?;
            let mut bytes = vec![PIXELS];
            bytes.extend(strip);
            self.bus.write(self.address, &bytes)?;
        }
        self.shown = Some(picture.clone());
        Ok(())
    }

    fn contrast(&mut self) -> Result<(), B::Error> {
        self.command(&[0x81, if self.dimmed { DIM } else { BRIGHT }])
    }

    fn command(&mut self, words: &[u8]) -> Result<(), B::Error> {
        let mut bytes = vec![COMMANDS];
        bytes.extend(words);
        self.bus.write(self.address, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal::i2c::{ErrorKind, ErrorType, Operation};
    use rackberry_core::display::{StatusView, picture};

    /// A panel's memory, as the chip would fill it.
    #[derive(Debug, Default)]
    struct Chip {
        memory: Vec<[u8; 132]>,
        strip: usize,
        column: usize,
        writes: usize,
        lit: bool,
        contrast: u8,
    }

    impl ErrorType for Chip {
        type Error = ErrorKind;
    }

    impl I2c for Chip {
        fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
            assert_eq!(address, 0x3c);
            self.memory.resize(8, [0; 132]);
            for operation in operations {
                let Operation::Write(bytes) = operation else { panic!("nothing is read") };
                let (kind, rest) = bytes.split_first().unwrap();
                self.writes += 1;
                if *kind == PIXELS {
                    for byte in rest {
                        self.memory[self.strip][self.column] = *byte;
                        self.column += 1;
                    }
                    continue;
                }
                match rest {
                    [strip @ 0xb0..=0xb7, low, high] => {
                        self.strip = usize::from(strip & 7);
                        self.column = usize::from(low & 15) + 16 * usize::from(high & 15);
                    }
                    [0x81, contrast] => self.contrast = *contrast,
                    [0xaf] => self.lit = true,
                    _ => {}
                }
            }
            Ok(())
        }
    }

    fn pictures() -> [Picture; 2] {
        let view = |name: &str| StatusView { name: name.to_owned(), ..StatusView::default() };
        ["one", "two"].map(|name| picture(&view(name), 0, Panel::Tall))
    }

    #[test]
    fn both_chips_hold_the_picture_each_at_its_own_columns() {
        for (controller, first) in [(Controller::Ssd1306, 0), (Controller::Sh1106, 2)] {
            let settings = Oled { address: 0x3c, ..Oled::default() };
            let mut driver = Driver::new(Chip::default(), controller, &settings);
            driver.wake().unwrap();
            for shown in pictures() {
                driver.show(&shown, false).unwrap();
                for y in 0..64 {
                    for x in 0..128 {
                        let lit = driver.bus.memory[y / 8][x + first] >> (y % 8) & 1 == 1;
                        assert_eq!(lit, shown.lit(x, y), "{controller:?} {x},{y}");
                    }
                }
            }
            assert!(!driver.bus.lit, "dark until it is told");
            driver.light().unwrap();
            assert!(driver.bus.lit);
        }
    }

    #[test]
    fn what_did_not_change_is_not_written_again() {
        let settings = Oled { address: 0x3c, ..Oled::default() };
        let mut driver = Driver::new(Chip::default(), Controller::Ssd1306, &settings);
        driver.wake().unwrap();
        let [one, two] = pictures();
        let mut writes = |picture: &Picture, dimmed| {
            let before = driver.bus.writes;
            driver.show(picture, dimmed).unwrap();
            driver.bus.writes - before
        };
        assert_eq!(writes(&one, false), 16, "eight strips, each with its place");
        assert_eq!(writes(&one, false), 0);
        assert_eq!(writes(&two, false), 4, "the name is in the first two");
        assert_eq!(writes(&two, true), 1, "the contrast");
        assert_eq!(driver.bus.contrast, DIM);
    }
}
