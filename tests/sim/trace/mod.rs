//! What happened: the one thing that the checker looks at.
//!
//! The simulation writes it; `ledger.rs` makes one of what real processors wrote down. A trace that
//! lacks a kind of event is judged by the invariants that do without.

mod legacy;
mod mishap;
mod render;
mod row;

pub use legacy::LegacyOp;
pub use mishap::Mishap;
pub use row::{Item, Row};

use std::sync::Arc;

use kcl_daemon::core::hash_range::HashRange;
use kcl_daemon::core::ids::{LeaseKey, ShardId, WorkerId};
use kcl_daemon::core::leader_lock::LockWrite;
use kcl_daemon::core::lease::{LeaseDeletion, LeaseUpdate};
use kcl_daemon::core::migration::ItemWrite;
use kcl_daemon::core::migration::client_version::ClientVersion;
use kcl_daemon::core::sequence::ExtendedSequenceNumber;
use kcl_daemon::core::worker_stats::WorkerMetricStats;
use kcl_daemon::ports::OwnerIndex;

use crate::world::{Kind, Stillness, Time};

/// The number of a process in a trace.
pub type ProcessNumber = u32;
/// The number of a child in a trace.
pub type ChildNumber = u32;
/// The number of a request to the lease table.
pub type CallNumber = u64;

/// A process of the trace.
#[derive(Debug, Clone)]
pub struct ProcessInfo {
    /// Its worker id.
    pub name: String,
    /// Whose code it runs.
    pub kind: Kind,
}

/// Everything that happened, in order.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// The processes, by number.
    pub processes: Vec<ProcessInfo>,
    /// The events.
    pub events: Vec<Event>,
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Event {
    /// When, in the time of the world.
    pub at: Time,
    /// When, on the monotonic clock of the process that did it.
    pub local: Time,
    /// Who did it; nobody for what the world itself does.
    pub by: Option<ProcessNumber>,
    /// What.
    pub what: What,
}

/// A request to the lease table.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Read everything, eventually consistent.
    Scan,
    /// Read one row; strongly consistent or not.
    Get(LeaseKey, bool),
    /// Put unless there.
    Create(Arc<Row>),
    /// A conditional write on a lease.
    Update(LeaseUpdate),
    /// A conditional delete of a lease.
    Delete(LeaseDeletion),
    /// Create the table, look whether it is there; with the index of leases by owner or without.
    Open(bool),
    /// Look whether the index is there.
    Index,
    /// Make the index.
    CreateIndex,
    /// Ask the index for the leases of a worker.
    Query(WorkerId),
    /// Read the leader's lock.
    Leader,
    /// Write the leader's lock.
    WriteLeader(LockWrite),
    /// Read how far the fleet's migration is.
    ClientVersion,
    /// Write how far it is.
    WriteClientVersion(ItemWrite<ClientVersion>),
    /// Write a worker's metrics.
    PutMetrics(WorkerMetricStats),
    /// Delete a worker's metrics if they are still these.
    DeleteMetrics(WorkerMetricStats),
    /// A request to the tables of KCL 3.0 to 3.4.
    Legacy(LegacyOp),
}

/// What a caller was told.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// All rows.
    Rows(Vec<Arc<Row>>),
    /// One row.
    Row(Option<Arc<Row>>),
    /// Whether the row, or the table, is new.
    Created(bool),
    /// The write happened.
    Applied(Arc<Row>),
    /// The condition did not hold.
    Lost(Option<Arc<Row>>),
    /// Whether the row was deleted.
    Deleted(bool),
    /// How the index is.
    Index(OwnerIndex),
    /// Keys of leases.
    Keys(Vec<LeaseKey>),
    /// It is done.
    Done,
    /// Nothing came back.
    Unknown,
    /// Too many requests; nothing was written.
    Throttled,
    /// Nothing was written.
    Unavailable,
}

/// A shard, as the truth has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardTruth {
    /// Its id.
    pub id: ShardId,
    /// What it came from.
    pub parents: Vec<ShardId>,
    /// Its hash keys.
    pub range: HashRange,
}

/// What a child was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// `initialize`.
    Initialize(ExtendedSequenceNumber),
    /// `processRecords`; the places of its records.
    Records(Vec<ExtendedSequenceNumber>),
    /// `shutdownRequested`.
    ShutdownRequested,
    /// `leaseLost`.
    LeaseLost,
    /// `shardEnded`.
    ShardEnded,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum What {
    /// A process began to work.
    Started,
    /// A process was asked to stop.
    StopAsked {
        /// Which.
        process: ProcessNumber,
    },
    /// A process ended by itself; how.
    Ended(String),
    /// A process was killed.
    Killed {
        /// Which.
        process: ProcessNumber,
    },
    /// A process stands still from now on.
    Frozen {
        /// Which.
        process: ProcessNumber,
        /// How.
        stillness: Stillness,
        /// For how long.
        length: Time,
    },
    /// It goes on.
    Thawed {
        /// Which.
        process: ProcessNumber,
    },
    /// From now on nothing goes wrong any more.
    Calm,
    /// It did not become well again in the time it had; what is amiss.
    Unsettled(String),
    /// Something goes wrong on purpose.
    Mishap(Mishap),
    /// How long something goes wrong, and where; told to people only.
    Fault(String),

    /// A process sent a request to the table.
    Sent {
        /// Its number.
        call: CallNumber,
        /// What it asks for.
        op: Op,
    },
    /// The table carried a write out. The process may be dead by now.
    Applied {
        /// The request.
        call: CallNumber,
        /// The row before.
        before: Option<Arc<Row>>,
        /// The row after.
        after: Option<Arc<Row>>,
    },
    /// The table found that the condition of a write does not hold.
    Refused {
        /// The request.
        call: CallNumber,
    },
    /// A process got an answer of the table.
    Answered {
        /// The request.
        call: CallNumber,
        /// The answer.
        answer: Answer,
    },
    /// Somebody edited a row by hand.
    Edited {
        /// The row before.
        before: Option<Arc<Row>>,
        /// The row after.
        after: Option<Arc<Row>>,
    },

    /// Shards that exist from now on: at the beginning, or after a reshard.
    Opened(Vec<ShardTruth>),
    /// A shard takes no more records.
    Closed {
        /// Which.
        shard: ShardId,
        /// Since when, milliseconds since the epoch.
        at_ms: i64,
    },
    /// A record was written; its places, several for an aggregate.
    Put {
        /// The shard that took it.
        shard: ShardId,
        /// The places of its user records.
        places: Vec<ExtendedSequenceNumber>,
        /// When, milliseconds since the epoch.
        at_ms: i64,
    },
    /// A process got a list of shards; what is wrong with it, if anything.
    Listed {
        /// How many shards it names.
        shards: usize,
        /// What is wrong with it.
        wrong: Option<&'static str>,
    },
    /// A process got a first iterator at LATEST.
    ReadsFromLatest {
        /// Of this shard.
        shard: ShardId,
    },

    /// A process started a child.
    ChildStarted {
        /// Its number.
        child: ChildNumber,
        /// For this shard.
        shard: ShardId,
    },
    /// A child was told something.
    Told {
        /// The child.
        child: ChildNumber,
        /// What.
        told: Told,
    },
    /// A child answered what it was told last.
    Did {
        /// The child.
        child: ChildNumber,
    },
    /// A child asked for a checkpoint.
    Asked {
        /// The child.
        child: ChildNumber,
        /// The place; `None` for all it was given.
        place: Option<ExtendedSequenceNumber>,
    },
    /// A child got the reply to that.
    Replied {
        /// The child.
        child: ChildNumber,
        /// The name of the error, if it is one.
        error: Option<String>,
    },
    /// A child ended, by itself or because its worker ended it or died.
    ChildGone {
        /// The child.
        child: ChildNumber,
        /// How.
        how: &'static str,
    },
}
