//! `LeaseStore` over the simulated table.

use std::sync::Arc;

use async_trait::async_trait;
use kcl_daemon::core::ids::LeaseKey;
use kcl_daemon::core::lease::{Lease, LeaseDeletion, LeaseUpdate};
use kcl_daemon::ports::{
    Created, ForeignItem, LeaseStore, StoreError, TableScan, UnreadableRow, Written,
};

use super::SimStore;
use crate::trace::{Answer, Op, Row};

/// What DynamoDB would bill for a row, roughly.
const ROW_BYTES: usize = 400;

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
        Some(Row::Other(other)) => Err(StoreError::Fatal(format!("{} is no lease", other.key))),
    }
}

#[async_trait]
impl LeaseStore for SimStore {
    fn table(&self) -> &str {
        "simulated"
    }

    async fn ensure_table(&self) -> Result<bool, StoreError> {
        match self.request(Op::Open).await {
            Answer::Created(new) => Ok(new),
            answer => Err(failed(&answer)),
        }
    }

    async fn legacy_coordinator_table(&self) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    async fn scan(&self) -> Result<TableScan, StoreError> {
        let rows = match self.request(Op::Scan).await {
            Answer::Rows(rows) => rows,
            answer => return Err(failed(&answer)),
        };
        let mut scan = TableScan {
            bytes: rows.len() * ROW_BYTES,
            ..TableScan::default()
        };
        for row in rows {
            match &*row {
                Row::Lease { lease, .. } => scan.leases.push(lease.clone()),
                Row::Other(other) => match &other.kind {
                    Some(kind) => scan.foreign.push(ForeignItem {
                        key: other.key.as_str().to_owned(),
                        kind: kind.clone(),
                    }),
                    None => scan.unreadable.push(UnreadableRow {
                        key: other.key.as_str().to_owned(),
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
