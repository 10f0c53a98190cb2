//! Faults that seeds of the swarm showed, each in the smallest world that shows it. (A seed stands for
//! another world whenever the swarm learns something new, a plan does not.)

use std::time::Duration;

use kcl_daemon::core::assignment::problem::Strategy;
use kcl_daemon::core::migration::client_version::Configured;
use kcl_daemon::worker::joining::Wanted;

use crate::runner::expect_sound;
use crate::scenario::{Incident, Plan};
use crate::world::S;

/// Lives through a world with a few seeds.
fn sound(name: &str, plan: &Plan) {
    for seed in 0..6 {
        let plan = Plan {
            seed,
            ..plan.clone()
        };
        expect_sound(&plan, &format!("{name}, seed {seed}"));
    }
}

/// A fleet with a leader, whose first worker is alone for a while.
fn led(workers: usize, shards: usize) -> Plan {
    let mut plan = Plan::quiet(0, workers, shards);
    plan.wanted = Wanted::Explicit(Configured::V3x);
    plan.strategy = Strategy::LeaseCountBased;
    for worker in &mut plan.workers[1..] {
        worker.starts_at = 30 * S;
    }
    plan.calm_at = 60 * S;
    plan
}

/// The leader raised the counters of its own leases behind their keepers, which then renewed with the
/// old ones (I.22).
#[test]
fn a_leader_without_hand_offs_gives_its_own_leases_away() {
    let mut plan = led(3, 6);
    plan.graceful_hand_off = false;
    sound("no hand-offs", &plan);
}

/// After an outage the leader took its own leases for ownerless and gave them away while their keepers
/// were about to renew them (I.14, I.22).
#[test]
fn a_leader_comes_back_from_an_outage() {
    let mut plan = led(2, 6);
    plan.failover = Duration::from_secs(3);
    plan.workers[1].starts_at = 44 * S;
    plan.incidents = vec![(40 * S, Incident::TableDown(4 * S))];
    sound("an outage of the leader", &plan);
}
