//! Records that no child has processed yet.

use std::collections::{BTreeMap, BTreeSet};

use kcl_daemon::core::ids::ShardId;
use kcl_daemon::core::sequence::{ExtendedSequenceNumber, InitialPosition, Position};

use super::RETENTION_MS;
use crate::trace::{ChildNumber, Told, Trace, What};
use crate::world::{EPOCH_MS, MS, Time};

/// Looks at a trace while it grows.
pub struct Outstanding {
    position: InitialPosition,
    seen: usize,
    records: BTreeMap<(ShardId, ExtendedSequenceNumber), i64>,
    children: BTreeMap<ChildNumber, ShardId>,
    in_work: BTreeMap<ChildNumber, Vec<ExtendedSequenceNumber>>,
    /// Shards whose leases were made to be read from their beginning.
    from_start: BTreeSet<ShardId>,
    /// Closed shards, and what they became.
    became: BTreeMap<ShardId, Vec<ShardId>>,
    /// Shards that have a lease.
    leased: BTreeSet<ShardId>,
    /// Whose leases were deleted by hand, and when.
    deleted: BTreeMap<ShardId, Time>,
}

/// For so long a worker may believe in a lease that it read before somebody deleted it.
const BELIEVED: Time = 1_000 * MS;

impl Outstanding {
    /// Nothing seen yet; reading begins at `position`.
    pub fn new(position: InitialPosition) -> Self {
        Self {
            position,
            seen: 0,
            records: BTreeMap::new(),
            children: BTreeMap::new(),
            in_work: BTreeMap::new(),
            from_start: BTreeSet::new(),
            became: BTreeMap::new(),
            leased: BTreeSet::new(),
            deleted: BTreeMap::new(),
        }
    }

    /// Takes in what happened since it looked last.
    pub fn look(&mut self, trace: &Trace) {
        let mut now_ms = EPOCH_MS;
        for event in &trace.events[self.seen..] {
            now_ms = EPOCH_MS + i64::try_from(event.at / MS).unwrap_or(0);
            match &event.what {
                What::Put {
                    shard,
                    places,
                    at_ms,
                } => {
                    for place in places {
                        self.records.insert((shard.clone(), place.clone()), *at_ms);
                    }
                }
                What::ChildStarted { child, shard } => {
                    self.children.insert(*child, shard.clone());
                }
                What::Told {
                    child,
                    told: Told::Records(records),
                } => {
                    self.in_work.insert(*child, records.clone());
                }
                What::Did { child } => {
                    let shard = &self.children[child];
                    for place in self.in_work.remove(child).unwrap_or_default() {
                        self.records.remove(&(shard.clone(), place));
                    }
                }
                What::Opened(shards) => {
                    for shard in shards {
                        for parent in &shard.parents {
                            let became = self.became.entry(parent.clone()).or_default();
                            became.push(shard.id.clone());
                        }
                    }
                }
                What::Edited {
                    before: Some(row),
                    after: None,
                } => {
                    if let Some(lease) = row.as_lease() {
                        let shard = lease.shard_id();
                        self.leased.remove(&shard);
                        self.let_go_of_finished(&shard);
                        self.deleted.insert(shard, event.at);
                    }
                }
                // A child may end after its checkpoint and before its answer.
                What::Applied {
                    before,
                    after: Some(row),
                    ..
                } => {
                    if let Some(lease) = row.as_lease() {
                        self.leased.insert(lease.shard_id());
                        if before.is_none() {
                            self.deleted.remove(&lease.shard_id());
                            let since = event.at.saturating_sub(BELIEVED);
                            let just_deleted: Vec<ShardId> = lease
                                .parents
                                .iter()
                                .filter(|parent| self.deleted.get(*parent) >= Some(&since))
                                .cloned()
                                .collect();
                            for parent in &just_deleted {
                                self.let_go_of_finished(parent);
                            }
                            // Anew at LATEST, after its row was deleted by hand, is a decision too.
                            match lease.checkpoint.position {
                                Position::TrimHorizon => self.from_start.insert(lease.shard_id()),
                                _ => self.from_start.remove(&lease.shard_id()),
                            };
                        }
                        self.settle(&lease.shard_id(), &lease.checkpoint);
                    }
                }
                _ => {}
            }
        }
        self.seen = trace.events.len();
        // What retention took is lost to everybody.
        self.records
            .retain(|_, at_ms| *at_ms >= now_ms - RETENTION_MS);
    }

    /// Records that somebody still has to process. What came before the beginning is not wanted, but it shows
    /// late where that is: a child's lease may be made long after its records came.
    fn wanted(&self) -> impl Iterator<Item = &(ShardId, ExtendedSequenceNumber)> {
        let wanted = |shard: &ShardId, at_ms: i64| match self.position {
            InitialPosition::TrimHorizon => true,
            // Where exactly LATEST was is a matter of I.18.
            InitialPosition::Latest => self.from_start.contains(shard),
            InitialPosition::AtTimestamp(from) => at_ms >= from || self.from_start.contains(shard),
        };
        let records = self.records.iter();
        records
            .filter(move |((shard, _), at_ms)| wanted(shard, **at_ms))
            .map(|(place, _)| place)
    }

    /// Without its lease, a shard whose children have theirs looks like one that was read to its end and
    /// cleaned up: to everybody, Java's workers included. Whoever deletes it has decided so. While a child
    /// has no lease there is a hole in the hash keys, which has to be found.
    fn let_go_of_finished(&mut self, shard: &ShardId) {
        let became = self.became.get(shard);
        if became.is_some_and(|children| children.iter().all(|id| self.leased.contains(id))) {
            self.records.retain(|(of, _), _| of != shard);
        }
    }

    /// Everything up to a checkpoint is processed.
    fn settle(&mut self, shard: &ShardId, checkpoint: &ExtendedSequenceNumber) {
        let lowest = ExtendedSequenceNumber::sentinel(Position::AtTimestamp);
        while let Some((key, _)) = self.records.range((shard.clone(), lowest.clone())..).next()
            && key.0 == *shard
            && key.1 <= *checkpoint
        {
            let key = key.clone();
            self.records.remove(&key);
        }
    }

    /// Whether everything is processed.
    pub fn is_empty(&self) -> bool {
        self.wanted().next().is_none()
    }

    /// Some of what is not.
    pub fn some(&self) -> Vec<String> {
        let some = self.wanted().take(3);
        some.map(|(shard, place)| format!("{shard} {place}"))
            .collect()
    }
}
