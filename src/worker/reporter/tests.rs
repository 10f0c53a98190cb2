use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;

use super::*;
use crate::os::clock::SystemClock;
use crate::os::entropy::SystemEntropy;
use crate::os::tasks::Spawner;

/// One item, and failures to come.
#[derive(Default)]
struct Table {
    item: Mutex<Option<WorkerMetricStats>>,
    writes: Mutex<usize>,
    /// Whether a failing write happens all the same.
    failures: Mutex<VecDeque<bool>>,
}

#[async_trait]
impl WorkerMetricsStore for Table {
    async fn put(&self, _: Place, stats: &WorkerMetricStats) -> Result<(), StoreError> {
        let failure = self.failures.lock().unwrap().pop_front();
        if failure != Some(false) {
            *self.item.lock().unwrap() = Some(stats.clone());
            *self.writes.lock().unwrap() += 1;
        }
        match failure {
            None => Ok(()),
            Some(_) => Err(StoreError::Unavailable("no".to_owned())),
        }
    }

    async fn delete(&self, _: Place, stats: &WorkerMetricStats) -> Result<bool, StoreError> {
        let mut item = self.item.lock().unwrap();
        let same = item
            .as_ref()
            .is_some_and(|item| item.last_update == stats.last_update);
        if same {
            *item = None;
        }
        Ok(same)
    }

    async fn list_legacy(&self) -> Result<Vec<WorkerMetricStats>, StoreError> {
        Ok(vec![])
    }
}

struct Probe(LoadSource);

#[async_trait]
impl LoadProbe for Probe {
    async fn detect(&self) -> LoadSource {
        self.0
    }

    async fn sample(&self) -> Option<f64> {
        Some(30.0)
    }
}

struct Bench {
    table: Arc<Table>,
    clock: Arc<SystemClock>,
    reporter: Reporter,
}

impl Bench {
    fn new(source: LoadSource, failures: &[bool]) -> Self {
        let table = Arc::new(Table::default());
        table.failures.lock().unwrap().extend(failures);
        let clock = Arc::new(SystemClock::new());
        let ports = ReportPorts {
            store: table.clone(),
            probe: Arc::new(Probe(source)),
            clock: clock.clone(),
            entropy: Arc::new(SystemEntropy::from_seed(1)),
        };
        let settings = ReportSettings {
            sample_every: Duration::from_secs(1),
            report_every: Duration::from_secs(30),
            keep: 3,
            measure: true,
        };
        let me = WorkerId::new("me");
        let spawner = Spawner::current().unwrap();
        let place = Place::LeaseTable;
        let reporter = Reporter::start(ports, settings, me, place, &spawner);
        Self {
            table,
            clock,
            reporter,
        }
    }

    async fn pass(&self, seconds: u64) {
        let time = Duration::from_secs(seconds);
        self.clock.sleep_until(self.clock.now() + time).await;
    }

    fn item(&self) -> Option<WorkerMetricStats> {
        self.table.item.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_item_comes_at_once_and_one_every_interval_after_it() {
    let bench = Bench::new(LoadSource::Host, &[]);
    bench.pass(1).await;
    assert_eq!(bench.item(), bench.reporter.last());
    assert!(bench.item().is_some());
    bench.pass(150).await;
    assert_eq!(*bench.table.writes.lock().unwrap(), 6);
    let item = bench.item().unwrap();
    assert_eq!(item.stats["C"], [30.0, 30.0, 30.0]);
    assert_eq!(item.operating_range["C"], [100]);
    assert_eq!(item.support_code, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_measures_nothing_says_so() {
    let bench = Bench::new(LoadSource::Nothing, &[]);
    bench.pass(100).await;
    assert!(bench.item().unwrap().is_in_throughput_mode());
}

#[tokio::test(start_paused = true)]
async fn a_failed_report_is_repeated_soon() {
    let bench = Bench::new(LoadSource::Nothing, &[false, false, false]);
    bench.pass(5).await;
    assert_eq!(*bench.table.writes.lock().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_item_goes_with_the_worker_even_if_it_is_in_doubt() {
    for failures in [&[] as &[bool], &[true], &[true, false]] {
        let bench = Bench::new(LoadSource::Nothing, failures);
        // Before the first try is repeated.
        bench.pass(0).await;
        tokio::task::yield_now().await;
        bench.reporter.retire().await;
        assert_eq!(bench.item(), None, "{failures:?}");
        bench.pass(100).await;
        assert_eq!(bench.item(), None, "it is not written again");
    }
}
