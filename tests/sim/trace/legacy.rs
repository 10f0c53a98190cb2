//! Requests to the two tables of KCL 3.0 to 3.4.

use kcl_daemon::core::ids::WorkerId;
use kcl_daemon::core::leader_lock::LockWrite;
use kcl_daemon::core::migration::ItemWrite;
use kcl_daemon::core::migration::client_version::ClientVersion;
use kcl_daemon::core::migration::single_table::TableStatus;
use kcl_daemon::core::worker_stats::WorkerMetricStats;

/// A request to one of the two tables.
#[derive(Debug, Clone, PartialEq)]
pub enum LegacyOp {
    /// Look whether they are there.
    Exist,
    /// Read the leader's lock.
    Leader,
    /// Write it.
    WriteLeader(LockWrite),
    /// Read how far the fleet's migration is.
    ClientVersion,
    /// Write that.
    WriteClientVersion(ItemWrite<ClientVersion>),
    /// Read how far the tables' migration is.
    Status,
    /// Write that.
    WriteStatus(ItemWrite<TableStatus>),
    /// Delete it if it still says this.
    DeleteStatus(TableStatus),
    /// List the items that belong into the lease table.
    Items,
    /// Move some of them, as the leader.
    Move(WorkerId, Vec<String>),
    /// Write the end of the tables' migration into both tables, as the leader.
    Complete(WorkerId, ItemWrite<TableStatus>),
    /// Write a worker's metrics.
    PutMetrics(WorkerMetricStats),
    /// Delete a worker's metrics if they are still these.
    DeleteMetrics(WorkerMetricStats),
    /// List all metrics.
    ListMetrics,
}

impl LegacyOp {
    /// Whether it changes nothing.
    pub fn is_read(&self) -> bool {
        matches!(
            self,
            Self::Exist
                | Self::Leader
                | Self::ClientVersion
                | Self::Status
                | Self::Items
                | Self::ListMetrics
        )
    }
}
