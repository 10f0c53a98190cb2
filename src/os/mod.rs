//! Ambient effects: time, chance, tasks, environment, signals, limits, lock files and processes.
//!
//! They live here and nowhere else (`clippy.toml` says which calls those are); the rest of the
//! daemon is given what it needs as values and through `ports`.
//!
//! | module | what it does |
//! |---|---|
//! | [`clock`], [`time`], [`entropy`] | the real clock, bounded waits, randomness |
//! | [`tasks`], [`runtime`] | tasks with an owner, runtime threads, the main runtime |
//! | [`memory`] | large buffers |
//! | [`environment`], [`limits`], [`signals`] | what the process was given, and what it is told |
//! | [`lock`] | one worker id per daemon on a host |
//! | [`process`] | child processes in groups of their own: start, watch, kill, reap |
//! | [`guardian`] | a small process that kills the groups when the daemon dies |
//! | [`reaper`] | as pid 1: adopted orphans |

pub mod clock;
pub mod entropy;
pub mod environment;
pub mod guardian;
#[cfg(test)]
pub(crate) mod hearing;
pub mod limits;
pub mod lock;
pub mod memory;
pub mod process;
pub mod reaper;
#[cfg(test)]
pub(crate) mod rerun;
pub mod runtime;
pub mod signals;
pub mod tasks;
pub mod time;
