use super::*;
use crate::aws::clients;
use crate::aws::testing::{self, FakeService, QuickClock, Reply};
use serde_json::{Value, json};

fn wanted() -> TableSettings {
    TableSettings {
        name: "app".to_owned(),
        legacy_coordinator: "app-CoordinatorState".to_owned(),
        deletion_protection: false,
        scan_segments: None,
        point_in_time_recovery: false,
    }
}

async fn table_with(
    service: &FakeService,
    settings: TableSettings,
) -> (LeaseTable, Arc<QuickClock>) {
    let clock = Arc::new(QuickClock::default());
    let client = clients::dynamodb(&testing::settings(), &service.access())
        .await
        .unwrap();
    let table = LeaseTable {
        client,
        settings,
        clock: Arc::<QuickClock>::clone(&clock),
    };
    (table, clock)
}

async fn table(service: &FakeService) -> LeaseTable {
    table_with(service, wanted()).await.0
}

fn described(status: &str, keys: &[&str]) -> Value {
    let keys: Vec<Value> = keys
        .iter()
        .map(|name| json!({"AttributeName": name, "KeyType": "HASH"}))
        .collect();
    json!({"Table": {"TableName": "app", "TableStatus": status, "KeySchema": keys}})
}

fn missing() -> Reply {
    Reply::error(400, "ResourceNotFoundException", "no such table")
}

#[tokio::test]
async fn a_table_that_exists_is_looked_at_once() {
    for status in ["ACTIVE", "UPDATING"] {
        let service = FakeService::script(vec![Reply::ok(described(status, &["leaseKey"]))]);
        assert_eq!(table(&service).await.ensure(false).await, Ok(false));
        assert_eq!(service.operations(), ["DescribeTable"]);
    }
}

#[tokio::test]
async fn a_missing_table_is_created_and_waited_for() {
    let service = FakeService::script(vec![
        missing(),
        Reply::ok(json!({"TableDescription": {}})),
        missing(),
        Reply::ok(described("CREATING", &["leaseKey"])),
        Reply::error(400, "ThrottlingException", "slow"),
        Reply::ok(described("CREATING", &["leaseKey"])),
        Reply::ok(described("ACTIVE", &["leaseKey"])),
    ]);
    let protected = TableSettings {
        deletion_protection: true,
        ..wanted()
    };
    let (table, clock) = table_with(&service, protected).await;
    assert_eq!(table.ensure(false).await, Ok(true));
    let pauses: Vec<u128> = clock.pauses().iter().map(Duration::as_millis).collect();
    assert_eq!(pauses, [200, 400, 800, 1000]);
    assert_eq!(
        service.seen()[1].body,
        json!({
            "TableName": "app",
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": "leaseKey", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "leaseKey", "KeyType": "HASH"}],
            "DeletionProtectionEnabled": true,
        })
    );
}

#[tokio::test]
async fn a_table_that_somebody_else_creates_is_waited_for_without_asking_again() {
    let service = FakeService::script(vec![
        missing(),
        Reply::error(400, "ResourceInUseException", "exists"),
        missing(),
        Reply::ok(described("ACTIVE", &["leaseKey"])),
    ]);
    let (table, clock) = table_with(&service, wanted()).await;
    assert_eq!(table.ensure(false).await, Ok(false));
    assert_eq!(
        service.operations(),
        [
            "DescribeTable",
            "CreateTable",
            "DescribeTable",
            "DescribeTable"
        ]
    );
    assert_eq!(clock.pauses().len(), 1);
    assert!(
        service.seen()[1]
            .body
            .get("DeletionProtectionEnabled")
            .is_none()
    );
}

#[tokio::test]
async fn waiting_for_a_table_ends_after_ten_minutes() {
    let service = FakeService::script(vec![Reply::ok(described("CREATING", &["leaseKey"]))]);
    let (table, clock) = table_with(&service, wanted()).await;
    let error = table.ensure(false).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Unavailable(why) if why.contains("600 s") && why.contains("CREATING")),
        "{error}"
    );
    assert!(
        clock.now() - TABLE_TIMEOUT
            < crate::core::time::Moment::from_origin(Duration::from_secs(2))
    );
}

#[tokio::test]
async fn tables_that_cannot_be_used_are_refused_with_the_reason() {
    type Wanted = fn(&StoreError) -> bool;
    let cases: Vec<(Vec<Reply>, Wanted, &str)> = vec![
        (
            vec![
                missing(),
                Reply::error(400, "AccessDeniedException", "not you"),
            ],
            |e| matches!(e, StoreError::Denied(_)),
            "allow dynamodb:CreateTable, or create the table with the partition key leaseKey of type String",
        ),
        (
            vec![
                missing(),
                Reply::error(400, "LimitExceededException", "too many tables"),
            ],
            |e| matches!(e, StoreError::Throttled(_)),
            "too many tables",
        ),
        (
            vec![Reply::error(400, "AccessDeniedException", "not you")],
            |e| matches!(e, StoreError::Denied(_)),
            "dynamodb:DescribeTable",
        ),
        (
            vec![Reply::ok(described("ACTIVE", &["id", "range"]))],
            |e| matches!(e, StoreError::Fatal(_)),
            "its key is (id, range) and not (leaseKey)",
        ),
        (
            vec![Reply::ok(described("ARCHIVED", &["leaseKey"]))],
            |e| matches!(e, StoreError::Fatal(_)),
            "ARCHIVED",
        ),
        (
            vec![Reply::ok(described(
                "INACCESSIBLE_ENCRYPTION_CREDENTIALS",
                &["leaseKey"],
            ))],
            |e| matches!(e, StoreError::Denied(_)),
            "KMS key",
        ),
        (
            vec![Reply::Refused],
            |e| matches!(e, StoreError::Unavailable(_)),
            "no connection",
        ),
    ];
    for (replies, wanted, words) in cases {
        let service = FakeService::script(replies);
        let error = table(&service).await.ensure(false).await.unwrap_err();
        assert!(
            wanted(&error) && error.to_string().contains(words),
            "{error:?}"
        );
        assert!(error.to_string().contains("app"), "{error:?}");
    }
}

#[tokio::test]
async fn point_in_time_recovery_is_tried_and_never_needed() {
    let active = || Reply::ok(described("ACTIVE", &["leaseKey"]));
    let early = || Reply::error(400, "ContinuousBackupsUnavailableException", "not yet");
    let cases = [
        (vec![active(), Reply::ok(json!({}))], 1),
        (vec![active(), early(), Reply::ok(json!({}))], 2),
        (vec![active(), early()], 3),
        (
            vec![
                active(),
                Reply::error(400, "AccessDeniedException", "not you"),
            ],
            1,
        ),
        (
            vec![
                active(),
                Reply::error(400, "UnknownOperationException", "what?"),
            ],
            1,
        ),
    ];
    for (replies, tries) in cases {
        let service = FakeService::script(replies);
        let recovering = TableSettings {
            scan_segments: None,
            point_in_time_recovery: true,
            ..wanted()
        };
        let (table, _) = table_with(&service, recovering).await;
        assert_eq!(table.ensure(false).await, Ok(false));
        assert_eq!(service.seen().len(), 1 + tries);
        assert_eq!(
            service.seen()[1].body,
            json!({"TableName": "app", "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": true}})
        );
    }
}

#[tokio::test]
async fn the_legacy_table_is_only_looked_for() {
    let cases = [
        (
            Reply::ok(described("ACTIVE", &["key"])),
            Ok(Some("app-CoordinatorState".to_owned())),
        ),
        (missing(), Ok(None)),
        (
            Reply::error(400, "AccessDeniedException", "not you"),
            Ok(None),
        ),
    ];
    for (reply, wanted) in cases {
        let service = FakeService::script(vec![reply]);
        assert_eq!(table(&service).await.legacy_coordinator().await, wanted);
        assert_eq!(
            service.seen()[0].body,
            json!({"TableName": "app-CoordinatorState"})
        );
    }
    let service = FakeService::script(vec![Reply::Refused]);
    assert!(table(&service).await.legacy_coordinator().await.is_err());
    let long = TableSettings {
        legacy_coordinator: "x".repeat(256),
        ..wanted()
    };
    let (table, _) = table_with(&service, long).await;
    assert_eq!(
        table.legacy_coordinator().await,
        Ok(None),
        "no table has such a name"
    );
}
