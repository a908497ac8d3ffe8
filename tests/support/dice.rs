//! Repeatable chance: a small generator (xorshift64*). Tests need the same throws again, not good ones.

/// Dice that a seed decides.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The same seed throws the same numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A new seed for each run, or that of `RACKBERRY_SEED`, so that a failure can be repeated; print it.
    #[must_use]
    pub fn seed() -> u64 {
        let given = std::env::var("RACKBERRY_SEED").ok().and_then(|text| text.parse().ok());
        given.unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(1, |now| u64::from(now.subsec_nanos()))
        })
    }

    /// 32 random bits.
    pub fn throw(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        u32::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32).unwrap_or_default()
    }

    /// A number below `end`; 0 when that is 0.
    pub fn below(&mut self, end: u32) -> u32 {
        self.throw().checked_rem(end).unwrap_or(0)
    }

    /// One of these.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let at = self.below(u32::try_from(from.len()).unwrap_or(u32::MAX));
        from.get(usize::try_from(at).unwrap_or(usize::MAX)).unwrap_or_else(|| unreachable!("nothing to pick from"))
    }

    /// True in so many percent of the throws.
    pub fn hits(&mut self, percent: f64) -> bool {
        percent > 0.0 && f64::from(self.throw()) < percent / 100.0 * 4_294_967_296.0
    }
}
