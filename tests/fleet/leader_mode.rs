//! Fleets in which a leader assigns the leases, as since KCL 3: the layout of the table, who gets what,
//! crashes of followers and leaders, rolling restarts without a duplicate.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;

use super::support::{Daemon, Properties, Recorder, now_micros, until};
use super::world::{
    APPLICATION, World, at_most, figure, seconds, slowest_to_flow, wait_flow, wait_processed,
    worker_id,
};

/// Properties of a fleet that is in the 3.x mode from the start.
fn in_3x(world: &World, recorder: &Recorder, failover: u64) -> Properties {
    world
        .properties(recorder, failover)
        .set("clientVersionConfig", "CLIENT_VERSION_CONFIG_3X")
}

fn items(world: &World) -> Vec<std::collections::HashMap<String, AttributeValue>> {
    world.aws.scan_items(APPLICATION)
}

fn text(item: &std::collections::HashMap<String, AttributeValue>, name: &str) -> Option<String> {
    item.get(name).and_then(|value| value.as_s().ok()).cloned()
}

/// The owner of the leader's lock.
fn leader(world: &World) -> Option<String> {
    items(world)
        .iter()
        .find(|item| text(item, "leaseKey").as_deref() == Some("Leader"))
        .and_then(|item| text(item, "ownerName"))
}

#[test]
fn a_fresh_application_with_one_worker() {
    let world = World::new("m3-one", 4);
    let recorder = world.recorder();
    let start = Instant::now();
    let mut daemon = world.start(&in_3x(&world, &recorder, 5_000));
    world.wait_shares(vec![4], seconds(20));
    at_most(
        "a new 3.x application: all leases held",
        start.elapsed(),
        seconds(5),
    );
    let ids: Vec<String> = world
        .aws
        .put("stream", "a", 0, 40)
        .into_iter()
        .map(|put| put.id)
        .collect();
    wait_processed(&recorder, &ids, seconds(20)).assert_no_duplicates();
    for item in items(&world) {
        println!("{item:?}");
    }
    daemon.stop_gracefully();
    world.assert_released();
}

/// Three workers with two leases each, records flowing; the leader last.
fn fleet_of_three(world: &World, properties: &Properties, recorder: &Recorder) -> Vec<Daemon> {
    let mut daemons: Vec<Daemon> = (0..3).map(|_| world.start(properties)).collect();
    world.wait_shares(vec![2, 2, 2], seconds(30));
    wait_flow(recorder, 6, 3);
    let leader = leader(world).expect("there is a leader");
    daemons.sort_by_key(|daemon| worker_id(daemon) == leader);
    assert_eq!(worker_id(&daemons[2]), leader);
    daemons
}

/// Kills one of three and sees its shards flow again in time.
fn one_is_killed(name: &str, victim: usize, what: &str) {
    let world = World::new(name, 6);
    let recorder = world.recorder();
    let properties = in_3x(&world, &recorder, 5_000);
    let watch = world.watch();
    let load = world.load(6);
    let mut daemons = fleet_of_three(&world, &properties, &recorder);
    let orphaned = world.shards_of(&worker_id(&daemons[victim]));
    let killed = now_micros();
    daemons[victim].kill9();
    let took = slowest_to_flow(&recorder, &orphaned, killed, seconds(60));
    at_most(what, took, seconds(5 + 2));
    world.wait_shares(vec![3, 3], seconds(20));
    let survivor = worker_id(&daemons[(victim + 1) % 3]);
    if victim == 2 {
        until("a survivor leads", seconds(20), || {
            leader(&world).is_some_and(|leader| leader != worker_id(&daemons[victim]))
        });
    } else {
        assert_ne!(survivor, "");
    }
    let ids = load.stop_ids();
    let ledger = wait_processed(&recorder, &ids, seconds(20));
    ledger.assert_sound();
    watch.finish();
}

#[test]
fn a_follower_is_killed() {
    one_is_killed(
        "m3-kill-follower",
        0,
        "3.x: kill -9 of a follower, failover 5 s: its shards flow again",
    );
}

#[test]
fn the_leader_is_killed() {
    one_is_killed(
        "m3-kill-leader",
        2,
        "3.x: kill -9 of the leader, failover 5 s: its shards flow again",
    );
}

#[test]
fn three_workers_are_restarted_one_by_one_without_a_duplicate() {
    let world = World::new("m3-rolling", 6);
    let recorder = world.recorder();
    let properties = in_3x(&world, &recorder, 10_000);
    let watch = world.watch();
    let load = world.load(6);
    let mut daemons = fleet_of_three(&world, &properties, &recorder);
    let from = now_micros();
    for daemon in &mut daemons {
        daemon.stop_gracefully();
        *daemon = world.start(&properties);
        world.wait_shares(vec![2, 2, 2], seconds(60));
    }
    wait_flow(&recorder, 6, 3);
    let to = now_micros();
    let ids = load.stop_ids();
    let ledger = wait_processed(&recorder, &ids, seconds(20));
    ledger.assert_sound();
    ledger.assert_no_duplicates();
    at_most(
        "3.x: three workers restarted one by one: longest silence of a shard",
        ledger.longest_silence(from, to),
        seconds(3),
    );
    watch.finish();
}

#[test]
fn newcomers_get_their_share_by_hand_off() {
    for (name, busy) in [("m3-join-busy", true), ("m3-join-idle", false)] {
        let world = World::new(name, 8);
        let recorder = world.recorder();
        let properties = in_3x(&world, &recorder, 10_000);
        let load = busy.then(|| world.load(8));
        let _first = world.start(&properties);
        world.wait_shares(vec![8], seconds(20));
        if busy {
            wait_flow(&recorder, 8, 10);
        }
        let _second = world.start(&properties);
        at_most(
            &format!("3.x: a second worker has its half ({name})"),
            world.wait_shares(vec![4, 4], seconds(60)),
            seconds(10),
        );
        let _third = world.start(&properties);
        at_most(
            &format!("3.x: a third worker has its third ({name})"),
            world.wait_shares(vec![3, 3, 2], seconds(60)),
            seconds(10),
        );
        if let Some(load) = load {
            let ids = load.stop_ids();
            let ledger = wait_processed(&recorder, &ids, seconds(20));
            ledger.assert_sound();
            ledger.assert_no_duplicates();
        }
    }
}
