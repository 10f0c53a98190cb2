//! The driver over a stream and children made of a few lines; the simulation has the rest.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;
use crate::core::ids::WorkerId;
use crate::fetch::{Budget, FetcherPorts, Retrieval};
use crate::os::clock::SystemClock;
use crate::os::entropy::SystemEntropy;
use crate::os::tasks::Spawner;
use crate::os::time::within;
use crate::worker::keeper::{KeeperPorts, KeeperSettings};
use crate::worker::testing::{MemoryStore, QuietStream, Willing, consumer_settings, owned};

/// One consumer of the lease `s`, and what it works with.
struct Bench {
    clock: Arc<SystemClock>,
    /// What the keeper of the lease writes to.
    store: Arc<MemoryStore>,
    /// What the consumer reads its relatives' leases from: an object of its own, so that whoever holds it
    /// is a task of the consumer.
    relatives: Arc<MemoryStore>,
    stream: Arc<QuietStream>,
    willing: Arc<Willing>,
}

impl Bench {
    /// The stream's read number `hangs_at` never ends.
    fn new(lease: Lease, relatives: impl IntoIterator<Item = Lease>, hangs_at: u32) -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            store: Arc::new(MemoryStore::with([lease])),
            relatives: Arc::new(MemoryStore::with(relatives)),
            stream: Arc::new(QuietStream {
                hangs_at,
                ..QuietStream::default()
            }),
            willing: Arc::default(),
        }
    }

    fn start(&self) -> (ConsumerHandle, impl Future<Output = Outcome> + Send) {
        let entropy = Arc::new(SystemEntropy::from_seed(1));
        let lease = self.store.row("s");
        let handle = LeaseHandle::keep(
            KeeperPorts {
                store: self.store.clone(),
                clock: self.clock.clone(),
                entropy: entropy.clone(),
                spawner: Spawner::current().unwrap(),
                style: Arc::default(),
            },
            WorkerId::new("me"),
            lease.clone(),
            self.clock.now(),
            KeeperSettings {
                failover: Duration::from_secs(10),
                hand_off_timeout: Duration::from_secs(30),
            },
        );
        let ports = ConsumerPorts {
            store: self.relatives.clone(),
            processors: self.willing.clone(),
            fetcher: FetcherPorts {
                stream: self.stream.clone(),
                retrieval: Retrieval::Polling,
                clock: self.clock.clone(),
                entropy,
                budget: Budget::new(1 << 20),
            },
        };
        ShardConsumer::start(ports, consumer_settings(), lease, handle)
    }

    async fn pass(&self, time: Duration) {
        self.clock.sleep_until(self.clock.now() + time).await;
    }
}

/// How many children and reads there were after so many minutes.
async fn lived_through(minutes: u64, hangs_at: u32) -> (u32, u32) {
    let bench = Bench::new(owned("s", "me"), [], hangs_at);
    let (_consumer, life) = bench.start();
    tokio::select! {
        outcome = life => panic!("it ended: {outcome:?}"),
        () = bench.pass(Duration::from_secs(60 * minutes)) => {}
    }
    let count = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
    (count(&bench.willing.started), count(&bench.stream.reads))
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

/// Whoever waits for the end of a consumer may start the next one of the shard, or end the process: by then
/// no task of the old one may do anything more, such as start a child (G.6).
#[tokio::test(start_paused = true)]
async fn a_consumer_ends_after_the_tasks_that_it_began() {
    let mut lease = owned("s", "me");
    lease.parents = vec![ShardId::new("parent")];
    let bench = Bench::new(lease, [owned("parent", "other")], u32::MAX);
    let (_consumer, life) = bench.start();
    let mut life = Box::pin(life);
    tokio::select! {
        outcome = &mut life => panic!("its parent is not finished: {outcome:?}"),
        () = bench.pass(Duration::from_secs(1)) => {}
    }
    // The test, the consumer, and its task that looks at the parent.
    assert_eq!(Arc::strong_count(&bench.relatives), 3);
    bench.store.edit("s", |row| {
        row.owner = Some(WorkerId::new("other"));
        row.counter = row.counter.next();
    });
    assert_eq!(life.await, Outcome::LeaseLost);
    assert_eq!(
        Arc::strong_count(&bench.relatives),
        1,
        "a task outlives its consumer"
    );
}

/// Whoever drops the handle means the consumer to stop, and the child has to be ended before it does.
#[tokio::test(start_paused = true)]
async fn a_consumer_that_nobody_holds_stops() {
    let bench = Bench::new(owned("s", "me"), [], u32::MAX);
    let (consumer, life) = bench.start();
    let mut life = Box::pin(life);
    tokio::select! {
        outcome = &mut life => panic!("it ended: {outcome:?}"),
        () = bench.pass(Duration::from_secs(5)) => {}
    }
    drop(consumer);
    let outcome = within(&*bench.clock, Duration::from_secs(60), life).await;
    assert_eq!(outcome.ok(), Some(Outcome::Released));
}
