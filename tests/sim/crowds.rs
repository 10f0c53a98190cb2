//! What few seeds of the swarm come to: fleets of eight, and two leaders at once.

use std::collections::BTreeSet;
use std::time::Duration;

use kcl_daemon::core::assignment::problem::Strategy;
use kcl_daemon::core::migration::client_version::Configured;
use kcl_daemon::worker::joining::Wanted;

use crate::coverage::Coverage;
use crate::runner::{expect_sound, number};
use crate::scenario::{Incident, Plan};
use crate::trace::Mishap;
use crate::world::{Rng, S, Time};

/// How many worlds of each kind; `SIM_WORLDS` says otherwise.
const WORLDS: u64 = 20;

fn worlds() -> std::ops::Range<u64> {
    0..number("SIM_WORLDS").unwrap_or(WORLDS)
}

/// The mixed scenario with all its faults, in fleets of eight.
#[test]
fn fleets_of_eight() {
    for seed in worlds() {
        let plan = Plan::swarm_of(8, seed);
        let trace = expect_sound(&plan, &format!("fleet of eight with seed {seed}"));
        let names: BTreeSet<&str> = trace.processes.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names.len(), 8, "not all took part");
    }
}

/// Somebody deletes the leader's lock again and again while workers come and go: another worker leads at
/// once, and the first one does not know. Two leaders may move leases back and forth; nothing else may come
/// of it (I.37).
fn two_leaders(seed: u64) -> Plan {
    let mut rng = Rng::new(seed ^ 0x71CA);
    let mut plan = Plan::quiet(seed, 6, 12);
    plan.wanted = Wanted::Explicit(Configured::V3x);
    plan.strategy = Strategy::LeaseCountBased;
    plan.hand_off_timeout = Duration::from_secs(rng.pick(&[3, 10, 30]));
    plan.weather.table.latency = rng.pick(&[10_000, 300_000, S]);
    plan.weather.table.late = rng.pick(&[0, 50]);
    plan.calm_at = 100 * S;
    let mut at: Time = 15 * S;
    while at < 90 * S {
        // The first row of the table is the lock.
        plan.incidents.push((at, Incident::DeleteRow(0)));
        // Whoever goes or comes gives the leaders something to do.
        let who = usize::try_from(rng.below(6)).unwrap_or(0);
        let when = at - S + rng.below(2 * S);
        plan.incidents
            .push((when, Incident::Stop(who, rng.between(S, 4 * S))));
        at += rng.between(2 * S, 8 * S);
    }
    plan.incidents.sort_by_key(|(at, _)| *at);
    plan
}

#[test]
fn two_leaders_only_move_more() {
    let mut coverage = Coverage::default();
    for seed in worlds() {
        let trace = expect_sound(&two_leaders(seed), &format!("two leaders with seed {seed}"));
        coverage.add(&trace);
    }
    let seen = coverage.seeds_with(Mishap::TwoLeaders);
    println!("FIGURE: two leaders moved leases in {seen} worlds");
    assert!(
        seen >= worlds().end / 4,
        "two leaders in {seen} worlds only"
    );
}
