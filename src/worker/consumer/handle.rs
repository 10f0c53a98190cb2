//! What a shard consumer is given, told and asked from outside.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::core::aggregate::RangeFilter;
use crate::core::consumer::FailurePolicy;
use crate::core::sequence::ExtendedSequenceNumber;
use crate::fetch::{FetchSettings, FetcherPorts};
use crate::ports::{LeaseStore, ProcessorFactory};

/// What a consumer is told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// Stop gracefully: last checkpoint, release.
    Stop,
    /// Stop now: the child is killed, then the lease released.
    StopNow,
    /// A parent may have finished just now: look at once.
    LookAtParents,
}

/// Everything a consumer works with.
#[derive(Clone)]
pub struct ConsumerPorts {
    /// The lease table.
    pub store: Arc<dyn LeaseStore>,
    /// Starts children.
    pub processors: Arc<dyn ProcessorFactory>,
    /// Stream, clock, randomness, memory.
    pub fetcher: FetcherPorts,
}

/// What the configuration says about consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// `childFailurePolicy`.
    pub failure_policy: FailurePolicy,
    /// Reading.
    pub fetch: FetchSettings,
    /// `kplRangeFilter`.
    pub range_filter: RangeFilter,
    /// `parentShardPollIntervalMillis` at most; looks come sooner.
    pub parent_poll: Duration,
    /// `taskBackoffTimeMillis`.
    pub task_backoff: Duration,
    /// `logWarningForTaskAfterMillis`.
    pub warn_task_after: Option<Duration>,
}

/// What a consumer is doing, for status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerStatus {
    /// In KCL's words.
    pub state: &'static str,
    /// The child's process id.
    pub pid: Option<u32>,
    /// The last checkpoint in the table.
    pub checkpoint: ExtendedSequenceNumber,
    /// Records handed to the child since this worker holds the lease.
    pub records: u64,
    /// How far behind the tip the last batch ended, milliseconds.
    pub millis_behind_latest: Option<i64>,
    /// Failures of the child since its last checkpoint.
    pub failures: u32,
}

/// A running consumer, as the coordinator sees it.
#[derive(Debug)]
pub struct ConsumerHandle {
    mailbox: mpsc::UnboundedSender<Message>,
    status: watch::Receiver<ConsumerStatus>,
}

impl ConsumerHandle {
    pub(super) fn new(
        mailbox: mpsc::UnboundedSender<Message>,
        status: watch::Receiver<ConsumerStatus>,
    ) -> Self {
        Self { mailbox, status }
    }

    /// Tells it something; it may be gone already.
    pub fn tell(&self, message: Message) {
        let _ = self.mailbox.send(message);
    }

    /// What it is doing, at any time.
    #[must_use]
    pub fn watch_status(&self) -> watch::Receiver<ConsumerStatus> {
        self.status.clone()
    }
}
