use super::TableStatus::{Complete, Deployed, Init, Pending};
use super::*;
use crate::core::ids::LeaseKey;
use crate::core::sequence::{ExtendedSequenceNumber, Position};
use std::collections::BTreeMap;

const NOW: i64 = 1_000_000;

fn now() -> WallTime {
    WallTime::from_seconds(NOW)
}

fn me() -> WorkerId {
    WorkerId::new("me")
}

#[test]
fn the_status_at_start() {
    // legacy table, stored, configured false, configured true: the table of leases.md D.3
    let table = [
        (false, None, Ok(Complete), Ok(Complete)),
        (true, None, Ok(Init), Err(TooEarly)),
        (true, Some(Init), Ok(Init), Err(TooEarly)),
        (true, Some(Deployed), Ok(Deployed), Ok(Pending)),
        (true, Some(Pending), Ok(Deployed), Ok(Pending)),
        (true, Some(Complete), Ok(Complete), Ok(Complete)),
    ];
    for (legacy, stored, without, with) in table {
        assert_eq!(
            at_start(legacy, stored, false),
            without,
            "{legacy} {stored:?}"
        );
        assert_eq!(at_start(legacy, stored, true), with, "{legacy} {stored:?}");
    }
}

#[test]
fn the_status_of_a_running_worker() {
    let cases = [
        (Init, None, false, Init),
        (Init, Some(Deployed), false, Deployed),
        (Deployed, Some(Pending), false, Deployed),
        (Pending, Some(Deployed), true, Pending),
        (Pending, Some(Complete), true, Complete),
        (Deployed, Some(Complete), false, Complete),
        // Went back while configured to go on: what is stored holds.
        (Pending, Some(Init), true, Init),
        (Complete, Some(Pending), false, Complete),
        (Pending, None, true, Pending),
    ];
    for (local, stored, migrate, expected) in cases {
        assert_eq!(
            refreshed(local, stored, migrate),
            expected,
            "{local:?} {stored:?} {migrate}"
        );
    }
}

#[test]
fn where_things_live() {
    use Place::{LeaseTable, Legacy};
    // status at start and now: reads from both, writes, lock
    let table = [
        (Init, Init, true, Legacy, Legacy),
        (Init, Deployed, true, Legacy, Legacy),
        (Deployed, Deployed, true, Legacy, Legacy),
        (Pending, Pending, true, LeaseTable, Legacy),
        (Complete, Complete, false, LeaseTable, LeaseTable),
        // Completed while running: the lock moves, writes stay until the restart.
        (Pending, Complete, false, LeaseTable, LeaseTable),
        (Deployed, Complete, false, Legacy, LeaseTable),
    ];
    for (start, live, both, writes, lock) in table {
        let reads: &[Place] = if both {
            &[Legacy, LeaseTable]
        } else {
            &[LeaseTable]
        };
        assert_eq!(
            routing(start, live),
            Routing {
                coordinator_reads: reads,
                coordinator_writes: writes,
                lock,
                metrics_writes: writes,
                metrics_reads: reads,
            },
            "{start:?} {live:?}"
        );
    }
}

#[test]
fn words_and_limits() {
    for status in TableStatus::ALL {
        assert_eq!(TableStatus::parse(status.as_str()), Some(status));
    }
    assert_eq!(TableStatus::parse("TABLE_MIGRATION_STATUS_UNKNOWN"), None);
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    assert_eq!(complete_bake(hours(0)), hours(1));
    assert_eq!(complete_bake(hours(24)), hours(24));
    assert_eq!(complete_bake(hours(1000)), hours(168));
    assert!(movable("Migration3.0") && !movable("Leader") && !movable("TableMigration3.5"));
    let sizes: Vec<usize> = batches(&[0; 60]).iter().map(|batch| batch.len()).collect();
    assert_eq!(sizes, [25, 25, 10]);
}

const READY: Summary = Summary {
    all_support: true,
    all_report: true,
    legacy_metrics_silent: true,
};

fn item(status: TableStatus, age: i64) -> MigrationItem<TableStatus> {
    MigrationItem::created(Init, status, "x", WallTime::from_seconds(NOW - age))
}

/// What the leader does, in a word.
fn step(
    local: TableStatus,
    stored: Option<(TableStatus, i64)>,
    summary: Option<Summary>,
    moving: Moving,
    empty: Option<bool>,
) -> String {
    let stored = stored.map(|(status, age)| item(status, age));
    let view = LeaderView {
        local,
        stored: stored.as_ref(),
        summary,
        moving,
        legacy_is_empty: empty,
        bake: Duration::from_secs(86_400),
        now: now(),
    };
    let check = |write: &ItemWrite<TableStatus>| {
        assert_eq!(
            write.condition,
            match &stored {
                None => ItemCondition::Absent,
                Some(item) => ItemCondition::State(item.now.state),
            }
        );
        assert_eq!(write.item.now.modified_by, "me");
        assert_eq!(write.item.now.modified_at, now());
        write.item.now.state
    };
    match leader_step(view, &me()) {
        LeaderStep::Write(write) => format!("write {:?}", check(&write)),
        LeaderStep::Complete(write) => {
            assert_eq!(check(&write), Complete);
            "complete".to_owned()
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn what_the_leader_does() {
    let unsupported = Some(Summary {
        all_support: false,
        ..READY
    });
    let silent_owner = Some(Summary {
        all_report: false,
        ..READY
    });
    let legacy_writer = Some(Summary {
        legacy_metrics_silent: false,
        ..READY
    });
    let ready = Some(READY);
    let (not, busy, done) = (Moving::Not, Moving::UnderWay, Moving::Done);
    type Case = (
        TableStatus,
        Option<(TableStatus, i64)>,
        Option<Summary>,
        Moving,
        Option<bool>,
        &'static str,
    );
    let cases: &[Case] = &[
        (Init, None, None, not, None, "Nothing"),
        (Init, Some((Init, 9)), None, not, None, "Nothing"),
        (Init, None, unsupported, not, None, "Nothing"),
        (Init, None, ready, not, None, "write Init"),
        (Init, Some((Init, 3599)), ready, not, None, "Nothing"),
        (Init, Some((Init, 3600)), ready, not, None, "write Deployed"),
        (
            Init,
            Some((Init, 3600)),
            unsupported,
            not,
            None,
            "Delete(Init)",
        ),
        (
            Init,
            Some((Deployed, 1)),
            ready,
            not,
            None,
            "Follow(Deployed)",
        ),
        (
            Init,
            Some((Complete, 1)),
            ready,
            not,
            None,
            "Follow(Complete)",
        ),
        (Deployed, Some((Deployed, 1)), ready, not, None, "Nothing"),
        (
            Deployed,
            Some((Pending, 1)),
            ready,
            not,
            None,
            "write Deployed",
        ),
        (Deployed, None, ready, not, None, "Nothing"),
        // All is moved once nobody writes to the old tables.
        (Pending, Some((Deployed, 1)), None, not, None, "Nothing"),
        (
            Pending,
            Some((Deployed, 1)),
            legacy_writer,
            not,
            None,
            "Nothing",
        ),
        (
            Pending,
            Some((Deployed, 1)),
            silent_owner,
            not,
            None,
            "Nothing",
        ),
        (
            Pending,
            Some((Deployed, 1)),
            ready,
            not,
            None,
            "StartMoving",
        ),
        (Pending, Some((Deployed, 1)), ready, busy, None, "Nothing"),
        (
            Pending,
            Some((Deployed, 1)),
            legacy_writer,
            busy,
            None,
            "StopMoving",
        ),
        (
            Pending,
            Some((Deployed, 1)),
            ready,
            done,
            None,
            "LookAtLegacy",
        ),
        (
            Pending,
            Some((Deployed, 1)),
            ready,
            done,
            Some(false),
            "StartMoving",
        ),
        (
            Pending,
            Some((Deployed, 1)),
            ready,
            done,
            Some(true),
            "write Pending",
        ),
        // And baked.
        (
            Pending,
            Some((Pending, 1)),
            ready,
            not,
            None,
            "LookAtLegacy",
        ),
        (
            Pending,
            Some((Pending, 86_399)),
            ready,
            not,
            Some(true),
            "Nothing",
        ),
        (
            Pending,
            Some((Pending, 86_400)),
            ready,
            not,
            Some(true),
            "complete",
        ),
        (
            Pending,
            Some((Pending, 86_400)),
            ready,
            not,
            Some(false),
            "write Deployed",
        ),
        (
            Pending,
            Some((Pending, 86_400)),
            legacy_writer,
            not,
            Some(true),
            "write Deployed",
        ),
        (Pending, None, ready, not, None, "write Deployed"),
        (Complete, Some((Complete, 1)), ready, not, None, "Nothing"),
    ];
    for (local, stored, summary, moving, empty, expected) in cases {
        assert_eq!(
            step(*local, *stored, *summary, *moving, *empty),
            *expected,
            "{local:?} {stored:?} {summary:?} {moving:?} {empty:?}"
        );
    }
}

#[test]
fn what_a_scan_says_of_the_fleet() {
    let lease = |owner: &str| {
        let mut lease = Lease::new(
            LeaseKey::new("s"),
            ExtendedSequenceNumber::sentinel(Position::Latest),
            vec![],
            None,
        );
        lease.owner = (!owner.is_empty()).then(|| WorkerId::new(owner));
        lease
    };
    // name, seconds since it was written, with support code?
    let stats = |items: &[(&str, i64, bool)]| -> Vec<WorkerMetricStats> {
        items
            .iter()
            .map(|(name, ago, supports)| {
                let mut stats = WorkerMetricStats::written_by(
                    WorkerId::new(name),
                    WallTime::from_seconds(NOW - ago),
                    BTreeMap::new(),
                    BTreeMap::new(),
                );
                if !supports {
                    stats.support_code = None;
                    stats.support_updated = None;
                }
                stats
            })
            .collect()
    };
    type Items<'a> = &'a [(&'a str, i64, bool)];
    // owners, items in the lease table, in the legacy table; supports, reports, legacy silent
    type Case<'a> = (&'a [&'a str], Items<'a>, Items<'a>, (bool, bool, bool));
    let cases: &[Case<'_>] = &[
        (&[], &[], &[], (false, true, true)),
        (&["a"], &[], &[("a", 5, true)], (true, true, false)),
        (&["a"], &[("a", 5, true)], &[], (true, true, true)),
        (&["a"], &[], &[("a", 5, false)], (false, true, false)),
        (&["a"], &[], &[("a", 90, true)], (true, false, true)),
        (&["a"], &[], &[("a", 91, true)], (false, false, true)),
        (
            &["a", "b", ""],
            &[("a", 5, true)],
            &[],
            (false, false, true),
        ),
        // The newer support code speaks, idle workers do not.
        (
            &["a"],
            &[("a", 5, true)],
            &[("a", 500, true)],
            (true, true, true),
        ),
        (
            &["a"],
            &[("a", 5, true)],
            &[("old", 5, false)],
            (true, true, false),
        ),
    ];
    for (owners, new, old, (support, report, silent)) in cases {
        let leases: Vec<Lease> = owners.iter().map(|owner| lease(owner)).collect();
        let summary = Summary::of(
            &leases,
            &stats(new),
            &stats(old),
            now(),
            Duration::from_secs(30),
        );
        assert_eq!(
            summary,
            Summary {
                all_support: *support,
                all_report: *report,
                legacy_metrics_silent: *silent
            },
            "{owners:?} {new:?} {old:?}"
        );
    }
}
