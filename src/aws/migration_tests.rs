use serde_json::json;

use super::*;
use crate::aws::clients;
use crate::aws::metadata::MetadataTables;
use crate::aws::testing::{self, FakeService, Reply};
use crate::ports::CoordinatorStore;

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

const AT: WallTime = WallTime::from_millis(1_784_000_000_123);

fn created(state: ClientVersion) -> MigrationItem<ClientVersion> {
    MigrationItem::created(ClientVersion::Init, state, "me", AT)
}

fn entry_json(state: &str, by: &str) -> serde_json::Value {
    json!({"cv": {"S": state}, "mb": {"S": by}, "mts": {"N": "1784000000123"}})
}

#[tokio::test]
async fn a_first_item_and_its_changes_in_javas_words() {
    let service = FakeService::script(vec![Reply::ok(json!({}))]);
    let store = store(&service).await;
    let first = created(ClientVersion::UpgradeFrom2x);
    let create = ItemWrite {
        condition: ItemCondition::Absent,
        item: first.clone(),
    };
    let change = ItemWrite {
        condition: ItemCondition::State(ClientVersion::UpgradeFrom2x),
        item: first.moved_to(ClientVersion::V3xWithRollback, "leader", AT),
    };
    let place = Place::LeaseTable;
    assert_eq!(store.write_client_version(place, &create).await, Ok(true));
    assert_eq!(store.write_client_version(place, &change).await, Ok(true));
    assert_eq!(
        service.seen()[0].body,
        json!({
            "TableName": "app",
            "Item": {
                "leaseKey": {"S": "Migration3.0"},
                "entityType": {"S": "CLIENT_VERSION_MIGRATION"},
                "cv": {"S": "CLIENT_VERSION_UPGRADE_FROM_2X"},
                "mb": {"S": "me"},
                "mts": {"N": "1784000000123"},
                "h": {"L": [{"M": entry_json("CLIENT_VERSION_INIT", "me")}]},
            },
            "ConditionExpression": "attribute_not_exists(#key)",
            "ExpressionAttributeNames": {"#key": "leaseKey"},
        })
    );
    let body = &service.seen()[1].body;
    assert_eq!(
        body["UpdateExpression"],
        "SET cv = :cv, h = :h, mb = :mb, mts = :mts"
    );
    assert_eq!(
        body["ConditionExpression"],
        "attribute_exists(#key) AND cv = :seen"
    );
    assert_eq!(
        body["ExpressionAttributeValues"][":h"],
        json!({"L": [
            {"M": entry_json("CLIENT_VERSION_UPGRADE_FROM_2X", "me")},
            {"M": entry_json("CLIENT_VERSION_INIT", "me")},
        ]})
    );
}

#[test]
fn what_the_tool_and_other_hands_leave_is_read() {
    let mut item = whole_item(Place::LeaseTable, &created(ClientVersion::V2x));
    assert_eq!(read(&item), Ok(created(ClientVersion::V2x)));
    // A former state that nobody knows is left out, a state that nobody knows is told.
    item.insert(
        "h".to_owned(),
        AttributeValue::L(vec![
            AttributeValue::M(HashMap::from([("cv".to_owned(), text("CLIENT_VERSION_9"))])),
            AttributeValue::M(of_entry(&created(ClientVersion::V3x).now)),
        ]),
    );
    assert_eq!(read::<ClientVersion>(&item).unwrap().history.len(), 1);
    item.remove("mb");
    item.remove("mts");
    assert!(read::<ClientVersion>(&item).is_ok());
    item.insert("cv".to_owned(), text("CLIENT_VERSION_9"));
    assert!(
        read::<ClientVersion>(&item)
            .unwrap_err()
            .contains("CLIENT_VERSION_9")
    );
    assert!(read::<TableStatus>(&item).unwrap_err().contains("tm"));
}

#[tokio::test]
async fn a_legacy_table_that_is_gone_has_no_item() {
    let service = FakeService::script(vec![Reply::error(
        400,
        "ResourceNotFoundException",
        "no such table",
    )]);
    let store = store(&service).await;
    assert_eq!(store.table_status().await, Ok(None));
    assert!(store.client_version(Place::LeaseTable).await.is_err());
}

#[cfg(feature = "local")]
mod in_dynoxide {
    use super::*;
    use crate::aws::item;
    use aws_sdk_dynamodb::types::{
        AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    };

    async fn create(store: &Metadata, table: &str, key: &str) {
        let attribute = AttributeDefinition::builder()
            .attribute_name(key)
            .attribute_type(ScalarAttributeType::S)
            .build()
            .unwrap();
        let schema = KeySchemaElement::builder()
            .attribute_name(key)
            .key_type(KeyType::Hash)
            .build()
            .unwrap();
        store
            .client
            .create_table()
            .table_name(table)
            .attribute_definitions(attribute)
            .key_schema(schema)
            .billing_mode(BillingMode::PayPerRequest)
            .send()
            .await
            .unwrap();
    }

    async fn tables() -> Metadata {
        let service = testing::embedded_dynamodb();
        let store = store(&service).await;
        create(&store, "app", "leaseKey").await;
        create(&store, "app-CoordinatorState", "key").await;
        store
    }

    async fn keys(store: &Metadata, table: &str, key: &str) -> Vec<String> {
        let answer = store.client.scan().table_name(table).send().await.unwrap();
        let mut keys: Vec<String> = answer
            .items()
            .iter()
            .map(|item| item[key].as_s().unwrap().clone())
            .collect();
        keys.sort();
        keys
    }

    async fn lead(store: &Metadata, who: &str) {
        use crate::core::leader_lock::{
            LockChange, LockCondition, LockItem, LockOutcome, LockWrite, RecordVersion,
        };
        let write = LockWrite {
            condition: LockCondition::Absent,
            change: LockChange::Put(LockItem {
                owner: WorkerId::new(who),
                lease_duration: std::time::Duration::from_secs(1),
                version: RecordVersion::new("v"),
                released: false,
            }),
        };
        assert_eq!(
            store.write_leader(Place::Legacy, &write).await,
            Ok(LockOutcome::Applied)
        );
    }

    #[tokio::test]
    async fn items_are_written_under_their_conditions() {
        let store = tables().await;
        for place in [Place::LeaseTable, Place::Legacy] {
            let first = created(ClientVersion::UpgradeFrom2x);
            let create = ItemWrite {
                condition: ItemCondition::Absent,
                item: first.clone(),
            };
            let flip = ItemWrite {
                condition: ItemCondition::State(ClientVersion::UpgradeFrom2x),
                item: first.moved_to(ClientVersion::V3xWithRollback, "b", AT),
            };
            assert_eq!(store.client_version(place).await, Ok(None));
            assert_eq!(store.write_client_version(place, &flip).await, Ok(false));
            assert_eq!(store.write_client_version(place, &create).await, Ok(true));
            assert_eq!(store.write_client_version(place, &create).await, Ok(false));
            assert_eq!(store.client_version(place).await, Ok(Some(first)));
            assert_eq!(store.write_client_version(place, &flip).await, Ok(true));
            assert_eq!(store.write_client_version(place, &flip).await, Ok(false));
            assert_eq!(store.client_version(place).await, Ok(Some(flip.item)));
        }
    }

    #[tokio::test]
    async fn items_move_only_while_i_lead_and_the_end_is_in_both_tables() {
        let store = tables().await;
        let version = ItemWrite {
            condition: ItemCondition::Absent,
            item: created(ClientVersion::V3x),
        };
        store
            .write_client_version(Place::Legacy, &version)
            .await
            .unwrap();
        let status = |state| MigrationItem::created(TableStatus::Init, state, "me", AT);
        let pending = ItemWrite {
            condition: ItemCondition::Absent,
            item: status(TableStatus::Pending),
        };
        assert_eq!(store.write_table_status(&pending).await, Ok(true));
        let me = WorkerId::new("me");
        let movable = store.legacy_items().await.unwrap();
        assert_eq!(movable, ["Migration3.0"]);
        // Nobody leads, somebody else leads, I lead.
        assert_eq!(store.move_legacy_items(&me, &movable).await, Ok(false));
        lead(&store, "me").await;
        let other = WorkerId::new("other");
        assert_eq!(store.move_legacy_items(&other, &movable).await, Ok(false));
        assert_eq!(store.move_legacy_items(&me, &movable).await, Ok(true));
        assert!(store.legacy_items().await.unwrap().is_empty());
        assert_eq!(store.client_version(Place::Legacy).await, Ok(None));
        assert_eq!(
            store.client_version(Place::LeaseTable).await,
            Ok(Some(version.item))
        );

        let complete = ItemWrite {
            condition: ItemCondition::State(TableStatus::Pending),
            item: pending.item.moved_to(TableStatus::Complete, "me", AT),
        };
        assert_eq!(
            store.complete_table_migration(&other, &complete).await,
            Ok(false)
        );
        assert_eq!(
            store.complete_table_migration(&me, &complete).await,
            Ok(true)
        );
        assert_eq!(
            store.complete_table_migration(&me, &complete).await,
            Ok(false),
            "it is not pending any more"
        );
        assert_eq!(store.table_status().await, Ok(Some(complete.item)));
        assert_eq!(
            keys(&store, "app", item::attribute::KEY).await,
            ["Migration3.0", "TableMigration3.5"]
        );
        assert_eq!(
            keys(&store, "app-CoordinatorState", "key").await,
            ["Leader", "TableMigration3.5"]
        );
        assert_eq!(
            store.delete_table_status(TableStatus::Pending).await,
            Ok(false)
        );
        assert_eq!(
            store.delete_table_status(TableStatus::Complete).await,
            Ok(true)
        );
    }

    /// Java 3.1.3 writes `Migration3.0` without `entityType`; in the lease table that would be a lease.
    #[tokio::test]
    async fn what_versions_before_3_5_wrote_gets_its_entity_type_on_the_way() {
        let store = tables().await;
        let mut stream = Item::from([("key".to_owned(), text("1:orders:2"))]);
        stream.insert("streamId".to_owned(), text("3"));
        let mut version = whole_item(Place::Legacy, &created(ClientVersion::V3x));
        version.remove("entityType");
        for item in [stream, version] {
            let put = store.client.put_item().table_name("app-CoordinatorState");
            put.set_item(Some(item)).send().await.unwrap();
        }
        lead(&store, "me").await;
        let me = WorkerId::new("me");
        let movable = store.legacy_items().await.unwrap();
        assert_eq!(movable.len(), 2);
        assert_eq!(store.move_legacy_items(&me, &movable).await, Ok(true));
        let answer = store.client.scan().table_name("app").send().await.unwrap();
        let mut kinds: Vec<&str> = answer
            .items()
            .iter()
            .map(|item| item["entityType"].as_s().unwrap().as_str())
            .collect();
        kinds.sort_unstable();
        assert_eq!(kinds, ["CLIENT_VERSION_MIGRATION", "STREAM"]);
    }
}
