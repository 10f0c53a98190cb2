//! One run of the leader's assignment (`leases.md` C.4): what it looks at, what comes out.
//!
//! The leader gives leases without a living owner to workers, and every now and then evens the load
//! out. It only decides; every move is a conditional write that fails when the table says otherwise by
//! then. Who measures load how is in [`variance`] and [`count`].
//!
//! # Where this differs from Java's leader, on purpose
//!
//! | rule here | Java 3.5.1 |
//! |---|---|
//! | a worker that lets a lease expire gets none in this run, if there are others | gets it back: nothing is written, and the lease stays expired |
//! | a worker that lets leases expire and shows no other sign of life is dead and gets none | gets leases while its metrics item is younger than 60 s (#1452) |
//! | a lease without living owner is moved only if its counter still stands | relies on the owners alone |
//! | a lease in hand-off counts for its next owner and is not planned again | counts for the old one |
//! | a hand-off past its deadline is finished for the next owner | waits until balancing happens to pick the lease |
//! | a fleet that moves next to no data is balanced by count | by the noise of its metrics, NaN included |
//! | small absolute differences of load move nothing | the band is only relative (#1247, PR #1814) |
//! | a worker reports while its metrics item is seen to change | while the time in it is not old, by the leader's clock |
//! | a worker in both metrics tables counts once, by its newer item | twice |

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::core::assignment::board::Board;
use crate::core::assignment::reports::Reports;
use crate::core::assignment::watch::{LeaseState, Watch};
use crate::core::assignment::{count, variance};
use crate::core::ids::WorkerId;
use crate::core::lease::{Lease, LeaseUpdate};
use crate::core::time::{Moment, WallTime};
use crate::core::worker_stats::WorkerMetricStats;

/// `leaseAssignmentStrategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// By the workers' metrics: the default.
    WorkerUtilizationAware,
    /// By the number of leases.
    LeaseCountBased,
}

/// From the configuration. Percentages are 0 to 100.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What load is.
    pub strategy: Strategy,
    /// `failoverTimeMillis`.
    pub failover: Duration,
    /// `workerMetricsReporterFreqInMillis`.
    pub report_interval: Duration,
    /// `maxLeasesForWorker`.
    pub max_leases: usize,
    /// `maxThroughputPerHostKBps`.
    pub max_throughput_kbps: f64,
    /// `dampeningPercentage`: which share of a worker's excess one balancing moves.
    pub dampening_percent: f64,
    /// `reBalanceThresholdPercentage`: the band around the average in which nothing moves.
    pub rebalance_threshold_percent: f64,
    /// `allowThroughputOvershoot`: when no lease is small enough, move the smallest.
    pub allow_throughput_overshoot: bool,
    /// `workerMetricsEMAAlpha`.
    pub ema_alpha: f64,
    /// `isGracefulLeaseHandoffEnabled`.
    pub graceful_hand_off: bool,
    /// Whether leases at SHARD_END weigh like others, as they do for Java. False only in a fleet
    /// that [is all ours](is_all_ours) (`leases.md` J, #1247): two leaders with different weights undo
    /// each other.
    pub count_finished: bool,
    /// Whether a worker that has nothing yet gets its full share at once instead of Java's dampened
    /// one: then it is fair within seconds of a worker's joining.
    pub full_share_on_joining: bool,
}

impl Default for Settings {
    /// Java's defaults, and the full share on joining.
    fn default() -> Self {
        Self {
            strategy: Strategy::WorkerUtilizationAware,
            failover: Duration::from_secs(10),
            report_interval: Duration::from_secs(30),
            max_leases: usize::MAX,
            max_throughput_kbps: f64::INFINITY,
            dampening_percent: 60.0,
            rebalance_threshold_percent: 10.0,
            allow_throughput_overshoot: true,
            ema_alpha: 0.5,
            graceful_hand_off: true,
            count_finished: true,
            full_share_on_joining: true,
        }
    }
}

/// What a run looks at.
#[derive(Debug, Clone, Copy)]
pub struct Problem<'a> {
    /// The leader itself: whoever runs this is alive, whatever its leases look like.
    pub me: &'a WorkerId,
    /// All leases, as scanned.
    pub leases: &'a [Lease],
    /// What the leader has seen of them, this scan included.
    pub watch: &'a Watch,
    /// The metrics items, of both tables while there are two.
    pub workers: &'a [WorkerMetricStats],
    /// What the leader has seen of them, this scan included.
    pub reports: &'a Reports,
    /// From the configuration.
    pub settings: &'a Settings,
    /// Now.
    pub now: Moment,
    /// Now, for the times in the metrics items.
    pub wall: WallTime,
    /// Whether load is evened out in this run. Java does it in every third
    /// (`varianceBalancingFrequency`), since metrics need time to show what the last moves did. Also
    /// sensible when a worker has joined. Evening out by count needs no such pause: it is always done.
    pub balance: bool,
    /// [`Plan::idle`] of the run before.
    pub idle_before: bool,
}

/// How a lease is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Assigned unless somebody has written to it since.
    AssignIfSilent,
    /// Assigned, whatever its owner does.
    Assign,
    /// Handed off by its owner.
    HandOff,
}

/// One lease to move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Its place in [`Problem::leases`].
    pub lease: usize,
    /// The next owner.
    pub to: WorkerId,
    /// How.
    pub how: How,
}

impl Move {
    /// The write for it; `None` when `lease` cannot be moved that way (any more).
    #[must_use]
    pub fn update(&self, lease: &Lease) -> Option<LeaseUpdate> {
        match self.how {
            How::AssignIfSilent => Some(lease.assigned_if_silent_to(&self.to)),
            How::Assign => Some(lease.assigned_to(&self.to)),
            How::HandOff => lease.handed_off_to(&self.to),
        }
    }
}

/// What comes out of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// The moves, one per lease at most.
    pub moves: Vec<Move>,
    /// Leases without living owner that nobody may take, by their place in [`Problem::leases`].
    pub unplaced: Vec<usize>,
    /// Workers with fresh metrics that count as dead because all their leases are expired.
    pub dead: Vec<WorkerId>,
    /// How many workers could be given leases.
    pub active: usize,
    /// Whether the fleet moved next to no data, so that the number of leases was its load.
    pub idle: bool,
}

/// The fleet counts as idle while all leases together deliver no more than this, KB/s: 1 % of what one
/// shard can deliver to its readers. So little data says nothing about the work a lease makes.
pub const IDLE_BELOW_KBPS: f64 = 20.0;

/// An idle fleet stays idle up to this, KB/s, so that it does not change its measure back and forth.
pub const IDLE_UNTIL_KBPS: f64 = 40.0;

/// Decides what a leader does. `pick(n)` gives a random number below `n`.
#[must_use]
pub fn run(problem: &Problem<'_>, pick: &mut dyn FnMut(usize) -> usize) -> Plan {
    let settings = problem.settings;
    let states: Vec<LeaseState> = problem
        .leases
        .iter()
        .map(|lease| problem.watch.state(lease, problem.now, settings.failover))
        .collect();
    let mut plan = Plan::default();
    let active = active_workers(problem, &states, &mut plan.dead);
    plan.active = active.len();
    let mut board = Board::new(problem.leases, &states, &active, settings);
    let limit = if problem.idle_before {
        IDLE_UNTIL_KBPS
    } else {
        IDLE_BELOW_KBPS
    };
    plan.idle = board.total_throughput() <= limit;

    // Hand-offs that did not end in time end now, where they were meant to.
    let mut free = Vec::new();
    for (index, lease) in problem.leases.iter().enumerate() {
        match states[index] {
            LeaseState::Overdue => match lease.owner.as_ref().and_then(|next| board.find(next)) {
                Some(next) => board.place(index, next),
                None => free.push(index),
            },
            state if state.is_free() => free.push(index),
            _ => {}
        }
    }
    free.sort_by_key(|index| problem.watch.since(&problem.leases[*index]));

    let by_count = plan.idle || settings.strategy == Strategy::LeaseCountBased;
    if by_count {
        plan.unplaced = count::assign(&mut board, &free);
        count::balance(&mut board, pick);
    } else {
        plan.unplaced = variance::assign(&mut board, &free);
        if problem.balance {
            variance::balance(&mut board, pick);
        }
    }
    plan.moves = moves(problem, &states, &board);
    plan
}

/// Whether every worker that may lead or be given leases is a kcl-daemon, as far as is known: all that are
/// `reporting` and whoever owns a lease. A dead worker's lease counts until it has another owner.
#[must_use]
pub fn is_all_ours<'a>(
    leases: &'a [Lease],
    reporting: impl IntoIterator<Item = &'a WorkerMetricStats>,
) -> bool {
    let mut ours: HashSet<&WorkerId> = HashSet::new();
    for stats in reporting {
        if !stats.is_ours() {
            return false;
        }
        ours.insert(&stats.worker);
    }
    let mut owners = leases
        .iter()
        .flat_map(|lease| [&lease.owner, &lease.checkpoint_owner])
        .flatten();
    owners.all(|owner| ours.contains(owner))
}

/// The workers that may be given leases, each once, in the order of their ids.
fn active_workers<'a>(
    problem: &Problem<'a>,
    states: &[LeaseState],
    dead: &mut Vec<WorkerId>,
) -> Vec<&'a WorkerMetricStats> {
    let mut newest: HashMap<&WorkerId, &WorkerMetricStats> = HashMap::new();
    for stats in problem.workers {
        let known = newest.entry(&stats.worker).or_insert(stats);
        if stats.last_update > known.last_update {
            *known = stats;
        }
    }
    // Who lets a lease expire and has not been seen to write to any other for as long as two renewals
    // take is dead, although some of its leases may not have expired yet.
    let two_renewals = problem.settings.failover * 2 / 3;
    let mut lives: HashMap<&WorkerId, bool> = HashMap::new();
    for (lease, state) in problem.leases.iter().zip(states) {
        if let Some(owner) = lease.actual_owner()
            && *state == LeaseState::Expired
        {
            let lively = problem
                .watch
                .has_shown_life(owner, problem.now, two_renewals);
            lives.insert(owner, lively);
        }
    }
    let mut active: Vec<&WorkerMetricStats> = newest
        .into_values()
        .filter(|stats| {
            let (wall, interval) = (problem.wall, problem.settings.report_interval);
            stats.is_able() && problem.reports.is_fresh(stats, problem.now, wall, interval)
        })
        .collect();
    active.sort_by(|a, b| a.worker.cmp(&b.worker));
    let lets_expire = |stats: &WorkerMetricStats| match lives.get(&stats.worker) {
        Some(lively) if stats.worker != *problem.me => Some(*lively),
        _ => None,
    };
    active.retain(|stats| {
        let is_dead = lets_expire(stats) == Some(false);
        if is_dead {
            dead.push(stats.worker.clone());
        }
        !is_dead
    });
    // One that wrote to another lease a moment ago may have died since, or have trouble with this one.
    if active.iter().any(|stats| lets_expire(stats).is_none()) {
        active.retain(|stats| lets_expire(stats).is_none());
    }
    active
}

fn moves(problem: &Problem<'_>, states: &[LeaseState], board: &Board<'_>) -> Vec<Move> {
    let mut moves = Vec::new();
    for (index, lease) in problem.leases.iter().enumerate() {
        let Some(to) = board.placed(index) else {
            continue;
        };
        let how = match states[index] {
            LeaseState::Unowned | LeaseState::Expired => How::AssignIfSilent,
            LeaseState::Overdue => How::Assign,
            // Left alone, and never placed.
            LeaseState::HandingOff => continue,
            // Moved away and back again.
            LeaseState::Held if lease.owner.as_ref() == Some(to) => continue,
            LeaseState::Held if problem.settings.graceful_hand_off && !lease.is_finished() => {
                How::HandOff
            }
            LeaseState::Held => How::Assign,
        };
        moves.push(Move {
            lease: index,
            to: to.clone(),
            how,
        });
    }
    moves
}

#[cfg(test)]
#[path = "problem_tests.rs"]
mod tests;
