//! KCL 3.5: the lock, assignment, metrics, discovery (C).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kcl_daemon::core::ids::WorkerId;
use kcl_daemon::core::leader_lock::{
    JAVA_HEARTBEAT, JAVA_LEASE, LockChange, LockCondition, LockItem, LockWrite, RecordVersion,
};
use kcl_daemon::core::lease::Lease;
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
    fn interval(&self) -> Time {
        self.settings.failover * 2
    }

    pub(super) fn wall(&self) -> WallTime {
        WallTime::from_millis(self.world.wall_ms() + self.process.wall_skew_ms())
    }

    /// The metrics item, at 2 s and then at every interval, in throughput mode.
    pub(super) async fn report(self: Arc<Self>) {
        self.sleep(2 * S).await;
        loop {
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

    /// Finds what was assigned to it, and holds it without a write of its own (C.8).
    pub(super) async fn discover(self: Arc<Self>) {
        loop {
            if let Answer::Keys(keys) = self.store.request(Op::Query(self.me.clone())).await {
                for key in keys {
                    if self.state().held.contains_key(&key) {
                        continue;
                    }
                    if let Answer::Row(Some(row)) = self.store.request(Op::Get(key, false)).await
                        && let Some(lease) = row.as_lease()
                        && lease.owner.as_ref() == Some(&self.me)
                        && !lease.in_hand_off()
                    {
                        self.hold(lease.clone());
                    }
                }
            }
            self.sleep((self.interval() / 2).saturating_sub(25 * MS))
                .await;
        }
    }

    /// Takes part in the election, and assigns when it leads (C.1, C.4).
    pub(super) async fn leader(self: Arc<Self>) {
        let mut mine: Option<RecordVersion> = None;
        let mut foreign: Option<(RecordVersion, Time)> = None;
        let mut next_beat = 0;
        let mut next_run = 0;
        let mut place = self.routing().lock;
        loop {
            let now = self.now();
            if std::mem::replace(&mut place, self.routing().lock) != place {
                // The next election is in the other table.
                (mine, foreign, next_beat) = (None, None, 0);
                self.state().leads = false;
            }
            if now >= next_beat {
                next_beat = now + micros(JAVA_HEARTBEAT);
                mine = match mine {
                    Some(version) => self.heartbeat(version).await,
                    None => self.try_to_lead(&mut foreign).await,
                };
                self.state().leads = mine.is_some();
            }
            if mine.is_some() && now >= next_run && !self.has(Bug::ZombieLeader) {
                next_run = now + self.interval();
                self.assign().await;
            }
            self.sleep(S).await;
        }
    }

    fn version(&self) -> RecordVersion {
        let mut rng = self.world.rng();
        RecordVersion::from_random(rng.next(), rng.next())
    }

    async fn write_lock(&self, condition: LockCondition, change: LockChange) -> bool {
        let write = LockWrite { condition, change };
        let op = match self.routing().lock {
            Place::LeaseTable => Op::WriteLeader(write),
            Place::Legacy => Op::Legacy(LegacyOp::WriteLeader(write)),
        };
        self.store.request(op).await == Answer::Done
    }

    async fn heartbeat(&self, version: RecordVersion) -> Option<RecordVersion> {
        let fresh = self.version();
        let change = LockChange::Heartbeat {
            version: fresh.clone(),
            lease_duration: JAVA_LEASE,
        };
        let condition = LockCondition::Mine(version, self.me.clone());
        self.write_lock(condition, change).await.then_some(fresh)
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
        self.write_lock(condition, LockChange::Put(item))
            .await
            .then_some(fresh)
    }

    /// One run: by count, which is what an idle fleet comes to (C.6).
    async fn assign(&self) {
        let Answer::Rows(mut rows) = self.store.request(Op::Scan).await else {
            return;
        };
        let foreign = rows.iter().any(|row| row.as_lease().is_none());
        if foreign && self.settings.version.stumbles() {
            return;
        }
        rows.extend(self.legacy_metrics().await);
        let leases: Vec<Lease> = rows
            .iter()
            .filter_map(|row| row.as_lease().cloned())
            .collect();
        let wall = self.wall();
        let every = Duration::from_micros(self.settings.report_every);
        let mut counts: BTreeMap<WorkerId, usize> = rows
            .iter()
            .filter_map(|row| row.as_metrics())
            .filter(|stats| stats.is_active(wall, every))
            .map(|stats| (stats.worker.clone(), 0))
            .collect();
        let available = self.observe(&leases);
        if !self.has(Bug::DeadWorkerAssigned) {
            // Not Java's: a worker all of whose leases are expired is dead.
            let lives = |worker: &WorkerId| {
                let mut owned = leases
                    .iter()
                    .filter(|l| l.actual_owner() == Some(worker))
                    .peekable();
                owned.peek().is_none()
                    || owned.any(|lease| available.iter().all(|free| free.key != lease.key))
            };
            counts.retain(|worker, _| *worker == self.me || lives(worker));
        }
        if counts.is_empty() {
            return;
        }
        for lease in &leases {
            let free = available.iter().any(|free| free.key == lease.key);
            if let Some(count) = lease.owner.as_ref().and_then(|owner| counts.get_mut(owner))
                && !free
            {
                *count += 1;
            }
        }
        let now = self.now();
        self.state().runs += 1;
        let runs = self.state().runs;
        for lease in &available {
            if lease.in_hand_off() && self.has(Bug::ExpiredHandOffIgnored) {
                continue;
            }
            let Some(best) = least(&counts) else { return };
            let stays = lease.actual_owner() == Some(&best);
            let pending = lease.in_hand_off() && !self.has(Bug::PendingHandOffAfterRestart);
            if let Some(count) = counts.get_mut(&best) {
                *count += 1;
            }
            if stays && !pending {
                continue;
            }
            self.store
                .request(Op::Update(lease.assigned_to(&best)))
                .await;
        }
        self.end_overdue_hand_offs(&leases, now).await;
        if runs % 3 == 1 || self.has(Bug::NanBalance) {
            self.balance(&leases, &available, &mut counts).await;
        }
    }

    /// Hand-offs that the old owner does not end.
    async fn end_overdue_hand_offs(&self, leases: &[Lease], now: Time) {
        let limit = self.settings.hand_off_timeout + self.settings.failover;
        for lease in leases.iter().filter(|lease| lease.in_hand_off()) {
            let first = {
                let mut state = self.state();
                let seen = state.hand_offs.entry(lease.key.clone());
                let seen = seen.or_insert((lease.owner.clone(), now));
                if seen.0 != lease.owner {
                    *seen = (lease.owner.clone(), now);
                }
                seen.1
            };
            let ignored = [
                Bug::ExpiredHandOffIgnored,
                Bug::HeartbeatAfterHandOff,
                Bug::PendingHandOffAfterRestart,
            ]
            .iter()
            .any(|bug| self.has(*bug));
            if let (Some(next), true, false) = (&lease.owner, now > first + limit, ignored) {
                self.store
                    .request(Op::Update(lease.assigned_to(next)))
                    .await;
            }
        }
    }

    async fn balance(
        &self,
        leases: &[Lease],
        available: &[Lease],
        counts: &mut BTreeMap<WorkerId, usize>,
    ) {
        for lease in leases {
            if lease.in_hand_off() || available.iter().any(|free| free.key == lease.key) {
                continue;
            }
            let (Some(owner), Some(best)) = (&lease.owner, least(counts)) else {
                continue;
            };
            let (has, least) = (counts.get(owner).copied().unwrap_or(0), counts[&best]);
            // NaN is less than nothing and more than nothing: whoever comes first is the best.
            let unequal = has > least + 1 || (self.has(Bug::NanBalance) && *owner != best);
            if unequal && let Some(update) = lease.handed_off_to(&best) {
                self.store.request(Op::Update(update)).await;
                counts.entry(owner.clone()).and_modify(|count| *count -= 1);
                counts.entry(best).and_modify(|count| *count += 1);
            }
        }
    }
}

fn least(counts: &BTreeMap<WorkerId, usize>) -> Option<WorkerId> {
    let least = counts
        .iter()
        .min_by_key(|(worker, count)| (**count, (*worker).clone()));
    least.map(|(worker, _)| worker.clone())
}
