//! All states that can be reached, breadth first.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::laws::Broken;
use crate::steps::{Rules, Step, successors};
use crate::world::{Budget, State};

/// A fingerprint is a hash already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only numbers are hashed");
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// What came of an exploration.
pub struct Explored {
    pub states: usize,
    /// Steps tried.
    pub steps: usize,
    /// The depth to which *all* states were reached.
    pub depth: usize,
    /// The law that is broken, with the steps that lead there.
    pub broken: Option<(Broken, Vec<Step>)>,
}

/// Where a state came from.
struct Origin {
    before: usize,
    step: Step,
}

type Found = Vec<(usize, Step, Result<(u64, State), Broken>)>;

/// Expands a part of a level.
fn expand(part: &[(usize, State)], rules: Rules) -> Found {
    let mut found = Vec::new();
    for (index, state) in part {
        for (step, next) in successors(state, rules) {
            let next = next.map(|next| (next.fingerprint(), next));
            found.push((*index, step, next));
        }
    }
    found
}

/// The states that were reached, each with the largest budgets it was reached with: whatever can follow
/// with a smaller one was looked at, in no more steps.
#[derive(Default)]
struct Known(HashMap<u64, Vec<Budget>, BuildHasherDefault<AsItIs>>);

impl Known {
    fn is_new(&mut self, fingerprint: u64, budget: Budget) -> bool {
        let budgets = self.0.entry(fingerprint).or_default();
        if budgets.iter().any(|known| known.covers(budget)) {
            return false;
        }
        budgets.retain(|known| !budget.covers(*known));
        budgets.push(budget);
        true
    }
}

/// Goes through all states up to a depth; stops at the first that breaks a law.
pub fn explore(begin: State, rules: Rules, depth: usize) -> Explored {
    let mut known = Known::default();
    known.is_new(begin.fingerprint(), begin.budget);
    let mut origins: Vec<Option<Origin>> = vec![None];
    let mut level = vec![(0, begin)];
    let mut explored = Explored {
        states: 1,
        steps: 0,
        depth: 0,
        broken: None,
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    while explored.depth < depth && !level.is_empty() {
        let mut next = Vec::new();
        // In pieces, so that a level's successors need not be in memory before they are compared.
        for piece in level.chunks(4096) {
            let share = piece.len().div_ceil(threads).max(1);
            let found: Vec<Found> = std::thread::scope(|scope| {
                let parts = piece.chunks(share);
                let parts: Vec<_> = parts
                    .map(|part| scope.spawn(move || expand(part, rules)))
                    .collect();
                parts
                    .into_iter()
                    .map(|part| part.join().expect("no panic"))
                    .collect()
            });
            for (before, step, outcome) in found.into_iter().flatten() {
                explored.steps += 1;
                match outcome {
                    Err(broken) => {
                        let mut steps = path(&origins, before);
                        steps.push(step);
                        explored.broken = Some((broken, steps));
                        return explored;
                    }
                    Ok((fingerprint, state)) => {
                        if known.is_new(fingerprint, state.budget) {
                            next.push((origins.len(), state));
                            origins.push(Some(Origin { before, step }));
                        }
                    }
                }
            }
        }
        explored.states = origins.len();
        explored.depth += 1;
        level = next;
    }
    explored
}

fn path(origins: &[Option<Origin>], mut at: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    while let Some(origin) = &origins[at] {
        steps.push(origin.step);
        at = origin.before;
    }
    steps.reverse();
    steps
}
