use super::*;
use crate::aws::clients;
use crate::aws::testing::{FakeService, Reply, settings};
use serde_json::{Value, json};

const ARN: &str = "arn:aws:kinesis:eu-west-9:111122223333:stream/orders";

async fn by_name(service: &FakeService) -> KinesisStream {
    let client = clients::kinesis(&settings(), &service.access())
        .await
        .unwrap();
    KinesisStream::new(client, StreamRef::Name("orders".to_owned()))
}

async fn by_arn(service: &FakeService) -> KinesisStream {
    let client = clients::kinesis(&settings(), &service.access())
        .await
        .unwrap();
    KinesisStream::new(
        client,
        StreamRef::Arn {
            arn: ARN.to_owned(),
            name: "orders".to_owned(),
        },
    )
}

fn shard(id: &str) -> Value {
    json!({
        "ShardId": id,
        "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "9"},
        "SequenceNumberRange": {"StartingSequenceNumber": "495"},
    })
}

/// The JSON of a shard with one part replaced; NULL removes it.
fn altered(mut value: Value, part: &str, replacement: Value) -> Value {
    if replacement.is_null() {
        value.as_object_mut().unwrap().remove(part);
    } else {
        value[part] = replacement;
    }
    value
}

#[tokio::test]
async fn listing_sends_name_and_filter_first_and_then_the_token_alone() {
    let service = FakeService::script(vec![
        Reply::ok(json!({"Shards": [shard("shardId-1")], "NextToken": "t1"})),
        Reply::ok(json!({"Shards": [], "NextToken": "t2"})),
        Reply::ok(json!({"Shards": [shard("shardId-2")]})),
    ]);
    let shards = by_name(&service)
        .await
        .list_shards(ShardFilter::AtTimestamp(1_700_000_000_123))
        .await
        .unwrap();
    let ids: Vec<&str> = shards.iter().map(|shard| shard.id.as_str()).collect();
    assert_eq!(ids, ["shardId-1", "shardId-2"]);
    let bodies: Vec<Value> = service.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(
        bodies,
        [
            json!({"StreamName": "orders", "ShardFilter": {"Type": "AT_TIMESTAMP", "Timestamp": 1_700_000_000.123}}),
            json!({"NextToken": "t1"}),
            json!({"NextToken": "t2"}),
        ]
    );
}

#[tokio::test]
async fn a_page_that_names_itself_ends_the_listing() {
    let service = FakeService::script(vec![Reply::ok(
        json!({"Shards": [shard("shardId-1")], "NextToken": "t"}),
    )]);
    let error = by_name(&service)
        .await
        .list_shards(ShardFilter::All)
        .await
        .unwrap_err();
    assert_eq!(error.kind, StreamErrorKind::Fatal);
    assert_eq!(service.seen().len(), 2);
}

#[tokio::test]
async fn filters_in_the_services_words() {
    let cases = [
        (ShardFilter::All, Value::Null),
        (ShardFilter::AtLatest, json!({"Type": "AT_LATEST"})),
        (
            ShardFilter::AtTrimHorizon,
            json!({"Type": "AT_TRIM_HORIZON"}),
        ),
    ];
    for (filter, wanted) in cases {
        let service = FakeService::script(vec![Reply::ok(json!({"Shards": []}))]);
        assert_eq!(
            by_name(&service).await.list_shards(filter).await.unwrap(),
            []
        );
        assert_eq!(service.seen()[0].body["ShardFilter"], wanted);
    }
}

#[tokio::test]
async fn a_shard_as_the_service_describes_it() {
    let merged = json!({
        "ShardId": "shardId-3",
        "ParentShardId": "shardId-1",
        "AdjacentParentShardId": "shardId-2",
        "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "340282366920938463463374607431768211455"},
        "SequenceNumberRange": {"StartingSequenceNumber": "495", "EndingSequenceNumber": "500"},
    });
    let service = FakeService::script(vec![Reply::ok(
        json!({"Shards": [merged, shard("shardId-4")]}),
    )]);
    let shards = by_name(&service)
        .await
        .list_shards(ShardFilter::All)
        .await
        .unwrap();
    assert_eq!(
        shards[0],
        Shard {
            id: ShardId::new("shardId-3"),
            parents: vec![ShardId::new("shardId-1"), ShardId::new("shardId-2")],
            hash_range: HashRange::FULL,
            starting_sequence: SequenceNumber::parse("495").unwrap(),
            closed: true,
        }
    );
    assert!(shards[1].parents.is_empty() && !shards[1].closed);
}

#[tokio::test]
async fn shards_that_cannot_be_used_are_named() {
    let good = || shard("shardId-1");
    let cases = [
        (altered(good(), "ShardId", json!("")), "no id"),
        (
            altered(good(), "HashKeyRange", Value::Null),
            "'shardId-1' has no hash key range",
        ),
        (
            altered(
                good(),
                "HashKeyRange",
                json!({"StartingHashKey": "9", "EndingHashKey": "0"}),
            ),
            "'shardId-1' has the hash key range '9' to '0'",
        ),
        (
            altered(good(), "SequenceNumberRange", Value::Null),
            "'shardId-1' has no sequence number range",
        ),
        (
            altered(
                good(),
                "SequenceNumberRange",
                json!({"StartingSequenceNumber": "x"}),
            ),
            "starts at 'x'",
        ),
    ];
    for (shard, wanted) in cases {
        let service = FakeService::script(vec![Reply::ok(json!({"Shards": [shard]}))]);
        let error = by_name(&service)
            .await
            .list_shards(ShardFilter::All)
            .await
            .unwrap_err();
        assert_eq!(error.kind, StreamErrorKind::Fatal);
        assert!(
            error.message.contains(wanted) && error.message.contains("stream orders"),
            "{}",
            error.message
        );
    }
}

#[tokio::test]
async fn iterators_start_where_they_are_told_to() {
    let number =
        SequenceNumber::parse("49650000000000000000000000000000000000000000000000000002").unwrap();
    let digits = number.as_str().to_owned();
    let cases = [
        (
            IteratorStart::Latest,
            json!({"ShardIteratorType": "LATEST"}),
        ),
        (
            IteratorStart::TrimHorizon,
            json!({"ShardIteratorType": "TRIM_HORIZON"}),
        ),
        (
            IteratorStart::AtTimestamp(1_700_000_000_001),
            json!({"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1_700_000_000.001}),
        ),
        (
            IteratorStart::AtSequenceNumber(number.clone()),
            json!({"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": digits}),
        ),
        (
            IteratorStart::AfterSequenceNumber(number),
            json!({"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": digits}),
        ),
    ];
    for (start, wanted) in cases {
        let service = FakeService::script(vec![Reply::ok(json!({"ShardIterator": "it"}))]);
        let iterator = by_arn(&service)
            .await
            .iterator(&ShardId::new("shardId-1"), &start)
            .await
            .unwrap();
        assert_eq!(iterator, Some(ShardIterator("it".to_owned())));
        let mut wanted = wanted;
        wanted["StreamARN"] = json!(ARN);
        wanted["ShardId"] = json!("shardId-1");
        assert_eq!(service.seen()[0].body, wanted);
    }
}

#[tokio::test]
async fn an_iterator_that_is_not_given_is_none() {
    for answer in [
        json!({}),
        json!({"ShardIterator": ""}),
        json!({"ShardIterator": null}),
    ] {
        let service = FakeService::script(vec![Reply::ok(answer)]);
        let iterator = by_name(&service)
            .await
            .iterator(&ShardId::new("s"), &IteratorStart::Latest)
            .await
            .unwrap();
        assert_eq!(iterator, None);
    }
}

fn record(sequence: &str) -> Value {
    json!({"SequenceNumber": sequence, "PartitionKey": "k", "Data": "AP8=", "ApproximateArrivalTimestamp": 1_700_000_000.123})
}

async fn page(service: &FakeService) -> Result<RecordsPage, StreamError> {
    let iterator = ShardIterator("it".to_owned());
    by_arn(service)
        .await
        .get_records(&ShardId::new("shardId-1"), &iterator, 10_000)
        .await
}

#[tokio::test]
async fn a_page_of_records() {
    let service = FakeService::script(vec![Reply::ok(
        json!({"Records": [record("495"), record("496")], "NextShardIterator": "next", "MillisBehindLatest": 7}),
    )]);
    let page = page(&service).await.unwrap();
    assert_eq!(
        page.records[0],
        Record {
            sequence_number: SequenceNumber::parse("495").unwrap(),
            partition_key: "k".to_owned(),
            data: Bytes::from_static(&[0, 255]),
            arrival_millis: 1_700_000_000_123,
        }
    );
    assert_eq!(page.records.len(), 2);
    assert_eq!(page.next, Some(ShardIterator("next".to_owned())));
    assert_eq!(page.millis_behind_latest, Some(7));
    assert_eq!(page.children, []);
    assert_eq!(
        service.seen()[0].body,
        json!({"ShardIterator": "it", "Limit": 10_000, "StreamARN": ARN})
    );
}

#[tokio::test]
async fn no_limit_is_sent_that_the_service_refuses() {
    for (limit, sent) in [(0, 1), (500, 500), (u32::MAX, 10_000)] {
        let service = FakeService::script(vec![Reply::ok(json!({"Records": []}))]);
        let iterator = ShardIterator("it".to_owned());
        by_name(&service)
            .await
            .get_records(&ShardId::new("s"), &iterator, limit)
            .await
            .unwrap();
        assert_eq!(
            service.seen()[0].body,
            json!({"ShardIterator": "it", "Limit": sent})
        );
    }
}

#[tokio::test]
async fn arrival_times_are_exact_to_the_millisecond() {
    for millis in (1_763_665_000_000_i64..1_763_665_001_000).step_by(7) {
        let seconds = format!("{}.{:03}", millis / 1000, millis % 1000);
        let body = format!(
            r#"{{"Records":[{{"SequenceNumber":"7","Data":"","ApproximateArrivalTimestamp":{seconds}}}]}}"#
        );
        let service = FakeService::script(vec![Reply::Text(200, Box::leak(body.into_boxed_str()))]);
        assert_eq!(
            page(&service).await.unwrap().records[0].arrival_millis,
            millis
        );
    }
}

#[tokio::test]
async fn the_end_of_a_shard_names_its_children() {
    let child = json!({
        "ShardId": "shardId-9",
        "ParentShards": ["shardId-1", "shardId-2"],
        "HashKeyRange": {"StartingHashKey": "5", "EndingHashKey": "5"},
    });
    let service = FakeService::script(vec![Reply::ok(
        json!({"Records": [], "ChildShards": [child]}),
    )]);
    let page = page(&service).await.unwrap();
    assert_eq!(page.next, None);
    assert_eq!(
        page.children,
        [ChildShard {
            id: ShardId::new("shardId-9"),
            parents: vec![ShardId::new("shardId-1"), ShardId::new("shardId-2")],
            hash_range: HashRange { start: 5, end: 5 },
        }]
    );
}

#[tokio::test]
async fn records_without_what_matters_are_errors_and_without_the_rest_are_read() {
    let bare = json!({"Records": [{"SequenceNumber": "7", "Data": "", "PartitionKey": null}]});
    let service = FakeService::script(vec![Reply::ok(bare)]);
    let read = page(&service).await.unwrap();
    assert_eq!(
        (
            read.records[0].partition_key.as_str(),
            read.records[0].arrival_millis
        ),
        ("", 0)
    );
    for broken in [
        json!({"Records": [{"Data": "", "PartitionKey": "k"}]}),
        json!({"Records": [{"SequenceNumber": "", "Data": ""}]}),
        json!({"Records": [{"SequenceNumber": "TRIM_HORIZON", "Data": ""}]}),
        json!({"Records": [], "ChildShards": [{"ShardId": "", "ParentShards": ["a"]}]}),
        json!({"Records": [], "ChildShards": [{"ShardId": "c", "ParentShards": ["a"]}]}),
    ] {
        let service = FakeService::script(vec![Reply::ok(broken.clone())]);
        let error = page(&service).await.unwrap_err();
        assert_eq!(error.kind, StreamErrorKind::Fatal, "{broken}");
        assert!(
            error
                .message
                .starts_with("GetRecords on shard shardId-1 of stream orders"),
            "{}",
            error.message
        );
    }
}

#[tokio::test]
async fn describing_tells_whether_it_can_be_read() {
    for (status, readable) in [
        ("ACTIVE", true),
        ("UPDATING", true),
        ("CREATING", false),
        ("DELETING", false),
        ("NEW", false),
    ] {
        let summary = json!({"StreamDescriptionSummary": {
            "StreamName": "orders", "StreamARN": ARN, "StreamStatus": status, "RetentionPeriodHours": 24,
            "StreamCreationTimestamp": 1, "EnhancedMonitoring": [], "OpenShardCount": 1,
        }});
        let service = FakeService::script(vec![Reply::ok(summary)]);
        let summary = by_name(&service).await.describe().await.unwrap();
        assert_eq!(
            summary,
            StreamSummary {
                arn: ARN.to_owned(),
                readable,
                status: status.to_owned()
            }
        );
        assert_eq!(service.seen()[0].body, json!({"StreamName": "orders"}));
    }
}

#[tokio::test]
async fn a_stumble_is_repeated_once_and_nothing_else_is() {
    let good = Reply::ok(json!({"Records": []}));
    let cases = [
        (vec![Reply::Broken, good.clone()], None, 2),
        (
            vec![Reply::error(500, "InternalFailure", "x"), good.clone()],
            None,
            2,
        ),
        (vec![Reply::Text(502, "<html>"), good.clone()], None, 2),
        (vec![Reply::Text(200, "{"), good.clone()], None, 2),
        (
            vec![Reply::Broken, Reply::Broken, good.clone()],
            Some(StreamErrorKind::Retry),
            2,
        ),
        (
            vec![
                Reply::error(400, "ProvisionedThroughputExceededException", "x"),
                good.clone(),
            ],
            Some(StreamErrorKind::SlowDown),
            1,
        ),
        (
            vec![
                Reply::error(400, "ExpiredIteratorException", "x"),
                good.clone(),
            ],
            Some(StreamErrorKind::Expired),
            1,
        ),
        (
            vec![Reply::Refused, good.clone()],
            Some(StreamErrorKind::Retry),
            1,
        ),
        (vec![Reply::Silent, good], Some(StreamErrorKind::Retry), 1),
    ];
    for (replies, kind, calls) in cases {
        let shown = format!("{replies:?}");
        let service = FakeService::script(replies);
        let result = page(&service).await;
        assert_eq!(result.err().map(|error| error.kind), kind, "{shown}");
        assert_eq!(service.seen().len(), calls, "{shown}");
    }
}
