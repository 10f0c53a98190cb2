//! Signals, grace, exit codes (`decisions.md`).

use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::Signal;

use super::support::{Daemon, Exit, Recorder, eventually, processes, skipped, until};
use super::world::{World, seconds, wait_flow, wait_processed};

/// A daemon whose only child hangs in its first batch.
fn with_hung_child(world: &World, grace_millis: u64) -> (Daemon, Recorder) {
    let recorder = world
        .recorder()
        .with("hang-at-batch", 1)
        .with("hang-at-batch.shard", "000");
    let properties = world
        .properties(&recorder, 10_000)
        .set("shutdownGraceMillis", grace_millis);
    world.aws.put("stream", "a", 0, 10);
    let daemon = world.start(&properties);
    until("the child hangs", seconds(20), || {
        recorder.ledger().of("hang").count() == 1
    });
    (daemon, recorder)
}

#[test]
fn int_and_hup_are_as_graceful_as_term() {
    for (name, signal) in [("SIGINT", Signal::INT), ("SIGHUP", Signal::HUP)] {
        if processes::is_ignored(signal) {
            skipped(name, "is ignored by whoever started the tests");
            continue;
        }
        let world = World::new("signals", 1);
        let recorder = world.recorder();
        let ids: Vec<String> = world
            .aws
            .put("stream", "a", 0, 5)
            .into_iter()
            .map(|put| put.id)
            .collect();
        let mut daemon = world.start(&world.properties(&recorder, 10_000));
        wait_processed(&recorder, &ids, seconds(20));
        daemon.signal(signal);
        assert_eq!(daemon.wait_exit(seconds(10)), Exit::OK, "{name}");
        assert_eq!(
            recorder.ledger().of("shutdownRequested").count(),
            1,
            "{name}"
        );
        world.assert_released();
    }
}

/// As with `nohup`, and in the background of a script.
#[test]
fn signals_that_were_ignored_at_the_start_stay_ignored() {
    let world = World::new("nohup", 1);
    let recorder = world.recorder();
    let properties = world.properties(&recorder, 10_000);
    let file = properties.write(&world.sandbox, "nohup.properties");
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' INT HUP; exec \"$0\" --properties \"$1\""])
        .arg(env!("CARGO_BIN_EXE_kcl-daemon"))
        .arg(file)
        .stdin(Stdio::null());
    let load = world.load(1);
    let mut daemon = Daemon::launch(&world.sandbox, &properties, command);
    wait_flow(&recorder, 1, 1);
    daemon.signal(Signal::INT);
    daemon.signal(Signal::HUP);
    wait_flow(&recorder, 1, 2);
    assert_eq!(recorder.ledger().of("shutdownRequested").count(), 0);
    let ids = load.stop_ids();
    wait_processed(&recorder, &ids, seconds(20));
    daemon.stop_gracefully();
}

#[test]
fn quit_prints_the_state_and_goes_on() {
    let world = World::new("quit", 2);
    let recorder = world.recorder();
    let load = world.load(2);
    let mut daemon = world.start(&world.properties(&recorder, 10_000));
    wait_flow(&recorder, 2, 2);
    daemon.signal(Signal::QUIT);
    daemon.wait_log("2 leases held", seconds(10));
    let log = until_state(&daemon);
    for shard in ["shardId-000000000000", "shardId-000000000001"] {
        let line = log.iter().find(|line| line.contains(shard));
        let line = line.unwrap_or_else(|| panic!("{shard} is told: {log:#?}"));
        // What it is doing now, not what it did when the coordinator last had something to do.
        assert!(
            line.contains("pid=") && !line.contains("records=0"),
            "{line}"
        );
        assert!(
            !line.contains("TRIM_HORIZON"),
            "it has checkpointed: {line}"
        );
    }
    wait_flow(&recorder, 2, 2);
    let ids = load.stop_ids();
    wait_processed(&recorder, &ids, seconds(20));
    daemon.stop_gracefully();
}

/// The two lines that follow the number of leases.
fn until_state(daemon: &Daemon) -> Vec<String> {
    eventually("the state of both shards", seconds(10), || {
        let log = daemon.log();
        let (_, state) = log.split_once("2 leases held")?;
        let lines: Vec<String> = state
            .lines()
            .filter(|line| line.contains("records="))
            .map(str::to_owned)
            .collect();
        (lines.len() == 2).then_some(lines)
    })
}

#[test]
fn a_second_signal_stops_at_once_and_still_releases() {
    let world = World::new("second-signal", 2);
    let (mut daemon, recorder) = with_hung_child(&world, 30_000);
    daemon.terminate();
    // The other child is through, so only the hung one keeps the daemon.
    until("the other child was asked to stop", seconds(10), || {
        recorder.ledger().of("shutdownRequested").count() == 1
    });
    // The same signal within 300 ms is the same wish: wrappers like to deliver one twice.
    daemon.terminate();
    std::thread::sleep(std::time::Duration::from_millis(600));
    assert_eq!(
        daemon.exited(),
        None,
        "the first signal waits for children: {}",
        daemon.log_end()
    );
    let again = Instant::now();
    daemon.terminate();
    assert_eq!(
        daemon.wait_exit(seconds(10)),
        Exit::code(143),
        "{}",
        daemon.log_end()
    );
    assert!(again.elapsed() <= seconds(2), "{:?}", again.elapsed());
    world.assert_released();
    world.sandbox.assert_no_processes(seconds(3));
    // The hung batch was not answered, so it is not behind the checkpoint.
    let hung = &world.aws.leases("app")["shardId-000000000000"];
    assert_eq!(hung.checkpoint, "TRIM_HORIZON");
}

#[test]
fn a_grace_that_is_exceeded_kills_and_still_releases() {
    let world = World::new("grace", 2);
    let (mut daemon, _recorder) = with_hung_child(&world, 1_500);
    let start = Instant::now();
    daemon.terminate();
    assert_eq!(
        daemon.wait_exit(seconds(20)),
        Exit::code(143),
        "{}",
        daemon.log_end()
    );
    let took = start.elapsed();
    assert!(
        took >= std::time::Duration::from_millis(900),
        "the children had their part of the grace: {took:?}"
    );
    assert!(took <= seconds(3), "{took:?}");
    world.assert_released();
    world.sandbox.assert_no_processes(seconds(3));
}

#[test]
fn no_grace_waits_for_no_child_and_still_releases() {
    let world = World::new("no-grace", 2);
    let (mut daemon, _recorder) = with_hung_child(&world, 0);
    let start = Instant::now();
    daemon.terminate();
    let exit = daemon.wait_exit(seconds(20));
    assert!(start.elapsed() <= seconds(2), "{:?}", start.elapsed());
    assert!(exit.signal.is_none(), "it ends by itself: {exit:?}");
    world.assert_released();
    world.sandbox.assert_no_processes(seconds(3));
}

/// Signals before there is anything to give up.
#[test]
fn a_stop_during_the_start_ends_with_zero() {
    let world = World::new("early", 2);
    let recorder = world.recorder();
    world.services.pause();
    let mut daemon = world.start(&world.properties(&recorder, 10_000));
    daemon.wait_log("Using workerId", seconds(10));
    // The handler is set up a moment later.
    std::thread::sleep(std::time::Duration::from_millis(500));
    daemon.terminate();
    assert_eq!(
        daemon.wait_exit(seconds(5)),
        Exit::OK,
        "{}",
        daemon.log_end()
    );
    world.services.resume();
}

/// Work is not cut: the running batch is finished, checkpointed, and only then the stop is told.
#[test]
fn a_running_batch_is_finished_first() {
    let world = World::new("running", 1);
    let recorder = world.recorder().with("sleep", "1.5");
    world.aws.put("stream", "a", 0, 10);
    let mut daemon = world.start(&world.properties(&recorder, 10_000));
    until("the batch is there", seconds(20), || {
        recorder.ledger().of("processRecords").count() == 1
    });
    daemon.stop_gracefully();
    let ledger = recorder.ledger();
    let order: Vec<&str> = ledger.events.iter().map(|e| e.event.as_str()).collect();
    assert_eq!(
        order,
        [
            "initialize",
            "ready",
            "processRecords",
            "checkpoint",
            "done",
            "shutdownRequested",
            "checkpoint",
            "leaseLost",
            "end"
        ]
    );
}
