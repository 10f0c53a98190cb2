//! The scratch paper of one assignment run: who would have what if the moves so far were made.

use std::collections::HashMap;

use crate::core::assignment::problem::Settings;
use crate::core::assignment::watch::LeaseState;
use crate::core::ids::WorkerId;
use crate::core::lease::Lease;
use crate::core::worker_stats::{THROUGHPUT, WorkerMetricStats};

/// A worker's load by one metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Load {
    /// Which metric: its place in [`Board::averages`].
    pub metric: usize,
    /// Smoothed, and raised with each lease that is given to the worker.
    pub value: f64,
    /// The most that the worker should reach.
    pub limit: f64,
}

/// A worker that may be given leases.
#[derive(Debug, Clone)]
pub(super) struct Player<'a> {
    pub id: &'a WorkerId,
    pub loads: Vec<Load>,
    /// Of its leases together, KB/s.
    pub throughput: f64,
    /// Its leases, by their place in the problem.
    pub leases: Vec<usize>,
    /// How many of them count.
    pub count: usize,
    /// How many of them are not finished.
    pub unfinished: usize,
}

/// A lease.
#[derive(Debug, Clone, Copy)]
struct Seat {
    /// What it delivers or is supposed to deliver, KB/s.
    throughput: f64,
    /// Whether it counts as load.
    counts: bool,
    /// Whether it is at SHARD_END.
    finished: bool,
    /// Whether it may be moved to even the load out.
    movable: bool,
    /// Who has it, in the end, of the workers that may be given leases.
    holder: Option<usize>,
    /// Whether that was decided in this run.
    placed: bool,
}

/// Who would have what.
#[derive(Debug)]
pub(super) struct Board<'a> {
    pub settings: &'a Settings,
    pub workers: Vec<Player<'a>>,
    /// The average of each metric over the workers that have it, before any move.
    pub averages: Vec<f64>,
    /// What a worker would deliver on average, KB/s.
    pub target_throughput: f64,
    leases: &'a [Lease],
    seats: Vec<Seat>,
    by_id: HashMap<&'a WorkerId, usize>,
    /// Place of [`THROUGHPUT`] among the metrics, if a worker is judged by it.
    pub throughput_metric: Option<usize>,
}

impl<'a> Board<'a> {
    pub fn new(
        leases: &'a [Lease],
        states: &[LeaseState],
        active: &[&'a WorkerMetricStats],
        settings: &'a Settings,
    ) -> Self {
        let mut metrics: Vec<&str> = active
            .iter()
            .flat_map(|stats| {
                let throughput = stats.is_in_throughput_mode().then_some(THROUGHPUT);
                stats.stats.keys().map(String::as_str).chain(throughput)
            })
            .collect();
        metrics.sort_unstable();
        metrics.dedup();
        let throughput_metric = metrics.iter().position(|metric| *metric == THROUGHPUT);

        let counts = |lease: &Lease| settings.count_finished || !lease.is_finished();
        let considered = leases.iter().filter(|lease| counts(lease)).count();
        let (sum, known) = leases
            .iter()
            .filter(|lease| counts(lease))
            .filter_map(|lease| lease.throughput_kbps)
            .fold((0.0, 0_usize), |(sum, known), kbps| (sum + kbps, known + 1));
        let average = if known == 0 { 0.0 } else { sum / known as f64 };
        let divisor = active.len().max(1);

        let by_id: HashMap<&WorkerId, usize> = active
            .iter()
            .enumerate()
            .map(|(index, stats)| (&stats.worker, index))
            .collect();
        let seats = leases
            .iter()
            .zip(states)
            .map(|(lease, state)| {
                let counts = counts(lease);
                let holder = match state {
                    LeaseState::Overdue => None,
                    // In hand-off: the next owner has it, unless that one is gone.
                    LeaseState::HandingOff => lease
                        .owner
                        .as_ref()
                        .and_then(|next| by_id.get(next))
                        .or_else(|| lease.actual_owner().and_then(|owner| by_id.get(owner))),
                    _ => lease.actual_owner().and_then(|owner| by_id.get(owner)),
                };
                Seat {
                    throughput: if counts {
                        lease.throughput_kbps.unwrap_or(average)
                    } else {
                        0.0
                    },
                    counts,
                    finished: lease.is_finished(),
                    movable: counts && *state == LeaseState::Held,
                    holder: holder.copied(),
                    placed: false,
                }
            })
            .collect();
        let mut board = Self {
            settings,
            workers: active
                .iter()
                .map(|stats| Player {
                    id: &stats.worker,
                    loads: Vec::new(),
                    throughput: 0.0,
                    leases: Vec::new(),
                    count: 0,
                    unfinished: 0,
                })
                .collect(),
            averages: Vec::new(),
            target_throughput: average * considered as f64 / divisor as f64,
            leases,
            seats,
            by_id,
            throughput_metric,
        };
        for lease in 0..leases.len() {
            if let Some(holder) = board.seats[lease].holder {
                board.give(lease, holder);
            }
        }
        board.measure(active, &metrics);
        board
    }

    /// Reads the loads of the workers and their averages.
    fn measure(&mut self, active: &[&WorkerMetricStats], metrics: &[&str]) {
        for (player, stats) in self.workers.iter_mut().zip(active) {
            for (metric, name) in metrics.iter().enumerate() {
                let load = if let Some(value) = stats.value(name, self.settings.ema_alpha) {
                    let range = stats.operating_range.get(*name);
                    let limit = range.and_then(|range| range.first()).copied();
                    Some((value, limit.unwrap_or(100) as f64))
                } else if *name == THROUGHPUT && stats.is_in_throughput_mode() {
                    // 100 is what the average worker would deliver. Without any data all are alike.
                    let share = if self.target_throughput > 0.0 {
                        player.throughput / self.target_throughput * 100.0
                    } else {
                        0.0
                    };
                    Some((share, 100.0))
                } else {
                    None
                };
                if let Some((value, limit)) = load {
                    player.loads.push(Load {
                        metric,
                        value,
                        limit,
                    });
                }
            }
        }
        self.averages = (0..metrics.len())
            .map(|metric| {
                let values = self
                    .workers
                    .iter()
                    .filter_map(|player| player.load(metric).map(|load| load.value));
                let (sum, having) = values.fold((0.0, 0_usize), |(sum, having), value| {
                    (sum + value, having + 1)
                });
                sum / having.max(1) as f64
            })
            .collect();
    }

    /// Puts a lease on a worker's side.
    fn give(&mut self, lease: usize, worker: usize) {
        let seat = &mut self.seats[lease];
        seat.holder = Some(worker);
        let player = &mut self.workers[worker];
        player.leases.push(lease);
        player.count += usize::from(seat.counts);
        player.unfinished += usize::from(!seat.finished);
        player.throughput += seat.throughput;
    }

    /// Decides that a worker shall have a lease.
    pub fn place(&mut self, lease: usize, worker: usize) {
        if let Some(holder) = self.seats[lease].holder {
            let seat = self.seats[lease];
            let player = &mut self.workers[holder];
            player.leases.retain(|held| *held != lease);
            player.count -= usize::from(seat.counts);
            player.unfinished -= usize::from(!seat.finished);
            player.throughput -= seat.throughput;
        }
        self.seats[lease].placed = true;
        self.give(lease, worker);
    }

    /// The worker that was decided to have a lease.
    pub fn placed(&self, lease: usize) -> Option<&'a WorkerId> {
        let seat = &self.seats[lease];
        let holder = seat.holder.filter(|_| seat.placed)?;
        Some(self.workers[holder].id)
    }

    /// The worker with this id, if it may be given leases.
    pub fn find(&self, worker: &WorkerId) -> Option<usize> {
        self.by_id.get(worker).copied()
    }

    /// Who has a lease now, of the workers that may be given leases.
    pub fn holder(&self, lease: usize) -> Option<usize> {
        self.seats[lease].holder
    }

    /// The row of a lease.
    pub fn lease(&self, lease: usize) -> &'a Lease {
        &self.leases[lease]
    }

    /// What a lease delivers, KB/s.
    pub fn throughput(&self, lease: usize) -> f64 {
        self.seats[lease].throughput
    }

    /// Whether a lease counts as load.
    pub fn counts(&self, lease: usize) -> bool {
        self.seats[lease].counts
    }

    /// Whether a lease may be moved to even the load out.
    pub fn is_movable(&self, lease: usize) -> bool {
        self.seats[lease].movable || self.seats[lease].placed && self.seats[lease].counts
    }

    /// What all leases deliver, KB/s.
    pub fn total_throughput(&self) -> f64 {
        self.seats.iter().map(|seat| seat.throughput).sum()
    }

    /// Whether a worker may have one more lease. Finished ones do not count against the maximum, as they
    /// do for Java, where they keep leases that make work from being taken by anybody (#202).
    pub fn has_room(&self, worker: usize) -> bool {
        self.workers[worker].unfinished < self.settings.max_leases
    }
}

impl Player<'_> {
    /// The load by one metric, if the worker has it.
    pub fn load(&self, metric: usize) -> Option<&Load> {
        self.loads.iter().find(|load| load.metric == metric)
    }
}
