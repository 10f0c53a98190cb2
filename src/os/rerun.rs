//! Tests that need a process of their own: this test binary, run again for one test.
#![expect(
    clippy::disallowed_methods,
    reason = "src/os is where processes are started"
)]

use std::ffi::OsString;
use std::process::Command;

/// The arguments that make this binary run one ignored test and nothing else. `test` is its path
/// without the name of the crate.
pub(crate) fn arguments(test: &str) -> Vec<OsString> {
    let flags = [
        "--exact",
        "--ignored",
        "--nocapture",
        "--test-threads=1",
        "-q",
    ];
    std::iter::once(test)
        .chain(flags)
        .map(OsString::from)
        .collect()
}

/// This binary, to run one test.
pub(crate) fn command(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments(test));
    command
}

/// Runs one test in a process of its own, and fails if it fails or does not exist.
pub(crate) fn in_a_process(test: &str) {
    let output = command(test).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{test}: {}\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// So long a test with real processes may take, on a busy machine too.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// Ends the test binary with a message if a test waits for something that never happens.
pub(crate) struct Watchdog {
    /// Dropped with the value, which tells the thread.
    _alive: std::sync::mpsc::Sender<()>,
}

impl Watchdog {
    pub(crate) fn start() -> Self {
        use std::sync::mpsc::RecvTimeoutError;
        let (alive, dropped) = std::sync::mpsc::channel::<()>();
        let test = std::thread::current().name().map(str::to_owned);
        std::thread::spawn(move || {
            if dropped.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                // Not by a macro: that would be kept for a report which never comes.
                let text = format!("the test {test:?} waits in vain\n");
                let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
                std::process::abort();
            }
        });
        Self { _alive: alive }
    }
}
