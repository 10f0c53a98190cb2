use serde_json::json;

use super::*;
use crate::aws::clients;
use crate::aws::metadata::MetadataTables;
use crate::aws::testing::{self, FakeService, Reply};

async fn store(service: &FakeService) -> Metadata {
    let client = clients::dynamodb(&testing::settings(), &service.access())
        .await
        .unwrap();
    Metadata::new(
        client,
        MetadataTables {
            lease: "app".to_owned(),
            legacy_coordinator: "app-CoordinatorState".to_owned(),
            legacy_metrics: "app-WorkerMetricStats".to_owned(),
        },
    )
}

fn lock(owner: &str, version: &str) -> LockItem {
    LockItem {
        owner: WorkerId::new(owner),
        lease_duration: Duration::from_millis(7_500),
        version: RecordVersion::new(version),
        released: false,
    }
}

fn put(condition: LockCondition, item: LockItem) -> LockWrite {
    LockWrite {
        condition,
        change: LockChange::Put(item),
    }
}

#[tokio::test]
async fn the_row_is_what_javas_lock_client_writes() {
    let places = [
        (Place::LeaseTable, "app", "leaseKey"),
        (Place::Legacy, "app-CoordinatorState", "key"),
    ];
    for (place, table, key) in places {
        let service = FakeService::script(vec![Reply::ok(json!({}))]);
        let write = put(LockCondition::Absent, lock("me", "v1"));
        let outcome = store(&service).await.write_leader(place, &write).await;
        assert_eq!(outcome, Ok(LockOutcome::Applied));
        let body = service.seen()[0].body.clone();
        assert_eq!(
            body,
            json!({
                "TableName": table,
                "Item": {
                    key: {"S": "Leader"},
                    "entityType": {"S": "LEADER"},
                    "ownerName": {"S": "me"},
                    "leaseDuration": {"S": "7500"},
                    "recordVersionNumber": {"S": "v1"},
                },
                "ConditionExpression": "attribute_not_exists(#key)",
                "ExpressionAttributeNames": {"#key": key},
            })
        );
    }
}

#[tokio::test]
async fn outcomes_are_never_guessed() {
    let heartbeat = LockWrite {
        condition: LockCondition::Mine(RecordVersion::new("v1"), WorkerId::new("me")),
        change: LockChange::Heartbeat {
            version: RecordVersion::new("v2"),
            lease_duration: Duration::from_secs(1),
        },
    };
    let cases = [
        (Reply::ok(json!({})), Ok(LockOutcome::Applied)),
        (
            Reply::error(400, CONDITION_FAILED, "no"),
            Ok(LockOutcome::Refused),
        ),
        (Reply::Silent, Ok(LockOutcome::Unknown)),
        (Reply::Broken, Ok(LockOutcome::Unknown)),
        (
            Reply::error(500, "InternalServerError", "x"),
            Ok(LockOutcome::Unknown),
        ),
    ];
    for (reply, wanted) in cases {
        let service = FakeService::script(vec![reply.clone()]);
        let store = store(&service).await;
        let outcome = store.write_leader(Place::LeaseTable, &heartbeat).await;
        assert_eq!(outcome, wanted, "{reply:?}");
        assert_eq!(service.operations(), ["UpdateItem"], "tried once");
    }
    let service = FakeService::script(vec![Reply::error(400, "ThrottlingException", "slow")]);
    let store = store(&service).await;
    let outcome = store.write_leader(Place::LeaseTable, &heartbeat).await;
    assert!(
        matches!(outcome, Err(StoreError::Throttled(_))),
        "{outcome:?}"
    );
}

#[test]
fn rows_that_are_no_lock_say_why() {
    let mut item = leader_item(Place::LeaseTable, &lock("a", "v"));
    assert_eq!(read_leader(&item), Ok(lock("a", "v")));
    item.insert(RELEASED.to_owned(), text("1"));
    assert!(read_leader(&item).unwrap().released);
    item.insert(DURATION.to_owned(), text("long"));
    assert!(read_leader(&item).unwrap_err().contains("leaseDuration"));
    item.remove(OWNER);
    item.insert(DURATION.to_owned(), text("1"));
    assert!(read_leader(&item).unwrap_err().contains("ownerName"));
}

/// Every condition and change, judged by a DynamoDB that nobody here wrote and by what the core says.
#[cfg(feature = "local")]
#[tokio::test]
async fn in_dynoxide() {
    use std::sync::Arc;

    use crate::aws::dynamodb::{DynamoDbLeaseStore, TableSettings};
    use crate::aws::testing::QuickClock;
    use crate::ports::LeaseStore;

    let service = testing::embedded_dynamodb();
    let store = store(&service).await;
    let leases = DynamoDbLeaseStore::new(
        store.client.clone(),
        TableSettings {
            name: "app".to_owned(),
            legacy_coordinator: "app-CoordinatorState".to_owned(),
            deletion_protection: false,
            scan_segments: None,
            point_in_time_recovery: false,
        },
        Arc::new(QuickClock::default()),
    );
    leases.ensure_table(true).await.unwrap();
    let place = Place::LeaseTable;
    let version = |text: &str| RecordVersion::new(text);
    let mine = |v: &str| LockCondition::Mine(version(v), WorkerId::new("a"));
    let beat = |condition, v: &str| LockWrite {
        condition,
        change: LockChange::Heartbeat {
            version: version(v),
            lease_duration: Duration::from_secs(9),
        },
    };
    let released = LockItem {
        released: true,
        ..lock("a", "v9")
    };
    let delete = |condition| LockWrite {
        condition,
        change: LockChange::Delete,
    };
    let writes = [
        beat(mine("v1"), "v2"),
        put(LockCondition::Version(version("v1")), lock("a", "v2")),
        delete(mine("v1")),
        put(LockCondition::Absent, lock("a", "v1")),
        put(LockCondition::Absent, lock("b", "v2")),
        put(LockCondition::Released, lock("b", "v2")),
        beat(mine("v0"), "v2"),
        beat(mine("v1"), "v2"),
        put(LockCondition::Version(version("v1")), lock("b", "v3")),
        put(LockCondition::Version(version("v2")), released),
        put(LockCondition::Released, lock("a", "v10")),
        delete(LockCondition::Mine(version("v10"), WorkerId::new("b"))),
        delete(mine("v10")),
        put(LockCondition::Absent, lock("c", "v11")),
    ];
    let mut row = None;
    for write in writes {
        let permitted = write.is_permitted_on(row.as_ref());
        let wanted = if permitted {
            row = write.applied_to(row.as_ref());
            LockOutcome::Applied
        } else {
            LockOutcome::Refused
        };
        assert_eq!(
            store.write_leader(place, &write).await,
            Ok(wanted),
            "{write:?}"
        );
        assert_eq!(store.leader(place).await, Ok(row.clone()), "{write:?}");
    }
    let scan = leases.scan().await.unwrap();
    assert_eq!(scan.leader, row);
    assert_eq!(scan.foreign[0].kind, LEADER);
}
