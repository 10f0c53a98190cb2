//! Leases and the writes that are legal on them, as data.
//!
//! A lease is a row of the lease table (`leases.md` A.4). Whoever changes one describes the change as
//! a [`LeaseUpdate`]: the condition it relies on and what it does. Stores carry updates out; this file
//! says what they mean, so that DynamoDB and the stores of tests cannot disagree (`leases.md` B.1).

use crate::core::hash_range::HashRange;
use crate::core::ids::{LeaseKey, ShardId, WorkerId};
use crate::core::sequence::ExtendedSequenceNumber;

/// The fencing counter of a lease: every write of an owner and every change of ownership raises it by 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Counter(pub u64);

impl Counter {
    /// The counter after one more write.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// What a two-phase checkpoint of a Java worker left behind (`leases.md` A.4, I.20).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingCheckpoint {
    /// The prepared position.
    pub checkpoint: ExtendedSequenceNumber,
    /// Opaque bytes of the application.
    pub state: Option<Vec<u8>>,
}

/// A lease as read from the table. Attributes that are not here survive every write, because leases
/// are only ever updated attribute by attribute (I.11).
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    /// The row's key.
    pub key: LeaseKey,
    /// Who owns the lease; during a hand-off the *next* owner.
    pub owner: Option<WorkerId>,
    /// During a graceful hand-off of KCL 3: the worker that still processes.
    pub checkpoint_owner: Option<WorkerId>,
    /// The fencing counter.
    pub counter: Counter,
    /// Everything up to here is processed.
    pub checkpoint: ExtendedSequenceNumber,
    /// A prepared checkpoint, if a Java worker left one.
    pub pending: Option<PendingCheckpoint>,
    /// Changes of owner since the last checkpoint; informative.
    pub owner_switches: u64,
    /// The shards this one came from.
    pub parents: Vec<ShardId>,
    /// The shards this one became; known from its end on.
    pub children: Vec<ShardId>,
    /// Absent in tables made by KCL 1.x and early 2.x.
    pub hash_range: Option<HashRange>,
}

/// The condition a write relies on. It fails when the row does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The counter is this one: nobody wrote since.
    Counter(Counter),
    /// The counter is this one and the owner is this worker.
    CounterAndOwner(Counter, WorkerId),
    /// The row exists.
    Exists,
}

/// What a write does to a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Raise the counter.
    Renew,
    /// Become the owner: raise the counter, drop a stray hand-off.
    Take {
        /// The new owner.
        owner: WorkerId,
        /// Whether this counts as a change of owner.
        switches_owner: bool,
    },
    /// Store a checkpoint: raise the counter, drop a prepared checkpoint.
    Checkpoint(ExtendedSequenceNumber),
    /// Give the lease up: remove the owner, raise the counter.
    Release,
    /// Record what the shard became. Not an owner's write: the counter stays.
    SetChildren(Vec<ShardId>),
    /// Record the hash range of a lease made by an old version. The counter stays.
    SetHashRange(HashRange),
}

/// One conditional write on one lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseUpdate {
    /// The row.
    pub key: LeaseKey,
    /// What must hold for the write to happen.
    pub condition: Condition,
    /// What it does.
    pub change: Change,
}

impl Lease {
    /// A new, unowned lease, as shard sync and shard end create it (`leases.md` B.1).
    #[must_use]
    pub fn new(
        key: LeaseKey,
        checkpoint: ExtendedSequenceNumber,
        parents: Vec<ShardId>,
        hash_range: Option<HashRange>,
    ) -> Self {
        Self {
            key,
            owner: None,
            checkpoint_owner: None,
            counter: Counter(0),
            checkpoint,
            pending: None,
            owner_switches: 0,
            parents,
            children: Vec::new(),
            hash_range,
        }
    }

    /// The shard of the lease.
    #[must_use]
    pub fn shard_id(&self) -> ShardId {
        self.key.shard_id()
    }

    /// Whether exactly these children are recorded; the table keeps them as a set, without order.
    #[must_use]
    pub fn has_children(&self, children: &[ShardId]) -> bool {
        let sorted = |ids: &[ShardId]| {
            let mut ids = ids.to_vec();
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        sorted(&self.children) == sorted(children)
    }

    /// Whether the shard is read to its end.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.checkpoint.is_shard_end()
    }

    fn update(&self, condition: Condition, change: Change) -> LeaseUpdate {
        LeaseUpdate {
            key: self.key.clone(),
            condition,
            change,
        }
    }

    /// Shows that the owner lives.
    #[must_use]
    pub fn renewal(&self) -> LeaseUpdate {
        self.update(Condition::Counter(self.counter), Change::Renew)
    }

    /// Makes `worker` the owner.
    #[must_use]
    pub fn taken_by(&self, worker: &WorkerId) -> LeaseUpdate {
        let switches_owner = self.owner.as_ref().is_some_and(|old| old != worker)
            || self.checkpoint_owner.as_ref() == Some(worker);
        self.update(
            Condition::Counter(self.counter),
            Change::Take {
                owner: worker.clone(),
                switches_owner,
            },
        )
    }

    /// Stores a checkpoint.
    #[must_use]
    pub fn checkpointed(&self, checkpoint: ExtendedSequenceNumber) -> LeaseUpdate {
        self.update(
            Condition::Counter(self.counter),
            Change::Checkpoint(checkpoint),
        )
    }

    /// Gives the lease up; `owner` must be its owner.
    #[must_use]
    pub fn released(&self, owner: &WorkerId) -> LeaseUpdate {
        self.update(
            Condition::CounterAndOwner(self.counter, owner.clone()),
            Change::Release,
        )
    }

    /// Records the shards this one became.
    #[must_use]
    pub fn with_children(&self, children: Vec<ShardId>) -> LeaseUpdate {
        self.update(Condition::Exists, Change::SetChildren(children))
    }

    /// Records the shard's hash range.
    #[must_use]
    pub fn with_hash_range(&self, range: HashRange) -> LeaseUpdate {
        self.update(Condition::Exists, Change::SetHashRange(range))
    }
}

impl LeaseUpdate {
    /// Whether the write may happen on the row as it is.
    #[must_use]
    pub fn is_permitted_on(&self, current: Option<&Lease>) -> bool {
        let Some(current) = current else { return false };
        match &self.condition {
            Condition::Counter(counter) => current.counter == *counter,
            Condition::CounterAndOwner(counter, owner) => {
                current.counter == *counter && current.owner.as_ref() == Some(owner)
            }
            Condition::Exists => true,
        }
    }

    /// The row after the write.
    #[must_use]
    pub fn applied_to(&self, before: &Lease) -> Lease {
        let mut lease = before.clone();
        match &self.change {
            Change::Renew => lease.counter = before.counter.next(),
            Change::Take {
                owner,
                switches_owner,
            } => {
                lease.counter = before.counter.next();
                lease.owner = Some(owner.clone());
                lease.checkpoint_owner = None;
                lease.owner_switches += u64::from(*switches_owner);
            }
            Change::Checkpoint(checkpoint) => {
                lease.counter = before.counter.next();
                lease.checkpoint = checkpoint.clone();
                lease.owner_switches = 0;
                lease.pending = None;
            }
            Change::Release => {
                lease.counter = before.counter.next();
                lease.owner = None;
            }
            Change::SetChildren(children) => lease.children.clone_from(children),
            Change::SetHashRange(range) => lease.hash_range = Some(*range),
        }
        lease
    }

    /// Whether the row, as read after an answer that never came or a condition that failed, proves
    /// that this very write had happened on `before` (`leases.md` B.1 last note, I.6, I.7): the counter
    /// moved by exactly one and the row says what only this write would have made it say.
    #[must_use]
    pub fn is_proven_by(&self, before: &Lease, current: &Lease) -> bool {
        let expected = self.applied_to(before);
        current.counter == expected.counter
            && current.owner == expected.owner
            && current.checkpoint == expected.checkpoint
            && match &self.change {
                Change::SetChildren(children) => current.has_children(children),
                Change::SetHashRange(_) => current.hash_range == expected.hash_range,
                _ => true,
            }
    }
}

/// The condition of a delete (`leases.md` B.1 notes, I.27): the lease is finished and unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseDeletion {
    /// The row.
    pub key: LeaseKey,
    /// Its counter when the decision was made.
    pub counter: Counter,
    /// Its checkpoint when the decision was made.
    pub checkpoint: ExtendedSequenceNumber,
}

impl LeaseDeletion {
    /// Deletes the lease if it still is what was looked at.
    #[must_use]
    pub fn of(lease: &Lease) -> Self {
        Self {
            key: lease.key.clone(),
            counter: lease.counter,
            checkpoint: lease.checkpoint.clone(),
        }
    }

    /// Whether the delete may happen on the row as it is.
    #[must_use]
    pub fn is_permitted_on(&self, current: Option<&Lease>) -> bool {
        current.is_some_and(|lease| {
            lease.counter == self.counter && lease.checkpoint == self.checkpoint
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::sequence::{Position, SequenceNumber};

    fn worker(name: &str) -> WorkerId {
        WorkerId::new(name)
    }

    fn lease() -> Lease {
        let mut lease = Lease::new(
            LeaseKey::new("shardId-0"),
            ExtendedSequenceNumber::sentinel(Position::TrimHorizon),
            vec![],
            None,
        );
        lease.counter = Counter(7);
        lease.owner = Some(worker("a"));
        lease
    }

    fn at(number: &str) -> ExtendedSequenceNumber {
        ExtendedSequenceNumber::record(SequenceNumber::parse(number).unwrap(), 0)
    }

    #[test]
    fn every_owners_write_raises_the_counter_by_one_and_others_leave_it() {
        let lease = lease();
        let raising = [
            lease.renewal(),
            lease.taken_by(&worker("b")),
            lease.checkpointed(at("5")),
            lease.released(&worker("a")),
        ];
        for update in raising {
            assert!(update.is_permitted_on(Some(&lease)), "{update:?}");
            assert_eq!(update.applied_to(&lease).counter, Counter(8), "{update:?}");
            let mut moved = lease.clone();
            moved.counter = Counter(8);
            assert!(
                !update.is_permitted_on(Some(&moved)),
                "{update:?} on a moved counter"
            );
            assert!(!update.is_permitted_on(None), "{update:?} on a missing row");
        }
        for update in [
            lease.with_children(vec![ShardId::new("shardId-1")]),
            lease.with_hash_range(HashRange::FULL),
        ] {
            assert_eq!(update.applied_to(&lease).counter, Counter(7));
            assert!(!update.is_permitted_on(None));
        }
    }

    #[test]
    fn taking_counts_a_switch_only_from_another_owner() {
        let mut own = lease();
        assert_eq!(
            own.taken_by(&worker("b")).applied_to(&own).owner_switches,
            1
        );
        assert_eq!(
            own.taken_by(&worker("a")).applied_to(&own).owner_switches,
            0
        );
        own.owner = None;
        assert_eq!(
            own.taken_by(&worker("b")).applied_to(&own).owner_switches,
            0
        );
    }

    #[test]
    fn taking_drops_a_stray_hand_off() {
        let mut stray = lease();
        stray.checkpoint_owner = Some(worker("c"));
        assert_eq!(
            stray
                .taken_by(&worker("b"))
                .applied_to(&stray)
                .checkpoint_owner,
            None
        );
    }

    #[test]
    fn release_is_only_for_the_owner() {
        let lease = lease();
        assert!(!lease.released(&worker("b")).is_permitted_on(Some(&lease)));
        assert_eq!(lease.released(&worker("a")).applied_to(&lease).owner, None);
    }

    #[test]
    fn a_lost_answer_is_told_from_a_lost_lease() {
        let before = lease();
        let update = before.checkpointed(at("5"));
        assert!(update.is_proven_by(&before, &update.applied_to(&before)));
        // Not applied.
        assert!(!update.is_proven_by(&before, &before));
        // Somebody took it.
        let taken = before.taken_by(&worker("b")).applied_to(&before);
        assert!(!update.is_proven_by(&before, &taken));
        // A renewal of mine went through instead: the checkpoint did not.
        assert!(!update.is_proven_by(&before, &before.renewal().applied_to(&before)));
        // Applied, and somebody wrote after it.
        let later = update.applied_to(&before);
        let later = later.renewal().applied_to(&later);
        assert!(!update.is_proven_by(&before, &later));
    }

    #[test]
    fn children_have_no_order() {
        let ids = |names: &[&str]| names.iter().map(ShardId::new).collect::<Vec<_>>();
        let before = lease();
        let update = before.with_children(ids(&["b", "a"]));
        let mut read_back = update.applied_to(&before);
        read_back.children = ids(&["a", "b"]);
        assert!(update.is_proven_by(&before, &read_back));
        read_back.children = ids(&["a"]);
        assert!(!update.is_proven_by(&before, &read_back));
    }

    #[test]
    fn a_delete_needs_the_row_that_was_looked_at() {
        let lease = lease();
        let deletion = LeaseDeletion::of(&lease);
        assert!(deletion.is_permitted_on(Some(&lease)));
        assert!(!deletion.is_permitted_on(Some(&lease.renewal().applied_to(&lease))));
        assert!(!deletion.is_permitted_on(None));
    }
}
