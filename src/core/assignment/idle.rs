//! Why a worker has no lease, for whoever wonders what it is there for (`leases.md` J, #173, #1243).

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::core::expiry::Observations;
use crate::core::ids::WorkerId;
use crate::core::lease::Lease;
use crate::core::time::Moment;

/// Why a worker has no lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Idle {
    /// There is none that is not finished.
    NoLeases,
    /// The others have as many as there are; so many leases and owners.
    EnoughOthers {
        /// Unfinished leases.
        leases: usize,
        /// Who owns them.
        owners: usize,
    },
    /// Leases are owned by workers that may be dead, which takes the failover time to find out.
    Watching(WorkerId),
    /// There is somebody who has to give them out and has not yet.
    NotAssigned(Option<WorkerId>),
    /// What this worker may have (`maxLeasesForWorker`) is nothing.
    NotAllowed,
}

impl Idle {
    /// A word for the kind: what is told once is not told again for another number.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        match self {
            Self::NoLeases => 0,
            Self::EnoughOthers { .. } => 1,
            Self::Watching(_) => 2,
            Self::NotAssigned(_) => 3,
            Self::NotAllowed => 4,
        }
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this worker has no lease: ")?;
        match self {
            Self::NoLeases => f.write_str("no shard is left to be read"),
            Self::EnoughOthers { leases, owners } => write!(
                f,
                "there are {leases} and {owners} other workers have them; it stands by for when one stops"
            ),
            Self::Watching(worker) => write!(
                f,
                "all are owned, and whether worker {worker} still lives shows within failoverTimeMillis"
            ),
            Self::NotAssigned(Some(leader)) => {
                write!(f, "the leader, worker {leader}, has not given it one yet")
            }
            Self::NotAssigned(None) => f.write_str("nobody leads yet and gives leases out"),
            Self::NotAllowed => f.write_str("maxLeasesForWorker is 0"),
        }
    }
}

/// What a worker without lease sees.
#[derive(Debug, Clone, Copy)]
pub struct Idler<'a> {
    /// All leases.
    pub leases: &'a [Lease],
    /// What it has seen of them.
    pub seen: &'a Observations,
    /// Now.
    pub now: Moment,
    /// When it looked first.
    pub since: Moment,
    /// `failoverTimeMillis`.
    pub failover: Duration,
    /// `maxLeasesForWorker`.
    pub max_leases: usize,
    /// Who leads, if somebody assigns leases and it is known who.
    pub leader: Option<Option<&'a WorkerId>>,
}

impl Idler<'_> {
    /// Why it has no lease (#173, #1243); `None` when it is about to get one.
    #[must_use]
    pub fn why(&self) -> Option<Idle> {
        let unfinished = || self.leases.iter().filter(|lease| !lease.is_finished());
        let leases = unfinished().count();
        if self.max_leases == 0 {
            return Some(Idle::NotAllowed);
        }
        if leases == 0 {
            return (!self.leases.is_empty()).then_some(Idle::NoLeases);
        }
        let owners: BTreeSet<&WorkerId> = unfinished().filter_map(Lease::actual_owner).collect();
        let all_owned = unfinished().all(|lease| lease.actual_owner().is_some());
        if self.now.since(self.since) <= self.failover {
            let still = unfinished().find(|lease| {
                let since = self.seen.expires_at(lease, Duration::ZERO);
                since.is_some_and(|since| since <= self.since)
            });
            let owner = still.and_then(Lease::actual_owner);
            return owner.filter(|_| all_owned).cloned().map(Idle::Watching);
        }
        if all_owned && owners.len() >= leases {
            return Some(Idle::EnoughOthers {
                leases,
                owners: owners.len(),
            });
        }
        self.leader.map(|leader| Idle::NotAssigned(leader.cloned()))
    }
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
    fn why_a_worker_has_no_lease() {
        use Idle::{EnoughOthers, NoLeases, NotAllowed, NotAssigned, Watching};
        let id = WorkerId::new;
        let leader = id("l");
        let second = |second| Moment::from_origin(Duration::from_secs(second));
        // owners of leases (`#`: finished), seconds since the first look, leader, most, why
        type Case<'a> = (
            &'a [&'a str],
            u64,
            Option<Option<&'a WorkerId>>,
            usize,
            Option<Idle>,
        );
        let enough = |leases, owners| Some(EnoughOthers { leases, owners });
        let cases: &[Case<'_>] = &[
            (&[], 0, None, 9, None),
            (&["#a", "#"], 0, None, 9, Some(NoLeases)),
            (&["a", "b"], 0, None, 9, Some(Watching(id("a")))),
            (&["a", ""], 0, None, 9, None),
            (&["a", "b"], 11, None, 9, enough(2, 2)),
            (&["a", "b", "#a"], 11, None, 9, enough(2, 2)),
            // There is a share for it; it is about to take it.
            (&["a", "a"], 11, None, 9, None),
            (
                &["a", "a"],
                11,
                Some(Some(&leader)),
                9,
                Some(NotAssigned(Some(id("l")))),
            ),
            (&["a", ""], 11, Some(None), 9, Some(NotAssigned(None))),
            (&["a", "b"], 11, Some(None), 9, enough(2, 2)),
            (&["a", "a"], 11, None, 0, Some(NotAllowed)),
        ];
        for (owners, now, leader, max_leases, why) in cases {
            let leases: Vec<Lease> = owners
                .iter()
                .enumerate()
                .map(|(index, owner)| {
                    let mut lease = lease(owner.trim_start_matches('#'));
                    lease.key = LeaseKey::new(format!("s{index}"));
                    if owner.starts_with('#') {
                        lease.checkpoint = ExtendedSequenceNumber::SHARD_END;
                    }
                    lease
                })
                .collect();
            let mut seen = Observations::default();
            seen.record_scan(&leases, second(0));
            let idler = Idler {
                leases: &leases,
                seen: &seen,
                now: second(*now),
                since: second(0),
                failover: F,
                max_leases: *max_leases,
                leader: *leader,
            };
            assert_eq!(idler.why(), *why, "{owners:?} {now}");
        }
    }
}
