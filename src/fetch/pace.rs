//! When the next GetRecords of a shard may go out. Pure: time goes in, time comes out.
//!
//! Rules: `retrieval.md` A.4. At the tip of the shard the configured idle time separates reads; behind
//! it only the service's limit of 5 reads a second does. An answer of as many records as were asked for is
//! behind the tip, whatever the service says of it. Both limits, 5 reads and 2 MB a second, are
//! shared by all who poll the shard. So when the service throttles, reads back off with jitter, at least
//! until what was read last is paid for; then they come at half the rate as before and gain a tenth with
//! each success, and for a minute the 2 MB/s are respected.
//!
//! Shards begin at random phases and keep a tenth of jitter, so that hundreds of them do not read in
//! step. Those at the tip read on beats, twenty in an idle time: a few calls one after the other, with
//! code and data in the caches, cost a quarter less than each by itself (`benches/README.md`).

use std::time::Duration;

use crate::core::time::Moment;

/// The service's limit: five reads a second and shard.
const BETWEEN_READS: Duration = Duration::from_millis(200);
/// The longest time between reads that throttling leads to: room for seven others.
const MOST_BETWEEN_READS: Duration = Duration::from_millis(1600);
/// First and longest pause after throttling.
const THROTTLED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));
/// First and longest pause after a failure of the network or the service.
const FAILED: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// First and longest pause after a refusal that a person has to lift.
const REFUSED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// What a shard delivers to all its readers, bytes a second.
const BYTES_PER_SECOND: f64 = 2.0 * 1024.0 * 1024.0;
/// An idle time has so many moments at which shards are read that have nothing new.
const BEATS: u32 = 20;
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
    /// Until when the last answer uses up what the shard delivers.
    paid_at: Option<Moment>,
    /// Time between reads behind the tip.
    spacing: Duration,
    /// A pause at the tip has been made before.
    in_phase: bool,
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
            paid_at: None,
            spacing: BETWEEN_READS,
            in_phase: false,
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
                let next = self.after_read(sent, now, bytes, (behind, full), jitter);
                self.spacing = self.spacing.mul_f64(0.9).max(BETWEEN_READS);
                next
            }
            Outcome::Throttled => {
                self.throttled_at = Some(now);
                self.spacing = (self.spacing * 2).min(MOST_BETWEEN_READS);
                let next = now + self.back_off(THROTTLED, jitter);
                self.paid_at.map_or(next, |paid| next.max(paid))
            }
            Outcome::Failed => now + self.back_off(FAILED, jitter),
            Outcome::Refused => now + self.back_off(REFUSED, jitter),
            Outcome::Expired => sent + BETWEEN_READS,
        };
        self.next = Some(next);
    }

    fn after_read(
        &mut self,
        sent: Moment,
        now: Moment,
        bytes: usize,
        (behind, full): (Option<i64>, bool),
        jitter: f64,
    ) -> Moment {
        let idle_millis = i64::try_from(self.settings.idle.as_millis()).unwrap_or(i64::MAX);
        let catching_up = full || behind.is_some_and(|behind| behind > idle_millis);
        // Not quite five a second: a reader in step with the limit would leave nothing to others.
        let mut wait_until = sent + self.spacing.mul_f64(1.0 + 0.1 * jitter);
        if !catching_up {
            let share = if self.in_phase {
                0.9 + 0.2 * jitter
            } else {
                jitter
            };
            self.in_phase = true;
            let earliest = wait_until.max(now + BETWEEN_READS);
            let idle = now + self.settings.idle.mul_f64(share);
            wait_until = idle.nearest_beat(self.settings.idle / BEATS).max(earliest);
        }
        if let Some(behind) = behind
            && behind < self.settings.reduced_tps_threshold
        {
            let threshold = u64::try_from(self.settings.reduced_tps_threshold).unwrap_or(0);
            wait_until = wait_until.max(now + Duration::from_millis(threshold));
        }
        let paid_at = sent + Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND);
        self.paid_at = Some(paid_at);
        if self
            .throttled_at
            .is_some_and(|at| now.since(at) < CAREFUL_FOR)
        {
            wait_until = wait_until.max(paid_at);
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
        assert_eq!(pace.next_read(), Some(at(750)), "a random phase first");
        pace.ended(at(0), at(20), read(10, 0), 0.5);
        assert_eq!(pace.next_read(), Some(at(1500)));
        pace.ended(at(0), at(20), read(10, 60_000), 0.5);
        assert_eq!(pace.next_read(), Some(at(210)));
        pace.ended(at(0), at(900), read(10, 60_000), 0.0);
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
        assert_eq!(pace.next_read(), Some(at(1500)));
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
        assert_eq!(pace.next_read(), Some(at(210)));
    }

    /// A hundred idle shards: no rush, no silence, a few at a time, and nobody too early.
    #[test]
    fn idle_shards_share_beats_and_do_not_read_in_step() {
        let idle = Duration::from_secs(1);
        let settings = PaceSettings { idle, ..SETTINGS };
        let mut random = 1_u64;
        let mut jitter = || {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) as f64 / (1_u64 << 31) as f64
        };
        let mut on_beat = [0_u32; 20];
        for _ in 0..100 {
            let mut pace = Pace::new(settings);
            let mut now = at(3);
            for turn in 0..50 {
                pace.ended(now, now + Duration::from_micros(700), read(0, 0), jitter());
                let next = pace.next_read().unwrap();
                let pause = next.since(now).as_millis();
                assert!((200..=1130).contains(&pause), "{pause}");
                assert!(turn == 0 || pause >= 870, "{pause}");
                now = next + Duration::from_micros(300);
                if turn == 49 {
                    let millis = next.since_origin().as_millis();
                    assert_eq!(millis % 50, 0, "{millis}");
                    on_beat[usize::try_from(millis / 50 % 20).unwrap()] += 1;
                }
            }
        }
        assert!(
            on_beat.iter().all(|count| (1..=13).contains(count)),
            "{on_beat:?}"
        );
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
        assert_eq!(pace.next_read(), Some(at(210)));
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
        for _ in 0..30 {
            pace.ended(at(100_000), at(100_100), read(10 << 20, 60_000), 0.0);
        }
        assert_eq!(pace.next_read(), Some(at(100_200)));
        pace.ended(at(200_000), at(200_000), Outcome::Throttled, 0.0);
        assert_eq!(pace.next_read(), Some(at(200_500)));
    }

    /// A large answer is followed by one refusal, not by one for each step of the back-off.
    #[test]
    fn a_refusal_after_a_large_answer_waits_until_that_is_paid_for() {
        let mut pace = Pace::new(SETTINGS);
        pace.ended(at(0), at(100), read(10 << 20, 60_000), 0.0);
        assert_eq!(pace.next_read(), Some(at(200)));
        pace.ended(at(200), at(210), Outcome::Throttled, 1.0);
        assert_eq!(pace.next_read(), Some(at(5000)));
        // What is paid for long ago delays nothing.
        pace.ended(at(9000), at(9000), Outcome::Throttled, 1.0);
        assert_eq!(pace.next_read(), Some(at(11_000)));
    }

    #[test]
    fn after_throttling_reads_leave_room_for_others_and_gain_slowly() {
        let mut pace = Pace::new(SETTINGS);
        for expected in [400, 800, 1600, 1600] {
            pace.ended(at(0), at(0), Outcome::Throttled, 1.0);
            let mut after = pace.clone();
            after.ended(at(0), at(10), read(10, 60_000), 0.0);
            assert_eq!(after.next_read(), Some(at(expected)));
        }
        let mut gaps = Vec::new();
        for _ in 0..25 {
            pace.ended(at(0), at(10), read(10, 60_000), 0.0);
            gaps.push(pace.next_read().unwrap().since(at(0)).as_millis());
        }
        assert_eq!(gaps[..3], [1600, 1440, 1296]);
        assert_eq!(gaps[24], 200);
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
