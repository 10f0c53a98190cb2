//! The coordinator of one worker with the 2.x algorithm: looks at the lease table, takes what is due,
//! starts a consumer for each lease held, and ends everything in order (`leases.md` B.5, E, G.4).
//!
//! It never waits for one thing only: scans, takes and clean-up run beside its loop, so that "stop",
//! the end of a consumer and the loss of a lease are noticed at once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use crate::core::assignment::taker::{self, Availability, Candidate, Limits};
use crate::core::consumer::Outcome;
use crate::core::expiry::Observations;
use crate::core::ids::{LeaseKey, ShardId, WorkerId};
use crate::core::lease::{Counter, Lease};
use crate::core::sequence::{ExtendedSequenceNumber, InitialPosition};
use crate::core::time::Moment;
use crate::os::tasks::TaskGroup;
use crate::os::time::within;
use crate::ports::{LeaseStore, StoreError, TableScan, Written};
use crate::worker::audit::Auditor;
use crate::worker::clean_up::CleanUpRound;
use crate::worker::consumer::{
    ConsumerHandle, ConsumerPorts, ConsumerSettings, ConsumerStatus, Message, ShardConsumer,
};
use crate::worker::keeper::{KeeperPorts, LeaseHandle, LeaseState, Loss};
use crate::worker::startup::refuse_foreign;

/// What the configuration says about leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseSettings {
    /// `failoverTimeMillis`.
    pub failover: Duration,
    /// `maxLeasesForWorker`, `maxLeasesToStealAtOneTime`, `enablePriorityLeaseAssignment`.
    pub limits: Limits,
    /// Where shards without checkpoint start.
    pub initial_position: InitialPosition,
    /// `ignoreUnexpectedChildShards`.
    pub ignore_unexpected_children: bool,
    /// `cleanupLeasesUponShardCompletion`.
    pub clean_up: bool,
}

/// How long an end may take (`shutdownGraceMillis`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace {
    /// For children to finish their batch and checkpoint; zero does not wait for them at all.
    pub children: Duration,
    /// After that, for killing children and releasing leases.
    pub release: Duration,
}

impl Grace {
    /// Splits the whole time: a third of it, at most 5 s, is kept for releasing and killing
    /// (`decisions.md`). Zero by hand still leaves 5 s for the releases.
    #[must_use]
    pub fn of(whole: Duration) -> Self {
        const RELEASE: Duration = Duration::from_secs(5);
        if whole.is_zero() {
            return Self {
                children: Duration::ZERO,
                release: RELEASE,
            };
        }
        let release = (whole / 3).min(RELEASE);
        Self {
            children: whole - release,
            release,
        }
    }
}

/// Everything the coordinator works with.
#[derive(Clone)]
pub struct CoordinatorPorts {
    /// For keepers: clients of the renewal thread.
    pub keeper: KeeperPorts,
    /// For consumers, and for the coordinator's own calls.
    pub consumer: ConsumerPorts,
}

/// How the worker is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopRequest {
    /// Not at all.
    Run,
    /// Children checkpoint, leases are released.
    Graceful,
    /// Children are killed, leases released.
    AtOnce,
}

/// How the worker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerEnd {
    /// It was asked to, and everything was given up in order.
    Stopped,
    /// It was asked to, but children had to be killed, or leases could not be released in time.
    Cut,
    /// A child failed and the policy says that the daemon ends.
    ChildFailed(ShardId),
    /// It cannot go on; the sentence says why.
    Failed(String),
}

/// One lease held by this worker, for status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldStatus {
    /// The lease.
    pub key: LeaseKey,
    /// Its consumer; `None` once the shard is finished.
    pub consumer: Option<ConsumerStatus>,
}

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

/// Java's interval between questions about a finished shard (`leases.md` E.6).
const ASK_SERVICE_EVERY: Duration = Duration::from_secs(300);

/// Java's taker waits 2 x (F + 25 ms) between scans; so do we when nobody else is there.
fn lonely_interval(failover: Duration) -> Duration {
    (failover + Duration::from_millis(25)) * 2
}

/// When the table is looked at next (`decisions.md`): with peers every F/5, stretched so that this
/// worker's scans cost at most one read unit a second; alone, and at most, every 2F.
#[must_use]
pub fn scan_interval(failover: Duration, has_peers: bool, table_bytes: usize) -> Duration {
    let longest = lonely_interval(failover);
    if !has_peers {
        return longest;
    }
    // An eventually consistent read of 8 KiB is one unit.
    let units = u32::try_from(table_bytes.div_ceil(8 * 1024)).unwrap_or(u32::MAX);
    (failover / 5)
        .max(Duration::from_secs(1).saturating_mul(units.saturating_sub(1)))
        .min(longest)
}

fn same_worker_id(key: &LeaseKey, me: &WorkerId) -> String {
    format!(
        "another process works under the worker id '{me}': it writes to lease {key}; \
         give each worker an id of its own (workerId), or leave workerId out"
    )
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
    held: HashMap<LeaseKey, Held>,
    observations: Observations,
    /// Rows that carry our id although we do not hold them, with their counters at the last scan.
    own_unheld: HashMap<LeaseKey, Counter>,
    /// The last scan, with what was learnt since.
    table: Vec<Lease>,
    beside: TaskGroup<Done>,
    taking: HashSet<LeaseKey>,
    scanning: bool,
    scan_wanted: bool,
    next_scan: Moment,
    next_look: Option<Moment>,
    auditor: Auditor,
    cleaning: bool,
    /// When the service may be asked again what finished shards became.
    next_ask: Moment,
    reported: HashSet<String>,
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
            held: HashMap::new(),
            observations: Observations::default(),
            own_unheld: HashMap::new(),
            table: Vec::new(),
            beside: TaskGroup::new(),
            taking: HashSet::new(),
            scanning: false,
            scan_wanted: true,
            next_scan: now,
            next_look: None,
            auditor: Auditor::new(now),
            cleaning: false,
            next_ask: now,
            reported: HashSet::new(),
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

    // -------------------------------------------------------------------------------------- scans

    fn start_scan(&mut self) {
        self.scanning = true;
        self.scan_wanted = false;
        let (store, clock) = (self.store(), Arc::clone(&self.ports.keeper.clock));
        let limit = self.settings.failover.max(Duration::from_secs(2));
        self.beside.spawn(async move {
            let scan = match within(&*clock, limit, store.scan()).await {
                Ok(result) => result,
                Err(_elapsed) => Err(StoreError::Unavailable(format!(
                    "the scan of the lease table '{}' did not end within {} s",
                    store.table(),
                    limit.as_secs()
                ))),
            };
            Done::Scanned(scan, clock.now())
        });
    }

    fn on_scanned(&mut self, scan: Result<TableScan, StoreError>, at: Moment) {
        self.scanning = false;
        let scan = match scan {
            Ok(scan) => scan,
            Err(error) => {
                let cause = format!("cannot read the lease table: {error}");
                if self.reported.insert(cause.clone()) {
                    warn!("{cause}; trying again");
                }
                self.next_scan = at + self.settings.failover / 5;
                return;
            }
        };
        if let Some(newer) = refuse_foreign(self.store().table(), &scan.foreign) {
            self.fail(newer.to_string());
            return;
        }
        self.report_unreadable(&scan);
        self.observations.record_scan(&scan.leases, at);
        self.table = scan.leases;
        let has_peers = self.has_peers(at);
        self.next_scan = at + scan_interval(self.settings.failover, has_peers, scan.bytes);
        debug!(
            leases = self.table.len(),
            held = self.held.len(),
            has_peers,
            "looked at the lease table"
        );
        self.check_own_id();
        self.decide(at);
        self.resume_at_once = false;
        self.start_clean_up();
        self.start_audit(at, has_peers);
    }

    /// Each unreadable row is reported once, and again when it reads differently.
    fn report_unreadable(&mut self, scan: &TableScan) {
        let now: HashSet<String> = scan
            .unreadable
            .iter()
            .map(|row| {
                format!(
                    "row '{}' of the lease table cannot be read and is left alone: {}",
                    row.key, row.reason
                )
            })
            .collect();
        for message in now.difference(&self.reported) {
            error!("{message}");
        }
        self.reported = now;
    }

    fn has_peers(&self, now: Moment) -> bool {
        self.table.iter().any(|lease| {
            lease.owner.as_ref().is_some_and(|owner| *owner != self.me)
                && !self
                    .observations
                    .is_expired(lease, now, self.settings.failover)
        })
    }

    /// Foreign leases whose counter stood still long enough to be suspicious are read one by one at
    /// the very moment they would expire, instead of at the next scan (`decisions.md`).
    fn start_look(&mut self, now: Moment) {
        self.next_look = None;
        let due: Vec<LeaseKey> = self
            .table
            .iter()
            .filter(|lease| self.is_foreign(lease))
            .filter(|lease| {
                self.observations
                    .is_expired(lease, now, self.settings.failover)
            })
            .map(|lease| lease.key.clone())
            .collect();
        if due.is_empty() {
            self.decide(now);
            return;
        }
        let (store, clock) = (self.store(), Arc::clone(&self.ports.keeper.clock));
        let limit = self.settings.failover / 3;
        self.beside.spawn(async move {
            let mut looked = Vec::with_capacity(due.len());
            for key in due {
                let row = match within(&*clock, limit, store.get(&key)).await {
                    Ok(row) => row,
                    Err(_elapsed) => Err(StoreError::Unavailable("no answer in time".to_owned())),
                };
                looked.push((key, row));
            }
            Done::Looked(looked, clock.now())
        });
    }

    fn on_looked(
        &mut self,
        looked: Vec<(LeaseKey, Result<Option<Lease>, StoreError>)>,
        at: Moment,
    ) {
        for (key, row) in looked {
            match row {
                Ok(Some(row)) => {
                    self.observations.record(&row, at);
                    if let Some(known) = self.table.iter_mut().find(|lease| lease.key == key) {
                        *known = row;
                    }
                }
                Ok(None) => self.table.retain(|lease| lease.key != key),
                Err(error) => debug!(lease = %key, "cannot look at a suspicious lease: {error}"),
            }
        }
        self.decide(at);
    }

    fn is_foreign(&self, lease: &Lease) -> bool {
        !self.held.contains_key(&lease.key)
            && lease.owner.as_ref().is_some_and(|owner| *owner != self.me)
    }

    fn schedule_look(&mut self, now: Moment) {
        let next = self
            .table
            .iter()
            .filter(|lease| !self.held.contains_key(&lease.key) && lease.owner.is_some())
            .filter_map(|lease| {
                let wait = if self.is_foreign(lease) {
                    self.settings.failover
                } else {
                    self.settings.failover / 2
                };
                self.observations.expires_at(lease, wait)
            })
            .map(|expiry| expiry + Duration::from_millis(1))
            .filter(|expiry| *expiry > now)
            .min();
        self.next_look = next;
    }

    // ------------------------------------------------------------------------------------- taking

    /// Leases that carry this worker's id although it does not hold them were its own before a
    /// restart, or belong to another process with the same id. A counter that moves tells which.
    fn check_own_id(&mut self) {
        let now: HashMap<LeaseKey, Counter> = self
            .table
            .iter()
            .filter(|lease| self.is_own_unheld(lease))
            .map(|lease| (lease.key.clone(), lease.counter))
            .collect();
        let seen = std::mem::replace(&mut self.own_unheld, now);
        let moved = self
            .own_unheld
            .iter()
            .find(|(key, counter)| seen.get(*key).is_some_and(|before| before != *counter))
            .map(|(key, _)| key.clone());
        if let Some(key) = moved {
            self.fail(same_worker_id(&key, &self.me));
        }
    }

    /// Whether the row carries this worker's id although it does not hold the lease.
    fn is_own_unheld(&self, lease: &Lease) -> bool {
        lease.owner.as_ref() == Some(&self.me)
            && !self.held.contains_key(&lease.key)
            && !self.taking.contains(&lease.key)
    }

    fn availability(&self, lease: &Lease, now: Moment) -> Availability {
        let failover = self.settings.failover;
        if self.held.contains_key(&lease.key) || self.taking.contains(&lease.key) {
            return Availability::Owned;
        }
        let free = match &lease.owner {
            None => true,
            Some(owner) if *owner == self.me => false,
            Some(_) => self.observations.is_expired(lease, now, failover),
        };
        match (free, self.observations.is_very_old(lease, now, failover)) {
            (false, _) => Availability::Owned,
            (true, false) => Availability::Free,
            (true, true) => Availability::VeryOld,
        }
    }

    fn decide(&mut self, now: Moment) {
        if self.stopping > StopRequest::Run {
            return;
        }
        self.resume_own(now);
        let candidates: Vec<Candidate> = self
            .table
            .iter()
            .map(|lease| Candidate {
                availability: self.availability(lease, now),
                lease: lease.clone(),
            })
            .collect();
        let entropy = Arc::clone(&self.ports.keeper.entropy);
        let plan = taker::plan(&candidates, &self.me, self.settings.limits, &mut |n| {
            entropy.below(n)
        });
        if !plan.take.is_empty() || !plan.steal.is_empty() {
            debug!(target = plan.target, take = ?taker::keys(&plan.take), steal = ?taker::keys(&plan.steal), "taking leases");
        }
        for lease in plan.take {
            self.take(lease, false);
        }
        for lease in plan.steal {
            self.take(lease, true);
        }
        self.schedule_look(now);
    }

    /// Takes back what carries this worker's id: at once when the lock proves that the former process
    /// is dead, else when the counter stood still for half the failover time.
    fn resume_own(&mut self, now: Moment) {
        let mine: Vec<Lease> = self
            .table
            .iter()
            .filter(|lease| self.is_own_unheld(lease))
            .filter(|lease| {
                self.resume_at_once
                    || self
                        .observations
                        .expires_at(lease, self.settings.failover / 2)
                        .is_some_and(|at| now >= at)
            })
            .cloned()
            .collect();
        for lease in mine {
            self.take(lease, false);
        }
    }

    fn take(&mut self, lease: Lease, stolen: bool) {
        if !self.taking.insert(lease.key.clone()) {
            return;
        }
        let (store, clock) = (self.store(), Arc::clone(&self.ports.keeper.clock));
        let (me, limit) = (self.me.clone(), self.settings.failover / 3);
        self.beside.spawn(async move {
            let update = lease.taken_by(&me);
            let sent = clock.now();
            let written = match within(&*clock, limit, store.update(&update)).await {
                Ok(Ok(written)) => written,
                Ok(Err(error)) => {
                    warn!(lease = %lease.key, "cannot take the lease: {error}");
                    return Done::NotTaken(lease.key);
                }
                Err(_elapsed) => Written::Unknown("no answer in time".to_owned()),
            };
            let row = match written {
                Written::Applied(row) => Some(row),
                Written::Lost(row) => row.filter(|row| update.is_proven_by(&lease, row)),
                Written::Unknown(why) => {
                    debug!(lease = %lease.key, "looking whether the lease was taken: {why}");
                    match within(&*clock, limit, store.get(&lease.key)).await {
                        Ok(Ok(row)) => row.filter(|row| update.is_proven_by(&lease, row)),
                        _ => None,
                    }
                }
            };
            match row {
                Some(lease) => Done::Took {
                    lease,
                    sent,
                    stolen,
                },
                None => Done::NotTaken(lease.key),
            }
        });
    }

    fn on_took(&mut self, lease: Lease, sent: Moment, stolen: bool) {
        self.taking.remove(&lease.key);
        if self.stopping > StopRequest::Run {
            self.give_back(lease, sent);
            return;
        }
        let how = if stolen {
            "took the lease from a worker that has more"
        } else {
            "took the lease"
        };
        info!(shard = %lease.shard_id(), checkpoint = %lease.checkpoint, "{how}");
        let handle = self.keep(&lease, sent);
        self.watch_for_loss(&handle);
        if let Some(known) = self.table.iter_mut().find(|known| known.key == lease.key) {
            *known = lease.clone();
        }
        let consumer = (!lease.is_finished()).then(|| {
            let (consumer, life) = ShardConsumer::start(
                self.ports.consumer.clone(),
                self.consumer_settings,
                lease.clone(),
                handle.clone(),
            );
            let key = lease.key.clone();
            self.beside
                .spawn(async move { Done::Consumer(key, life.await) });
            consumer
        });
        self.held.insert(
            lease.key.clone(),
            Held {
                lease,
                handle,
                consumer,
            },
        );
    }

    fn keep(&self, lease: &Lease, sent: Moment) -> LeaseHandle {
        LeaseHandle::keep(
            self.ports.keeper.clone(),
            self.me.clone(),
            lease.clone(),
            sent,
            self.settings.failover,
        )
    }

    /// A lease that came after the stop began.
    fn give_back(&mut self, lease: Lease, sent: Moment) {
        let handle = self.keep(&lease, sent);
        self.release(handle);
    }

    fn release(&mut self, handle: LeaseHandle) {
        self.releasing += 1;
        self.beside.spawn(async move {
            handle.release().await;
            Done::Released
        });
    }

    fn watch_for_loss(&mut self, handle: &LeaseHandle) {
        let (key, mut state) = (handle.key().clone(), handle.watch());
        self.beside.spawn(async move {
            let last = state
                .wait_for(|state| matches!(state, LeaseState::Lost(_) | LeaseState::Released))
                .await
                .map(|state| state.clone());
            match last {
                Ok(LeaseState::Lost(loss)) => Done::Lost(key, loss),
                // Released by its consumer, or dropped: whoever did it knows.
                _ => Done::Nothing,
            }
        });
    }

    // --------------------------------------------------------------------------------------- ends

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

    fn on_lost(&mut self, key: &LeaseKey, loss: &Loss) {
        if *loss == Loss::SameWorkerId {
            self.fail(same_worker_id(key, &self.me));
        }
        // A consumer hears of it by itself, and its end removes the lease.
        if self
            .held
            .get(key)
            .is_some_and(|held| held.consumer.is_none())
        {
            self.held.remove(key);
        }
        self.scan_wanted = true;
    }

    fn on_consumer_ended(&mut self, key: &LeaseKey, outcome: &Outcome) {
        match outcome {
            Outcome::ShardFinished => {
                info!(shard = %key.shard_id(), "the shard is finished");
                if let Some(held) = self.held.get_mut(key) {
                    held.consumer = None;
                    held.lease.checkpoint = ExtendedSequenceNumber::SHARD_END;
                    if self.stopping > StopRequest::Run
                        && let Some(held) = self.held.remove(key)
                    {
                        self.release(held.handle);
                    }
                }
                for held in self.held.values() {
                    if let Some(consumer) = &held.consumer {
                        consumer.tell(Message::LookAtParents);
                    }
                }
                // Its children are waiting to be taken.
                self.scan_wanted = true;
            }
            Outcome::LeaseLost | Outcome::Released => {
                self.held.remove(key);
            }
            Outcome::DaemonMustExit => {
                error!(shard = %key.shard_id(), "the child failed too often, or childFailurePolicy is 'exit': the daemon ends");
                if let Some(held) = self.held.remove(key) {
                    self.release(held.handle);
                }
                self.end
                    .get_or_insert(WorkerEnd::ChildFailed(key.shard_id()));
                self.request_stop(StopRequest::Graceful);
            }
        }
    }

    fn fail(&mut self, message: String) {
        if self.end.is_none() {
            error!("{message}");
        }
        self.end.get_or_insert(WorkerEnd::Failed(message));
        self.request_stop(StopRequest::Graceful);
    }

    fn request_stop(&mut self, request: StopRequest) {
        if request <= self.stopping {
            return;
        }
        let request = if self.grace.children.is_zero() {
            StopRequest::AtOnce
        } else {
            request
        };
        self.stopping = request;
        self.deadline = Some(match request {
            StopRequest::Run | StopRequest::Graceful => self.now() + self.grace.children,
            StopRequest::AtOnce => self.now() + self.grace.release,
        });
        let message = if request == StopRequest::Graceful {
            Message::Stop
        } else {
            Message::StopNow
        };
        let finished: Vec<LeaseKey> = self
            .held
            .iter()
            .filter(|(_, held)| held.consumer.is_none())
            .map(|(key, _)| key.clone())
            .collect();
        for key in finished {
            if let Some(held) = self.held.remove(&key) {
                self.release(held.handle);
            }
        }
        for held in self.held.values() {
            if let Some(consumer) = &held.consumer {
                consumer.tell(message);
            }
        }
    }

    // ------------------------------------------------------------------------------------- duties

    fn start_clean_up(&mut self) {
        if !self.settings.clean_up || self.cleaning || self.stopping > StopRequest::Run {
            return;
        }
        let finished: Vec<LeaseKey> = self
            .held
            .iter()
            .filter(|(_, held)| held.consumer.is_none())
            .map(|(key, _)| key.clone())
            .collect();
        let now = self.now();
        let round = CleanUpRound::plan(&finished, &self.table, now >= self.next_ask);
        if round.is_empty() {
            return;
        }
        if round.asks() {
            self.next_ask = now + ASK_SERVICE_EVERY;
        }
        self.cleaning = true;
        let ports = self.ports.clone();
        self.beside.spawn(async move {
            let (store, stream) = (&*ports.consumer.store, &*ports.consumer.fetcher.stream);
            let (clock, entropy) = (&*ports.keeper.clock, &*ports.keeper.entropy);
            Done::CleanedUp(round.run(store, stream, clock, entropy).await)
        });
    }

    fn on_cleaned_up(&mut self, round: CleanUpRound) {
        self.cleaning = false;
        for key in round.deleted() {
            info!(shard = %key.shard_id(), "deleted the lease of a finished shard");
            self.held.remove(key);
            self.table.retain(|lease| lease.key != *key);
        }
    }

    fn start_audit(&mut self, now: Moment, has_peers: bool) {
        if self.stopping > StopRequest::Run {
            return;
        }
        let Some(audit) = self.auditor.due(&self.table, &self.me, has_peers, now) else {
            return;
        };
        let ports = self.ports.clone();
        let (leases, settings) = (self.table.clone(), self.settings);
        self.beside.spawn(async move {
            let (store, stream) = (&*ports.consumer.store, &*ports.consumer.fetcher.stream);
            Done::Audited(audit.run(stream, store, &leases, settings).await)
        });
    }

    fn publish(&self) {
        let mut now: Vec<HeldStatus> = self
            .held
            .values()
            .map(|held| HeldStatus {
                key: held.lease.key.clone(),
                consumer: held.consumer.as_ref().map(ConsumerHandle::status),
            })
            .collect();
        now.sort_by(|a, b| a.key.cmp(&b.key));
        self.status.send_if_modified(|status| {
            let changed = *status != now;
            if changed {
                *status = now;
            }
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_often_the_table_is_looked_at() {
        let failover = Duration::from_secs(10);
        let cases = [
            (false, 0, 20_050),
            (true, 0, 2_000),
            (true, 24 * 1024, 2_000),
            (true, 100 * 1024, 12_000),
            (true, 10 << 20, 20_050),
        ];
        for (peers, bytes, millis) in cases {
            assert_eq!(
                scan_interval(failover, peers, bytes),
                Duration::from_millis(millis),
                "{peers} {bytes}"
            );
        }
    }
}
