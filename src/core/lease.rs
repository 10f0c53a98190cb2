//! Leases and the writes that are legal on them, as data.
//!
//! A lease is a row of the lease table (`leases.md` A.4). Whoever changes one describes the change as
//! a [`LeaseUpdate`]: the condition it relies on and what it does. Stores carry updates out; this file
//! says what they mean, so that DynamoDB and the stores of tests cannot disagree (`leases.md` B.1).

use crate::core::hash_range::HashRange;
use crate::core::ids::{LeaseKey, ShardId, WorkerId};
use crate::core::sequence::ExtendedSequenceNumber;

mod update;

pub use update::{Change, Condition, LeaseDeletion, LeaseUpdate};

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
    /// What the shard delivers, KB/s, as its owner last wrote it; absent until a 3.x owner knew it.
    /// Six decimals (`leases.md` A.4, C.9).
    pub throughput_kbps: Option<f64>,
    /// Whether the last write that raised the counter was a kcl-daemon's that left its mark, see
    /// [`LeaseUpdate::marked`].
    pub marked: bool,
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
            throughput_kbps: None,
            marked: false,
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

    /// Whether the leader has begun to move the lease and its old owner has not let go yet.
    #[must_use]
    pub const fn in_hand_off(&self) -> bool {
        self.checkpoint_owner.is_some()
    }

    /// Who may process the shard now: during a hand-off the old owner, else the owner.
    #[must_use]
    pub fn actual_owner(&self) -> Option<&WorkerId> {
        self.checkpoint_owner.as_ref().or(self.owner.as_ref())
    }

    fn update(&self, condition: Condition, change: Change) -> LeaseUpdate {
        LeaseUpdate {
            key: self.key.clone(),
            condition,
            change,
            throughput_kbps: None,
            mark: false,
        }
    }

    /// Shows that the owner lives.
    #[must_use]
    pub fn renewal(&self) -> LeaseUpdate {
        self.update(Condition::Counter(self.counter), Change::Renew)
    }

    /// Shows that the owner lives, in the 3.x mode: fails when a hand-off began that this copy does not
    /// know of, so that the owner learns of it (`leases.md` B.1, B.2).
    #[must_use]
    pub fn renewal_noticing_hand_off(&self) -> LeaseUpdate {
        let condition = if self.in_hand_off() {
            Condition::Counter(self.counter)
        } else {
            Condition::CounterNoHandOff(self.counter)
        };
        self.update(condition, Change::Renew)
    }

    /// Whether making `worker` the owner counts as a change of owner, by Java's rule.
    fn switches_to(&self, worker: &WorkerId) -> bool {
        self.owner.as_ref().is_some_and(|old| old != worker)
            || self.checkpoint_owner.as_ref() == Some(worker)
    }

    /// Makes `worker` the owner.
    #[must_use]
    pub fn taken_by(&self, worker: &WorkerId) -> LeaseUpdate {
        self.update(
            Condition::Counter(self.counter),
            Change::Take {
                owner: worker.clone(),
                switches_owner: self.switches_to(worker),
            },
        )
    }

    fn assign(&self, worker: &WorkerId, counter: Option<Counter>) -> LeaseUpdate {
        self.update(
            Condition::Owners {
                owner: self.owner.clone(),
                checkpoint_owner: self.checkpoint_owner.clone(),
                counter,
            },
            Change::Assign {
                owner: worker.clone(),
                switches_owner: self.switches_to(worker),
            },
        )
    }

    /// Moves the lease to `worker` at once, whatever its owner does meanwhile. Ends any hand-off.
    #[must_use]
    pub fn assigned_to(&self, worker: &WorkerId) -> LeaseUpdate {
        self.assign(worker, None)
    }

    /// Moves the lease to `worker` if nobody has written to it since: for leases that are unowned or
    /// whose owner counts as dead (I.3). Java relies on the owners alone.
    #[must_use]
    pub fn assigned_if_silent_to(&self, worker: &WorkerId) -> LeaseUpdate {
        self.assign(worker, Some(self.counter))
    }

    /// Begins a graceful hand-off to `worker` (`leases.md` C.7). `None` when there is nothing to hand
    /// off: no owner, the same worker, or a hand-off is under way.
    #[must_use]
    pub fn handed_off_to(&self, worker: &WorkerId) -> Option<LeaseUpdate> {
        let from = self.owner.as_ref()?;
        if from == worker || self.in_hand_off() {
            return None;
        }
        Some(self.update(
            Condition::Owners {
                owner: Some(from.clone()),
                checkpoint_owner: None,
                counter: None,
            },
            Change::BeginHandOff {
                from: from.clone(),
                to: worker.clone(),
            },
        ))
    }

    /// Ends a hand-off that `me` has to give way in: the next owner becomes the only one. `None` when
    /// `me` is not the old owner of a hand-off to somebody else.
    #[must_use]
    pub fn hand_off_finished_by(&self, me: &WorkerId) -> Option<LeaseUpdate> {
        let next = self.owner.as_ref()?;
        (self.checkpoint_owner.as_ref() == Some(me) && next != me).then(|| self.assigned_to(next))
    }

    /// Lets go of the lease in whatever state it is: finishes a hand-off, else releases. `None` when it
    /// is not `me` who processes it.
    #[must_use]
    pub fn given_up_by(&self, me: &WorkerId) -> Option<LeaseUpdate> {
        if self.in_hand_off() {
            self.hand_off_finished_by(me)
        } else {
            (self.owner.as_ref() == Some(me)).then(|| self.released(me))
        }
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

#[cfg(test)]
mod tests;
