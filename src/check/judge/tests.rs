//! What services say, and what becomes of it.

use super::*;
use crate::aws::probe::KeyPart;
use crate::check::calls::{Size, expected};
use crate::check::testing::with;
use crate::core::hash_range::HashRange;
use crate::core::ids::{LeaseKey, ShardId, WorkerId};
use crate::core::sequence::{ExtendedSequenceNumber, Position, SequenceNumber};
use crate::ports::{ForeignItem, UnreadableRow};

fn part(name: &str, kind: &str, role: &str) -> KeyPart {
    KeyPart {
        name: name.to_owned(),
        role: role.to_owned(),
        kind: kind.to_owned(),
    }
}

fn table_with(key: Vec<KeyPart>, status: &str) -> TableFacts {
    TableFacts {
        status: status.to_owned(),
        key,
        ..TableFacts::default()
    }
}

fn calls(shards: u32) -> Calls {
    let size = Size {
        shards,
        workers: 1,
        shards_known: true,
        workers_known: true,
        table_bytes: None,
    };
    expected(&with(""), size)
}

fn worst(steps: &[Step]) -> Outcome {
    let has = |outcome| steps.iter().any(|step| step.outcome == outcome);
    if has(Failure) {
        Failure
    } else if has(Warning) {
        Warning
    } else {
        Fine
    }
}

#[test]
fn streams() {
    for (status, outcome) in [
        ("ACTIVE", Fine),
        ("UPDATING", Fine),
        ("CREATING", Warning),
        ("DELETING", Failure),
    ] {
        let step = stream(&StreamFacts {
            arn: "arn:s".to_owned(),
            status: status.to_owned(),
            open_shards: 1,
            retention_hours: 24,
            kms_key: Some("k".to_owned()),
            mode: Some("ON_DEMAND".to_owned()),
            consumers: Some(2),
        });
        assert_eq!(step.outcome, outcome, "{status}");
        for part in [
            status,
            "1 open shard,",
            "on-demand",
            "24 h",
            "KMS key k",
            "2 fan-out consumers",
        ] {
            assert!(step.message.contains(part), "{part}: {}", step.message);
        }
    }
}

#[test]
fn shapes_of_tables() {
    let lease_key = || vec![part("leaseKey", "S", "HASH")];
    for (facts, outcome, says) in [
        (None, Fine, "would be created"),
        (
            Some(table_with(lease_key(), "ACTIVE")),
            Fine,
            "ACTIVE, on-demand",
        ),
        (Some(table_with(lease_key(), "UPDATING")), Fine, "UPDATING"),
        (Some(table_with(lease_key(), "CREATING")), Warning, "waits"),
        (
            Some(table_with(lease_key(), "ARCHIVED")),
            Failure,
            "cannot be used",
        ),
        (
            Some(table_with(vec![part("leaseKey", "N", "HASH")], "ACTIVE")),
            Failure,
            "leaseKey N HASH",
        ),
        (
            Some(table_with(vec![part("id", "S", "HASH")], "ACTIVE")),
            Failure,
            "no lease table",
        ),
        (
            Some(table_with(
                vec![part("leaseKey", "S", "HASH"), part("x", "S", "RANGE")],
                "ACTIVE",
            )),
            Failure,
            "x S RANGE",
        ),
    ] {
        let steps = table("app", facts.as_ref(), &calls(1));
        assert_eq!(worst(&steps), outcome, "{steps:?}");
        assert!(steps[0].message.contains(says), "{says}: {steps:?}");
    }
}

#[test]
fn a_provisioned_table_has_to_be_large_enough() {
    // 100 leases are renewed 30 times a second.
    for (write, outcome) in [(10, Warning), (31, Fine)] {
        let facts = TableFacts {
            provisioned: Some((10, write)),
            ..table_with(vec![part("leaseKey", "S", "HASH")], "ACTIVE")
        };
        assert_eq!(worst(&table("app", Some(&facts), &calls(100))), outcome);
    }
}

#[test]
fn an_index_of_another_shape_is_told() {
    let with_key = |key| TableFacts {
        indexes: vec![IndexFacts {
            name: INDEX.to_owned(),
            key,
            status: "ACTIVE".to_owned(),
        }],
        ..table_with(vec![part("leaseKey", "S", "HASH")], "ACTIVE")
    };
    let right = vec![
        part("leaseOwner", "S", "HASH"),
        part("leaseKey", "S", "RANGE"),
    ];
    assert_eq!(
        worst(&table("app", Some(&with_key(right)), &calls(1))),
        Fine
    );
    let wrong = vec![part("leaseOwner", "S", "HASH")];
    assert_eq!(
        worst(&table("app", Some(&with_key(wrong)), &calls(1))),
        Warning
    );
}

fn lease(shard: &str, owner: Option<&str>) -> Lease {
    let mut lease = Lease::new(
        LeaseKey::new(shard),
        ExtendedSequenceNumber::sentinel(Position::Latest),
        vec![],
        None,
    );
    lease.owner = owner.map(WorkerId::new);
    lease
}

fn shard(id: &str, closed: bool) -> Shard {
    Shard {
        id: ShardId::new(id),
        parents: vec![],
        hash_range: HashRange { start: 0, end: 1 },
        starting_sequence: SequenceNumber::parse("1").unwrap(),
        closed,
    }
}

#[test]
fn rows_of_tables() {
    let here = [shard("shardId-0", false)];
    let leases = |shard: &str| TableScan {
        leases: vec![lease(shard, Some("a")), lease(shard, None)],
        ..TableScan::default()
    };
    let foreign = TableScan {
        foreign: vec![ForeignItem {
            key: "Leader".to_owned(),
            kind: "LEADER".to_owned(),
        }],
        ..TableScan::default()
    };
    let unreadable = TableScan {
        unreadable: vec![UnreadableRow {
            key: "k".to_owned(),
            reason: "no counter".to_owned(),
        }],
        ..TableScan::default()
    };
    for (scan, shards, outcome, says) in [
        (TableScan::default(), Some(&here[..]), Fine, "no leases yet"),
        (
            leases("shardId-0"),
            Some(&here[..]),
            Fine,
            "2 leases of 1 worker",
        ),
        (leases("shardId-9"), None, Fine, "2 leases"),
        (
            leases("shardId-9"),
            Some(&here[..]),
            Warning,
            "of another stream",
        ),
        (foreign, None, Fine, "'Leader'"),
        (unreadable, None, Warning, "no counter"),
    ] {
        let steps = rows("app", &scan, shards);
        assert_eq!(worst(&steps), outcome, "{steps:?}");
        assert!(
            steps.iter().any(|step| step.message.contains(says)),
            "{says}: {steps:?}"
        );
    }
}

#[test]
fn consumers_of_fan_out() {
    let facts = |status: &str| ConsumerFacts {
        name: "c".to_owned(),
        arn: "arn:c".to_owned(),
        status: status.to_owned(),
    };
    for (found, by_arn, outcome) in [
        (Some(facts("ACTIVE")), false, Fine),
        (Some(facts("CREATING")), false, Warning),
        (None, false, Fine),
        (None, true, Failure),
    ] {
        let step = consumer("c", found.as_ref(), by_arn);
        assert_eq!(step.outcome, outcome, "{step:?}");
    }
    assert!(consumers(&[]).message.contains("none"));
    assert!(consumers(&[facts("ACTIVE")]).message.contains("c (ACTIVE)"));
}

#[test]
fn clocks_that_differ() {
    let skew = |seconds: i64| Skew {
        host: "h".to_owned(),
        millis: seconds * 1000,
    };
    for (seconds, outcome, says) in [
        (0, Fine, "differ"),
        (-59, Fine, "differ"),
        (60, Warning, "behind"),
        (-299, Warning, "ahead of"),
        (300, Failure, "5 minutes"),
        (-86_400, Failure, "ahead of"),
    ] {
        let step = clocks(&[skew(1), skew(seconds)]);
        assert_eq!(step.outcome, outcome, "{seconds}: {step:?}");
        assert!(step.message.contains(says), "{step:?}");
    }
    assert_eq!(clocks(&[]).outcome, NotVerified);
}

#[test]
fn a_stream_of_closed_shards_only_is_told() {
    assert_eq!(shards(&[shard("a", true)]).outcome, Warning);
    assert_eq!(
        shards(&[shard("a", true), shard("b", false)]).message,
        "1 open of 2 in all"
    );
}

#[test]
fn a_coordinator_table_is_told() {
    let step = legacy_table(Some("app-CoordinatorState"));
    assert_eq!(step.outcome, Fine);
    assert!(step.message.contains("app-CoordinatorState"), "{step:?}");
    assert_eq!(legacy_table(None).outcome, Fine);
}
