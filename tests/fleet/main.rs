//! The real binary, alone and in fleets, on the embedded services: what a user sees of starting,
//! stopping, crashing, resharding and outages. Figures are printed as lines beginning `FIGURE:`
//! (`cargo test --test fleet -- --nocapture | grep FIGURE`).
#![allow(
    clippy::disallowed_methods,
    reason = "tests start processes and read clocks"
)]

#[path = "../support/mod.rs"]
mod support;

// The checker of the simulation, for what real processes do.
#[allow(dead_code, reason = "a part of it is for the simulation alone")]
#[path = "../sim/checker/mod.rs"]
mod checker;
#[allow(dead_code, unused_imports, reason = "as the checker")]
#[path = "../sim/trace/mod.rs"]
mod trace;
#[allow(dead_code, reason = "as the checker")]
#[path = "../sim/world/words.rs"]
mod words;

mod children;
mod fan_out;
mod judged;
mod leader_mode;
mod local;
mod one_daemon;
mod outages;
mod positions;
mod resharding;
mod same_worker_id;
mod several_daemons;
mod stopping;
mod tls;
mod tls_front;
mod versions;
mod volume;
mod world;
