//! Beside KCL 3.5.1, where a leader assigns leases and old owners hand them off.

use std::time::Duration;

use super::jars::Version;
use super::peer::Java;
use super::scene::{APPLICATION, Kinesis, PATIENCE, STREAM, Scene};
use super::support::{Properties, until};

/// Rounds of the leader and reports of workers come more often than by default, for Java and us alike.
fn properties(scene: &Scene) -> Properties {
    scene
        .properties()
        .set("leaseAssignmentIntervalMillis", 3000)
        .set("workerMetricsReporterFreqInMillis", 3000)
}

fn scene(name: &str, kinesis: Kinesis, shards: i32) -> Option<Scene> {
    Scene::new(name, Version::V3_5_1, kinesis, shards)
}

/// The way of a fleet from Java to ours, host by host, and back again, with hand-offs both ways.
#[test]
fn a_3_5_fleet_moves_to_ours_host_by_host_and_back() {
    let Some(scene) = scene("java-3-5", Kinesis::Ferrokinesis, 4) else {
        return;
    };
    let properties = properties(&scene);
    let load = scene.load(4);

    let mut java_1 = scene.java("java-1", &properties);
    scene.wait_owners(&["java-1"]);
    scene.wait_flow(4);

    let mut ours_1 = scene.ours("ours-1", &properties);
    scene.wait_owners(&["java-1", "ours-1"]);
    assert_eq!(
        scene.leader().as_deref(),
        Some("java-1"),
        "the lock is respected"
    );
    scene.wait_flow(4);

    java_1.terminate();
    scene.wait_owners(&["ours-1"]);
    scene.wait_flow(4);
    scene.wait_leader("ours-1");

    // And back: we lead, and hand leases to Java.
    let mut java_2 = scene.java("java-2", &properties);
    scene.wait_owners(&["java-2", "ours-1"]);
    java_2.assert_alive();
    scene.wait_flow(4);
    ours_1.stop_gracefully();
    scene.wait_owners(&["java-2"]);
    scene.wait_flow(4);
    scene.wait_leader("java-2");

    let ids = load.stop_ids();
    scene.assert_all_delivered(&ids);
}

/// Hand-offs lose nothing and repeat nothing, whoever leads.
#[test]
#[ignore = "takes minutes; tests/java/run-all runs it"]
fn hand_offs_repeat_nothing_in_either_direction() {
    let Some(scene) = scene("java-3-5-hand-off", Kinesis::Ferrokinesis, 4) else {
        return;
    };
    let properties = properties(&scene);
    let load = scene.load(4);
    let _java = scene.java("java-1", &properties);
    scene.wait_owners(&["java-1"]);
    scene.wait_flow(4);
    // Java leads and hands off to ours.
    let mut ours = scene.ours("ours-1", &properties);
    scene.wait_owners(&["java-1", "ours-1"]);
    scene.wait_settled();
    scene.wait_flow(4);
    // Ours stops: its leases go back in order.
    ours.stop_gracefully();
    scene.wait_owners(&["java-1"]);
    scene.wait_flow(4);
    let ids = load.stop_ids();
    let ledger = scene.assert_all_delivered(&ids);
    ledger.assert_no_duplicates();
}

/// The same with ours as leader.
#[test]
#[ignore = "takes minutes; tests/java/run-all runs it"]
fn we_lead_and_hand_off_to_java_without_repeating() {
    let Some(scene) = scene("java-3-5-we-lead", Kinesis::Ferrokinesis, 4) else {
        return;
    };
    let properties = properties(&scene);
    let load = scene.load(4);
    let _ours = scene.ours("ours-1", &properties);
    scene.wait_owners(&["ours-1"]);
    scene.wait_leader("ours-1");
    scene.wait_flow(4);
    let _java = scene.java("java-1", &properties);
    scene.wait_owners(&["java-1", "ours-1"]);
    scene.wait_settled();
    scene.wait_flow(4);
    let ids = load.stop_ids();
    let ledger = scene.assert_all_delivered(&ids);
    ledger.assert_no_duplicates();
}

/// Leaders are killed on either side; the lock and the leases are taken over.
#[test]
#[ignore = "takes minutes; tests/java/run-all runs it"]
fn killed_leaders_are_replaced_across_kinds() {
    let Some(scene) = scene("java-3-5-kill", Kinesis::Ferrokinesis, 4) else {
        return;
    };
    let properties = properties(&scene);
    let load = scene.load(4);
    let mut java_1 = scene.java("java-1", &properties);
    scene.wait_owners(&["java-1"]);
    let mut ours_1 = scene.ours("ours-1", &properties);
    scene.wait_owners(&["java-1", "ours-1"]);
    scene.wait_flow(4);
    java_1.kill9();
    // Java's lock lives for 120 s, and nobody may assign before it is over.
    let took = scene.wait_owners(&["ours-1"]);
    println!(
        "FIGURE: our worker has all leases {:.1} s after the kill of Java's leader",
        took.as_secs_f64()
    );
    scene.wait_leader("ours-1");
    scene.wait_flow(4);
    let _java_2 = scene.java("java-2", &properties);
    scene.wait_owners(&["java-2", "ours-1"]);
    ours_1.kill9();
    let took = scene.wait_owners(&["java-2"]);
    println!(
        "FIGURE: Java has all leases {:.1} s after the kill of our leader",
        took.as_secs_f64()
    );
    scene.wait_flow(4);
    let ids = load.stop_ids();
    scene.assert_all_delivered(&ids);
}

/// Splits and merges while both kinds hold leases.
#[test]
#[ignore = "takes minutes; tests/java/run-all runs it"]
fn reshards_beside_java_lose_nothing_and_keep_the_order() {
    let Some(scene) = scene("java-3-5-reshard", Kinesis::NpmLocal, 2) else {
        return;
    };
    let properties = properties(&scene).set("cleanupLeasesUponShardCompletion", true);
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

/// A 2.7.2 fleet is replaced by ours, which stays with the 2.x algorithm meanwhile and moves to 3.x by
/// itself; then Java 3.5 joins.
#[test]
#[ignore = "takes minutes; tests/java/run-all runs it"]
fn from_2_7_2_over_ours_to_3_5() {
    let Some(old) = Version::V2_7_2.class_path() else {
        return;
    };
    let Some(scene) = scene("java-2-to-3", Kinesis::Ferrokinesis, 4) else {
        return;
    };
    let properties = properties(&scene);
    let load = scene.load(4);
    let mut java_1 = scene.java_of(&Java::published(&old), "java-1", &properties);
    scene.wait_owners(&["java-1"]);
    scene.wait_flow(4);
    let _ours_1 = scene.ours("ours-1", &properties);
    scene.wait_owners(&["java-1", "ours-1"]);
    scene.wait_flow(4);
    // As long as 2.7.2 lives nothing may be written that breaks its scans.
    std::thread::sleep(Duration::from_secs(20));
    java_1.assert_alive();
    assert_eq!(scene.foreign_keys(), Vec::<String>::new());
    java_1.terminate();
    let _ours_2 = scene.ours("ours-2", &properties);
    scene.wait_owners(&["ours-1", "ours-2"]);
    // After ten minutes without anybody older it gets ready, and is ready for ten more before it flips.
    until("the fleet gets ready for 3.x", 5 * PATIENCE, || {
        scene.foreign_keys().contains(&"Migration3.0".to_owned())
    });
    assert_eq!(scene.leader(), None, "not yet");
    until("the fleet has moved to 3.x", 5 * PATIENCE, || {
        scene.leader().is_some()
    });
    scene.wait_flow(4);
    let mut java_3 = scene.java("java-3", &properties);
    scene.wait_owners(&["java-3", "ours-1", "ours-2"]);
    java_3.assert_alive();
    scene.wait_flow(4);
    let ids = load.stop_ids();
    scene.assert_all_delivered(&ids);
    assert!(!scene.leases().is_empty(), "{APPLICATION} has leases");
}
