//! Deterministic simulation of whole fleets: the real worker on virtual time, over a simulated lease
//! table, stream and children, with everything going wrong that can (`docs/TESTING.md`).
//!
//! One seed is one world. The same seed gives the same trace, byte for byte; a failing one prints
//! the command that replays it.
#![allow(
    clippy::disallowed_methods,
    reason = "tests start threads and read the environment"
)]

mod children;
mod scenario;
mod store;
mod stream;
mod trace;
mod weather;
mod world;

use scenario::{Plan, run};

#[test]
fn smoke() {
    for seed in 0..20 {
        let started = std::time::Instant::now();
        let trace = run(&Plan::swarm(seed));
        println!(
            "{seed}: {} events, {:?}, end {}",
            trace.events.len(),
            started.elapsed(),
            trace.events.last().map_or(0, |e| e.at) as f64 / 1e6
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..5 {
        let (one, two) = (
            run(&Plan::swarm(seed)).render(),
            run(&Plan::swarm(seed)).render(),
        );
        assert!(one == two, "seed {seed}");
    }
}
