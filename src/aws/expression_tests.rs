use super::*;
use crate::core::hash_range::HashRange;
use crate::core::ids::{LeaseKey, ShardId, WorkerId};
use crate::core::lease::Lease;
use crate::core::sequence::{ExtendedSequenceNumber, Position, SequenceNumber};

fn lease() -> Lease {
    let mut lease = Lease::new(
        LeaseKey::new("shardId-0"),
        ExtendedSequenceNumber::sentinel(Position::TrimHorizon),
        vec![],
        None,
    );
    lease.counter = Counter(7);
    lease.owner = Some(WorkerId::new("a"));
    lease
}

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn n(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

#[test]
fn every_change_in_dynamodbs_words() {
    let lease = lease();
    let record = ExtendedSequenceNumber::record(SequenceNumber::parse("495").unwrap(), 3);
    let moving = {
        let begin = lease.handed_off_to(&WorkerId::new("b")).unwrap();
        begin.applied_to(&lease)
    };
    let unowned = Lease {
        owner: None,
        ..lease.clone()
    };
    let shards = AttributeValue::Ss(vec!["s1".to_owned(), "s2".to_owned()]);
    let uncounted = |change| LeaseUpdate {
        key: lease.key.clone(),
        condition: Condition::Exists,
        change,
        throughput_kbps: None,
        mark: false,
    };
    type Case = (
        LeaseUpdate,
        &'static str,
        &'static str,
        Vec<(&'static str, AttributeValue)>,
    );
    let cases: Vec<Case> = vec![
        (
            lease.renewal(),
            "SET leaseCounter = :next",
            "leaseCounter = :seen",
            vec![(":seen", n(7)), (":next", n(8))],
        ),
        (
            lease.taken_by(&WorkerId::new("b")),
            "SET leaseCounter = :next, leaseOwner = :owner REMOVE checkpointOwner ADD ownerSwitchesSinceCheckpoint :one",
            "leaseCounter = :seen",
            vec![
                (":seen", n(7)),
                (":next", n(8)),
                (":owner", s("b")),
                (":one", n(1)),
            ],
        ),
        (
            lease.taken_by(&WorkerId::new("a")),
            "SET leaseCounter = :next, leaseOwner = :owner REMOVE checkpointOwner",
            "leaseCounter = :seen",
            vec![(":seen", n(7)), (":next", n(8)), (":owner", s("a"))],
        ),
        (
            lease.checkpointed(record),
            "SET leaseCounter = :next, checkpoint = :checkpoint, checkpointSubSequenceNumber = :sub, \
             ownerSwitchesSinceCheckpoint = :zero \
             REMOVE pendingCheckpoint, pendingCheckpointSubSequenceNumber, pendingCheckpointState",
            "leaseCounter = :seen",
            vec![
                (":seen", n(7)),
                (":next", n(8)),
                (":checkpoint", s("495")),
                (":sub", n(3)),
                (":zero", n(0)),
            ],
        ),
        (
            lease.released(&WorkerId::new("a")),
            "SET leaseCounter = :next REMOVE leaseOwner",
            "leaseCounter = :seen AND leaseOwner = :holder",
            vec![(":seen", n(7)), (":next", n(8)), (":holder", s("a"))],
        ),
        (
            lease
                .renewal_noticing_hand_off()
                .with_throughput(Some(0.000_1)),
            "SET leaseCounter = :next, throughputKBps = :throughput",
            "leaseCounter = :seen AND attribute_not_exists(checkpointOwner)",
            vec![
                (":seen", n(7)),
                (":next", n(8)),
                (":throughput", AttributeValue::N("0.0001".to_owned())),
            ],
        ),
        (
            lease.renewal().marked(),
            "SET leaseCounter = :next, kclDaemonCounter = :mark",
            "leaseCounter = :seen",
            vec![(":seen", n(7)), (":next", n(8)), (":mark", n(8))],
        ),
        (
            lease.assigned_to(&WorkerId::new("a")).marked(),
            "SET leaseOwner = :owner REMOVE checkpointOwner ADD leaseCounter :one",
            "attribute_exists(leaseKey) AND leaseOwner = :holder AND attribute_not_exists(checkpointOwner)",
            vec![(":holder", s("a")), (":owner", s("a")), (":one", n(1))],
        ),
        (
            moving.renewal_noticing_hand_off(),
            "SET leaseCounter = :next",
            "leaseCounter = :seen",
            vec![(":seen", n(7)), (":next", n(8))],
        ),
        (
            lease.assigned_to(&WorkerId::new("b")),
            "SET leaseOwner = :owner REMOVE checkpointOwner ADD leaseCounter :one, ownerSwitchesSinceCheckpoint :one",
            "attribute_exists(leaseKey) AND leaseOwner = :holder AND attribute_not_exists(checkpointOwner)",
            vec![(":holder", s("a")), (":owner", s("b")), (":one", n(1))],
        ),
        (
            moving.assigned_if_silent_to(&WorkerId::new("b")),
            "SET leaseCounter = :next, leaseOwner = :owner REMOVE checkpointOwner",
            "attribute_exists(leaseKey) AND leaseOwner = :holder AND checkpointOwner = :leaver AND leaseCounter = :seen",
            vec![
                (":holder", s("b")),
                (":leaver", s("a")),
                (":seen", n(7)),
                (":next", n(8)),
                (":owner", s("b")),
            ],
        ),
        (
            unowned.assigned_to(&WorkerId::new("b")),
            "SET leaseOwner = :owner REMOVE checkpointOwner ADD leaseCounter :one",
            "attribute_exists(leaseKey) AND attribute_not_exists(leaseOwner) AND attribute_not_exists(checkpointOwner)",
            vec![(":owner", s("b")), (":one", n(1))],
        ),
        (
            lease.handed_off_to(&WorkerId::new("b")).unwrap(),
            "SET leaseOwner = :owner, checkpointOwner = :from",
            "attribute_exists(leaseKey) AND leaseOwner = :holder AND attribute_not_exists(checkpointOwner)",
            vec![(":holder", s("a")), (":owner", s("b")), (":from", s("a"))],
        ),
        (
            lease.with_children(vec![ShardId::new("s1"), ShardId::new("s2")]),
            "SET childShardIds = :children",
            "attribute_exists(leaseKey)",
            vec![(":children", shards)],
        ),
        (
            lease.with_children(vec![]),
            "REMOVE childShardIds",
            "attribute_exists(leaseKey)",
            vec![],
        ),
        (
            lease.with_hash_range(HashRange::FULL),
            "SET startingHashKey = :start, endingHashKey = :end",
            "attribute_exists(leaseKey)",
            vec![
                (":start", s("0")),
                (":end", s("340282366920938463463374607431768211455")),
            ],
        ),
        (
            uncounted(Change::Release),
            "REMOVE leaseOwner ADD leaseCounter :one",
            "attribute_exists(leaseKey)",
            vec![(":one", n(1))],
        ),
        (
            uncounted(Change::Take {
                owner: WorkerId::new("b"),
                switches_owner: true,
            }),
            "SET leaseOwner = :owner REMOVE checkpointOwner ADD leaseCounter :one, ownerSwitchesSinceCheckpoint :one",
            "attribute_exists(leaseKey)",
            vec![(":one", n(1)), (":owner", s("b"))],
        ),
    ];
    for (update, expression, condition, values) in cases {
        let expected = Expressions {
            update: expression.to_owned(),
            condition: condition.to_owned(),
            values: values
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        };
        assert_eq!(of_update(&update), expected, "{update:?}");
    }
}

#[test]
fn deletes_name_what_was_looked_at() {
    let mut finished = lease();
    finished.checkpoint = ExtendedSequenceNumber::SHARD_END;
    let whole = of_deletion(&LeaseDeletion::of(&finished));
    assert_eq!(
        whole.condition,
        "leaseCounter = :seen AND checkpoint = :checkpoint"
    );
    assert_eq!(whole.values.get(":checkpoint"), Some(&s("SHARD_END")));
    assert_eq!(whole.values.get(":seen"), Some(&n(7)));
    assert_eq!(
        whole.values.len(),
        2,
        "DynamoDB refuses values that are not used"
    );

    finished.checkpoint = ExtendedSequenceNumber::record(SequenceNumber::parse("5").unwrap(), 2);
    let inside = of_deletion(&LeaseDeletion::of(&finished));
    assert_eq!(
        inside.condition,
        "leaseCounter = :seen AND checkpoint = :checkpoint AND checkpointSubSequenceNumber = :sub"
    );
    assert_eq!(inside.values.get(":sub"), Some(&n(2)));
}
