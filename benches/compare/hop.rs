//! What the machine itself adds, for the latency figure of benches/compare: the time from one process's
//! write to a pipe until another has read it, a hundred times a second, with nothing else to do.
//!
//! Usage: compare-hop SECONDS
//! Prints: `<p50> <p99> <most>` in milliseconds and the number of hops.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// As the only argument: this is the reading end.
const READER: &str = "read";

fn main() -> io::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some(READER) => read(),
        Some(seconds) => write(seconds.parse().map_err(io::Error::other)?),
        None => Err(io::Error::other("usage: compare-hop SECONDS")),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a program of its own, not the daemon"
)]
fn write(seconds: u64) -> io::Result<()> {
    let mut reader = Command::new(std::env::current_exe()?)
        .arg(READER)
        .stdin(Stdio::piped())
        .spawn()?;
    let mut pipe = reader
        .stdin
        .take()
        .ok_or_else(|| io::Error::other("the reader has no STDIN"))?;
    for _ in 0..seconds * 100 {
        std::thread::sleep(Duration::from_millis(10));
        pipe.write_all(&now().to_ne_bytes())?;
    }
    drop(pipe);
    reader.wait()?;
    Ok(())
}

fn read() -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut delays = Vec::new();
    let mut sent = [0; 8];
    while input.read_exact(&mut sent).is_ok() {
        delays.push(now() - i64::from_ne_bytes(sent));
    }
    delays.sort_unstable();
    let at = |share: usize| {
        let nanos = delays.get((delays.len() * share / 100).min(delays.len().saturating_sub(1)));
        nanos.map_or(0.0, |nanos| *nanos as f64 / 1e6)
    };
    println!(
        "{:.4} {:.4} {:.4} {}",
        at(50),
        at(99),
        at(100),
        delays.len()
    );
    Ok(())
}

/// Nanoseconds of the monotonic clock.
fn now() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}
