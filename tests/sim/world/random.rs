//! The dice of a seed.

use kcl_daemon::os::entropy::SystemEntropy;
use kcl_daemon::ports::Entropy;

/// Random numbers that depend on the seed only.
pub struct Rng(SystemEntropy);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(SystemEntropy::from_seed(seed))
    }

    pub fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Another one, whose numbers do not depend on how many are drawn from this one later.
    pub fn fork(&mut self) -> Self {
        Self::new(self.next())
    }

    /// Below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    /// Between the two, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// With this many chances in a thousand.
    pub fn chance(&mut self, permille: u32) -> bool {
        permille > 0 && self.below(1000) < u64::from(permille)
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let index = usize::try_from(self.below(from.len() as u64)).unwrap_or(0);
        from[index]
    }

    /// Mostly near `low`, sometimes near `high`: three draws, of which the smallest counts.
    pub fn mostly_low(&mut self, low: u64, high: u64) -> u64 {
        let draws = [
            self.between(low, high),
            self.between(low, high),
            self.between(low, high),
        ];
        draws.into_iter().min().unwrap_or(low)
    }
}
