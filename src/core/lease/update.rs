//! What a conditional write on a lease relies on and does (`leases.md` B.1).

use crate::core::ema::six_decimals;
use crate::core::hash_range::HashRange;
use crate::core::ids::{LeaseKey, ShardId, WorkerId};
use crate::core::laws;
use crate::core::lease::{Counter, Lease};
use crate::core::sequence::ExtendedSequenceNumber;

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
    /// Whether it leaves our mark, see [`LeaseUpdate::marked`].
    pub mark: bool,
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

    /// Leaves our mark: the attribute `kclDaemonCounter` with the value that the counter has after this
    /// write. It tells other kcl-daemons that whoever owns the lease is one of them and understands a
    /// table in which not every item is a lease; nothing else in a table of the 2.x layout says so.
    ///
    /// It is safe to write in any fleet: all versions of KCL look up the attributes they know by name
    /// and ignore others, and update leases attribute by attribute, so it survives. And it cannot be
    /// mistaken when it does: a write of anybody else raises the counter and leaves the mark behind,
    /// even if a Java worker goes on under the very same worker id. Only writes that know the counter
    /// can be marked.
    #[must_use]
    pub fn marked(mut self) -> Self {
        self.mark = self.known_next_counter().is_some();
        self
    }

    /// The counter after the write, if the write raises it from a value that it relies on.
    #[must_use]
    pub fn known_next_counter(&self) -> Option<Counter> {
        let seen = match &self.condition {
            Condition::Counter(counter)
            | Condition::CounterAndOwner(counter, _)
            | Condition::CounterNoHandOff(counter) => Some(*counter),
            Condition::Owners { counter, .. } => *counter,
            Condition::Exists => None,
        };
        let raises = !matches!(
            self.change,
            Change::BeginHandOff { .. } | Change::SetChildren(_) | Change::SetHashRange(_)
        );
        seen.filter(|_| raises).map(Counter::next)
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
        if lease.counter != before.counter {
            lease.marked = self.mark;
        }
        debug_assert!(
            laws::counter_moves_in_order(&self.change, before, &lease),
            "{self:?}"
        );
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
