//! Assignment by the number of leases (`leases.md` C.6, `leaseAssignmentStrategy = LEASE_COUNT_BASED`).
//!
//! Java fills one worker after the other up to the average rounded up, and moves leases only between
//! workers above and below it: ten leases on four workers end as 3, 3, 3, 1, four on three as 2, 2, 0.
//! Here no worker has two more than another, which Java's leader leaves as it is when it takes over.
//! Java also gives each worker it visits one lease whatever it has; here `maxLeasesForWorker` holds.

use crate::core::assignment::board::Board;

/// Gives each free lease to the worker with the fewest. Returns those that nobody may take.
pub(super) fn assign(board: &mut Board<'_>, free: &[usize]) -> Vec<usize> {
    // What has no living owner burdens nobody, while it is being given away.
    let mut burdens: Vec<Burden> = board
        .workers
        .iter()
        .map(|player| Burden {
            counting: player.count,
            all: player.leases.len(),
            unfinished: player.unfinished,
        })
        .collect();
    for lease in free {
        if let Some(holder) = board.holder(*lease) {
            let burden = &mut burdens[holder];
            burden.counting -= usize::from(board.counts(*lease));
            burden.all -= 1;
            burden.unfinished -= usize::from(!board.lease(*lease).is_finished());
        }
    }
    let mut unplaced = Vec::new();
    for lease in free {
        let finished = board.lease(*lease).is_finished();
        let fewest = (0..burdens.len())
            // A finished lease needs an owner only to be cleaned up.
            .filter(|worker| finished || burdens[*worker].unfinished < board.settings.max_leases)
            .min_by_key(|worker| burdens[*worker]);
        match fewest {
            Some(worker) => {
                let burden = &mut burdens[worker];
                burden.counting += usize::from(board.counts(*lease));
                burden.all += 1;
                burden.unfinished += usize::from(!finished);
                board.place(*lease, worker);
            }
            None => unplaced.push(*lease),
        }
    }
    unplaced
}

/// What a worker has; the first number by which two differ tells who has less.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Burden {
    counting: usize,
    all: usize,
    unfinished: usize,
}

/// Moves leases from workers with many to workers with few until no worker has two more than another.
pub(super) fn balance(board: &mut Board<'_>, pick: &mut dyn FnMut(usize) -> usize) {
    // Each worker's leases that may move, in random order; those taken from the end are gone.
    let mut movable: Vec<Vec<usize>> = board
        .workers
        .iter()
        .map(|player| {
            let leases = player.leases.iter().copied();
            leases.filter(|lease| board.is_movable(*lease)).collect()
        })
        .collect();
    loop {
        let most = (0..movable.len())
            .filter(|worker| !movable[*worker].is_empty())
            .max_by_key(|worker| board.workers[*worker].count);
        let fewest = (0..movable.len())
            .filter(|worker| board.has_room(*worker))
            .min_by_key(|worker| board.workers[*worker].count);
        let (Some(from), Some(to)) = (most, fewest) else {
            return;
        };
        if board.workers[from].count < board.workers[to].count + 2 {
            return;
        }
        let count = movable[from].len();
        let lease = movable[from].swap_remove(pick(count).min(count - 1));
        board.place(lease, to);
        movable[to].push(lease);
    }
}
