//! The buses there are: rppal on a Raspberry Pi, linux-embedded-hal on any Linux.

use crate::config::{Bus, Oled};
use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, Operation};

/// A bus of either kind.
pub(super) enum Opened {
    Rppal(rppal::i2c::I2c),
    Linux(linux_embedded_hal::I2cdev),
}

/// What a bus says when it fails.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(super) struct BusError {
    what: String,
    kind: ErrorKind,
}

impl embedded_hal::i2c::Error for BusError {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}

fn failed<E: embedded_hal::i2c::Error + std::fmt::Display>(error: E) -> BusError {
    BusError { what: error.to_string(), kind: error.kind() }
}

/// Opens the bus that the settings name.
pub(super) fn open(settings: &Oled) -> Result<Opened, BusError> {
    match settings.bus {
        Bus::Rppal => {
            let bus = rppal::i2c::I2c::with_bus(settings.i2c).map_err(failed)?;
            // In steps of 10 ms: what takes longer than 100 ms counts as an error, where the driver keeps to it.
            let _ = bus.set_timeout(10);
            Ok(Opened::Rppal(bus))
        }
        Bus::Linux => {
            let path = format!("/dev/i2c-{}", settings.i2c);
            let bus = linux_embedded_hal::I2cdev::new(&path);
            bus.map(Opened::Linux)
                .map_err(|error| BusError { what: format!("opening {path}: {error}"), kind: ErrorKind::Other })
        }
    }
}

impl ErrorType for Opened {
    type Error = BusError;
}

impl I2c for Opened {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), BusError> {
        match self {
            Opened::Rppal(bus) => bus.transaction(address, operations).map_err(failed),
            Opened::Linux(bus) => I2c::<u8>::transaction(bus, address, operations).map_err(failed),
        }
    }
}
