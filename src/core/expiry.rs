//! When a lease of somebody else counts as expired.
//!
//! Rule (`leases.md` B.3, I.3): an observer remembers, per lease, the moment on its own monotonic clock
//! at which it saw the counter *change*. A lease is expired when its counter then stayed the same for
//! longer than the failover time. Nobody's wall clock matters, and one look is never enough.

use std::collections::HashMap;
use std::time::Duration;

use crate::core::ids::LeaseKey;
use crate::core::lease::{Counter, Lease};
use crate::core::time::Moment;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Observation {
    counter: Counter,
    since: Moment,
}

/// What one worker has seen of the leases' counters.
#[derive(Debug, Clone, Default)]
pub struct Observations {
    seen: HashMap<LeaseKey, Observation>,
}

impl Observations {
    /// Takes in a whole scan that was answered at `at`; leases that are gone are forgotten.
    pub fn record_scan<'a>(&mut self, leases: impl IntoIterator<Item = &'a Lease>, at: Moment) {
        let before = std::mem::take(&mut self.seen);
        for lease in leases {
            let observation = match before.get(&lease.key) {
                Some(old) if old.counter == lease.counter => *old,
                _ => Observation {
                    counter: lease.counter,
                    since: at,
                },
            };
            self.seen.insert(lease.key.clone(), observation);
        }
    }

    /// Takes in one lease that was read at `at`.
    pub fn record(&mut self, lease: &Lease, at: Moment) {
        let observation = self.seen.entry(lease.key.clone()).or_insert(Observation {
            counter: lease.counter,
            since: at,
        });
        if observation.counter != lease.counter {
            *observation = Observation {
                counter: lease.counter,
                since: at,
            };
        }
    }

    /// Takes in that the lease lives at `at`, although its row was not read: its owner is known to
    /// renew it.
    pub fn touch(&mut self, key: &LeaseKey, at: Moment) {
        if let Some(seen) = self.seen.get_mut(key) {
            seen.since = seen.since.max(at);
        }
    }

    /// Whether the lease was ever looked at, with whatever counter.
    #[must_use]
    pub fn has_seen(&self, key: &LeaseKey) -> bool {
        self.seen.contains_key(key)
    }

    /// The moment from which on the lease counts as expired if its counter stays what it is;
    /// `None` for a lease that was never observed with this counter.
    #[must_use]
    pub fn expires_at(&self, lease: &Lease, failover: Duration) -> Option<Moment> {
        self.seen
            .get(&lease.key)
            .filter(|seen| seen.counter == lease.counter)
            .map(|seen| seen.since + failover)
    }

    /// Whether the lease is owned and its owner has shown no life for longer than the failover time.
    #[must_use]
    pub fn is_expired(&self, lease: &Lease, now: Moment, failover: Duration) -> bool {
        lease.owner.is_some()
            && self
                .expires_at(lease, failover)
                .is_some_and(|expiry| now > expiry)
    }

    /// Whether the lease's counter has stood still for so long, owned or not, that any worker may take
    /// it beyond its fair share (three failover times, `leases.md` B.4).
    #[must_use]
    pub fn is_very_old(&self, lease: &Lease, now: Moment, failover: Duration) -> bool {
        self.expires_at(lease, failover.saturating_mul(3))
            .is_some_and(|expiry| now > expiry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::WorkerId;
    use crate::core::sequence::{ExtendedSequenceNumber, Position};

    const F: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Moment {
        Moment::from_origin(Duration::from_secs(seconds))
    }

    fn lease(counter: u64, owner: Option<&str>) -> Lease {
        let mut lease = Lease::new(
            LeaseKey::new("shardId-0"),
            ExtendedSequenceNumber::sentinel(Position::Latest),
            vec![],
            None,
        );
        lease.counter = Counter(counter);
        lease.owner = owner.map(WorkerId::new);
        lease
    }

    #[test]
    fn expiry_counts_from_the_sight_of_the_last_change() {
        let mut seen = Observations::default();
        let first = lease(5, Some("a"));
        assert!(!seen.is_expired(&first, at(100), F), "never seen");
        seen.record_scan([&first], at(100));
        assert!(
            !seen.is_expired(&first, at(110), F),
            "exactly F is not more than F"
        );
        assert!(seen.is_expired(&first, at(111), F));
        let renewed = lease(6, Some("a"));
        seen.record_scan([&renewed], at(109));
        assert!(!seen.is_expired(&renewed, at(119), F));
        assert!(seen.is_expired(&renewed, at(120), F));
        // An unchanged look does not postpone it.
        seen.record(&renewed, at(118));
        assert!(seen.is_expired(&renewed, at(120), F));
        // A changed one does.
        let again = lease(7, Some("a"));
        seen.record(&again, at(119));
        assert!(!seen.is_expired(&again, at(129), F));
    }

    #[test]
    fn an_unowned_lease_is_not_expired_but_free() {
        let mut seen = Observations::default();
        let free = lease(5, None);
        seen.record_scan([&free], at(0));
        assert!(!seen.is_expired(&free, at(1000), F));
    }

    #[test]
    fn a_lease_that_vanished_is_new_when_it_returns() {
        let mut seen = Observations::default();
        let old = lease(5, Some("a"));
        seen.record_scan([&old], at(0));
        seen.record_scan([], at(5));
        seen.record_scan([&old], at(20));
        assert!(!seen.is_expired(&old, at(25), F));
    }

    #[test]
    fn very_old_is_three_times_the_failover_time() {
        let mut seen = Observations::default();
        let old = lease(5, Some("a"));
        seen.record_scan([&old], at(0));
        assert!(!seen.is_very_old(&old, at(30), F));
        assert!(seen.is_very_old(&old, at(31), F));
    }
}
