//! A lease table in memory, with faults, a stream that is a list and children of a few lines, for the tests of the
//! drivers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use multilang_protocol::{ActionKind, CheckpointReply, Dialect};

use crate::core::aggregate::RangeFilter;
use crate::core::consumer::FailurePolicy;
use crate::core::ids::{LeaseKey, ShardId, WorkerId};
use crate::core::leader_lock::{LockItem, LockOutcome, LockWrite};
use crate::core::lease::{Counter, Lease, LeaseDeletion, LeaseUpdate};
use crate::core::migration::client_version::ClientVersion;
use crate::core::migration::single_table::TableStatus;
use crate::core::migration::{ItemWrite, MigrationItem};
use crate::core::sequence::{ExtendedSequenceNumber, InitialPosition, Position};
use crate::core::stream::{IteratorStart, Shard, ShardFilter};
use crate::core::worker_stats::WorkerMetricStats;
use crate::fetch::{FetchSettings, PaceSettings, Prefetch};
use crate::ports::{
    ChildExit, CoordinatorStore, Created, Ending, Heard, LeaseStore, LoadProbe, LoadSource,
    OwnerIndex, Place, Processor, ProcessorFactory, RecordsPage, ShardIterator, StoreError, Stream,
    StreamError, StreamSummary, TableScan, Task, WorkerMetricsStore, Written,
};
use crate::worker::consumer::ConsumerSettings;

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

/// What happens to calls on the leader's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LockMood {
    #[default]
    Good,
    /// Reads work, writes are denied.
    ReadOnly,
    /// No answer ever comes.
    Silent,
}

/// A lease table in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    rows: Mutex<BTreeMap<LeaseKey, Lease>>,
    faults: Mutex<VecDeque<Fault>>,
    pub down: Mutex<bool>,
    /// The leader's row.
    pub lock: Mutex<Option<LockItem>>,
    pub lock_mood: Mutex<LockMood>,
    /// What workers say of themselves.
    metrics: Mutex<BTreeMap<WorkerId, WorkerMetricStats>>,
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

    /// A worker says something of itself.
    pub fn report(&self, stats: WorkerMetricStats) {
        let mut metrics = self.metrics.lock().unwrap();
        metrics.insert(stats.worker.clone(), stats);
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
            leader: self.lock.lock().unwrap().clone(),
            metrics: self.metrics.lock().unwrap().values().cloned().collect(),
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

/// One table for all, and no migration that was ever begun.
#[async_trait]
impl CoordinatorStore for MemoryStore {
    async fn leader(&self, _: Place) -> Result<Option<LockItem>, StoreError> {
        if *self.lock_mood.lock().unwrap() == LockMood::Silent {
            std::future::pending::<()>().await;
        }
        Ok(self.lock.lock().unwrap().clone())
    }

    async fn write_leader(&self, _: Place, write: &LockWrite) -> Result<LockOutcome, StoreError> {
        match *self.lock_mood.lock().unwrap() {
            LockMood::Good => {}
            LockMood::ReadOnly => return Err(StoreError::Throttled("slow down".to_owned())),
            LockMood::Silent => return Ok(LockOutcome::Unknown),
        }
        let mut lock = self.lock.lock().unwrap();
        if !write.is_permitted_on(lock.as_ref()) {
            return Ok(LockOutcome::Refused);
        }
        let after = write.applied_to(lock.as_ref());
        *lock = after;
        Ok(LockOutcome::Applied)
    }

    async fn client_version(
        &self,
        _: Place,
    ) -> Result<Option<MigrationItem<ClientVersion>>, StoreError> {
        Ok(None)
    }

    async fn write_client_version(
        &self,
        _: Place,
        _: &ItemWrite<ClientVersion>,
    ) -> Result<bool, StoreError> {
        Ok(true)
    }

    async fn table_status(&self) -> Result<Option<MigrationItem<TableStatus>>, StoreError> {
        Ok(None)
    }

    async fn write_table_status(&self, _: &ItemWrite<TableStatus>) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn delete_table_status(&self, _: TableStatus) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn legacy_items(&self) -> Result<Vec<String>, StoreError> {
        Ok(vec![])
    }

    async fn move_legacy_items(&self, _: &WorkerId, _: &[String]) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn complete_table_migration(
        &self,
        _: &WorkerId,
        _: &ItemWrite<TableStatus>,
    ) -> Result<bool, StoreError> {
        Ok(false)
    }
}

#[async_trait]
impl WorkerMetricsStore for MemoryStore {
    async fn put(&self, _: Place, stats: &WorkerMetricStats) -> Result<(), StoreError> {
        self.report(stats.clone());
        Ok(())
    }

    async fn delete(&self, _: Place, stats: &WorkerMetricStats) -> Result<bool, StoreError> {
        let mut metrics = self.metrics.lock().unwrap();
        Ok(metrics.remove(&stats.worker).is_some())
    }

    async fn list_legacy(&self) -> Result<Vec<WorkerMetricStats>, StoreError> {
        Ok(vec![])
    }
}

/// A host that cannot be measured.
pub struct NoProbe;

#[async_trait]
impl LoadProbe for NoProbe {
    async fn detect(&self) -> LoadSource {
        LoadSource::Nothing
    }

    async fn sample(&self) -> Option<f64> {
        None
    }
}

/// A stream without records, on which some reads never end.
#[derive(Default)]
pub struct QuietStream {
    pub reads: AtomicU32,
    /// The read that never ends.
    pub hangs_at: u32,
}

#[async_trait]
impl Stream for QuietStream {
    fn name(&self) -> &str {
        "quiet"
    }

    async fn describe(&self) -> Result<StreamSummary, StreamError> {
        Ok(StreamSummary {
            arn: "arn".to_owned(),
            readable: true,
            status: "ACTIVE".to_owned(),
        })
    }

    async fn list_shards(&self, _: ShardFilter) -> Result<Vec<Shard>, StreamError> {
        Ok(Vec::new())
    }

    async fn iterator(
        &self,
        _: &ShardId,
        _: &IteratorStart,
    ) -> Result<Option<ShardIterator>, StreamError> {
        Ok(Some(ShardIterator("here".to_owned())))
    }

    async fn get_records(
        &self,
        _: &ShardId,
        iterator: &ShardIterator,
        _: u32,
    ) -> Result<RecordsPage, StreamError> {
        if self.reads.fetch_add(1, Ordering::Relaxed) + 1 == self.hangs_at {
            std::future::pending::<()>().await;
        }
        Ok(RecordsPage {
            next: Some(iterator.clone()),
            millis_behind_latest: Some(0),
            ..RecordsPage::default()
        })
    }
}

/// Starts children that do what they are told; counts them.
#[derive(Default)]
pub struct Willing {
    pub started: AtomicU32,
}

struct Child {
    owed: Option<ActionKind>,
}

#[async_trait]
impl ProcessorFactory for Willing {
    async fn start(&self, _: &ShardId) -> Result<Box<dyn Processor>, ChildExit> {
        self.started.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Child { owed: None }))
    }
}

#[async_trait]
impl Processor for Child {
    fn pid(&self) -> Option<u32> {
        None
    }

    fn dialect(&self) -> Dialect {
        Dialect::P2
    }

    fn send(&mut self, task: Task) {
        self.owed = Some(task.kind());
    }

    fn reply(&mut self, _: CheckpointReply) {}

    async fn next(&mut self) -> Heard {
        match self.owed.take() {
            Some(kind) => Heard::Answered(kind),
            None => std::future::pending().await,
        }
    }

    async fn end(&mut self, _: Ending) -> ChildExit {
        ChildExit::Ended
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

/// A consumer that reads once a second, and whose child must not fail.
pub fn consumer_settings() -> ConsumerSettings {
    ConsumerSettings {
        failure_policy: FailurePolicy::Exit,
        fetch: FetchSettings {
            max_records: 100,
            pace: PaceSettings {
                idle: Duration::from_secs(1),
                reduced_tps_threshold: 0,
            },
            prefetch: Prefetch {
                batches: 10,
                records: 1000,
                bytes: 1 << 20,
            },
            deliver_empty: false,
            initial_position: InitialPosition::TrimHorizon,
        },
        range_filter: RangeFilter::Whole,
        parent_poll: Duration::from_secs(2),
        task_backoff: Duration::from_millis(500),
        warn_task_after: None,
    }
}
