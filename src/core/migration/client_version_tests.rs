use super::ClientVersion as V;
use super::*;
use crate::core::ids::LeaseKey;
use crate::core::sequence::{ExtendedSequenceNumber, Position};
use std::collections::BTreeMap;

#[test]
fn where_a_worker_starts() {
    use Configured::{CompatibleWith2x, Phase1, V3x};
    // stored; PHASE1, COMPATIBLE, 3X: the table of leases.md D.1
    let table = [
        (None, V::Init, V::UpgradeFrom2x, V::V3x),
        (Some(V::Init), V::Init, V::UpgradeFrom2x, V::V3x),
        (
            Some(V::UpgradeFrom2x),
            V::UpgradeFrom2x,
            V::UpgradeFrom2x,
            V::UpgradeFrom2x,
        ),
        (Some(V::V2x), V::V2x, V::V2x, V::V2x),
        (
            Some(V::V3xWithRollback),
            V::V3xWithRollback,
            V::V3xWithRollback,
            V::V3x,
        ),
        (Some(V::V3x), V::V3x, V::V3x, V::V3x),
    ];
    for (stored, phase1, compatible, three) in table {
        assert_eq!(entry(stored, Phase1), phase1, "{stored:?}");
        assert_eq!(entry(stored, CompatibleWith2x), compatible, "{stored:?}");
        assert_eq!(entry(stored, V3x), three, "{stored:?}");
    }
}

#[test]
fn words_are_javas() {
    for state in V::ALL {
        assert_eq!(V::parse(state.as_str()), Some(state));
    }
    assert_eq!(V::parse("CLIENT_VERSION_4X"), None);
}

#[test]
fn what_is_done_in_each_state() {
    // leader assigns, metrics, watches version, watches readiness, wants the index
    let table = [
        (V::Init, false, false, false, false, false),
        (V::UpgradeFrom2x, false, true, true, true, true),
        (V::V3xWithRollback, true, true, true, false, false),
        (V::V2x, false, false, true, false, false),
        (V::V3x, true, true, false, false, true),
    ];
    for (state, leader, metrics, version, readiness, index) in table {
        assert_eq!(
            state.duties(),
            Duties {
                assigned_by_leader: leader,
                reports_metrics: metrics,
                watches_version: version,
                watches_readiness: readiness,
                wants_index: index,
            },
            "{state:?}"
        );
    }
}

#[test]
fn which_changes_are_followed() {
    let legal = [
        (V::UpgradeFrom2x, V::V3xWithRollback),
        (V::UpgradeFrom2x, V::V2x),
        (V::V3xWithRollback, V::V2x),
        (V::V3xWithRollback, V::V3x),
        (V::V2x, V::UpgradeFrom2x),
    ];
    for from in V::ALL {
        for to in V::ALL {
            assert_eq!(
                from.may_become(to),
                legal.contains(&(from, to)),
                "{from:?} {to:?}"
            );
        }
    }
}

#[test]
fn what_a_starting_worker_writes() {
    let me = WorkerId::new("me");
    let at = WallTime::from_millis(1_234);
    assert_eq!(write_of_entry(None, V::Init, &me, at), None);
    let first = write_of_entry(None, V::V3x, &me, at).unwrap();
    assert_eq!(first.condition, ItemCondition::Absent);
    assert_eq!(first.item.now.state, V::V3x);
    assert_eq!(first.item.now.modified_by, "me");
    assert_eq!(first.item.history[0].state, V::Init);
    assert_eq!(write_of_entry(Some(&first.item), V::V3x, &me, at), None);

    let rollback = MigrationItem::created(V::UpgradeFrom2x, V::V3xWithRollback, "x", at);
    let promoted = write_of_entry(Some(&rollback), V::V3x, &me, at).unwrap();
    assert_eq!(promoted.condition, ItemCondition::State(V::V3xWithRollback));
    assert_eq!(promoted.item.now.state, V::V3x);
}

#[test]
fn only_a_fleet_that_upgrades_is_flipped() {
    let me = WorkerId::new("me");
    let at = WallTime::from_millis(1_234);
    for state in V::ALL {
        let item = MigrationItem::created(V::Init, state, "x", at);
        let write = flip(&item, &me, at);
        assert_eq!(write.is_some(), state == V::UpgradeFrom2x, "{state:?}");
        if let Some(write) = write {
            assert_eq!(write.condition, ItemCondition::State(V::UpgradeFrom2x));
            assert_eq!(write.item.now.state, V::V3xWithRollback);
        }
    }
}

fn lease(owner: &str) -> Lease {
    let mut lease = Lease::new(
        LeaseKey::new("s"),
        ExtendedSequenceNumber::sentinel(Position::Latest),
        vec![],
        None,
    );
    lease.owner = (!owner.is_empty()).then(|| WorkerId::new(owner));
    lease
}

#[test]
fn a_fleet_is_ready_when_all_owners_report() {
    let now = WallTime::from_seconds(1_000);
    let item = |worker: &str, ago: i64| {
        WorkerMetricStats::written_by(
            WorkerId::new(worker),
            WallTime::from_seconds(1_000 - ago),
            BTreeMap::new(),
            BTreeMap::new(),
        )
    };
    let ready = |index, owners: &[&str], items: &[WorkerMetricStats]| {
        let leases: Vec<Lease> = owners.iter().map(|owner| lease(owner)).collect();
        readiness(index, &leases, items, now, Duration::from_secs(60))
    };
    let a = || WorkerId::new("a");
    assert_eq!(ready(true, &["a"], &[item("a", 59)]), Ok(()));
    assert_eq!(ready(true, &[], &[]), Ok(()));
    assert_eq!(
        ready(false, &["a"], &[item("a", 0)]),
        Err(NotReady::NoIndex)
    );
    assert_eq!(
        ready(true, &["a"], &[item("a", 60)]),
        Err(NotReady::NoMetrics(a()))
    );
    assert_eq!(
        ready(true, &["a", "b"], &[item("b", 0)]),
        Err(NotReady::NoMetrics(a()))
    );
    assert_eq!(
        ready(true, &["b", ""], &[item("b", 0)]),
        Err(NotReady::Unowned)
    );
    // Idle workers do not matter, and of two items the newer one counts.
    assert_eq!(
        ready(
            true,
            &["a"],
            &[item("a", 500), item("a", 1), item("idle", 900)]
        ),
        Ok(())
    );
}

#[test]
fn readiness_must_hold_without_a_break() {
    let at = |seconds| Moment::from_origin(Duration::from_secs(seconds));
    let mut timer = Stabilizer::default();
    let period = Duration::from_secs(600);
    assert!(!timer.update(true, at(0), period));
    assert!(!timer.update(true, at(599), period));
    assert!(timer.update(true, at(600), period));
    assert!(!timer.update(false, at(660), period));
    assert!(!timer.update(true, at(720), period));
    assert_eq!(timer.since(), Some(at(720)));
    assert!(timer.update(true, at(1320), period));
}
