//! Fleets in which a leader assigns the leases, as since KCL 3: the layout of the table, who gets what,
//! crashes of followers and leaders, rolling restarts without a duplicate.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;

use super::support::{Daemon, Properties, Recorder, now_micros, until};
use super::world::{
    APPLICATION, World, at_most, seconds, slowest_to_flow, wait_flow, wait_processed, worker_id,
};

/// Properties of a fleet that is in the 3.x mode from the start.
fn in_3x(world: &World, recorder: &Recorder, failover: u64) -> Properties {
    world
        .properties(recorder, failover)
        .set("clientVersionConfig", "CLIENT_VERSION_CONFIG_3X")
}

type Item = HashMap<String, AttributeValue>;

fn items(world: &World) -> Vec<Item> {
    world.aws.scan_items(APPLICATION)
}

fn text(item: &Item, name: &str) -> Option<String> {
    item.get(name).and_then(|value| value.as_s().ok()).cloned()
}

/// The owner of the leader's lock.
fn leader(world: &World) -> Option<String> {
    items(world)
        .iter()
        .find(|item| text(item, "leaseKey").as_deref() == Some("Leader"))
        .and_then(|item| text(item, "ownerName"))
}

/// A row's attributes with their types, and the values that can be foretold.
fn shown(item: &Item) -> BTreeMap<String, String> {
    item.iter()
        .map(|(name, value)| {
            let text = match value {
                AttributeValue::N(_) => "N".to_owned(),
                AttributeValue::S(_) if name == "recordVersionNumber" => "S".to_owned(),
                AttributeValue::S(text) => format!("S {text}"),
                AttributeValue::M(map) => format!("M of {}", map.len()),
                other => format!("{other:?}"),
            };
            (name.clone(), text)
        })
        .collect()
}

fn row(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// The layout that Java 3.5 makes, attribute by attribute (`leases.md` A.4 to A.7), with the index.
#[test]
fn a_fresh_application_has_the_layout_of_kcl_3_5() {
    let world = World::new("m3-fresh", 2);
    let recorder = world.recorder();
    let start = Instant::now();
    let properties = in_3x(&world, &recorder, 5_000).set("workerId", "worker-1");
    let mut daemon = world.start(&properties);
    world.wait_shares(vec![2], seconds(20));
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
    until("the throughput is stored", seconds(20), || {
        let leases = items(&world);
        let known = |item: &&Item| item.contains_key("throughputKBps");
        leases.iter().filter(known).count() == 2
    });
    let rows: BTreeMap<String, BTreeMap<String, String>> = items(&world)
        .iter()
        .map(|item| (text(item, "leaseKey").expect("a key"), shown(item)))
        .collect();
    let keys: Vec<&String> = rows.keys().collect();
    assert_eq!(
        keys,
        [
            "Leader",
            "shardId-000000000000",
            "shardId-000000000001",
            "worker-1"
        ]
    );
    assert_eq!(
        rows["Leader"],
        row(&[
            ("leaseKey", "S Leader"),
            ("entityType", "S LEADER"),
            ("ownerName", "S worker-1"),
            ("leaseDuration", "S 3750"),
            ("recordVersionNumber", "S"),
        ])
    );
    assert_eq!(
        rows["worker-1"],
        row(&[
            ("leaseKey", "S worker-1"),
            ("entityType", "S WORKER_METRIC_STATS"),
            ("lut", "N"),
            ("sts", "M of 0"),
            ("opr", "M of 0"),
            ("sup", "N"),
            ("slu", "N"),
            // Ours alone: Java looks up the names that it knows, and leaves it.
            ("kclDaemonUpdated", "N"),
        ])
    );
    let mut lease = rows["shardId-000000000000"].clone();
    let checkpoint = lease.remove("checkpoint").expect("a checkpoint");
    assert!(checkpoint.starts_with("S 4"), "{checkpoint}");
    assert_eq!(
        lease,
        row(&[
            ("leaseKey", "S shardId-000000000000"),
            ("entityType", "S LEASE"),
            ("leaseCounter", "N"),
            ("leaseOwner", "S worker-1"),
            ("checkpointSubSequenceNumber", "N"),
            ("ownerSwitchesSinceCheckpoint", "N"),
            ("startingHashKey", "S 0"),
            ("endingHashKey", "S 170141183460469231731687303715884105727"),
            ("throughputKBps", "N"),
        ])
    );
    assert_eq!(indexes(&world), ["LeaseOwnerToLeaseKeyIndex"]);

    daemon.stop_gracefully();
    world.assert_released();
    let left: Vec<String> = items(&world)
        .iter()
        .filter_map(|item| text(item, "leaseKey"))
        .filter(|key| !key.starts_with("shardId"))
        .collect();
    assert!(left.is_empty(), "lock and metrics are gone: {left:?}");
}

fn indexes(world: &World) -> Vec<String> {
    let call = world
        .aws
        .dynamodb()
        .describe_table()
        .table_name(APPLICATION);
    let table = world.aws.run(call.send()).expect("DescribeTable").table;
    let indexes = table.and_then(|table| table.global_secondary_indexes);
    indexes
        .unwrap_or_default()
        .into_iter()
        .filter_map(|index| index.index_name)
        .collect()
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

/// Waits until nothing is on its way from one worker to another.
fn wait_settled(world: &World, shares: Vec<usize>, timeout: Duration) -> Duration {
    let start = Instant::now();
    world.wait_shares(shares, timeout);
    until("all hand-offs are over", timeout, || {
        let pending = |item: &Item| item.contains_key("checkpointOwner");
        !items(world).iter().any(pending)
    });
    start.elapsed()
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
        wait_settled(&world, vec![2, 2, 2], seconds(60));
        wait_flow(&recorder, 6, 2);
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
            wait_settled(&world, vec![4, 4], seconds(60)),
            seconds(10),
        );
        let _third = world.start(&properties);
        at_most(
            &format!("3.x: a third worker has its third ({name})"),
            wait_settled(&world, vec![3, 3, 2], seconds(60)),
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

/// In a table that is not small the workers that are neither leader nor deputy ask the index.
#[test]
fn workers_find_their_leases_by_the_index() {
    let world = World::new("m3-index", 10);
    let recorder = world.recorder();
    let properties = in_3x(&world, &recorder, 5_000);
    let mut daemons = vec![world.start(&properties)];
    world.wait_shares(vec![10], seconds(20));
    for n in 0..4 {
        // What nobody knows is left alone, and makes the table large.
        let put = world
            .aws
            .dynamodb()
            .put_item()
            .table_name(APPLICATION)
            .item("leaseKey", AttributeValue::S(format!("stream-{n}")))
            .item("entityType", AttributeValue::S("STREAM".to_owned()))
            .item("streamId", AttributeValue::S("x".repeat(5_000)));
        world.aws.run(put.send()).expect("PutItem");
    }
    daemons.extend((0..4).map(|_| world.start(&properties)));
    wait_settled(&world, vec![2; 5], seconds(60));
    let load = world.load(10);
    wait_flow(&recorder, 10, 3);
    // A fallen worker's leases come to those who are left, however they look for them.
    let mut fallen = daemons.remove(4);
    fallen.kill9();
    wait_settled(&world, vec![3, 3, 2, 2], seconds(60));
    wait_flow(&recorder, 10, 3);
    for daemon in &daemons {
        daemon.signal(rustix::process::Signal::QUIT);
    }
    until("some asked the index", seconds(20), || {
        daemons
            .iter()
            .any(|daemon| daemon.log().contains("index queries"))
    });
    let ids = load.stop_ids();
    wait_processed(&recorder, &ids, seconds(20)).assert_sound();
}

/// A split: its children run at once where their parent ran, and soon elsewhere.
#[test]
fn children_of_a_split_flow_soon() {
    let world = World::new("m3-split", 2);
    let recorder = world.recorder();
    let properties = in_3x(&world, &recorder, 10_000);
    let _first = world.start(&properties);
    let _second = world.start(&properties);
    wait_settled(&world, vec![1, 1], seconds(30));
    let load = world.load(4);
    wait_flow(&recorder, 2, 3);
    let split = now_micros();
    let children: Vec<String> = ["shardId-000000000000", "shardId-000000000001"]
        .iter()
        .flat_map(|parent| world.aws.split("stream", parent))
        .collect();
    let children: BTreeSet<String> = children.into_iter().collect();
    at_most(
        "3.x: two splits on two workers: first record of the last child shard",
        slowest_to_flow(&recorder, &children, split, seconds(30)),
        seconds(6),
    );
    let ids = load.stop_ids();
    let ledger = wait_processed(&recorder, &ids, seconds(20));
    ledger.assert_sound();
    ledger.assert_no_duplicates();
}
