//! I.9: a daemon is started twice under one worker id, on two hosts, where no lock file can refuse the
//! second one. The later one has to find out by the table, and to stop; the earlier one works on as if
//! nothing had happened (`decisions.md`).

use std::collections::{BTreeMap, BTreeSet};

use kcl_daemon::core::migration::client_version::Configured;
use kcl_daemon::worker::joining::Wanted;

use crate::checker::bounds;
use crate::runner::{expect_sound, number, report, try_out, try_out_models};
use crate::scenario::{Incident, Plan};
use crate::trace::{ProcessNumber, Trace, What};
use crate::world::{Kind, S, Stillness, Time};

/// Every world is tried with a few seeds; with `SIM_WORLDS` of them when that is set.
const SEEDS: u64 = 3;
/// `failoverTimeMillis`.
const F: Time = 10 * S;
/// When the second one starts.
const LATER: Time = 60 * S;

const ALGORITHMS: [Configured; 2] = [Configured::Phase1, Configured::V3x];

fn seeds() -> u64 {
    number("SIM_WORLDS").unwrap_or(SEEDS)
}

/// `w0` on two hosts, the second one from [`LATER`] on, which nobody starts again when it ended; and
/// `others` beside them.
fn twins(seed: u64, algorithm: Configured, others: usize) -> Plan {
    let mut plan = Plan::quiet(seed, 2 + others, 6);
    plan.wanted = Wanted::Explicit(algorithm);
    let first = plan.workers[0].name.clone();
    let twin = &mut plan.workers[1];
    twin.name = first;
    twin.starts_at = LATER;
    twin.restarts_after = Some(Time::MAX);
    plan.calm_at = LATER + 8 * F;
    plan
}

/// When a process started, and when and how it ended.
type Life<'a> = (Time, Option<(Time, &'a str)>);

/// Processes of `w0` in the order in which they started.
fn lives(trace: &Trace) -> BTreeMap<ProcessNumber, Life<'_>> {
    let mut lives = BTreeMap::new();
    for event in &trace.events {
        let Some(by) = event.by else { continue };
        if trace.processes[by as usize].name != "w0" {
            continue;
        }
        match &event.what {
            What::Started => {
                lives.insert(by, (event.at, None));
            }
            What::Ended(how) => {
                lives.entry(by).and_modify(|life: &mut Life<'_>| {
                    life.1 = Some((event.at, how.as_str()));
                });
            }
            _ => {}
        }
    }
    lives
}

/// Children that a process started.
fn children(trace: &Trace, process: ProcessNumber) -> usize {
    let started = trace.events.iter().filter(|event| {
        event.by == Some(process) && matches!(event.what, What::ChildStarted { .. })
    });
    started.count()
}

/// Records that were processed again after a moment.
fn duplicates_after(trace: &Trace, after: Time) -> usize {
    let before = trace.events.iter().filter(|event| event.at < after);
    let before = Trace {
        processes: trace.processes.clone(),
        events: before.cloned().collect(),
    };
    bounds::duplicates(trace) - bounds::duplicates(&before)
}

fn is_told_of_its_twin(how: &str) -> bool {
    how.contains("another process works under the worker id 'w0'")
}

#[test]
fn whoever_comes_later_under_an_id_in_use_stops_and_harms_nobody() {
    for algorithm in ALGORITHMS {
        for others in [0, 2] {
            for seed in 0..seeds() {
                let plan = twins(seed, algorithm, others);
                let name = format!("{algorithm:?} beside {others} others with seed {seed}");
                let trace = expect_sound(&plan, &name);
                let lives: Vec<_> = lives(&trace).into_iter().collect();
                let [(_, (_, first)), (later, (started, second))] = lives[..] else {
                    panic!("{name}: {lives:?}");
                };
                let (ended, how) = second.expect("all stop in the end");
                assert!(is_told_of_its_twin(how), "{name}: it ended with '{how}'");
                assert!(
                    ended <= started + 3 * F,
                    "{name}: it noticed after {} s",
                    (ended - started) / S
                );
                assert_eq!(children(&trace, later), 0, "{name}");
                // It ended with all the others, when it was asked to.
                let (_, how) = first.expect("all stop in the end");
                assert_eq!(how, "Stopped", "{name}");
                assert_eq!(duplicates_after(&trace, LATER), 0, "{name}");
                let silence = bounds::longest_silence(&trace, LATER, plan.calm_at);
                let (longest, shard) = silence.expect("records are put");
                assert!(
                    longest <= 3 * S,
                    "{name}: {shard} was silent for {} ms",
                    longest / 1000
                );
            }
        }
    }
}

/// How many processes of `w0` worked until all were asked to stop. At least one has found its twin.
fn lasting(trace: &Trace, name: &str) -> usize {
    let lives = lives(trace);
    let ends = || lives.values().filter_map(|(_, end)| *end);
    let refused = ends().filter(|(_, how)| is_told_of_its_twin(how)).count();
    assert!(refused >= 1, "{name}: nobody noticed: {lives:?}");
    ends().filter(|(_, how)| *how == "Stopped").count()
}

/// Neither is the earlier one, so that both may notice, and stop.
#[test]
fn of_two_that_start_at_once_one_remains_at_most() {
    for algorithm in ALGORITHMS {
        for seed in 0..seeds() {
            let mut plan = twins(seed, algorithm, 1);
            plan.workers[0].restarts_after = Some(Time::MAX);
            plan.workers[1].starts_at = 0;
            let name = format!("{algorithm:?} with seed {seed}");
            let (trace, violations) = try_out(&plan);
            // Which of two that are both given leases, and both write to them, adopted one, or was handed
            // it, cannot be told by the id.
            let broken: Vec<_> = violations
                .into_iter()
                .filter(|violation| !matches!(violation.invariant, "I.10" | "I.35"))
                .collect();
            assert!(
                broken.is_empty(),
                "{}",
                report(&plan, &trace, &broken, &name)
            );
            assert!(lasting(&trace, &name) <= 1, "{name}: {:?}", lives(&trace));
        }
    }
}

/// The first one stands still for so long that the later one takes its place; it must not go on then.
#[test]
fn whoever_slept_while_its_id_was_taken_stops() {
    for algorithm in ALGORITHMS {
        for stillness in [Stillness::Stopped, Stillness::Suspended] {
            for seed in 0..seeds() {
                let mut plan = twins(seed, algorithm, 1);
                plan.workers[0].restarts_after = Some(Time::MAX);
                plan.incidents = vec![(LATER - S, Incident::Freeze(0, stillness, 3 * F))];
                let name = format!("{algorithm:?}, {stillness:?} with seed {seed}");
                let trace = expect_sound(&plan, &name);
                assert_eq!(lasting(&trace, &name), 1, "{name}: {:?}", lives(&trace));
                let (_, (_, first)) = lives(&trace).pop_first().expect("it lived");
                let (ended, how) = first.expect("all stop in the end");
                assert!(is_told_of_its_twin(how), "{name}: it ended with '{how}'");
                let woke = LATER - S + 3 * F;
                assert!(
                    ended <= woke + F,
                    "{name}: it ended {} s after it woke",
                    (ended - woke) / S
                );
            }
        }
    }
}

/// Whoever supervises the later one starts it again and again; each time it has to find out anew, although
/// the lock file of its host says that a former process of that name is dead.
#[test]
fn a_later_one_that_is_started_again_and_again_harms_nobody() {
    for algorithm in ALGORITHMS {
        for seed in 0..seeds() {
            let mut plan = twins(seed, algorithm, 1);
            plan.workers[1].restarts_after = Some(5 * S);
            let name = format!("{algorithm:?} with seed {seed}");
            let trace = expect_sound(&plan, &name);
            assert_eq!(duplicates_after(&trace, LATER), 0, "{name}");
            let (_, (_, first)) = lives(&trace).pop_first().expect("it lived");
            let (_, how) = first.expect("all stop in the end");
            assert_eq!(how, "Stopped", "{name}");
        }
    }
}

/// Java does not look for a twin, so that its model shows that the checker does.
#[test]
fn twins_that_do_not_notice_are_noticed() {
    for (kind, algorithm) in [Kind::Java2, Kind::Java3].into_iter().zip(ALGORITHMS) {
        let mut plan = twins(0, algorithm, 1);
        plan.workers
            .iter_mut()
            .for_each(|worker| worker.kind = kind);
        let (_, violations) = try_out_models(&plan);
        let broken: BTreeSet<&str> = violations.iter().map(|broken| broken.invariant).collect();
        assert!(broken.contains("I.9"), "{kind:?} breaks only {broken:?}");
        plan.workers[1].name = "w1".to_owned();
        let (_, violations) = try_out_models(&plan);
        assert!(violations.iter().all(|broken| broken.invariant != "I.9"));
    }
}
