//! The clock of this machine.
#![expect(
    clippy::disallowed_methods,
    reason = "src/os is where the ambient clock is read"
)]

use std::time::SystemTime;

use tokio::time::Instant;

use crate::core::time::Moment;
use crate::ports::{BoxFuture, Clock};

/// The monotonic clock of this machine, counted from the construction of the value.
///
/// Runs on tokio's time, so that a test with paused time needs no other clock. The monotonic clock
/// stands still while the machine is suspended.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose origin is now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment::from_origin(self.origin.elapsed())
    }

    fn wall_millis(&self) -> i64 {
        // A clock before 1970 counts as 1970; it is for display only.
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn sleep_until(&self, moment: Moment) -> BoxFuture<'static, ()> {
        match self.origin.checked_add(moment.since_origin()) {
            Some(instant) => Box::pin(tokio::time::sleep_until(instant)),
            // Later than the machine can express: never.
            None => Box::pin(std::future::pending()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_runs_on_tokio_time_from_its_construction() {
        let clock = SystemClock::new();
        assert_eq!(clock.now(), Moment::default());
        let later = clock.now() + Duration::from_secs(3600);
        clock.sleep_until(later).await;
        assert_eq!(clock.now(), later, "paused time jumped to the moment");
        clock.sleep_until(Moment::default()).await;
        assert_eq!(clock.now(), later, "a moment that has passed does not wait");
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_time_never_comes_and_does_not_panic() {
        let clock = SystemClock::new();
        let never = clock.sleep_until(Moment::from_origin(Duration::MAX));
        let hour = clock.sleep_until(Moment::from_origin(Duration::from_secs(3600)));
        tokio::select! {
            () = never => panic!("the end of time"),
            () = hour => {}
        }
    }

    #[test]
    fn the_wall_clock_counts_from_1970() {
        // 2020-01-01 and 2100-01-01.
        let now = SystemClock::new().wall_millis();
        assert!(
            (1_577_836_800_000..4_102_444_800_000).contains(&now),
            "{now}"
        );
    }
}
