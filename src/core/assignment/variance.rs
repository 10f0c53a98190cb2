//! Assignment by the workers' load (`leases.md` C.5), the default.
//!
//! Load is what a worker says of itself, CPU as a rule, or the throughput of its leases in proportion to
//! the average. Where both have a decision to make it is Java's, but for ties, which Java leaves to the
//! order of its maps and which go here to the worker with fewer leases, then by id.
//!
//! # What moves nothing here and does in Java
//!
//! Java compares load only with the fleet's average: 1.3 % CPU beside 1 % is an imbalance of 13 % to it,
//! and a lease is moved every minute for ever. Here a worker must also be away from the average by an
//! absolute amount: [`FLOOR_PERCENT`] or, when throughput is the load, [`FLOOR_KBPS`]. (By throughput
//! Java even moves a lease when somebody is above the average by anything at all, because the average
//! is the upper end of that operating range.) Two cases are exempt: a worker above the operating range
//! that it stated itself, and a fleet in which a worker has nothing at all while another has two
//! leases. What an idle fleet does is in [`problem`](super::problem).

use crate::core::assignment::board::{Board, Load};
use crate::core::assignment::problem::IDLE_BELOW_KBPS;

/// How far a worker's CPU, memory or network use must be from the average to matter, percentage points.
pub const FLOOR_PERCENT: f64 = 2.0;

/// How far a worker's throughput must be from the average to matter, KB/s. Not less than what makes a
/// fleet idle, so that evening out by count and by load cannot undo each other.
pub const FLOOR_KBPS: f64 = IDLE_BELOW_KBPS;

/// The workers that can still be given leases in this run.
struct Queue {
    workers: Vec<usize>,
}

impl Queue {
    fn new(board: &Board<'_>) -> Self {
        Self {
            workers: (0..board.workers.len())
                .filter(|worker| is_eligible(board, *worker))
                .collect(),
        }
    }

    /// Takes out the worker with the most room up to the average.
    fn pop(&mut self, board: &Board<'_>) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        for (place, worker) in self.workers.iter().enumerate() {
            let room = room(board, *worker);
            let better = match best {
                None => true,
                Some((other, most)) => {
                    let other = self.workers[other];
                    let fewer = (board.workers[*worker].leases.len(), *worker)
                        < (board.workers[other].leases.len(), other);
                    room > most || room == most && fewer
                }
            };
            if better {
                best = Some((place, room));
            }
        }
        best.map(|(place, _)| self.workers.swap_remove(place))
    }

    fn push_if_eligible(&mut self, board: &Board<'_>, worker: usize) {
        if is_eligible(board, worker) {
            self.workers.push(worker);
        }
    }
}

fn is_eligible(board: &Board<'_>, worker: usize) -> bool {
    board.workers[worker].throughput <= board.settings.max_throughput_kbps && board.has_room(worker)
}

/// How much more load a worker can take up to the average, as a share of what it has: the least of its
/// metrics decides. A worker without load has the most; Java counts it as 1, behind workers with little,
/// so that a worker that has nothing may be passed over for ever.
fn room(board: &Board<'_>, worker: usize) -> f64 {
    board.workers[worker]
        .loads
        .iter()
        .map(|load| {
            if load.value == 0.0 {
                f64::INFINITY
            } else {
                (board.averages[load.metric] - load.value) / load.value
            }
        })
        .fold(f64::INFINITY, f64::min)
}

/// A load after one more lease, which is taken to bring as much of it as the average KB/s does. There is
/// an average: without any data the fleet is idle, and idle fleets are balanced by count.
fn load_with(board: &Board<'_>, load: &Load, kbps: f64) -> f64 {
    load.value + kbps * board.averages[load.metric] / board.target_throughput
}

/// Gives a lease to a worker and raises its loads.
fn give(board: &mut Board<'_>, lease: usize, worker: usize) {
    let kbps = board.throughput(lease);
    let raised: Vec<f64> = board.workers[worker]
        .loads
        .iter()
        .map(|load| load_with(board, load, kbps))
        .collect();
    for (load, value) in board.workers[worker].loads.iter_mut().zip(raised) {
        load.value = value;
    }
    board.place(lease, worker);
}

/// Gives each free lease to the worker with the most room. Returns those that nobody may take.
pub(super) fn assign(board: &mut Board<'_>, free: &[usize]) -> Vec<usize> {
    let mut queue = Queue::new(board);
    let mut unplaced = Vec::new();
    for lease in free {
        let row = board.lease(*lease);
        let Some(worker) = queue.pop(board) else {
            // A finished lease needs an owner only to be cleaned up, however full all are.
            match fewest_leases(board).filter(|_| row.is_finished()) {
                Some(worker) => give(board, *lease, worker),
                None => unplaced.push(*lease),
            }
            continue;
        };
        // It lives and finds the lease by itself. A hand-off that got stuck has to be ended (#1718).
        let is_its_own = !row.in_hand_off() && row.actual_owner() == Some(board.workers[worker].id);
        if is_its_own {
            queue.workers.push(worker);
        } else {
            give(board, *lease, worker);
            queue.push_if_eligible(board, worker);
        }
    }
    unplaced
}

fn fewest_leases(board: &Board<'_>) -> Option<usize> {
    (0..board.workers.len()).min_by_key(|worker| board.workers[*worker].leases.len())
}

/// Evens the load out by the metric by which most is to be moved.
pub(super) fn balance(board: &mut Board<'_>, pick: &mut dyn FnMut(usize) -> usize) {
    let has_nothing = |worker: usize| board.workers[worker].leases.is_empty();
    let someone_waits = board.workers.iter().any(|player| player.count >= 2)
        && (0..board.workers.len()).any(|worker| has_nothing(worker) && is_eligible(board, worker));
    let full_share = someone_waits && board.settings.full_share_on_joining;
    let share = if full_share {
        1.0
    } else {
        board.settings.dampening_percent / 100.0
    };

    let mut to_take: Vec<(usize, f64)> = Vec::new();
    let mut most = -1.0;
    for metric in 0..board.averages.len() {
        let average = board.averages[metric];
        let takes: Vec<(usize, f64)> = sources(board, metric, someone_waits)
            .into_iter()
            .map(|(worker, load)| {
                let excess = if load > 0.0 {
                    (load - average) / load
                } else {
                    0.0
                };
                (worker, excess * share * board.workers[worker].throughput)
            })
            .collect();
        let total: f64 = takes.iter().map(|(_, kbps)| kbps).sum();
        if total > most {
            (to_take, most) = (takes, total);
        }
    }
    to_take.sort_by(|a, b| b.1.total_cmp(&a.1));

    let mut queue = Queue::new(board);
    for (source, kbps) in to_take {
        for lease in leases_to_take(board, source, kbps, full_share, pick) {
            let Some(worker) = queue.pop(board) else {
                return;
            };
            if would_be_too_much(board, worker, board.throughput(lease), full_share) {
                // As in Java this ends the source, and the worker is not asked again in this run.
                break;
            }
            if worker == source {
                queue.workers.push(worker);
            } else {
                give(board, lease, worker);
                queue.push_if_eligible(board, worker);
            }
        }
    }
}

/// The workers to take from by one metric, with their load; none when all are near enough.
fn sources(board: &Board<'_>, metric: usize, someone_waits: bool) -> Vec<(usize, f64)> {
    let average = board.averages[metric];
    let band = board.settings.rebalance_threshold_percent / 100.0;
    let (lower, upper) = (average * (1.0 - band), average * (1.0 + band));
    let by_throughput = board.throughput_metric == Some(metric);
    let matters = |load: f64| {
        let distance = (load - average).abs();
        someone_waits
            || if by_throughput {
                distance / 100.0 * board.target_throughput >= FLOOR_KBPS
            } else {
                distance >= FLOOR_PERCENT
            }
    };
    let mut sources = Vec::new();
    let mut most_loaded: Option<(usize, f64)> = None;
    let mut triggered = false;
    for (worker, player) in board.workers.iter().enumerate() {
        let Some(load) = player.load(metric) else {
            continue;
        };
        let too_hot = load.value > load.limit;
        let outside = load.value > upper || load.value < lower || too_hot;
        triggered |= outside && (matters(load.value) || too_hot && !by_throughput);
        if load.value >= upper || too_hot {
            sources.push((worker, load.value));
        }
        if most_loaded.is_none_or(|(_, most)| load.value > most) {
            most_loaded = Some((worker, load.value));
        }
    }
    if !triggered {
        return Vec::new();
    }
    if sources.is_empty() {
        sources.extend(most_loaded);
    }
    sources
}

/// Leases of a worker that together deliver about `kbps`: chosen at random, each smaller than what is
/// still to be taken. A full share is rounded: the last lease counts when half of it fits.
fn leases_to_take(
    board: &Board<'_>,
    worker: usize,
    kbps: f64,
    full_share: bool,
    pick: &mut dyn FnMut(usize) -> usize,
) -> Vec<usize> {
    let mut leases: Vec<usize> = board.workers[worker]
        .leases
        .iter()
        .copied()
        .filter(|lease| board.is_movable(*lease))
        .collect();
    for size in (2..=leases.len()).rev() {
        leases.swap(size - 1, pick(size).min(size - 1));
    }
    if board.workers[worker].throughput <= 0.0 {
        // Its load does not come from data: one lease, and see.
        leases.truncate(1);
        return leases;
    }
    let mut taken = Vec::new();
    let mut rest = kbps;
    for lease in &leases {
        let left = rest - board.throughput(*lease);
        if left > 0.0 || full_share && rest >= board.throughput(*lease) / 2.0 {
            taken.push(*lease);
            rest = left;
        }
    }
    if taken.is_empty() && board.settings.allow_throughput_overshoot {
        let smallest = leases
            .iter()
            .min_by(|a, b| board.throughput(**a).total_cmp(&board.throughput(**b)));
        taken.extend(smallest);
    }
    taken
}

/// Whether a lease would lift a worker above the average or its operating range by any metric. A full share
/// is rounded here too: leases never divide evenly, and half of the last one may be above the average.
fn would_be_too_much(board: &Board<'_>, worker: usize, kbps: f64, full_share: bool) -> bool {
    board.workers[worker].loads.iter().any(|load| {
        let after = load_with(board, load, kbps);
        let rounded = if full_share {
            (after - load.value) / 2.0
        } else {
            0.0
        };
        // By throughput the average is the upper end of the operating range.
        let by_throughput = board.throughput_metric == Some(load.metric);
        let limit = if by_throughput {
            load.limit + rounded
        } else {
            load.limit
        };
        // A hair above the average is the average.
        let hair = 1.0 + 1e-9;
        after > (board.averages[load.metric] + rounded) * hair || after > limit * hair
    })
}
