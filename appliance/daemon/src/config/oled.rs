//! The display, its buttons and its light, as the settings name them.

use super::values::{Scalar, byte};
use rackberry_core::display::Panel;

/// `[oled]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oled {
    /// None: there is no display.
    pub controller: Option<Controller>,
    pub panel: Panel,
    pub bus: Bus,
    /// N of `/dev/i2c-N`.
    pub i2c: u8,
    /// Seven bits.
    pub address: u8,
    /// Mounted upside down.
    pub rotate: bool,
    /// Numbers of the chip (BCM), as for all of these.
    pub next_gpio: Option<u8>,
    pub confirm_gpio: Option<u8>,
    pub off_gpio: Option<u8>,
    pub led_gpio: Option<u8>,
    /// Words of the command that switches the machine off; none: the button does nothing.
    pub off_command: Vec<String>,
}

/// The chip that drives the panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    Ssd1306,
    Sh1106,
}

/// Who speaks I2C for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    Rppal,
    /// linux-embedded-hal.
    Linux,
}

/// Who works the header's pins for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GpioBackend {
    Rppal,
    /// The kernel's GPIO devices.
    Linux,
    /// Files in the state folder.
    Files,
}

impl Default for Oled {
    fn default() -> Self {
        Oled {
            controller: None,
            panel: Panel::Tall,
            bus: Bus::Rppal,
            i2c: 0,
            address: 0,
            rotate: false,
            next_gpio: None,
            confirm_gpio: None,
            off_gpio: None,
            led_gpio: None,
            off_command: Vec::new(),
        }
    }
}

impl Oled {
    /// Whether anything hangs on the header's pins beside the display.
    #[must_use]
    pub fn has_pins(&self) -> bool {
        self.pins().iter().any(|(_, pin)| pin.is_some())
    }

    /// What of the box itself has a pin, in words; none if it is free.
    #[must_use]
    pub fn pin_user(&self, pin: u8) -> Option<String> {
        // I2C 1 lies on these two on every Raspberry Pi.
        if self.controller.is_some() && self.i2c == 1 && [2, 3].contains(&pin) {
            return Some("a wire of the display (oled.i2c)".to_owned());
        }
        let taken = self.pins().into_iter().find(|(_, taken)| *taken == Some(pin));
        taken.map(|(name, _)| format!("the box's own oled.{name}"))
    }

    /// The pins, as people name them.
    #[must_use]
    pub fn pins(&self) -> [(&'static str, Option<u8>); 4] {
        [
            ("next_gpio", self.next_gpio),
            ("confirm_gpio", self.confirm_gpio),
            ("off_gpio", self.off_gpio),
            ("led_gpio", self.led_gpio),
        ]
    }
}

pub(super) fn controller(word: &str) -> Result<Option<Controller>, String> {
    match word {
        "" => Ok(None),
        "ssd1306" => Ok(Some(Controller::Ssd1306)),
        "sh1106" => Ok(Some(Controller::Sh1106)),
        _ => Err("takes ssd1306, sh1106, or an empty text for no display".to_owned()),
    }
}

pub(super) fn panel(word: &str) -> Result<Panel, String> {
    Panel::of_word(word).ok_or_else(|| "takes 128x64 or 128x32".to_owned())
}

pub(super) fn bus(word: &str) -> Result<Bus, String> {
    match word {
        "rppal" => Ok(Bus::Rppal),
        "linux" => Ok(Bus::Linux),
        _ => Err("takes rppal or linux".to_owned()),
    }
}

pub(super) fn backend(word: &str) -> Result<GpioBackend, String> {
    match word {
        "rppal" => Ok(GpioBackend::Rppal),
        "linux" => Ok(GpioBackend::Linux),
        "files" => Ok(GpioBackend::Files),
        _ => Err("takes rppal, linux or files".to_owned()),
    }
}

/// A pin of the header by the chip's numbers; 0 and 1 belong to the boards' own memory, so 0 means none.
pub(super) fn gpio(value: Scalar<'_>) -> Result<Option<u8>, String> {
    match byte(value, 0, 27) {
        Ok(0) => Ok(None),
        Ok(pin) if pin > 1 => Ok(Some(pin)),
        _ => Err("takes a GPIO number from 2 to 27, or 0 for none".to_owned()),
    }
}
