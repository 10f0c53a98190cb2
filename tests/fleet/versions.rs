//! Which algorithm a daemon follows: what it finds in the table, what it is told, what an operator's tool
//! changes while it runs (`leases.md` D).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;

use super::support::{Aws, Exit, until};
use super::world::{APPLICATION, SOON, World, seconds, wait_flow, wait_processed};

const PHASE1: &str = "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1";

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// A worker of KCL 2.x, as far as the table shows it: it owns leases and raises their counters. It has
/// three; of two that it renews the daemon steals one at most.
struct OldWorker {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

/// The lease that it does not renew.
const SILENT: &str = "shardId-000000000002";

impl OldWorker {
    /// Makes the table with the leases of the three shards.
    fn start(world: &World) -> Self {
        world.aws.create_table(APPLICATION);
        for shard in world.aws.list_shards("stream") {
            let range = shard.hash_key_range().expect("a range");
            let put = world
                .aws
                .dynamodb()
                .put_item()
                .table_name(APPLICATION)
                .item("leaseKey", s(shard.shard_id()))
                .item("leaseCounter", n(7))
                .item("leaseOwner", s("old-worker"))
                .item("checkpoint", s("TRIM_HORIZON"))
                .item("checkpointSubSequenceNumber", n(0))
                .item("ownerSwitchesSinceCheckpoint", n(0))
                .item("startingHashKey", s(range.starting_hash_key()))
                .item("endingHashKey", s(range.ending_hash_key()));
            world.aws.run(put.send()).expect("PutItem");
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (aws, stopped) = (Aws::at(&world.services.endpoints()), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut counters = [7, 7];
            while !stopped.load(Ordering::Relaxed) {
                for (shard, counter) in counters.iter_mut().enumerate() {
                    let renew = aws
                        .dynamodb()
                        .update_item()
                        .table_name(APPLICATION)
                        .key("leaseKey", s(&format!("shardId-{shard:012}")))
                        .update_expression("SET leaseCounter = :next")
                        .condition_expression("leaseCounter = :seen")
                        .expression_attribute_values(":seen", n(*counter))
                        .expression_attribute_values(":next", n(*counter + 1));
                    if aws.run(renew.send()).is_ok() {
                        *counter += 1;
                    }
                }
                thread::sleep(Duration::from_millis(200));
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for OldWorker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn foreign(world: &World) -> Vec<String> {
    world
        .aws
        .scan_items(APPLICATION)
        .iter()
        .filter(|item| !item.contains_key("leaseCounter"))
        .filter_map(|item| item.get("leaseKey")?.as_s().ok().cloned())
        .collect()
}

#[test]
fn beside_a_worker_of_kcl_2_nothing_but_leases_is_written() {
    let world = World::new("beside-2x", 3);
    let recorder = world.recorder();
    let old = OldWorker::start(&world);
    let properties = world.properties(&recorder, 2_000);
    let mut daemon = world.start(&properties);
    daemon.wait_log("(the algorithm of KCL 2.x)", SOON);
    // The lease that nobody renews comes to us, one of the others stays.
    until("the silent lease is taken", seconds(20), || {
        !world.shards_of("old-worker").contains(SILENT)
    });
    assert!(!world.shards_of("old-worker").is_empty());
    let load = world.load(3);
    wait_flow(&recorder, 1, 20);
    assert!(foreign(&world).is_empty(), "{:?}", foreign(&world));
    let call = world
        .aws
        .dynamodb()
        .describe_table()
        .table_name(APPLICATION);
    let table = world.aws.run(call.send()).expect("DescribeTable").table;
    assert!(
        table.is_some_and(|table| table.global_secondary_indexes().is_empty()),
        "no index"
    );
    daemon.stop_gracefully();
    assert!(foreign(&world).is_empty(), "{:?}", foreign(&world));

    // Told to do what would break it, the daemon does not start, and says whom it would break.
    let explicit = properties.set("clientVersionConfig", "CLIENT_VERSION_CONFIG_3X");
    let mut refused = world.start(&explicit);
    assert_eq!(refused.wait_exit(SOON), Exit::code(1));
    assert!(
        refused.log().contains("old-worker"),
        "{}",
        refused.log_end()
    );
    assert!(foreign(&world).is_empty(), "{:?}", foreign(&world));

    // Unless it is told that it is right all the same.
    let mut forced = world.start(&explicit.set("forceClientVersionConfig", "true"));
    until("the 3.x mode begins", SOON, || !foreign(&world).is_empty());
    forced.stop_gracefully();
    drop(old);
    load.stop_ids();
}

#[test]
fn told_to_keep_the_2_x_algorithm_it_does_and_refuses_where_a_leader_is_at_work() {
    let world = World::new("phase1", 2);
    let recorder = world.recorder();
    let properties = world.properties(&recorder, 2_000);
    let phase1 = properties.clone().set("clientVersionConfig", PHASE1);
    let mut daemon = world.start(&phase1);
    world.wait_shares(vec![2], SOON);
    assert!(foreign(&world).is_empty(), "{:?}", foreign(&world));
    daemon.stop_gracefully();

    let v3 = properties.set("clientVersionConfig", "CLIENT_VERSION_CONFIG_3X");
    let leader = world.start(&v3);
    world.wait_shares(vec![2], SOON);
    until("the leader reports", SOON, || !foreign(&world).is_empty());
    let mut refused = world.start(&phase1.set("workerId", "another"));
    assert_eq!(refused.wait_exit(SOON), Exit::code(1));
    assert!(
        refused.log().contains("a leader assigns them here"),
        "{}",
        refused.log_end()
    );
    drop(leader);
}

/// `Migration3.0` as an operator's tool writes it.
fn set_version(world: &World, from: Option<&str>, to: &str) {
    let update = world
        .aws
        .dynamodb()
        .update_item()
        .table_name(APPLICATION)
        .key("leaseKey", s("Migration3.0"))
        .update_expression("SET cv = :cv, mb = :mb, mts = :mts, entityType = :type")
        .expression_attribute_values(":cv", s(to))
        .expression_attribute_values(":mb", s("KclMigrationTool-rollback"))
        .expression_attribute_values(":mts", n(1_784_000_000_000_u64))
        .expression_attribute_values(":type", s("CLIENT_VERSION_MIGRATION"));
    let update = match from {
        Some(from) => update
            .condition_expression("cv = :from")
            .expression_attribute_values(":from", s(from)),
        None => update,
    };
    world.aws.run(update.send()).expect("UpdateItem");
}

fn kinds(world: &World) -> HashMap<String, usize> {
    let mut kinds = HashMap::new();
    for item in world.aws.scan_items(APPLICATION) {
        if let Some(Ok(kind)) = item.get("entityType").map(AttributeValue::as_s) {
            *kinds.entry(kind.clone()).or_default() += 1;
        }
    }
    kinds
}

/// Roll-back and roll-forward by the tool reach a running fleet, which goes on without losing anything.
#[test]
fn an_operators_tool_rolls_a_running_fleet_back_and_forward() {
    let world = World::new("tool", 4);
    let recorder = world.recorder();
    world.aws.create_table(APPLICATION);
    set_version(&world, None, "CLIENT_VERSION_3X_WITH_ROLLBACK");
    let properties = world.properties(&recorder, 3_000);
    let watch = world.watch();
    let load = world.load(4);
    let first = world.start(&properties);
    let second = world.start(&properties);
    first.wait_log("(the algorithm of KCL 3.x)", SOON);
    world.wait_shares(vec![2, 2], seconds(30));
    wait_flow(&recorder, 4, 3);
    assert_eq!(kinds(&world)["WORKER_METRIC_STATS"], 2);
    assert_eq!(kinds(&world)["LEADER"], 1);

    let (v3, v2, upgrade) = (
        "CLIENT_VERSION_3X_WITH_ROLLBACK",
        "CLIENT_VERSION_2X",
        "CLIENT_VERSION_UPGRADE_FROM_2X",
    );
    set_version(&world, Some(v3), v2);
    for daemon in [&first, &second] {
        daemon.wait_log(
            "from now on every worker takes leases for itself",
            seconds(30),
        );
    }
    until("lock and metrics are gone", seconds(20), || {
        let kinds = kinds(&world);
        !kinds.contains_key("WORKER_METRIC_STATS") && !kinds.contains_key("LEADER")
    });
    wait_flow(&recorder, 4, 3);
    world.wait_shares(vec![2, 2], seconds(30));

    set_version(&world, Some(v2), upgrade);
    until("both report again", seconds(30), || {
        kinds(&world).get("WORKER_METRIC_STATS") == Some(&2)
    });
    assert!(
        !kinds(&world).contains_key("LEADER"),
        "still without a leader"
    );
    wait_flow(&recorder, 4, 3);

    // What the leader writes when all have been ready for ten minutes.
    set_version(&world, Some(upgrade), v3);
    for daemon in [&first, &second] {
        daemon.wait_log("from now on a leader assigns the leases", seconds(30));
    }
    until("there is a leader", seconds(20), || {
        kinds(&world).contains_key("LEADER")
    });
    wait_flow(&recorder, 4, 3);
    let ids = load.stop_ids();
    let ledger = wait_processed(&recorder, &ids, seconds(20));
    ledger.assert_sound();
    ledger.assert_no_duplicates();
    watch.finish();
}

/// `Migration3.0` is the last thing that a fresh application gets: a Java worker that starts at the same
/// time and loses that write would not start.
#[test]
fn the_state_of_a_fresh_fleet_is_written_when_starters_are_done() {
    let world = World::new("state", 1);
    let recorder = world.recorder();
    let start = std::time::Instant::now();
    let _first = world.start(&world.properties(&recorder, 2_000));
    let _second = world.start(&world.properties(&recorder, 2_000));
    let mut found = None;
    until("the state is written", seconds(120), || {
        let items = world.aws.scan_items(APPLICATION);
        found = items
            .into_iter()
            .find(|item| item.get("leaseKey") == Some(&s("Migration3.0")));
        found.is_some()
    });
    assert!(start.elapsed() > seconds(55), "{:?}", start.elapsed());
    let item = found.expect("it is there");
    assert_eq!(item.get("cv"), Some(&s("CLIENT_VERSION_3X")));
    assert_eq!(item.get("entityType"), Some(&s("CLIENT_VERSION_MIGRATION")));
    let former = item["h"].as_l().expect("a list");
    let former = former[0].as_m().expect("a map");
    assert_eq!(former["cv"], s("CLIENT_VERSION_INIT"));
    assert_eq!(former["mb"], item["mb"]);
}
