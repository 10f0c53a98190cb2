//! DynamoDB and Kinesis hang: connections open, nothing is answered.

use std::time::Duration;

use super::support::{
    Aws, Daemon, Endpoints, Ledger, Load, Properties, Proxy, Recorder, Sandbox, Services,
    TableWatch,
};
use super::support::{now_micros, until};
use super::world::{World, at_most, seconds, wait_flow, wait_processed};

/// What an outage may cost after its end.
const FLOWS_AGAIN: Duration = Duration::from_secs(15);

/// Hangs the services for a while, then sees all shards flow.
#[track_caller]
fn outage(
    what: &str,
    services: &[&Services],
    length: Duration,
    recorder: &Recorder,
    shards: &[String],
) {
    for service in services {
        service.pause();
    }
    std::thread::sleep(length);
    for service in services {
        service.resume();
    }
    let over = now_micros();
    until("all shards flow again", seconds(40), || {
        slowest(&recorder.ledger(), shards, over).is_some()
    });
    let took = slowest(&recorder.ledger(), shards, over).expect("they flow");
    at_most(what, took, FLOWS_AGAIN);
}

fn slowest(ledger: &Ledger, shards: &[String], after: i64) -> Option<Duration> {
    shards
        .iter()
        .map(|shard| ledger.next_delivery(shard, after))
        .collect::<Option<Vec<_>>>()?
        .into_iter()
        .max()
}

#[test]
fn both_hang_for_forty_seconds_under_load() {
    let world = World::new("a-outage-40", 4);
    let recorder = world.recorder();
    let watch = world.watch();
    let load = world.load(4);
    let mut daemon = world.start(&world.properties(&recorder, 10_000));
    wait_flow(&recorder, 4, 3);
    let shards = world.aws.open_shards("stream");
    outage(
        "both hung for 40 s, failover 10 s: all shards flow again",
        &[&world.services],
        seconds(40),
        &recorder,
        &shards,
    );
    assert_eq!(daemon.exited(), None, "{}", daemon.log_end());
    wait_flow(&recorder, 4, 3);
    let ids = load.stop_ids();
    let ledger = wait_processed(&recorder, &ids, seconds(30));
    daemon.stop_gracefully();
    ledger.assert_sound();
    // Nobody else was there, so the leases are the same, and so are the children.
    assert_eq!(ledger.of("initialize").count(), 4, "{}", ledger.outline());
    ledger.assert_no_duplicates();
    watch.finish();
}

/// First the one, then the other, for longer than the failover time, with two workers.
#[test]
fn dynamodb_then_kinesis_hang_past_failover() {
    // Kinesis and DynamoDB in processes of their own.
    let sandbox = Sandbox::new("outage-12");
    let streams = Services::embedded(&sandbox, &[("stream", 4)]);
    let tables = Services::embedded(&sandbox, &[]);
    let endpoints = Endpoints {
        kinesis: streams.kinesis_endpoint().to_owned(),
        dynamodb: tables.dynamodb_endpoint().to_owned(),
    };
    let aws = Aws::at(&endpoints);
    let recorder = Recorder::new(&sandbox);
    let properties =
        Properties::new(&endpoints, "app", "stream", &recorder.command()).failover_millis(5_000);
    let watch = TableWatch::start(&endpoints, "app");
    let load = Load::start(&endpoints, "stream", 4);
    let mut daemons = [
        Daemon::start(&sandbox, &properties, &[]),
        Daemon::start(&sandbox, &properties, &[]),
    ];
    until("two leases each", seconds(30), || {
        aws.owners("app").into_values().eq([2, 2])
    });
    wait_flow(&recorder, 4, 3);
    let shards = aws.open_shards("stream");

    outage(
        "DynamoDB hung for 12 s, failover 5 s: all shards flow again",
        &[&tables],
        seconds(12),
        &recorder,
        &shards,
    );
    wait_flow(&recorder, 4, 3);
    outage(
        "Kinesis hung for 12 s, failover 5 s: all shards flow again",
        &[&streams],
        seconds(12),
        &recorder,
        &shards,
    );
    wait_flow(&recorder, 4, 3);

    for daemon in &mut daemons {
        assert_eq!(daemon.exited(), None, "{}", daemon.log_end());
    }
    let ids = load.stop_ids();
    let ledger = wait_processed(&recorder, &ids, seconds(30));
    ledger.assert_sound();
    watch.finish();
}

/// No batch may go out when the lease could not be renewed for the failover time (I.2).
#[test]
fn nothing_is_delivered_from_a_lease_that_could_not_be_renewed() {
    let sandbox = Sandbox::new("stale");
    let streams = Services::embedded(&sandbox, &[("stream", 2)]);
    let tables = Services::embedded(&sandbox, &[]);
    let endpoints = Endpoints {
        kinesis: streams.kinesis_endpoint().to_owned(),
        dynamodb: tables.dynamodb_endpoint().to_owned(),
    };
    // A processor that never waits for a checkpoint, so that only freshness holds it back.
    let recorder = Recorder::new(&sandbox).with("checkpoint", "never");
    let properties =
        Properties::new(&endpoints, "app", "stream", &recorder.command()).failover_millis(3_000);
    let load = Load::start(&endpoints, "stream", 2);
    let mut daemon = Daemon::start(&sandbox, &properties, &[]);
    wait_flow(&recorder, 2, 3);
    let hung = now_micros();
    tables.pause();
    daemon.wait_log("could not be renewed within the failover time", seconds(10));
    std::thread::sleep(seconds(2));
    let resumed = now_micros();
    tables.resume();
    wait_flow(&recorder, 2, 3);
    let ids = load.stop_ids();
    let ledger = wait_processed(&recorder, &ids, seconds(20));
    daemon.stop_gracefully();
    let limit = hung + 3_000_000 + 100_000;
    let late: Vec<_> = ledger
        .of("processRecords")
        .filter(|e| e.t > limit && e.t < resumed)
        .collect();
    assert!(
        late.is_empty(),
        "delivered more than 3 s after the last renewal: {late:#?}"
    );
    let before = ledger
        .of("processRecords")
        .filter(|e| e.t > hung && e.t <= limit)
        .count();
    assert!(before > 0, "while the lease is good, work goes on");
    ledger.assert_no_duplicates();
}

/// Connections break and are refused for longer than the failover time, then all is as before.
#[test]
fn services_that_cannot_be_reached_for_a_while() {
    let world = World::new("unreachable", 2);
    let mut proxy = Proxy::to(world.services.kinesis_endpoint());
    let through = Endpoints {
        kinesis: proxy.endpoint(),
        dynamodb: proxy.endpoint(),
    };
    let recorder = world.recorder();
    let properties =
        Properties::new(&through, "app", "stream", &recorder.command()).failover_millis(3_000);
    let watch = world.watch();
    let load = world.load(2);
    let mut daemon = world.start(&properties);
    wait_flow(&recorder, 2, 3);
    proxy.cut();
    let before = daemon.log().lines().count();
    std::thread::sleep(seconds(8));
    assert_eq!(daemon.exited(), None, "{}", daemon.log_end());
    let lines = daemon.log().lines().count() - before;
    assert!(lines <= 40, "{lines} lines in 8 s: {}", daemon.log_end());
    proxy.restore();
    let over = now_micros();
    let shards = world.aws.open_shards("stream");
    until("all shards flow again", seconds(40), || {
        slowest(&recorder.ledger(), &shards, over).is_some()
    });
    at_most(
        "connections refused for 8 s, failover 3 s: all shards flow again",
        slowest(&recorder.ledger(), &shards, over).expect("they flow"),
        FLOWS_AGAIN,
    );
    wait_flow(&recorder, 2, 3);
    let ids = load.stop_ids();
    let ledger = wait_processed(&recorder, &ids, seconds(30));
    daemon.stop_gracefully();
    ledger.assert_sound();
    ledger.assert_no_duplicates();
    watch.finish();
}
