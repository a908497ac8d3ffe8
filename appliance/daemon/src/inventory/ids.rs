//! Makes UUIDv7 (RFC 9562 5.7) from the box's time: 48 bits of milliseconds, a 12-bit counter, 62 random bits.

use super::error::StoreError;
use rackberry_core::time::Timestamp;
use uuid::{Builder, Uuid};

/// Each id sorts after all that were made before it.
#[derive(Debug, Default)]
pub(super) struct IdMaker {
    millis: u64,
    counter: u16,
}

impl IdMaker {
    /// The next id.
    pub(super) fn next(&mut self, now: Timestamp) -> Result<Uuid, StoreError> {
        let mut random = [0; 10];
        getrandom::fill(&mut random).map_err(StoreError::Random)?;
        let Timestamp(now) = now;
        if now > self.millis {
            self.millis = now;
            self.counter = 0;
        } else if self.counter == 0x0fff {
            // 4096 within a millisecond: borrow from the next one (RFC 9562 6.2).
            self.millis += 1;
            self.counter = 0;
        } else {
            self.counter += 1;
        }
        let [high, low, rest @ ..] = &mut random;
        [*high, *low] = self.counter.to_be_bytes();
        let _ = rest;
        Ok(Builder::from_unix_timestamp_millis(self.millis, &random).into_uuid())
    }
}
