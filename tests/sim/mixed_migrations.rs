//! The migrations of `leases.md` D beside living workers of Java: of 2.x and of 3.0 to 3.4, which stumble
//! over every row of the lease table that is no lease (A.7), and of 3.5, which takes the same steps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kcl_daemon::core::migration::client_version::{ClientVersion, Configured};
use kcl_daemon::core::migration::single_table::TableStatus;
use kcl_daemon::worker::joining::Wanted;

use crate::migrations::{
    MINUTE, WHILE_ALGORITHMS_CHANGE, expect_states, first_foreign, live, replace_all, slow_fleet,
    statuses, versions, written,
};
use crate::runner::try_out;
use crate::scenario::{Deployed, Incident, Plan};
use crate::store::legacy_key;
use crate::trace::{ProcessNumber, Row, Trace, What};
use crate::world::{Kind, Time};

const V3X: Wanted = Wanted::Explicit(Configured::V3x);

fn runs(kind: Kind, wanted: Wanted, migrate: bool) -> Deployed {
    Deployed {
        kind,
        wanted: Some(wanted),
        migrate,
    }
}

/// When the last process that stumbles over foreign rows ended; `Time::MAX` when it never did.
fn last_old_one_ended(trace: &Trace) -> Time {
    let is_old = |process: ProcessNumber| {
        let kind = trace.processes[process as usize].kind;
        matches!(kind, Kind::Java2 | Kind::Java30)
    };
    let mut ends: BTreeMap<ProcessNumber, Time> = BTreeMap::new();
    for event in &trace.events {
        match (&event.what, event.by) {
            (What::Started, Some(by)) if is_old(by) => {
                ends.insert(by, Time::MAX);
            }
            (What::Ended(_), Some(by)) if is_old(by) => {
                ends.insert(by, event.at);
            }
            (What::Killed { process }, _) if is_old(*process) => {
                ends.insert(*process, event.at);
            }
            _ => {}
        }
    }
    *ends.values().max().expect("there was an old one")
}

/// Whether no row that is no lease came into the lease table while an old worker lived.
fn is_clean_for_old_ones(trace: &Trace) -> bool {
    let ended = last_old_one_ended(trace);
    first_foreign(trace).is_none_or(|at| at > ended)
}

/// The rows of the lease table in the end, before all are asked to stop.
fn rows_in_the_end(trace: &Trace) -> BTreeMap<String, Row> {
    let calm = trace
        .events
        .iter()
        .position(|event| matches!(event.what, What::Calm));
    let calm = calm.unwrap_or(0);
    let stops = trace.events[calm..]
        .iter()
        .position(|event| matches!(event.what, What::StopAsked { .. }));
    let end = stops.map_or(trace.events.len(), |stops| calm + stops);
    let mut rows = BTreeMap::new();
    for event in &trace.events[..end] {
        if let What::Applied { before, after, .. } | What::Edited { before, after } = &event.what
            && let Some(row) = after.as_ref().or(before.as_ref())
        {
            let key = row.key().as_str().to_owned();
            match after {
                Some(after) => rows.insert(key, (**after).clone()),
                None => rows.remove(&key),
            };
        }
    }
    rows
}

/// Every lease has an owner that reports, and nobody is between two owners.
pub fn expect_sound_rows(trace: &Trace, shards: usize) {
    let rows = rows_in_the_end(trace);
    let leases: Vec<_> = rows.values().filter_map(Row::as_lease).collect();
    assert_eq!(leases.len(), shards, "{rows:#?}");
    for lease in leases {
        assert!(lease.owner.is_some() && !lease.in_hand_off(), "{lease:?}");
        assert!(lease.hash_range.is_some(), "{lease:?}");
    }
}

/// Whose code took steps of the move.
fn leaders_of_the_move(trace: &Trace) -> BTreeSet<Kind> {
    let mut kinds = BTreeSet::new();
    for event in &trace.events {
        if let (
            What::Applied {
                after: Some(row), ..
            },
            Some(by),
        ) = (&event.what, event.by)
            && row.as_table_status().is_some()
        {
            kinds.insert(trace.processes[by as usize].kind);
        }
    }
    kinds
}

/// A fleet of 3.0 to 3.4 with its tables.
fn fleet_of_3_4(seed: u64) -> Plan {
    let mut plan = slow_fleet(seed, 4, 6);
    plan.workers
        .iter_mut()
        .for_each(|worker| worker.kind = Kind::Java30);
    plan.legacy = true;
    plan.bake = Duration::from_secs(3600);
    plan
}

#[test]
fn a_fleet_of_java_3_4_becomes_one_of_ours_and_java_3_5_in_one_table() {
    let mut led: BTreeSet<Kind> = BTreeSet::new();
    let fleets = [
        [Kind::Ours, Kind::Java3, Kind::Ours, Kind::Java3],
        // Ours comes last, when a worker of Java leads.
        [Kind::Java3, Kind::Java3, Kind::Java3, Kind::Ours],
    ];
    for (seed, kinds) in (0..).zip(fleets) {
        let mut plan = fleet_of_3_4(seed);
        for (place, kind) in kinds.into_iter().enumerate() {
            // The last one of 3.4 stays for long.
            let at = match place {
                3 => 40 * MINUTE,
                _ => (5 + 2 * place as u64) * MINUTE,
            };
            let next = Incident::Replace(place, runs(kind, V3X, false));
            plan.incidents.push((at, next));
            let migrating = Incident::Replace(place, runs(kind, V3X, true));
            let at = (115 + 2 * place as u64) * MINUTE;
            plan.incidents.push((at, migrating));
        }
        plan.incidents.sort_by_key(|(at, _)| *at);
        plan.calm_at = 210 * MINUTE;
        // The checker does not see metrics that lie in another table than the leases.
        let trace = live(&plan, &["I.38"]);
        assert!(is_clean_for_old_ones(&trace), "seed {seed}");
        led.extend(leaders_of_the_move(&trace));
        use TableStatus::{Complete, Deployed as Baked, Init, Pending};
        expect_states(
            &statuses(&trace),
            &[
                // Not before the last worker of 3.4 is gone.
                (Init, 40, 50),
                (Baked, 100, 112),
                (Pending, 115, 135),
                (Complete, 175, 200),
            ],
        );
        assert!(first_foreign(&trace).is_some_and(|at| at >= 115 * MINUTE));
        expect_sound_rows(&trace, 6);
        let complete = statuses(&trace).last().map_or(0, |(at, _)| *at);
        let late = written(&trace).filter(|(at, _)| *at > complete + 2 * MINUTE);
        let old: Vec<&str> = late
            .map(|(_, row)| row.key().as_str())
            .filter(|key| key.starts_with(legacy_key("").as_str()))
            .collect();
        assert!(
            old.is_empty(),
            "seed {seed}: written in the old tables: {old:?}"
        );
    }
    assert_eq!(led, BTreeSet::from([Kind::Ours, Kind::Java3]));
}

/// One worker of 3.4 lives on. Whoever is told to migrate nevertheless does not start.
#[test]
fn tables_stay_apart_while_a_worker_of_java_3_4_lives() {
    let mut plan = fleet_of_3_4(4);
    replace_all(&mut plan, 5 * MINUTE, runs(Kind::Ours, V3X, false));
    plan.incidents
        .retain(|(_, incident)| !matches!(incident, Incident::Replace(3, _)));
    let hasty = Incident::Replace(1, runs(Kind::Ours, V3X, true));
    plan.incidents.push((70 * MINUTE, hasty));
    plan.workers[1].restarts_after = Some(5 * MINUTE);
    let back = Incident::Replace(1, runs(Kind::Ours, V3X, false));
    plan.incidents.push((90 * MINUTE, back));
    plan.calm_at = 110 * MINUTE;
    let trace = live(&plan, &["I.38"]);
    assert_eq!(first_foreign(&trace), None);
    assert_eq!(statuses(&trace), []);
    expect_sound_rows(&trace, 6);
}

/// The other two are told to go on with a leader while a worker of 2.x lives: they refuse, and it works on
/// alone. When it is gone, they begin.
#[test]
fn nobody_goes_on_with_a_leader_beside_java_2() {
    for configured in [Configured::V3x, Configured::CompatibleWith2x] {
        let mut plan = slow_fleet(6, 3, 6);
        plan.wanted = Wanted::Explicit(Configured::Phase1);
        plan.workers[2].kind = Kind::Java2;
        for worker in &mut plan.workers {
            worker.restarts_after = Some(2 * MINUTE);
        }
        let next = runs(Kind::Ours, Wanted::Explicit(configured), false);
        replace_all(&mut plan, 10 * MINUTE, next);
        let gone = 40 * MINUTE;
        for (at, incident) in &mut plan.incidents {
            if matches!(incident, Incident::Replace(2, _)) {
                *at = gone;
            }
        }
        plan.calm_at = 90 * MINUTE;
        let trace = live(&plan, WHILE_ALGORITHMS_CHANGE);
        assert!(is_clean_for_old_ones(&trace), "{configured:?}");
        let refused = trace.events.iter().filter(|event| match &event.what {
            What::Ended(how) => how.contains("w2") && how.contains("older"),
            _ => false,
        });
        assert!(refused.count() >= 2, "{configured:?}: somebody started");
        let states: Vec<ClientVersion> = versions(&trace).into_iter().map(|(_, s)| s).collect();
        use ClientVersion::{UpgradeFrom2x, V3x, V3xWithRollback};
        match configured {
            Configured::V3x => assert_eq!(states, [V3x]),
            _ => assert_eq!(states, [UpgradeFrom2x, V3xWithRollback]),
        }
        expect_sound_rows(&trace, 6);
    }
}

/// Java does not look who is there (D.2), so that its model shows that the tests above can fail.
#[test]
fn java_3_5_breaks_java_2() {
    let mut plan = slow_fleet(7, 3, 6);
    for worker in &mut plan.workers {
        worker.kind = Kind::Java2;
    }
    replace_all(&mut plan, 10 * MINUTE, runs(Kind::Java3, V3X, false));
    plan.incidents
        .retain(|(_, incident)| !matches!(incident, Incident::Replace(2, _)));
    plan.calm_at = 15 * MINUTE;
    plan.recovery = MINUTE;
    let (trace, _) = try_out(&plan);
    assert!(!is_clean_for_old_ones(&trace));
}
