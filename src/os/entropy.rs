//! Randomness for pauses and choices. Not for secrets.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ports::Entropy;

/// The odd step of SplitMix64: 2^64 divided by the golden ratio.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// SplitMix64: a counter and a mixing function, so that threads share it without a lock.
#[derive(Debug)]
pub struct SystemEntropy {
    counter: AtomicU64,
}

impl SystemEntropy {
    /// Seeded by the operating system.
    #[must_use]
    pub fn new() -> Self {
        // The hasher's keys are what the standard library gets from the operating system.
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u32(std::process::id());
        Self::from_seed(hasher.finish())
    }

    /// The same numbers for the same seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self {
            counter: AtomicU64::new(seed),
        }
    }
}

impl Default for SystemEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy for SystemEntropy {
    fn next_u64(&self) -> u64 {
        let counter = self.counter.fetch_add(STEP, Ordering::Relaxed);
        let mut z = counter.wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_numbers_of_the_generator() {
        let entropy = SystemEntropy::from_seed(1_234_567);
        let numbers: Vec<u64> = (0..3).map(|_| entropy.next_u64()).collect();
        assert_eq!(
            numbers,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn two_system_seeds_differ() {
        assert_ne!(
            SystemEntropy::new().next_u64(),
            SystemEntropy::new().next_u64()
        );
    }

    #[test]
    fn bounds_are_kept() {
        let entropy = SystemEntropy::from_seed(7);
        let mut seen = [false; 6];
        for _ in 0..1000 {
            seen[entropy.below(6)] = true;
            let unit = entropy.unit();
            assert!((0.0..1.0).contains(&unit));
        }
        assert_eq!(seen, [true; 6]);
        assert_eq!(entropy.below(0), 0);
    }
}
