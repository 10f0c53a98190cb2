//! One daemon: from start to stop and on.

use super::support::{Exit, now_micros};
use super::world::{World, at_most, seconds, wait_flow, wait_processed};

#[test]
fn processes_stops_under_load_and_resumes() {
    let world = World::new("one", 4);
    let recorder = world.recorder();
    let properties = world.properties(&recorder, 10_000);
    let mut ids: Vec<String> = world
        .aws
        .put("stream", "before", 0, 40)
        .into_iter()
        .map(|put| put.id)
        .collect();

    let started = now_micros();
    let mut daemon = world.start(&properties);
    let ledger = wait_processed(&recorder, &ids, seconds(20));
    let first = ledger
        .of("processRecords")
        .map(|e| e.t)
        .min()
        .expect("records came");
    at_most(
        "new application: start to first record",
        micros(first - started),
        seconds(2),
    );

    let load = world.load(4);
    wait_flow(&recorder, 4, 5);
    let stopping = std::time::Instant::now();
    daemon.terminate();
    assert_eq!(
        daemon.wait_exit(seconds(30)),
        Exit::OK,
        "{}",
        daemon.log_end()
    );
    at_most("SIGTERM under load to exit", stopping.elapsed(), seconds(2));

    world.assert_released();
    let stopped = recorder.ledger();
    for shard in world.aws.open_shards("stream") {
        let last: Vec<&str> = stopped
            .events
            .iter()
            .filter(|e| e.shard == shard)
            .map(|e| e.event.as_str())
            .collect();
        let end = &last[last.len() - 4..];
        assert_eq!(
            end,
            ["shutdownRequested", "checkpoint", "leaseLost", "end"],
            "{shard}"
        );
        let stored = stopped
            .of_shard("checkpoint", &shard)
            .last()
            .expect("a checkpoint");
        assert_eq!(stored.error, None, "{shard}");
    }
    world.sandbox.assert_no_processes(seconds(3));

    let restarted = now_micros();
    let mut daemon = world.start(&properties);
    wait_flow(&recorder, 4, 5);
    let resumed = recorder.ledger();
    let slowest = world
        .aws
        .open_shards("stream")
        .iter()
        .map(|shard| resumed.next_delivery(shard, restarted).expect("it flows"))
        .max()
        .expect("there are shards");
    at_most(
        "restart after a graceful stop to all shards flowing",
        slowest,
        seconds(2),
    );

    ids.extend(load.stop_ids());
    wait_processed(&recorder, &ids, seconds(20));
    daemon.stop_gracefully();
    let ledger = recorder.ledger();
    ledger.assert_sound();
    // Nothing failed, so nothing may come twice.
    ledger.assert_no_duplicates();
    assert_eq!(ledger.deliveries(), ledger.delivered().len());
}

/// A restart goes on behind the checkpoint and not behind what was delivered.
#[test]
fn what_was_not_checkpointed_comes_again() {
    let world = World::new("unchecked", 1);
    let never = world.recorder().with("checkpoint", "never");
    let ids: Vec<String> = world
        .aws
        .put("stream", "a", 0, 20)
        .into_iter()
        .map(|put| put.id)
        .collect();
    let mut daemon = world.start(&world.properties(&never, 5_000));
    wait_processed(&never, &ids, seconds(20));
    daemon.stop_gracefully();
    let lease = &world.aws.scan_leases("app")[0];
    assert_eq!(
        lease.checkpoint, "TRIM_HORIZON",
        "nothing is persisted without the processor's word (I.17)"
    );

    let recorder = world.recorder();
    let mut daemon = world.start(&world.properties(&recorder, 5_000));
    super::support::until("all records came again", seconds(20), || {
        recorder.ledger().duplicates().len() == ids.len()
    });
    daemon.stop_gracefully();
    let ledger = recorder.ledger();
    ledger.assert_sound();
    assert_eq!(ledger.deliveries(), 2 * ids.len());
    assert_ne!(world.aws.scan_leases("app")[0].checkpoint, "TRIM_HORIZON");
}

/// What a child is given in its environment.
#[test]
fn the_child_knows_its_shard_stream_application_and_worker() {
    let world = World::new("environment", 2);
    let recorder = world.recorder();
    let script = world.sandbox.write_executable(
        "child.sh",
        &format!(
            "#!/bin/sh\necho \"$KCL_SHARD_ID,$KCL_STREAM_NAME,$KCL_APPLICATION_NAME,$KCL_WORKER_ID\" >> {}/told\nexec {}\n",
            world.sandbox.path().display(),
            recorder.command()
        ),
    );
    let properties = world
        .properties(&recorder, 5_000)
        .set("executableName", script.display())
        .set("workerId", "someone");
    let mut daemon = world.start(&properties);
    super::support::until("both children are ready", seconds(20), || {
        recorder.ledger().of("ready").count() == 2
    });
    daemon.stop_gracefully();
    let told = std::fs::read_to_string(world.sandbox.path().join("told")).expect("they ran");
    let mut told: Vec<&str> = told.lines().collect();
    told.sort_unstable();
    assert_eq!(
        told,
        [
            "shardId-000000000000,stream,app,someone",
            "shardId-000000000001,stream,app,someone"
        ]
    );
}

/// The interval between two moments of a ledger.
fn micros(n: i64) -> std::time::Duration {
    std::time::Duration::from_micros(n.unsigned_abs())
}
