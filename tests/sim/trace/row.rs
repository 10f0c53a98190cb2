//! Rows of the lease table as the simulation keeps them.

use std::collections::BTreeMap;

use kcl_daemon::core::ids::{LeaseKey, WorkerId};
use kcl_daemon::core::leader_lock::LockItem;
use kcl_daemon::core::lease::Lease;
use kcl_daemon::core::migration::MigrationItem;
use kcl_daemon::core::migration::client_version::{self, ClientVersion};
use kcl_daemon::core::migration::single_table::{self, TableStatus};
use kcl_daemon::core::worker_stats::WorkerMetricStats;

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// A lease, and attributes of it that nobody knows.
    Lease {
        /// The lease.
        lease: Lease,
        /// Attribute → value.
        extra: BTreeMap<String, String>,
    },
    /// Anything else.
    Item {
        /// Its key.
        key: LeaseKey,
        /// What it is.
        item: Item,
    },
}

/// A row that is no lease.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// The lock of the leader.
    Leader(LockItem),
    /// What a worker says of its load.
    Metrics(WorkerMetricStats),
    /// How far the fleet is from one algorithm to the other.
    ClientVersion(MigrationItem<ClientVersion>),
    /// How far the move into one table is.
    TableStatus(MigrationItem<TableStatus>),
    /// Another item of the 3.x coordination, of this `entityType`.
    Foreign(String),
    /// It looks like a lease and cannot be read.
    Garbage,
}

impl Row {
    /// A lease without unknown attributes.
    pub fn lease(lease: Lease) -> Self {
        Self::Lease {
            lease,
            extra: BTreeMap::new(),
        }
    }

    /// The lock of the leader.
    pub fn leader(item: LockItem) -> Self {
        Self::Item {
            key: LeaseKey::new(kcl_daemon::core::leader_lock::KEY),
            item: Item::Leader(item),
        }
    }

    /// How far the fleet is from one algorithm to the other.
    pub fn client_version(item: MigrationItem<ClientVersion>) -> Self {
        Self::Item {
            key: LeaseKey::new(client_version::KEY),
            item: Item::ClientVersion(item),
        }
    }

    /// How far the move into one table is.
    pub fn table_status(item: MigrationItem<TableStatus>) -> Self {
        Self::Item {
            key: LeaseKey::new(single_table::KEY),
            item: Item::TableStatus(item),
        }
    }

    /// What a worker says of its load.
    pub fn metrics(stats: WorkerMetricStats) -> Self {
        Self::Item {
            key: LeaseKey::new(stats.worker.as_str()),
            item: Item::Metrics(stats),
        }
    }

    /// Its key.
    pub fn key(&self) -> &LeaseKey {
        match self {
            Self::Lease { lease, .. } => &lease.key,
            Self::Item { key, .. } => key,
        }
    }

    /// The lease it is.
    pub fn as_lease(&self) -> Option<&Lease> {
        match self {
            Self::Lease { lease, .. } => Some(lease),
            Self::Item { .. } => None,
        }
    }

    /// Whether it is a lease that somebody holds.
    pub fn is_owned(&self) -> bool {
        self.as_lease().is_some_and(|lease| lease.owner.is_some())
    }

    /// The lock it is.
    pub fn as_leader(&self) -> Option<&LockItem> {
        match self {
            Self::Item {
                item: Item::Leader(lock),
                ..
            } => Some(lock),
            _ => None,
        }
    }

    /// The state of the migration it is.
    pub fn as_client_version(&self) -> Option<&MigrationItem<ClientVersion>> {
        match self {
            Self::Item {
                item: Item::ClientVersion(item),
                ..
            } => Some(item),
            _ => None,
        }
    }

    /// The state of the move into one table it is.
    pub fn as_table_status(&self) -> Option<&MigrationItem<TableStatus>> {
        match self {
            Self::Item {
                item: Item::TableStatus(item),
                ..
            } => Some(item),
            _ => None,
        }
    }

    /// The metrics it is.
    pub fn as_metrics(&self) -> Option<&WorkerMetricStats> {
        match self {
            Self::Item {
                item: Item::Metrics(stats),
                ..
            } => Some(stats),
            _ => None,
        }
    }

    /// Who may process the shard of the lease that it is.
    pub fn actual_owner(&self) -> Option<&WorkerId> {
        self.as_lease().and_then(Lease::actual_owner)
    }
}
