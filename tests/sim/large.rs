//! A large fleet: fifty workers, some two hundred shards, a leader; workers are rolled over and killed
//! and shards resharded meanwhile. Judged by all invariants.

use std::collections::BTreeMap;

use kcl_daemon::core::assignment::problem::Strategy;
use kcl_daemon::core::migration::client_version::Configured;
use kcl_daemon::worker::joining::Wanted;

use crate::runner::expect_sound;
use crate::scenario::{Incident, Plan};
use crate::trace::{Trace, What};
use crate::world::{S, Time};

const WORKERS: usize = 50;
const SHARDS: usize = 200;

fn plan() -> Plan {
    let mut plan = Plan::quiet(50, WORKERS, SHARDS);
    plan.wanted = Wanted::Explicit(Configured::V3x);
    plan.strategy = Strategy::LeaseCountBased;
    plan.index_takes = 60 * S;
    // Reads of the stream are most of the work of a quiet fleet.
    plan.idle = std::time::Duration::from_secs(5);
    for (n, worker) in plan.workers.iter_mut().enumerate() {
        // A deployment starts them one after the other.
        worker.starts_at = n as u64 * S / 10;
    }
    plan.incidents = vec![
        (30 * S, Incident::Kill(0)),
        (32 * S, Incident::Kill(17)),
        (35 * S, Incident::Rolling(S)),
        (60 * S, Incident::Kill(42)),
    ];
    let reshards = (0..20).map(|n| {
        let at = 25 * S + n as u64 * 2 * S;
        match n % 3 {
            0 => (at, Incident::Merge(n * 7)),
            _ => (at, Incident::Split(n * 11)),
        }
    });
    plan.incidents.extend(reshards);
    plan.incidents.sort_by_key(|(at, _)| *at);
    plan.calm_at = 90 * S;
    plan.record_every = S / 20;
    plan
}

/// How many unfinished leases each worker owns in the end, before all stop.
fn shares(trace: &Trace, until: Time) -> BTreeMap<String, usize> {
    let mut owners = BTreeMap::new();
    for event in trace.events.iter().take_while(|event| event.at < until) {
        if let What::Applied { after, before, .. } = &event.what
            && let Some(row) = after.as_ref().or(before.as_ref())
        {
            let lease = after.as_ref().and_then(|row| row.as_lease());
            let owner = lease.filter(|lease| !lease.is_finished());
            let owner = owner.and_then(|lease| lease.owner.as_ref());
            owners.insert(row.key().clone(), owner.map(ToString::to_string));
        }
    }
    let mut shares = BTreeMap::new();
    for owner in owners.into_values().flatten() {
        *shares.entry(owner).or_default() += 1;
    }
    shares
}

#[test]
fn fifty_workers_are_rolled_over_while_shards_are_resharded() {
    let started = std::time::Instant::now();
    let trace = expect_sound(&plan(), "cargo test --test sim fifty -- --nocapture");
    let stops = trace
        .events
        .iter()
        .find(|event| matches!(&event.what, What::StopAsked { .. }) && event.at > 90 * S);
    let until = stops.map_or(Time::MAX, |event| event.at);
    let shares = shares(&trace, until);
    println!(
        "FIGURE: {WORKERS} workers, {} events, {} s of their time in {:.1} s; leases of each: {:?}",
        trace.events.len(),
        until / S,
        started.elapsed().as_secs_f64(),
        shares.values().collect::<Vec<_>>()
    );
    assert_eq!(shares.len(), WORKERS, "somebody has nothing: {shares:?}");
    let (min, max) = (shares.values().min(), shares.values().max());
    assert!(
        max.zip(min).is_some_and(|(max, min)| max - min <= 3),
        "the shares are far from fair: {shares:?}"
    );
}
