//! Processors: the children of shards.

use async_trait::async_trait;
use multilang_protocol::{ActionKind, CheckpointReply, CheckpointRequest, Dialect, EncodedBatch};

use crate::core::ids::ShardId;
use crate::core::sequence::ExtendedSequenceNumber;

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
