//! When the next GetRecords of a shard may go out. Pure: time goes in, time comes out.
//!
//! Rules: `retrieval.md` A.4. At the tip of the shard the configured idle time separates reads; behind
//! it only the service's limit of 5 reads a second does. When the service throttles, reads back off
//! with jitter, and for a while afterwards the 2 MB/s a shard gives to all its readers are respected.

use std::time::Duration;

use crate::core::time::Moment;

/// The service's limit: five reads a second and shard.
const BETWEEN_READS: Duration = Duration::from_millis(200);
/// First and longest pause after throttling.
const THROTTLED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));
/// First and longest pause after a failure of the network or the service.
const FAILED: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// First and longest pause after a refusal that a person has to lift.
const REFUSED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// What a shard delivers to all its readers, bytes a second.
const BYTES_PER_SECOND: f64 = 2.0 * 1024.0 * 1024.0;
/// How long after a throttled read the byte limit is respected.
const CAREFUL_FOR: Duration = Duration::from_secs(60);

/// What the configuration says about the pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaceSettings {
    /// `idleTimeBetweenReadsInMillis`.
    pub idle: Duration,
    /// `millisBehindLatestThresholdForReducedTps`, milliseconds; 0 is off.
    pub reduced_tps_threshold: i64,
}

/// How a read ended, as far as the pace is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It gave this many bytes and stands this many milliseconds behind the tip.
    Read {
        /// Payload bytes.
        bytes: usize,
        /// `None` when the service did not say.
        behind: Option<i64>,
        /// It gave as many records as were asked for, so there are more.
        full: bool,
    },
    /// The service throttled.
    Throttled,
    /// The network or the service failed.
    Failed,
    /// The service refused; a person has to act.
    Refused,
    /// The iterator was too old: no reason to wait.
    Expired,
}

/// The pace of one shard.
#[derive(Debug, Clone)]
pub struct Pace {
    settings: PaceSettings,
    /// When the next read may go out.
    next: Option<Moment>,
    failures: u32,
    throttled_at: Option<Moment>,
}

impl Pace {
    /// A shard that was never read.
    #[must_use]
    pub const fn new(settings: PaceSettings) -> Self {
        Self {
            settings,
            next: None,
            failures: 0,
            throttled_at: None,
        }
    }

    /// When the next read may go out; `None` for at once.
    #[must_use]
    pub const fn next_read(&self) -> Option<Moment> {
        self.next
    }

    /// Records that a read was sent at `sent` and ended at `now`. `jitter` is random, 0 to 1.
    pub fn ended(&mut self, sent: Moment, now: Moment, outcome: Outcome, jitter: f64) {
        let next = match outcome {
            Outcome::Read {
                bytes,
                behind,
                full,
            } => {
                self.failures = 0;
                self.after_read(sent, now, bytes, (behind, full), jitter)
            }
            Outcome::Throttled => {
                self.throttled_at = Some(now);
                now + self.back_off(THROTTLED, jitter)
            }
            Outcome::Failed => now + self.back_off(FAILED, jitter),
            Outcome::Refused => now + self.back_off(REFUSED, jitter),
            Outcome::Expired => sent + BETWEEN_READS,
        };
        self.next = Some(next);
    }

    fn after_read(
        &self,
        sent: Moment,
        now: Moment,
        bytes: usize,
        (behind, full): (Option<i64>, bool),
        jitter: f64,
    ) -> Moment {
        let idle_millis = i64::try_from(self.settings.idle.as_millis()).unwrap_or(i64::MAX);
        let catching_up = full || behind.is_some_and(|behind| behind > idle_millis);
        let mut wait_until = sent + BETWEEN_READS;
        if !catching_up {
            // Hundreds of shards should not read in step (`retrieval.md` A.4): a tenth of jitter.
            let idle = self.settings.idle.mul_f64(0.9 + 0.2 * jitter);
            wait_until = wait_until.max(now + idle.max(BETWEEN_READS));
        }
        if let Some(behind) = behind
            && behind < self.settings.reduced_tps_threshold
        {
            let threshold = u64::try_from(self.settings.reduced_tps_threshold).unwrap_or(0);
            wait_until = wait_until.max(now + Duration::from_millis(threshold));
        }
        if self
            .throttled_at
            .is_some_and(|at| now.since(at) < CAREFUL_FOR)
        {
            wait_until =
                wait_until.max(sent + Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND));
        }
        wait_until
    }

    /// Doubling from `first` to `longest`, with full jitter above the first half.
    fn back_off(&mut self, (first, longest): (Duration, Duration), jitter: f64) -> Duration {
        let full = first
            .saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX))
            .min(longest);
        self.failures = self.failures.saturating_add(1);
        full.mul_f64(0.5 + 0.5 * jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: PaceSettings = PaceSettings {
        idle: Duration::from_millis(1500),
        reduced_tps_threshold: 0,
    };

    fn at(millis: u64) -> Moment {
        Moment::from_origin(Duration::from_millis(millis))
    }

    fn read(bytes: usize, behind: i64) -> Outcome {
        Outcome::Read {
            bytes,
            behind: Some(behind),
            full: false,
        }
    }

    #[test]
    fn the_first_read_goes_out_at_once() {
        assert_eq!(Pace::new(SETTINGS).next_read(), None);
    }

    #[test]
    fn idle_at_the_tip_and_five_a_second_behind_it() {
        let mut pace = Pace::new(SETTINGS);
        pace.ended(at(0), at(20), read(10, 0), 0.5);
        assert_eq!(pace.next_read(), Some(at(1520)));
        pace.ended(at(0), at(20), read(10, 60_000), 0.5);
        assert_eq!(pace.next_read(), Some(at(200)));
        pace.ended(at(0), at(900), read(10, 60_000), 0.5);
        assert_eq!(pace.next_read(), Some(at(200)));
        // The service does not say how far behind: as at the tip.
        pace.ended(
            at(0),
            at(20),
            Outcome::Read {
                bytes: 1,
                behind: None,
                full: false,
            },
            0.5,
        );
        assert_eq!(pace.next_read(), Some(at(1520)));
        // Whatever it says: it gave all that was asked for, so this is not the tip.
        pace.ended(
            at(0),
            at(20),
            Outcome::Read {
                bytes: 1,
                behind: Some(0),
                full: true,
            },
            0.5,
        );
        assert_eq!(pace.next_read(), Some(at(200)));
    }

    #[test]
    fn the_reduced_rate_near_the_tip() {
        let mut pace = Pace::new(PaceSettings {
            idle: Duration::from_millis(200),
            reduced_tps_threshold: 5000,
        });
        pace.ended(at(0), at(10), read(10, 4999), 0.5);
        assert_eq!(pace.next_read(), Some(at(5010)));
        pace.ended(at(0), at(10), read(10, 5000), 0.5);
        assert_eq!(pace.next_read(), Some(at(200)));
    }

    #[test]
    fn throttling_backs_off_and_then_keeps_to_two_megabytes_a_second() {
        let mut pace = Pace::new(SETTINGS);
        let mut pauses = Vec::new();
        for _ in 0..5 {
            pace.ended(at(0), at(0), Outcome::Throttled, 1.0);
            pauses.push(pace.next_read().unwrap().since(at(0)).as_millis());
        }
        assert_eq!(pauses, [1000, 2000, 4000, 8000, 8000]);
        pace.ended(at(0), at(100), read(10 << 20, 60_000), 0.5);
        assert_eq!(pace.next_read(), Some(at(5000)));
        pace.ended(at(100_000), at(100_100), read(10 << 20, 60_000), 0.5);
        assert_eq!(pace.next_read(), Some(at(100_200)));
        pace.ended(at(0), at(0), Outcome::Throttled, 0.0);
        assert_eq!(pace.next_read(), Some(at(500)));
    }

    #[test]
    fn failures_back_off_and_success_forgets_them() {
        let mut pace = Pace::new(SETTINGS);
        for expected in [200, 400, 800, 1600, 3200, 5000, 5000] {
            pace.ended(at(0), at(0), Outcome::Failed, 1.0);
            assert_eq!(pace.next_read(), Some(at(expected)));
        }
        pace.ended(at(0), at(0), read(1, 0), 0.5);
        pace.ended(at(0), at(0), Outcome::Refused, 1.0);
        assert_eq!(pace.next_read(), Some(at(1000)));
    }
}
