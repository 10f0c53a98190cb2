//! From the 2.x algorithm to a leader, and back, in fleets of ours and of Java 3.5 that follow the same
//! `Migration3.0` (`leases.md` D.1): who leads by the shuffle flips the fleet, whoever that is, and each
//! worker changes its ways when it sees the item, Java up to a minute and a half later than others.

use std::collections::BTreeSet;

use kcl_daemon::core::migration::client_version::{ClientVersion, Configured};
use kcl_daemon::worker::joining::Wanted;

use crate::java::Bug;
use crate::migrations::{
    MINUTE, WHILE_ALGORITHMS_CHANGE, expect_states, live, slow_fleet, versions, written,
};
use crate::mixed_migrations::expect_sound_rows;
use crate::runner::number;
use crate::scenario::{Deployed, Incident, Plan};
use crate::trace::{Trace, What};
use crate::world::{Kind, S, Stillness, Time};

use ClientVersion::{UpgradeFrom2x, V2x, V3x, V3xWithRollback};

/// The shuffle of four names picks the last one.
const LEADS: usize = 3;

/// Fleets of four, with a leader of either code.
const FLEETS: [[Kind; 4]; 4] = [
    [Kind::Ours, Kind::Java3, Kind::Ours, Kind::Java3],
    [Kind::Java3, Kind::Ours, Kind::Java3, Kind::Ours],
    [Kind::Java3, Kind::Java3, Kind::Java3, Kind::Ours],
    [Kind::Ours, Kind::Ours, Kind::Ours, Kind::Java3],
];

fn deployed(kind: Kind, configured: Configured) -> Deployed {
    Deployed {
        kind,
        wanted: Some(Wanted::Explicit(configured)),
        migrate: false,
    }
}

/// A fleet in PHASE1.
fn phase1(seed: u64, kinds: [Kind; 4]) -> Plan {
    let mut plan = slow_fleet(seed, 4, 6);
    plan.wanted = Wanted::Explicit(Configured::Phase1);
    for (worker, kind) in plan.workers.iter_mut().zip(kinds) {
        worker.kind = kind;
    }
    plan.bugs.extend(Bug::STILL_THERE);
    plan
}

/// Gives all places another configuration, one after the other.
fn deploy(plan: &mut Plan, from: Time, configured: Configured) {
    for (place, worker) in plan.workers.iter().enumerate() {
        let next = Incident::Replace(place, deployed(worker.kind, configured));
        plan.incidents.push((from + place as u64 * MINUTE, next));
    }
}

/// Whose code wrote a state of `Migration3.0`.
fn who_wrote(trace: &Trace, state: ClientVersion) -> BTreeSet<Kind> {
    let mut kinds = BTreeSet::new();
    for event in &trace.events {
        if let (
            What::Applied {
                after: Some(row), ..
            },
            Some(by),
        ) = (&event.what, event.by)
            && let Some(item) = row.as_client_version()
            && item.now.state == state
        {
            kinds.insert(trace.processes[by as usize].kind);
        }
    }
    kinds
}

/// Nobody reports or leads between two moments.
fn expect_no_leader(trace: &Trace, from: Time, to: Time) {
    let led: Vec<Time> = written(trace)
        .filter(|(_, row)| row.as_leader().is_some() || row.as_metrics().is_some())
        .map(|(at, _)| at)
        .filter(|at| (from..to).contains(at))
        .collect();
    assert!(led.is_empty(), "led or reported at {led:?}");
}

/// A leader assigns, and renews its lock, from a moment on.
fn expect_a_leader(trace: &Trace, from: Time) {
    let mut led = written(trace).filter(|(at, row)| *at >= from && row.as_leader().is_some());
    assert!(led.next().is_some(), "nobody leads after {from} us");
}

#[test]
fn ours_and_java_3_5_flip_go_back_and_flip_again() {
    let mut flipped: BTreeSet<Kind> = BTreeSet::new();
    let mut began: BTreeSet<Kind> = BTreeSet::new();
    for (seed, kinds) in (0..).zip(FLEETS) {
        let mut plan = phase1(seed, kinds);
        deploy(&mut plan, 10 * MINUTE, Configured::CompatibleWith2x);
        let back = Incident::Tool(V2x);
        let forward = Incident::Tool(UpgradeFrom2x);
        plan.incidents
            .extend([(50 * MINUTE, back), (65 * MINUTE, forward)]);
        deploy(&mut plan, 100 * MINUTE, Configured::V3x);
        plan.calm_at = 115 * MINUTE;
        let trace = live(&plan, WHILE_ALGORITHMS_CHANGE);
        expect_states(
            &versions(&trace),
            &[
                (UpgradeFrom2x, 10, 14),
                (V3xWithRollback, 20, 40),
                (V2x, 50, 50),
                (UpgradeFrom2x, 65, 65),
                (V3xWithRollback, 75, 95),
                (V3x, 100, 103),
            ],
        );
        // Java looks each minute.
        expect_no_leader(&trace, 53 * MINUTE, 65 * MINUTE);
        expect_a_leader(&trace, 105 * MINUTE);
        expect_sound_rows(&trace, 6);
        let flips = who_wrote(&trace, V3xWithRollback);
        assert_eq!(flips, BTreeSet::from([kinds[LEADS]]), "seed {seed}");
        flipped.extend(flips);
        began.extend(who_wrote(&trace, UpgradeFrom2x));
    }
    let both = BTreeSet::from([Kind::Ours, Kind::Java3]);
    assert_eq!(flipped, both);
    assert!(began.contains(&Kind::Java3), "{began:?}");
}

/// Worlds with trouble; `SIM_WORLDS` says otherwise.
const WORLDS: u64 = 6;

/// What goes wrong around the flip and the way back.
fn trouble(seed: u64) -> Vec<(Time, Incident)> {
    let who = (seed % 4) as usize;
    let around = |minute: u64| minute * MINUTE + (seed * 7 % 60) * S;
    match seed % 6 {
        // The leader dies as soon as the fleet may have flipped, and another one a little later.
        0 => vec![
            (around(24), Incident::Kill(LEADS)),
            (around(26), Incident::Kill(who)),
        ],
        // Somebody sleeps through the flip, and wakes up taking for itself.
        1 => vec![(
            around(21),
            Incident::Freeze(who, Stillness::Stopped, 9 * MINUTE),
        )],
        2 => vec![
            (around(23), Incident::Split(0)),
            (around(27), Incident::Merge(1)),
            (around(51), Incident::Split(2)),
        ],
        3 => vec![
            (around(25), Incident::CutOff(who, 6 * MINUTE)),
            (around(50), Incident::CutOff(LEADS, 4 * MINUTE)),
        ],
        4 => vec![
            (around(24), Incident::Rolling(2 * MINUTE)),
            (around(50), Incident::Rolling(MINUTE)),
        ],
        _ => vec![
            (around(26), Incident::TableDown(3 * MINUTE)),
            (around(50), Incident::Kill(LEADS)),
        ],
    }
}

/// The same with trouble on the way. How long it takes is not said, only that it comes, and that all is
/// well in the end.
#[test]
fn a_flip_survives_what_goes_wrong_meanwhile() {
    for seed in 0..number("SIM_WORLDS").unwrap_or(WORLDS) {
        let kinds = FLEETS[((seed + seed / 6) % 4) as usize];
        let mut plan = phase1(seed, kinds);
        deploy(&mut plan, 5 * MINUTE, Configured::CompatibleWith2x);
        plan.incidents.extend(trouble(seed));
        plan.incidents.push((50 * MINUTE, Incident::Tool(V2x)));
        let forward = Incident::Tool(UpgradeFrom2x);
        plan.incidents.push((60 * MINUTE, forward));
        plan.incidents.sort_by_key(|(at, _)| *at);
        plan.weather.table.latency = 500_000;
        plan.weather.table.answer_lost = 5;
        plan.weather.table.throttled = 10;
        plan.weather.table.staleness = S;
        plan.index_lag = 2 * S;
        plan.calm_at = 100 * MINUTE;
        let trace = live(&plan, WHILE_ALGORITHMS_CHANGE);
        let states: Vec<ClientVersion> = versions(&trace).into_iter().map(|(_, s)| s).collect();
        assert_eq!(
            states,
            [
                UpgradeFrom2x,
                V3xWithRollback,
                V2x,
                UpgradeFrom2x,
                V3xWithRollback
            ],
            "seed {seed}"
        );
        expect_a_leader(&trace, 98 * MINUTE);
    }
}

/// One worker that was left in PHASE1 owns leases and reports nothing: the fleet does not flip before it
/// is replaced, whose code it may be. One that comes with 3X meanwhile does as the others do.
#[test]
fn nobody_flips_while_one_is_in_phase_1() {
    for (seed, (lagging, hasty, leads)) in (0..).zip([
        (Kind::Java3, Kind::Ours, Kind::Java3),
        (Kind::Ours, Kind::Java3, Kind::Java3),
        (Kind::Java3, Kind::Java3, Kind::Ours),
    ]) {
        let mut plan = phase1(seed, [lagging, hasty, Kind::Ours, leads]);
        deploy(&mut plan, 10 * MINUTE, Configured::CompatibleWith2x);
        let gone = 60 * MINUTE;
        for (at, incident) in &mut plan.incidents {
            if matches!(incident, Incident::Replace(0, _)) {
                *at = gone;
            }
        }
        let hasty = Incident::Replace(1, deployed(hasty, Configured::V3x));
        plan.incidents.push((30 * MINUTE, hasty));
        plan.incidents.sort_by_key(|(at, _)| *at);
        plan.calm_at = 100 * MINUTE;
        let trace = live(&plan, WHILE_ALGORITHMS_CHANGE);
        expect_states(
            &versions(&trace),
            &[(UpgradeFrom2x, 10, 14), (V3xWithRollback, 70, 90)],
        );
        expect_sound_rows(&trace, 6);
    }
}

/// How much later Java begins.
const JAVA_LATER: Time = 5 * S;

/// A worker of Java that loses the first write of `Migration3.0` does not start: ours leave it to Java
/// where both begin at about the same moment, in an old fleet and in a new application.
#[test]
fn ours_leave_the_first_item_to_java() {
    let kinds = [Kind::Ours, Kind::Ours, Kind::Ours, Kind::Java3];
    for (seed, configured, state) in [
        (0, Configured::CompatibleWith2x, UpgradeFrom2x),
        (1, Configured::CompatibleWith2x, UpgradeFrom2x),
        (2, Configured::V3x, V3x),
        (3, Configured::V3x, V3x),
    ] {
        let mut plan = phase1(seed, kinds);
        if configured == Configured::V3x {
            plan.wanted = Wanted::Explicit(configured);
        } else {
            deploy(&mut plan, 0, configured);
            plan.incidents
                .iter_mut()
                .for_each(|(at, _)| *at = 10 * MINUTE);
            plan.incidents[LEADS].0 += JAVA_LATER;
        }
        plan.workers[LEADS].starts_at = JAVA_LATER;
        plan.calm_at = 15 * MINUTE;
        let trace = live(&plan, WHILE_ALGORITHMS_CHANGE);
        assert_eq!(
            who_wrote(&trace, state),
            BTreeSet::from([Kind::Java3]),
            "seed {seed}"
        );
        let failed = trace.events.iter().filter(|event| match &event.what {
            What::Ended(how) => how.contains("cannot start"),
            _ => false,
        });
        assert_eq!(failed.count(), 0, "seed {seed}");
    }
}
