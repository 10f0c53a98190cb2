//! Lease tables with things in them that people or other versions put there.

use super::support::aws::{number, string};
use super::support::{Aws, Daemon, Recorder, Sandbox, Services, until};
use super::{one_line_says, refuses, seconds};

const SHARDS: [&str; 4] = [
    "shardId-000000000000",
    "shardId-000000000001",
    "shardId-000000000002",
    "shardId-000000000003",
];

#[test]
fn rows_that_do_not_parse_are_left_alone_and_named() {
    let sandbox = Sandbox::new("rows");
    let services = Services::embedded(&sandbox, &[("stream", 4)]);
    let aws = Aws::at(&services.endpoints());
    aws.create_table("app");
    // Shard 0 has a row as KCL writes it; 1, 2 and 3 are damaged, each in its own way.
    let good = [
        ("leaseKey", string(SHARDS[0])),
        ("leaseCounter", number(7)),
        ("checkpoint", string("TRIM_HORIZON")),
        ("checkpointSubSequenceNumber", number(0)),
        ("ownerSwitchesSinceCheckpoint", number(0)),
        ("somethingOfYours", string("kept")),
    ];
    aws.put_raw_item("app", &good);
    aws.put_raw_item(
        "app",
        &[
            ("leaseKey", string(SHARDS[1])),
            ("leaseCounter", number(1)),
            ("checkpoint", string("yesterday")),
        ],
    );
    aws.put_raw_item(
        "app",
        &[
            ("leaseKey", string(SHARDS[2])),
            ("leaseCounter", string("many")),
            ("checkpoint", string("TRIM_HORIZON")),
        ],
    );
    aws.put_raw_item(
        "app",
        &[("leaseKey", string(SHARDS[3])), ("leaseCounter", number(1))],
    );
    let before = items(&aws);

    let recorder = Recorder::new(&sandbox);
    let puts = aws.put("stream", "a", 0, 40);
    let readable: Vec<&str> = puts
        .iter()
        .filter(|put| put.shard == SHARDS[0])
        .map(|put| put.id.as_str())
        .collect();
    assert_eq!(readable.len(), 10);
    let properties = services
        .properties("app", "stream", &recorder.command())
        .failover_millis(3_000);
    let mut daemon = Daemon::start(&sandbox, &properties, &[]);
    until("the good shard is processed", seconds(20), || {
        recorder.ledger().has_processed(&readable)
    });
    for (shard, attribute) in [
        (SHARDS[1], "checkpoint"),
        (SHARDS[2], "leaseCounter"),
        (SHARDS[3], "checkpoint"),
    ] {
        until(&format!("{shard} is told"), seconds(10), || {
            daemon.log().lines().any(|line| {
                line.contains("ERROR") && line.contains(shard) && line.contains(attribute)
            })
        });
    }
    // Repaired by hand while the daemon runs: it goes on with the shard.
    aws.put_raw_item(
        "app",
        &[
            ("leaseKey", string(SHARDS[1])),
            ("leaseCounter", number(2)),
            ("checkpoint", string("TRIM_HORIZON")),
        ],
    );
    let repaired: Vec<&str> = puts
        .iter()
        .filter(|put| put.shard == SHARDS[1])
        .map(|put| put.id.as_str())
        .collect();
    until("the repaired shard is processed", seconds(20), || {
        recorder.ledger().has_processed(&repaired)
    });
    let told = daemon
        .log()
        .lines()
        .filter(|line| line.contains("ERROR") && line.contains(SHARDS[2]))
        .count();
    assert_eq!(told, 1, "each once: {}", daemon.log());
    daemon.stop_gracefully();

    let after = items(&aws);
    for shard in [SHARDS[2], SHARDS[3]] {
        assert_eq!(after[shard], before[shard], "damaged rows stay as they are");
    }
    assert_eq!(
        after[SHARDS[0]]["somethingOfYours"],
        string("kept"),
        "attributes that nobody knows survive"
    );
    assert!(
        recorder
            .ledger()
            .of("initialize")
            .all(|e| [SHARDS[0], SHARDS[1]].contains(&e.shard.as_str()))
    );
}

type Items = std::collections::BTreeMap<
    String,
    std::collections::HashMap<String, aws_sdk_dynamodb::types::AttributeValue>,
>;

fn items(aws: &Aws) -> Items {
    aws.scan_items("app")
        .into_iter()
        .map(|item| (item["leaseKey"].as_s().expect("a string").clone(), item))
        .collect()
}

/// A state of the fleet that is newer than this daemon: nothing is touched.
#[test]
fn a_state_of_the_fleet_that_nobody_knows_stops_the_start() {
    let sandbox = Sandbox::new("newer");
    let services = Services::embedded(&sandbox, &[("stream", 1)]);
    let aws = Aws::at(&services.endpoints());
    aws.create_table("app");
    aws.put_raw_item(
        "app",
        &[
            ("leaseKey", string(SHARDS[0])),
            ("leaseCounter", number(3)),
            ("checkpoint", string("TRIM_HORIZON")),
        ],
    );
    aws.put_raw_item(
        "app",
        &[
            ("leaseKey", string("Migration3.0")),
            ("cv", string("CLIENT_VERSION_9")),
            ("mts", number(1)),
        ],
    );
    let before = items(&aws);
    let recorder = Recorder::new(&sandbox);
    let properties = services.properties("app", "stream", &recorder.command());
    let log = refuses(Daemon::start(&sandbox, &properties, &[]));
    one_line_says(&log, &["ERROR", "Migration3.0", "CLIENT_VERSION_9"]);
    assert_eq!(items(&aws), before, "nothing was taken or written");
    assert!(recorder.ledger().events.is_empty());
}

/// An item of a kind that nobody knows is left alone, and so is a worker's that cannot be read.
#[test]
fn items_that_are_no_leases_are_left_alone() {
    let sandbox = Sandbox::new("strangers");
    let services = Services::embedded(&sandbox, &[("stream", 1)]);
    let aws = Aws::at(&services.endpoints());
    aws.create_table("app");
    let strangers = [
        vec![
            ("leaseKey", string("some-thing")),
            ("entityType", string("SOMETHING_NEW")),
        ],
        vec![
            ("leaseKey", string("some-worker")),
            ("entityType", string("WORKER_METRIC_STATS")),
            ("lut", string("yesterday")),
        ],
    ];
    for item in &strangers {
        aws.put_raw_item("app", item);
    }
    let before = items(&aws);
    let recorder = Recorder::new(&sandbox);
    let ids: Vec<String> = aws
        .put("stream", "a", 0, 10)
        .into_iter()
        .map(|put| put.id)
        .collect();
    let properties = services.properties("app", "stream", &recorder.command());
    let mut daemon = Daemon::start(&sandbox, &properties, &[]);
    until("all is processed", seconds(20), || {
        recorder.ledger().has_processed(&ids)
    });
    daemon.stop_gracefully();
    one_line_says(&daemon.log(), &["ERROR", "'some-worker'", "lut"]);
    let after = items(&aws);
    for (key, item) in before {
        assert_eq!(after.get(&key), Some(&item), "{key}");
    }
}

/// The first step of Java's way from 2.x to 3.x: some workers still keep the 2.x algorithm and write
/// nothing new, others begin. The former go on as they are.
#[test]
fn a_daemon_told_to_keep_the_2_x_algorithm_goes_on_when_the_fleet_moves() {
    let sandbox = Sandbox::new("moves-in");
    let services = Services::embedded(&sandbox, &[("stream", 2)]);
    let aws = Aws::at(&services.endpoints());
    let recorder = Recorder::new(&sandbox);
    let put = |prefix| -> Vec<String> {
        let puts = aws.put("stream", prefix, 0, 10);
        puts.into_iter().map(|put| put.id).collect()
    };
    let properties = services
        .properties("app", "stream", &recorder.command())
        .failover_millis(1_000)
        .set(
            "clientVersionConfig",
            "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1",
        );
    let mut daemon = Daemon::start(&sandbox, &properties, &[]);
    let first = put("a");
    until("all is processed", seconds(20), || {
        recorder.ledger().has_processed(&first)
    });
    aws.put_raw_item(
        "app",
        &[
            ("leaseKey", string("Migration3.0")),
            ("entityType", string("CLIENT_VERSION_MIGRATION")),
            ("cv", string("CLIENT_VERSION_3X")),
            ("mb", string("another")),
            ("mts", number(1)),
        ],
    );
    daemon.wait_log("does not follow that before it is restarted", seconds(20));
    let second = put("b");
    until("it goes on", seconds(20), || {
        recorder.ledger().has_processed(&second)
    });
    daemon.stop_gracefully();
    let foreign = items(&aws)
        .into_iter()
        .filter(|(_, item)| !item.contains_key("leaseCounter"));
    let keys: Vec<String> = foreign.map(|(key, _)| key).collect();
    assert_eq!(keys, ["Migration3.0"], "and writes nothing new itself");
}

/// A table that was made for something else.
#[test]
fn a_table_without_lease_keys_is_refused_by_name() {
    use aws_sdk_dynamodb::types::{
        AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    };
    let sandbox = Sandbox::new("other-table");
    let services = Services::embedded(&sandbox, &[("stream", 1)]);
    let aws = Aws::at(&services.endpoints());
    let attribute = AttributeDefinition::builder()
        .attribute_name("customer")
        .attribute_type(ScalarAttributeType::S)
        .build()
        .expect("complete");
    let key = KeySchemaElement::builder()
        .attribute_name("customer")
        .key_type(KeyType::Hash)
        .build()
        .expect("complete");
    let call = aws
        .dynamodb()
        .create_table()
        .table_name("app")
        .attribute_definitions(attribute)
        .key_schema(key)
        .billing_mode(BillingMode::PayPerRequest);
    aws.run(call.send()).expect("CreateTable");
    aws.put_raw_item("app", &[("customer", string("Ms Miller"))]);
    let log = refuses(Daemon::start(
        &sandbox,
        &services.properties("app", "stream", "cat"),
        &[],
    ));
    one_line_says(&log, &["ERROR", "app", "leaseKey"]);
    assert_eq!(aws.scan_items("app").len(), 1, "nothing was written");
}
