//! Counts the calls to DynamoDB by what they are for, so that costs can be compared with the formulae
//! of `leases.md` H.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use crate::core::ids::{LeaseKey, WorkerId};
use crate::core::leader_lock::{LockItem, LockOutcome, LockWrite};
use crate::core::lease::{Change, Lease, LeaseDeletion, LeaseUpdate};
use crate::core::migration::client_version::ClientVersion;
use crate::core::migration::single_table::{Place, TableStatus};
use crate::core::migration::{ItemWrite, MigrationItem};
use crate::core::worker_stats::WorkerMetricStats;
use crate::ports::{
    CoordinatorStore, Created, LeaseStore, OwnerIndex, StoreError, TableScan, WorkerMetricsStore,
    Written,
};

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident = $words:literal,)*) => {
        /// How often DynamoDB was called, by what for. A scan counts once, however many pages it has.
        #[derive(Debug, Default)]
        pub struct Calls {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        impl Calls {
            /// All counts, with what they are of.
            #[must_use]
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$(($words, self.$name.load(Ordering::Relaxed)),)*]
            }
        }
    };
}

calls! {
    /// Renewals of held leases.
    renewals = "renewals",
    /// Checkpoints.
    checkpoints = "checkpoints",
    /// Takes of the 2.x algorithm, and adoptions.
    takes = "takes",
    /// Assignments, by a leader or at the end of a hand-off.
    assignments = "assignments",
    /// Hand-offs begun.
    hand_offs = "hand-offs begun",
    /// Releases.
    releases = "releases",
    /// Notes of children and hash ranges.
    notes = "notes",
    /// Leases created, or found to exist.
    creates = "creates",
    /// Leases deleted.
    deletes = "deletes",
    /// Scans of the lease table.
    scans = "scans",
    /// Single leases read.
    reads = "lease reads",
    /// Questions to the index of leases by owner.
    queries = "index queries",
    /// The leader's lock read.
    lock_reads = "lock reads",
    /// The leader's lock written.
    lock_writes = "lock writes",
    /// Metrics items written or deleted.
    metrics_writes = "metrics writes",
    /// Scans of a separate metrics table.
    metrics_scans = "metrics scans",
    /// Items of the migrations read, moved or written.
    migrations = "migration items",
    /// Descriptions of tables.
    tables = "table descriptions",
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (what, count) in self.all() {
            if count > 0 {
                let comma = if first { "" } else { ", " };
                write!(f, "{comma}{what} {count}")?;
                first = false;
            }
        }
        if first {
            f.write_str("none")?;
        }
        Ok(())
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A store whose calls are counted.
pub struct Counted<S: ?Sized> {
    calls: Arc<Calls>,
    inner: Arc<S>,
}

impl<S: ?Sized> Counted<S> {
    /// Counts the calls to `inner`.
    #[must_use]
    pub const fn new(inner: Arc<S>, calls: Arc<Calls>) -> Self {
        Self { calls, inner }
    }
}

#[async_trait]
impl LeaseStore for Counted<dyn LeaseStore> {
    fn table(&self) -> &str {
        self.inner.table()
    }

    async fn ensure_table(&self, with_index: bool) -> Result<bool, StoreError> {
        count(&self.calls.tables);
        self.inner.ensure_table(with_index).await
    }

    async fn owner_index(&self) -> Result<OwnerIndex, StoreError> {
        count(&self.calls.tables);
        self.inner.owner_index().await
    }

    async fn create_owner_index(&self) -> Result<(), StoreError> {
        count(&self.calls.tables);
        self.inner.create_owner_index().await
    }

    async fn keys_of(&self, owner: &WorkerId) -> Result<Vec<LeaseKey>, StoreError> {
        count(&self.calls.queries);
        self.inner.keys_of(owner).await
    }

    async fn legacy_coordinator_table(&self) -> Result<Option<String>, StoreError> {
        count(&self.calls.tables);
        self.inner.legacy_coordinator_table().await
    }

    async fn scan(&self) -> Result<TableScan, StoreError> {
        count(&self.calls.scans);
        self.inner.scan().await
    }

    async fn get(&self, key: &LeaseKey) -> Result<Option<Lease>, StoreError> {
        count(&self.calls.reads);
        self.inner.get(key).await
    }

    async fn create(&self, lease: &Lease) -> Result<Created, StoreError> {
        count(&self.calls.creates);
        self.inner.create(lease).await
    }

    async fn update(&self, update: &LeaseUpdate) -> Result<Written, StoreError> {
        count(match &update.change {
            Change::Renew => &self.calls.renewals,
            Change::Checkpoint(_) => &self.calls.checkpoints,
            Change::Take { .. } => &self.calls.takes,
            Change::Assign { .. } => &self.calls.assignments,
            Change::BeginHandOff { .. } => &self.calls.hand_offs,
            Change::Release => &self.calls.releases,
            Change::SetChildren(_) | Change::SetHashRange(_) => &self.calls.notes,
        });
        self.inner.update(update).await
    }

    async fn delete(&self, deletion: &LeaseDeletion) -> Result<bool, StoreError> {
        count(&self.calls.deletes);
        self.inner.delete(deletion).await
    }
}

#[async_trait]
impl WorkerMetricsStore for Counted<dyn WorkerMetricsStore> {
    async fn put(&self, place: Place, stats: &WorkerMetricStats) -> Result<(), StoreError> {
        count(&self.calls.metrics_writes);
        self.inner.put(place, stats).await
    }

    async fn delete(&self, place: Place, stats: &WorkerMetricStats) -> Result<bool, StoreError> {
        count(&self.calls.metrics_writes);
        self.inner.delete(place, stats).await
    }

    async fn list_legacy(&self) -> Result<Vec<WorkerMetricStats>, StoreError> {
        count(&self.calls.metrics_scans);
        self.inner.list_legacy().await
    }
}

#[async_trait]
impl CoordinatorStore for Counted<dyn CoordinatorStore> {
    async fn leader(&self, place: Place) -> Result<Option<LockItem>, StoreError> {
        count(&self.calls.lock_reads);
        self.inner.leader(place).await
    }

    async fn write_leader(
        &self,
        place: Place,
        write: &LockWrite,
    ) -> Result<LockOutcome, StoreError> {
        count(&self.calls.lock_writes);
        self.inner.write_leader(place, write).await
    }

    async fn client_version(
        &self,
        place: Place,
    ) -> Result<Option<MigrationItem<ClientVersion>>, StoreError> {
        count(&self.calls.migrations);
        self.inner.client_version(place).await
    }

    async fn write_client_version(
        &self,
        place: Place,
        write: &ItemWrite<ClientVersion>,
    ) -> Result<bool, StoreError> {
        count(&self.calls.migrations);
        self.inner.write_client_version(place, write).await
    }

    async fn table_status(&self) -> Result<Option<MigrationItem<TableStatus>>, StoreError> {
        count(&self.calls.migrations);
        self.inner.table_status().await
    }

    async fn write_table_status(&self, write: &ItemWrite<TableStatus>) -> Result<bool, StoreError> {
        count(&self.calls.migrations);
        self.inner.write_table_status(write).await
    }

    async fn delete_table_status(&self, relies_on: TableStatus) -> Result<bool, StoreError> {
        count(&self.calls.migrations);
        self.inner.delete_table_status(relies_on).await
    }

    async fn legacy_items(&self) -> Result<Vec<String>, StoreError> {
        count(&self.calls.migrations);
        self.inner.legacy_items().await
    }

    async fn move_legacy_items(&self, me: &WorkerId, keys: &[String]) -> Result<bool, StoreError> {
        count(&self.calls.migrations);
        self.inner.move_legacy_items(me, keys).await
    }

    async fn complete_table_migration(
        &self,
        me: &WorkerId,
        write: &ItemWrite<TableStatus>,
    ) -> Result<bool, StoreError> {
        count(&self.calls.migrations);
        self.inner.complete_table_migration(me, write).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::testing::{MemoryStore, at, owned};

    #[tokio::test]
    async fn writes_are_counted_by_what_they_are_for() {
        let calls = Arc::new(Calls::default());
        assert_eq!(calls.to_string(), "none");
        let memory: Arc<dyn LeaseStore> = Arc::new(MemoryStore::with([owned("s", "me")]));
        let store = Counted::new(memory, Arc::clone(&calls));
        let lease = owned("s", "me");
        for update in [
            lease.renewal(),
            lease.renewal(),
            lease.checkpointed(at("5")),
            lease.released(&WorkerId::new("me")),
        ] {
            // Refused ones cost as much.
            let _ = store.update(&update).await;
        }
        let _ = store.scan().await;
        assert_eq!(
            calls.to_string(),
            "renewals 2, checkpoints 1, releases 1, scans 1"
        );
    }
}
