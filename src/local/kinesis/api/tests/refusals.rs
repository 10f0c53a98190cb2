//! What the JSON door refuses, and that nothing makes it panic.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Door, HALF, MAX, T0};
use crate::local::kinesis::*;

#[test]
fn what_is_refused_and_how() {
    let mut door = Door::with_stream(1);
    let id = "shardId-000000000000";
    let (invalid, validation, missing) = (
        "InvalidArgumentException",
        "ValidationException",
        "ResourceNotFoundException",
    );
    let too_large = "340282366920938463463374607431768211456";
    let record = json!({"Data": "YQ==", "PartitionKey": "k"});
    let table = [
        ("CreateStream", json!({"ShardCount": 1}), validation),
        ("CreateStream", json!({"StreamName": "t"}), validation),
        (
            "CreateStream",
            json!({"StreamName": "t", "ShardCount": -1}),
            validation,
        ),
        (
            "CreateStream",
            json!({"StreamName": "t", "StreamModeDetails": {"StreamMode": "X"}}),
            validation,
        ),
        (
            "CreateStream",
            json!({"StreamName": "t", "ShardCount": 1, "StreamModeDetails": {"StreamMode": "ON_DEMAND"}}),
            validation,
        ),
        (
            "CreateStream",
            json!({"StreamName": "t", "ShardCount": 1, "Tags": {"": "x"}}),
            validation,
        ),
        (
            "CreateStream",
            json!({"StreamName": "s", "ShardCount": 1}),
            "ResourceInUseException",
        ),
        ("DescribeStream", json!({}), invalid),
        (
            "DescribeStream",
            json!({"StreamName": "s", "StreamARN": "arn:aws:kinesis:r:a:stream/t"}),
            invalid,
        ),
        (
            "DescribeStream",
            json!({"StreamName": "s", "Limit": 0}),
            validation,
        ),
        (
            "DescribeStream",
            json!({"StreamARN": "arn:aws:sqs:r:a:s"}),
            validation,
        ),
        (
            "ListShards",
            json!({"StreamName": "s", "NextToken": "x"}),
            invalid,
        ),
        ("ListShards", json!({"NextToken": "x"}), invalid),
        (
            "ListShards",
            json!({"StreamName": "s", "ShardFilter": {}}),
            validation,
        ),
        (
            "ListShards",
            json!({"StreamName": "s", "ShardFilter": {"Type": "X"}}),
            validation,
        ),
        (
            "ListShards",
            json!({"StreamName": "s", "ShardFilter": {"Type": "AFTER_SHARD_ID"}}),
            invalid,
        ),
        (
            "ListShards",
            json!({"StreamName": "s", "ShardFilter": {"Type": "AT_TIMESTAMP"}}),
            invalid,
        ),
        (
            "ListShards",
            json!({"StreamName": "s", "ExclusiveStartShardId": "0"}),
            validation,
        ),
        (
            "GetShardIterator",
            json!({"StreamName": "s", "ShardId": id}),
            validation,
        ),
        (
            "GetShardIterator",
            json!({"StreamName": "s", "ShardId": id, "ShardIteratorType": "X"}),
            validation,
        ),
        (
            "GetShardIterator",
            json!({"StreamName": "s", "ShardId": id, "ShardIteratorType": "AT_TIMESTAMP"}),
            invalid,
        ),
        (
            "GetShardIterator",
            json!({"StreamName": "s", "ShardId": id, "ShardIteratorType": "AT_SEQUENCE_NUMBER"}),
            invalid,
        ),
        (
            "GetShardIterator",
            json!({"StreamName": "s", "ShardId": "x", "ShardIteratorType": "LATEST"}),
            validation,
        ),
        (
            "GetShardIterator",
            json!({"StreamName": "t", "ShardId": id, "ShardIteratorType": "LATEST"}),
            missing,
        ),
        ("GetRecords", json!({}), validation),
        ("GetRecords", json!({"ShardIterator": "x"}), invalid),
        (
            "GetRecords",
            json!({"ShardIterator": "x", "Limit": -5}),
            validation,
        ),
        (
            "PutRecord",
            json!({"StreamName": "s", "Data": "YQ=="}),
            validation,
        ),
        (
            "PutRecord",
            json!({"StreamName": "s", "PartitionKey": "k"}),
            validation,
        ),
        (
            "PutRecord",
            json!({"StreamName": "s", "Data": "?", "PartitionKey": "k"}),
            "SerializationException",
        ),
        (
            "PutRecord",
            json!({"StreamName": "s", "Data": "", "PartitionKey": "k", "ExplicitHashKey": "x"}),
            validation,
        ),
        (
            "PutRecord",
            json!({"StreamName": "s", "Data": "", "PartitionKey": "k", "ExplicitHashKey": too_large}),
            invalid,
        ),
        ("PutRecords", json!({"StreamName": "s"}), validation),
        (
            "PutRecords",
            json!({"StreamName": "s", "Records": []}),
            validation,
        ),
        (
            "PutRecords",
            json!({"StreamName": "t", "Records": [record]}),
            missing,
        ),
        (
            "PutRecords",
            json!({"StreamName": "s", "Records": [record, {}]}),
            validation,
        ),
        (
            "SplitShard",
            json!({"StreamName": "s", "ShardToSplit": id}),
            validation,
        ),
        (
            "MergeShards",
            json!({"StreamName": "s", "ShardToMerge": id}),
            validation,
        ),
        (
            "UpdateShardCount",
            json!({"StreamName": "s", "TargetShardCount": 2}),
            validation,
        ),
        (
            "UpdateShardCount",
            json!({"StreamName": "s", "TargetShardCount": 2, "ScalingType": "X"}),
            validation,
        ),
        (
            "UpdateShardCount",
            json!({"StreamName": "s", "TargetShardCount": 501, "ScalingType": "UNIFORM_SCALING"}),
            "LimitExceededException",
        ),
        ("AddTagsToStream", json!({"StreamName": "s"}), validation),
        (
            "RemoveTagsFromStream",
            json!({"StreamName": "s"}),
            validation,
        ),
        (
            "IncreaseStreamRetentionPeriod",
            json!({"StreamName": "s"}),
            validation,
        ),
        (
            "RegisterStreamConsumer",
            json!({"ConsumerName": "c"}),
            validation,
        ),
        (
            "DescribeStreamConsumer",
            json!({"ConsumerName": "c"}),
            invalid,
        ),
        (
            "DescribeStreamConsumer",
            json!({"ConsumerARN": "x"}),
            validation,
        ),
        ("DeregisterStreamConsumer", json!({}), invalid),
        ("SubscribeToShard", json!({}), "UnknownOperationException"),
        (
            "EnableEnhancedMonitoring",
            json!({}),
            "UnknownOperationException",
        ),
        (
            "DescribeStream",
            json!({"StreamName": 7}),
            "SerializationException",
        ),
        ("DescribeStream", json!([]), "SerializationException"),
    ];
    for (operation, body, expected) in table {
        assert_eq!(
            door.error(operation, body.clone()),
            expected,
            "{operation} {body}"
        );
    }
    assert_eq!(
        door.error_of("ListStreams", b"{\"Limit\":"),
        "SerializationException"
    );
    assert_eq!(
        door.error_of("ListStreams", b"\xff"),
        "SerializationException"
    );
    assert_eq!(
        door.call("ListStreams", b"").status,
        200,
        "an empty body has no members"
    );
    assert_eq!(
        handle(&mut door.kinesis, "ListStreams", b"{}", T0).error_type,
        Some("UnknownOperationException")
    );
    let it = door.iterator(id, "LATEST");
    assert_eq!(
        door.ok("ListShards", json!({"StreamName": "s"}))["Shards"]
            .as_array()
            .unwrap()
            .len(),
        1,
        "unharmed"
    );
    door.now += 300_000;
    assert_eq!(
        door.error("GetRecords", json!({"ShardIterator": it})),
        "ExpiredIteratorException"
    );
    door.kinesis.faults.fail.insert(Operation::ListShards, 1);
    assert_eq!(
        door.error("ListShards", json!({"StreamName": "s"})),
        "InternalFailureException"
    );
}

/// Members and values that the operations know, put together at random.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let names = [
        "StreamName",
        "StreamARN",
        "ShardCount",
        "StreamModeDetails",
        "Tags",
        "TagKeys",
        "Limit",
        "ShardId",
        "ShardIteratorType",
        "StartingSequenceNumber",
        "Timestamp",
        "ShardIterator",
        "Data",
        "PartitionKey",
        "ExplicitHashKey",
        "Records",
        "MaxResults",
        "NextToken",
        "ShardFilter",
        "ShardToSplit",
        "NewStartingHashKey",
        "ShardToMerge",
        "AdjacentShardToMerge",
        "TargetShardCount",
        "ScalingType",
        "ConsumerName",
        "ConsumerARN",
        "RetentionPeriodHours",
        "ExclusiveStartShardId",
    ];
    let value = prop_oneof![
        Just(json!("s")),
        Just(json!("arn:aws:kinesis:r:a:stream/s")),
        Just(json!("shardId-000000000000")),
        Just(json!("shardId-000000000001")),
        Just(json!("AT_TIMESTAMP")),
        Just(json!("AFTER_SEQUENCE_NUMBER")),
        Just(json!("UNIFORM_SCALING")),
        Just(json!(HALF)),
        Just(json!(MAX)),
        Just(json!("YWJj")),
        Just(json!(null)),
        Just(json!({"Type": "AT_TIMESTAMP", "Timestamp": -1e300})),
        Just(json!({"StreamMode": "ON_DEMAND"})),
        Just(json!([{"Data": "YQ==", "PartitionKey": "k"}])),
        Just(json!(["a"])),
        Just(json!({"a": "b"})),
        Just(json!("arn:aws:kinesis:r:a:stream/s/consumer/:")),
        Just(json!(i64::MIN)),
        Just(json!(i64::MAX)),
        any::<f64>().prop_map(|n| json!(n)),
        (0..100i64).prop_map(|n| json!(n)),
        "\\PC{0,20}".prop_map(|s| json!(s)),
    ];
    let object = prop::collection::vec((prop::sample::select(names.to_vec()), value), 0..8)
        .prop_map(|members| {
            Value::Object(
                members
                    .into_iter()
                    .map(|(k, v)| (k.to_owned(), v))
                    .collect(),
            )
        });
    prop_oneof![
        8 => object.prop_map(|value| value.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..60),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_body_makes_it_panic(
        calls in prop::collection::vec((prop::sample::select(Operation::ALL.to_vec()), body(), 0..1_000i64), 1..25),
    ) {
        let mut door = Door::with_stream(2);
        door.kinesis = Kinesis::new(Options { enforce_limits: true, shard_limit: 200, ..Options::default() });
        door.ok("CreateStream", json!({"StreamName": "s", "ShardCount": 2}));
        for (operation, body, wait) in calls {
            door.now += wait;
            let response = door.call(operation.name(), &body);
            prop_assert!(response.body.is_empty() || serde_json::from_slice::<Value>(&response.body).is_ok());
            prop_assert_eq!(response.status == 200, response.error_type.is_none());
        }
    }
}
