//! Tells the leader of this worker's load: the metrics item, written at the start and at every report
//! interval, deleted when the worker stops (`leases.md` C.10, G.6).
//!
//! Without a fresh item a worker gets no lease, so the first one is written at once; what the load is
//! measured from may be found out later.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, warn};

use crate::core::ids::WorkerId;
use crate::core::time::{Moment, WallTime};
use crate::core::worker_stats::{CPU, MetricHistory, WorkerMetricStats};
use crate::os::tasks::{OwnedTask, TaskGroup};
use crate::os::time::within;
use crate::ports::{Clock, Entropy, LoadProbe, LoadSource, Place, StoreError, WorkerMetricsStore};

/// The longest that one write may take.
const CALL: Duration = Duration::from_secs(5);
/// First and longest pause between tries of a write that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// What `opr` says: the worker may be used to the full.
const FULL: i64 = 100;

/// What the configuration says about reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportSettings {
    /// `inMemoryWorkerMetricsCaptureFrequencyMillis`.
    pub sample_every: Duration,
    /// `workerMetricsReporterFreqInMillis`.
    pub report_every: Duration,
    /// `noOfPersistedMetricsPerWorkerMetrics`.
    pub keep: usize,
    /// Not `disableWorkerMetrics`.
    pub measure: bool,
}

/// What the reporter works with.
#[derive(Clone)]
pub struct ReportPorts {
    /// Where the items are.
    pub store: Arc<dyn WorkerMetricsStore>,
    /// What the load is measured from.
    pub probe: Arc<dyn LoadProbe>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Jitter.
    pub entropy: Arc<dyn Entropy>,
}

#[derive(Debug)]
enum Command {
    ReportSoon,
    Retire(oneshot::Sender<()>),
}

/// The reporter, as the coordinator sees it. Dropping it leaves the item to grow old.
#[derive(Debug)]
pub struct Reporter {
    last: watch::Receiver<Option<WorkerMetricStats>>,
    first: watch::Receiver<bool>,
    commands: mpsc::UnboundedSender<Command>,
    _task: OwnedTask<()>,
}

impl Reporter {
    /// Reports from now on.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn start(
        ports: ReportPorts,
        settings: ReportSettings,
        me: WorkerId,
        place: Place,
        group: &crate::os::tasks::Spawner,
    ) -> Self {
        let (publish, last) = watch::channel(None);
        let (publish_first, first) = watch::channel(false);
        let (commands, inbox) = mpsc::unbounded_channel();
        let runner = Runner {
            next_report: ports.clock.now(),
            last_report: ports.clock.now(),
            next_sample: None,
            history: MetricHistory::new(settings.keep),
            source: None,
            measuring: TaskGroup::new(),
            pause: FIRST_PAUSE,
            in_table: Vec::new(),
            ports,
            settings,
            me,
            place,
            inbox,
            publish,
            publish_first,
        };
        Self {
            last,
            first,
            commands,
            _task: group.spawn(runner.run()),
        }
    }

    /// The item as last written.
    #[must_use]
    pub fn last(&self) -> Option<WorkerMetricStats> {
        self.last.borrow().clone()
    }

    /// Completes when the first item is written, or this is dropped.
    pub fn first(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut last = self.first.clone();
        async move {
            let _ = last.wait_for(|written| *written).await;
        }
    }

    /// Reports out of turn: somebody may take this worker for dead.
    pub fn report_soon(&self) {
        let _ = self.commands.send(Command::ReportSoon);
    }

    /// Deletes the item and reports no more; waits until that is done, or has failed.
    pub async fn retire(&self) {
        let (done, wait) = oneshot::channel();
        if self.commands.send(Command::Retire(done)).is_ok() {
            let _ = wait.await;
        }
    }
}

/// What a task beside the loop came back with.
enum Measured {
    Source(LoadSource),
    Sample(Option<f64>),
}

struct Runner {
    ports: ReportPorts,
    settings: ReportSettings,
    me: WorkerId,
    place: Place,
    inbox: mpsc::UnboundedReceiver<Command>,
    publish: watch::Sender<Option<WorkerMetricStats>>,
    publish_first: watch::Sender<bool>,
    history: MetricHistory,
    source: Option<LoadSource>,
    measuring: TaskGroup<Measured>,
    next_report: Moment,
    last_report: Moment,
    next_sample: Option<Moment>,
    pause: Duration,
    /// What the item may be: the last that was certainly written, and what may have been since.
    in_table: Vec<WorkerMetricStats>,
}

impl Runner {
    async fn run(mut self) {
        if self.settings.measure {
            let probe = Arc::clone(&self.ports.probe);
            self.measuring
                .spawn(async move { Measured::Source(probe.detect().await) });
        }
        loop {
            let wake = self
                .next_sample
                .map_or(self.next_report, |sample| sample.min(self.next_report));
            let sleep = self.ports.clock.sleep_until(wake);
            tokio::select! {
                biased;
                command = self.inbox.recv() => match command {
                    // At most once a second, which is what the item's time tells apart.
                    Some(Command::ReportSoon) => {
                        let soon = self.last_report + Duration::from_secs(1);
                        self.next_report = self.next_report.min(soon);
                    }
                    Some(Command::Retire(done)) => {
                        self.delete().await;
                        let _ = done.send(());
                        return;
                    }
                    None => return,
                },
                Some(measured) = self.measuring.join_next() => match measured {
                    Ok(measured) => self.on_measured(measured),
                    Err(panic) => warn!("measuring the load of this worker: {panic}"),
                },
                () = sleep => self.on_time().await,
            }
        }
    }

    fn on_measured(&mut self, measured: Measured) {
        let now = self.ports.clock.now();
        match measured {
            Measured::Source(source) => {
                debug!("the load of this worker is measured from: {source:?}");
                if source != LoadSource::Nothing {
                    self.next_sample = Some(now);
                }
                self.source = Some(source);
            }
            Measured::Sample(sample) => {
                if let Some(value) = sample {
                    self.history.sample(value);
                }
                self.next_sample = Some(now + self.settings.sample_every);
            }
        }
    }

    async fn on_time(&mut self) {
        let now = self.ports.clock.now();
        if self.next_sample.is_some_and(|due| now >= due) {
            self.next_sample = None;
            let probe = Arc::clone(&self.ports.probe);
            self.measuring
                .spawn(async move { Measured::Sample(probe.sample().await) });
        }
        if now >= self.next_report {
            self.report().await;
        }
    }

    /// A worker that measures nothing writes empty maps: its load is that of its leases.
    fn item(&mut self) -> WorkerMetricStats {
        let measures = self
            .source
            .is_some_and(|source| source != LoadSource::Nothing);
        let (stats, ranges) = if measures {
            (
                BTreeMap::from([(CPU.to_owned(), self.history.report())]),
                BTreeMap::from([(CPU.to_owned(), vec![FULL])]),
            )
        } else {
            (BTreeMap::new(), BTreeMap::new())
        };
        let now = WallTime::from_millis(self.ports.clock.wall_millis());
        WorkerMetricStats::written_by(self.me.clone(), now, stats, ranges)
    }

    async fn report(&mut self) {
        let started = self.ports.clock.now();
        self.last_report = started;
        let item = self.item();
        let call = self.ports.store.put(self.place, &item);
        let result = match within(&*self.ports.clock, CALL, call).await {
            Ok(result) => result,
            Err(_elapsed) => Err(StoreError::Unavailable("no answer in time".to_owned())),
        };
        match result {
            Ok(()) => {
                self.in_table = vec![item.clone()];
                self.publish.send_replace(Some(item));
                self.publish_first.send_replace(true);
                self.pause = FIRST_PAUSE;
                self.next_report = started + self.settings.report_every;
            }
            Err(error) => {
                warn!(
                    "the metrics of this worker cannot be written, so that it gets no leases; trying again: {error}"
                );
                // It may have been written for all that.
                self.in_table.push(item);
                if self.in_table.len() > 4 {
                    self.in_table.remove(0);
                }
                let pause = self.pause.mul_f64(0.5 + 0.5 * self.ports.entropy.unit());
                self.next_report = self.ports.clock.now() + pause;
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    async fn delete(&mut self) {
        while let Some(item) = self.in_table.pop() {
            let call = self.ports.store.delete(self.place, &item);
            match within(&*self.ports.clock, CALL, call).await {
                Ok(Ok(true)) => return,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    debug!("the metrics of this worker are left to grow old: {error}");
                }
                Err(_elapsed) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests;
