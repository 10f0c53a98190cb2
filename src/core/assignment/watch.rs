//! What a leader remembers of the leases between two looks at the table (`leases.md` B.3, C.4 step 5).
//!
//! A new leader knows nothing: it must see a counter stand still for longer than the failover time
//! before it calls an owner dead, and gives every hand-off its whole time again.

use std::collections::HashMap;
use std::time::Duration;

use crate::core::expiry::Observations;
use crate::core::ids::{LeaseKey, WorkerId};
use crate::core::lease::Lease;
use crate::core::time::Moment;

/// How a lease stands in the eyes of the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// Nobody processes it.
    Unowned,
    /// Whoever should process it has shown no life for longer than the failover time.
    Expired,
    /// Its owner lives.
    Held,
    /// Its old owner lives and has been told to give way; it is left alone.
    HandingOff,
    /// Its old owner lives and has not given way in time; it may be moved without its help.
    Overdue,
}

impl LeaseState {
    /// Whether the lease can be given to anybody at once.
    #[must_use]
    pub const fn is_free(self) -> bool {
        matches!(self, Self::Unowned | Self::Expired)
    }
}

/// A hand-off as first seen.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HandOff {
    from: WorkerId,
    to: Option<WorkerId>,
    deadline: Moment,
}

/// What one leader has seen.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    counters: Observations,
    /// Keys that were unowned at the first look and have not been written since: they come first.
    never_owned: HashMap<LeaseKey, u64>,
    hand_offs: HashMap<LeaseKey, HandOff>,
    /// Who processed each lease at the last look.
    processing: HashMap<LeaseKey, WorkerId>,
    /// Leases that changed their owner, and the counters that they had then: the new owner may not know.
    new_owners: HashMap<LeaseKey, u64>,
    adoption: Duration,
    /// When each worker was last seen to have written to a lease that it had before.
    signs: HashMap<WorkerId, Moment>,
}

impl Watch {
    /// Takes in whether the lease's owner has written to it: a counter that moved while the owner stayed
    /// the same. That a lease was assigned to a worker says nothing about that worker (#1452).
    fn note_sign(&mut self, lease: &Lease, at: Moment) {
        let before = self.processing.remove(&lease.key);
        let Some(owner) = lease.actual_owner() else {
            return;
        };
        if before.as_ref() == Some(owner) {
            if self.counters.has_moved(lease) {
                self.signs.insert(owner.clone(), at);
                self.new_owners.remove(&lease.key);
            }
        } else if self.counters.has_seen(&lease.key) {
            self.new_owners.insert(lease.key.clone(), lease.counter.0);
        }
        self.processing.insert(lease.key.clone(), owner.clone());
    }

    /// Workers that look at the table seldom need time to see what was given to them: for so long after
    /// the failover time a new owner that has not written yet is not called dead.
    pub fn leave_time_for_adoption(&mut self, time: Duration) {
        self.adoption = time;
    }

    /// How long the counter has to stand still before the lease counts as expired.
    fn patience(&self, lease: &Lease, failover: Duration) -> Duration {
        match self.new_owners.get(&lease.key) {
            Some(counter) if *counter == lease.counter.0 => failover + self.adoption,
            _ => failover,
        }
    }

    /// Whether the worker was seen to write to its leases within the last `period` before `now`.
    #[must_use]
    pub fn has_shown_life(&self, worker: &WorkerId, now: Moment, period: Duration) -> bool {
        self.signs
            .get(worker)
            .is_some_and(|sign| now.since(*sign) <= period)
    }

    /// Takes in a whole scan answered at `at`. A hand-off first seen now has `hand_off_limit`, which is
    /// the old owner's time-out and one failover time (40 s by default).
    pub fn record_scan(&mut self, leases: &[Lease], at: Moment, hand_off_limit: Duration) {
        for lease in leases {
            self.note_sign(lease, at);
        }
        let before = std::mem::take(&mut self.hand_offs);
        let unowned_before = std::mem::take(&mut self.never_owned);
        for lease in leases {
            let first_sight = !self.counters.has_seen(&lease.key) && lease.actual_owner().is_none();
            if first_sight || unowned_before.get(&lease.key) == Some(&lease.counter.0) {
                self.never_owned.insert(lease.key.clone(), lease.counter.0);
            }
            let Some(from) = &lease.checkpoint_owner else {
                continue;
            };
            let same = before
                .get(&lease.key)
                .filter(|seen| seen.from == *from && seen.to == lease.owner);
            let hand_off = same.cloned().unwrap_or_else(|| HandOff {
                from: from.clone(),
                to: lease.owner.clone(),
                deadline: at + hand_off_limit,
            });
            self.hand_offs.insert(lease.key.clone(), hand_off);
        }
        self.counters.record_scan(leases, at);
    }

    /// Takes in one lease that was read at `at`.
    pub fn record(&mut self, lease: &Lease, at: Moment, hand_off_limit: Duration) {
        self.note_sign(lease, at);
        self.take_in(lease, at, hand_off_limit);
    }

    /// Takes in one lease as this leader itself wrote it: no sign of its owner's life.
    pub fn record_own_write(&mut self, lease: &Lease, at: Moment, hand_off_limit: Duration) {
        if let Some(owner) = lease.actual_owner() {
            let before = self.processing.insert(lease.key.clone(), owner.clone());
            if before.as_ref() != Some(owner) {
                self.new_owners.insert(lease.key.clone(), lease.counter.0);
            }
        }
        self.take_in(lease, at, hand_off_limit);
    }

    fn take_in(&mut self, lease: &Lease, at: Moment, hand_off_limit: Duration) {
        self.counters.record(lease, at);
        match &lease.checkpoint_owner {
            None => {
                self.hand_offs.remove(&lease.key);
            }
            Some(from) => {
                let seen = self.hand_offs.get(&lease.key);
                if !seen.is_some_and(|seen| seen.from == *from && seen.to == lease.owner) {
                    self.hand_offs.insert(
                        lease.key.clone(),
                        HandOff {
                            from: from.clone(),
                            to: lease.owner.clone(),
                            deadline: at + hand_off_limit,
                        },
                    );
                }
            }
        }
    }

    /// Takes in that this worker itself keeps the lease alive.
    pub fn touch(&mut self, key: &LeaseKey, at: Moment) {
        self.counters.touch(key, at);
    }

    /// The moment after which the lease counts as expired once it is seen again unchanged.
    #[must_use]
    pub fn expires_at(&self, lease: &Lease, failover: Duration) -> Option<Moment> {
        self.counters
            .expires_at(lease, self.patience(lease, failover))
    }

    /// How the lease stands at `now`.
    #[must_use]
    pub fn state(&self, lease: &Lease, now: Moment, failover: Duration) -> LeaseState {
        if lease.actual_owner().is_none() {
            return LeaseState::Unowned;
        }
        let patience = self.patience(lease, failover);
        if self.counters.is_silent(lease, now, patience) {
            return LeaseState::Expired;
        }
        match self.hand_offs.get(&lease.key) {
            _ if !lease.in_hand_off() => LeaseState::Held,
            Some(hand_off) if now >= hand_off.deadline => LeaseState::Overdue,
            _ => LeaseState::HandingOff,
        }
    }

    /// The moment the lease's counter was last seen to change; what comes first is assigned first.
    /// `None` for a lease that had no owner when it was first seen: before all others.
    #[must_use]
    pub fn since(&self, lease: &Lease) -> Option<Moment> {
        if self.never_owned.get(&lease.key) == Some(&lease.counter.0) {
            return None;
        }
        self.counters.expires_at(lease, Duration::ZERO)
    }

    /// The next moment at which a lease becomes expired or a hand-off overdue if nothing is written,
    /// so that the leader can look just then.
    #[must_use]
    pub fn next_change(&self, leases: &[Lease], now: Moment, failover: Duration) -> Option<Moment> {
        leases
            .iter()
            .filter(|lease| lease.actual_owner().is_some())
            .flat_map(|lease| {
                let deadline = self.hand_offs.get(&lease.key).map(|seen| seen.deadline);
                [self.expires_at(lease, failover), deadline]
            })
            .flatten()
            .filter(|moment| *moment > now)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::lease::Counter;
    use crate::core::sequence::{ExtendedSequenceNumber, Position};

    const F: Duration = Duration::from_secs(10);
    const LIMIT: Duration = Duration::from_secs(40);

    fn at(seconds: u64) -> Moment {
        Moment::from_origin(Duration::from_secs(seconds))
    }

    /// `"n/o"` is a hand-off from o to n.
    fn lease(owners: &str, counter: u64) -> Lease {
        let mut lease = Lease::new(
            LeaseKey::new("s"),
            ExtendedSequenceNumber::sentinel(Position::Latest),
            vec![],
            None,
        );
        let (owner, leaving) = owners.split_once('/').unwrap_or((owners, ""));
        lease.owner = (!owner.is_empty()).then(|| WorkerId::new(owner));
        lease.checkpoint_owner = (!leaving.is_empty()).then(|| WorkerId::new(leaving));
        lease.counter = Counter(counter);
        lease
    }

    #[test]
    fn the_states_of_a_lease() {
        use LeaseState::{Expired, HandingOff, Held, Overdue, Unowned};
        // scans as (second, owners, counter), then (second, expected)
        type Case<'a> = (&'a [(u64, &'a str, u64)], u64, LeaseState);
        let cases: &[Case<'_>] = &[
            (&[(0, "", 0)], 0, Unowned),
            (&[(0, "", 0)], 100, Unowned),
            (&[(0, "a", 1), (10, "a", 1)], 10, Held),
            (&[(0, "a", 1), (11, "a", 1)], 11, Expired),
            // What was not looked at proves nothing.
            (&[(0, "a", 1)], 100, Held),
            (&[(0, "a", 1), (9, "a", 2), (19, "a", 2)], 19, Held),
            (&[(0, "a", 1), (9, "a", 2), (20, "a", 2)], 20, Expired),
            (&[(0, "b/a", 1), (10, "b/a", 1)], 10, HandingOff),
            (&[(0, "b/a", 1), (11, "b/a", 1)], 11, Expired),
            // The old owner renews on and on, its time runs all the same.
            (
                &[(0, "b/a", 1), (20, "b/a", 2), (39, "b/a", 3)],
                39,
                HandingOff,
            ),
            (
                &[(0, "b/a", 1), (20, "b/a", 2), (39, "b/a", 3)],
                40,
                Overdue,
            ),
            // Another hand-off has another deadline.
            (
                &[(0, "b/a", 1), (20, "c/a", 2), (39, "c/a", 3)],
                41,
                HandingOff,
            ),
            // A hand-off that ended and began again as well.
            (
                &[(0, "b/a", 1), (20, "a", 2), (39, "b/a", 3)],
                41,
                HandingOff,
            ),
            // Without a next owner the old one still processes.
            (&[(0, "/a", 1)], 5, HandingOff),
        ];
        for (scans, now, expected) in cases {
            let mut watch = Watch::default();
            let mut last = lease("", 0);
            for (second, owners, counter) in *scans {
                last = lease(owners, *counter);
                watch.record_scan(std::slice::from_ref(&last), at(*second), LIMIT);
            }
            assert_eq!(
                watch.state(&last, at(*now), F),
                *expected,
                "{scans:?} {now}"
            );
        }
        let unseen = Watch::default();
        assert_eq!(unseen.state(&lease("a", 1), at(99), F), Held);
    }

    #[test]
    fn a_new_owner_has_time_to_learn_of_its_lease() {
        let scan = |watch: &mut Watch, owners: &str, counter: u64, second: u64| {
            let lease = lease(owners, counter);
            watch.record_scan(std::slice::from_ref(&lease), at(second), LIMIT);
            watch.state(&lease, at(second), F)
        };
        for adoption in [0, 20] {
            let mut watch = Watch::default();
            watch.leave_time_for_adoption(Duration::from_secs(adoption));
            scan(&mut watch, "a", 1, 0);
            // Handed over by its old owner, or given by the leader itself.
            assert_eq!(scan(&mut watch, "b", 2, 1), LeaseState::Held);
            let due = watch.expires_at(&lease("b", 2), F);
            assert_eq!(due, Some(at(11 + adoption)));
            assert_eq!(scan(&mut watch, "b", 2, 11 + adoption), LeaseState::Held);
            assert_eq!(scan(&mut watch, "b", 2, 12 + adoption), LeaseState::Expired);
            watch.record_own_write(&lease("c", 3), at(40), LIMIT);
            let due = watch.next_change(&[lease("c", 3)], at(40), F);
            assert_eq!(due, Some(at(50 + adoption)));
            // Once it has written, it has the failover time as everybody.
            assert_eq!(scan(&mut watch, "c", 4, 45), LeaseState::Held);
            assert_eq!(scan(&mut watch, "c", 4, 56), LeaseState::Expired);
        }
    }

    #[test]
    fn leases_that_were_never_owned_come_first() {
        let mut watch = Watch::default();
        let free = lease("", 0);
        watch.record_scan(std::slice::from_ref(&free), at(5), LIMIT);
        assert_eq!(watch.since(&free), None);
        watch.record_scan(std::slice::from_ref(&free), at(9), LIMIT);
        assert_eq!(watch.since(&free), None);
        // Taken and released: it stands in line by the time of its release.
        let released = lease("", 2);
        watch.record_scan(std::slice::from_ref(&released), at(12), LIMIT);
        assert_eq!(watch.since(&released), Some(at(12)));
    }

    #[test]
    fn the_next_change_is_known() {
        let mut watch = Watch::default();
        let moving = lease("b/a", 1);
        watch.record_scan(std::slice::from_ref(&moving), at(0), LIMIT);
        let leases = std::slice::from_ref(&moving);
        assert_eq!(watch.next_change(leases, at(0), F), Some(at(10)));
        assert_eq!(watch.next_change(leases, at(10), F), Some(at(40)));
        assert_eq!(watch.next_change(leases, at(40), F), None);
        let own_write = lease("c", 2);
        watch.record(&own_write, at(20), LIMIT);
        let leases = std::slice::from_ref(&own_write);
        assert_eq!(watch.next_change(leases, at(20), F), Some(at(30)));
    }
}
