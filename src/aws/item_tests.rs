use super::*;
use crate::core::sequence::SequenceNumber;
use proptest::prelude::*;

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn n(text: &str) -> AttributeValue {
    AttributeValue::N(text.to_owned())
}

fn ss(texts: &[&str]) -> AttributeValue {
    AttributeValue::Ss(texts.iter().map(|text| (*text).to_owned()).collect())
}

fn item(attributes: &[(&str, AttributeValue)]) -> Item {
    attributes
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

/// The smallest row that is a lease, with some attributes put over it.
fn row(changes: &[(&str, AttributeValue)]) -> Item {
    let mut row = item(&[
        ("leaseKey", s("shardId-000000000001")),
        ("leaseCounter", n("12")),
        ("checkpoint", s("TRIM_HORIZON")),
        ("checkpointSubSequenceNumber", n("0")),
    ]);
    row.extend(item(changes));
    row
}

fn lease(item: &Item) -> Lease {
    match read(item) {
        Row::Lease(lease) => *lease,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_row_as_kcl_2_writes_it() {
    let row = item(&[
        ("leaseKey", s("shardId-000000000003")),
        ("leaseCounter", n("41")),
        ("leaseOwner", s("host-7")),
        (
            "checkpoint",
            s("49650000000000000000000000000000000000000000000000000002"),
        ),
        ("checkpointSubSequenceNumber", n("4")),
        ("ownerSwitchesSinceCheckpoint", n("2")),
        (
            "parentShardId",
            ss(&["shardId-000000000001", "shardId-000000000000"]),
        ),
        ("childShardIds", ss(&["shardId-000000000009"])),
        ("startingHashKey", s("0")),
        (
            "endingHashKey",
            s("340282366920938463463374607431768211455"),
        ),
    ]);
    let expected = Lease {
        key: LeaseKey::new("shardId-000000000003"),
        owner: Some(WorkerId::new("host-7")),
        checkpoint_owner: None,
        counter: Counter(41),
        checkpoint: ExtendedSequenceNumber::record(
            SequenceNumber::parse("49650000000000000000000000000000000000000000000000000002")
                .unwrap(),
            4,
        ),
        pending: None,
        owner_switches: 2,
        parents: vec![
            ShardId::new("shardId-000000000000"),
            ShardId::new("shardId-000000000001"),
        ],
        children: vec![ShardId::new("shardId-000000000009")],
        hash_range: Some(HashRange::FULL),
        throughput_kbps: None,
        marked: false,
    };
    assert_eq!(lease(&row), expected);
}

#[test]
fn what_is_written_has_exactly_the_attributes_of_kcl_3_5() {
    let new = Lease::new(
        LeaseKey::new("shardId-000000000003"),
        ExtendedSequenceNumber::sentinel(Position::Latest),
        vec![],
        Some(HashRange { start: 5, end: 9 }),
    );
    assert_eq!(
        write(&new),
        item(&[
            ("leaseKey", s("shardId-000000000003")),
            ("entityType", s("LEASE")),
            ("leaseCounter", n("0")),
            ("checkpoint", s("LATEST")),
            ("checkpointSubSequenceNumber", n("0")),
            ("ownerSwitchesSinceCheckpoint", n("0")),
            ("startingHashKey", s("5")),
            ("endingHashKey", s("9")),
        ])
    );
    let child = Lease::new(
        LeaseKey::new("k"),
        ExtendedSequenceNumber::sentinel(Position::TrimHorizon),
        vec![ShardId::new("p2"), ShardId::new("p1"), ShardId::new("p2")],
        None,
    );
    assert_eq!(
        write(&child).get("parentShardId"),
        Some(&ss(&["p2", "p1"])),
        "no duplicates in a set"
    );
}

#[test]
fn rows_of_other_versions_are_read() {
    type Check = fn(&Lease) -> bool;
    let null = AttributeValue::Null(true);
    let cases: Vec<(&str, Item, Check)> = vec![
        ("missing owner switches", row(&[]), |l| {
            l.owner_switches == 0
        }),
        ("missing hash keys", row(&[]), |l| l.hash_range.is_none()),
        (
            "missing sub-sequence",
            {
                let mut row = row(&[]);
                row.remove("checkpointSubSequenceNumber");
                row
            },
            |l| l.checkpoint.sub_sequence == 0,
        ),
        (
            "scientific counter",
            row(&[("leaseCounter", n("1.2E1"))]),
            |l| l.counter == Counter(12),
        ),
        (
            "one-key range",
            row(&[("startingHashKey", s("7")), ("endingHashKey", s("7"))]),
            |l| l.hash_range == Some(HashRange { start: 7, end: 7 }),
        ),
        ("one hash bound", row(&[("startingHashKey", s("7"))]), |l| {
            l.hash_range.is_none()
        }),
        (
            "hand-off",
            row(&[("checkpointOwner", s("old")), ("leaseOwner", s("next"))]),
            |l| {
                l.checkpoint_owner == Some(WorkerId::new("old"))
                    && l.owner == Some(WorkerId::new("next"))
            },
        ),
        (
            "pending without state",
            row(&[
                ("pendingCheckpoint", s("77")),
                ("pendingCheckpointSubSequenceNumber", n("3")),
            ]),
            |l| {
                l.pending
                    == Some(PendingCheckpoint {
                        checkpoint: ExtendedSequenceNumber::record(
                            SequenceNumber::parse("77").unwrap(),
                            3,
                        ),
                        state: None,
                    })
            },
        ),
        (
            "pending with state",
            row(&[
                ("pendingCheckpoint", s("SHARD_END")),
                (
                    "pendingCheckpointState",
                    AttributeValue::B(Blob::new(vec![0, 255])),
                ),
            ]),
            |l| {
                l.pending
                    == Some(PendingCheckpoint {
                        checkpoint: ExtendedSequenceNumber::SHARD_END,
                        state: Some(vec![0, 255]),
                    })
            },
        ),
        (
            "NULL is absent",
            row(&[("leaseOwner", null.clone()), ("parentShardId", null)]),
            |l| l.owner.is_none() && l.parents.is_empty(),
        ),
        (
            "no owner has an empty name",
            row(&[("leaseOwner", s(""))]),
            |l| l.owner.is_none(),
        ),
        (
            "entityType LEASE",
            row(&[("entityType", s("LEASE"))]),
            |l| l.counter == Counter(12),
        ),
        (
            "a throughput with an exponent",
            row(&[("throughputKBps", n("1.0E-4"))]),
            |l| l.throughput_kbps == Some(0.0001),
        ),
        (
            "a throughput that is none",
            row(&[("throughputKBps", n("-1"))]),
            |l| l.throughput_kbps.is_none(),
        ),
        ("our mark", row(&[("kclDaemonCounter", n("12"))]), |l| {
            l.marked
        }),
        (
            "our mark, left behind",
            row(&[("kclDaemonCounter", n("11"))]),
            |l| !l.marked,
        ),
        (
            "no mark of ours",
            row(&[("kclDaemonCounter", s("12"))]),
            |l| !l.marked,
        ),
        (
            "multi-stream key",
            row(&[
                ("leaseKey", s("111122223333:orders:1700000000:shardId-3")),
                ("streamName", s("111122223333:orders:1700000000")),
                ("shardId", s("shardId-3")),
            ]),
            |l| l.shard_id() == ShardId::new("shardId-3"),
        ),
        (
            "metric-like attribute on a lease",
            row(&[("lut", n("1"))]),
            |l| l.counter == Counter(12),
        ),
    ];
    for (what, row, check) in cases {
        assert!(check(&lease(&row)), "{what}: {row:?}");
    }
}

#[test]
fn broken_attributes_are_named() {
    let without = |name: &str| {
        let mut row = row(&[]);
        row.remove(name);
        row
    };
    let cases = [
        (without("leaseCounter"), "attribute leaseCounter is missing"),
        (without("checkpoint"), "attribute checkpoint is missing"),
        (without("leaseKey"), "attribute leaseKey is missing"),
        (
            row(&[("checkpoint", s(""))]),
            "attribute checkpoint is missing",
        ),
        (
            row(&[("leaseCounter", s("12"))]),
            "attribute leaseCounter should be a number (N) and is a string (S)",
        ),
        (
            row(&[("leaseCounter", n("-1"))]),
            "attribute leaseCounter should be a whole number",
        ),
        (
            row(&[("leaseCounter", n("1.5"))]),
            "attribute leaseCounter should be a whole number",
        ),
        (
            row(&[("leaseCounter", n("1E40"))]),
            "attribute leaseCounter should be a whole number",
        ),
        (
            row(&[("leaseCounter", AttributeValue::Null(true))]),
            "attribute leaseCounter is missing",
        ),
        (
            row(&[("leaseOwner", n("1"))]),
            "attribute leaseOwner should be a string (S) and is a number (N)",
        ),
        (
            row(&[("checkpointOwner", ss(&["a"]))]),
            "attribute checkpointOwner should be a string (S)",
        ),
        (
            row(&[("checkpoint", s("trim_horizon"))]),
            "attribute checkpoint: 'trim_horizon'",
        ),
        (
            row(&[("checkpoint", n("77"))]),
            "attribute checkpoint should be a string (S)",
        ),
        (
            row(&[("checkpointSubSequenceNumber", s("0"))]),
            "attribute checkpointSubSequenceNumber should be a number",
        ),
        (
            row(&[("ownerSwitchesSinceCheckpoint", n("x"))]),
            "attribute ownerSwitchesSinceCheckpoint",
        ),
        (
            row(&[("pendingCheckpoint", s("soon"))]),
            "attribute pendingCheckpoint: 'soon'",
        ),
        (
            row(&[
                ("pendingCheckpoint", s("7")),
                ("pendingCheckpointSubSequenceNumber", n("-2")),
            ]),
            "attribute pendingCheckpointSubSequenceNumber",
        ),
        (
            row(&[
                ("pendingCheckpoint", s("7")),
                ("pendingCheckpointState", n("2")),
            ]),
            "attribute pendingCheckpointState should be binary (B)",
        ),
        (
            row(&[("parentShardId", s("shardId-0"))]),
            "attribute parentShardId should be a set of strings (SS)",
        ),
        (
            row(&[("childShardIds", AttributeValue::L(vec![]))]),
            "attribute childShardIds should be a set of strings",
        ),
        (
            row(&[("startingHashKey", s("9")), ("endingHashKey", s("5"))]),
            "attributes startingHashKey and endingHashKey",
        ),
        (
            row(&[("startingHashKey", s("zero")), ("endingHashKey", s("5"))]),
            "are 'zero' and '5'",
        ),
        (
            row(&[("startingHashKey", n("9"))]),
            "attribute startingHashKey should be a string (S)",
        ),
    ];
    for (row, wanted) in cases {
        match read(&row) {
            Row::Unreadable(unreadable) => {
                assert!(
                    unreadable.reason.contains(wanted),
                    "{} / {wanted}",
                    unreadable.reason
                );
                assert_eq!(unreadable.key, key_of(&row));
            }
            other => panic!("{other:?} / {wanted}"),
        }
    }
}

#[test]
fn items_that_are_no_leases_are_told_apart() {
    let counted = |key: &str, kind: &str| row(&[("leaseKey", s(key)), ("entityType", s(kind))]);
    let cases = [
        (counted("Leader", "LEADER"), "LEADER"),
        (
            counted("worker-1", "WORKER_METRIC_STATS"),
            "WORKER_METRIC_STATS",
        ),
        (counted("x", "SOMETHING_OF_KCL_4"), "SOMETHING_OF_KCL_4"),
        (row(&[("leaseKey", s("Leader"))]), "LEADER"),
        (
            item(&[("leaseKey", s("Migration3.0"))]),
            "CLIENT_VERSION_MIGRATION",
        ),
        (
            item(&[("leaseKey", s("TableMigration3.5"))]),
            "TABLE_MIGRATION",
        ),
        (
            item(&[("leaseKey", s("w")), ("lut", n("1"))]),
            "WORKER_METRIC_STATS",
        ),
        (
            item(&[("leaseKey", s("w")), ("cv", s("x"))]),
            "CLIENT_VERSION_MIGRATION",
        ),
        (
            item(&[("leaseKey", s("w")), ("tm", s("x"))]),
            "TABLE_MIGRATION",
        ),
        (
            item(&[("leaseKey", s("w")), ("ownerName", s("x"))]),
            "LEADER",
        ),
        (
            item(&[("leaseKey", s("1:a:2")), ("streamId", s("1:a:2"))]),
            "STREAM",
        ),
    ];
    for (row, kind) in cases {
        assert_eq!(
            read(&row),
            Row::Foreign(ForeignItem {
                key: key_of(&row).to_owned(),
                kind: kind.to_owned()
            })
        );
    }
}

#[test]
fn numbers_in_every_notation() {
    let cases = [
        ("0", Some(0)),
        ("12", Some(12)),
        ("+12", Some(12)),
        ("1.2E1", Some(12)),
        ("1.20e+1", Some(12)),
        ("1.2E+3", Some(1200)),
        ("120E-1", Some(12)),
        ("12.000", Some(12)),
        ("0.0", Some(0)),
        ("0E99", Some(0)),
        ("0.012E3", Some(12)),
        ("18446744073709551615", Some(u64::MAX)),
        ("1.8446744073709551615E19", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("1E20", None),
        ("1E2147483647", None),
        ("1E-2147483648", None),
        ("1.0E-4", None),
        ("0.5", None),
        ("-3", None),
        ("", None),
        (".", None),
        ("E5", None),
        ("1E", None),
        ("1e5x", None),
        ("1.2.3", None),
        ("٣", None),
        ("NaN", None),
        ("0x10", None),
    ];
    for (text, number) in cases {
        assert_eq!(whole_number(text), number, "{text:?}");
    }
}

fn positions() -> impl Strategy<Value = ExtendedSequenceNumber> {
    (
        "TRIM_HORIZON|LATEST|AT_TIMESTAMP|SHARD_END|[1-9][0-9]{0,60}",
        any::<u64>(),
    )
        .prop_map(|(text, sub_sequence)| ExtendedSequenceNumber {
            position: text.parse().unwrap(),
            sub_sequence,
        })
}

fn ids() -> impl Strategy<Value = Vec<ShardId>> {
    prop::collection::btree_set("shardId-[0-9]{12}", 0..3)
        .prop_map(|ids| ids.into_iter().map(ShardId::new).collect())
}

prop_compose! {
    fn leases()(
        key in "[a-zA-Z0-9:-]{1,30}",
        owner in prop::option::of("[a-z0-9.-]{1,20}"),
        checkpoint_owner in prop::option::of("[a-z0-9.-]{1,20}"),
        counter: u64,
        checkpoint in positions(),
        pending in prop::option::of((positions(), prop::option::of(prop::collection::vec(any::<u8>(), 0..9)))),
        owner_switches: u64,
        parents in ids(),
        children in ids(),
        range in prop::option::of((any::<u128>(), any::<u128>())),
        throughput in prop::option::of(0_u32..),
        marked: bool,
    ) -> Lease {
        Lease {
            key: LeaseKey::new(key),
            owner: owner.map(WorkerId::new),
            checkpoint_owner: checkpoint_owner.map(WorkerId::new),
            counter: Counter(counter),
            checkpoint,
            pending: pending.map(|(checkpoint, state)| PendingCheckpoint { checkpoint, state }),
            owner_switches,
            parents,
            children,
            hash_range: range.map(|(a, b)| HashRange { start: a.min(b), end: a.max(b) }),
            throughput_kbps: throughput.map(|micros| f64::from(micros) / 1e6),
            marked,
        }
    }
}

proptest! {
    #[test]
    fn a_lease_survives_being_written_and_read(lease in leases()) {
        prop_assert_eq!(read(&write(&lease)), Row::Lease(Box::new(lease)));
    }

    #[test]
    fn any_whole_number_is_read_in_any_notation(number: u64, shift in 0_usize..25) {
        let zeros = "0".repeat(shift);
        prop_assert_eq!(whole_number(&format!("{number}{zeros}E-{shift}")), Some(number));
        prop_assert_eq!(whole_number(&format!("0.{zeros}{number}E{}", shift + number.to_string().len())), Some(number));
    }

    #[test]
    fn no_number_text_breaks_the_reader(text in "\\PC{0,20}") {
        let _ = whole_number(&text);
    }
}
