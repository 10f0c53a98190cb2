//! The bug museum: each bug that an implementation of KCL has had, in a model of it, and the invariant
//! by which the checker catches it. The same fleet without the bug breaks none of them, which shows
//! that it is the bug that is caught.

use std::collections::BTreeSet;
use std::time::Duration;

use kcl_daemon::core::assignment::problem::Strategy;
use kcl_daemon::core::migration::client_version::Configured;
use kcl_daemon::worker::joining::Wanted;

use crate::checker::{Violation, bounds};
use crate::java::Bug;
use crate::runner::{rules, try_out_models};
use crate::scenario::{Incident, Plan};
use crate::trace::Trace;
use crate::world::{Kind, S};

/// A fleet of Java 2.x.
fn v2(workers: usize, shards: usize) -> Plan {
    let mut plan = Plan::quiet(7, workers, shards);
    plan.workers.iter_mut().for_each(|w| w.kind = Kind::Java2);
    plan.calm_at = 60 * S;
    plan.recovery = 600 * S;
    plan
}

/// A fleet of Java 3.5 with a leader.
fn v3(workers: usize, shards: usize) -> Plan {
    let mut plan = v2(workers, shards);
    plan.workers.iter_mut().for_each(|w| w.kind = Kind::Java3);
    plan.wanted = Wanted::Explicit(Configured::V3x);
    plan.strategy = Strategy::LeaseCountBased;
    plan.hand_off_timeout = Duration::from_secs(10);
    plan.calm_at = 240 * S;
    plan
}

type Bound = fn(&Trace, &Plan) -> Vec<Violation>;

fn no_bound(_: &Trace, _: &Plan) -> Vec<Violation> {
    Vec::new()
}

/// Lives through a plan with and without a bug: which of `invariants` each breaks.
fn broken(plan: &Plan, bug: Option<Bug>, bound: Bound) -> BTreeSet<&'static str> {
    let mut plan = plan.clone();
    plan.bugs.extend(bug);
    let (trace, mut violations) = try_out_models(&plan);
    violations.extend(bound(&trace, &plan));
    if let Ok(path) = std::env::var("SIM_TRACE") {
        let path = format!("{path}.{}", if bug.is_some() { "bug" } else { "control" });
        std::fs::write(path, trace.render()).expect("SIM_TRACE names a file to write");
        for violation in violations.iter().take(20) {
            println!(
                "{bug:?}: {} at {}: {}",
                violation.invariant, violation.index, violation.text
            );
        }
    }
    violations.iter().map(|broken| broken.invariant).collect()
}

/// Worlds in which a bug has to show itself.
const WORLDS: u64 = 8;

/// A bug is caught by each of these invariants in one of a few worlds, and by none without it.
fn caught(bug: Bug, plan: &Plan, invariants: &[&'static str], bound: Bound) {
    let (mut with, mut without) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..WORLDS {
        let plan = Plan {
            seed,
            ..plan.clone()
        };
        with.extend(broken(&plan, Some(bug), bound));
        without.extend(broken(&plan, None, bound));
        if invariants.iter().all(|invariant| with.contains(invariant)) {
            break;
        }
    }
    for invariant in invariants {
        assert!(
            with.contains(invariant),
            "{bug:?} is not caught by {invariant}, only by {with:?}"
        );
        assert!(
            !without.contains(invariant),
            "{invariant} is broken without {bug:?} too: {without:?}"
        );
    }
}

#[test]
fn a_leader_that_does_nothing() {
    let mut plan = v3(2, 4);
    plan.recovery = 200 * S;
    caught(Bug::ZombieLeader, &plan, &["I.31", "I.36"], no_bound);
}

/// A hand-off of `w0`, which dies, to somebody who never was.
fn orphaned_hand_off() -> Plan {
    let mut plan = v3(1, 1);
    plan.workers[0].restarts_after = Some(2 * S);
    plan.incidents = vec![
        (100 * S, Incident::HandOff(0, "w9".to_owned())),
        (100 * S, Incident::Kill(0)),
    ];
    plan
}

#[test]
fn a_hand_off_that_was_pending_at_a_restart_is_left_alone() {
    let plan = orphaned_hand_off();
    let bug = Bug::PendingHandOffAfterRestart;
    caught(bug, &plan, &["I.31", "I.34"], no_bound);
}

#[test]
fn an_expired_hand_off_is_ignored() {
    let plan = orphaned_hand_off();
    caught(
        Bug::ExpiredHandOffIgnored,
        &plan,
        &["I.31", "I.34"],
        no_bound,
    );
}

#[test]
fn a_lease_in_hand_off_is_renewed_for_ever() {
    let mut plan = v3(2, 1);
    plan.incidents = vec![
        (60 * S, Incident::Split(0)),
        // Of the parent, which is finished by then.
        (220 * S, Incident::HandOff(0, "w1".to_owned())),
    ];
    caught(Bug::HeartbeatAfterHandOff, &plan, &["I.34"], no_bound);
}

#[test]
fn a_finished_shard_is_read_again() {
    let mut plan = v2(1, 1);
    plan.incidents = vec![(20 * S, Incident::Split(0)), (50 * S, Incident::Kill(0))];
    caught(Bug::RestartAtShardEnd, &plan, &["I.19"], no_bound);
}

#[test]
fn a_failed_checkpoint_puts_back_an_old_copy() {
    let mut plan = v2(1, 4);
    plan.calm_at = 200 * S;
    plan.weather.table.latency = S;
    plan.weather.table.throttled = 300;
    caught(Bug::RevertRace, &plan, &["I.22"], no_bound);
}

#[test]
fn the_dead_are_given_leases() {
    let mut plan = v3(4, 8);
    // A follower: another one has the lock when it comes.
    plan.workers[3].starts_at = 30 * S;
    plan.workers[3].restarts_after = None;
    plan.calm_at = 330 * S;
    plan.incidents = vec![(220 * S, Incident::Kill(3))];
    let bound: Bound = |trace, plan| bounds::the_dead_are_replaced(trace, rules(plan), 60 * S);
    caught(Bug::DeadWorkerAssigned, &plan, &["G.5"], bound);
}

#[test]
fn a_deleted_row_is_never_made_again() {
    let mut plan = v2(1, 2);
    plan.incidents = vec![(40 * S, Incident::DeleteRow(0))];
    caught(Bug::DeletedRowForgotten, &plan, &["I.31"], no_bound);
}

#[test]
fn a_stop_waits_for_ever() {
    let mut plan = v2(1, 2);
    plan.grace = Duration::from_secs(5);
    plan.calm_at = 120 * S;
    plan.children.calm_at = plan.calm_at;
    plan.weather.children.hang = 1000;
    plan.incidents = vec![(40 * S, Incident::Stop(0, 60 * S))];
    caught(Bug::DrainWithoutBound, &plan, &["G.6"], no_bound);
}

#[test]
fn a_batch_is_skipped() {
    let mut plan = v2(1, 2);
    plan.calm_at = 200 * S;
    plan.weather.children.crash = 20;
    caught(Bug::SkippedBatch, &plan, &["I.18"], no_bound);
}

#[test]
fn processing_holds_up_renewals() {
    let mut plan = v2(1, 4);
    plan.weather.children.slow = 500;
    plan.weather.children.slow_for = 30 * S;
    caught(Bug::RenewalBlockedByProcessing, &plan, &["I.8"], no_bound);
}

#[test]
fn a_lease_is_renewed_after_its_release() {
    let mut plan = v2(2, 4);
    plan.incidents = vec![(40 * S, Incident::Stop(0, 20 * S))];
    caught(Bug::RenewalAfterRelease, &plan, &["I.14"], no_bound);
}

#[test]
fn one_lease_is_taken_at_a_time() {
    let mut plan = v2(1, 10);
    plan.recovery = 300 * S;
    let bound: Bound = |trace, plan| bounds::new_leases_are_taken(trace, rules(plan), 40 * S);
    caught(Bug::OneLeasePerCycle, &plan, &["G.5"], bound);
}

#[test]
fn leases_of_an_idle_fleet_wander() {
    let mut plan = v3(3, 6);
    plan.linger = 300 * S;
    caught(Bug::NanBalance, &plan, &["I.32"], no_bound);
}

#[test]
fn a_checkpoint_at_the_end_is_swallowed() {
    let mut plan = v2(1, 2);
    plan.incidents = vec![(20 * S, Incident::Split(0)), (30 * S, Incident::Split(1))];
    caught(Bug::CheckpointAtEndSwallowed, &plan, &["I.22"], no_bound);
}

#[test]
fn a_missing_child_is_left_to_its_finished_parent() {
    let mut plan = v2(1, 1);
    plan.incidents = vec![
        (15 * S, Incident::Split(0)),
        (50 * S, Incident::DeleteRow(1)),
    ];
    caught(Bug::HoleNeverRepaired, &plan, &["I.31"], no_bound);
}
