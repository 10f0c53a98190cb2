//! An exhaustive model of two workers: every interleaving to a stated depth, over the very functions
//! that the product decides with (`docs/TESTING.md`).
//!
//! | file | part |
//! |---|---|
//! | `world.rs` | the table, writes under way, what is true; which states are the same |
//! | `worker.rs` | what a worker knows |
//! | `steps.rs` | what can happen, and when |
//! | `acquiring.rs` | how workers get hold of leases, and leaders give them |
//! | `flights.rs` | writes on their way, and what the table makes of them |
//! | `owner.rs` | what the holder of a lease does |
//! | `laws.rs` | what must hold |
//! | `explore.rs` | all states, breadth first |
//!
//! `MODEL_DEPTH=n` explores n steps deeper than by default, in each scene.
#![allow(
    clippy::disallowed_methods,
    reason = "tests start threads and read the environment"
)]

mod acquiring;
mod explore;
mod flights;
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
        let found = successors(&state, rules)
            .into_iter()
            .find(|(one, _)| one == step);
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
        panic!(
            "{law} is broken: {text}\nby these steps:\n{}",
            path.join("\n")
        );
    }
    assert_eq!(explored.depth, depth + deeper());
}

const TWO_X: Mode = Mode::TwoX;
const LEADER: Mode = Mode::Leader;

#[test]
fn from_the_beginning() {
    sound("two shards, nobody has looked", TWO_X, 2, &[], 7);
    sound("two shards, nobody has looked", LEADER, 2, &[], 6);
}

#[test]
fn while_a_shard_is_processed() {
    sound("one shard is processed", TWO_X, 1, &begun(0, TWO_X), 8);
    sound("one shard is processed", LEADER, 1, &begun(0, LEADER), 6);
}

#[test]
fn at_the_end_of_a_shard() {
    sound("one shard ends", TWO_X, 1, &processed(TWO_X), 7);
    sound("one shard ends", LEADER, 1, &processed(LEADER), 6);
    sound("its child has the last word", TWO_X, 1, &ended(TWO_X), 6);
    sound("its child has the last word", LEADER, 1, &ended(LEADER), 5);
}

#[test]
fn when_child_shards_begin() {
    sound("its children are free", TWO_X, 1, &finished(TWO_X), 6);
    sound("its children are free", LEADER, 1, &finished(LEADER), 5);
}

/// A mutant of the product breaks one of these laws within `depth` steps from a scene, and the product
/// does not in as many.
fn caught(mutant: Mutant, mode: Mode, laws: &[&str], steps: &[Step], depth: usize) {
    let product = Rules { mode, mutant: None };
    let mutant = Rules {
        mutant: Some(mutant),
        ..product
    };
    let scene = after(State::begin(BUDGET, 1), mutant, steps);
    let explored = explore(scene.clone(), mutant, depth);
    let ((law, text), path) = explored
        .broken
        .unwrap_or_else(|| panic!("{mutant:?} is not caught in {} states", explored.states));
    println!("{mutant:?}: {law} {text}: {path:?}");
    assert!(
        laws.contains(&law),
        "{mutant:?} breaks {law}: {text} by {path:?}"
    );
    assert!(explore(scene, product, path.len()).broken.is_none());
}

#[test]
fn conditions_that_are_missing_are_noticed() {
    // The other worker finds the first one dead and takes its lease.
    let taken = |mut steps: Vec<Step>| {
        let looks = [
            Step::Look(1),
            Step::Tick,
            Step::Tick,
            Step::Tick,
            Step::Look(1),
        ];
        steps.extend(looks);
        steps.push(Step::Take(1, 0, Swift));
        steps
    };
    let steps = taken(begun(0, TWO_X));
    caught(Mutant::UnconditionalRenewal, TWO_X, &["I.14"], &steps, 3);
    let mut steps = processed(TWO_X);
    steps.truncate(steps.len() - 2);
    let steps = taken(steps);
    caught(Mutant::UnconditionalCheckpoint, TWO_X, &["I.14"], &steps, 3);
}

#[test]
fn an_end_before_the_children_is_noticed() {
    let mutant = Mutant::EndBeforeChildren;
    caught(mutant, TWO_X, &["I.24"], &processed(TWO_X), 5);
}

#[test]
fn stale_leases_are_noticed() {
    let steps = begun(0, TWO_X);
    caught(Mutant::DeliversWhenStale, TWO_X, &["I.2"], &steps, 5);
    caught(
        Mutant::CountsFromTheAnswer,
        TWO_X,
        &["I.2"],
        &[Step::Look(0)],
        8,
    );
}

#[test]
fn hasty_takers_are_noticed() {
    let steps = begun(0, TWO_X);
    caught(Mutant::TakesAtFirstSight, TWO_X, &["I.3"], &steps, 5);
    let steps = begun(0, LEADER);
    caught(Mutant::TakesAtFirstSight, LEADER, &["I.3"], &steps, 5);
}

#[test]
fn writes_after_a_release_are_noticed() {
    let mut steps = begun(0, TWO_X);
    steps.push(Step::Stop(0));
    caught(Mutant::RenewsAfterRelease, TWO_X, &["I.14"], &steps, 5);
}

#[test]
fn guessed_counters_are_noticed() {
    let steps = begun(0, TWO_X);
    caught(Mutant::AssumesThatItHappened, TWO_X, &["I.7"], &steps, 5);
}

#[test]
fn children_that_do_not_wait_are_noticed() {
    let mutant = Mutant::IgnoresParents;
    let mut steps = ended(TWO_X);
    steps.extend([Step::Look(0), Step::Take(0, 2, Swift)]);
    caught(mutant, TWO_X, &["I.23"], &steps, 5);
}

#[test]
fn hasty_deletes_are_noticed() {
    let mutant = Mutant::DeletesAtOnce;
    caught(mutant, TWO_X, &["I.27"], &finished(TWO_X), 4);
}

#[test]
fn skipped_records_are_noticed() {
    let mut steps = begun(0, TWO_X);
    let make = Act::MakeChild(Swift);
    steps.extend([Act::ReadEnd, make, make, make].map(|act| owner(0, act)));
    let mutant = Rules {
        mode: TWO_X,
        mutant: Some(Mutant::SkipsARecord),
    };
    let scene = after(State::begin(BUDGET, 1), mutant, &steps);
    let broken = explore(scene, mutant, 3)
        .broken
        .expect("a record was skipped");
    assert_eq!(broken.0.0, "I.19");
}
