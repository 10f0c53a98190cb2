//! The traits through which the worker reaches the world.
//!
//! Everything that has an effect stands behind one of these: DynamoDB, Kinesis, child processes, the
//! clock and randomness. The daemon plugs in AWS, the operating system and `--local`; the simulation
//! plugs in models of them on virtual time.

use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use multilang_protocol::{ActionKind, CheckpointReply, CheckpointRequest, Dialect, EncodedBatch};

use crate::core::ids::{LeaseKey, ShardId, WorkerId};
use crate::core::leader_lock::{LockItem, LockOutcome, LockWrite};
use crate::core::lease::{Lease, LeaseDeletion, LeaseUpdate};
use crate::core::migration::client_version::ClientVersion;
use crate::core::migration::single_table::TableStatus;
use crate::core::migration::{ItemWrite, MigrationItem};
use crate::core::sequence::{ExtendedSequenceNumber, SequenceNumber};
use crate::core::stream::{ChildShard, IteratorStart, Record, RecordView, Shard, ShardFilter};
use crate::core::time::Moment;
use crate::core::worker_stats::WorkerMetricStats;

pub use crate::core::migration::single_table::Place;

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

// ---------------------------------------------------------------------------------------- time, chance

/// The only source of time.
pub trait Clock: Send + Sync {
    /// Now on the monotonic clock.
    fn now(&self) -> Moment;

    /// Now on the wall clock, milliseconds since the epoch. For display and for timestamps that the
    /// service gave; never to compare hosts.
    fn wall_millis(&self) -> i64;

    /// Completes at this moment, at once when it has passed.
    fn sleep_until(&self, moment: Moment) -> BoxFuture<'static, ()>;
}

/// The only source of randomness.
pub trait Entropy: Send + Sync {
    /// A random number.
    fn next_u64(&self) -> u64;

    /// A random number below `bound`; 0 when `bound` is 0.
    fn below(&self, bound: usize) -> usize {
        match u64::try_from(bound) {
            Ok(0) | Err(_) => 0,
            // The bias of a remainder of 64 bits is far below anything that matters here.
            Ok(bound) => usize::try_from(self.next_u64() % bound).unwrap_or(0),
        }
    }

    /// A random number from 0 (inclusive) to 1 (exclusive).
    fn unit(&self) -> f64 {
        // The upper 53 bits are what a double can hold exactly.
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

// ----------------------------------------------------------------------------------------- lease table

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

// ---------------------------------------------------------------------------------------------- stream

/// What to do about a failed call to the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamErrorKind {
    /// Throttled: back off.
    SlowDown,
    /// The shard iterator is too old: get another.
    Expired,
    /// The stream or the shard does not exist; to be confirmed before anything is ended.
    Gone,
    /// The network or the service failed: try again.
    Retry,
    /// Somebody else uses it, or it is between two states (ResourceInUse): wait a little.
    InUse,
    /// Credentials or keys do not allow it; a person has to act, slow retries meanwhile.
    Denied,
    /// The position is not one of this shard (a re-created stream, another shard's checkpoint).
    InvalidPosition,
    /// Trying again will not help.
    Fatal,
}

/// A failed call to the stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StreamError {
    /// What to do.
    pub kind: StreamErrorKind,
    /// Operation, shard or stream, what the service said.
    pub message: String,
}

/// The stream as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSummary {
    /// Its ARN.
    pub arn: String,
    /// Whether it can be read (ACTIVE or UPDATING).
    pub readable: bool,
    /// The service's word for its state.
    pub status: String,
}

/// An opaque shard iterator; lives five minutes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardIterator(pub String);

/// The answer to one GetRecords.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordsPage {
    /// Records in order.
    pub records: Vec<Record>,
    /// Where to go on; `None` at the end of the shard.
    pub next: Option<ShardIterator>,
    /// How far behind the tip the page ends, milliseconds.
    pub millis_behind_latest: Option<i64>,
    /// The shards this one became; at its end only.
    pub children: Vec<ChildShard>,
}

impl RecordsPage {
    /// Gives the records to `sink`, in order; what is left is the rest of the answer.
    pub fn pour_into(self, sink: &mut dyn RecordSink) -> PageEnd {
        sink.restart();
        for record in &self.records {
            sink.record(record.view());
        }
        PageEnd {
            next: self.next,
            millis_behind_latest: self.millis_behind_latest,
            children: self.children,
        }
    }
}

/// An answer to GetRecords without its records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PageEnd {
    /// As [`RecordsPage::next`].
    pub next: Option<ShardIterator>,
    /// As [`RecordsPage::millis_behind_latest`].
    pub millis_behind_latest: Option<i64>,
    /// As [`RecordsPage::children`].
    pub children: Vec<ChildShard>,
}

/// Takes the records of an answer while it comes in, so that nobody has to hold them all.
pub trait RecordSink: Send {
    /// An answer begins. Whatever was taken before was part of an answer that broke off and is
    /// forgotten.
    fn restart(&mut self);

    /// The answer is so many bytes long, as the service says before the first record: room can be made at once.
    fn expect(&mut self, bytes: usize) {
        let _ = bytes;
    }

    /// The next record.
    fn record(&mut self, record: RecordView<'_>);
}

impl RecordSink for Vec<Record> {
    fn restart(&mut self) {
        self.clear();
    }

    fn record(&mut self, record: RecordView<'_>) {
        self.push(record.to_record());
    }
}

/// The stream.
#[async_trait]
pub trait Stream: Send + Sync {
    /// Its name, for messages.
    fn name(&self) -> &str;

    /// Whether it exists and can be read.
    async fn describe(&self) -> Result<StreamSummary, StreamError>;

    /// Its shards, all pages.
    async fn list_shards(&self, filter: ShardFilter) -> Result<Vec<Shard>, StreamError>;

    /// An iterator into a shard; `None` when the service gives none, as at the end of a shard.
    async fn iterator(
        &self,
        shard: &ShardId,
        start: &IteratorStart,
    ) -> Result<Option<ShardIterator>, StreamError>;

    /// One page of at most `limit` records.
    async fn get_records(
        &self,
        shard: &ShardId,
        iterator: &ShardIterator,
        limit: u32,
    ) -> Result<RecordsPage, StreamError>;

    /// [`Stream::get_records`] for the hot path: the same answer, but its records go to `sink` one by
    /// one, without a copy of each being made. What the sink has taken counts only when this succeeds.
    async fn read_records(
        &self,
        shard: &ShardId,
        iterator: &ShardIterator,
        limit: u32,
        sink: &mut dyn RecordSink,
    ) -> Result<PageEnd, StreamError> {
        let page = self.get_records(shard, iterator, limit).await?;
        Ok(page.pour_into(sink))
    }

    /// How far the service's wall clock is ahead of [`Clock::wall_millis`], milliseconds, as far as its
    /// answers have told; never too large. Needed where this host names an instant to the service.
    fn service_clock_ahead(&self) -> i64 {
        0
    }
}

/// A registered consumer of enhanced fan-out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamConsumer {
    /// Its ARN.
    pub arn: String,
    /// Whether it may subscribe (ACTIVE).
    pub active: bool,
    /// The service's word for its state.
    pub status: String,
}

/// How a consumer of enhanced fan-out is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumerName<'a> {
    /// By its own ARN.
    Arn(&'a str),
    /// By its name in the stream with this ARN.
    InStream {
        /// The stream's ARN.
        stream_arn: &'a str,
        /// The consumer's name.
        name: &'a str,
    },
}

/// One event of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubscriptionEvent {
    /// Records in order; none in a mere sign of life.
    pub records: Vec<Record>,
    /// Behind what number to subscribe again; advances without records, too. `None` at the end of the
    /// shard.
    pub continuation: Option<SequenceNumber>,
    /// How far behind the tip the event ends, milliseconds.
    pub millis_behind_latest: Option<i64>,
    /// The shards this one became; at its end only.
    pub children: Vec<ChildShard>,
}

impl SubscriptionEvent {
    /// Gives the records to `sink`, in order; what is left is the rest of the event.
    pub fn pour_into(self, sink: &mut dyn RecordSink) -> EventEnd {
        sink.restart();
        for record in &self.records {
            sink.record(record.view());
        }
        EventEnd {
            continuation: self.continuation,
            millis_behind_latest: self.millis_behind_latest,
            children: self.children,
        }
    }
}

/// An event without its records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventEnd {
    /// As [`SubscriptionEvent::continuation`].
    pub continuation: Option<SequenceNumber>,
    /// As [`SubscriptionEvent::millis_behind_latest`].
    pub millis_behind_latest: Option<i64>,
    /// As [`SubscriptionEvent::children`].
    pub children: Vec<ChildShard>,
}

/// An open subscription to a shard. Dropping it ends it. What is not asked for is not read: the
/// service's flow control then holds further events back.
#[async_trait]
pub trait Subscription: Send {
    /// The next event; `None` when the service has completed the subscription. May be dropped and
    /// called again without losing anything. After `None` or an error nothing follows.
    async fn next(&mut self) -> Result<Option<SubscriptionEvent>, StreamError>;

    /// [`Subscription::next`] for the hot path: the same event, but its records go to `sink` one by one,
    /// without a copy of each being made. While it waits, and when it is dropped, the sink has nothing.
    async fn next_into(
        &mut self,
        sink: &mut dyn RecordSink,
    ) -> Result<Option<EventEnd>, StreamError> {
        let event = self.next().await?;
        Ok(event.map(|event| event.pour_into(sink)))
    }

    /// It was silent for too long: what carries it should not carry another one.
    fn distrust(&self) {}
}

/// Enhanced fan-out of a stream (`retrieval.md` B).
#[async_trait]
pub trait EnhancedFanOut: Send + Sync {
    /// A consumer ([`StreamErrorKind::Gone`]: it is not there, or the stream is not).
    async fn describe_consumer(
        &self,
        consumer: ConsumerName<'_>,
    ) -> Result<StreamConsumer, StreamError>;

    /// Registers a consumer, which costs money from then on ([`StreamErrorKind::InUse`]: another was
    /// faster).
    async fn register_consumer(
        &self,
        stream_arn: &str,
        name: &str,
    ) -> Result<StreamConsumer, StreamError>;

    /// Subscribes to a shard. A subscription that the consumer has there already ends, if it is five
    /// seconds old; else this one is refused ([`StreamErrorKind::InUse`]). May take for ever when the other side is
    /// gone; the caller limits it.
    async fn subscribe(
        &self,
        consumer_arn: &str,
        shard: &ShardId,
        start: &IteratorStart,
    ) -> Result<Box<dyn Subscription>, StreamError>;
}

// ------------------------------------------------------------------------------------------ processors

/// What a shard consumer asks of a processor.
#[derive(Debug, Clone)]
pub enum Task {
    /// Begin with this shard at this checkpoint.
    Initialize {
        /// The shard.
        shard: ShardId,
        /// Everything up to here is processed.
        checkpoint: ExtendedSequenceNumber,
    },
    /// Process this batch, already encoded.
    ProcessRecords(EncodedBatch),
    /// Make your last checkpoint: the lease is about to be given up.
    ShutdownRequested,
    /// The lease is gone.
    LeaseLost,
    /// The shard is read to its end: checkpoint.
    ShardEnded,
}

impl Task {
    /// Which action of the protocol it is.
    #[must_use]
    pub const fn kind(&self) -> ActionKind {
        match self {
            Self::Initialize { .. } => ActionKind::Initialize,
            Self::ProcessRecords(_) => ActionKind::ProcessRecords,
            Self::ShutdownRequested => ActionKind::ShutdownRequested,
            Self::LeaseLost => ActionKind::LeaseLost,
            Self::ShardEnded => ActionKind::ShardEnded,
        }
    }
}

/// Every way in which a processor can end. Each has one consequence, decided in `core::consumer`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChildExit {
    /// The executable could not be started.
    #[error("the executable could not be started: {0}")]
    NotStarted(String),
    /// It exited by itself with this code.
    #[error("the process exited with code {0}")]
    Exited(i32),
    /// A signal ended it.
    #[error("the process was ended by signal {0}")]
    Signalled(i32),
    /// It did not answer in time and was killed.
    #[error("the process did not answer '{action}' within {seconds} s and was killed")]
    Hung {
        /// What it was asked.
        action: &'static str,
        /// `timeoutInSeconds`.
        seconds: u64,
    },
    /// It said something that breaks the protocol, and was killed.
    #[error("the process broke the protocol and was killed: {0}")]
    BadOutput(String),
    /// It closed its STDOUT or STDIN while it went on running, and was killed.
    #[error("the process closed its {0} while running and was killed")]
    ClosedOutput(&'static str),
    /// It turned out to speak an older dialect, which is now known: not a failure, start it again.
    #[error("the process speaks protocol {0:?}, which is now remembered")]
    SpeaksOlderProtocol(Dialect),
    /// It was told to end, and ended.
    #[error("the process was told to end")]
    Ended,
}

/// What a processor says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The outstanding task is done.
    Answered(ActionKind),
    /// It wants a checkpoint; owed exactly one reply before anything else.
    Checkpoint(CheckpointRequest),
    /// It is gone: reaped, with all its descendants.
    Ended(ChildExit),
}

/// How hard a processor is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Close STDIN and wait a while, then SIGTERM, then SIGKILL.
    Gently,
    /// SIGKILL at once.
    AtOnce,
}

/// One running processor: a child process, or something in memory that behaves like one.
#[async_trait]
pub trait Processor: Send {
    /// Its process id, where it has one.
    fn pid(&self) -> Option<u32>;

    /// The dialect it is spoken to in.
    fn dialect(&self) -> Dialect;

    /// Gives it a task. At most one is outstanding; the answer comes from [`Processor::next`].
    /// Never waits for the processor to read it. A dialect that does not know the task answers at once.
    fn send(&mut self, task: Task);

    /// Answers its checkpoint request.
    fn reply(&mut self, reply: CheckpointReply);

    /// The next thing it says. May be dropped and called again without losing anything.
    /// After [`Heard::Ended`] it returns that again.
    async fn next(&mut self) -> Heard;

    /// Ends it and everything it started, within bounded time.
    async fn end(&mut self, how: Ending) -> ChildExit;
}

/// Starts processors.
#[async_trait]
pub trait ProcessorFactory: Send + Sync {
    /// Starts a processor for a shard.
    ///
    /// # Errors
    /// [`ChildExit::NotStarted`].
    async fn start(&self, shard: &ShardId) -> Result<Box<dyn Processor>, ChildExit>;
}
