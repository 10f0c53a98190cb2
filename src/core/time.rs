//! Monotonic time as plain data, so that decisions can be given the time instead of asking for it.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment on the monotonic clock of this process, counted from an arbitrary origin.
/// Comparable only with moments of the same process (`leases.md` B.3, I.3: no wall clocks between hosts).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(Duration);

impl Moment {
    /// The moment that lies this long after the origin.
    #[must_use]
    pub const fn from_origin(since: Duration) -> Self {
        Self(since)
    }

    /// Time since the origin.
    #[must_use]
    pub const fn since_origin(self) -> Duration {
        self.0
    }

    /// The nearest of the moments that are `between` apart, counted from the origin. What many tasks do
    /// on the beats of one clock they do together, which costs less than each by itself.
    #[must_use]
    pub fn nearest_beat(self, between: Duration) -> Self {
        let between = between.as_nanos();
        if between == 0 {
            return self;
        }
        let beat = (self.0.as_nanos() + between / 2) / between * between;
        // Beyond five centuries there are no beats.
        u64::try_from(beat).map_or(self, |beat| Self(Duration::from_nanos(beat)))
    }

    /// Time from `earlier` to this moment; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs))
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(rhs))
    }
}

/// A moment on the wall clock. Only for stamps that others read (`lut`, `slu`, `mts`) and for judging
/// theirs; never to decide who holds a lease (`leases.md` B.3, I.41).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallTime(i64);

impl WallTime {
    /// The moment this many milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// The moment this many seconds after the epoch.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Whether more than `age` has passed since `earlier`. What lies in the future is not old.
    #[must_use]
    pub fn is_past(self, earlier: Self, age: Duration) -> bool {
        let elapsed = self.0.saturating_sub(earlier.0);
        u64::try_from(elapsed).is_ok_and(|elapsed| Duration::from_millis(elapsed) > age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_beat() {
        let at = |millis| Moment::from_origin(Duration::from_millis(millis));
        for (moment, between, expected) in [
            (0, 50, 0),
            (24, 50, 0),
            (25, 50, 50),
            (74, 50, 50),
            (1000, 50, 1000),
            (1234, 0, 1234),
        ] {
            let beat = at(moment).nearest_beat(Duration::from_millis(between));
            assert_eq!(beat, at(expected), "{moment} by {between}");
        }
        let never = Moment::from_origin(Duration::MAX);
        assert_eq!(never.nearest_beat(Duration::from_secs(1)), never);
    }
}
