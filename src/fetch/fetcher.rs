//! The fetcher of a shard as its consumer sees it, whichever way it reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::core::ids::ShardId;
use crate::core::sequence::{ExtendedSequenceNumber, InitialPosition};
use crate::core::stream::ChildShard;
use crate::core::time::Moment;
use crate::fetch::budget::{Ahead, Budget, Prefetch};
use crate::fetch::encode::{Batch, EncodeSettings};
use crate::fetch::fanout::FanOut;
use crate::fetch::pace::PaceSettings;
use crate::fetch::polling::Polling;
use crate::fetch::position::{Anchor, ReadPosition};
use crate::fetch::reader::ShardReader;
use crate::fetch::registration::Registration;
use crate::os::tasks::TaskGroup;
use crate::ports::{Clock, Entropy, Stream};

/// What the configuration says about reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchSettings {
    /// `maxRecords`: the limit of one GetRecords, and of the stream's records in one batch.
    pub max_records: u32,
    /// Idle times.
    pub pace: PaceSettings,
    /// Bounds of reading ahead.
    pub prefetch: Prefetch,
    /// `callProcessRecordsEvenForEmptyRecordList`.
    pub deliver_empty: bool,
    /// The configured initial position; its timestamp is needed for leases at AT_TIMESTAMP.
    pub initial_position: InitialPosition,
}

/// The two ways of reading (`properties.md` §8).
#[derive(Clone)]
pub enum Retrieval {
    /// GetRecords.
    Polling,
    /// SubscribeToShard, as this consumer.
    FanOut(Arc<Registration>),
}

/// What a fetcher works with.
#[derive(Clone)]
pub struct FetcherPorts {
    /// The stream.
    pub stream: Arc<dyn Stream>,
    /// How it is read.
    pub retrieval: Retrieval,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Jitter.
    pub entropy: Arc<dyn Entropy>,
    /// The bytes that all shards share.
    pub budget: Budget,
}

/// What a fetcher hands over.
#[derive(Debug)]
pub enum Fetched {
    /// The next batch.
    Batch(Batch),
    /// The shard has no more records; these are its children.
    ShardEnd(Vec<ChildShard>),
}

/// The sign of life of a reader: a moment, milliseconds from the clock's origin.
#[derive(Debug, Clone, Default)]
pub(super) struct Pulse(Arc<AtomicU64>);

impl Pulse {
    pub(super) fn beat(&self, now: Moment) {
        let millis = u64::try_from(now.since_origin().as_millis()).unwrap_or(u64::MAX);
        self.0.store(millis, Ordering::Relaxed);
    }
}

/// A running fetcher: a task that reads ahead within its bounds and hands batches over through a
/// channel, in order, each exactly once. It ends with the shard, or when it is dropped, which drops
/// what it fetched, too. No error ever skips anything: the position moves only over what was put into
/// the channel.
#[derive(Debug)]
pub struct Fetcher {
    batches: mpsc::UnboundedReceiver<Fetched>,
    pulse: Pulse,
    _task: TaskGroup<()>,
}

impl Fetcher {
    /// Starts to read a shard behind `checkpoint`.
    #[must_use]
    pub fn start(
        ports: FetcherPorts,
        settings: FetchSettings,
        encode: EncodeSettings,
        shard: ShardId,
        checkpoint: ExtendedSequenceNumber,
        anchor: Anchor,
    ) -> Self {
        // The channel itself is unbounded: `Ahead` bounds what is in it.
        let (sender, batches) = mpsc::unbounded_channel();
        let mut task = TaskGroup::new();
        let retrieval = ports.retrieval.clone();
        let pulse = Pulse::default();
        pulse.beat(ports.clock.now());
        let reader = ShardReader {
            position: ReadPosition::new(&checkpoint, settings.initial_position, anchor),
            ahead: Ahead::new(settings.prefetch),
            trouble: None,
            pulse: pulse.clone(),
            line_guess: 0,
            ports,
            settings,
            encode,
            shard,
            checkpoint,
            sender,
        };
        match retrieval {
            Retrieval::Polling => task.spawn(Polling::new(reader).run()),
            Retrieval::FanOut(registration) => {
                task.spawn(FanOut::new(reader, registration).run());
            }
        }
        Self {
            batches,
            pulse,
            _task: task,
        }
    }

    /// When the task last came to the end of something that it waited for, whatever came of it.
    #[must_use]
    pub fn last_sign(&self) -> Moment {
        Moment::from_origin(Duration::from_millis(self.pulse.0.load(Ordering::Relaxed)))
    }

    /// The next batch or the end. Pends for ever when there is nothing more to say. May be dropped
    /// and called again without losing anything.
    pub async fn next(&mut self) -> Fetched {
        match self.batches.recv().await {
            Some(mut fetched) => {
                if let Fetched::Batch(batch) = &mut fetched {
                    batch.leave_queue();
                }
                fetched
            }
            // The fetcher said its last word before.
            None => std::future::pending().await,
        }
    }
}
