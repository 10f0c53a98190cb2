//! `--local`, exactly as the README has it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::support::properties::Endpoints;
use super::support::{Daemon, Exit, Properties, Sandbox, now_micros, processes, skipped, until};
use super::world::{at_most, seconds};

/// Nothing but what every process has: no credentials, no region, no endpoint.
fn bare() -> Properties {
    let nowhere = Endpoints {
        kinesis: String::new(),
        dynamodb: String::new(),
    };
    Properties::new(&nowhere, "", "", "")
        .environment("AWS_ACCESS_KEY_ID", "")
        .environment("AWS_SECRET_ACCESS_KEY", "")
}

/// The records that the Python sample printed, by the daemon's log.
fn printed(daemon: &Daemon) -> BTreeSet<u32> {
    let log = daemon.log();
    log.lines()
        .filter_map(|line| line.split_once("\"n\":")?.1.split(',').next()?.parse().ok())
        .collect()
}

#[test]
fn the_first_command_of_the_readme() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(
        std::env::current_dir().expect("a directory"),
        root,
        "cargo runs tests there"
    );
    let sandbox = Sandbox::new("readme");
    let started = now_micros();
    let arguments = [
        "--local",
        "--local-generate",
        "5",
        "--properties",
        "sample-processors/python/sample.properties",
    ];
    let mut daemon = Daemon::run(&sandbox, &bare(), &arguments, Stdio::null());
    until("the sample prints its first record", seconds(20), || {
        !printed(&daemon).is_empty()
    });
    let first = std::time::Duration::from_micros((now_micros() - started).unsigned_abs());
    at_most(
        "--local: start to first record of the Python sample",
        first,
        seconds(3),
    );
    until(
        "the sample prints all records from the first on",
        seconds(20),
        || {
            let printed = printed(&daemon);
            (0..20).all(|n| printed.contains(&n))
        },
    );
    // Ctrl-C.
    let mut stop = Signal::INT;
    if processes::is_ignored(stop) {
        skipped(
            "SIGINT",
            "is ignored by whoever started the tests: --local ends by SIGTERM",
        );
        stop = Signal::TERM;
    }
    daemon.signal(stop);
    assert_eq!(
        daemon.wait_exit(seconds(10)),
        Exit::OK,
        "{}",
        daemon.log_end()
    );
    // It tells what it does.
    let log = daemon.log();
    assert!(
        log.contains("--local: ") && log.contains("kcl-daemon-sample"),
        "{log}"
    );
    assert!(!log.contains("ERROR"), "{log}");
    assert!(!log.contains("WARN"), "{log}");
    for shard in ["shardId-000000000000", "shardId-000000000001"] {
        assert!(
            log.contains(&format!("{shard}: asked to stop")),
            "shutdownRequested reaches {shard}: {log}"
        );
    }
}

/// Each line of STDIN becomes a record.
#[test]
fn lines_of_stdin_go_through_the_sample() {
    let sandbox = Sandbox::new("stdin");
    let mut feeder = Command::new("sh")
        .args([
            "-c",
            "for n in 0 1 2 3 4 5 6 7 8 9; do echo \"{\\\"n\\\":$n,}\"; done",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("sh");
    let lines = feeder.stdout.take().expect("a pipe");
    let arguments = [
        "--local",
        "--local-shards",
        "3",
        "--local-input",
        "-",
        "-p",
        "sample-processors/python/sample.properties",
    ];
    let mut daemon = Daemon::run(&sandbox, &bare(), &arguments, Stdio::from(lines));
    until("all lines are printed", seconds(20), || {
        printed(&daemon).into_iter().eq(0..10)
    });
    feeder.wait().expect("it ended");
    daemon.wait_log("10 lines of STDIN are in the stream", seconds(5));
    daemon.wait_log("shardId-000000000002: starting", seconds(5));
    daemon.stop_gracefully();
}
