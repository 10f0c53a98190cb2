//! Two and three daemons on one application, with the algorithm of KCL 2.x, in which every worker takes
//! leases for itself.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::support::ledger::Duplicate;
use super::support::{Daemon, Properties, Recorder, now_micros, until};
use super::world::{
    World, at_most, figure, seconds, slowest_to_flow, wait_flow, wait_processed, worker_id,
};

/// Properties of a fleet that keeps the 2.x algorithm.
fn in_2x(world: &World, recorder: &Recorder, failover: u64) -> Properties {
    world.properties(recorder, failover).set(
        "clientVersionConfig",
        "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1",
    )
}

#[test]
fn workers_join_and_leave_under_load() {
    let world = World::new("join", 8);
    let recorder = world.recorder();
    let properties = in_2x(&world, &recorder, 3_000);
    let watch = world.watch();
    let load = world.load(8);
    let mut first = world.start(&properties);
    wait_flow(&recorder, 8, 2);
    assert_eq!(world.owners().into_values().collect::<Vec<_>>(), [8]);

    let mut second = world.start(&properties);
    figure(
        "a second worker has its half",
        world.wait_shares(vec![4, 4], seconds(30)),
    );
    let third = world.start(&properties);
    figure(
        "a third worker has its third",
        world.wait_shares(vec![3, 3, 2], seconds(30)),
    );
    // On one host each has an id of its own without being told.
    let ids = BTreeSet::from([worker_id(&first), worker_id(&second), worker_id(&third)]);
    assert_eq!(ids, world.owners().into_keys().collect());
    wait_flow(&recorder, 8, 2);

    let left = world.shards_of(&worker_id(&second));
    let leaving = now_micros();
    second.stop_gracefully();
    at_most(
        "a worker left: its shards flow again",
        slowest_to_flow(&recorder, &left, leaving, seconds(20)),
        seconds(3),
    );
    world.wait_shares(vec![4, 4], seconds(30));
    let left = world.shards_of(&worker_id(&first));
    let leaving = now_micros();
    first.stop_gracefully();
    at_most(
        "one of two left: its shards flow again",
        slowest_to_flow(&recorder, &left, leaving, seconds(20)),
        seconds(3),
    );
    world.wait_shares(vec![8], seconds(30));

    let ids = load.stop_ids();
    let ledger = wait_processed(&recorder, &ids, seconds(20));
    ledger.assert_sound();
    // No more leases move than have to: four to the second worker, two to the third, then only
    // what those who left had given up.
    let steals = [steals(&first), steals(&second), steals(&third)];
    assert_eq!(steals, [0, 4, 2]);
    // A stolen lease's batch in flight may come twice (`decisions.md`); what was released does not.
    let starts = ledger.of("initialize").map(|e| e.t).collect::<Vec<_>>();
    assert_near(&ledger.duplicates(), &starts);
    assert!(
        ledger
            .duplicates()
            .iter()
            .all(|d| d.deliveries[0].0 < leaving),
        "after the graceful stops nothing came twice: {:#?}",
        ledger.duplicates()
    );
    watch.finish();
}

/// How many leases a worker stole.
fn steals(daemon: &Daemon) -> usize {
    daemon
        .log()
        .matches("took the lease from a worker that has more")
        .count()
}

/// Sees that what came twice was first delivered within 2 s of a fault: only what was in flight.
#[track_caller]
fn assert_near(duplicates: &[Duplicate], faults: &[i64]) {
    for duplicate in duplicates {
        let first = duplicate.deliveries[0].0;
        let near = faults
            .iter()
            .any(|fault| (first - fault).abs() <= micros(seconds(2)));
        assert!(
            near && duplicate.deliveries.len() == 2,
            "{duplicate:?}, faults at {faults:?}"
        );
    }
}

#[test]
fn one_of_two_is_killed() {
    let world = World::new("kill-one", 4);
    let recorder = world.recorder();
    let properties = in_2x(&world, &recorder, 5_000);
    let watch = world.watch();
    let load = world.load(4);
    let first = world.start(&properties);
    wait_flow(&recorder, 4, 1);
    let mut second = world.start(&properties);
    world.wait_shares(vec![2, 2], seconds(30));
    wait_flow(&recorder, 4, 3);

    let (id, survivor) = (worker_id(&second), worker_id(&first));
    let orphaned = world.shards_of(&id);
    let killed = now_micros();
    second.kill9();
    let took = slowest_to_flow(&recorder, &orphaned, killed, seconds(30));
    at_most(
        "kill -9 of one of two, failover 5 s: its shards flow again",
        took,
        seconds(5 + 2),
    );
    let owners = world.owners();
    assert_eq!(owners.get(&survivor), Some(&4), "{owners:?}");

    let ids = load.stop_ids();
    let ledger = wait_processed(&recorder, &ids, seconds(20));
    ledger.assert_sound();
    let silence = ledger.silences(killed, now_micros());
    for shard in world
        .aws
        .open_shards("stream")
        .iter()
        .filter(|shard| !orphaned.contains(*shard))
    {
        assert!(
            silence[shard] < seconds(3),
            "the survivor's own shards do not notice: {silence:?}"
        );
    }
    let mut faults: Vec<i64> = ledger
        .of("initialize")
        .filter(|e| e.worker == id)
        .map(|e| e.t)
        .collect();
    faults.push(killed);
    assert_near(&ledger.duplicates(), &faults);
    watch.finish();
}

/// In a fleet that has nothing to do nobody notices by failing checkpoints.
#[test]
fn one_of_two_is_killed_in_an_idle_fleet() {
    let world = World::new("kill-idle", 4);
    let recorder = world.recorder();
    let properties = in_2x(&world, &recorder, 3_000);
    let first = world.start(&properties);
    let mut second = world.start(&properties);
    world.wait_shares(vec![2, 2], seconds(30));
    let survivor = worker_id(&first);
    let start = Instant::now();
    second.kill9();
    until("the survivor has all", seconds(30), || {
        world.owners().get(&survivor) == Some(&4)
    });
    at_most(
        "kill -9 of one of two, idle, failover 3 s: leases taken",
        start.elapsed(),
        seconds(3 + 2),
    );
    let ids: Vec<String> = world
        .aws
        .put("stream", "a", 0, 20)
        .into_iter()
        .map(|put| put.id)
        .collect();
    wait_processed(&recorder, &ids, seconds(20)).assert_no_duplicates();
}

#[test]
fn the_only_worker_is_killed_and_another_host_takes_over() {
    let world = World::new("kill-only", 4);
    let recorder = world.recorder();
    let properties = in_2x(&world, &recorder, 5_000);
    let watch = world.watch();
    let load = world.load(4);
    let mut first = world.start_on("first", &properties);
    wait_flow(&recorder, 4, 3);
    let killed = now_micros();
    first.kill9();
    let _second = world.start_on("second", &properties);
    let all = world.aws.open_shards("stream").into_iter().collect();
    let took = slowest_to_flow(&recorder, &all, killed, seconds(30));
    at_most(
        "kill -9 of the only worker, failover 5 s: another flows",
        took,
        seconds(5 + 2),
    );
    let ids = load.stop_ids();
    let ledger = wait_processed(&recorder, &ids, seconds(20));
    ledger.assert_sound();
    assert_near(&ledger.duplicates(), &[killed]);
    watch.finish();
}

#[test]
fn a_killed_worker_restarted_on_its_host_resumes_at_once() {
    let world = World::new("restart", 4);
    let recorder = world.recorder();
    let properties = in_2x(&world, &recorder, 10_000);
    let watch = world.watch();
    let load = world.load(4);
    let mut first = world.start(&properties);
    wait_flow(&recorder, 4, 3);
    let killed = now_micros();
    first.kill9();
    let restarted = now_micros();
    let second = world.start(&properties);
    let all = world.aws.open_shards("stream").into_iter().collect();
    let took = slowest_to_flow(&recorder, &all, restarted, seconds(30));
    at_most(
        "kill -9 and restart on the same host, failover 10 s",
        took,
        seconds(2),
    );
    assert_eq!(
        worker_id(&first),
        worker_id(&second),
        "the default id is stable"
    );
    let ids = load.stop_ids();
    let ledger = wait_processed(&recorder, &ids, seconds(20));
    ledger.assert_sound();
    assert_near(&ledger.duplicates(), &[killed]);
    watch.finish();
}

/// SIGSTOP for longer than the failover time: the sleeper must not deliver anything when it wakes up.
#[test]
fn a_worker_that_slept_past_failover_delivers_nothing_stale() {
    let world = World::new("asleep", 4);
    let recorder = world.recorder();
    let properties = in_2x(&world, &recorder, 3_000);
    let watch = world.watch();
    let load = world.load(4);
    let sleeper = world.start(&properties);
    wait_flow(&recorder, 4, 1);
    let other = world.start(&properties);
    world.wait_shares(vec![2, 2], seconds(30));
    wait_flow(&recorder, 4, 3);

    let (sleeping, awake) = (worker_id(&sleeper), worker_id(&other));
    let moved = world.shards_of(&sleeping);
    let stopped = now_micros();
    sleeper.stop();
    let took = slowest_to_flow_by(&recorder, &moved, &awake, stopped);
    at_most(
        "SIGSTOP, failover 3 s: its shards flow elsewhere",
        took,
        seconds(3 + 2),
    );
    wait_flow(&recorder, 4, 10);
    let continued = now_micros();
    sleeper.cont();
    // It lives, finds out, and in time gets its share again.
    world.wait_shares(vec![2, 2], seconds(30));
    wait_flow(&recorder, 4, 3);

    let ids = load.stop_ids();
    let ledger = wait_processed(&recorder, &ids, seconds(20));
    ledger.assert_sound();
    let old: BTreeSet<u32> = ledger
        .of("initialize")
        .filter(|e| e.daemon == sleeper.pid() && e.t < stopped)
        .map(|e| e.pid)
        .collect();
    let stale: Vec<_> = ledger
        .of("processRecords")
        .filter(|e| old.contains(&e.pid) && e.t >= continued)
        .collect();
    assert!(stale.is_empty(), "delivered after waking up: {stale:#?}");
    // The two that it stole back are all that moved.
    assert_eq!([steals(&sleeper), steals(&other)], [2, 2]);
    for shard in &moved {
        let told = ledger
            .of_shard("leaseLost", shard)
            .any(|e| old.contains(&e.pid) && e.t >= continued);
        assert!(
            told,
            "{shard}: its child is told that the lease is lost\n{}",
            ledger.outline()
        );
    }
    watch.finish();
}

#[track_caller]
fn slowest_to_flow_by(
    recorder: &Recorder,
    shards: &BTreeSet<String>,
    worker: &str,
    after: i64,
) -> Duration {
    let next = |shard: &String| {
        let ledger = recorder.ledger();
        let first = ledger
            .of_shard("processRecords", shard)
            .find(|e| e.worker == worker && e.t >= after);
        first.map(|e| Duration::from_micros((e.t - after).unsigned_abs()))
    };
    until("the shards flow elsewhere", seconds(30), || {
        shards.iter().all(|shard| next(shard).is_some())
    });
    shards
        .iter()
        .filter_map(next)
        .max()
        .expect("the fault hits some shards")
}

#[test]
fn three_workers_are_restarted_one_by_one_under_load() {
    let world = World::new("rolling", 6);
    let recorder = world.recorder();
    let properties = in_2x(&world, &recorder, 10_000);
    let watch = world.watch();
    let load = world.load(6);
    let mut daemons: Vec<Daemon> = (0..3).map(|_| world.start(&properties)).collect();
    world.wait_shares(vec![2, 2, 2], seconds(60));
    wait_flow(&recorder, 6, 3);
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
    at_most(
        "three workers restarted one by one: longest silence of a shard",
        ledger.longest_silence(from, to),
        seconds(3),
    );
    println!("FIGURE: duplicates in that: {}", ledger.duplicates().len());
    watch.finish();
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).expect("short")
}
