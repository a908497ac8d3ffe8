//! Pins of the header, by the chip's numbers: on a Raspberry Pi by rppal, on any Linux by its GPIO devices, or, for trying
//! things out without a board, as files.
//!
//! A pin is an input or an output for as long as its value lives, and is let go with it. With `files`, pin 17 is
//! `<state>/gpio/17`: `0` in it is low, anything else and no file is high, as the pull-up makes it; an output writes there.

use crate::config::GpioBackend;
use embedded_hal::digital::{ErrorKind, ErrorType, InputPin, OutputPin};
use std::path::{Path, PathBuf};

/// What asks for lines of the kernel.
const CONSUMER: &str = "rackberry";

/// Why a pin cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GpioError {
    #[error("open the GPIO of this machine; rppal works on a Raspberry Pi, gpio.backend = \"linux\" anywhere")]
    Rppal(#[source] rppal::gpio::Error),
    #[error("take GPIO {pin}")]
    Take { pin: u8, source: rppal::gpio::Error },
    #[error("take line {pin} of {}", chip.display())]
    Line { pin: u8, chip: PathBuf, source: gpiocdev::Error },
    #[error("set GPIO {pin}")]
    Set { pin: u8, source: gpiocdev::Error },
    #[error("read GPIO {pin}")]
    Read { pin: u8, source: gpiocdev::Error },
    #[error("read {}", path.display())]
    ReadFile { path: PathBuf, source: std::io::Error },
    #[error("write {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
}

impl embedded_hal::digital::Error for GpioError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

/// The pins of this machine.
#[derive(Debug)]
pub struct Board(Kind);

#[derive(Debug)]
enum Kind {
    Rppal(rppal::gpio::Gpio),
    Linux(PathBuf),
    Files(PathBuf),
}

impl Board {
    /// Opens the pins that the settings name; `chip` is N of `/dev/gpiochipN`.
    ///
    /// # Errors
    /// [`GpioError`] where there are none.
    pub fn open(backend: GpioBackend, chip: u8, state_dir: &Path) -> Result<Self, GpioError> {
        Ok(Board(match backend {
            GpioBackend::Rppal => Kind::Rppal(rppal::gpio::Gpio::new().map_err(GpioError::Rppal)?),
            GpioBackend::Linux => Kind::Linux(PathBuf::from(format!("/dev/gpiochip{chip}"))),
            GpioBackend::Files => {
                let folder = state_dir.join("gpio");
                let made = std::fs::create_dir_all(&folder);
                made.map_err(|source| GpioError::File { path: folder.clone(), source })?;
                Kind::Files(folder)
            }
        }))
    }

    /// A pin that is read, with its pull-up on.
    ///
    /// # Errors
    /// [`GpioError`], also if something else has it.
    pub fn input(&self, pin: u8) -> Result<Input, GpioError> {
        Ok(Input(match &self.0 {
            Kind::Rppal(gpio) => {
                let taken = gpio.get(pin).map_err(|source| GpioError::Take { pin, source })?;
                In::Rppal(taken.into_input_pullup())
            }
            Kind::Linux(chip) => {
                let request = line(chip, pin, |request| {
                    request.as_input().with_bias(gpiocdev::line::Bias::PullUp);
                })?;
                In::Linux(pin, request)
            }
            Kind::Files(folder) => In::File(folder.join(pin.to_string())),
        }))
    }

    /// A pin that is driven, first to `high` or low.
    ///
    /// # Errors
    /// [`GpioError`], also if something else has it.
    pub fn output(&self, pin: u8, high: bool) -> Result<Output, GpioError> {
        let mut output = Output(match &self.0 {
            Kind::Rppal(gpio) => {
                let take = || gpio.get(pin).map_err(|source| GpioError::Take { pin, source });
                // A program that was killed left it driven, and rppal gives back what it found: it has to find an input.
                let mut input = take()?.into_input();
                input.set_reset_on_drop(false);
                drop(input);
                let taken = take()?;
                Out::Rppal(if high { taken.into_output_high() } else { taken.into_output_low() })
            }
            Kind::Linux(chip) => {
                let request = line(chip, pin, |request| {
                    request.as_output(level(high));
                })?;
                Out::Linux(pin, request)
            }
            Kind::Files(folder) => Out::File(folder.join(pin.to_string())),
        });
        output.set(high)?;
        Ok(output)
    }
}

fn line(
    chip: &Path,
    pin: u8,
    ask: impl FnOnce(&mut gpiocdev::request::Builder),
) -> Result<gpiocdev::Request, GpioError> {
    let mut request = gpiocdev::Request::builder();
    request.on_chip(chip).with_consumer(CONSUMER).with_line(u32::from(pin));
    ask(&mut request);
    request.request().map_err(|source| GpioError::Line { pin, chip: chip.to_owned(), source })
}

fn level(high: bool) -> gpiocdev::line::Value {
    if high { gpiocdev::line::Value::Active } else { gpiocdev::line::Value::Inactive }
}

/// A pin that is read.
#[derive(Debug)]
pub struct Input(In);

#[derive(Debug)]
enum In {
    Rppal(rppal::gpio::InputPin),
    Linux(u8, gpiocdev::Request),
    File(PathBuf),
}

impl Input {
    /// Whether it is high; unlike a button's, a level that cannot be read is an error.
    ///
    /// # Errors
    /// [`GpioError`].
    pub fn level(&self) -> Result<bool, GpioError> {
        match &self.0 {
            In::Rppal(pin) => Ok(pin.is_high()),
            In::Linux(pin, request) => request
                .lone_value()
                .map(|value| value == gpiocdev::line::Value::Active)
                .map_err(|source| GpioError::Read { pin: *pin, source }),
            In::File(path) => match std::fs::read(path) {
                Ok(bytes) => Ok(bytes.trim_ascii() != b"0"),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
                Err(source) => Err(GpioError::ReadFile { path: path.clone(), source }),
            },
        }
    }
}

impl ErrorType for Input {
    type Error = GpioError;
}

impl InputPin for Input {
    fn is_high(&mut self) -> Result<bool, GpioError> {
        self.is_low().map(|low| !low)
    }

    fn is_low(&mut self) -> Result<bool, GpioError> {
        // A line that cannot be read counts as one that nobody presses.
        Ok(self.level().is_ok_and(|high| !high))
    }
}

/// A pin that is driven; let go when this falls.
#[derive(Debug)]
pub struct Output(Out);

#[derive(Debug)]
enum Out {
    Rppal(rppal::gpio::OutputPin),
    Linux(u8, gpiocdev::Request),
    File(PathBuf),
}

impl Output {
    /// Drives it.
    ///
    /// # Errors
    /// [`GpioError`].
    pub fn set(&mut self, high: bool) -> Result<(), GpioError> {
        match &mut self.0 {
            Out::Rppal(pin) => pin.write(if high { rppal::gpio::Level::High } else { rppal::gpio::Level::Low }),
            Out::Linux(pin, request) => {
                request.set_lone_value(level(high)).map_err(|source| GpioError::Set { pin: *pin, source })?;
            }
            Out::File(path) => {
                // By rename: whoever looks sees the one level or the other.
                let new = path.with_extension("new");
                let written = std::fs::write(&new, if high { "1" } else { "0" });
                let done = written.and_then(|()| std::fs::rename(&new, &path));
                done.map_err(|source| GpioError::File { path: path.clone(), source })?;
            }
        }
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // The two others let their pins go themselves.
        if let Out::File(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl ErrorType for Output {
    type Error = GpioError;
}

impl OutputPin for Output {
    fn set_low(&mut self) -> Result<(), GpioError> {
        self.set(false)
    }

    fn set_high(&mut self) -> Result<(), GpioError> {
        self.set(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_that_is_a_file_reads_as_its_pull_up_makes_it_and_is_gone_when_it_is_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let board = Board::open(GpioBackend::Files, 0, folder.path()).unwrap();
        let (mut input, file) = (board.input(17).unwrap(), folder.path().join("gpio/17"));
        for (text, low) in
            [(None, false), (Some("0"), true), (Some("0\n"), true), (Some("1"), false), (Some(""), false)]
        {
            text.map_or(Ok(()), |text| std::fs::write(&file, text)).unwrap();
            assert_eq!((input.is_low().unwrap(), input.is_high().unwrap()), (low, !low), "{text:?}");
        }
        let file = folder.path().join("gpio/5");
        let mut output = board.output(5, true).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"1");
        output.set_low().unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"0");
        drop(output);
        assert!(!file.exists());
    }

    #[test]
    fn a_machine_without_pins_says_so() {
        let none = Board::open(GpioBackend::Linux, 250, Path::new("/")).unwrap();
        let error = crate::chain(&none.input(17).unwrap_err());
        assert!(error.starts_with("take line 17 of /dev/gpiochip250: "), "{error}");
    }
}
