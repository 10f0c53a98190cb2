//! The ports of the worker over the simulated table.

use std::sync::Arc;

use async_trait::async_trait;
use kcl_daemon::core::ids::{LeaseKey, WorkerId};
use kcl_daemon::core::leader_lock::{LockItem, LockOutcome, LockWrite};
use kcl_daemon::core::lease::{Lease, LeaseDeletion, LeaseUpdate};
use kcl_daemon::core::migration::client_version::ClientVersion;
use kcl_daemon::core::migration::single_table::{Place, TableStatus};
use kcl_daemon::core::migration::{ItemWrite, MigrationItem};
use kcl_daemon::core::worker_stats::WorkerMetricStats;
use kcl_daemon::ports::{
    CoordinatorStore, Created, ForeignItem, LeaseStore, OwnerIndex, StoreError, TableScan,
    UnreadableRow, WorkerMetricsStore, Written,
};

use super::SimStore;
use crate::trace::{Answer, Item, LegacyOp, Op, Row};

fn failed(answer: &Answer) -> StoreError {
    match answer {
        Answer::Throttled => StoreError::Throttled("throttled".to_owned()),
        _ => StoreError::Unavailable("no answer".to_owned()),
    }
}

fn lease_of(row: Option<Arc<Row>>) -> Result<Option<Lease>, StoreError> {
    match row.as_deref() {
        None => Ok(None),
        Some(Row::Lease { lease, .. }) => Ok(Some(lease.clone())),
        Some(Row::Item { key, .. }) => Err(StoreError::Fatal(format!("{key} is no lease"))),
    }
}

#[async_trait]
impl LeaseStore for SimStore {
    fn table(&self) -> &str {
        "simulated"
    }

    async fn ensure_table(&self, with_index: bool) -> Result<bool, StoreError> {
        match self.request(Op::Open(with_index)).await {
            Answer::Created(new) => Ok(new),
            answer => Err(failed(&answer)),
        }
    }

    async fn owner_index(&self) -> Result<OwnerIndex, StoreError> {
        match self.request(Op::Index).await {
            Answer::Index(state) => Ok(state),
            answer => Err(failed(&answer)),
        }
    }

    async fn create_owner_index(&self) -> Result<(), StoreError> {
        match self.request(Op::CreateIndex).await {
            Answer::Done => Ok(()),
            answer => Err(failed(&answer)),
        }
    }

    async fn keys_of(&self, owner: &WorkerId) -> Result<Vec<LeaseKey>, StoreError> {
        match self.request(Op::Query(owner.clone())).await {
            Answer::Keys(keys) => Ok(keys),
            answer => Err(failed(&answer)),
        }
    }

    async fn legacy_coordinator_table(&self) -> Result<Option<String>, StoreError> {
        // Most worlds never had those tables; nobody counts what it costs to ask for them.
        if !self.has_legacy() {
            return Ok(None);
        }
        match self.request(Op::Legacy(LegacyOp::Exist)).await {
            Answer::Created(true) => Ok(Some("simulated-CoordinatorState".to_owned())),
            Answer::Created(false) => Ok(None),
            answer => Err(failed(&answer)),
        }
    }

    async fn scan(&self) -> Result<TableScan, StoreError> {
        let rows = match self.request(Op::Scan).await {
            Answer::Rows(rows) => rows,
            answer => return Err(failed(&answer)),
        };
        let mut scan = TableScan {
            bytes: rows.len() * self.world.table().row_bytes,
            ..TableScan::default()
        };
        for row in rows {
            let key = row.key().as_str().to_owned();
            match &*row {
                Row::Lease { lease, .. } => scan.leases.push(lease.clone()),
                Row::Item { item, .. } => match item {
                    Item::Leader(lock) => {
                        scan.foreign.push(foreign(key, "LEADER"));
                        scan.leader = Some(lock.clone());
                    }
                    Item::Metrics(stats) => {
                        scan.foreign.push(foreign(key, "WORKER_METRIC_STATS"));
                        scan.metrics.push(stats.clone());
                    }
                    Item::ClientVersion(item) => {
                        scan.foreign.push(foreign(key, "CLIENT_VERSION_MIGRATION"));
                        scan.client_version = Some(item.clone());
                    }
                    Item::TableStatus(_) => scan.foreign.push(foreign(key, "TABLE_MIGRATION")),
                    Item::Foreign(kind) => scan.foreign.push(foreign(key, kind)),
                    Item::Garbage => scan.unreadable.push(UnreadableRow {
                        key,
                        reason: "it makes no sense".to_owned(),
                    }),
                },
            }
        }
        Ok(scan)
    }

    async fn get(&self, key: &LeaseKey) -> Result<Option<Lease>, StoreError> {
        match self.request(Op::Get(key.clone(), true)).await {
            Answer::Row(row) => lease_of(row),
            answer => Err(failed(&answer)),
        }
    }

    async fn create(&self, lease: &Lease) -> Result<Created, StoreError> {
        let row = Arc::new(Row::lease(lease.clone()));
        match self.request(Op::Create(row)).await {
            Answer::Created(true) => Ok(Created::New),
            Answer::Created(false) => Ok(Created::Existed),
            answer => Err(failed(&answer)),
        }
    }

    async fn update(&self, update: &LeaseUpdate) -> Result<Written, StoreError> {
        match self.request(Op::Update(update.clone())).await {
            Answer::Applied(row) => Ok(match lease_of(Some(row))? {
                Some(lease) => Written::Applied(lease),
                None => Written::Unknown("no row came back".to_owned()),
            }),
            Answer::Lost(row) => Ok(Written::Lost(lease_of(row).unwrap_or(None))),
            Answer::Unknown => Ok(Written::Unknown("no answer".to_owned())),
            answer => Err(failed(&answer)),
        }
    }

    async fn delete(&self, deletion: &LeaseDeletion) -> Result<bool, StoreError> {
        match self.request(Op::Delete(deletion.clone())).await {
            Answer::Deleted(done) => Ok(done),
            answer => Err(failed(&answer)),
        }
    }
}

fn foreign(key: String, kind: &str) -> ForeignItem {
    let kind = kind.to_owned();
    ForeignItem { key, kind }
}

/// The request for an item, in whichever table it is.
fn of(place: Place, here: Op, legacy: LegacyOp) -> Op {
    match place {
        Place::LeaseTable => here,
        Place::Legacy => Op::Legacy(legacy),
    }
}

impl SimStore {
    fn has_legacy(&self) -> bool {
        self.world.table().legacy.is_some()
    }

    async fn item(&self, op: Op) -> Result<Option<Arc<Row>>, StoreError> {
        match self.request(op).await {
            Answer::Row(row) => Ok(row),
            answer => Err(failed(&answer)),
        }
    }

    async fn is_done(&self, op: LegacyOp) -> Result<bool, StoreError> {
        happened(&self.request(Op::Legacy(op)).await)
    }
}

#[async_trait]
impl CoordinatorStore for SimStore {
    async fn leader(&self, place: Place) -> Result<Option<LockItem>, StoreError> {
        let row = self.item(of(place, Op::Leader, LegacyOp::Leader)).await?;
        Ok(row.as_deref().and_then(Row::as_leader).cloned())
    }

    async fn write_leader(
        &self,
        place: Place,
        write: &LockWrite,
    ) -> Result<LockOutcome, StoreError> {
        let (here, legacy) = (write.clone(), write.clone());
        let op = of(place, Op::WriteLeader(here), LegacyOp::WriteLeader(legacy));
        match self.request(op).await {
            Answer::Done => Ok(LockOutcome::Applied),
            Answer::Lost(_) => Ok(LockOutcome::Refused),
            Answer::Unknown => Ok(LockOutcome::Unknown),
            answer => Err(failed(&answer)),
        }
    }

    async fn client_version(
        &self,
        place: Place,
    ) -> Result<Option<MigrationItem<ClientVersion>>, StoreError> {
        if place == Place::Legacy && !self.has_legacy() {
            return Ok(None);
        }
        let op = of(place, Op::ClientVersion, LegacyOp::ClientVersion);
        let row = self.item(op).await?;
        Ok(row.as_deref().and_then(Row::as_client_version).cloned())
    }

    async fn write_client_version(
        &self,
        place: Place,
        write: &ItemWrite<ClientVersion>,
    ) -> Result<bool, StoreError> {
        let (here, legacy) = (write.clone(), write.clone());
        let legacy = LegacyOp::WriteClientVersion(legacy);
        let op = of(place, Op::WriteClientVersion(here), legacy);
        happened(&self.request(op).await)
    }

    async fn table_status(&self) -> Result<Option<MigrationItem<TableStatus>>, StoreError> {
        if !self.has_legacy() {
            return Ok(None);
        }
        let row = self.item(Op::Legacy(LegacyOp::Status)).await?;
        Ok(row.as_deref().and_then(Row::as_table_status).cloned())
    }

    async fn write_table_status(&self, write: &ItemWrite<TableStatus>) -> Result<bool, StoreError> {
        self.is_done(LegacyOp::WriteStatus(write.clone())).await
    }

    async fn delete_table_status(&self, relies_on: TableStatus) -> Result<bool, StoreError> {
        let op = Op::Legacy(LegacyOp::DeleteStatus(relies_on));
        match self.request(op).await {
            Answer::Deleted(done) => Ok(done),
            answer => Err(failed(&answer)),
        }
    }

    async fn legacy_items(&self) -> Result<Vec<String>, StoreError> {
        match self.request(Op::Legacy(LegacyOp::Items)).await {
            Answer::Keys(keys) => Ok(keys.iter().map(|key| key.as_str().to_owned()).collect()),
            answer => Err(failed(&answer)),
        }
    }

    async fn move_legacy_items(&self, me: &WorkerId, keys: &[String]) -> Result<bool, StoreError> {
        let op = LegacyOp::Move(me.clone(), keys.to_vec());
        self.is_done(op).await
    }

    async fn complete_table_migration(
        &self,
        me: &WorkerId,
        write: &ItemWrite<TableStatus>,
    ) -> Result<bool, StoreError> {
        let op = LegacyOp::Complete(me.clone(), write.clone());
        self.is_done(op).await
    }
}

/// Whether a write happened; an answer that did not come is an error, after which one reads again.
fn happened(answer: &Answer) -> Result<bool, StoreError> {
    match answer {
        Answer::Done => Ok(true),
        Answer::Lost(_) => Ok(false),
        answer => Err(failed(answer)),
    }
}

#[async_trait]
impl WorkerMetricsStore for SimStore {
    async fn put(&self, place: Place, stats: &WorkerMetricStats) -> Result<(), StoreError> {
        let (here, legacy) = (stats.clone(), stats.clone());
        let op = of(place, Op::PutMetrics(here), LegacyOp::PutMetrics(legacy));
        match self.request(op).await {
            Answer::Done => Ok(()),
            answer => Err(failed(&answer)),
        }
    }

    async fn delete(&self, place: Place, stats: &WorkerMetricStats) -> Result<bool, StoreError> {
        let (here, legacy) = (stats.clone(), stats.clone());
        let legacy = LegacyOp::DeleteMetrics(legacy);
        match self
            .request(of(place, Op::DeleteMetrics(here), legacy))
            .await
        {
            Answer::Deleted(done) => Ok(done),
            answer => Err(failed(&answer)),
        }
    }

    async fn list_legacy(&self) -> Result<Vec<WorkerMetricStats>, StoreError> {
        if !self.has_legacy() {
            return Ok(Vec::new());
        }
        match self.request(Op::Legacy(LegacyOp::ListMetrics)).await {
            Answer::Rows(rows) => {
                let metrics = rows.iter().filter_map(|row| row.as_metrics());
                Ok(metrics.cloned().collect())
            }
            answer => Err(failed(&answer)),
        }
    }
}
