//! The thread that reads the buttons and drives the status light.

use super::buttons::{ButtonEvent, Buttons, Levels};
use crate::config::Oled;
use rackberry_core::display::Light;
use rppal::gpio::{Gpio, InputPin, OutputPin};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Levels are read this often: a register each, no interrupt to lose.
const EVERY: Duration = Duration::from_millis(20);

/// Why there are no buttons and no light.
#[derive(Debug, thiserror::Error)]
enum PinError {
    #[error("open the GPIO of this machine; buttons and light work on a Raspberry Pi")]
    Gpio(#[source] rppal::gpio::Error),
    #[error("take the pin oled.{setting} = {pin}")]
    Pin { setting: &'static str, pin: u8, source: rppal::gpio::Error },
}

struct Pins {
    next: Option<InputPin>,
    confirm: Option<InputPin>,
    off: Option<InputPin>,
    led: Option<OutputPin>,
}

/// Starts the thread; it ends when the sender of `light` is gone, or at once where there is no GPIO, which is logged.
pub(super) fn spawn(settings: Oled, events: mpsc::Sender<ButtonEvent>, light: watch::Receiver<Light>) {
    let named = std::thread::Builder::new().name("buttons".to_owned());
    let started = named.spawn(move || match open(&settings) {
        Ok(pins) => watch_pins(pins, &events, &light),
        Err(error) => tracing::warn!("no buttons and no light: {}", crate::chain(&error)),
    });
    if let Err(error) = started {
        tracing::error!(%error, "the buttons' thread could not be started");
    }
}

fn open(settings: &Oled) -> Result<Pins, PinError> {
    let gpio = Gpio::new().map_err(PinError::Gpio)?;
    let [next, confirm, off, led] = settings.pins().map(|(setting, pin)| {
        pin.map(|pin| gpio.get(pin).map_err(|source| PinError::Pin { setting, pin, source })).transpose()
    });
    let input = |pin: rppal::gpio::Pin| pin.into_input_pullup();
    Ok(Pins {
        next: next?.map(input),
        confirm: confirm?.map(input),
        off: off?.map(input),
        led: led?.map(rppal::gpio::Pin::into_output_low),
    })
}

fn watch_pins(mut pins: Pins, events: &mpsc::Sender<ButtonEvent>, light: &watch::Receiver<Light>) {
    let began = Instant::now();
    let mut buttons = Buttons::default();
    // Closed to ground.
    let pressed = |pin: &Option<InputPin>| pin.as_ref().is_some_and(InputPin::is_low);
    while light.has_changed().is_ok() {
        let now = began.elapsed();
        let levels = Levels { next: pressed(&pins.next), confirm: pressed(&pins.confirm), off: pressed(&pins.off) };
        for event in buttons.read(levels, now) {
            // Somebody who presses faster than the box listens presses again.
            let _ = events.try_send(event);
        }
        if let Some(led) = &mut pins.led {
            if light.borrow().lit(now) { led.set_high() } else { led.set_low() }
        }
        std::thread::sleep(EVERY);
    }
    if let Some(led) = &mut pins.led {
        led.set_low();
    }
}
