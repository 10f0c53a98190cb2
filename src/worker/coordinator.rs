//! The coordinator of one worker with the 2.x algorithm: looks at the lease table, takes what is due,
//! starts a consumer for each lease held, and ends everything in order (`leases.md` B.5, E, G.4).
//!
//! It never waits for one thing only: scans, takes and clean-up run beside its loop, so that "stop",
//! the end of a consumer and the loss of a lease are noticed at once.
//!
//! | file | part |
//! |---|---|
//! | `types.rs` | what it is told, and what it tells |
//! | `table.rs` | looking at the table |
//! | `taking.rs` | deciding what to take, and taking it |
//! | `holding.rs` | ends of consumers, losses, stopping, duties |

mod holding;
mod table;
mod taking;
mod types;

pub use types::{CoordinatorPorts, Grace, HeldStatus, LeaseSettings, StopRequest, WorkerEnd};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;
use tracing::{error, warn};

use crate::core::consumer::Outcome;
use crate::core::expiry::Observations;
use crate::core::ids::{LeaseKey, WorkerId};
use crate::core::lease::{Counter, Lease};
use crate::core::time::Moment;
use crate::os::tasks::TaskGroup;
use crate::ports::{LeaseStore, StoreError, TableScan};
use crate::worker::audit::Auditor;
use crate::worker::clean_up::CleanUpRound;
use crate::worker::consumer::{ConsumerHandle, ConsumerSettings};
use crate::worker::keeper::{LeaseHandle, Loss};

struct Held {
    lease: Lease,
    handle: LeaseHandle,
    consumer: Option<ConsumerHandle>,
}

/// What a task beside the loop came back with.
enum Done {
    Scanned(Result<TableScan, StoreError>, Moment),
    Looked(Vec<(LeaseKey, Result<Option<Lease>, StoreError>)>, Moment),
    Took {
        lease: Lease,
        sent: Moment,
        stolen: bool,
    },
    NotTaken(LeaseKey),
    Consumer(LeaseKey, Outcome),
    Lost(LeaseKey, Loss),
    CleanedUp(CleanUpRound),
    /// A watch that has nothing to tell.
    Nothing,
    Audited(usize),
    Released,
}

/// The coordinator.
pub struct Coordinator {
    me: WorkerId,
    ports: CoordinatorPorts,
    settings: LeaseSettings,
    consumer_settings: ConsumerSettings,
    /// Former leases of this worker id may be resumed without watching them first: the lock proves
    /// that whoever had the id is dead.
    resume_at_once: bool,
    /// Ordered, as all that is gone through here, so that a simulated fleet can be replayed.
    held: BTreeMap<LeaseKey, Held>,
    observations: Observations,
    /// Rows that carry our id although we do not hold them, with their counters at the last scan.
    own_unheld: BTreeMap<LeaseKey, Counter>,
    /// The last scan, with what was learnt since.
    table: Vec<Lease>,
    beside: TaskGroup<Done>,
    taking: BTreeSet<LeaseKey>,
    scanning: bool,
    scan_wanted: bool,
    next_scan: Moment,
    next_look: Option<Moment>,
    /// Since when no lease came, went or changed its owner.
    quiet_since: Moment,
    auditor: Auditor,
    cleaning: bool,
    /// When the service may be asked again what finished shards became.
    next_ask: Moment,
    reported: BTreeSet<String>,
    status: watch::Sender<Vec<HeldStatus>>,
    stop: watch::Receiver<StopRequest>,
    stopping: StopRequest,
    grace: Grace,
    /// When the present stage of stopping has taken too long.
    deadline: Option<Moment>,
    end: Option<WorkerEnd>,
    /// Leases that are being released without a consumer.
    releasing: usize,
    /// Something had to be cut short.
    cut: bool,
}

impl Coordinator {
    /// A coordinator that holds nothing yet, and a view of what it holds.
    #[must_use]
    pub fn new(
        me: WorkerId,
        ports: CoordinatorPorts,
        settings: LeaseSettings,
        consumer_settings: ConsumerSettings,
        resume_at_once: bool,
        grace: Grace,
        stop: watch::Receiver<StopRequest>,
    ) -> (Self, watch::Receiver<Vec<HeldStatus>>) {
        let (status, view) = watch::channel(Vec::new());
        let now = ports.keeper.clock.now();
        let coordinator = Self {
            me,
            settings,
            consumer_settings,
            resume_at_once,
            held: BTreeMap::new(),
            observations: Observations::default(),
            own_unheld: BTreeMap::new(),
            table: Vec::new(),
            beside: TaskGroup::new(),
            taking: BTreeSet::new(),
            scanning: false,
            scan_wanted: true,
            next_scan: now,
            next_look: None,
            quiet_since: now,
            auditor: Auditor::new(now, settings.repair_at_start),
            cleaning: false,
            next_ask: now,
            reported: BTreeSet::new(),
            status,
            stop,
            stopping: StopRequest::Run,
            grace,
            deadline: None,
            end: None,
            releasing: 0,
            cut: false,
            ports,
        };
        (coordinator, view)
    }

    fn now(&self) -> Moment {
        self.ports.keeper.clock.now()
    }

    fn store(&self) -> Arc<dyn LeaseStore> {
        Arc::clone(&self.ports.consumer.store)
    }

    /// Works until it is stopped or cannot go on.
    pub async fn run(mut self) -> WorkerEnd {
        loop {
            if self.is_over() {
                return self.ended();
            }
            if self.deadline.is_some_and(|deadline| self.now() >= deadline) && self.on_deadline() {
                return self.ended();
            }
            self.start_due_work();
            let wake = self.next_wake();
            let sleep = self.ports.keeper.clock.sleep_until(wake);
            tokio::select! {
                biased;
                changed = self.stop.changed(), if self.stopping < StopRequest::AtOnce => {
                    let request = if changed.is_ok() { *self.stop.borrow_and_update() } else { StopRequest::AtOnce };
                    self.request_stop(request);
                }
                Some(done) = self.beside.join_next() => match done {
                    Ok(done) => self.on_done(done),
                    Err(panic) => self.fail(format!("a task of the coordinator failed: {panic}")),
                },
                () = sleep => {}
            }
            self.publish();
        }
    }

    fn ended(&mut self) -> WorkerEnd {
        let stopped = if self.cut {
            WorkerEnd::Cut
        } else {
            WorkerEnd::Stopped
        };
        self.end.take().unwrap_or(stopped)
    }

    /// The present stage of stopping takes too long: go to the next; `true` when there is none.
    fn on_deadline(&mut self) -> bool {
        self.cut = true;
        if self.stopping < StopRequest::AtOnce {
            warn!(
                "the grace for children is over ({:.1} s): they are killed now",
                self.grace.children.as_secs_f64()
            );
            self.request_stop(StopRequest::AtOnce);
            return false;
        }
        for key in self.held.keys() {
            error!(lease = %key, "the lease could not be released in time; others take it when it expires");
        }
        true
    }

    fn is_over(&self) -> bool {
        self.stopping > StopRequest::Run
            && self.releasing == 0
            && self.taking.is_empty()
            && self.held.is_empty()
    }

    fn next_wake(&self) -> Moment {
        if let Some(deadline) = self.deadline {
            return deadline;
        }
        let scan = if self.scanning {
            self.now() + self.settings.failover
        } else {
            self.next_scan
        };
        self.next_look.map_or(scan, |look| look.min(scan))
    }

    fn start_due_work(&mut self) {
        if self.stopping > StopRequest::Run {
            return;
        }
        let now = self.now();
        if !self.scanning && (self.scan_wanted || now >= self.next_scan) {
            self.start_scan();
        }
        if self.next_look.is_some_and(|look| now >= look) {
            self.start_look(now);
        }
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Scanned(scan, at) => self.on_scanned(scan, at),
            Done::Looked(looked, at) => self.on_looked(looked, at),
            Done::Took {
                lease,
                sent,
                stolen,
            } => self.on_took(lease, sent, stolen),
            Done::NotTaken(key) => {
                self.taking.remove(&key);
            }
            Done::Consumer(key, outcome) => self.on_consumer_ended(&key, &outcome),
            Done::Lost(key, loss) => self.on_lost(&key, &loss),
            Done::CleanedUp(round) => self.on_cleaned_up(round),
            Done::Audited(created) => {
                self.auditor.done();
                self.scan_wanted |= created > 0;
            }
            Done::Released => self.releasing -= 1,
            Done::Nothing => {}
        }
    }

    fn publish(&self) {
        let mut now: Vec<HeldStatus> = self
            .held
            .values()
            .map(|held| HeldStatus {
                key: held.lease.key.clone(),
                consumer: held.consumer.as_ref().map(ConsumerHandle::watch_status),
            })
            .collect();
        now.sort_by(|a, b| a.key.cmp(&b.key));
        self.status.send_if_modified(|status| {
            let same = status.len() == now.len()
                && status.iter().zip(&now).all(|(was, is)| was.is_same(is));
            let changed = !same;
            if changed {
                *status = now;
            }
            changed
        });
    }
}
