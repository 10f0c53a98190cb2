use serde_json::json;

use super::*;
use crate::aws::clients;
use crate::aws::metadata::MetadataTables;
use crate::aws::testing::{self, FakeService, Reply};
use crate::core::time::WallTime;

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

fn stats() -> WorkerMetricStats {
    WorkerMetricStats::written_by(
        WorkerId::new("me"),
        WallTime::from_millis(1_784_000_000_700),
        BTreeMap::from([("C".to_owned(), vec![0.0, 12.345_678, -1.0])]),
        BTreeMap::from([("C".to_owned(), vec![100])]),
    )
}

#[tokio::test]
async fn an_item_is_written_attribute_by_attribute() {
    let places = [
        (Place::LeaseTable, "app", "leaseKey"),
        (Place::Legacy, "app-WorkerMetricStats", "wid"),
    ];
    for (place, table, key) in places {
        let service = FakeService::script(vec![Reply::ok(json!({}))]);
        store(&service).await.put(place, &stats()).await.unwrap();
        let body = &service.seen()[0].body;
        assert_eq!(body["TableName"], table);
        assert_eq!(body["Key"], json!({key: {"S": "me"}}));
        assert_eq!(
            body["UpdateExpression"],
            "SET sts = :sts, opr = :opr, entityType = :entityType, lut = :lut, sup = :sup, slu = :slu, kclDaemonUpdated = :kclDaemonUpdated"
        );
        assert_eq!(
            body["ExpressionAttributeValues"],
            json!({
                ":sts": {"M": {"C": {"L": [{"N": "0"}, {"N": "12.345678"}, {"N": "-1"}]}}},
                ":opr": {"M": {"C": {"L": [{"N": "100"}]}}},
                ":entityType": {"S": "WORKER_METRIC_STATS"},
                ":lut": {"N": "1784000000"},
                ":sup": {"N": "1"},
                ":slu": {"N": "1784000000"},
                ":kclDaemonUpdated": {"N": "1784000000"},
            })
        );
    }
}

#[test]
fn items_of_all_versions_are_read() {
    let number = |text: &str| AttributeValue::N(text.to_owned());
    let mut item = Item::from([
        ("wid".to_owned(), AttributeValue::S("w".to_owned())),
        ("lut".to_owned(), number("1784000000")),
        (
            "sts".to_owned(),
            AttributeValue::M(HashMap::from([(
                "C".to_owned(),
                AttributeValue::L(vec![number("1.0E-4"), number("-1")]),
            )])),
        ),
        (
            "opr".to_owned(),
            AttributeValue::M(HashMap::from([(
                "C".to_owned(),
                AttributeValue::L(vec![number("80")]),
            )])),
        ),
        ("properties".to_owned(), AttributeValue::M(HashMap::new())),
    ]);
    let read_back = read(&item, "wid").unwrap();
    assert_eq!(read_back.worker, WorkerId::new("w"));
    assert_eq!(read_back.last_update, Some(1_784_000_000));
    assert_eq!(read_back.stats["C"], [0.0001, -1.0]);
    assert_eq!(read_back.operating_range["C"], [80]);
    assert_eq!(
        (read_back.support_code, read_back.support_updated),
        (None, None)
    );
    assert!(!read_back.is_ours());
    item.insert("kclDaemonUpdated".to_owned(), number("1784000000"));
    assert!(read(&item, "wid").unwrap().is_ours());
    item.insert("kclDaemonUpdated".to_owned(), AttributeValue::Bool(true));
    assert!(
        !read(&item, "wid").unwrap().is_ours(),
        "no reason to lose it"
    );
    assert!(read(&item, "leaseKey").is_err(), "no such key");
    item.insert("lut".to_owned(), AttributeValue::S("x".to_owned()));
    assert!(read(&item, "wid").unwrap_err().contains("lut"));
    item.remove("lut");
    item.insert("sts".to_owned(), AttributeValue::L(vec![]));
    assert!(read(&item, "wid").unwrap_err().contains("sts"));
    item.remove("sts");
    item.remove("opr");
    assert!(read(&item, "wid").unwrap().is_in_throughput_mode());
}

#[tokio::test]
async fn a_missing_legacy_table_has_no_items() {
    let service = FakeService::script(vec![Reply::error(
        400,
        "ResourceNotFoundException",
        "no such table",
    )]);
    assert_eq!(store(&service).await.list_legacy().await, Ok(vec![]));
}

/// Written, read with the scan of leases, and deleted only when nobody wrote since.
#[cfg(feature = "local")]
#[tokio::test]
async fn in_dynoxide() {
    use std::sync::Arc;

    use crate::aws::dynamodb::{DynamoDbLeaseStore, TableSettings};
    use crate::aws::testing::QuickClock;
    use crate::ports::LeaseStore;

    let service = testing::embedded_dynamodb();
    let metadata = store(&service).await;
    let settings = TableSettings {
        name: "app".to_owned(),
        legacy_coordinator: "app-CoordinatorState".to_owned(),
        deletion_protection: false,
        scan_segments: None,
        point_in_time_recovery: false,
    };
    let clock = Arc::new(QuickClock::default());
    let leases = DynamoDbLeaseStore::new(metadata.client.clone(), settings, clock);
    leases.ensure_table(true).await.unwrap();
    let place = Place::LeaseTable;
    metadata.put(place, &stats()).await.unwrap();
    let scan = leases.scan().await.unwrap();
    assert_eq!(scan.metrics, [stats()]);
    assert_eq!(scan.foreign[0].kind, ENTITY_TYPE);
    assert!(scan.leases.is_empty() && scan.unreadable.is_empty());

    let mut newer = stats();
    newer.last_update = Some(1_784_000_030);
    newer.stats.clear();
    newer.operating_range.clear();
    metadata.put(place, &newer).await.unwrap();
    assert_eq!(leases.scan().await.unwrap().metrics, [newer.clone()]);
    assert_eq!(metadata.delete(place, &stats()).await, Ok(false));
    assert_eq!(metadata.delete(place, &newer).await, Ok(true));
    assert_eq!(metadata.delete(place, &newer).await, Ok(false));
    assert!(leases.scan().await.unwrap().metrics.is_empty());
}
