//! When a lease of somebody else counts as expired.
//!
//! Rule (`leases.md` B.3, I.3): an observer remembers, per lease, the moment on its own monotonic clock
//! at which it saw the counter *change*. A lease is expired when it *sees* the same counter longer than
//! the failover time after that. Nobody's wall clock matters, one look is never enough, and the time
//! in which the table could not be read proves nothing.

use std::collections::HashMap;
use std::time::Duration;

use crate::core::ids::LeaseKey;
use crate::core::lease::{Counter, Lease};
use crate::core::time::Moment;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Observation {
    counter: Counter,
    /// When this counter was seen first.
    since: Moment,
    /// When it was seen last.
    last: Moment,
}

impl Observation {
    const fn new(counter: Counter, at: Moment) -> Self {
        Self {
            counter,
            since: at,
            last: at,
        }
    }

    fn see(&mut self, counter: Counter, at: Moment) {
        if self.counter == counter {
            self.last = self.last.max(at);
        } else {
            *self = Self::new(counter, at);
        }
    }
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
            let known = before.get(&lease.key).copied();
            let mut observation = known.unwrap_or(Observation::new(lease.counter, at));
            observation.see(lease.counter, at);
            self.seen.insert(lease.key.clone(), observation);
        }
    }

    /// Takes in one lease that was read at `at`.
    pub fn record(&mut self, lease: &Lease, at: Moment) {
        let fresh = Observation::new(lease.counter, at);
        let observation = self.seen.entry(lease.key.clone()).or_insert(fresh);
        observation.see(lease.counter, at);
    }

    /// Takes in that the lease lives at `at`, although its row was not read: its owner is known to
    /// renew it.
    pub fn touch(&mut self, key: &LeaseKey, at: Moment) {
        if let Some(seen) = self.seen.get_mut(key) {
            seen.since = seen.since.max(at);
            seen.last = seen.last.max(at);
        }
    }

    /// Whether the lease's counter is another than when it was last looked at.
    #[must_use]
    pub fn has_moved(&self, lease: &Lease) -> bool {
        self.seen
            .get(&lease.key)
            .is_some_and(|seen| seen.counter != lease.counter)
    }

    /// Whether the lease was ever looked at, with whatever counter.
    #[must_use]
    pub fn has_seen(&self, key: &LeaseKey) -> bool {
        self.seen.contains_key(key)
    }

    /// The moment after which the lease counts as expired once it is seen again with the same counter;
    /// `None` for a lease that was never observed with this counter.
    #[must_use]
    pub fn expires_at(&self, lease: &Lease, failover: Duration) -> Option<Moment> {
        self.seen
            .get(&lease.key)
            .filter(|seen| seen.counter == lease.counter)
            .map(|seen| seen.since + failover)
    }

    /// Whether, as far as was seen until `now`, nobody has written to the lease for longer than `span`.
    #[must_use]
    pub fn is_silent(&self, lease: &Lease, now: Moment, span: Duration) -> bool {
        self.seen.get(&lease.key).is_some_and(|seen| {
            seen.counter == lease.counter && seen.last.min(now) > seen.since + span
        })
    }

    /// Whether the lease is owned and its owner has shown no life for longer than the failover time.
    #[must_use]
    pub fn is_expired(&self, lease: &Lease, now: Moment, failover: Duration) -> bool {
        lease.owner.is_some() && self.is_silent(lease, now, failover)
    }

    /// Whether the lease's counter has stood still for so long, owned or not, that any worker may take
    /// it beyond its fair share (three failover times, `leases.md` B.4).
    #[must_use]
    pub fn is_very_old(&self, lease: &Lease, now: Moment, failover: Duration) -> bool {
        self.is_silent(lease, now, failover.saturating_mul(3))
    }

    /// Whether it has stood still for so long that somebody should have taken it ten times over (thirty
    /// failover times, five minutes by default; no rule of Java's).
    #[must_use]
    pub fn is_abandoned(&self, lease: &Lease, now: Moment, failover: Duration) -> bool {
        self.is_silent(lease, now, failover.saturating_mul(30))
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
        assert!(!seen.is_expired(&first, at(200), F), "one look");
        seen.record(&first, at(110));
        assert!(
            !seen.is_expired(&first, at(200), F),
            "exactly F is not more than F"
        );
        let renewed = lease(6, Some("a"));
        seen.record_scan([&renewed], at(111));
        assert!(!seen.is_expired(&renewed, at(200), F));
        // An unchanged look does not postpone it.
        seen.record(&renewed, at(118));
        assert!(
            !seen.is_expired(&renewed, at(200), F),
            "what was not seen proves nothing"
        );
        seen.record(&renewed, at(122));
        assert!(seen.is_expired(&renewed, at(122), F));
        assert!(!seen.is_expired(&renewed, at(121), F), "not yet seen then");
        // A changed one does.
        let again = lease(7, Some("a"));
        seen.record(&again, at(123));
        seen.record(&again, at(133));
        assert!(!seen.is_expired(&again, at(133), F));
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
        seen.record_scan([&old], at(30));
        assert!(!seen.is_very_old(&old, at(31), F));
        seen.record_scan([&old], at(31));
        assert!(seen.is_very_old(&old, at(31), F));
    }
}
