//! Names, alarms and sentences come from packets, tables and people: none of them may panic or leave the panel.

use super::super::{Alarm, Installing, Network, Notice, StatusView, Step, Turned, draw};
use embedded_graphics::{
    Pixel,
    pixelcolor::BinaryColor,
    prelude::{DrawTarget, OriginDimensions, Size},
};
use std::convert::Infallible;

/// A target that counts what leaves it.
struct Strict {
    size: Size,
    inside: u64,
    outside: u64,
}

impl OriginDimensions for Strict {
    fn size(&self) -> Size {
        self.size
    }
}

impl DrawTarget for Strict {
    type Color = BinaryColor;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(point, _) in pixels {
            let within = |at: i32, size: u32| u32::try_from(at).is_ok_and(|at| at < size);
            if within(point.x, self.size.width) && within(point.y, self.size.height) {
                self.inside += 1;
            } else {
                self.outside += 1;
            }
        }
        Ok(())
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

/// Strings at random, and how many there were.
struct Words {
    dice: Dice,
    made: u64,
}

impl Words {
    fn word(&mut self) -> String {
        self.made += 1;
        let length = match self.dice.below(10) {
            0 => 0,
            1..=6 => self.dice.below(30),
            7 | 8 => self.dice.below(200),
            _ => self.dice.below(1200),
        };
        (0..length)
            .map(|_| match self.dice.below(8) {
                0 => ' ',
                1 => char::from(self.dice.byte() % 32),
                2 => char::from_u32(u32::try_from(self.dice.below(0x11_0000)).unwrap()).unwrap_or('\u{202e}'),
                _ => char::from(32 + self.dice.byte() % 96),
            })
            .collect()
    }

    fn install(&mut self) -> Installing {
        Installing {
            name: self.word(),
            title: self.word(),
            step: match self.dice.below(4) {
                0 => Step::Armed,
                1 => Step::Busy,
                2 => Step::Quiet(self.word()),
                _ => Step::Failed(self.word()),
            },
            percent: (self.dice.below(4) > 0).then(|| self.dice.byte()),
            task: self.word(),
            rate: self.word(),
            left: self.word(),
            tasks: (self.dice.byte(), self.dice.byte()),
        }
    }

    fn notice(&mut self) -> Option<Notice> {
        Some(match self.dice.below(16) {
            0 => Notice::Starting { percent: self.dice.byte() },
            1 => Notice::Consent {
                host: self.word(),
                mac: self.word(),
                digits: self.word(),
                disk: self.word(),
                seconds_left: u16::from(self.dice.byte()) * 257,
                button: self.dice.below(2) == 0,
            },
            2 => Notice::Hold { what: self.word(), held: self.dice.byte() },
            3 => Notice::Update { from: self.word(), to: self.word(), percent: self.dice.byte() },
            4 => Notice::Stopped { off: self.dice.below(2) == 0, at: self.word() },
            5 => Notice::Offer { from: self.word(), to: self.word(), seconds_left: u16::from(self.dice.byte()) * 257 },
            _ => return None,
        })
    }

    fn view(&mut self) -> StatusView {
        let address = std::net::Ipv4Addr::from(self.dice.roll().to_le_bytes().first_chunk().copied().unwrap());
        StatusView {
            name: self.word(),
            version: self.word(),
            network: if self.dice.below(4) == 0 {
                Network::Waiting { why: self.word() }
            } else {
                Network::Up { address, mode: self.word() }
            },
            url: if self.dice.below(2) == 0 { self.word() } else { format!("http://{address}/") },
            hosts: self.dice.roll(),
            installs: (0..self.dice.below(7)).map(|_| self.install()).collect(),
            done: self.dice.below(3).wrapping_mul(self.dice.roll()),
            alarms: (0..self.dice.below(8).saturating_sub(5))
                .map(|_| Alarm { title: self.word(), text: self.word() })
                .collect(),
            code: (self.dice.below(3) == 0).then(|| self.word()),
            notice: self.notice(),
            button: self.dice.below(2) == 0,
            turned: (self.dice.below(3) == 0).then(|| Turned {
                presses: self.dice.roll(),
                first: self.dice.roll(),
                at: self.dice.below(2000),
            }),
        }
    }
}

/// A million with `RACKBERRY_SOAK`, and a tenth of that else; `RACKBERRY_SEED` repeats a run.
#[test]
fn no_text_panics_or_leaves_the_panel() {
    let wanted = if std::env::var_os("RACKBERRY_SOAK").is_some() { 1_000_000 } else { 100_000 };
    let given = std::env::var("RACKBERRY_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
    println!("RACKBERRY_SEED={seed}");
    let mut words = Words { dice: Dice(seed), made: 0 };
    let (mut pictures, mut inside) = (0, 0);
    while words.made < wanted {
        let view = words.view();
        let tick = words.dice.below(2000);
        for (width, height) in [(128, 64), (128, 32)] {
            let mut panel = Strict { size: Size::new(width, height), inside: 0, outside: 0 };
            let Ok(()) = draw(&view, tick, &mut panel);
            assert_eq!(panel.outside, 0, "on {width}x{height} at {tick}: {view:?}");
            inside += panel.inside;
            pictures += 1;
        }
    }
    assert!(inside > pictures * 100, "nothing was drawn");
    println!("{} strings in {pictures} pictures: 0 panics, 0 pixels outside, {inside} inside", words.made);
}

#[test]
fn a_target_too_small_stays_dark() {
    let mut panel = Strict { size: Size::new(96, 16), inside: 0, outside: 0 };
    let Ok(()) = draw(&super::samples::ready("10.20.0.2"), 0, &mut panel);
    assert_eq!((panel.inside, panel.outside), (0, 0));
}
