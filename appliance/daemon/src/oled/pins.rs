//! The thread that reads the buttons and drives the status light.

use super::buttons::{ButtonEvent, Buttons, Levels};
use crate::{
    config::Config,
    gpio::{Board, GpioError, Input, Output},
};
use embedded_hal::digital::{InputPin as _, OutputPin as _};
use rackberry_core::display::Light;
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, watch};

/// Levels are read this often: a register each, no interrupt to lose.
const EVERY: Duration = Duration::from_millis(20);

/// Why there are no buttons and no light.
#[derive(Debug, thiserror::Error)]
enum PinError {
    #[error("buttons and light")]
    Gpio(#[source] GpioError),
    #[error("take the pin oled.{setting}")]
    Pin { setting: &'static str, source: GpioError },
}

struct Pins {
    next: Option<Input>,
    confirm: Option<Input>,
    off: Option<Input>,
    led: Option<Output>,
}

/// Starts the thread; it ends when the sender of `light` is gone, or at once where there is no GPIO, which is logged.
pub(super) fn spawn(
    config: Arc<Config>,
    state_dir: Arc<PathBuf>,
    events: mpsc::Sender<ButtonEvent>,
    light: watch::Receiver<Light>,
) {
    let named = std::thread::Builder::new().name("buttons".to_owned());
    let started = named.spawn(move || match open(&config, &state_dir) {
        Ok(pins) => watch_pins(pins, &events, &light),
        Err(error) => tracing::warn!("no buttons and no light: {}", crate::chain(&error)),
    });
    if let Err(error) = started {
        tracing::error!(%error, "the buttons' thread could not be started");
    }
}

fn open(config: &Config, state_dir: &std::path::Path) -> Result<Pins, PinError> {
    let board = Board::open(config.gpio, config.gpio_chip, state_dir).map_err(PinError::Gpio)?;
    let settings = &config.oled;
    let input = |setting: &'static str, pin: Option<u8>| {
        pin.map(|pin| board.input(pin).map_err(|source| PinError::Pin { setting, source })).transpose()
    };
    let led = settings.led_gpio.map(|pin| board.output(pin, false)).transpose();
    Ok(Pins {
        next: input("next_gpio", settings.next_gpio)?,
        confirm: input("confirm_gpio", settings.confirm_gpio)?,
        off: input("off_gpio", settings.off_gpio)?,
        led: led.map_err(|source| PinError::Pin { setting: "led_gpio", source })?,
    })
}

fn watch_pins(mut pins: Pins, events: &mpsc::Sender<ButtonEvent>, light: &watch::Receiver<Light>) {
    let began = Instant::now();
    let mut buttons = Buttons::default();
    // Closed to ground.
    let pressed = |pin: &mut Option<Input>| pin.as_mut().is_some_and(|pin| pin.is_low().unwrap_or(false));
    while light.has_changed().is_ok() {
        let now = began.elapsed();
        let levels =
            Levels { next: pressed(&mut pins.next), confirm: pressed(&mut pins.confirm), off: pressed(&mut pins.off) };
        for event in buttons.read(levels, now) {
            // Somebody who presses faster than the box listens presses again.
            let _ = events.try_send(event);
        }
        if let Some(led) = &mut pins.led {
            // A light that does not come on is seen.
            let _ = led.set(light.borrow().lit(now));
        }
        std::thread::sleep(EVERY);
    }
    if let Some(led) = &mut pins.led {
        let _ = led.set_low();
    }
}
