//! What a worker finds out before it takes part: the table, how far the fleet's migrations are, who is
//! there, and so in which way it works itself (`leases.md` D, `decisions.md`).
//!
//! It only looks. Whatever it decides to be, it writes nothing that an older worker could stumble over
//! unless it is sure that there is none.

use std::time::Duration;

use tracing::{info, warn};

use crate::core::ids::WorkerId;
use crate::core::migration::client_version::{ClientVersion, Configured};
use crate::core::migration::fleet::{self, Evidence, FleetWatch, Reason, Verdict};
use crate::core::migration::single_table::{self, Place, TableStatus, routing};
use crate::core::time::WallTime;
use crate::ports::{Clock, CoordinatorStore, LeaseStore, StoreError, WorkerMetricsStore};
use crate::worker::coordinator::{CoordinatorPorts, Standing, read_version};
use crate::worker::startup::{Patience, StartError};

/// `clientVersionConfig`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// What is right for the fleet.
    Auto,
    /// This.
    Explicit(Configured),
}

/// What the configuration says about versions and migrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinSettings {
    /// `clientVersionConfig`.
    pub wanted: Wanted,
    /// `forceClientVersionConfig`.
    pub force: bool,
    /// `migrateAllEntitiesToLeaseTable`.
    pub migrate: bool,
    /// `tableMigrationCompleteBakeTimeSeconds`.
    pub bake: Duration,
    /// `failoverTimeMillis`.
    pub failover: Duration,
    /// `workerMetricsReporterFreqInMillis`.
    pub report_interval: Duration,
}

/// Finds out how this worker takes part.
///
/// # Errors
/// A table that cannot be created or used; a configuration that would break a worker seen alive.
pub async fn join(
    ports: &CoordinatorPorts,
    me: &WorkerId,
    settings: &JoinSettings,
    mut patience: Patience<'_>,
) -> Result<Standing, StartError> {
    let joining = Joining {
        me,
        settings,
        leases: &*ports.consumer.store,
        items: &*ports.coordination.store,
        metrics: &*ports.report.store,
        clock: &*ports.keeper.clock,
    };
    let mut watch = FleetWatch::default();
    loop {
        match joining.look(&mut watch).await {
            Ok(Found::Standing(standing)) => return Ok(standing),
            Ok(Found::Refused(why)) => return Err(StartError::Refused(why)),
            Ok(Found::LookAgain(wait)) => {
                let clock = &ports.keeper.clock;
                clock.sleep_until(clock.now() + wait).await;
            }
            Err(error) if error.is_transient() => {
                let what = format!("cannot use the lease table '{}'", joining.leases.table());
                patience.wait(&what, error.to_string()).await;
            }
            Err(error) => return Err(StartError::Table(error.to_string())),
        }
    }
}

enum Found {
    Standing(Standing),
    Refused(String),
    LookAgain(Duration),
}

struct Joining<'a> {
    me: &'a WorkerId,
    settings: &'a JoinSettings,
    leases: &'a dyn LeaseStore,
    items: &'a dyn CoordinatorStore,
    metrics: &'a dyn WorkerMetricsStore,
    clock: &'a dyn Clock,
}

impl Joining<'_> {
    async fn look(&self, watch: &mut FleetWatch) -> Result<Found, StoreError> {
        let settings = self.settings;
        let with_index = settings.wanted != Wanted::Explicit(Configured::Phase1);
        if self.leases.ensure_table(with_index).await? {
            info!("created the lease table '{}'", self.leases.table());
        }
        let legacy = self.leases.legacy_coordinator_table().await?;
        let stored_status = match &legacy {
            Some(_) => self.items.table_status().await?,
            None => None,
        };
        let stored_status = stored_status.map(|item| item.now.state);
        let tables = match single_table::at_start(legacy.is_some(), stored_status, settings.migrate)
        {
            Ok(tables) => tables,
            Err(too_early) => return Ok(Found::Refused(too_early.to_string())),
        };
        let places = routing(tables, tables);
        let stored = read_version(self.items, places.coordinator_reads).await?;
        let scan = self.leases.scan().await?;
        let at = self.clock.now();
        let mut metrics = scan.metrics;
        if places.metrics_reads.contains(&Place::Legacy) {
            metrics.extend(self.metrics.list_legacy().await?);
        }
        watch.record_scan(&scan.leases, at);
        let foreign: Vec<String> = scan.foreign.iter().map(|item| item.key.clone()).collect();
        let evidence = Evidence {
            me: self.me,
            leases: &scan.leases,
            watch,
            foreign_keys: &foreign,
            stored: stored.as_ref().map(|item| item.now.state),
            legacy_table: legacy.is_some(),
            metrics: &metrics,
            now: at,
            wall: WallTime::from_millis(self.clock.wall_millis()),
            failover: settings.failover,
            report_interval: settings.report_interval,
        };
        let verdict = match settings.wanted {
            Wanted::Auto => fleet::auto(&evidence),
            Wanted::Explicit(configured) => fleet::explicit(&evidence, configured, settings.force),
        };
        Ok(match verdict {
            Verdict::Refuse(refusal) => Found::Refused(refusal.to_string()),
            Verdict::LookAgain { worker, until } => {
                info!("looking whether worker {worker}, which may be older than KCL 3.5, is alive");
                let wait = until.since(at).min(settings.failover / 4);
                Found::LookAgain(wait.max(Duration::from_millis(50)))
            }
            Verdict::Start { state, reason } => {
                tell(state, &reason);
                Found::Standing(self.standing(state, tables))
            }
        })
    }

    fn standing(&self, version: ClientVersion, tables_at_start: TableStatus) -> Standing {
        let (configured, auto) = match self.settings.wanted {
            Wanted::Explicit(configured) => (configured, false),
            Wanted::Auto if version == ClientVersion::V3x => (Configured::V3x, true),
            Wanted::Auto => (Configured::Phase1, true),
        };
        Standing {
            configured,
            auto,
            version,
            tables_at_start,
            migrate: self.settings.migrate,
            bake: single_table::complete_bake(self.settings.bake),
        }
    }
}

/// One line about the way this worker works, and why.
fn tell(state: ClientVersion, reason: &Reason) {
    let way = if state.has_leader() {
        "a leader assigns the leases (the algorithm of KCL 3.x)"
    } else {
        "every worker takes leases for itself (the algorithm of KCL 2.x)"
    };
    match reason {
        Reason::Configured => info!("{way}: clientVersionConfig says so"),
        Reason::Forced => warn!(
            "{way}: clientVersionConfig says so, and forceClientVersionConfig = true leaves out the look for older workers"
        ),
        Reason::Stored => info!(
            "{way}: the fleet's item Migration3.0 says {}",
            state.as_str()
        ),
        Reason::Fresh => info!("{way}: the table has no leases yet"),
        Reason::LeaderSeen(item) => {
            info!("{way}: a leader is at work here (seen: the item '{item}')")
        }
        Reason::MayBeOlder(worker) => warn!(
            "{way}: worker {worker} may be older than KCL 3.5 and would fail on anything else in the table; \
             when no such worker is left, set clientVersionConfig = CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X on all workers to move on to a leader"
        ),
        Reason::LeasesAlone => info!(
            "{way}: there are leases and no sign of a leader; a fleet of kcl-daemons alone moves on to a leader by itself"
        ),
    }
}
