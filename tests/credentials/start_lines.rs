//! The lines at start and stop that operators look for (`properties.md` §12), each exactly once.

use super::stage::{SOON, Stage};
use super::support::{Daemon, Recorder, until};

fn count(log: &str, text: &str) -> usize {
    log.lines().filter(|line| line.contains(text)).count()
}

#[test]
fn java_s_words_and_the_mode_with_its_reason() {
    let stage = Stage::new("lines");
    let recorder = Recorder::new(&stage.sandbox);
    let properties = stage
        .properties("EnvironmentVariableCredentialsProvider")
        .without("retrievalMode")
        .without("idleTimeBetweenReadsInMillis")
        .set("executableName", recorder.command())
        .set("workerId", "w-1")
        .environment("AWS_ACCESS_KEY_ID", "ENV")
        .environment("AWS_SECRET_ACCESS_KEY", "s");
    let aws = super::support::Aws::new(&stage.kinesis.endpoint(), &stage.dynamodb.endpoint());
    let ids: Vec<String> = aws
        .put("stream", "a", 0, 3)
        .into_iter()
        .map(|put| put.id)
        .collect();
    let mut daemon = Daemon::start(&stage.sandbox, &properties, &[]);
    until("the records are processed", SOON, || {
        recorder.ledger().has_processed(&ids)
    });
    daemon.stop_gracefully();
    let log = daemon.log();
    for text in [
        "Using workerId: w-1",
        "Running app to process stream stream with executable ",
        "MultiLangDaemon is adding the following fields to the User Agent: ",
        "Process terminated, will initiate shutdown.",
        "Process shutdown is complete.",
        "Retrieval mode: enhanced fan-out with the paid consumer 'app', because retrievalMode is DEFAULT and no polling \
         key is set",
    ] {
        assert_eq!(count(&log, text), 1, "{text:?} in:\n{log}");
    }
    assert_eq!(count(&log, "Retrieval mode:"), 1, "{log}");
    // The words that the child really gets (`properties.md` §16 row 25).
    let argv: Vec<String> = recorder.command().split(' ').map(str::to_owned).collect();
    assert_eq!(count(&log, &format!("argv {argv:?}")), 1, "{log}");
    assert_eq!(count(&log, "position ignored"), 0, "{log}");
    let agent = &stage.kinesis.seen().pop().expect("a call").headers;
    let agent = format!("{agent:?}");
    assert!(agent.contains("lib/kcl-daemon/"), "{agent}");

    // A second life: LATEST or TRIM_HORIZON count no more (row 16).
    let mut again = Daemon::start(&stage.sandbox, &properties, &[]);
    let line = again.wait_log("position ignored: checkpoint exists", SOON);
    assert!(
        line.contains("TRIM_HORIZON") && line.contains("shardId-"),
        "{line}"
    );
    again.stop_gracefully();
}

/// A stop that takes longer than it may says so.
#[test]
fn a_stop_that_is_cut_short() {
    let stage = Stage::new("cut");
    let child = stage.sandbox.write_executable(
        "deaf",
        "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 0.1; done\n",
    );
    let properties = stage
        .properties("EnvironmentVariableCredentialsProvider")
        .set("executableName", child.display())
        .set("shutdownGraceMillis", 1000)
        .environment("AWS_ACCESS_KEY_ID", "ENV")
        .environment("AWS_SECRET_ACCESS_KEY", "s");
    let mut daemon = Daemon::start(&stage.sandbox, &properties, &[]);
    until("the child runs", SOON, || !daemon.children().is_empty());
    daemon.terminate();
    let exit = daemon.wait_exit(SOON);
    assert_eq!(exit.code, Some(128 + 15), "{}", daemon.log());
    let log = daemon.log();
    assert_eq!(
        count(&log, "Encountered an error during shutdown."),
        1,
        "{log}"
    );
    assert_eq!(count(&log, "Process shutdown is complete."), 0, "{log}");
}
