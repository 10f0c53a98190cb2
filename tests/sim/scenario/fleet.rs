//! The fleet: which process runs at which place, and its coming and going.

mod incidents;

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcl_daemon::core::aggregate::RangeFilter;
use kcl_daemon::core::assignment::problem::Settings as AssignmentSettings;
use kcl_daemon::core::ids::WorkerId;
use kcl_daemon::core::migration::client_version::Configured;
use kcl_daemon::fetch::{Budget, FetchSettings, FetcherPorts, PaceSettings, Prefetch, Retrieval};
use kcl_daemon::os::entropy::SystemEntropy;
use kcl_daemon::os::tasks::Spawner;
use kcl_daemon::ports::{Clock, Entropy};
use kcl_daemon::worker::consumer::{ConsumerPorts, ConsumerSettings};
use kcl_daemon::worker::coordinator::{
    Coordinator, CoordinatorPorts, Grace, LeaseSettings, Member, StopRequest, WorkerEnd,
};
use kcl_daemon::worker::joining::{JoinSettings, Wanted, join};
use kcl_daemon::worker::keeper::KeeperPorts;
use kcl_daemon::worker::leadership::LeadershipPorts;
use kcl_daemon::worker::reporter::{ReportPorts, ReportSettings};
use kcl_daemon::worker::startup::{Patience, check_stream};
use tokio::sync::watch;

use super::load::SimProbe;
use super::plan::{Deployed, Plan};
use crate::children::{ChildSettings, SimFactory};
use crate::java::{JavaWorker, Settings, Version};
use crate::store::SimStore;
use crate::stream::SimStream;
use crate::trace::{Mishap, What};
use crate::weather::Weather;
use crate::world::{Fate, Kind, Process, S, SimClock, Time, World};

/// A place where a process may run.
#[derive(Default)]
struct Place {
    process: Option<Arc<Process>>,
    stop: Option<Arc<watch::Sender<StopRequest>>>,
    /// Whether somebody asked it to stop, and when it starts again.
    asked: Option<Time>,
    /// Processes that ran here before.
    before: u32,
    /// Whether the lock file says that another process of this id lives.
    twin: bool,
}

/// All workers of a world.
pub struct Fleet {
    world: Arc<World>,
    plan: Plan,
    children: Arc<ChildSettings>,
    places: Mutex<Vec<Place>>,
    /// What runs at each place from its next start on.
    deployed: Mutex<Vec<Deployed>>,
}

impl Fleet {
    pub fn new(world: &Arc<World>, plan: &Plan) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::clone(world),
            children: Arc::new(plan.children.clone()),
            places: Mutex::new(plan.workers.iter().map(|_| Place::default()).collect()),
            deployed: Mutex::new(plan.workers.iter().map(Deployed::first).collect()),
            plan: plan.clone(),
        })
    }

    fn with<T>(&self, index: usize, change: impl FnOnce(&mut Place) -> T) -> T {
        let mut places = self.places.lock().expect("one thread");
        change(&mut places[index])
    }

    /// What a place runs now, or from its next start on.
    fn deployed(&self, index: usize) -> Deployed {
        self.deployed.lock().expect("one thread")[index]
    }

    fn deployed_as(&self, process: &Process) -> Deployed {
        let mut workers = self.plan.workers.iter();
        let index = workers.position(|worker| worker.name == process.name);
        self.deployed(index.expect("processes have the names of their places"))
    }

    /// The process that runs at a place.
    pub fn process(&self, index: usize) -> Option<Arc<Process>> {
        self.with(index, |place| place.process.clone())
    }

    /// The worker ids of all processes that run.
    pub fn living(&self) -> Vec<String> {
        (0..self.plan.workers.len())
            .filter_map(|index| self.process(index))
            .map(|process| process.name.clone())
            .collect()
    }

    /// Starts a process, unless one runs there.
    pub fn start(self: &Arc<Self>, index: usize) {
        if self.process(index).is_some() {
            return;
        }
        let worker = &self.plan.workers[index];
        let before = self.with(index, |place| place.before);
        let fate = match worker.dies_at_action {
            Some((at, after_acting)) if before == 0 => Fate {
                dies_at: Some(at),
                after_acting,
            },
            _ => Fate::NONE,
        };
        let process = self.world.spawn_process(
            &worker.name,
            self.deployed(index).kind,
            fate,
            worker.wall_skew_ms,
        );
        let (stop, stop_view) = watch::channel(StopRequest::Run);
        self.with(index, |place| {
            place.process = Some(Arc::clone(&process));
            place.stop = Some(Arc::new(stop));
            place.asked = None;
            place.before += 1;
        });
        let (fleet, own) = (Arc::clone(self), Arc::clone(&process));
        // What the lock file says.
        let resume = before > 0 && !self.with(index, |place| place.twin);
        let task = tokio::spawn(async move {
            fleet.world.note_by(&own, What::Started);
            fleet.note_habits(&own);
            let end = fleet.work(index, &own, stop_view, resume).await;
            if own.is_dead() {
                return;
            }
            fleet.world.note_by(&own, What::Ended(end));
            own.die();
            fleet.vacate(index);
        });
        let fleet = Arc::clone(self);
        process.on_death(move |_| {
            task.abort();
            fleet.vacate(index);
        });
    }

    /// What is special about a process that starts.
    fn note_habits(&self, process: &Process) {
        let kind = match process.kind {
            Kind::Ours => None,
            Kind::Java2 => Some(Mishap::JavaTwo),
            Kind::Java30 | Kind::Java3 => Some(Mishap::JavaThree),
        };
        let skewed = (process.wall_skew_ms() != 0).then_some(Mishap::ClockSkewed);
        for mishap in kind.into_iter().chain(skewed) {
            self.world.note_by(process, What::Mishap(mishap));
        }
    }

    /// A process is gone; another one may come.
    fn vacate(self: &Arc<Self>, index: usize) {
        let asked = self.with(index, |place| {
            place.process = None;
            place.stop = None;
            place.asked.take()
        });
        let calm = self.world.now() >= self.plan.calm_at;
        let again = asked.or(self.plan.workers[index].restarts_after);
        let again = again.or(calm.then_some(S));
        if let Some(delay) = again.filter(|delay| *delay < Time::MAX) {
            let fleet = Arc::clone(self);
            self.world.after(delay, move |_| fleet.start(index));
        }
    }

    /// Asks a worker to stop; it starts again after `again`.
    pub fn stop(&self, index: usize, request: StopRequest, again: Time) {
        let mishap = match request {
            StopRequest::AtOnce => Mishap::StopAtOnce,
            _ => Mishap::StopGraceful,
        };
        let stop = self.with(index, |place| {
            place.asked = Some(again);
            place.stop.clone()
        });
        if let (Some(stop), Some(process)) = (stop, self.process(index)) {
            let number = process.number;
            // A frozen one hears it when it goes on.
            self.world.after_for(&process, 0, move |world| {
                world.note(What::Mishap(mishap));
                world.note(What::StopAsked { process: number });
                stop.send_modify(|stop| *stop = (*stop).max(request));
            });
        }
    }

    async fn work(
        &self,
        index: usize,
        process: &Arc<Process>,
        stop: watch::Receiver<StopRequest>,
        resume: bool,
    ) -> String {
        match process.kind {
            Kind::Ours => self.our_work(index, process, stop, resume).await,
            Kind::Java2 => self.javas_work(process, stop, Version::V2).await,
            Kind::Java30 => self.javas_work(process, stop, Version::V30).await,
            Kind::Java3 => self.javas_work(process, stop, Version::V3).await,
        }
    }

    async fn javas_work(
        &self,
        process: &Arc<Process>,
        stop: watch::Receiver<StopRequest>,
        version: Version,
    ) -> String {
        let micros = |time: Duration| Time::try_from(time.as_micros()).unwrap_or(S);
        let settings = Settings {
            version,
            failover: micros(self.plan.failover),
            position: self.plan.position,
            max_steals: self.plan.limits.max_steals,
            hand_off_timeout: micros(self.plan.hand_off_timeout),
            report_every: micros(self.plan.report_every),
            grace: micros(self.plan.grace),
            graceful_hand_off: self.plan.graceful_hand_off,
            configured: match self.deployed_as(process).wanted.unwrap_or(self.plan.wanted) {
                Wanted::Explicit(configured) => configured,
                // Java's default.
                Wanted::Auto => Configured::V3x,
            },
            migrate: self.deployed_as(process).migrate,
            bake: self.plan.bake,
            bugs: self.plan.bugs.clone(),
        };
        let factory = SimFactory::new(&self.world, process, &self.children);
        JavaWorker::new(&self.world, process, factory, settings)
            .run(stop)
            .await
    }

    /// What `app` does, without signals and processes.
    async fn our_work(
        &self,
        index: usize,
        process: &Arc<Process>,
        mut stop: watch::Receiver<StopRequest>,
        resume: bool,
    ) -> String {
        let ports = self.ports(process);
        let (clock, entropy) = (&*ports.keeper.clock, &*ports.keeper.entropy);
        let me = WorkerId::new(&process.name);
        let deployed = self.deployed_as(process);
        let joining = JoinSettings {
            wanted: deployed.wanted.unwrap_or(self.plan.wanted),
            force: false,
            migrate: deployed.migrate,
            bake: self.plan.bake,
            failover: self.plan.failover,
            report_interval: self.plan.report_every,
        };
        let patience = || Patience::new(clock, entropy, Duration::from_secs(1));
        let ready = async {
            let stream = check_stream(&*ports.consumer.fetcher.stream, patience());
            let table = join(&ports, &me, &joining, patience());
            tokio::try_join!(stream, table).map_err(|error| error.to_string())
        };
        let ((), standing) = tokio::select! {
            biased;
            ready = ready => match ready {
                Ok(ready) => ready,
                Err(error) => return format!("cannot start: {error}"),
            },
            _ = stop.changed() => return "stopped before it began".to_owned(),
        };
        let (coordinator, mut held) = Coordinator::new(
            Member {
                id: me.clone(),
                standing,
                resume_at_once: resume,
            },
            ports.clone(),
            self.lease_settings(),
            self.consumer_settings(),
            Grace::of(self.plan.grace),
            stop,
        );
        let holds = async {
            if held.wait_for(|held| !held.is_empty()).await.is_ok() {
                self.with(index, |place| place.twin = false);
            }
            pending().await
        };
        let end = tokio::select! {
            biased;
            end = coordinator.run() => end,
            never = holds => never,
        };
        if let WorkerEnd::SharesItsId(_) = end {
            self.with(index, |place| place.twin = true);
        }
        format!("{end:?}")
    }

    fn ports(&self, process: &Arc<Process>) -> CoordinatorPorts {
        let world = &self.world;
        let clock: Arc<dyn Clock> = Arc::new(SimClock::new(world, process));
        let seed = world.rng().next();
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::from_seed(seed));
        let f = u64::try_from(self.plan.failover.as_micros()).unwrap_or(S);
        let quick = Arc::new(SimStore::new(world, process, f / 3));
        let patient = Arc::new(SimStore::new(world, process, f.clamp(2 * S, 10 * S)));
        let spawner = Spawner::current().expect("a seed runs in a runtime");
        CoordinatorPorts {
            keeper: KeeperPorts {
                store: quick.clone(),
                style: Arc::default(),
                clock: Arc::clone(&clock),
                entropy: Arc::clone(&entropy),
                spawner: spawner.clone(),
            },
            coordination: LeadershipPorts {
                store: quick,
                clock: Arc::clone(&clock),
                entropy: Arc::clone(&entropy),
                spawner,
            },
            report: ReportPorts {
                store: patient.clone(),
                probe: Arc::new(SimProbe::new(world, process)),
                clock: Arc::clone(&clock),
                entropy: Arc::clone(&entropy),
            },
            consumer: ConsumerPorts {
                store: patient,
                processors: Arc::new(SimFactory::new(world, process, &self.children)),
                fetcher: FetcherPorts {
                    stream: Arc::new(SimStream::new(world, process)),
                    retrieval: Retrieval::Polling,
                    clock,
                    entropy,
                    budget: Budget::new(64 << 20),
                },
            },
        }
    }

    fn lease_settings(&self) -> LeaseSettings {
        LeaseSettings {
            failover: self.plan.failover,
            hand_off_timeout: self.plan.hand_off_timeout,
            limits: self.plan.limits,
            initial_position: self.plan.position,
            ignore_unexpected_children: false,
            clean_up: self.plan.clean_up,
            repair_at_start: true,
            assignment_interval: self.plan.failover * 2,
            balancing_frequency: 3,
            stale_metrics: Duration::from_secs(24 * 3600),
            assignment: AssignmentSettings {
                strategy: self.plan.strategy,
                failover: self.plan.failover,
                report_interval: self.plan.report_every,
                max_leases: self.plan.limits.max_leases,
                graceful_hand_off: self.plan.graceful_hand_off,
                ..AssignmentSettings::default()
            },
            report: ReportSettings {
                sample_every: Duration::from_secs(1),
                report_every: self.plan.report_every,
                keep: 10,
                measure: self.plan.measures_load,
            },
        }
    }

    fn consumer_settings(&self) -> ConsumerSettings {
        ConsumerSettings {
            failure_policy: self.plan.failure_policy,
            fetch: FetchSettings {
                max_records: self.plan.max_records,
                pace: PaceSettings {
                    idle: self.plan.idle,
                    reduced_tps_threshold: 0,
                },
                prefetch: Prefetch {
                    batches: self.plan.prefetch,
                    records: 10_000,
                    bytes: 8 << 20,
                },
                deliver_empty: false,
                initial_position: self.plan.position,
            },
            range_filter: RangeFilter::Whole,
            parent_poll: Duration::from_secs(2),
            task_backoff: Duration::from_millis(500),
            warn_task_after: None,
        }
    }

    /// Makes it calm: nothing goes wrong any more, everybody lives.
    pub fn calm_down(self: &Arc<Self>) {
        *self.world.weather() = Weather::calm();
        self.world.note(What::Calm);
        for index in 0..self.plan.workers.len() {
            let ran = self.with(index, |place| place.before > 0);
            if !(ran && self.plan.workers[index].restarts_after == Some(Time::MAX)) {
                self.start(index);
            }
        }
    }

    /// Asks everybody to stop for good.
    pub fn stop_all(&self) {
        for index in 0..self.plan.workers.len() {
            self.stop(index, StopRequest::Graceful, Time::MAX);
        }
    }
}
