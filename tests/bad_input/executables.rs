//! Processors that are not there, do not start, never answer, or print without end.

use std::time::Instant;

use super::support::{
    Aws, Daemon, Exit, Properties, Recorder, Sandbox, Services, eventually, until,
};
use super::{one_line_says, refuses, seconds};

struct World {
    aws: Aws,
    services: Services,
    sandbox: Sandbox,
}

impl World {
    fn new(name: &str) -> Self {
        let sandbox = Sandbox::new(name);
        let services = Services::embedded(&sandbox, &[("stream", 1)]);
        let aws = Aws::at(&services.endpoints());
        Self {
            aws,
            services,
            sandbox,
        }
    }

    fn properties(&self, executable: &str) -> Properties {
        self.services
            .properties("app", "stream", executable)
            .failover_millis(5_000)
    }

    /// A processor in shell.
    fn shell(&self, text: &str) -> String {
        let path = self
            .sandbox
            .write_executable("child.sh", &format!("#!/bin/sh\n{text}\n"));
        path.display().to_string()
    }
}

/// Looked up before any call to AWS.
#[test]
fn an_executable_that_is_not_there_ends_the_start() {
    let world = World::new("absent");
    for (executable, named) in [
        ("/nowhere/processor.py --fast", "/nowhere/processor.py"),
        ("no-such-program-here x y", "no-such-program-here"),
        ("./neither-here", "./neither-here"),
    ] {
        let log = refuses(Daemon::start(
            &world.sandbox,
            &world.properties(executable),
            &[],
        ));
        one_line_says(&log, &["ERROR", "executableName", named]);
    }
    let data = world.sandbox.write("data.txt", "no program");
    let log = refuses(Daemon::start(
        &world.sandbox,
        &world.properties(&data.display().to_string()),
        &[],
    ));
    one_line_says(&log, &["ERROR", "executableName", "data.txt"]);
    assert!(world.aws.scan_items("app").is_empty(), "no table was made");
}

/// It works again once the program does; nothing is lost.
#[test]
fn an_executable_that_exits_at_once_is_tried_again_with_pauses() {
    let world = World::new("exits");
    let recorder = Recorder::new(&world.sandbox)
        .with("exit-at-start", 1)
        .with("exit-at-start.lives", 2);
    let ids: Vec<String> = world
        .aws
        .put("stream", "a", 0, 10)
        .into_iter()
        .map(|put| put.id)
        .collect();
    let start = Instant::now();
    let mut daemon = Daemon::start(&world.sandbox, &world.properties(&recorder.command()), &[]);
    let line = daemon.wait_log("exited with code 4", seconds(10));
    assert!(line.contains("shardId-000000000000"), "{line}");
    until("all is processed", seconds(30), || {
        recorder.ledger().has_processed(&ids)
    });
    assert!(
        start.elapsed() >= std::time::Duration::from_millis(2000),
        "1 s and 2 s, shortened by at most a quarter"
    );
    recorder.ledger().assert_no_duplicates();
    daemon.stop_gracefully();
}

#[test]
fn a_program_that_is_no_processor_is_named_with_its_shard() {
    let world = World::new("no-processor");
    let mut properties = world.properties(&world.shell("echo I am no processor; exit 0"));
    properties = properties.set("childFailurePolicy", "exit");
    world.aws.put("stream", "a", 0, 3);
    let mut daemon = Daemon::start(&world.sandbox, &properties, &[]);
    assert_eq!(
        daemon.wait_exit(seconds(20)),
        Exit::code(1),
        "{}",
        daemon.log()
    );
    let log = daemon.log();
    one_line_says(&log, &["shardId-000000000000", "exited with code 0"]);
    assert!(
        log.contains("I am no processor"),
        "what it printed is in the log: {log}"
    );
    assert_eq!(world.aws.scan_leases("app")[0].checkpoint, "TRIM_HORIZON");
}

#[test]
fn an_executable_that_never_answers_is_killed_by_the_time_out() {
    let world = World::new("never");
    let properties = world
        .properties(&world.shell("sleep 3600"))
        .set("timeoutInSeconds", 1)
        .set("childFailurePolicy", "exit");
    world.aws.put("stream", "a", 0, 3);
    let start = Instant::now();
    let mut daemon = Daemon::start(&world.sandbox, &properties, &[]);
    assert_eq!(
        daemon.wait_exit(seconds(20)),
        Exit::code(1),
        "{}",
        daemon.log()
    );
    assert!(
        start.elapsed() >= seconds(1) && start.elapsed() < seconds(6),
        "{:?}",
        start.elapsed()
    );
    one_line_says(
        &daemon.log(),
        &["shardId-000000000000", "'initialize'", "1 s"],
    );
    world.sandbox.assert_no_processes(seconds(3));
}

/// 100 MB without a line end: memory stays small, the child is replaced, and the next one works.
#[test]
fn a_line_of_a_hundred_megabytes_is_bad_output() {
    let world = World::new("hundred");
    let recorder = Recorder::new(&world.sandbox);
    let babble = format!(
        "if mkdir {0}/babbled 2>/dev/null; then head -c 100000000 /dev/zero | tr '\\0' x; sleep 3600; fi\nexec {1}",
        world.sandbox.path().display(),
        recorder.command()
    );
    let ids: Vec<String> = world
        .aws
        .put("stream", "a", 0, 10)
        .into_iter()
        .map(|put| put.id)
        .collect();
    let mut daemon = Daemon::start(
        &world.sandbox,
        &world.properties(&world.shell(&babble)),
        &[],
    );
    let mut most = 0;
    eventually("all is processed", seconds(60), || {
        most = most.max(daemon.resident_kib());
        recorder.ledger().has_processed(&ids).then_some(())
    });
    assert!(most < 100_000, "memory of the daemon reached {most} KiB");
    let log = daemon.log();
    one_line_says(&log, &["shardId-000000000000", "broke the protocol", "16"]);
    assert!(
        log.len() < 100_000,
        "the line is not copied into the log: {} bytes",
        log.len()
    );
    daemon.stop_gracefully();
    recorder.ledger().assert_no_duplicates();
}

/// Without any time-out, a long line that does end is skipped as any noise.
#[test]
fn garbage_is_skipped_and_told() {
    let world = World::new("garbage");
    let recorder = Recorder::new(&world.sandbox);
    let babble = format!(
        "echo '{{\"action\":'; echo null; echo 42; echo '[[[['; head -c 200000 /dev/urandom; echo; exec {}",
        recorder.command()
    );
    let ids: Vec<String> = world
        .aws
        .put("stream", "a", 0, 10)
        .into_iter()
        .map(|put| put.id)
        .collect();
    let mut daemon = Daemon::start(
        &world.sandbox,
        &world.properties(&world.shell(&babble)),
        &[],
    );
    until("all is processed", seconds(30), || {
        recorder.ledger().has_processed(&ids)
    });
    let ledger = recorder.ledger();
    ledger.assert_no_duplicates();
    assert_eq!(ledger.of("initialize").count(), 1, "no restart");
    one_line_says(&daemon.log(), &["shardId-000000000000", "[[[["]);
    daemon.stop_gracefully();
}
