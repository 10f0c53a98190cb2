//! The JSON door.

mod refusals;

use serde_json::{Value, json};

use super::super::*;

const T0: i64 = 1_700_000_000_123;
const HALF: &str = "170141183460469231731687303715884105728";
const MAX: &str = "340282366920938463463374607431768211455";

struct Door {
    kinesis: Kinesis,
    now: i64,
}

impl Door {
    fn new() -> Self {
        Self {
            kinesis: Kinesis::new(Options::default()),
            now: T0,
        }
    }

    fn with_stream(shards: usize) -> Self {
        let mut door = Self::new();
        door.ok(
            "CreateStream",
            json!({"StreamName": "s", "ShardCount": shards}),
        );
        door
    }

    fn call(&mut self, operation: &str, body: &[u8]) -> Response {
        handle(
            &mut self.kinesis,
            &format!("Kinesis_20131202.{operation}"),
            body,
            self.now,
        )
    }

    fn ok(&mut self, operation: &str, body: Value) -> Value {
        let response = self.call(operation, body.to_string().as_bytes());
        assert_eq!(
            response.error_type,
            None,
            "{operation}: {}",
            String::from_utf8_lossy(&response.body)
        );
        assert_eq!(response.status, 200);
        if response.body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&response.body).unwrap()
        }
    }

    /// The error's name, after checking that status and body agree with it.
    fn error(&mut self, operation: &str, body: Value) -> &'static str {
        self.error_of(operation, body.to_string().as_bytes())
    }

    fn error_of(&mut self, operation: &str, body: &[u8]) -> &'static str {
        let response = self.call(operation, body);
        let name = response
            .error_type
            .unwrap_or_else(|| panic!("{operation} succeeded"));
        let body: Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(body["__type"], name);
        assert!(
            body["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty())
        );
        assert_eq!(
            response.status,
            if name == "InternalFailureException" {
                500
            } else {
                400
            }
        );
        name
    }

    fn iterator(&mut self, shard: &str, kind: &str) -> String {
        let body = json!({"StreamName": "s", "ShardId": shard, "ShardIteratorType": kind});
        self.ok("GetShardIterator", body)["ShardIterator"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

#[test]
fn streams() {
    let mut door = Door::new();
    let tags = json!({"StreamName": "s", "ShardCount": 1, "Tags": {"team": "x"}});
    assert_eq!(door.ok("CreateStream", tags), Value::Null);
    door.ok(
        "CreateStream",
        json!({"StreamName": "d", "StreamModeDetails": {"StreamMode": "ON_DEMAND"}}),
    );
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/s";
    let summary = json!({"StreamDescriptionSummary": {
        "StreamName": "s", "StreamARN": arn, "StreamStatus": "ACTIVE", "StreamModeDetails": {"StreamMode": "PROVISIONED"},
        "RetentionPeriodHours": 24, "StreamCreationTimestamp": 1_700_000_000.123, "EncryptionType": "NONE",
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}], "OpenShardCount": 1, "ConsumerCount": 0,
    }});
    for body in [
        json!({"StreamName": "s"}),
        json!({"StreamARN": arn}),
        json!({"StreamName": "s", "StreamARN": arn}),
    ] {
        assert_eq!(door.ok("DescribeStreamSummary", body), summary);
    }
    let description =
        &door.ok("DescribeStream", json!({"StreamName": "d", "Limit": 3}))["StreamDescription"];
    assert_eq!(description["StreamModeDetails"]["StreamMode"], "ON_DEMAND");
    assert_eq!(
        (
            description["Shards"].as_array().unwrap().len(),
            &description["HasMoreShards"]
        ),
        (3, &json!(true))
    );

    let first = door.ok("ListStreams", json!({"Limit": 1}));
    assert_eq!(
        (&first["StreamNames"], &first["HasMoreStreams"]),
        (&json!(["d"]), &json!(true))
    );
    let second = door.ok("ListStreams", json!({"NextToken": first["NextToken"]}));
    assert_eq!(
        (&second["StreamNames"], &second["HasMoreStreams"]),
        (&json!(["s"]), &json!(false))
    );
    assert_eq!(second["StreamSummaries"][0]["StreamARN"], arn);

    door.ok(
        "AddTagsToStream",
        json!({"StreamName": "s", "Tags": {"a": "1"}}),
    );
    door.ok(
        "RemoveTagsFromStream",
        json!({"StreamName": "s", "TagKeys": ["team"]}),
    );
    let tags = door.ok("ListTagsForStream", json!({"StreamARN": arn}));
    assert_eq!(
        tags,
        json!({"Tags": [{"Key": "a", "Value": "1"}], "HasMoreTags": false})
    );
    door.ok(
        "IncreaseStreamRetentionPeriod",
        json!({"StreamName": "s", "RetentionPeriodHours": 48}),
    );
    door.ok(
        "DecreaseStreamRetentionPeriod",
        json!({"StreamName": "s", "RetentionPeriodHours": 30}),
    );
    let summary = door.ok("DescribeStreamSummary", json!({"StreamName": "s"}));
    assert_eq!(
        summary["StreamDescriptionSummary"]["RetentionPeriodHours"],
        30
    );
    let limits = json!({"ShardLimit": 500, "OpenShardCount": 1, "OnDemandStreamCount": 1, "OnDemandStreamCountLimit": 50});
    assert_eq!(door.ok("DescribeLimits", json!({})), limits);
    door.ok("DeleteStream", json!({"StreamName": "s"}));
    assert_eq!(
        door.error("DescribeStream", json!({"StreamName": "s"})),
        "ResourceNotFoundException"
    );
}

#[test]
fn shards() {
    let mut door = Door::with_stream(1);
    door.ok("SplitShard", json!({"StreamName": "s", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": HALF}));
    let merge = json!({"StreamName": "s", "ShardToMerge": "shardId-000000000001", "AdjacentShardToMerge": "shardId-000000000002"});
    door.ok("MergeShards", merge);
    let update =
        json!({"StreamName": "s", "TargetShardCount": 2, "ScalingType": "UNIFORM_SCALING"});
    let expected = json!({"StreamName": "s", "StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/s",
        "CurrentShardCount": 1, "TargetShardCount": 2});
    assert_eq!(door.ok("UpdateShardCount", update), expected);

    let first = door.ok("ListShards", json!({"StreamName": "s", "MaxResults": 4}));
    let rest = door.ok("ListShards", json!({"NextToken": first["NextToken"]}));
    assert_eq!(rest.get("NextToken"), None);
    let all: Vec<_> = [&first, &rest]
        .iter()
        .flat_map(|page| page["Shards"].as_array().unwrap().clone())
        .collect();
    let parents = |i: usize| {
        [
            all[i]["ParentShardId"].as_str(),
            all[i]["AdjacentParentShardId"].as_str(),
        ]
    };
    assert_eq!(all.len(), 6);
    assert_eq!(parents(0), [None, None]);
    assert_eq!(parents(1), [Some("shardId-000000000000"), None]);
    assert_eq!(
        parents(3),
        [Some("shardId-000000000001"), Some("shardId-000000000002")]
    );
    assert_eq!(all[1]["HashKeyRange"]["StartingHashKey"], "0");
    assert_eq!(
        all[2]["HashKeyRange"],
        json!({"StartingHashKey": HALF, "EndingHashKey": MAX})
    );
    assert_eq!(
        all[0]["SequenceNumberRange"]["EndingSequenceNumber"]
            .as_str()
            .unwrap()
            .len(),
        56
    );
    assert_eq!(
        all[5]["SequenceNumberRange"].get("EndingSequenceNumber"),
        None
    );

    let mut count = |filter: Value| {
        let body = json!({"StreamARN": "arn:aws:kinesis:r:a:stream/s", "ShardFilter": filter});
        door.ok("ListShards", body)["Shards"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(count(json!({"Type": "FROM_TRIM_HORIZON"})), 6);
    assert_eq!(count(json!({"Type": "AT_TRIM_HORIZON"})), 1);
    assert_eq!(count(json!({"Type": "AT_LATEST"})), 2);
    // Each of the three reshardings took a millisecond of its own.
    assert_eq!(
        count(json!({"Type": "AT_TIMESTAMP", "Timestamp": 1_700_000_000.123})),
        1
    );
    assert_eq!(
        count(json!({"Type": "AT_TIMESTAMP", "Timestamp": 1_700_000_000.124})),
        2
    );
    assert_eq!(
        count(json!({"Type": "FROM_TIMESTAMP", "Timestamp": 1_700_000_000.126})),
        3
    );
    assert_eq!(
        count(json!({"Type": "FROM_TIMESTAMP", "Timestamp": 1_700_000_000.127})),
        2
    );
    assert_eq!(
        count(json!({"Type": "AFTER_SHARD_ID", "ShardId": "shardId-000000000001"})),
        4
    );
}

#[test]
fn records_go_in_and_come_out() {
    let mut door = Door::with_stream(1);
    let put = json!({"StreamName": "s", "Data": "aGVsbG8=", "PartitionKey": "p\"\\\n\u{1}ü", "ExplicitHashKey": MAX,
        "SequenceNumberForOrdering": "1"});
    let one = door.ok("PutRecord", put);
    assert_eq!(one["ShardId"], "shardId-000000000000");
    door.now += 1_877;
    let entries = json!({"StreamName": "s", "Records": [{"Data": "", "PartitionKey": "a"}, {"Data": "/+8=", "PartitionKey": "b"}]});
    door.kinesis.faults.throttle_entries = 1;
    let many = door.ok("PutRecords", entries);
    assert_eq!(many["FailedRecordCount"], 1);
    assert_eq!(
        many["Records"][0]["ErrorCode"],
        "ProvisionedThroughputExceededException"
    );
    assert!(
        many["Records"][0].get("SequenceNumber").is_none()
            && many["Records"][1].get("ErrorCode").is_none()
    );

    let it = door.iterator("shardId-000000000000", "TRIM_HORIZON");
    let page = door.ok("GetRecords", json!({"ShardIterator": it, "Limit": 10}));
    let expected = json!([
        {"SequenceNumber": one["SequenceNumber"], "ApproximateArrivalTimestamp": 1_700_000_000.123,
         "Data": "aGVsbG8=", "PartitionKey": "p\"\\\n\u{1}ü"},
        {"SequenceNumber": many["Records"][1]["SequenceNumber"], "ApproximateArrivalTimestamp": 1_700_000_002.0,
         "Data": "/+8=", "PartitionKey": "b"},
    ]);
    assert_eq!(page["Records"], expected);
    assert_eq!(page["MillisBehindLatest"], 0);
    assert!(page["NextShardIterator"].is_string() && page.get("ChildShards").is_none());
    let raw = door
        .call(
            "GetRecords",
            json!({"ShardIterator": it}).to_string().as_bytes(),
        )
        .body;
    let raw = String::from_utf8(raw).unwrap();
    assert!(
        raw.contains("\"ApproximateArrivalTimestamp\":1700000000.123,"),
        "{raw}"
    );
    assert!(
        raw.contains("\"ApproximateArrivalTimestamp\":1700000002.000,"),
        "{raw}"
    );

    door.ok("SplitShard", json!({"StreamName": "s", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": HALF}));
    let it = door.iterator("shardId-000000000000", "LATEST");
    let end = door.ok("GetRecords", json!({"ShardIterator": it}));
    let parents = json!(["shardId-000000000000"]);
    let expected = json!({"Records": [], "MillisBehindLatest": 0, "ChildShards": [
        {"ShardId": "shardId-000000000001", "ParentShards": parents,
         "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "170141183460469231731687303715884105727"}},
        {"ShardId": "shardId-000000000002", "ParentShards": parents,
         "HashKeyRange": {"StartingHashKey": HALF, "EndingHashKey": MAX}},
    ]});
    assert_eq!(end, expected);
}

#[test]
fn every_position_has_its_json() {
    let mut door = Door::with_stream(1);
    let put = |door: &mut Door, data: &str| {
        let body = json!({"StreamName": "s", "Data": data, "PartitionKey": "k"});
        door.ok("PutRecord", body)["SequenceNumber"].clone()
    };
    let number = put(&mut door, "YQ==");
    door.now += 1;
    put(&mut door, "Yg==");
    let table = [
        (json!({"ShardIteratorType": "TRIM_HORIZON"}), 2),
        (json!({"ShardIteratorType": "LATEST"}), 0),
        (
            json!({"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": number}),
            2,
        ),
        (
            json!({"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": number}),
            1,
        ),
        (
            json!({"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1_700_000_000}),
            2,
        ),
        (
            json!({"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1_700_000_000.123}),
            2,
        ),
        (
            json!({"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1.700000000124E9}),
            1,
        ),
    ];
    for (mut body, expected) in table {
        body["StreamARN"] = json!("arn:aws:kinesis:r:a:stream/s");
        body["ShardId"] = json!("shardId-000000000000");
        let it = door.ok("GetShardIterator", body.clone())["ShardIterator"].clone();
        let page = door.ok("GetRecords", json!({"ShardIterator": it}));
        assert_eq!(
            page["Records"].as_array().unwrap().len(),
            expected,
            "{body}"
        );
    }
}

#[test]
fn consumers() {
    let mut door = Door::with_stream(1);
    let stream = "arn:aws:kinesis:us-east-1:000000000000:stream/s";
    let registered = door.ok(
        "RegisterStreamConsumer",
        json!({"StreamARN": stream, "ConsumerName": "c"}),
    );
    let consumer = json!({"ConsumerName": "c", "ConsumerARN": format!("{stream}/consumer/c:1700000000"),
        "ConsumerStatus": "ACTIVE", "ConsumerCreationTimestamp": 1_700_000_000.123});
    assert_eq!(registered, json!({"Consumer": consumer}));
    door.ok(
        "RegisterStreamConsumer",
        json!({"StreamARN": stream, "ConsumerName": "d"}),
    );
    let mut description = consumer.clone();
    description["StreamARN"] = json!(stream);
    let description = json!({"ConsumerDescription": description});
    for body in [
        json!({"StreamARN": stream, "ConsumerName": "c"}),
        json!({"ConsumerARN": consumer["ConsumerARN"]}),
    ] {
        assert_eq!(door.ok("DescribeStreamConsumer", body), description);
    }
    let first = door.ok(
        "ListStreamConsumers",
        json!({"StreamARN": stream, "MaxResults": 1}),
    );
    assert_eq!(first["Consumers"], json!([consumer]));
    let second = door.ok(
        "ListStreamConsumers",
        json!({"StreamARN": stream, "NextToken": first["NextToken"]}),
    );
    assert_eq!(
        (
            &second["Consumers"][0]["ConsumerName"],
            second.get("NextToken")
        ),
        (&json!("d"), None)
    );
    door.ok(
        "DeregisterStreamConsumer",
        json!({"ConsumerARN": consumer["ConsumerARN"]}),
    );
    door.ok(
        "DeregisterStreamConsumer",
        json!({"StreamARN": stream, "ConsumerName": "d"}),
    );
    assert_eq!(
        door.ok("ListStreamConsumers", json!({"StreamARN": stream})),
        json!({"Consumers": []})
    );
}
