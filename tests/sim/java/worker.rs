//! A process of Java: what it remembers, its threads, and renewing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kcl_daemon::core::ids::{LeaseKey, WorkerId};
use kcl_daemon::core::lease::{Counter, Lease};
use kcl_daemon::core::migration::single_table::TableStatus;
use kcl_daemon::core::sequence::InitialPosition;
use kcl_daemon::worker::coordinator::StopRequest;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Bug;
use crate::children::SimFactory;
use crate::store::SimStore;
use crate::stream::SimStream;
use crate::trace::{Answer, Op};
use crate::world::{MS, Process, S, SimClock, Time, World};

/// Which KCL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 2.x: every worker takes leases for itself.
    V2,
    /// 3.0 to 3.4 in mode 3X: a leader assigns; whatever is no lease is in tables of its own.
    V30,
    /// 3.5 in mode 3X: a leader assigns.
    V3,
}

impl Version {
    /// Whether one row that is no lease makes its scans fail as a whole (A.7).
    pub const fn stumbles(self) -> bool {
        matches!(self, Self::V2 | Self::V30)
    }
}

/// What its properties say.
#[derive(Debug, Clone)]
pub struct Settings {
    pub version: Version,
    pub failover: Time,
    pub position: InitialPosition,
    pub max_steals: usize,
    pub hand_off_timeout: Time,
    pub report_every: Time,
    pub grace: Time,
    /// `migrateAllEntitiesToLeaseTable`.
    pub migrate: bool,
    /// `tableMigrationCompleteBakeTimeSeconds`.
    pub bake: Duration,
    pub bugs: BTreeSet<Bug>,
}

/// A lease as the process holds it.
pub struct Held {
    /// The local copy.
    pub lease: Lease,
    /// When it was renewed last, by the process's clock: after the answer came.
    pub renewed: Time,
    /// Of this acquisition.
    pub token: u64,
    /// Since when it is to be handed off.
    pub handing_since: Option<Time>,
    /// Whether its child is at work on a batch.
    pub busy: bool,
    /// Whether its consumer got as far as the child.
    pub begun: bool,
}

/// What the process remembers.
#[derive(Default)]
pub struct State {
    pub held: BTreeMap<LeaseKey, Held>,
    /// Counters of all leases, and when each was seen to change.
    pub seen: BTreeMap<LeaseKey, (Counter, Time)>,
    /// Consumers that run, by lease and acquisition.
    pub consumers: BTreeSet<(LeaseKey, u64)>,
    /// Shards that this process has finished or found finished.
    pub finished: BTreeSet<LeaseKey>,
    pub next_token: u64,
    pub stopping: bool,
    /// Its child failed: the process ends.
    pub failed: bool,
    /// Hand-offs as first seen by the leader.
    pub hand_offs: BTreeMap<LeaseKey, (Option<WorkerId>, Time)>,
    pub runs: u64,
    /// Whether it has the leader's lock.
    pub leads: bool,
    /// How far the move into one table was when it started, and is now; `None` where there never was
    /// another one.
    pub tables: Option<(TableStatus, TableStatus)>,
}

/// The process.
pub struct JavaWorker {
    pub me: WorkerId,
    pub world: Arc<World>,
    pub process: Arc<Process>,
    pub store: SimStore,
    pub stream: SimStream,
    pub factory: SimFactory,
    pub clock: SimClock,
    pub settings: Settings,
    state: Mutex<State>,
}

impl JavaWorker {
    pub fn new(
        world: &Arc<World>,
        process: &Arc<Process>,
        factory: SimFactory,
        settings: Settings,
    ) -> Arc<Self> {
        Arc::new(Self {
            me: WorkerId::new(&process.name),
            world: Arc::clone(world),
            process: Arc::clone(process),
            // One call may hang for a minute and hold up all renewals; here it is a failover time.
            store: SimStore::new(world, process, settings.failover),
            stream: SimStream::new(world, process),
            factory,
            clock: SimClock::new(world, process),
            settings,
            state: Mutex::default(),
        })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("one thread")
    }

    pub fn has(&self, bug: Bug) -> bool {
        self.settings.bugs.contains(&bug)
    }

    /// Now, by the process's clock.
    pub fn now(&self) -> Time {
        self.process.local(self.world.now())
    }

    pub async fn sleep(&self, time: Time) {
        self.clock.sleep(time).await;
    }

    /// A local copy that is not older than the failover time.
    pub fn held(&self, key: &LeaseKey, token: u64) -> Option<Lease> {
        let now = self.now();
        let state = self.state();
        let held = state.held.get(key)?;
        let fresh = held.token == token && now <= held.renewed + self.settings.failover;
        fresh.then(|| held.lease.clone())
    }

    /// Puts a lease into the held map.
    pub fn hold(&self, lease: Lease) {
        let now = self.now();
        let mut state = self.state();
        state.next_token += 1;
        let token = state.next_token;
        let held = Held {
            renewed: now,
            token,
            handing_since: None,
            busy: false,
            begun: false,
            lease,
        };
        state.held.insert(held.lease.key.clone(), held);
    }

    /// Works until it is asked to stop, or a child fails.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<StopRequest>) -> String {
        self.store
            .request(Op::Open(self.settings.version != Version::V2))
            .await;
        if let Err(too_early) = self.look_for_tables().await {
            return format!("cannot start: {too_early}");
        }
        self.resume().await;
        let mut threads = JoinSet::new();
        let renewer = Arc::clone(&self);
        threads.spawn(async move { renewer.renewer().await });
        match self.settings.version {
            Version::V2 => {
                let taker = Arc::clone(&self);
                threads.spawn(async move { taker.taker().await });
            }
            Version::V30 | Version::V3 => {
                let tables = Arc::clone(&self);
                threads.spawn(async move { tables.follow_tables().await });
                let (metrics, leader) = (Arc::clone(&self), Arc::clone(&self));
                let discovery = Arc::clone(&self);
                threads.spawn(async move { metrics.report().await });
                threads.spawn(async move { leader.leader().await });
                threads.spawn(async move { discovery.discover().await });
            }
        }
        let auditor = Arc::clone(&self);
        threads.spawn(async move { auditor.auditor().await });
        let mut consumers = JoinSet::new();
        loop {
            self.dispatch(&mut consumers);
            tokio::select! {
                biased;
                _ = stop.changed() => break,
                Some(_) = consumers.join_next() => {}
                () = self.sleep(S) => {}
            }
            if self.state().failed {
                return "a child failed".to_owned();
            }
        }
        // Nothing is released: the others wait until the leases expire (G.4).
        self.state().stopping = true;
        let drained = async { while consumers.join_next().await.is_some() {} };
        if self.has(Bug::DrainWithoutBound) {
            drained.await;
        } else {
            tokio::select! {
                biased;
                () = drained => {}
                () = self.sleep(self.settings.grace) => {}
            }
        }
        "java stopped".to_owned()
    }

    /// One turn of the process loop: a consumer for each held lease.
    fn dispatch(self: &Arc<Self>, consumers: &mut JoinSet<()>) {
        let now = self.now();
        let mut state = self.state();
        let failover = self.settings.failover;
        let new: Vec<(Lease, u64)> = state
            .held
            .values()
            .filter(|held| now <= held.renewed + failover)
            .map(|held| (held.lease.clone(), held.token))
            .filter(|(lease, token)| !state.consumers.contains(&(lease.key.clone(), *token)))
            .collect();
        for (lease, token) in new {
            state.consumers.insert((lease.key.clone(), token));
            let worker = Arc::clone(self);
            consumers.spawn(async move { worker.consume(lease, token).await });
        }
    }

    /// Renews what carries this worker's id and is in no hand-off, one after the other (B.6).
    async fn resume(&self) {
        let Answer::Rows(rows) = self.store.request(Op::Scan).await else {
            return;
        };
        for lease in rows.iter().filter_map(|row| row.as_lease()) {
            let mine = lease.owner.as_ref() == Some(&self.me) && !lease.in_hand_off();
            if mine
                && let Answer::Applied(row) = self.store.request(Op::Update(lease.renewal())).await
                && let Some(lease) = row.as_lease()
            {
                self.hold(lease.clone());
            }
        }
    }

    async fn renewer(self: Arc<Self>) {
        let period = (self.settings.failover / 3).saturating_sub(25 * MS);
        loop {
            let started = self.now();
            let keys: Vec<LeaseKey> = self.state().held.keys().cloned().collect();
            let mut round = JoinSet::new();
            for key in keys {
                let worker = Arc::clone(&self);
                round.spawn(async move { worker.renew(&key).await });
            }
            // The next round waits for the slowest of this one (B.2).
            while round.join_next().await.is_some() {}
            let took = self.now() - started;
            self.sleep(period.saturating_sub(took).max(MS)).await;
        }
    }

    async fn renew(&self, key: &LeaseKey) {
        let now = self.now();
        let Some(lease) = ({
            let mut state = self.state();
            match state.held.get(key) {
                Some(held) if now > held.renewed + self.settings.failover => {
                    state.held.remove(key);
                    None
                }
                Some(held) if held.busy && self.has(Bug::RenewalBlockedByProcessing) => None,
                Some(held) => Some(held.lease.clone()),
                None => None,
            }
        }) else {
            return;
        };
        let update = match self.settings.version {
            Version::V2 => lease.renewal(),
            Version::V30 | Version::V3 => lease.renewal_noticing_hand_off(),
        };
        match self.store.request(Op::Update(update)).await {
            Answer::Applied(row) => self.renewed(key, row.as_lease()),
            Answer::Lost(row) => {
                let row = row.as_deref().and_then(|row| row.as_lease()).cloned();
                self.renewal_lost(key, &lease, row).await;
            }
            // Kept, and tried again in the next period.
            _ => {}
        }
    }

    fn renewed(&self, key: &LeaseKey, row: Option<&Lease>) {
        let now = self.now();
        if let (Some(held), Some(row)) = (self.state().held.get_mut(key), row)
            && row.counter > held.lease.counter
        {
            held.lease.clone_from(row);
            held.renewed = now;
        }
    }

    async fn renewal_lost(&self, key: &LeaseKey, before: &Lease, row: Option<Lease>) {
        if let Some(row) = &row
            && !before.in_hand_off()
            && row.checkpoint_owner.as_ref() == Some(&self.me)
            && row.owner.as_ref() != Some(&self.me)
        {
            // The leader moves it: go on renewing, and give way (B.2 step 4).
            let now = self.now();
            if let Some(held) = self.state().held.get_mut(key) {
                held.lease.clone_from(row);
                held.handing_since.get_or_insert(now);
            }
            if let Answer::Applied(row) = self.store.request(Op::Update(row.renewal())).await {
                self.renewed(key, row.as_lease());
            }
            return;
        }
        // Perhaps the answer to a write of one's own was lost (B.2 step 5).
        let row = match self.store.request(Op::Get(key.clone(), false)).await {
            Answer::Row(row) => row.as_deref().and_then(|row| row.as_lease()).cloned(),
            _ => row,
        };
        let mut state = self.state();
        let Some(held) = state.held.get_mut(key) else {
            return;
        };
        if held.lease.counter != before.counter {
            // A checkpoint went through meanwhile.
            return;
        }
        let own = row.as_ref().is_some_and(|row| {
            row.counter == before.counter.next() && row.owner.as_ref() == Some(&self.me)
        });
        match row.filter(|_| own) {
            Some(row) => {
                held.lease = row;
                held.renewed = self.now();
            }
            None => {
                state.held.remove(key);
            }
        }
    }

    /// Notes what a scan says of all counters; gives what has no living owner.
    pub fn observe(&self, leases: &[Lease]) -> Vec<Lease> {
        let now = self.now();
        let mut state = self.state();
        let mut available = Vec::new();
        for lease in leases {
            let seen = state.seen.entry(lease.key.clone());
            let seen = seen.or_insert((lease.counter, now));
            if seen.0 != lease.counter {
                *seen = (lease.counter, now);
            }
            let expired = now > seen.1 + self.settings.failover;
            if lease.actual_owner().is_none() || expired {
                available.push(lease.clone());
            }
        }
        available
    }
}
