//! What the coordinator is told, and what it tells.

use std::time::Duration;

use tokio::sync::watch;

use super::versions::Standing;
use crate::core::assignment::problem::Settings as AssignmentSettings;
use crate::core::assignment::taker::Limits;
use crate::core::ids::{LeaseKey, ShardId, WorkerId};
use crate::core::sequence::InitialPosition;
use crate::ports::Place;
use crate::worker::consumer::{ConsumerPorts, ConsumerStatus};
use crate::worker::keeper::KeeperPorts;
use crate::worker::leadership::LeadershipPorts;
use crate::worker::reporter::{ReportPorts, ReportSettings};

/// What the configuration says about leases.
#[derive(Debug, Clone, PartialEq)]
pub struct LeaseSettings {
    /// `failoverTimeMillis`.
    pub failover: Duration,
    /// `gracefulLeaseHandoffTimeoutMillis`.
    pub hand_off_timeout: Duration,
    /// `maxLeasesForWorker`, `maxLeasesToStealAtOneTime`, `enablePriorityLeaseAssignment`. Whether
    /// finished leases count is found out from the table.
    pub limits: Limits,
    /// Where shards without checkpoint start.
    pub initial_position: InitialPosition,
    /// `ignoreUnexpectedChildShards`.
    pub ignore_unexpected_children: bool,
    /// `cleanupLeasesUponShardCompletion`.
    pub clean_up: bool,
    /// Not `skipShardSyncAtWorkerInitializationIfLeasesExist`.
    pub repair_at_start: bool,
    /// `leaseAssignmentIntervalMillis`.
    pub assignment_interval: Duration,
    /// `varianceBalancingFrequency`: load is evened out at each n-th run at the interval.
    pub balancing_frequency: u32,
    /// `staleWorkerMetricsEntryCleanupDuration`.
    pub stale_metrics: Duration,
    /// How a leader assigns. Whether finished leases count is found out from the table.
    pub assignment: AssignmentSettings,
    /// The report of this worker's load.
    pub report: ReportSettings,
}

/// One worker, as it joins a fleet.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its id.
    pub id: WorkerId,
    /// Where it stands in the fleet's migrations.
    pub standing: Standing,
    /// Whether whoever had the id before is known to be dead.
    pub resume_at_once: bool,
}

/// By which algorithm leases come to this worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// That of KCL 2.x: every worker takes for itself.
    Taking,
    /// That of KCL 3.x: a leader assigns.
    Assigned,
}

impl Algorithm {
    /// What it means, behind "from now on".
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Taking => "every worker takes leases for itself (the algorithm of KCL 2.x)",
            Self::Assigned => "a leader assigns the leases (the algorithm of KCL 3.x)",
        }
    }
}

/// What a worker does in the fleet it is part of (`leases.md` A.7, D.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conduct {
    /// How leases come to it.
    pub algorithm: Algorithm,
    /// Whether it reports its load.
    pub reports: bool,
    /// Whether it sees to the index of leases by owner.
    pub creates_index: bool,
    /// Where the leader's lock is.
    pub lock_place: Place,
    /// Where its own metrics go.
    pub metrics_place: Place,
    /// Whether other workers' metrics may also be in a table of their own.
    pub legacy_metrics: bool,
}

/// How long an end may take (`shutdownGraceMillis`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace {
    /// For children to finish their batch and checkpoint; zero does not wait for them at all.
    pub children: Duration,
    /// After that, for killing children and releasing leases.
    pub release: Duration,
}

impl Grace {
    /// Splits the whole time: a third of it, at most 5 s, is kept for releasing and killing
    /// (`decisions.md`). Zero by hand still leaves 5 s for the releases.
    #[must_use]
    pub fn of(whole: Duration) -> Self {
        const RELEASE: Duration = Duration::from_secs(5);
        if whole.is_zero() {
            return Self {
                children: Duration::ZERO,
                release: RELEASE,
            };
        }
        let release = (whole / 3).min(RELEASE);
        Self {
            children: whole - release,
            release,
        }
    }
}

/// Everything the coordinator works with.
#[derive(Clone)]
pub struct CoordinatorPorts {
    /// For keepers: clients of the renewal thread.
    pub keeper: KeeperPorts,
    /// For consumers, and for the coordinator's own calls.
    pub consumer: ConsumerPorts,
    /// For the election: clients of the renewal thread.
    pub coordination: LeadershipPorts,
    /// For the report of this worker's load.
    pub report: ReportPorts,
}

/// How the worker is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopRequest {
    /// Not at all.
    Run,
    /// Children checkpoint, leases are released.
    Graceful,
    /// Children are killed, leases released.
    AtOnce,
}

/// How the worker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerEnd {
    /// It was asked to, and everything was given up in order.
    Stopped,
    /// It was asked to, but children had to be killed, or leases could not be released in time.
    Cut,
    /// A child failed and the policy says that the daemon ends.
    ChildFailed(ShardId),
    /// Another process works under its id; the sentence says how that showed.
    SharesItsId(String),
    /// It cannot go on; the sentence says why.
    Failed(String),
}

/// One lease held by this worker, for status.
#[derive(Debug, Clone)]
pub struct HeldStatus {
    /// The lease.
    pub key: LeaseKey,
    /// What its consumer is doing at the moment of looking; `None` once the shard is finished.
    pub consumer: Option<watch::Receiver<ConsumerStatus>>,
}

impl HeldStatus {
    /// Whether it is the same consumer, whatever that is doing.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.key == other.key
            && match (&self.consumer, &other.consumer) {
                (Some(one), Some(another)) => one.same_channel(another),
                (None, None) => true,
                _ => false,
            }
    }
}
