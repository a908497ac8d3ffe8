//! How often one may guess.

use super::AuthError;
use std::{collections::BTreeMap, net::IpAddr, time::Duration};

/// Attempts within [`WINDOW`] from one address, and ten times as many in all.
const TRIES: u32 = 5;
const WINDOW: Duration = Duration::from_secs(60);

/// Guesses of the last [`WINDOW`].
#[derive(Debug, Default)]
pub(super) struct Tries {
    by_address: BTreeMap<IpAddr, Vec<tokio::time::Instant>>,
}

impl Tries {
    /// How many are left to this address, if any.
    pub fn left(&mut self, address: IpAddr) -> Result<u32, AuthError> {
        let now = tokio::time::Instant::now();
        self.by_address.retain(|_, times| {
            times.retain(|time| now.duration_since(*time) < WINDOW);
            !times.is_empty()
        });
        let all: usize = self.by_address.values().map(Vec::len).sum();
        let own = self.by_address.get(&address).map_or(0, Vec::len);
        let left = TRIES.saturating_sub(u32::try_from(own).unwrap_or(u32::MAX));
        if left == 0 || all >= 10 * TRIES as usize { Err(AuthError::TooMany) } else { Ok(left) }
    }

    /// Counts one try; how many are left to this address.
    pub fn take(&mut self, address: IpAddr) -> Result<u32, AuthError> {
        let left = self.left(address)?;
        self.by_address.entry(address).or_default().push(tokio::time::Instant::now());
        Ok(left - 1)
    }

    /// Forgets the guesses of an address, as one was right.
    pub fn forgive(&mut self, address: IpAddr) {
        self.by_address.remove(&address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn guessing_is_paused_and_forgiven_after_a_minute() {
        let mut tries = Tries::default();
        let address = IpAddr::from([192, 0, 2, 1]);
        for left in (0..TRIES).rev() {
            assert_eq!(tries.take(address).unwrap(), left);
        }
        assert!(matches!(tries.take(address), Err(AuthError::TooMany)));
        assert!(tries.take(IpAddr::from([192, 0, 2, 2])).is_ok());
        tokio::time::advance(WINDOW).await;
        assert!(tries.take(address).is_ok());
    }
}
