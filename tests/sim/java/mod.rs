//! Models of workers of KCL for Java, with their quirks (`leases.md` B, C, E, G), and with the bugs
//! that implementations of KCL have had, each a switch.
//!
//! They live in the same world as our workers: as peers in mixed fleets, and as what the checker is
//! shown to catch (`museum`).
//!
//! | file | part |
//! |---|---|
//! | `bugs.rs` | the switches |
//! | `worker.rs` | what a process remembers; its threads; renewing |
//! | `taker.rs` | KCL 2.x: everybody takes for itself; shard sync and audit |
//! | `leader.rs` | KCL 3.x: the lock, assignment, metrics, discovery |
//! | `tables.rs` | KCL 3.5: the move from the tables of 3.0 to 3.4 into one |
//! | `consumer.rs` | one shard: parents, child, records, checkpoints, the end |

mod bugs;
mod consumer;
mod leader;
mod tables;
mod taker;
mod worker;

pub use bugs::Bug;
pub use worker::{JavaWorker, Settings, Version};
