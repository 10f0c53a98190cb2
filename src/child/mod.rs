//! Child processes as record processors: one process per shard, spoken to over its STDIN and STDOUT
//! (`protocol.md`).
//!
//! | module | what it does |
//! |---|---|
//! | [`command`] | `executableName` → words → a file that can be executed |
//! | [`factory`] | starts children; keeps what is learned about their dialect |
//! | [`process`] | one child: tasks in, answers and its end out |
//! | `conversation` | what reader and owner of a child share: the protocol's session |
//! | `pipes` | the three tasks that move bytes, from the start to the end of the child |
//! | `verdict` | what the end of a child means: a pure decision |
//! | `logging` | what a child prints, as log lines |
//!
//! Whatever a child does, it can neither block nor outgrow the daemon: its output is read at all
//! times, lines and messages have caps, and its end takes bounded time.

pub mod command;
pub mod factory;
pub mod process;

mod conversation;
mod logging;
mod pipes;
mod verdict;

#[cfg(test)]
mod testing;

pub use command::{CommandError, resolve, tokenise};
pub use factory::{ChildFactory, ChildSettings, Identity};
pub use process::ChildProcess;
