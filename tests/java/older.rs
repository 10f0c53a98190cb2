//! Beside KCL 2.7.2, whose workers take leases each for itself.

use super::jars::Version;
use super::scene::{Kinesis, Scene};
use super::support::aws::LeaseRow;

/// The attribute, beside the counter that it repeats.
const MARK: &str = "kclDaemonCounter";

/// The way of a fleet from Java to ours, host by host, and back again.
#[test]
fn a_2_7_2_fleet_moves_to_ours_host_by_host_and_back() {
    let Some(scene) = Scene::new("java-2-7-2", Version::V2_7_2, Kinesis::Ferrokinesis, 4) else {
        return;
    };
    let properties = scene.properties();
    let load = scene.load(4);

    let mut java_1 = scene.java("java-1", &properties);
    scene.wait_owners(&["java-1"]);
    scene.wait_flow(4);

    let mut ours_1 = scene.ours("ours-1", &properties);
    scene.wait_owners(&["java-1", "ours-1"]);
    scene.wait_flow(4);

    java_1.terminate();
    scene.wait_owners(&["ours-1"]);
    scene.wait_flow(4);

    // And back.
    let mut java_2 = scene.java("java-2", &properties);
    scene.wait_owners(&["java-2", "ours-1"]);
    java_2.assert_alive();
    ours_1.stop_gracefully();
    scene.wait_owners(&["java-2"]);
    scene.wait_flow(4);

    let ids = load.stop_ids();
    scene.assert_all_delivered(&ids);
    java_2.terminate();
    // Nothing was written that 2.7.2 would trip over.
    for item in scene.aws.scan_items(super::scene::APPLICATION) {
        assert!(item.contains_key("leaseCounter"), "{item:?}");
    }
}

/// A worker of either kind is killed; the other kind takes over.
#[test]
#[ignore = "takes minutes; tests/java/run-all runs it"]
fn killed_workers_are_replaced_across_kinds_2_7_2() {
    let Some(scene) = Scene::new("java-2-7-2-kill", Version::V2_7_2, Kinesis::Ferrokinesis, 4)
    else {
        return;
    };
    let properties = scene.properties();
    let load = scene.load(4);
    let mut java_1 = scene.java("java-1", &properties);
    scene.wait_owners(&["java-1"]);
    let mut ours_1 = scene.ours("ours-1", &properties);
    scene.wait_owners(&["java-1", "ours-1"]);
    scene.wait_flow(4);
    java_1.kill9();
    scene.wait_owners(&["ours-1"]);
    scene.wait_flow(4);
    let java_2 = scene.java("java-2", &properties);
    scene.wait_owners(&["java-2", "ours-1"]);
    ours_1.kill9();
    scene.wait_owners(&["java-2"]);
    scene.wait_flow(4);
    let ids = load.stop_ids();
    scene.assert_all_delivered(&ids);
    drop(java_2);
}

/// Rows carry the mark by which our workers know each other (`core::migration::pure_fleet`); Java of either
/// kind works on them undisturbed, and by its own writes leaves the mark behind.
fn java_works_on_marked_rows(name: &str, version: Version) {
    let Some(scene) = Scene::new(name, version, Kinesis::Ferrokinesis, 4) else {
        return;
    };
    // Java's daemons do not know this value, or not the key.
    let ours = scene.properties().set(
        "clientVersionConfig",
        "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1",
    );
    let load = scene.load(4);
    let mut worker = scene.ours("ours-1", &ours);
    scene.wait_owners(&["ours-1"]);
    scene.wait_flow(4);
    let marked = |row: &LeaseRow| {
        let mark = row.item.get(MARK).and_then(|mark| mark.as_n().ok());
        mark.map(|mark| *mark == row.counter.to_string())
    };
    for row in scene.leases().values() {
        assert_eq!(marked(row), Some(true), "{row:?}");
    }
    worker.stop_gracefully();
    let mut java = scene.java("java-1", &scene.properties());
    scene.wait_owners(&["java-1"]);
    scene.wait_flow(4);
    scene.wait_flow(4);
    for row in scene.leases().values() {
        assert_eq!(marked(row), Some(false), "Java's writes leave it: {row:?}");
    }
    java.assert_alive();
    for word in ["ERROR", "Exception"] {
        assert!(!java.log().contains(word), "{}", java.log_end());
    }
    let ids = load.stop_ids();
    scene.assert_all_delivered(&ids);
}

#[test]
#[ignore = "takes minutes; tests/java/run-all runs it"]
fn our_mark_does_not_disturb_2_7_2() {
    java_works_on_marked_rows("java-2-7-2-mark", Version::V2_7_2);
}

#[test]
#[ignore = "takes minutes; tests/java/run-all runs it"]
fn our_mark_does_not_disturb_3_5_1() {
    java_works_on_marked_rows("java-3-5-mark", Version::V3_5_1);
}
