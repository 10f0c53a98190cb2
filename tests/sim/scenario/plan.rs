//! What a seed stands for: the fleet, its settings, and what goes wrong when.

use std::collections::BTreeSet;
use std::time::Duration;

use kcl_daemon::core::assignment::problem::Strategy;
use kcl_daemon::core::assignment::taker::Limits;
use kcl_daemon::core::consumer::FailurePolicy;
use kcl_daemon::core::migration::client_version::{ClientVersion, Configured};
use kcl_daemon::core::sequence::InitialPosition;
use kcl_daemon::worker::joining::Wanted;

use crate::children::{Checkpoints, ChildSettings};
use crate::java::Bug;
use crate::weather::Weather;
use crate::world::{EPOCH_MS, Kind, MS, Rng, S, Stillness, Time};

/// A worker of the fleet: a place where a process runs, and another one when that ended.
#[derive(Debug, Clone)]
pub struct WorkerPlan {
    /// Its worker id.
    pub name: String,
    /// Whose code it runs.
    pub kind: Kind,
    /// When it starts first.
    pub starts_at: Time,
    /// When it starts again after an end that nobody asked for; `None` for when it is calm,
    /// `Some(Time::MAX)` for never.
    pub restarts_after: Option<Time>,
    /// How wrong its wall clock is.
    pub wall_skew_ms: i64,
    /// The number of its action at which its first process dies, and whether the action takes place.
    pub dies_at_action: Option<(u64, bool)>,
    /// Its `clientVersionConfig`, if it is not that of the fleet.
    pub wanted: Option<Wanted>,
    /// `migrateAllEntitiesToLeaseTable`.
    pub migrate: bool,
}

/// What runs at a worker's place from its next start on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deployed {
    /// Whose code.
    pub kind: Kind,
    /// Its `clientVersionConfig`, if it is not that of the fleet.
    pub wanted: Option<Wanted>,
    /// `migrateAllEntitiesToLeaseTable`.
    pub migrate: bool,
}

impl Deployed {
    /// What a worker's place runs at first.
    pub fn first(worker: &WorkerPlan) -> Self {
        Self {
            kind: worker.kind,
            wanted: worker.wanted,
            migrate: worker.migrate,
        }
    }
}

/// Something that happens at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incident {
    /// A worker's process is killed.
    Kill(usize),
    /// A worker is asked to stop, and started again after so long.
    Stop(usize, Time),
    /// A worker is told to stop at once.
    StopNow(usize, Time),
    /// A worker freezes.
    Freeze(usize, Stillness, Time),
    /// A worker's wall clock jumps: it is off by this from now on, milliseconds.
    Skew(usize, i64),
    /// One worker after the other is stopped and started.
    Rolling(Time),
    /// No request reaches the table for so long.
    TableDown(Time),
    /// No request of a worker reaches the table for so long.
    CutOff(usize, Time),
    /// No request to the stream is answered for so long.
    StreamDown(Time),
    /// The n-th open shard is split.
    Split(usize),
    /// The n-th open shard is merged with its neighbour.
    Merge(usize),
    /// All iterators expire.
    ExpireIterators,
    /// The n-th row is deleted by hand.
    DeleteRow(usize),
    /// The n-th owned lease's owner is removed by hand.
    Disown(usize),
    /// The n-th owned lease is given to somebody by hand.
    Give(usize, String),
    /// The n-th owned lease's counter is raised by hand.
    RaiseCounter(usize),
    /// The n-th lease that has an owner is handed off to somebody by hand.
    HandOff(usize, String),
    /// A row that cannot be read appears.
    Garbage,
    /// A worker is stopped, and something else is started in its place.
    Replace(usize, Deployed),
    /// `KclMigrationTool.py` writes `Migration3.0`; rolling back it deletes the index, too.
    Tool(ClientVersion),
    /// A row of another kind than any that workers write appears.
    Foreign,
    /// The stream is deleted; after so long there is another one of its name, with so many shards.
    MakeAnew(Time, usize),
    /// All leases are deleted by hand.
    DeleteLeases,
}

/// All that a seed stands for.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// `failoverTimeMillis`.
    pub failover: Duration,
    /// Shards at the beginning.
    pub shards: usize,
    /// The fleet.
    pub workers: Vec<WorkerPlan>,
    /// Where reading starts.
    pub position: InitialPosition,
    /// `clientVersionConfig`: which algorithm the fleet follows.
    pub wanted: Wanted,
    /// `leaseAssignmentStrategy`.
    pub strategy: Strategy,
    /// `isGracefulLeaseHandoffEnabled`.
    pub graceful_hand_off: bool,
    /// `gracefulLeaseHandoffTimeoutMillis`.
    pub hand_off_timeout: Duration,
    /// `workerMetricsReporterFreqInMillis`.
    pub report_every: Duration,
    /// Not `disableWorkerMetrics`.
    pub measures_load: bool,
    /// Bugs that the models of Java have in this world.
    pub bugs: BTreeSet<Bug>,
    /// How large a row is: in a large table workers ask the index instead of reading all of it.
    pub row_bytes: usize,
    /// How long the table takes to be made.
    pub table_takes: Time,
    /// How long the index of leases by owner takes to be made.
    pub index_takes: Time,
    /// Whether the fleet was one of KCL 3.0 to 3.4, and left its tables behind.
    pub legacy: bool,
    /// `tableMigrationCompleteBakeTimeSeconds`.
    pub bake: Duration,
    /// How far that index is behind.
    pub index_lag: Time,
    /// Limits of the taker.
    pub limits: Limits,
    /// `childFailurePolicy`.
    pub failure_policy: FailurePolicy,
    /// Children.
    pub children: ChildSettings,
    /// Idle time between reads.
    pub idle: Duration,
    /// `maxPendingProcessRecordsInput`.
    pub prefetch: usize,
    /// `maxRecords`.
    pub max_records: u32,
    /// `shutdownGraceMillis`.
    pub grace: Duration,
    /// `cleanupLeasesUponShardCompletion`.
    pub clean_up: bool,
    /// The weather until it is calm.
    pub weather: Weather,
    /// When it becomes calm.
    pub calm_at: Time,
    /// How long it may take then until everything is well.
    pub recovery: Time,
    /// For how long it goes on when all is well, to see that everybody rests.
    pub linger: Time,
    /// What happens when.
    pub incidents: Vec<(Time, Incident)>,
    /// Between two records.
    pub record_every: Time,
    /// Chances in a thousand that a record is an aggregate.
    pub aggregates: u32,
    /// Whether the last records of a closed shard come with its end.
    pub last_records_with_end: bool,
    /// Rows have an attribute that nobody knows, and lack their hash ranges, as old versions made them.
    pub old_rows: bool,
    /// Records and reshards of a day ago, about to be trimmed.
    pub history: bool,
}

impl Plan {
    /// A quiet fleet of so many of our workers.
    pub fn quiet(seed: u64, workers: usize, shards: usize) -> Self {
        Self {
            seed,
            failover: Duration::from_secs(10),
            shards,
            workers: (0..workers)
                .map(|n| WorkerPlan {
                    name: format!("w{n}"),
                    kind: Kind::Ours,
                    starts_at: 0,
                    restarts_after: Some(3 * S),
                    wall_skew_ms: 0,
                    dies_at_action: None,
                    wanted: None,
                    migrate: false,
                })
                .collect(),
            position: InitialPosition::TrimHorizon,
            wanted: Wanted::Explicit(Configured::Phase1),
            strategy: Strategy::WorkerUtilizationAware,
            graceful_hand_off: true,
            hand_off_timeout: Duration::from_secs(30),
            report_every: Duration::from_secs(30),
            measures_load: false,
            bugs: BTreeSet::new(),
            row_bytes: 400,
            table_takes: 0,
            index_takes: 5 * S,
            index_lag: 0,
            legacy: false,
            bake: Duration::from_secs(86_400),
            limits: Limits {
                max_leases: usize::MAX,
                max_steals: 1,
                very_old_first: true,
                count_finished: true,
            },
            failure_policy: FailurePolicy::RESTART,
            children: ChildSettings {
                habits: vec![Checkpoints::EachBatch],
                batch_time: 100 * MS,
                timeout: None,
                calm_at: 0,
            },
            idle: Duration::from_secs(1),
            prefetch: 10,
            max_records: 10_000,
            grace: Duration::from_secs(30),
            clean_up: true,
            weather: Weather::calm(),
            calm_at: 0,
            // A hole is repaired when it was seen three times, two minutes apart.
            recovery: 900 * S,
            linger: 0,
            incidents: Vec::new(),
            record_every: 500 * MS,
            aggregates: 0,
            last_records_with_end: false,
            old_rows: false,
            history: false,
        }
    }

    /// Whether a leader may assign the leases of this fleet.
    pub fn may_be_assigned(&self) -> bool {
        self.wanted != Wanted::Explicit(Configured::Phase1)
    }

    /// The mixed scenario of a seed: a random subset of everything that can go wrong (swarm).
    pub fn swarm(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let workers = usize::try_from(rng.mostly_low(1, 8)).unwrap_or(1);
        Self::drawn(seed, workers, &mut rng)
    }

    /// The same for a fleet of so many workers, which few seeds draw if it is a large one.
    pub fn swarm_of(workers: usize, seed: u64) -> Self {
        Self::drawn(seed, workers, &mut Rng::new(seed))
    }

    fn drawn(seed: u64, workers: usize, rng: &mut Rng) -> Self {
        let shards = usize::try_from(rng.mostly_low(1, 10)).unwrap_or(1);
        let mut plan = Self::quiet(seed, workers, shards);
        plan.failover = Duration::from_secs(rng.pick(&[3, 5, 10]));
        let f = u64::try_from(plan.failover.as_micros()).unwrap_or(S);
        plan.calm_at = rng.between(3 * f, 10 * f).max(20 * S);
        if rng.chance(450) {
            plan.leader(rng, f);
        }
        plan.settings(rng);
        plan.workers(rng, f);
        plan.tempers(rng, f);
        plan.incidents(rng, f);
        if rng.chance(150) {
            plan.mixed(rng);
        }
        plan
    }

    /// A fleet in which some workers are Java's.
    fn mixed(&mut self, rng: &mut Rng) {
        let java = match self.wanted {
            // What `Auto` finds out of such a fleet is a matter of migration.
            Wanted::Auto => return,
            Wanted::Explicit(Configured::V3x) => Kind::Java3,
            Wanted::Explicit(_) => Kind::Java2,
        };
        match java {
            // It breaks them (A.7).
            Kind::Java2 => self
                .incidents
                .retain(|(_, incident)| *incident != Incident::Foreign),
            // They do not start before the index is there (A.3), by which alone they find their leases.
            _ => self.index_takes = self.index_takes.min(10 * S),
        }
        self.bugs.extend(Bug::STILL_THERE);
        for worker in self.workers.iter_mut().skip(1) {
            if rng.chance(500) {
                worker.kind = java;
            }
        }
    }

    /// A fleet in which a leader assigns the leases.
    fn leader(&mut self, rng: &mut Rng, f: Time) {
        self.wanted = match rng.below(3) {
            0 => Wanted::Auto,
            _ => Wanted::Explicit(Configured::V3x),
        };
        self.strategy = match rng.below(3) {
            0 => Strategy::WorkerUtilizationAware,
            _ => Strategy::LeaseCountBased,
        };
        self.graceful_hand_off = rng.chance(850);
        self.hand_off_timeout = Duration::from_micros(rng.between(f / 2, 3 * f));
        self.report_every = Duration::from_micros(rng.pick(&[f / 2, f, 30 * S]));
        self.measures_load = rng.chance(500);
        self.index_takes = rng.pick(&[0, 10 * S, 600 * S, 86_400 * S]);
        self.row_bytes = rng.pick(&[400, 400, 16_000]);
        self.index_lag = rng.pick(&[0, 200 * MS, 2 * S]);
        // Assignment and hand-off take their time, and so does recovery.
        self.calm_at += 5 * f;
    }

    fn settings(&mut self, rng: &mut Rng) {
        self.position = match rng.below(10) {
            0 => InitialPosition::Latest,
            1 => InitialPosition::AtTimestamp(EPOCH_MS - 1000),
            _ => InitialPosition::TrimHorizon,
        };
        if rng.chance(150) {
            self.limits.max_steals = 3;
        }
        if rng.chance(100) {
            self.limits.very_old_first = false;
        }
        self.failure_policy = match rng.below(5) {
            0 => FailurePolicy::Exit,
            _ => FailurePolicy::RESTART,
        };
        let habits = rng.between(1, 2);
        self.children = ChildSettings {
            habits: (0..habits).map(|_| rng.pick(&Checkpoints::ALL)).collect(),
            batch_time: rng.pick(&[5 * MS, 100 * MS, 800 * MS]),
            timeout: rng.chance(500).then(|| rng.between(2 * S, 15 * S)),
            calm_at: self.calm_at,
        };
        self.idle = Duration::from_millis(rng.pick(&[500, 1000, 2000]));
        self.prefetch = usize::try_from(rng.pick(&[0, 1, 10])).unwrap_or(1);
        self.max_records = rng.pick(&[2, 10, 10_000]);
        self.grace = Duration::from_secs(rng.pick(&[0, 5, 30, 30]));
        self.clean_up = rng.chance(850);
        self.record_every = rng.pick(&[300 * MS, 800 * MS, 2 * S]);
        self.aggregates = rng.pick(&[0, 0, 0, 300]);
        self.last_records_with_end = rng.chance(500);
        if rng.chance(200) {
            self.linger = rng.between(20, 120) * S;
        }
        if rng.chance(200) {
            self.table_takes = rng.between(S, 15 * S);
        }
        self.old_rows = rng.chance(80);
        self.history = rng.chance(100);
    }

    fn workers(&mut self, rng: &mut Rng, f: Time) {
        let late = rng.chance(400);
        let skewed = rng.chance(250);
        let assigned = self.may_be_assigned();
        let report = i64::try_from(self.report_every.as_millis()).unwrap_or(0);
        for worker in &mut self.workers {
            worker.starts_at = match late {
                true => rng.below(self.calm_at / 2),
                false => rng.below(S),
            };
            worker.restarts_after = match rng.below(4) {
                0 => None,
                1 => Some(rng.below(S)),
                _ => Some(rng.between(S, 3 * f)),
            };
            // Where LATEST was is told by the wall clock until a record was read.
            if skewed && self.position != InitialPosition::Latest {
                worker.wall_skew_ms = some_skew(rng, assigned, report);
            }
            if rng.chance(250) {
                let action = rng.mostly_low(1, 300);
                worker.dies_at_action = Some((action, rng.chance(500)));
            }
        }
    }

    /// Which kinds of bad weather this seed has, and how bad.
    fn tempers(&mut self, rng: &mut Rng, f: Time) {
        let table = &mut self.weather.table;
        let some = |rng: &mut Rng, chance: u32, worst: u64| match rng.chance(chance) {
            true => u32::try_from(rng.mostly_low(1, worst)).unwrap_or(0),
            false => 0,
        };
        if rng.chance(300) {
            table.latency = rng.between(20 * MS, f / 4);
        }
        table.throttled = some(rng, 200, 300);
        table.unavailable = some(rng, 200, 200);
        table.request_lost = some(rng, 200, 150);
        table.answer_lost = some(rng, 250, 150);
        table.late = some(rng, 150, 100);
        if rng.chance(300) {
            table.staleness = rng.between(50 * MS, 2 * S);
        }
        let stream = &mut self.weather.stream;
        if rng.chance(200) {
            stream.latency = rng.between(50 * MS, 2 * S);
        }
        stream.throttled = some(rng, 200, 300);
        stream.failing = some(rng, 200, 200);
        stream.hanging = some(rng, 100, 50);
        stream.expired = some(rng, 200, 200);
        stream.stale_list = some(rng, 150, 700);
        stream.short_list = some(rng, 150, 500);
        stream.open_parent = some(rng, 150, 500);
        stream.no_children = some(rng, 200, 1000);
        stream.empty_page = some(rng, 150, 500);
        let children = &mut self.weather.children;
        children.slow = some(rng, 250, 300);
        children.slow_for = rng.between(S, 2 * f);
        children.crash = some(rng, 250, 100);
        children.hang = some(rng, 120, 40);
        children.no_start = some(rng, 100, 300);
        children.odd_checkpoint = some(rng, 250, 400);
        children.lazy_at_end = some(rng, 200, 800);
        children.asks_when_lost = some(rng, 150, 500);
        if rng.chance(80) {
            children.poisoned.insert("shardId-000000000000".to_owned());
        }
    }

    fn incidents(&mut self, rng: &mut Rng, f: Time) {
        let n = self.workers.len() as u64;
        let mut kinds: Vec<u32> = (0..14).filter(|_| rng.chance(300)).collect();
        if kinds.is_empty() {
            kinds.push(0);
        }
        let report = i64::try_from(self.report_every.as_millis()).unwrap_or(0);
        let count = rng.mostly_low(0, 14);
        for _ in 0..count {
            let at = rng.between(S, self.calm_at);
            let who = usize::try_from(rng.below(n)).unwrap_or(0);
            let which = usize::try_from(rng.below(20)).unwrap_or(0);
            let again = rng.between(0, 2 * f);
            let incident = match rng.pick(&kinds) {
                0 => Incident::Kill(who),
                1 => Incident::Stop(who, again),
                2 => Incident::StopNow(who, again),
                3 => {
                    let stillness = match rng.below(3) {
                        0 => Stillness::Suspended,
                        _ => Stillness::Stopped,
                    };
                    Incident::Freeze(who, stillness, rng.between(100 * MS, 3 * f))
                }
                4 => Incident::Rolling(rng.between(S, f)),
                5 => Incident::TableDown(rng.between(S, 2 * f)),
                6 => Incident::CutOff(who, rng.between(S, 3 * f)),
                7 => Incident::StreamDown(rng.between(S, 20 * S)),
                8 | 9 => Incident::Split(which),
                10 => Incident::Merge(which),
                11 => Incident::ExpireIterators,
                12 if self.position != InitialPosition::Latest => {
                    Incident::Skew(who, some_skew(rng, self.may_be_assigned(), report))
                }
                _ => self.edit(rng, which, who),
            };
            self.incidents.push((at, incident));
        }
        self.incidents.sort_by_key(|(at, _)| *at);
    }

    /// Somebody edits the table by hand.
    fn edit(&self, rng: &mut Rng, which: usize, who: usize) -> Incident {
        let to = self.workers[who].name.clone();
        match rng.below(8) {
            0 => Incident::Foreign,
            1 => Incident::DeleteRow(which),
            2 => Incident::Garbage,
            3 => Incident::Disown(which),
            4 => Incident::RaiseCounter(which),
            5 if self.may_be_assigned() => Incident::HandOff(which, to),
            _ => Incident::Give(which, to),
        }
    }
}

/// How wrong a wall clock is, milliseconds.
fn some_skew(rng: &mut Rng, assigned: bool, report: i64) -> i64 {
    match assigned {
        false => rng.pick(&[-3_600_000, -5_000, 4_000, 90_000, 86_400_000]),
        // Whose clock is further off than that gets no leases (I.41).
        true => rng.pick(&[-report, -report / 2, report / 2, report]),
    }
}
