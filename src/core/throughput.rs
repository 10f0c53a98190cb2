//! How much a shard delivers, as its owner measures it (`leases.md` C.9).
//!
//! The number goes into the lease with a renewal, where the leader reads it. It means the same as
//! Java's: data of records handed to the child within the last renewal interval, KB/s, smoothed with
//! one half at each renewal, six decimals.
//!
//! Java enters the stored number of a lease that it takes over as the data of *one second* into a window
//! of 3.3 s, so that its first own number is some 30 % of the truth and the leader thinks the lease got
//! lighter by being moved. Here the stored number is where the average starts.

use std::collections::VecDeque;
use std::time::Duration;

use crate::core::ema::{Ema, six_decimals};
use crate::core::time::Moment;

/// The weight of the newest measurement.
pub const ALPHA: f64 = 0.5;

/// Measurements nearer together than this part of the window are kept as one.
const GRAINS: u32 = 64;

/// The throughput of one held lease.
#[derive(Debug, Clone, PartialEq)]
pub struct Throughput {
    window: Duration,
    /// When, and how many bytes; oldest first.
    handed_over: VecDeque<(Moment, u64)>,
    average: Ema,
    /// Whether there is anything to say: data was seen, or a former owner had measured.
    known: bool,
}

impl Throughput {
    /// A lease just acquired. `window` is the renewal interval, `stored` what the row says.
    #[must_use]
    pub fn new(window: Duration, stored: Option<f64>) -> Self {
        let mut average = Ema::new(ALPHA);
        if let Some(kbps) = stored {
            average.add(kbps);
        }
        Self {
            window,
            handed_over: VecDeque::new(),
            average,
            known: stored.is_some(),
        }
    }

    /// Data of records was handed to the child.
    pub fn add(&mut self, bytes: u64, now: Moment) {
        self.known = true;
        let grain = self.window / GRAINS;
        match self.handed_over.back_mut() {
            Some((at, sum)) if now.since(*at) < grain => *sum = sum.saturating_add(bytes),
            _ => self.handed_over.push_back((now, bytes)),
        }
        self.forget(now);
    }

    fn forget(&mut self, now: Moment) {
        while let Some((at, _)) = self.handed_over.front()
            && now.since(*at) >= self.window
        {
            self.handed_over.pop_front();
        }
    }

    /// The number to store with the renewal that is about to be sent, KB/s; `None` while nothing is
    /// known. Each call counts as one measurement.
    pub fn measure(&mut self, now: Moment) -> Option<f64> {
        if !self.known {
            return None;
        }
        self.forget(now);
        let bytes: u64 = self.handed_over.iter().map(|(_, bytes)| bytes).sum();
        let seconds = self.window.as_secs_f64();
        if seconds <= 0.0 {
            return self.average.value().map(six_decimals);
        }
        Some(six_decimals(
            self.average.add(bytes as f64 / 1024.0 / seconds),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW: Duration = Duration::from_millis(3308);

    fn at(millis: u64) -> Moment {
        Moment::from_origin(Duration::from_millis(millis))
    }

    #[test]
    fn nothing_is_known_before_the_first_record() {
        let mut new = Throughput::new(WINDOW, None);
        assert_eq!(new.measure(at(0)), None);
        new.add(0, at(10));
        assert_eq!(new.measure(at(20)), Some(0.0));
    }

    #[test]
    fn data_of_one_window_counts_and_the_past_counts_half() {
        let mut shard = Throughput::new(Duration::from_secs(4), None);
        shard.add(4096, at(0));
        shard.add(4096, at(1000));
        // 8 KB in 4 s.
        assert_eq!(shard.measure(at(3999)), Some(2.0));
        // The first is four seconds old: 1 KB/s, smoothed with 2.
        assert_eq!(shard.measure(at(4000)), Some(1.5));
        // Nothing new: half each time.
        assert_eq!(shard.measure(at(9000)), Some(0.75));
        assert_eq!(shard.measure(at(13_000)), Some(0.375));
    }

    #[test]
    fn the_number_of_the_former_owner_is_where_it_starts() {
        let mut taken = Throughput::new(Duration::from_secs(4), Some(10.0));
        taken.add(40_960, at(0));
        assert_eq!(taken.measure(at(1)), Some(10.0));
        let mut idle = Throughput::new(WINDOW, Some(10.0));
        assert_eq!(idle.measure(at(1)), Some(5.0));
    }

    #[test]
    fn a_window_of_nothing_divides_by_nothing() {
        let mut odd = Throughput::new(Duration::ZERO, Some(3.0));
        odd.add(10, at(0));
        assert_eq!(odd.measure(at(0)), Some(3.0));
    }

    proptest! {
        /// Keeping near measurements together loses nothing but a grain of time, and little is kept.
        #[test]
        fn it_is_what_was_handed_over(events in prop::collection::vec((0u64..40, 0u64..100_000), 1..600)) {
            let mut shard = Throughput::new(WINDOW, None);
            let (mut now, mut all) = (0, Vec::new());
            for (wait, bytes) in events {
                now += wait;
                shard.add(bytes, at(now));
                all.push((now, bytes));
            }
            prop_assert!(shard.handed_over.len() <= GRAINS as usize + 2);
            let grain = u64::try_from((WINDOW / GRAINS).as_millis()).unwrap() + 1;
            let within = |window: u64| -> f64 {
                all.iter().filter(|(then, _)| now - then < window).map(|(_, bytes)| *bytes as f64).sum()
            };
            let window = u64::try_from(WINDOW.as_millis()).unwrap();
            let bytes = shard.measure(at(now)).unwrap() * 1024.0 * WINDOW.as_secs_f64();
            prop_assert!(bytes >= within(window - grain) - 1.0, "{bytes}");
            prop_assert!(bytes <= within(window + grain) + 1.0, "{bytes}");
        }
    }
}
