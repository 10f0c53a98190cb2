//! The leader's duty: giving leases to workers (`leases.md` C.4).
//!
//! Every look at the table is a reason to place what has no living owner, so that a lost worker, a new
//! shard or a newcomer does not wait for the interval (`leases.md` G.6). Load is evened out at the
//! interval only, as its figures need time to show what the last moves did, and when workers come or go.
//! Every move is a conditional write.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::acquiring::{How, Outcome, write_and_look};
use super::{Coordinator, Done, StopRequest};
use crate::core::assignment::problem::{
    self, Problem, Settings as AssignmentSettings, is_all_ours,
};
use crate::core::ids::{LeaseKey, WorkerId};
use crate::core::leader_lock::must_step_down;
use crate::core::lease::{Change, Lease};
use crate::core::migration::single_table::Place;
use crate::core::time::{Moment, WallTime};
use crate::core::worker_stats::WorkerMetricStats;
use crate::worker::keeper::LeaseState;

/// Most moves under way at a time; when they are done the leader goes on.
const MOST_MOVES: usize = 200;

/// When its own keeper takes longer than this to say that it has lost a lease, the leader decides anew:
/// whom it chose may have left meanwhile (I.38).
const OVERTAKEN_AFTER: Duration = Duration::from_millis(50);

/// What a leader remembers between two runs.
#[derive(Debug)]
pub(super) struct Led {
    /// When the next run at the interval is due.
    next_run: Moment,
    /// Runs at the interval so far.
    runs: u32,
    idle: bool,
    /// Who could be given leases in the last run.
    members: BTreeSet<WorkerId>,
    /// Leases with a write of ours under way.
    writing: BTreeSet<LeaseKey>,
    failures: u32,
    last_run: Moment,
    unplaced: usize,
    /// The last run wanted more moves than are begun at a time.
    wants_more: bool,
}

impl Led {
    fn new(now: Moment) -> Self {
        Self {
            next_run: now,
            runs: 0,
            idle: false,
            members: BTreeSet::new(),
            writing: BTreeSet::new(),
            failures: 0,
            last_run: now,
            unplaced: 0,
            wants_more: false,
        }
    }
}

/// How the write of one move ended.
pub(super) struct Moved {
    key: LeaseKey,
    /// The row, when the write happened.
    row: Option<Lease>,
    sent: Moment,
    /// Whether the next owner has the lease now, and need not wait for the old one.
    at_once: bool,
}

impl Coordinator {
    /// Assigns leases, if this worker is the leader.
    pub(super) fn lead(&mut self, now: Moment) {
        if !self.is_leader(now) {
            self.led = None;
            return;
        }
        self.touch_own(now);
        let wall = WallTime::from_millis(self.ports.keeper.clock.wall_millis());
        let all_ours = is_all_ours(&self.table, self.reporting());
        let adoption = self.time_for_adoption(all_ours);
        self.watch.leave_time_for_adoption(adoption);
        let mut led = self.led.take().unwrap_or_else(|| Led::new(now));
        // Whoever was found dead stays so until it reports again.
        let reports: Vec<WorkerMetricStats> = self
            .members
            .iter()
            .filter(|stats| self.dead.get(&stats.worker) != Some(&stats.last_update))
            .cloned()
            .collect();
        let members = self.active_workers();
        let due = now >= led.next_run;
        let balance = members != led.members
            || due
                && led
                    .runs
                    .is_multiple_of(self.settings.balancing_frequency.max(1));
        if due {
            led.runs = led.runs.wrapping_add(1);
            led.next_run = now + self.settings.assignment_interval;
        }
        led.members = members;
        let entropy = Arc::clone(&self.ports.keeper.entropy);
        let settings = AssignmentSettings {
            count_finished: !all_ours,
            ..self.settings.assignment.clone()
        };
        let plan = problem::run(
            &Problem {
                me: &self.me,
                leases: &self.table,
                watch: &self.watch,
                workers: &reports,
                reports: &self.reports,
                settings: &settings,
                now,
                wall,
                balance,
                idle_before: led.idle,
            },
            &mut |n| entropy.below(n),
        );
        for worker in &plan.dead {
            warn!("worker {worker} is dead: its leases are given to others");
            let item = reports.iter().find(|stats| stats.worker == *worker);
            let last_update = item.and_then(|stats| stats.last_update);
            self.dead.insert(worker.clone(), last_update);
        }
        led.idle = plan.idle;
        led.last_run = now;
        led.failures = 0;
        if plan.unplaced.len() != led.unplaced {
            led.unplaced = plan.unplaced.len();
            if led.unplaced > 0 {
                warn!(
                    "{} leases have no owner and {} workers can be given leases: see maxLeasesForWorker and the workers' metrics",
                    led.unplaced, plan.active
                );
            }
        }
        let mut moves: Vec<_> = plan
            .moves
            .iter()
            .filter_map(|next| {
                let lease = &self.table[next.lease];
                // What this worker is adopting just now is not moved on before it has it.
                let busy = led.writing.contains(&lease.key) || self.taking.contains(&lease.key);
                (!busy && !self.is_behind(lease))
                    .then(|| next.update(lease).map(|update| (lease.clone(), update)))
                    .flatten()
            })
            .collect();
        led.wants_more = moves.len() > MOST_MOVES;
        moves.truncate(MOST_MOVES);
        for (lease, update) in moves {
            led.writing.insert(lease.key.clone());
            self.move_lease(lease, update);
        }
        self.led = Some(led);
    }

    /// Whether this worker holds a lease that somebody else, or nobody, holds by its row. The row was read
    /// before it was acquired, or edited by hand; which of the two the next renewal shows.
    fn is_behind(&self, lease: &Lease) -> bool {
        lease.actual_owner() != Some(&self.me)
            && self.held.get(&lease.key).is_some_and(|held| {
                held.handle.is_kept() && matches!(held.handle.state(), LeaseState::Held { .. })
            })
    }

    /// The counters of leases that this worker holds move although it has not looked; and one that it
    /// could not renew in time is not without an owner, its keeper goes on trying.
    fn touch_own(&mut self, now: Moment) {
        for (key, held) in &self.held {
            if held.handle.is_kept() {
                self.watch.touch(key, now);
            }
        }
    }

    pub(super) fn move_lease(&mut self, lease: Lease, update: crate::core::lease::LeaseUpdate) {
        match &update.change {
            Change::BeginHandOff { from, to } => {
                info!(lease = %lease.key, "moving the lease from worker {from} to worker {to}");
            }
            Change::Assign { owner, .. } => {
                info!(lease = %lease.key, "assigning the lease to worker {owner}");
            }
            _ => {}
        }
        let at_once = matches!(update.change, Change::Assign { .. });
        let (store, clock) = (self.store(), Arc::clone(&self.ports.keeper.clock));
        let limit = self.settings.failover / 3;
        // A change of its counter has to come from whoever keeps the lease (I.4), if that is this worker.
        let own = match (&update.change, self.held.get(&lease.key)) {
            (Change::Assign { owner, .. }, Some(held)) => {
                Some((held.handle.clone(), owner.clone()))
            }
            _ => None,
        };
        self.beside.spawn(async move {
            let sent = clock.now();
            let key = lease.key.clone();
            if let Some((handle, next)) = own {
                let passed = handle.pass_to(next).await;
                if passed.is_ok() || clock.now().since(sent) > OVERTAKEN_AFTER {
                    return Done::Moved(Moved {
                        key,
                        row: passed.unwrap_or_default(),
                        sent,
                        at_once,
                    });
                }
            }
            let outcome = write_and_look(&*store, &*clock, limit, &lease, &update, false).await;
            let (row, answered) = match outcome {
                Ok(Outcome::Acquired(row, _)) => (Some(row), true),
                Ok(Outcome::Seen(row)) => (Some(row), false),
                Ok(Outcome::Refused(_) | Outcome::Unknown) => (None, false),
                Err(error) => {
                    warn!(lease = %key, "cannot assign the lease: {error}");
                    (None, false)
                }
            };
            Done::Moved(Moved {
                key,
                row,
                sent,
                // When a write of which only a read tells was sent is not certain: it is adopted by a
                // renewal, as any other.
                at_once: at_once && answered,
            })
        });
    }

    pub(super) fn on_moved(&mut self, moved: Moved) {
        let Moved {
            key,
            row,
            sent,
            at_once,
        } = moved;
        if let Some(led) = &mut self.led {
            led.writing.remove(&key);
        }
        let Some(row) = row else {
            debug!(lease = %key, "the lease was not moved: its row changed meanwhile");
            self.scan_wanted = true;
            return;
        };
        let now = self.now();
        let mine = at_once && row.owner.as_ref() == Some(&self.me) && !row.in_hand_off();
        self.watch
            .record_own_write(&row, now, self.hand_off_limit());
        self.learn(&key, Some(row.clone()), now);
        self.own_writes.insert(key.clone(), (row.clone(), now));
        if mine && !self.held.contains_key(&key) && self.taking.insert(key) {
            // Assigned to this worker by its own conditional write: that is adopting it.
            self.on_acquired(row, sent, How::Assigned);
        }
        // A large table is looked at seldom: a thousand shards would wait minutes for their first record.
        let goes_on = |led: &Led| led.wants_more && led.writing.is_empty();
        if self.led.as_ref().is_some_and(goes_on) {
            self.lead(now);
        }
    }

    /// The table could not be read: a leader that cannot lead lets others try.
    pub(super) fn could_not_lead(&mut self, now: Moment) {
        let interval = self.settings.assignment_interval;
        if let (Some(led), Some(leadership)) = (&mut self.led, &self.leadership) {
            led.failures += 1;
            if self.stopping == StopRequest::Run
                && must_step_down(led.failures, led.last_run, now, interval)
            {
                warn!("gave up the leadership: the leases cannot be assigned from here");
                leadership.step_down();
                self.led = None;
            }
        }
    }

    /// A leader deletes the metrics of workers that are long gone.
    pub(super) fn delete_stale_metrics(&mut self, now: Moment) {
        if !self.is_leader(now) {
            return;
        }
        let wall = WallTime::from_millis(self.ports.keeper.clock.wall_millis());
        let in_legacy = |stats: &WorkerMetricStats| self.legacy_members.contains(stats);
        let stale: Vec<_> = self
            .members
            .iter()
            .filter(|stats| stats.is_stale(wall, self.settings.stale_metrics))
            .map(|stats| {
                let place = if in_legacy(stats) {
                    Place::Legacy
                } else {
                    Place::LeaseTable
                };
                (stats.clone(), place)
            })
            .collect();
        for (stats, place) in stale {
            let store = Arc::clone(&self.ports.report.store);
            self.beside.spawn(async move {
                let deleted = store.delete(place, &stats).await;
                debug!(worker = %stats.worker, ?deleted, "metrics of a worker that is gone");
                Done::Nothing
            });
        }
    }
}
