//! The coordinator of one worker: looks at the lease table, gets hold of the leases that are due to it,
//! starts a consumer for each, and ends everything in order (`leases.md` B.5, C, E, G.4). Leases come
//! by the 2.x algorithm, in which every worker takes for itself, or by the 3.x one, in which a leader
//! assigns them; which of the two it is may change while the worker runs.
//!
//! It never waits for one thing only: scans, takes and clean-up run beside its loop, so that "stop",
//! the end of a consumer and the loss of a lease are noticed at once.
//!
//! | file | part |
//! |---|---|
//! | `types.rs` | what it is told, and what it tells |
//! | `table.rs` | looking at the table |
//! | `telling.rs` | what people have to know: no lease, a wrong clock, rows that are gone |
//! | `taking.rs` | the 2.x algorithm: deciding what to take |
//! | `assigned.rs` | the 3.x algorithm: finding what was assigned |
//! | `leading.rs` | the 3.x algorithm: assigning, as the leader |
//! | `conduct.rs` | changing from one to the other |
//! | `versions.rs`, `tables.rs` | when to: the migrations of the fleet |
//! | `acquiring.rs` | getting hold of a lease, and letting go of it |
//! | `leaving.rs` | stopping |
//! | `holding.rs` | ends of consumers, losses, duties |

mod acquiring;
mod assigned;
mod conduct;
mod holding;
mod leading;
mod leaving;
mod table;
mod tables;
mod taking;
mod telling;
mod types;
mod versions;

pub use types::{
    Algorithm, Conduct, CoordinatorPorts, Grace, HeldStatus, LeaseSettings, Member, StopRequest,
    WorkerEnd,
};
pub use versions::Standing;
pub(crate) use versions::read_version;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;

use crate::core::assignment::idle::Idle;
use crate::core::assignment::reports::Reports;
use crate::core::assignment::watch::Watch;
use crate::core::consumer::Outcome;
use crate::core::expiry::Observations;
use crate::core::ids::{LeaseKey, ShardId, WorkerId};
use crate::core::leader_lock::LeaderLock;
use crate::core::lease::{Counter, Lease};
use crate::core::migration::pure_fleet::PureFleet;
use crate::core::tenure::Attempts;
use crate::core::time::Moment;
use crate::core::worker_stats::WorkerMetricStats;
use crate::os::tasks::TaskGroup;
use crate::ports::{LeaseStore, OwnerIndex, StoreError, TableScan};
use crate::worker::audit::Auditor;
use crate::worker::clean_up::CleanUpRound;
use crate::worker::consumer::{ConsumerHandle, ConsumerSettings};
use crate::worker::coordinator::acquiring::{How, NotAcquired};
use crate::worker::coordinator::assigned::Found;
use crate::worker::coordinator::leading::{Led, Moved};
use crate::worker::coordinator::tables::{Step, Tables};
use crate::worker::coordinator::versions::{Version, Versions};
use crate::worker::keeper::{LeaseHandle, Loss};
use crate::worker::leadership::Leadership;
use crate::worker::reporter::Reporter;

struct Held {
    lease: Lease,
    handle: LeaseHandle,
    consumer: Option<ConsumerHandle>,
}

/// What a task beside the loop came back with.
enum Done {
    Scanned {
        scan: Result<TableScan, StoreError>,
        /// Metrics items from a table of their own.
        legacy: Vec<WorkerMetricStats>,
        asked: Moment,
        at: Moment,
    },
    Looked(Vec<(LeaseKey, Result<Option<Lease>, StoreError>)>, Moment),
    Acquired {
        lease: Lease,
        sent: Moment,
        how: How,
    },
    NotAcquired(LeaseKey, NotAcquired),
    Found(Found, Moment),
    Index(Result<OwnerIndex, StoreError>, Moment),
    Heirs(Option<TableScan>),
    LeaderChanged(watch::Receiver<LeaderLock>),
    Moved(Moved),
    /// The first metrics item is in the table.
    Reported,
    Version(Result<Version, StoreError>),
    Step(Result<Step, StoreError>),
    Consumer(LeaseKey, Outcome),
    Lost(LeaseKey, Loss),
    HandingOff(LeaseKey),
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
    /// Leases that carried this worker's id when it first looked.
    former: BTreeSet<LeaseKey>,
    conduct: Conduct,
    /// How far the migrations of the fleet are.
    versions: Versions,
    /// How far the move into one table is.
    tables: Tables,
    /// Whether all workers are kcl-daemons.
    pure_fleet: PureFleet,
    /// The election of the leader, in the 3.x algorithm.
    leadership: Option<Leadership>,
    /// The report of this worker's load.
    reporter: Option<Reporter>,
    /// What the workers last said of themselves.
    members: Vec<WorkerMetricStats>,
    /// When they were seen to change.
    reports: Reports,
    /// Workers that were found dead, and the report that they left behind.
    dead: BTreeMap<WorkerId, Option<i64>>,
    /// When leases were lost to somebody of our own name, lately.
    strange_losses: Vec<Moment>,
    /// Another process works under this worker's id.
    shares_its_id: bool,
    /// Whether this host's clock was found too far off, so that each change is told once.
    clock_is_off: bool,
    /// Why this worker has no lease, as last told.
    idle_reason: Option<Idle>,
    /// Those who said it in a table of their own.
    legacy_members: Vec<WorkerMetricStats>,
    /// Whether the index of leases by owner can be asked.
    index: OwnerIndex,
    next_index_check: Option<Moment>,
    next_query: Option<Moment>,
    querying: bool,
    /// Since when something is about to be assigned to this worker.
    expecting_since: Option<Moment>,
    table_bytes: usize,
    /// When this worker looked at the table first.
    first_look: Option<Moment>,
    /// What this worker has seen of the leases; what a leader decides by.
    watch: Watch,
    /// While this worker is the leader.
    led: Option<Led>,
    /// Ordered, as all that is gone through here, so that a simulated fleet can be replayed.
    held: BTreeMap<LeaseKey, Held>,
    observations: Observations,
    /// Rows that carry our id although we do not hold them, with their counters at the last scan and
    /// how often those moved.
    own_unheld: BTreeMap<LeaseKey, (Counter, u32)>,
    /// When leases were last taken that carry our id although a worker of Java went on with them.
    given_by_hand: Option<Moment>,
    /// The last scan, with what was learnt since.
    table: Vec<Lease>,
    /// Rows as this worker itself has just written them, and when.
    own_writes: BTreeMap<LeaseKey, (Lease, Moment)>,
    beside: TaskGroup<Done>,
    taking: BTreeSet<LeaseKey>,
    attempts: Attempts,
    scanning: bool,
    /// The next decision follows a scan.
    may_steal: bool,
    scan_wanted: bool,
    next_scan: Moment,
    /// When the last scan was answered.
    scanned_at: Moment,
    next_look: Option<Moment>,
    /// Since when no lease came, went or changed its owner.
    quiet_since: Moment,
    auditor: Auditor,
    cleaning: bool,
    /// Children of finished shards that had no lease when it was last looked.
    missing_children: BTreeSet<ShardId>,
    /// When the service may be asked again what finished shards became.
    next_ask: Moment,
    reported: BTreeSet<String>,
    status: watch::Sender<Vec<HeldStatus>>,
    stop: watch::Receiver<StopRequest>,
    stopping: StopRequest,
    /// Stopping, and finding out who is there to go on.
    looking_for_heirs: bool,
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
        member: Member,
        ports: CoordinatorPorts,
        settings: LeaseSettings,
        consumer_settings: ConsumerSettings,
        grace: Grace,
        stop: watch::Receiver<StopRequest>,
    ) -> (Self, watch::Receiver<Vec<HeldStatus>>) {
        let (status, view) = watch::channel(Vec::new());
        let now = ports.keeper.clock.now();
        let Member {
            id: me,
            standing,
            resume_at_once,
        } = member;
        let versions = Versions::new(standing, now);
        let mut coordinator = Self {
            former: BTreeSet::new(),
            conduct: versions.conduct(),
            versions,
            pure_fleet: PureFleet::default(),
            leadership: None,
            reporter: None,
            members: Vec::new(),
            reports: Reports::default(),
            legacy_members: Vec::new(),
            dead: BTreeMap::new(),
            strange_losses: Vec::new(),
            shares_its_id: false,
            clock_is_off: false,
            idle_reason: None,
            tables: Tables::new(now),
            index: OwnerIndex::Absent,
            next_index_check: None,
            next_query: None,
            querying: false,
            expecting_since: None,
            table_bytes: 0,
            first_look: None,
            watch: Watch::default(),
            led: None,
            me,
            auditor: Auditor::new(now, settings.repair_at_start),
            settings,
            consumer_settings,
            resume_at_once,
            held: BTreeMap::new(),
            observations: Observations::default(),
            own_unheld: BTreeMap::new(),
            given_by_hand: None,
            table: Vec::new(),
            own_writes: BTreeMap::new(),
            beside: TaskGroup::new(),
            taking: BTreeSet::new(),
            attempts: Attempts::default(),
            scanning: false,
            may_steal: false,
            scan_wanted: true,
            next_scan: now,
            scanned_at: now,
            next_look: None,
            quiet_since: now,
            cleaning: false,
            missing_children: BTreeSet::new(),
            next_ask: now,
            reported: BTreeSet::new(),
            status,
            stop,
            stopping: StopRequest::Run,
            looking_for_heirs: false,
            grace,
            deadline: None,
            end: None,
            releasing: 0,
            cut: false,
            ports,
        };
        coordinator.take_up_conduct();
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

    fn next_wake(&self) -> Moment {
        if let Some(deadline) = self.deadline {
            return deadline;
        }
        let scan = if self.scanning {
            self.now() + self.settings.failover
        } else {
            self.next_scan
        };
        let others = [
            self.next_look,
            self.next_query,
            self.next_index_check,
            self.versions.next_wake(),
            self.next_table_turn(),
        ];
        others.into_iter().flatten().fold(scan, Moment::min)
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
        if self.next_query.is_some_and(|query| now >= query) {
            self.start_query(now);
        }
        self.start_index_check(now);
        self.turn_versions(now);
        self.turn_tables(now);
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Scanned {
                scan,
                legacy,
                asked,
                at,
            } => {
                self.legacy_members = legacy;
                self.on_scanned(scan, asked, at);
            }
            Done::Looked(looked, at) => self.on_looked(looked, at),
            Done::Acquired { lease, sent, how } => self.on_acquired(lease, sent, how),
            Done::NotAcquired(key, why) => self.on_not_acquired(&key, why),
            Done::Found(found, at) => self.on_found(found, at),
            Done::Index(state, at) => self.on_index(state, at),
            Done::Heirs(scan) => self.on_heirs(scan),
            Done::Step(result) => self.on_step(result),
            Done::Version(result) => self.on_version(result),
            Done::Reported => self.scan_wanted = true,
            Done::Moved(moved) => self.on_moved(moved),
            Done::LeaderChanged(view) => self.on_leader_changed(view),
            Done::Consumer(key, outcome) => self.on_consumer_ended(&key, &outcome),
            Done::Lost(key, loss) => self.on_lost(&key, &loss),
            Done::HandingOff(key) => self.on_handing_off(&key),
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

#[cfg(test)]
mod tests;
