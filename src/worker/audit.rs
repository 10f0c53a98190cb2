//! The auditor: sees that every part of the hash space has a lease (`leases.md` E.1, E.3).
//!
//! One worker does it for all: the leader, in the 2.x algorithm by the election every worker computes.
//! When it does not (Java's workers cannot while a row of the table is not readable to them, A.7), each
//! other one does it after twice the time: leases are created by conditional writes, so that it does no harm
//! when several do.
//! An empty table is filled by whoever comes first. A hole is repaired after it was seen three times in
//! a row, two minutes apart, as Java does; a worker that is alone repairs it at its start. A table that
//! had leases and lost them all is such a hole: filling it at the initial position at once and without a
//! word would hide that all checkpoints are gone (#414).

use std::time::Duration;

use tracing::{debug, error, info, warn};

use crate::core::hash_range::HashRange;
use crate::core::ids::LeaseKey;
use crate::core::lease::Lease;
use crate::core::shard_sync::{Finding, audit};
use crate::core::time::Moment;
use crate::ports::{LeaseStore, Stream};
use crate::worker::coordinator::LeaseSettings;
use crate::worker::startup::{SyncError, fill_hash_ranges, sync};

/// Java's `leasesRecoveryAuditorExecutionFrequencyMillis`.
const EVERY: Duration = Duration::from_secs(120);
/// Java's `leasesRecoveryAuditorInconsistencyConfidenceThreshold`.
const CONFIDENT_AFTER: u32 = 3;
/// At how many looks in a row one leaves what has to be done to the worker whose duty it is.
const LEFT_TO_OTHERS: u32 = 2 * CONFIDENT_AFTER - 1;
/// Pause after a sync of an empty table that created nothing.
const EMPTY_AGAIN: Duration = Duration::from_secs(1);

/// What an audit has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audit {
    /// Create what is missing.
    Sync,
    /// Look up the hash ranges of these leases.
    FillRanges(Vec<LeaseKey>),
}

/// When to audit, and what was seen so far.
#[derive(Debug)]
pub struct Auditor {
    next: Moment,
    first: bool,
    running: bool,
    /// There were leases when it looked before.
    had_leases: bool,
    hole: Option<(HashRange, u32)>,
    /// At how many looks in a row there was something to do that was the duty of somebody else.
    left: u32,
}

impl Auditor {
    /// An auditor whose first audit is due. With `repair_at_start` a worker that is alone repairs what
    /// it finds then; without (`skipShardSyncAtWorkerInitializationIfLeasesExist`) it takes Java's time.
    #[must_use]
    pub fn new(now: Moment, repair_at_start: bool) -> Self {
        Self {
            next: now,
            first: repair_at_start,
            running: false,
            had_leases: false,
            hole: None,
            left: 0,
        }
    }

    /// What to do after a scan that gave `table`, if anything. `leader`: whether it is this worker's
    /// duty.
    pub fn due(
        &mut self,
        table: &[Lease],
        leader: bool,
        has_peers: bool,
        now: Moment,
    ) -> Option<Audit> {
        if self.running || now < self.next {
            return None;
        }
        let finding = audit(table);
        let first = std::mem::replace(&mut self.first, false);
        self.next = now + EVERY;
        let had_leases = self.had_leases;
        self.had_leases |= finding != Finding::NoLeases;
        let acts = leader || self.left >= LEFT_TO_OTHERS;
        self.left = match finding {
            Finding::Covered => 0,
            _ if leader => 0,
            _ => self.left.saturating_add(1),
        };
        let due = match finding {
            Finding::NoLeases if had_leases => {
                if self.hole.is_none() {
                    error!(
                        "all leases are gone from the lease table, and their checkpoints with them: somebody deleted them \
                         or made the table anew. Put them back to go on where the shards were; else they are created \
                         anew in some minutes, and all shards read from the initial position"
                    );
                }
                let confirmed = self.confirm(HashRange::FULL, false);
                (acts && confirmed).then_some(Audit::Sync)
            }
            Finding::NoLeases => {
                self.next = now + EMPTY_AGAIN;
                Some(Audit::Sync)
            }
            Finding::Covered => {
                self.hole = None;
                None
            }
            Finding::UnknownRanges(_) if !acts => None,
            Finding::UnknownRanges(keys) => {
                // The next look tells whether there is a hole.
                self.next = now;
                Some(Audit::FillRanges(keys))
            }
            Finding::Hole(hole) => {
                let confirmed = self.confirm(hole, leader && first && !has_peers);
                (acts && confirmed).then_some(Audit::Sync)
            }
        };
        self.running = due.is_some();
        due
    }

    fn confirm(&mut self, hole: HashRange, at_once: bool) -> bool {
        let seen = match self.hole {
            Some((before, seen)) if before == hole => seen + 1,
            _ => 1,
        };
        self.hole = Some((hole, seen));
        info!(
            "no unfinished lease covers the hash keys {} to {} (seen {seen} times)",
            hole.start, hole.end
        );
        at_once || seen >= CONFIDENT_AFTER
    }

    /// The audit that was due is over.
    pub fn done(&mut self) {
        self.running = false;
    }
}

impl Audit {
    /// Does it; gives how many leases are new.
    pub async fn run(
        self,
        stream: &dyn Stream,
        store: &dyn LeaseStore,
        leases: &[Lease],
        settings: &LeaseSettings,
    ) -> usize {
        let result: Result<usize, SyncError> = match self {
            Self::Sync => {
                sync(
                    stream,
                    store,
                    leases,
                    settings.initial_position,
                    settings.ignore_unexpected_children,
                )
                .await
            }
            Self::FillRanges(unknown) => fill_hash_ranges(stream, store, leases, &unknown)
                .await
                .map(|()| 0),
        };
        match result {
            Ok(created) => {
                debug!(created, "shard sync done");
                created
            }
            Err(error) => {
                warn!("shard sync: {error}; trying again");
                0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::WorkerId;
    use crate::core::sequence::{ExtendedSequenceNumber, Position};

    fn at(seconds: u64) -> Moment {
        Moment::from_origin(Duration::from_secs(seconds))
    }

    fn lease(range: Option<HashRange>, owner: &str) -> Lease {
        let mut lease = Lease::new(
            LeaseKey::new("shardId-0"),
            ExtendedSequenceNumber::sentinel(Position::Latest),
            vec![],
            range,
        );
        lease.owner = (!owner.is_empty()).then(|| WorkerId::new(owner));
        lease
    }

    #[test]
    fn a_table_that_lost_its_leases_is_not_filled_at_once() {
        let table = [lease(Some(HashRange::FULL), "me")];
        let mut auditor = Auditor::new(at(0), true);
        assert_eq!(auditor.due(&table, true, false, at(0)), None);
        let due = |auditor: &mut Auditor, second| auditor.due(&[], true, false, at(second));
        assert_eq!(due(&mut auditor, 120), None);
        assert_eq!(due(&mut auditor, 240), None);
        assert_eq!(due(&mut auditor, 360), Some(Audit::Sync));
        auditor.done();
        // Put back, and gone again: counted anew.
        assert_eq!(auditor.due(&table, true, false, at(480)), None);
        assert_eq!(due(&mut auditor, 600), None);
        assert_eq!(due(&mut auditor, 720), None);
    }

    const HALF: HashRange = HashRange {
        start: 0,
        end: 1 << 127,
    };

    #[test]
    fn an_empty_table_is_filled_by_anybody_at_once_and_again_soon() {
        let mut auditor = Auditor::new(at(0), true);
        assert_eq!(auditor.due(&[], true, false, at(0)), Some(Audit::Sync));
        assert_eq!(auditor.due(&[], true, false, at(5)), None, "still running");
        auditor.done();
        assert_eq!(auditor.due(&[], true, true, at(5)), Some(Audit::Sync));
    }

    #[test]
    fn a_hole_is_repaired_when_it_was_seen_three_times() {
        let table = [lease(Some(HALF), "me")];
        let mut auditor = Auditor::new(at(0), true);
        assert_eq!(auditor.due(&table, true, true, at(0)), None);
        assert_eq!(auditor.due(&table, true, true, at(60)), None, "not due");
        assert_eq!(auditor.due(&table, true, true, at(120)), None);
        // It closes and opens again: counted anew.
        let whole = [lease(Some(HashRange::FULL), "me")];
        assert_eq!(auditor.due(&whole, true, true, at(240)), None);
        assert_eq!(auditor.due(&table, true, true, at(360)), None);
        assert_eq!(auditor.due(&table, true, true, at(480)), None);
        assert_eq!(auditor.due(&table, true, true, at(600)), Some(Audit::Sync));
    }

    #[test]
    fn a_lonely_worker_repairs_a_hole_at_its_start() {
        let table = [lease(Some(HALF), "")];
        let mut auditor = Auditor::new(at(0), true);
        assert_eq!(auditor.due(&table, true, false, at(0)), Some(Audit::Sync));
    }

    #[test]
    fn a_start_without_shard_sync_takes_javas_time() {
        let table = [lease(Some(HALF), "")];
        let mut auditor = Auditor::new(at(0), false);
        let audits: Vec<bool> = [0, 120, 240]
            .map(|seconds| auditor.due(&table, true, false, at(seconds)).is_some())
            .to_vec();
        assert_eq!(audits, [false, false, true]);
    }

    #[test]
    fn only_the_elected_worker_audits() {
        let table = [lease(Some(HALF), "other")];
        let mut auditor = Auditor::new(at(0), true);
        for turn in 0..5 {
            assert_eq!(auditor.due(&table, false, false, at(turn * 120)), None);
        }
        let whole = [lease(Some(HashRange::FULL), "other")];
        assert_eq!(auditor.due(&whole, false, false, at(600)), None);
        for turn in 6..11 {
            assert_eq!(auditor.due(&table, false, false, at(turn * 120)), None);
        }
    }

    #[test]
    fn a_hole_that_the_elected_worker_leaves_open_is_repaired_by_another() {
        let table = [lease(Some(HALF), "other")];
        let mut auditor = Auditor::new(at(0), true);
        let audits: Vec<Option<Audit>> = (0..6)
            .map(|turn| auditor.due(&table, false, true, at(turn * 120)))
            .collect();
        assert_eq!(audits[..5], [None, None, None, None, None]);
        assert_eq!(audits[5], Some(Audit::Sync));
    }

    #[test]
    fn ranges_that_the_elected_worker_does_not_look_up_are_looked_up_by_another() {
        let table = [lease(None, "other")];
        let mut auditor = Auditor::new(at(0), true);
        for turn in 0..5 {
            assert_eq!(auditor.due(&table, false, true, at(turn * 120)), None);
        }
        let keys = vec![LeaseKey::new("shardId-0")];
        let sixth = auditor.due(&table, false, true, at(600));
        assert_eq!(sixth, Some(Audit::FillRanges(keys)));
    }

    #[test]
    fn unknown_ranges_are_looked_up() {
        let table = [lease(None, "me")];
        let mut auditor = Auditor::new(at(0), true);
        assert_eq!(
            auditor.due(&table, true, true, at(0)),
            Some(Audit::FillRanges(vec![LeaseKey::new("shardId-0")]))
        );
    }
}
