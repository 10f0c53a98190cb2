//! A process of Java: what it remembers, and its threads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kcl_daemon::core::ids::{LeaseKey, WorkerId};
use kcl_daemon::core::leader_lock::RecordVersion;
use kcl_daemon::core::lease::Lease;
use kcl_daemon::core::migration::MigrationItem;
use kcl_daemon::core::migration::client_version::{ClientVersion, Configured};
use kcl_daemon::core::migration::single_table::TableStatus;
use kcl_daemon::core::sequence::InitialPosition;
use kcl_daemon::worker::coordinator::StopRequest;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Bug;
use super::audit::Elected;
use super::taker::Sightings;
use crate::children::SimFactory;
use crate::store::SimStore;
use crate::stream::SimStream;
use crate::trace::{Answer, Op};
use crate::world::{Process, S, SimClock, Time, World};

/// Which KCL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 2.x: every worker takes leases for itself.
    V2,
    /// 3.0 to 3.4 in mode 3X: a leader assigns; whatever is no lease is in tables of its own.
    V30,
    /// 3.5: what its fleet has come to (`versions`).
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
    /// `isGracefulLeaseHandoffEnabled`.
    pub graceful_hand_off: bool,
    /// `clientVersionConfig`, which 3.5 alone goes by here.
    pub configured: Configured,
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
    /// Whether it was given away as that took too long.
    pub transferred: bool,
    /// Whether its child is at work on a batch.
    pub busy: bool,
    /// Whether its consumer got as far as the child.
    pub begun: bool,
}

/// What the process remembers.
pub struct State {
    pub held: BTreeMap<LeaseKey, Held>,
    /// What the taker has seen of all leases.
    pub seen: Sightings,
    /// What the leader has seen of them since it leads.
    pub seen_leading: Sightings,
    /// Consumers that run, by lease and acquisition.
    pub consumers: BTreeSet<(LeaseKey, u64)>,
    /// Shards that this process has finished or found finished.
    pub finished: BTreeSet<LeaseKey>,
    /// Leases to be deleted, as they were when that was seen.
    pub clean_up: BTreeMap<LeaseKey, Lease>,
    pub next_token: u64,
    pub stopping: bool,
    /// Its child failed: the process ends.
    pub failed: bool,
    /// Hand-offs as first seen by the leader.
    pub hand_offs: BTreeMap<LeaseKey, (Option<WorkerId>, Time)>,
    pub runs: u64,
    /// How often in a row the leader could not assign.
    pub failed_runs: u32,
    /// The number under which it has the leader's lock, and when it wrote that.
    pub lock: Option<(RecordVersion, Time)>,
    /// Who leads by the shuffle.
    pub elected: Option<Elected>,
    /// How far the way to a leader is: the state it is in, and the item with which it came there.
    pub version: ClientVersion,
    pub version_item: Option<MigrationItem<ClientVersion>>,
    /// How far the move into one table was when it started, and is now; `None` where there never was
    /// another one.
    pub tables: Option<(TableStatus, TableStatus)>,
}

impl State {
    fn new() -> Self {
        Self {
            held: BTreeMap::new(),
            seen: Sightings::new(),
            seen_leading: Sightings::new(),
            consumers: BTreeSet::new(),
            finished: BTreeSet::new(),
            clean_up: BTreeMap::new(),
            next_token: 0,
            stopping: false,
            failed: false,
            hand_offs: BTreeMap::new(),
            runs: 0,
            failed_runs: 0,
            lock: None,
            elected: None,
            version: ClientVersion::Init,
            version_item: None,
            tables: None,
        }
    }
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
            state: Mutex::new(State::new()),
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

    /// A row as Java reads it, possibly stale (A.8).
    ///
    /// # Errors
    /// If it could not be read.
    pub async fn get(&self, key: &LeaseKey) -> Result<Option<Lease>, ()> {
        match self.store.request(Op::Get(key.clone(), false)).await {
            Answer::Row(row) => Ok(row.as_deref().and_then(|row| row.as_lease()).cloned()),
            _ => Err(()),
        }
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
            transferred: false,
            busy: false,
            begun: false,
            lease,
        };
        state.held.insert(held.lease.key.clone(), held);
    }

    /// Works until it is asked to stop, or a child fails.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<StopRequest>) -> String {
        // 3.x makes the index as it goes from state to state; here a new table has it at once, too.
        let with_index = match self.settings.version {
            Version::V2 => false,
            Version::V30 => true,
            Version::V3 => self.settings.configured == Configured::V3x,
        };
        self.store.request(Op::Open(with_index)).await;
        if let Err(too_early) = self.look_for_tables().await {
            return format!("cannot start: {too_early}");
        }
        if let Err(why) = self.enter_version().await {
            return format!("cannot start: {why}");
        }
        self.resume().await;
        let mut threads = JoinSet::new();
        let me = || Arc::clone(&self);
        threads.spawn(me().renewer());
        if self.settings.version != Version::V30 {
            threads.spawn(me().taker());
        }
        if self.settings.version != Version::V2 {
            threads.spawn(me().follow_tables());
            threads.spawn(me().report());
            threads.spawn(me().leader());
            threads.spawn(me().discover());
            threads.spawn(me().watch_hand_offs());
            threads.spawn(me().watch_version());
            threads.spawn(me().watch_readiness());
        }
        threads.spawn(me().auditor());
        threads.spawn(me().clean_up());
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
        // No lease is released: the others wait until they expire (G.4). Taking, assigning and reporting end
        // at once, renewing goes on (`Scheduler.createWorkerShutdownCallable`).
        self.state().stopping = true;
        let drained = async { while consumers.join_next().await.is_some() {} };
        if self.has(Bug::DrainWithoutBound) {
            drained.await;
        } else {
            tokio::select! {
                biased;
                // The lock goes last, if it comes to that (`PeriodicShardSyncManager.stop`).
                () = drained => self.release_lock().await,
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
}
