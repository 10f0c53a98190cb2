//! Following the two migrations of KCL 3 while the worker runs (`leases.md` D.1, D.3): the items say
//! how far the fleet is, the pure state machines say what that means, and the conduct follows.
//!
//! `Migration3.0` comes with each look at the table once it lives there; while it is in the table of KCL
//! 3.0 to 3.4 it is read at intervals. An operator's tool is therefore heard sooner than Java hears it.

use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::{Algorithm, Conduct, Coordinator, Done, StopRequest};
use crate::core::leader::elect;
use crate::core::migration::client_version::{
    self, ClientVersion, Configured, Stabilizer, entry, flip, readiness, write_of_entry,
};
use crate::core::migration::pure_fleet::set_going;
use crate::core::migration::single_table::{Place, Routing, TableStatus, routing};
use crate::core::migration::{ItemWrite, MigrationItem};
use crate::core::time::{Moment, WallTime};
use crate::os::time::within;
use crate::ports::{OwnerIndex, StoreError, TableScan};

/// How often `Migration3.0` is read where no scan finds it.
const WATCH: Duration = Duration::from_secs(20);
/// How long after its start a worker leaves the first `Migration3.0` to others: a Java worker that
/// loses this write does not start (`leases.md`, corrections to D.1).
const LEAVE_TO_JAVA: Duration = Duration::from_secs(60);
/// Pause after a write that did not happen.
const AGAIN: Duration = Duration::from_secs(5);

/// Where a worker stands in the migrations when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What it is told, or has found to be right.
    pub configured: Configured,
    /// Whether it found that by itself, and moves on by itself.
    pub auto: bool,
    /// Its state.
    pub version: ClientVersion,
    /// Where everything was when it started.
    pub tables_at_start: TableStatus,
    /// `migrateAllEntitiesToLeaseTable`.
    pub migrate: bool,
    /// `tableMigrationCompleteBakeTimeSeconds`, as it takes effect.
    pub bake: Duration,
}

impl Standing {
    /// A fresh application in one table, with a leader.
    pub const FRESH: Self = Self {
        configured: Configured::V3x,
        auto: false,
        version: ClientVersion::V3x,
        tables_at_start: TableStatus::Complete,
        migrate: false,
        bake: Duration::from_secs(86_400),
    };
    /// The 2.x algorithm, and nothing foreign in the table.
    pub const PHASE1: Self = Self {
        configured: Configured::Phase1,
        version: ClientVersion::Init,
        ..Self::FRESH
    };
}

/// What the coordinator remembers of the migrations.
#[derive(Debug)]
pub(super) struct Versions {
    pub(super) standing: Standing,
    /// The status of the table migration now.
    pub(super) tables: TableStatus,
    /// What the item says, as last read.
    stored: Option<MigrationItem<ClientVersion>>,
    /// When the state has to be written, if the item does not say it by then.
    enter_at: Option<Moment>,
    next_watch: Moment,
    busy: bool,
    ready: Stabilizer,
    next_ready: Moment,
    told: Option<String>,
}

impl Versions {
    pub(super) fn new(standing: Standing, now: Moment) -> Self {
        Self {
            standing,
            tables: standing.tables_at_start,
            stored: None,
            enter_at: (standing.version != ClientVersion::Init).then(|| now + LEAVE_TO_JAVA),
            next_watch: now + WATCH,
            busy: false,
            ready: Stabilizer::default(),
            next_ready: now,
            told: None,
        }
    }

    pub(super) fn routing(&self) -> Routing {
        routing(self.standing.tables_at_start, self.tables)
    }

    /// What the worker does.
    pub(super) fn conduct(&self) -> Conduct {
        let duties = self.standing.version.duties();
        let routing = self.routing();
        Conduct {
            algorithm: if duties.assigned_by_leader {
                Algorithm::Assigned
            } else {
                Algorithm::Taking
            },
            reports: duties.reports_metrics,
            creates_index: duties.wants_index,
            lock_place: routing.lock,
            metrics_place: routing.metrics_writes,
            legacy_metrics: routing.metrics_reads.contains(&Place::Legacy)
                && duties.reports_metrics,
        }
    }

    /// The next moment at which something is due.
    pub(super) fn next_wake(&self) -> Option<Moment> {
        if self.busy || self.standing.version == ClientVersion::Init && !self.standing.auto {
            return None;
        }
        let enter = self.enter_at;
        let watch = self.watches_apart().then_some(self.next_watch);
        let ready =
            (self.standing.version == ClientVersion::UpgradeFrom2x).then_some(self.next_ready);
        [enter, watch, ready].into_iter().flatten().min()
    }

    /// Whether the item has to be read by itself: no scan finds it.
    fn watches_apart(&self) -> bool {
        self.standing.version.duties().watches_version
            && self.routing().coordinator_reads.contains(&Place::Legacy)
    }
}

/// What a task about `Migration3.0` came back with.
pub(super) enum Version {
    /// The item as it is.
    Read(Option<MigrationItem<ClientVersion>>),
    /// It was written, or could not be.
    Wrote(bool),
}

/// The item, from the first of the places that has it.
pub(crate) async fn read_version(
    store: &dyn crate::ports::CoordinatorStore,
    places: &[Place],
) -> Result<Option<MigrationItem<ClientVersion>>, StoreError> {
    for place in places {
        if let Some(item) = store.client_version(*place).await? {
            return Ok(Some(item));
        }
    }
    Ok(None)
}

impl Coordinator {
    /// Starts what is due about the migrations.
    pub(super) fn turn_versions(&mut self, now: Moment) {
        if self.stopping > StopRequest::Run || self.versions.busy {
            return;
        }
        if self.versions.next_wake().is_none_or(|due| now < due) {
            return;
        }
        if self.versions.enter_at.is_some_and(|at| now >= at) {
            self.enter_version();
        } else if self.versions.watches_apart() && now >= self.versions.next_watch {
            self.versions.next_watch = now + WATCH;
            self.read_version();
        } else if now >= self.versions.next_ready {
            self.versions.next_ready = now + client_version::READY_INTERVAL;
            self.check_readiness(now);
        }
    }

    fn read_version(&mut self) {
        self.versions.busy = true;
        let (store, clock) = self.coordination();
        let places = self.versions.routing().coordinator_reads;
        let limit = self.settings.failover.max(Duration::from_secs(2));
        self.beside.spawn(async move {
            let read = read_version(&*store, places);
            let result = match within(&*clock, limit, read).await {
                Ok(result) => result,
                Err(_elapsed) => Err(StoreError::Unavailable("no answer in time".to_owned())),
            };
            Done::Version(result.map(Version::Read))
        });
    }

    fn coordination(
        &self,
    ) -> (
        Arc<dyn crate::ports::CoordinatorStore>,
        Arc<dyn crate::ports::Clock>,
    ) {
        let ports = &self.ports.coordination;
        (Arc::clone(&ports.store), Arc::clone(&ports.clock))
    }

    /// Makes the item say what this worker started with, unless others have moved on meanwhile.
    fn enter_version(&mut self) {
        self.versions.busy = true;
        let (store, clock) = self.coordination();
        let routing = self.versions.routing();
        let standing = self.versions.standing;
        let me = self.me.clone();
        self.beside.spawn(async move {
            let result = async {
                let stored = read_version(&*store, routing.coordinator_reads).await?;
                let state = entry(
                    stored.as_ref().map(|item| item.now.state),
                    standing.configured,
                );
                let now = WallTime::from_millis(clock.wall_millis());
                match write_of_entry(stored.as_ref(), state, &me, now) {
                    None => Ok(Version::Read(stored)),
                    Some(write) => store
                        .write_client_version(routing.coordinator_writes, &write)
                        .await
                        .map(|written| match written {
                            true => Version::Read(Some(write.item)),
                            false => Version::Wrote(false),
                        }),
                }
            };
            Done::Version(result.await)
        });
    }

    pub(super) fn on_version(&mut self, result: Result<Version, StoreError>) {
        self.versions.busy = false;
        let now = self.now();
        match result {
            Ok(Version::Read(stored)) => {
                if stored.is_some() {
                    self.versions.enter_at = None;
                }
                self.follow_version(stored);
            }
            Ok(Version::Wrote(done)) => {
                debug!(done, "wrote {}", client_version::KEY);
                self.delay_entry(now);
                self.scan_wanted = true;
            }
            Err(error) => {
                let message = format!(
                    "the item {} cannot be read or written: {error}",
                    client_version::KEY
                );
                if self.versions.told.as_ref() != Some(&message) {
                    warn!("{message}; trying again");
                    self.versions.told = Some(message);
                }
                self.delay_entry(now);
            }
        }
    }

    fn delay_entry(&mut self, now: Moment) {
        if let Some(at) = &mut self.versions.enter_at {
            *at = (*at).max(now + AGAIN);
        }
    }

    /// A fleet of kcl-daemons alone, with the 2.x algorithm, sets going towards a leader when it is sure
    /// of itself.
    pub(super) fn watch_purity(&mut self, scan: &TableScan, at: Moment) {
        let standing = self.versions.standing;
        if standing.version != ClientVersion::Init || !standing.auto || self.versions.busy {
            return;
        }
        let others = !scan.foreign.is_empty() || standing.tables_at_start != TableStatus::Complete;
        let failover = self.settings.failover;
        if let Err(why) = self
            .pure_fleet
            .record_scan(&scan.leases, others, at, failover)
        {
            debug!(?why, "the fleet keeps the algorithm of KCL 2.x");
            return;
        }
        let leads = elect(&scan.leases).is_some_and(|leader| leader == self.me);
        let wall = WallTime::from_millis(self.ports.keeper.clock.wall_millis());
        if leads && let Some(write) = set_going(&self.me, wall) {
            info!("all workers are kcl-daemons: getting ready for a leader");
            self.write_version(write);
        }
    }

    /// Takes in the item when a scan finds it in the table where it counts.
    pub(super) fn scanned_version(&mut self, scan: &TableScan) {
        if !self
            .versions
            .routing()
            .coordinator_reads
            .contains(&Place::Legacy)
            && let Some(item) = &scan.client_version
        {
            self.follow_version(Some(item.clone()));
        }
    }

    /// Follows the item, as far as its state may be followed from here.
    fn follow_version(&mut self, stored: Option<MigrationItem<ClientVersion>>) {
        let Some(item) = stored else { return };
        let (from, to) = (self.versions.standing.version, item.now.state);
        let by = item.now.modified_by.clone();
        let news = self.versions.stored.as_ref() != Some(&item);
        self.versions.stored = Some(item);
        if from == to {
            self.versions.enter_at = None;
            return;
        }
        // Before the first item is there, a worker goes by what it expects to be written.
        let expected = self.versions.enter_at.is_some();
        let next = entry(Some(to), self.versions.standing.configured);
        // Who found by itself that nothing was decided follows when it is.
        let decided = from == ClientVersion::Init && self.versions.standing.auto;
        if from.may_become(to) || ((expected || decided) && next == to) {
            info!(
                "{} says {} now (written by {by}), after {}",
                client_version::KEY,
                to.as_str(),
                from.as_str()
            );
            self.set_version(to);
        } else if news && next == to {
            warn!(
                "{} says {} now (written by {by}); a worker that runs with {} does not follow that before it is restarted",
                client_version::KEY,
                to.as_str(),
                from.as_str()
            );
        }
    }

    pub(super) fn set_version(&mut self, version: ClientVersion) {
        let now = self.now();
        self.versions.standing.version = version;
        self.versions.enter_at = None;
        self.versions.ready = Stabilizer::default();
        self.versions.next_ready = now;
        self.change_conduct(self.versions.conduct());
    }

    /// The worker that leads by the 2.x election looks whether all others can go on with a leader.
    fn check_readiness(&mut self, now: Moment) {
        if self.versions.standing.version != ClientVersion::UpgradeFrom2x {
            return;
        }
        let leads = elect(&self.table).is_none_or(|leader| leader == self.me);
        if !leads {
            self.versions.ready = Stabilizer::default();
            return;
        }
        let wall = WallTime::from_millis(self.ports.keeper.clock.wall_millis());
        let state = readiness(
            self.index == OwnerIndex::Active,
            &self.table,
            &self.members,
            wall,
            self.settings.report.report_every * 2,
        );
        let message = match &state {
            Ok(()) => "all workers can go on with a leader".to_owned(),
            Err(why) => format!("the fleet keeps the algorithm of KCL 2.x: {why}"),
        };
        if self.versions.told.as_ref() != Some(&message) {
            info!("{message}");
            self.versions.told = Some(message);
        }
        let holds = self
            .versions
            .ready
            .update(state.is_ok(), now, client_version::READY_FOR);
        if let Some(stored) = self.versions.stored.as_ref().filter(|_| holds)
            && let Some(write) = flip(stored, &self.me, wall)
        {
            self.write_version(write);
        }
    }

    fn write_version(&mut self, write: ItemWrite<ClientVersion>) {
        self.versions.busy = true;
        let (store, _) = self.coordination();
        let place = self.versions.routing().coordinator_writes;
        self.beside.spawn(async move {
            let written = store.write_client_version(place, &write).await;
            Done::Version(written.map(|written| match written {
                true => Version::Read(Some(write.item)),
                false => Version::Wrote(false),
            }))
        });
    }
}
