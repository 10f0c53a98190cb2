//! The real binary, alone and in fleets, on the embedded services: what a user sees of starting,
//! stopping, crashing, resharding and outages. Figures are printed as lines beginning `FIGURE:`
//! (`cargo test --test fleet -- --nocapture | grep FIGURE`).
#![allow(
    clippy::disallowed_methods,
    reason = "tests start processes and read clocks"
)]

#[path = "../support/mod.rs"]
mod support;

mod children;
mod fan_out;
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
