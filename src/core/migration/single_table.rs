//! From three tables to one: the table-migration state machine (`leases.md` D.3) and where everything
//! is read and written meanwhile (A.7).
//!
//! KCL 3.0 to 3.4 keep coordinator items and worker metrics in two tables of their own; 3.5 moves them
//! into the lease table. Only applications that ran 3.0 to 3.4 go through this; for all others the two
//! tables do not exist and the status is COMPLETE from the start, in memory only.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::core::ids::WorkerId;
use crate::core::leader_lock;
use crate::core::lease::Lease;
use crate::core::migration::{ItemCondition, ItemWrite, MigrationItem};
use crate::core::time::WallTime;
use crate::core::worker_stats::{SUPPORT_CODE, WorkerMetricStats};

/// The key of the item.
pub const KEY: &str = "TableMigration3.5";

/// How long all workers must support the single table before the application counts as deployed.
pub const DEPLOYED_BAKE: Duration = Duration::from_secs(3600);

/// How many coordinator items one transaction moves.
pub const BATCH: usize = 25;

/// The status, in the order in which a migration goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableStatus {
    /// All is in the old tables.
    Init,
    /// All workers can read the new layout.
    Deployed,
    /// All workers write the new layout.
    Pending,
    /// All is in the lease table, for good.
    Complete,
}

impl TableStatus {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Init, Self::Deployed, Self::Pending, Self::Complete];

    /// The word in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Init => "TABLE_MIGRATION_STATUS_INIT",
            Self::Deployed => "TABLE_MIGRATION_STATUS_DEPLOYED",
            Self::Pending => "TABLE_MIGRATION_STATUS_PENDING",
            Self::Complete => "TABLE_MIGRATION_STATUS_COMPLETE",
        }
    }

    /// The status of a word in the table.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// The bake time before COMPLETE as it takes effect: one hour to seven days, whatever is configured
/// (`tableMigrationCompleteBakeTimeSeconds`).
#[must_use]
pub fn complete_bake(configured: Duration) -> Duration {
    configured.clamp(Duration::from_secs(3600), Duration::from_secs(7 * 86_400))
}

/// `migrateAllEntitiesToLeaseTable` came too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "migrateAllEntitiesToLeaseTable = true, but not every worker has run with false for an hour: \
     start all workers with false first and wait until '{KEY}' says {}",
    TableStatus::Deployed.as_str()
)]
pub struct TooEarly;

/// The status of a worker that starts. `legacy_exists` is about the CoordinatorState table, `stored` is
/// what that table says, `migrate` is `migrateAllEntitiesToLeaseTable`.
///
/// # Errors
/// [`TooEarly`]: Java does not start then, and neither must we.
pub const fn at_start(
    legacy_exists: bool,
    stored: Option<TableStatus>,
    migrate: bool,
) -> Result<TableStatus, TooEarly> {
    use TableStatus::{Complete, Deployed, Init, Pending};
    match (stored, legacy_exists, migrate) {
        (Some(Complete), _, _) | (None, false, _) => Ok(Complete),
        (None | Some(Init), _, true) => Err(TooEarly),
        (None | Some(Init), _, false) => Ok(Init),
        (Some(Deployed | Pending), _, false) => Ok(Deployed),
        (Some(Deployed | Pending), _, true) => Ok(Pending),
    }
}

/// The status of a running worker after another look at what is stored.
#[must_use]
pub const fn refreshed(
    local: TableStatus,
    stored: Option<TableStatus>,
    migrate: bool,
) -> TableStatus {
    match (local, stored) {
        (TableStatus::Complete, _) => TableStatus::Complete,
        (local, None) => local,
        (_, Some(stored)) => match at_start(true, Some(stored), migrate) {
            Ok(status) => status,
            Err(TooEarly) => stored,
        },
    }
}

/// One of the places where items live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// The table of its own that 3.0 to 3.4 made.
    Legacy,
    /// The lease table.
    LeaseTable,
}

/// Where everything is read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routing {
    /// Coordinator items (`Migration3.0`, streams) are looked up here, in this order.
    pub coordinator_reads: &'static [Place],
    /// Coordinator items are written here.
    pub coordinator_writes: Place,
    /// The leader lock lives here.
    pub lock: Place,
    /// This worker's metrics item is written here.
    pub metrics_writes: Place,
    /// Metrics items are read here.
    pub metrics_reads: &'static [Place],
}

/// Where `TableMigration3.5` itself is read and written before COMPLETE: always the legacy table.
pub const ITEM_LIVES_IN: Place = Place::Legacy;

/// Where everything is read and written by a worker that started with one status and sees another now.
/// Reads and the lock follow the status of now; writes keep to the one of the start (`leases.md`,
/// corrections to A.7), so that a worker changes where it writes only by being restarted.
#[must_use]
pub const fn routing(at_start: TableStatus, now: TableStatus) -> Routing {
    use Place::{LeaseTable, Legacy};
    const BOTH: &[Place] = &[Legacy, LeaseTable];
    const ONE: &[Place] = &[LeaseTable];
    let reads = match now {
        TableStatus::Complete => ONE,
        _ => BOTH,
    };
    let writes = match at_start {
        TableStatus::Init | TableStatus::Deployed => Legacy,
        TableStatus::Pending | TableStatus::Complete => LeaseTable,
    };
    Routing {
        coordinator_reads: reads,
        coordinator_writes: writes,
        lock: match now {
            TableStatus::Complete => LeaseTable,
            _ => Legacy,
        },
        metrics_writes: writes,
        metrics_reads: reads,
    }
}

/// What a leader's scan says about the progress of the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Every lease owner supports the single table, and says so afresh. False without any owner.
    pub all_support: bool,
    /// Every lease owner has a fresh metrics item somewhere.
    pub all_report: bool,
    /// Nobody writes metrics to the legacy table any more.
    pub legacy_metrics_silent: bool,
}

impl Summary {
    /// Sums up a scan. Owners of expired leases count like others, as in Java, where the filter for
    /// them runs too early to find any.
    #[must_use]
    pub fn of(
        leases: &[Lease],
        in_lease_table: &[WorkerMetricStats],
        in_legacy_table: &[WorkerMetricStats],
        now: WallTime,
        report_interval: Duration,
    ) -> Self {
        let owners: HashSet<&WorkerId> = leases
            .iter()
            .filter_map(|lease| lease.owner.as_ref())
            .collect();
        let mut fresh: HashSet<&WorkerId> = HashSet::new();
        // The item with the newer time of its support code speaks for a worker that has two.
        let mut speaks: HashMap<&WorkerId, &WorkerMetricStats> = HashMap::new();
        for stats in in_lease_table.iter().chain(in_legacy_table) {
            if stats.is_fresh(now, report_interval) {
                fresh.insert(&stats.worker);
            }
            let known = speaks.entry(&stats.worker).or_insert(stats);
            if stats.support_updated > known.support_updated {
                *known = stats;
            }
        }
        let supports = |owner: &&WorkerId| {
            speaks
                .get(*owner)
                .is_some_and(|stats| stats.support(now, report_interval) >= SUPPORT_CODE)
        };
        Self {
            all_support: !owners.is_empty() && owners.iter().all(supports),
            all_report: owners.iter().all(|owner| fresh.contains(owner)),
            legacy_metrics_silent: !in_legacy_table
                .iter()
                .any(|stats| stats.is_fresh(now, report_interval)),
        }
    }
}

/// How far the leader's moving of coordinator items has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Moving {
    /// Not begun, or failed: it starts anew.
    #[default]
    Not,
    /// Under way.
    UnderWay,
    /// All items that were there are moved.
    Done,
}

/// What the leader looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderView<'a> {
    /// Its own status.
    pub local: TableStatus,
    /// The item, from the legacy table.
    pub stored: Option<&'a MigrationItem<TableStatus>>,
    /// From its last assignment run; `None` before the first.
    pub summary: Option<Summary>,
    /// Its moving of items.
    pub moving: Moving,
    /// Whether the legacy coordinator table holds nothing but the lock and the item; looked up only
    /// when [`LeaderStep::LookAtLegacy`] asked for it.
    pub legacy_is_empty: Option<bool>,
    /// The bake time before COMPLETE, as [`complete_bake`] gives it.
    pub bake: Duration,
    /// Now.
    pub now: WallTime,
}

/// What the leader does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaderStep {
    /// Nothing.
    Nothing,
    /// Write the item into the legacy table.
    Write(ItemWrite<TableStatus>),
    /// Delete the item: the fleet went back. Whoever deletes relies on this status.
    Delete(TableStatus),
    /// The table is ahead of the local status: follow it.
    Follow(TableStatus),
    /// Start moving the coordinator items, see [`movable`].
    StartMoving,
    /// Stop moving: somebody writes to the legacy tables again.
    StopMoving,
    /// Look whether the legacy coordinator table is empty, then ask again.
    LookAtLegacy,
    /// Write COMPLETE into both tables, in one transaction that also checks that I hold the lock; then
    /// give the lock up, because from now on it lives in the lease table.
    Complete(ItemWrite<TableStatus>),
}

/// What the leader does at each turn until COMPLETE.
#[must_use]
pub fn leader_step(view: LeaderView<'_>, me: &WorkerId) -> LeaderStep {
    use TableStatus::{Complete, Deployed, Init, Pending};
    let stored = view.stored.map(|item| item.now.state);
    let write = |status: TableStatus| LeaderStep::Write(change(view.stored, status, me, view.now));
    match (view.local, stored) {
        (Complete, _) => LeaderStep::Nothing,
        (_, Some(Complete)) => LeaderStep::Follow(Complete),
        (Init, stored) => match (view.summary, stored) {
            // Nobody has looked at the fleet yet. Java takes that for a fleet that does not support the
            // single table and starts the hour anew at every change of leader.
            (None, _) => LeaderStep::Nothing,
            (Some(fleet), Some(Init)) if !fleet.all_support => LeaderStep::Delete(Init),
            (Some(fleet), _) if !fleet.all_support => LeaderStep::Nothing,
            (Some(_), None) => write(Init),
            (Some(_), Some(Deployed)) => LeaderStep::Follow(Deployed),
            (Some(_), Some(Init)) if baked(view.stored, DEPLOYED_BAKE, view.now) => write(Deployed),
            (Some(_), Some(_)) => LeaderStep::Nothing,
        },
        (Deployed, Some(Pending)) => write(Deployed),
        (Deployed, _) => LeaderStep::Nothing,
        // Somebody deleted the item by hand.
        (Pending, None) => write(Deployed),
        (Pending, Some(Pending)) => match (silent(view.summary), view.legacy_is_empty) {
            (false, _) | (true, Some(false)) => write(Deployed),
            (true, None) => LeaderStep::LookAtLegacy,
            (true, Some(true)) if baked(view.stored, view.bake, view.now) => {
                LeaderStep::Complete(change(view.stored, Complete, me, view.now))
            }
            (true, Some(true)) => LeaderStep::Nothing,
        },
        (Pending, Some(_)) => match (silent(view.summary), view.moving, view.legacy_is_empty) {
            (false, Moving::UnderWay | Moving::Done, _) => LeaderStep::StopMoving,
            (false, Moving::Not, _) | (true, Moving::UnderWay, _) => LeaderStep::Nothing,
            (true, Moving::Not, _) => LeaderStep::StartMoving,
            (true, Moving::Done, None) => LeaderStep::LookAtLegacy,
            (true, Moving::Done, Some(false)) => LeaderStep::StartMoving,
            (true, Moving::Done, Some(true)) => write(Pending),
        },
    }
}

/// Whether all lease owners report, and none to the legacy table.
fn silent(summary: Option<Summary>) -> bool {
    summary.is_some_and(|summary| summary.all_report && summary.legacy_metrics_silent)
}

fn baked(stored: Option<&MigrationItem<TableStatus>>, bake: Duration, now: WallTime) -> bool {
    stored.is_some_and(|item| {
        let elapsed = now.seconds().saturating_sub(item.now.modified_at.seconds());
        u64::try_from(elapsed).is_ok_and(|elapsed| elapsed >= bake.as_secs())
    })
}

fn change(
    stored: Option<&MigrationItem<TableStatus>>,
    status: TableStatus,
    me: &WorkerId,
    now: WallTime,
) -> ItemWrite<TableStatus> {
    match stored {
        None => ItemWrite {
            condition: ItemCondition::Absent,
            item: MigrationItem::created(TableStatus::Init, status, me.as_str(), now),
        },
        Some(item) => ItemWrite {
            condition: ItemCondition::State(item.now.state),
            item: item.moved_to(status, me.as_str(), now),
        },
    }
}

/// Whether a coordinator item is moved to the lease table: all but the lock and the status itself.
#[must_use]
pub fn movable(key: &str) -> bool {
    key != leader_lock::KEY && key != KEY
}

/// The items to move, in the portions that one transaction takes: each a check that I hold the lock, a
/// conditional put and a delete per item.
#[must_use]
pub fn batches<T>(items: &[T]) -> Vec<&[T]> {
    items.chunks(BATCH).collect()
}

#[cfg(test)]
#[path = "single_table_tests.rs"]
mod tests;
