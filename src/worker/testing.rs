//! A lease table in memory, with faults, and a stream that is a list, for the tests of the drivers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;

use crate::core::ids::{LeaseKey, ShardId, WorkerId};
use crate::core::lease::{Counter, Lease, LeaseDeletion, LeaseUpdate};
use crate::core::sequence::{ExtendedSequenceNumber, Position};
use crate::core::stream::{IteratorStart, Shard, ShardFilter};
use crate::ports::{
    Created, LeaseStore, OwnerIndex, RecordsPage, ShardIterator, StoreError, Stream, StreamError,
    StreamSummary, TableScan, Written,
};

/// What happens to the next write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is carried out, and the answer is lost.
    AnswerLost,
    /// It is lost on its way.
    RequestLost,
    /// It is carried out, and no answer ever comes.
    Hangs,
    /// It is refused for now.
    Throttled,
}

/// A lease table in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    rows: Mutex<BTreeMap<LeaseKey, Lease>>,
    faults: Mutex<VecDeque<Fault>>,
    pub down: Mutex<bool>,
}

impl MemoryStore {
    pub fn with(rows: impl IntoIterator<Item = Lease>) -> Self {
        let store = Self::default();
        for row in rows {
            store.rows().insert(row.key.clone(), row);
        }
        store
    }

    pub fn rows(&self) -> MutexGuard<'_, BTreeMap<LeaseKey, Lease>> {
        self.rows.lock().unwrap()
    }

    pub fn row(&self, key: &str) -> Lease {
        self.rows()[&LeaseKey::new(key)].clone()
    }

    pub fn edit(&self, key: &str, change: impl FnOnce(&mut Lease)) {
        change(self.rows().get_mut(&LeaseKey::new(key)).unwrap());
    }

    pub fn fail_next(&self, fault: Fault) {
        self.faults.lock().unwrap().push_back(fault);
    }

    async fn pass(&self) {
        if *self.down.lock().unwrap() {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl LeaseStore for MemoryStore {
    fn table(&self) -> &str {
        "memory"
    }

    async fn ensure_table(&self, _with_index: bool) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn owner_index(&self) -> Result<OwnerIndex, StoreError> {
        Ok(OwnerIndex::Active)
    }

    async fn create_owner_index(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn keys_of(&self, owner: &WorkerId) -> Result<Vec<LeaseKey>, StoreError> {
        self.pass().await;
        let rows = self.rows();
        let of_owner = rows
            .values()
            .filter(|row| row.owner.as_ref() == Some(owner));
        Ok(of_owner.map(|row| row.key.clone()).collect())
    }

    async fn legacy_coordinator_table(&self) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    async fn scan(&self) -> Result<TableScan, StoreError> {
        self.pass().await;
        Ok(TableScan {
            leases: self.rows().values().cloned().collect(),
            ..TableScan::default()
        })
    }

    async fn get(&self, key: &LeaseKey) -> Result<Option<Lease>, StoreError> {
        self.pass().await;
        Ok(self.rows().get(key).cloned())
    }

    async fn create(&self, lease: &Lease) -> Result<Created, StoreError> {
        self.pass().await;
        let mut rows = self.rows();
        if rows.contains_key(&lease.key) {
            return Ok(Created::Existed);
        }
        rows.insert(lease.key.clone(), lease.clone());
        Ok(Created::New)
    }

    async fn update(&self, update: &LeaseUpdate) -> Result<Written, StoreError> {
        self.pass().await;
        let fault = self.faults.lock().unwrap().pop_front();
        match fault {
            Some(Fault::Throttled) => return Err(StoreError::Throttled("slow down".into())),
            Some(Fault::RequestLost) => return Ok(Written::Unknown("no answer".into())),
            _ => {}
        }
        let written = {
            let mut rows = self.rows();
            let current = rows.get(&update.key);
            if update.is_permitted_on(current) {
                let after = update.applied_to(&rows[&update.key]);
                rows.insert(update.key.clone(), after.clone());
                Written::Applied(after)
            } else {
                Written::Lost(current.cloned())
            }
        };
        match fault {
            Some(Fault::AnswerLost) => Ok(Written::Unknown("no answer".into())),
            Some(Fault::Hangs) => std::future::pending().await,
            _ => Ok(written),
        }
    }

    async fn delete(&self, deletion: &LeaseDeletion) -> Result<bool, StoreError> {
        self.pass().await;
        let mut rows = self.rows();
        if deletion.is_permitted_on(rows.get(&deletion.key)) {
            rows.remove(&deletion.key);
            return Ok(true);
        }
        Ok(false)
    }
}

/// A lease of this owner at counter 1.
pub fn owned(key: &str, owner: &str) -> Lease {
    let mut lease = Lease::new(
        LeaseKey::new(key),
        ExtendedSequenceNumber::sentinel(Position::TrimHorizon),
        vec![],
        None,
    );
    lease.owner = Some(WorkerId::new(owner));
    lease.counter = Counter(1);
    lease
}

/// A position.
pub fn at(number: &str) -> ExtendedSequenceNumber {
    ExtendedSequenceNumber::sentinel(number.parse().unwrap())
}

/// A stream that is nothing but a list of shards.
pub struct Listed(pub Vec<Shard>);

#[async_trait]
impl Stream for Listed {
    fn name(&self) -> &str {
        "listed"
    }

    async fn describe(&self) -> Result<StreamSummary, StreamError> {
        unreachable!("only the list of shards is asked for")
    }

    async fn list_shards(&self, _: ShardFilter) -> Result<Vec<Shard>, StreamError> {
        Ok(self.0.clone())
    }

    async fn iterator(
        &self,
        _: &ShardId,
        _: &IteratorStart,
    ) -> Result<Option<ShardIterator>, StreamError> {
        unreachable!("nothing is read")
    }

    async fn get_records(
        &self,
        _: &ShardId,
        _: &ShardIterator,
        _: u32,
    ) -> Result<RecordsPage, StreamError> {
        unreachable!("nothing is read")
    }
}
