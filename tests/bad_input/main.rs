//! What people get wrong, and what goes wrong around them: each time a message that names the thing,
//! the exit code of `decisions.md`, nothing lost, and no panic (every `Daemon` checks that at its end).
#![allow(
    clippy::disallowed_methods,
    reason = "tests start processes and read clocks"
)]

#[path = "../support/mod.rs"]
mod support;

mod command_line;
mod executables;
mod service_failures;
mod tables;

use std::time::Duration;

use support::{Daemon, Exit};

/// Sees that a daemon ends with 1 soon; gives its log.
#[track_caller]
fn refuses(mut daemon: Daemon) -> String {
    let exit = daemon.wait_exit(Duration::from_secs(10));
    let log = daemon.log();
    assert_eq!(exit, Exit::code(1), "{log}");
    assert!(!log.trim().is_empty(), "it says why");
    log
}

/// Sees that one line of the log contains all these texts.
#[track_caller]
fn one_line_says(log: &str, texts: &[&str]) {
    let found = log
        .lines()
        .any(|line| texts.iter().all(|text| line.contains(text)));
    assert!(found, "no line with all of {texts:?} in:\n{log}");
}

/// Seconds.
const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}
