use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::aws::clients;
use crate::aws::table::TableSettings;
use crate::aws::testing::{self, FakeService, QuickClock, Reply};

async fn table(service: &FakeService) -> LeaseTable {
    let client = clients::dynamodb(&testing::settings(), &service.access())
        .await
        .unwrap();
    LeaseTable {
        client,
        settings: TableSettings {
            name: "app".to_owned(),
            legacy_coordinator: "app-CoordinatorState".to_owned(),
            deletion_protection: false,
            scan_segments: None,
            point_in_time_recovery: false,
        },
        clock: Arc::new(QuickClock::default()),
    }
}

fn described(index: Option<&str>) -> Value {
    let indexes: Vec<Value> = index
        .map(|status| json!({"IndexName": NAME, "IndexStatus": status}))
        .into_iter()
        .collect();
    json!({"Table": {
        "TableName": "app", "TableStatus": "ACTIVE",
        "KeySchema": [{"AttributeName": "leaseKey", "KeyType": "HASH"}],
        "GlobalSecondaryIndexes": indexes,
    }})
}

fn keys_json() -> Value {
    json!([
        {"AttributeName": "leaseOwner", "KeyType": "HASH"},
        {"AttributeName": "leaseKey", "KeyType": "RANGE"},
    ])
}

#[tokio::test]
async fn the_state_is_what_the_table_says() {
    let cases = [
        (None, OwnerIndex::Absent),
        (Some("CREATING"), OwnerIndex::Building),
        (Some("ACTIVE"), OwnerIndex::Active),
        (Some("UPDATING"), OwnerIndex::Active),
        (Some("DELETING"), OwnerIndex::Deleting),
    ];
    for (status, wanted) in cases {
        let service = FakeService::script(vec![Reply::ok(described(status))]);
        assert_eq!(table(&service).await.owner_index().await, Ok(wanted));
    }
    let gone = FakeService::script(vec![Reply::error(400, "ResourceNotFoundException", "no")]);
    let error = table(&gone).await.owner_index().await.unwrap_err();
    assert!(matches!(error, StoreError::TableMissing(_)), "{error:?}");
}

#[tokio::test]
async fn a_new_table_has_it_from_the_start() {
    let service = FakeService::script(vec![
        Reply::error(400, "ResourceNotFoundException", "no"),
        Reply::ok(json!({"TableDescription": {}})),
        Reply::ok(described(Some("CREATING"))),
    ]);
    assert_eq!(table(&service).await.ensure(true).await, Ok(true));
    assert_eq!(
        service.seen()[1].body,
        json!({
            "TableName": "app",
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [
                {"AttributeName": "leaseKey", "AttributeType": "S"},
                {"AttributeName": "leaseOwner", "AttributeType": "S"},
            ],
            "KeySchema": [{"AttributeName": "leaseKey", "KeyType": "HASH"}],
            "GlobalSecondaryIndexes": [{
                "IndexName": "LeaseOwnerToLeaseKeyIndex",
                "KeySchema": keys_json(),
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }],
        })
    );
}

#[tokio::test]
async fn an_old_table_gets_it_once_with_the_tables_capacity() {
    let service = FakeService::script(vec![Reply::ok(described(Some("CREATING")))]);
    assert_eq!(table(&service).await.create_owner_index().await, Ok(()));
    assert_eq!(service.operations(), ["DescribeTable"]);

    let cases = [
        (
            json!({"BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"}}),
            None,
        ),
        (
            json!({"ProvisionedThroughput": {"ReadCapacityUnits": 7, "WriteCapacityUnits": 3}}),
            Some(json!({"ReadCapacityUnits": 7, "WriteCapacityUnits": 3})),
        ),
        (
            json!({"ProvisionedThroughput": {"ReadCapacityUnits": 0, "WriteCapacityUnits": 0}}),
            None,
        ),
    ];
    for (billing, capacity) in cases {
        let mut body = described(None);
        for (name, value) in billing.as_object().unwrap() {
            body["Table"][name] = value.clone();
        }
        let service = FakeService::script(vec![
            Reply::ok(body),
            Reply::ok(json!({"TableDescription": {}})),
        ]);
        assert_eq!(table(&service).await.create_owner_index().await, Ok(()));
        let mut create = json!({
            "IndexName": "LeaseOwnerToLeaseKeyIndex",
            "KeySchema": keys_json(),
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        });
        if let Some(capacity) = capacity {
            create["ProvisionedThroughput"] = capacity;
        }
        assert_eq!(
            service.seen()[1].body,
            json!({
                "TableName": "app",
                "AttributeDefinitions": [
                    {"AttributeName": "leaseKey", "AttributeType": "S"},
                    {"AttributeName": "leaseOwner", "AttributeType": "S"},
                ],
                "GlobalSecondaryIndexUpdates": [{"Create": create}],
            })
        );
    }
}

#[tokio::test]
async fn a_busy_table_is_asked_again_later_and_a_refusal_is_told() {
    type Wanted = fn(&StoreError) -> bool;
    let cases: [(&str, Wanted); 3] = [
        ("ResourceInUseException", |e| {
            matches!(e, StoreError::Unavailable(_))
        }),
        ("LimitExceededException", |e| {
            matches!(e, StoreError::Throttled(_))
        }),
        ("AccessDeniedException", |e| {
            matches!(e, StoreError::Denied(_))
        }),
    ];
    for (code, wanted) in cases {
        let service = FakeService::script(vec![
            Reply::ok(described(None)),
            Reply::error(400, code, "no"),
        ]);
        let error = table(&service)
            .await
            .create_owner_index()
            .await
            .unwrap_err();
        assert!(wanted(&error), "{code}: {error:?}");
    }
}

#[tokio::test]
async fn all_pages_of_an_owner_are_read() {
    let service = FakeService::script(vec![
        Reply::ok(json!({
            "Items": [{"leaseKey": {"S": "a"}, "leaseOwner": {"S": "me"}}],
            "LastEvaluatedKey": {"leaseKey": {"S": "a"}, "leaseOwner": {"S": "me"}},
        })),
        Reply::ok(json!({"Items": [{"leaseKey": {"S": "b"}, "leaseOwner": {"S": "me"}}]})),
    ]);
    let keys = table(&service).await.keys_of(&WorkerId::new("me")).await;
    assert_eq!(keys, Ok(vec![LeaseKey::new("a"), LeaseKey::new("b")]));
    assert_eq!(
        service.seen()[0].body,
        json!({
            "TableName": "app",
            "IndexName": "LeaseOwnerToLeaseKeyIndex",
            "KeyConditionExpression": "leaseOwner = :owner",
            "ExpressionAttributeValues": {":owner": {"S": "me"}},
        })
    );
}

/// What a DynamoDB that nobody here wrote makes of the same requests.
#[cfg(feature = "local")]
#[tokio::test]
async fn in_dynoxide() {
    let service = testing::embedded_dynamodb();
    let table = table(&service).await;
    assert_eq!(table.ensure(false).await, Ok(true));
    assert_eq!(table.owner_index().await, Ok(OwnerIndex::Absent));
    assert_eq!(table.create_owner_index().await, Ok(()));
    for _ in 0..100 {
        if table.owner_index().await == Ok(OwnerIndex::Active) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(table.owner_index().await, Ok(OwnerIndex::Active));
    assert_eq!(table.create_owner_index().await, Ok(()), "it is there");
    for (key, owner) in [("s1", "me"), ("s2", "other"), ("s3", "me")] {
        table
            .client
            .put_item()
            .table_name("app")
            .item("leaseKey", AttributeValue::S(key.to_owned()))
            .item("leaseOwner", AttributeValue::S(owner.to_owned()))
            .send()
            .await
            .unwrap();
    }
    assert_eq!(
        table.keys_of(&WorkerId::new("me")).await,
        Ok(vec![LeaseKey::new("s1"), LeaseKey::new("s3")])
    );
}
