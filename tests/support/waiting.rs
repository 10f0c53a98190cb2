//! Waiting for conditions, and telling that something could not be tested.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often conditions are looked at.
const EVERY: Duration = Duration::from_millis(20);

/// Microseconds since the epoch; ledgers use the same.
pub fn now_micros() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(since.as_micros()).expect("before the year 290000")
}

/// Waits until `look` gives something.
///
/// # Panics
/// After `timeout`, naming `what`.
#[track_caller]
pub fn eventually<T>(what: &str, timeout: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < timeout, "not within {timeout:?}: {what}");
        std::thread::sleep(EVERY);
    }
}

/// Waits until `holds`; gives how long it took.
///
/// # Panics
/// After `timeout`, naming `what`.
#[track_caller]
pub fn until(what: &str, timeout: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    eventually(what, timeout, || holds().then_some(()));
    start.elapsed()
}

/// Says on STDERR, past the test harness, that something was not tested.
pub fn skipped(what: &str, why: &str) {
    use std::io::Write as _;
    // Not eprintln: the harness keeps the output of tests that pass to itself.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what} {why}");
}
