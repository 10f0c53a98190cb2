//! Rows that we write, beside those that Java writes in the same situation, attribute by attribute.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;

use super::jars::Version;
use super::scene::{Kinesis, PATIENCE, STREAM, Scene};
use super::support::{Properties, Recorder, until};

type Item = HashMap<String, AttributeValue>;

/// Values that differ from run to run; of these only name and type are compared.
const VARYING: [&str; 1] = ["leaseCounter"];

/// Name → type and, unless it varies, value.
fn described(item: &Item) -> BTreeMap<String, String> {
    item.iter()
        .map(|(name, value)| {
            let text = match value {
                AttributeValue::Ss(values) => {
                    let mut values = values.clone();
                    values.sort_unstable();
                    format!("SS {values:?}")
                }
                other => format!("{other:?}"),
            };
            let text = if VARYING.contains(&name.as_str()) {
                text.split('(').next().unwrap_or_default().to_owned()
            } else {
                text
            };
            (name.clone(), text)
        })
        .collect()
}

/// Leases of a table, by key.
fn leases(scene: &Scene, table: &str) -> BTreeMap<String, Item> {
    scene
        .aws
        .scan_items(table)
        .into_iter()
        .filter_map(|item| {
            let key = item.get("leaseKey")?.as_s().ok()?.clone();
            key.starts_with("shardId-").then_some((key, item))
        })
        .collect()
}

/// Two applications on one stream, one of each kind, with the same worker id.
fn both(scene: &Scene, properties: &Properties, ids: &[String], check: impl Fn(&str, &str)) {
    let of = |application: &str| {
        let recorder = Recorder::named(&scene.sandbox, application);
        let properties = properties
            .clone()
            .set("applicationName", application)
            .set("executableName", recorder.command());
        (recorder, properties)
    };
    let (java_recorder, java_properties) = of("rows-java");
    let (our_recorder, our_properties) = of("rows-ours");
    let _java = scene.java("worker", &java_properties);
    let mut ours = scene.ours("worker", &our_properties);
    for recorder in [&java_recorder, &our_recorder] {
        until("every record is processed", PATIENCE, || {
            recorder.ledger().has_processed(ids)
        });
    }
    let settled = |table: &str| {
        leases(scene, table).values().all(|item| {
            let checkpoint = item["checkpoint"].as_s().expect("text");
            checkpoint.starts_with(|c: char| c.is_ascii_digit())
        })
    };
    until("both have checkpointed", PATIENCE, || {
        settled("rows-java") && settled("rows-ours")
    });
    check("rows-java", "rows-ours");
    ours.stop_gracefully();
}

/// The rows of KCL 2.7.2.
#[test]
#[ignore = "takes minutes; tests/java/run-all runs it"]
fn lease_rows_are_those_of_2_7_2() {
    let Some(scene) = Scene::new("java-rows-2-7-2", Version::V2_7_2, Kinesis::Ferrokinesis, 3)
    else {
        return;
    };
    let ids = put_some(&scene);
    // 2.7.2 does not know the key; ours would otherwise keep a new table as 3.5 does.
    let properties = scene.properties().set(
        "clientVersionConfig",
        "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1",
    );
    both(&scene, &properties, &ids, |java, ours| {
        // Two attributes more, which 2.x ignores and keeps: that of 3.5's new leases, and the mark by
        // which our workers know each other (`core::migration::pure_fleet`).
        assert_same_leases(&scene, java, ours, &["entityType", "kclDaemonCounter"]);
    });
}

/// Records in every shard.
fn put_some(scene: &Scene) -> Vec<String> {
    let puts = scene.aws.put(STREAM, "row", 0, 60);
    puts.into_iter().map(|put| put.id).collect()
}

fn assert_same_leases(scene: &Scene, java: &str, ours: &str, more: &[&str]) {
    let (java, mut ours) = (leases(scene, java), leases(scene, ours));
    for name in more {
        for (key, row) in &mut ours {
            assert!(row.remove(*name).is_some(), "lease {key} has no {name}");
        }
    }
    assert_eq!(java.len(), 3);
    assert_eq!(
        java.keys().collect::<Vec<_>>(),
        ours.keys().collect::<Vec<_>>()
    );
    for (key, row) in &java {
        assert_eq!(
            described(&ours[key]),
            described(row),
            "lease {key}: ours, then Java's"
        );
    }
}

/// The rows of KCL 3.5.1: leases, and everything the fleet keeps beside them.
#[test]
#[ignore = "takes minutes; tests/java/run-all runs it"]
fn all_rows_are_those_of_3_5_1() {
    let Some(scene) = Scene::new("java-rows-3-5-1", Version::V3_5_1, Kinesis::Ferrokinesis, 3)
    else {
        return;
    };
    let properties = scene
        .properties()
        .set("leaseAssignmentIntervalMillis", 3000)
        .set("workerMetricsReporterFreqInMillis", 3000);
    let ids = put_some(&scene);
    both(&scene, &properties, &ids, |java, ours| {
        until("both have everything", PATIENCE, || {
            [java, ours]
                .iter()
                .all(|table| others(&scene, table).len() == 3)
        });
        assert_same_leases(&scene, java, ours, &[]);
        let (java, mut ours) = (others(&scene, java), others(&scene, ours));
        // One attribute more, which Java ignores and keeps: the mark by which our workers know each other.
        let metrics = ours.get_mut("worker").expect("our metrics");
        assert!(metrics.remove("kclDaemonUpdated").is_some(), "{metrics:?}");
        for (key, row) in &java {
            let ours = ours
                .get(key)
                .unwrap_or_else(|| panic!("we have no item {key}"));
            assert_eq!(shape(ours), shape(row), "item {key}: ours, then Java's");
        }
    });
}

/// Items that are no leases, by key.
fn others(scene: &Scene, table: &str) -> BTreeMap<String, Item> {
    scene
        .aws
        .scan_items(table)
        .into_iter()
        .filter_map(|item| {
            let key = item.get("leaseKey")?.as_s().ok()?.clone();
            (!key.starts_with("shardId-")).then_some((key, item))
        })
        .collect()
}

/// Names and types, and the values of those that never vary.
fn shape(item: &Item) -> BTreeMap<String, String> {
    const FIXED: [&str; 5] = ["leaseKey", "entityType", "ownerName", "cv", "sup"];
    item.iter()
        .map(|(name, value)| {
            let text = format!("{value:?}");
            let text = if FIXED.contains(&name.as_str()) {
                text
            } else {
                text.split('(').next().unwrap_or_default().to_owned()
            };
            (name.clone(), text)
        })
        .collect()
}
