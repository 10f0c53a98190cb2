//! The driver over a stream and children made of a few lines; the simulation has the rest.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;
use crate::core::ids::WorkerId;
use crate::fetch::{Budget, FetcherPorts, Retrieval};
use crate::os::clock::SystemClock;
use crate::os::entropy::SystemEntropy;
use crate::os::tasks::Spawner;
use crate::worker::keeper::{KeeperPorts, KeeperSettings};
use crate::worker::testing::{MemoryStore, QuietStream, Willing, consumer_settings, owned};

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
    let (_consumer, life) =
        ShardConsumer::start(ports, consumer_settings(), store.row("s"), handle);
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
