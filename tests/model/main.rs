//! An exhaustive model of two workers: every interleaving to a stated depth, over the very functions
//! that the product decides with (`docs/TESTING.md`).
//!
//! | file | part |
//! |---|---|
//! | `world.rs` | the table, writes under way, what is true; which states are the same |
//! | `worker.rs` | what a worker knows |
//! | `steps.rs` | what can happen, what workers and leaders do |
//! | `owner.rs` | what the holder of a lease does |
//! | `laws.rs` | what must hold |
//! | `explore.rs` | all states, breadth first |
//!
//! `MODEL_DEPTH=n` explores n steps deeper than by default, in each scene.
#![allow(
    clippy::disallowed_methods,
    reason = "tests start threads and read the environment"
)]

mod explore;
mod laws;
mod owner;
mod steps;
mod worker;
mod world;

use explore::explore;
use owner::Act;
use steps::{Mode, Mutant, Rules, Step, Way, successors};
use world::{Budget, State};

use Way::Swift;

const BUDGET: Budget = Budget {
    faults: 2,
    crashes: 1,
    stops: 1,
    moves: 1,
};

/// A state after some steps, all of which must be possible.
fn after(mut state: State, rules: Rules, steps: &[Step]) -> State {
    for step in steps {
        let found = successors(&state, rules).into_iter().find(|(one, _)| one == step);
        let (_, next) = found.unwrap_or_else(|| panic!("{step:?} is not possible"));
        state = next.unwrap_or_else(|broken| panic!("{step:?} breaks {broken:?}"));
    }
    state
}

fn owner(shard: usize, act: Act) -> Step {
    Step::Owner(0, shard, act)
}

/// Worker 0 takes a lease and starts its child.
fn begun(shard: usize, mode: Mode) -> Vec<Step> {
    let mut steps = vec![Step::Look(0)];
    match mode {
        Mode::TwoX => steps.push(Step::Take(0, shard, Swift)),
        Mode::Leader => steps.extend([
            Step::Assign(0, shard, 0, Swift),
            Step::Look(0),
            Step::Adopt(0, shard, Swift),
        ]),
    }
    steps.extend([owner(shard, Act::ParentsEnded), owner(shard, Act::Answer)]);
    steps
}

/// It processes the first shard to its end, but for the end itself.
fn processed(mode: Mode) -> Vec<Step> {
    let mut steps = begun(0, mode);
    let acts = [Act::Deliver, Act::Ask, Act::Checkpoint(Swift), Act::Answer];
    steps.extend(acts.map(|act| owner(0, act)));
    steps
}

/// It told its child that the shard ended; the leases of the child shards exist.
fn ended(mode: Mode) -> Vec<Step> {
    let mut steps = processed(mode);
    let make = Act::MakeChild(Swift);
    steps.extend([Act::ReadEnd, make, make, make].map(|act| owner(0, act)));
    steps
}

/// The shard is finished, and its children are free.
fn finished(mode: Mode) -> Vec<Step> {
    let mut steps = ended(mode);
    let acts = [Act::Ask, Act::Checkpoint(Swift), Act::Answer];
    steps.extend(acts.map(|act| owner(0, act)));
    steps
}

fn deeper() -> usize {
    std::env::var("MODEL_DEPTH").map_or(0, |text| text.parse().expect("MODEL_DEPTH is a number"))
}

/// Explores from a scene, and says how far.
fn sound(name: &str, mode: Mode, shards: usize, steps: &[Step], depth: usize) {
    let rules = Rules { mode, mutant: None };
    let scene = after(State::begin(BUDGET, shards), rules, steps);
    let started = std::time::Instant::now();
    let explored = explore(scene, rules, depth + deeper());
    println!(
        "FIGURE: {name}, {mode:?}: {} states, {} steps, depth {} (and {} of the scene), {:.1} s",
        explored.states,
        explored.steps,
        explored.depth,
        steps.len(),
        started.elapsed().as_secs_f64()
    );
    if let Some(((law, text), path)) = explored.broken {
        let path: Vec<String> = path.iter().map(|step| format!("  {step:?}")).collect();
        panic!("{law} is broken: {text}\nby these steps:\n{}", path.join("\n"));
    }
    assert_eq!(explored.depth, depth + deeper());
}

/// The two ways in which fleets share leases.
const MODES: [Mode; 2] = [Mode::TwoX, Mode::Leader];

#[test]
fn from_the_beginning() {
    for mode in MODES {
        sound("two shards, nobody has looked", mode, 2, &[], 7);
    }
}

#[test]
fn while_a_shard_is_processed() {
    for mode in MODES {
        sound("one shard is processed", mode, 1, &begun(0, mode), 6);
    }
}

#[test]
fn at_the_end_of_a_shard() {
    for mode in MODES {
        sound("one shard ends", mode, 1, &processed(mode), 6);
        sound("its child has the last word", mode, 1, &ended(mode), 6);
    }
}

#[test]
fn when_child_shards_begin() {
    for mode in MODES {
        sound("its children are free", mode, 1, &finished(mode), 6);
    }
}
