//! From the 2.x algorithm to the leader: the client-version state machine (`leases.md` D.1).
//!
//! Its state is the item `Migration3.0`, which workers and operators' tools write and every worker of
//! KCL 3 follows.

use std::collections::HashMap;
use std::time::Duration;

use crate::core::ids::WorkerId;
use crate::core::lease::Lease;
use crate::core::migration::{ItemCondition, ItemWrite, MigrationItem};
use crate::core::time::{Moment, WallTime};
use crate::core::worker_stats::WorkerMetricStats;

/// The key of the item.
pub const KEY: &str = "Migration3.0";

/// How often a worker looks whether the item has changed.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(60);

/// How often the leader looks whether the fleet is ready.
pub const READY_INTERVAL: Duration = Duration::from_secs(60);

/// How long the fleet must have been ready without a break before it flips.
pub const READY_FOR: Duration = Duration::from_secs(600);

/// The state, with Java's names for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientVersion {
    /// Nothing is decided; never stored as the state, but in the history of a new item.
    Init,
    /// 2.x algorithm; getting ready for the leader.
    UpgradeFrom2x,
    /// 2.x algorithm; rolled back by an operator.
    V2x,
    /// A leader assigns; an operator may roll back.
    V3xWithRollback,
    /// A leader assigns, for good.
    V3x,
}

impl ClientVersion {
    /// All states.
    pub const ALL: [Self; 5] = [
        Self::Init,
        Self::UpgradeFrom2x,
        Self::V2x,
        Self::V3xWithRollback,
        Self::V3x,
    ];

    /// The word in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Init => "CLIENT_VERSION_INIT",
            Self::UpgradeFrom2x => "CLIENT_VERSION_UPGRADE_FROM_2X",
            Self::V2x => "CLIENT_VERSION_2X",
            Self::V3xWithRollback => "CLIENT_VERSION_3X_WITH_ROLLBACK",
            Self::V3x => "CLIENT_VERSION_3X",
        }
    }

    /// The state of a word in the table.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether a leader assigns the leases; else every worker takes for itself.
    #[must_use]
    pub const fn has_leader(self) -> bool {
        matches!(self, Self::V3xWithRollback | Self::V3x)
    }

    /// What a worker does in this state.
    #[must_use]
    pub const fn duties(self) -> Duties {
        let metrics = !matches!(self, Self::Init | Self::V2x);
        Duties {
            assigned_by_leader: self.has_leader(),
            reports_metrics: metrics,
            watches_version: !matches!(self, Self::Init | Self::V3x),
            watches_readiness: matches!(self, Self::UpgradeFrom2x),
            wants_index: matches!(self, Self::UpgradeFrom2x | Self::V3x),
        }
    }

    /// Whether a running worker follows the item from this state to `next`. Java takes any other change
    /// for an error and stays where it is.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::UpgradeFrom2x, Self::V3xWithRollback | Self::V2x)
                | (Self::V3xWithRollback, Self::V2x | Self::V3x)
                | (Self::V2x, Self::UpgradeFrom2x)
        )
    }
}

/// What a worker does in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duties {
    /// True: the holder of the lock leads and assigns, workers look for what they were given. False:
    /// the shuffle names the leader, and each worker takes for itself.
    pub assigned_by_leader: bool,
    /// Writes its metrics item.
    pub reports_metrics: bool,
    /// Looks at the item every [`WATCH_INTERVAL`].
    pub watches_version: bool,
    /// As leader, looks every [`READY_INTERVAL`] whether the fleet is ready for a leader.
    pub watches_readiness: bool,
    /// Has the index over owners created when it is missing.
    pub wants_index: bool,
}

/// An explicit `clientVersionConfig`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Configured {
    /// `CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1`.
    Phase1,
    /// `CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X`.
    CompatibleWith2x,
    /// `CLIENT_VERSION_CONFIG_3X`.
    V3x,
}

/// The state in which a worker starts. When it is not the stored one, the worker has to write it, see
/// [`write_of_entry`]; only [`ClientVersion::Init`] is never written.
#[must_use]
pub const fn entry(stored: Option<ClientVersion>, configured: Configured) -> ClientVersion {
    match (stored, configured) {
        (None | Some(ClientVersion::Init), Configured::Phase1) => ClientVersion::Init,
        (None | Some(ClientVersion::Init), Configured::CompatibleWith2x) => {
            ClientVersion::UpgradeFrom2x
        }
        (None | Some(ClientVersion::Init | ClientVersion::V3xWithRollback), Configured::V3x) => {
            ClientVersion::V3x
        }
        (Some(stored), _) => stored,
    }
}

/// The write that makes the item say what a worker starts with; `None` when it says so already.
///
/// A Java worker that loses this very write against us does not start (`leases.md`, corrections to
/// D.1). It reads and writes within milliseconds, so whoever sends this reads again right before, and
/// for a first `Migration3.0` it waits a minute after its own start, when starters beside it are done.
#[must_use]
pub fn write_of_entry(
    stored: Option<&MigrationItem<ClientVersion>>,
    state: ClientVersion,
    me: &WorkerId,
    now: WallTime,
) -> Option<ItemWrite<ClientVersion>> {
    match stored {
        _ if state == ClientVersion::Init => None,
        None => Some(ItemWrite {
            condition: ItemCondition::Absent,
            item: MigrationItem::created(ClientVersion::Init, state, me.as_str(), now),
        }),
        Some(item) if item.now.state == state => None,
        Some(item) => Some(ItemWrite {
            condition: ItemCondition::State(item.now.state),
            item: item.moved_to(state, me.as_str(), now),
        }),
    }
}

/// Why a fleet is not ready for a leader.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// The index over owners is missing or still being built.
    #[error("the index of leases by owner is not ready")]
    NoIndex,
    /// A lease has no owner.
    #[error("a lease has no owner")]
    Unowned,
    /// This lease owner has no fresh metrics item: it is older than KCL 3, or dead.
    #[error("worker {0} owns leases and reports no metrics: it is older than KCL 3, or dead")]
    NoMetrics(WorkerId),
}

/// Whether every worker that owns anything, dead or alive, reports metrics (`leases.md` D.1).
/// `expiry` is 60 s in Java.
///
/// # Errors
/// The first reason why not.
pub fn readiness(
    index_is_active: bool,
    leases: &[Lease],
    workers: &[WorkerMetricStats],
    now: WallTime,
    expiry: Duration,
) -> Result<(), NotReady> {
    if !index_is_active {
        return Err(NotReady::NoIndex);
    }
    let mut written: HashMap<&WorkerId, i64> = HashMap::new();
    for stats in workers {
        let at = stats.last_update.unwrap_or(i64::MIN);
        let latest = written.entry(&stats.worker).or_insert(at);
        *latest = (*latest).max(at);
    }
    let expiry = i64::try_from(expiry.as_secs()).unwrap_or(i64::MAX);
    for lease in leases {
        let owner = lease.owner.as_ref().ok_or(NotReady::Unowned)?;
        let reports = written
            .get(owner)
            .is_some_and(|at| at.saturating_add(expiry) > now.seconds());
        if !reports {
            return Err(NotReady::NoMetrics(owner.clone()));
        }
    }
    Ok(())
}

/// A condition that must hold without a break for some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stabilizer {
    since: Option<Moment>,
}

impl Stabilizer {
    /// Takes in whether the condition holds at `now`; whether it has held for `period`. Whoever stops
    /// being in charge of it says that it does not hold.
    pub fn update(&mut self, holds: bool, now: Moment, period: Duration) -> bool {
        if !holds {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        now.since(since) >= period
    }

    /// Since when the condition holds.
    #[must_use]
    pub const fn since(&self) -> Option<Moment> {
        self.since
    }
}

/// The write by which the leader flips a fleet that is ready.
#[must_use]
pub fn flip(
    stored: &MigrationItem<ClientVersion>,
    me: &WorkerId,
    now: WallTime,
) -> Option<ItemWrite<ClientVersion>> {
    (stored.now.state == ClientVersion::UpgradeFrom2x).then(|| ItemWrite {
        condition: ItemCondition::State(ClientVersion::UpgradeFrom2x),
        item: stored.moved_to(ClientVersion::V3xWithRollback, me.as_str(), now),
    })
}

#[cfg(test)]
#[path = "client_version_tests.rs"]
mod tests;
