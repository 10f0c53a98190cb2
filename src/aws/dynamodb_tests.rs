use super::*;
use crate::aws::clients;
use crate::aws::testing::{FakeService, QuickClock, Reply, settings};
use crate::core::ids::ShardId;
use crate::core::sequence::{ExtendedSequenceNumber, Position};
use serde_json::{Value, json};

async fn store(service: &FakeService) -> DynamoDbLeaseStore {
    let client = clients::dynamodb(&settings(), &service.access())
        .await
        .unwrap();
    let table = TableSettings {
        name: "app".to_owned(),
        legacy_coordinator: "app-CoordinatorState".to_owned(),
        deletion_protection: false,
        scan_segments: None,
        point_in_time_recovery: false,
    };
    DynamoDbLeaseStore::new(client, table, Arc::new(QuickClock::default()))
}

fn lease() -> Lease {
    Lease::new(
        LeaseKey::new("shardId-1"),
        ExtendedSequenceNumber::sentinel(Position::TrimHorizon),
        vec![ShardId::new("shardId-0")],
        None,
    )
}

fn missing() -> Reply {
    Reply::error(400, "ResourceNotFoundException", "no such table")
}

fn row(key: &str) -> Value {
    json!({
        "leaseKey": {"S": key}, "leaseCounter": {"N": "1"}, "checkpoint": {"S": "LATEST"},
        "checkpointSubSequenceNumber": {"N": "0"}, "ownerSwitchesSinceCheckpoint": {"N": "0"},
    })
}

#[tokio::test]
async fn a_scan_reads_all_pages_and_sorts_what_it_finds() {
    let service = FakeService::script(vec![
        Reply::ok(json!({"Items": [row("a")], "LastEvaluatedKey": {"leaseKey": {"S": "a"}}})),
        Reply::Broken,
        Reply::ok(json!({"Items": [], "LastEvaluatedKey": {"leaseKey": {"S": "b"}}})),
        Reply::ok(json!({"Items": [
            row("c"),
            {"leaseKey": {"S": "w"}, "entityType": {"S": "WORKER_METRIC_STATS"}},
            {"leaseKey": {"S": "x"}, "leaseCounter": {"S": "one"}},
        ]})),
    ]);
    let scan = store(&service).await.scan().await.unwrap();
    let keys: Vec<&str> = scan.leases.iter().map(|lease| lease.key.as_str()).collect();
    assert_eq!(keys, ["a", "c"]);
    assert_eq!(
        (scan.foreign[0].key.as_str(), scan.foreign[0].kind.as_str()),
        ("w", "WORKER_METRIC_STATS")
    );
    assert_eq!(scan.unreadable[0].key, "x");
    assert!(scan.bytes > 150 && scan.bytes < 600, "{}", scan.bytes);
    let bodies: Vec<Value> = service.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(
        bodies,
        [
            json!({"TableName": "app"}),
            json!({"TableName": "app", "ExclusiveStartKey": {"leaseKey": {"S": "a"}}}),
            json!({"TableName": "app", "ExclusiveStartKey": {"leaseKey": {"S": "a"}}}),
            json!({"TableName": "app", "ExclusiveStartKey": {"leaseKey": {"S": "b"}}}),
        ]
    );
}

/// A part that fails fails the whole; else the parts make one scan, in order.
#[tokio::test]
async fn a_table_is_scanned_in_parts_when_that_is_wanted() {
    let service = FakeService::new(|_, body| {
        let segment = body["Segment"].as_u64().unwrap();
        assert_eq!(body["TotalSegments"], 3);
        Reply::ok(json!({"Items": [row(&format!("s{segment}"))]}))
    });
    let mut store = store(&service).await;
    store.table.settings.scan_segments = Some(3);
    let scan = store.scan().await.unwrap();
    let keys: Vec<&str> = scan.leases.iter().map(|lease| lease.key.as_str()).collect();
    assert_eq!(keys, ["s0", "s1", "s2"]);

    let broken = FakeService::new(|_, body| match body["Segment"].as_u64() {
        Some(1) => Reply::error(400, "ValidationException", "x"),
        _ => Reply::ok(json!({"Items": []})),
    });
    let mut store = self::store(&broken).await;
    store.table.settings.scan_segments = Some(2);
    assert!(store.scan().await.is_err());
}

#[tokio::test]
async fn the_number_of_parts_follows_the_size_of_the_table() {
    let service = FakeService::script(vec![Reply::ok(json!({"Items": []}))]);
    let store = store(&service).await;
    for (bytes, segments) in [(0, 1), (4 << 20, 2), (9 << 20, 3), (1 << 30, 32)] {
        store.last_size.store(bytes, Ordering::Relaxed);
        assert_eq!(store.segments(), segments, "{bytes}");
    }
}

#[tokio::test]
async fn a_row_that_is_no_lease_is_an_error_with_its_reason() {
    let cases = [
        (
            json!({"leaseKey": {"S": "k"}, "leaseCounter": {"S": "x"}}),
            "leaseCounter",
        ),
        (
            json!({"leaseKey": {"S": "k"}, "entityType": {"S": "LEADER"}}),
            "LEADER",
        ),
    ];
    for (item, wanted) in cases {
        let service = FakeService::script(vec![Reply::ok(json!({"Item": item}))]);
        let error = store(&service)
            .await
            .get(&LeaseKey::new("k"))
            .await
            .unwrap_err();
        assert!(
            matches!(&error, StoreError::Fatal(why) if why.contains(wanted)),
            "{error:?}"
        );
    }
    let service = FakeService::script(vec![Reply::ok(json!({}))]);
    assert_eq!(
        store(&service).await.get(&LeaseKey::new("k")).await,
        Ok(None)
    );
    assert_eq!(
        service.seen()[0].body,
        json!({"TableName": "app", "Key": {"leaseKey": {"S": "k"}}, "ConsistentRead": true})
    );
}

#[tokio::test]
async fn an_update_is_sent_once_and_its_outcome_is_never_guessed() {
    enum Wanted {
        Unknown,
        Error(fn(&StoreError) -> bool),
    }
    use Wanted::{Error, Unknown};
    let conflict = json!({"__type": "ConditionalCheckFailedException", "message": "no", "Item": row("shardId-1")});
    let cases = [
        (Reply::Silent, Unknown),
        (Reply::Broken, Unknown),
        (Reply::error(500, "InternalServerError", "x"), Unknown),
        (Reply::Text(503, "<html>"), Unknown),
        (Reply::Text(200, "{\"Attributes\": 7"), Unknown),
        (Reply::ok(json!({})), Unknown),
        (
            Reply::ok(json!({"Attributes": {"leaseKey": {"S": "shardId-1"}}})),
            Unknown,
        ),
        (
            Reply::Refused,
            Error(|e| matches!(e, StoreError::Unavailable(_))),
        ),
        (
            Reply::error(400, "ProvisionedThroughputExceededException", "x"),
            Error(|e| matches!(e, StoreError::Throttled(_))),
        ),
        (
            Reply::error(400, "ValidationException", "x"),
            Error(|e| matches!(e, StoreError::Fatal(_))),
        ),
        (
            Reply::error(400, "AccessDeniedException", "x"),
            Error(|e| matches!(e, StoreError::Denied(_))),
        ),
        (
            missing(),
            Error(|e| matches!(e, StoreError::TableMissing(_))),
        ),
    ];
    for (reply, wanted) in cases {
        let shown = format!("{reply:?}");
        // Whatever comes first, a second attempt would succeed.
        let service = FakeService::script(vec![
            reply,
            Reply::ok(json!({"Attributes": row("shardId-1")})),
        ]);
        let result = store(&service).await.update(&lease().renewal()).await;
        match wanted {
            Unknown => assert!(
                matches!(&result, Ok(Written::Unknown(why)) if why.contains("shardId-1")),
                "{shown}: {result:?}"
            ),
            Error(check) => assert!(result.as_ref().is_err_and(check), "{shown}: {result:?}"),
        }
        assert_eq!(service.operations(), ["UpdateItem"], "{shown}");
    }
    let service = FakeService::script(vec![Reply::Json(400, conflict)]);
    let result = store(&service).await.update(&lease().renewal()).await;
    assert!(
        matches!(&result, Ok(Written::Lost(Some(row))) if row.counter.0 == 1),
        "{result:?}"
    );
    let bare = FakeService::script(vec![Reply::error(
        400,
        "ConditionalCheckFailedException",
        "no",
    )]);
    assert_eq!(
        store(&bare).await.update(&lease().renewal()).await,
        Ok(Written::Lost(None))
    );
    assert_eq!(
        bare.seen()[0].body,
        json!({
            "TableName": "app",
            "Key": {"leaseKey": {"S": "shardId-1"}},
            "UpdateExpression": "SET leaseCounter = :next",
            "ConditionExpression": "leaseCounter = :seen",
            "ExpressionAttributeValues": {":seen": {"N": "0"}, ":next": {"N": "1"}},
            "ReturnValues": "ALL_NEW",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        })
    );
}

#[tokio::test]
async fn creates_and_deletes_are_sent_once_too() {
    for reply in [
        Reply::Broken,
        Reply::Silent,
        Reply::error(500, "InternalServerError", "x"),
    ] {
        let service = FakeService::script(vec![reply, Reply::ok(json!({}))]);
        let store = store(&service).await;
        assert!(
            store
                .create(&lease())
                .await
                .is_err_and(|error| error.is_transient())
        );
        assert_eq!(service.operations(), ["PutItem"]);
        assert_eq!(store.delete(&LeaseDeletion::of(&lease())).await, Ok(true));
    }
    let service = FakeService::script(vec![Reply::Broken, Reply::ok(json!({}))]);
    assert!(
        store(&service)
            .await
            .delete(&LeaseDeletion::of(&lease()))
            .await
            .is_err()
    );
    assert_eq!(service.operations(), ["DeleteItem"]);
}

#[cfg(feature = "local")]
mod embedded {
    use super::*;
    use crate::core::ids::WorkerId;

    /// The whole life of a lease, with every expression judged by a DynamoDB that is not ours.
    #[tokio::test]
    async fn every_write_does_in_dynamodb_what_it_means() {
        use crate::core::hash_range::HashRange;
        use crate::core::sequence::SequenceNumber;
        let service = crate::aws::testing::embedded_dynamodb();
        let store = store(&service).await;
        assert_eq!(store.ensure_table(false).await, Ok(true));
        assert_eq!(store.ensure_table(false).await, Ok(false));
        assert_eq!(store.legacy_coordinator_table().await, Ok(None));

        let new = lease();
        assert_eq!(store.get(&new.key).await, Ok(None));
        assert_eq!(store.create(&new).await, Ok(Created::New));
        assert_eq!(store.create(&new).await, Ok(Created::Existed));
        assert_eq!(store.get(&new.key).await, Ok(Some(new.clone())));

        let (a, b) = (WorkerId::new("a"), WorkerId::new("b"));
        let number = ExtendedSequenceNumber::record(
            SequenceNumber::parse("495000000000000000000000000000000001").unwrap(),
            3,
        );
        type Step = Box<dyn Fn(&Lease) -> LeaseUpdate>;
        let steps: Vec<Step> = vec![
            Box::new(move |lease| lease.taken_by(&a)),
            Box::new(Lease::renewal),
            Box::new({
                let b = b.clone();
                move |lease| lease.taken_by(&b)
            }),
            Box::new(move |lease| lease.checkpointed(number.clone())),
            Box::new(|lease| lease.with_hash_range(HashRange::FULL)),
            Box::new(|lease| {
                lease.with_children(vec![ShardId::new("shardId-8"), ShardId::new("shardId-9")])
            }),
            Box::new(move |lease| lease.released(&b)),
            Box::new(|lease| lease.checkpointed(ExtendedSequenceNumber::SHARD_END)),
        ];
        let mut current = new.clone();
        for step in steps {
            let update = step(&current);
            let expected = update.applied_to(&current);
            assert_eq!(
                store.update(&update).await,
                Ok(Written::Applied(expected.clone())),
                "{update:?}"
            );
            assert_eq!(
                store.get(&new.key).await,
                Ok(Some(expected.clone())),
                "{update:?}"
            );
            // What relied on the row before is refused, and told the row as it is.
            if expected.counter != current.counter {
                assert_eq!(
                    store.update(&update).await,
                    Ok(Written::Lost(Some(expected.clone()))),
                    "{update:?}"
                );
            }
            current = expected;
        }
        let stranger = current.released(&WorkerId::new("c"));
        assert_eq!(
            store.update(&stranger).await,
            Ok(Written::Lost(Some(current.clone())))
        );
        let nowhere = LeaseUpdate {
            key: LeaseKey::new("elsewhere"),
            ..current.with_children(vec![])
        };
        assert_eq!(
            store.update(&nowhere).await,
            Ok(Written::Lost(None)),
            "no update creates a row"
        );

        let scan = store.scan().await.unwrap();
        assert_eq!(
            (
                scan.leases.as_slice(),
                scan.foreign.len(),
                scan.unreadable.len()
            ),
            (&[current.clone()][..], 0, 0)
        );
        assert_eq!(store.delete(&LeaseDeletion::of(&new)).await, Ok(false));
        assert_eq!(store.delete(&LeaseDeletion::of(&current)).await, Ok(true));
        assert_eq!(store.delete(&LeaseDeletion::of(&current)).await, Ok(false));
        assert_eq!(store.get(&new.key).await, Ok(None));
    }

    /// Attributes that only other versions know survive every write (I.11), and what a Java worker
    /// prepared or handed over is cleared by the writes that clear it.
    #[tokio::test]
    async fn foreign_attributes_survive_and_left_overs_go() {
        let service = crate::aws::testing::embedded_dynamodb();
        let store = store(&service).await;
        store.ensure_table(false).await.unwrap();
        let mut item = item::write(&lease());
        for (name, value) in [
            ("throughputKBps", AttributeValue::N("1.5".to_owned())),
            ("entityType", AttributeValue::S("LEASE".to_owned())),
            ("somethingNew", AttributeValue::Bool(true)),
            ("checkpointOwner", AttributeValue::S("gone".to_owned())),
            ("pendingCheckpoint", AttributeValue::S("77".to_owned())),
            (
                "pendingCheckpointSubSequenceNumber",
                AttributeValue::N("0".to_owned()),
            ),
            (
                "pendingCheckpointState",
                AttributeValue::B(aws_sdk_dynamodb::primitives::Blob::new([1, 2])),
            ),
        ] {
            item.insert(name.to_owned(), value);
        }
        store
            .client()
            .put_item()
            .table_name("app")
            .set_item(Some(item))
            .send()
            .await
            .unwrap();

        let mut current = store.get(&lease().key).await.unwrap().unwrap();
        assert!(current.pending.is_some() && current.checkpoint_owner.is_some());
        for update in [
            current.taken_by(&WorkerId::new("a")),
            current
                .taken_by(&WorkerId::new("a"))
                .applied_to(&current)
                .checkpointed(ExtendedSequenceNumber::SHARD_END),
        ] {
            match store.update(&update).await {
                Ok(Written::Applied(row)) => current = row,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(
            (&current.pending, &current.checkpoint_owner),
            (&None, &None)
        );
        let raw = store.scan().await.unwrap();
        assert_eq!(raw.leases, [current]);
        let item = store
            .client()
            .get_item()
            .table_name("app")
            .set_key(Some(key_item(&lease().key)))
            .send()
            .await
            .unwrap();
        let item = item.item.unwrap();
        for name in ["throughputKBps", "entityType", "somethingNew"] {
            assert!(item.contains_key(name), "{name} got lost");
        }
        for name in [
            "pendingCheckpoint",
            "pendingCheckpointSubSequenceNumber",
            "pendingCheckpointState",
        ] {
            assert!(!item.contains_key(name), "{name} is still there");
        }
    }
}
