//! Deterministic simulation of whole fleets: the real worker on virtual time, over a simulated lease
//! table, stream and children, with everything going wrong that can (`docs/TESTING.md`).
//!
//! One seed is one world. The same seed gives the same trace, byte for byte; a failing one prints
//! the command that replays it.
#![allow(
    clippy::disallowed_methods,
    reason = "tests start threads and read the environment"
)]

mod checker;
mod children;
mod runner;
mod scenario;
mod store;
mod stream;
mod trace;
mod weather;
mod world;

use scenario::{Plan, run};

/// Seeds of `cargo test`.
const SEEDS: u64 = 2_000;

#[test]
fn swarm() {
    runner::swarm(SEEDS);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..20 {
        let (one, two) = (
            run(&Plan::swarm(seed)).render(),
            run(&Plan::swarm(seed)).render(),
        );
        assert!(one == two, "seed {seed} gives different traces");
    }
}
