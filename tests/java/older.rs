//! Beside KCL 2.7.2, whose workers take leases each for itself.

use super::jars::Version;
use super::scene::{Kinesis, Scene};

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
