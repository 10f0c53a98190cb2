//! Enhanced fan-out beside Java: one registered consumer for all, and leases that move both ways.

use super::jars::Version;
use super::scene::{Kinesis, STREAM, Scene};
use super::support::Properties;

/// ARNs of the stream's consumers, and their number.
fn consumers(scene: &Scene) -> Vec<String> {
    let aws = &scene.aws;
    let kinesis = aws.kinesis();
    let described = aws.run(kinesis.describe_stream_summary().stream_name(STREAM).send());
    let stream = described
        .expect("DescribeStreamSummary")
        .stream_description_summary
        .expect("a stream")
        .stream_arn;
    let listed = aws.run(kinesis.list_stream_consumers().stream_arn(stream).send());
    let listed = listed.expect("ListStreamConsumers").consumers;
    listed
        .unwrap_or_default()
        .into_iter()
        .map(|consumer| {
            format!(
                "{} {:?}",
                consumer.consumer_arn, consumer.consumer_creation_timestamp
            )
        })
        .collect()
}

fn properties(scene: &Scene) -> Properties {
    scene
        .properties()
        .without("idleTimeBetweenReadsInMillis")
        .set("retrievalMode", "FANOUT")
        // Known to 3.x only.
        .set("leaseAssignmentIntervalMillis", 3000)
        .set("workerMetricsReporterFreqInMillis", 3000)
}

/// Java registers, ours joins; ours is alone; Java joins again and is alone.
fn leases_move_both_ways(name: &str, version: Version) {
    let Some(scene) = Scene::new(name, version, Kinesis::Ferrokinesis, 4) else {
        return;
    };
    let properties = properties(&scene);
    let load = scene.load(4);
    let mut java_1 = scene.java("java-1", &properties);
    scene.wait_owners(&["java-1"]);
    scene.wait_flow(4);
    let registered = consumers(&scene);
    assert_eq!(registered.len(), 1, "{registered:?}");

    let mut ours = scene.ours("ours-1", &properties);
    scene.wait_owners(&["java-1", "ours-1"]);
    scene.wait_settled();
    scene.wait_flow(4);
    assert!(ours.log().contains("enhanced fan-out"), "{}", ours.log());
    java_1.terminate();
    scene.wait_owners(&["ours-1"]);
    scene.wait_flow(4);
    assert_eq!(consumers(&scene), registered, "ours uses Java's consumer");

    let mut java_2 = scene.java("java-2", &properties);
    scene.wait_owners(&["java-2", "ours-1"]);
    scene.wait_settled();
    scene.wait_flow(4);
    ours.stop_gracefully();
    scene.wait_owners(&["java-2"]);
    scene.wait_flow(4);
    assert_eq!(consumers(&scene), registered, "and leaves it to Java");

    let ids = load.stop_ids();
    let ledger = scene.assert_all_delivered(&ids);
    ledger.assert_sound();
    java_2.assert_alive();
}

#[test]
#[ignore = "takes minutes; tests/java/run-all runs it"]
fn fan_out_leases_move_between_2_7_2_and_ours() {
    leases_move_both_ways("java-2-7-2-fan-out", Version::V2_7_2);
}

#[test]
#[ignore = "takes minutes; tests/java/run-all runs it"]
fn fan_out_leases_move_between_3_5_1_and_ours() {
    leases_move_both_ways("java-3-5-fan-out", Version::V3_5_1);
}

/// Ours registers first; Java finds the consumer.
#[test]
#[ignore = "takes minutes; tests/java/run-all runs it"]
fn java_uses_the_consumer_that_we_registered() {
    let Some(scene) = Scene::new(
        "java-fan-out-second",
        Version::V2_7_2,
        Kinesis::Ferrokinesis,
        2,
    ) else {
        return;
    };
    // 2.7.2 does not know the key.
    let properties = properties(&scene).set(
        "clientVersionConfig",
        "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1",
    );
    let load = scene.load(2);
    let mut ours = scene.ours("ours-1", &properties);
    scene.wait_owners(&["ours-1"]);
    scene.wait_flow(2);
    let registered = consumers(&scene);
    assert_eq!(registered.len(), 1, "{registered:?}");
    let mut java = scene.java("java-1", &properties);
    scene.wait_owners(&["java-1", "ours-1"]);
    ours.kill9();
    scene.wait_owners(&["java-1"]);
    scene.wait_flow(2);
    assert_eq!(consumers(&scene), registered);
    let ids = load.stop_ids();
    scene.assert_all_delivered(&ids);
    java.assert_alive();
}

/// Splits and merges by enhanced fan-out, where the end of a shard comes with its children in an event.
#[test]
#[ignore = "takes minutes; tests/java/run-all runs it"]
fn fan_out_reshards_beside_3_5_1_lose_nothing_and_keep_the_order() {
    let Some(scene) = Scene::new("java-3-5-fan-out-reshard", Version::V3_5_1, Kinesis::Own, 2)
    else {
        return;
    };
    let properties = properties(&scene);
    let load = scene.load(4);
    let _java = scene.java("java-1", &properties);
    scene.wait_owners(&["java-1"]);
    let _ours = scene.ours("ours-1", &properties);
    scene.wait_owners(&["java-1", "ours-1"]);
    scene.wait_flow(2);
    for shard in scene.aws.open_shards(STREAM) {
        scene.aws.split(STREAM, &shard);
    }
    scene.wait_flow(4);
    let open = scene.aws.open_shards(STREAM);
    scene.aws.merge(STREAM, &open[0], &open[1]);
    scene.wait_flow(3);
    let ids = load.stop_ids();
    let ledger = scene.assert_all_delivered(&ids);
    ledger.assert_sound();
}
