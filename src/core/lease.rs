//! Leases and the writes that are legal on them, as data.
//!
//! A lease is a row of the lease table (`leases.md` A.4). Whoever changes one describes the change as
//! a [`LeaseUpdate`]: the condition it relies on and what it does. Stores carry updates out; this file
//! says what they mean, so that DynamoDB and the stores of tests cannot disagree (`leases.md` B.1).

use crate::core::ema::six_decimals;
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
    /// What the shard delivers, KB/s, as its owner last wrote it; absent until a 3.x owner knew it.
    /// Six decimals (`leases.md` A.4, C.9).
    pub throughput_kbps: Option<f64>,
}

/// The condition a write relies on. It fails when the row does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The counter is this one: nobody wrote since.
    Counter(Counter),
    /// The counter is this one and the owner is this worker.
    CounterAndOwner(Counter, WorkerId),
    /// The counter is this one and no hand-off is under way: a renewal of KCL 3, which fails on
    /// purpose when the leader has begun to move the lease.
    CounterNoHandOff(Counter),
    /// The row exists with these owners. Java's leader asks for no more; with a counter, the write
    /// also fails when an owner thought dead has shown life since.
    Owners {
        /// `leaseOwner`, or its absence.
        owner: Option<WorkerId>,
        /// `checkpointOwner`, or its absence.
        checkpoint_owner: Option<WorkerId>,
        /// The counter, when the write relies on it.
        counter: Option<Counter>,
    },
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
    /// Make a worker the owner and end any hand-off: raise the counter. Done by a leader, or by the
    /// old owner that finishes a hand-off.
    Assign {
        /// The new owner.
        owner: WorkerId,
        /// Whether this counts as a change of owner.
        switches_owner: bool,
    },
    /// Begin a graceful hand-off: the counter stays, so that the old owner can go on renewing.
    BeginHandOff {
        /// The worker that still processes; it becomes `checkpointOwner`.
        from: WorkerId,
        /// The next owner; it becomes `leaseOwner`.
        to: WorkerId,
    },
    /// Give the lease up: remove the owner, raise the counter.
    Release,
    /// Record what the shard became. Not an owner's write: the counter stays.
    SetChildren(Vec<ShardId>),
    /// Record the hash range of a lease made by an old version. The counter stays.
    SetHashRange(HashRange),
}

/// One conditional write on one lease.
#[derive(Debug, Clone, PartialEq)]
pub struct LeaseUpdate {
    /// The row.
    pub key: LeaseKey,
    /// What must hold for the write to happen.
    pub condition: Condition,
    /// What it does.
    pub change: Change,
    /// Stored along with it, KB/s, when an owner in the 3.x mode knows what the shard delivers.
    pub throughput_kbps: Option<f64>,
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

impl LeaseUpdate {
    /// Stores the shard's throughput along with this write, rounded to the six decimals of Java.
    #[must_use]
    pub fn with_throughput(mut self, kbps: Option<f64>) -> Self {
        self.throughput_kbps = kbps
            .filter(|kbps| kbps.is_finite() && *kbps >= 0.0)
            .map(six_decimals);
        self
    }

    /// Whether the write may happen on the row as it is.
    #[must_use]
    pub fn is_permitted_on(&self, current: Option<&Lease>) -> bool {
        let Some(current) = current else { return false };
        match &self.condition {
            Condition::Counter(counter) => current.counter == *counter,
            Condition::CounterAndOwner(counter, owner) => {
                current.counter == *counter && current.owner.as_ref() == Some(owner)
            }
            Condition::CounterNoHandOff(counter) => {
                current.counter == *counter && !current.in_hand_off()
            }
            Condition::Owners {
                owner,
                checkpoint_owner,
                counter,
            } => {
                current.owner == *owner
                    && current.checkpoint_owner == *checkpoint_owner
                    && counter.is_none_or(|counter| current.counter == counter)
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
            }
            | Change::Assign {
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
            Change::BeginHandOff { from, to } => {
                lease.owner = Some(to.clone());
                lease.checkpoint_owner = Some(from.clone());
            }
            Change::Release => {
                lease.counter = before.counter.next();
                lease.owner = None;
            }
            Change::SetChildren(children) => lease.children.clone_from(children),
            Change::SetHashRange(range) => lease.hash_range = Some(*range),
        }
        if self.throughput_kbps.is_some() {
            lease.throughput_kbps = self.throughput_kbps;
        }
        lease
    }

    /// Whether the row, as read after an answer that never came or a condition that failed, proves
    /// that this very write had happened on `before` (`leases.md` B.1 last note, I.6, I.7): the counter
    /// moved by exactly one and the row says what only this write would have made it say.
    ///
    /// A leader may have begun to hand the lease off right after an owner's write; that leaves the
    /// counter and the worker that processes, so it does not disprove the write.
    #[must_use]
    pub fn is_proven_by(&self, before: &Lease, current: &Lease) -> bool {
        let expected = self.applied_to(before);
        let same_owners = current.owner == expected.owner
            && current.checkpoint_owner == expected.checkpoint_owner;
        if matches!(self.change, Change::BeginHandOff { .. }) {
            // The old owner goes on renewing and checkpointing meanwhile.
            return same_owners && current.counter >= expected.counter;
        }
        current.counter == expected.counter
            && current.checkpoint == expected.checkpoint
            && match &self.change {
                Change::Renew | Change::Checkpoint(_) => {
                    current.actual_owner() == expected.actual_owner()
                }
                // Whoever takes a lease that carries its id already cannot tell its own write from one
                // of a former, or another, process of the same id.
                Change::Take { owner, .. } => {
                    before.actual_owner() != Some(owner)
                        && current.actual_owner() == expected.actual_owner()
                }
                Change::SetChildren(children) => {
                    current.owner == expected.owner && current.has_children(children)
                }
                Change::SetHashRange(_) => {
                    current.owner == expected.owner && current.hash_range == expected.hash_range
                }
                Change::Assign { .. } | Change::BeginHandOff { .. } | Change::Release => {
                    same_owners
                }
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
#[path = "lease_tests.rs"]
mod tests;
