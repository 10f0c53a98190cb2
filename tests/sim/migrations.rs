//! The migrations of `leases.md` D, in hours of the world's time: from the 2.x algorithm to a leader and
//! back, by hand and by itself; from the three tables of KCL 3.0 to 3.4 to one, with a way back.

use std::time::Duration;

use kcl_daemon::core::migration::client_version::{ClientVersion, Configured};
use kcl_daemon::core::migration::single_table::TableStatus;
use kcl_daemon::worker::joining::Wanted;

use crate::checker::Violation;
use crate::runner::{report, try_out};
use crate::scenario::{Deployed, Incident, Plan};
use crate::store::legacy_key;
use crate::trace::{Event, Row, Trace, What};
use crate::world::{Kind, S, Time};

pub const MINUTE: Time = 60 * S;

/// A fleet whose clocks tick slowly, so that hours are lived through in seconds.
pub fn slow_fleet(seed: u64, workers: usize, shards: usize) -> Plan {
    let mut plan = Plan::quiet(seed, workers, shards);
    plan.failover = Duration::from_secs(60);
    plan.idle = Duration::from_secs(60);
    plan.record_every = 60 * S;
    plan.wanted = Wanted::Explicit(Configured::V3x);
    plan
}

pub fn ours(wanted: Wanted) -> Deployed {
    Deployed {
        kind: Kind::Ours,
        wanted: Some(wanted),
        migrate: false,
    }
}

/// Replaces all workers, one after the other.
pub fn replace_all(plan: &mut Plan, from: Time, next: Deployed) {
    let places = 0..plan.workers.len();
    let incidents = places.map(|n| (from + n as u64 * MINUTE, Incident::Replace(n, next)));
    plan.incidents.extend(incidents);
}

/// Lives through a plan and expects that nothing is broken but what cannot be asked for in it.
pub fn live(plan: &Plan, cannot_be_asked_for: &[&str]) -> Trace {
    let (trace, violations) = try_out(plan);
    if let Ok(path) = std::env::var("SIM_TRACE") {
        std::fs::write(path, trace.render()).expect("SIM_TRACE names a file to write");
    }
    let broken: Vec<Violation> = violations
        .into_iter()
        .filter(|violation| !cannot_be_asked_for.contains(&violation.invariant))
        .collect();
    let command = "cargo test --test sim migrations";
    assert!(
        broken.is_empty(),
        "{}",
        report(plan, &trace, &broken, command)
    );
    trace
}

/// The rows that were written, and when.
pub fn written(trace: &Trace) -> impl Iterator<Item = (Time, &Row)> {
    trace
        .events
        .iter()
        .filter_map(|Event { at, what, .. }| match what {
            What::Applied { after, .. } | What::Edited { after, .. } => {
                Some((*at, &**after.as_ref()?))
            }
            _ => None,
        })
}

/// What `Migration3.0` said one after the other, and since when.
pub fn versions(trace: &Trace) -> Vec<(Time, ClientVersion)> {
    let states = written(trace).filter_map(|(at, row)| {
        let item = row.as_client_version()?;
        Some((at, item.now.state))
    });
    without_repetitions(states)
}

/// The same of `TableMigration3.5`.
pub fn statuses(trace: &Trace) -> Vec<(Time, TableStatus)> {
    let states = written(trace).filter_map(|(at, row)| {
        let item = row.as_table_status()?;
        Some((at, item.now.state))
    });
    without_repetitions(states)
}

fn without_repetitions<S: PartialEq>(states: impl Iterator<Item = (Time, S)>) -> Vec<(Time, S)> {
    let mut found: Vec<(Time, S)> = Vec::new();
    for (at, state) in states {
        if found.last().is_none_or(|(_, last)| *last != state) {
            found.push((at, state));
        }
    }
    found
}

/// The states with the minutes at which they were reached have to be these, each within its bounds.
pub fn expect_states<S: PartialEq + std::fmt::Debug>(
    found: &[(Time, S)],
    wanted: &[(S, u64, u64)],
) {
    let minutes: Vec<(u64, &S)> = found.iter().map(|(at, s)| (at / MINUTE, s)).collect();
    let fit = found.len() == wanted.len()
        && found
            .iter()
            .zip(wanted)
            .all(|((at, state), (wish, from, to))| {
                state == wish && (from * MINUTE..=to * MINUTE).contains(at)
            });
    assert!(fit, "reached {minutes:?}, wanted {wanted:?}");
}

/// When the first item that is no lease was written into the lease table.
pub fn first_foreign(trace: &Trace) -> Option<Time> {
    let foreign = |row: &Row| {
        row.as_lease().is_none() && !row.key().as_str().starts_with(legacy_key("").as_str())
    };
    written(trace)
        .find(|(_, row)| foreign(row))
        .map(|(at, _)| at)
}

// ---------------------------------------------------------------------------- one table instead of three

#[test]
fn three_tables_become_one_with_a_way_back() {
    let mut plan = slow_fleet(1, 3, 3);
    plan.legacy = true;
    plan.bake = Duration::from_secs(3600);
    let single = Deployed {
        kind: Kind::Ours,
        wanted: None,
        migrate: true,
    };
    let separate = Deployed {
        migrate: false,
        ..single
    };
    replace_all(&mut plan, 70 * MINUTE, single);
    // The operator goes back, and forward again.
    replace_all(&mut plan, 95 * MINUTE, separate);
    replace_all(&mut plan, 110 * MINUTE, single);
    plan.incidents.push((80 * MINUTE, Incident::Kill(1)));
    plan.incidents.sort_by_key(|(at, _)| *at);
    plan.calm_at = 190 * MINUTE;
    // The checker does not see metrics that lie in another table than the leases.
    let trace = live(&plan, &["I.38"]);

    use TableStatus::{Complete, Deployed as Baked, Init, Pending};
    expect_states(
        &statuses(&trace),
        &[
            (Init, 0, 5),
            (Baked, 60, 66),
            (Pending, 70, 80),
            (Baked, 95, 105),
            (Pending, 110, 120),
            (Complete, 170, 182),
        ],
    );
    // Before anybody was told to migrate, nothing but leases was written into the lease table.
    assert!(first_foreign(&trace).is_some_and(|at| at >= 70 * MINUTE));
    // In the end the lock, the metrics and `Migration3.0` are written in the lease table only.
    let complete = statuses(&trace).last().map_or(0, |(at, _)| *at);
    let late = written(&trace).filter(|(at, _)| *at > complete + 2 * MINUTE);
    let old: Vec<&str> = late
        .map(|(_, row)| row.key().as_str())
        .filter(|key| key.starts_with(legacy_key("").as_str()))
        .collect();
    assert!(
        old.is_empty(),
        "written in the old tables after the end: {old:?}"
    );
    let mut led = written(&trace).filter(|(at, row)| *at > complete && row.as_leader().is_some());
    assert!(led.next().is_some(), "nobody leads in the lease table");
}

#[test]
fn nobody_migrates_before_the_fleet_was_seen_to_support_it() {
    let mut plan = slow_fleet(2, 2, 2);
    plan.legacy = true;
    // Told too early: it does not start, and the others go on.
    let hasty = Deployed {
        kind: Kind::Ours,
        wanted: None,
        migrate: true,
    };
    plan.incidents = vec![(20 * MINUTE, Incident::Replace(1, hasty))];
    plan.workers[1].restarts_after = Some(5 * MINUTE);
    plan.calm_at = 40 * MINUTE;
    let (trace, _) = try_out(&plan);
    let refused = trace.events.iter().filter(|event| match &event.what {
        What::Ended(how) => how.contains("migrateAllEntitiesToLeaseTable = true"),
        _ => false,
    });
    assert!(refused.count() >= 2);
    assert_eq!(first_foreign(&trace), None);
}

// ----------------------------------------------------------------------------- from 2.x to a leader

/// What a fleet that changes its algorithm cannot be asked for: that only a leader moves leases, that
/// takers rest, and that nothing but leases is written.
pub const WHILE_ALGORITHMS_CHANGE: &[&str] = &["I.12", "I.32", "I.33", "I.36"];

#[test]
fn a_fleet_of_java_2_becomes_ours_and_then_one_with_a_leader_and_goes_back() {
    let mut plan = slow_fleet(3, 3, 6);
    plan.workers.iter_mut().for_each(|w| w.kind = Kind::Java2);
    replace_all(
        &mut plan,
        2 * MINUTE,
        ours(Wanted::Explicit(Configured::Phase1)),
    );
    let compatible = Wanted::Explicit(Configured::CompatibleWith2x);
    replace_all(&mut plan, 10 * MINUTE, ours(compatible));
    let back = Incident::Tool(ClientVersion::V2x);
    let forward = Incident::Tool(ClientVersion::UpgradeFrom2x);
    plan.incidents
        .extend([(40 * MINUTE, back), (50 * MINUTE, forward)]);
    replace_all(
        &mut plan,
        80 * MINUTE,
        ours(Wanted::Explicit(Configured::V3x)),
    );
    plan.calm_at = 90 * MINUTE;
    let trace = live(&plan, WHILE_ALGORITHMS_CHANGE);

    use ClientVersion::{UpgradeFrom2x, V2x, V3x, V3xWithRollback};
    expect_states(
        &versions(&trace),
        &[
            (UpgradeFrom2x, 10, 14),
            // Ten minutes in which all report.
            (V3xWithRollback, 20, 36),
            (V2x, 40, 40),
            (UpgradeFrom2x, 50, 50),
            (V3xWithRollback, 60, 75),
            (V3x, 80, 84),
        ],
    );
    // Nothing that Java 2.x stumbles over while it was there.
    assert!(first_foreign(&trace).is_some_and(|at| at >= 10 * MINUTE));
    // Whoever was rolled back reports no more and leads no more.
    let led: Vec<Time> = written(&trace)
        .filter(|(_, row)| row.as_leader().is_some() || row.as_metrics().is_some())
        .map(|(at, _)| at)
        .filter(|at| (43 * MINUTE..50 * MINUTE).contains(at))
        .collect();
    assert!(
        led.is_empty(),
        "led or reported while rolled back, at {led:?}"
    );
}

#[test]
fn a_fleet_of_ours_moves_to_a_leader_by_itself_when_the_last_older_worker_is_gone() {
    let gone = 40 * MINUTE;
    let mut plan = slow_fleet(4, 3, 6);
    plan.workers.iter_mut().for_each(|w| w.kind = Kind::Java2);
    plan.incidents = vec![
        (5 * MINUTE, Incident::Replace(0, ours(Wanted::Auto))),
        (6 * MINUTE, Incident::Replace(1, ours(Wanted::Auto))),
        (gone, Incident::Replace(2, ours(Wanted::Auto))),
    ];
    plan.calm_at = 100 * MINUTE;
    let trace = live(&plan, WHILE_ALGORITHMS_CHANGE);

    // PURE_FOR is ten minutes, or twenty failover times, which are a minute here.
    let first = first_foreign(&trace).expect("it moves by itself");
    assert!(
        (gone + 20 * MINUTE..gone + 30 * MINUTE).contains(&first),
        "the first item that is no lease was written {} min after the last older worker left",
        (first as f64 - gone as f64) / MINUTE as f64
    );
    let states: Vec<ClientVersion> = versions(&trace).into_iter().map(|(_, s)| s).collect();
    assert_eq!(
        states,
        [ClientVersion::UpgradeFrom2x, ClientVersion::V3xWithRollback]
    );
}

#[test]
fn a_fleet_does_not_move_while_an_older_worker_lives() {
    let mut plan = slow_fleet(5, 3, 6);
    plan.workers[2].kind = Kind::Java2;
    for worker in &mut plan.workers {
        worker.wanted = Some(Wanted::Auto);
    }
    plan.workers[0].starts_at = 3 * MINUTE;
    plan.workers[1].starts_at = 4 * MINUTE;
    plan.calm_at = 90 * MINUTE;
    let trace = live(&plan, WHILE_ALGORITHMS_CHANGE);
    assert_eq!(first_foreign(&trace), None);
}
