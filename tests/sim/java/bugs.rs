//! Bugs that implementations of KCL have had.

/// One bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// #1669: the leader keeps the lock alive and assigns nothing.
    ZombieLeader,
    /// #1718: an expired hand-off whose old owner is the best worker is left alone.
    PendingHandOffAfterRestart,
    /// #1729, #1743: a lease is renewed in hand-off though no consumer is there to end it.
    HeartbeatAfterHandOff,
    /// #1765: a lease in hand-off counts as taken care of, expired or not.
    ExpiredHandOffIgnored,
    /// #1744: a lease at SHARD_END is processed again.
    RestartAtShardEnd,
    /// #1788: a checkpoint that failed puts back a copy of the lease that was renewed since.
    RevertRace,
    /// #1452: a worker that just died is given leases as long as its metrics look fresh.
    DeadWorkerAssigned,
    /// #461: a row that was deleted is never made again.
    DeletedRowForgotten,
    /// #134: a stop waits for the child for ever.
    DrainWithoutBound,
    /// #10 of the connectors: a batch over which the child failed is skipped.
    SkippedBatch,
    /// vmware-go-kcl #65: a lease is not renewed while its records are processed.
    RenewalBlockedByProcessing,
    /// vmware-go-kcl #77: a lease is renewed after its release.
    RenewalAfterRelease,
    /// vmware-go-kcl-v2 #14: one lease is taken in each cycle.
    OneLeasePerCycle,
    /// C.4: with no throughput the comparison is of NaN, and leases wander.
    NanBalance,
    /// #211: an explicit checkpoint of the last record at the end of the shard is swallowed.
    CheckpointAtEndSwallowed,
    /// `leases.md` E.1: a missing child of a finished shard is left to its parent.
    HoleNeverRepaired,
    /// C.7: a hand-off whose time is over is ended only by a balancing that happens to move the lease.
    OverdueHandOffLeft,
}

impl Bug {
    /// Those that 2.7.2 and 3.5.1 have, and so every model that works beside ours (`LeaseAssignmentManager`,
    /// `MigrationAwareLAMDataManager`, `HierarchicalShardSyncer`).
    pub const STILL_THERE: [Self; 3] = [
        Self::DeadWorkerAssigned,
        Self::HoleNeverRepaired,
        Self::OverdueHandOffLeft,
    ];
}
