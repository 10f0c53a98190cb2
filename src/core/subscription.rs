//! When to subscribe to a shard, when to renew a subscription, and how long to wait after each kind of
//! end: enhanced fan-out as a state machine over plain time (`retrieval.md` B.2, B.5).
//!
//! The service's rules: at most one SubscribeToShard a second for a consumer and shard; one that comes
//! within five seconds of a successful one is refused (ResourceInUse), a later one takes the
//! subscription over; a subscription ends after five minutes. Java tries again within a second for ever
//! after any error; here each kind of error has its own back-off, and subscriptions are renewed before
//! their end at a random moment, so that those of many shards do not all end together.

use std::time::Duration;

use crate::core::time::Moment;

/// The shortest time between two attempts.
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(1);
/// The service refuses a subscription that comes sooner after a successful one.
const AFTER_SUCCESS: Duration = Duration::from_secs(5);
/// A subscription is renewed at a random age between these two; the service ends it at 300 s.
const RENEWAL_AGE: (Duration, Duration) = (Duration::from_secs(240), Duration::from_secs(285));

/// How a subscription, or an attempt at one, came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SubscriptionEnd {
    /// The service has completed it: its five minutes are over.
    Completed,
    /// It was let go because the child is slower than the stream.
    LetGo,
    /// Nothing was heard of it for too long.
    Silent,
    /// The service throttles (LimitExceeded, KMSThrottling).
    Throttled,
    /// The network or the service failed.
    Failed,
    /// The service refused, and a person has to act.
    Refused,
    /// A subscription of the same consumer is not old enough to be taken over yet.
    InUse,
    /// Another subscription of the same consumer has taken the shard over: perhaps the lease is
    /// somebody else's already.
    TakenOver,
}

impl SubscriptionEnd {
    /// First and longest pause; each end of this kind in a row doubles it.
    const fn back_off(self) -> (Duration, Duration) {
        let (first, longest) = match self {
            Self::Completed | Self::LetGo => (0, 0),
            Self::Silent | Self::Throttled | Self::Failed => (1, 8),
            Self::InUse => (1, 5),
            // Long enough for the renewal that tells whose the lease is (`failoverTimeMillis` / 3).
            Self::TakenOver => (10, 30),
            Self::Refused => (1, 30),
        };
        (Duration::from_secs(first), Duration::from_secs(longest))
    }
}

/// Where things stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No subscription is open.
    Closed {
        /// No attempt before this moment; `None` for at once.
        not_before: Option<Moment>,
    },
    /// One is open.
    Open {
        /// When to renew it.
        renew_at: Moment,
    },
}

/// The subscriptions of one shard in time.
#[derive(Debug, Clone)]
pub struct SubscriptionSchedule {
    state: State,
    /// The last attempt.
    attempted: Option<Moment>,
    /// The last attempt that succeeded.
    succeeded: Option<Moment>,
    /// Ends in a row that asked for a pause.
    failures: u32,
}

impl SubscriptionSchedule {
    /// A shard whose last successful subscription by this process, if any, was made at `succeeded`.
    #[must_use]
    pub fn new(succeeded: Option<Moment>) -> Self {
        Self {
            state: State::Closed {
                not_before: succeeded.map(|at| at + AFTER_SUCCESS),
            },
            attempted: succeeded,
            succeeded,
            failures: 0,
        }
    }

    /// The earliest moment of the next attempt; `None` for at once, and while a subscription is open.
    #[must_use]
    pub const fn not_before(&self) -> Option<Moment> {
        match self.state {
            State::Closed { not_before } => not_before,
            State::Open { .. } => None,
        }
    }

    /// When the open subscription is to be renewed.
    #[must_use]
    pub const fn renew_at(&self) -> Option<Moment> {
        match self.state {
            State::Open { renew_at } => Some(renew_at),
            State::Closed { .. } => None,
        }
    }

    /// An attempt is made.
    pub fn attempting(&mut self, now: Moment) {
        self.attempted = Some(now);
    }

    /// It succeeded; `jitter` is random, 0 to 1.
    pub fn opened(&mut self, now: Moment, jitter: f64) {
        let (earliest, latest) = RENEWAL_AGE;
        self.succeeded = Some(now);
        self.state = State::Open {
            renew_at: now + earliest + (latest - earliest).mul_f64(jitter),
        };
    }

    /// An event came: what went wrong before is over.
    pub fn received(&mut self) {
        self.failures = 0;
    }

    /// The attempt to renew failed; the open subscription goes on.
    pub fn renewal_failed(&mut self, now: Moment, end: SubscriptionEnd, jitter: f64) {
        let pause = self.pause(end, jitter).max(BETWEEN_ATTEMPTS);
        self.state = State::Open {
            renew_at: now + pause,
        };
    }

    /// The subscription, or the attempt at one, ended.
    pub fn ended(&mut self, now: Moment, end: SubscriptionEnd, jitter: f64) {
        let was_open = matches!(self.state, State::Open { .. });
        let mut not_before = now + self.pause(end, jitter);
        if let Some(attempted) = self.attempted {
            not_before = not_before.max(attempted + BETWEEN_ATTEMPTS);
        }
        // One that the service completed itself may be followed at once.
        if let Some(succeeded) = self.succeeded
            && !(was_open && end == SubscriptionEnd::Completed)
        {
            not_before = not_before.max(succeeded + AFTER_SUCCESS);
        }
        self.state = State::Closed {
            not_before: Some(not_before),
        };
    }

    /// Doubling, with jitter over the upper half.
    fn pause(&mut self, end: SubscriptionEnd, jitter: f64) -> Duration {
        let (first, longest) = end.back_off();
        if first.is_zero() {
            return Duration::ZERO;
        }
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
    use SubscriptionEnd as End;
    use proptest::prelude::*;

    fn at(millis: u64) -> Moment {
        Moment::from_origin(Duration::from_millis(millis))
    }

    fn opened(millis: u64) -> SubscriptionSchedule {
        let mut schedule = SubscriptionSchedule::new(None);
        schedule.attempting(at(millis));
        schedule.opened(at(millis), 0.5);
        schedule
    }

    #[test]
    fn the_first_attempt_is_made_at_once() {
        assert_eq!(SubscriptionSchedule::new(None).not_before(), None);
    }

    #[test]
    fn after_a_child_failed_the_earlier_subscription_counts() {
        let schedule = SubscriptionSchedule::new(Some(at(2_000)));
        assert_eq!(schedule.not_before(), Some(at(7_000)));
    }

    /// What the end of a subscription of this age, opened at 0, asks for.
    #[test]
    fn the_next_attempt_after_each_end() {
        let cases = [
            // Completed by the service: at once.
            (End::Completed, 300_000, 300_000),
            // Even if it was completed strangely early: once a second at most.
            (End::Completed, 200, 1_000),
            // Our own end within the five seconds in which the service refuses.
            (End::LetGo, 2_000, 5_000),
            (End::LetGo, 60_000, 60_000),
            (End::Silent, 20_000, 21_000),
            (End::Failed, 100, 5_000),
            (End::Failed, 60_000, 61_000),
            (End::Throttled, 60_000, 61_000),
            (End::Refused, 60_000, 61_000),
            (End::TakenOver, 60_000, 70_000),
        ];
        for (end, now, expected) in cases {
            let mut schedule = opened(0);
            schedule.ended(at(now), end, 1.0);
            assert_eq!(
                schedule.not_before(),
                Some(at(expected)),
                "{end:?} at {now}"
            );
            assert_eq!(schedule.renew_at(), None);
        }
    }

    #[test]
    fn ends_in_a_row_double_the_pause_up_to_a_limit_and_an_event_forgets_them() {
        let cases = [
            (End::Failed, vec![1, 2, 4, 8, 8]),
            (End::Throttled, vec![1, 2, 4, 8, 8]),
            (End::InUse, vec![1, 2, 4, 5, 5]),
            (End::Refused, vec![1, 2, 4, 8, 16, 30, 30]),
            (End::TakenOver, vec![10, 20, 30, 30]),
        ];
        for (end, pauses) in cases {
            let mut schedule = SubscriptionSchedule::new(None);
            for _ in 0..2 {
                for pause in &pauses {
                    schedule.attempting(at(0));
                    schedule.ended(at(0), end, 1.0);
                    assert_eq!(schedule.not_before(), Some(at(pause * 1_000)), "{end:?}");
                }
                schedule.received();
            }
        }
    }

    #[test]
    fn renewals_are_spread_and_come_before_the_end() {
        for (jitter, expected) in [(0.0, 240_000), (0.5, 262_500), (1.0, 285_000)] {
            let mut schedule = SubscriptionSchedule::new(None);
            schedule.opened(at(0), jitter);
            assert_eq!(schedule.renew_at(), Some(at(expected)));
        }
        let mut schedule = opened(0);
        schedule.renewal_failed(at(250_000), End::Throttled, 0.0);
        assert_eq!(schedule.renew_at(), Some(at(251_000)));
        schedule.renewal_failed(at(251_000), End::Failed, 1.0);
        assert_eq!(schedule.renew_at(), Some(at(253_000)));
    }

    fn any_end() -> impl Strategy<Value = End> {
        prop::sample::select(vec![
            End::Completed,
            End::LetGo,
            End::Silent,
            End::Throttled,
            End::Failed,
            End::Refused,
            End::InUse,
            End::TakenOver,
        ])
    }

    proptest! {
        /// Whatever happens, the service's two limits are kept to, and no pause is longer than half a
        /// minute.
        #[test]
        fn the_services_limits_are_kept(
            lives in prop::collection::vec((any_end(), prop::bool::ANY, 0u64..400_000, 0.0f64..1.0), 1..40)
        ) {
            let mut schedule = SubscriptionSchedule::new(None);
            let mut now = at(0);
            let (mut attempted, mut succeeded) = (None::<Moment>, None::<(Moment, bool)>);
            for (end, succeeds, age, jitter) in lives {
                let not_before = schedule.not_before().unwrap_or(now).max(now);
                prop_assert!(not_before.since(now) <= Duration::from_secs(30));
                now = not_before;
                if let Some(attempted) = attempted {
                    prop_assert!(now.since(attempted) >= BETWEEN_ATTEMPTS);
                }
                if let Some((succeeded, completed)) = succeeded {
                    prop_assert!(completed || now.since(succeeded) >= AFTER_SUCCESS);
                }
                schedule.attempting(now);
                attempted = Some(now);
                if succeeds {
                    schedule.opened(now, jitter);
                    succeeded = Some((now, end == End::Completed));
                    now = now + Duration::from_millis(age);
                    if age > 5_000 {
                        schedule.received();
                    }
                }
                schedule.ended(now, end, jitter);
            }
        }
    }
}
