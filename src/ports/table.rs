//! The lease table and the items beside the leases.

use async_trait::async_trait;

use super::Place;
use crate::core::ids::{LeaseKey, WorkerId};
use crate::core::leader_lock::{LockItem, LockOutcome, LockWrite};
use crate::core::lease::{Lease, LeaseDeletion, LeaseUpdate};
use crate::core::migration::client_version::ClientVersion;
use crate::core::migration::single_table::TableStatus;
use crate::core::migration::{ItemWrite, MigrationItem};
use crate::core::worker_stats::WorkerMetricStats;

/// How a conditional write ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Written {
    /// It happened; this is the row now.
    Applied(Lease),
    /// Its condition did not hold; this is the row, if there is one and the store says.
    Lost(Option<Lease>),
    /// The answer never came: it may have happened or not. To be resolved by reading (I.7).
    Unknown(String),
}

/// How a create-if-absent ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// The row is new.
    New,
    /// The row was there already; it was left as it is.
    Existed,
}

/// A failure of the lease table that certainly wrote nothing, sorted by what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Too many requests: back off.
    #[error("{0}")]
    Throttled(String),
    /// The table does not exist.
    #[error("{0}")]
    TableMissing(String),
    /// The credentials do not allow the call; a person has to act.
    #[error("{0}")]
    Denied(String),
    /// The network or the service failed: try again.
    #[error("{0}")]
    Unavailable(String),
    /// Trying again will not help.
    #[error("{0}")]
    Fatal(String),
}

impl StoreError {
    /// Whether the same call may succeed later without anybody's help.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Throttled(_) | Self::Unavailable(_))
    }
}

/// A row of the lease table that is no lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignItem {
    /// Its key.
    pub key: String,
    /// Its `entityType`, or what its key says it is.
    pub kind: String,
}

/// A row that looks like a lease and cannot be read (I.13).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableRow {
    /// Its key.
    pub key: String,
    /// Which attribute is wrong, and how.
    pub reason: String,
}

/// Everything in the lease table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TableScan {
    /// The leases.
    pub leases: Vec<Lease>,
    /// Items of the 3.x coordination, whatever they are.
    pub foreign: Vec<ForeignItem>,
    /// The leader's row, if it is here.
    pub leader: Option<LockItem>,
    /// `Migration3.0`, if it is here.
    pub client_version: Option<MigrationItem<ClientVersion>>,
    /// Those of them that are workers' metrics.
    pub metrics: Vec<WorkerMetricStats>,
    /// Rows to report; they never stop the handling of others.
    pub unreadable: Vec<UnreadableRow>,
    /// Estimated size of what was read, bytes; what a scan costs.
    pub bytes: usize,
}

/// Whether the table's index of leases by owner can be asked (`leases.md` A.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerIndex {
    /// There is none.
    Absent,
    /// It is being made; minutes on a table that exists.
    Building,
    /// It can be asked.
    Active,
    /// It is being deleted.
    Deleting,
}

/// The lease table.
#[async_trait]
pub trait LeaseStore: Send + Sync {
    /// Its name, for messages.
    fn table(&self) -> &str;

    /// Creates the table when it is missing, with the index of leases by owner or without, and waits
    /// until it can be used (not for the index). `true` when it was created.
    async fn ensure_table(&self, with_index: bool) -> Result<bool, StoreError>;

    /// Whether the index of leases by owner can be asked.
    async fn owner_index(&self) -> Result<OwnerIndex, StoreError>;

    /// Asks for that index unless it is there; does not wait for it.
    async fn create_owner_index(&self) -> Result<(), StoreError>;

    /// The keys of the leases that have this owner, by the index (eventually consistent).
    async fn keys_of(&self, owner: &WorkerId) -> Result<Vec<LeaseKey>, StoreError>;

    /// What shows that a KCL 3.0 to 3.4 fleet works here: the name of its coordinator table, if it
    /// exists (`leases.md` D.4).
    async fn legacy_coordinator_table(&self) -> Result<Option<String>, StoreError>;

    /// Reads the whole table (eventually consistent).
    async fn scan(&self) -> Result<TableScan, StoreError>;

    /// Reads one lease, strongly consistent. A row that cannot be read is an error that says why.
    async fn get(&self, key: &LeaseKey) -> Result<Option<Lease>, StoreError>;

    /// Creates a row unless it exists.
    async fn create(&self, lease: &Lease) -> Result<Created, StoreError>;

    /// Carries out one conditional write, tried exactly once.
    async fn update(&self, update: &LeaseUpdate) -> Result<Written, StoreError>;

    /// Deletes a finished lease if it is still what was looked at; `false` when it is not.
    async fn delete(&self, deletion: &LeaseDeletion) -> Result<bool, StoreError>;
}

// -------------------------------------------------------------------------------- items beside the leases

/// The items by which a fleet coordinates itself.
#[async_trait]
pub trait CoordinatorStore: Send + Sync {
    /// The leader's row, strongly consistent.
    async fn leader(&self, place: Place) -> Result<Option<LockItem>, StoreError>;

    /// Carries out one conditional write on the leader's row, tried exactly once. An error means that
    /// nothing was written.
    async fn write_leader(
        &self,
        place: Place,
        write: &LockWrite,
    ) -> Result<LockOutcome, StoreError>;

    /// `Migration3.0`, strongly consistent; none also when the table is not there.
    async fn client_version(
        &self,
        place: Place,
    ) -> Result<Option<MigrationItem<ClientVersion>>, StoreError>;

    /// Writes it; `false` when its condition did not hold. After an error it has to be read again.
    async fn write_client_version(
        &self,
        place: Place,
        write: &ItemWrite<ClientVersion>,
    ) -> Result<bool, StoreError>;

    /// `TableMigration3.5`, from the legacy table, which alone counts (`leases.md` D.3).
    async fn table_status(&self) -> Result<Option<MigrationItem<TableStatus>>, StoreError>;

    /// Writes it into the legacy table; as [`CoordinatorStore::write_client_version`].
    async fn write_table_status(&self, write: &ItemWrite<TableStatus>) -> Result<bool, StoreError>;

    /// Deletes it from the legacy table if it still says this.
    async fn delete_table_status(&self, relies_on: TableStatus) -> Result<bool, StoreError>;

    /// The keys of the coordinator items in the legacy table that belong into the lease table.
    async fn legacy_items(&self) -> Result<Vec<String>, StoreError>;

    /// Moves such items, at most as many as go into one transaction, while `me` is the leader.
    async fn move_legacy_items(&self, me: &WorkerId, keys: &[String]) -> Result<bool, StoreError>;

    /// Writes the end of the table migration into both tables at once, while `me` is the leader.
    async fn complete_table_migration(
        &self,
        me: &WorkerId,
        write: &ItemWrite<TableStatus>,
    ) -> Result<bool, StoreError>;
}

/// The metrics items of the workers. Those in the lease table are read with its scan.
#[async_trait]
pub trait WorkerMetricsStore: Send + Sync {
    /// Writes the item; attributes that other versions keep in it stay.
    async fn put(&self, place: Place, stats: &WorkerMetricStats) -> Result<(), StoreError>;

    /// Deletes the item if it was not written since `stats` was; `false` when it was.
    async fn delete(&self, place: Place, stats: &WorkerMetricStats) -> Result<bool, StoreError>;

    /// The items of the separate table; none when it does not exist.
    async fn list_legacy(&self) -> Result<Vec<WorkerMetricStats>, StoreError>;
}

/// What the load of this worker can be measured from (`leases.md` C.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadSource {
    /// A task on ECS.
    Ecs,
    /// A container with a CPU limit: control groups of version 2.
    CgroupV2,
    /// The same, of version 1.
    CgroupV1,
    /// An EC2 instance.
    Host,
    /// Nothing: the load is that of the leases.
    Nothing,
}

/// Measures how busy this worker's host or container is.
#[async_trait]
pub trait LoadProbe: Send + Sync {
    /// Finds out where the worker runs. May take seconds off AWS.
    async fn detect(&self) -> LoadSource;

    /// The share of the CPU used since the last sample, 0 to 100; `None` when it could not be had.
    async fn sample(&self) -> Option<f64>;
}
