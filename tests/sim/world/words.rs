//! What traces and the checker need to know of a world. Tests of real processes mount this file, too.

/// Microseconds since the world began, or on the monotonic clock of a process.
pub type Time = u64;

/// Microseconds of a millisecond.
pub const MS: Time = 1_000;
/// Microseconds of a second.
pub const S: Time = 1_000_000;
/// The wall clock when the world begins, milliseconds since the epoch.
pub const EPOCH_MS: i64 = 1_750_000_000_000;

/// Whose code a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The code under test.
    Ours,
    /// A model of KCL 2.x for Java.
    Java2,
    /// A model of KCL 3.0 to 3.4 for Java, in a fleet with a leader and tables of its own for that.
    Java30,
    /// A model of KCL 3.5 for Java.
    Java3,
}

/// How a process stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stillness {
    /// As by SIGSTOP: time goes on for it, it wakes up late.
    Stopped,
    /// As a suspended machine: its monotonic clock stands still too, it does not know that it slept.
    Suspended,
}
