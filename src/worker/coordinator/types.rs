//! What the coordinator is told, and what it tells.

use std::time::Duration;

use tokio::sync::watch;

use crate::core::assignment::taker::Limits;
use crate::core::ids::{LeaseKey, ShardId};
use crate::core::sequence::InitialPosition;
use crate::worker::consumer::{ConsumerPorts, ConsumerStatus};
use crate::worker::keeper::KeeperPorts;

/// What the configuration says about leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseSettings {
    /// `failoverTimeMillis`.
    pub failover: Duration,
    /// `gracefulLeaseHandoffTimeoutMillis`.
    pub hand_off_timeout: Duration,
    /// `maxLeasesForWorker`, `maxLeasesToStealAtOneTime`, `enablePriorityLeaseAssignment`.
    pub limits: Limits,
    /// Where shards without checkpoint start.
    pub initial_position: InitialPosition,
    /// `ignoreUnexpectedChildShards`.
    pub ignore_unexpected_children: bool,
    /// `cleanupLeasesUponShardCompletion`.
    pub clean_up: bool,
    /// Not `skipShardSyncAtWorkerInitializationIfLeasesExist`.
    pub repair_at_start: bool,
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
