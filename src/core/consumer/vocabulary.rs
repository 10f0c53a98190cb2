//! The words between a shard consumer's state machine and its driver.

use std::time::Duration;

use multilang_protocol::{ActionKind, CheckpointPermission};

use crate::core::checkpoint::CheckpointError;
use crate::core::sequence::ExtendedSequenceNumber;
use crate::core::stream::ChildShard;

/// What to do when a child fails (`childFailurePolicy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailurePolicy {
    /// Java's: the whole daemon ends with code 1.
    Exit,
    /// Start the child again from the last checkpoint; other shards do not notice. After
    /// `max_failures` failures without a checkpoint in between: as `Exit`.
    Restart {
        /// Pause before the first restart; doubles with each failure.
        first_pause: Duration,
        /// The longest pause.
        longest_pause: Duration,
        /// How many failures in a row are one too many.
        max_failures: u32,
    },
}

impl FailurePolicy {
    /// The default: 1 s doubling to 30 s, ten failures (`decisions.md`).
    pub const RESTART: Self = Self::Restart {
        first_pause: Duration::from_secs(1),
        longest_pause: Duration::from_secs(30),
        max_failures: 10,
    };
}

/// A checkpoint the child asked for, with its answer still owed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked<R> {
    /// What the driver needs to answer; not looked at here.
    pub ticket: R,
    /// The sequence number.
    pub sequence_number: Option<String>,
    /// The sub-sequence number.
    pub sub_sequence_number: Option<i64>,
    /// What the phase and the dialect allow (`protocol.md` §4, §14).
    pub permission: CheckpointPermission,
}

/// Something that happened. `B` is a batch, `R` the ticket of a checkpoint request, `X` a child's exit.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<B, R, X> {
    /// All parents are finished, or have no lease.
    ParentsFinished,
    /// A pause asked for by [`Action::Wake`] is over.
    Woken,
    /// The child answered the outstanding action.
    Answered(ActionKind),
    /// The child wants a checkpoint.
    Asked(Asked<R>),
    /// The write asked for by [`Action::WriteCheckpoint`] ended.
    CheckpointWritten(Result<(), CheckpointError>),
    /// The child is gone.
    ChildEnded {
        /// How.
        exit: X,
        /// Whether that is no failure (an older dialect was recognised).
        forgiven: bool,
    },
    /// The next batch; only given while [`Consumer::wants_batch`].
    Fetched {
        /// The batch.
        batch: B,
        /// The largest record in it; `None` for a batch without records.
        up_to: Option<ExtendedSequenceNumber>,
    },
    /// The shard has no more records; only given while [`Consumer::wants_batch`].
    ShardEnd(Vec<ChildShard>),
    /// The leases of the child shards exist.
    ChildLeasesCreated,
    /// The lease is not ours any more.
    LeaseLost,
    /// The worker stops gracefully.
    StopRequested,
    /// The lease given up by [`Action::ReleaseLease`] is out of our hands.
    Released,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action<B, R> {
    /// Start a child, and `initialize` it with this checkpoint. Fetching starts from there, too.
    StartChild(ExtendedSequenceNumber),
    /// Fetch from behind this checkpoint.
    StartFetching(ExtendedSequenceNumber),
    /// Stop fetching and drop what was fetched.
    StopFetching,
    /// Send `processRecords`.
    Process(B),
    /// Send `shutdownRequested`.
    RequestShutdown,
    /// Send `leaseLost`.
    TellLeaseLost,
    /// Send `shardEnded`.
    TellShardEnded,
    /// Write this checkpoint into the lease.
    WriteCheckpoint(ExtendedSequenceNumber),
    /// Answer a checkpoint request.
    Reply(R, Option<CheckpointError>),
    /// Create the leases of these shards, and note them in our lease; repeat until it is done.
    CreateChildLeases(Vec<ChildShard>),
    /// Give the lease up.
    ReleaseLease,
    /// Close the child's STDIN and see it end; answered by [`Event::ChildEnded`].
    EndChild,
    /// Say [`Event::Woken`] after this pause, shortened at random.
    Wake(Duration),
    /// Tell people: something is not as it should be.
    Warn(Warning),
    /// The consumer is done; nothing follows.
    Finish(Outcome),
}

/// What people are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// The child failed and will be started again.
    Restarting {
        /// Failures without a checkpoint in between.
        failures: u32,
        /// Pause before the start.
        pause: Duration,
    },
    /// The child answered `shardEnded` without a checkpoint; child shards wait for it.
    NoCheckpointAtShardEnd {
        /// How often it was asked.
        asked: u32,
    },
    /// The child ended instead of answering the last messages of its life.
    EndedWithoutAnswer(&'static str),
}

/// How a consumer ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// SHARD_END is in the table; the lease stays held until it is cleaned up.
    ShardFinished,
    /// The lease is somebody else's, or nobody's.
    LeaseLost,
    /// The lease was given up because the worker stops.
    Released,
    /// A child failed and the policy says that the daemon ends.
    DaemonMustExit,
}
