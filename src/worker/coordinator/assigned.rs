//! How leases come to a worker of a 3.x fleet: a leader assigns them, and the worker looks what was
//! assigned to it and adopts it (`leases.md` C.8).
//!
//! A lease is adopted by a renewal, so that nothing is delivered before a conditional write of this
//! worker went through (I.10). Java begins without one.
//!
//! Who looks how often: the leader and two deputies look at the whole table as often as workers of the
//! 2.x algorithm do, so that a dead leader's leases are known to have expired when its lock has. The
//! others ask the index for their own leases, and look at the table now and then. In a small table a
//! look is cheap, so everybody looks; and as long as there is no index, nothing else tells.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};

use super::acquiring::How;
use super::{Algorithm, Coordinator, Done};
use crate::core::assignment::view::{
    Holding, lone_leader_interval, quick_interval, scan_interval, watch_interval,
};
use crate::core::handoff::{Adoption, adoption};
use crate::core::ids::{LeaseKey, WorkerId};
use crate::core::lease::{Lease, LeaseUpdate};
use crate::core::migration::client_version::READY_INTERVAL;
use crate::core::time::{Moment, WallTime};
use crate::core::worker_stats::WorkerMetricStats;
use crate::os::time::within;
use crate::ports::{OwnerIndex, StoreError};

/// Up to this size of the table everybody looks at it: that costs at most four times as much as asking the
/// index, which is little, and tells more. Bytes.
const SMALL_TABLE: usize = 16 * 1024;
/// How old a read may be.
pub(super) const BEHIND: Duration = Duration::from_secs(1);
/// How many followers are ready to take over from the leader.
const DEPUTIES: usize = 2;

/// When to look again how the index is that was found to be so; `None`: that could not be seen.
///
/// With the 2.x algorithm it is asked for to go on with a leader, and what it was a minute ago counts.
/// With a leader, a query that fails tells that it is gone.
const fn index_check_pause(state: Option<OwnerIndex>, assigned: bool) -> Duration {
    match state {
        Some(OwnerIndex::Building) => Duration::from_secs(10),
        Some(OwnerIndex::Active) if assigned => Duration::from_mins(15),
        Some(OwnerIndex::Active | OwnerIndex::Absent | OwnerIndex::Deleting) => READY_INTERVAL,
        None => Duration::from_mins(5),
    }
}

/// Leases of this worker, as read one by one after the index named them.
pub(super) type Found = Result<Vec<(LeaseKey, Option<Lease>)>, StoreError>;

impl Coordinator {
    pub(super) fn is_assigned(&self) -> bool {
        self.conduct.algorithm == Algorithm::Assigned
    }

    pub(super) fn is_leader(&self, now: Moment) -> bool {
        self.leadership
            .as_ref()
            .is_some_and(|leadership| leadership.is_leader(now))
    }

    /// Metrics items of workers that report, this one's included.
    pub(super) fn reporting(&self) -> impl Iterator<Item = &WorkerMetricStats> {
        let clock = &self.ports.keeper.clock;
        let (now, wall) = (clock.now(), WallTime::from_millis(clock.wall_millis()));
        let interval = self.settings.report.report_every;
        let members = self.members.iter();
        members.filter(move |stats| self.reports.is_fresh(stats, now, wall, interval))
    }

    /// Workers that the leader may give leases to, this one included while it reports.
    pub(super) fn active_workers(&self) -> BTreeSet<WorkerId> {
        self.reporting()
            .filter(|stats| stats.is_able())
            .filter(|stats| self.dead.get(&stats.worker) != Some(&stats.last_update))
            .map(|stats| stats.worker.clone())
            .collect()
    }

    /// Whether this worker looks at the whole table often.
    pub(super) fn watches(&self, now: Moment) -> bool {
        if self.table_bytes <= SMALL_TABLE || self.is_leader(now) {
            return true;
        }
        let leader = self
            .leadership
            .as_ref()
            .and_then(|leadership| leadership.known_leader());
        let rank = self
            .active_workers()
            .into_iter()
            .filter(|worker| Some(worker) != leader.as_ref())
            .position(|worker| worker == self.me);
        rank.is_some_and(|rank| rank < DEPUTIES)
    }

    /// Adopts what is assigned to this worker. Leases that carried its id already when it started are
    /// another matter: a former process of the same id may be alive (`resume_own`).
    pub(super) fn discover(&mut self) {
        let assigned: Vec<(Lease, LeaseUpdate)> = self
            .table
            .iter()
            .filter(|lease| self.holding(lease) == Holding::NotMine)
            .filter(|lease| !self.former.contains(&lease.key))
            .filter_map(|lease| match adoption(lease, &self.me) {
                Adoption::Adopt(update) => Some((lease.clone(), update)),
                Adoption::Wait { .. } | Adoption::LetGo(_) | Adoption::Ignore => None,
            })
            .collect();
        for (lease, update) in assigned {
            self.acquire(lease, update, How::Assigned);
        }
    }

    /// Whether something is about to be assigned to this worker, so that it looks more often: a lease
    /// is on its way to it, or somebody's leases have no living owner.
    fn expects(&self, now: Moment) -> bool {
        self.table.iter().any(|lease| {
            let on_its_way = lease.in_hand_off() && lease.owner.as_ref() == Some(&self.me);
            let free = lease.owner.is_none() && !lease.is_finished();
            let expired = self.is_foreign(lease)
                && self
                    .observations
                    .is_expired(lease, now, self.settings.failover);
            on_its_way || free || expired
        })
    }

    /// When to look at the table again after a look at `at`.
    pub(super) fn plan_next_look(&mut self, at: Moment, has_peers: bool) {
        let failover = self.settings.failover;
        let changing = at.since(self.quiet_since) < failover * 2;
        let usual = scan_interval(failover, has_peers || changing, self.table_bytes);
        if !self.is_assigned() {
            self.next_scan = at + usual;
            return;
        }
        let expects = self.expects(at);
        if !expects {
            self.expecting_since = None;
        }
        let since = *self.expecting_since.get_or_insert(at);
        let soon = expects && at.since(since) < failover * 2;
        let watches = self.watches(at);
        let pause = match (watches, soon) {
            (true, true) => quick_interval(failover, self.table_bytes).min(usual),
            (true, false) if has_peers || changing => watch_interval(failover, self.table_bytes),
            (true, false) if self.is_leader(at) => lone_leader_interval(failover, self.table_bytes),
            (true, false) => usual,
            // Without the index, the table alone tells what was assigned.
            (false, _) if self.index != OwnerIndex::Active => {
                watch_interval(failover, self.table_bytes)
            }
            (false, _) => scan_interval(failover, false, self.table_bytes),
        };
        self.next_scan = at + pause;
        let query = if soon {
            quick_interval(failover, 0)
        } else {
            watch_interval(failover, 0)
        };
        // A deputy too asks the index for what is assigned to it when the table is too large to be looked at
        // as often: its leases expire meanwhile (`time_for_adoption`).
        let asks = !watches || self.table_bytes > SMALL_TABLE && !self.is_leader(at);
        self.next_query = (asks && self.index == OwnerIndex::Active).then(|| at + query);
        if let Some(leadership) = &self.leadership {
            // A scan that finds the lock counts as a look.
            leadership.look_every(pause.mul_f64(1.5), watches);
        }
    }

    /// How long a worker of this fleet may take to see what was assigned to it, beyond the failover time
    /// that its lease has anyway. Without the index, all but the leader and its deputies see it only when
    /// they look at the table, and in a large table everybody looks seldom. Java looks twice in an
    /// assignment interval (`leases.md` B.4), which is once in F, and begins with its next renewal.
    pub(super) fn time_for_adoption(&self, all_ours: bool) -> Duration {
        let ours = if self.table_bytes <= SMALL_TABLE || self.index == OwnerIndex::Active {
            Duration::ZERO
        } else {
            scan_interval(self.settings.failover, false, self.table_bytes)
        };
        let javas = match all_ours {
            true => Duration::ZERO,
            false => self.settings.assignment_interval / 2,
        };
        ours.max(javas)
    }

    /// Asks the index for this worker's leases, and reads those it does not hold.
    pub(super) fn start_query(&mut self, now: Moment) {
        self.next_query = Some(now + watch_interval(self.settings.failover, 0));
        if self.querying {
            return;
        }
        self.querying = true;
        let (store, clock, me) = (
            self.store(),
            Arc::clone(&self.ports.keeper.clock),
            self.me.clone(),
        );
        let known: BTreeSet<LeaseKey> = self
            .held
            .keys()
            .chain(self.taking.iter())
            .cloned()
            .collect();
        let limit = self.settings.failover.max(Duration::from_secs(2));
        self.beside.spawn(async move {
            let found = async {
                let mut found = Vec::new();
                for key in store.keys_of(&me).await? {
                    if !known.contains(&key) {
                        let row = store.get(&key).await?;
                        found.push((key, row));
                    }
                }
                Ok(found)
            };
            let found = match within(&*clock, limit, found).await {
                Ok(found) => found,
                Err(_elapsed) => Err(StoreError::Unavailable("no answer in time".to_owned())),
            };
            Done::Found(found, clock.now())
        });
    }

    pub(super) fn on_found(&mut self, found: Found, at: Moment) {
        self.querying = false;
        match found {
            Ok(found) => {
                for (key, row) in found {
                    self.learn(&key, row, at);
                }
                self.decide(at);
            }
            Err(error) => {
                debug!("the index of leases by owner: {error}");
                // The table tells the same. An operator's tool may have deleted the index, or a policy
                // not allow to ask it, which does not change within seconds.
                self.scan_wanted = true;
                self.index = OwnerIndex::Absent;
                self.next_index_check = Some(at + READY_INTERVAL);
            }
        }
    }

    /// Takes in one row that was read by itself.
    pub(super) fn learn(&mut self, key: &LeaseKey, row: Option<Lease>, at: Moment) {
        let Some(row) = row else {
            self.table.retain(|lease| lease.key != *key);
            return;
        };
        // It may have been read before this worker wrote to it.
        let row = match self.own_writes.get(key) {
            Some((own, written)) if row.counter < own.counter && at < *written + BEHIND => {
                own.clone()
            }
            _ => row,
        };
        self.observations.record(&row, at);
        self.watch.record(&row, at, self.hand_off_limit());
        match self.table.iter_mut().find(|lease| lease.key == *key) {
            Some(known) => *known = row,
            None => self.table.push(row),
        }
    }

    /// Sees that the index is asked for, and whether it can be used.
    pub(super) fn start_index_check(&mut self, now: Moment) {
        if self.next_index_check.is_none_or(|due| now < due) {
            return;
        }
        // Put off until it has come back, or has been lost.
        self.next_index_check = Some(now + READY_INTERVAL);
        let wanted = self.conduct.creates_index;
        let (store, clock) = (self.store(), Arc::clone(&self.ports.keeper.clock));
        let limit = self.settings.failover.max(Duration::from_secs(2));
        self.beside.spawn(async move {
            let check = async {
                let state = store.owner_index().await?;
                if wanted && state == OwnerIndex::Absent {
                    store.create_owner_index().await?;
                    return Ok(OwnerIndex::Building);
                }
                Ok(state)
            };
            let state = match within(&*clock, limit, check).await {
                Ok(state) => state,
                Err(_elapsed) => Err(StoreError::Unavailable("no answer in time".to_owned())),
            };
            Done::Index(state, clock.now())
        });
    }

    pub(super) fn on_index(&mut self, state: Result<OwnerIndex, StoreError>, at: Moment) {
        if self.next_index_check.is_some() {
            let pause = index_check_pause(state.as_ref().ok().copied(), self.is_assigned());
            self.next_index_check = Some(at + pause);
        }
        match state {
            Ok(state) => self.index = state,
            Err(error) => {
                let cause = format!(
                    "the index of leases by owner cannot be made or seen, the table is read instead: {error}"
                );
                if self.reported.insert(cause.clone()) {
                    warn!("{cause}");
                }
                self.index = OwnerIndex::Absent;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_looked_at_as_rarely_as_will_do() {
        let minutes = |state, assigned| index_check_pause(state, assigned).as_secs() as f64 / 60.0;
        assert!(minutes(Some(OwnerIndex::Building), true) < 1.0);
        assert_eq!(minutes(Some(OwnerIndex::Active), true), 15.0);
        // Before a fleet goes on with a leader, it must be known to be there.
        assert_eq!(minutes(Some(OwnerIndex::Active), false), 1.0);
        assert_eq!(minutes(Some(OwnerIndex::Absent), true), 1.0);
        // A policy that does not allow to look will not change within seconds.
        assert_eq!(minutes(None, true), 5.0);
    }
}
