//! How the lease table looks to one worker: what is free, and when to look again.

use std::time::Duration;

use crate::core::assignment::taker::Availability;
use crate::core::expiry::Observations;
use crate::core::ids::WorkerId;
use crate::core::lease::Lease;
use crate::core::time::Moment;

/// What this worker has to do with a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// It holds the lease, or is about to.
    Mine,
    /// It does not.
    NotMine,
}

/// Whether a worker may take a lease (`leases.md` B.3, B.5): it is unowned, or its owner shows no life.
/// A row that carries this worker's id without being held is left to the rule for own leases.
#[must_use]
pub fn availability(
    lease: &Lease,
    holding: Holding,
    me: &WorkerId,
    seen: &Observations,
    now: Moment,
    failover: Duration,
) -> Availability {
    let free = match (&lease.owner, holding) {
        (_, Holding::Mine) => false,
        (None, Holding::NotMine) => true,
        (Some(owner), Holding::NotMine) => owner != me && seen.is_expired(lease, now, failover),
    };
    if !free {
        Availability::Owned
    } else if seen.is_abandoned(lease, now, failover) {
        Availability::Abandoned
    } else if seen.is_very_old(lease, now, failover) {
        Availability::VeryOld
    } else {
        Availability::Free
    }
}

/// Java's taker waits 2 x (F + 25 ms) between scans; so do we when nobody else is there.
fn lonely_interval(failover: Duration) -> Duration {
    (failover + Duration::from_millis(25)) * 2
}

/// The part of the failover time between two scans while there are peers: a little less than the fifth
/// of `decisions.md`, which leaves time to take the lease and start the child within F + 2 s.
const SCANS_WITH_PEERS: f64 = 0.18;

/// When the table is looked at next (`decisions.md`): with peers about every F/5, stretched so that this
/// worker's scans cost at most one read unit a second; alone, and at most, every 2F. Whoever saw the table
/// change a moment ago counts as having peers: somebody may be joining.
#[must_use]
pub fn scan_interval(failover: Duration, has_peers: bool, table_bytes: usize) -> Duration {
    let longest = lonely_interval(failover);
    if !has_peers {
        return longest;
    }
    // An eventually consistent read of 8 KiB is one unit, so this is one unit a second.
    let affordable = Duration::from_secs_f64(table_bytes as f64 / 8192.0);
    failover
        .mul_f64(SCANS_WITH_PEERS)
        .max(affordable)
        .min(longest)
}

/// When a worker of a 3.x fleet with peers looks at the table next, if it is one of those that look at all
/// of it: as in the 2.x algorithm, but so often that a lease that is passed on does not lie idle for long.
#[must_use]
pub fn watch_interval(failover: Duration, table_bytes: usize) -> Duration {
    const LONGEST: Duration = Duration::from_millis(1200);
    let affordable = Duration::from_secs_f64(table_bytes as f64 / 8192.0);
    scan_interval(failover, true, table_bytes).min(LONGEST.max(affordable))
}

/// When a leader that is alone looks at the table next: so soon that a newcomer, which nothing else tells
/// it of, has its share within 10 s. (A lonely worker of the 2.x algorithm need not look for newcomers,
/// which take for themselves.)
#[must_use]
pub fn lone_leader_interval(failover: Duration, table_bytes: usize) -> Duration {
    let affordable = Duration::from_secs_f64(table_bytes as f64 / 8192.0);
    failover
        .mul_f64(0.4)
        .max(affordable)
        .min(lonely_interval(failover))
}

/// When the table is looked at next while something is about to happen that this worker waits for: as
/// soon as three looks a second at most, and one read unit a second at most.
#[must_use]
pub fn quick_interval(failover: Duration, table_bytes: usize) -> Duration {
    let affordable = Duration::from_secs_f64(table_bytes as f64 / 8192.0);
    (failover / 25)
        .max(Duration::from_millis(330))
        .max(affordable)
        .min(scan_interval(failover, true, table_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::LeaseKey;
    use crate::core::sequence::{ExtendedSequenceNumber, Position};

    const F: Duration = Duration::from_secs(10);

    fn lease(owner: &str) -> Lease {
        let mut lease = Lease::new(
            LeaseKey::new("s"),
            ExtendedSequenceNumber::sentinel(Position::Latest),
            vec![],
            None,
        );
        lease.owner = (!owner.is_empty()).then(|| WorkerId::new(owner));
        lease
    }

    #[test]
    fn what_is_free() {
        use Availability::{Abandoned, Free, Owned, VeryOld};
        use Holding::{Mine, NotMine};
        let cases = [
            ("", NotMine, 0, Free),
            ("", NotMine, 31, VeryOld),
            ("", Mine, 31, Owned),
            ("other", NotMine, 10, Owned),
            ("other", NotMine, 11, Free),
            ("other", NotMine, 31, VeryOld),
            ("other", NotMine, 300, VeryOld),
            ("other", NotMine, 301, Abandoned),
            ("other", Mine, 31, Owned),
            // Mine by name only: another rule decides.
            ("me", NotMine, 31, Owned),
        ];
        for (owner, holding, seconds, expected) in cases {
            let lease = lease(owner);
            let mut seen = Observations::default();
            seen.record_scan([&lease], Moment::default());
            let now = Moment::from_origin(Duration::from_secs(seconds));
            seen.record_scan([&lease], now);
            let got = availability(&lease, holding, &WorkerId::new("me"), &seen, now, F);
            assert_eq!(got, expected, "{owner} {holding:?} after {seconds} s");
        }
    }

    #[test]
    fn a_lone_leader_sees_a_newcomer_soon() {
        let cases = [
            (10, 0, 4_000),
            (10, 80 * 1024, 10_000),
            (10, 10 << 20, 20_050),
            (3, 0, 1_200),
        ];
        for (failover, bytes, millis) in cases {
            assert_eq!(
                lone_leader_interval(Duration::from_secs(failover), bytes),
                Duration::from_millis(millis),
                "{failover} {bytes}"
            );
        }
    }

    #[test]
    fn a_watcher_looks_more_often_and_pays_no_more() {
        let cases = [
            (10, 0, 1_200),
            (10, 8 * 1024, 1_200),
            (10, 12 * 1024, 1_500),
            (10, 24 * 1024, 3_000),
            (2, 0, 360),
            (60, 0, 1_200),
        ];
        for (failover, bytes, millis) in cases {
            assert_eq!(
                watch_interval(Duration::from_secs(failover), bytes),
                Duration::from_millis(millis),
                "{failover} {bytes}"
            );
        }
        for bytes in [0, 8 * 1024, 80 * 1024, 10 << 20] {
            assert!(
                quick_interval(F, bytes) <= watch_interval(F, bytes),
                "{bytes}"
            );
        }
    }

    #[test]
    fn how_often_the_table_is_looked_at() {
        let cases = [
            (false, 0, 20_050),
            (true, 0, 1_800),
            (true, 8 * 1024, 1_800),
            (true, 24 * 1024, 3_000),
            (true, 96 * 1024, 12_000),
            (true, 10 << 20, 20_050),
        ];
        for (peers, bytes, millis) in cases {
            assert_eq!(
                scan_interval(F, peers, bytes),
                Duration::from_millis(millis),
                "{peers} {bytes}"
            );
        }
    }
}
