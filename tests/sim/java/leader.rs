//! KCL 3.x: the lock, metrics, discovery (C).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kcl_daemon::core::ids::LeaseKey;
use kcl_daemon::core::leader_lock::{
    JAVA_HEARTBEAT, JAVA_LEASE, LockChange, LockCondition, LockItem, LockWrite, RecordVersion,
};
use kcl_daemon::core::migration::single_table::Place;
use kcl_daemon::core::time::WallTime;
use kcl_daemon::core::worker_stats::WorkerMetricStats;

use super::{Bug, JavaWorker, Version};
use crate::trace::{Answer, LegacyOp, Op};
use crate::world::{MS, S, Time};

fn micros(time: Duration) -> Time {
    Time::try_from(time.as_micros()).unwrap_or(Time::MAX)
}

impl JavaWorker {
    pub(super) fn interval(&self) -> Time {
        self.settings.failover * 2
    }

    pub(super) fn wall(&self) -> WallTime {
        WallTime::from_millis(self.world.wall_ms() + self.process.wall_skew_ms())
    }

    /// The metrics item, in throughput mode: 2 s after reporting began and then at every interval
    /// (`DynamicMigrationComponentsInitializer.startWorkerMetricsReporting`).
    pub(super) async fn report(self: Arc<Self>) {
        let mut reports = false;
        loop {
            if std::mem::replace(&mut reports, self.reports()) != reports || !reports {
                self.sleep(if reports { 2 * S } else { S }).await;
                continue;
            }
            let now = self.wall();
            let supports = self.settings.version == Version::V3;
            let stats = WorkerMetricStats {
                worker: self.me.clone(),
                last_update: Some(now.seconds()),
                stats: BTreeMap::new(),
                operating_range: BTreeMap::new(),
                support_code: supports.then_some(1),
                support_updated: supports.then_some(now.seconds()),
                ours_updated: None,
            };
            let op = match self.routing().metrics_writes {
                Place::LeaseTable => Op::PutMetrics(stats),
                Place::Legacy => Op::Legacy(LegacyOp::PutMetrics(stats)),
            };
            self.store.request(op).await;
            self.sleep(self.settings.report_every).await;
        }
    }

    fn holds_fresh(&self, key: &LeaseKey) -> bool {
        let now = self.now();
        let state = self.state();
        let held = state.held.get(key);
        held.is_some_and(|held| now <= held.renewed + self.settings.failover)
    }

    /// Finds what was assigned to it, and holds it without a write of its own (C.8): also what it held
    /// and let expire itself, if nobody has it (`DynamoDBLeaseDiscoverer`).
    pub(super) async fn discover(self: Arc<Self>) {
        loop {
            if self.led_by_lock()
                && !self.state().stopping
                && let Answer::Keys(keys) = self.store.request(Op::Query(self.me.clone())).await
            {
                for key in keys {
                    if self.holds_fresh(&key) {
                        continue;
                    }
                    if let Ok(Some(lease)) = self.get(&key).await
                        && lease.owner.as_ref() == Some(&self.me)
                        && !lease.in_hand_off()
                    {
                        self.hold(lease);
                    }
                }
            }
            self.sleep((self.interval() / 2).saturating_sub(25 * MS))
                .await;
        }
    }

    /// Takes part in the election, and assigns when it leads (C.1, C.4): while the lock says who leads. On
    /// the way back to 2.x the lock is given up (`DynamoDBLockBasedLeaderDecider.shutdown`).
    pub(super) async fn leader(self: Arc<Self>) {
        let mut foreign: Option<(RecordVersion, Time)> = None;
        let mut next_beat = 0;
        let mut next_run = 0;
        let mut place = self.routing().lock;
        loop {
            let now = self.now();
            if !self.led_by_lock() {
                self.release_lock().await;
                (foreign, next_beat, next_run) = (None, 0, 0);
                self.sleep(S).await;
                continue;
            }
            if std::mem::replace(&mut place, self.routing().lock) != place {
                // The next election is in the other table.
                (foreign, next_beat) = (None, 0);
                self.state().lock = None;
            }
            if now >= next_beat {
                next_beat = now + micros(JAVA_HEARTBEAT);
                let held = self.state().lock.clone();
                match held {
                    Some((version, _)) => self.heartbeat(version).await,
                    None => {
                        if let Some(version) = self.try_to_lead(&mut foreign).await {
                            self.take_over(version);
                        }
                    }
                }
            }
            let (leads, stopping) = {
                let state = self.state();
                (state.lock.is_some(), state.stopping)
            };
            if leads && !stopping && now >= next_run && !self.has(Bug::ZombieLeader) {
                next_run = now + self.interval();
                self.run_assignment().await;
            }
            self.sleep(S).await;
        }
    }

    /// A new leader knows nothing of what others saw (`LeaseAssignmentManager.prepareAfterLeaderSwitch`).
    fn take_over(&self, version: RecordVersion) {
        let now = self.now();
        let mut state = self.state();
        state.lock = Some((version, now));
        state.seen_leading.clear();
        state.hand_offs.clear();
        (state.runs, state.failed_runs) = (0, 0);
    }

    /// Three failed runs in a row cost the lock (`LeaseAssignmentManager.performAssignment`).
    async fn run_assignment(&self) {
        let went_well = self.assign().await.is_some();
        let failed = {
            let mut state = self.state();
            state.failed_runs = if went_well { 0 } else { state.failed_runs + 1 };
            state.failed_runs
        };
        if failed >= 3 {
            self.release_lock().await;
        }
    }

    /// Deletes the lock's row, if it is this worker's.
    pub(super) async fn release_lock(&self) {
        let held = self.state().lock.take();
        if let Some((version, _)) = held {
            let condition = LockCondition::Mine(version, self.me.clone());
            self.write_lock(condition, LockChange::Delete).await;
        }
    }

    fn version(&self) -> RecordVersion {
        let mut rng = self.world.rng();
        RecordVersion::from_random(rng.next(), rng.next())
    }

    async fn write_lock(&self, condition: LockCondition, change: LockChange) -> Answer {
        let write = LockWrite { condition, change };
        let op = match self.routing().lock {
            Place::LeaseTable => Op::WriteLeader(write),
            Place::Legacy => Op::Legacy(LegacyOp::WriteLeader(write)),
        };
        self.store.request(op).await
    }

    /// A heartbeat that fails otherwise than by its condition is tried again at the next time, and the lock
    /// counts as held until its duration is over (the lock client's background thread).
    async fn heartbeat(&self, version: RecordVersion) {
        let fresh = self.version();
        let change = LockChange::Heartbeat {
            version: fresh.clone(),
            lease_duration: JAVA_LEASE,
        };
        let condition = LockCondition::Mine(version, self.me.clone());
        let answer = self.write_lock(condition, change).await;
        let now = self.now();
        let mut state = self.state();
        let over = |(_, since): &(RecordVersion, Time)| now > *since + micros(JAVA_LEASE);
        match answer {
            Answer::Done => state.lock = Some((fresh, now)),
            Answer::Lost(_) => state.lock = None,
            _ if state.lock.as_ref().is_some_and(over) => state.lock = None,
            _ => {}
        }
    }

    async fn try_to_lead(
        &self,
        foreign: &mut Option<(RecordVersion, Time)>,
    ) -> Option<RecordVersion> {
        let op = match self.routing().lock {
            Place::LeaseTable => Op::Leader,
            Place::Legacy => Op::Legacy(LegacyOp::Leader),
        };
        let Answer::Row(row) = self.store.request(op).await else {
            return None;
        };
        let row = row.as_deref().and_then(|row| row.as_leader()).cloned();
        let condition = match row {
            None => LockCondition::Absent,
            Some(row) => {
                let now = self.now();
                match foreign {
                    Some((version, since)) if *version == row.version => {
                        if now < *since + micros(row.lease_duration) {
                            return None;
                        }
                        LockCondition::Version(row.version)
                    }
                    _ => {
                        *foreign = Some((row.version, now));
                        return None;
                    }
                }
            }
        };
        let fresh = self.version();
        let item = LockItem {
            owner: self.me.clone(),
            lease_duration: JAVA_LEASE,
            version: fresh.clone(),
            released: false,
        };
        let answer = self.write_lock(condition, LockChange::Put(item)).await;
        (answer == Answer::Done).then_some(fresh)
    }
}
