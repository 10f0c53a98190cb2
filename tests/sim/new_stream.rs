//! I.30: the stream is deleted, and another one of its name is made. The leases are of shards that are no
//! more, under ids that are in use again: nothing may be ended on that account, nobody may read on
//! silently from a place that does not exist, and once somebody has deleted the leases, as the workers
//! ask for, everything in the new stream is processed.

use std::collections::{BTreeMap, BTreeSet};

use kcl_daemon::core::ids::ShardId;
use kcl_daemon::core::migration::client_version::Configured;
use kcl_daemon::core::sequence::ExtendedSequenceNumber;
use kcl_daemon::worker::joining::Wanted;

use crate::hearing::errors_of;
use crate::runner::{number, report, try_out};
use crate::scenario::{Incident, Plan};
use crate::trace::{ChildNumber, Told, Trace, What};
use crate::world::{Kind, S, Time};

/// Every world is tried with a few seeds; with `SIM_WORLDS` of them when that is set.
const SEEDS: u64 = 2;
const SHARDS: usize = 4;
const DELETED: Time = 60 * S;
/// When the operator deletes the leases.
const TIDIED: Time = 180 * S;

const ALGORITHMS: [Configured; 2] = [Configured::Phase1, Configured::V3x];

/// A stream that is missing for `gap` and comes back with `shards` shards.
fn plan(seed: u64, algorithm: Configured, gap: Time, shards: usize) -> Plan {
    let mut plan = Plan::quiet(seed, 2, SHARDS);
    plan.wanted = Wanted::Explicit(algorithm);
    plan.incidents = vec![
        (DELETED, Incident::MakeAnew(gap, shards)),
        (TIDIED, Incident::DeleteLeases),
    ];
    plan.calm_at = TIDIED + 200 * S;
    plan
}

/// What is told of shards that end, and of leases that come to it, with when.
fn ends(trace: &Trace) -> Vec<(Time, ShardId)> {
    let mut shards: BTreeMap<ChildNumber, &ShardId> = BTreeMap::new();
    let mut ends = Vec::new();
    for event in &trace.events {
        match &event.what {
            What::ChildStarted { child, shard } => {
                shards.insert(*child, shard);
            }
            What::Told {
                child,
                told: Told::ShardEnded,
            } => ends.push((event.at, shards[child].clone())),
            _ => {}
        }
    }
    ends
}

/// Records put from a moment on that no child was given.
fn undelivered(trace: &Trace, from: Time) -> BTreeSet<&ExtendedSequenceNumber> {
    let mut waiting = BTreeSet::new();
    for event in &trace.events {
        match &event.what {
            What::Put { places, .. } if event.at >= from => waiting.extend(places),
            What::Told {
                told: Told::Records(places),
                ..
            } => places.iter().for_each(|place| {
                waiting.remove(place);
            }),
            _ => {}
        }
    }
    waiting
}

/// Rows that workers wrote or deleted between two moments, other than by renewing them.
fn checkpoints_moved(trace: &Trace, from: Time, to: Time) -> Vec<String> {
    let events = trace
        .events
        .iter()
        .filter(|event| (from..to).contains(&event.at));
    let moved = events.filter_map(|event| match &event.what {
        What::Applied {
            before: Some(before),
            after,
            ..
        } => {
            let before = before.as_lease()?;
            let after = after.as_ref().and_then(|row| row.as_lease());
            let same = after.is_some_and(|after| after.checkpoint == before.checkpoint);
            (!same).then(|| format!("{} of {before:?} became {after:?}", event.at / S))
        }
        _ => None,
    });
    moved.collect()
}

/// Lives through a plan; gives the trace, and what was logged as errors.
fn live(plan: &Plan, name: &str) -> (Trace, Vec<String>) {
    let ((trace, violations), errors) = errors_of(|| try_out(plan));
    if let Ok(path) = std::env::var("SIM_TRACE") {
        let path = format!("{path}.{}", name.replace(' ', "-"));
        std::fs::write(path, trace.render()).expect("SIM_TRACE names a file to write");
    }
    // What was lost with the old stream cannot be asked for, and of each id the checker knows one shard.
    let broken: Vec<_> = violations
        .into_iter()
        .filter(|violation| !matches!(violation.invariant, "I.18" | "I.19" | "I.28" | "I.31"))
        .collect();
    assert!(broken.is_empty(), "{}", report(plan, &trace, &broken, name));
    (trace, errors)
}

/// Whether people were told that a shard is not read, why, and what to do.
fn is_told(errors: &[String], shard: usize) -> bool {
    let parts = [
        &format!("shard=shardId-{shard:012}"),
        "was the stream created anew?",
        // All shards were read; where their leases stood when that began is not what is refused.
        "the place behind record ",
        "delete the lease",
        "the shard is not read until then",
    ];
    let mut lines = errors.iter();
    lines.any(|line| parts.iter().all(|part| line.contains(part)))
}

#[test]
fn a_stream_made_anew_is_told_of_and_read_when_the_leases_are_gone() {
    for algorithm in ALGORITHMS {
        for gap in [0, 30 * S] {
            for seed in 0..number("SIM_WORLDS").unwrap_or(SEEDS) {
                let plan = plan(seed, algorithm, gap, SHARDS);
                let name = format!("{algorithm:?} after {} s with seed {seed}", gap / S);
                let (trace, errors) = live(&plan, &name);
                assert_eq!(ends(&trace), [], "{name}");
                // Whatever was under way at the end is done by then.
                let moved = checkpoints_moved(&trace, DELETED + 3 * S, TIDIED);
                assert!(moved.is_empty(), "{name}: {moved:#?}");
                for shard in 0..SHARDS {
                    assert!(is_told(&errors, shard), "{name}: {shard}: {errors:#?}");
                }
                let left = undelivered(&trace, DELETED + gap);
                assert!(left.is_empty(), "{name}: not processed: {left:?}");
            }
        }
    }
}

/// With more shards or fewer: those that are not there any more end, once the new stream says so.
#[test]
fn a_stream_made_anew_with_other_shards_is_read_as_well() {
    let gap = 20 * S;
    for algorithm in ALGORITHMS {
        for shards in [SHARDS / 2, SHARDS * 2] {
            for seed in 0..number("SIM_WORLDS").unwrap_or(SEEDS) {
                let plan = plan(seed, algorithm, gap, shards);
                let name = format!("{algorithm:?} with {shards} shards and seed {seed}");
                let (trace, errors) = live(&plan, &name);
                let gone = |shard: &ShardId| {
                    let mut gone = (shards..SHARDS).map(|n| format!("shardId-{n:012}"));
                    gone.any(|gone| shard.as_str() == gone)
                };
                for (at, shard) in ends(&trace) {
                    assert!(at >= DELETED + gap && gone(&shard), "{name}: {shard} ended");
                }
                for shard in 0..SHARDS.min(shards) {
                    assert!(is_told(&errors, shard), "{name}: {shard}: {errors:#?}");
                }
                let left = undelivered(&trace, DELETED + gap);
                assert!(left.is_empty(), "{name}: not processed: {left:?}");
            }
        }
    }
}

/// Java ends a shard that is not found (`leases.md` E.4), so that its model shows that this is seen.
#[test]
fn shards_that_end_with_a_deleted_stream_are_seen() {
    let mut plan = plan(0, Configured::Phase1, 30 * S, SHARDS);
    plan.workers
        .iter_mut()
        .for_each(|worker| worker.kind = Kind::Java2);
    plan.recovery = 100 * S;
    let ((trace, _), errors) = errors_of(|| try_out(&plan));
    assert!(!ends(&trace).is_empty());
    // Within a second or two of the deletion.
    let moved = checkpoints_moved(&trace, DELETED, TIDIED);
    let ended = |line: &String| {
        let after = line.split_once(" became ").map(|(_, after)| after);
        after.is_some_and(|after| after.contains("SHARD_END"))
    };
    assert!(moved.iter().any(ended), "{moved:#?}");
    assert!((0..SHARDS).all(|shard| !is_told(&errors, shard)));
}
