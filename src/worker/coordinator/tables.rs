//! The move from the three tables of KCL 3.0 to 3.4 into the lease table (`leases.md` D.3): every worker
//! follows the status, the leader takes the steps. Applications that never ran 3.0 to 3.4 are past it
//! from the start.

use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::{Coordinator, Done, StopRequest};
use crate::core::migration::MigrationItem;
use crate::core::migration::single_table::{
    self, LeaderStep, LeaderView, Moving, Summary, TableStatus, leader_step, refreshed,
};
use crate::core::time::{Moment, WallTime};
use crate::os::time::within;
use crate::ports::{CoordinatorStore, StoreError};

/// How often the leader takes a look, and everybody else. Java's leader does every second.
const LEADER_EVERY: Duration = Duration::from_secs(10);
const OTHERS_EVERY: Duration = Duration::from_secs(60);
/// The longest that one step may take.
const STEP: Duration = Duration::from_secs(20);

/// What the coordinator remembers of the move.
#[derive(Debug)]
pub(super) struct Tables {
    stored: Option<MigrationItem<TableStatus>>,
    moving: Moving,
    legacy_is_empty: Option<bool>,
    next: Moment,
    busy: bool,
}

/// What a task about the move came back with.
#[derive(Debug)]
pub(super) enum Step {
    /// The item as it is.
    Read(Option<MigrationItem<TableStatus>>),
    /// It was written or deleted, or was something else by then.
    Written(bool),
    /// Whether anything is left in the old table that has to move.
    LegacyIsEmpty(bool),
    /// Everything was moved, or somebody else leads by now.
    Moved(bool),
    /// Everything is in the lease table, for good; or not yet.
    Completed(bool),
}

impl Tables {
    pub(super) const fn new(now: Moment) -> Self {
        Self {
            stored: None,
            moving: Moving::Not,
            legacy_is_empty: None,
            next: now,
            busy: false,
        }
    }
}

/// Moves what has to be moved, portion by portion.
async fn move_all(
    store: &dyn CoordinatorStore,
    me: &crate::core::ids::WorkerId,
) -> Result<bool, StoreError> {
    let keys = store.legacy_items().await?;
    for batch in single_table::batches(&keys) {
        if !store.move_legacy_items(me, batch).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Coordinator {
    /// The next moment at which something is due.
    pub(super) fn next_table_turn(&self) -> Option<Moment> {
        (self.versions.tables != TableStatus::Complete && !self.tables.busy)
            .then_some(self.tables.next)
    }

    /// Reads the status when that is due.
    pub(super) fn turn_tables(&mut self, now: Moment) {
        if self.stopping > StopRequest::Run || self.next_table_turn().is_none_or(|due| now < due) {
            return;
        }
        let every = if self.is_leader(now) {
            LEADER_EVERY
        } else {
            OTHERS_EVERY
        };
        self.tables.next = now + every;
        self.tables.legacy_is_empty = None;
        self.take_step(|store| async move { store.table_status().await.map(Step::Read) });
    }

    fn take_step<F>(&mut self, step: impl FnOnce(Arc<dyn CoordinatorStore>) -> F)
    where
        F: Future<Output = Result<Step, StoreError>> + Send + 'static,
    {
        self.tables.busy = true;
        let clock = Arc::clone(&self.ports.keeper.clock);
        let step = step(Arc::clone(&self.ports.coordination.store));
        self.beside.spawn(async move {
            let result = match within(&*clock, STEP, step).await {
                Ok(result) => result,
                Err(_elapsed) => Err(StoreError::Unavailable("no answer in time".to_owned())),
            };
            Done::Step(result)
        });
    }

    pub(super) fn on_step(&mut self, result: Result<Step, StoreError>) {
        self.tables.busy = false;
        let now = self.now();
        match result {
            Ok(Step::Read(stored)) => {
                let state = stored.as_ref().map(|item| item.now.state);
                self.tables.stored = stored;
                let migrate = self.versions.standing.migrate;
                self.set_tables(refreshed(self.versions.tables, state, migrate));
                self.lead_tables(now);
            }
            Ok(Step::LegacyIsEmpty(empty)) => {
                self.tables.legacy_is_empty = Some(empty);
                self.lead_tables(now);
            }
            Ok(Step::Moved(done)) => {
                self.tables.moving = if done { Moving::Done } else { Moving::Not };
                self.tables.next = now;
            }
            Ok(Step::Completed(true)) => self.set_tables(TableStatus::Complete),
            Ok(Step::Written(written) | Step::Completed(written)) => {
                debug!(written, "the status of the table migration");
                self.tables.next = now;
            }
            Err(error) => {
                if self.tables.moving == Moving::UnderWay {
                    self.tables.moving = Moving::Not;
                }
                let cause = format!("the table migration does not go on: {error}");
                if self.reported.insert(cause.clone()) {
                    warn!("{cause}; trying again");
                }
            }
        }
    }

    /// As leader, takes the next step.
    fn lead_tables(&mut self, now: Moment) {
        if !self.is_leader(now) {
            self.tables.moving = Moving::Not;
            return;
        }
        let wall = WallTime::from_millis(self.ports.keeper.clock.wall_millis());
        // Before the first look at the table nothing is known of the fleet.
        let summary = self.first_look.map(|_| {
            Summary::of(
                &self.table,
                &self.members,
                &self.legacy_members,
                wall,
                self.settings.report.report_every,
            )
        });
        let step = leader_step(
            LeaderView {
                local: self.versions.tables,
                stored: self.tables.stored.as_ref(),
                summary,
                moving: self.tables.moving,
                legacy_is_empty: self.tables.legacy_is_empty,
                bake: self.versions.standing.bake,
                now: wall,
            },
            &self.me,
        );
        if step != LeaderStep::Nothing {
            info!("table migration: {}", described(&step));
        }
        let me = self.me.clone();
        match step {
            LeaderStep::Nothing => {}
            LeaderStep::Write(write) => self.take_step(|store| async move {
                store.write_table_status(&write).await.map(Step::Written)
            }),
            LeaderStep::Delete(state) => self.take_step(move |store| async move {
                store.delete_table_status(state).await.map(Step::Written)
            }),
            LeaderStep::Follow(status) => self.set_tables(status),
            LeaderStep::StartMoving => {
                self.tables.moving = Moving::UnderWay;
                self.take_step(
                    |store| async move { move_all(&*store, &me).await.map(Step::Moved) },
                );
            }
            LeaderStep::StopMoving => self.tables.moving = Moving::Not,
            LeaderStep::LookAtLegacy => self.take_step(|store| async move {
                let items = store.legacy_items().await?;
                Ok(Step::LegacyIsEmpty(items.is_empty()))
            }),
            LeaderStep::Complete(write) => self.take_step(|store| async move {
                store
                    .complete_table_migration(&me, &write)
                    .await
                    .map(Step::Completed)
            }),
        }
    }

    fn set_tables(&mut self, status: TableStatus) {
        if status == self.versions.tables {
            return;
        }
        info!(
            "table migration: {} after {}",
            status.as_str(),
            self.versions.tables.as_str()
        );
        self.versions.tables = status;
        self.change_conduct(self.versions.conduct());
    }
}

fn described(step: &LeaderStep) -> String {
    match step {
        LeaderStep::Nothing => "nothing to do".to_owned(),
        LeaderStep::Write(write) => format!("writing {}", write.item.now.state.as_str()),
        LeaderStep::Delete(state) => format!("taking {} back", state.as_str()),
        LeaderStep::Follow(state) => format!("following {}", state.as_str()),
        LeaderStep::StartMoving => "moving the coordinator items".to_owned(),
        LeaderStep::StopMoving => "somebody writes to the old tables again".to_owned(),
        LeaderStep::LookAtLegacy => "looking whether the old table is empty".to_owned(),
        LeaderStep::Complete(_) => "everything is in the lease table from now on".to_owned(),
    }
}
