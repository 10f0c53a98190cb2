//! Child processes that crash, hang, babble or do not go.

use std::time::Duration;

use super::support::{Daemon, Exit, Recorder, eventually, now_micros, processes, until};
use super::world::{World, at_most, seconds, wait_flow, wait_processed};

const SICK: &str = "shardId-000000000000";
const WELL: &str = "shardId-000000000001";

/// The recorder with an option for the first process of the first shard only.
fn once(world: &World, option: &str, value: u32) -> Recorder {
    world
        .recorder()
        .with(option, value)
        .with(&format!("{option}.shard"), "000")
        .with(&format!("{option}.lives"), 1)
}

/// Runs two shards under load with a recorder that fails once in the first; sees that only that child
/// is started again, from the last checkpoint, and that nothing is lost.
fn fails_once(
    name: &str,
    recorder: impl FnOnce(&World) -> Recorder,
    log: &str,
    timeout_seconds: Option<u32>,
) {
    let world = World::new(name, 2);
    let recorder = recorder(&world);
    let mut properties = world.properties(&recorder, 10_000);
    if let Some(timeout) = timeout_seconds {
        properties = properties.set("timeoutInSeconds", timeout);
    }
    let watch = world.watch();
    let load = world.load(2);
    let mut daemon = world.start(&properties);
    until("the child is replaced", seconds(30), || {
        recorder.ledger().of_shard("ready", SICK).count() == 2
    });
    wait_flow(&recorder, 2, 3);
    let ids = load.stop_ids();
    let ledger = wait_processed(&recorder, &ids, seconds(20));
    daemon.stop_gracefully();

    ledger.assert_sound();
    assert_eq!(
        ledger.of_shard("initialize", SICK).count(),
        2,
        "{}",
        ledger.outline()
    );
    assert_eq!(
        ledger.of_shard("initialize", WELL).count(),
        1,
        "the other shard does not notice"
    );
    let first = ledger
        .of_shard("processRecords", WELL)
        .next()
        .expect("it flows")
        .t;
    let last = ledger
        .of_shard("processRecords", WELL)
        .last()
        .expect("it flows")
        .t;
    let silence = ledger.silences(first, last)[WELL];
    assert!(
        silence < Duration::from_millis(1500),
        "the other shard flows on: {silence:?}"
    );
    let lives: Vec<u32> = ledger.of_shard("initialize", SICK).map(|e| e.pid).collect();
    assert!(
        processes::look(lives[0]).is_none(),
        "the failed one is gone"
    );
    // Only the batch that it had.
    let had = ledger
        .of_shard("processRecords", SICK)
        .filter(|e| e.pid == lives[0])
        .last()
        .expect("it had one");
    ledger.assert_duplicates_explained("one failed child", |d| {
        had.records.iter().any(|r| r.id() == d.id)
    });
    assert!(
        !ledger.duplicates().is_empty(),
        "the unanswered batch comes again"
    );
    let line = daemon.wait_log(log, seconds(1));
    assert!(line.contains(SICK), "the message names the shard: {line}");
    watch.finish();
}

#[test]
fn a_crash_restarts_only_that_child_from_its_checkpoint() {
    fails_once(
        "crash",
        |world| once(world, "crash-at-batch", 3),
        "exited with code 5",
        None,
    );
}

#[test]
fn a_hang_with_a_time_out_is_killed_and_restarted() {
    fails_once(
        "hang",
        |world| once(world, "hang-at-batch", 3),
        "did not answer 'processRecords' within 1 s",
        Some(1),
    );
}

#[test]
fn a_wrong_status_is_bad_output_and_the_child_is_replaced() {
    fails_once(
        "wrong",
        |world| once(world, "wrong-status-at-batch", 3),
        "broke the protocol",
        None,
    );
}

#[test]
fn a_child_that_dies_while_idle_is_noticed_at_once() {
    let world = World::new("idle-death", 1);
    let recorder = world.recorder();
    let ids: Vec<String> = world
        .aws
        .put("stream", "a", 0, 5)
        .into_iter()
        .map(|put| put.id)
        .collect();
    let _daemon = world.start(&world.properties(&recorder, 10_000));
    let ledger = wait_processed(&recorder, &ids, seconds(20));
    let child = ledger.of("ready").next().expect("it runs").pid;
    let killed = now_micros();
    processes::signal(child, rustix::process::Signal::KILL);
    // Nothing is put meanwhile: the daemon finds out by itself.
    let again = eventually("a new child", seconds(20), || {
        recorder.ledger().of("ready").nth(1).map(|e| e.t)
    });
    at_most(
        "death of an idle child to its successor",
        Duration::from_micros((again - killed).unsigned_abs()),
        seconds(3),
    );
    recorder.ledger().assert_no_duplicates();
}

/// A poisoned record: after ten failures without a checkpoint the daemon gives up, in order.
#[test]
fn a_child_that_always_crashes_ends_the_daemon_in_order_after_ten() {
    let world = World::new("a-poisoned", 2);
    let recorder = world
        .recorder()
        .with("crash-at-batch", 1)
        .with("crash-at-batch.shard", "000");
    let load = world.load(2);
    let mut daemon = world.start(&world.properties(&recorder, 10_000));
    // 1 + 2 + 4 + 8 + 16 + 4 * 30 s, each shortened at random by up to a quarter.
    let exit = daemon.wait_exit(seconds(200));
    drop(load);
    assert_eq!(exit, Exit::code(1), "{}", daemon.log_end());
    let ledger = recorder.ledger();
    ledger.assert_sound();
    assert_eq!(
        ledger.of_shard("crash", SICK).count(),
        10,
        "{}",
        ledger.outline()
    );
    assert_eq!(
        ledger.of_shard("shutdownRequested", WELL).count(),
        1,
        "the rest stops gracefully"
    );
    assert_eq!(ledger.of_shard("initialize", WELL).count(), 1);
    assert_eq!(
        world.aws.leases("app")[SICK].checkpoint,
        "TRIM_HORIZON",
        "the checkpoint does not move (I.21)"
    );
    world.assert_released();
}

#[test]
fn with_the_policy_exit_a_crash_ends_the_daemon_in_order() {
    let world = World::new("policy-exit", 2);
    let recorder = once(&world, "crash-at-batch", 2);
    let properties = world
        .properties(&recorder, 10_000)
        .set("childFailurePolicy", "exit");
    let load = world.load(2);
    let mut daemon = world.start(&properties);
    let exit = daemon.wait_exit(seconds(30));
    drop(load);
    assert_eq!(exit, Exit::code(1), "{}", daemon.log_end());
    let ledger = recorder.ledger();
    assert_eq!(ledger.of_shard("initialize", SICK).count(), 1, "no restart");
    assert_eq!(
        ledger.of_shard("shutdownRequested", WELL).count(),
        1,
        "{}",
        ledger.outline()
    );
    daemon.wait_log("exited with code 5", seconds(1));
    world.assert_released();
}

/// Waits until both shards have a grandchild and a batch; gives all processes below the daemon.
fn family(world: &World, recorder: &Recorder) -> Vec<u32> {
    until("two grandchildren", seconds(20), || {
        recorder.ledger().of("grandchild").count() == 2
    });
    wait_flow(recorder, 2, 1);
    let ledger = recorder.ledger();
    let pids: Vec<u32> = ledger
        .of("initialize")
        .map(|e| e.pid)
        .chain(ledger.of("grandchild").filter_map(|e| e.child))
        .collect();
    assert_eq!(pids.len(), 4);
    let known: Vec<u32> = world
        .sandbox
        .processes()
        .iter()
        .map(|process| process.pid)
        .collect();
    assert!(
        pids.iter().all(|pid| known.contains(pid)),
        "{pids:?} of {known:?}"
    );
    pids
}

fn assert_gone(pids: &[u32]) {
    let left = processes::gone_within(seconds(3), || {
        pids.iter()
            .filter_map(|pid| processes::look(*pid))
            .collect()
    });
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn a_grandchild_that_holds_the_pipes_neither_delays_the_stop_nor_survives() {
    let world = World::new("grandchild", 2);
    let recorder = world.recorder().with("grandchild", 1);
    let load = world.load(2);
    let mut daemon = world.start(&world.properties(&recorder, 10_000));
    let pids = family(&world, &recorder);
    at_most(
        "stop with grandchildren that hold the pipes",
        daemon.stop_gracefully(),
        seconds(2),
    );
    assert_gone(&pids);
    world.sandbox.assert_no_processes(seconds(3));
    world.assert_released();
    drop(load);
}

#[test]
fn children_that_ignore_sigterm_and_never_answer_are_gone_with_the_daemon() {
    let world = World::new("stubborn", 2);
    let recorder = world
        .recorder()
        .with("grandchild", 1)
        .with("ignore-sigterm", 1)
        .with("ignore-shutdownRequested", 1);
    let load = world.load(2);
    let properties = world
        .properties(&recorder, 10_000)
        .set("shutdownGraceMillis", 3_000);
    let mut daemon = world.start(&properties);
    let pids = family(&world, &recorder);
    daemon.terminate();
    assert_eq!(
        daemon.wait_exit(seconds(10)),
        Exit::code(143),
        "{}",
        daemon.log_end()
    );
    assert_gone(&pids);
    world.sandbox.assert_no_processes(seconds(3));
    world.assert_released();
    drop(load);
}

#[test]
fn nothing_survives_a_kill_of_the_daemon() {
    let world = World::new("kill", 2);
    let recorder = world
        .recorder()
        .with("grandchild", 1)
        .with("ignore-sigterm", 1)
        .with("hang-at-batch", 3);
    let load = world.load(2);
    let mut daemon = world.start(&world.properties(&recorder, 10_000));
    let pids = family(&world, &recorder);
    until("both children hang", seconds(20), || {
        recorder.ledger().of("hang").count() == 2
    });
    let start = std::time::Instant::now();
    daemon.kill9();
    assert_gone(&pids);
    world.sandbox.assert_no_processes(seconds(3));
    at_most(
        "kill -9 of the daemon to the end of its descendants",
        start.elapsed(),
        seconds(3),
    );
    drop(load);
}

/// 10 MB of records are a line of 14 MB to the child, which at the same time writes long lines.
#[test]
fn lines_of_megabytes_go_both_ways() {
    let world = World::new("long-lines", 1);
    let recorder = world
        .recorder()
        .with("line", 14_000_000)
        .with("noise", 3_000_000);
    let properties = world
        .properties(&recorder, 10_000)
        .set("timeoutInSeconds", 60);
    let puts = world.aws.put_sized("stream", "big", 0, 12, 900_000);
    let ids: Vec<String> = puts.into_iter().map(|put| put.id).collect();
    let mut daemon = world.start(&properties);
    let ledger = wait_processed(&recorder, &ids, seconds(60));
    ledger.assert_sound();
    ledger.assert_no_duplicates();
    assert_eq!(ledger.of("initialize").count(), 1, "{}", daemon.log_end());
    let largest = ledger.of("processRecords").map(|e| e.records.len()).max();
    assert!(largest >= Some(10), "some 10 MB in one batch: {largest:?}");
    daemon.stop_gracefully();
}

#[test]
fn noise_is_skipped_and_stderr_is_logged_with_the_shard() {
    let world = World::new("noise", 1);
    let recorder = world
        .recorder()
        .with("noise", 70_000)
        .with("stderr", "hello-from-the-child");
    let ids: Vec<String> = world
        .aws
        .put("stream", "a", 0, 20)
        .into_iter()
        .map(|put| put.id)
        .collect();
    let mut daemon: Daemon = world.start(&world.properties(&recorder, 10_000));
    let ledger = wait_processed(&recorder, &ids, seconds(20));
    ledger.assert_no_duplicates();
    let line = daemon.wait_log("INFO hello-from-the-child", seconds(5));
    let child = ledger.of("initialize").next().expect("it ran").pid;
    assert!(
        line.contains(SICK) && line.contains(&child.to_string()),
        "shard and pid: {line}"
    );
    let nonsense = daemon.wait_log("nonsense", seconds(5));
    assert!(
        nonsense.contains(SICK),
        "what looks like a message but is none is told: {nonsense}"
    );
    daemon.stop_gracefully();
    assert_eq!(recorder.ledger().of("initialize").count(), 1);
}
