//! The two tables of KCL 3.0 to 3.4: coordinator items and workers' metrics. Their rows have keys that
//! begin with `legacy/` in a trace, so that nobody takes them for rows of the lease table.

use std::collections::BTreeMap;
use std::sync::Arc;

use kcl_daemon::core::ids::{LeaseKey, WorkerId};
use kcl_daemon::core::leader_lock;
use kcl_daemon::core::migration::client_version::{self, ClientVersion};
use kcl_daemon::core::migration::single_table::{self, TableStatus, movable};
use kcl_daemon::core::migration::{ItemCondition, MigrationItem};

use super::table::{Effect, Table};
use crate::trace::{Answer, LegacyOp, Row};
use crate::world::Time;

/// The rows.
#[derive(Default)]
pub struct Legacy {
    rows: BTreeMap<LeaseKey, Arc<Row>>,
}

/// The key of an item of these tables in a trace.
pub fn legacy_key(key: &str) -> LeaseKey {
    LeaseKey::new(format!("legacy/{key}"))
}

impl Legacy {
    /// As a fleet of 3.0 to 3.4 left them that had come to its leader.
    pub fn left_behind(version: MigrationItem<ClientVersion>) -> Self {
        let mut legacy = Self::default();
        let row = Row::client_version(version);
        legacy.put(&legacy_key(client_version::KEY), row);
        legacy
    }

    fn row(&self, key: &str) -> Option<&Arc<Row>> {
        self.rows.get(&legacy_key(key))
    }

    fn status(&self) -> Option<&MigrationItem<TableStatus>> {
        self.row(single_table::KEY)
            .and_then(|row| row.as_table_status())
    }

    fn is_led_by(&self, worker: &WorkerId) -> bool {
        let lock = self.row(leader_lock::KEY).and_then(|row| row.as_leader());
        lock.is_some_and(|lock| lock.owner == *worker)
    }

    /// Puts a row under a key of these tables.
    fn put(&mut self, key: &LeaseKey, row: Row) -> Arc<Row> {
        let row = match row {
            Row::Item { item, .. } => Row::Item {
                key: key.clone(),
                item,
            },
            lease @ Row::Lease { .. } => lease,
        };
        let row = Arc::new(row);
        self.rows.insert(key.clone(), Arc::clone(&row));
        row
    }

    fn write(&mut self, key: &str, row: Option<Row>, answer: Answer) -> Effect {
        let key = legacy_key(key);
        let before = self.rows.get(&key).cloned();
        let after = match row {
            Some(row) => Some(self.put(&key, row)),
            None => {
                self.rows.remove(&key);
                None
            }
        };
        Effect::written(answer, before, after)
    }
}

fn holds<S: PartialEq>(condition: &ItemCondition<S>, state: Option<&MigrationItem<S>>) -> bool {
    match (condition, state) {
        (ItemCondition::Absent, state) => state.is_none(),
        (ItemCondition::State(wanted), Some(item)) => item.now.state == *wanted,
        (ItemCondition::State(_), None) => false,
    }
}

impl Table {
    /// Carries out a request to the tables of 3.0 to 3.4.
    pub fn carry_out_legacy(&mut self, now: Time, op: &LegacyOp) -> Effect {
        let Some(legacy) = &mut self.legacy else {
            return Effect::nothing(match op {
                LegacyOp::Exist => Answer::Created(false),
                LegacyOp::Items => Answer::Keys(Vec::new()),
                LegacyOp::ListMetrics => Answer::Rows(Vec::new()),
                op if op.is_read() => Answer::Row(None),
                _ => Answer::Lost(None),
            });
        };
        match op {
            LegacyOp::Exist => Effect::nothing(Answer::Created(true)),
            LegacyOp::Leader => Effect::nothing(Answer::Row(legacy.row(leader_lock::KEY).cloned())),
            LegacyOp::WriteLeader(write) => {
                let current = legacy.row(leader_lock::KEY).cloned();
                let lock = current.as_deref().and_then(Row::as_leader);
                if !write.is_permitted_on(lock) {
                    return Effect::nothing(Answer::Lost(current));
                }
                let row = write.applied_to(lock).map(Row::leader);
                legacy.write(leader_lock::KEY, row, Answer::Done)
            }
            LegacyOp::ClientVersion => {
                Effect::nothing(Answer::Row(legacy.row(client_version::KEY).cloned()))
            }
            LegacyOp::WriteClientVersion(write) => {
                let current = legacy.row(client_version::KEY).cloned();
                let state = current.as_deref().and_then(Row::as_client_version);
                if !holds(&write.condition, state) {
                    return Effect::nothing(Answer::Lost(current));
                }
                let row = Row::client_version(write.item.clone());
                legacy.write(client_version::KEY, Some(row), Answer::Done)
            }
            LegacyOp::Status => {
                Effect::nothing(Answer::Row(legacy.row(single_table::KEY).cloned()))
            }
            LegacyOp::WriteStatus(write) => {
                if !holds(&write.condition, legacy.status()) {
                    return Effect::nothing(Answer::Lost(None));
                }
                let row = Row::table_status(write.item.clone());
                legacy.write(single_table::KEY, Some(row), Answer::Done)
            }
            LegacyOp::DeleteStatus(relies_on) => {
                let stored = legacy.status().map(|item| item.now.state);
                if stored != Some(*relies_on) {
                    return Effect::nothing(Answer::Deleted(false));
                }
                legacy.write(single_table::KEY, None, Answer::Deleted(true))
            }
            LegacyOp::Items => {
                let keys = legacy
                    .rows
                    .iter()
                    .filter(|(_, row)| row.as_metrics().is_none());
                let keys = keys.filter_map(|(key, _)| key.as_str().strip_prefix("legacy/"));
                let keys = keys.filter(|key| movable(key)).map(LeaseKey::new);
                Effect::nothing(Answer::Keys(keys.collect()))
            }
            LegacyOp::Move(me, keys) => {
                let there = |key: &String| legacy.row(key).is_some();
                if !legacy.is_led_by(me) || !keys.iter().all(there) {
                    return Effect::nothing(Answer::Lost(None));
                }
                // `Migration3.0` is all that there is to move.
                let (mut effect, mut moved) = (Effect::nothing(Answer::Done), Vec::new());
                for key in keys {
                    let Some(row) = legacy.rows.remove(&legacy_key(key)) else {
                        continue;
                    };
                    let key = LeaseKey::new(key);
                    let Row::Item { item, .. } = (*row).clone() else {
                        continue;
                    };
                    let row = Arc::new(Row::Item {
                        key: key.clone(),
                        item,
                    });
                    effect = Effect::written(Answer::Done, None, Some(Arc::clone(&row)));
                    moved.push((key, row));
                }
                for (key, row) in moved {
                    self.set(now, &key, Some(row));
                }
                effect
            }
            LegacyOp::Complete(me, write) => {
                if !legacy.is_led_by(me) || !holds(&write.condition, legacy.status()) {
                    return Effect::nothing(Answer::Lost(None));
                }
                let row = Row::table_status(write.item.clone());
                let effect = legacy.write(single_table::KEY, Some(row.clone()), Answer::Done);
                self.set(now, &row.key().clone(), Some(Arc::new(row)));
                effect
            }
            LegacyOp::PutMetrics(stats) => {
                let row = Row::metrics(stats.clone());
                legacy.write(stats.worker.as_str(), Some(row), Answer::Done)
            }
            LegacyOp::DeleteMetrics(stats) => {
                let current = legacy.row(stats.worker.as_str());
                let current = current.and_then(|row| row.as_metrics());
                if current.is_none_or(|current| current.last_update != stats.last_update) {
                    return Effect::nothing(Answer::Deleted(false));
                }
                legacy.write(stats.worker.as_str(), None, Answer::Deleted(true))
            }
            LegacyOp::ListMetrics => {
                let metrics = legacy
                    .rows
                    .values()
                    .filter(|row| row.as_metrics().is_some());
                Effect::nothing(Answer::Rows(metrics.cloned().collect()))
            }
        }
    }
}
