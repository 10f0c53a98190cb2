//! Enhanced fan-out, which is what a properties file without polling keys means.

use std::time::Duration;

use super::resharding::{assert_order_across_shards, assert_parents_first};
use super::support::{Daemon, now_micros, until};
use super::world::{APPLICATION, STREAM, World, at_most, seconds, wait_flow, wait_processed};

/// The ARNs of the registered consumers.
fn consumers(world: &World) -> Vec<String> {
    let summary = world
        .aws
        .run(
            world
                .aws
                .kinesis()
                .describe_stream_summary()
                .stream_name(STREAM)
                .send(),
        )
        .expect("DescribeStreamSummary");
    let arn = summary
        .stream_description_summary
        .expect("a summary")
        .stream_arn;
    let list = world.aws.kinesis().list_stream_consumers().stream_arn(arn);
    let list = world.aws.run(list.send()).expect("ListStreamConsumers");
    list.consumers
        .unwrap_or_default()
        .into_iter()
        .map(|consumer| consumer.consumer_arn)
        .collect()
}

/// Sees that nothing but the properties file was warned of.
#[track_caller]
fn assert_quiet(daemon: &Daemon) {
    let log = daemon.log();
    let loud: Vec<&str> = log
        .lines()
        .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "))
        .filter(|line| !line.contains(".properties:"))
        .collect();
    assert!(loud.is_empty(), "{loud:#?}");
}

fn ids(puts: Vec<super::support::Put>) -> Vec<String> {
    puts.into_iter().map(|put| put.id).collect()
}

#[test]
fn processes_stops_under_load_and_resumes() {
    let world = World::new("fan-out", 4);
    let recorder = world.recorder();
    let properties = world.fan_out(&recorder, 10_000);
    let mut all = ids(world.aws.put(STREAM, "before", 0, 40));
    let started = now_micros();
    let mut daemon = world.start(&properties);
    let ledger = wait_processed(&recorder, &all, seconds(20));
    let first = ledger.of("processRecords").map(|e| e.t).min();
    let first = first.expect("records came") - started;
    at_most(
        "fan-out: new application, start to first record",
        Duration::from_micros(first.unsigned_abs()),
        seconds(2),
    );
    let reason = daemon.wait_log("Retrieval mode: ", seconds(5));
    assert!(
        reason.contains(
            "enhanced fan-out with the paid consumer 'app', because retrievalMode is DEFAULT"
        ),
        "{reason}"
    );
    assert_eq!(
        daemon.log().matches("Retrieval mode: ").count(),
        1,
        "one line says it"
    );
    assert_eq!(consumers(&world).len(), 1);

    let load = world.load(4);
    wait_flow(&recorder, 4, 5);
    daemon.stop_gracefully();
    world.assert_released();
    // Registered consumers are the operator's, and shared by the fleet.
    assert_eq!(consumers(&world).len(), 1);

    let mut daemon = world.start(&properties);
    wait_flow(&recorder, 4, 5);
    all.extend(load.stop_ids());
    wait_processed(&recorder, &all, seconds(20));
    daemon.stop_gracefully();
    let ledger = recorder.ledger();
    ledger.assert_sound();
    ledger.assert_no_duplicates();
    assert_eq!(ledger.deliveries(), ledger.delivered().len());
    assert_quiet(&daemon);
}

/// From the producer's call to the child's line: pushed, not polled for.
#[test]
fn records_are_pushed() {
    let world = World::new("fan-out-push", 1);
    let recorder = world.recorder();
    let mut daemon = world.start(&world.fan_out(&recorder, 10_000));
    let first = ids(world.aws.put(STREAM, "first", 0, 1));
    wait_processed(&recorder, &first, seconds(20));
    let mut delays = Vec::new();
    for n in 0..20 {
        let put = now_micros();
        let one = ids(world.aws.put(STREAM, "one", n, 1));
        let ledger = wait_processed(&recorder, &one, seconds(10));
        let came = ledger
            .of("processRecords")
            .map(|event| event.t)
            .max()
            .expect("it came");
        delays.push(came - put);
    }
    delays.sort_unstable();
    at_most(
        "fan-out: from PutRecords to the child, median of 20",
        Duration::from_micros(delays[10].unsigned_abs()),
        Duration::from_millis(150),
    );
    daemon.stop_gracefully();
}

#[test]
fn splits_and_merges_under_load() {
    let world = World::new("fan-out-reshard", 2);
    let recorder = world.recorder();
    let load = world.load(4);
    let mut daemon = world.start(&world.fan_out(&recorder, 3_000));
    wait_flow(&recorder, 2, 3);
    let split = world.aws.split(STREAM, "shardId-000000000000");
    wait_flow(&recorder, 3, 3);
    let merged = world.aws.merge(STREAM, &split[1], "shardId-000000000001");
    wait_flow(&recorder, 2, 3);
    world.aws.split(STREAM, &merged);
    wait_flow(&recorder, 3, 3);
    let ids = load.stop_ids();
    let ledger = wait_processed(&recorder, &ids, seconds(30));
    daemon.stop_gracefully();
    ledger.assert_sound();
    ledger.assert_no_duplicates();
    assert_parents_first(&world, &ledger);
    assert_order_across_shards(&ledger);
}

/// Subscriptions that end every two seconds, and break in between.
#[test]
fn subscriptions_that_end_all_the_time() {
    let world = World::with("fan-out-expiry", 2, &["--subscription-life", "2000"]);
    let recorder = world.recorder();
    let load = world.load(2);
    let mut daemon = Daemon::start(
        &world.sandbox,
        &world.fan_out(&recorder, 10_000),
        &["--log", "info,kcl_daemon::fetch=debug"],
    );
    until("many subscriptions came to their end", seconds(90), || {
        daemon.log().matches("the subscription is complete").count() >= 8
    });
    let ids = load.stop_ids();
    let ledger = wait_processed(&recorder, &ids, seconds(30));
    daemon.stop_gracefully();
    ledger.assert_sound();
    ledger.assert_no_duplicates();
    assert_quiet(&daemon);
}

/// The child works seven seconds on each batch, which is more than a subscription is left unread.
#[test]
fn a_slow_child_holds_the_stream_back() {
    let world = World::new("fan-out-slow", 1);
    let recorder = world.recorder().with("sleep", 7).with("sleep.lives", 1);
    let properties = world
        .fan_out(&recorder, 10_000)
        .set("maxPendingProcessRecordsInput", 1);
    let load = world.load(1);
    let mut daemon = Daemon::start(
        &world.sandbox,
        &properties,
        &["--log", "info,kcl_daemon::fetch=debug"],
    );
    until(
        "subscriptions are let go and made again",
        seconds(120),
        || {
            let log = daemon.log();
            log.matches("the subscription is let go").count() >= 2
                && log.matches("subscribed at AfterSequenceNumber").count() >= 2
        },
    );
    let ids = load.stop_ids();
    let ledger = wait_processed(&recorder, &ids, seconds(60));
    daemon.terminate();
    daemon.wait_exit(seconds(30));
    ledger.assert_sound();
    ledger.assert_no_duplicates();
    assert_quiet(&daemon);
}

#[test]
fn a_consumer_deleted_under_a_running_daemon() {
    let world = World::new("fan-out-consumer", 2);
    let recorder = world.recorder();
    let load = world.load(2);
    let mut daemon = world.start(&world.fan_out(&recorder, 10_000));
    wait_flow(&recorder, 2, 5);
    let before = consumers(&world);
    let deregister = world
        .aws
        .kinesis()
        .deregister_stream_consumer()
        .consumer_arn(&before[0]);
    world.aws.run(deregister.send()).expect("deregistered");
    until("it is registered again", seconds(30), || {
        let now = consumers(&world);
        now.len() == 1 && now != before
    });
    wait_flow(&recorder, 2, 5);
    let ids = load.stop_ids();
    let ledger = wait_processed(&recorder, &ids, seconds(30));
    daemon.stop_gracefully();
    ledger.assert_sound();
    ledger.assert_no_duplicates();
}

/// The service keeps a dead process's subscriptions for some seconds; the next one waits them out.
#[test]
fn a_killed_daemon_is_resumed() {
    let world = World::new("fan-out-kill", 2);
    let recorder = world.recorder();
    let properties = world.fan_out(&recorder, 3_000);
    let load = world.load(2);
    let mut first = world.start(&properties);
    wait_flow(&recorder, 2, 5);
    first.kill9();
    let restarted = now_micros();
    let mut second = world.start(&properties);
    wait_flow(&recorder, 2, 5);
    let ids = load.stop_ids();
    let ledger = wait_processed(&recorder, &ids, seconds(30));
    second.stop_gracefully();
    ledger.assert_sound();
    let slowest = world
        .aws
        .open_shards(STREAM)
        .iter()
        .map(|shard| ledger.next_delivery(shard, restarted).expect("it flows"))
        .max()
        .expect("there are shards");
    at_most(
        "fan-out: restart after kill -9 to all shards flowing",
        slowest,
        seconds(8),
    );
    // At most the batch in flight of each shard comes twice.
    ledger.assert_duplicates_explained("kill -9", |_| true);
}

/// Two workers share the shards; one goes, the other takes over its subscriptions.
#[test]
fn shards_change_hands() {
    let world = World::new("fan-out-hands", 4);
    let recorder = world.recorder();
    let properties = world.fan_out(&recorder, 2_000);
    let load = world.load(4);
    let mut first = world.start_on("a", &properties);
    wait_flow(&recorder, 4, 3);
    let mut second = world.start_on("b", &properties);
    world.wait_shares(vec![2, 2], seconds(40));
    wait_flow(&recorder, 4, 3);
    first.stop_gracefully();
    world.wait_shares(vec![4], seconds(20));
    wait_flow(&recorder, 4, 3);
    let ids = load.stop_ids();
    let ledger = wait_processed(&recorder, &ids, seconds(30));
    second.stop_gracefully();
    ledger.assert_sound();
    assert_eq!(consumers(&world).len(), 1, "one consumer for the fleet");
    assert!(world.aws.scan_leases(APPLICATION).len() >= 4);
}
