//! The driver over a stream and children made of a few lines; the simulation has the rest.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use multilang_protocol::{CheckpointReply, Dialect};

use super::*;
use crate::core::aggregate::RangeFilter;
use crate::core::consumer::FailurePolicy;
use crate::core::ids::WorkerId;
use crate::core::sequence::InitialPosition;
use crate::core::stream::{IteratorStart, Shard, ShardFilter};
use crate::fetch::{Budget, FetchSettings, FetcherPorts, PaceSettings, Prefetch, Retrieval};
use crate::os::clock::SystemClock;
use crate::os::entropy::SystemEntropy;
use crate::os::tasks::Spawner;
use crate::ports::{
    ProcessorFactory, RecordsPage, ShardIterator, Stream, StreamError, StreamSummary,
};
use crate::worker::keeper::{KeeperPorts, KeeperSettings};
use crate::worker::testing::{MemoryStore, owned};

/// A stream without records, on which some reads never end.
#[derive(Default)]
struct QuietStream {
    reads: AtomicU32,
    /// The read that never ends.
    hangs_at: u32,
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
struct Willing {
    started: AtomicU32,
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

/// How many children and reads there were after so many minutes.
async fn lived_through(minutes: u64, hangs_at: u32) -> (u32, u32) {
    let clock = Arc::new(SystemClock::new());
    let entropy = Arc::new(SystemEntropy::from_seed(1));
    let store = Arc::new(MemoryStore::with([owned("s", "me")]));
    let stream = Arc::new(QuietStream {
        hangs_at,
        ..QuietStream::default()
    });
    let willing = Arc::new(Willing::default());
    let handle = LeaseHandle::keep(
        KeeperPorts {
            store: store.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            spawner: Spawner::current().unwrap(),
            style: Arc::default(),
        },
        WorkerId::new("me"),
        store.row("s"),
        clock.now(),
        KeeperSettings {
            failover: Duration::from_secs(10),
            hand_off_timeout: Duration::from_secs(30),
        },
    );
    let ports = ConsumerPorts {
        store: store.clone(),
        processors: willing.clone(),
        fetcher: FetcherPorts {
            stream: stream.clone(),
            retrieval: Retrieval::Polling,
            clock: clock.clone(),
            entropy,
            budget: Budget::new(1 << 20),
        },
    };
    let settings = ConsumerSettings {
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
    };
    let (_consumer, life) = ShardConsumer::start(ports, settings, store.row("s"), handle);
    tokio::select! {
        outcome = life => panic!("it ended: {outcome:?}"),
        () = clock.sleep_until(clock.now() + Duration::from_secs(60 * minutes)) => {}
    }
    let count = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
    (count(&willing.started), count(&stream.reads))
}

#[tokio::test(start_paused = true)]
async fn an_idle_shard_is_read_on_and_on() {
    let (children, reads) = lived_through(30, u32::MAX).await;
    assert_eq!(children, 1);
    assert!(reads > 1000, "{reads}");
}

#[tokio::test(start_paused = true)]
async fn a_fetcher_that_hangs_is_started_anew_with_its_child() {
    let (children, reads) = lived_through(4, 10).await;
    assert_eq!((children, reads), (1, 10), "something may still come");
    let (children, reads) = lived_through(10, 10).await;
    assert_eq!(children, 2);
    assert!(reads > 100, "{reads}");
}
