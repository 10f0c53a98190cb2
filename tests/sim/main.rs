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
mod cost;
mod coverage;
mod crowds;
mod flips;
mod found;
mod hearing;
mod java;
mod large;
mod migrations;
mod mixed_migrations;
mod museum;
mod new_stream;
mod runner;
mod scenario;
mod store;
mod stream;
mod targets;
mod trace;
mod twins;
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

#[test]
#[ignore = "for looking at the cost of seeds"]
fn costs() {
    let mut costs: Vec<(u128, u64, usize, u64)> = (0..300)
        .map(|seed| {
            let started = std::time::Instant::now();
            let trace = run(&Plan::swarm(seed));
            let end = trace.events.last().map_or(0, |event| event.at) / world::S;
            (started.elapsed().as_micros(), seed, trace.events.len(), end)
        })
        .collect();
    costs.sort();
    let all: u128 = costs.iter().map(|cost| cost.0).sum();
    println!("all {all} us");
    for cost in costs.iter().rev().take(15) {
        println!("{cost:?}");
    }
}
