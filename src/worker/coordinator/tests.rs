//! The coordinator over a table in memory, where a single decision matters; the simulation has the rest.

mod found;

use std::time::Duration;

use super::*;
use crate::core::assignment::problem::{Settings as AssignmentSettings, Strategy};
use crate::core::assignment::taker::Limits;
use crate::core::sequence::InitialPosition;
use crate::core::time::WallTime;
use crate::fetch::{Budget, FetcherPorts, Retrieval};
use crate::os::clock::SystemClock;
use crate::os::entropy::SystemEntropy;
use crate::os::tasks::Spawner;
use crate::ports::Clock;
use crate::worker::consumer::ConsumerPorts;
use crate::worker::keeper::KeeperPorts;
use crate::worker::leadership::LeadershipPorts;
use crate::worker::reporter::{ReportPorts, ReportSettings};
use crate::worker::testing::{
    MemoryStore, NoProbe, QuietStream, Willing, consumer_settings, owned,
};

const F: Duration = Duration::from_secs(10);
const REPORTS: Duration = Duration::from_mins(10);

/// Worker `me`, before it has looked at anything.
struct Bench {
    store: Arc<MemoryStore>,
    clock: Arc<SystemClock>,
    coordinator: Coordinator,
    /// Most never stop it.
    stop: watch::Sender<StopRequest>,
}

fn ports(store: &Arc<MemoryStore>, clock: &Arc<SystemClock>) -> CoordinatorPorts {
    let entropy = Arc::new(SystemEntropy::from_seed(1));
    let spawner = Spawner::current().unwrap();
    CoordinatorPorts {
        keeper: KeeperPorts {
            store: store.clone(),
            style: Arc::default(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            spawner: spawner.clone(),
        },
        coordination: LeadershipPorts {
            store: store.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            spawner,
        },
        report: ReportPorts {
            store: store.clone(),
            probe: Arc::new(NoProbe),
            clock: clock.clone(),
            entropy: entropy.clone(),
        },
        consumer: ConsumerPorts {
            store: store.clone(),
            processors: Arc::new(Willing::default()),
            fetcher: FetcherPorts {
                stream: Arc::new(QuietStream::default()),
                retrieval: Retrieval::Polling,
                clock: clock.clone(),
                entropy,
                budget: Budget::new(1 << 20),
            },
        },
    }
}

fn lease_settings(assignment_interval: Duration) -> LeaseSettings {
    LeaseSettings {
        failover: F,
        hand_off_timeout: Duration::from_secs(30),
        limits: Limits {
            max_leases: usize::MAX,
            max_steals: 1,
            very_old_first: true,
            count_finished: true,
        },
        initial_position: InitialPosition::TrimHorizon,
        ignore_unexpected_children: false,
        clean_up: false,
        repair_at_start: false,
        assignment_interval,
        balancing_frequency: 3,
        stale_metrics: Duration::from_hours(24),
        assignment: AssignmentSettings {
            strategy: Strategy::LeaseCountBased,
            failover: F,
            report_interval: REPORTS,
            ..AssignmentSettings::default()
        },
        report: ReportSettings {
            sample_every: Duration::from_secs(1),
            report_every: REPORTS,
            keep: 10,
            measure: false,
        },
    }
}

impl Bench {
    fn new(
        standing: Standing,
        assignment_interval: Duration,
        rows: impl IntoIterator<Item = Lease>,
    ) -> Self {
        let store = Arc::new(MemoryStore::with(rows));
        let clock = Arc::new(SystemClock::new());
        let (stop, stop_view) = watch::channel(StopRequest::Run);
        let (coordinator, _held) = Coordinator::new(
            Member {
                id: WorkerId::new("me"),
                standing,
                resume_at_once: false,
            },
            ports(&store, &clock),
            lease_settings(assignment_interval),
            consumer_settings(),
            Grace::of(Duration::from_secs(30)),
            stop_view,
        );
        Self {
            store,
            clock,
            coordinator,
            stop,
        }
    }

    /// What comes of the tasks that run beside the coordinator.
    async fn finish_one(&mut self) {
        let done = self.coordinator.beside.join_next().await;
        self.coordinator
            .on_done(done.expect("a task runs").unwrap());
    }
}

fn unowned(key: &str) -> Lease {
    Lease {
        owner: None,
        ..owned(key, "nobody")
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_owner_has_as_long_as_its_kind_takes_to_look() {
    const SMALL: usize = 16 * 1024;
    const LARGE: usize = SMALL + 1;
    use OwnerIndex::{Absent, Active, Building};
    // The interval of assignment, the table, its index; the time that our workers need, and Java's.
    let cases = [
        (20, SMALL, Active, 0, 10),
        (20, SMALL, Absent, 0, 10),
        (20, LARGE, Active, 0, 10),
        // We look at a large table without an index every 2 F.
        (20, LARGE, Absent, 20, 20),
        (20, LARGE, Building, 20, 20),
        // Java's discovery goes by the interval of assignment.
        (60, LARGE, Active, 0, 30),
        (60, LARGE, Absent, 20, 30),
        (4, SMALL, Active, 0, 2),
    ];
    for (interval, bytes, index, ours, javas) in cases {
        let interval = Duration::from_secs(interval);
        let mut coordinator = Bench::new(Standing::FRESH, interval, []).coordinator;
        (coordinator.table_bytes, coordinator.index) = (bytes, index);
        let found = [true, false].map(|all_ours| coordinator.time_for_adoption(all_ours).as_secs());
        assert_eq!(found, [ours, javas], "{interval:?} {bytes} {index:?}");
    }
}

/// A large table is looked at seldom, but all of it is assigned at once.
#[tokio::test(start_paused = true)]
async fn a_leader_does_not_wait_for_its_next_look_when_there_are_many_leases() {
    const LEASES: usize = 1000;
    let rows = (0..LEASES).map(|n| unowned(&format!("s{n}")));
    let bench = Bench::new(Standing::FRESH, F * 2, rows);
    let (store, clock) = (bench.store.clone(), bench.clock.clone());
    let given = || {
        let rows = store.rows();
        rows.values().filter(|row| row.owner.is_some()).count()
    };
    let watching = async {
        let mut first = None;
        loop {
            let now = clock.now();
            match given() {
                0 => {}
                LEASES => return now.since(*first.get_or_insert(now)),
                _ => _ = first.get_or_insert(now),
            }
            clock.sleep_until(now + Duration::from_millis(10)).await;
        }
    };
    let took = tokio::select! {
        took = watching => took,
        end = bench.coordinator.run() => panic!("it ended: {end:?}"),
        () = clock.sleep_until(clock.now() + F * 20) => panic!("only {} are assigned", given()),
    };
    assert!(took < Duration::from_secs(1), "{took:?}");
}

/// How long after a leader gave a lease to another worker, which then did nothing, it gives the lease to
/// somebody else.
async fn patience_with(other: WorkerMetricStats) -> Duration {
    let interval = F * 2;
    let rows = [unowned("a"), unowned("b")];
    let bench = Bench::new(Standing::FRESH, interval, rows);
    bench.store.report(other.clone());
    let (store, clock) = (bench.store.clone(), bench.clock.clone());
    let has = |worker: &WorkerId| {
        let rows = store.rows();
        rows.values().any(|row| row.owner.as_ref() == Some(worker))
    };
    let mut given = None;
    let watching = async {
        loop {
            match (given, has(&other.worker)) {
                (None, true) => given = Some(clock.now()),
                (Some(since), false) => return clock.now().since(since),
                _ => {}
            }
            clock
                .sleep_until(clock.now() + Duration::from_millis(50))
                .await;
        }
    };
    tokio::select! {
        took = watching => took,
        end = bench.coordinator.run() => panic!("it ended: {end:?}"),
        () = clock.sleep_until(clock.now() + F * 20) => panic!("the lease is never given to anybody else"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_waits_for_java_to_find_its_lease() {
    let now = WallTime::from_millis(SystemClock::new().wall_millis());
    let ours = WorkerMetricStats::written_by(
        WorkerId::new("other"),
        now,
        BTreeMap::new(),
        BTreeMap::new(),
    );
    let javas = WorkerMetricStats {
        ours_updated: None,
        ..ours.clone()
    };
    // A look, and what a write takes.
    let soon = Duration::from_secs(3);
    let took = patience_with(ours).await;
    assert!((F..F + soon).contains(&took), "ours had {took:?}");
    let took = patience_with(javas).await;
    assert!((F * 2..F * 2 + soon).contains(&took), "Java had {took:?}");
}

/// Whoever is told no knows who has the lease, and does not try the same again (I.6).
#[tokio::test(start_paused = true)]
async fn what_was_refused_is_learnt() {
    // What the table says by the time of the write: taken by another, or released once more.
    let taken = owned("s", "other");
    let released = unowned("s");
    for (mut current, tries_again) in [(taken, false), (released, true)] {
        current.counter = Counter(7);
        let mut bench = Bench::new(Standing::PHASE1, F * 2, [current.clone()]);
        let seen = unowned("s");
        let now = bench.clock.now();
        bench.coordinator.learn(&seen.key, Some(seen.clone()), now);
        bench.coordinator.decide(now);
        assert!(bench.coordinator.taking.contains(&seen.key));
        bench.finish_one().await;
        assert!(bench.coordinator.held.is_empty(), "{current:?}");
        assert_eq!(&bench.coordinator.table[..], std::slice::from_ref(&current));
        bench.coordinator.decide(bench.clock.now());
        let tries = bench.coordinator.taking.contains(&seen.key);
        assert_eq!(tries, tries_again, "{current:?}");
        if tries {
            // With the counter that stands there now.
            bench.finish_one().await;
            assert!(bench.coordinator.held.contains_key(&current.key));
        }
    }
}
