//! What Kinesis does, as a list of checks over the real SDK client: all of them hold on the embedded
//! engine, and on servers that we did not write wherever those are known to be right. So the engine is
//! measured by something other than our own opinion of it, and each check by something other than the
//! engine.

mod place;
mod reading;
mod resharding;
mod servers;
mod shards;
mod writing;

pub use place::{Outcome, Place};

/// One thing that Kinesis does.
pub struct Check {
    /// Its name in reports and in the list of what a peer gets wrong.
    pub name: &'static str,
    /// Sees whether the server does it, with streams of its own.
    pub run: fn(&Place) -> Outcome,
}

/// Makes the list of a file's checks from the names of its functions.
macro_rules! checks {
    ($($name:ident),* $(,)?) => {
        pub const CHECKS: &[super::Check] = &[$(super::Check { name: stringify!($name), run: $name }),*];
    };
}
use checks;

/// Ends a check when something is not as it must be.
macro_rules! must {
    ($holds:expr, $($said:tt)*) => {
        if !$holds {
            return Err(format!($($said)*));
        }
    };
}
use must;

/// All checks.
pub fn all() -> impl Iterator<Item = &'static Check> {
    [
        shards::CHECKS,
        writing::CHECKS,
        reading::CHECKS,
        resharding::CHECKS,
    ]
    .into_iter()
    .flatten()
}
