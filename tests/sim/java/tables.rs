//! KCL 3.5: the move from the tables of 3.0 to 3.4 into one (D.3), and where everything is meanwhile (A.7).
//! A worker of 3.0 to 3.4 knows nothing of it.

use std::sync::Arc;
use std::time::Duration;

use kcl_daemon::core::lease::Lease;
use kcl_daemon::core::migration::MigrationItem;
use kcl_daemon::core::migration::single_table::{
    LeaderStep, LeaderView, Moving, Routing, Summary, TableStatus, TooEarly, at_start, batches,
    complete_bake, leader_step, refreshed, routing,
};
use kcl_daemon::core::worker_stats::WorkerMetricStats;

use super::{JavaWorker, Version};
use crate::trace::{Answer, LegacyOp, Op, Row};
use crate::world::S;

/// How often the leader takes a step, which Java's does each second, and how often all others look.
const LEADER_EVERY: u64 = 5 * S;
const OTHERS_EVERY: u64 = 30 * S;

impl JavaWorker {
    /// Finds out which tables there are.
    pub(super) async fn look_for_tables(&self) -> Result<(), TooEarly> {
        if self.world.table().legacy.is_none() || self.settings.version == Version::V2 {
            return Ok(());
        }
        let status = match self.settings.version {
            Version::V3 => at_start(true, self.stored().await.map(state), self.settings.migrate)?,
            _ => TableStatus::Init,
        };
        self.state().tables = Some((status, status));
        Ok(())
    }

    pub(super) fn routing(&self) -> Routing {
        let complete = (TableStatus::Complete, TableStatus::Complete);
        let (started, now) = self.state().tables.unwrap_or(complete);
        routing(started, now)
    }

    /// `TableMigration3.5`, as soon as it can be had.
    async fn stored(&self) -> Option<MigrationItem<TableStatus>> {
        loop {
            if let Answer::Row(row) = self.store.request(Op::Legacy(LegacyOp::Status)).await {
                return row.as_deref().and_then(Row::as_table_status).cloned();
            }
            self.sleep(S).await;
        }
    }

    /// The metrics that are not in the lease table.
    pub(super) async fn legacy_metrics(&self) -> Vec<Arc<Row>> {
        let somewhere = self.state().tables;
        if somewhere.is_none_or(|(_, now)| now == TableStatus::Complete) {
            return Vec::new();
        }
        match self.store.request(Op::Legacy(LegacyOp::ListMetrics)).await {
            Answer::Rows(rows) => rows,
            _ => Vec::new(),
        }
    }

    /// Follows the status, and takes the leader's steps.
    pub(super) async fn follow_tables(self: Arc<Self>) {
        if self.settings.version != Version::V3 {
            return;
        }
        let mut moving = Moving::Not;
        loop {
            let Some((started, now)) = self.state().tables else {
                return;
            };
            if now == TableStatus::Complete {
                return;
            }
            let stored = self.stored().await;
            let now = refreshed(now, stored.clone().map(state), self.settings.migrate);
            self.state().tables = Some((started, now));
            let leads = self.state().lock.is_some();
            if leads {
                moving = self.lead_tables(now, stored.as_ref(), moving).await;
            } else {
                moving = Moving::Not;
            }
            self.sleep(if leads { LEADER_EVERY } else { OTHERS_EVERY })
                .await;
        }
    }

    async fn legacy_items(&self) -> Option<Vec<String>> {
        match self.store.request(Op::Legacy(LegacyOp::Items)).await {
            Answer::Keys(keys) => Some(keys.iter().map(|key| key.as_str().to_owned()).collect()),
            _ => None,
        }
    }

    async fn lead_tables(
        &self,
        local: TableStatus,
        stored: Option<&MigrationItem<TableStatus>>,
        moving: Moving,
    ) -> Moving {
        let Answer::Rows(rows) = self.store.request(Op::Scan).await else {
            return moving;
        };
        let leases: Vec<Lease> = rows
            .iter()
            .filter_map(|row| row.as_lease().cloned())
            .collect();
        let metrics = |rows: &[Arc<Row>]| -> Vec<WorkerMetricStats> {
            let metrics = rows.iter().filter_map(|row| row.as_metrics());
            metrics.cloned().collect()
        };
        let every = Duration::from_micros(self.settings.report_every);
        let legacy = metrics(&self.legacy_metrics().await);
        let summary = Summary::of(&leases, &metrics(&rows), &legacy, self.wall(), every);
        let mut view = LeaderView {
            local,
            stored,
            summary: Some(summary),
            moving,
            legacy_is_empty: None,
            bake: complete_bake(self.settings.bake),
            now: self.wall(),
        };
        let mut step = leader_step(view, &self.me);
        if step == LeaderStep::LookAtLegacy {
            view.legacy_is_empty = self.legacy_items().await.map(|items| items.is_empty());
            step = leader_step(view, &self.me);
        }
        let op = match step {
            LeaderStep::Nothing | LeaderStep::LookAtLegacy => return moving,
            LeaderStep::Follow(status) => {
                self.follow(status);
                return moving;
            }
            LeaderStep::StartMoving => return self.move_all().await,
            LeaderStep::StopMoving => return Moving::Not,
            LeaderStep::Write(write) => LegacyOp::WriteStatus(write),
            LeaderStep::Delete(status) => LegacyOp::DeleteStatus(status),
            LeaderStep::Complete(write) => LegacyOp::Complete(self.me.clone(), write),
        };
        let completes = matches!(op, LegacyOp::Complete(..));
        let answer = self.store.request(Op::Legacy(op)).await;
        if completes && answer == Answer::Done {
            self.follow(TableStatus::Complete);
        }
        moving
    }

    fn follow(&self, status: TableStatus) {
        if let Some((_, now)) = &mut self.state().tables {
            *now = status;
        }
    }

    async fn move_all(&self) -> Moving {
        let Some(keys) = self.legacy_items().await else {
            return Moving::Not;
        };
        for batch in batches(&keys) {
            let op = LegacyOp::Move(self.me.clone(), batch.to_vec());
            if self.store.request(Op::Legacy(op)).await != Answer::Done {
                return Moving::Not;
            }
        }
        Moving::Done
    }
}

fn state(item: MigrationItem<TableStatus>) -> TableStatus {
    item.now.state
}
